//! The training loop.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::Serialize;
use sparsam::nn::loss::BITS;
use sparsam::nn::optimiser::{Optimiser, clip_by_norm};
use sparsam::{Network, Parameters, Runner};

use crate::batch::Sampler;
use crate::evaluation::Evaluator;
use crate::random::Stream;
use crate::run_folder::{Checkpoint, OpenRun, Progress, Resumed, RunFolder};
use crate::task::Task;
use crate::{Config, Error, Evaluation, Metrics};

/// One batch of training. A loss is in bits per sequence; `wrong` counts wrong bits (or classes) per sequence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BatchReport {
    /// The batch, the first being 1.
    pub batch: u64,
    /// Batches that there will be.
    pub batches: u64,
    /// Sequences trained on so far.
    pub sequences: u64,
    /// Time steps of the batch's longest sequence.
    pub steps: usize,
    /// Loss of the batch.
    pub loss: f64,
    /// Wrong outputs of the batch.
    pub wrong: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Loss of this and the batches before, the latest hundred or so weighing most.
    pub running_loss: f64,
    /// Wrong outputs of those batches.
    pub running_wrong: f64,
    /// Sequences trained on per second of late.
    pub sequences_per_second: f64,
    /// Seconds that the batches to come will take at this rate.
    pub seconds_left: f64,
}

/// What happens in a run of training.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Training starts, or goes on.
    Started {
        /// The run's folder.
        folder: &'a Path,
        /// The run's configuration.
        config: &'a Config,
        /// Parameters of the network.
        parameters: usize,
        /// Batches already trained.
        batch: u64,
    },
    /// A batch was trained.
    Batch(&'a BatchReport),
    /// The network was evaluated.
    Evaluated {
        /// What was measured.
        metrics: &'a Metrics,
        /// Whether the loss is the lowest so far.
        best: bool,
    },
    /// The run was saved: it could be resumed from here.
    Saved {
        /// Batches trained.
        batch: u64,
        /// The newest checkpoint.
        path: &'a Path,
    },
    /// Training ended, all of it saved.
    Ended {
        /// Why.
        outcome: Outcome,
        /// Batches trained.
        batch: u64,
    },
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every batch was trained.
    Finished,
    /// It was told to stop; the run can be resumed.
    Stopped,
}

/// Watches a run of training. A closure that takes an [`Event`] does.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: Event<'_>);
}

impl<F: FnMut(Event<'_>)> Observer for F {
    fn event(&mut self, event: Event<'_>) {
        self(event);
    }
}

/// Trains a network on a task and keeps the run in its folder.
///
/// The configuration decides the result: the same one gives the same parameters and metrics bit for bit, for any number
/// of threads and however often the run was stopped, killed and resumed. Work is shared out over the threads of the
/// current rayon pool.
pub struct Trainer {
    config: Config,
    task: Box<dyn Task>,
    levels: RangeInclusive<usize>,
    network: Network<f32>,
    optimiser: Optimiser<f32>,
    runner: Runner<f32>,
    sampler: Sampler,
    outputs: Vec<f32>,
    output_gradients: Vec<f32>,
    gradients: Parameters<f32>,
    evaluator: Evaluator,
    progress: Progress,
    saved_at: u64,
    recent: Recent,
    run: OpenRun,
}

impl Trainer {
    /// Starts a run in a folder, which is made if need be.
    ///
    /// # Errors
    /// Those of [`Config::validate`]; [`Error::RunExists`] if the folder holds a run already; [`Error::Locked`];
    /// [`Error::Io`] if the folder cannot be written.
    pub fn new(config: Config, folder: &Path) -> Result<Self, Error> {
        config.validate()?;
        let task = config.task.build()?;
        let network = Network::new(config.network_config(&*task), config.seed)?;
        let optimiser = Optimiser::new(config.optimiser, network.parameters().values().len())?;
        // Before the folder is made: a memory that does not fit should leave nothing behind.
        let runner = Runner::new(&network, config.batch_size)?;
        let run = OpenRun::create(folder, &config, task.target_kind().unit(), &network, &optimiser)?;
        Ok(Self::assemble(config, task, runner, run, Resumed { network, optimiser, progress: Progress::default() }))
    }

    /// Goes on with the run in a folder from its last checkpoint, as if it had never been interrupted.
    ///
    /// # Errors
    /// [`Error::NoRun`]; [`Error::Locked`]; [`Error::Config`], [`Error::Damaged`] or
    /// [`sparsam::Error::Checkpoint`] if a file is not as it was written; [`Error::Io`].
    pub fn resume(folder: &Path) -> Result<Self, Error> {
        let config = RunFolder::open(folder)?.config()?;
        let task = config.task.build()?;
        let (run, resumed) = OpenRun::resume(folder, &config, task.target_kind().unit())?;
        let runner = Runner::new(&resumed.network, config.batch_size)?;
        Ok(Self::assemble(config, task, runner, run, resumed))
    }

