use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Channels, Draw, Given, Options, Source, Task};
use crate::data::archive::{self, Limits};
use crate::data::npy::Array;
use crate::data::sums::ContentSum;
use crate::sequence::{Sequence, TargetKind};
use crate::{Error, Stream};

sparsam::options! {
    /// Sequences of one's own, from a file.
    ///
    /// **JSON lines** (`.jsonl`): one sequence a line, `{"inputs": [[…], …], "targets": [null, …]}`. Each time step has a list of
    /// input numbers and a target: `null` for none, a list of bits, or a whole number, which is a class from 0 on.
    ///
    /// **NumPy** (`.npz`): `inputs` of the shape sequences × steps × numbers; `targets` of sequences × steps × bits, or of
    /// sequences × steps for classes, where -1 stands for no target; if need be `lengths`, one for each sequence; and, with
    /// bits, `mask` of sequences × steps, not 0 where there is a target (everywhere, if it is left out).
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
const LIMITS: Limits = Limits { entries: 100, file_bytes: 1 << 34, bytes: 1 << 34 };

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
        let path = given.evaluation_files.unwrap_or(Path::new(&self.data));
        if path.as_os_str().is_empty() {
            let reason = "it names the file of the sequences, .jsonl or .npz";
            return Err(Error::option("data", "\"\"", reason));
        }
        let mut sizes = given.kept.map(Sizes::kept).transpose()?;
        let mut sum = ContentSum::default();
        let sequences = if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz")) {
            read_npz(path, &mut sizes, &mut sum)?
        } else {
            read_json_lines(path, &mut sizes, &mut sum)?
        };
        let Some(sizes) = sizes.filter(|_| !sequences.is_empty()) else {
            return Err(Error::data(path.display(), "it holds no sequences"));
        };
        let (held_out, training): (Vec<_>, Vec<_>) = match given.evaluation_files {
            Some(_) => (sequences, Vec::new()),
            None => {
                let numbered = sequences.into_iter().enumerate();
                let (held_out, training): (Vec<_>, Vec<_>) =
                    numbered.partition(|(number, _)| number % HELD_OUT == HELD_OUT - 1);
                (held_out.into_iter().map(|it| it.1).collect(), training.into_iter().map(|it| it.1).collect())
            }
        };
        if held_out.is_empty() {
            let reason = format!(
                "it holds {} sequences; {HELD_OUT} at least were expected, of which one is held out",
                training.len()
            );
            return Err(Error::data(path.display(), reason));
        }
        let rows = |sequences: Vec<Row>| sequences.into_iter().map(|row| row.sequence(sizes)).collect();
        let (held_out, training): (Vec<Sequence>, Vec<Sequence>) = (rows(held_out), rows(training));
        Ok(Box::new(Held { sizes, training, held_out, sum: sum.finish() }))
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
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Target {
    Class(usize),
    Bits(Vec<f32>),
}

/// A sequence as a line of JSON has it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Row {
    inputs: Vec<Vec<f32>>,
    targets: Vec<Option<Target>>,
}

