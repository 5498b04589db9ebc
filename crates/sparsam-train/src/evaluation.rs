//! Measuring a network on sequences it has not seen.

use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sparsam::index::Misses;
use sparsam::{Network, Runner};

use crate::batch::Batch;
use crate::random::Stream;
use crate::sequence::{Guess, Sequence, TargetKind};
use crate::task::{Draw, Source, Task};
use crate::{Error, Per};

/// What an evaluation measured, in the [units](crate::Units) of the task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Sequences evaluated.
    pub sequences: u64,
    /// Bits, classes or numbers that they wanted in all; 0 in those that an earlier version kept.
    #[serde(default)]
    pub targets: u64,
    /// Loss in bits per sequence; where [`Units`](crate::Units) say so, per target, and of numbers the mean squared error.
    pub loss: f64,
    /// The standard error of that mean over sequences; none of a single one.
    pub loss_error: Option<f64>,
    /// What the loss would be if every wanted output were guessed, as the task's [`Guess`] says: each value as likely as the
    /// others (one bit for a bit, log₂ of their number for a class), each class by its frequency, or the mean of the numbers.
    pub guessing: f64,
    /// Wrong bits (or classes, see [`TargetKind`](crate::TargetKind)) per sequence, or per target as the loss; none of numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<f64>,
    /// The share of the sequences without any wrong output; none where losses are told per target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<f64>,
    /// Its standard error: half the width of Wilson's interval at one standard error, which is not 0 when all or none of
    /// the sequences are right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right_error: Option<f64>,
    /// The answers, category by category, if the task has [categories](crate::Categories).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<CategoryScore>,
}

/// The answers of a category.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CategoryScore {
    /// Its name.
    pub name: String,
    /// Answers that were asked for.
    pub answers: u64,
    /// Those that were wrong, in any of their targets.
    pub wrong: u64,
}

impl CategoryScore {
    /// The share of the answers that were wrong; none if none was asked for.
    pub fn error(&self) -> Option<f64> {
        (self.answers > 0).then(|| self.wrong as f64 / self.answers as f64)
    }
}

impl Evaluation {
    /// The mean of the categories' errors, those without answers left out; none if there are none.
    pub fn mean_error(&self) -> Option<f64> {
        let errors: Vec<f64> = self.categories.iter().filter_map(CategoryScore::error).collect();
        (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64)
    }

    /// The losses of all sequences together.
    pub(crate) fn total(&self, per: Per) -> f64 {
        let count = match per {
            Per::Sequence => self.sequences,
            Per::Target(_) => self.targets,
        };
        self.loss * count as f64
    }

    /// How many categories have an error above this.
    pub fn failed(&self, above: f64) -> usize {
        self.categories.iter().filter_map(CategoryScore::error).filter(|error| *error > above).count()
    }
}

/// What an evaluation took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Time steps of all sequences together.
    pub steps: u64,
    /// Wall-clock time.
    pub time: Duration,
    /// What memories spent on searches for similar words, each of the threads counted.
    pub search_time: Duration,
    /// Words that a sequence wrote to or cleared in its memory, a word counted once, on average; none where every word has its
    /// place from the start, as in dense memories.
    pub words_written: Option<f64>,
    /// What searches missed, where they were [compared](EvaluationOptions::compare_index).
    pub search_misses: Option<Misses>,
}

/// Which sequences an evaluation takes, and how. [`Default`] has 256 of the task's own levels, eight at a time, of seed 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluationOptions {
    /// The levels that sequences are drawn from; the task's own if none.
    pub levels: Option<RangeInclusive<usize>>,
    /// How many.
    pub sequences: u64,
    /// How many run at a time; where one ends the next begins. What is measured does not depend on it.
    pub batch_size: usize,
    /// They are the same for the same seed.
    pub seed: u64,
    /// Let an exact search follow every search of a memory, so that the cost tells how many words an index misses: whether what
    /// goes wrong is the index's fault or the network's. What is read is what the index found.
    pub compare_index: bool,
}

impl Default for EvaluationOptions {
    fn default() -> Self {
        Self { levels: None, sequences: 256, batch_size: 8, seed: 1, compare_index: false }
    }
}

