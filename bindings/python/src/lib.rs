//! The Rust side of the Python package `sparsam`.
//!
//! Thin: arrays in, arrays out, whole sequences at a time, without the interpreter's lock. What a person calls, and what
//! explains a mistake in full, is in the package's Python files.

mod array;
mod failure;
mod key_value;
mod memory;
mod network;
mod number;
mod options;
mod page;
mod rows;
mod session;
mod task;
mod threads;

use pyo3::prelude::*;

/// What the Python files of `sparsam` call.
#[pymodule]
mod _core {
    #[pymodule_export]
    use super::key_value::{KeyValueMemory, KeyValueRead};
    #[pymodule_export]
    use super::memory::{Memory, MemoryState, MemoryStep};
    #[pymodule_export]
    use super::network::{Network, State, Tape, load_checkpoint, restore_state};
    #[pymodule_export]
    use super::options::declarations;
    #[pymodule_export]
    use super::page::{largest_page, page};
    #[pymodule_export]
    use super::task::{Batch, Task};
}