    fn assemble(config: Config, task: Box<dyn Task>, runner: Runner<f32>, run: OpenRun, state: Resumed) -> Self {
        let Resumed { network, optimiser, progress } = state;
        Self {
            levels: task.default_levels(),
            sampler: Sampler::new(&*task, config.batch_size),
            evaluator: Evaluator::new(&*task, config.batch_size),
            outputs: Vec::new(),
            output_gradients: Vec::new(),
            gradients: network.zeros(),
            saved_at: progress.batch,
            recent: Recent::default(),
            config,
            task,
            network,
            optimiser,
            runner,
            progress,
            run,
        }
    }

    /// The run's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The task trained on.
    pub fn task(&self) -> &dyn Task {
        &*self.task
    }

    /// The network as it stands.
    pub fn network(&self) -> &Network<f32> {
        &self.network
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        self.run.path()
    }

    /// Batches trained so far.
    pub fn batch(&self) -> u64 {
        self.progress.batch
    }

    /// Every line of metrics so far.
    pub fn metrics(&self) -> &[Metrics] {
        self.run.metrics()
    }

    /// Changes how many batches the run has, in its configuration as well: a finished one can go on so.
    ///
    /// # Errors
    /// [`Error::Option`] if that many batches were trained already, or the number does not work; [`Error::Io`].
    pub fn set_batches(&mut self, batches: u64) -> Result<(), Error> {
        if batches < self.progress.batch {
            let reason = format!("{} were trained already", self.progress.batch);
            return Err(Error::option("batches", batches, reason));
        }
        let config = Config { batches, ..self.config.clone() };
        config.validate()?;
        self.run.replace_config(&config)?;
        self.config = config;
        Ok(())
    }

    /// Trains one batch.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the loss or the gradient is infinite or not a number; the parameters are then those of
    /// before this batch.
    pub fn step(&mut self) -> Result<BatchReport, Error> {
        let start = Instant::now();
        let rows = self.config.batch_size;
        let first = self.progress.sequences;
        let numbers = first..first + rows as u64;
        let batch = self.sampler.sample(&*self.task, &self.levels, self.config.seed, Stream::Training, numbers);
        let (steps, length) = (batch.steps(), batch.steps() * rows * self.task.output_size());
        self.outputs.resize(length, 0.0);
        self.output_gradients.resize(length, 0.0);
        self.runner.forward(&self.network, batch.inputs(), batch.lengths(), &mut self.outputs)?;
        // The gradient is that of the mean over the sequences, so that its scale does not depend on their number.
        let loss = match batch.loss(&self.outputs, 1.0 / rows as f32, &mut self.output_gradients) {
            Ok(loss) => loss,
            Err(error) => {
                // Without this the next batch would start from the state this one ended with.
                self.runner.reset();
                return Err(in_batch(self.progress.batch + 1, error.into()));
            }
        };
        let wrong = batch.wrong(&self.outputs);
        self.gradients.values_mut().fill(0.0);
        self.runner.backward(&self.network, &self.output_gradients, &mut self.gradients, None)?;
        let norm = clip_by_norm(self.gradients.values_mut(), self.config.clip_norm);
        if !norm.is_finite() {
            let error = self
                .gradients
                .check_finite("the gradient of")
                .err()
                .unwrap_or_else(|| sparsam::Error::NotFinite { what: "the norm of the gradient".into(), value: norm });
            return Err(in_batch(self.progress.batch + 1, error.into()));
        }
        self.optimiser.update(self.network.parameters_mut().values_mut(), self.gradients.values());

        let seconds = start.elapsed().as_secs_f64();
        self.progress.batch += 1;
        self.progress.sequences += rows as u64;
        self.progress.updates = self.optimiser.steps();
        self.progress.seconds += seconds;
        let since = &mut self.progress.since;
        since.batches += 1;
        since.sequences += rows as u64;
        since.loss += loss;
        since.wrong += wrong;
        since.gradient_norm += norm;
        since.seconds += seconds;

        let (loss, wrong) = (loss * BITS / rows as f64, wrong as f64 / rows as f64);
        let [running_loss, running_wrong, running_seconds] = self.recent.add([loss, wrong, seconds]);
        let left = self.config.batches.saturating_sub(self.progress.batch);
        Ok(BatchReport {
            batch: self.progress.batch,
            batches: self.config.batches,
            sequences: self.progress.sequences,
            steps,
            loss,
            wrong,
            gradient_norm: norm,
            running_loss,
            running_wrong,
            sequences_per_second: rows as f64 / running_seconds.max(1e-9),
            seconds_left: left as f64 * running_seconds,
        })
    }

