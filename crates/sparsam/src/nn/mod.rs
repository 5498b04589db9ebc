//! What any network needs: losses, optimisers, limits of gradients.

pub mod clip;
pub mod loss;
pub mod optimiser;
