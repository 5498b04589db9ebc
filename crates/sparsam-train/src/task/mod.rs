//! Tasks: what sequences look like and what is wanted at their outputs. One file for each task.
//!
//! A task makes a sequence [piece by piece](Source), so that the same code serves training, which needs the whole of it,
//! and evaluation, which runs through sequences of any length and keeps none of what it has passed.

pub(crate) mod babi;
mod copy;
mod exchange;
mod haystack;
mod input;
mod mqar;
pub(crate) mod omniglot;
mod recall;
mod sequences;
mod sort;
mod text;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sparsam::NetworkConfig;
use sparsam::option::{ConfigOption, Declared, Value as OptionValue};

pub use input::InputReader;
pub use sequences::{InputRows, Inputs, Scaling, Targets, read_inputs};

use crate::sequence::{Guess, Per, Sequence, Target, TargetKind};
use crate::{Error, Random, Stream};

/// A task: makes sequences, each of a level, the task's own measure of difficulty.
///
/// A task of one's own implements this and is given to [`Trainer::with_task`](crate::Trainer::with_task) or
/// [`evaluate`](crate::evaluate()). One that makes a sequence at once is as short as this:
///
/// ```
/// use std::ops::RangeInclusive;
/// use sparsam_train::{Channels, Draw, Source, TargetKind, Task};
///
/// /// Is the number of ones so far odd?
/// struct Parity;
///
/// impl Task for Parity {
///     fn name(&self) -> &'static str {
///         "parity"
///     }
///
///     fn channels(&self) -> Channels {
///         Channels { input_size: 1, output_size: 1, target_kind: TargetKind::Bits }
///     }
///
///     fn level_unit(&self) -> &'static str {
///         "bits"
///     }
///
///     fn default_levels(&self) -> RangeInclusive<usize> {
///         1..=8
///     }
///
///     fn possible_levels(&self) -> RangeInclusive<usize> {
///         1..=1_000_000
///     }
///
///     fn steps(&self, level: usize) -> usize {
///         level
///     }
///
///     fn start(&self, draw: Draw) -> Source<'_> {
///         let (mut random, mut odd) = (draw.random, false);
///         let mut steps = 0..draw.level;
///         // Called until it says that there is no more; each time it adds a step.
///         Box::new(move |sequence| {
///             if steps.next().is_none() {
///                 return false;
///             }
///             let bit = random.below(2) == 1;
///             odd ^= bit;
///             sequence.step_with_bits(&[f32::from(u8::from(odd))])[0] = f32::from(u8::from(bit));
///             true
///         })
///     }
/// }
///
/// let parity: &dyn Task = &Parity;
/// let mut sequence = parity.sequence();
/// parity.generate(Draw::new(&(5..=5), 1, sparsam_train::Stream::Training, 0), &mut sequence);
/// assert_eq!(sequence.steps(), 5);
/// ```
pub trait Task: Send + Sync {
    /// The task's name.
    fn name(&self) -> &'static str;

    /// What the inputs and outputs of a time step are.
    fn channels(&self) -> Channels;

    /// Tokens that there are; 0 where inputs are not tokens. The one number of an input is then that of a token (unless a step
    /// reads a whole [sentence](Self::sentence_size)), and networks have an embedding for each.
    fn vocabulary_size(&self) -> usize {
        0
    }

    /// Tokens of a sentence that a step reads at once, at most; 0 where it reads one token. An input is then that many numbers,
    /// as a [network of sentences](NetworkConfig::with_sentences) takes them.
    fn sentence_size(&self) -> usize {
        0
    }

    /// What a level counts, in the plural: "vectors", "items".
    fn level_unit(&self) -> &'static str;

    /// The levels that training draws from unless told otherwise, each equally likely; just one for a task without levels.
    fn default_levels(&self) -> RangeInclusive<usize> {
        1..=1
    }

    /// The levels that there can be.
    fn possible_levels(&self) -> RangeInclusive<usize> {
        self.default_levels()
    }

    /// Time steps of a sequence of this level, or the most there can be.
    fn steps(&self, level: usize) -> usize;

