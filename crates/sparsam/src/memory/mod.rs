//! External memories, driven by a controller one time step at a time.
//!
//! A [`Network`](crate::Network) drives one by itself. A controller of your own can drive it as well: make a memory by
//! [`MemoryConfig::build`], lay out interface vectors by [`MemoryConfig::interface`], and call [`Memory::step`] and
//! [`Memory::step_back`].
//!
//! ```
//! use sparsam::memory::{MemoryConfig, sam};
//!
//! # fn main() -> Result<(), sparsam::Error> {
//! let config = sam::Config { memory_size: 1000, word_size: 4, heads: 1, reads: 2, ..Default::default() };
//! let mut memory = config.build::<f32>()?;
//! let (interface, mut read) = (vec![0.5; memory.interface_len()], vec![0.0; memory.read_len()]);
//! memory.step(&interface, &mut read, true);
//!
//! // The gradient of the loss with respect to what was read, and then to the interface.
//! let mut interface_gradient = vec![0.0; memory.interface_len()];
//! memory.step_back(&interface, &[1.0; 4], &mut interface_gradient);
//! # Ok(())
//! # }
//! ```
//!
//! # The order of calls
//!
//! * **Made or [`reset`](Memory::reset)**: every word is zero (or whatever the model starts with), nothing was read,
//!   the tape is empty.
//! * **[`fill`](Memory::fill)**: as after a reset, but every word holds what it was given: a memory preloaded with what
//!   its user knows.
//! * **[`start_episode`](Memory::start_episode)** keeps the memory as it stands and empties the tape. Gradients will
//!   stop here: this is the border that a carried memory crosses and a gradient does not.
//! * **[`step`](Memory::step)** writes, then reads. With `record`, it puts on the tape what the backward pass needs; without,
//!   it starts a new episode and leaves the tape empty, so that a stream runs in constant memory.
//! * **[`step_back`](Memory::step_back)** undoes the latest step on the tape and turns the gradient of its reads into
//!   that of its interface. After as many steps back as there were steps, the memory is bit for bit what it was
//!   when the episode started.
//! * **[`replay`](Memory::replay)** takes all undone steps again, without computing them again: the memory is bit for
//!   bit what it was before the first step back. So a memory can be trained on a piece of a sequence and then carried
//!   on to the next piece.
//! * **[`save`](Memory::save)** and **[`load`](Memory::load)** carry what it remembers to another memory, at the cost
//!   of what was written: to a file, and over the end of the program.

#[cfg(test)]
mod conformance;
mod dense;
mod gates;
pub mod interface;
mod models;
mod options;
mod sharpen;
mod softmax;
pub(crate) mod sparse;
mod trace;

pub use models::{dam, dnc, ntm, sam, sdnc};
pub use options::{Footprint, Sizes};

use serde::{Deserialize, Serialize};

use self::interface::Field;
use crate::option::{ConfigOption, Declared, Value};
use crate::{Arrays, Error, Real};

/// An external memory. See the [module](self) for the order of calls. Sealed: the models are this crate's.
pub trait Memory<T: Real>: sealed::Sealed + Send {
    /// Length of the interface vector that drives one step.
    fn interface_len(&self) -> usize;

    /// Length of what one step reads: heads × word size, head after head.
    fn read_len(&self) -> usize;

    /// Makes the memory as it was when made, the tape empty.
    fn reset(&mut self);

    /// Makes the memory as it was when made, except that every word was stored before the episode started:
    /// `content` is given each word's number and writes its numbers. Costs as much as the words take.
    ///
    /// Nothing was accessed or read yet, so that the words count as unused, all alike: the first words to be overwritten
    /// are those with the lowest numbers. There are no temporal links between them.
    fn fill(&mut self, content: &mut dyn FnMut(usize, &mut [T]));

    /// Starts an episode on the memory as it stands: empties the tape.
    fn start_episode(&mut self);

    /// Writes, then reads. With `record`, puts on the tape what [`step_back`](Self::step_back) will need; without,
    /// starts a new episode.
    fn step(&mut self, interface: &[T], read: &mut [T], record: bool);

    /// Undoes the latest step on the tape that is still in force. `interface` is what drove it; `read_gradient` is
    /// the gradient of what it read; the gradient of its interface is written to `interface_gradient`, those of
    /// what passed from one step to the next are kept inside.
    fn step_back(&mut self, interface: &[T], read_gradient: &[T], interface_gradient: &mut [T]);

