//! The configuration of a run: everything that decides its result.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sparsam::network::InitialValues;
use sparsam::nn::optimiser::OptimiserConfig;
use sparsam::option::{Declared, Value as OptionValue};
use sparsam::{ControllerKind, Model, NetworkConfig};
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use crate::sequence::Per;
use crate::task::Task;
use crate::{CurriculumConfig, Error, TaskConfig};

sparsam::options! {
    /// The configuration of a run. In TOML every field may be left out and takes its default.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Config(task: TaskConfig, model: Model) {
        /// Decides the first weights and every sequence.
        pub seed: u64 = 1;
        /// Start from the weights of this run, the best it had, or of this checkpoint of a run, rather than from new ones.
        ///
        /// Training is otherwise a new one. The networks have to be alike but for the size of the memory and options that change no
        /// weights; words keep the numbers that they had in that run.
        #[serde(default)]
        pub start_from: String = String::new();
        /// Sequences in a batch.
        pub batch_size: usize = 8, in 1..;
        /// Batches to train.
        pub batches: u64 = task.default_batches(), in 1..;
        /// The last batches, over which the learning rate falls to 0; a quarter of them unless told.
        ///
        /// It falls in a straight line (ours): what steps of full size keep from settling does then.
        pub cooldown: u64 = batches / COOLDOWN_PART;
        /// End once two evaluations in a row show at most X wrong outputs in a sequence; 0: never before the last batch.
        ///
        /// With a curriculum training ends only at its last level.
        pub until: f64 = task.default_until(), in 0.0..=1e12;
        /// End once N evaluations in a row show no lower loss than the lowest before; 0: never before the last batch.
        ///
        /// With a curriculum those of one level are compared.
        #[serde(default)]
        pub patience: u64 = 0;
        /// Largest norm of a gradient.
        ///
        /// A larger gradient (of the batch's mean loss) is scaled down to it.
        pub clip_norm: f64 = 10.0, in (Bound::Excluded(0.0), Bound::Unbounded);
        /// Largest norm of a gradient in running means of the norm, at least 1; 0: the fixed limit alone.
        ///
        /// The mean is the geometric one of [`AdaptiveClip`](sparsam::nn::clip::AdaptiveClip).
        pub clip_factor: f64 = 3.0, in 0.0..=1e6;
        /// Evaluate and keep a running mean of the weights with this decay a batch; 0: the weights themselves.
        ///
        /// The mean is that of [`add_to_average`](sparsam::nn::average::add_to_average); training goes on from the weights.
        #[serde(default)]
        pub average_decay: f64 = 0.0, in 0.0..=0.9999;
        /// Leave out each hidden unit with this probability where it reaches the output beside what was read.
        ///
        /// That is [bypass dropout](sparsam::Sequences::with_bypass_dropout), in training alone.
        #[serde(default)]
        pub bypass_dropout: f64 = 0.0, in 0.0..=0.99;
        /// Ask the output to reproduce the input as well, at each step of a story or list with this probability.
        ///
        /// That is the memory refreshing loss (Park, Choi and Lee 2021, "Distributed associative memory network with memory
        /// refreshing loss", arXiv:2007.10637), in training alone: at steps that are drawn anew for every sequence, the output layer
        /// is to say what comes in, with the loss that the task's targets have. All such steps of a batch together weigh as much as
        /// the task's targets, but none of them more than a target: few weigh less.
        ///
        /// Reproducing inputs at random steps, and balancing the two losses by their numbers, are the paper's. Which steps can be
        /// drawn is ours: those that have no target, belong to no question and are no filler, and of these the inputs that the
        /// output layer can say in the words or bits that the task wants of it. Of `mqar` that is the values of the pairs, of `sort`
        /// the vectors without their priorities, of `babi` all words but full stops. Losses and wrong outputs that are told, limits
        /// of a curriculum and evaluations are those of the task.
        #[serde(default)]
        pub refreshing_probability: f64 = 0.0, in 0.0..=1.0;
        /// Batches between evaluations.
        pub evaluate_every: u64 = task.default_evaluate_every(), in 1..;
        /// Sequences in an evaluation.
        pub evaluation_sequences: u64 = task.default_evaluation_sequences(), in 1..;
        /// Batches between checkpoints.
        pub checkpoint_every: u64 = 500, in 1..;
    }
    with {
        /// The task and its options.
        pub task: TaskConfig = task;
        /// The network.
        pub network: NetworkOptions = NetworkOptions::defaults(model);
        /// The optimiser and its options.
        pub optimiser: OptimiserConfig = OptimiserConfig::adam(1e-3);
        /// How levels are drawn.
        pub curriculum: CurriculumConfig =
            CurriculumConfig { threshold: task.default_threshold(), ..CurriculumConfig::default() };
    }
}

