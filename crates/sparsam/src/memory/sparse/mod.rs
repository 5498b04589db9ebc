//! What sparse memories are made of.

pub mod content;
pub mod links;
pub mod ring;
pub mod segments;
pub mod slots;
pub mod store;
pub mod words;
