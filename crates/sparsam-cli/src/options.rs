//! The options of a configuration as flags: one table of what each flag sets.
//!
//! Which options there are depends on the task, the model and the optimiser. A flag names a place in the
//! configuration's TOML; whether this configuration has that place is asked of the configuration itself, so that a
//! new option of a model is one line here and nothing else.

use clap::builder::{PossibleValuesParser, ValueParser};
use clap::{Arg, ArgMatches, Command, Error as ClapError, FromArgMatches, value_parser};
use serde::Deserialize;
use serde::de::value::{MapDeserializer, StrDeserializer};
use sparsam::index::IndexKind;
use sparsam::network::InitialValues;
use sparsam::nn::optimiser::OptimiserConfig;
use sparsam::{ControllerKind, Model};
use sparsam_train::{Config, Error, TaskConfig};
use toml::{Table, Value};

use crate::failure::Mistake;

/// What a flag takes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Whole,
    Number,
    /// Any text.
    Text,
    /// One of these words.
    Word(fn() -> &'static [&'static str]),
    /// Nothing, for true; or `=false`.
    Switch,
}

/// A flag that sets one field of a configuration.
#[derive(Debug)]
struct Flag {
    name: &'static str,
    /// The tables that lead to the field, and the field.
    place: &'static [&'static str],
    kind: Kind,
    heading: &'static str,
    help: &'static str,
}

const fn flag(
    name: &'static str,
    place: &'static [&'static str],
    kind: Kind,
    heading: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, place, kind, heading, help }
}

const TRAINING: &str = "Training";
const CURRICULUM: &str = "Curriculum";
const NETWORK: &str = "Network";
const TASK: &str = "Task";
const OPTIMISATION: &str = "Optimiser";

/// Chooses the optimiser, and with it which other options there are.
const OPTIMISER: &[&str] = &["optimiser", "kind"];