sparsam::options! {
    /// The sizes of a network that its task leaves open.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct NetworkOptions(model: Model) {
        /// Hidden units of the controller, H.
        pub hidden_size: usize = 100, in 1..=1 << 24;
        /// The recurrent cell that drives the memory; alone with the model lstm.
        ///
        /// Configurations that do not say theirs have an LSTM.
        #[serde(default)]
        pub controller: ControllerKind = ControllerKind::default();
        /// Numbers that stand for a token, where inputs are tokens.
        #[serde(default = "embedding_size")]
        pub embedding_size: usize = embedding_size(), in 1..=1 << 24;
        /// First values by what a parameter is for, or every weight within ±1/√fan_in.
        pub initial_values: InitialValues = InitialValues::default();
        /// First weights of the inputs lie in ± this; 0: by what suits the task's inputs.
        ///
        /// That is ±2 divided by the root mean square of the lengths of the first sequences' inputs, or by half of it if they
        /// are one-hot or tokens.
        pub input_bound: f64 = 0.0, in 0.0..=1e3;
        /// The controller sees what the step before read; false: it does not, its weights for that are kept at 0 (ours).
        ///
        /// What is read of a memory that fills differs from what was read while it was small, and so, with feedback, do the
        /// hidden units, and what they write. Without feedback what was read reaches the output alone; where it was read may
        /// still decide where is written. docs/results.md has figures for lists and pairs; on stories, where one fact leads to
        /// another, it was not tried.
        #[serde(default = "feedback")]
        pub feedback: bool = feedback();
    }
    with {
        /// The model: which memory, and its configuration.
        pub memory: Model = model;
    }
}

/// The learning rate falls over one in so many of a run's batches, the last ones, unless told otherwise.
const COOLDOWN_PART: u64 = 4;

/// Numbers in an embedding unless told otherwise.
fn embedding_size() -> usize {
    64
}

/// Configurations that do not say so have it.
fn feedback() -> bool {
    true
}

/// The largest whole number that TOML can write.
const LARGEST: u64 = i64::MAX as u64;

impl Config {
    /// The settings that were found to suit the task (docs/recipes.md): 100 hidden units and batches of 8 as in the paper, Adam
    /// at 10⁻³, the gradient's norm limited to three times its running mean and to 10, and a learning rate that falls to 0
    /// over the last quarter of the batches. [`build`](TaskConfig::build) says whether the task's options fit.
    pub fn default_for(task: TaskConfig, model: Model) -> Self {
        Self::defaults(task, model)
    }

    /// The settings of Rae et al. 2016 as far as they are told, to compare with: RMSProp (at 10⁻⁴, where theirs was 10⁻⁵), a
    /// fixed limit of the gradient's norm, weights that are all drawn alike, a learning rate that stays, and all batches.
    pub fn paper_for(task: TaskConfig, model: Model) -> Self {
        let mut config = Self::default_for(task, model);
        config.optimiser = OptimiserConfig::rms_prop(1e-4);
        (config.clip_factor, config.cooldown, config.until) = (0.0, 0, 0.0);
        config.network.initial_values = InitialValues::Uniform;
        config
    }

    /// Reads a configuration from a file. `task` and `model`, if given, say which ones it is for; it must not say
    /// otherwise. What it leaves out takes its default; a model that nobody names is `sam`.
    ///
    /// # Errors
    /// [`Error::Io`]; otherwise as [`from_toml`](Self::from_toml).
    pub fn read(path: &Path, task: Option<&str>, model: Option<&str>) -> Result<Self, Error> {
        let (text, name) = read_text(path)?;
        Self::from_toml(&text, &name, task, model)
    }

