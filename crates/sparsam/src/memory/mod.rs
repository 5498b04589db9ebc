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
//! [`KeyValueMemory`] is another kind: no controller drives it, and entries are written and read by whoever has it.
//!
//! # The order of calls
//!
//! * **New, or after [`reset`](Memory::reset)**: every word is zero (or the model's first content), nothing was read, and
//!   the tape is empty.
//! * **After [`fill`](Memory::fill)**: as after a reset, but every word holds the content that it was given.
//! * **[`start_episode`](Memory::start_episode)** keeps the memory and empties the tape. Memory is carried over the start of
//!   an episode; gradients are not.
//! * **[`step`](Memory::step)** writes, then reads. With `record`, it puts on the tape what the backward pass needs; without,
//!   it starts a new episode and leaves the tape empty, so that a stream runs in constant memory.
//! * **[`step_back`](Memory::step_back)** is the backward pass of the latest step on the tape: it turns the gradient of the
//!   reads into the gradient of the interface, and undoes the step. Once every step is undone, the memory is bit for bit what
//!   it was when the episode started.
//! * **[`restart`](Memory::restart)** makes the memory as new between two steps, on the tape: going back undoes it together
//!   with the step after it, and no gradient passes over it.
//! * **[`replay`](Memory::replay)** redoes all undone steps without computing them again: the memory is bit for bit what it
//!   was before the backward pass. A memory can thus be trained on a piece of a sequence and carried on to the next piece.
//! * **[`forget_undone`](Memory::forget_undone)** keeps the memory as the backward pass left it, with the steps still in force
//!   on the tape.
//! * **[`forget_gradients`](Memory::forget_gradients)** drops the gradients of the undone steps: none reaches the steps before.
//! * **[`save`](Memory::save)** and **[`load`](Memory::load)** copy the state of a memory to another one, at the cost of the
//!   words written.

#[cfg(test)]
mod conformance;
mod dense;
mod gates;
pub mod interface;
pub mod key_value;
mod models;
mod options;
mod sharpen;
mod softmax;
pub(crate) mod sparse;
mod trace;

pub use key_value::KeyValueMemory;
pub use models::*;
pub use options::{Footprint, Sizes};

use std::time::Duration;

use self::interface::Field;
use crate::index::Misses;
use crate::kernels::both::Both;
use crate::option::Declared;
use crate::{Arrays, Error, Real};

/// An external memory. See the [module](self) for the order of calls. Sealed: the models are this crate's.
pub trait Memory<T: Real>: sealed::Memory + Send {
    /// Length of the interface vector that drives one step.
    fn interface_len(&self) -> usize;

    /// Length of what one step reads: heads × word size, head after head.
    fn read_len(&self) -> usize;

    /// Resets the memory: as new, with an empty tape.
    fn reset(&mut self);

    /// Resets the memory, and then stores every word: `content` is given each word's number and writes its elements. The cost
    /// is that of all words.
    ///
    /// No word counts as accessed or read, so that the first words to be overwritten are those with the lowest numbers. There
    /// are no temporal links between them.
    fn fill(&mut self, content: &mut dyn FnMut(usize, &mut [T]));

    /// Starts an episode: keeps the memory and empties the tape.
    fn start_episode(&mut self);

    /// Writes, then reads. With `record`, puts on the tape what [`step_back`](Self::step_back) will need; without,
    /// starts a new episode.
    fn step(&mut self, interface: &[T], read: &mut [T], record: bool);

    /// Makes the memory as new, as [`reset`](Self::reset) does, but keeps the tape, and on it what is lost:
    /// [`step_back`](Self::step_back) of the step after a restart undoes the restart as well, so that the memory is again
    /// what it was before it. No gradient passes over a restart. The cost is that of the words that were written, or of all
    /// words of a dense memory, however many restarts an episode has.
    ///
    /// Going back over a restart restores every bit. An approximate index is rebuilt from the words, as by
    /// [`load`](Self::load).
    fn restart(&mut self);

