//! The options of a configuration as flags.
//!
//! Every option is declared with its field, in the library or in training; its flag is made from the declaration. Which
//! options a configuration has depends on its task, model and optimiser.

use std::sync::LazyLock;

use clap::builder::{PossibleValuesParser, ValueParser};
use clap::{Arg, ArgMatches, Command, Error as ClapError, FromArgMatches, value_parser};
use sparsam::Model;
use sparsam::nn::optimiser::OptimiserConfig;
use sparsam::option::{self, ConfigOption, Declared, Kind};
use sparsam_train::{Config, Error, TaskConfig};
use toml::{Table, Value};

use crate::failure::Mistake;

/// A flag that sets one field of a configuration.
#[derive(Debug)]
struct Flag {
    name: String,
    /// The tables that lead to the field, and the field.
    place: Vec<&'static str>,
    kind: Kind,
    heading: &'static str,
    help: String,
    /// What it can be, in words.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the documentation's tables tell it"))]
    possible: String,
}

/// Chooses the optimiser, and with it which other options there are.
const OPTIMISER: &[&str] = &["optimiser", "kind"];

/// Every flag, in the order of the help.
static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| {
    let mut flags = Vec::new();
    let tasks = || TaskConfig::NAMES.iter().filter_map(|name| Some((*name, TaskConfig::by_name(name)?)));
    let models = || Model::NAMES.iter().filter_map(|name| Some((*name, Model::by_name(name)?)));
    let optimisers = || OptimiserConfig::NAMES.iter().filter_map(|name| Some((*name, OptimiserConfig::by_name(name)?)));
    let mut add = |heading, table: &[&'static str], options: Vec<Shared>| {
        flags.extend(options.into_iter().map(|Shared { name, kind, help, possible }| {
            let place = [table, &[name]].concat();
            Flag { name: flag_name(&place), place, kind, heading, help, possible }
        }));
    };
    // Which task and model makes no difference to the names.
    if let Some(config) = first_config() {
        add("Training", &[], alone(&config));
        add("Curriculum", &["curriculum"], alone(&config.curriculum));
        let (name, kind, help) = ("kind", Kind::Word(OptimiserConfig::NAMES), "The optimiser".to_owned());
        let possible = format!("one of {}", OptimiserConfig::NAMES.join(", "));
        add("Optimiser", &["optimiser"], vec![Shared { name, kind, help, possible }]);
        add("Optimiser", &["optimiser"], merged(optimisers()));
        add("Network", &["network"], alone(&config.network));
    }
    add("Network", &["network", "memory"], merged(models()));
    add("Task", &["task"], merged(tasks()));
    flags
});

/// The default configuration of the first task.
fn first_config() -> Option<Config> {
    Some(Config::default_for(TaskConfig::by_name(TaskConfig::NAMES.first()?)?, Model::by_name("sam")?))
}

/// The options of what there is only one of.
fn alone(config: &impl Declared) -> Vec<Shared> {
    let options = config.options().into_iter();
    options
        .map(|option| Shared { name: option.name, kind: option.kind, possible: option.possible(), help: option.help })
        .collect()
}

/// The flag of a field: its own name, but in the tables whose names say what it is about.
fn flag_name(place: &[&str]) -> String {
    let name = match place {
        ["optimiser", "kind"] => "optimiser".into(),
        ["curriculum", "on"] => "curriculum".into(),
        ["curriculum", field] => format!("curriculum-{field}"),
        [.., field] => (*field).to_owned(),
        [] => String::new(),
    };
    name.replace('_', "-")
}

/// An option of one or several tasks, models or optimisers.
struct Shared {
    name: &'static str,
    kind: Kind,
    /// What it is, with those whose option it is where they are not all, or where it is another thing to some.
    help: String,
    /// What it can be, likewise.
    possible: String,
}

/// What is told of an option, and of whose.
type Told<'a> = Vec<(String, Vec<&'a str>)>;

/// Adds what is told of an owner's option to what is told of others'.
fn tell<'a>(told: &mut Told<'a>, text: String, owner: &'a str) {
    match told.iter_mut().find(|(other, _)| *other == text) {
        Some((_, owners)) => owners.push(owner),
        None => told.push((text, vec![owner])),
    }
}

/// "128 for dnc, dam; 1000000 for sam"; what is the same for all stands alone.
fn for_owners(told: &Told<'_>) -> String {
    match &told[..] {
        [(text, _)] => text.clone(),
        _ => {
            let told = told.iter().map(|(text, owners)| format!("{text} for {}", owners.join(", ")));
            told.collect::<Vec<_>>().join("; ")
        }
    }
}