    /// Reads the configuration that a run keeps. Nothing was left out of it when the run began: a field that it lacks came
    /// with a later version, and has the value with which the run goes on as before.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn read_kept(path: &Path) -> Result<Self, Error> {
        let (text, name) = read_text(path)?;
        Self::from_kept_toml(&text, &name)
    }

    /// [`read_kept`](Self::read_kept) of TOML.
    ///
    /// # Errors
    /// As [`from_toml`](Self::from_toml).
    pub(crate) fn from_kept_toml(text: &str, source_name: &str) -> Result<Self, Error> {
        Self::parse(text, source_name, None, None, |base| (base.clip_factor, base.until) = (0.0, 0.0))
    }

    /// Reads a configuration from TOML; `source_name` is what errors call the text. For the rest see
    /// [`read`](Self::read).
    ///
    /// # Errors
    /// [`Error::Config`] if it cannot be understood or names something that does not exist; otherwise as
    /// [`validate`](Self::validate).
    pub fn from_toml(text: &str, source_name: &str, task: Option<&str>, model: Option<&str>) -> Result<Self, Error> {
        Self::parse(text, source_name, task, model, |_| ())
    }

    /// [`from_toml`](Self::from_toml), with what is left out as `defaults` changes it.
    fn parse(
        text: &str,
        source_name: &str,
        task: Option<&str>,
        model: Option<&str>,
        defaults: fn(&mut Self),
    ) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Config { source_name: source_name.to_owned(), reason };
        let given: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| line_at(text, span.start));
            wrong(format!("line {line}: {}", sentence(error.message())))
        })?;
        let misfit = |Misfit { place, reason }: Misfit| match line_of(text, &place) {
            Some(line) => wrong(format!("{reason} (line {line})")),
            None => wrong(reason),
        };

        let in_file = named(&given, &["task", "name"]).map_err(misfit)?;
        let task = choose("task", in_file, task).map_err(wrong)?.ok_or_else(|| {
            wrong(format!("it names no task; add name under [task], one of {}", TaskConfig::NAMES.join(", ")))
        })?;
        let Some(task) = TaskConfig::by_name(task) else {
            let names = TaskConfig::NAMES.join(", ");
            return Err(wrong(format!("there is no task {task:?}; choose one of {names}")));
        };
        let in_file = named(&given, &["network", "memory", "model"]).map_err(misfit)?;
        let model = choose("model", in_file, model).map_err(wrong)?.unwrap_or("sam");
        let Some(model) = Model::by_name(model) else {
            let names = Model::NAMES.join(", ");
            return Err(wrong(format!("there is no model {model:?}; choose one of {names}")));
        };
        let mut base = Self::default_for(task, model);
        let optimiser = named(&given, &["optimiser", "kind"]).map_err(misfit)?;
        if let Some(optimiser) = optimiser.and_then(OptimiserConfig::by_name) {
            base.optimiser = optimiser;
        }
        if let Some(batches) = given.get("batches").and_then(Value::as_integer) {
            base.cooldown = batches.max(0) as u64 / COOLDOWN_PART;
        }
        defaults(&mut base);

        let mut merged = Table::try_from(&base).map_err(|error| wrong(error.to_string()))?;
        // Before anything is deserialised: what serde says of a misfit names types of Rust, and some variants of an
        // enumeration take no options and would pass over those that are given.
        check_kinds(&given, &merged, &[]).map_err(misfit)?;
        overlay(&mut merged, &given);
        let config: Self = merged.try_into().map_err(|error: toml::de::Error| wrong(choice(error.message())))?;
        config.validate()?;
        Ok(config)
    }

    /// The configuration as TOML, with nothing left out.
    ///
    /// # Errors
    /// [`Error::Option`] names a field that TOML cannot write.
    pub fn to_toml(&self) -> Result<String, Error> {
        self.validate()?;
        toml::to_string(self).map_err(|error| Error::Config {
            source_name: "the configuration".into(),
            reason: sentence(&error.to_string()),
        })
    }

    /// The first field that differs from the other configuration's, and both values as TOML writes them.
    ///
    /// # Errors
    /// [`Error::Config`] if TOML cannot write one of them.
    pub fn difference(&self, other: &Self) -> Result<Option<(String, String, String)>, Error> {
        Ok(first_difference(&self.table()?, &other.table()?))
    }

    fn table(&self) -> Result<Table, Error> {
        let wrong = |error: toml::ser::Error| Error::Config {
            source_name: "the configuration".into(),
            reason: sentence(&error.to_string()),
        };
        Table::try_from(self).map_err(wrong)
    }

    /// Every field with its value: `network.memory.model`, and "sam".
    ///
    /// # Errors
    /// [`Error::Config`] if TOML cannot write one of them.
    pub fn fields(&self) -> Result<BTreeMap<String, toml::Value>, Error> {
        let mut fields = BTreeMap::new();
        flatten("", self.table()?, &mut fields);
        Ok(fields)
    }

    /// The configuration of the network, whose inputs and outputs are the task's.
    pub fn network_config(&self, task: &dyn Task) -> NetworkConfig {
        let tokens = task.vocabulary_size();
        let input_size = if tokens > 0 { self.network.embedding_size } else { task.input_size() };
        NetworkConfig::new(input_size, task.output_size())
            .with_vocabulary(tokens)
            .with_sentences(task.sentence_size())
            .with_hidden_size(self.network.hidden_size)
            .with_controller(self.network.controller)
            .with_memory(self.network.memory.clone())
    }

    /// What the learning rate of a batch (the first is 0) is multiplied by.
    pub(crate) fn cooldown_factor(&self, batch: u64) -> f64 {
        let left = self.batches.saturating_sub(batch);
        if left < self.cooldown { left as f64 / self.cooldown as f64 } else { 1.0 }
    }

    /// Every level that training may draw.
    ///
    /// # Errors
    /// [`Error::Option`] if there is a curriculum and it does not fit the task.
    pub fn levels(&self, task: &dyn Task) -> Result<RangeInclusive<usize>, Error> {
        let levels = task.default_levels();
        if self.curriculum.on { Ok(*levels.start()..=*self.curriculum.levels(task)?.end()) } else { Ok(levels) }
    }

    /// Checks that every field has a value that works, as far as that can be known without the task's files.
    ///
    /// # Errors
    /// [`Error::Option`], or [`sparsam::Error::Config`] within [`Error::Library`], names the field.
    pub fn validate(&self) -> Result<(), Error> {
        if !self.task.reads_files() {
            return self.validate_with(&*self.task.build()?);
        }
        // What sizes the data will have is not known yet; none is smaller than this.
        let memory = self.network.memory.clone();
        let sizes = NetworkConfig::new(1, 1)
            .with_hidden_size(self.network.hidden_size)
            .with_controller(self.network.controller)
            .with_memory(memory);
        sizes.validate()?;
        self.validate_fields()
    }

    /// [`validate`](Self::validate) with the task built, and so with the sizes of its data.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn validate_with(&self, task: &dyn Task) -> Result<(), Error> {
        self.network_config(task).validate()?;
        self.validate_fields()?;
        if self.until > 0.0 && !task.target_kind().has_wrong() {
            let reason = "numbers are neither right nor wrong; leave it at 0, and end training by patience";
            return Err(Error::option("until", self.until, reason));
        }
        if self.until >= 1.0 && matches!(task.per(), Per::Target(_)) {
            let reason = "of this task it is the share of wrong outputs, and lies below 1";
            return Err(Error::option("until", self.until, reason));
        }
        if self.refreshing_probability > 0.0 && !task.reproduces_inputs() {
            let what =
                format!("outputs of {} cannot say what comes in at steps without a target; leave it at 0", task.name());
            return Err(Error::option("refreshing_probability", self.refreshing_probability, what));
        }
        let levels = self.levels(task)?;
        task.check_levels(&levels)?;
        task.check_batch(&levels, self.batch_size).map_err(|error| match error {
            Error::Option { reason, .. } if self.curriculum.on => Error::option("end", self.curriculum.end, reason),
            error => error,
        })
    }

    fn validate_fields(&self) -> Result<(), Error> {
        self.task.check()?;
        if self.refreshing_probability > 0.0
            && let Some(why) = self.task.reproduces_nothing()
        {
            return Err(Error::option("refreshing_probability", self.refreshing_probability, why));
        }
        self.optimiser.validate()?;
        self.curriculum.check()?;
        self.check_options()?;
        self.network.check_options()?;
        if !self.network.feedback && self.network.memory.read_len() == 0 {
            let reason = format!("the model {} reads nothing; leave it at true", self.network.memory.name());
            return Err(Error::option("feedback", false, reason));
        }
        for option in self.options() {
            if matches!(option.value, OptionValue::Whole(number) if number > LARGEST) {
                return Err(Error::option(option.name, option.value, format!("TOML has no number above {LARGEST}")));
            }
        }
        if 0.0 < self.clip_factor && self.clip_factor < 1.0 {
            let reason = "it lies from 1 to 1000000, or is 0 for no such limit";
            return Err(Error::option("clip_factor", self.clip_factor, reason));
        }
        if self.cooldown > self.batches {
            let reason = format!("no more than the {} batches that there are can be the last ones", self.batches);
            return Err(Error::option("cooldown", self.cooldown, reason));
        }
        if u128::from(self.batches) * self.batch_size as u128 > u128::from(LARGEST) {
            return Err(Error::option("batches", self.batches, "with this batch_size there are too many sequences"));
        }
        Ok(())
    }
}

