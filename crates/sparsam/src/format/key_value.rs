//! The entries of a [`KeyValueMemory`] in safetensors files: `keys`, `values`, and `order` as
//! [`KeyValueMemory::save`] has them, and in the metadata the [`Config`].
//!
//! A file holds the entries that there are, not those that there is room for. It is written and believed as the
//! [states](crate::state) of networks are: it takes the place of an older one at once, and has checksums. Numbers are converted
//! between `f32` and `f64` as they are read. The index and its checks may be others than those of the memory that was saved.

use std::io::Read;
use std::path::Path;

use super::tensors::{self, Fault, Numbers, check_version, read_array, read_header, refuse, text, version};
use crate::memory::KeyValueMemory;
use crate::memory::key_value::Config;
use crate::system::file;
use crate::{Arrays, Error, Real};

/// The metadata's key for the configuration of the memory.
const KEY_VALUE: &str = "sparsam.key_value";

/// Writes the entries and the order of use in the place of any older file.
///
/// # Errors
/// [`Error::Io`] if writing fails. An older file then stays as it was.
pub fn save<T: Real>(path: &Path, memory: &KeyValueMemory<T>) -> Result<(), Error> {
    let bytes = encode(memory).map_err(|fault| fault.at(path, unusable))?;
    file::replace(path, &bytes).map_err(|source| Error::Io { path: path.display().to_string(), source })
}

/// Makes a memory with the entries of a file.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::State`] if it holds no such memory, a damaged one, or one of other
/// sizes; and as [`KeyValueMemory::new`].
pub fn load<T: Real>(path: &Path, config: &Config) -> Result<KeyValueMemory<T>, Error> {
    let file = tensors::open(path);
    file.and_then(|(file, length)| decode(file, length, Some(path), config)).map_err(|fault| fault.at(path, unusable))
}

/// The bytes of the file that [`save`] writes.
///
/// # Errors
/// As [`save`], without [`Error::Io`].
pub fn to_bytes<T: Real>(memory: &KeyValueMemory<T>) -> Result<Vec<u8>, Error> {
    encode(memory).map_err(|fault| fault.at(Path::new("in memory"), unusable))
}

/// Makes a memory with the entries that the bytes of a file hold.
///
/// # Errors
/// As [`load`], without [`Error::Io`].
pub fn from_bytes<T: Real>(bytes: &[u8], config: &Config) -> Result<KeyValueMemory<T>, Error> {
    decode(bytes, bytes.len() as u64, None, config).map_err(|fault| fault.at(Path::new("in memory"), unusable))
}

fn unusable(path: String, reason: String) -> Error {
    Error::State { path, reason }
}

fn encode<T: Real>(memory: &KeyValueMemory<T>) -> Result<Vec<u8>, Fault> {
    let config = serde_json::to_string(memory.config()).map_err(|error| Fault::Reason(error.to_string()))?;
    let mut arrays = Arrays::default();
    memory.save(&mut arrays);
    let tensors = arrays.iter().map(|(name, array)| (name.to_owned(), array.shape().to_vec(), Numbers::of(array)));
    tensors::encode([(KEY_VALUE, config), version()].map(text).into(), tensors)
}

fn decode<T: Real>(
    mut file: impl Read,
    length: u64,
    path: Option<&Path>,
    config: &Config,
) -> Result<KeyValueMemory<T>, Fault> {
    let header = read_header(&mut file, length, path)?;
    let Some(json) = header.metadata.get(KEY_VALUE) else {
        refuse!("its metadata has no `{KEY_VALUE}`; it is no saved key-value memory");
    };
    check_version(&header.metadata)?;
    let sizes = |config: &Config| [config.key_size, config.value_size, config.memory_size];
    match serde_json::from_str::<Config>(json) {
        Ok(found) if sizes(&found) == sizes(config) => {}
        Ok(_) => {
            let expected = serde_json::to_string(config).unwrap_or_default();
            refuse!("it is of a memory {json}, where one of {expected} was expected");
        }
        Err(error) => refuse!("its `{KEY_VALUE}` is not a memory's configuration: {error}"),
    }
    let mut arrays = Arrays::default();
    for tensor in header.into_order() {
        let array = read_array(&mut file, &tensor)?;
        arrays.put(tensor.name, array);
    }
    let mut memory = KeyValueMemory::new(config.clone()).map_err(Fault::Other)?;
    memory.load(&mut arrays).map_err(|error| match error {
        Error::State { reason, .. } => Fault::Reason(reason),
        error => Fault::Other(error),
    })?;
    Ok(memory)
}
