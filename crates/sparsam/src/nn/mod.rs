//! Independent of the model: losses, optimisers, limits of the gradient's norm.

pub mod clip;
pub mod loss;
pub mod optimiser;
