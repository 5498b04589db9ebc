#![doc = include_str!("../README.md")]
//!
//! # Where to look
//!
//! | for | see |
//! |---|---|
//! | sizes, parameters and their first values | [`NetworkConfig`], [`Network`], [`Parameters`], [`network`] |
//! | batches, gradients, streams, carried memory | [`Runner`] |
//! | episodes that end within a sequence | [`Sequences`] |
//! | models, their options and equations | [`Model`], [`memory`] |
//! | controllers | [`ControllerKind`] |
//! | indexes | [`index`] |
//! | losses, optimisers, gradient clipping | [`nn`] |
//! | files | [`checkpoint`], [`state`], [`key_value`] |
//! | a memory without a network | [`memory`] |
//! | entries of keys and values, found by their keys | [`memory::KeyValueMemory`] |
//!
//! The folder `examples` has `train`, `stream`, `save_and_resume` and `memory_alone`.
//!
//! Batches are time-major everywhere: T × rows × elements, time step after time step, in each row after row.
//!
//! # Stability
//!
//! All public items follow semantic versioning, but for the hidden module `internal`, which benchmarks and the command use.
//! Structs and enums that are `#[non_exhaustive]` may gain fields and variants in a minor version. So may the
//! configurations of the [models](memory): write `sam::Config { memory_size: 1000, ..Default::default() }`. New versions
//! read the [checkpoints](checkpoint) and [states](state) of older ones.
//!
//! A memory can be driven by a controller of your own ([`memory`]), and an index searched without a memory
//! ([`index::Index`]). Memories and indexes of your own do not plug in: [`memory::Memory`], [`memory::MemoryConfig`] and
//! [`index::Index`] are sealed, and the trait of controllers is private.

mod arrays;
mod controller;
mod error;
mod format;
pub mod index;
mod kernels;
pub mod memory;
pub mod network;
pub mod nn;
pub mod option;
mod system;

pub use arrays::{Array, Arrays, NO_WORD, Values};
pub use controller::ControllerKind;
pub use error::Error;
pub use format::{checkpoint, key_value, state};
pub use kernels::Real;
pub use memory::Model;
pub use network::{Network, NetworkConfig, Parameters, Runner, Sequences};

/// What this project's benchmarks and command use. Exempt from semantic versioning: anything here may change or go at any
/// time.
#[doc(hidden)]
pub mod internal {
    pub use crate::error::size;
    pub use crate::index::sample::{Distribution, Sample};
    pub use crate::kernels::{matrix, simd};
    pub use crate::memory::sparse::links::{Direction, Links};
    pub use crate::system::{available_bytes, available_if_fewer_than, file, notice, threads};
}
