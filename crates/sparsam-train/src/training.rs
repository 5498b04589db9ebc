//! The training loop.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::Serialize;
use sparsam::network::{ONE_HOT_INPUT_BOUND, input_bound, position_weight};
use sparsam::nn::average::add_to_average;
use sparsam::nn::optimiser::Optimiser;
use sparsam::{Network, NetworkConfig, Parameters, Runner, Sequences};

use crate::batch::Sampler;
use crate::curriculum::Curriculum;
use crate::evaluation::{Ended, Evaluator};
use crate::random::{Random, Stream};
use crate::run_folder::{Best, Checkpoint, FirstRun, OpenRun, Progress, Resumed, RunFolder, Sums, task_to_train};
use crate::task::{Draw, Task};
use crate::{CategoryScore, Config, Error, Evaluation, Guess, Metrics, Per};

/// Batches in a row that nothing is learnt from because their gradient is not finite, at most. The gradient of a long
/// sequence grows exponentially where a network goes wrong and overflows now and then; the next batch is another one.
const OVERFLOWS: u64 = 10;

/// As many times the sequences of an evaluation are those that two networks are compared on.
const COMPARED: u64 = 4;

/// One batch of training, in the [units](crate::Units) of its task.
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
    /// The highest level that the curriculum draws from now; none without one.
    pub level: Option<usize>,
    /// Loss of the batch.
    pub loss: f64,
    /// Loss of reproducing inputs, for each bit or class that was to be reproduced; none if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refreshing_loss: Option<f64>,
    /// What guessing all that it wants would come to.
    pub guessing: f64,
    /// Wrong outputs of the batch; none where no output is right or wrong.
    pub wrong: Option<f64>,
    /// Norm of the gradient before clipping. If it is infinite or not a number, nothing was learnt from this batch.
    pub gradient_norm: f64,
    /// What it was limited to.
    pub gradient_limit: f64,
    /// Loss of this and the batches before, the latest hundred or so weighing most.
    pub running_loss: f64,
    /// What guessing would come to in those batches.
    pub running_guessing: f64,
    /// Wrong outputs of those batches.
    pub running_wrong: Option<f64>,
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
        /// Whether the network is the best so far; see [`Best`].
        best: bool,
    },
    /// The run was saved: it could be resumed from here.
    Saved {
        /// Batches trained.
        batch: u64,
        /// The newest checkpoint.
        path: &'a Path,
    },
    /// Something is to be known that ends nothing: what the file system does not do, say. Each thing is told once.
    Notice {
        /// A sentence.
        text: &'a str,
    },
    /// Training ended, all of it saved.
    Ended {
        /// Why.
        outcome: Outcome,
        /// Batches trained.
        batch: u64,
        /// Sequences trained on.
        sequences: u64,
        /// The best network; none if there was no evaluation yet, or an earlier version found it.
        best: Option<&'a Best>,
    },
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every batch was trained.
    Finished,
    /// The task counts as learnt; see [`Config::until`].
    Learnt,
    /// The loss of evaluations has not become lower for long; see [`Config::patience`].
    NoBetter,
    /// It was told to stop; the run can be resumed.
    Stopped,
}