    /// Evaluates the network as it stands on sequences that it is not trained on, the same ones every time: of one level,
    /// or of all that training draws from. Training is not affected.
    ///
    /// # Errors
    /// [`Error::Option`] if the level is not possible or there are no sequences; [`Error::NotFinite`].
    pub fn evaluate(&mut self, level: Option<usize>, sequences: u64) -> Result<Evaluation, Error> {
        let levels = level.map_or_else(|| self.levels.clone(), |level| level..=level);
        self.evaluator
            .run(&self.network, &mut self.runner, &*self.task, levels, sequences, self.config.seed, Stream::Validation)
            .map_err(|error| in_batch(self.progress.batch, error))
    }

    /// Saves the run: it could be resumed from here.
    ///
    /// # Errors
    /// [`Error::Io`], with the last checkpoint kept; [`Error::NotFinite`] if there is a parameter that should not be kept.
    pub fn save(&mut self) -> Result<(), Error> {
        self.run
            .save(&self.network, &self.optimiser, &self.progress)
            .map_err(|error| in_batch(self.progress.batch, error))?;
        self.saved_at = self.progress.batch;
        Ok(())
    }

    /// Trains until every batch is done or `stop` is set, which is looked at between batches; evaluates and saves as the
    /// configuration says, and in any case at the end.
    ///
    /// # Errors
    /// As [`step`](Self::step), [`evaluate`](Self::evaluate) and [`save`](Self::save). The last checkpoint is kept.
    pub fn run(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Outcome, Error> {
        observer.event(Event::Started {
            folder: self.run.path(),
            config: &self.config,
            parameters: self.network.parameters().values().len(),
            batch: self.progress.batch,
        });
        let mut outcome = Outcome::Finished;
        while self.progress.batch < self.config.batches {
            if stop.load(Ordering::Relaxed) {
                outcome = Outcome::Stopped;
                break;
            }
            let report = self.step()?;
            observer.event(Event::Batch(&report));
            let last = report.batch == self.config.batches;
            if last || report.batch.is_multiple_of(self.config.evaluate_every) {
                self.evaluate_and_note(observer)?;
            }
            if last || report.batch.is_multiple_of(self.config.checkpoint_every) {
                self.save_and_tell(observer)?;
            }
        }
        if self.saved_at != self.progress.batch {
            self.save_and_tell(observer)?;
        }
        observer.event(Event::Ended { outcome, batch: self.progress.batch });
        Ok(outcome)
    }

    fn evaluate_and_note(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        let start = Instant::now();
        let evaluation = self.evaluate(None, self.config.evaluation_sequences)?;
        self.progress.seconds += start.elapsed().as_secs_f64();
        let since = std::mem::take(&mut self.progress.since);
        let metrics = Metrics {
            batch: self.progress.batch,
            sequences: self.progress.sequences,
            training_loss: since.loss * BITS / since.sequences as f64,
            training_wrong: since.wrong as f64 / since.sequences as f64,
            gradient_norm: since.gradient_norm / since.batches as f64,
            loss: evaluation.loss,
            wrong: evaluation.wrong,
            seconds: self.progress.seconds,
            sequences_per_second: since.sequences as f64 / since.seconds.max(1e-9),
        };
        let best = self.progress.best_loss.is_none_or(|best| metrics.loss < best);
        if best {
            self.run.save_best(&self.network).map_err(|error| in_batch(self.progress.batch, error))?;
            self.progress.best_loss = Some(metrics.loss);
        }
        self.run.add_metrics(metrics.clone(), &mut self.progress)?;
        observer.event(Event::Evaluated { metrics: &metrics, best });
        Ok(())
    }

    fn save_and_tell(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        self.save()?;
        let path: PathBuf = self.run.path().join(Checkpoint::Newest.file());
        observer.event(Event::Saved { batch: self.progress.batch, path: &path });
        Ok(())
    }
}

/// Says in which batch something was not finite.
fn in_batch(batch: u64, error: Error) -> Error {
    match error {
        Error::Library(sparsam::Error::NotFinite { what, value }) => Error::NotFinite { batch, what, value },
        error => error,
    }
}

/// Running means in which each new value weighs as much as a hundredth, or its share while there are fewer.
#[derive(Debug, Default)]
struct Recent {
    count: f64,
    means: [f64; 3],
}

impl Recent {
    fn add(&mut self, values: [f64; 3]) -> [f64; 3] {
        self.count = (self.count + 1.0).min(100.0);
        for (mean, value) in self.means.iter_mut().zip(values) {
            *mean += (value - *mean) / self.count;
        }
        self.means
    }
}
