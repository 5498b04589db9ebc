//! Files of sequences: JSON lines, and arrays of NumPy.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead};
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::Error;
use crate::data::archive::{self, Limits};
use crate::data::npy::Array;
use crate::data::sums::ContentSum;
use crate::data::text;
use crate::sequence::TargetKind;

/// What is read of a file at most: more would have to be streamed from it.
const LIMITS: Limits = Limits { entries: 10_000, file_bytes: 1 << 34, bytes: 1 << 34 };

/// Classes, or tokens, that are told apart, at most.
const MOST_CLASSES: u64 = 1 << 20;

/// What the time steps of all sequences have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Format {
    /// What goes in at a time step.
    pub inputs: Inputs,
    /// Bits, numbers or classes.
    pub outputs: usize,
    /// What the targets are.
    pub kind: TargetKind,
}

/// What goes in at a time step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Inputs {
    /// So many numbers.
    Numbers(usize),
    /// One of so many tokens.
    Tokens(usize),
}

impl Inputs {
    /// Numbers of a time step, of which a token is one.
    pub fn size(self) -> usize {
        match self {
            Self::Numbers(size) => size,
            Self::Tokens(_) => 1,
        }
    }
}

/// What is wanted at a time step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Nothing,
    /// A class or a number.
    One(f64),
    /// So many bits or numbers.
    List(u32),
}

/// A sequence as it is read: flat, since files come from others and a list of lists takes many times its text.
#[derive(Default)]
struct Row {
    /// The numbers, or tokens, of all time steps, and how many each has.
    inputs: Vec<f32>,
    widths: Vec<u32>,
    /// Whether the inputs are tokens.
    tokens: bool,
    targets: Vec<Wanted>,
    /// Those of all lists.
    lists: Vec<f32>,
}

impl Row {
    fn clear(&mut self) {
        self.inputs.clear();
        self.widths.clear();
        self.targets.clear();
        self.lists.clear();
    }

    /// Says what is wanted at the last time step, and nothing before it.
    fn want_at_the_end(&mut self, wanted: Wanted) {
        self.targets.resize(self.widths.len().saturating_sub(1), Wanted::Nothing);
        self.targets.push(wanted);
    }

    /// Checks that the inputs of all time steps are those.
    fn check_inputs(&self, expected: Inputs) -> Result<(), String> {
        let size = match expected {
            Inputs::Tokens(_) if !self.tokens => {
                return Err("it has inputs, where tokens were expected".into());
            }
            Inputs::Numbers(_) if self.tokens => {
                return Err("it has tokens, where inputs were expected".into());
            }
            Inputs::Tokens(vocabulary) => {
                let place = self.inputs.iter().position(|token| *token as usize >= vocabulary);
                return place.map_or(Ok(()), |place| {
                    let token = self.inputs[place];
                    Err(format!("time step {} has the token {token}, but the network knows {vocabulary}", place + 1))
                });
            }
            Inputs::Numbers(size) => size,
        };
        let mut inputs = &self.inputs[..];
        for (number, width) in (1..).zip(&self.widths) {
            if *width as usize != size {
                return Err(format!("time step {number} has {width} inputs where {size} were expected"));
            }
            let input;
            (input, inputs) = inputs.split_at(size);
            if let Some(bad) = input.iter().find(|value| !value.is_finite()) {
                return Err(format!("time step {number} has an input of {bad}; finite numbers were expected"));
            }
        }
        Ok(())
    }
}

/// The sequences of files, one after the other.
#[derive(Default)]
pub struct Rows {
    /// The numbers of all time steps.
    pub inputs: Vec<f32>,
    /// The class of each time step or, of bits and numbers, whether there are any; [`NONE`] where nothing is wanted.
    pub targets: Vec<u32>,
    /// The bits or numbers of the time steps that have a target.
    pub values: Vec<f32>,
    /// Where each sequence ends: time steps, and time steps with values, of it and all before it.
    ends: Vec<[usize; 2]>,
}

/// No target.
pub const NONE: u32 = u32::MAX;

