//! What can go wrong, each in one sentence that names the thing and the way out.

/// An error of this library. Its text is one sentence: what does not fit, and what would.
///
/// ```
/// use sparsam::{Error, Network, NetworkConfig};
///
/// let error = Network::<f32>::new(NetworkConfig::new(0, 2), 1).expect_err("there is no input");
/// assert!(matches!(error, Error::Config { field: "input_size", .. }));
/// assert_eq!(error.to_string(), "input_size = 0 does not work: it must be at least 1");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration that does not work.
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
    #[error("the memory would need {} ({bytes} bytes), which this machine does not have; choose fewer words", size(*.bytes))]
    MemoryTooLarge {
        /// The size asked for.
        bytes: u128,
    },
    /// The system refused an array that would fit: there are too many of them already.
    #[error(
        "the system refused another array of {bytes} bytes in memory: {source}; every sequence has several, so run fewer \
         sequences at a time, or allow more arrays (on Linux vm.max_map_count)"
    )]
    MappingRefused {
        /// The size of the array.
        bytes: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// A dense memory that exceeds the available memory of this machine.
    #[error(
        "with every sequence and time step it would take {} ({bytes} bytes) of memory, and {} are available; memory_size = \
         {memory_size} would fit",
        size(*.bytes), size(*.available)
    )]
    MemoryDoesNotFit {
        /// The size asked for.
        bytes: u128,
        /// Bytes available.
        available: u128,
        /// The largest number of words that would fit.
        memory_size: u128,
    },
    /// A tape that exceeds the available memory of this machine. It keeps every step; for a dense model, the whole memory of
    /// every step.
    #[error(
        "the backward pass over {steps} time steps would need {} ({bytes} bytes) beyond what is in use, and {} are \
         available; choose shorter sequences or fewer of them at a time; a dense model also takes less with a smaller memory_size",
        size(*.bytes), size(*.available)
    )]
    TapeDoesNotFit {
        /// Time steps of the longest sequence.
        steps: usize,
        /// The size asked for, over all sequences.
        bytes: u128,
        /// Bytes available.
        available: u128,
    },
    /// An array that a call gives back, and that this machine has no room for.
    #[error(
        "{what} would take {} ({bytes} bytes), and {} are available; choose shorter sequences, or fewer of them at a time",
        size(*.bytes), size(*.available)
    )]
    NoRoom {
        /// The array.
        what: &'static str,
        /// Its size.
        bytes: u128,
        /// Bytes available.
        available: u128,
    },
    /// [`Runner::listen`](crate::Runner::listen) ended a call. After `forward`, `infer` and `trace` the state is the one after
    /// these steps, to the bit, whose outputs are written; there is no tape. After `backward` and `undo` the state is
    /// the one that the latest `forward` left, the gradients are of no use, and the backward pass can be run again.
    #[error("the call was ended after {steps} time steps")]
    Interrupted {
        /// Time steps that were run, forward or back.
        steps: usize,
    },
    /// Threads that are not to be had.
    #[error("{wanted} threads cannot be had: the system gives this process {had} more{limit}; choose fewer")]
    Threads {
        /// As many as were asked for.
        wanted: usize,
        /// As many as there are.
        had: usize,
        /// The limits that the process is under, in brackets; empty if none is known.
        limit: String,
    },
    /// An argument of the wrong length.
    #[error("{what} has length {found}, where {expected} was expected ({shape})")]
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
    /// Parameters, or gradients, whose tensors have other names or shapes than the network's.
    #[error("{what} do not fit the network: {reason}")]
    Parameters {
        /// The argument.
        what: &'static str,
        /// The first tensor that does not fit.
        reason: String,
    },
    /// A class that no output stands for.
    #[error("output {output} of the batch has the target class {class}, but there are {classes} classes: 0 to {}", .classes.saturating_sub(1))]
    Class {
        /// The place in the batch: time step × rows + row.
        output: usize,
        /// The class.
        class: usize,
        /// The number of classes.
        classes: usize,
    },
    /// An input that is no token of the network's.
    #[error("the input at time step {step} of sequence {row} is {token}, but tokens are whole numbers from 0 to {}", .vocabulary.saturating_sub(1))]
    Token {
        /// The time step.
        step: usize,
        /// The sequence's place in the batch.
        row: usize,
        /// What stands there.
        token: f64,
        /// How many tokens there are.
        vocabulary: usize,
    },
    /// An input that is no sentence of the network's tokens.
    #[error("the input at time step {step} of sequence {row} has {token} at place {place}, but a sentence is of tokens, whole numbers from 0 to {}, with -1 in every place after the last", .vocabulary.saturating_sub(1))]
    Sentence {
        /// The time step.
        step: usize,
        /// The sequence's place in the batch.
        row: usize,
        /// The place within the sentence, from 0 on.
        place: usize,
        /// What stands there.
        token: f64,
        /// How many tokens there are.
        vocabulary: usize,
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
    /// More entries at once than a memory has words.
    #[error("{entries} entries were to be written at once to a memory of {memory_size} words; write fewer at a time")]
    TooManyEntries {
        /// As many as were given.
        entries: usize,
        /// Words that there are.
        memory_size: usize,
    },
    /// Words that hold no entry yet.
    #[error("{} no entry: the memory holds {written}; name words that a write gave", hold(words))]
    NotWritten {
        /// The words.
        words: Vec<u32>,
        /// The words that hold one.
        written: String,
    },
    /// A call in the wrong order.
    #[error("{0}")]
    Order(&'static str),
    /// A loss, parameter or gradient that is infinite or NaN. In training the usual causes are a learning rate that is too
    /// high and gradients that are not [clipped](crate::nn::clip).
    #[error("{what} is {value}, where a finite number was expected")]
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
    /// A saved state that cannot be used.
    #[error("the saved state {path}: {reason}")]
    State {
        /// The file.
        path: String,
        /// What is wrong with it, naming the row and the tensor where it is one.
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

impl Error {
    /// [`Error::Config`] unless the field's value works.
    pub(crate) fn check_config(
        works: bool,
        field: &'static str,
        value: impl ToString,
        reason: impl Into<String>,
    ) -> Result<(), Self> {
        if works { Ok(()) } else { Err(Self::Config { field, value: value.to_string(), reason: reason.into() }) }
    }
}

/// "word 7 was", "words 7, 8 and 9 were", and no more than the first ten by number.
fn hold(words: &[u32]) -> String {
    const NAMED: usize = 10;
    let mut names: Vec<String> = words.iter().take(NAMED).map(u32::to_string).collect();
    if words.len() > NAMED {
        names.push(format!("{} more", words.len() - NAMED));
    }
    match names.split_last() {
        Some((last, [])) => format!("word {last} holds"),
        Some((last, others)) => format!("words {} and {last} hold", others.join(", ")),
        None => "no words hold".into(),
    }
}

/// Bytes as a person reads them: "39.2 GiB".
pub fn size(bytes: u128) -> String {
    let (mut scaled, mut units) = (bytes as f64, ["KiB", "MiB", "GiB", "TiB"].iter().peekable());
    scaled /= 1024.0;
    while scaled >= 999.95 && units.len() > 1 {
        scaled /= 1024.0;
        units.next();
    }
    format!("{scaled:.1} {}", units.peek().copied().unwrap_or(&"KiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_named_up_to_ten() {
        let sentence = |words: std::ops::Range<u32>| {
            let written = "none".into();
            Error::NotWritten { words: words.collect(), written }.to_string()
        };
        let end = "no entry: the memory holds none; name words that a write gave";
        assert_eq!(sentence(7..8), format!("word 7 holds {end}"));
        assert_eq!(sentence(7..10), format!("words 7, 8 and 9 hold {end}"));
        assert_eq!(sentence(0..13), format!("words 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 3 more hold {end}"));
    }

    #[test]
    fn sizes_have_a_unit_that_suits() {
        let sizes = [1, 14_433_344, 42_144_366_592, 1 << 60].map(size);
        assert_eq!(sizes, ["0.0 KiB", "13.8 MiB", "39.2 GiB", "1048576.0 TiB"]);
    }
}