impl Row {
    /// Checks that the sequence is like those before it, and counts the classes.
    fn check(&self, sizes: &mut Option<Sizes>) -> Result<(), String> {
        let (steps, targets) = (self.inputs.len(), self.targets.len());
        if steps == 0 || steps != targets {
            return Err(format!(
                "as many targets as inputs, and at least one, were expected, not {targets} and {steps}"
            ));
        }
        let Some(first) = self.targets.iter().flatten().next() else {
            return Err("none of its time steps has a target".into());
        };
        let (kind, outputs) = match first {
            Target::Class(_) => (TargetKind::Classes, 1),
            Target::Bits(bits) => (TargetKind::Bits, bits.len()),
        };
        let sizes = sizes.get_or_insert(Sizes { inputs: self.inputs[0].len(), outputs, kind, fixed: false });
        for (number, (input, target)) in (1..).zip(self.inputs.iter().zip(&self.targets)) {
            if input.len() != sizes.inputs || sizes.inputs == 0 {
                let expected = sizes.inputs.max(1);
                return Err(format!("time step {number} has {} inputs where {expected} were expected", input.len()));
            }
            if let Some(bad) = input.iter().find(|value| !value.is_finite()) {
                return Err(format!("time step {number} has an input of {bad}; finite numbers were expected"));
            }
            match (target, sizes.kind) {
                (None, _) => {}
                (Some(Target::Class(class)), TargetKind::Classes) if sizes.fixed && *class >= sizes.outputs => {
                    let outputs = sizes.outputs;
                    return Err(format!("time step {number} is of class {class}, but the network knows {outputs}"));
                }
                (Some(Target::Class(class)), TargetKind::Classes) if *class < 1 << 20 => {
                    sizes.outputs = sizes.outputs.max(class + 1);
                }
                (Some(Target::Class(class)), TargetKind::Classes) => {
                    return Err(format!("time step {number} is of class {class}; there are {} at most", 1 << 20));
                }
                (Some(Target::Bits(bits)), TargetKind::Bits) => {
                    let probable = bits.iter().all(|bit| (0.0..=1.0).contains(bit));
                    if bits.len() != sizes.outputs || bits.is_empty() || !probable {
                        let expected = sizes.outputs.max(1);
                        return Err(format!(
                            "the target of time step {number} is not {expected} bits of 0 or 1, as was expected"
                        ));
                    }
                }
                (Some(_), kind) => {
                    let unit = kind.unit();
                    return Err(format!("the target of time step {number} is not of {unit}, as others are"));
                }
            }
        }
        Ok(())
    }

    fn sequence(self, sizes: Sizes) -> Sequence {
        let mut sequence = Sequence::new(sizes.inputs, sizes.outputs, sizes.kind);
        for (input, target) in self.inputs.into_iter().zip(self.targets) {
            let numbers = match target {
                None => sequence.step(),
                Some(Target::Class(class)) => sequence.step_with_class(class),
                Some(Target::Bits(bits)) => sequence.step_with_bits(&bits),
            };
            numbers.copy_from_slice(&input);
        }
        sequence
    }
}

fn read_json_lines(path: &Path, sizes: &mut Option<Sizes>, sum: &mut ContentSum) -> Result<Vec<Row>, Error> {
    if !path.is_file() {
        return Err(Error::data(path.display(), "there is no such file; name one of sequences, .jsonl or .npz"));
    }
    let file = File::open(path).map_err(Error::at(path))?;
    let mut rows = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(file.take(LIMITS.bytes)).lines()) {
        let wrong = |reason: String| Error::data(path.display(), format!("line {number}: {reason}"));
        let line = line.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => wrong("it is not text in UTF-8".into()),
            _ => Error::at(path)(error),
        })?;
        if line.trim().is_empty() {
            continue;
        }
        let row: Row = serde_json::from_str(&line).map_err(|error| {
            let expected = "{\"inputs\": [[...], ...], \"targets\": [null, ...]} was expected";
            wrong(format!("{expected} ({error})"))
        })?;
        row.check(sizes).map_err(wrong)?;
        sum.add(line.as_bytes());
        rows.push(row);
    }
    Ok(rows)
}