#[rustfmt::skip]
static FLAGS: &[Flag] = &[
    flag("seed", &["seed"], Kind::Whole, TRAINING, "Decides the first weights and every sequence"),
    flag("batches", &["batches"], Kind::Whole, TRAINING, "Batches to train"),
    flag("cooldown", &["cooldown"], Kind::Whole, TRAINING,
        "The last batches, over which the learning rate falls to 0"),
    flag("until", &["until"], Kind::Number, TRAINING,
        "End once two evaluations in a row show at most X wrong outputs in a sequence; 0: never before the last batch"),
    flag("batch-size", &["batch_size"], Kind::Whole, TRAINING, "Sequences in a batch"),
    flag("clip-norm", &["clip_norm"], Kind::Number, TRAINING, "Largest norm of a gradient"),
    flag("clip-factor", &["clip_factor"], Kind::Number, TRAINING,
        "Largest norm of a gradient in running means of the norm; 0: --clip-norm alone"),
    flag("evaluate-every", &["evaluate_every"], Kind::Whole, TRAINING, "Batches between evaluations"),
    flag("evaluation-sequences", &["evaluation_sequences"], Kind::Whole, TRAINING, "Sequences in an evaluation"),
    flag("checkpoint-every", &["checkpoint_every"], Kind::Whole, TRAINING, "Batches between checkpoints"),

    flag("curriculum", &["curriculum", "on"], Kind::Switch, CURRICULUM,
        "Draw each batch's level up to one that doubles as the network learns"),
    flag("curriculum-threshold", &["curriculum", "threshold"], Kind::Number, CURRICULUM,
        "Mean loss below which it doubles, in bits for each bit or class wanted"),
    flag("curriculum-episodes", &["curriculum", "episodes"], Kind::Whole, CURRICULUM,
        "Sequences over which the mean is taken"),
    flag("curriculum-start", &["curriculum", "start"], Kind::Whole, CURRICULUM,
        "Highest level at first; 0: the task's"),
    flag("curriculum-end", &["curriculum", "end"], Kind::Whole, CURRICULUM, "Highest level at last"),
    flag("curriculum-learning-rate-power", &["curriculum", "learning_rate_power"], Kind::Number, CURRICULUM,
        "The learning rate is multiplied by (first / current highest level) to this power"),

    flag("optimiser", OPTIMISER, Kind::Word(optimisers), OPTIMISATION, "The optimiser"),
    flag("learning-rate", &["optimiser", "learning_rate"], Kind::Number, OPTIMISATION, "Step size"),
    flag("decay", &["optimiser", "decay"], Kind::Number, OPTIMISATION,
        "rmsprop: decay of the running means of the gradient and of its square"),
    flag("momentum", &["optimiser", "momentum"], Kind::Number, OPTIMISATION,
        "rmsprop: share of the last step that is taken again"),
    flag("beta1", &["optimiser", "beta1"], Kind::Number, OPTIMISATION,
        "adam: decay of the running mean of the gradient"),
    flag("beta2", &["optimiser", "beta2"], Kind::Number, OPTIMISATION,
        "adam: decay of the running mean of its square"),
    flag("epsilon", &["optimiser", "epsilon"], Kind::Number, OPTIMISATION,
        "Added to what the gradient is divided by"),

    flag("hidden-size", &["network", "hidden_size"], Kind::Whole, NETWORK, "Hidden units of the controller"),
    flag("controller", &["network", "controller"], Kind::Word(|| ControllerKind::NAMES), NETWORK,
        "The recurrent cell that drives the memory; alone with --model lstm"),
    flag("initial-values", &["network", "initial_values"], Kind::Word(initial_values), NETWORK,
        "First values by what a parameter is for, or every weight within ±1/√fan_in"),
    flag("input-bound", &["network", "input_bound"], Kind::Number, NETWORK,
        "First weights of the inputs lie in ± this; 0: by what suits the task's inputs"),
    flag("memory-size", &["network", "memory", "memory_size"], Kind::Whole, NETWORK, "Words in memory"),
    flag("word-size", &["network", "memory", "word_size"], Kind::Whole, NETWORK, "Numbers in a word"),
    flag("heads", &["network", "memory", "heads"], Kind::Whole, NETWORK, "Access heads"),
    flag("reads", &["network", "memory", "reads"], Kind::Whole, NETWORK, "Words read by a head"),
    flag("access-threshold", &["network", "memory", "access_threshold"], Kind::Number, NETWORK,
        "Weight above which a word counts as accessed"),
    flag("index", &["network", "memory", "index"], Kind::Word(indexes), NETWORK, "How similar words are found"),
    flag("index-checks", &["network", "memory", "index_checks"], Kind::Whole, NETWORK,
        "Words that an approximate index compares with a query, about; 0: its own choice"),
    flag("links", &["network", "memory", "links"], Kind::Whole, NETWORK, "sdnc: links kept for a word each way"),
    flag("usage-discount", &["network", "memory", "usage_discount"], Kind::Number, NETWORK,
        "dam: what is left of a word's usage after a step"),
    flag("masked-content", &["network", "memory", "masked_content"], Kind::Switch, NETWORK,
        "dnc, sdnc: a mask comes with every key"),
    flag("sharpened-links", &["network", "memory", "sharpened_links"], Kind::Switch, NETWORK,
        "dnc, sdnc: what is read along the links is sharpened"),
    flag("deallocation", &["network", "memory", "deallocation"], Kind::Switch, NETWORK,
        "dnc: freed words lose their content"),

    flag("bits", &["task", "bits"], Kind::Whole, TASK, "Bits in a vector"),
    flag("min-length", &["task", "min_length"], Kind::Whole, TASK, "copy: vectors in the shortest sequence"),
    flag("max-length", &["task", "max_length"], Kind::Whole, TASK, "copy: vectors in the longest sequence"),
    flag("item-length", &["task", "item_length"], Kind::Whole, TASK, "recall: vectors in an item"),
    flag("min-items", &["task", "min_items"], Kind::Whole, TASK, "recall: items in the shortest list"),
    flag("max-items", &["task", "max_items"], Kind::Whole, TASK, "recall: items in the longest list"),
    flag("count", &["task", "count"], Kind::Whole, TASK, "sort: vectors in a sequence"),
    flag("top", &["task", "top"], Kind::Whole, TASK, "sort: vectors wanted"),
    flag("data", &["task", "data"], Kind::Text, TASK, "babi, omniglot: the folder of the official archives; sequences: the file, .jsonl or .npz"),
    flag("subset", &["task", "subset"], Kind::Text, TASK, "babi: the folder of its files: en-10k or en"),
    flag("labels", &["task", "labels"], Kind::Whole, TASK, "omniglot: labels that there are"),
    flag("min-characters", &["task", "min_characters"], Kind::Whole, TASK, "omniglot: characters in the shortest episode"),
    flag("max-characters", &["task", "max_characters"], Kind::Whole, TASK, "omniglot: characters in the longest episode"),
    flag("only", &["task", "only"], Kind::Whole, TASK, "babi: the one task to learn, 1 to 20; 0: all"),
];

