//! The folder that holds a run.
//!
//! | file | what it is |
//! |---|---|
//! | `config.toml` | the configuration with nothing left out: it alone starts the same run again |
//! | `task.json` | what networks trained on data know of them, such as the vocabulary, and a sum of the data, which must not have changed when the run goes on; not there for other tasks |
//! | `history.json` | every [`Session`], a start or resume with its dates, machine and version; not there for runs of earlier versions until they go on |
//! | `metrics.jsonl` | a line of [`Metrics`] for each evaluation |
//! | `events.out.tfevents.*` | the same for TensorBoard, one file for each time the run was started or resumed |
//! | `checkpoints/newest.safetensors` | the network as it was last saved; the running mean of its weights if the configuration has an `average_decay` |
//! | `checkpoints/best.safetensors` | the network that did best, as [`Best`] says |
//! | `checkpoints/resume.safetensors` | all that resuming takes: parameters, their running mean if there is one, the optimiser's moments, counters; and the configuration, which must not have been edited since |
//! | `curve.svg` | the learning curve |
//!
//! # Why a kill at any moment leaves a run that resumes
//!
//! Every file but the two that only grow is written under a temporary name, synced and renamed. Resuming reads one
//! file, so that no kill between two renames can mix states; the numbers in it have checksums. What grows is synced before
//! that file names its length,
//! and is cut back to that length on resuming; the training after it is then done again, and because every random
//! number follows from a counter it comes out the same. `config.toml` is written last when a run is made: a folder
//! with it has all the rest, one without it holds no run.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sparsam::checkpoint::{self, Extra};
use sparsam::internal::{file, notice};
use sparsam::nn::clip::AdaptiveClip;
use sparsam::nn::optimiser::Optimiser;
use sparsam::option::{Declared, Value::Switch};
use sparsam::{Network, NetworkConfig};

use crate::curriculum::Curriculum;
use crate::machine::now;
use crate::sequence::TargetKind;
use crate::task::{Given, InputReader, Task, TaskConfig};
use crate::{Config, Error, Evaluation, Machine, Metrics, Units, draw_curve, tensorboard};

const CONFIG: &str = "config.toml";
const KEPT: &str = "task.json";
/// The field of [`KEPT`] with the sum of the data.
const SUM: &str = "sha256";
const HISTORY: &str = "history.json";
const METRICS: &str = "metrics.jsonl";
const CURVE: &str = "curve.svg";
const CHECKPOINTS: &str = "checkpoints";
const RESUME: &str = "checkpoints/resume.safetensors";
const LOCK: &str = ".lock";

/// Names under which [`RESUME`] keeps what is not a parameter.
const PROGRESS: &str = "training.progress";
const KEPT_CONFIG: &str = "training.config";
const MOMENTS: &str = "training.optimiser.";
const AVERAGE: &str = "training.average";

/// The name under which a [`Checkpoint`] keeps how many batches its network was trained for.
const BATCH: &str = "training.batch";

/// A network that a run keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// As it was last saved.
    Newest,
    /// As it was when it did best; see [`Best`].
    Best,
}

/// The best network of a run so far, and how it did.
///
/// An evaluation during training is of few sequences: which network does best in one of them is luck where one sequence in
/// a hundred fails. So a network that does about as well as the best, or better (within two standard errors of the
/// difference), is compared with it on four times as many sequences, the same ones for every network of the run, which are
/// otherwise not evaluated on; the one with the lower loss stays. With a curriculum those of the highest level alone count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Batches that it was trained for.
    pub batch: u64,
    /// The highest level that it was trained and compared on; none without a curriculum.
    pub level: Option<usize>,
    /// How it did on the sequences that networks are compared on.
    pub evaluation: Evaluation,
}

/// A part of a run, from when it was started or resumed to when it ended, was stopped or killed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Date and time of its start, of Greenwich.
    pub started: String,
    /// Batches that were trained before it.
    pub from: u64,
    /// When it was last saved, and so ended if it is not under way; none if it was killed before.
    pub saved: Option<String>,
    /// Batches that were trained then.
    pub to: Option<u64>,
    /// How it ended: "finished", "learnt", "no better" or "stopped"; none if it is under way or was killed.
    pub outcome: Option<String>,
    /// Where it ran, and which version.
    pub machine: Machine,
}

impl Session {
    fn begin(from: u64) -> Self {
        let machine = Machine::here();
        Self { started: machine.date.clone(), from, saved: None, to: None, outcome: None, machine }
    }
}

/// The network of a checkpoint file of a run, and how many batches it was trained for, which files of earlier versions do
/// not say.
///
/// # Errors
/// [`sparsam::Error::Checkpoint`] if the file is damaged; [`sparsam::Error::Io`].
pub fn load_network(path: &Path) -> Result<(Network<f32>, Option<u64>), Error> {
    let (network, extra) = checkpoint::load_with_extra(path)?;
    Ok((network, extra.metadata.get(BATCH).and_then(|batch| batch.parse().ok())))
}