fn read_npz(path: &Path, sizes: &mut Option<Sizes>, sum: &mut ContentSum) -> Result<Vec<Row>, Error> {
    let wrong = |reason: String| Error::data(path.display(), reason);
    let wanted = |name: &str| ["inputs.npy", "targets.npy", "lengths.npy", "mask.npy"].contains(&name);
    let entries = archive::read(path, LIMITS, &wanted)?;
    entries.iter().for_each(|entry| sum.add(&entry.bytes));
    let array = |name: &str| {
        let entry = entries.iter().find(|entry| entry.name.trim_end_matches(".npy") == name);
        entry.map(|entry| Array::parse(&entry.bytes).map_err(|reason| Error::data(&entry.place, reason))).transpose()
    };
    let needed = |name: &str| array(name)?.ok_or_else(|| wrong(format!("it holds no array {name}")));
    let (inputs, targets) = (needed("inputs")?, needed("targets")?);
    let [count, steps, size] = inputs.shape[..] else {
        return Err(wrong(format!("inputs were expected as sequences × steps × numbers, not {:?}", inputs.shape)));
    };
    // No array bounds the number of sequences then.
    if steps == 0 || size == 0 {
        let shape = &inputs.shape;
        return Err(wrong(format!(
            "inputs of at least one step and one number were expected, not of the shape {shape:?}"
        )));
    }
    let shape = |what: &str, array: &Array, expected: &[usize]| {
        if array.shape == expected {
            return Ok(());
        }
        Err(wrong(format!("{what} of the shape {expected:?} were expected beside these inputs, not {:?}", array.shape)))
    };
    let bits = match targets.shape[..] {
        [_, _, bits] => {
            shape("targets", &targets, &[count, steps, bits])?;
            Some(bits)
        }
        _ => {
            shape("targets", &targets, &[count, steps])?;
            None
        }
    };
    let (lengths, mask) = (array("lengths")?, array("mask")?);
    if let Some(lengths) = &lengths {
        shape("lengths", lengths, &[count])?;
    }
    if let Some(mask) = &mask {
        shape("a mask", mask, &[count, steps])?;
    }
    let mut rows = Vec::with_capacity(count);
    for number in 0..count {
        let wrong = |reason: String| wrong(format!("sequence {number}: {reason}"));
        let length = lengths.as_ref().map_or(steps as f64, |lengths| lengths.values[number]);
        if !(1.0..=steps as f64).contains(&length) || length.fract() != 0.0 {
            return Err(wrong(format!("its length is {length} where 1 to {steps} was expected")));
        }
        let of_step = |step: usize| -> Result<Option<Target>, Error> {
            let place = number * steps + step;
            if mask.as_ref().is_some_and(|mask| mask.values[place] == 0.0) {
                return Ok(None);
            }
            let Some(bits) = bits else {
                let class = targets.values[place];
                if class < -1.0 || class.fract() != 0.0 {
                    let reason = format!("the target of time step {} is {class}; a class or -1 was expected", step + 1);
                    return Err(wrong(reason));
                }
                return Ok((class >= 0.0).then_some(Target::Class(class as usize)));
            };
            let bits = &targets.values[place * bits..(place + 1) * bits];
            Ok(Some(Target::Bits(bits.iter().map(|bit| *bit as f32).collect())))
        };
        let length = length as usize;
        let input = |step: usize| {
            let place = (number * steps + step) * size;
            inputs.values[place..place + size].iter().map(|value| *value as f32).collect()
        };
        let row = Row {
            inputs: (0..length).map(input).collect(),
            targets: (0..length).map(of_step).collect::<Result<_, _>>()?,
        };
        row.check(sizes).map_err(wrong)?;
        rows.push(row);
    }
    Ok(rows)
}

/// Sequences to train on and sequences that are held out.
struct Held {
    sizes: Sizes,
    training: Vec<Sequence>,
    held_out: Vec<Sequence>,
    /// Of the file.
    sum: String,
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
        self.training.iter().chain(&self.held_out).map(Sequence::steps).max().unwrap_or(0)
    }

    fn start(&self, draw: Draw) -> Source<'_> {
        let Draw { stream, number, mut random, .. } = draw;
        let whole = match stream {
            Stream::Evaluation => &self.held_out[(number % self.held_out.len() as u64) as usize],
            Stream::Validation if number >= Draw::IN_TURN => {
                &self.held_out[((number - Draw::IN_TURN) % self.held_out.len() as u64) as usize]
            }
            // Numbers of evaluations may lie apart by what the held-out ones divide: always the same few would come.
            Stream::Validation => &self.held_out[random.below(self.held_out.len())],
            _ => {
                // Who built the task to evaluate has no others.
                let sequences = if self.training.is_empty() { &self.held_out } else { &self.training };
                &sequences[random.below(sequences.len())]
            }
        };
        let mut steps = 0..whole.steps();
        Box::new(move |sequence| steps.next().map(|step| sequence.push_step_of(whole, step)).is_some())
    }

    fn evaluation_sequences(&self) -> Option<u64> {
        Some(self.held_out.len() as u64)
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
        let given = Given { kept: Some(&kept), evaluation_files: Some(&arrays) };
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
