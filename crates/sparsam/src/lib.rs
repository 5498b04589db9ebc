//! Recurrent networks with an external memory of millions of words that train on an ordinary CPU.

mod arrays;
mod controller;
mod error;
mod format;
pub mod index;
mod kernels;
pub mod memory;
pub mod network;
pub mod nn;
mod system;

pub use arrays::{Array, Arrays, NO_WORD, Values};
pub use controller::ControllerKind;
pub use error::Error;
pub use format::{checkpoint, state};
pub use kernels::Real;
pub use memory::Model;
pub use network::{Network, NetworkConfig, Parameters, Runner};
pub use system::{available_bytes, file, notice, threads};

/// The kernels that benchmarks time, and the choice of the instruction set.
pub mod real {
    pub use crate::kernels::{Real, matrix, simd};
}

/// The README's example is a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