/// The task that a new run with this configuration trains on: in the words of the run that it [starts from](Config::start_from), if
/// it does.
///
/// # Errors
/// As [`TaskConfig::build`]; [`Error::Option`] if it cannot start from there.
pub fn task_to_train(config: &Config) -> Result<Box<dyn Task>, Error> {
    let kept = FirstRun::of(config)?.map(|first| first.kept(&config.task)).transpose()?.flatten();
    config.task.build_with(Given { kept: kept.as_ref(), ..Given::default() })
}

/// The run that another one starts from.
pub(crate) struct FirstRun {
    run: RunFolder,
    checkpoint: PathBuf,
}

/// An error about what to start from.
fn no_start(path: &Path, reason: impl Into<String>) -> Error {
    Error::option("start_from", path.display(), reason.into())
}

impl FirstRun {
    /// That of a configuration, if it has one.
    ///
    /// # Errors
    /// [`Error::Option`] if it is not there.
    pub fn of(config: &Config) -> Result<Option<Self>, Error> {
        (!config.start_from.is_empty()).then(|| Self::find(Path::new(&config.start_from))).transpose()
    }

    /// Of a run's folder, or a checkpoint in one.
    ///
    /// # Errors
    /// [`Error::Option`] if there is none.
    fn find(path: &Path) -> Result<Self, Error> {
        let found = path.canonicalize().map_err(|_| no_start(path, "there is no such run or checkpoint"))?;
        if found.is_dir() {
            let run = RunFolder::open(&found).map_err(|_| no_start(path, "there is no run in this folder"))?;
            let places = [Checkpoint::Best, Checkpoint::Newest].map(|which| run.checkpoint_path(which));
            let checkpoint = places.into_iter().find(|place| place.exists());
            let checkpoint = checkpoint.ok_or_else(|| no_start(path, "the run has no checkpoint yet"))?;
            return Ok(Self { run, checkpoint });
        }
        // runs/NAME/checkpoints/best.safetensors; the run knows the words that a network of tokens has learnt.
        let run = found.parent().and_then(Path::parent).and_then(|folder| RunFolder::open(folder).ok());
        let run = run.ok_or_else(|| no_start(path, "it lies in no run's folder; name the run"))?;
        Ok(Self { run, checkpoint: found })
    }

    /// What it keeps of its data, for a task that goes on from it.
    ///
    /// # Errors
    /// [`Error::Option`] if it is of another task, or read its words otherwise.
    pub fn kept(&self, task: &TaskConfig) -> Result<Option<Value>, Error> {
        let (of_run, switch) = (self.run.config()?.task, |task: &TaskConfig| task.option("sentences"));
        if of_run.name() != task.name() || switch(&of_run) != switch(task) {
            let read = |task: &TaskConfig| if switch(task) == Some(Switch(true)) { ", read by sentences" } else { "" };
            let (of_run, asked) = [&of_run, task].map(|task| format!("{}{}", task.name(), read(task))).into();
            return Err(no_start(self.run.path(), format!("it learnt {of_run}, and this run is to learn {asked}")));
        }
        read_kept(self.run.path())
    }

    /// Its network, with the memory that is asked for, to be trained with feedback or without.
    ///
    /// # Errors
    /// [`Error::Option`] if it is of other sizes, or was trained without feedback and now is to have it; as [`load_network`].
    pub fn network(&self, sizes: &NetworkConfig, feedback: bool) -> Result<Network<f32>, Error> {
        // Weights of 0 would begin to learn, without a word.
        if feedback && !self.run.config()?.network.feedback {
            return Err(no_start(self.run.path(), "it was trained without feedback; say feedback = false here too"));
        }
        let (network, _) = load_network(&self.checkpoint)?;
        let of_run = network.config();
        let differs = [
            ("the controller", of_run.controller.name(), sizes.controller.name()),
            ("the memory", of_run.memory.name(), sizes.memory.name()),
        ];
        let differs = differs.map(|(what, run, asked)| (what, run.to_owned(), asked.to_owned())).into_iter().chain(
            [
                ("numbers of an input", of_run.input_size, sizes.input_size),
                ("tokens", of_run.vocabulary_size, sizes.vocabulary_size),
                ("tokens of a sentence", of_run.sentence_size, sizes.sentence_size),
                ("hidden units", of_run.hidden_size, sizes.hidden_size),
                ("numbers of an output", of_run.output_size, sizes.output_size),
            ]
            .map(|(what, run, asked)| (what, run.to_string(), asked.to_string())),
        );
        let reason = match differs.into_iter().find(|(_, run, asked)| run != asked) {
            Some((what, run, asked)) => format!("its network differs in {what}: {run}, and {asked} here"),
            None => match network.with_memory(sizes.memory.clone()) {
                Ok(network) => return Ok(network),
                Err(error) => format!("the options of the memory have to be those of its network: {error}"),
            },
        };
        Err(no_start(&self.checkpoint, reason))
    }
}