    /// Starts a sequence, whose level is a possible one. The same draw gives the same sequence, to the bit.
    fn start(&self, draw: Draw) -> Source<'_>;

    /// What a loss is the mean over: sequences, but numbers where the targets are such.
    fn per(&self) -> Per {
        self.channels().target_kind.per()
    }

    /// What stands in for a network where nothing is known of a sequence: the yardstick of its losses.
    fn guess(&self) -> Guess {
        Guess::default()
    }

    /// Whether outputs can say what comes in, so that a network can be trained to [reproduce](Self::reproduced) inputs at steps
    /// that have no target.
    fn reproduces_inputs(&self) -> bool {
        false
    }

    /// What an output would be that says what came in, a target of the task's kind: the output layer serves both, and so it is
    /// to be what the task could want as well. None for an input that is not to be reproduced, such as a flag. Training
    /// panics at a target of another kind than the task's, at one of another size than its outputs, and at a class that there
    /// is not.
    fn reproduced<'a>(&self, _input: &'a [f32]) -> Option<Target<'a>> {
        None
    }

    /// The kinds of answers that an evaluation counts apart; none if all are alike.
    fn categories(&self) -> Option<Categories> {
        None
    }

    /// What the inputs and the outputs of a time step are called, and the tokens, for people who look at them; numbers without.
    fn channel_names(&self) -> ChannelNames {
        ChannelNames::default()
    }

    /// How many sequences a whole evaluation has, where they come from a data set: those numbered from 0 on in
    /// [`Stream::Evaluation`] are then all of them. None if there is always a fresh one.
    fn evaluation_sequences(&self) -> Option<u64> {
        None
    }

    /// [`evaluation_sequences`](Self::evaluation_sequences) of another level, where their number depends on it.
    fn evaluation_sequences_of(&self, _level: usize) -> Option<u64> {
        self.evaluation_sequences()
    }

    /// What a run keeps of the task's data, so that its networks can be used with other data of the same kind, and only
    /// with such: a vocabulary. The task is [built](TaskConfig::build_with) with it again. A field `sha256` is a sum of
    /// the data trained on. A run goes on only with a task that keeps the same.
    fn kept(&self) -> Option<Value> {
        None
    }
}

/// Kinds of answers that an evaluation counts apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Categories {
    /// What one is, such as "task".
    pub unit: &'static str,
    /// Their names; [`Sequence::set_answer`] refers to them by their places.
    pub names: Vec<String>,
    /// The share of wrong answers above which a category counts as failed, where the literature has one.
    pub failed_above: Option<f64>,
}

/// What is left of a sequence. Each call appends its next time steps, as few as suit the task, to a sequence of the task's
/// sizes, and says whether there were any.
pub type Source<'a> = Box<dyn FnMut(&mut Sequence) -> bool + Send + 'a>;

/// All that decides a sequence of a task.
#[derive(Clone, Debug)]
pub struct Draw {
    /// Its level.
    pub level: usize,
    /// What it is for: a data set has parts that are never trained on.
    pub stream: Stream,
    /// Its number among the sequences of its stream.
    pub number: u64,
    /// Random numbers of its own.
    pub random: Random,
}

impl Draw {
    /// From this number on, the sequences of [`Stream::Validation`] that come from files are those held out in turn, so that
    /// as few as possible are the same. They are the ones that networks are compared on; the numbers of all others are smaller.
    pub const IN_TURN: u64 = 1 << 63;

    /// The sequence of this number in a stream of a seed, of a level drawn from `levels`.
    pub fn new(levels: &RangeInclusive<usize>, seed: u64, stream: Stream, number: u64) -> Self {
        let mut random = Random::new(seed, stream, number);
        Self { level: random.within(levels), stream, number, random }
    }
}

/// What the inputs and outputs of a time step are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Numbers in an input, I.
    pub input_size: usize,
    /// Numbers in an output, O.
    pub output_size: usize,
    /// What the targets are.
    pub target_kind: TargetKind,
}

