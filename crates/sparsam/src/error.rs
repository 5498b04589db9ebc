//! What can go wrong, each in one sentence that names the thing and the way out.

/// An error of this library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration that no model can have.
    #[error("{field} = {value} does not work: {reason}")]
    Config {
        /// The field as it is written in a configuration.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would work.
        reason: String,
    },
    /// A memory that this machine cannot hold.
    #[error("the memory would need {} ({bytes} bytes), which this machine does not have; choose fewer words", gibibytes(*.bytes))]
    MemoryTooLarge {
        /// The size asked for.
        bytes: u128,
    },
    /// An argument of the wrong length.
    #[error("{what} has {found} numbers where {expected} were expected ({shape})")]
    Shape {
        /// The argument.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it should have.
        expected: usize,
        /// Where that length comes from.
        shape: String,
    },
    /// A sequence that is longer than the time steps given.
    #[error("sequence {row} has length {length}, but only {steps} time steps were given")]
    Length {
        /// The sequence's place in the batch.
        row: usize,
        /// Its length.
        length: usize,
        /// Time steps given.
        steps: usize,
    },
    /// A call that does not fit the calls before it.
    #[error("{0}")]
    Order(&'static str),
    /// A loss, output or gradient that is infinite or not a number.
    #[error("{what} is {value}; lower the learning rate or clip gradients, and go on from the last checkpoint")]
    NotFinite {
        /// What it was found in, and where.
        what: String,
        /// The value.
        value: f64,
    },
    /// A checkpoint that cannot be used.
    #[error("checkpoint {path}: {reason}")]
    Checkpoint {
        /// The file.
        path: String,
        /// What is wrong with it, naming the tensor where it is one.
        reason: String,
    },
    /// A file that could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

fn gibibytes(bytes: u128) -> String {
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}