impl Checkpoint {
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Newest => "checkpoints/newest.safetensors",
            Self::Best => "checkpoints/best.safetensors",
        }
    }
}

/// A folder that holds a run, to be looked into. It may be in training meanwhile.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The run in a folder.
    ///
    /// # Errors
    /// [`Error::NoRun`] if there is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.join(CONFIG).is_file() {
            return Err(Error::NoRun { folder: path.to_owned(), missing: CONFIG });
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Puts a network that a training loop of one's own trained for so many batches into a folder, which is made if need be, and
    /// there takes the place of the network of an earlier call. The folder is then that of a run, without metrics: its network
    /// can be evaluated, looked into and predict. Only the loop that trained it can go on. However this ends, each file is the old
    /// one or the new one.
    ///
    /// # Errors
    /// [`Error::RunExists`] if the folder holds a run of another configuration or of other data, or one that a
    /// [`Trainer`](crate::Trainer) trained; [`Error::Locked`]; those of [`Config::validate_with`]; [`Error::Option`] if the network is not the
    /// configuration's; [`sparsam::Error::NotFinite`] if a parameter is not finite; [`Error::Io`].
    pub fn write(
        path: &Path,
        config: &Config,
        task: &dyn Task,
        network: &Network<f32>,
        batch: u64,
    ) -> Result<Self, Error> {
        config.validate_with(task)?;
        let expected = config.network_config(task);
        if *network.config() != expected {
            let reason = format!("the network is {:?}, and the configuration asks for {expected:?}", network.config());
            return Err(Error::option("network", config.network.memory.name(), reason));
        }
        network.parameters().check_finite("the parameter")?;
        // Before anything is made: a folder that is refused stays as it was.
        check_replaceable(path, config, task)?;
        let checkpoints = path.join(CHECKPOINTS);
        before_operation(&checkpoints)?;
        fs::create_dir_all(&checkpoints).map_err(Error::at(&checkpoints))?;
        let _lock = lock(path)?;
        // Another process may have made a run meanwhile.
        check_replaceable(path, config, task)?;
        if let Some(kept) = task.kept() {
            replace(path, KEPT, format!("{kept}\n").as_bytes())?;
        }
        save_network(path, Checkpoint::Newest, network, batch)?;
        replace(path, CONFIG, config.to_toml()?.as_bytes())?;
        Self::open(path)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's configuration.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn config(&self) -> Result<Config, Error> {
        Config::read_kept(&self.path.join(CONFIG))
    }

    /// The run's task, to evaluate its networks: on the sequences held out of its data or, if there are any, on those of
    /// files of one's own.
    ///
    /// # Errors
    /// As [`config`](Self::config) and [`TaskConfig::build_with`](crate::TaskConfig::build_with).
    pub fn task(&self, evaluation_files: Option<&Path>) -> Result<Box<dyn Task>, Error> {
        let kept = read_kept(&self.path)?;
        self.config()?.task.build_with(Given {
            kept: kept.as_ref(),
            evaluation_files,
            run: Some(&self.path),
            ..Given::default()
        })
    }

    /// The run's task, to train on.
    pub(crate) fn task_to_go_on(&self) -> Result<Box<dyn Task>, Error> {
        let (kept, config) = (read_kept(&self.path)?, self.config()?);
        // The words are those of the run that it started from.
        let words = kept.as_ref().filter(|_| !config.start_from.is_empty());
        let given = Given { goes_on: kept.as_ref(), kept: words, run: Some(&self.path), ..Given::default() };
        config.task.build_with(given)
    }

    /// What the quantities of the run's task are counted in; of a task whose data the run has described, without the data.
    ///
    /// # Errors
    /// As [`task`](Self::task).
    pub fn units(&self) -> Result<Units, Error> {
        let config = self.config()?;
        let kept = read_kept(&self.path)?;
        match kept.as_ref().and_then(|kept| TargetKind::by_unit(kept.get("targets")?.as_str()?)) {
            Some(kind) => Ok(Units { kind, per: config.task.per(kind), level: "sequences" }),
            None => self.task(None).map(|task| Units::of(&*task)),
        }
    }

    /// What reads inputs for the run's networks, such as this one.
    ///
    /// # Errors
    /// As [`config`](Self::config); [`Error::Damaged`] if what the run keeps of its data cannot be read.
    pub fn input_reader(&self, network: &NetworkConfig) -> Result<InputReader, Error> {
        self.config()?.task.input_reader(read_kept(&self.path)?.as_ref(), network)
    }

    /// The levels that the run's training has drawn from of late.
    ///
    /// # Errors
    /// As [`metrics`](Self::metrics).
    pub fn levels(&self, task: &dyn Task) -> Result<RangeInclusive<usize>, Error> {
        let levels = task.default_levels();
        let highest = self.metrics()?.last().and_then(|line| line.level);
        Ok(*levels.start()..=highest.unwrap_or(*levels.end()))
    }

    /// Where a checkpoint is.
    pub fn checkpoint_path(&self, which: Checkpoint) -> PathBuf {
        self.path.join(which.file())
    }

    /// A network of the run.
    ///
    /// # Errors
    /// [`Error::NoRun`] if none was saved yet; [`sparsam::Error::Checkpoint`] if the file is damaged.
    pub fn network(&self, which: Checkpoint) -> Result<Network<f32>, Error> {
        let path = self.checkpoint_path(which);
        if !path.exists() {
            return Err(Error::NoRun { folder: self.path.clone(), missing: which.file() });
        }
        Ok(load_network(&path)?.0)
    }

    /// The sessions of the run so far, from the first; none that earlier versions trained.
    ///
    /// # Errors
    /// [`Error::Damaged`] if they cannot be read.
    pub fn history(&self) -> Result<Vec<Session>, Error> {
        read_history(&self.path)
    }

    /// The metrics so far.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the line that is none.
    pub fn metrics(&self) -> Result<Vec<Metrics>, Error> {
        let path = self.path.join(METRICS);
        let mut bytes = match file::read(&path) {
            // Training goes on without it too, and then begins it anew.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(Error::at(&path))?,
        };
        // The last line may be about to be written, or have been when the run was killed.
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        parse_metrics(&path, &bytes)
    }
}

