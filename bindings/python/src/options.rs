//! What Python asks of models and their options: names, kinds, defaults, ranges and help.

use pyo3::prelude::*;
use serde_json::{Value, json};
use sparsam::memory::key_value;
use sparsam::option::{ConfigOption, Declared, Kind};
use sparsam::{ControllerKind, Model};

/// What the package calls the fields of a configuration that have another name there, after those of `torch.nn`.
const NAMES: [(&str, &str); 4] =
    [("heads", "num_heads"), ("reads", "num_reads"), ("links", "num_links"), ("batch_size", "rows")];

/// What the package calls a field of a configuration.
pub fn python_name(field: &'static str) -> &'static str {
    NAMES.iter().find(|(name, _)| *name == field).map_or(field, |(_, name)| *name)
}

fn declaration(option: &ConfigOption) -> Value {
    let (kind, words) = match option.kind {
        Kind::Whole => ("int", &[][..]),
        Kind::Number => ("float", &[][..]),
        Kind::Switch => ("bool", &[][..]),
        Kind::Text => ("str", &[][..]),
        Kind::Word(words) => ("str", words),
    };
    json!({
        "name": python_name(option.name),
        "field": option.name,
        "type": kind,
        "words": words,
        "default": option.value,
        "possible": option.possible(),
        "help": option.help,
    })
}

/// The names of the controllers, the default first; of every model its name and the options of its memory; and the options of a
/// key-value memory: as JSON.
#[pyfunction]
pub fn declarations() -> String {
    let options = |name: &str| Model::by_name(name).map_or_else(Vec::new, |model| model.options());
    let models = Model::NAMES.iter().map(|name| {
        let options: Vec<_> = options(name).iter().map(declaration).collect();
        json!({ "name": name, "options": options })
    });
    let key_value: Vec<_> = key_value::Config::default().options().iter().map(declaration).collect();
    json!({ "controllers": ControllerKind::NAMES, "models": models.collect::<Vec<_>>(), "key_value": key_value })
        .to_string()
}