impl Rows {
    fn add(&mut self, row: &Row, kind: Option<TargetKind>) {
        self.inputs.extend_from_slice(&row.inputs);
        self.values.extend_from_slice(&row.lists);
        let mut valued = 0;
        for wanted in &row.targets {
            self.targets.push(match *wanted {
                Wanted::Nothing => NONE,
                Wanted::One(number) if matches!(kind, Some(TargetKind::Bits | TargetKind::Numbers)) => {
                    self.values.push(number as f32);
                    valued += 1;
                    0
                }
                // It was checked to be below 2^20.
                Wanted::One(class) => class as u32,
                Wanted::List(_) => {
                    valued += 1;
                    0
                }
            });
        }
        let [_, before] = self.ends.last().copied().unwrap_or_default();
        self.ends.push([self.targets.len(), before + valued]);
    }

    /// Gives back the room that is left.
    pub fn shrink_to_fit(&mut self) {
        self.inputs.shrink_to_fit();
        self.targets.shrink_to_fit();
        self.values.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Sequences.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The time steps of a sequence.
    pub fn steps(&self, number: usize) -> Range<usize> {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before][0]);
        start..self.ends[number][0]
    }

    /// The time steps with values that a sequence has, among those of all.
    pub fn valued(&self, number: usize) -> Range<usize> {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before][1]);
        start..self.ends[number][1]
    }
}

/// Reads files of sequences of one format.
#[derive(Default)]
pub struct Reader {
    /// What the targets are to be, if that was said.
    kind: Option<TargetKind>,
    /// That of a network.
    fixed: Option<Format>,
    /// That of the sequences so far.
    inputs: Option<Inputs>,
    /// Numbers in a list, or classes.
    outputs: usize,
    /// Whether targets are lists.
    lists: Option<bool>,
    /// Where a number of a list first lies between 0 and 1, and outside of them.
    between: Option<String>,
    outside: bool,
    rows: Rows,
}

impl Reader {
    /// One of files whose targets are to be of this kind, or as they look; for a network of this format, if there is one.
    pub fn new(kind: Option<TargetKind>, fixed: Option<Format>) -> Self {
        let kind = fixed.map(|format| format.kind).or(kind);
        let outputs = fixed.map_or(0, |format| format.outputs);
        Self { kind, fixed, inputs: fixed.map(|format| format.inputs), outputs, ..Self::default() }
    }

    /// Reads the sequences of a file.
    ///
    /// # Errors
    /// [`Error::Data`] names the line or the array that is not as the others; [`Error::Io`].
    pub fn read(&mut self, path: &Path, sum: &mut ContentSum) -> Result<(), Error> {
        let before = self.rows.count();
        if is_npz(path) {
            self.read_npz(path, sum)?;
        } else {
            self.read_json_lines(path, sum)?;
        }
        if self.rows.count() == before {
            return Err(Error::data(path.display(), "it holds no sequences"));
        }
        Ok(())
    }

    /// Sequences read so far.
    pub fn count(&self) -> usize {
        self.rows.count()
    }

    /// What was read; `path` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Data`] if targets can be understood in two ways.
    pub fn finish(self, path: &Path) -> Result<(Format, Rows), Error> {
        let kind = match (self.kind, &self.between) {
            (Some(kind), _) => kind,
            (None, _) if self.lists != Some(true) => TargetKind::Classes,
            (None, _) if self.outside => TargetKind::Numbers,
            (None, None) => TargetKind::Bits,
            (None, Some(place)) => {
                let reason = format!(
                    "{place}, and none lies outside of 0 to 1: say what they are, --targets numbers or --targets bits \
                     (probabilities of a 1)"
                );
                return Err(Error::data(path.display(), reason));
            }
        };
        let inputs = self.inputs.unwrap_or(Inputs::Numbers(0));
        let mut rows = self.rows;
        rows.shrink_to_fit();
        Ok((Format { inputs, outputs: self.outputs, kind }, rows))
    }