fn read_history(folder: &Path) -> Result<Vec<Session>, Error> {
    let path = folder.join(HISTORY);
    let bytes = match file::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(Error::at(&path))?,
    };
    let wrong =
        |error| Error::damaged(&path, format!("it is no history of a run ({error}); restore or remove the file"));
    serde_json::from_slice(&bytes).map_err(wrong)
}

fn write_history(folder: &Path, history: &[Session]) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(history)
        .map_err(|error| Error::Io { path: folder.join(HISTORY), source: error.into() })?;
    replace(folder, HISTORY, format!("{text}\n").as_bytes())
}

/// What the run in a folder keeps of its task's data.
fn read_kept(folder: &Path) -> Result<Option<Value>, Error> {
    let path = folder.join(KEPT);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = file::read(&path).map_err(Error::at(&path))?;
    let wrong = |error| Error::damaged(&path, format!("it is no JSON ({error}); restore the file"));
    serde_json::from_slice(&bytes).map(Some).map_err(wrong)
}

/// Whether a run that keeps this of its task's data goes on with this task. A run that an earlier version made has no sum of
/// the data, and if that is all that there is to keep, nothing.
fn is_of(task: &dyn Task, kept: Option<Value>) -> bool {
    let mut now = task.kept();
    if kept.as_ref().is_none_or(|kept| kept.get(SUM).is_none())
        && let Some(now) = now.as_mut().and_then(Value::as_object_mut)
    {
        now.remove(SUM);
    }
    kept == now.filter(|now| now.as_object().is_none_or(|fields| !fields.is_empty()))
}

fn parse_metrics(path: &Path, bytes: &[u8]) -> Result<Vec<Metrics>, Error> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(number, line)| {
            serde_json::from_slice(line).map_err(|error| {
                Error::damaged(path, format!("line {} is no line of metrics ({error}); restore the file", number + 1))
            })
        })
        .collect()
}

/// Where a run is: what resuming takes beside the parameters and the optimiser's moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Batches trained.
    pub batch: u64,
    /// Sequences trained on, and so the number of the next one.
    pub sequences: u64,
    /// Updates of the optimiser.
    pub updates: u64,
    /// Bytes of `metrics.jsonl`.
    pub metrics_bytes: u64,
    /// The best network so far.
    #[serde(default)]
    pub best: Option<Best>,
    /// Where an earlier version saved the best network: its loss in an evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_loss: Option<f64>,
    /// And its level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_level: Option<usize>,
    /// How far the curriculum has come; none without one.
    #[serde(default)]
    pub curriculum: Option<Curriculum>,
    /// Seconds spent in training.
    pub seconds: f64,
    /// Batches in a row, the last ones, whose gradient was not finite.
    #[serde(default)]
    pub overflows: u64,
    /// The limit of the gradient's norm.
    #[serde(default)]
    pub clip: AdaptiveClip,
    /// What has been summed up since the last line of metrics.
    pub since: Sums,
}

/// What is summed up from one line of metrics to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sums {
    pub batches: u64,
    pub sequences: u64,
    /// Bits, classes or numbers that were wanted.
    #[serde(default)]
    pub wanted: u64,
    pub loss: f64,
    pub wrong: u64,
    /// Of reproducing inputs: the loss, and how many bits or classes were to be reproduced.
    #[serde(default)]
    pub refreshing_loss: f64,
    #[serde(default)]
    pub wanted_again: u64,
    /// Of the batches whose gradient was finite.
    pub gradient_norm: f64,
    /// The other batches.
    #[serde(default)]
    pub overflows: u64,
    /// Batches whose gradient was scaled down.
    #[serde(default)]
    pub clipped: u64,
    pub seconds: f64,
}

