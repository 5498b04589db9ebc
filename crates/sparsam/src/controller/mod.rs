//! What drives a memory from one time step to the next.

pub mod lstm;
