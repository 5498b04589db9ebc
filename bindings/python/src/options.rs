//! What Python asks of models and their options: names, kinds, defaults, ranges and help.

use pyo3::prelude::*;
use serde_json::{Value, json};
use sparsam::memory::{key_value, sam};
use sparsam::option::{ConfigOption, Declared, Kind};
use sparsam::{ControllerKind, Model};
use sparsam_train::{Config, TaskConfig};

/// What the package calls the fields of a configuration that have another name there, after those of `torch.nn`.
const NAMES: [(&str, &str); 4] =
    [("heads", "num_heads"), ("reads", "num_reads"), ("links", "num_links"), ("batch_size", "rows")];

/// What the package calls a field of a configuration.
pub fn python_name(field: &'static str) -> &'static str {
    NAMES.iter().find(|(name, _)| *name == field).map_or(field, |(_, name)| *name)
}

fn declaration(option: &ConfigOption) -> Value {
    plain(python_name(option.name), option)
}

/// An option under a name. Those of tasks and training are called as the command calls them.
fn plain(name: &str, option: &ConfigOption) -> Value {
    let (kind, words) = match option.kind {
        Kind::Whole => ("int", &[][..]),
        Kind::Number => ("float", &[][..]),
        Kind::Switch => ("bool", &[][..]),
        Kind::Text => ("str", &[][..]),
        Kind::Word(words) => ("str", words),
    };
    json!({
        "name": name,
        "field": option.name,
        "type": kind,
        "words": words,
        "default": option.value,
        "possible": option.possible(),
        "help": option.help,
    })
}

/// The names of the controllers, the default first; of every model its name and the options of its memory; and the options of a
/// key-value memory; of every task its name and options; and the options of training: as JSON.
#[pyfunction]
pub fn declarations() -> String {
    let options = |name: &str| Model::by_name(name).map_or_else(Vec::new, |model| model.options());
    let models = Model::NAMES.iter().map(|name| {
        let options: Vec<_> = options(name).iter().map(declaration).collect();
        json!({ "name": name, "options": options })
    });
    let key_value: Vec<_> = key_value::Config::default().options().iter().map(declaration).collect();
    let tasks = TaskConfig::NAMES.iter().filter_map(|name| TaskConfig::by_name(name)).map(|task| {
        let options: Vec<_> = task.options().iter().map(|option| plain(option.name, option)).collect();
        json!({ "name": task.name(), "options": options })
    });
    json!({
        "controllers": ControllerKind::NAMES,
        "models": models.collect::<Vec<_>>(),
        "key_value": key_value,
        "tasks": tasks.collect::<Vec<_>>(),
        "training": training(),
    })
    .to_string()
}

/// The options of training and of its optimiser, without the seed, which in Python is a task's.
fn training() -> Vec<Value> {
    let task = TaskConfig::Copy(sparsam_train::task::Copy::default());
    let config = Config::default_for(task, Model::Sam(sam::Config::default()));
    let options = [config.options(), config.optimiser.options()].concat();
    options.iter().filter(|option| option.name != "seed").map(|option| plain(option.name, option)).collect()
}
