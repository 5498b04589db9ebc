//! What any network needs: layers, losses, optimisers.

pub mod loss;
pub mod optimiser;
