//! Sequences of one's own, from files.

mod file;
mod scaling;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sparsam::option::{Kind, OptionValue, Value as Told};

pub use file::{InputRows, Inputs, read_inputs};
pub use scaling::Scaling;

use self::file::{Format, NONE, Reader, Rows};
use super::{Channels, Draw, Given, Options, Source, Task};
use crate::data::sums::ContentSum;
use crate::sequence::{Guess, TargetKind};
use crate::{Error, Stream};

sparsam::options! {
    /// Sequences of one's own, from a file.
    ///
    /// **JSON lines** (`.jsonl`, also compressed with gzip): one sequence a line, `{"inputs": [[…], …], "targets": [null, …]}`.
    /// Each time step has a list of input numbers and a target: `null` for none, a list of bits (0 and 1, or false and true) or
    /// of numbers, or a whole number, which is a class from 0 on. `"target"` in the place of `"targets"` is the one target of the
    /// whole sequence, wanted at its last time step. `"tokens": [3, 0, …]` in the place of `"inputs"` are tokens, whole numbers
    /// from 0 on, each of which has an embedding.
    ///
    /// **NumPy** (`.npz`): `inputs` of the shape sequences × steps × numbers, or `tokens` of sequences × steps; `targets` of
    /// sequences × steps × bits or numbers, or of sequences × steps for classes, where -1 (or PyTorch's -100) stands for no
    /// target; or `target` without the axis of steps; if need be `lengths`, one for each sequence; and `mask` of
    /// sequences × steps, not 0 where there is a target (everywhere, if it is left out).
    ///
    /// Lists are bits if all of a file's are 0 or 1, and numbers if some lie outside of 0 to 1; where neither is so,
    /// [`targets`](Self::targets) says what they are. Numbers are learnt by their mean squared error.
    ///
    /// Every tenth sequence is held out and never trained on, unless there is a file for
    /// [validation](Self::validation). Levels have no meaning here: there is one.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Sequences {
        /// The file, .jsonl or .npz.
        pub data: String = String::new();
        /// A file of sequences to evaluate on during training, instead of every tenth of the data.
        pub validation: String = String::new();
        /// What the targets are; auto: what they look like.
        pub targets: Targets = Targets::Auto;
        /// Bring each number of the inputs to mean 0 and deviation 1 over those trained on.
        pub scale_inputs: bool = false;
    }
}

/// What the targets of a file are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Targets {
    /// Single numbers are classes; lists of nothing but 0 and 1 are bits, and lists some of which lie outside of 0 to 1 are
    /// numbers.
    #[default]
    Auto,
    /// Bits, or the probabilities of a 1.
    Bits,
    /// Classes.
    Classes,
    /// Numbers.
    Numbers,
}

impl Targets {
    /// The names of all choices.
    pub const NAMES: &[&str] = &["auto", "bits", "classes", "numbers"];

    const ALL: [Self; 4] = [Self::Auto, Self::Bits, Self::Classes, Self::Numbers];

    fn kind(self) -> Option<TargetKind> {
        match self {
            Self::Auto => None,
            Self::Bits => Some(TargetKind::Bits),
            Self::Classes => Some(TargetKind::Classes),
            Self::Numbers => Some(TargetKind::Numbers),
        }
    }

    fn name(self) -> &'static str {
        self.kind().map_or("auto", TargetKind::unit)
    }
}

impl OptionValue for Targets {
    const KIND: Kind = Kind::Word(Self::NAMES);

    fn to_value(&self) -> Told {
        Told::Text(self.name().to_owned())
    }

    fn from_value(value: &Told) -> Option<Self> {
        let Told::Text(name) = value else { return None };
        Self::ALL.into_iter().find(|targets| targets.name() == name)
    }
}

/// One sequence of ten is held out.
const HELD_OUT: usize = 10;

impl Options for Sequences {
    fn batches(&self) -> u64 {
        10_000
    }

    fn reads_files(&self) -> bool {
        true
    }