/// A folder whose run is being trained, locked against other processes.
pub(crate) struct OpenRun {
    path: PathBuf,
    metrics_file: File,
    metrics: Vec<Metrics>,
    events: tensorboard::Writer,
    /// The last one is under way.
    history: Vec<Session>,
    title: String,
    units: Units,
    /// What [`RESUME`] keeps of the configuration.
    kept_config: String,
    _lock: Option<File>,
}

/// What was read from [`RESUME`].
pub(crate) struct Resumed {
    pub network: Network<f32>,
    pub optimiser: Optimiser<f32>,
    /// The network with the running mean of the weights, if the configuration has one.
    pub average: Option<Network<f32>>,
    pub progress: Progress,
}

impl OpenRun {
    /// Makes the folder and puts a run that has not begun into it.
    pub fn create(
        path: &Path,
        config: &Config,
        task: &dyn Task,
        Resumed { network, optimiser, average, progress }: &Resumed,
    ) -> Result<Self, Error> {
        let checkpoints = path.join(CHECKPOINTS);
        before_operation(&checkpoints)?;
        fs::create_dir_all(&checkpoints).map_err(Error::at(&checkpoints))?;
        let lock = lock(path)?;
        let metrics_path = path.join(METRICS);
        let begun = fs::metadata(&metrics_path).is_ok_and(|metrics| metrics.len() > 0);
        if begun || path.join(CONFIG).exists() || path.join(Checkpoint::Best.file()).exists() {
            return Err(Error::RunExists { folder: path.to_owned() });
        }
        before_operation(&metrics_path)?;
        let metrics_file = open_metrics(&metrics_path)?;
        let kept_config = kept_config(config)?;
        save_resume(path, &kept_config, network, optimiser, average.as_ref(), progress)?;
        if let Some(kept) = task.kept() {
            replace(path, KEPT, format!("{kept}\n").as_bytes())?;
        }
        let history = vec![Session::begin(0)];
        write_history(path, &history)?;
        replace(path, CONFIG, config.to_toml()?.as_bytes())?;
        let events = begin_events(path, None, config)?;
        Ok(Self {
            path: path.to_owned(),
            metrics_file,
            metrics: Vec::new(),
            events,
            history,
            title: title(config),
            units: Units::of(task),
            kept_config,
            _lock: lock,
        })
    }

