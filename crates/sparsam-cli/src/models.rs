//! What there is to know of models by their names alone.

use sparsam::Model;
use sparsam::memory::MemoryConfig;
use sparsam::option::Declared;

/// The default configuration of a model's memory; none of a model without one.
fn default_memory(model: &str) -> Option<Model> {
    Model::by_name(model).filter(|model| model.config().is_some())
}

/// Whether a model has temporal links.
pub fn is_linked(model: &str) -> bool {
    default_memory(model).is_some_and(|memory| memory.config().is_some_and(MemoryConfig::has_links))
}

/// Whether a model has an index, which can be chosen.
pub fn has_index(model: &str) -> bool {
    default_memory(model).is_some_and(|memory| memory.option("index").is_some())
}

/// The models that can be measured: all that have a memory; those with links last, and of either the dense ones first.
pub fn with_memory() -> Vec<&'static str> {
    let mut models: Vec<_> = Model::NAMES.iter().copied().filter(|name| default_memory(name).is_some()).collect();
    models.sort_by_key(|model| (is_linked(model), has_index(model)));
    models
}