    fn reproduces_nothing(&self) -> Option<&'static str> {
        Some("what outputs stand for need not be what inputs stand for; leave it at 0")
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
        let kept = given.kept.or(given.goes_on).map(Kept::read).transpose()?;
        let mut reader = Reader::new(self.targets.kind(), kept.as_ref().map(|kept| kept.format));
        let mut sum = ContentSum::default();
        reader.read(path, &mut sum)?;
        let count = reader.count();
        let held_out = if given.evaluation_files.is_some() {
            HeldOut::All
        } else if self.validation.is_empty() {
            if count < HELD_OUT {
                let reason = format!(
                    "it holds {count} sequences; {HELD_OUT} at least were expected, of which one is held out, or a file \
                     to evaluate on (--validation)"
                );
                return Err(Error::data(path.display(), reason));
            }
            HeldOut::Tenths
        } else {
            // What is summed goes on as another part.
            sum.add(b"validation");
            reader.read(&given.place_of_data(&self.validation)?, &mut sum)?;
            HeldOut::From(count)
        };
        let (format, rows) = reader.finish(path)?;
        let mut held = Held { format, rows, held_out, guess: Guess::Evenly, scaling: None, sum: sum.finish() };
        held.guess = match kept.as_ref().filter(|_| given.evaluation_files.is_some()) {
            Some(kept) => kept.guess.clone(),
            None => held.means(),
        };
        // Networks are those of the run that kept it, and take inputs as it gave them.
        let kept = kept.filter(|_| given.kept.is_some());
        held.scaling = match (kept, format.inputs) {
            (Some(kept), _) => kept.scaling,
            (None, Inputs::Numbers(size)) => {
                let of_training = held.training_inputs();
                let found = Scaling::of(size, of_training);
                if !self.scale_inputs && given.kept.or(given.goes_on).is_none() {
                    found.tell_what_is_far_from_1(path);
                }
                self.scale_inputs.then(|| found.scaling())
            }
            (None, Inputs::Tokens(_)) if self.scale_inputs => {
                let reason = "tokens have embeddings, which are learnt; leave it out";
                return Err(Error::option("scale_inputs", true, reason));
            }
            (None, Inputs::Tokens(_)) => None,
        };
        if let Some(scaling) = &held.scaling {
            scaling.apply(&mut held.rows.inputs);
        }
        Ok(Box::new(held))
    }
}

/// What a run keeps of its data.
struct Kept {
    format: Format,
    guess: Guess,
    scaling: Option<Scaling>,
}

impl Kept {
    fn read(kept: &Value) -> Result<Self, Error> {
        let size = |name: &str| kept.get(name).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
        let read = || {
            let inputs = match size("tokens") {
                Some(vocabulary) => Inputs::Tokens(vocabulary),
                None => Inputs::Numbers(size("inputs")?),
            };
            let kind = TargetKind::by_unit(kept.get("targets")?.as_str()?)?;
            let guess = match kept.get("means") {
                Some(means) => Guess::Numbers(Vec::<f32>::deserialize(means).ok()?),
                None => Guess::Evenly,
            };
            Some(Self {
                format: Format { inputs, outputs: size("outputs")?, kind },
                guess,
                scaling: Scaling::kept(kept).ok()?,
            })
        };
        read().ok_or_else(|| Error::data("the sizes of the run", "they cannot be read; restore task.json"))
    }
}

/// Which sequences are held out.
#[derive(Clone, Copy, Debug)]
enum HeldOut {
    /// Every tenth.
    Tenths,
    /// All from this one on: those of another file.
    From(usize),
    /// All: they are only evaluated on.
    All,
}

/// Sequences to train on and sequences that are held out.
struct Held {
    format: Format,
    rows: Rows,
    held_out: HeldOut,
    guess: Guess,
    scaling: Option<Scaling>,
    /// Of the files.
    sum: String,
}

impl Held {
    /// How many are held out.
    fn held_out_count(&self) -> usize {
        let count = self.rows.count();
        match self.held_out {
            HeldOut::Tenths => count / HELD_OUT,
            HeldOut::From(first) => count - first,
            HeldOut::All => count,
        }
    }

    /// One of those that are held out.
    fn held_out(&self, number: usize) -> usize {
        match self.held_out {
            HeldOut::Tenths => number * HELD_OUT + HELD_OUT - 1,
            HeldOut::From(first) => first + number,
            HeldOut::All => number,
        }
    }

    /// How many are trained on. Who built the task to evaluate has no others than those held out.
    fn training_count(&self) -> usize {
        let count = self.rows.count();
        match self.held_out {
            HeldOut::Tenths => count - count / HELD_OUT,
            HeldOut::From(first) => first,
            HeldOut::All => count,
        }
    }