    /// Opens a run where its last checkpoint left it.
    pub fn resume(path: &Path, config: &Config, task: &dyn Task) -> Result<(Self, Resumed), Error> {
        let lock = lock(path)?;
        if !is_of(task, read_kept(path)?) {
            let reason =
                format!("the data of the task have changed since ({KEPT} is of others); put them back to go on");
            return Err(Error::data(path.display(), reason));
        }
        let resumed = load_resume(path, config, task)?;
        remove_temporary_files(path)?;

        let metrics_path = path.join(METRICS);
        let mut resumed = resumed;
        let length = resumed.progress.metrics_bytes;
        let mut bytes = match file::read(&metrics_path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && length > 0 => {
                resumed.progress.metrics_bytes = 0;
                notice::note("metrics", path, || {
                    format!("{} was not there: the run goes on without its earlier lines", metrics_path.display())
                });
                Vec::new()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(Error::at(&metrics_path))?,
        };
        let length = resumed.progress.metrics_bytes;
        if (bytes.len() as u64) < length {
            let reason = format!(
                "it has {} bytes, but had {length} when the checkpoint was saved; restore it, or remove it to go on without \
                 the lines that it had",
                bytes.len()
            );
            return Err(Error::damaged(&metrics_path, reason));
        }
        let longer = bytes.len() as u64 > length;
        bytes.truncate(length as usize);
        let metrics = parse_metrics(&metrics_path, &bytes)?;
        before_operation(&metrics_path)?;
        let metrics_file = open_metrics(&metrics_path)?;
        if longer {
            metrics_file.set_len(length).map_err(Error::at(&metrics_path))?;
        }
        // Nothing of the training follows from it.
        let mut history = match read_history(path) {
            Err(error @ Error::Damaged { .. }) => {
                let (there, kept) = (path.join(HISTORY), path.join(HISTORY).with_extension("json.old"));
                fs::rename(&there, &kept).map_err(Error::at(&there))?;
                notice::note("history", path, || format!("{error}; it begins anew, and stays as {}", kept.display()));
                Vec::new()
            }
            read => read?,
        };
        history.push(Session::begin(resumed.progress.batch));
        write_history(path, &history)?;
        let events = begin_events(path, Some(resumed.progress.batch), config)?;
        let run = Self {
            path: path.to_owned(),
            metrics_file,
            metrics,
            events,
            history,
            title: title(config),
            units: Units::of(task),
            kept_config: kept_config(config)?,
            _lock: lock,
        };
        Ok((run, resumed))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every line of metrics so far.
    pub fn metrics(&self) -> &[Metrics] {
        &self.metrics
    }

    /// Adds a line of metrics, and the same to the event file.
    pub fn add_metrics(&mut self, metrics: Metrics, progress: &mut Progress) -> Result<(), Error> {
        let path = self.path.join(METRICS);
        let line = metrics.to_json() + "\n";
        if let Err(error) = before_operation(&path) {
            // As a kill may leave it.
            let _ = self.metrics_file.write_all(&line.as_bytes()[..line.len() / 2]);
            return Err(error);
        }
        self.metrics_file.write_all(line.as_bytes()).map_err(Error::at(&path))?;
        progress.metrics_bytes += line.len() as u64;
        for (tag, value) in [
            ("loss/training", metrics.training_loss),
            ("loss/evaluation", metrics.loss),
            ("gradient_norm", metrics.gradient_norm),
            ("gradient_overflows", metrics.gradient_overflows as f64),
            ("clipped", metrics.clipped as f64),
            ("sequences_per_second", metrics.sequences_per_second),
        ] {
            self.events.scalar(metrics.batch, tag, value);
        }
        let level = metrics.level.map(|level| level as f64);
        for (tag, value) in [
            ("level", level),
            ("wrong/training", metrics.training_wrong),
            ("loss/refreshing", metrics.refreshing_loss),
            ("wrong/evaluation", metrics.wrong),
            ("loss/evaluation_error", metrics.loss_error),
            ("loss/guessing", metrics.guessing),
            ("right/evaluation", metrics.right),
            ("right/evaluation_error", metrics.right_error),
            ("learning_rate", metrics.learning_rate),
            ("gradient_limit", metrics.gradient_limit),
            ("error/mean", metrics.mean_error),
        ] {
            if let Some(value) = value {
                self.events.scalar(metrics.batch, tag, value);
            }
        }
        before_operation(self.events.path())?;
        self.events.flush()?;
        self.metrics.push(metrics);
        Ok(())
    }

    /// Keeps the network, trained for so many batches, as the best so far.
    pub fn save_best(&self, network: &Network<f32>, batch: u64) -> Result<(), Error> {
        save_network(&self.path, Checkpoint::Best, network, batch)
    }

    /// Saves all that resuming takes, the network for others to read, and the curve.
    pub fn save(
        &mut self,
        network: &Network<f32>,
        optimiser: &Optimiser<f32>,
        average: Option<&Network<f32>>,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let metrics_path = self.path.join(METRICS);
        before_operation(&metrics_path)?;
        self.restore_metrics(progress)?;
        file::sync(&self.metrics_file, &metrics_path).map_err(Error::at(&metrics_path))?;
        self.events.sync()?;
        save_resume(&self.path, &self.kept_config, network, optimiser, average, progress)?;
        save_network(&self.path, Checkpoint::Newest, average.unwrap_or(network), progress.batch)?;
        let curve = draw_curve(&self.metrics, &self.title, self.units);
        replace(&self.path, CURVE, curve.as_bytes())?;
        if let Some(session) = self.history.last_mut() {
            if session.to != Some(progress.batch) {
                session.outcome = None;
            }
            (session.saved, session.to) = (Some(now()), Some(progress.batch));
        }
        write_history(&self.path, &self.history)
    }

    /// Keeps how the session ended; `well` if nothing is left to train.
    pub fn end(&mut self, outcome: &str, well: bool) -> Result<(), Error> {
        if let Some(session) = self.history.last_mut() {
            session.outcome = Some(outcome.to_owned());
        }
        write_history(&self.path, &self.history)?;
        if well {
            self.events.end();
            before_operation(self.events.path())?;
            self.events.flush()?;
        }
        Ok(())
    }

    /// Puts another configuration in the place of the run's.
    pub fn replace_config(&self, config: &Config) -> Result<(), Error> {
        replace(&self.path, CONFIG, config.to_toml()?.as_bytes())
    }

    /// Writes the metrics once more if their file was removed or cut off: without it, what is saved could not be resumed as
    /// it was.
    fn restore_metrics(&mut self, progress: &mut Progress) -> Result<(), Error> {
        let path = self.path.join(METRICS);
        let (there, open) = (fs::metadata(&path), self.metrics_file.metadata().map_err(Error::at(&path))?);
        if there.is_ok_and(|there| is_same(&there, &open) && there.len() >= progress.metrics_bytes) {
            return Ok(());
        }
        let lines: String = self.metrics.iter().map(|line| line.to_json() + "\n").collect();
        replace(&self.path, METRICS, lines.as_bytes())?;
        self.metrics_file = open_metrics(&path)?;
        progress.metrics_bytes = lines.len() as u64;
        notice::note("metrics restored", &self.path, || {
            format!("{} was removed or changed while the run was trained, and was written once more", path.display())
        });
        Ok(())
    }
}

/// Checks that a folder holds no run, or one of the same configuration and data that [`RunFolder::write`] made.
fn check_replaceable(folder: &Path, config: &Config, task: &dyn Task) -> Result<(), Error> {
    let there = folder.join(CONFIG);
    let is_same = || {
        let config_is = kept_config(&Config::read_kept(&there)?)? == kept_config(config)?;
        Ok::<_, Error>(config_is && is_of(task, read_kept(folder)?))
    };
    let is_trained = [RESUME, METRICS, Checkpoint::Best.file()].iter().any(|file| folder.join(file).exists());
    if is_trained || (there.exists() && !is_same()?) {
        return Err(Error::RunExists { folder: folder.to_owned() });
    }
    Ok(())
}

fn save_network(folder: &Path, which: Checkpoint, network: &Network<f32>, batch: u64) -> Result<(), Error> {
    let path = folder.join(which.file());
    before_operation(&path)?;
    let metadata = [(BATCH.to_owned(), batch.to_string())].into_iter().collect();
    Ok(checkpoint::save(&path, network, &Extra { metadata, ..Extra::default() })?)
}

/// A new event file that says which configuration this is.
fn begin_events(folder: &Path, resumed_at: Option<u64>, config: &Config) -> Result<tensorboard::Writer, Error> {
    before_operation(&folder.join("events"))?;
    let mut events = tensorboard::Writer::create(folder, resumed_at)?;
    events.hyperparameters(config)?;
    events.flush()?;
    Ok(events)
}

/// Opens the metrics to add lines. A named pipe would be waited for.
fn open_metrics(path: &Path) -> Result<File, Error> {
    #[cfg(unix)]
    if let Ok(about) = fs::metadata(path)
        && std::os::unix::fs::FileTypeExt::is_fifo(&about.file_type())
    {
        return Err(Error::at(path)(io::Error::new(io::ErrorKind::InvalidInput, file::not_a_file(&about))));
    }
    OpenOptions::new().append(true).create(true).open(path).map_err(Error::at(path))
}

/// Whether both are of one file.
#[cfg(unix)]
fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

fn title(config: &Config) -> String {
    format!("{} with {}", config.task.name(), config.network.memory.name())
}

/// The configuration as [`RESUME`] keeps it: without what a run that has begun may change, which is how it ends.
fn kept_config(config: &Config) -> Result<String, Error> {
    let lines = config.to_toml()?;
    // Fields come before tables, so that a line is of these and no others.
    let changes = |line: &str| {
        ["batches = ", "cooldown = ", "until = ", "patience = "].iter().any(|field| line.starts_with(field))
    };
    Ok(lines.lines().filter(|line| !changes(line)).map(|line| format!("{line}\n")).collect())
}

/// Checks that a run still has the configuration that it was trained with: with another it would go on as no
/// configuration alone could start it.
fn check_config(folder: &Path, kept: &str, config: &Config) -> Result<(), Error> {
    let path = folder.join(RESUME);
    let mut kept = Config::from_kept_toml(kept, KEPT_CONFIG).map_err(|error| {
        Error::damaged(&path, format!("its configuration cannot be read ({error}); restore the file"))
    })?;
    (kept.batches, kept.cooldown) = (config.batches, config.cooldown);
    (kept.until, kept.patience) = (config.until, config.patience);
    let Some((field, now, before)) = config.difference(&kept)? else {
        return Ok(());
    };
    let reason = format!(
        "{field} is {now}, but the run was trained with {before}; only batches, cooldown, until and patience can change: put {before} back \
         to go on, or start another run with this configuration"
    );
    Err(Error::Config { source_name: folder.join(CONFIG).display().to_string(), reason })
}

fn save_resume(
    folder: &Path,
    kept_config: &str,
    network: &Network<f32>,
    optimiser: &Optimiser<f32>,
    average: Option<&Network<f32>>,
    progress: &Progress,
) -> Result<(), Error> {
    let path = folder.join(RESUME);
    let mut extra = Extra::default();
    let json =
        serde_json::to_string(progress).map_err(|error| Error::Io { path: path.clone(), source: error.into() })?;
    extra.metadata.insert(PROGRESS.into(), json);
    extra.metadata.insert(KEPT_CONFIG.into(), kept_config.to_owned());
    for (name, values) in optimiser.moments().into_iter().filter(|(_, values)| !values.is_empty()) {
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            let what = format!("the optimiser's {name}");
            return Err(sparsam::Error::NotFinite { what, value: f64::from(*value) }.into());
        }
        extra.tensors.push((format!("{MOMENTS}{name}"), values.to_vec()));
    }
    if let Some(average) = average {
        average.parameters().check_finite("the running mean of the parameter")?;
        extra.tensors.push((AVERAGE.into(), average.parameters().values().to_vec()));
    }
    before_operation(&path)?;
    Ok(checkpoint::save(&path, network, &extra)?)
}

fn load_resume(folder: &Path, config: &Config, task: &dyn Task) -> Result<Resumed, Error> {
    let path = folder.join(RESUME);
    if !path.exists() {
        return Err(Error::NoRun { folder: folder.to_owned(), missing: RESUME });
    }
    let (network, extra) = checkpoint::load_with_extra::<f32>(&path)?;
    // A run that an earlier version saved has none.
    if let Some(kept) = extra.metadata.get(KEPT_CONFIG) {
        check_config(folder, kept, config)?;
    }
    let expected = config.network_config(task);
    if *network.config() != expected {
        let reason = format!(
            "it holds {:?}, but {CONFIG} asks for {expected:?}; restore {CONFIG}, or start another run",
            network.config()
        );
        return Err(Error::damaged(&path, reason));
    }
    let Some(progress) = extra.metadata.get(PROGRESS) else {
        return Err(Error::damaged(&path, format!("{PROGRESS} is missing from its metadata; restore the file")));
    };
    let progress: Progress = serde_json::from_str(progress)
        .map_err(|error| Error::damaged(&path, format!("its {PROGRESS} cannot be read ({error}); restore the file")))?;
    let plausible = [progress.batch, progress.sequences, progress.updates, progress.since.sequences];
    if plausible.into_iter().any(|count| count > i64::MAX as u64) {
        return Err(Error::damaged(&path, format!("its {PROGRESS} counts beyond all bounds; restore the file")));
    }
    let levels = config.levels(task)?;
    let fits = |curriculum: &Curriculum| config.curriculum.on && levels.contains(&curriculum.level);
    if !progress.curriculum.as_ref().map_or(!config.curriculum.on, fits) {
        let reason = format!("its {PROGRESS} does not fit the curriculum of {CONFIG}; restore the file");
        return Err(Error::damaged(&path, reason));
    }
    let mut optimiser = Optimiser::new(config.optimiser, network.parameters().values().len())?;
    let tensor =
        |name: &str| extra.tensors.iter().find(|(other, _)| other == name).map_or(&[][..], |(_, values)| values);
    let moments = optimiser.moments().map(|(name, _)| tensor(&format!("{MOMENTS}{name}")));
    optimiser.restore(progress.updates, moments).map_err(|error| {
        let reason =
            format!("its optimiser is not the one of {CONFIG} ({error}); restore {CONFIG}, or start another run");
        Error::damaged(&path, reason)
    })?;
    let mut average = (config.average_decay > 0.0).then(|| network.clone());
    if let Some(average) = &mut average {
        let (values, kept) = (average.parameters_mut().values_mut(), tensor(AVERAGE));
        if kept.len() != values.len() {
            let reason = format!(
                "its running mean of the parameters has {} numbers, not {}; restore the file",
                kept.len(),
                values.len()
            );
            return Err(Error::damaged(&path, reason));
        }
        values.copy_from_slice(kept);
    }
    Ok(Resumed { network, optimiser, average, progress })
}

/// Locks a folder for this process, until the file is closed. Some file systems have no locks: training there is still
/// better than not training, so that only a lock that somebody else has is an error.
fn lock(folder: &Path) -> Result<Option<File>, Error> {
    let path = folder.join(LOCK);
    before_operation(&path)?;
    let no_lock = |error: io::Error| {
        notice::note("lock", folder, || {
            format!(
                "{} cannot be locked ({error}): nothing keeps another process from training in it meanwhile",
                folder.display()
            )
        });
        Ok(None)
    };
    let file = match OpenOptions::new().write(true).create(true).truncate(false).open(&path) {
        Ok(file) => file,
        // There is no folder to lock, or no room in it.
        Err(error) if is_of_folder(&error) => return Err(Error::at(&path)(error)),
        Err(error) => return no_lock(error),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => no_lock(error),
    }
}

/// Whether an error would meet every file of a folder.
fn is_of_folder(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        NotADirectory | NotFound | PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull
    )
}

