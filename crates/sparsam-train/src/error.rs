//! What can go wrong, each in one sentence that names the thing and the way out.

use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option whose value does not work.
    #[error("{field} = {value} does not work: {reason}")]
    Option {
        /// The option as it is written in a configuration.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would work.
        reason: String,
    },
    /// A configuration that could not be understood.
    #[error("{source_name}: {reason}")]
    Config {
        /// The file, or what else the text is.
        source_name: String,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// Data that are not there, or not as their format says.
    #[error("{place}: {reason}")]
    Data {
        /// The file or folder.
        place: String,
        /// What is wrong with it, and where; or what was expected.
        reason: String,
    },
    /// A download that failed.
    #[error("{address}: {reason}; try again, or get the file elsewhere and name it with --from")]
    Download {
        /// The address.
        address: String,
        /// What the network or the server said.
        reason: String,
    },
    /// A folder that holds a run already.
    #[error("{} already holds a run; resume it, or choose another folder", .folder.display())]
    RunExists {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder without a run.
    #[error("{} holds no run ({} is missing); start one there, or name the folder of one", .folder.display(), .missing)]
    NoRun {
        /// The folder.
        folder: PathBuf,
        /// The file that a run would have.
        missing: &'static str,
    },
    /// A run that another process is training.
    #[error("{} is being trained by another process; stop that one first, or choose another folder", .folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// A file of a run that is not as it was written.
    #[error("{} is damaged: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the way out.
        reason: String,
    },
    /// A file that could not be read or written.
    #[error("{}: {source}{}", .path.display(), way_out(.source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A loss, gradient or parameter that is infinite or not a number. The parameters are those of before this batch.
    #[error(
        "training stopped at batch {batch}: {what} is {value}; lower the learning rate or clip_norm, and go on from \
         the last checkpoint"
    )]
    NotFinite {
        /// The batch in which it appeared, the first being 1.
        batch: u64,
        /// What it was found in, and where.
        what: String,
        /// The value.
        value: f64,
    },
    /// Another error of the library.
    #[error(transparent)]
    Library(sparsam::Error),
}

impl From<sparsam::Error> for Error {
    fn from(error: sparsam::Error) -> Self {
        match error {
            // The same as any other file, and with the same way out.
            sparsam::Error::Io { path, source } => Self::Io { path: path.into(), source },
            // A runner's rows are the batch size of a training run.
            sparsam::Error::Config { field: "rows", value, reason } => {
                Self::Library(sparsam::Error::Config { field: "batch_size", value, reason })
            }
            error => Self::Library(error),
        }
    }
}

/// What can be done about an error of the system, to be put behind its message; empty if that is not known.
pub fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space and resume, the last checkpoint is kept"
        }
        io::ErrorKind::FileTooLarge => "; allow larger files (ulimit -f) and resume, the last checkpoint is kept",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "; choose a folder that can be written",
        // Its kind has no name in the standard library.
        _ if error.raw_os_error().is_some_and(|number| TOO_MANY_OPEN.contains(&number)) => {
            "; allow more open files (ulimit -n), or close some, and resume"
        }
        _ => "",
    }
}

/// The numbers by which Unix says that a process, or all of them, have too many files open.
const TOO_MANY_OPEN: [i32; 2] = [24, 23];

impl Error {
    /// Whether the request itself is at fault (an option, a configuration, a folder that does not fit) and not what
    /// happened while it was carried out.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Option { .. }
            | Self::Config { .. }
            | Self::Data { .. }
            | Self::RunExists { .. }
            | Self::NoRun { .. } => true,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => true,
                // What is no file, and not what the system calls an invalid argument.
                io::ErrorKind::InvalidInput => source.raw_os_error().is_none(),
                _ => false,
            },
            Self::Library(error) => matches!(
                error,
                sparsam::Error::Config { .. }
                    | sparsam::Error::MemoryTooLarge { .. }
                    | sparsam::Error::MappingRefused { .. }
                    | sparsam::Error::MemoryDoesNotFit { .. }
                    | sparsam::Error::TapeDoesNotFit { .. }
                    | sparsam::Error::NoRoom { .. }
                    | sparsam::Error::Threads { .. }
            ),
            _ => false,
        }
    }

    /// For `map_err`: an error of the system at a file.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn option(field: &'static str, value: impl ToString, reason: impl Into<String>) -> Self {
        Self::Option { field, value: value.to_string(), reason: reason.into() }
    }

    pub(crate) fn data(place: impl ToString, reason: impl Into<String>) -> Self {
        Self::Data { place: one_line(place.to_string()), reason: one_line(reason.into()) }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: one_line(reason.into()) }
    }
}

/// What is quoted of a file, or of a library that quotes it, may hold anything; an error is one line.
fn one_line(text: String) -> String {
    if text.contains(char::is_control) {
        text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_stays_on_the_line() {
        let error = Error::data("a\nb", "is\t1\r\n when getting cksum");
        assert_eq!(error.to_string(), "a b: is 1   when getting cksum");
    }

    #[test]
    fn a_full_disk_has_the_same_way_out_wherever_it_hits() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let library = sparsam::Error::Io { path: "a".into(), source: full() };
        for error in [Error::from(library), Error::at(Path::new("a"))(full())] {
            assert!(
                error.to_string().ends_with("; free some space and resume, the last checkpoint is kept"),
                "{error}"
            );
        }
        let open = io::Error::from_raw_os_error(24);
        assert!(Error::at(Path::new("a"))(open).to_string().contains("ulimit -n"));
    }

    #[test]
    fn what_was_asked_for_and_does_not_fit_is_a_mistake() {
        let memory = sparsam::Error::MemoryDoesNotFit { bytes: 2, available: 1, memory_size: 1 };
        let tape = sparsam::Error::TapeDoesNotFit { steps: 1, bytes: 2, available: 1 };
        let mapping = sparsam::Error::MappingRefused { bytes: 2, source: io::Error::other("no more") };
        for error in [memory, tape, mapping, sparsam::Error::MemoryTooLarge { bytes: 2 }] {
            assert!(Error::from(error).is_usage());
        }
        let rows = sparsam::Error::Config { field: "rows", value: "0".into(), reason: "it is too small".into() };
        assert_eq!(Error::from(rows).to_string(), "batch_size = 0 does not work: it is too small");
        let bad = sparsam::Error::Checkpoint { path: String::new(), reason: String::new() };
        assert!(!Error::from(bad).is_usage());
    }
}
