//! Data sets: where their files come from, whether they are whole, and how they are read.
//!
//! Archives stay as they are: tasks read out of them what they need, and nothing is ever unpacked.

pub(crate) mod archive;
#[cfg(feature = "fetch")]
mod fetch;
pub(crate) mod npy;
pub(crate) mod sums;
pub(crate) mod text;

use std::path::{Path, PathBuf};

#[cfg(feature = "fetch")]
pub use fetch::{Progress, fetch, take};

use self::sums::sums;
use crate::Error;

/// A data set that a task is trained on.
#[derive(Clone, Copy, Debug)]
pub struct DataSet {
    /// Its name, and that of its task.
    pub name: &'static str,
    /// Its files.
    pub files: &'static [DataFile],
}

/// A file of a data set.
#[derive(Clone, Copy, Debug)]
pub struct DataFile {
    /// Its name in the folder of data.
    pub name: &'static str,
    /// Where it is downloaded from: the first address that has it.
    pub addresses: &'static [&'static str],
    /// The MD5 sum by which others know the official file, in hexadecimal; none if nobody has published one. The file
    /// is then judged by what it holds.
    pub md5: Option<&'static str>,
    /// Where it, or what it unpacks to, is in a folder of data, if it is anywhere that the task looks for it.
    pub(crate) place: fn(&Path, &str) -> Option<PathBuf>,
    /// Says what the file at a path holds, if it is what the task needs.
    pub(crate) contents: fn(&Path) -> Result<String, Error>,
}

/// What was found of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What it holds, in words.
    pub contents: String,
    /// Bytes; none of a folder that the file was unpacked to.
    pub bytes: Option<u64>,
    /// Its SHA-256 sum, in hexadecimal; none of a folder.
    pub sha256: Option<String>,
    /// Whether it is the official file, to the byte; none if there is no sum to tell by.
    pub official: Option<bool>,
}

impl DataFile {
    /// Reads the file in a folder of data, wherever tasks look for it, and says what it holds.
    ///
    /// # Errors
    /// [`Error::Data`] if it is missing, or not what the task needs; [`Error::Io`].
    pub fn check(&self, folder: &Path) -> Result<Found, Error> {
        self.check_at(&(self.place)(folder, self.name).unwrap_or_else(|| folder.join(self.name)))
    }

    fn check_at(&self, path: &Path) -> Result<Found, Error> {
        if !path.exists() {
            return Err(Error::data(path.display(), "it is missing; get it with sparsam data fetch"));
        }
        if path.is_dir() {
            return Ok(Found { contents: (self.contents)(path)?, bytes: None, sha256: None, official: None });
        }
        let (md5, sha256, bytes) = sums(path)?;
        let official = self.md5.map(|official| official == md5);
        Ok(Found { contents: (self.contents)(path)?, bytes: Some(bytes), sha256: Some(sha256), official })
    }
}