/// Puts a file in the place of any older one, at once.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = folder.join(name);
    before_operation(&path)?;
    file::replace(&path, bytes).map_err(Error::at(&path))
}

/// Removes what a kill may have left of files that were being written.
fn remove_temporary_files(folder: &Path) -> Result<(), Error> {
    for folder in [folder.to_owned(), folder.join(CHECKPOINTS)] {
        for entry in fs::read_dir(&folder).map_err(Error::at(&folder))? {
            let entry = entry.map_err(Error::at(&folder))?;
            if file::is_temporary(&entry.file_name()) {
                fs::remove_file(entry.path()).map_err(Error::at(&entry.path()))?;
            }
        }
    }
    Ok(())
}

/// Stands before every change to a file; tests let it fail, as if the process had been killed there.
#[cfg(not(test))]
fn before_operation(_: &Path) -> Result<(), Error> {
    Ok(())
}

#[cfg(test)]
use tests::before_operation;

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Lets this thread take `count` more file operations and fails every one after them; `None` lets it take all.
    pub fn allow_operations(count: Option<u64>) {
        LEFT.set(count);
    }

    pub fn before_operation(path: &Path) -> Result<(), Error> {
        match LEFT.get() {
            Some(0) => Err(Error::at(path)(io::Error::other("killed here by a test"))),
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }
}