    /// Takes again, at once, every step that was undone.
    fn replay(&mut self);

    /// Puts all that a later step could depend on into `to`: the words ever written, or all of a dense memory, with
    /// what was accessed and read. Costs what it puts there. The tape stays as it is, and is not saved.
    fn save(&mut self, to: &mut Arrays<T>);

    /// Makes the memory what a memory of the same configuration [`save`](Self::save)d, the tape empty, and takes the
    /// arrays that tell of it. With an exact index it goes on from there to the bit; an approximate one is built anew
    /// from the words, and may find others than the one that was saved would have found.
    ///
    /// # Errors
    /// [`Error::State`] names the array that does not fit. The memory is then unusable until [`reset`](Self::reset) is
    /// called.
    fn load(&mut self, from: &mut Arrays<T>) -> Result<(), Error>;

    /// Tells what the latest step on the tape that is in force wrote and read, and with what weights and gates;
    /// `interface` is what drove it. The arrays have the same names and shapes at every step: a memory's documentation
    /// lists them. Steps themselves do nothing for this.
    ///
    /// # Panics
    /// If no step is left on the tape.
    fn trace(&self, interface: &[T], to: &mut Arrays<T>);

    /// Bytes that the tape of `steps` steps may take beyond those already taken, where that can exceed a machine. A
    /// memory whose tape is small beside the memory itself says 0.
    fn tape_growth(&self, _steps: usize) -> u128 {
        0
    }
}

/// The configuration of a memory: its sizes and options. Sealed, as [`Memory`] is.
pub trait MemoryConfig: sealed::Sealed + Sizes + Declared {
    /// Length of the interface vector.
    fn interface_len(&self) -> usize;
    /// The fields of the interface vector, in their order, with what each starts with.
    fn interface(&self) -> Vec<Field>;
    /// Checks that a memory of this configuration can be.
    ///
    /// # Errors
    /// [`Error::Config`] names the field that does not fit.
    fn validate(&self) -> Result<(), Error>;
    /// Heads that write.
    fn writers(&self) -> usize;
    /// Whether words are linked in the order in which they were written.
    fn has_links(&self) -> bool;
    /// What a tape of `steps` steps takes, with elements of `element` bytes. The configuration must be a
    /// [valid](Self::validate) one.
    fn footprint(&self, steps: usize, element: usize) -> Footprint;
    /// Makes a memory.
    ///
    /// # Errors
    /// [`Error::Config`] as [`validate`](Self::validate); [`Error::MemoryTooLarge`].
    fn build<T: Real>(&self) -> Result<Box<dyn Memory<T>>, Error>
    where
        Self: Sized;

    /// Length of what a step reads.
    fn read_len(&self) -> usize {
        self.heads() * self.word_size()
    }
}

/// The traits of this module can be called outside of this crate, but not implemented: methods may be added.
mod sealed {
    use super::{dam, dnc, ntm, sam, sdnc};

    pub trait Sealed {}
    impl<T> Sealed for sam::Sam<T> {}
    impl<T> Sealed for sdnc::Sdnc<T> {}
    impl<T> Sealed for dam::Dam<T> {}
    impl<T> Sealed for ntm::Ntm<T> {}
    impl<T> Sealed for dnc::Dnc<T> {}
}

/// The registry of models: one line for each memory.
macro_rules! models {
    ($($(#[$doc:meta])* $variant:ident($config:ty) = $name:literal,)*) => {
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
        pub enum Model {
            /// No memory: the controller alone, whichever it is; a plain LSTM, the baseline, unless another was chosen.
            Lstm,
            $($(#[$doc])* $variant($config),)*
        }

        $(
            impl sealed::Sealed for $config {}

            impl From<$config> for Model {
                fn from(config: $config) -> Self {
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
    Sam(sam::Config) = "sam",
    /// The differentiable neural computer.
    Dnc(dnc::Config) = "dnc",
    /// Dense Access Memory.
    Dam(dam::Config) = "dam",
    /// The neural Turing machine.
    Ntm(ntm::Config) = "ntm",
    /// The sparse DNC.
    Sdnc(sdnc::Config) = "sdnc",
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
