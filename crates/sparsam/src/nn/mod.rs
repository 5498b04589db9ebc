//! Independent of the model: losses, optimisers, limits of the gradient's norm, averages of the weights.

pub mod average;
pub mod clip;
pub mod loss;
pub mod optimiser;