    /// Adds a sequence; `none` is what stands where there is no target.
    fn add(&mut self, row: &Row, none: &str) -> Result<(), String> {
        let (steps, targets) = (row.widths.len(), row.targets.len());
        if steps == 0 || steps != targets {
            return Err(format!(
                "as many targets as inputs, and at least one, were expected, not {targets} and {steps}"
            ));
        }
        if self.fixed.is_none() && row.tokens {
            if let Some(token) = row.inputs.iter().find(|token| **token >= MOST_CLASSES as f32) {
                return Err(format!("it has the token {token}; there are {MOST_CLASSES} at most"));
            }
            let most = row.inputs.iter().fold(0, |most, token| (*token as usize + 1).max(most));
            match &mut self.inputs {
                Some(Inputs::Tokens(vocabulary)) => *vocabulary = most.max(*vocabulary),
                inputs => drop(inputs.get_or_insert(Inputs::Tokens(most))),
            }
        }
        let inputs = *self.inputs.get_or_insert(Inputs::Numbers((row.widths[0] as usize).max(1)));
        row.check_inputs(inputs)?;
        let mut lists = &row.lists[..];
        let mut any = false;
        for (number, target) in (1..).zip(&row.targets) {
            let target_of = || format!("the target of time step {number}");
            any |= *target != Wanted::Nothing;
            match *target {
                Wanted::Nothing => continue,
                Wanted::One(_) if *self.lists.get_or_insert(false) => {
                    return Err(format!("{} is a single number, where others are lists", target_of()));
                }
                Wanted::List(_) if !*self.lists.get_or_insert(true) => {
                    return Err(format!("{} is a list, where others are single numbers", target_of()));
                }
                Wanted::One(class) if matches!(self.kind, None | Some(TargetKind::Classes)) => {
                    self.add_class(class).map_err(|reason| {
                        reason.unwrap_or_else(|| {
                            format!(
                                "{}: there is no class {class}; a class is a whole number from 0 on, where there is no \
                                 target, write {none}, and --targets numbers takes numbers",
                                target_of()
                            )
                        })
                    })?;
                }
                Wanted::One(value) => self.add_values(&[value as f32], value.is_finite(), &target_of)?,
                Wanted::List(count) => {
                    let these;
                    (these, lists) = lists.split_at(count as usize);
                    if self.kind == Some(TargetKind::Classes) {
                        return Err(format!("{} is a list, where a class was expected", target_of()));
                    }
                    self.add_values(these, true, &target_of)?;
                }
            }
        }
        if !any {
            return Err("none of its time steps has a target".into());
        }
        self.rows.add(row, self.kind);
        Ok(())
    }

    /// Takes a class, or says what is wrong with it; nothing if it is none.
    fn add_class(&mut self, class: f64) -> Result<(), Option<String>> {
        if class < 0.0 || class.fract() != 0.0 || !class.is_finite() {
            return Err(None);
        }
        if self.fixed.is_some() {
            let outputs = self.outputs;
            return if class < outputs as f64 {
                Ok(())
            } else {
                Err(Some(format!("there is a target of class {class}, but the network knows {outputs}")))
            };
        }
        if class >= MOST_CLASSES as f64 {
            return Err(Some(format!("there is a target of class {class}; there are {MOST_CLASSES} at most")));
        }
        self.outputs = self.outputs.max(class as usize + 1);
        Ok(())
    }

    /// Takes the bits or numbers of a time step.
    fn add_values(&mut self, values: &[f32], finite: bool, target_of: &dyn Fn() -> String) -> Result<(), String> {
        if self.outputs == 0 {
            self.outputs = values.len();
        }
        let expected = self.outputs.max(1);
        let probable = values.iter().all(|value| (0.0..=1.0).contains(value));
        if self.kind == Some(TargetKind::Bits) && (values.len() != expected || !probable) {
            return Err(format!("{} is not {expected} bits of 0 or 1, as was expected", target_of()));
        }
        if values.len() != expected {
            return Err(format!("{} has {} numbers where {expected} were expected", target_of(), values.len()));
        }
        if let Some(bad) = values.iter().find(|value| !value.is_finite() || !finite) {
            return Err(format!("{} is {bad}; finite numbers were expected", target_of()));
        }
        self.outside |= !probable;
        if self.between.is_none()
            && let Some(value) = values.iter().find(|value| **value > 0.0 && **value < 1.0)
        {
            let sequence = self.rows.count() + 1;
            self.between = Some(format!("{} of its sequence {sequence} has {value}", target_of()));
        }
        Ok(())
    }