/// Names of inputs and outputs; those that have none stand for themselves by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelNames {
    /// Of the inputs, as many as have one.
    pub inputs: Vec<String>,
    /// Of the outputs, or of the classes.
    pub outputs: Vec<String>,
    /// Of the tokens, where inputs are such: by their numbers, as many as have one.
    pub tokens: Vec<String>,
}

impl ChannelNames {
    /// Those of a task with vectors of so many bits, after which two more inputs come.
    fn of_bits(bits: usize, more: [&str; 2]) -> Self {
        let outputs: Vec<String> = (0..bits).map(|bit| format!("bit {bit}")).collect();
        let inputs = outputs.iter().cloned().chain(more.map(str::to_owned)).collect();
        Self { inputs, outputs, tokens: Vec::new() }
    }
}

impl Channels {
    /// Those of a task with vectors of so many bits, which come in with two more channels, as for flags, and are wanted
    /// without.
    fn of_bits(bits: usize) -> Self {
        Self { input_size: bits + 2, output_size: bits, target_kind: TargetKind::Bits }
    }
}

/// The vector of bits in an input of [`Channels::of_bits`], if no flag is set beside it.
fn vector_without_flags(input: &[f32]) -> Option<Target<'_>> {
    let (bits, flags) = input.split_at_checked(input.len().checked_sub(2)?)?;
    flags.iter().all(|flag| *flag == 0.0).then_some(Target::Bits(bits))
}

impl dyn Task + '_ {
    /// Numbers in an input, I.
    pub fn input_size(&self) -> usize {
        self.channels().input_size
    }

    /// Numbers in an output, O.
    pub fn output_size(&self) -> usize {
        self.channels().output_size
    }

    /// What the targets are.
    pub fn target_kind(&self) -> TargetKind {
        self.channels().target_kind
    }

    /// Checks that every level of a range is a possible one.
    ///
    /// # Errors
    /// [`Error::Option`] says which levels are possible.
    pub fn check_levels(&self, levels: &RangeInclusive<usize>) -> Result<(), Error> {
        let possible = self.possible_levels();
        let wrong = [levels.start(), levels.end()].into_iter().find(|level| !possible.contains(level));
        match wrong {
            Some(level) => {
                let (unit, first, last) = (self.level_unit(), possible.start(), possible.end());
                let reason = format!("a level of {} is a number of {unit} from {first} to {last}", self.name());
                Err(Error::option("level", level, reason))
            }
            None if levels.is_empty() => {
                let value = format!("{} to {}", levels.start(), levels.end());
                Err(Error::option("level", value, "the first level comes before the last"))
            }
            None => Ok(()),
        }
    }

    /// Checks that a batch of `rows` sequences of such levels, all of them possible ones, is of a size that a machine
    /// can hold.
    ///
    /// # Errors
    /// [`Error::Option`] says how large it would be.
    pub fn check_batch(&self, levels: &RangeInclusive<usize>, rows: usize) -> Result<(), Error> {
        let steps = self.steps(*levels.end());
        let numbers = steps as u128 * rows as u128 * (self.input_size() + self.output_size()) as u128;
        if numbers > LARGEST_BATCH {
            let reason = format!(
                "{rows} sequences of {steps} time steps would hold {numbers} numbers; choose fewer or shorter sequences"
            );
            return Err(Error::option("batch_size", rows, reason));
        }
        Ok(())
    }

    /// Appends a whole sequence to `sequence`, which is of this task's sizes.
    pub fn generate(&self, draw: Draw, sequence: &mut Sequence) {
        let mut source = self.start(draw);
        while source(sequence) {}
    }

    /// An empty sequence of this task's sizes.
    pub fn sequence(&self) -> Sequence {
        Sequence::new(self.input_size(), self.output_size(), self.target_kind())
    }
}

/// The largest option of a task: far beyond what anyone trains on, and small enough that no product of two overflows.
const LARGEST: usize = 1 << 24;

/// The most numbers in a batch: 16 GiB of them.
const LARGEST_BATCH: u128 = 1 << 32;

