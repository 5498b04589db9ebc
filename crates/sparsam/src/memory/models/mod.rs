//! The memories, one file or folder each, forward and backward side by side.

pub mod dam;
pub mod dnc;
pub mod ntm;
pub mod sam;
pub mod sdnc;