    fn read_json_lines(&mut self, path: &Path, sum: &mut ContentSum) -> Result<(), Error> {
        let mut row = Row::default();
        each_line(path, |number, text| {
            let wrong = |reason: String| Error::data(path.display(), format!("line {number}: {reason}"));
            row.clear();
            let mut json = serde_json::Deserializer::from_str(text);
            Line { row: &mut row, with_targets: true }.deserialize(&mut json).and_then(|()| json.end()).map_err(
                |error| {
                    let expected = "{\"inputs\": [[...], ...], \"targets\": [null, ...]} was expected";
                    wrong(format!("{expected} ({error})"))
                },
            )?;
            self.add(&row, "null").map_err(wrong)?;
            sum.add(text.as_bytes());
            Ok(())
        })
    }

    fn read_npz(&mut self, path: &Path, sum: &mut ContentSum) -> Result<(), Error> {
        let names = ["inputs", "tokens", "targets", "target", "lengths", "mask"];
        let mut arrays = Arrays::read(path, &names, sum)?;
        let (targets, target) = (arrays.take("targets"), arrays.take("target"));
        let inputs = arrays.inputs()?;
        let InputArrays { count, steps, .. } = inputs;
        if targets.is_some() && target.is_some() {
            return Err(arrays.wrong("it holds both targets and target; leave one out".into()));
        }
        let at_the_end = target.is_some();
        let targets = target.or(targets).map_or_else(|| arrays.needed("targets"), Ok)?;
        let (what, axes) = if at_the_end { ("a target", vec![count]) } else { ("targets", vec![count, steps]) };
        let width = targets.shape.get(axes.len()).copied();
        arrays.expect(what, &targets, &[axes, width.into_iter().collect()].concat())?;
        let mask = arrays.take("mask");
        if mask.is_some() && at_the_end {
            return Err(
                arrays.wrong("it holds a mask beside target, which counts at the last step alone; leave it out".into())
            );
        }
        if let Some(mask) = &mask {
            arrays.expect("a mask", mask, &[count, steps])?;
        }
        let of_numbers = self.kind == Some(TargetKind::Numbers);
        let wanted = |place: usize, lists: &mut Vec<f32>| match width {
            Some(width) => {
                let numbers = place * width..(place + 1) * width;
                if of_numbers && width > 0 && numbers.clone().all(|place| targets.number(place).is_nan()) {
                    return Wanted::Nothing;
                }
                lists.extend(numbers.map(|place| targets.number(place) as f32));
                Wanted::List(u32::try_from(width).unwrap_or(u32::MAX))
            }
            None => match targets.number(place) {
                number if of_numbers && number.is_nan() => Wanted::Nothing,
                number if !of_numbers && [-1.0, -100.0].contains(&number) => Wanted::Nothing,
                number => Wanted::One(number),
            },
        };
        let none = if of_numbers { "NaN" } else { "-1" };
        let mut row = Row::default();
        for number in 0..count {
            let length = inputs.take(number, &mut row)?;
            if at_the_end {
                let wanted = wanted(number, &mut row.lists);
                row.want_at_the_end(wanted);
            } else {
                for step in 0..length {
                    let place = number * steps + step;
                    let masked = mask.as_ref().is_some_and(|mask| mask.number(place) == 0.0);
                    let wanted = if masked { Wanted::Nothing } else { wanted(place, &mut row.lists) };
                    row.targets.push(wanted);
                }
            }
            self.add(&row, none).map_err(|reason| inputs.wrong(number, &reason))?;
        }
        Ok(())
    }
}

/// Whether a file is one of NumPy's arrays.
fn is_npz(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz"))
}

/// Hands on every line of a file that is not blank, with its number.
fn each_line(path: &Path, mut take: impl FnMut(u64, &str) -> Result<(), Error>) -> Result<(), Error> {
    let mut lines = text::open(path, LIMITS.bytes, "lines of JSON", "name one of sequences, .jsonl or .npz")?;
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let length = lines.read_line(&mut line).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => {
                let reason = format!("line {number}: it is not text in UTF-8; save the file in UTF-8");
                Error::data(path.display(), reason)
            }
            _ => text::unreadable(path, error),
        })?;
        if length == 0 {
            break;
        }
        let text = line.strip_suffix('\n').unwrap_or(&line);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if !text.trim().is_empty() {
            take(number, text)?;
        }
    }
    Ok(())
}

