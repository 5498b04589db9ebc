use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Channels, Draw, Given, Options, Source, Task};
use crate::data::archive::{self, Limits};
use crate::data::npy::Array;
use crate::data::sums::ContentSum;
use crate::data::text::{BYTE_ORDER_MARK, seems};
use crate::sequence::TargetKind;
use crate::{Error, Stream};

sparsam::options! {
    /// Sequences of one's own, from a file.
    ///
    /// **JSON lines** (`.jsonl`): one sequence a line, `{"inputs": [[…], …], "targets": [null, …]}`. Each time step has a list of
    /// input numbers and a target: `null` for none, a list of bits (0 and 1, or false and true), or a whole number, which is a
    /// class from 0 on.
    ///
    /// **NumPy** (`.npz`): `inputs` of the shape sequences × steps × numbers; `targets` of sequences × steps × bits, or of
    /// sequences × steps for classes, where -1 (or PyTorch's -100) stands for no target; if need be `lengths`, one for each
    /// sequence; and, with bits, `mask` of sequences × steps, not 0 where there is a target (everywhere, if it is left out).
    ///
    /// Every tenth sequence is held out and never trained on. Levels have no meaning here: there is one.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Sequences {
        /// The file, .jsonl or .npz.
        pub data: String = String::new();
    }
}

/// One sequence of ten is held out.
const HELD_OUT: usize = 10;

/// What is read of a file at most: more would have to be streamed from it.
const LIMITS: Limits = Limits { entries: 10_000, file_bytes: 1 << 34, bytes: 1 << 34 };

impl Options for Sequences {
    fn batches(&self) -> u64 {
        10_000
    }

    fn reads_files(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    fn build(&self, given: Given<'_>) -> Result<Box<dyn Task>, Error> {
        let data;
        let path = match given.evaluation_files {
            Some(files) => files,
            None => {
                data = given.place_of_data(&self.data)?;
                &data
            }
        };
        if path.as_os_str().is_empty() {
            let reason = "it names the file of the sequences, .jsonl or .npz";
            return Err(Error::option("data", "\"\"", reason));
        }
        let mut sizes = given.kept.map(Sizes::kept).transpose()?;
        let mut sum = ContentSum::default();
        let mut held = Rows::default();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz")) {
            read_npz(path, &mut sizes, &mut sum, &mut held)?;
        } else {
            read_json_lines(path, &mut sizes, &mut sum, &mut held)?;
        }
        let Some(sizes) = sizes.filter(|_| !held.ends.is_empty()) else {
            return Err(Error::data(path.display(), "it holds no sequences"));
        };
        let count = held.ends.len();
        if given.evaluation_files.is_none() && count < HELD_OUT {
            let reason =
                format!("it holds {count} sequences; {HELD_OUT} at least were expected, of which one is held out");
            return Err(Error::data(path.display(), reason));
        }
        held.shrink_to_fit();
        Ok(Box::new(Held { sizes, rows: held, all: given.evaluation_files.is_some(), sum: sum.finish() }))
    }
}

/// The numbers of a time step, alike in all sequences.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sizes {
    inputs: usize,
    /// Bits, or classes.
    outputs: usize,
    kind: TargetKind,
    /// A network has them already: there can be no more classes.
    fixed: bool,
}

impl Sizes {
    /// Those that a run keeps.
    fn kept(kept: &Value) -> Result<Self, Error> {
        let size = |name: &str| kept.get(name).and_then(Value::as_u64).and_then(|size| size.try_into().ok());
        let kind = match kept.get("targets").and_then(Value::as_str) {
            Some("bits") => Some(TargetKind::Bits),
            Some("classes") => Some(TargetKind::Classes),
            _ => None,
        };
        let sizes = (|| Some(Self { inputs: size("inputs")?, outputs: size("outputs")?, kind: kind?, fixed: true }))();
        sizes.ok_or_else(|| Error::data("the sizes of the run", "they cannot be read; restore task.json"))
    }
}

/// What is wanted at a time step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Nothing,
    Class(u64),
    /// So many bits.
    Bits(u32),
}

/// A sequence as it is read: flat, since files come from others and a list of lists takes many times its text.
#[derive(Default)]
struct Row {
    /// The numbers of all time steps, and how many each has.
    inputs: Vec<f32>,
    widths: Vec<u32>,
    targets: Vec<Wanted>,
    /// Those of all targets that are bits.
    bits: Vec<f32>,
}

