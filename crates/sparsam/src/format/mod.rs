//! What this library's files hold, and how they are read when nobody vouches for them.

pub mod checkpoint;
pub mod key_value;
pub mod state;
mod tensors;