/// The most bits in a vector.
const LARGEST_BITS: usize = 4096;

fn check_option(field: &'static str, value: usize, possible: RangeInclusive<usize>) -> Result<(), Error> {
    if possible.contains(&value) {
        return Ok(());
    }
    Err(Error::option(field, value, format!("it lies from {} to {}", possible.start(), possible.end())))
}

/// What is known of a task's options before anything is read or made.
trait Options: Declared {
    /// Batches of training that are known to suffice with the default settings.
    fn batches(&self) -> u64;

    /// Sequences in an evaluation during training.
    fn evaluation_sequences(&self) -> u64 {
        256
    }

    /// Batches from one evaluation to the next.
    fn evaluate_every(&self) -> u64 {
        500
    }

    /// Wrong bits or classes of a sequence at which the task counts as learnt; 0 where nobody knows what can be learnt.
    fn until(&self) -> f64 {
        0.0
    }

    /// The loss below which a curriculum goes on, in bits for each bit or class wanted.
    fn threshold(&self) -> f64 {
        0.01
    }

    /// Whether building the task reads files.
    fn reads_files(&self) -> bool {
        false
    }

    /// Why outputs cannot [say what comes in](Task::reproduces_inputs), and what to do; none if they can, or if only the
    /// task knows.
    fn reproduces_nothing(&self) -> Option<&'static str> {
        None
    }

    /// What losses of targets of this kind are means over.
    fn per(&self, kind: TargetKind) -> Per {
        kind.per()
    }

    /// What reads inputs for networks, from files or line by line; `kept` is what a run keeps of the data.
    ///
    /// # Errors
    /// [`Error::Data`] if what is kept cannot be read.
    fn input_reader(&self, kept: Option<&Value>, network: &NetworkConfig) -> Result<InputReader, Error> {
        InputReader::of_sequences(kept, network)
    }

    /// Checks the options.
    ///
    /// # Errors
    /// [`Error::Option`] names the one that does not fit.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Checks the options and makes the task.
    ///
    /// # Errors
    /// As [`check`](Self::check); [`Error::Data`] names the file that is missing or malformed.
    fn build(&self, given: Given<'_>) -> Result<Box<dyn Task>, Error>;
}

/// What a task may be built from beside its options.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// What the [run kept](Task::kept) whose networks are to be used.
    pub kept: Option<&'a Value>,
    /// What the run kept that goes on: its data are to be understood as they were.
    pub goes_on: Option<&'a Value>,
    /// The folder or archive of the sequences to evaluate on, instead of those held out; nothing else is read then.
    pub evaluation_files: Option<&'a Path>,
    /// The folder of the run that goes on or is looked at: its data may lie beside it.
    pub run: Option<&'a Path>,
}

impl Given<'_> {
    /// Where data lie. A relative path is one from the working directory; where there is nothing, it is looked for from the
    /// folders above the run, since a run usually lies below the folder that it was started in.
    ///
    /// # Errors
    /// [`Error::Data`] if a relative path leads nowhere.
    pub fn place_of_data(&self, data: &str) -> Result<PathBuf, Error> {
        let path = Path::new(data);
        let Some(run) = self.run.filter(|_| path.is_relative() && !data.is_empty() && !path.exists()) else {
            return Ok(path.to_owned());
        };
        let run = run.canonicalize().map_err(Error::at(run))?;
        // The system's own folders are nobody's project.
        let folders = run.ancestors().filter(|folder| folder.parent().is_some());
        let above = folders.map(|folder| folder.join(path)).find(|place| place.exists());
        above.ok_or_else(|| {
            let reason = "it is neither in the working directory nor in a folder above the run; start the command where the run \
                          was started, or write where it is now into the run's config.toml";
            Error::data(data, reason)
        })
    }
}

sparsam::options! {
    /// The task of a program that brings it along: what a configuration says of it.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Own {
        /// What the program calls it.
        pub title: String = String::new();
    }
}

impl Options for Own {
    fn batches(&self) -> u64 {
        10_000
    }