impl Row {
    fn clear(&mut self) {
        self.inputs.clear();
        self.widths.clear();
        self.targets.clear();
        self.bits.clear();
    }

    /// Checks that the inputs of all time steps have this size, and are finite.
    fn check_inputs(&self, size: usize) -> Result<(), String> {
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

    /// Checks that the sequence is like those before it, and counts the classes.
    fn check(&self, sizes: &mut Option<Sizes>) -> Result<(), String> {
        let (steps, targets) = (self.widths.len(), self.targets.len());
        if steps == 0 || steps != targets {
            return Err(format!(
                "as many targets as inputs, and at least one, were expected, not {targets} and {steps}"
            ));
        }
        let (kind, outputs) = match self.targets.iter().find(|target| **target != Wanted::Nothing) {
            Some(Wanted::Bits(bits)) => (TargetKind::Bits, *bits as usize),
            Some(Wanted::Class(_)) => (TargetKind::Classes, 1),
            _ => return Err("none of its time steps has a target".into()),
        };
        let sizes = sizes.get_or_insert(Sizes { inputs: self.widths[0] as usize, outputs, kind, fixed: false });
        self.check_inputs(sizes.inputs.max(1))?;
        let mut bits = &self.bits[..];
        for (number, target) in (1..).zip(&self.targets) {
            match (*target, sizes.kind) {
                (Wanted::Nothing, _) => {}
                (Wanted::Class(class), TargetKind::Classes) if sizes.fixed && class >= sizes.outputs as u64 => {
                    let outputs = sizes.outputs;
                    return Err(format!("time step {number} is of class {class}, but the network knows {outputs}"));
                }
                (Wanted::Class(class), TargetKind::Classes) if class < MOST_CLASSES => {
                    sizes.outputs = sizes.outputs.max(class as usize + 1);
                }
                (Wanted::Class(class), TargetKind::Classes) => {
                    return Err(format!("time step {number} is of class {class}; there are {MOST_CLASSES} at most"));
                }
                (Wanted::Bits(count), TargetKind::Bits) => {
                    let these;
                    (these, bits) = bits.split_at(count as usize);
                    let probable = these.iter().all(|bit| (0.0..=1.0).contains(bit));
                    if these.len() != sizes.outputs || these.is_empty() || !probable {
                        let expected = sizes.outputs.max(1);
                        return Err(format!(
                            "the target of time step {number} is not {expected} bits of 0 or 1, as was expected"
                        ));
                    }
                }
                (Wanted::Class(_) | Wanted::Bits(_), kind) => {
                    let unit = kind.unit();
                    return Err(format!("the target of time step {number} is not of {unit}, as others are"));
                }
            }
        }
        Ok(())
    }
}

/// Classes that are told apart, at most.
const MOST_CLASSES: u64 = 1 << 20;

/// Reads into a row what a line of JSON has; the inputs alone, whatever stands beside them, if no targets are wanted.
struct Line<'a> {
    row: &'a mut Row,
    with_targets: bool,
}

/// Reads the inputs of all time steps.
struct Inputs<'a>(&'a mut Row);

/// Reads the numbers of a time step, and gives how many there are.
struct Input<'a>(&'a mut Vec<f32>);

/// Reads the targets of all time steps.
struct Targets<'a>(&'a mut Row);

/// Reads a target, the bits of which it adds to those before.
struct Target<'a>(&'a mut Vec<f32>);

/// A bit: a number or a truth value.
struct Bit(f32);

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
    Inputs, (), deserialize_seq;
    Input, u32, deserialize_seq;
    Targets, (), deserialize_seq;
    Target, Wanted, deserialize_any;
}

impl<'de> Visitor<'de> for Line<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut inputs, mut targets) = (false, !self.with_targets);
        while let Some(key) = map.next_key::<String>()? {
            let before = match &*key {
                "inputs" => std::mem::replace(&mut inputs, true),
                _ if !self.with_targets => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                "targets" => std::mem::replace(&mut targets, true),
                _ => return Err(de::Error::custom(format_args!("there is {key:?} beside these; leave it out"))),
            };
            if before {
                return Err(de::Error::custom(format_args!("{key:?} is there twice")));
            }
            if key == "inputs" {
                map.next_value_seed(Inputs(self.row))?;
            } else {
                map.next_value_seed(Targets(self.row))?;
            }
        }
        match (inputs, targets) {
            (true, true) => Ok(()),
            (false, _) => Err(de::Error::custom("there are no inputs")),
            (_, false) => Err(de::Error::custom("there are no targets")),
        }
    }
}

