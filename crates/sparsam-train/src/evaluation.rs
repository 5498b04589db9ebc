//! Measuring a network on sequences it has not seen.

use std::ops::{Range, RangeInclusive};

use serde::Serialize;
use sparsam::nn::loss::BITS;
use sparsam::{Network, Runner};

use crate::Error;
use crate::batch::Sampler;
use crate::random::Stream;
use crate::task::Task;

/// What an evaluation measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Sequences evaluated.
    pub sequences: u64,
    /// Loss in bits per sequence.
    pub loss: f64,
    /// Wrong bits (or classes, see [`TargetKind`](crate::TargetKind)) per sequence.
    pub wrong: f64,
}

/// Evaluates a network on fresh sequences of a task: their levels are drawn from `levels` (the task's own if `None`),
/// and they are the same for the same seed, whatever `batch_size` is.
///
/// # Errors
/// [`Error::Option`] if a level is not possible, there are no sequences, or the network is of other sizes than the
/// task; [`sparsam::Error::NotFinite`] if the loss is infinite or not a number.
pub fn evaluate(
    network: &Network<f32>,
    task: &dyn Task,
    levels: Option<RangeInclusive<usize>>,
    sequences: u64,
    batch_size: usize,
    seed: u64,
) -> Result<Evaluation, Error> {
    evaluate_watched(network, task, levels, sequences, batch_size, seed, &mut |_| ())
}

/// [`evaluate`] that tells after each batch how many sequences are done: long ones take their time.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_watched(
    network: &Network<f32>,
    task: &dyn Task,
    levels: Option<RangeInclusive<usize>>,
    sequences: u64,
    batch_size: usize,
    seed: u64,
    watch: &mut dyn FnMut(u64),
) -> Result<Evaluation, Error> {
    let config = network.config();
    if (config.input_size, config.output_size) != (task.input_size(), task.output_size()) {
        let reason = format!(
            "it has inputs of {} and outputs of {} numbers, the network {} and {}",
            task.input_size(),
            task.output_size(),
            config.input_size,
            config.output_size
        );
        return Err(Error::option("task", task.name(), reason));
    }
    let mut runner = Runner::new(network, batch_size)?;
    let levels = levels.unwrap_or_else(|| task.default_levels());
    let mut evaluator = Evaluator::new(task, batch_size);
    evaluator.run(network, &mut runner, task, levels, 0..sequences, seed, Stream::Evaluation, watch)
}

/// The buffers of an evaluation.
pub(crate) struct Evaluator {
    sampler: Sampler,
    outputs: Vec<f32>,
    gradient: Vec<f32>,
}

impl Evaluator {
    pub(crate) fn new(task: &dyn Task, batch_size: usize) -> Self {
        Self { sampler: Sampler::new(task, batch_size), outputs: Vec::new(), gradient: Vec::new() }
    }

    /// Evaluates on the sequences of these numbers; leaves the runner as it was made.
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
    ) -> Result<Evaluation, Error> {
        task.check_levels(&levels)?;
        task.check_batch(&levels, runner.rows()).map_err(|error| match error {
            // The run's batches are of a size that works with its own levels: what is too large is the level asked for.
            Error::Option { reason, .. } if levels != task.default_levels() => {
                Error::option("level", levels.end(), reason)
            }
            error => error,
        })?;
        let sequences = numbers.end.saturating_sub(numbers.start);
        if sequences == 0 {
            return Err(Error::option("sequences", 0, "an evaluation takes at least 1"));
        }
        let (mut loss, mut wrong) = (0.0, 0);
        runner.reset();
        let begin = numbers.start;
        for first in numbers.clone().step_by(runner.rows()) {
            let numbers = first..numbers.end.min(first.saturating_add(runner.rows() as u64));
            let done = numbers.end - begin;
            let batch = self.sampler.sample(task, &levels, seed, stream, numbers);
            let length = batch.steps() * batch.rows() * task.output_size();
            self.outputs.resize(length, 0.0);
            self.gradient.resize(length, 0.0);
            runner.infer(network, batch.inputs(), batch.lengths(), &mut self.outputs)?;
            runner.reset();
            loss += batch.loss(&self.outputs, 0.0, &mut self.gradient)?;
            wrong += batch.wrong(&self.outputs);
            watch(done);
        }
        let sequences_seen = sequences as f64;
        Ok(Evaluation { sequences, loss: loss * BITS / sequences_seen, wrong: wrong as f64 / sequences_seen })
    }
}

#[cfg(test)]
mod tests {
    use sparsam::Model;

    use super::*;
    use crate::{Config, TaskConfig};

    fn network(task: &str) -> (Box<dyn Task>, Network<f32>) {
        let config = Config::default_for(TaskConfig::by_name(task).unwrap(), Model::by_name("sam").unwrap());
        let task = config.task.build().unwrap();
        let network = Network::new(config.network_config(&*task), 3).unwrap();
        (task, network)
    }

    #[test]
    fn results_do_not_depend_on_the_batch_size() {
        let (task, network) = network("copy");
        let of = |rows| evaluate(&network, &*task, None, 10, rows, 7).unwrap();
        let (one, other) = (of(1), of(4));
        assert_eq!((one.wrong, one.sequences), (other.wrong, 10));
        assert!((one.loss - other.loss).abs() < 1e-3, "{one:?} {other:?}");
        // An untrained network knows nothing: about one bit of loss for each bit of the longest sequences or fewer.
        assert!((20.0..170.0).contains(&one.loss), "{one:?}");
    }

    #[test]
    fn watching_changes_nothing() {
        let (task, network) = network("copy");
        let mut seen = Vec::new();
        let watched = evaluate_watched(&network, &*task, None, 10, 4, 7, &mut |done| seen.push(done)).unwrap();
        assert_eq!(seen, [4, 8, 10]);
        assert_eq!(watched, evaluate(&network, &*task, None, 10, 4, 7).unwrap());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (task, network) = network("copy");
        let message = |result: Result<Evaluation, Error>| result.unwrap_err().to_string();
        assert!(message(evaluate(&network, &*task, Some(0..=4), 8, 8, 1)).contains("level = 0"));
        assert!(message(evaluate(&network, &*task, None, 0, 8, 1)).contains("sequences = 0"));
        let large = message(evaluate(&network, &*task, Some(1 << 24..=1 << 24), 8, 16, 1));
        assert!(large.contains("level = 16777216") && large.contains("fewer or shorter"), "{large}");
        let recall = TaskConfig::by_name("recall").unwrap().build().unwrap();
        assert!(message(evaluate(&network, &*recall, None, 8, 8, 1)).contains("task = recall"));
    }
}