/// Reads into a row what a line of JSON has; the inputs alone, whatever stands beside them, if no targets are wanted.
struct Line<'a> {
    row: &'a mut Row,
    with_targets: bool,
}

/// Reads the inputs of all time steps.
struct InputSteps<'a>(&'a mut Row);

/// Reads the numbers of a time step, and gives how many there are.
struct Input<'a>(&'a mut Vec<f32>);

/// Reads the tokens of all time steps.
struct Tokens<'a>(&'a mut Row);

/// Reads the targets of all time steps.
struct Targets<'a>(&'a mut Row);

/// Reads a target, the numbers of which it adds to those before.
struct Target<'a>(&'a mut Vec<f32>);

/// A number of a list of targets, or a truth value.
struct Element(f32);

/// Lets each kind be read by its visitor.
macro_rules! seeds {
    ($($name:ident, $value:ty, $method:ident;)*) => {$(
        impl<'de> DeserializeSeed<'de> for $name<'_> {
            type Value = $value;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<$value, D::Error> {
                deserializer.$method(self)
            }
        }
    )*};
}

seeds! {
    Line, (), deserialize_map;
    InputSteps, (), deserialize_seq;
    Input, u32, deserialize_seq;
    Tokens, (), deserialize_seq;
    Targets, (), deserialize_seq;
    Target, Wanted, deserialize_any;
}