impl<'de> Visitor<'de> for Inputs<'_> {
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

impl<'de> Visitor<'de> for Targets<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of targets, one for each time step")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut targets: A) -> Result<(), A::Error> {
        while let Some(target) = targets.next_element_seed(Target(&mut self.0.bits))? {
            self.0.targets.push(target);
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Target<'_> {
    type Value = Wanted;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a target: null for none, a class from 0 on, or a list of bits")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Wanted, E> {
        Ok(Wanted::Nothing)
    }

    fn visit_u64<E: de::Error>(self, class: u64) -> Result<Wanted, E> {
        Ok(Wanted::Class(class))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Wanted, E> {
        Err(E::custom(format_args!("there is no class {number}; where there is no target, write null")))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Wanted, E> {
        // Tables with a gap have all of their numbers so.
        if number >= 0.0 && number.fract() == 0.0 && number < 2f64.powi(53) {
            return Ok(Wanted::Class(number as u64));
        }
        Err(E::custom(format_args!(
            "there is no class {number}; a class is a whole number from 0 on, and null is none"
        )))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut bits: A) -> Result<Wanted, A::Error> {
        let mut count = 0u32;
        while let Some(Bit(bit)) = bits.next_element()? {
            self.0.push(bit);
            count = count.checked_add(1).ok_or_else(|| de::Error::custom("it has too many bits"))?;
        }
        Ok(Wanted::Bits(count))
    }
}

impl<'de> Deserialize<'de> for Bit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfBit;

        impl Visitor<'_> for OfBit {
            type Value = Bit;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a bit: 0 or 1, false or true")
            }

            fn visit_bool<E: de::Error>(self, bit: bool) -> Result<Bit, E> {
                Ok(Bit(f32::from(u8::from(bit))))
            }

            fn visit_u64<E: de::Error>(self, bit: u64) -> Result<Bit, E> {
                Ok(Bit(bit as f32))
            }

            fn visit_i64<E: de::Error>(self, bit: i64) -> Result<Bit, E> {
                Ok(Bit(bit as f32))
            }

            fn visit_f64<E: de::Error>(self, bit: f64) -> Result<Bit, E> {
                Ok(Bit(bit as f32))
            }
        }

        deserializer.deserialize_any(OfBit)
    }
}

/// The sequences of a file, one after the other.
#[derive(Default)]
struct Rows {
    /// The numbers of all time steps.
    inputs: Vec<f32>,
    /// The class of each time step or, of bits, whether there are any; [`NONE`] where nothing is wanted.
    targets: Vec<u32>,
    /// The bits of the time steps that have a target.
    bits: Vec<f32>,
    /// Where each sequence ends: time steps, and time steps with bits, of it and all before it.
    ends: Vec<[usize; 2]>,
}

/// No target.
const NONE: u32 = u32::MAX;

impl Rows {
    fn add(&mut self, row: &Row) {
        self.inputs.extend_from_slice(&row.inputs);
        self.bits.extend_from_slice(&row.bits);
        let target = |wanted: &Wanted| match wanted {
            Wanted::Nothing => NONE,
            // It was checked to be below 2^20.
            Wanted::Class(class) => *class as u32,
            Wanted::Bits(_) => 0,
        };
        self.targets.extend(row.targets.iter().map(target));
        let with_bits = row.targets.iter().filter(|target| matches!(target, Wanted::Bits(_))).count();
        let [_, before] = self.ends.last().copied().unwrap_or_default();
        self.ends.push([self.targets.len(), before + with_bits]);
    }

