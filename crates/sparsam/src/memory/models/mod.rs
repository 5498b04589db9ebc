//! The memories, one file or folder each, forward and backward side by side, and their registry.

pub mod dam;
pub mod dnc;
pub mod ntm;
pub mod sam;
pub mod sdnc;

use serde::{Deserialize, Serialize};

use super::interface::Field;
use super::options::{Footprint, Sizes};
use super::{Maker, Memory, MemoryConfig, sealed};
use crate::kernels::both::Both;
use crate::option::{ConfigOption, Declared, Value};
use crate::{Error, Real};

/// The registry of models: one line for each memory, with the module above that it stands in.
macro_rules! models {
    ($($(#[$doc:meta])* $variant:ident in $module:ident = $name:literal,)*) => {
        /// A model: the memory beside the controller, with its configuration.
        ///
        /// ```
        /// use sparsam::Model;
        /// use sparsam::memory::{MemoryConfig, sam};
        ///
        /// let sam = sam::Config { memory_size: 4096, ..Default::default() };
        /// let model = Model::from(sam.clone());
        /// assert_eq!((model.name(), model.read_len()), ("sam", sam.heads * sam.word_size));
        /// assert_eq!(Model::by_name("lstm"), Some(Model::Lstm));
        /// ```
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "model", rename_all = "lowercase")]
        #[non_exhaustive]
        pub enum Model {
            /// No memory: the controller alone, whichever it is; a plain LSTM, the baseline, unless another was chosen.
            Lstm,
            $($(#[$doc])* $variant($module::Config),)*
        }

        $(
            impl<T> sealed::Memory for $module::$variant<T> {}

            impl sealed::Config for $module::Config {
                fn makers() -> &'static Both<Maker<Self, f32>, Maker<Self, f64>> {
                    static MAKERS: Both<Maker<$module::Config, f32>, Maker<$module::Config, f64>> =
                        Both { single: $module::Config::make, double: $module::Config::make };
                    &MAKERS
                }
            }

            impl From<$module::Config> for Model {
                fn from(config: $module::Config) -> Self {
                    Self::$variant(config)
                }
            }
        )*

        impl Model {
            /// The names of all models.
            pub const NAMES: &[&str] = &["lstm", $($name),*];

            /// The model of that name with its default configuration.
            pub fn by_name(name: &str) -> Option<Self> {
                match name {
                    "lstm" => Some(Self::Lstm),
                    $($name => Some(Self::$variant(Default::default())),)*
                    _ => None,
                }
            }

            /// The model's name.
            pub fn name(&self) -> &'static str {
                match self {
                    Self::Lstm => "lstm",
                    $(Self::$variant(_) => $name,)*
                }
            }

            /// The memory's configuration; none without a memory.
            pub fn config(&self) -> Option<&dyn MemoryConfig> {
                match self {
                    Self::Lstm => None,
                    $(Self::$variant(config) => Some(config),)*
                }
            }

            /// The memory's configuration, to be changed; none without a memory.
            pub fn config_mut(&mut self) -> Option<&mut dyn MemoryConfig> {
                match self {
                    Self::Lstm => None,
                    $(Self::$variant(config) => Some(config),)*
                }
            }

            /// Makes a memory; none for [`Lstm`](Self::Lstm).
            ///
            /// # Errors
            /// [`Error::Config`] as [`validate`](Self::validate); [`Error::MemoryTooLarge`].
            pub fn build<T: Real>(&self) -> Result<Option<Box<dyn Memory<T>>>, Error> {
                match self {
                    Self::Lstm => Ok(None),
                    $(Self::$variant(config) => config.build().map(Some),)*
                }
            }
        }
    };
}

models! {
    /// Sparse Access Memory.
    Sam in sam = "sam",
    /// The differentiable neural computer.
    Dnc in dnc = "dnc",
    /// Dense Access Memory.
    Dam in dam = "dam",
    /// The neural Turing machine.
    Ntm in ntm = "ntm",
    /// The sparse DNC.
    Sdnc in sdnc = "sdnc",
}

impl Model {
    /// Length of the interface vector; 0 without a memory.
    pub fn interface_len(&self) -> usize {
        self.config().map_or(0, MemoryConfig::interface_len)
    }

    /// The fields of the interface vector, in their order; none without a memory.
    pub fn interface(&self) -> Vec<Field> {
        self.config().map_or_else(Vec::new, MemoryConfig::interface)
    }

    /// Length of what a step reads; 0 without a memory.
    pub fn read_len(&self) -> usize {
        self.config().map_or(0, MemoryConfig::read_len)
    }

    /// Words in memory; 0 without a memory.
    pub fn memory_size(&self) -> usize {
        self.config().map_or(0, Sizes::memory_size)
    }

    /// The same model with another number of words, if it has a memory.
    #[must_use]
    pub fn with_memory_size(&self, memory_size: usize) -> Self {
        let mut model = self.clone();
        if let Some(config) = model.config_mut() {
            config.set_memory_size(memory_size);
        }
        model
    }

    /// What the memory and a tape of `steps` steps take, with elements of `element` bytes; none without a memory. See
    /// [`MemoryConfig::footprint`].
    pub fn footprint(&self, steps: usize, element: usize) -> Option<Footprint> {
        self.config().map(|config| config.footprint(steps, element))
    }

    /// Checks the memory's configuration.
    ///
    /// # Errors
    /// [`Error::Config`] names the field that does not fit.
    pub fn validate(&self) -> Result<(), Error> {
        self.config().map_or(Ok(()), MemoryConfig::validate)
    }
}

/// The options of the memory; none without a memory.
impl Declared for Model {
    fn options(&self) -> Vec<ConfigOption> {
        self.config().map_or_else(Vec::new, Declared::options)
    }

    fn set_option(&mut self, name: &str, value: &Value) -> bool {
        self.config_mut().is_some_and(|config| config.set_option(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One flag, one keyword and one line of a table stand for the options of one name.
    #[test]
    fn options_of_one_name_are_alike_in_all_models() {
        let models = || Model::NAMES.iter().filter_map(|name| Model::by_name(name));
        for (one, other) in models().flat_map(|model| models().map(move |other| (model.clone(), other))) {
            for option in one.options() {
                for same in other.options().iter().filter(|other| other.name == option.name) {
                    assert_eq!((same.kind, &same.help), (option.kind, &option.help), "{}", option.name);
                }
            }
        }
    }

    #[test]
    fn every_default_can_be() {
        for model in Model::NAMES.iter().filter_map(|name| Model::by_name(name)) {
            model.validate().unwrap();
            model.check_options().unwrap();
        }
    }
}