/// Evaluates a network on fresh sequences of a task.
///
/// Sequences run through the network as streams: a piece is made, run and scored, then forgotten. So they may be of any
/// length, and take no more memory than the words that the network stores (and what the task itself has to keep in
/// mind).
///
/// # Errors
/// [`Error::Option`] if a level is not possible, there are no sequences, or the network is of other sizes than the
/// task; [`sparsam::Error::NotFinite`] if the loss is infinite or not a number; [`sparsam::Error::MemoryTooLarge`] or
/// [`sparsam::Error::MappingRefused`] if there is no room for memories, or for the indexes that others are compared with.
pub fn evaluate(network: &Network<f32>, task: &dyn Task, options: &EvaluationOptions) -> Result<Evaluation, Error> {
    evaluate_measured(network, task, options, &mut |_| ()).map(|(found, _)| found)
}

/// [`evaluate`] that tells how many sequences are done whenever some are, since long ones take their time, and in the end what
/// it took.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_measured(
    network: &Network<f32>,
    task: &dyn Task,
    options: &EvaluationOptions,
    watch: &mut dyn FnMut(u64),
) -> Result<(Evaluation, Cost), Error> {
    let found = evaluate_until(network, task, options, watch, &AtomicBool::new(false))?;
    Ok(found.expect("it is never told to stop"))
}

/// [`evaluate_measured`] that ends early, with none, once `stop` is set, which is looked at after every piece of the sequences.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_until(
    network: &Network<f32>,
    task: &dyn Task,
    options: &EvaluationOptions,
    watch: &mut dyn FnMut(u64),
    stop: &AtomicBool,
) -> Result<Option<(Evaluation, Cost)>, Error> {
    let config = network.config();
    if config.sentence_size != task.sentence_size() {
        let told = |size: usize| match size {
            0 => "single tokens or numbers".to_owned(),
            size => format!("sentences of {size} words or fewer"),
        };
        let (of_task, of_network) = (told(task.sentence_size()), told(config.sentence_size));
        let reason = format!("its steps read {of_task}, the network's {of_network}");
        return Err(Error::option("task", task.name(), reason));
    }
    if config.vocabulary_size != task.vocabulary_size() {
        let (of_task, of_network) = (task.vocabulary_size(), config.vocabulary_size);
        let reason = format!("it has {of_task} tokens, the network {of_network}");
        return Err(Error::option("task", task.name(), reason));
    }
    if (config.input_len(), config.output_size) != (task.input_size(), task.output_size()) {
        let reason = format!(
            "it has inputs of {} and outputs of {} numbers, the network {} and {}",
            task.input_size(),
            task.output_size(),
            config.input_size,
            config.output_size
        );
        return Err(Error::option("task", task.name(), reason));
    }
    let EvaluationOptions { levels, sequences, batch_size, seed, compare_index } = options.clone();
    let mut runner = Runner::new(network, batch_size)?;
    let levels = levels.unwrap_or_else(|| task.default_levels());
    let mut evaluator = Evaluator::new(task, batch_size);
    let started = Instant::now();
    runner.time_searches();
    if compare_index {
        runner.compare_searches()?;
    }
    let found =
        evaluator.run(network, &mut runner, task, levels, 0..sequences, seed, Stream::Evaluation, watch, stop)?;
    let Evaluator { steps, written, .. } = evaluator;
    let cost = Cost {
        steps,
        time: started.elapsed(),
        search_time: runner.search_time(),
        words_written: (written.count > 0).then_some(written.mean),
        search_misses: compare_index.then(|| runner.search_misses()),
    };
    Ok(found.map(|found| (found, cost)))
}

/// Time steps of a piece, about: enough that starting threads costs nothing beside them.
const PIECE: usize = 128;

/// How an evaluation ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ended {
    /// All sequences were run.
    Whole(Evaluation),
    /// They lost more than was asked for.
    LostTooMuch,
    /// It was told to stop.
    Stopped,
}

/// The buffers of an evaluation.
pub(crate) struct Evaluator {
    /// The piece that each row is at.
    pieces: Vec<Sequence>,
    batch: Batch,
    outputs: Vec<f32>,
    /// Time steps of a piece, at least; sources may add a few.
    piece_steps: usize,
    /// Time steps that were run.
    steps: u64,
    /// Words that the sequences which ended wrote to their memories.
    written: Mean,
}