    // What the program's task reads is not known here; only the program can build it.
    fn reads_files(&self) -> bool {
        true
    }

    fn build(&self, _: Given<'_>) -> Result<Box<dyn Task>, Error> {
        let reason = "only the program that made the run has this task; train and evaluate it there";
        Err(Error::option("title", format!("{:?}", self.title), reason))
    }
}

/// The registry of tasks: one line for each, with the module above that it stands in.
macro_rules! tasks {
    ($($(#[$doc:meta])* $variant:ident in $module:ident = $name:literal,)*) => {
        $(pub use $module::$variant;)*

        /// The choice of a task, and its options.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "name", rename_all = "lowercase")]
        pub enum TaskConfig {
            $($(#[$doc])* $variant($variant),)*
            /// A task that a program brings itself: see [`Trainer::with_task`](crate::Trainer::with_task).
            Own(Own),
        }

        impl TaskConfig {
            /// The names of all tasks, but for [`Own`](Self::Own), which nobody can choose by name alone.
            pub const NAMES: &[&str] = &[$($name),*];

            /// The task of that name with its default options.
            pub fn by_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant(Default::default())),)*
                    "own" => Some(Self::Own(Own::default())),
                    _ => None,
                }
            }

            /// The task's name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                    Self::Own(_) => "own",
                }
            }

            fn config(&self) -> &dyn Options {
                match self {
                    $(Self::$variant(options) => options,)*
                    Self::Own(options) => options,
                }
            }

            fn config_mut(&mut self) -> &mut dyn Options {
                match self {
                    $(Self::$variant(options) => options,)*
                    Self::Own(options) => options,
                }
            }
        }
    };
}

tasks! {
    /// Repeat a sequence of random vectors.
    Copy in copy = "copy",
    /// Given an item of a list, recall the next one.
    Recall in recall = "recall",
    /// Repeat the vectors of highest priority, highest first.
    Sort in sort = "sort",
    /// Given keys of pairs, recall their values.
    Mqar in mqar = "mqar",
    /// Answer questions about stories.
    Babi in babi = "babi",
    /// Answer questions about stories whose sentences are scattered over a book.
    Haystack in haystack = "haystack",
    /// Tell handwritten characters apart that come for the first time.
    Omniglot in omniglot = "omniglot",
    /// Sequences of one's own, from a file.
    Sequences in sequences = "sequences",
    /// Tell what follows in a text of one's own.
    Text in text = "text",
}

impl TaskConfig {
    /// Batches of training that are known to suffice with the default settings.
    pub fn default_batches(&self) -> u64 {
        self.config().batches()
    }

    /// Sequences in an evaluation during training.
    pub fn default_evaluation_sequences(&self) -> u64 {
        self.config().evaluation_sequences()
    }

    /// Batches from one evaluation during training to the next.
    pub fn default_evaluate_every(&self) -> u64 {
        self.config().evaluate_every()
    }

    /// Wrong bits or classes of a sequence at which the task counts as learnt; 0: training does not end before the last
    /// batch.
    pub fn default_until(&self) -> f64 {
        self.config().until()
    }

    /// The loss below which a curriculum goes on, in bits for each bit or class wanted.
    pub fn default_threshold(&self) -> f64 {
        self.config().threshold()
    }

    /// Whether the task's sequences come from files, which [`build`](Self::build) reads.
    pub fn reads_files(&self) -> bool {
        self.config().reads_files()
    }