    /// The backward pass of the latest step on the tape that is not undone yet, which it undoes. `interface` is the one that
    /// drove the step, and `read_gradient` the gradient of what it read. The gradient of the interface is written to
    /// `interface_gradient`; gradients of what passes from step to step are kept inside.
    ///
    /// # Panics
    /// If no step is left on the tape.
    fn step_back(&mut self, interface: &[T], read_gradient: &[T], interface_gradient: &mut [T]);

    /// Redoes every step and restart that was undone.
    fn replay(&mut self);

    /// Forgets every step and restart that was undone, as the next [`step`](Self::step) would; those in force stay on the
    /// tape.
    fn forget_undone(&mut self);

    /// No gradient comes from the steps that were undone: the next [`step_back`](Self::step_back) begins as that of the
    /// last step on the tape does.
    fn forget_gradients(&mut self);

    /// Puts everything that a later step could depend on into `to`: the words ever written, or all words of a dense memory,
    /// the order of accesses, and the last reads. The cost is that of these arrays. The tape is kept, and is not saved.
    fn save(&mut self, to: &mut Arrays<T>);

    /// Restores the state that a memory of the same configuration [`save`](Self::save)d, with an empty tape, and takes its
    /// arrays out of `from`. With an exact index, later steps are then the same to the bit. An approximate index is rebuilt
    /// from the words, and may find other words than the saved one would have found.
    ///
    /// # Errors
    /// [`Error::State`] names the array that does not fit. The memory is then unusable until [`reset`](Self::reset) is
    /// called.
    fn load(&mut self, from: &mut Arrays<T>) -> Result<(), Error>;

    /// Puts into `to` what the latest step on the tape wrote and read, and with which weights and gates; `interface` is the
    /// one that drove it. The arrays have the same names and shapes at every step: the documentation of each memory lists
    /// them. Steps themselves do no work for this.
    ///
    /// # Panics
    /// If no step is left on the tape.
    fn trace(&self, interface: &[T], to: &mut Arrays<T>);

    /// Words written to or cleared since the memory was as new, a word counted once; none where every word has its place from the
    /// start, as in dense memories.
    fn words_written(&mut self) -> Option<usize> {
        None
    }

    /// From now on, what searches for similar words take is summed up. That is two looks at the clock for each.
    fn time_searches(&mut self) {}

    /// What searches took since [`time_searches`](Self::time_searches); zero for a memory without an index.
    fn search_time(&self) -> Duration {
        Duration::ZERO
    }

    /// From now on every search is followed by an exact one, which says what it missed and changes nothing. A search then takes
    /// as long as all written words take, its time included, and written words are held once more.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] or [`Error::MappingRefused`] if there is no room for another index.
    fn compare_searches(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// What searches missed since [`compare_searches`](Self::compare_searches); nothing wanted for a memory without an index.
    fn search_misses(&self) -> Misses {
        Misses::default()
    }

    /// Bytes that the tape of `steps` steps may take beyond those already taken; 0 for a memory whose tape is small beside the
    /// memory itself.
    fn tape_growth(&self, _steps: usize) -> u128 {
        0
    }

    /// Bytes that the first [`restart`](Self::restart) of an episode keeps of the memory as it stands; 0 where a restart is
    /// kept as a step is.
    fn restart_growth(&self) -> u128 {
        0
    }
}

/// The configuration of a memory: its sizes and options. Sealed, as [`Memory`] is.
pub trait MemoryConfig: sealed::Config + Sizes + Declared + 'static {
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
        Self: Sized,
    {
        Self::makers().of::<Maker<Self, T>>()(self)
    }

    /// Length of what a step reads.
    fn read_len(&self) -> usize {
        self.heads() * self.word_size()
    }
}

/// Makes the memory of a configuration.
type Maker<C, T> = fn(&C) -> Result<Box<dyn Memory<T>>, Error>;

/// The traits of this module can be called outside of this crate, but not implemented: methods may be added. The registry of
/// models implements these.
mod sealed {
    use super::{Both, Maker};

    pub trait Memory {}

    pub trait Config {
        fn makers() -> &'static Both<Maker<Self, f32>, Maker<Self, f64>>
        where
            Self: Sized;
    }
}