/// The text of a file, and its name.
fn read_text(path: &Path) -> Result<(String, String), Error> {
    let bytes = sparsam::internal::file::read(path).map_err(Error::at(path))?;
    let name = path.display().to_string();
    match String::from_utf8(bytes) {
        Ok(text) => Ok((text, name)),
        Err(error) => {
            let reason = format!("it is not text: byte {} is not UTF-8", error.utf8_error().valid_up_to());
            Err(Error::Config { source_name: name, reason })
        }
    }
}

/// What is given at a place does not fit there.
struct Misfit {
    place: Vec<String>,
    reason: String,
}

impl Misfit {
    fn new(place: &[&str], wanted: &str, found: &Value) -> Self {
        let found = match found {
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => found.to_string(),
            other => kind(other).to_owned(),
        };
        let reason = format!("{} is {wanted}, not {found}", place.join("."));
        Self { place: place.iter().map(|key| (*key).to_owned()).collect(), reason }
    }
}

/// What a value is, in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// The name that is given at a place, if there is one.
fn named<'a>(table: &'a Table, place: &[&str]) -> Result<Option<&'a str>, Misfit> {
    let mut table = table;
    for (depth, key) in place.iter().enumerate() {
        match table.get(*key) {
            None => return Ok(None),
            Some(Value::String(name)) if depth + 1 == place.len() => return Ok(Some(name)),
            Some(Value::Table(inner)) if depth + 1 < place.len() => table = inner,
            Some(other) => {
                let wanted = if depth + 1 == place.len() { "text" } else { "a table" };
                return Err(Misfit::new(&place[..=depth], wanted, other));
            }
        }
    }
    Ok(None)
}

