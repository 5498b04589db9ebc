//! What is asked of the operating system: pages of zeros, the memory there is, whole files. It knows nothing of networks.

mod available;
pub mod file;
pub(crate) mod pages;

pub use available::available_bytes;