    /// One of those that are trained on.
    fn training(&self, number: usize) -> usize {
        match self.held_out {
            HeldOut::Tenths => number / (HELD_OUT - 1) * HELD_OUT + number % (HELD_OUT - 1),
            HeldOut::From(_) | HeldOut::All => number,
        }
    }

    /// The inputs of those that are trained on, sequence after sequence.
    fn training_inputs(&self) -> impl Iterator<Item = &[f32]> {
        let size = self.format.inputs.size();
        (0..self.training_count()).map(move |number| {
            let steps = self.rows.steps(self.training(number));
            &self.rows.inputs[steps.start * size..steps.end * size]
        })
    }

    /// The means of the numbers wanted of those that are trained on.
    fn means(&self) -> Guess {
        if self.format.kind != TargetKind::Numbers {
            return Guess::Evenly;
        }
        let (mut sums, mut count) = (vec![0.0; self.format.outputs], 0.0);
        for number in 0..self.training_count() {
            let valued = self.rows.valued(self.training(number));
            for values in self.rows.values[valued.start * sums.len()..valued.end * sums.len()].chunks_exact(sums.len())
            {
                count += 1.0;
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(*value));
            }
        }
        Guess::Numbers(sums.iter().map(|sum| (sum / f64::max(count, 1.0)) as f32).collect())
    }
}