/// Checks that whatever is given has a place in `base`, and is of the kind that stands there.
fn check_kinds(given: &Table, base: &Table, tables: &[&str]) -> Result<(), Misfit> {
    for (key, value) in given {
        let place = [tables, &[key]].concat();
        match (base.get(key), value) {
            (None, _) => {
                let others: Vec<_> = base.keys().map(String::as_str).collect();
                let reason = format!("there is no option {} here, only {}", place.join("."), others.join(", "));
                return Err(Misfit { place: place.into_iter().map(str::to_owned).collect(), reason });
            }
            (Some(Value::Table(base)), Value::Table(given)) => check_kinds(given, base, &place)?,
            (Some(Value::Float(_)), Value::Integer(_)) => {}
            // No option is below 0.
            (Some(Value::Integer(_)), Value::Integer(..0)) => {
                return Err(Misfit::new(&place, "a whole number of at least 0", value));
            }
            (Some(base), value) if base.same_type(value) => {}
            (Some(base), value) => return Err(Misfit::new(&place, kind(base), value)),
        }
    }
    Ok(())
}

/// The line of a text in which a byte is, the first being 1.
fn line_at(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|byte| *byte == b'\n').count()
}

/// The line on which the value at a place stands.
fn line_of(text: &str, place: &[String]) -> Option<usize> {
    let (first, rest) = place.split_first()?;
    let parsed = DeTable::parse(text).ok()?;
    let mut value = parsed.get_ref().iter().find(|(key, _)| key.get_ref() == first)?.1;
    for name in rest {
        let DeValue::Table(table) = value.get_ref() else { return None };
        value = table.iter().find(|(key, _)| key.get_ref() == name)?.1;
    }
    Some(line_at(text, value.span().start))
}

/// What serde says of a name that an enumeration does not have, in words; any other message in one line.
fn choice(message: &str) -> String {
    let message = sentence(message);
    let parts = message.strip_prefix("unknown variant ").and_then(|rest| rest.split_once(", expected "));
    match parts {
        Some((name, names)) => {
            let names = names.trim_start_matches("one of ");
            format!("there is no {name} to choose, only {names}").replace('`', "\"")
        }
        None => message,
    }
}