impl Evaluator {
    pub(crate) fn new(task: &dyn Task, batch_size: usize) -> Self {
        Self {
            pieces: vec![task.sequence(); batch_size],
            batch: Batch::new(batch_size, task.input_size(), task.output_size(), task.target_kind()),
            outputs: Vec::new(),
            piece_steps: PIECE,
            steps: 0,
            written: Mean::default(),
        }
    }

    /// Evaluates on the sequences of these numbers; leaves the runner as it was made. None if it was told to `stop`.
    pub(crate) fn run(
        &mut self,
        network: &Network<f32>,
        runner: &mut Runner<f32>,
        task: &dyn Task,
        levels: RangeInclusive<usize>,
        numbers: Range<u64>,
        seed: u64,
        stream: Stream,
        watch: &mut dyn FnMut(u64),
        stop: &AtomicBool,
    ) -> Result<Option<Evaluation>, Error> {
        match self.run_up_to(f64::INFINITY, network, runner, task, levels, numbers, seed, stream, watch, stop)? {
            Ended::Whole(found) => Ok(Some(found)),
            // No sum of finite losses is above infinity.
            Ended::LostTooMuch | Ended::Stopped => Ok(None),
        }
    }

    /// [`run`](Self::run) that ends early once the losses of all sequences sum up to more than `most`.
    pub(crate) fn run_up_to(
        &mut self,
        most: f64,
        network: &Network<f32>,
        runner: &mut Runner<f32>,
        task: &dyn Task,
        levels: RangeInclusive<usize>,
        mut numbers: Range<u64>,
        seed: u64,
        stream: Stream,
        watch: &mut dyn FnMut(u64),
        stop: &AtomicBool,
    ) -> Result<Ended, Error> {
        task.check_levels(&levels)?;
        let sequences = numbers.end.saturating_sub(numbers.start);
        if sequences == 0 {
            return Err(Error::option("sequences", 0, "an evaluation takes at least 1"));
        }
        let mut done = 0;
        let mut scores = Scores::new(task, runner.rows());
        let mut rows: Vec<Option<Source<'_>>> = (0..runner.rows()).map(|_| None).collect();
        runner.reset();
        loop {
            if stop.load(Ordering::Relaxed) {
                runner.reset();
                return Ok(Ended::Stopped);
            }
            for (row, source) in rows.iter_mut().enumerate() {
                if source.is_none()
                    && let Some(number) = numbers.next()
                {
                    runner.reset_row(row);
                    scores.end_answer(row);
                    *source = Some(task.start(Draw::new(&levels, seed, stream, number)));
                }
            }
            let before = done;
            let mut ended = Vec::new();
            for (row, (source, piece)) in rows.iter_mut().zip(&mut self.pieces).enumerate() {
                piece.clear();
                let Some(running) = source else { continue };
                while piece.steps() < self.piece_steps {
                    if !running(piece) {
                        *source = None;
                        ended.push(row);
                        done += 1;
                        break;
                    }
                }
            }
            self.batch.fill(&self.pieces);
            let length = self.batch.steps() * self.batch.rows() * task.output_size();
            self.outputs.resize(length, 0.0);
            let scored = runner
                .infer(network, self.batch.inputs(), self.batch.lengths(), &mut self.outputs)
                .and_then(|()| self.batch.add_losses(&self.outputs, &mut scores.losses));
            if let Err(error) = scored {
                runner.reset();
                return Err(error.into());
            }
            scores.add(&self.pieces, &self.outputs);
            self.steps += self.batch.lengths().iter().sum::<usize>() as u64;
            for row in ended {
                scores.end_sequence(row);
                if let Some(words) = runner.words_written(row) {
                    self.written.add(words as f64);
                }
            }
            if done > before {
                watch(done);
            }
            if done == sequences {
                break;
            }
            // No loss is below 0: it can only get more.
            if scores.lost() > most {
                runner.reset();
                return Ok(Ended::LostTooMuch);
            }
        }
        runner.reset();
        Ok(Ended::Whole(scores.end()))
    }
}