    /// Why outputs cannot say what comes in, as far as the options tell.
    pub(crate) fn reproduces_nothing(&self) -> Option<&'static str> {
        self.config().reproduces_nothing()
    }

    /// What losses of targets of this kind are means over.
    pub(crate) fn per(&self, kind: TargetKind) -> Per {
        self.config().per(kind)
    }

    /// What reads inputs for networks; `kept` is what a run keeps of the task's data.
    pub(crate) fn input_reader(&self, kept: Option<&Value>, network: &NetworkConfig) -> Result<InputReader, Error> {
        self.config().input_reader(kept, network)
    }

    /// Checks the options, without reading any file.
    ///
    /// # Errors
    /// [`Error::Option`] names the option that does not fit.
    pub fn check(&self) -> Result<(), Error> {
        self.config().check()
    }

    /// Checks the options and makes the task.
    ///
    /// # Errors
    /// [`Error::Option`] names the option that does not fit, [`Error::Data`] the file that is missing or malformed.
    pub fn build(&self) -> Result<Box<dyn Task>, Error> {
        self.build_with(Given::default())
    }

    /// [`build`](Self::build) with what a run kept, or for an evaluation on files of one's own.
    ///
    /// # Errors
    /// As [`build`](Self::build); [`Error::Option`] if there are files and the task reads none.
    pub fn build_with(&self, given: Given<'_>) -> Result<Box<dyn Task>, Error> {
        if let (Some(files), false) = (given.evaluation_files, self.reads_files()) {
            let reason = format!("the task {} makes its sequences; leave the files out", self.name());
            return Err(Error::option("test_files", files.display(), reason));
        }
        self.config().build(given)
    }
}

impl Declared for TaskConfig {
    fn options(&self) -> Vec<ConfigOption> {
        self.config().options()
    }

    fn set_option(&mut self, name: &str, value: &OptionValue) -> bool {
        self.config_mut().set_option(name, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_makes_what_it_says() {
        for name in TaskConfig::NAMES {
            let config = TaskConfig::by_name(name).unwrap();
            assert_eq!(config.name(), *name);
            if config.reads_files() {
                continue;
            }
            let task = config.build().unwrap();
            assert_eq!(task.name(), *name);
            assert!(config.build_with(Given { evaluation_files: Some(Path::new("x")), ..Given::default() }).is_err());
            task.check_levels(&task.default_levels()).unwrap();
            let names = task.channel_names();
            assert_eq!((names.inputs.len(), names.outputs.len()), (task.input_size(), task.output_size()), "{name}");
            assert_eq!(names.tokens.len(), task.vocabulary_size(), "{name}");
            let first = *task.possible_levels().start();
            for level in task.default_levels().chain([first, 33]) {
                let draw = Draw::new(&(level..=level), 5, Stream::Training, level as u64);
                let mut sequence = task.sequence();
                task.generate(draw.clone(), &mut sequence);
                assert_eq!(sequence.steps(), task.steps(level), "{name} at level {level}");
                let wanted =
                    |sequence: &Sequence, step: usize| (sequence.bits(step).map(<[_]>::to_vec), sequence.class(step));
                assert!((0..sequence.steps()).any(|step| wanted(&sequence, step) != (None, None)));
                // In pieces that are thrown away as soon as they are made.
                let (mut source, mut piece, mut steps) = (task.start(draw), task.sequence(), 0);
                while source(&mut piece) {
                    for step in 0..piece.steps() {
                        assert_eq!(piece.input(step), sequence.input(steps + step));
                        assert_eq!(wanted(&piece, step), wanted(&sequence, steps + step));
                    }
                    steps += piece.steps();
                    piece.clear();
                }
                assert_eq!(steps, sequence.steps());
                assert!(!source(&mut piece) && piece.steps() == 0, "a source that has ended stays so");
            }
        }
        assert!(TaskConfig::by_name("juggle").is_none());
    }

    #[test]
    fn impossible_levels_are_refused() {
        let task = TaskConfig::by_name("recall").unwrap().build().unwrap();
        let error = task.check_levels(&(1..=4)).unwrap_err();
        assert!(error.to_string().contains("level = 1") && error.to_string().contains("items from 2"), "{error}");
        assert!(task.check_levels(&(2..=usize::MAX)).is_err());
        #[allow(clippy::reversed_empty_ranges, reason = "what is tested is that such a range is refused")]
        let reversed = 4..=3;
        assert!(task.check_levels(&reversed).is_err());
        assert!(task.check_batch(&(3..=6), 8).is_ok());
        let error = task.check_batch(&task.possible_levels(), 1000).unwrap_err();
        assert!(error.to_string().contains("choose fewer or shorter sequences"), "{error}");
    }
}