fn choose<'a>(what: &str, in_file: Option<&'a str>, asked: Option<&'a str>) -> Result<Option<&'a str>, String> {
    match (in_file, asked) {
        (Some(in_file), Some(asked)) if in_file != asked => {
            Err(format!("it is for the {what} {in_file}, not {asked}; leave one of the two out"))
        }
        (in_file, asked) => Ok(in_file.or(asked)),
    }
}

/// Puts what is given in the place of what stands there, table by table.
fn overlay(base: &mut Table, given: &Table) {
    for (key, value) in given {
        match (base.get_mut(key), value) {
            (Some(Value::Table(base)), Value::Table(given)) => overlay(base, given),
            // 1 stands for 1.0 wherever the latter is meant.
            (Some(Value::Float(number)), Value::Integer(given)) => *number = *given as f64,
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

fn flatten(place: &str, table: Table, fields: &mut BTreeMap<String, toml::Value>) {
    for (name, value) in table {
        let place = if place.is_empty() { name } else { format!("{place}.{name}") };
        match value {
            toml::Value::Table(table) => flatten(&place, table, fields),
            value => drop(fields.insert(place, value)),
        }
    }
}

/// The first key, with those of the tables around it, whose values differ; a missing one is "left out".
fn first_difference(one: &Table, other: &Table) -> Option<(String, String, String)> {
    let text = |value: Option<&Value>| match value {
        Some(Value::Table(_)) => "a table".into(),
        Some(value) => value.to_string(),
        None => "left out".into(),
    };
    // The name of a model or task stands for all of its options: it is told before them.
    let named = |key: &&String| !["name", "model", "kind"].contains(&key.as_str());
    let mut keys: Vec<_> = one.keys().chain(other.keys().filter(|key| !one.contains_key(*key))).collect();
    keys.sort_by_key(named);
    keys.into_iter().find_map(|key| match (one.get(key), other.get(key)) {
        (Some(Value::Table(one)), Some(Value::Table(other))) => {
            first_difference(one, other).map(|(inner, one, other)| (format!("{key}.{inner}"), one, other))
        }
        (one, other) if one != other => Some((key.clone(), text(one), text(other))),
        _ => None,
    })
}

/// A message in one line.
fn sentence(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Config, Error> {
        Config::from_toml(text, "test.toml", None, None)
    }

    fn all_defaults() -> impl Iterator<Item = Config> {
        TaskConfig::NAMES.iter().flat_map(|task| {
            Model::NAMES.iter().map(move |model| {
                Config::default_for(TaskConfig::by_name(task).unwrap(), Model::by_name(model).unwrap())
            })
        })
    }

    #[test]
    fn what_is_written_is_read_again() {
        for mut config in all_defaults() {
            config.clip_norm = 0.1 + 0.2;
            assert_eq!(read(&config.to_toml().unwrap()).unwrap(), config);
            config.optimiser = OptimiserConfig::adam(3e-4);
            config.clip_norm = f64::INFINITY;
            assert_eq!(read(&config.to_toml().unwrap()).unwrap(), config);
        }
    }

    #[test]
    fn what_is_left_out_takes_its_default() {
        let config = read("batch_size = 16\n[task]\nname = 'copy'\nmax_length = 5").unwrap();
        let mut expected = Config::default_for(TaskConfig::by_name("copy").unwrap(), Model::by_name("sam").unwrap());
        expected.batch_size = 16;
        expected.task = TaskConfig::Copy(crate::task::Copy { max_length: 5, ..Default::default() });
        assert_eq!(config, expected);
        let config = Config::from_toml("[network]\nhidden_size = 7", "", Some("sort"), Some("lstm")).unwrap();
        assert_eq!((config.network.hidden_size, config.network.memory, config.batches), (7, Model::Lstm, 80_000));
        let config = read("clip_norm = 1\ntask.name = 'recall'\noptimiser.kind = 'adam'").unwrap();
        assert_eq!((config.optimiser, config.clip_norm), (OptimiserConfig::adam(1e-3), 1.0));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, message) in [
            ("", "it names no task"),
            ("task.name = 'juggle'", "no task \"juggle\"; choose one of copy, recall, sort"),
            ("task.name = 'copy'\nnetwork.memory.model = 'x'", "no model \"x\""),
            ("task.name = 'copy'\nbatch_sise = 3", "batch_sise"),
            ("task.name = 'copy'\ntask.lenght = 3", "lenght"),
            (
                "task.name = 'copy'\nnetwork.memory.model = 'lstm'\nnetwork.memory.word_size = 3",
                "network.memory.word_size",
            ),
            ("task.name = 'copy'\nbatches = ", "line 2"),
            ("task.name = 'copy'\nbatches = -3", "-3"),
            ("task.name = 'copy'\nbatches = 0", "batches = 0"),
            ("task.name = 'copy'\nclip_norm = nan", "clip_norm"),
            (
                "task.name = 'copy'\nclip_factor = 0.5",
                "clip_factor = 0.5 does not work: it lies from 1 to 1000000, or is 0",
            ),
            ("task.name = 'copy'\nclip_factor = nan", "clip_factor"),
            (
                "task.name = 'copy'\nuntil = -0.1",
                "until = -0.1 does not work: it must be a number from 0 to 1000000000000",
            ),
            ("task.name = 'copy'\nuntil = nan", "until"),
            ("task.name = 'copy'\nnetwork.hidden_size = 0", "hidden_size"),
            ("task.name = 'copy'\nnetwork.hidden_size = 9223372036854775807", "hidden_size"),
            ("task.name = 'copy'\nbatch_size = 9223372036854775807", "batch"),
            ("task.name = 'copy'\noptimiser.learning_rate = 0", "learning_rate"),
            ("task = 3", "task is a table, not 3 (line 1)"),
            ("task.name = 3", "task.name is text, not 3 (line 1)"),
            ("task.name = 'copy'\nbatches = 'ten'", "batches is a whole number, not text (line 2)"),
            ("task.name = 'copy'\nbatches = 2.5", "batches is a whole number, not 2.5 (line 2)"),
            ("task.name = 'copy'\nbatches = -3", "batches is a whole number of at least 0, not -3 (line 2)"),
            ("batches = 3\n[task]\nname = 'copy'\n\nbits = []", "task.bits is a whole number, not a list (line 5)"),
            ("task.name = 'copy'\nnetwork.memory = 'sam'", "network.memory is a table, not text (line 2)"),
            ("task.name = 'copy'\nnetwork.memory.model = 3", "network.memory.model is text, not 3 (line 2)"),
            ("task.name = 'copy'\nnetwork.memory.index = 3", "network.memory.index is text, not 3 (line 2)"),
            ("task.name = 'copy'\nnetwork.memory.index = 'x'", "no \"x\" to choose, only \"auto\", \"linear\", "),
            ("task.name = 'copy'\nnetwork.controller = 'rnn'", "no \"rnn\" to choose, only \"lstm\", \"gru\","),
            ("task.name = 'copy'\noptimiser.kind = 'sgd'", "no \"sgd\" to choose, only \"rmsprop\" or \"adam\""),
            ("task.name = 'copy'\noptimiser.kind = 3", "optimiser.kind is text, not 3 (line 2)"),
            ("task.name = 'copy'\ntask.lenght = 3", "no option task.lenght here, only bits, max_length, min_length"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains(message), "{text:?} gave {error}");
            for rust in ["enum", "u64", "usize", "invalid", "struct", "variant"] {
                assert!(!error.to_string().contains(rust), "{text:?} gave {error}");
            }
            assert!(!error.to_string().contains('\n') && error.is_usage(), "{error:?}");
        }
        let error = Config::from_toml("task.name = 'copy'", "a.toml", Some("sort"), None).unwrap_err();
        assert_eq!(error.to_string(), "a.toml: it is for the task copy, not sort; leave one of the two out");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("config.toml");
            std::fs::write(&path, bytes).unwrap();
            let _ = Config::read(&path, Some("copy"), None);
        }

        #[test]
        fn mutated_configurations_never_panic(
            which in any::<prop::sample::Index>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..8),
        ) {
            let configs: Vec<_> = all_defaults().collect();
            let mut bytes = which.get(&configs).to_toml().unwrap().into_bytes();
            for (place, byte, kind) in changes {
                if bytes.is_empty() {
                    break;
                }
                let place = place.index(bytes.len());
                match kind {
                    0 => bytes[place] = byte,
                    1 => bytes.truncate(place),
                    _ => bytes.insert(place, b"0123456789.-\n[]'"[byte as usize % 16]),
                }
            }
            if let Ok(config) = read(&String::from_utf8_lossy(&bytes)) {
                prop_assert!(config.validate().is_ok());
                prop_assert_eq!(read(&config.to_toml().unwrap()).unwrap(), config);
            }
        }
    }
}