/// The mean of numbers and its standard error, by the recurrence of Welford 1962.
#[derive(Default)]
struct Mean {
    count: u64,
    mean: f64,
    /// The sum of the squared distances from the mean.
    squares: f64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let distance = value - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (value - self.mean);
    }

    fn error(&self) -> Option<f64> {
        let count = self.count as f64;
        (self.count > 1).then(|| (self.squares / (count - 1.0) / count).sqrt())
    }
}

/// The share that so many of all are, and its standard error: half the width of Wilson's interval (1927) at one standard
/// error.
pub fn share(of: u64, all: u64) -> (f64, f64) {
    let (of, all) = (of as f64, all as f64);
    (of / all, (of * (all - of) / all + 0.25).sqrt() / (all + 1.0))
}

/// What sequences lost and how much they wanted, in all; for a mean over targets and its standard error.
#[derive(Default)]
struct Sums {
    loss: f64,
    wanted: f64,
    /// Of the products of the two.
    loss_loss: f64,
    loss_wanted: f64,
    wanted_wanted: f64,
}

impl Sums {
    fn add(&mut self, loss: f64, wanted: u64) {
        let wanted = wanted as f64;
        self.loss += loss;
        self.wanted += wanted;
        self.loss_loss += loss * loss;
        self.loss_wanted += loss * wanted;
        self.wanted_wanted += wanted * wanted;
    }

    /// The mean over all targets of `count` sequences, and its standard error as that of a ratio of means (Cochran 1977,
    /// section 6.4), in which sequences are independent of each other and the targets of one are not.
    fn mean(&self, count: u64) -> (f64, Option<f64>) {
        let count = count as f64;
        let mean = self.loss / self.wanted.max(1.0);
        let squares = self.loss_loss - 2.0 * mean * self.loss_wanted + mean * mean * self.wanted_wanted;
        let error = (squares.max(0.0) * count / (count - 1.0)).sqrt() / self.wanted.max(1.0);
        (mean, (count > 1.0).then_some(error))
    }
}

/// What is counted of outputs, piece by piece.
struct Scores {
    kind: TargetKind,
    per: Per,
    guess: Guess,
    output_size: usize,
    /// Of each row's sequence so far: its loss in the units of [`Batch::loss`], wrong bits or classes, and what it wants.
    losses: Vec<f64>,
    wrong_of: Vec<u64>,
    wanted_of: Vec<u64>,
    /// Of the sequences that ended: loss as it is told.
    loss: Mean,
    sums: Sums,
    /// Those without a wrong output.
    right: u64,
    /// Of all outputs: bits, classes or numbers wanted, those that were wrong, and the loss of guessing.
    wanted: u64,
    wrong: u64,
    guessed: f64,
    categories: Vec<CategoryScore>,
    /// The answer that each row is in: its category, and whether it is wrong so far.
    answers: Vec<Option<(usize, bool)>>,
}

impl Scores {
    fn new(task: &dyn Task, rows: usize) -> Self {
        let names = task.categories().map(|categories| categories.names).unwrap_or_default();
        let categories = names.into_iter().map(|name| CategoryScore { name, answers: 0, wrong: 0 }).collect();
        Self {
            kind: task.target_kind(),
            per: task.per(),
            guess: task.guess(),
            output_size: task.output_size(),
            losses: vec![0.0; rows],
            wrong_of: vec![0; rows],
            wanted_of: vec![0; rows],
            loss: Mean::default(),
            sums: Sums::default(),
            right: 0,
            wanted: 0,
            wrong: 0,
            guessed: 0.0,
            categories,
            answers: vec![None; rows],
        }
    }

    /// The loss so far, as it is told, of all sequences together.
    fn lost(&self) -> f64 {
        self.loss.mean * self.loss.count as f64 + self.losses.iter().sum::<f64>() * self.kind.scale()
    }

    /// Counts the sequence that a row was in: it is over.
    fn end_sequence(&mut self, row: usize) {
        let loss = std::mem::take(&mut self.losses[row]) * self.kind.scale();
        self.loss.add(loss);
        self.sums.add(loss, std::mem::take(&mut self.wanted_of[row]));
        self.right += u64::from(std::mem::take(&mut self.wrong_of[row]) == 0);
    }