impl Outcome {
    /// In a word or two, as run folders and the command's JSON have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Learnt => "learnt",
            Self::NoBetter => "no better",
            Self::Stopped => "stopped",
        }
    }
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
    /// Every level that training may draw.
    levels: RangeInclusive<usize>,
    /// The first h of the curriculum; the highest level without one.
    first_level: usize,
    network: Network<f32>,
    optimiser: Optimiser<f32>,
    /// The network whose weights are the running mean of those; see [`Config::average_decay`].
    average: Option<Network<f32>>,
    runner: Runner<f32>,
    sampler: Sampler,
    outputs: Vec<f32>,
    output_gradients: Vec<f32>,
    /// Of reproducing inputs.
    refreshing_gradients: Vec<f32>,
    dropout_seeds: Vec<u64>,
    gradients: Parameters<f32>,
    evaluator: Evaluator,
    guess: Guess,
    progress: Progress,
    /// The batch after which this trainer saved. A resumed run may lack what is saved after the resume file.
    saved_at: Option<u64>,
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
        let task = task_to_train(&config)?;
        Self::with_task(config, task, folder)
    }

    /// [`new`](Self::new) for a task of one's own, whatever the configuration says of it;
    /// [`TaskConfig::Own`](crate::TaskConfig::Own) is what it should say.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_task(config: Config, task: Box<dyn Task>, folder: &Path) -> Result<Self, Error> {
        config.validate_with(&*task)?;
        let sizes = config.network_config(&*task);
        let moments = config.optimiser.moments() + usize::from(config.average_decay > 0.0);
        let last = *config.levels(&*task)?.end();
        // Before anything is allocated: an allocation that fails ends the program.
        sizes.check_training::<f32>(config.batch_size, task.steps(last), moments).map_err(|error| match error {
            error @ (sparsam::Error::TapeDoesNotFit { .. } | sparsam::Error::MemoryDoesNotFit { .. })
                if config.curriculum.on =>
            {
                Error::option("end", last, format!("at the end of the curriculum {error}"))
            }
            error => error.into(),
        })?;
        let curriculum =
            if config.curriculum.on { Some(Curriculum::new(*config.curriculum.levels(&*task)?.start())) } else { None };
        let progress = Progress { curriculum, ..Progress::default() };
        let values = config.network.initial_values;
        let input_bound = config.input_bound(&*task)?;
        let mut network = match FirstRun::of(&config)? {
            Some(first) => first.network(&sizes, config.network.feedback)?,
            None => Network::with_initial_values(sizes.clone(), values, Some(input_bound), config.seed)?,
        };
        if !config.network.feedback {
            without_feedback(&sizes, network.parameters_mut());
        }
        let optimiser = Optimiser::new(config.optimiser, network.parameters().values().len())?;
        // Before the folder is made: a memory that does not fit should leave nothing behind.
        let runner = Runner::new(&network, config.batch_size)?;
        let average = (config.average_decay > 0.0).then(|| network.clone());
        let state = Resumed { network, optimiser, average, progress };
        let run = OpenRun::create(folder, &config, &*task, &state)?;
        Self::assemble(config, task, runner, run, state)
    }

    /// Goes on with the run in a folder from its last checkpoint, as if it had never been interrupted.
    ///
    /// # Errors
    /// [`Error::NoRun`]; [`Error::Locked`]; [`Error::Config`], [`Error::Damaged`] or
    /// [`sparsam::Error::Checkpoint`] if a file is not as it was written; [`Error::Io`].
    pub fn resume(folder: &Path) -> Result<Self, Error> {
        let task = RunFolder::open(folder)?.task_to_go_on()?;
        Self::resume_with(task, folder)
    }

    /// [`resume`](Self::resume) for a run of [`with_task`](Self::with_task), whose task is to be the same.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub fn resume_with(task: Box<dyn Task>, folder: &Path) -> Result<Self, Error> {
        let config = RunFolder::open(folder)?.config()?;
        let (run, resumed) = OpenRun::resume(folder, &config, &*task)?;
        let runner = Runner::new(&resumed.network, config.batch_size)?;
        Self::assemble(config, task, runner, run, resumed)
    }

    fn assemble(
        config: Config,
        task: Box<dyn Task>,
        runner: Runner<f32>,
        run: OpenRun,
        state: Resumed,
    ) -> Result<Self, Error> {
        let Resumed { network, optimiser, average, progress } = state;
        let levels = config.levels(&*task)?;
        let first_level = if config.curriculum.on { *config.curriculum.levels(&*task)?.start() } else { *levels.end() };
        Ok(Self {
            levels,
            first_level,
            sampler: Sampler::new(&*task, config.batch_size),
            evaluator: Evaluator::new(&*task, config.batch_size),
            outputs: Vec::new(),
            output_gradients: Vec::new(),
            refreshing_gradients: Vec::new(),
            dropout_seeds: Vec::new(),
            gradients: network.zeros(),
            guess: task.guess(),
            saved_at: None,
            recent: Recent::default(),
            config,
            task,
            network,
            optimiser,
            average,
            runner,
            progress,
            run,
        })
    }

    /// The levels that training draws from now.
    fn current_levels(&self) -> RangeInclusive<usize> {
        match &self.progress.curriculum {
            Some(curriculum) => *self.levels.start()..=curriculum.level,
            None => self.levels.clone(),
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

    /// The network that is trained, as it stands.
    pub fn network(&self) -> &Network<f32> {
        &self.network
    }

    /// The network that is evaluated and kept: the one that is trained, or the running mean of its weights if the
    /// configuration has an [`average_decay`](Config::average_decay).
    pub fn evaluated_network(&self) -> &Network<f32> {
        self.average.as_ref().unwrap_or(&self.network)
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        self.run.path()
    }

    /// Batches trained so far.
    pub fn batch(&self) -> u64 {
        self.progress.batch
    }

    /// Seconds spent in training so far, pauses between resumes left out.
    pub fn seconds(&self) -> f64 {
        self.progress.seconds
    }

    /// The best network so far, which is in the run's folder; none before the first evaluation.
    pub fn best(&self) -> Option<&Best> {
        self.progress.best.as_ref()
    }

    /// Every line of metrics so far.
    pub fn metrics(&self) -> &[Metrics] {
        self.run.metrics()
    }

    /// Whether the run has ended because its task counts as learnt; see [`Config::until`]. It follows from the metrics, and
    /// so is the same for a run that was stopped and resumed.
    pub fn has_learnt(&self) -> bool {
        let last_level = self.progress.curriculum.as_ref().map(|_| *self.levels.end());
        has_learnt(self.run.metrics(), self.config.until, last_level)
    }

    /// Whether the run has ended because the loss of its evaluations has not become lower for long; see
    /// [`Config::patience`]. It follows from the metrics, as [`has_learnt`](Self::has_learnt) does.
    pub fn is_no_better(&self) -> bool {
        is_no_better(self.run.metrics(), self.config.patience)
    }

    /// Changes how many batches the run has, over how many of the last ones its learning rate falls, and what ends it before
    /// them, in its configuration as well: one that has ended can go on so.
    ///
    /// # Errors
    /// [`Error::Option`] if that many batches were trained already, or a number does not work; [`Error::Io`].
    pub fn set_end(&mut self, batches: u64, cooldown: u64, until: f64, patience: u64) -> Result<(), Error> {
        if batches < self.progress.batch {
            let reason = format!("{} were trained already", self.progress.batch);
            return Err(Error::option("batches", batches, reason));
        }
        let config = Config { batches, cooldown, until, patience, ..self.config.clone() };
        config.validate()?;
        self.run.replace_config(&config)?;
        self.config = config;
        Ok(())
    }

    /// Trains one batch.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the loss is infinite or not a number, or the gradient of more than ten batches in a row;
    /// the parameters are then those of before this batch.
    pub fn step(&mut self) -> Result<BatchReport, Error> {
        let start = Instant::now();
        let rows = self.config.batch_size;
        let first = self.progress.sequences;
        let numbers = first..first + rows as u64;
        let (lowest, seed) = (*self.levels.start(), self.config.seed);
        let level = self.progress.curriculum.as_ref().map(|it| it.draw(lowest, seed, self.progress.batch));
        let levels = level.map_or_else(|| self.levels.clone(), |level| level..=level);
        let (task, probability) = (&*self.task, self.config.refreshing_probability);
        self.sampler.sample(task, &levels, seed, Stream::Training, numbers.clone());
        if probability > 0.0 {
            self.sampler.draw_reproduced(task, probability, seed, numbers.clone());
        }
        let batch = self.sampler.batch();
        let (steps, length) = (batch.steps(), batch.steps() * rows * self.task.output_size());
        self.outputs.resize(length, 0.0);
        self.output_gradients.resize(length, 0.0);
        let mut sequences = Sequences::new(batch.inputs(), batch.lengths());
        if self.config.bypass_dropout > 0.0 {
            self.dropout_seeds.clear();
            self.dropout_seeds.extend(numbers.map(|number| Random::new(seed, Stream::Dropout, number).seed()));
            sequences = sequences.with_bypass_dropout(self.config.bypass_dropout, &self.dropout_seeds);
        }
        self.runner.forward_sequences(&self.network, sequences, &mut self.outputs)?;
        let (kind, wanted) = (self.task.target_kind(), batch.wanted());
        // The gradient is that of the loss as it is told, but for its unit: of a mean, so that its scale does not depend on
        // what a batch has.
        let count = match self.task.per() {
            Per::Sequence => rows as u64,
            Per::Target(_) => wanted.max(1),
        };
        let mut losses =
            batch.loss(&self.outputs, 1.0 / count as f32, &mut self.output_gradients).map(|loss| (loss, 0.0));
        let wanted_again = if probability > 0.0 { batch.wanted_again() } else { 0 };
        if wanted_again > 0
            && let Ok((loss, _)) = losses
        {
            // No more weight in all than the task's targets have, nor of one than one of these has.
            let weight = (wanted as f64 / wanted_again as f64).min(1.0);
            self.refreshing_gradients.resize(length, 0.0);
            let scale = (weight / count as f64) as f32;
            let refreshing = batch.refreshing_loss(&self.outputs, scale, &mut self.refreshing_gradients);
            losses = refreshing.map(|refreshing| (loss, refreshing));
            for (sum, gradient) in self.output_gradients.iter_mut().zip(&self.refreshing_gradients) {
                *sum += *gradient;
            }
        }
        let (loss, refreshing) = match losses {
            Ok(losses) => losses,
            Err(error) => {
                // Without this the next batch would start from the state this one ended with.
                self.runner.reset();
                return Err(in_batch(self.progress.batch + 1, error.into()));
            }
        };
        let (wrong, guessed) = (batch.wrong(&self.outputs), batch.guessed(&self.guess));
        self.gradients.values_mut().fill(0.0);
        self.runner.backward(&self.network, &self.output_gradients, &mut self.gradients, None)?;
        if !self.config.network.feedback {
            without_feedback(self.network.config(), &mut self.gradients);
        }
        let (factor, most) = (self.config.clip_factor, self.config.clip_norm);
        let clipped = self.progress.clip.clip(self.gradients.values_mut(), factor, most);
        let norm = clipped.norm;
        let overflows = if norm.is_finite() { 0 } else { self.progress.overflows + 1 };
        if overflows > OVERFLOWS {
            let error = self
                .gradients
                .check_finite("the gradient of")
                .err()
                .unwrap_or_else(|| sparsam::Error::NotFinite { what: "the norm of the gradient".into(), value: norm });
            return Err(in_batch(self.progress.batch + 1, error.into()));
        }
        self.optimiser.set_learning_rate(self.learning_rate(self.progress.batch))?;
        if overflows == 0 {
            self.optimiser.update(self.network.parameters_mut().values_mut(), self.gradients.values());
            if let Some(average) = &mut self.average {
                let (average, weights) = (average.parameters_mut().values_mut(), self.network.parameters().values());
                add_to_average(average, weights, self.config.average_decay, self.optimiser.steps());
            }
        }

        let seconds = start.elapsed().as_secs_f64();
        self.progress.batch += 1;
        self.progress.sequences += rows as u64;
        self.progress.updates = self.optimiser.steps();
        self.progress.overflows = overflows;
        self.progress.seconds += seconds;
        let since = &mut self.progress.since;
        since.batches += 1;
        since.sequences += rows as u64;
        since.wanted += wanted;
        since.loss += loss;
        since.wrong += wrong;
        since.refreshing_loss += refreshing;
        since.wanted_again += wanted_again;
        if overflows == 0 {
            since.gradient_norm += norm;
        } else {
            since.overflows += 1;
        }
        since.clipped += u64::from(clipped.is_cut());
        since.seconds += seconds;
        if let Some(curriculum) = &mut self.progress.curriculum {
            let loss = loss * kind.scale() / wanted.max(1) as f64;
            curriculum.add(&self.config.curriculum, *self.levels.end(), rows as u64, loss);
        }

        let (loss, wrong) = (loss * kind.scale() / count as f64, wrong as f64 / count as f64);
        let guessing = guessed / count as f64;
        let [running_loss, running_guessing, running_wrong, running_seconds] =
            self.recent.add([loss, guessing, wrong, seconds]);
        let left = self.config.batches.saturating_sub(self.progress.batch);
        Ok(BatchReport {
            batch: self.progress.batch,
            batches: self.config.batches,
            sequences: self.progress.sequences,
            steps,
            level: self.progress.curriculum.as_ref().map(|it| it.level),
            loss,
            refreshing_loss: (wanted_again > 0).then(|| refreshing * kind.scale() / wanted_again as f64),
            guessing,
            wrong: kind.has_wrong().then_some(wrong),
            gradient_norm: norm,
            gradient_limit: clipped.limit,
            running_loss,
            running_guessing,
            running_wrong: kind.has_wrong().then_some(running_wrong),
            sequences_per_second: rows as f64 / running_seconds.max(1e-9),
            seconds_left: left as f64 * running_seconds,
        })
    }

    /// Evaluates the [network](Self::evaluated_network) as it stands on fresh sequences: of one level, or of all that training
    /// draws from. Training is not affected.
    ///
    /// # Errors
    /// [`Error::Option`] if the level is not possible or there are no sequences; [`Error::NotFinite`].
    pub fn evaluate(&mut self, level: Option<usize>, sequences: u64) -> Result<Evaluation, Error> {
        let found = self.evaluate_until(level, sequences, &AtomicBool::new(false))?;
        Ok(found.expect("it is never told to stop"))
    }

    /// [`evaluate`](Self::evaluate) that ends early, with none, once `stop` is set.
    fn evaluate_until(
        &mut self,
        level: Option<usize>,
        sequences: u64,
        stop: &AtomicBool,
    ) -> Result<Option<Evaluation>, Error> {
        let levels = level.map_or_else(|| self.current_levels(), |level| level..=level);
        // Other ones after other batches: a network that fails one sequence in a hundred must not be taken for a perfect
        // one because it happens to master a fixed few.
        let first = self.progress.sequences;
        let numbers = first..first.saturating_add(sequences);
        let network = self.average.as_ref().unwrap_or(&self.network);
        let (runner, task) = (&mut self.runner, &*self.task);
        self.evaluator
            .run(network, runner, task, levels, numbers, self.config.seed, Stream::Validation, &mut |_| (), stop)
            .map_err(|error| in_batch(self.progress.batch, error))
    }

    /// Saves the run: it could be resumed from here.
    ///
    /// # Errors
    /// [`Error::Io`], with the last checkpoint kept; [`Error::NotFinite`] if there is a parameter that should not be kept.
    pub fn save(&mut self) -> Result<(), Error> {
        self.run
            .save(&self.network, &self.optimiser, self.average.as_ref(), &mut self.progress)
            .map_err(|error| in_batch(self.progress.batch, error))?;
        self.saved_at = Some(self.progress.batch);
        Ok(())
    }

    /// Trains until every batch is done, the task counts as learnt, evaluations are [no better](Self::is_no_better) or `stop` is set, which is looked at between batches and
    /// pieces of evaluations; evaluates and saves as the configuration says, and in any case saves at the end. An evaluation
    /// that a stop cut short is made when the run goes on.
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
        self.tell_notices(observer);
        let mut trained = false;
        let outcome = loop {
            let evaluated = self.is_due(self.config.evaluate_every)
                && self.metrics().last().is_none_or(|line| line.batch < self.progress.batch);
            if evaluated && !self.evaluate_and_note(observer, stop)? {
                break Outcome::Stopped;
            }
            if (trained || evaluated) && self.is_due(self.config.checkpoint_every) {
                self.save_and_tell(observer)?;
            }
            if self.has_learnt() {
                break Outcome::Learnt;
            }
            if self.is_no_better() {
                break Outcome::NoBetter;
            }
            if self.progress.batch >= self.config.batches {
                break Outcome::Finished;
            }
            if stop.load(Ordering::Relaxed) {
                break Outcome::Stopped;
            }
            let report = self.step()?;
            observer.event(Event::Batch(&report));
            trained = true;
        };
        if self.saved_at != Some(self.progress.batch) {
            self.save_and_tell(observer)?;
        }
        self.run.end(outcome.name(), outcome != Outcome::Stopped)?;
        let Progress { batch, sequences, .. } = self.progress;
        observer.event(Event::Ended { outcome, batch, sequences, best: self.best() });
        Ok(outcome)
    }

    /// Evaluates, notes it in the metrics and saves, as [`run`](Self::run) does when it is time: for whoever ends training
    /// in between.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate) and [`save`](Self::save).
    pub fn evaluate_and_save(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        self.evaluate_and_note(observer, &AtomicBool::new(false))?;
        self.save_and_tell(observer)
    }

    /// The learning rate of the batch after so many, at the level as it now is.
    fn learning_rate(&self, batch: u64) -> f64 {
        let by_level = self
            .progress
            .curriculum
            .as_ref()
            .map_or(1.0, |curriculum| curriculum.learning_rate_factor(&self.config.curriculum, self.first_level));
        let factor = by_level * self.config.cooldown_factor(batch);
        self.config.optimiser.learning_rate() * factor
    }

    /// Whether something is to be done after the batch that was trained last: after every so many, and after the last.
    fn is_due(&self, every: u64) -> bool {
        let batch = self.progress.batch;
        batch > 0 && (batch == self.config.batches || batch.is_multiple_of(every))
    }

    /// Evaluates and notes it, unless it is told to stop before it is done: whether it was done.
    fn evaluate_and_note(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<bool, Error> {
        let start = Instant::now();
        let Some(evaluation) = self.evaluate_until(None, self.config.evaluation_sequences, stop)? else {
            return Ok(false);
        };
        let since = self.progress.since.clone();
        let kind = self.task.target_kind();
        let count = match self.task.per() {
            Per::Sequence => since.sequences as f64,
            Per::Target(_) => since.wanted.max(1) as f64,
        };
        let limit = self.progress.clip.limit(self.config.clip_factor, self.config.clip_norm);
        let mut metrics = Metrics {
            batch: self.progress.batch,
            sequences: self.progress.sequences,
            training_loss: since.loss * kind.scale() / count,
            training_wrong: kind.has_wrong().then_some(since.wrong as f64 / count),
            refreshing_loss: (since.wanted_again > 0)
                .then(|| since.refreshing_loss * kind.scale() / since.wanted_again as f64),
            gradient_norm: since.gradient_norm / (since.batches - since.overflows).max(1) as f64,
            gradient_overflows: since.overflows,
            learning_rate: Some(self.learning_rate(self.progress.batch.saturating_sub(1))),
            gradient_limit: Some(limit).filter(|limit| limit.is_finite()),
            clipped: since.clipped,
            loss: evaluation.loss,
            loss_error: evaluation.loss_error,
            guessing: Some(evaluation.guessing),
            wrong: evaluation.wrong,
            right: evaluation.right,
            right_error: evaluation.right_error,
            seconds: 0.0,
            sequences_per_second: since.sequences as f64 / since.seconds.max(1e-9),
            level: self.progress.curriculum.as_ref().map(|it| it.level),
            mean_error: evaluation.mean_error(),
            failed: self.task.categories().and_then(|it| it.failed_above).map(|above| evaluation.failed(above)),
            errors: evaluation.categories.iter().map(CategoryScore::error).collect(),
        };
        let best = match self.compare(&metrics, stop)? {
            Compared::Better(evaluation) => Some(evaluation),
            Compared::NotBetter => None,
            Compared::Stopped => return Ok(false),
        };
        self.progress.since = Sums::default();
        if let Some(evaluation) = &best {
            let batch = self.progress.batch;
            self.run.save_best(self.evaluated_network(), batch).map_err(|error| in_batch(batch, error))?;
            let (level, evaluation) = (metrics.level, evaluation.clone());
            self.progress.best = Some(Best { batch, level, evaluation });
            (self.progress.best_loss, self.progress.best_level) = (None, None);
        }
        self.progress.seconds += start.elapsed().as_secs_f64();
        metrics.seconds = self.progress.seconds;
        self.run.add_metrics(metrics.clone(), &mut self.progress)?;
        observer.event(Event::Evaluated { metrics: &metrics, best: best.is_some() });
        Ok(true)
    }

    /// Compares the network, which has just been evaluated, with the best before as [`Best`] says.
    fn compare(&mut self, metrics: &Metrics, stop: &AtomicBool) -> Result<Compared, Error> {
        let before = match &self.progress.best {
            // Longer sequences are harder: only losses on those of one level can be compared.
            Some(best) if metrics.level > best.level => None,
            Some(best) if !contends(metrics, &best.evaluation) => return Ok(Compared::NotBetter),
            Some(best) => Some(&best.evaluation),
            None => {
                let lower = self.progress.best_loss.is_none_or(|best| metrics.loss < best);
                if !lower && metrics.level <= self.progress.best_level {
                    return Ok(Compared::NotBetter);
                }
                None
            }
        };
        // A little more than what the other lost, so that rounding does not decide.
        let most = before.map_or(f64::INFINITY, |before| 1.001 * before.total(self.task.per()));
        let held_out = self.task.evaluation_sequences().unwrap_or(u64::MAX);
        let count = self.config.evaluation_sequences.saturating_mul(COMPARED).min(held_out).clamp(1, 1 << 62);
        let (numbers, seed) = (Draw::IN_TURN..Draw::IN_TURN + count, self.config.seed);
        let (levels, stream) = (self.current_levels(), Stream::Validation);
        let network = self.average.as_ref().unwrap_or(&self.network);
        let (runner, task) = (&mut self.runner, &*self.task);
        let found = self
            .evaluator
            .run_up_to(most, network, runner, task, levels, numbers, seed, stream, &mut |_| (), stop)
            .map_err(|error| in_batch(self.progress.batch, error))?;
        Ok(match found {
            Ended::Whole(found) if before.is_none_or(|before| found.loss < before.loss) => Compared::Better(found),
            Ended::Whole(_) | Ended::LostTooMuch => Compared::NotBetter,
            Ended::Stopped => Compared::Stopped,
        })
    }

    fn save_and_tell(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        self.save()?;
        let path: PathBuf = self.run.path().join(Checkpoint::Newest.file());
        self.tell_notices(observer);
        observer.event(Event::Saved { batch: self.progress.batch, path: &path });
        Ok(())
    }

    /// Tells what is to be known of the run beside its course, each thing once.
    fn tell_notices(&self, observer: &mut dyn Observer) {
        for text in sparsam::internal::notice::take() {
            observer.event(Event::Notice { text: &text });
        }
    }
}

/// What came of comparing a network with the best before.
enum Compared {
    /// It is better; how it did on the sequences that both are compared on.
    Better(Evaluation),
    /// The other stays.
    NotBetter,
    /// It was told to stop before that was known.
    Stopped,
}

/// Sequences that the bound of the inputs' weights is chosen by.
const LOOKED_AT: u64 = 64;

impl Config {
    /// The bound within which the first weights of the inputs are drawn: the [one asked for](crate::NetworkOptions::input_bound), or
    /// else what suits the first sequences of training.
    ///
    /// # Errors
    /// As [`levels`](Self::levels).
    pub fn input_bound(&self, task: &dyn Task) -> Result<f64, Error> {
        let given = Some(self.network.input_bound).filter(|bound| *bound > 0.0);
        given.map_or_else(|| suitable_input_bound(self, task), Ok)
    }
}

/// Sets to 0 what the controller's weights, or their gradients, are of what the step before read.
fn without_feedback(sizes: &NetworkConfig, parameters: &mut Parameters<f32>) {
    // The columns of the first matrix of every controller are those of [x ; r'].
    let (input, read) = (sizes.input_size, sizes.memory.read_len());
    let Some(weights) = parameters.get_mut("controller.weight_ih").filter(|_| read > 0) else { return };
    weights.chunks_exact_mut(input + read).for_each(|row| row[input..].fill(0.0));
}

/// The bound of the inputs' weights that suits the first sequences of training: [`ONE_HOT_INPUT_BOUND`] where nearly all
/// inputs have just one number that is not 0, else what [`input_bound`] gives for the root mean square of their lengths.
/// Inputs of zeros, at which nothing comes in, do not count.
fn suitable_input_bound(config: &Config, task: &dyn Task) -> Result<f64, Error> {
    let levels = if config.curriculum.on {
        let level = *config.curriculum.levels(task)?.start();
        level..=level
    } else {
        config.levels(task)?
    };
    if task.vocabulary_size() > 0 {
        // With embeddings of variance 1 a unit's inputs have the same sum as with one-hot ones.
        let length = (config.network.embedding_size as f64).sqrt();
        let sum = if task.sentence_size() > 0 { sentence_length(config, task, &levels) } else { 1.0 };
        return Ok(ONE_HOT_INPUT_BOUND / (length * sum));
    }
    let (mut squares, mut steps, mut one_hot) = (0.0, 0u64, 0u64);
    for number in 0..LOOKED_AT {
        let mut sequence = task.sequence();
        task.generate(Draw::new(&levels, config.seed, Stream::Training, number), &mut sequence);
        for step in 0..sequence.steps() {
            let input = sequence.input(step);
            let used = input.iter().filter(|x| **x != 0.0).count();
            squares += input.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
            steps += u64::from(used > 0);
            one_hot += u64::from(used == 1);
        }
    }
    let length = (squares / steps.max(1) as f64).sqrt();
    Ok(if length == 0.0 {
        1.0
    } else if one_hot * 10 >= steps * 9 && task.input_size() > 1 {
        ONE_HOT_INPUT_BOUND / length
    } else {
        input_bound(length)
    }
    .clamp(1e-3, 1e3))
}

/// The root mean square of the elements of the first sentences, where those of embeddings are 1.
fn sentence_length(config: &Config, task: &dyn Task, levels: &RangeInclusive<usize>) -> f64 {
    let width = config.network.embedding_size;
    let (mut squares, mut steps) = (0.0, 0u64);
    let mut of_words = vec![None; task.sentence_size() + 1];
    for number in 0..LOOKED_AT {
        let mut sequence = task.sequence();
        task.generate(Draw::new(levels, config.seed, Stream::Training, number), &mut sequence);
        for step in 0..sequence.steps() {
            let words = sequence.input(step).iter().filter(|token| **token >= 0.0).count();
            let of_element = |word, element| position_weight(word, words, element, width).powi(2);
            let of_word = |word| (0..width).map(|element| of_element(word, element)).sum::<f64>();
            squares += *of_words[words].get_or_insert_with(|| (0..words).map(of_word).sum::<f64>() / width as f64);
            steps += 1;
        }
    }
    if squares > 0.0 { (squares / steps as f64).sqrt() } else { 1.0 }
}

/// Whether a network with these metrics does about as well as the best, or better: within two standard errors of the
/// difference. An error that is not known may be any.
fn contends(metrics: &Metrics, best: &Evaluation) -> bool {
    let error = |error: Option<f64>| error.unwrap_or(f64::INFINITY);
    metrics.loss - best.loss <= 2.0 * error(metrics.loss_error).hypot(error(best.loss_error))
}

/// Whether the last two lines show so few wrong outputs, at the last level of the curriculum if there is one.
fn has_learnt(metrics: &[Metrics], until: f64, last_level: Option<usize>) -> bool {
    let [.., before, last] = metrics else { return false };
    until > 0.0
        && [before, last]
            .into_iter()
            .all(|line| line.wrong.is_some_and(|wrong| wrong <= until) && line.level == last_level)
}

/// Whether so many lines, the last ones, have no lower loss than the lowest of the lines of their level before them.
fn is_no_better(metrics: &[Metrics], patience: u64) -> bool {
    let of_level = metrics.iter().rev().take_while(|line| line.level == metrics.last().and_then(|last| last.level));
    let losses: Vec<f64> = of_level.map(|line| line.loss).collect();
    let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
    // The last line first, and of equal losses the earliest.
    let since = losses.iter().rposition(|loss| *loss <= lowest).unwrap_or(0);
    patience > 0 && since as u64 >= patience
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
    means: [f64; 4],
}

impl Recent {
    fn add(&mut self, values: [f64; 4]) -> [f64; 4] {
        self.count = (self.count + 1.0).min(100.0);
        for (mean, value) in self.means.iter_mut().zip(values) {
            *mean += (value - *mean) / self.count;
        }
        self.means
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use sparsam::memory::{dnc, sam};
    use sparsam::nn::optimiser::OptimiserConfig;
    use sparsam::{ControllerKind, Model};

    use super::*;
    use crate::run_folder::tests::allow_operations;
    use crate::task::{Babi, Copy, Sequences, Text};
    use crate::{Channels, CurriculumConfig, Draw, NetworkOptions, Random, Source, TaskConfig};

    fn config() -> Config {
        let memory = sam::Config { memory_size: 16, word_size: 4, heads: 2, reads: 2, ..Default::default() };
        let task = TaskConfig::Copy(Copy { bits: 3, min_length: 1, max_length: 4 });
        let mut config = Config::default_for(task, Model::Sam(memory));
        config.network.hidden_size = 6;
        config.optimiser = OptimiserConfig::rms_prop(1e-3);
        (config.batches, config.cooldown) = (9, 0);
        config.until = 0.0;
        config.evaluate_every = 2;
        config.evaluation_sequences = 10;
        config.checkpoint_every = 3;
        config
    }

    fn go_on(trainer: &mut Trainer) -> Result<Outcome, Error> {
        trainer.run(&mut |_: Event<'_>| (), &AtomicBool::new(false))
    }

    /// Runs until `batch` batches are trained, then stops as Ctrl-C does.
    fn stop_at(trainer: &mut Trainer, batch: u64) {
        let stop = AtomicBool::new(trainer.batch() >= batch);
        let mut watch = |event: Event<'_>| {
            if let Event::Batch(report) = event {
                stop.store(report.batch >= batch, Ordering::Relaxed);
            }
        };
        assert_eq!(trainer.run(&mut watch, &stop).unwrap(), Outcome::Stopped);
    }

    /// All that a run leaves, without what depends on the clock.
    fn result(folder: &Path) -> (Vec<u8>, Vec<u8>, Vec<Metrics>) {
        let run = RunFolder::open(folder).unwrap();
        let metrics = run.metrics().unwrap().iter().map(Metrics::without_clock).collect();
        let bytes = |which| fs::read(run.checkpoint_path(which)).unwrap();
        (bytes(Checkpoint::Newest), bytes(Checkpoint::Best), metrics)
    }

    fn uninterrupted() -> (Vec<u8>, Vec<u8>, Vec<Metrics>) {
        let folder = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(config(), folder.path()).unwrap();
        assert_eq!(go_on(&mut trainer).unwrap(), Outcome::Finished);
        result(folder.path())
    }

    #[test]
    fn a_run_starts_from_the_weights_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        go_on(&mut Trainer::new(config(), &first).unwrap()).unwrap();
        let best = RunFolder::open(&first).unwrap().network(Checkpoint::Best).unwrap();
        // Another size of the memory, another seed, and an option that changes no weights.
        let memory = sam::Config { memory_size: 99, word_size: 4, heads: 2, reads: 2, ..Default::default() };
        let memory = sam::Config { write_cost: 0.1, ..memory };
        let start = |path: &Path, memory: sam::Config| {
            let mut config = Config { start_from: path.display().to_string(), seed: 5, ..config() };
            config.network.memory = Model::Sam(memory);
            Trainer::new(config, &second)
        };
        let mut trainer = start(&first, memory.clone()).unwrap();
        assert_eq!(trainer.network().parameters(), best.parameters());
        assert_eq!((trainer.network().config().memory.memory_size(), trainer.batch()), (99, 0));
        stop_at(&mut trainer, 4);
        drop(trainer);
        let mut trainer = Trainer::resume(&second).unwrap();
        assert_eq!(go_on(&mut trainer).unwrap(), Outcome::Finished);
        drop(trainer);
        std::fs::remove_dir_all(&second).unwrap();
        let newest = RunFolder::open(&first).unwrap().checkpoint_path(Checkpoint::Newest);
        assert!(start(&newest, memory.clone()).is_ok());
        std::fs::remove_dir_all(&second).unwrap();
        // What does not fit leaves nothing behind.
        let message = |path: &Path, memory| start(path, memory).err().unwrap().to_string();
        let larger = message(&first, sam::Config { word_size: 5, ..memory.clone() });
        assert!(larger.starts_with("start_from = ") && larger.contains("the options of the memory"), "{larger}");
        assert!(message(&folder.path().join("none"), memory.clone()).contains("there is no such run or checkpoint"));
        assert!(message(folder.path(), memory.clone()).contains("there is no run in this folder"));
        let copied = folder.path().join("copied.safetensors");
        std::fs::copy(&newest, &copied).unwrap();
        assert!(message(&copied, memory).contains("it lies in no run's folder"));
        let other = |config: Config| Trainer::new(config, &second).err().unwrap().to_string();
        let mut wider = Config { start_from: first.display().to_string(), ..config() };
        wider.network.hidden_size = 7;
        assert!(other(wider.clone()).contains("its network differs in hidden units: 6, and 7 here"));
        wider.task = TaskConfig::by_name("recall").unwrap();
        assert!(other(wider).contains("it learnt copy, and this run is to learn recall"));
        assert!(!second.exists());
    }

    #[test]
    fn a_run_that_starts_from_another_has_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let text = |name: &str, words: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, words.repeat(400)).unwrap();
            path.display().to_string()
        };
        let on = |data: String, start_from: String| {
            let mut config = config();
            let text = crate::task::Text { data, length: 8, ..Default::default() };
            (config.task, config.start_from, config.batches) = (TaskConfig::Text(text), start_from, 2);
            config
        };
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        let mut trainer = Trainer::new(on(text("one.txt", "abcd. "), String::new()), &first).unwrap();
        go_on(&mut trainer).unwrap();
        let names = trainer.task().channel_names().outputs;
        drop(trainer);
        // Others are the commonest here.
        let start = on(text("other.txt", "ddddcccba. "), first.display().to_string());
        let mut trainer = Trainer::new(start, &second).unwrap();
        assert_eq!(trainer.task().channel_names().outputs, names);
        go_on(&mut trainer).unwrap();
        drop(trainer);
        assert_eq!(Trainer::resume(&second).unwrap().task().channel_names().outputs, names);
    }

    fn with_threads<R: Send>(threads: usize, run: impl FnOnce() -> R + Send) -> R {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
    }

    #[test]
    fn a_network_of_another_loop_is_a_run_that_is_evaluated() {
        let folder = tempfile::tempdir().unwrap();
        let (path, config) = (folder.path().join("run"), config());
        let task = config.task.build().unwrap();
        let network = |seed| Network::<f32>::new(config.network_config(&*task), seed).unwrap();
        // However many operations are left before it is killed, it is no run, or one of a whole network.
        let mut written = None;
        for operations in 0.. {
            allow_operations(Some(operations));
            let run = RunFolder::write(&path, &config, &*task, &network(1 + operations % 2), operations);
            allow_operations(None);
            match RunFolder::open(&path) {
                Ok(run) => assert!(run.network(Checkpoint::Best).is_err() && run.network(Checkpoint::Newest).is_ok()),
                Err(error) => assert!(matches!(error, Error::NoRun { .. })),
            }
            if let Ok(run) = run {
                written = Some((run, 1 + operations % 2, operations));
                break;
            }
        }
        let (run, seed, batch) = written.unwrap();
        let (read, trained) = crate::load_network(&run.checkpoint_path(Checkpoint::Newest)).unwrap();
        assert_eq!((read.parameters(), trained), (network(seed).parameters(), Some(batch)));
        assert_eq!(run.config().unwrap(), config);
        // More batches are the same run, another seed is another one.
        let longer = Config { batches: 20, ..config.clone() };
        RunFolder::write(&path, &longer, &*task, &network(3), 20).unwrap();
        assert_eq!(run.network(Checkpoint::Newest).unwrap().parameters(), network(3).parameters());
        let write = |path: &Path, config: &Config, network| RunFolder::write(path, config, &*task, &network, 1);
        let other = Config { seed: 2, ..config.clone() };
        assert!(matches!(write(&path, &other, network(1)), Err(Error::RunExists { .. })));
        let trained = folder.path().join("trained");
        drop(Trainer::new(config.clone(), &trained).unwrap());
        assert!(matches!(write(&trained, &config, network(1)), Err(Error::RunExists { .. })));
        // As earlier versions may have left it.
        let best = folder.path().join("best");
        std::fs::create_dir_all(best.join("checkpoints")).unwrap();
        std::fs::write(best.join(Checkpoint::Best.file()), "").unwrap();
        assert!(matches!(write(&best, &config, network(1)), Err(Error::RunExists { .. })));
        assert!(!best.join(".lock").exists());
        let (fresh, mut bad) = (folder.path().join("fresh"), network(1));
        bad.parameters_mut().values_mut()[0] = f32::NAN;
        assert!(write(&fresh, &config, bad).unwrap_err().to_string().contains("NaN"));
        let small = Network::new(config.network_config(&*task).with_hidden_size(3), 1).unwrap();
        assert!(write(&fresh, &config, small).unwrap_err().to_string().contains("the configuration asks for"));
        assert!(!fresh.exists());
        assert!(Trainer::resume(&path).err().unwrap().to_string().contains("resume.safetensors is missing"));
    }

    #[test]
    fn a_network_of_other_data_is_another_run() {
        let folder = tempfile::tempdir().unwrap();
        let (path, data) = (folder.path().join("run"), folder.path().join("a.txt"));
        let text = Text { data: data.display().to_string(), length: 8, ..Text::default() };
        let config = Config { task: TaskConfig::Text(text), ..config() };
        let write = |contents: &str| {
            std::fs::write(&data, contents.repeat(60)).unwrap();
            let task = config.task.build().unwrap();
            let network = Network::new(config.network_config(&*task), 1).unwrap();
            RunFolder::write(&path, &config, &*task, &network, 1)
        };
        write("abc ").unwrap();
        write("abc ").unwrap();
        assert!(matches!(write("cba "), Err(Error::RunExists { .. })));
    }

    #[test]
    fn a_run_evaluates_and_saves_as_configured() {
        let folder = tempfile::tempdir().unwrap();
        let mut seen = Vec::new();
        let mut trainer = Trainer::new(config(), folder.path()).unwrap();
        let mut watch = |event: Event<'_>| match event {
            Event::Started { parameters, batch, .. } => seen.push(format!("start {batch} {}", parameters > 100)),
            Event::Batch(report) => {
                assert!(report.loss > 0.0 && report.sequences_per_second > 0.0);
                // Of untrained networks, with three bits to each of up to four vectors.
                assert!((0.5..2.0).contains(&(report.running_loss / report.running_guessing)), "{report:?}");
                assert!((3.0..=12.0).contains(&report.guessing), "{report:?}");
            }
            Event::Evaluated { metrics, .. } => seen.push(format!("evaluate {}", metrics.batch)),
            Event::Saved { batch, path } => seen.push(format!("save {batch} {}", path.is_file())),
            // Other tests may have noted something meanwhile.
            Event::Notice { .. } => {}
            Event::Ended { outcome, batch, sequences, best } => {
                seen.push(format!("{outcome:?} {batch} {sequences} {}", best.is_some()));
            }
        };
        trainer.run(&mut watch, &AtomicBool::new(false)).unwrap();
        let expected = [
            "start 0 true",
            "evaluate 2",
            "save 3 true",
            "evaluate 4",
            "evaluate 6",
            "save 6 true",
            "evaluate 8",
            "evaluate 9",
            "save 9 true",
            "Finished 9 72 true",
        ];
        assert_eq!(seen, expected);
        let run = RunFolder::open(folder.path()).unwrap();
        assert_eq!(run.config().unwrap(), config());
        assert_eq!(run.metrics().unwrap(), trainer.metrics());
        assert_eq!(run.network(Checkpoint::Newest).unwrap().parameters(), trainer.network().parameters());
        let (_, batch) = crate::load_network(&run.checkpoint_path(Checkpoint::Newest)).unwrap();
        assert_eq!(batch, Some(9));
        assert!(fs::read_to_string(folder.path().join("curve.svg")).unwrap().contains("copy with sam"));
    }

    /// How a network does on the sequences that networks of `config` are compared on, in a run without a curriculum.
    fn compared(network: &Network<f32>, config: &Config) -> Evaluation {
        let task = config.task.build().unwrap();
        let mut runner = Runner::new(network, config.batch_size).unwrap();
        let numbers = Draw::IN_TURN..Draw::IN_TURN + COMPARED * config.evaluation_sequences;
        let (levels, stream) = (task.default_levels(), Stream::Validation);
        Evaluator::new(&*task, config.batch_size)
            .run(
                network,
                &mut runner,
                &*task,
                levels,
                numbers,
                config.seed,
                stream,
                &mut |_| (),
                &AtomicBool::new(false),
            )
            .unwrap()
            .unwrap()
    }

    #[test]
    fn the_best_is_chosen_on_more_sequences_than_an_evaluation_has() {
        let folder = tempfile::tempdir().unwrap();
        // So few that an evaluation is mostly luck, and so slow that it decides.
        let config = Config { evaluation_sequences: 3, optimiser: OptimiserConfig::adam(3e-4), ..config() };
        let mut trainer = Trainer::new(config.clone(), folder.path()).unwrap();
        let (mut best, mut lucky, mut refused): (Option<(u64, Evaluation)>, (u64, f64), u64) =
            (None, (0, f64::INFINITY), 0);
        for _ in 0..40 {
            trainer.step().unwrap();
            trainer.evaluate_and_save(&mut |_: Event<'_>| ()).unwrap();
            let line = trainer.metrics().last().unwrap().clone();
            let found = compared(trainer.network(), &config);
            if line.loss < lucky.1 {
                lucky = (line.batch, line.loss);
            }
            let takes = match &best {
                None => true,
                Some((_, before)) => {
                    let error = (line.loss_error.unwrap().powi(2) + before.loss_error.unwrap().powi(2)).sqrt();
                    let contends = line.loss <= before.loss + 2.0 * error;
                    refused += u64::from(contends && found.loss >= before.loss);
                    contends && found.loss < before.loss
                }
            };
            if takes {
                best = Some((line.batch, found));
            }
        }
        let (batch, evaluation) = best.unwrap();
        assert_eq!(trainer.best(), Some(&Best { batch, level: None, evaluation: evaluation.clone() }));
        assert_eq!(evaluation.sequences, 12);
        assert!(refused > 0 && lucky.0 != batch, "{refused} {lucky:?} {batch}");
        let path = RunFolder::open(folder.path()).unwrap().checkpoint_path(Checkpoint::Best);
        let (network, trained) = crate::load_network(&path).unwrap();
        assert_eq!((compared(&network, &config), trained), (evaluation, Some(batch)));
    }

    #[test]
    fn networks_of_tasks_from_files_are_compared_on_what_is_held_out() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("a.jsonl");
        let lines = (0..30).map(|number| format!("{{\"inputs\": [[{number}]], \"targets\": [{}]}}\n", number % 2));
        fs::write(&data, lines.collect::<String>()).unwrap();
        let task = TaskConfig::Sequences(Sequences { data: data.display().to_string(), ..Sequences::default() });
        let mut trainer = Trainer::new(Config { task, ..config() }, &folder.path().join("run")).unwrap();
        go_on(&mut trainer).unwrap();
        assert_eq!(trainer.best().unwrap().evaluation.sequences, 3);
    }

    #[test]
    fn the_bound_of_the_inputs_follows_from_the_inputs() {
        let bound = |bits| {
            let config = Config { task: TaskConfig::Copy(Copy { bits, min_length: 4, max_length: 4 }), ..config() };
            suitable_input_bound(&config, &*config.task.build().unwrap()).unwrap()
        };
        // Half of a vector's bits are 1, so that the square of its length is 128; that of the two flags is 1.
        let length = ((4.0 * 128.0 + 2.0) / 6.0f64).sqrt();
        assert!((bound(256) * length / 2.0 - 1.0).abs() < 0.02, "{}", bound(256));
        // A single bit, or one of two flags: never more than one number that is not 0.
        assert_eq!(bound(1), ONE_HOT_INPUT_BOUND);
        let mut asked = config();
        asked.network.input_bound = 0.25;
        let network = |config| {
            let folder = tempfile::tempdir().unwrap();
            let trainer = Trainer::new(config, folder.path()).unwrap();
            let width = trainer.task.input_size() + trainer.network.config().memory.read_len();
            let weights = trainer.network.parameters().get("controller.weight_ih").unwrap();
            weights.chunks(width).flat_map(|row| &row[..5]).fold(0.0f32, |most, weight| most.max(weight.abs()))
        };
        assert!((0.2..=0.25).contains(&network(asked)) && (1.4..=1.8).contains(&network(config())));
    }

    #[test]
    fn networks_learn() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config();
        config.batches = 400;
        config.evaluate_every = 200;
        config.optimiser = OptimiserConfig::adam(1e-2);
        config.task = TaskConfig::Copy(Copy { bits: 2, min_length: 1, max_length: 2 });
        let mut trainer = Trainer::new(config, folder.path()).unwrap();
        let before = trainer.evaluate(None, 100).unwrap();
        go_on(&mut trainer).unwrap();
        let after = trainer.evaluate(None, 100).unwrap();
        assert!(before.loss > 2.5 && after.loss < 1.0, "{before:?} {after:?}");
    }

    /// Stories as those of the first of the bAbI tasks: people go to places, and the question is where one of them is.
    fn write_stories(path: &Path, stories: u64) {
        let (people, places) = (["mary", "john", "daniel", "sandra"], ["hall", "garden", "kitchen", "office"]);
        let mut text = String::new();
        for number in 0..stories {
            let mut random = Random::new(1, Stream::Training, number);
            let mut now = [None; 4];
            for line in 1..=8 {
                let (person, place) = (random.below(4), places[random.below(4)]);
                match now[person] {
                    Some(now) if line % 2 == 0 => text += &format!("{line} Where is {}?\t{now}\t1\n", people[person]),
                    _ => {
                        text += &format!("{line} {} went to the {place}.\n", people[person]);
                        now[person] = Some(place);
                    }
                }
            }
            // So that there is one at least.
            text += &format!("9 Where is mary?\t{}\t1\n", now[0].unwrap_or("nowhere"));
        }
        fs::write(path, text).unwrap();
    }

    /// With the small first weights of other inputs, 21 % of the answers are wrong by then.
    #[test]
    fn words_are_put_together() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("en-10k");
        fs::create_dir(&data).unwrap();
        write_stories(&data.join("qa1_places_train.txt"), 20_000);
        let babi = Babi { data: folder.path().display().to_string(), only: 1, ..Babi::default() };
        let memory = sam::Config { memory_size: 64, word_size: 16, heads: 2, ..Default::default() };
        let mut config = Config::default_for(TaskConfig::Babi(babi), Model::Sam(memory));
        config.network.hidden_size = 48;
        config.optimiser = OptimiserConfig::adam(3e-3);
        (config.batch_size, config.batches, config.cooldown, config.evaluate_every) = (4, 4000, 0, 4000);
        let mut trainer = Trainer::new(config, &folder.path().join("run")).unwrap();
        go_on(&mut trainer).unwrap();
        let wrong = trainer.evaluate(None, 500).unwrap().mean_error().unwrap();
        assert!(wrong < 0.1, "{wrong}");
    }

    #[test]
    fn results_do_not_depend_on_threads() {
        let expected = uninterrupted();
        for threads in [1, 2] {
            assert!(with_threads(threads, uninterrupted) == expected);
        }
    }

    #[test]
    fn a_run_of_sentences_is_resumed_to_the_bit_and_evaluated() {
        let folder = tempfile::tempdir().unwrap();
        let stories = "1 Mary went to room.\n2 Where is Mary?\troom\n3 Bill left.\n4 Who?\tmary,bill\n".repeat(20);
        fs::create_dir(folder.path().join("en-10k")).unwrap();
        fs::write(folder.path().join("en-10k/qa1_one_train.txt"), stories).unwrap();
        let babi = |sentences| crate::task::Babi {
            data: folder.path().display().to_string(),
            only: 1,
            sentences,
            embedding: true,
            ..Default::default()
        };
        let mut config = Config { task: TaskConfig::Babi(babi(true)), ..config() };
        config.network.embedding_size = 6;
        let [whole, stopped] = ["whole", "stopped"].map(|name| folder.path().join(name));
        with_threads(1, || go_on(&mut Trainer::new(config.clone(), &whole).unwrap())).unwrap();
        stop_at(&mut Trainer::new(config.clone(), &stopped).unwrap(), 4);
        go_on(&mut Trainer::resume(&stopped).unwrap()).unwrap();
        assert!(result(&whole) == result(&stopped));
        let parallel = folder.path().join("parallel");
        with_threads(2, || go_on(&mut Trainer::new(config.clone(), &parallel).unwrap())).unwrap();
        assert!(result(&whole) == result(&parallel));
        // Four over √6 times the root mean square of what sums of 5, 4, 1, 3, 2, 1 and 1 words have by their positions.
        let bound = config.input_bound(&*config.task.build().unwrap()).unwrap();
        assert!((bound - 1.828_523_779_506_6).abs() < 1e-12, "{bound}");

        let run = RunFolder::open(&whole).unwrap();
        let (network, _) = crate::load_network(&run.checkpoint_path(Checkpoint::Newest)).unwrap();
        assert_eq!((network.config().sentence_size, network.config().input_size), (5, 6));
        let two = crate::EvaluationOptions { sequences: 2, ..Default::default() };
        let found = crate::evaluate(&network, &*run.task(None).unwrap(), &two).unwrap();
        // Two held-out stories of two questions.
        assert_eq!((found.categories[0].answers, found.targets), (4, 6));
        let words = TaskConfig::Babi(babi(false)).build().unwrap();
        let error = crate::evaluate(&network, &*words, &two).unwrap_err().to_string();
        assert!(
            error.ends_with("its steps read single tokens or numbers, the network's sentences of 5 words or fewer")
        );
        let error = run.input_reader(network.config()).unwrap_err().to_string();
        assert!(error.contains("sparsam eval and inspect give them the stories"), "{error}");

        // Before any file is asked for.
        config.refreshing_probability = 0.3;
        config.task = TaskConfig::Babi(crate::task::Babi { data: "nowhere".into(), ..babi(true) });
        let error = Trainer::new(config, &folder.path().join("refreshing")).err().unwrap().to_string();
        assert!(error.contains("an output is one word and an input a whole sentence; leave it at 0"), "{error}");
    }

    #[test]
    fn reproducing_inputs_is_trained_and_not_evaluated() {
        let refreshing = || Config { refreshing_probability: 0.4, ..config() };
        let whole = |config: Config| {
            let folder = tempfile::tempdir().unwrap();
            go_on(&mut Trainer::new(config, folder.path()).unwrap()).unwrap();
            result(folder.path())
        };
        let expected = whole(refreshing());
        assert!(expected.0 != uninterrupted().0, "it changes what is learnt");
        assert!(expected.2.iter().all(|line| line.refreshing_loss.is_some_and(|loss| (0.1..2.0).contains(&loss))));
        assert!(uninterrupted().2.iter().all(|line| line.refreshing_loss.is_none()));
        assert!(with_threads(2, || whole(refreshing())) == expected);
        for batch in [1, 4] {
            let folder = tempfile::tempdir().unwrap();
            stop_at(&mut Trainer::new(refreshing(), folder.path()).unwrap(), batch);
            go_on(&mut Trainer::resume(folder.path()).unwrap()).unwrap();
            assert!(result(folder.path()) == expected, "stopped at batch {batch}");
        }
        // What is told of the first batch is the task's alone.
        let first = |config: Config| {
            let folder = tempfile::tempdir().unwrap();
            Trainer::new(config, folder.path()).unwrap().step().unwrap()
        };
        let (with, without) = (first(refreshing()), first(config()));
        assert_eq!((with.loss, with.wrong, with.guessing), (without.loss, without.wrong, without.guessing));
        assert!(with.gradient_norm != without.gradient_norm && without.refreshing_loss.is_none());
    }

    #[test]
    fn tasks_whose_outputs_cannot_say_their_inputs_reproduce_none() {
        let refreshing = |name: &str| {
            let task = TaskConfig::by_name(name).unwrap();
            Config { refreshing_probability: 0.5, ..Config::default_for(task, config().network.memory) }
        };
        for name in TaskConfig::NAMES {
            let reason = match *name {
                "omniglot" => "an output is a label and an input a picture; leave it at 0",
                "haystack" => "outputs are words of the stories, and most inputs are words of the book; leave it at 0",
                "text" => "every step has what follows as its target; leave it at 0",
                "sequences" => "what outputs stand for need not be what inputs stand for; leave it at 0",
                _ => {
                    refreshing(name).validate().unwrap();
                    continue;
                }
            };
            // No file is asked for.
            let error = refreshing(name).validate().unwrap_err().to_string();
            assert_eq!(error, format!("refreshing_probability = 0.5 does not work: {reason}"));
        }
        // A task of one's own says so once it is there.
        let (config, task) = (refreshing("own"), TaskConfig::by_name("mqar").unwrap().build().unwrap());
        assert!(config.validate().is_ok() && config.validate_with(&*task).is_ok());
        struct Silent(Box<dyn Task>);
        impl Task for Silent {
            fn name(&self) -> &'static str {
                "silent"
            }
            fn channels(&self) -> crate::Channels {
                self.0.channels()
            }
            fn level_unit(&self) -> &'static str {
                "steps"
            }
            fn steps(&self, level: usize) -> usize {
                level
            }
            fn start(&self, draw: Draw) -> crate::Source<'_> {
                self.0.start(draw)
            }
        }
        let error = config.validate_with(&Silent(task)).unwrap_err().to_string();
        let expected = "refreshing_probability = 0.5 does not work: outputs of silent cannot say what comes in at steps without a \
                        target; leave it at 0";
        assert_eq!(error, expected);
    }

    #[test]
    fn evaluating_and_saving_do_not_touch_training() {
        let folder = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(config(), folder.path()).unwrap();
        for _ in 0..3 {
            trainer.evaluate(Some(7), 11).unwrap();
            trainer.step().unwrap();
            trainer.save().unwrap();
        }
        go_on(&mut trainer).unwrap();
        assert!(result(folder.path()).0 == uninterrupted().0);
    }

    #[test]
    fn a_stopped_run_resumes_to_the_bit() {
        let expected = uninterrupted();
        for batch in 0..9 {
            let folder = tempfile::tempdir().unwrap();
            with_threads(1, || stop_at(&mut Trainer::new(config(), folder.path()).unwrap(), batch));
            with_threads(2, || stop_at(&mut Trainer::resume(folder.path()).unwrap(), batch));
            with_threads(2, || go_on(&mut Trainer::resume(folder.path()).unwrap()).unwrap());
            assert!(result(folder.path()) == expected, "stopped at batch {batch}");
        }
    }

    /// Long enough that the norm is limited to a multiple of its mean, and to one so low that batches are cut.
    fn limited() -> Config {
        Config { batches: 70, evaluate_every: 8, checkpoint_every: 30, clip_factor: 1.2, ..config() }
    }

    #[test]
    fn a_run_with_an_adaptive_limit_resumes_to_the_bit() {
        let whole = tempfile::tempdir().unwrap();
        let (mut cut, mut limits) = (Vec::new(), Vec::new());
        let mut watch = |event: Event<'_>| {
            if let Event::Batch(report) = event {
                cut.push(report.gradient_norm > report.gradient_limit);
                limits.push(report.gradient_limit);
            }
        };
        Trainer::new(limited(), whole.path()).unwrap().run(&mut watch, &AtomicBool::new(false)).unwrap();
        let expected = result(whole.path());
        // From the 51st batch on, and at once: what is cut before the run is stopped, and after, decides the rest.
        assert!(limits[..50].iter().all(|limit| *limit == 10.0) && limits[50..].iter().all(|limit| *limit < 10.0));
        let cuts = |batches: std::ops::Range<usize>| cut[batches].iter().filter(|cut| **cut).count();
        assert!(cuts(50..60) > 0 && cuts(60..70) > 0, "{cut:?}");
        let last = expected.2.last().unwrap();
        assert_eq!((last.batch, last.clipped), (70, cuts(64..70) as u64));
        assert!(last.gradient_limit.unwrap() < 10.0 && expected.2[0].gradient_limit == Some(10.0));
        for batch in [49, 50, 60] {
            let folder = tempfile::tempdir().unwrap();
            stop_at(&mut Trainer::new(limited(), folder.path()).unwrap(), batch);
            go_on(&mut Trainer::resume(folder.path()).unwrap()).unwrap();
            assert!(result(folder.path()) == expected, "stopped after batch {batch}");
        }
        // It is the limit that makes the difference.
        let without = tempfile::tempdir().unwrap();
        go_on(&mut Trainer::new(Config { clip_factor: 0.0, ..limited() }, without.path()).unwrap()).unwrap();
        assert!(result(without.path()).0 != expected.0);
    }

    #[test]
    fn what_is_dropped_is_the_same_on_any_threads_and_after_a_resume() {
        let dropping = || Config { bypass_dropout: 0.3, ..config() };
        let whole = tempfile::tempdir().unwrap();
        with_threads(1, || go_on(&mut Trainer::new(dropping(), whole.path()).unwrap()).unwrap());
        let expected = result(whole.path());
        assert!(expected.0 != uninterrupted().0);
        let folder = tempfile::tempdir().unwrap();
        with_threads(2, || stop_at(&mut Trainer::new(dropping(), folder.path()).unwrap(), 4));
        with_threads(2, || go_on(&mut Trainer::resume(folder.path()).unwrap()).unwrap());
        assert!(result(folder.path()) == expected);
    }

    #[test]
    fn the_mean_of_the_weights_is_evaluated_kept_and_resumed_to_the_bit() {
        let averaged = || Config { average_decay: 0.9, ..config() };
        let whole = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(averaged(), whole.path()).unwrap();
        go_on(&mut trainer).unwrap();
        let expected = result(whole.path());
        for batch in [0, 1, 5, 8] {
            let folder = tempfile::tempdir().unwrap();
            stop_at(&mut Trainer::new(averaged(), folder.path()).unwrap(), batch);
            go_on(&mut Trainer::resume(folder.path()).unwrap()).unwrap();
            assert!(result(folder.path()) == expected, "stopped after batch {batch}");
        }

        // Training is what it is without a mean; what is kept and told is the mean's.
        let (plain, mut mean) = (tempfile::tempdir().unwrap(), None::<Vec<f32>>);
        let mut without = Trainer::new(config(), plain.path()).unwrap();
        for update in 1..=9 {
            let before = without.network.parameters().values().to_vec();
            without.step().unwrap();
            add_to_average(mean.get_or_insert(before), without.network.parameters().values(), 0.9, update);
        }
        assert!(without.network.parameters() == trainer.network().parameters());
        assert!(trainer.evaluated_network().parameters().values() == mean.unwrap());
        let run = RunFolder::open(whole.path()).unwrap();
        for which in [Checkpoint::Newest, Checkpoint::Best] {
            let network = run.network(which).unwrap();
            let batch = crate::load_network(&run.checkpoint_path(which)).unwrap().1;
            assert!(batch != Some(9) || network.parameters() == trainer.evaluated_network().parameters());
        }
        let (last, best) = (run.metrics().unwrap().pop().unwrap(), trainer.best().unwrap().evaluation.clone());
        assert_eq!(compared(&run.network(Checkpoint::Best).unwrap(), &averaged()), best);
        assert_ne!(last.loss, without.evaluate(None, averaged().evaluation_sequences).unwrap().loss);

        let path = whole.path().join("checkpoints/resume.safetensors");
        let (network, mut extra) = sparsam::checkpoint::load_with_extra::<f32>(&path).unwrap();
        extra.tensors.retain(|(name, _)| name != "training.average");
        sparsam::checkpoint::save(&path, &network, &extra).unwrap();
        drop(trainer);
        let error = Trainer::resume(whole.path()).err().unwrap().to_string();
        assert!(error.contains("its running mean of the parameters has 0 numbers"), "{error}");
    }

    /// Makes of a run what a version before these fields would have left: neither its configuration nor its resume file has
    /// them.
    fn take_out(folder: &Path, fields: &[&str]) {
        let without = |text: &str| {
            let given = |line: &&str| !fields.iter().any(|field| line.starts_with(&format!("{field} = ")));
            text.lines().filter(given).map(|line| format!("{line}\n")).collect::<String>()
        };
        let path = folder.join("config.toml");
        let config = fs::read_to_string(&path).unwrap();
        assert!(fields.iter().all(|field| config.contains(&format!("\n{field} = "))), "{config}");
        fs::write(&path, without(&config)).unwrap();
        let path = folder.join("checkpoints/resume.safetensors");
        let (network, mut extra) = sparsam::checkpoint::load_with_extra::<f32>(&path).unwrap();
        let kept = extra.metadata.get_mut("training.config").unwrap();
        *kept = without(kept);
        let progress = extra.metadata.get_mut("training.progress").unwrap();
        let mut json: serde_json::Value = serde_json::from_str(progress).unwrap();
        assert!(json.as_object_mut().unwrap().remove("clip").is_some());
        assert!(json["since"].as_object_mut().unwrap().remove("clipped").is_some());
        let best = json.as_object_mut().unwrap().remove("best").unwrap();
        (json["best_loss"], json["best_level"]) = (best["evaluation"]["loss"].clone(), serde_json::Value::Null);
        *progress = json.to_string();
        sparsam::checkpoint::save(&path, &network, &extra).unwrap();
    }

    #[test]
    fn runs_of_earlier_versions_go_on_as_they_began() {
        let (whole, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let config = Config { clip_factor: 0.0, ..limited() };
        go_on(&mut Trainer::new(config.clone(), whole.path()).unwrap()).unwrap();
        stop_at(&mut Trainer::new(config.clone(), old.path()).unwrap(), 56);
        take_out(old.path(), &["clip_factor", "until", "feedback"]);
        let mut trainer = Trainer::resume(old.path()).unwrap();
        assert_eq!(trainer.config(), &config);
        // Saved by this version, with the configuration still as it was.
        stop_at(&mut trainer, 63);
        drop(trainer);
        go_on(&mut Trainer::resume(old.path()).unwrap()).unwrap();
        assert!(result(old.path()).0 == result(whole.path()).0);
        // The best was known by its loss alone, until there was a better one.
        let best = RunFolder::open(old.path()).unwrap().network(Checkpoint::Best).unwrap();
        assert!(
            compared(&best, &config).loss
                <= 1.2 * compared(&Network::new(best.config().clone(), 1).unwrap(), &config).loss
        );
        // A configuration that somebody writes has the default of today.
        let text = fs::read_to_string(old.path().join("config.toml")).unwrap();
        let written = Config::from_toml(&text, "", None, None).unwrap();
        assert_eq!((written.clip_factor, written.until), (3.0, 0.01));
    }

    /// Starts a run or resumes it, as one would after a kill.
    fn start_or_resume(folder: &Path) -> Result<Trainer, Error> {
        match Trainer::resume(folder) {
            Err(Error::NoRun { missing: "config.toml", .. }) => Trainer::new(config(), folder),
            trainer => trainer,
        }
    }

    #[test]
    fn a_run_killed_between_any_two_file_operations_resumes_to_the_bit() {
        let expected = uninterrupted();
        for operations in 0.. {
            let folder = tempfile::tempdir().unwrap();
            allow_operations(Some(operations));
            let killed = start_or_resume(folder.path()).and_then(|mut trainer| go_on(&mut trainer)).is_err();
            allow_operations(None);
            // What a kill in the middle of writing leaves.
            if folder.path().join("checkpoints").exists() {
                fs::write(folder.path().join("checkpoints/.resume.safetensors.1-2.tmp"), "half").unwrap();
                fs::write(folder.path().join(".curve.svg.1-3.tmp"), "half").unwrap();
            }
            // Killed once more soon after, in the middle of resuming or a little later.
            allow_operations(Some(operations % 7));
            let _ = start_or_resume(folder.path()).and_then(|mut trainer| go_on(&mut trainer));
            allow_operations(None);
            go_on(&mut start_or_resume(folder.path()).unwrap()).unwrap();
            assert!(result(folder.path()) == expected, "killed after {operations} operations");
            let left = |folder: &Path| {
                let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
                names.filter(|name| name.to_string_lossy().ends_with(".tmp")).count()
            };
            if killed && operations > 20 {
                assert_eq!((left(folder.path()), left(&folder.path().join("checkpoints"))), (0, 0));
            }
            if !killed {
                assert!(operations > 25, "only {operations} operations in a whole run");
                return;
            }
        }
    }

    #[test]
    fn a_run_keeps_when_and_where_it_was_trained() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        stop_at(&mut Trainer::new(config(), path).unwrap(), 4);
        go_on(&mut Trainer::resume(path).unwrap()).unwrap();
        let run = RunFolder::open(path).unwrap();
        let told = |of: &crate::Session| (of.from, of.to, of.outcome.clone().unwrap_or_default());
        let history = run.history().unwrap();
        let expected = [(0, Some(4), "stopped".to_owned()), (4, Some(9), "finished".to_owned())];
        assert_eq!(history.iter().map(told).collect::<Vec<_>>(), expected);
        for session in &history {
            assert!(session.saved.as_ref().is_some_and(|saved| *saved >= session.started), "{session:?}");
            assert!(session.machine.threads >= 1 && session.machine.cores >= 1, "{session:?}");
            assert_eq!(session.machine.sparsam, env!("CARGO_PKG_VERSION"));
        }
        // Nothing of the training follows from it: one that is damaged, or was never kept, begins anew.
        let uninterrupted = result(path);
        for damage in [Some("[{"), None] {
            let folder = tempfile::tempdir().unwrap();
            stop_at(&mut Trainer::new(config(), folder.path()).unwrap(), 4);
            let file = folder.path().join("history.json");
            match damage {
                Some(text) => fs::write(&file, text).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            go_on(&mut Trainer::resume(folder.path()).unwrap()).unwrap();
            let history = RunFolder::open(folder.path()).unwrap().history().unwrap();
            assert_eq!(history.iter().map(told).collect::<Vec<_>>(), expected[1..]);
            assert!(result(folder.path()) == uninterrupted);
        }
    }

    fn with_curriculum() -> Config {
        let mut config = config();
        config.batches = 24;
        // Low enough for some means, not for others.
        config.curriculum =
            CurriculumConfig { on: true, threshold: 0.999, episodes: 24, start: 2, end: 20, learning_rate_power: 0.3 };
        config.optimiser = OptimiserConfig::adam(1e-2);
        config
    }

    #[test]
    fn a_curriculum_resumes_to_the_bit() {
        let whole = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(with_curriculum(), whole.path()).unwrap();
        let (mut levels, mut steps) = (Vec::new(), Vec::new());
        let mut watch = |event: Event<'_>| {
            if let Event::Batch(report) = event {
                levels.push(report.level.unwrap());
                steps.push(report.steps);
            }
        };
        trainer.run(&mut watch, &AtomicBool::new(false)).unwrap();
        let expected = result(whole.path());
        let kept: Vec<_> = expected.2.iter().map(|line| line.level.unwrap()).collect();
        assert!(levels[0] == 2 && levels[23] >= 4 && levels.is_sorted(), "{levels:?}");
        assert_eq!(kept, (1..12).map(|line| levels[2 * line - 1]).chain([levels[23]]).collect::<Vec<_>>());
        // A batch draws a level before it changes what the next one draws from.
        assert!(steps.iter().zip([&2].into_iter().chain(&levels)).all(|(steps, level)| *steps <= 2 * level + 2));
        assert!(steps.iter().any(|steps| *steps > 6), "{steps:?}");
        for batch in [1, 2, 8, 13] {
            let folder = tempfile::tempdir().unwrap();
            stop_at(&mut Trainer::new(with_curriculum(), folder.path()).unwrap(), batch);
            stop_at(&mut Trainer::resume(folder.path()).unwrap(), batch + 5);
            go_on(&mut Trainer::resume(folder.path()).unwrap()).unwrap();
            assert!(result(folder.path()) == expected, "stopped after batch {batch}");
        }
    }

    #[test]
    fn the_best_of_a_curriculum_is_on_its_highest_level() {
        let folder = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(with_curriculum(), folder.path()).unwrap();
        go_on(&mut trainer).unwrap();
        let metrics = trainer.metrics();
        let (best, last) = (trainer.best().unwrap(), metrics.last().unwrap());
        let line = metrics.iter().find(|line| line.batch == best.batch).unwrap();
        assert!(best.level == last.level && line.level == last.level && best.evaluation.sequences == 40, "{best:?}");
        // Whatever those of lower levels lost.
        assert!(metrics.iter().any(|line| line.level < best.level && line.loss < best.evaluation.loss));
    }

    #[test]
    fn a_curriculum_that_ends_beyond_the_machine_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let mut long = with_curriculum();
        long.curriculum.end = 1 << 24;
        long.network.hidden_size = 256;
        let error = Trainer::new(long, &path).err().unwrap();
        assert!(error.is_usage() && error.to_string().starts_with("end = 16777216 does not work: at the"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_task_of_ones_own_trains_and_resumes() {
        let own = Config { task: TaskConfig::Own(crate::task::Own { title: "mine".into() }), ..config() };
        let copy = || config().task.build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        stop_at(&mut Trainer::with_task(own, copy(), folder.path()).unwrap(), 4);
        let error = Trainer::resume(folder.path()).err().unwrap();
        assert!(error.is_usage() && error.to_string().contains("\"mine\" does not work: only the program"), "{error}");
        go_on(&mut Trainer::resume_with(copy(), folder.path()).unwrap()).unwrap();
        assert!(result(folder.path()) == uninterrupted());
    }

    #[test]
    fn a_run_goes_on_with_the_data_that_it_began_with_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (data, run) = (folder.path().join("a.jsonl"), folder.path().join("run"));
        let line = |number: usize| format!("{{\"inputs\": [[{number}]], \"targets\": [{}]}}\n", number % 2);
        let lines = |first| (first..30).map(line).collect::<String>();
        fs::write(&data, lines(0)).unwrap();
        let sequences = Sequences { data: data.display().to_string(), ..Sequences::default() };
        let own = Config { task: TaskConfig::Sequences(sequences), ..config() };
        stop_at(&mut Trainer::new(own, &run).unwrap(), 4);

        // Sequences that were held out would be trained on.
        fs::write(&data, lines(1)).unwrap();
        let error = Trainer::resume(&run).err().unwrap();
        assert!(error.is_usage() && error.to_string().contains("data of the task have changed"), "{error}");
        // They may be evaluated on, as any others.
        let task = RunFolder::open(&run).unwrap().task(Some(&data)).unwrap();
        assert_eq!(task.evaluation_sequences(), Some(29));
        fs::write(&data, lines(0)).unwrap();
        stop_at(&mut Trainer::resume(&run).unwrap(), 6);

        // An earlier version kept no sum.
        let kept = run.join("task.json");
        let mut sizes: serde_json::Value = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
        assert!(sizes.as_object_mut().unwrap().remove("sha256").is_some());
        fs::write(&kept, sizes.to_string()).unwrap();
        fs::write(&data, lines(1)).unwrap();
        assert!(RunFolder::open(&run).unwrap().task(None).is_ok());
        stop_at(&mut Trainer::resume(&run).unwrap(), 8);
        sizes["inputs"] = 2.into();
        fs::write(&kept, sizes.to_string()).unwrap();
        assert!(Trainer::resume(&run).err().unwrap().to_string().contains("1 inputs where 2 were expected"));
    }

    /// A task that keeps a sum of its data alone, which earlier versions did not.
    struct Summed(Box<dyn Task>, Option<&'static str>);

    impl Task for Summed {
        fn name(&self) -> &'static str {
            self.0.name()
        }

        fn channels(&self) -> Channels {
            self.0.channels()
        }

        fn level_unit(&self) -> &'static str {
            self.0.level_unit()
        }

        fn default_levels(&self) -> RangeInclusive<usize> {
            self.0.default_levels()
        }

        fn steps(&self, level: usize) -> usize {
            self.0.steps(level)
        }

        fn start(&self, draw: Draw) -> Source<'_> {
            self.0.start(draw)
        }

        fn kept(&self) -> Option<serde_json::Value> {
            self.1.map(|sum| serde_json::json!({ "sha256": sum }))
        }
    }

    #[test]
    fn runs_that_kept_nothing_of_their_data_go_on() {
        for (before, now, goes_on) in [
            (None, Some("a"), true),
            (Some("a"), Some("a"), true),
            (Some("a"), Some("b"), false),
            (Some("a"), None, false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let task = |sum| Box::new(Summed(config().task.build().unwrap(), sum));
            stop_at(&mut Trainer::with_task(config(), task(before), folder.path()).unwrap(), 4);
            assert_eq!(Trainer::resume_with(task(now), folder.path()).is_ok(), goes_on, "{before:?} {now:?}");
        }
    }

    #[test]
    fn a_finished_run_can_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut short = config();
        short.batches = 6;
        go_on(&mut Trainer::new(short, folder.path()).unwrap()).unwrap();
        let mut trainer = Trainer::resume(folder.path()).unwrap();
        assert!(trainer.set_end(5, 0, 0.0, 0).is_err() && trainer.set_end(9, 10, 0.0, 0).is_err());
        assert!(trainer.set_end(9, 0, -1.0, 0).is_err());
        trainer.set_end(9, 0, 0.0, 0).unwrap();
        go_on(&mut trainer).unwrap();
        assert_eq!(RunFolder::open(folder.path()).unwrap().config().unwrap(), config());
        assert!(result(folder.path()) == uninterrupted());
    }

    #[test]
    fn evaluations_that_are_no_better_for_long_end_a_run() {
        let line = |(loss, level): (f64, Option<usize>)| {
            let text = format!(
                "{{\"batch\":1,\"sequences\":8,\"training_loss\":1,\"gradient_norm\":1,\"loss\":{loss},\"seconds\":1,\
                 \"sequences_per_second\":1}}"
            );
            Metrics { level, ..serde_json::from_str(&text).unwrap() }
        };
        let of = |patience, lines: &[(f64, Option<usize>)]| {
            is_no_better(&lines.iter().copied().map(line).collect::<Vec<_>>(), patience)
        };
        let plain =
            |patience, losses: &[f64]| of(patience, &losses.iter().map(|loss| (*loss, None)).collect::<Vec<_>>());
        assert!(!plain(2, &[]) && !plain(2, &[3.0, 4.0]) && plain(2, &[3.0, 4.0, 3.5]) && plain(2, &[3.0, 3.0, 3.0]));
        assert!(!plain(2, &[3.0, 4.0, 2.0, 9.0]) && plain(1, &[3.0, 2.0, 9.0]) && !plain(0, &[3.0, 4.0, 5.0]));
        // Longer sequences lose more.
        assert!(!of(1, &[(3.0, Some(2)), (9.0, Some(4))]) && of(1, &[(3.0, Some(2)), (9.0, Some(4)), (9.5, Some(4))]));

        let mut idle = Config { patience: 2, batches: 100, ..config() };
        idle.optimiser = OptimiserConfig::adam(1e-12);
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        assert_eq!(go_on(&mut Trainer::new(idle.clone(), folders[0].path()).unwrap()).unwrap(), Outcome::NoBetter);
        stop_at(&mut Trainer::new(idle, folders[1].path()).unwrap(), 3);
        assert_eq!(go_on(&mut Trainer::resume(folders[1].path()).unwrap()).unwrap(), Outcome::NoBetter);
        assert!(result(folders[0].path()) == result(folders[1].path()));
        // It has ended, until it is told otherwise.
        let mut trainer = Trainer::resume(folders[0].path()).unwrap();
        let ended = trainer.batch();
        assert!(ended < 100 && go_on(&mut trainer).unwrap() == Outcome::NoBetter && trainer.batch() == ended);
        trainer.set_end(ended + 1, 0, 0.0, 0).unwrap();
        assert_eq!(go_on(&mut trainer).unwrap(), Outcome::Finished);
    }

    /// Numbers and tokens learn, and a run on them that is stopped goes on to the bit.
    #[test]
    fn numbers_and_tokens_are_learnt() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        // The sum so far of numbers that are drawn; and a cycle of three letters.
        let mut random = Random::new(1, Stream::Training, 0);
        let sums = |_: usize| {
            let (mut sum, mut inputs, mut targets) = (0.0, Vec::new(), Vec::new());
            for _ in 0..5 {
                let x = random.below(100) as f64 / 50.0 - 1.0;
                sum += x;
                inputs.push([100.0 * x]);
                targets.push([sum]);
            }
            format!("{}\n", serde_json::json!({"inputs": inputs, "targets": targets}))
        };
        let numbers = file("a.jsonl", (0..200).map(sums).collect());
        let text = file("a.txt", "abc".repeat(400));
        let sequences = Sequences { data: numbers, scale_inputs: true, ..Sequences::default() };
        let text = crate::task::Text { data: text, length: 10, ..crate::task::Text::default() };
        for (task, name) in [(TaskConfig::Sequences(sequences), "numbers"), (TaskConfig::Text(text), "text")] {
            let mut own = Config { task, batches: 250, evaluate_every: 125, checkpoint_every: 100, ..config() };
            own.network = Config::default_for(own.task.clone(), Model::Lstm).network;
            (own.network.hidden_size, own.network.embedding_size) = (12, 5);
            own.optimiser = OptimiserConfig::adam(1e-2);
            let runs = [folder.path().join(format!("{name}-a")), folder.path().join(format!("{name}-b"))];
            let mut trainer = Trainer::new(own.clone(), &runs[0]).unwrap();
            go_on(&mut trainer).unwrap();
            let last = trainer.metrics().last().unwrap().clone();
            assert!(last.loss < 0.05 * last.guessing.unwrap(), "{name}: {last:?}");
            assert!(last.training_loss > 0.0 && last.right.is_none(), "{last:?}");
            assert_eq!((last.wrong.is_none(), last.training_wrong.is_none()), (name == "numbers", name == "numbers"));
            stop_at(&mut Trainer::new(own, &runs[1]).unwrap(), 130);
            go_on(&mut Trainer::resume(&runs[1]).unwrap()).unwrap();
            assert!(result(&runs[0]) == result(&runs[1]), "{name}");
        }
    }

    #[test]
    fn a_task_is_learnt_after_two_evaluations_in_a_row() {
        let line = |(wrong, level): (f64, Option<usize>)| {
            let text = format!(
                "{{\"batch\":1,\"sequences\":8,\"training_loss\":1,\"training_wrong\":1,\"gradient_norm\":1,\"loss\":1,\
                 \"wrong\":{wrong},\"seconds\":1,\"sequences_per_second\":1}}"
            );
            Metrics { level, ..serde_json::from_str(&text).unwrap() }
        };
        let of = |until, last_level, lines: &[(f64, Option<usize>)]| {
            has_learnt(&lines.iter().copied().map(line).collect::<Vec<_>>(), until, last_level)
        };
        let plain = |wrong: &[f64]| of(0.1, None, &wrong.iter().map(|wrong| (*wrong, None)).collect::<Vec<_>>());
        assert!(plain(&[3.0, 0.1, 0.0]) && plain(&[0.0, 0.0]));
        assert!(!plain(&[]) && !plain(&[0.0]) && !plain(&[0.0, 0.2]) && !plain(&[0.0, 0.2, 0.0]));
        assert!(!of(0.0, None, &[(0.0, None); 3]), "0 does not end it");
        let at = |levels: [usize; 2]| of(0.1, Some(8), &levels.map(|level| (0.0, Some(level))));
        assert!(at([8, 8]) && !at([4, 8]) && !at([4, 4]));
    }

    #[test]
    fn a_run_that_has_learnt_ends_and_can_go_on() {
        // So many are wrong from the first.
        let easy = Config { until: 12.0, ..config() };
        let folder = tempfile::tempdir().unwrap();
        let mut seen = Vec::new();
        let mut watch = |event: Event<'_>| {
            if let Event::Ended { outcome, batch, sequences, .. } = event {
                seen.push((outcome, batch, sequences));
            }
        };
        let no = AtomicBool::new(false);
        let mut trainer = Trainer::new(easy.clone(), folder.path()).unwrap();
        assert_eq!(trainer.run(&mut watch, &no).unwrap(), Outcome::Learnt);
        let learnt = result(folder.path());
        assert_eq!(learnt.2.iter().map(|line| line.batch).collect::<Vec<_>>(), [2, 4]);
        drop(trainer);
        // Resumed, it has nothing to do; and one that was stopped on its way comes to the same end.
        assert_eq!(Trainer::resume(folder.path()).unwrap().run(&mut watch, &no).unwrap(), Outcome::Learnt);
        assert_eq!(seen, [(Outcome::Learnt, 4, 32); 2]);
        for batch in 0..4 {
            let stopped = tempfile::tempdir().unwrap();
            stop_at(&mut Trainer::new(easy.clone(), stopped.path()).unwrap(), batch);
            assert_eq!(go_on(&mut Trainer::resume(stopped.path()).unwrap()).unwrap(), Outcome::Learnt);
            assert!(result(stopped.path()) == learnt, "stopped at batch {batch}");
        }
        let mut trainer = Trainer::resume(folder.path()).unwrap();
        trainer.set_end(9, 0, 0.0, 0).unwrap();
        assert_eq!(go_on(&mut trainer).unwrap(), Outcome::Finished);
        assert!(result(folder.path()) == uninterrupted());
    }

    #[test]
    fn a_curriculum_is_not_learnt_before_its_last_level() {
        let (start, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut config = Config { until: 1000.0, ..with_curriculum() };
        config.curriculum.end = 4;
        go_on(&mut Trainer::new(config.clone(), folder.path()).unwrap()).unwrap();
        let levels: Vec<_> = result(folder.path()).2.iter().map(|line| line.level.unwrap()).collect();
        assert!(levels[0] == 2 && levels.ends_with(&[4, 4]) && !levels.ends_with(&[4, 4, 4]), "{levels:?}");
        // Farther than it comes.
        config.curriculum.end = 4096;
        assert_eq!(go_on(&mut Trainer::new(config, start.path()).unwrap()).unwrap(), Outcome::Finished);
    }

    #[test]
    fn the_learning_rate_falls_over_the_last_batches() {
        let factors: Vec<f64> = {
            let config = Config { batches: 6, cooldown: 4, ..config() };
            (0..6).map(|batch| config.cooldown_factor(batch)).collect()
        };
        assert_eq!(factors, [1.0, 1.0, 1.0, 0.75, 0.5, 0.25]);

        let cooled = Config { cooldown: 5, ..config() };
        let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        go_on(&mut Trainer::new(cooled.clone(), whole.path()).unwrap()).unwrap();
        assert!(result(whole.path()) != uninterrupted());
        let rate = result(whole.path()).2.pop().unwrap().learning_rate.unwrap();
        assert!((rate - config().optimiser.learning_rate() / 5.0).abs() < 1e-15, "{rate}");
        stop_at(&mut Trainer::new(cooled, stopped.path()).unwrap(), 6);
        go_on(&mut Trainer::resume(stopped.path()).unwrap()).unwrap();
        assert!(result(stopped.path()) == result(whole.path()));

        // A run may be given its end after it has begun.
        let late = tempfile::tempdir().unwrap();
        stop_at(&mut Trainer::new(Config { batches: 1000, ..config() }, late.path()).unwrap(), 3);
        let mut trainer = Trainer::resume(late.path()).unwrap();
        trainer.set_end(9, 5, 0.0, 0).unwrap();
        stop_at(&mut trainer, 7);
        drop(trainer);
        go_on(&mut Trainer::resume(late.path()).unwrap()).unwrap();
        assert!(result(late.path()) == result(whole.path()));
    }

    #[test]
    fn folders_that_cannot_take_a_run_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let message = |result: Result<Trainer, Error>| result.err().unwrap().to_string();
        assert!(message(Trainer::resume(&path)).contains("holds no run (config.toml is missing)"));
        let mut trainer = Trainer::new(config(), &path).unwrap();
        assert!(message(Trainer::new(config(), &path)).contains("another process"));
        assert!(message(Trainer::resume(&path)).contains("another process"));
        go_on(&mut trainer).unwrap();
        drop(trainer);
        assert!(message(Trainer::new(config(), &path)).contains("already holds a run; resume it, or choose another"));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(message(Trainer::new(config(), &file.join("run"))).contains("file"));
    }

    #[test]
    fn what_does_not_fit_the_machine_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let mut large = config();
        large.network.hidden_size = 60_000;
        // Even a terabyte takes one sequence of these, but not so many.
        let mut many = config();
        many.network.memory = Model::Dnc(dnc::Config { memory_size: 1 << 14, ..Default::default() });
        many.batch_size = 4096;
        let mut long = config();
        long.task = TaskConfig::Copy(Copy { bits: 1, min_length: 8_000_000, max_length: 8_000_000 });
        long.network.hidden_size = 256;
        long.batch_size = 8;
        for (config, named) in [(large, "hidden_size = 60000"), (many, "memory_size = "), (long, "shorter sequences")] {
            let error = Trainer::new(config, &path).err().unwrap();
            assert!(error.is_usage() && error.to_string().contains(named), "{error}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn files_that_do_not_fit_together_are_named() {
        let folder = tempfile::tempdir().unwrap();
        go_on(&mut Trainer::new(config(), folder.path()).unwrap()).unwrap();
        let message = || Trainer::resume(folder.path()).err().unwrap().to_string();
        let path = folder.path().join("config.toml");
        let written = fs::read_to_string(&path).unwrap();
        for (before, after, named) in [
            ("seed = 1", "seed = 2", "seed is 2, but the run was trained with 1;"),
            ("batch_size = 8", "batch_size = 4", "batch_size is 4, but the run was trained with 8;"),
            ("learning_rate = 0.001", "learning_rate = 0.01", "optimiser.learning_rate is 0.01, but"),
            ("hidden_size = 6", "hidden_size = 7", "network.hidden_size is 7, but the run was trained with 6;"),
        ] {
            assert!(written.contains(before), "{written}");
            fs::write(&path, written.replace(before, after)).unwrap();
            assert!(message().contains(named) && message().contains("start another run"), "{}", message());
            assert!(Trainer::resume(folder.path()).err().unwrap().is_usage());
        }
        let mut adam = config();
        adam.optimiser = OptimiserConfig::adam(1e-3);
        fs::write(&path, adam.to_toml().unwrap()).unwrap();
        assert!(message().contains("optimiser.kind is \"adam\", but"), "{}", message());
        // What only the order or a comment distinguishes is the same.
        fs::write(&path, format!("# mine\n{}", written.replace("batches = 9", "batches = 12"))).unwrap();
        assert_eq!(Trainer::resume(folder.path()).unwrap().config().batches, 12);
        fs::write(&path, written).unwrap();
        let path = folder.path().join("metrics.jsonl");
        let written = fs::read(&path).unwrap();
        fs::write(&path, &written[..100]).unwrap();
        assert!(message().contains("metrics.jsonl is damaged: it has 100 bytes"), "{}", message());
        let mut damaged = written.clone();
        // No line without its brace; within a name that may be missing it would be no mistake.
        damaged[0] = b'?';
        fs::write(&path, damaged).unwrap();
        assert!(message().contains("is no line of metrics"), "{}", message());
        fs::write(&path, written).unwrap();
        fs::remove_file(folder.path().join("checkpoints/resume.safetensors")).unwrap();
        assert!(message().contains("checkpoints/resume.safetensors is missing"), "{}", message());
    }

    #[test]
    fn what_is_not_finite_stops_training_and_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(config(), folder.path()).unwrap();
        for _ in 0..3 {
            trainer.step().unwrap();
        }
        trainer.save().unwrap();
        let kept = fs::read(folder.path().join("checkpoints/resume.safetensors")).unwrap();
        let good = trainer.network.parameters().clone();
        for (tensor, named) in [("output.bias", "the output at time step"), ("controller.weight_hh", "")] {
            if let Some(values) = trainer.network.parameters_mut().get_mut(tensor) {
                values[0] = f32::NAN;
            }
            let bad: Vec<u32> = trainer.network.parameters().values().iter().map(|value| value.to_bits()).collect();
            let error = trainer.step().unwrap_err();
            assert!(matches!(error, Error::NotFinite { batch: 4, .. }), "{error:?}");
            assert!(error.to_string().contains(named) && error.to_string().contains("batch 4"), "{error}");
            assert!(matches!(trainer.evaluate(None, 8), Err(Error::NotFinite { batch: 3, .. })));
            assert!(matches!(trainer.save(), Err(Error::NotFinite { batch: 3, .. })));
            assert!(trainer.network.parameters().values().iter().map(|value| value.to_bits()).eq(bad));
            trainer.network.parameters_mut().values_mut().copy_from_slice(good.values());
        }
        assert!(fs::read(folder.path().join("checkpoints/resume.safetensors")).unwrap() == kept);
        // The failed batches left nothing behind.
        go_on(&mut trainer).unwrap();
        assert!(result(folder.path()).0 == uninterrupted().0);
    }

    #[test]
    fn a_model_that_reads_nothing_has_no_feedback_to_leave_out() {
        let mut config = config();
        (config.network.memory, config.network.feedback) = (Model::Lstm, false);
        let message = config.validate().unwrap_err().to_string();
        assert_eq!(message, "feedback = false does not work: the model lstm reads nothing; leave it at true");
    }

    /// In both weights that are drawn and those of another run, and with every controller.
    #[test]
    fn without_feedback_nothing_read_reaches_the_controller() {
        let folder = tempfile::tempdir().unwrap();
        let of_reads = |trainer: &Trainer| -> Vec<f32> {
            let sizes = trainer.network.config();
            let (input, read) = (sizes.input_size, sizes.memory.read_len());
            assert!(read > 0);
            let weights = trainer.network.parameters().get("controller.weight_ih").unwrap();
            weights.chunks_exact(input + read).flat_map(|row| &row[input..]).copied().collect()
        };
        for controller in ControllerKind::NAMES.iter().filter_map(|name| ControllerKind::by_name(name)) {
            let with = folder.path().join(controller.name());
            let mut config = config();
            config.network.controller = controller;
            let mut trainer = Trainer::new(config.clone(), &with).unwrap();
            go_on(&mut trainer).unwrap();
            assert!(of_reads(&trainer).iter().all(|weight| *weight != 0.0));
            config.network.feedback = false;
            for start_from in [String::new(), with.display().to_string()] {
                let name = format!("{}-without-{}", controller.name(), start_from.len());
                let config = Config { start_from, average_decay: 0.5, ..config.clone() };
                let mut trainer = Trainer::new(config.clone(), &folder.path().join(&name)).unwrap();
                let before = trainer.network.parameters().clone();
                assert!(of_reads(&trainer).iter().all(|weight| *weight == 0.0));
                go_on(&mut trainer).unwrap();
                assert!(of_reads(&trainer).iter().all(|weight| *weight == 0.0));
                // The others learn.
                let pairs = before.values().iter().zip(trainer.network.parameters().values());
                let still = pairs.filter(|(one, other)| one == other).count();
                let others = before.values().len() - of_reads(&trainer).len();
                assert!(still < of_reads(&trainer).len() + others / 10, "{still}");
                // Stopped and resumed, it comes to the same.
                let again = folder.path().join(format!("{name}-again"));
                stop_at(&mut Trainer::new(config.clone(), &again).unwrap(), 4);
                go_on(&mut Trainer::resume(&again).unwrap()).unwrap();
                assert!(result(&again) == result(&folder.path().join(&name)));
                // Who starts from it and wants feedback has to be told.
                let start_from = again.display().to_string();
                let network = NetworkOptions { feedback: true, ..config.network.clone() };
                let error = Trainer::new(Config { start_from, network, ..config }, &folder.path().join("none"));
                assert!(error.err().unwrap().to_string().contains("it was trained without feedback"));
            }
        }
    }

    #[test]
    fn gradients_that_overflow_are_left_out_but_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(config(), folder.path()).unwrap();
        trainer.step().unwrap();
        let good = trainer.network.parameters().clone();
        let overflow = |trainer: &mut Trainer| {
            let hidden = trainer.config.network.hidden_size;
            for row in trainer.network.parameters_mut().get_mut("output.weight").unwrap().chunks_exact_mut(hidden) {
                row.fill(1e-3);
                row[0] = f32::MAX;
            }
        };
        overflow(&mut trainer);
        let bad = trainer.network.parameters().clone();
        for batch in 2..12 {
            let report = trainer.step().unwrap();
            assert!(report.batch == batch && !report.gradient_norm.is_finite(), "{report:?}");
            assert!(trainer.network.parameters() == &bad);
        }
        assert!(matches!(trainer.step(), Err(Error::NotFinite { batch: 12, .. })));
        // One that is finite starts the count anew.
        trainer.network.parameters_mut().values_mut().copy_from_slice(good.values());
        let report = trainer.step().unwrap();
        assert!(report.gradient_norm.is_finite() && trainer.network.parameters() != &good);
        overflow(&mut trainer);
        trainer.step().unwrap();
        assert!((trainer.progress.overflows, trainer.progress.since.overflows) == (1, 11));
    }

    #[test]
    fn steps_far_too_large_end_in_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config();
        config.optimiser = OptimiserConfig::rms_prop(1e38);
        config.clip_norm = f64::INFINITY;
        let error = go_on(&mut Trainer::new(config, folder.path()).unwrap()).unwrap_err();
        assert!(matches!(error, Error::NotFinite { .. }), "{error}");
        assert!(Trainer::resume(folder.path()).is_ok());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_named_and_the_checkpoint_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let error = go_on(&mut Trainer::new(config(), folder.path()).unwrap()).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl") && error.contains("free some space"), "{error}");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        go_on(&mut Trainer::resume(folder.path()).unwrap()).unwrap();
        assert!(result(folder.path()) == uninterrupted());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn damaged_folders_give_errors(seed: u64) {
            let files = ["config.toml", "metrics.jsonl", "checkpoints/resume.safetensors"];
            let folder = tempfile::tempdir().unwrap();
            thread_local! {
                static WHOLE: Vec<Vec<u8>> = {
                    let folder = tempfile::tempdir().unwrap();
                    go_on(&mut Trainer::new(config(), folder.path()).unwrap()).unwrap();
                    ["config.toml", "metrics.jsonl", "checkpoints/resume.safetensors"]
                        .map(|file| fs::read(folder.path().join(file)).unwrap())
                        .to_vec()
                };
            }
            let mut random = Random::new(seed, Stream::Training, 0);
            fs::create_dir(folder.path().join("checkpoints")).unwrap();
            let mut contents = WHOLE.with(Clone::clone);
            let damaged = random.below(files.len());
            let bytes = &mut contents[damaged];
            for _ in 0..=random.below(4) {
                // Half of the damage is near the start, where headers are.
                let end = if random.below(2) == 0 { bytes.len().min(600) } else { bytes.len() };
                let place = random.below(end);
                match random.below(4) {
                    0 => bytes.truncate(place.max(1)),
                    1 => bytes[place] ^= 1 << random.below(8),
                    2 => bytes.insert(place, random.below(256) as u8),
                    _ => bytes[place] = b"019{}[],.\n"[random.below(10)],
                }
            }
            for (file, bytes) in files.iter().zip(&contents) {
                fs::write(folder.path().join(file), bytes).unwrap();
            }
            let _ = RunFolder::open(folder.path()).unwrap().metrics();
            match Trainer::resume(folder.path()) {
                // Some damage cannot be seen, or changes nothing.
                Ok(trainer) => prop_assert!(trainer.config().validate().is_ok()),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
