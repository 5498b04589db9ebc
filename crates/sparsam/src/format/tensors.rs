//! Safetensors files: what checkpoints and saved states have in common.
//!
//! A file is believed only as far as it was checked: its header may claim no byte that is not there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde::{Deserialize, Serialize};

use crate::{Error, Real};

/// The longest header that is read. A real one has a few kilobytes; parsing takes a multiple of its length.
const LONGEST_HEADER: u64 = 16 << 20;
/// Bytes in the number at the start of a file that says how long the header is.
const PREFIX: u64 = 8;
/// Bytes read at a time. A multiple of the length of every number.
const BLOCK: usize = 1 << 16;

/// The header of a safetensors file.
#[derive(Serialize, Deserialize)]
pub struct Header {
    /// Texts by name.
    #[serde(rename = "__metadata__", default)]
    pub metadata: BTreeMap<String, String>,
    /// What is where.
    #[serde(flatten)]
    pub tensors: BTreeMap<String, TensorInfo>,
}

impl Header {
    /// The tensors in the order in which they lie in the file.
    pub fn into_order(self) -> Vec<(String, TensorInfo)> {
        let mut in_order: Vec<_> = self.tensors.into_iter().collect();
        in_order.sort_by_key(|(_, info)| info.data_offsets);
        in_order
    }
}

/// What is wrong, before it is known with which file.
pub enum Fault {
    /// With what it holds.
    Reason(String),
    /// With reading it.
    Io(std::io::Error),
    /// With something else.
    Other(Error),
}

impl Fault {
    /// The error, `reason` making that of a file that cannot be used, from its name and what is wrong with it.
    pub fn at(self, path: &Path, reason: fn(String, String) -> Error) -> Error {
        let path = path.display().to_string();
        match self {
            Self::Reason(text) => reason(path, text),
            Self::Io(source) => Error::Io { path, source },
            Self::Other(error) => error,
        }
    }
}

/// Leaves the surrounding function with a reason.
macro_rules! refuse {
    ($($reason:tt)*) => { return Err($crate::format::tensors::Fault::Reason(format!($($reason)*))) };
}
pub(crate) use refuse;

/// The numbers of a tensor that is to be written.
#[derive(Clone, Copy)]
pub enum Numbers<'a, T> {
    /// In the number type of the network.
    Real(&'a [T]),
    /// Counts, and numbers of words.
    Whole(&'a [u32]),
}

impl<T: Real> Numbers<'_, T> {
    fn dtype(self) -> Dtype {
        match self {
            Self::Real(_) => T::DTYPE,
            Self::Whole(_) => Dtype::U32,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Real(values) => size_of_val(values),
            Self::Whole(values) => size_of_val(values),
        }
    }
}

/// The bytes of a file with these texts and tensors, which have a name, a shape and as many numbers as that says.
pub fn encode<'a, T: Real>(
    metadata: BTreeMap<String, String>,
    tensors: impl Iterator<Item = (String, Vec<usize>, Numbers<'a, T>)> + Clone,
) -> Result<Vec<u8>, Fault> {
    let mut header = Header { metadata, tensors: BTreeMap::new() };
    let mut end = 0;
    for (name, shape, numbers) in tensors.clone() {
        let start = end;
        end += numbers.bytes();
        let info = TensorInfo { dtype: numbers.dtype(), shape, data_offsets: (start, end) };
        if header.tensors.insert(name.clone(), info).is_some() {
            refuse!("it would have two tensors `{name}`");
        }
    }
    let mut json = serde_json::to_vec(&header).map_err(|error| Fault::Reason(error.to_string()))?;
    // Spaces, so that the numbers start at a multiple of their length and can be used where they lie.
    json.resize(json.len().next_multiple_of(8), b' ');
    if json.len() as u64 > LONGEST_HEADER {
        refuse!("it would have {} bytes of names and texts, more than fit a file", json.len());
    }
    let mut bytes = Vec::with_capacity(PREFIX as usize + json.len() + end);
    bytes.extend_from_slice(&(json.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&json);
    for (_, _, numbers) in tensors {
        match numbers {
            Numbers::Real(values) => values.iter().for_each(|value| value.write_le(&mut bytes)),
            Numbers::Whole(values) => values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes())),
        }
    }
    Ok(bytes)
}

/// Opens a file, and says how many bytes it has.
pub fn open(path: &Path) -> Result<(File, u64), Fault> {
    let file = File::open(path).map_err(Fault::Io)?;
    let about = file.metadata().map_err(Fault::Io)?;
    if !about.is_file() {
        refuse!("it is not a file");
    }
    Ok((file, about.len()))
}

/// Reads the header and checks it against the length of the file, and against itself.
pub fn read_header(file: &mut impl Read, length: u64) -> Result<Header, Fault> {
    if length < PREFIX {
        refuse!("it has {length} bytes, where a safetensors file has at least {PREFIX}");
    }
    let mut prefix = [0; PREFIX as usize];
    file.read_exact(&mut prefix).map_err(Fault::Io)?;
    let header_length = u64::from_le_bytes(prefix);
    let rest = length - PREFIX;
    if header_length > rest || header_length > LONGEST_HEADER {
        refuse!(
            "its header should have {header_length} bytes, but {rest} follow (at most {LONGEST_HEADER} are read); it was cut off or is no safetensors file"
        );
    }
    let mut json = vec![0; header_length as usize];
    file.read_exact(&mut json).map_err(Fault::Io)?;
    let header: Header = match serde_json::from_slice(&json) {
        Ok(header) => header,
        Err(error) => refuse!("its header is not that of a safetensors file: {error}"),
    };

    let mut places: Vec<_> = header.tensors.iter().collect();
    places.sort_by_key(|(_, info)| info.data_offsets);
    let mut next = 0;
    for (name, info) in places {
        let (start, end) = info.data_offsets;
        let bits = info.shape.iter().try_fold(info.dtype.bitsize(), |bits, n| bits.checked_mul(*n));
        if start != next || bits.is_none() || end.checked_sub(start) != bits.map(|bits| bits / 8) {
            refuse!(
                "tensor `{name}` of shape {:?} and type {} lies at bytes {start} to {end}, where it was expected from {next} on, its own length",
                info.shape,
                info.dtype
            );
        }
        next = end;
    }
    let there = rest - header_length;
    if next as u64 != there {
        refuse!("its tensors have {next} bytes by its header, but {there} are there; it was cut off or added to");
    }
    Ok(header)
}

/// Reads as many numbers as `values` has room for. Single precision passes through double precision unchanged.
pub fn read_numbers<T: Real>(file: &mut impl Read, dtype: Dtype, values: &mut [T]) -> Result<(), Fault> {
    let size = dtype.bitsize() / 8;
    let mut block = [0; BLOCK];
    for values in values.chunks_mut(BLOCK / size) {
        let bytes = &mut block[..values.len() * size];
        file.read_exact(bytes).map_err(Fault::Io)?;
        for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(size)) {
            *value = T::from_f64(match dtype {
                Dtype::F32 => f64::from(f32::read_le(bytes)),
                _ => f64::read_le(bytes),
            });
        }
    }
    Ok(())
}

/// Reads as many whole numbers as `values` has room for.
pub fn read_whole(file: &mut impl Read, values: &mut [u32]) -> Result<(), Fault> {
    let mut block = [0; BLOCK];
    for values in values.chunks_mut(BLOCK / size_of::<u32>()) {
        let bytes = &mut block[..size_of_val(values)];
        file.read_exact(bytes).map_err(Fault::Io)?;
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
            *value = u32::from_le_bytes(*bytes);
        }
    }
    Ok(())
}