impl Task for Held {
    fn name(&self) -> &'static str {
        "sequences"
    }

    fn channels(&self) -> Channels {
        let Format { inputs, outputs, kind } = self.format;
        Channels { input_size: inputs.size(), output_size: outputs, target_kind: kind }
    }

    fn vocabulary_size(&self) -> usize {
        match self.format.inputs {
            Inputs::Tokens(vocabulary) => vocabulary,
            Inputs::Numbers(_) => 0,
        }
    }

    fn level_unit(&self) -> &'static str {
        "sequences"
    }

    fn steps(&self, _: usize) -> usize {
        (0..self.rows.count()).map(|number| self.rows.steps(number).len()).max().unwrap_or(0)
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
        let Format { inputs, outputs, kind } = self.format;
        let size = inputs.size();
        let mut steps = self.rows.steps(whole);
        let mut values = self.rows.valued(whole).map(move |place| &self.rows.values[place * outputs..][..outputs]);
        Box::new(move |sequence| {
            let Some(step) = steps.next() else { return false };
            let target = Some(self.rows.targets[step]).filter(|target| *target != NONE);
            let numbers = match (target, kind) {
                (None, _) => sequence.step(),
                (Some(class), TargetKind::Classes) => sequence.step_with_class(class as usize),
                (Some(_), TargetKind::Bits) => sequence.step_with_bits(values.next().unwrap_or_default()),
                (Some(_), TargetKind::Numbers) => sequence.step_with_numbers(values.next().unwrap_or_default()),
            };
            numbers.copy_from_slice(&self.rows.inputs[step * size..(step + 1) * size]);
            true
        })
    }

    fn guess(&self) -> Guess {
        self.guess.clone()
    }

    fn evaluation_sequences(&self) -> Option<u64> {
        Some(self.held_out_count() as u64)
    }

    fn kept(&self) -> Option<Value> {
        let Format { inputs, outputs, kind } = self.format;
        let mut kept = json!({ "outputs": outputs, "targets": kind.unit(), "sha256": self.sum });
        match inputs {
            Inputs::Numbers(size) => kept["inputs"] = size.into(),
            Inputs::Tokens(vocabulary) => kept["tokens"] = vocabulary.into(),
        }
        if let Guess::Numbers(means) = &self.guess {
            kept["means"] = json!(means);
        }
        if let Some(scaling) = &self.scaling {
            scaling.keep(&mut kept);
        }
        Some(kept)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::data::npy::tests::write_npz;
    use crate::sequence::Sequence;

    fn build(path: &Path) -> Result<Box<dyn Task>, Error> {
        Sequences { data: path.display().to_string(), ..Sequences::default() }.build(Given::default())
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
        assert!(error.contains("sequence 3: there is a target of class 3, but the network knows 3"), "{error}");
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
            (
                &[inputs, ("targets", "<f4", &[10, 2], &halves)],
                "sequence 0: the target of time step 2: there is no class 0.5; a class is a whole number from 0 on, where \
                 there is no target, write -1, and --targets numbers takes numbers",
            ),
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
            ("a.jsonl", &b"\x1f\x8b\x08\0\0"[..], "it is compressed with gzip, but is not whole"),
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
            (
                "{\"inputs\": [[1, 2]], \"targets\": [[0]]}",
                "the target of time step 1 has 1 numbers where 2 were expected",
            ),
            (
                "{\"inputs\": [[1, 2]], \"targets\": [1]}",
                "the target of time step 1 is a single number, where others are lists",
            ),
            ("{\"inputs\": [[1, 1e300]], \"targets\": [[0, 1]]}", "number out of range"),
            (
                "{\"inputs\": [[1, 2]], \"targets\": [\"a\"]}",
                "null for none, a class from 0 on, a number, or a list of bits or numbers",
            ),
            ("{\"inputs\": [[1, 2]], \"targets\": [[0, \"1\"]]}", "a bit (0 or 1, false or true) or a number"),
            ("{\"inputs\": [1, 2], \"targets\": [0, 1]}", "the numbers of a time step, as a list"),
            ("{\"inputs\": [[1, 2]], \"targets\": [[0, 1]], \"id\": 3}", "there is \"id\" beside these; leave it out"),
            ("{\"targets\": [[0, 1]]}", "there are no inputs"),
            ("{\"targets\": [0], \"targets\": [1]}", "\"targets\" is there twice"),
        ] {
            fs::write(&path, format!("{good}\n{line}\n")).unwrap();
            let error = message(build(&path));
            assert!(error.contains("a.jsonl: line 3: ") && error.contains(expected), "{line} gave {error}");
        }
        let good = "{\"inputs\": [[1, 2], [3, 4]], \"targets\": [null, 1]}\n";
        for (line, expected) in [
            ("[-1]", "there is no class -1; a class is a whole number from 0 on, where there is no target, write null"),
            ("[1.5]", "the target of time step 1: there is no class 1.5; "),
            ("[[0, 1]]", "the target of time step 1 is a list, where others are single numbers"),
            ("[1048576]", "there is a target of class 1048576; there are 1048576 at most"),
        ] {
            fs::write(&path, format!("{good}\n{{\"inputs\": [[1, 2]], \"targets\": {line}}}\n")).unwrap();
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
    /// Ten times a sequence of two steps with these targets.
    fn write_targets(path: &Path, targets: &[&str]) {
        let line = |targets: &&str| format!("{{\"inputs\": [[0.5], [1.5]], \"targets\": {targets}}}\n");
        let text: String = targets.iter().map(line).collect();
        fs::write(path, text.repeat(10)).unwrap();
    }

    #[test]
    fn numbers_are_never_taken_for_bits_in_silence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let of = |targets: Targets, lines: &[&str]| {
            write_targets(&path, lines);
            let options = Sequences { data: path.display().to_string(), targets, ..Sequences::default() };
            options.build(Given::default())
        };
        let kind = |targets, lines: &[&str]| of(targets, lines).unwrap().target_kind();
        use Targets::{Auto, Bits, Classes, Numbers};
        assert_eq!(kind(Auto, &["[null, [0, 1]]", "[[1.0, true], null]"]), TargetKind::Bits);
        assert_eq!(kind(Auto, &["[null, [0, 1]]", "[[0.5, -3], null]"]), TargetKind::Numbers);
        assert_eq!(kind(Auto, &["[null, [0, 2]]"]), TargetKind::Numbers);
        assert_eq!(kind(Auto, &["[null, 2]"]), TargetKind::Classes);
        let unclear = message(of(Auto, &["[null, [0, 1]]", "[null, [0.25, 1]]"]));
        let expected = "a.jsonl: the target of time step 2 of its sequence 2 has 0.25, and none lies outside of 0 to 1: say what \
                        they are, --targets numbers or --targets bits (probabilities of a 1)";
        assert!(unclear.ends_with(expected), "{unclear}");
        let lines = ["[null, [0, 1]]", "[null, [0.25, 1]]"];
        assert_eq!((kind(Bits, &lines), kind(Numbers, &lines)), (TargetKind::Bits, TargetKind::Numbers));
        assert!(
            message(of(Bits, &["[null, [0, 2]]"]))
                .contains("line 1: the target of time step 2 is not 2 bits of 0 or 1")
        );
        assert!(message(of(Classes, &lines)).contains("is a list, where a class was expected"));
        assert!(message(of(Numbers, &["[null, [1e39]]"])).contains("is inf; finite numbers were expected"));
        // Single numbers, the classes among them, and the mean of those trained on.
        let task = of(Numbers, &["[2, null]", "[0.5, -1]"]).unwrap();
        assert_eq!(task.channels(), Channels { input_size: 1, output_size: 1, target_kind: TargetKind::Numbers });
        // Ten of 2, and eight of 0.5 and -1 that are not held out.
        assert_eq!(task.guess(), Guess::Numbers(vec![16.0 / 26.0]));
        assert_eq!(task.kept().unwrap()["means"], json!([16.0f32 / 26.0]));
        let sequence = generate(&*task, Stream::Evaluation, 0);
        assert_eq!((sequence.numbers(0), sequence.numbers(1)), (Some(&[0.5][..]), Some(&[-1.0][..])));
    }

    #[test]
    fn a_run_of_bits_takes_probabilities_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        write_targets(&path, &["[null, [0.25, 1]]"]);
        let kept = json!({"inputs": 1, "outputs": 2, "targets": "bits"});
        let options = Sequences { data: path.display().to_string(), ..Sequences::default() };
        let task = options.build(Given { kept: Some(&kept), ..Given::default() }).unwrap();
        assert_eq!(generate(&*task, Stream::Evaluation, 0).bits(1), Some(&[0.25, 1.0][..]));
    }

    #[test]
    fn one_target_of_a_whole_sequence_is_wanted_at_its_last_step() {
        let folder = tempfile::tempdir().unwrap();
        let (lines, arrays) = (folder.path().join("a.jsonl"), folder.path().join("a.npz"));
        let numbers = Targets::Numbers;
        let of = |path: &Path, targets| {
            let options = Sequences { data: path.display().to_string(), targets, ..Sequences::default() };
            options.build(Given::default()).map(|task| generate(&*task, Stream::Evaluation, 0))
        };
        let inputs = ("inputs", "<f4", &[10, 2, 1][..], &[0.5; 20][..]);
        for (targets, target, kind, shape) in [
            (Targets::Auto, "3", "<i8", &[10][..]),
            (Targets::Auto, "[3, -1]", "<f4", &[10, 2]),
            (Targets::Auto, "[1, 0]", "|b1", &[10, 2]),
            (numbers, "0.25", "<f8", &[10]),
        ] {
            let line = format!("{{\"target\": {target}, \"inputs\": [[0.5], [0.5]]}}\n");
            fs::write(&lines, line.repeat(10)).unwrap();
            let target: Value = serde_json::from_str(target).unwrap();
            let values: Vec<f64> = match &target {
                Value::Array(values) => values.iter().filter_map(Value::as_f64).collect(),
                value => value.as_f64().into_iter().collect(),
            };
            write_npz(&arrays, &[inputs, ("target", kind, shape, &values.repeat(10))]);
            let sequence = of(&lines, targets).unwrap();
            assert_eq!(sequence, of(&arrays, targets).unwrap(), "{target}");
            assert_eq!((sequence.steps(), sequence.targets().wanted_at(0, 1)), (2, 0));
            assert_ne!(sequence.targets().wanted_at(1, 1), 0);
        }
        let both = "{\"target\": 1, \"inputs\": [[0.5]], \"targets\": [1]}\n";
        fs::write(&lines, both).unwrap();
        let error = of(&lines, Targets::Auto).unwrap_err().to_string();
        assert!(error.contains("there are both \"target\" and \"targets\"; leave one out"), "{error}");
        let target = ("target", "<i8", &[10][..], &[1.0; 10][..]);
        write_npz(&arrays, &[inputs, target, ("targets", "<i8", &[10, 2], &[1.0; 20])]);
        assert!(of(&arrays, Targets::Auto).unwrap_err().to_string().contains("both targets and target"));
        write_npz(&arrays, &[inputs, target, ("mask", "<i4", &[10, 2], &[1.0; 20])]);
        assert!(of(&arrays, Targets::Auto).unwrap_err().to_string().contains("a mask beside target"));
        write_npz(&arrays, &[inputs, ("target", "<i8", &[9], &[1.0; 9])]);
        assert!(
            of(&arrays, Targets::Auto).unwrap_err().to_string().contains("a target of the shape [10] were expected")
        );
    }

    #[test]
    fn tokens_stand_in_the_place_of_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let (lines, arrays) = (folder.path().join("a.jsonl"), folder.path().join("a.npz"));
        fs::write(&lines, "{\"tokens\": [7, 0, 2], \"targets\": [null, 1, 4]}\n".repeat(10)).unwrap();
        let classes = [-1.0, 1.0, 4.0].repeat(10);
        let targets = ("targets", "<i4", &[10, 3][..], &classes[..]);
        let write = |kind, tokens: [f64; 3]| {
            write_npz(&arrays, &[("tokens", kind, &[10, 3], &tokens.repeat(10)), targets]);
        };
        write("<i4", [7.0, 0.0, 2.0]);
        let (one, other) = (build(&lines).unwrap(), build(&arrays).unwrap());
        assert_eq!((one.vocabulary_size(), one.input_size(), one.output_size()), (8, 1, 5));
        let sequence = generate(&*one, Stream::Training, 0);
        assert_eq!(sequence, generate(&*other, Stream::Training, 0));
        assert_eq!((sequence.input(0), sequence.class(2)), (&[7.0][..], Some(4)));
        let kept = one.kept().unwrap();
        let evaluate = |path: &Path| {
            Sequences::default().build(Given { kept: Some(&kept), evaluation_files: Some(path), ..Given::default() })
        };
        assert_eq!(evaluate(&arrays).unwrap().vocabulary_size(), 8);
        fs::write(&lines, "{\"tokens\": [8], \"targets\": [1]}\n").unwrap();
        assert!(message(evaluate(&lines)).contains("line 1: time step 1 has the token 8, but the network knows 8"));
        fs::write(&lines, "{\"inputs\": [[8]], \"targets\": [1]}\n").unwrap();
        assert!(message(evaluate(&lines)).contains("it has inputs, where tokens were expected"));
        write("<f4", [0.0, -1.0, 2.0]);
        let error = message(build(&arrays));
        assert!(
            error.contains("sequence 0: time step 2 has the token -1; a token is a whole number from 0 on"),
            "{error}"
        );
        fs::write(&lines, "{\"tokens\": [-8], \"targets\": [1]}\n").unwrap();
        assert!(message(build(&lines)).contains("line 1: "));
        let options = Sequences { data: arrays.display().to_string(), scale_inputs: true, ..Sequences::default() };
        write("<i4", [0.0, 1.0, 2.0]);
        assert!(message(options.build(Given::default())).contains("tokens have embeddings"));
    }

    #[test]
    fn a_file_of_ones_own_is_evaluated_on() {
        let folder = tempfile::tempdir().unwrap();
        let (data, validation) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
        let lines = |range: std::ops::Range<usize>| -> String {
            range.map(|number| format!("{{\"inputs\": [[{number}]], \"targets\": [{number}]}}\n")).collect()
        };
        fs::write(&data, lines(0..3)).unwrap();
        fs::write(&validation, lines(3..5)).unwrap();
        assert!(message(build(&data)).contains("or a file to evaluate on (--validation)"));
        let options = Sequences {
            data: data.display().to_string(),
            validation: validation.display().to_string(),
            scale_inputs: true,
            ..Sequences::default()
        };
        let task = options.build(Given::default()).unwrap();
        assert_eq!((task.evaluation_sequences(), task.output_size()), (Some(2), 5));
        let classes = |stream| -> BTreeSet<_> {
            (0..40).map(|number| generate(&*task, stream, number).class(0).unwrap()).collect()
        };
        assert_eq!(classes(Stream::Training), [0, 1, 2].into());
        assert_eq!((classes(Stream::Validation), classes(Stream::Evaluation)), ([3, 4].into(), [3, 4].into()));
        // Scaled by what is trained on alone, there and where others are evaluated on.
        let scaled = |task: &dyn Task| generate(task, Stream::Evaluation, 0).input(0)[0];
        let deviation = (2f64 / 3.0).sqrt();
        assert_eq!(scaled(&*task), (2.0 / deviation) as f32);
        let kept = task.kept().unwrap();
        let given = Given { kept: Some(&kept), evaluation_files: Some(&validation), ..Given::default() };
        assert_eq!(scaled(&*Sequences::default().build(given).unwrap()), scaled(&*task));
        fs::write(&validation, lines(2..5)).unwrap();
        assert_ne!(options.build(Given::default()).unwrap().kept().unwrap()["sha256"], kept["sha256"]);
    }
}