    /// Counts the answer that a row was in: it is over.
    fn end_answer(&mut self, row: usize) {
        let Some((category, wrong)) = self.answers[row].take() else { return };
        if let Some(score) = self.categories.get_mut(category) {
            score.answers += 1;
            score.wrong += u64::from(wrong);
        }
    }

    /// Takes the next piece of each row, and what the network put out at its steps (T × rows × O).
    fn add(&mut self, pieces: &[Sequence], outputs: &[f32]) {
        let width = self.output_size;
        for (row, piece) in pieces.iter().enumerate() {
            if !self.guess.is_even(self.kind) {
                self.guessed += piece.targets().guessed(width, &self.guess);
            }
            for step in 0..piece.steps() {
                let output = &outputs[(step * pieces.len() + row) * width..][..width];
                let Some((wrong, category, goes_on)) = piece.score(step, output) else { continue };
                let wanted = piece.targets().wanted_at(step, width);
                self.wanted += wanted;
                self.wanted_of[row] += wanted;
                self.wrong += wrong;
                self.wrong_of[row] += wrong;
                match &mut self.answers[row] {
                    Some((_, wrong_before)) if goes_on => *wrong_before |= wrong > 0,
                    _ => {
                        self.end_answer(row);
                        self.answers[row] = Some((category, wrong > 0));
                    }
                }
            }
        }
    }

    fn end(mut self) -> Evaluation {
        for row in 0..self.answers.len() {
            self.end_answer(row);
        }
        let sequences = self.loss.count;
        let (loss, loss_error, count) = match self.per {
            Per::Sequence => (self.loss.mean, self.loss.error(), sequences),
            Per::Target(_) => {
                let (mean, error) = self.sums.mean(sequences);
                (mean, error, self.wanted.max(1))
            }
        };
        if self.guess.is_even(self.kind) {
            self.guessed = self.kind.evenly(self.wanted, self.output_size);
        }
        let has_wrong = self.kind.has_wrong();
        let right = (has_wrong && self.per == Per::Sequence).then(|| share(self.right, sequences));
        Evaluation {
            sequences,
            targets: self.wanted,
            loss,
            loss_error,
            guessing: self.guessed / count as f64,
            wrong: has_wrong.then_some(self.wrong as f64 / count as f64),
            right: right.map(|(right, _)| right),
            right_error: right.map(|(_, error)| error),
            categories: self.categories,
        }
    }
}

#[cfg(test)]
mod tests {
    use sparsam::Model;

    use sparsam::option::Declared;

    use super::*;
    use crate::{Config, TaskConfig};

    fn network(task: &str) -> (Box<dyn Task>, Network<f32>) {
        let config = Config::default_for(TaskConfig::by_name(task).unwrap(), Model::by_name("sam").unwrap());
        let task = config.task.build().unwrap();
        let network = Network::new(config.network_config(&*task), 3).unwrap();
        (task, network)
    }

    fn options(
        levels: Option<RangeInclusive<usize>>,
        sequences: u64,
        batch_size: usize,
        seed: u64,
    ) -> EvaluationOptions {
        EvaluationOptions { levels, sequences, batch_size, seed, compare_index: false }
    }

    #[test]
    fn results_do_not_depend_on_the_batch_size() {
        let (task, network) = network("copy");
        let of = |rows| evaluate(&network, &*task, &options(None, 10, rows, 7)).unwrap();
        let (one, other) = (of(1), of(4));
        assert_eq!((one.wrong, one.right, one.guessing), (other.wrong, other.right, other.guessing));
        assert_eq!((one.sequences, other.sequences), (10, 10));
        assert!((one.loss - other.loss).abs() < 1e-3, "{one:?} {other:?}");
        // An untrained network knows nothing: about one bit of loss for each bit of the longest sequences or fewer.
        assert!((20.0..170.0).contains(&one.loss), "{one:?}");
    }

