//! The tasks of the command `sparsam`: their sequences as arrays, and the folder of a run.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use numpy::PyUntypedArrayMethods;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use serde_json::{Map, Value, json};
use sparsam::internal::available_if_fewer_than;
use sparsam::memory::sam;
use sparsam::option::{Declared, Value as OptionValue};
use sparsam::{Model, Network, NetworkConfig, Parameters};
use sparsam_train::{Config, Error, Guess, Per, RunFolder, Sampler, Stream, Target, TargetKind, TaskConfig, Units};

use crate::array::{expect_shape, give, numbers, read};
use crate::failure::{exception, warn};

/// PyTorch's class of a target that does not count.
const NO_CLASS: i64 = -100;

/// The exception for an error of training.
fn training_exception(error: Error) -> PyErr {
    match error {
        Error::Library(error) => exception(error),
        Error::Io { .. } | Error::Locked { .. } => PyOSError::new_err(error.to_string()),
        error => PyValueError::new_err(error.to_string()),
    }
}

/// Sets options by their fields' names. Python has checked their types.
fn set_options(config: &mut dyn Declared, options: &Map<String, Value>) -> PyResult<()> {
    for (name, value) in options {
        let told = match value {
            Value::Bool(on) => Some(OptionValue::Switch(*on)),
            Value::String(text) => Some(OptionValue::Text(text.clone())),
            Value::Number(number) if number.is_f64() => number.as_f64().map(OptionValue::Number),
            Value::Number(number) => number.as_u64().map(OptionValue::Whole),
            _ => None,
        };
        if !told.is_some_and(|told| config.set_option(name, &told)) {
            return Err(PyValueError::new_err(format!("{name} = {value} is no option, or no value of it")));
        }
    }
    Ok(())
}

