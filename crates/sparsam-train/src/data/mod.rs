//! Data sets: where their files come from, whether they are whole, and how they are read.
//!
//! Archives stay as they are: tasks read out of them what they need, and nothing is ever unpacked.

pub(crate) mod archive;
#[cfg(feature = "fetch")]
mod fetch;
pub(crate) mod npy;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use md5::Md5;
use sha2::{Digest, Sha256};

#[cfg(feature = "fetch")]
pub use fetch::{Progress, fetch, take};

use crate::Error;
use crate::task::{babi, omniglot};

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
    /// Says what the file at a path holds, if it is what the task needs.
    contents: fn(&Path) -> Result<String, Error>,
}

/// Every data set.
pub const DATA_SETS: &[DataSet] = &[
    DataSet {
        name: "babi",
        files: &[DataFile {
            name: babi::ARCHIVE,
            // The second is the copy that the examples of Keras take.
            addresses: &[
                "https://www.thespermwhale.com/jaseweston/babi/tasks_1-20_v1-2.tar.gz",
                "https://s3.amazonaws.com/text-datasets/babi_tasks_1-20_v1-2.tar.gz",
            ],
            md5: None,
            contents: babi::contents,
        }],
    },
    DataSet {
        name: "omniglot",
        // The sums are those that torchvision checks.
        files: &[
            DataFile {
                name: omniglot::BACKGROUND,
                addresses: &["https://github.com/brendenlake/omniglot/raw/master/python/images_background.zip"],
                md5: Some("68d2efa1b9178cc56df9314c21c6e718"),
                contents: omniglot::contents,
            },
            DataFile {
                name: omniglot::EVALUATION,
                addresses: &["https://github.com/brendenlake/omniglot/raw/master/python/images_evaluation.zip"],
                md5: Some("6b91aef0f799c5bb55b94e3f2daec811"),
                contents: omniglot::contents,
            },
        ],
    },
];

impl DataSet {
    /// The data set of that name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        DATA_SETS.iter().find(|set| set.name == name)
    }
}

/// What was found of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What it holds, in words.
    pub contents: String,
    /// Bytes.
    pub bytes: u64,
    /// Its SHA-256 sum, in hexadecimal.
    pub sha256: String,
    /// Whether it is the official file, to the byte; none if there is no sum to tell by.
    pub official: Option<bool>,
}

impl DataFile {
    /// Reads the file in a folder of data and says what it holds.
    ///
    /// # Errors
    /// [`Error::Data`] if it is missing, or not what the task needs; [`Error::Io`].
    pub fn check(&self, folder: &Path) -> Result<Found, Error> {
        self.check_at(&folder.join(self.name))
    }

    fn check_at(&self, path: &Path) -> Result<Found, Error> {
        if !path.is_file() {
            return Err(Error::data(path.display(), "it is missing; get it with sparsam data fetch"));
        }
        let (md5, sha256, bytes) = sums(path)?;
        let official = self.md5.map(|official| official == md5);
        Ok(Found { contents: (self.contents)(path)?, bytes, sha256, official })
    }
}

/// The MD5 and SHA-256 sums of a file in hexadecimal, and its bytes.
fn sums(path: &Path) -> Result<(String, String, u64), Error> {
    let mut file = File::open(path).map_err(Error::at(path))?;
    let (mut md5, mut sha256, mut bytes) = (Md5::new(), Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer).map_err(Error::at(path))?;
        if count == 0 {
            break;
        }
        md5.update(&buffer[..count]);
        sha256.update(&buffer[..count]);
        bytes += count as u64;
    }
    Ok((hexadecimal(&md5.finalize()), hexadecimal(&sha256.finalize()), bytes))
}

fn hexadecimal(sum: &[u8]) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 sum of what a task was made from, by which a run knows its data again: of the contents of files, in the
/// order in which they count, however they are packed.
#[derive(Default)]
pub(crate) struct ContentSum(Sha256);

impl ContentSum {
    /// Adds the next file, or another part that may be of any length.
    pub fn add(&mut self, bytes: &[u8]) {
        // Where one ends and the next begins counts as well.
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// The sum in hexadecimal.
    pub fn finish(self) -> String {
        hexadecimal(&self.0.finalize())
    }
}