impl<'de> Visitor<'de> for Line<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut with_inputs, mut with_targets) = (None, None);
        // It may stand before the inputs, whose number says where it belongs.
        let mut at_the_end = None;
        while let Some(key) = map.next_key::<String>()? {
            let place = match &*key {
                "inputs" | "tokens" => &mut with_inputs,
                _ if !self.with_targets => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                "targets" | "target" => &mut with_targets,
                _ => return Err(de::Error::custom(format_args!("there is {key:?} beside these; leave it out"))),
            };
            match place.replace(key.clone()) {
                Some(before) if before == key => {
                    return Err(de::Error::custom(format_args!("{key:?} is there twice")));
                }
                Some(before) => {
                    return Err(de::Error::custom(format_args!(
                        "there are both {before:?} and {key:?}; leave one out"
                    )));
                }
                None => {}
            }
            match &*key {
                "inputs" => map.next_value_seed(InputSteps(self.row))?,
                "tokens" => map.next_value_seed(Tokens(self.row))?,
                "targets" => map.next_value_seed(Targets(self.row))?,
                _ => at_the_end = Some(map.next_value_seed(Target(&mut self.row.lists))?),
            }
        }
        if with_inputs.is_none() {
            return Err(de::Error::custom("there are no inputs"));
        }
        if self.with_targets && with_targets.is_none() {
            return Err(de::Error::custom("there are no targets"));
        }
        self.row.tokens = with_inputs.as_deref() == Some("tokens");
        if let Some(wanted) = at_the_end {
            self.row.want_at_the_end(wanted);
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for InputSteps<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of time steps, each a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut steps: A) -> Result<(), A::Error> {
        while let Some(width) = steps.next_element_seed(Input(&mut self.0.inputs))? {
            self.0.widths.push(width);
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Input<'_> {
    type Value = u32;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the numbers of a time step, as a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<u32, A::Error> {
        let mut count = 0u32;
        while let Some(number) = numbers.next_element::<f32>()? {
            self.0.push(number);
            count = count.checked_add(1).ok_or_else(|| de::Error::custom("it has too many numbers"))?;
        }
        Ok(count)
    }
}

impl<'de> Visitor<'de> for Tokens<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of tokens, one for each time step, each a whole number from 0 on")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tokens: A) -> Result<(), A::Error> {
        while let Some(token) = tokens.next_element::<u32>()? {
            // What is too large for a vocabulary, and so for this number, is refused by its size.
            self.0.inputs.push(token as f32);
            self.0.widths.push(1);
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Targets<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of targets, one for each time step")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut targets: A) -> Result<(), A::Error> {
        while let Some(target) = targets.next_element_seed(Target(&mut self.0.lists))? {
            self.0.targets.push(target);
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Target<'_> {
    type Value = Wanted;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a target: null for none, a class from 0 on, a number, or a list of bits or numbers")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Wanted, E> {
        Ok(Wanted::Nothing)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Wanted, E> {
        Ok(Wanted::One(number as f64))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Wanted, E> {
        Ok(Wanted::One(number as f64))
    }

    // Tables with a gap have their classes so.
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Wanted, E> {
        Ok(Wanted::One(number))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Wanted, A::Error> {
        let mut count = 0u32;
        while let Some(Element(number)) = numbers.next_element()? {
            self.0.push(number);
            count = count.checked_add(1).ok_or_else(|| de::Error::custom("it has too many numbers"))?;
        }
        Ok(Wanted::List(count))
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfElement;

        impl Visitor<'_> for OfElement {
            type Value = Element;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a bit (0 or 1, false or true) or a number")
            }

            fn visit_bool<E: de::Error>(self, bit: bool) -> Result<Element, E> {
                Ok(Element(f32::from(u8::from(bit))))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Element, E> {
                Ok(Element(number as f32))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Element, E> {
                Ok(Element(number as f32))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Element, E> {
                Ok(Element(number as f32))
            }
        }

        deserializer.deserialize_any(OfElement)
    }
}

/// The arrays of a `.npz` file.
struct Arrays<'a> {
    path: &'a Path,
    by_name: BTreeMap<String, Array>,
}

/// Inputs of sequences × steps × numbers, or tokens of sequences × steps; and the length of each sequence.
struct InputArrays<'a> {
    path: &'a Path,
    inputs: Array,
    lengths: Option<Array>,
    count: usize,
    steps: usize,
    size: usize,
    tokens: bool,
}

impl<'a> Arrays<'a> {
    fn read(path: &'a Path, names: &[&str], sum: &mut ContentSum) -> Result<Self, Error> {
        let wanted = |name: &str| name.strip_suffix(".npy").is_some_and(|name| names.contains(&name));
        let entries = archive::read(path, LIMITS, &wanted)?;
        entries.iter().for_each(|entry| sum.add(&entry.bytes));
        let mut by_name = BTreeMap::new();
        for entry in entries {
            let name = entry.name.trim_end_matches(".npy").to_owned();
            by_name.insert(name, Array::parse(entry.bytes).map_err(|reason| Error::data(&entry.place, reason))?);
        }
        Ok(Self { path, by_name })
    }

    fn wrong(&self, reason: String) -> Error {
        Error::data(self.path.display(), reason)
    }

    fn take(&mut self, name: &str) -> Option<Array> {
        self.by_name.remove(name)
    }

    fn needed(&mut self, name: &str) -> Result<Array, Error> {
        let way_out = "save it with numpy.savez(file, inputs=..., targets=...)";
        self.take(name).ok_or_else(|| self.wrong(format!("it holds no array {name}; {way_out}")))
    }

    fn expect(&self, what: &str, array: &Array, shape: &[usize]) -> Result<(), Error> {
        if array.shape == shape {
            return Ok(());
        }
        let found = &array.shape;
        Err(self.wrong(format!("{what} of the shape {shape:?} were expected beside these inputs, not {found:?}")))
    }

    fn inputs(&mut self) -> Result<InputArrays<'a>, Error> {
        let tokens = self.take("tokens");
        if tokens.is_some() && self.by_name.contains_key("inputs") {
            return Err(self.wrong("it holds both inputs and tokens; leave one out".into()));
        }
        let (inputs, tokens) = match tokens {
            Some(tokens) => (tokens, true),
            None => (self.needed("inputs")?, false),
        };
        let (count, steps, size) = match inputs.shape[..] {
            [count, steps] if tokens => (count, steps, 1),
            [count, steps, size] if !tokens => (count, steps, size),
            ref shape => {
                let expected = if tokens {
                    "tokens were expected as sequences × steps"
                } else {
                    "inputs were expected as sequences × steps × numbers"
                };
                return Err(self.wrong(format!("{expected}, not {shape:?}")));
            }
        };
        // No array bounds the number of sequences then.
        if steps == 0 || size == 0 {
            let shape = &inputs.shape;
            return Err(self.wrong(format!(
                "inputs of at least one step and one number were expected, not of the shape {shape:?}"
            )));
        }
        let lengths = self.take("lengths");
        if let Some(lengths) = &lengths {
            self.expect("lengths", lengths, &[count])?;
        }
        Ok(InputArrays { path: self.path, inputs, lengths, count, steps, size, tokens })
    }
}

impl InputArrays<'_> {
    fn wrong(&self, number: usize, reason: &str) -> Error {
        Error::data(self.path.display(), format!("sequence {number}: {reason}"))
    }

    /// Puts the inputs of a sequence into a row, and gives its length.
    fn take(&self, number: usize, row: &mut Row) -> Result<usize, Error> {
        let steps = self.steps;
        let length = self.lengths.as_ref().map_or(steps as f64, |lengths| lengths.number(number));
        if !(1.0..=steps as f64).contains(&length) || length.fract() != 0.0 {
            return Err(self.wrong(number, &format!("its length is {length} where 1 to {steps} was expected")));
        }
        let length = length as usize;
        row.clear();
        row.tokens = self.tokens;
        let start = number * steps * self.size;
        let numbers = (start..start + length * self.size).map(|place| self.inputs.number(place));
        if self.tokens
            && let Some((step, token)) =
                (1..).zip(numbers.clone()).find(|(_, token)| *token < 0.0 || token.fract() != 0.0)
        {
            let reason = format!("time step {step} has the token {token}; a token is a whole number from 0 on");
            return Err(self.wrong(number, &reason));
        }
        row.inputs.extend(numbers.map(|number| number as f32));
        row.widths.resize(length, u32::try_from(self.size).unwrap_or(u32::MAX));
        Ok(length)
    }
}

/// The inputs of sequences, one after the other.
#[derive(Debug, Default, PartialEq)]
pub struct InputRows {
    input_size: usize,
    /// The numbers of all time steps.
    inputs: Vec<f32>,
    /// Where each sequence ends.
    ends: Vec<usize>,
}

impl InputRows {
    /// Rows of these inputs of a time step, each where it ends.
    pub(crate) fn new(input_size: usize, inputs: Vec<f32>, ends: Vec<usize>) -> Self {
        Self { input_size, inputs, ends }
    }

    /// Numbers in the input of a time step, of which a token is one.
    pub fn input_size(&self) -> usize {
        self.input_size
    }

    /// All inputs, to be changed.
    pub(crate) fn inputs_mut(&mut self) -> &mut [f32] {
        &mut self.inputs
    }

    /// The number of sequences.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The inputs of a sequence: time step after time step.
    pub fn sequence(&self, number: usize) -> &[f32] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.inputs[start..self.ends[number]]
    }

    fn add(&mut self, row: &Row, expected: Inputs) -> Result<(), String> {
        if row.widths.is_empty() {
            return Err("it has no time steps".into());
        }
        row.check_inputs(expected)?;
        self.inputs.extend_from_slice(&row.inputs);
        self.ends.push(self.inputs.len());
        Ok(())
    }
}