/// The options of several tasks, models or optimisers, each once.
fn merged<T: Declared>(owners: impl Iterator<Item = (&'static str, T)>) -> Vec<Shared> {
    let owners: Vec<_> = owners.map(|(owner, config)| (owner, config.options())).collect();
    let with_options = owners.iter().filter(|(_, options)| !options.is_empty()).count();
    let options = || owners.iter().flat_map(|(owner, options)| options.iter().map(move |option| (*owner, option)));
    let mut shared: Vec<Shared> = Vec::new();
    for (_, option) in options() {
        if shared.iter().any(|other| other.name == option.name) {
            continue;
        }
        let (mut helps, mut possible) = (Told::new(), Told::new());
        for (owner, same) in options().filter(|(_, other)| other.name == option.name) {
            tell(&mut helps, same.help.clone(), owner);
            tell(&mut possible, same.possible(), owner);
        }
        let help = match &helps[..] {
            [(help, owners)] if owners.len() == with_options => help.clone(),
            _ => {
                let helps = helps.iter().map(|(help, owners)| format!("{}: {}", owners.join(", "), going_on(help)));
                helps.collect::<Vec<_>>().join("; ")
            }
        };
        shared.push(Shared { name: option.name, kind: option.kind, help, possible: for_owners(&possible) });
    }
    shared
}

/// A sentence as it goes on after a colon.
fn going_on(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}", first.to_lowercase(), letters.as_str()))
}

/// A whole number from 0 on: 64, 16k or 1M, k being 1,024 and M being 1,024 k. TOML's whole numbers end where these do.
pub fn with_unit(text: &str) -> Option<i64> {
    let (digits, factor) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1 << 10),
        None => text.strip_suffix('M').map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    let number = digits.parse::<i64>().ok().and_then(|number| number.checked_mul(factor));
    number.filter(|number| *number >= 0)
}

fn whole(text: &str) -> Result<i64, String> {
    with_unit(text).ok_or_else(|| {
        format!("a whole number from 0 to {} was expected, such as 64, 16k (16 times 1,024) or 1M", i64::MAX)
    })
}

/// Flags that other programs call otherwise.
const ALIASES: &[(&str, &str)] = &[("learning-rate", "lr"), ("optimiser", "optimizer")];

impl Flag {
    fn arg(&'static self, default: &str) -> Arg {
        let (value_name, parser) = match self.kind {
            // TOML's whole numbers end here.
            Kind::Whole => ("N", ValueParser::from(whole)),
            Kind::Number => ("X", value_parser!(f64).into()),
            Kind::Text => ("TEXT", value_parser!(String)),
            Kind::Word(names) => ("NAME", PossibleValuesParser::new(names).into()),
            Kind::Switch => ("true|false", value_parser!(bool)),
        };
        let switch = matches!(self.kind, Kind::Switch);
        let arg = Arg::new(self.name.as_str())
            .long(self.name.as_str())
            .value_name(value_name)
            .value_parser(parser)
            .allow_negative_numbers(!switch)
            .help_heading(self.heading)
            .help(format!("{} [default: {default}]", self.help))
            .aliases(ALIASES.iter().filter(|(name, _)| *name == self.name).map(|(_, alias)| *alias));
        if switch { arg.num_args(0..=1).require_equals(true).default_missing_value("true") } else { arg }
    }

