//! What is asked of the operating system: pages of zeros, the memory there is, whole files; and what it does not do. It
//! knows nothing of networks.

mod available;
pub mod file;
pub mod notice;
pub(crate) mod pages;
pub mod threads;

pub use available::{available_bytes, available_if_fewer_than};