impl Flag {
    fn arg(&self, default: &str) -> Arg {
        let (value_name, parser) = match self.kind {
            // TOML's whole numbers end here.
            Kind::Whole => ("N", ValueParser::from(value_parser!(i64).range(0..))),
            Kind::Number => ("X", value_parser!(f64).into()),
            Kind::Text => ("TEXT", value_parser!(String)),
            Kind::Word(names) => ("NAME", PossibleValuesParser::new(names()).into()),
            Kind::Switch => ("true|false", value_parser!(bool)),
        };
        let switch = matches!(self.kind, Kind::Switch);
        let arg = Arg::new(self.name)
            .long(self.name)
            .value_name(value_name)
            .value_parser(parser)
            .allow_negative_numbers(!switch)
            .help_heading(self.heading)
            .help(format!("{} [default: {default}]", self.help));
        if switch { arg.num_args(0..=1).require_equals(true).default_missing_value("true") } else { arg }
    }

    /// What was given for it.
    fn value(&self, matches: &ArgMatches) -> Option<Value> {
        match self.kind {
            Kind::Whole => matches.get_one::<i64>(self.name).copied().map(Value::Integer),
            Kind::Number => matches.get_one::<f64>(self.name).copied().map(Value::Float),
            Kind::Word(_) | Kind::Text => matches.get_one::<String>(self.name).cloned().map(Value::String),
            Kind::Switch => matches.get_one::<bool>(self.name).copied().map(Value::Boolean),
        }
    }
}

fn optimisers() -> &'static [&'static str] {
    let unknown = MapDeserializer::new([("kind", "")].into_iter());
    OptimiserConfig::deserialize(unknown).map_or_else(|Variants(names)| names, |_| &[])
}

fn initial_values() -> &'static [&'static str] {
    InitialValues::deserialize(StrDeserializer::new("")).map_or_else(|Variants(names)| names, |_| &[])
}

fn indexes() -> &'static [&'static str] {
    IndexKind::deserialize(StrDeserializer::new("")).map_or_else(|Variants(names)| names, |_| &[])
}

/// What deserialising an enumeration from a name that it does not have says: the names that it has.
#[derive(Debug)]
struct Variants(&'static [&'static str]);

impl std::fmt::Display for Variants {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0.join(", "))
    }
}

impl std::error::Error for Variants {}

impl serde::de::Error for Variants {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self(&[])
    }

    fn unknown_variant(_: &str, names: &'static [&'static str]) -> Self {
        Self(names)
    }
}