    /// What was given for it.
    fn value(&self, matches: &ArgMatches) -> Option<Value> {
        match self.kind {
            Kind::Whole => matches.get_one::<i64>(&self.name).copied().map(Value::Integer),
            Kind::Number => matches.get_one::<f64>(&self.name).copied().map(Value::Float),
            Kind::Word(_) | Kind::Text => matches.get_one::<String>(&self.name).cloned().map(Value::String),
            Kind::Switch => matches.get_one::<bool>(&self.name).copied().map(Value::Boolean),
        }
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
            optimisers: all(OptimiserConfig::NAMES, &with),
        }
    }

    /// A flag's default, as it would be typed; where there are several, with what each is for.
    fn text(&self, flag: &Flag) -> String {
        let owners = match flag.place[..] {
            // Which optimiser is the default is no matter of the optimiser.
            ["optimiser", ..] if flag.place != OPTIMISER => &self.optimisers,
            ["network", "memory", ..] => &self.models,
            _ => &self.tasks,
        };
        let mut values = Told::new();
        for (owner, table) in owners {
            let Some(value) = find(&mut table.clone(), &flag.place).map(|value| typed(value)) else { continue };
            tell(&mut values, value, owner);
        }
        for_owners(&values)
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

/// Whether the parameters of a network depend on a memory's option.
fn shapes_parameters(flag: &Flag) -> bool {
    let shape = |model: &Model| (model.interface(), model.read_len());
    Model::NAMES.iter().filter_map(|name| Model::by_name(name)).any(|model| {
        let option = model.options().into_iter().find(|option| flag.place.last() == Some(&option.name));
        let Some(ConfigOption { name, value, .. }) = option else { return false };
        let other = match value {
            option::Value::Whole(number) => option::Value::Whole(number + 1),
            option::Value::Number(number) => option::Value::Number(number / 2.0),
            option::Value::Switch(on) => option::Value::Switch(!on),
            option::Value::Text(text) => option::Value::Text(text),
        };
        let mut changed = model.clone();
        changed.set_option(name, &other) && shape(&changed) != shape(&model)
    })
}

/// The flags of a memory that the parameters of its network do not depend on: a trained network works with others than those
/// it was trained with.
#[derive(Debug, Default)]
pub struct MemoryOptions(Options);

impl MemoryOptions {
    fn flags() -> impl Iterator<Item = &'static Flag> {
        FLAGS.iter().filter(|flag| flag.place.starts_with(&["network", "memory"]) && !shapes_parameters(flag))
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
        self.0.iter().map(|(flag, _)| flag.name.as_str())
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

    /// The text that was given for a flag, if it was.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(flag, _)| flag.name == name)?.1.as_str()
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
            let Some(field) = find(&mut table, &flag.place) else {
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
        .filter(|other| other.place.starts_with(tables) && find(&mut table, &other.place).is_some())
        .map(|other| format!("--{}", other.name))
        .collect();
    let has = if has.is_empty() { "it has none".into() } else { format!("it has {}", has.join(", ")) };
    Mistake(format!("--{} is no option of the {what} {owner}; {has}", flag.name))
}

/// A table of the documentation: the options under a heading, those of memories or the others.
#[cfg(test)]
pub fn table(heading: &str, of_memories: bool) -> String {
    let defaults = Defaults::new();
    let flags = FLAGS.iter().filter(|flag| flag.heading == heading && flag.place.contains(&"memory") == of_memories);
    let rows = flags.map(|flag| {
        let Flag { name, help, possible, .. } = flag;
        format!("| `--{name}` | {help} | {} | {possible} |\n", defaults.text(flag))
    });
    format!("| option | what it is | default | what it can be |\n|---|---|---|---|\n{}", rows.collect::<String>())
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
            for (model, optimiser) in
                Model::NAMES.iter().flat_map(|model| OptimiserConfig::NAMES.iter().map(move |o| (model, o)))
            {
                let config = given(&["--optimiser", optimiser]).apply(base(task, model)).unwrap();
                let mut table = Table::try_from(config).unwrap();
                all.extend(
                    FLAGS.iter().filter(|flag| find(&mut table, &flag.place).is_some()).map(|flag| flag.name.as_str()),
                );
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
        for flag in FLAGS.iter() {
            assert!(all.contains(&flag.name.as_str()), "--{} belongs to nothing", flag.name);
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
                for flag in FLAGS.iter() {
                    let Some(value) = find(&mut table, &flag.place).map(|value| typed(value)) else { continue };
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
    fn help_says_whose_an_option_is() {
        let help = |name: &str| FLAGS.iter().find(|flag| flag.name == name).unwrap().help.as_str();
        assert_eq!(help("memory-size"), "Words in memory, N");
        assert_eq!(help("reads"), "sam, sdnc: words read by a head, K");
        assert_eq!(help("curriculum-start"), "Highest level at first; 0: the task's");
        assert_eq!(
            help("data"),
            "babi, haystack, omniglot: the folder of the official archives; sequences: the file, .jsonl or .npz; text: the \
             file of text, as it is or compressed with gzip"
        );
    }

    #[test]
    fn a_trained_network_takes_a_memory_that_its_parameters_fit() {
        let names: Vec<_> = MemoryOptions::flags().map(|flag| flag.name.as_str()).collect();
        assert!(
            ["memory-size", "reads", "access-threshold", "index", "index-checks"].iter().all(|n| names.contains(n))
        );
        assert!(["word-size", "heads", "masked-content", "sharpened-links"].iter().all(|name| !names.contains(name)));
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
            "--decay is no option of the optimiser adam; it has --optimiser, --learning-rate, --epsilon, --beta1, --beta2"
        );
        assert!(
            mistake(&["--momentum", "1", "--optimiser", "rmsprop"], "copy", "sam")
                .starts_with("--momentum 1 does not work")
        );
        assert_eq!(OptimiserConfig::NAMES, ["rmsprop", "adam"]);
    }
}