    fn shrink_to_fit(&mut self) {
        self.inputs.shrink_to_fit();
        self.targets.shrink_to_fit();
        self.bits.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// The time steps of a sequence, and the number of time steps with bits before it.
    fn steps(&self, number: usize) -> (Range<usize>, usize) {
        let [start, with_bits] = number.checked_sub(1).map_or([0, 0], |before| self.ends[before]);
        (start..self.ends[number][0], with_bits)
    }
}

/// Hands on every line of a file that is not blank, with its number.
fn each_line(path: &Path, mut take: impl FnMut(u64, &str) -> Result<(), Error>) -> Result<(), Error> {
    let (file, _) = sparsam::internal::file::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::data(path.display(), "there is no such file; name one of sequences, .jsonl or .npz")
        }
        _ => Error::at(path)(error),
    })?;
    let mut lines = BufReader::new(file.take(LIMITS.bytes));
    let start = lines.fill_buf().map_err(Error::at(path))?;
    let seems = seems(start);
    if !seems.is_empty() {
        return Err(Error::data(path.display(), format!("lines of JSON were expected{seems}")));
    }
    if start.starts_with(BYTE_ORDER_MARK) {
        lines.consume(BYTE_ORDER_MARK.len());
    }
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let length = lines.read_line(&mut line).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => {
                let reason = format!("line {number}: it is not text in UTF-8; save the file in UTF-8");
                Error::data(path.display(), reason)
            }
            _ => Error::at(path)(error),
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

fn read_json_lines(path: &Path, sizes: &mut Option<Sizes>, sum: &mut ContentSum, rows: &mut Rows) -> Result<(), Error> {
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
        row.check(sizes).map_err(wrong)?;
        sum.add(text.as_bytes());
        rows.add(&row);
        Ok(())
    })
}

/// The arrays of a `.npz` file.
struct Arrays<'a> {
    path: &'a Path,
    by_name: BTreeMap<String, Array>,
}

/// Inputs of sequences × steps × numbers, and the length of each sequence.
struct InputArrays<'a> {
    path: &'a Path,
    inputs: Array,
    lengths: Option<Array>,
    count: usize,
    steps: usize,
    size: usize,
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
        let inputs = self.needed("inputs")?;
        let [count, steps, size] = inputs.shape[..] else {
            let shape = &inputs.shape;
            return Err(self.wrong(format!("inputs were expected as sequences × steps × numbers, not {shape:?}")));
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
        Ok(InputArrays { path: self.path, inputs, lengths, count, steps, size })
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
        let start = number * steps * self.size;
        row.inputs.extend((start..start + length * self.size).map(|place| self.inputs.number(place) as f32));
        row.widths.resize(length, u32::try_from(self.size).unwrap_or(u32::MAX));
        Ok(length)
    }
}

fn read_npz(path: &Path, sizes: &mut Option<Sizes>, sum: &mut ContentSum, rows: &mut Rows) -> Result<(), Error> {
    let mut arrays = Arrays::read(path, &["inputs", "targets", "lengths", "mask"], sum)?;
    let targets = arrays.take("targets");
    let inputs = arrays.inputs()?;
    let InputArrays { count, steps, .. } = inputs;
    let targets = targets.map_or_else(|| arrays.needed("targets"), Ok)?;
    let bits = match targets.shape[..] {
        [_, _, bits] => {
            arrays.expect("targets", &targets, &[count, steps, bits])?;
            Some(bits)
        }
        _ => {
            arrays.expect("targets", &targets, &[count, steps])?;
            None
        }
    };
    let mask = arrays.take("mask");
    if let Some(mask) = &mask {
        arrays.expect("a mask", mask, &[count, steps])?;
    }
    let mut row = Row::default();
    for number in 0..count {
        for step in 0..inputs.take(number, &mut row)? {
            let place = number * steps + step;
            let masked = mask.as_ref().is_some_and(|mask| mask.number(place) == 0.0);
            row.targets.push(match bits {
                _ if masked => Wanted::Nothing,
                Some(bits) => {
                    row.bits.extend((place * bits..(place + 1) * bits).map(|place| targets.number(place) as f32));
                    Wanted::Bits(u32::try_from(bits).unwrap_or(u32::MAX))
                }
                None => {
                    let class = targets.number(place);
                    if class == -1.0 || class == -100.0 {
                        Wanted::Nothing
                    } else if class >= 0.0 && class.fract() == 0.0 {
                        Wanted::Class(class as u64)
                    } else {
                        let reason =
                            format!("the target of time step {} is {class}; a class or -1 was expected", step + 1);
                        return Err(inputs.wrong(number, &reason));
                    }
                }
            });
        }
        row.check(sizes).map_err(|reason| inputs.wrong(number, &reason))?;
        rows.add(&row);
    }
    Ok(())
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
    /// The number of sequences.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The inputs of a sequence: time step after time step.
    pub fn sequence(&self, number: usize) -> &[f32] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.inputs[start..self.ends[number]]
    }

    fn add(&mut self, row: &Row) -> Result<(), String> {
        if row.widths.is_empty() {
            return Err("it has no time steps".into());
        }
        row.check_inputs(self.input_size)?;
        self.inputs.extend_from_slice(&row.inputs);
        self.ends.push(self.inputs.len());
        Ok(())
    }
}

