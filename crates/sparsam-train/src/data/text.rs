//! Files of text, as they are or compressed with gzip; and what bytes that were expected to be text are instead.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use sparsam::internal::available_bytes;

use crate::Error;

/// What some programs put before text in UTF-8.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a file that is compressed with gzip begins.
const GZIP: &[u8] = b"\x1f\x8b";

/// Opens a file of text in UTF-8, as it is or compressed with gzip, to read at most so many bytes of text. A mark of the
/// order of bytes is passed over. `expected` says what it should hold, `other` the way out where there is no such file.
///
/// # Errors
/// [`Error::Data`] if it is not there or no text; [`Error::Io`].
pub fn open(path: &Path, most: u64, expected: &str, other: &str) -> Result<Box<dyn BufRead>, Error> {
    let (file, _) = sparsam::internal::file::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::data(path.display(), format!("there is no such file; {other}")),
        _ => Error::at(path)(error),
    })?;
    let mut text: Box<dyn BufRead> = Box::new(BufReader::new(Limited::new(file, most)));
    if text.fill_buf().map_err(Error::at(path))?.starts_with(GZIP) {
        text = Box::new(BufReader::new(Limited::new(MultiGzDecoder::new(text), most)));
    }
    let start = text.fill_buf().map_err(|error| unreadable(path, error))?;
    let seems = seems(start);
    if !seems.is_empty() {
        return Err(Error::data(path.display(), format!("{expected} were expected{seems}")));
    }
    if start.starts_with(BYTE_ORDER_MARK) {
        text.consume(BYTE_ORDER_MARK.len());
    }
    Ok(text)
}

/// Bytes after which it is looked whether there is memory for as many again.
const LOOKED_AFTER: u64 = 1 << 26;

/// A reader of so many bytes at most, which may all be kept: more are an error, and so is too little memory for what comes
/// next, since a small file may unpack to any size.
struct Limited<R> {
    inner: R,
    left: u64,
    unlooked: u64,
}

impl<R> Limited<R> {
    fn new(inner: R, most: u64) -> Self {
        Self { inner, left: most, unlooked: LOOKED_AFTER }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)? as u64;
        self.left = self.left.checked_sub(length).ok_or(io::ErrorKind::FileTooLarge)?;
        self.unlooked = self.unlooked.saturating_sub(length);
        if self.unlooked == 0 {
            self.unlooked = LOOKED_AFTER;
            // Twice as much, since what keeps it doubles its room as it grows.
            if available_bytes().is_some_and(|available| available < 2 * u128::from(LOOKED_AFTER)) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
        }
        Ok(length as usize)
    }
}

/// What is wrong with a file that was [opened](open).
pub fn unreadable(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Error::data(path.display(), "it holds more text than is read; split it"),
        io::ErrorKind::OutOfMemory => {
            Error::data(path.display(), "it holds more text than there is memory for; split it")
        }
        // What the decoder says; no file that is read as it is ends too early.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput if error.raw_os_error().is_none() => {
            Error::data(path.display(), format!("it is compressed with gzip, but is not whole ({error}); get it again"))
        }
        _ => Error::at(path)(error),
    }
}

/// What bytes seem to be that are not the text expected, as the end of a sentence with the way out; empty if that is not
/// known.
pub fn seems(bytes: &[u8]) -> &'static str {
    let starts: [(&[u8], &str); 14] = [
        (b"\x1f\x8b", ": it is compressed with gzip; unpack it (gunzip)"),
        (b"BZh", ": it is compressed with bzip2; unpack it (bunzip2)"),
        (b"\xfd7zXZ\0", ": it is compressed with xz; unpack it (unxz)"),
        (b"\x28\xb5\x2f\xfd", ": it is compressed with Zstandard; unpack it (unzstd)"),
        (b"7z\xbc\xaf\x27\x1c", ": it is a 7z archive; unpack it"),
        (b"PK\x03\x04", ": it is a zip archive; NumPy's have names that end in .npz, unpack others"),
        (b"\xff\xfe", ": it is text in UTF-16; save it in UTF-8"),
        (b"\xfe\xff", ": it is text in UTF-16; save it in UTF-8"),
        (b"\x93NUMPY", ": it is one array of NumPy; save inputs and targets together with numpy.savez, as .npz"),
        (b"PAR1", ": it is a Parquet file; write its rows as lines of JSON, or as .npz"),
        (b"\x89HDF", ": it is an HDF5 file; save its arrays with numpy.savez, as .npz"),
        (b"\x80\x04\x95", ": it is a pickle of Python; save its arrays with numpy.savez, as .npz"),
        (b"\x80\x05\x95", ": it is a pickle of Python; save its arrays with numpy.savez, as .npz"),
        (b"SQLite", ": it is a database; write its rows as lines of JSON"),
    ];
    let known = starts.into_iter().find(|(start, _)| bytes.starts_with(start));
    known.map_or_else(
        || {
            // Text in UTF-16 without a mark has a zero in every other byte.
            let start = &bytes[..bytes.len().min(100)];
            let zeros = start.iter().filter(|byte| **byte == 0).count();
            if zeros * 4 > start.len() { ": it is text in UTF-16 or no text; save it in UTF-8" } else { "" }
        },
        |(_, sentence)| sentence,
    )
}