    #[test]
    fn numbers_have_a_yardstick() {
        // A network whose output is 0 whatever comes: it guesses every bit, and says 0 of each.
        let (task, mut network) = network("copy");
        network.parameters_mut().get_mut("output.weight").unwrap().fill(0.0);
        network.parameters_mut().get_mut("output.bias").unwrap().fill(0.0);
        let found = evaluate(&network, &*task, &options(None, 40, 8, 7)).unwrap();
        let wanted: Vec<f64> = (0..40)
            .map(|number| {
                let mut sequence = task.sequence();
                task.generate(Draw::new(&task.default_levels(), 7, Stream::Evaluation, number), &mut sequence);
                (0..sequence.steps()).filter_map(|step| sequence.bits(step)).map(<[f32]>::len).sum::<usize>() as f64
            })
            .collect();
        let mean = wanted.iter().sum::<f64>() / 40.0;
        let variance = wanted.iter().map(|bits| (bits - mean).powi(2)).sum::<f64>() / 39.0;
        assert_eq!(found.guessing, mean);
        assert!((found.loss - mean).abs() < 1e-4, "{found:?}");
        assert!((found.loss_error.unwrap() - (variance / 40.0).sqrt()).abs() < 1e-4, "{found:?}");
        assert_eq!((found.right, found.targets as f64), (Some(0.0), wanted.iter().sum::<f64>()));
        assert_eq!(evaluate(&network, &*task, &options(None, 1, 8, 7)).unwrap().loss_error, None);
        // A confident one loses more than by guessing.
        network.parameters_mut().get_mut("output.bias").unwrap().fill(9.0);
        assert!(evaluate(&network, &*task, &options(None, 40, 8, 7)).unwrap().loss > 4.0 * mean);
    }