fn parse(options: &str) -> PyResult<Map<String, Value>> {
    serde_json::from_str(options).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn stream_by_name(name: &str) -> PyResult<Stream> {
    match name {
        "training" => Ok(Stream::Training),
        "validation" => Ok(Stream::Validation),
        "evaluation" => Ok(Stream::Evaluation),
        _ => {
            let expected = "where 'training', 'validation' or 'evaluation' was expected";
            Err(PyValueError::new_err(format!("stream is {name:?}, {expected}")))
        }
    }
}

/// The first and the last level, the task's where none is given.
fn levels(task: &dyn sparsam_train::Task, level: Option<(usize, usize)>) -> Result<RangeInclusive<usize>, Error> {
    let levels = level.map_or_else(|| task.default_levels(), |(first, last)| first..=last);
    task.check_levels(&levels)?;
    Ok(levels)
}

/// Checks that there is room for a batch: as sequences, side by side, and as arrays. An allocation that fails would end the
/// interpreter.
fn check_room(task: &dyn sparsam_train::Task, level: usize, rows: usize) -> Result<(), Error> {
    let numbers = |count: usize| size_of::<f32>() * count;
    let (inputs, outputs) = (numbers(task.input_size()), numbers(task.output_size()));
    let input_array = if task.vocabulary_size() > 0 { task.input_size() * size_of::<i64>() } else { inputs };
    let (targets, target_array) = match task.target_kind() {
        TargetKind::Classes => (size_of::<Option<usize>>(), size_of::<i64>()),
        TargetKind::Bits | TargetKind::Numbers => (size_of::<bool>() + outputs, outputs),
    };
    // A sequence keeps the category of each answer too.
    let place = 2 * (inputs + targets) + size_of::<(u32, bool)>() + input_array + target_array;
    let bytes = task.steps(level) as u128 * rows as u128 * place as u128;
    let no_room = |available| Err(sparsam::Error::NoRoom { what: "the batch", bytes, available }.into());
    available_if_fewer_than(bytes).map_or(Ok(()), no_room)
}

/// A task of the command, with the seed that its sequences follow from.
#[pyclass(frozen, module = "sparsam._core")]
pub struct Task {
    config: TaskConfig,
    task: Box<dyn sparsam_train::Task>,
    seed: u64,
}

#[pymethods]
impl Task {
    /// `options` are those of the task that are not to have their defaults, as JSON.
    #[new]
    fn new(py: Python<'_>, name: &str, options: &str, seed: u64) -> PyResult<Self> {
        let found = TaskConfig::by_name(name).filter(|_| TaskConfig::NAMES.contains(&name));
        let mut config = found.ok_or_else(|| {
            let names = TaskConfig::NAMES.join(", ");
            PyValueError::new_err(format!("task is {name:?}, where one of {names} was expected"))
        })?;
        set_options(&mut config, &parse(options)?)?;
        let task = py.detach(|| config.check().and_then(|()| config.build())).map_err(training_exception)?;
        warn(py)?;
        Ok(Self { config, task, seed })
    }

    /// What is known of the task, as JSON.
    fn about(&self) -> String {
        let task = &*self.task;
        let (levels, possible) = (task.default_levels(), task.possible_levels());
        let per = match task.per() {
            Per::Sequence => "sequence",
            Per::Target(target) => target,
        };
        let names = task.channel_names();
        json!({
            "input_size": task.input_size(),
            "output_size": task.output_size(),
            "vocabulary_size": task.vocabulary_size(),
            "sentence_size": task.sentence_size(),
            "kind": task.target_kind().unit(),
            "per": per,
            "unit": Units::of(task).loss(),
            "scale": task.target_kind().scale(),
            "level_unit": task.level_unit(),
            "levels": [levels.start(), levels.end()],
            "possible_levels": [possible.start(), possible.end()],
            "evaluation_sequences": task.evaluation_sequences(),
            "input_names": names.inputs,
            "output_names": names.outputs,
        })
        .to_string()
    }

    /// The sequences of these numbers in a stream, side by side.
    #[pyo3(signature = (numbers, stream, level))]
    fn sequences(
        &self,
        py: Python<'_>,
        numbers: Vec<u64>,
        stream: &str,
        level: Option<(usize, usize)>,
    ) -> PyResult<Batch> {
        let stream = stream_by_name(stream)?;
        let task = &*self.task;
        let make = || {
            let levels = levels(task, level)?;
            task.check_batch(&levels, numbers.len())?;
            check_room(task, *levels.end(), numbers.len())?;
            let mut sampler = Sampler::new(task, numbers.len());
            sampler.sample(task, &levels, self.seed, stream, numbers.iter().copied());
            Ok(sampler.into_batch())
        };
        let batch = py.detach(make).map_err(training_exception)?;
        Ok(Batch {
            batch,
            sizes: [task.input_size(), task.output_size()],
            kind: task.target_kind(),
            tokens: task.vocabulary_size() > 0,
            sentences: task.sentence_size() > 0,
            per: task.per(),
            guess: task.guess(),
        })
    }

    /// Bits, classes or numbers wanted in all the sequences of these numbers, which are made one at a time.
    #[pyo3(signature = (numbers, stream, level))]
    fn wanted(&self, py: Python<'_>, numbers: Vec<u64>, stream: &str, level: Option<(usize, usize)>) -> PyResult<u64> {
        let stream = stream_by_name(stream)?;
        let task = &*self.task;
        let count = || {
            let levels = levels(task, level)?;
            task.check_batch(&levels, 1)?;
            check_room(task, *levels.end(), 1)?;
            let mut sampler = Sampler::new(task, 1);
            let wanted = |number| sampler.sample(task, &levels, self.seed, stream, [number]).wanted();
            Ok(numbers.into_iter().map(wanted).sum())
        };
        py.detach(count).map_err(training_exception)
    }

    /// The bound of the first weights of inputs that the command chooses for the task; of tokens for embeddings of this size.
    fn input_bound(&self, embedding_size: usize) -> PyResult<f64> {
        // The bound does not depend on the model.
        let mut config = Config::default_for(self.config.clone(), Model::Sam(sam::Config::default()));
        (config.seed, config.network.embedding_size) = (self.seed, embedding_size.max(1));
        config.input_bound(&*self.task).map_err(training_exception)
    }

    /// Writes the folder of a run: see [`RunFolder::write`]. `configuration` is the network's, `values` its parameters, tensor
    /// after tensor, and `options` are those of training, as JSON.
    fn save_run(
        &self,
        py: Python<'_>,
        folder: PathBuf,
        configuration: &str,
        values: Bound<'_, PyAny>,
        batch: u64,
        options: &str,
    ) -> PyResult<()> {
        let network: NetworkConfig =
            serde_json::from_str(configuration).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let mut config = Config::default_for(self.config.clone(), network.memory.clone());
        config.seed = self.seed;
        // What a loop of one's own does about these is not known.
        (config.cooldown, config.until) = (0, 0.0);
        config.network.hidden_size = network.hidden_size;
        config.network.controller = network.controller;
        if network.vocabulary_size > 0 {
            config.network.embedding_size = network.input_size;
        }
        let (of_optimiser, of_training) =
            parse(options)?.into_iter().partition(|(name, _)| config.optimiser.option(name).is_some());
        set_options(&mut config.optimiser, &of_optimiser)?;
        set_options(&mut config, &of_training)?;

        let values = read::<f32>("values", &values)?;
        let mut parameters = Parameters::zeros(network.tensors());
        expect_shape("values", values.shape(), &[parameters.values().len()], "the sizes of the network")?;
        parameters.values_mut().copy_from_slice(numbers(&values)?);
        let network = Network::from_parameters(network, parameters).map_err(exception)?;
        py.detach(|| RunFolder::write(&folder, &config, &*self.task, &network, batch)).map_err(training_exception)?;
        warn(py)
    }
}

/// Sequences side by side.
#[pyclass(frozen, module = "sparsam._core")]
pub struct Batch {
    batch: sparsam_train::Batch,
    sizes: [usize; 2],
    kind: TargetKind,
    tokens: bool,
    sentences: bool,
    per: Per,
    guess: Guess,
}

impl Batch {
    /// What the loss of the batch is divided by to be told.
    fn count(&self) -> u64 {
        match self.per {
            Per::Sequence => self.batch.rows() as u64,
            Per::Target(_) => self.batch.wanted(),
        }
    }
}

#[pymethods]
impl Batch {
    /// Inputs, (T, B, I); tokens, (T, B); sentences of them, (T, B, J), with -1 where there is none.
    fn inputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (steps, rows, inputs) = (self.batch.steps(), self.batch.rows(), self.batch.inputs());
        if self.tokens {
            let tokens = inputs.iter().map(|token| *token as i64).collect();
            let shape = [steps, rows, self.sizes[0]];
            return Ok(give(py, tokens, if self.sentences { &shape } else { &shape[..2] })?.into_any());
        }
        Ok(give(py, inputs.to_vec(), &[steps, rows, self.sizes[0]])?.into_any())
    }

    /// The length of each sequence.
    fn lengths<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let lengths: Vec<i64> = self.batch.lengths().iter().map(|length| *length as i64).collect();
        Ok(give(py, lengths, &[self.batch.rows()])?.into_any())
    }

    /// Bits or numbers, (T, B, O), NaN where none is wanted; or classes, (T, B), -100 where none is.
    fn targets<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (steps, rows, width) = (self.batch.steps(), self.batch.rows(), self.sizes[1]);
        let targets = (0..steps).flat_map(|step| (0..rows).map(move |row| self.batch.target(step, row)));
        if self.kind == TargetKind::Classes {
            let class = |target| if let Some(Target::Class(class)) = target { class as i64 } else { NO_CLASS };
            return Ok(give(py, targets.map(class).collect(), &[steps, rows])?.into_any());
        }
        let mut values = vec![f32::NAN; steps * rows * width];
        for (place, target) in values.chunks_exact_mut(width).zip(targets) {
            if let Some(Target::Bits(vector) | Target::Numbers(vector)) = target {
                place.copy_from_slice(vector);
            }
        }
        Ok(give(py, values, &[steps, rows, width])?.into_any())
    }

    /// Bits, classes or numbers wanted; what the loss is divided by; and the loss of guessing, summed, as it is told.
    fn wanted(&self) -> (u64, u64, f64) {
        (self.batch.wanted(), self.count(), self.batch.guessed(&self.guess))
    }

    /// The loss of `outputs`, (T, B, O), as it is told; how many are wrong in all; and the gradient of the mean loss in nats, or
    /// in the squared unit of numbers.
    fn score<'py>(&self, py: Python<'py>, outputs: Bound<'py, PyAny>) -> PyResult<(f64, u64, Bound<'py, PyAny>)> {
        let outputs = read::<f32>("outputs", &outputs)?;
        let shape = [self.batch.steps(), self.batch.rows(), self.sizes[1]];
        expect_shape("outputs", outputs.shape(), &shape, "time steps, sequences, numbers of an output")?;
        let (outputs, count) = (numbers(&outputs)?, self.count().max(1));
        let (loss, wrong, gradient) = py
            .detach(|| {
                let mut gradient = vec![0.0; outputs.len()];
                let loss = self.batch.loss(outputs, 1.0 / count as f32, &mut gradient)?;
                Ok((loss * self.kind.scale() / count as f64, self.batch.wrong(outputs), gradient))
            })
            .map_err(exception)?;
        Ok((loss, wrong, give(py, gradient, &shape)?.into_any()))
    }
}