/// The inputs alone of the sequences of a file, as [`Sequences`] describes it. What is wanted may be there or not.
///
/// # Errors
/// [`Error::Data`] names the line or the array that does not fit networks with inputs of `input_size` numbers.
pub fn read_inputs(path: &Path, input_size: usize) -> Result<InputRows, Error> {
    let mut rows = InputRows { input_size, ..InputRows::default() };
    let mut row = Row::default();
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz")) {
        let inputs = Arrays::read(path, &["inputs", "lengths"], &mut ContentSum::default())?.inputs()?;
        for number in 0..inputs.count {
            inputs.take(number, &mut row)?;
            rows.add(&row).map_err(|reason| inputs.wrong(number, &reason))?;
        }
    } else {
        each_line(path, |number, line| {
            row.clear();
            let mut json = serde_json::Deserializer::from_str(line);
            let read = Line { row: &mut row, with_targets: false }.deserialize(&mut json);
            read.and_then(|()| json.end())
                .map_err(|error| format!("{{\"inputs\": [[...], ...]}} was expected ({error})"))
                .and_then(|()| rows.add(&row))
                .map_err(|reason| Error::data(path.display(), format!("line {number}: {reason}")))
        })?;
    }
    Ok(rows)
}

/// Sequences to train on and sequences that are held out.
struct Held {
    sizes: Sizes,
    rows: Rows,
    /// All are held out: they are only evaluated on.
    all: bool,
    /// Of the file.
    sum: String,
}

impl Held {
    /// How many are held out.
    fn held_out_count(&self) -> usize {
        let count = self.rows.ends.len();
        if self.all { count } else { count / HELD_OUT }
    }

    /// One of those that are held out.
    fn held_out(&self, number: usize) -> usize {
        if self.all { number } else { number * HELD_OUT + HELD_OUT - 1 }
    }

    /// How many are trained on. Who built the task to evaluate has no others than those held out.
    fn training_count(&self) -> usize {
        let count = self.rows.ends.len();
        if self.all { count } else { count - count / HELD_OUT }
    }

    /// One of those that are trained on.
    fn training(&self, number: usize) -> usize {
        if self.all { number } else { number / (HELD_OUT - 1) * HELD_OUT + number % (HELD_OUT - 1) }
    }
}