/// The inputs alone of the sequences of a file, as [`Sequences`](super::Sequences) describes it. What is wanted may be there
/// or not.
///
/// # Errors
/// [`Error::Data`] names the line or the array that does not fit networks with such inputs.
pub fn read_inputs(path: &Path, expected: Inputs) -> Result<InputRows, Error> {
    let mut rows = InputRows { input_size: expected.size(), ..InputRows::default() };
    let mut row = Row::default();
    if is_npz(path) {
        let inputs = Arrays::read(path, &["inputs", "tokens", "lengths"], &mut ContentSum::default())?.inputs()?;
        for number in 0..inputs.count {
            inputs.take(number, &mut row)?;
            rows.add(&row, expected).map_err(|reason| inputs.wrong(number, &reason))?;
        }
    } else {
        each_line(path, |number, line| {
            row.clear();
            let mut json = serde_json::Deserializer::from_str(line);
            let read = Line { row: &mut row, with_targets: false }.deserialize(&mut json);
            read.and_then(|()| json.end())
                .map_err(|error| format!("{{\"inputs\": [[...], ...]}} was expected ({error})"))
                .and_then(|()| rows.add(&row, expected))
                .map_err(|reason| Error::data(path.display(), format!("line {number}: {reason}")))
        })?;
    }
    Ok(rows)
}
