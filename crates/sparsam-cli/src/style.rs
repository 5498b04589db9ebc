//! In what way a command tells of what it does.

/// How the course of training is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Human,
    Json,
    Quiet,
}