impl Task for Held {
    fn name(&self) -> &'static str {
        "sequences"
    }

    fn channels(&self) -> Channels {
        let Sizes { inputs, outputs, kind, .. } = self.sizes;
        Channels { input_size: inputs, output_size: outputs, target_kind: kind }
    }

    fn level_unit(&self) -> &'static str {
        "sequences"
    }

    fn steps(&self, _: usize) -> usize {
        (0..self.rows.ends.len()).map(|number| self.rows.steps(number).0.len()).max().unwrap_or(0)
    }

    fn start(&self, draw: Draw) -> Source<'_> {
        let Draw { stream, number, mut random, .. } = draw;
        let held_out = self.held_out_count();
        let whole = match stream {
            Stream::Evaluation => self.held_out((number % held_out as u64) as usize),
            Stream::Validation if number >= Draw::IN_TURN => {
                self.held_out(((number - Draw::IN_TURN) % held_out as u64) as usize)
            }
            // Numbers of evaluations may lie apart by what the held-out ones divide: always the same few would come.
            Stream::Validation => self.held_out(random.below(held_out)),
            _ => self.training(random.below(self.training_count())),
        };
        let Sizes { inputs, outputs, kind, .. } = self.sizes;
        let (mut steps, mut with_bits) = self.rows.steps(whole);
        Box::new(move |sequence| {
            let Some(step) = steps.next() else { return false };
            let numbers = match (self.rows.targets[step], kind) {
                (NONE, _) => sequence.step(),
                (class, TargetKind::Classes) => sequence.step_with_class(class as usize),
                (_, TargetKind::Bits) => {
                    let bits = &self.rows.bits[with_bits * outputs..(with_bits + 1) * outputs];
                    with_bits += 1;
                    sequence.step_with_bits(bits)
                }
            };
            numbers.copy_from_slice(&self.rows.inputs[step * inputs..(step + 1) * inputs]);
            true
        })
    }

    fn evaluation_sequences(&self) -> Option<u64> {
        Some(self.held_out_count() as u64)
    }

    fn kept(&self) -> Option<Value> {
        let Sizes { inputs, outputs, kind, .. } = self.sizes;
        Some(json!({ "inputs": inputs, "outputs": outputs, "targets": kind.unit(), "sha256": self.sum }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use crate::data::npy::tests::write_npz;
    use crate::sequence::Sequence;

    fn build(path: &Path) -> Result<Box<dyn Task>, Error> {
        Sequences { data: path.display().to_string() }.build(Given::default())
    }

    fn message(result: Result<Box<dyn Task>, Error>) -> String {
        let error = result.err().unwrap();
        assert!(error.is_usage(), "{error:?}");
        error.to_string()
    }

    fn generate(task: &dyn Task, stream: Stream, number: u64) -> Sequence {
        let mut sequence = task.sequence();
        task.generate(Draw::new(&(1..=1), 1, stream, number), &mut sequence);
        sequence
    }

    #[test]
    fn lines_and_arrays_hold_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (lines, arrays) = (folder.path().join("a.jsonl"), folder.path().join("a.npz"));
        // Twelve sequences of two or three steps of two numbers; a class at the last.
        let mut text = String::new();
        let (mut inputs, mut targets, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..12 {
            let steps = 2 + number % 2;
            let input: Vec<[usize; 2]> = (0..steps).map(|step| [number, step]).collect();
            let mut target = vec![Value::Null; steps];
            target[steps - 1] = json!(number % 4);
            text += &format!("{}\n", json!({"inputs": input, "targets": target}));
            for step in 0..3 {
                inputs.extend(if step < steps { [number as f64, step as f64] } else { [f64::NAN; 2] });
                targets.push(if step + 1 == steps { (number % 4) as f64 } else { -1.0 });
            }
            lengths.push(steps as f64);
        }
        fs::write(&lines, text).unwrap();
        let arrays_of = [
            ("inputs", "<f4", &[12, 3, 2][..], &inputs[..]),
            ("targets", "<i8", &[12, 3], &targets),
            ("lengths", "|u1", &[12], &lengths),
        ];
        write_npz(&arrays, &arrays_of);
        let (one, other) = (build(&lines).unwrap(), build(&arrays).unwrap());
        assert_eq!(one.channels(), Channels { input_size: 2, output_size: 4, target_kind: TargetKind::Classes });
        assert_eq!((one.channels(), one.evaluation_sequences()), (other.channels(), Some(1)));
        assert_eq!(one.steps(1), 3);
        for number in 0..40 {
            let sequence = generate(&*one, Stream::Training, number);
            assert_eq!(sequence, generate(&*other, Stream::Training, number));
            assert_ne!(sequence.input(0)[0], 9.0);
            assert_eq!(sequence.class(sequence.steps() - 1), Some(sequence.input(0)[0] as usize % 4));
            assert_eq!(generate(&*one, Stream::Evaluation, number).input(0)[0], 9.0);
        }
        // Files of one's own are all evaluated on, in the sizes of the network.
        let kept = json!({"inputs": 2, "outputs": 3, "targets": "classes"});
        let given = Given { kept: Some(&kept), evaluation_files: Some(&arrays), ..Given::default() };
        let error = message(Sequences::default().build(given));
        assert!(error.contains("sequence 3: time step 3 is of class 3, but the network knows 3"), "{error}");
        let kept = one.kept().unwrap();
        let given = Given { kept: Some(&kept), ..given };
        let task = Sequences::default().build(given).unwrap();
        assert_eq!(task.evaluation_sequences(), Some(12));
        // They are all that there is, whatever they are to be for.
        for stream in [Stream::Training, Stream::Validation, Stream::Evaluation] {
            assert!(generate(&*task, stream, 5).steps() >= 2);
        }
    }

    #[test]
    fn evaluations_during_training_are_on_all_that_is_held_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let lines = (0..200).map(|number| format!("{{\"inputs\": [[{number}]], \"targets\": [[0]]}}\n"));
        fs::write(&path, lines.collect::<String>()).unwrap();
        let task = build(&path).unwrap();
        let first_input = |stream, number| generate(&*task, stream, number).input(0)[0] as usize;
        let held_out: BTreeSet<usize> = (9..200).step_by(10).collect();
        // Five every 500 batches of 8.
        let numbers = (0..100).flat_map(|evaluation| (0..5).map(move |number| 4000 * evaluation + number));
        assert_eq!(numbers.map(|number| first_input(Stream::Validation, number)).collect::<BTreeSet<_>>(), held_out);
        for (stream, first) in [(Stream::Evaluation, 0), (Stream::Validation, Draw::IN_TURN)] {
            assert_eq!((0..20).map(|number| first_input(stream, first + number)).collect::<BTreeSet<_>>(), held_out);
        }
    }

    #[test]
    fn bits_may_be_masked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let numbers: Vec<f64> = (0..20).map(f64::from).collect();
        let bits: Vec<f64> = (0..40).map(|bit| f64::from(bit % 2)).collect();
        let mask: Vec<f64> = (0..20).map(|step| f64::from(step % 2)).collect();
        let inputs = ("inputs", "<f8", &[10, 2, 1][..], &numbers[..]);
        let targets = ("targets", "|b1", &[10, 2, 2][..], &bits[..]);
        write_npz(&path, &[inputs, targets, ("mask", "<i4", &[10, 2], &mask)]);
        let task = build(&path).unwrap();
        let sequence = generate(&*task, Stream::Evaluation, 0);
        assert_eq!((sequence.bits(0), sequence.bits(1)), (None, Some(&[0.0, 1.0][..])));
        assert_eq!((sequence.input(0), sequence.input(1)), (&[18.0][..], &[19.0][..]));
        let halves: Vec<f64> = numbers.iter().map(|number| number / 2.0).collect();
        let holes: Vec<f64> = numbers.iter().map(|number| if *number == 7.0 { f64::NAN } else { *number }).collect();
        for (arrays, expected) in [
            (
                &[("inputs", "<f8", &[10, 2, 1][..], &holes[..]), targets][..],
                "sequence 3: time step 2 has an input of NaN",
            ),
            (&[inputs][..], "it holds no array targets"),
            (&[targets], "it holds no array inputs"),
            (&[inputs, ("targets", "<f4", &[5, 4, 2], &bits)], "targets of the shape [10, 2, 2] were expected"),
            (&[("inputs", "<f4", &[20], &numbers), targets], "sequences × steps × numbers, not [20]"),
            (
                &[("inputs", "<f4", &[1 << 60, 0, 1], &[]), ("targets", "<f4", &[1 << 60, 0], &[])],
                "at least one step and one number were expected, not of the shape [1152921504606846976, 0, 1]",
            ),
            (
                &[("inputs", "<f4", &[1 << 60, 1, 0], &[]), ("targets", "<f4", &[1 << 60, 1, 0], &[])],
                "at least one step and one number were expected",
            ),
            (&[("inputs", "<f4", &[0, 1, 1], &[]), ("targets", "<f4", &[0, 1], &[])], "it holds no sequences"),
            (&[inputs, targets, ("mask", "<f4", &[20], &mask)], "a mask of the shape [10, 2]"),
            (&[inputs, targets, ("lengths", "<f4", &[10], &numbers[..10])], "sequence 0: its length is 0 where 1 to 2"),
            (&[inputs, ("targets", "<f4", &[10, 2], &halves)], "sequence 0: the target of time step 2 is 0.5"),
        ] {
            write_npz(&path, arrays);
            let error = message(build(&path));
            assert!(error.contains("a.npz") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn numbers_are_read_as_other_programs_write_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let of = |line: &str, before: &str, end: &str| {
            fs::write(&path, format!("{before}{}", format!("{line}{end}").repeat(10))).unwrap();
            let task = build(&path).unwrap();
            generate(&*task, Stream::Evaluation, 0)
        };
        // A table with a gap has its classes as floating-point numbers; truth values are bits.
        let floats = of("{\"inputs\": [[1], [2]], \"targets\": [null, 2.0]}", "", "\n");
        assert_eq!((floats.class(0), floats.class(1)), (None, Some(2)));
        let truths = of("{\"targets\": [[true, false]], \"inputs\": [[1.5]]}", "\u{feff}\n", "\r\n\r\n");
        assert_eq!((truths.bits(0), truths.input(0)), (Some(&[1.0, 0.0][..]), &[1.5][..]));
    }

    #[test]
    fn what_is_no_file_of_sequences_is_named_by_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            message(build(&path))
        };
        let wide: Vec<u8> = "\u{feff}{\"inputs\": []}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (name, bytes, expected) in [
            ("a.jsonl", &b"\x1f\x8b\x08\0\0"[..], "it is compressed with gzip; unpack it"),
            ("a.jsonl.zst", b"\x28\xb5\x2f\xfd\0", "compressed with Zstandard"),
            ("b.jsonl", &wide, "it is text in UTF-16; save it in UTF-8"),
            ("c.jsonl", &wide[2..], "UTF-16"),
            ("d.jsonl", b"{\"inputs\": [[1]], \"targets\": [\"\xe9\"]}\n", "line 1: it is not text in UTF-8"),
            ("a.npy", b"\x93NUMPY\x01\0", "numpy.savez"),
            ("b.npz", b"\x93NUMPY\x01\0", "it is no archive as its name says: it is one array of NumPy"),
            ("c.npz", b"\x1f\x8b\x08\0\0", "compressed with gzip"),
            ("a.parquet", b"PAR1\0\0", "Parquet"),
            ("a.pt", b"PK\x03\x04\0", "zip archive"),
        ] {
            let found = write(name, bytes);
            assert!(found.contains(name) && found.contains(expected), "{found}");
        }
        let folder_of = message(build(folder.path()));
        assert!(folder_of.contains("it is a folder, where a file was expected"), "{folder_of}");
    }

    #[test]
    fn malformed_lines_are_named_with_what_was_expected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let good = "{\"inputs\": [[1, 2], [3, 4]], \"targets\": [null, [0, 1]]}\n";
        for (line, expected) in [
            ("rubbish", "{\"inputs\": [[...], ...], \"targets\": [null, ...]} was expected"),
            ("{\"inputs\": [[1, 2]]}", "was expected"),
            ("{\"inputs\": [[1, 2]], \"targets\": []}", "as many targets as inputs"),
            ("{\"inputs\": [], \"targets\": []}", "at least one"),
            ("{\"inputs\": [[1, 2]], \"targets\": [null]}", "none of its time steps has a target"),
            (
                "{\"inputs\": [[1], [1, 2]], \"targets\": [null, [0, 1]]}",
                "time step 1 has 1 inputs where 2 were expected",
            ),
            ("{\"inputs\": [[1, 2]], \"targets\": [[0]]}", "the target of time step 1 is not 2 bits"),
            ("{\"inputs\": [[1, 2]], \"targets\": [[0, 2]]}", "the target of time step 1 is not 2 bits"),
            ("{\"inputs\": [[1, 2]], \"targets\": [1]}", "the target of time step 1 is not of bits"),
            ("{\"inputs\": [[1, 1e300]], \"targets\": [[0, 1]]}", "number out of range"),
            ("{\"inputs\": [[1, 2]], \"targets\": [-1]}", "there is no class -1; where there is no target, write null"),
            ("{\"inputs\": [[1, 2]], \"targets\": [1.5]}", "there is no class 1.5"),
            ("{\"inputs\": [[1, 2]], \"targets\": [\"a\"]}", "null for none, a class from 0 on, or a list of bits"),
            ("{\"inputs\": [[1, 2]], \"targets\": [[0, \"1\"]]}", "a bit: 0 or 1, false or true"),
            ("{\"inputs\": [1, 2], \"targets\": [0, 1]}", "the numbers of a time step, as a list"),
            ("{\"inputs\": [[1, 2]], \"targets\": [[0, 1]], \"id\": 3}", "there is \"id\" beside these; leave it out"),
            ("{\"targets\": [[0, 1]]}", "there are no inputs"),
            ("{\"targets\": [0], \"targets\": [1]}", "\"targets\" is there twice"),
        ] {
            fs::write(&path, format!("{good}\n{line}\n")).unwrap();
            let error = message(build(&path));
            assert!(error.contains("a.jsonl: line 3: ") && error.contains(expected), "{line} gave {error}");
        }
        fs::write(&path, good.repeat(9)).unwrap();
        assert!(message(build(&path)).contains("it holds 9 sequences; 10 at least"));
        fs::write(&path, "").unwrap();
        assert!(message(build(&path)).contains("it holds no sequences"));
        assert!(message(build(&folder.path().join("none.jsonl"))).contains("there is no such file"));
        assert!(message(build(Path::new(""))).contains("data = \"\" does not work"));
    }
}
