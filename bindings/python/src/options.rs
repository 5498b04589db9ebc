//! What Python asks of models and their options: names, kinds, defaults, ranges and help.

use pyo3::prelude::*;
use serde_json::{Value, json};
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

/// The names of the controllers, the default first; and of every model its name with the options of its memory: as JSON.
#[pyfunction]
pub fn declarations() -> String {
    let models: serde_json::Map<_, _> = Model::NAMES
        .iter()
        .filter_map(|name| {
            let options: Vec<_> = Model::by_name(name)?.options().iter().map(declaration).collect();
            Some(((*name).to_owned(), Value::from(options)))
        })
        .collect();
    json!({ "controllers": ControllerKind::NAMES, "models": models }).to_string()
}