    #[test]
    fn a_sequence_is_right_if_none_of_its_outputs_is_wrong() {
        // One bit for each of one or two vectors; the network always says 1.
        let task = TaskConfig::Copy(crate::task::Copy { bits: 1, min_length: 1, max_length: 2 }).build().unwrap();
        let sizes = sparsam::NetworkConfig::new(3, 1).with_hidden_size(4).with_memory(Model::Lstm);
        let mut network = Network::new(sizes, 3).unwrap();
        network.parameters_mut().get_mut("output.weight").unwrap().fill(0.0);
        network.parameters_mut().get_mut("output.bias").unwrap().fill(1.0);
        let found = evaluate(&network, &*task, &options(None, 200, 8, 7)).unwrap();
        let right = (0..200).filter(|number| {
            let mut sequence = task.sequence();
            task.generate(Draw::new(&task.default_levels(), 7, Stream::Evaluation, *number), &mut sequence);
            (0..sequence.steps()).filter_map(|step| sequence.bits(step)).all(|bits| bits[0] == 1.0)
        });
        let right = right.count() as f64 / 200.0;
        // Half of the short ones, and a quarter of the others.
        assert!(found.right == Some(right) && (0.25..0.5).contains(&right), "{found:?}");
        assert!((found.right_error.unwrap() - (right * (1.0 - right) / 200.0).sqrt()).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn an_evaluation_that_loses_too_much_ends_early() {
        let (task, network) = network("copy");
        let mut runner = Runner::new(&network, 4).unwrap();
        let (mut evaluator, levels, stream) = (Evaluator::new(&*task, 4), task.default_levels(), Stream::Validation);
        let mut of = |most, seen: &mut Vec<u64>| {
            let mut watch = |done| seen.push(done);
            let stop = AtomicBool::new(false);
            evaluator.run_up_to(
                most,
                &network,
                &mut runner,
                &*task,
                levels.clone(),
                0..40,
                7,
                stream,
                &mut watch,
                &stop,
            )
        };
        let (mut all, mut some) = (Vec::new(), Vec::new());
        let Ended::Whole(whole) = of(f64::INFINITY, &mut all).unwrap() else { panic!("nothing ended it early") };
        assert_eq!(of(0.3 * 40.0 * whole.loss, &mut some).unwrap(), Ended::LostTooMuch);
        assert!(some.last().unwrap() < &24 && all.last() == Some(&40), "{some:?}");
        // And leaves nothing behind.
        assert_eq!(of(41.0 * whole.loss, &mut all).unwrap(), Ended::Whole(whole));
    }

    #[test]
    fn an_evaluation_that_is_told_to_stop_does_after_a_piece_and_leaves_nothing_behind() {
        let (task, network) = network("recall");
        let mut runner = Runner::new(&network, 2).unwrap();
        let mut evaluator = Evaluator::new(&*task, 2);
        let mut of = |stop: &AtomicBool| {
            let mut watch = |_| stop.store(true, Ordering::Relaxed);
            let (levels, stream) = (task.default_levels(), Stream::Evaluation);
            evaluator.run(&network, &mut runner, &*task, levels, 0..6, 7, stream, &mut watch, stop).unwrap()
        };
        assert_eq!(of(&AtomicBool::new(true)), None);
        assert_eq!(of(&AtomicBool::new(false)), None, "the first sequences that ended told it to stop");
        let whole = evaluate(&network, &*task, &options(None, 6, 2, 7)).unwrap();
        let (levels, stream, go_on) = (task.default_levels(), Stream::Evaluation, AtomicBool::new(false));
        let after = evaluator.run(&network, &mut runner, &*task, levels, 0..6, 7, stream, &mut |_| (), &go_on);
        assert_eq!(after.unwrap(), Some(whole));
    }

    #[test]
    fn what_an_evaluation_took_is_told() {
        use sparsam::option::OptionValue;
        let (task, network) = network("recall");
        let measured = |network: &Network<f32>, rows| {
            evaluate_measured(network, &*task, &options(Some(3..=3), 5, rows, 7), &mut |_| ()).unwrap()
        };
        let (found, cost) = measured(&network, 2);
        assert_eq!(found, evaluate(&network, &*task, &options(Some(3..=3), 5, 2, 7)).unwrap());
        let steps = task.steps(3) as u64;
        assert_eq!(cost.steps, 5 * steps);
        assert!(cost.search_time > Duration::ZERO && cost.search_time < cost.time, "{cost:?}");
        assert_eq!(cost.search_misses, None);
        // A forest overlooks words; what is read is what it found.
        let mut forest = network.config().memory.clone();
        assert!(forest.set_option("index", &sparsam::index::IndexKind::KdForest.to_value()));
        assert!(forest.set_option("index_checks", &4usize.to_value()));
        for (memory, finds_all) in [(network.config().memory.clone(), true), (forest, false)] {
            let network = network.clone().with_memory(memory).unwrap();
            let comparing = EvaluationOptions { compare_index: true, ..options(Some(3..=3), 5, 2, 7) };
            let compared = evaluate_measured(&network, &*task, &comparing, &mut |_| ()).unwrap();
            assert_eq!(compared.0, measured(&network, 2).0);
            let misses = compared.1.search_misses.unwrap();
            assert!(misses.wanted > 0 && (misses.missed == 0) == finds_all, "{misses:?}");
        }
        // Each head writes to a word of its own and to those that it read, however many sequences run at a time.
        let memory = &network.config().memory;
        let written = cost.words_written.unwrap();
        assert!(written >= steps as f64 && written <= memory.memory_size() as f64, "{written} in {steps} steps");
        assert_eq!(measured(&network, 3).1.words_written, Some(written));
        // If all gates are shut, only the words that each head would have written to were cleared.
        let mut shut = memory.clone();
        assert!(shut.set_option("write_threshold", &sparsam::option::Value::Number(0.999)));
        let writers = memory.config().unwrap().writers() as f64;
        let cleared = measured(&network.with_memory(shut).unwrap(), 2).1.words_written.unwrap();
        assert!(cleared < written / 2.0 && cleared >= writers, "{cleared} of {written} with {writers} heads");
        // A controller alone has none.
        let lstm = Network::new(network.config().clone().with_memory(Model::Lstm), 1).unwrap();
        assert_eq!(measured(&lstm, 2).1.words_written, None);
    }

    #[test]
    fn shares_at_the_ends_have_an_error() {
        assert_eq!(share(255, 255), (1.0, 0.5 / 256.0));
        assert_eq!(share(0, 1), (0.0, 0.25));
        // Wilson's interval at z = 1: from p' - e to p' + e, where p' = (k + 1/2) / (n + 1).
        let (half, error) = share(50, 100);
        assert!(half == 0.5 && (error - (0.25f64 / 100.0 + 0.25 / 1e4).sqrt() / 1.01).abs() < 1e-12);
    }

    #[test]
    fn watching_changes_nothing() {
        let (task, network) = network("copy");
        let mut seen = Vec::new();
        let (watched, _) =
            evaluate_measured(&network, &*task, &options(None, 10, 4, 7), &mut |done| seen.push(done)).unwrap();
        assert_eq!(seen, [4, 8, 10]);
        assert_eq!(watched, evaluate(&network, &*task, &options(None, 10, 4, 7)).unwrap());
    }

    /// Streaming changes nothing: the whole of each sequence at once gives the same numbers as a few steps at a time.
    #[test]
    fn pieces_add_up_to_the_whole() {
        for name in ["copy", "recall", "sort"] {
            let (task, network) = network(name);
            let mut runner = Runner::new(&network, 3).unwrap();
            // Rows end at different times, so that sequences follow each other in the middle of others.
            let mut of = |piece_steps| {
                let mut evaluator = Evaluator { piece_steps, ..Evaluator::new(&*task, 3) };
                let (levels, stream) = (2..=40, Stream::Evaluation);
                let mut seen = Vec::new();
                let mut watch = |done| seen.push(done);
                let go_on = AtomicBool::new(false);
                let found = evaluator.run(&network, &mut runner, &*task, levels, 0..8, 7, stream, &mut watch, &go_on);
                let found = found.unwrap().unwrap();
                assert_eq!(seen.last(), Some(&8));
                found
            };
            let whole = of(usize::MAX);
            for piece_steps in [1, 7, 32, PIECE] {
                let pieces = of(piece_steps);
                assert_eq!((pieces.wrong, pieces.sequences), (whole.wrong, 8), "{name} in pieces of {piece_steps}");
                assert_eq!((pieces.right, pieces.guessing), (whole.right, whole.guessing));
                assert!((pieces.loss_error.unwrap() - whole.loss_error.unwrap()).abs() < 1e-4 * whole.loss);
                assert!((pieces.loss - whole.loss).abs() < 1e-5 * whole.loss, "{pieces:?} {whole:?}");
            }
            // And so does running them side by side: each on its own, held as a whole.
            let alone: Vec<_> = (0..8)
                .map(|number| {
                    let mut sequence = task.sequence();
                    task.generate(Draw::new(&(2..=40), 7, Stream::Evaluation, number), &mut sequence);
                    let mut batch = Batch::new(1, task.input_size(), task.output_size(), task.target_kind());
                    batch.fill(&[sequence]);
                    let mut outputs = vec![0.0; batch.steps() * task.output_size()];
                    let mut runner = Runner::new(&network, 1).unwrap();
                    runner.infer(&network, batch.inputs(), batch.lengths(), &mut outputs).unwrap();
                    batch.wrong(&outputs)
                })
                .collect();
            assert_eq!(Some(alone.iter().sum::<u64>() as f64 / 8.0), whole.wrong);
        }
    }

    #[test]
    fn a_long_sequence_takes_no_more_room_than_a_piece() {
        let (task, network) = network("recall");
        let mut runner = Runner::new(&network, 2).unwrap();
        let mut evaluator = Evaluator::new(&*task, 2);
        let (stream, go_on) = (Stream::Evaluation, AtomicBool::new(false));
        evaluator.run(&network, &mut runner, &*task, 3000..=3000, 0..2, 7, stream, &mut |_| (), &go_on).unwrap();
        // A source may add an item, or the query with its answer, beyond a piece.
        let most = PIECE + 8;
        assert!(evaluator.outputs.capacity() <= 2 * 2 * most * task.output_size());
        assert!(evaluator.pieces.iter().all(|piece| piece.steps() <= most));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (task, network) = network("copy");
        let message = |result: Result<Evaluation, Error>| result.unwrap_err().to_string();
        assert!(message(evaluate(&network, &*task, &options(Some(0..=4), 8, 8, 1))).contains("level = 0"));
        assert!(message(evaluate(&network, &*task, &options(None, 0, 8, 1))).contains("sequences = 0"));
        let large = message(evaluate(&network, &*task, &options(Some(1 << 25..=1 << 25), 8, 16, 1)));
        assert!(large.contains("level = 33554432"), "{large}");
        let recall = TaskConfig::by_name("recall").unwrap().build().unwrap();
        assert!(message(evaluate(&network, &*recall, &options(None, 8, 8, 1))).contains("task = recall"));
    }
}
