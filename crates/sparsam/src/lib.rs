//! Recurrent networks with an external memory of millions of words that train on an ordinary CPU.

mod arrays;
pub mod checkpoint;
mod error;
pub mod file;
pub mod index;
pub mod memory;
pub mod network;
pub mod nn;
pub mod real;
pub mod state;
mod tensors;

pub use arrays::{Array, Arrays, NO_WORD, Values};
pub use error::Error;
pub use memory::Model;
pub use network::{Network, NetworkConfig, Parameters, Runner};
pub use real::Real;

/// The README's example is a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