/// The default configurations, each with the name of what decides it: for each table that flags set, one for each
/// task, model or optimiser that the table can be of.
struct Defaults {
    tasks: Vec<(&'static str, Table)>,
    models: Vec<(&'static str, Table)>,
    optimisers: Vec<(&'static str, Table)>,
}

impl Defaults {
    fn new() -> Self {
        let table = |task: &str, model: &str| {
            let config = Config::default_for(TaskConfig::by_name(task)?, Model::by_name(model)?);
            Table::try_from(&config).ok()
        };
        let first = TaskConfig::NAMES.first().copied().unwrap_or_default();
        let with = |optimiser: &str| {
            let text = format!("optimiser.kind = {optimiser:?}");
            Table::try_from(&Config::from_toml(&text, "", Some(first), None).ok()?).ok()
        };
        let all = |names: &[&'static str], of: &dyn Fn(&str) -> Option<Table>| {
            names.iter().filter_map(|name| Some((*name, of(name)?))).collect()
        };
        Self {
            tasks: all(TaskConfig::NAMES, &|task| table(task, "sam")),
            models: all(Model::NAMES, &|model| table(first, model)),
            optimisers: all(optimisers(), &with),
        }
    }

    /// A flag's default, as it would be typed; where there are several, with what each is for.
    fn text(&self, flag: &Flag) -> String {
        let owners = match flag.place {
            // Which optimiser is the default is no matter of the optimiser.
            ["optimiser", ..] if flag.place != OPTIMISER => &self.optimisers,
            ["network", "memory", ..] => &self.models,
            _ => &self.tasks,
        };
        let mut values: Vec<(String, Vec<&str>)> = Vec::new();
        for (owner, table) in owners {
            let Some(value) = find(&mut table.clone(), flag.place).map(|value| typed(value)) else { continue };
            match values.iter_mut().find(|(other, _)| *other == value) {
                Some((_, owners)) => owners.push(owner),
                None => values.push((value, vec![owner])),
            }
        }
        match &values[..] {
            [(value, _)] => value.clone(),
            _ => {
                let values = values.iter().map(|(value, owners)| format!("{value} for {}", owners.join(", ")));
                values.collect::<Vec<_>>().join("; ")
            }
        }
    }
}

/// A value as it would be typed.
fn typed(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "none".into(),
        Value::String(text) => text.clone(),
        // As short as it can be: 1e-8, and 10 for 10.0.
        Value::Float(number) => format!("{number:?}").trim_end_matches(".0").to_owned(),
        value => value.to_string(),
    }
}

/// The flags that were given, in the order of the table.
#[derive(Debug, Default)]
pub struct Options(Vec<(&'static Flag, Value)>);

impl clap::Args for Options {
    fn augment_args(command: Command) -> Command {
        let defaults = Defaults::new();
        FLAGS.iter().fold(command, |command, flag| command.arg(flag.arg(&defaults.text(flag))))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Options {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, ClapError> {
        let mut options = Self::default();
        options.update_from_arg_matches(matches)?;
        Ok(options)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), ClapError> {
        self.0 = FLAGS.iter().filter_map(|flag| Some((flag, flag.value(matches)?))).collect();
        Ok(())
    }
}

/// The flags of a memory that the parameters of its network do not depend on: a trained network works with others than those
/// it was trained with.
#[derive(Debug, Default)]
pub struct MemoryOptions(Options);

impl MemoryOptions {
    fn flags() -> impl Iterator<Item = &'static Flag> {
        FLAGS
            .iter()
            .filter(|flag| ["memory-size", "reads", "access-threshold", "index", "index-checks"].contains(&flag.name))
    }

    /// The configuration with what the flags set.
    ///
    /// # Errors
    /// A [`Mistake`] that names the flag.
    pub fn apply(&self, config: Config) -> anyhow::Result<Config> {
        self.0.apply(config)
    }
}

impl clap::Args for MemoryOptions {
    fn augment_args(command: Command) -> Command {
        Self::flags().fold(command, |command, flag| command.arg(flag.arg("as in training")))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for MemoryOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, ClapError> {
        let mut options = Self::default();
        options.update_from_arg_matches(matches)?;
        Ok(options)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), ClapError> {
        self.0.0 = Self::flags().filter_map(|flag| Some((flag, flag.value(matches)?))).collect();
        Ok(())
    }
}

impl Options {
    /// The names of the flags that were given.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(flag, _)| flag.name)
    }

    /// The whole number that was given for a flag, if it was.
    pub fn whole(&self, name: &str) -> Option<u64> {
        let (_, value) = self.0.iter().find(|(flag, _)| flag.name == name)?;
        value.as_integer()?.try_into().ok()
    }

    /// The number that was given for a flag, if it was.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(flag, _)| flag.name == name)?.1.as_float()
    }

    /// The configuration with what the flags set.
    ///
    /// # Errors
    /// A [`Mistake`] that names the flag.
    pub fn apply(&self, config: Config) -> anyhow::Result<Config> {
        let (kind, others): (Vec<_>, Vec<_>) = self.0.iter().partition(|(flag, _)| flag.place == OPTIMISER);
        let mut config = config;
        for (_, kind) in kind {
            let mut table = Table::try_from(&config)?;
            let optimiser = table.get("optimiser").and_then(|optimiser| optimiser.get("kind"));
            if optimiser != Some(kind) {
                // The options of the one optimiser are not those of the other.
                table.insert("optimiser".into(), Value::Table([("kind".into(), kind.clone())].into_iter().collect()));
                config = self.read(&table)?;
            }
        }
        let mut table = Table::try_from(&config)?;
        if let (Some(batches), None) = (self.whole("batches"), self.whole("cooldown")) {
            // The share of batches over which the learning rate falls stays.
            let cooldown = u128::from(config.cooldown) * u128::from(batches) / u128::from(config.batches.max(1));
            table.insert("cooldown".into(), Value::Integer(cooldown.min(i64::MAX as u128) as i64));
        }
        for (flag, value) in others {
            let Some(field) = find(&mut table, flag.place) else {
                return Err(lacking(flag, &table).into());
            };
            *field = value.clone();
        }
        self.read(&table)
    }

    fn read(&self, table: &Table) -> anyhow::Result<Config> {
        Config::from_toml(&toml::to_string(table)?, "the command line", None, None).map_err(|error| self.explain(error))
    }

    /// An error about a field that a flag set is about that flag.
    fn explain(&self, error: Error) -> anyhow::Error {
        let (field, value, reason) = match &error {
            Error::Option { field, value, reason } => (field, value, reason),
            Error::Library(sparsam::Error::Config { field, value, reason }) => (field, value, reason),
            _ => return error.into(),
        };
        match self.0.iter().find(|(flag, _)| flag.place.last() == Some(field)) {
            Some((flag, _)) => Mistake(format!("--{} {value} does not work: {reason}", flag.name)).into(),
            None => error.into(),
        }
    }
}

fn find<'a>(table: &'a mut Table, place: &[&str]) -> Option<&'a mut Value> {
    let (first, rest) = place.split_first()?;
    rest.iter().try_fold(table.get_mut(*first)?, |value, key| value.get_mut(key))
}

/// The flag is of another task, model or optimiser.
fn lacking(flag: &Flag, table: &Table) -> Mistake {
    let (tables, owner_key) = match flag.place[0] {
        "task" => (&flag.place[..1], "name"),
        "network" => (&flag.place[..2], "model"),
        _ => (&flag.place[..1], "kind"),
    };
    let mut table = table.clone();
    let owner = find(&mut table, tables).and_then(|owner| owner.get(owner_key)?.as_str().map(str::to_owned));
    let owner = owner.unwrap_or_default();
    let what = if owner_key == "kind" {
        "optimiser"
    } else if owner_key == "name" {
        "task"
    } else {
        "model"
    };
    let has: Vec<_> = FLAGS
        .iter()
        .filter(|other| other.place.starts_with(tables) && find(&mut table, other.place).is_some())
        .map(|other| format!("--{}", other.name))
        .collect();
    let has = if has.is_empty() { "it has none".into() } else { format!("it has {}", has.join(", ")) };
    Mistake(format!("--{} is no option of the {what} {owner}; {has}", flag.name))
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    fn given(arguments: &[&str]) -> Options {
        let command = Options::augment_args(Command::new("test").no_binary_name(true));
        Options::from_arg_matches(&command.get_matches_from(arguments)).unwrap()
    }

    fn base(task: &str, model: &str) -> Config {
        Config::default_for(TaskConfig::by_name(task).unwrap(), Model::by_name(model).unwrap())
    }

    fn mistake(arguments: &[&str], task: &str, model: &str) -> String {
        given(arguments).apply(base(task, model)).unwrap_err().to_string()
    }

    /// Every flag belongs to a field that some task, model and optimiser have, and every field of those has a flag.
    #[test]
    fn flags_and_fields_belong_together() {
        let mut all = Vec::new();
        for task in TaskConfig::NAMES {
            for (model, optimiser) in Model::NAMES.iter().flat_map(|model| optimisers().iter().map(move |o| (model, o)))
            {
                let config = given(&["--optimiser", optimiser]).apply(base(task, model)).unwrap();
                let mut table = Table::try_from(config).unwrap();
                all.extend(FLAGS.iter().filter(|flag| find(&mut table, flag.place).is_some()).map(|flag| flag.name));
                let tables =
                    [&["task"][..], &["network", "memory"], &["network"], &["optimiser"], &["curriculum"], &[]];
                for place in tables {
                    let inner = if place.is_empty() { None } else { find(&mut table, place).cloned() };
                    for (field, value) in inner.as_ref().and_then(Value::as_table).unwrap_or(&table.clone()) {
                        let place = [place, &[field]].concat();
                        let chosen = ["name", "model"].contains(&field.as_str());
                        let known = FLAGS.iter().any(|flag| flag.place == place);
                        assert!(chosen || value.is_table() || known, "no flag sets {place:?}");
                    }
                }
            }
        }
        for flag in FLAGS {
            assert!(all.contains(&flag.name), "--{} belongs to nothing", flag.name);
        }
    }

    #[test]
    fn flags_set_what_they_name() {
        let options = given(&["--heads", "2", "--learning-rate", "1", "--seed", "9", "--max-length", "3"]);
        let config = options.apply(base("copy", "sam")).unwrap();
        let text = config.to_toml().unwrap();
        for line in ["heads = 2", "learning_rate = 1.0", "seed = 9", "max_length = 3", "hidden_size = 100"] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
        assert_eq!(given(&[]).apply(base("copy", "sam")).unwrap(), base("copy", "sam"));
    }

    /// The help tells the default of every flag for every task, model and optimiser.
    #[test]
    fn defaults_are_those_of_the_configuration() {
        let defaults = Defaults::new();
        let text = |name: &str| defaults.text(FLAGS.iter().find(|flag| flag.name == name).unwrap());
        assert_eq!([text("seed"), text("clip-norm"), text("optimiser")], ["1", "10", "adam"]);
        assert_eq!(text("learning-rate"), "0.0001 for rmsprop; 0.001 for adam");
        assert_eq!([text("beta2"), text("masked-content"), text("index")], ["0.999", "false", "auto"]);
        for task in TaskConfig::NAMES {
            for model in Model::NAMES {
                let mut table = Table::try_from(base(task, model)).unwrap();
                for flag in FLAGS {
                    let Some(value) = find(&mut table, flag.place).map(|value| typed(value)) else { continue };
                    let text = defaults.text(flag);
                    let told = text == value
                        || text.split("; ").any(|part| {
                            let (told, owners) = part.split_once(" for ").unwrap();
                            let mut owners = owners.split(", ");
                            told == value && owners.any(|owner| [task, model, &"adam"].contains(&&owner))
                        });
                    assert!(told, "--{} is {value} for {task} and {model}, not {text}", flag.name);
                }
            }
        }
    }

    #[test]
    fn a_switch_needs_no_value() {
        let text = |arguments: &[&str]| given(arguments).apply(base("copy", "dnc")).unwrap().to_toml().unwrap();
        assert!(text(&["--masked-content", "--heads", "2"]).contains("masked_content = true\n"));
        assert!(text(&["--masked-content=true"]).contains("masked_content = true\n"));
        assert!(text(&["--masked-content=false"]).contains("masked_content = false\n"));
    }

    #[test]
    fn another_optimiser_brings_its_own_options() {
        let adam = given(&["--optimiser", "adam"]).apply(base("copy", "sam")).unwrap();
        assert_eq!(adam.optimiser, sparsam::nn::optimiser::OptimiserConfig::adam(1e-3));
        let slower = given(&["--learning-rate", "0.01", "--optimiser", "adam"]).apply(base("copy", "sam")).unwrap();
        assert_eq!(slower.optimiser, sparsam::nn::optimiser::OptimiserConfig::adam(0.01));
        assert_eq!(given(&["--optimiser", "adam"]).apply(slower.clone()).unwrap(), slower);
    }

    #[test]
    fn mistakes_name_the_flag_and_the_way_out() {
        assert_eq!(
            mistake(&["--word-size", "3"], "copy", "lstm"),
            "--word-size is no option of the model lstm; it has none"
        );
        assert_eq!(
            mistake(&["--max-items", "3"], "copy", "sam"),
            "--max-items is no option of the task copy; it has --bits, --min-length, --max-length"
        );
        // The rest of the sentence is the library's.
        let small = mistake(&["--memory-size", "2"], "copy", "sam");
        assert!(small.starts_with("--memory-size 2 does not work: ") && small.contains("4 heads"), "{small}");
        assert!(mistake(&["--batch-size", "0"], "copy", "sam").starts_with("--batch-size 0 does not work"));
        assert!(mistake(&["--learning-rate", "-1"], "copy", "sam").contains("--learning-rate -1"));
        assert_eq!(
            mistake(&["--decay", "0.5", "--optimiser", "adam"], "copy", "sam"),
            "--decay is no option of the optimiser adam; it has --optimiser, --learning-rate, --beta1, --beta2, --epsilon"
        );
        assert!(
            mistake(&["--momentum", "1", "--optimiser", "rmsprop"], "copy", "sam")
                .starts_with("--momentum 1 does not work")
        );
        assert_eq!(optimisers(), ["rmsprop", "adam"]);
        // What benchmarks go through and what can be chosen are the same.
        let all: Vec<_> = IndexKind::ALL.iter().map(|kind| kind.name()).collect();
        assert!(indexes().iter().all(|name| *name == "auto" || all.contains(name)), "{:?}", indexes());
    }
}
