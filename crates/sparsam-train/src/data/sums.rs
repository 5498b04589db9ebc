//! Sums by which files are known again.

use std::io::Read;
use std::path::Path;

use md5::Md5;
use sha2::{Digest, Sha256};

use crate::Error;

/// The MD5 and SHA-256 sums of a file in hexadecimal, and its bytes.
pub fn sums(path: &Path) -> Result<(String, String, u64), Error> {
    let (mut file, _) = sparsam::internal::file::open(path).map_err(Error::at(path))?;
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
pub struct ContentSum(Sha256);

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
