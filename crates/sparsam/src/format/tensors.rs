//! Safetensors files: what checkpoints and saved states have in common.
//!
//! A file is believed only as far as it was checked: its header may claim no byte that is not there, and the numbers of each
//! tensor, as the header itself, must have the checksums (CRC-32C) that were kept in its metadata when it was written. Files
//! that earlier versions wrote have none, which is [noted](crate::internal::notice).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crc32c::{crc32c, crc32c_append};

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde::{Deserialize, Serialize};

use crate::system::{file, notice};
use crate::{Array, Error, Real, Values};

/// The longest header that is read. A real one has a few kilobytes; parsing takes a multiple of its length.
const LONGEST_HEADER: u64 = 16 << 20;
/// Bytes in the number at the start of a file that says how long the header is.
const PREFIX: u64 = 8;
/// Bytes read at a time. A multiple of the length of every number.
const BLOCK: usize = 1 << 16;

/// The metadata's key for the version of the format of a state.
const VERSION: &str = "sparsam.version";
/// The version of states that is written and read here.
const CURRENT_VERSION: &str = "1";

/// The metadata's key for the checksums of the tensors, as JSON: by name, in hexadecimal.
const SUMS: &str = "sparsam.checksums";
/// The metadata's key for the checksum of the header, which is counted with [`NO_SUM`] in its place. That there are two keys
/// lets no damaged one be taken for one that an earlier version left out.
const HEADER_SUM: &str = "sparsam.header";
/// A checksum that is yet to be known.
const NO_SUM: &str = "00000000";

/// The header of a safetensors file.
#[derive(Serialize, Deserialize)]
pub struct Header {
    /// Texts by name.
    #[serde(rename = "__metadata__", default)]
    pub metadata: BTreeMap<String, String>,
    /// What is where.
    #[serde(flatten)]
    pub tensors: BTreeMap<String, TensorInfo>,
    /// The tensors' checksums, unless an earlier version wrote the file.
    #[serde(skip)]
    sums: Option<BTreeMap<String, u32>>,
}

/// A tensor of a file.
pub struct Placed {
    /// Its name.
    pub name: String,
    /// What it is.
    pub info: TensorInfo,
    /// The checksum of its bytes.
    sum: Option<u32>,
}

impl Header {
    /// The tensors in the order in which they lie in the file.
    pub fn into_order(self) -> Vec<Placed> {
        let Self { tensors, sums, .. } = self;
        let sum = |name: &str| sums.as_ref().and_then(|sums| sums.get(name).copied());
        let mut in_order: Vec<_> =
            tensors.into_iter().map(|(name, info)| Placed { sum: sum(&name), name, info }).collect();
        in_order.sort_by_key(|placed| placed.info.data_offsets);
        in_order
    }

    /// Checks the bytes that it was read from against its own checksum, and takes those of the tensors out of its metadata.
    fn check_sums(&mut self, mut json: Vec<u8>) -> Result<(), Fault> {
        let (sums, sum) = match (self.metadata.remove(SUMS), self.metadata.remove(HEADER_SUM)) {
            (None, None) => return Ok(()),
            (Some(sums), Some(sum)) => (sums, sum),
            _ => refuse!("its metadata has one of `{SUMS}` and `{HEADER_SUM}`, where both were expected; {CHANGED}"),
        };
        let place = header_sum_place(&json);
        let found = place.map(|place| {
            json[place..place + NO_SUM.len()].copy_from_slice(NO_SUM.as_bytes());
            crc32c(&json)
        });
        if found.is_none_or(|found| format!("{found:08x}") != sum) && !cfg!(fuzzing) {
            refuse!("its header is not as it was written, by its checksum; {CHANGED}");
        }
        let sums: BTreeMap<String, String> = match serde_json::from_str(&sums) {
            Ok(sums) => sums,
            Err(error) => refuse!("its `{SUMS}` are no checksums by name: {error}"),
        };
        let sums = sums.into_iter().map(|(name, sum)| Some((name, u32::from_str_radix(&sum, 16).ok()?)));
        let Some(sums) = sums.collect::<Option<BTreeMap<_, _>>>() else {
            refuse!("its `{SUMS}` are no numbers in hexadecimal");
        };
        if !sums.keys().eq(self.tensors.keys()) {
            refuse!("its `{SUMS}` are not of the tensors that it has; {CHANGED}");
        }
        self.sums = Some(sums);
        Ok(())
    }
}

/// The way out where checksums do not match.
const CHANGED: &str = "the file was damaged on a disk or on its way: take a copy of it, or another; if it was changed on \
    purpose, remove `sparsam.checksums` and `sparsam.header` from its metadata";

/// Where the checksum of a header stands in it. Inside of a text quotes stand behind a backslash.
fn header_sum_place(json: &[u8]) -> Option<usize> {
    let before = format!("\"{HEADER_SUM}\":\"");
    // Within a key or a value its first quotation mark follows a backslash.
    let begins = |place: usize| place > 0 && matches!(json[place - 1], b'{' | b',');
    let mut places = json.windows(before.len()).enumerate().filter(|(_, bytes)| *bytes == before.as_bytes());
    let place = places.find(|(place, _)| begins(*place))?.0 + before.len();
    (place + NO_SUM.len() <= json.len()).then_some(place)
}

/// A text and its key, as metadata holds them.
pub fn text((key, text): (&str, String)) -> (String, String) {
    (key.into(), text)
}

/// What the metadata of a state says of its format.
pub fn version() -> (&'static str, String) {
    (VERSION, CURRENT_VERSION.into())
}

/// Checks that the metadata of a state names the format that is read here.
pub fn check_version(metadata: &BTreeMap<String, String>) -> Result<(), Fault> {
    match metadata.get(VERSION).map(String::as_str) {
        Some(CURRENT_VERSION) => Ok(()),
        Some(version) => refuse!("it has format {version}, and this sparsam reads format {CURRENT_VERSION}"),
        None => refuse!("its metadata has no `{VERSION}`, where format {CURRENT_VERSION} was expected"),
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

impl<'a, T: Real> Numbers<'a, T> {
    /// Those of an array.
    pub fn of(array: &'a Array<T>) -> Self {
        match array.values() {
            Values::Real(values) => Self::Real(values),
            Values::Whole(values) => Self::Whole(values),
        }
    }

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
    mut metadata: BTreeMap<String, String>,
    tensors: impl Iterator<Item = (String, Vec<usize>, Numbers<'a, T>)> + Clone,
) -> Result<Vec<u8>, Fault> {
    let unknown: BTreeMap<String, &str> = tensors.clone().map(|(name, ..)| (name, NO_SUM)).collect();
    metadata.insert(SUMS.into(), json_of(&unknown)?);
    metadata.insert(HEADER_SUM.into(), NO_SUM.into());
    let mut header = Header { metadata, tensors: BTreeMap::new(), sums: None };
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
    let mut sums = BTreeMap::new();
    for (name, _, numbers) in tensors {
        let start = bytes.len();
        match numbers {
            Numbers::Real(values) => values.iter().for_each(|value| value.write_le(&mut bytes)),
            Numbers::Whole(values) => values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes())),
        }
        sums.insert(name, format!("{:08x}", crc32c(&bytes[start..])));
    }
    // Checksums are all of one length, so that the header keeps its own.
    header.metadata.insert(SUMS.into(), json_of(&sums)?);
    let mut known = serde_json::to_vec(&header).map_err(|error| Fault::Reason(error.to_string()))?;
    known.resize(json.len(), b' ');
    if let Some(place) = header_sum_place(&known) {
        let sum = format!("{:08x}", crc32c(&known));
        known[place..place + NO_SUM.len()].copy_from_slice(sum.as_bytes());
    }
    bytes[PREFIX as usize..][..known.len()].copy_from_slice(&known);
    Ok(bytes)
}

fn json_of(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::Reason(error.to_string()))
}

/// Opens a file, and says how many bytes it has.
pub fn open(path: &Path) -> Result<(File, u64), Fault> {
    file::open(path).map_err(Fault::Io)
}

/// Notes that a file without checksums cannot be told from a damaged one.
fn note_without_sums(path: &Path) {
    notice::note("checksums", path, || {
        let path = path.display();
        format!("{path} has no checksums, as earlier versions wrote none: damage to its numbers would go unnoticed")
    });
}

/// Reads the header and checks it against the length of the file, and against itself. `path` is that of the file, if it has
/// one.
pub fn read_header(file: &mut impl Read, length: u64, path: Option<&Path>) -> Result<Header, Fault> {
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
    let mut header: Header = match serde_json::from_slice(&json) {
        Ok(header) => header,
        Err(error) => refuse!("its header is not that of a safetensors file: {error}"),
    };
    header.check_sums(json)?;

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
    if header.sums.is_none()
        && let Some(path) = path
    {
        note_without_sums(path);
    }
    Ok(header)
}

impl Placed {
    /// Checks the numbers read by their sum.
    fn check(&self, found: u32) -> Result<(), Fault> {
        match self.sum {
            Some(sum) if sum != found && !cfg!(fuzzing) => {
                let name = &self.name;
                refuse!("the numbers of tensor `{name}` are not those that were written, by their checksum; {CHANGED}")
            }
            _ => Ok(()),
        }
    }
}

/// Reads as many numbers of a tensor as `values` has room for, which are all. Single precision passes through double
/// precision unchanged.
pub fn read_numbers<T: Real>(file: &mut impl Read, tensor: &Placed, values: &mut [T]) -> Result<(), Fault> {
    let dtype = tensor.info.dtype;
    let size = dtype.bitsize() / 8;
    let (mut block, mut sum) = ([0; BLOCK], 0);
    for values in values.chunks_mut(BLOCK / size) {
        let bytes = &mut block[..values.len() * size];
        file.read_exact(bytes).map_err(Fault::Io)?;
        sum = crc32c_append(sum, bytes);
        for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(size)) {
            *value = T::from_f64(match dtype {
                Dtype::F32 => f64::from(f32::read_le(bytes)),
                _ => f64::read_le(bytes),
            });
        }
    }
    tensor.check(sum)
}

/// Reads as many whole numbers of a tensor as `values` has room for, which are all.
pub fn read_whole(file: &mut impl Read, tensor: &Placed, values: &mut [u32]) -> Result<(), Fault> {
    let (mut block, mut sum) = ([0; BLOCK], 0);
    for values in values.chunks_mut(BLOCK / size_of::<u32>()) {
        let bytes = &mut block[..size_of_val(values)];
        file.read_exact(bytes).map_err(Fault::Io)?;
        sum = crc32c_append(sum, bytes);
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
            *value = u32::from_le_bytes(*bytes);
        }
    }
    tensor.check(sum)
}

/// The array of a tensor, whose bytes are known to be there.
pub fn read_array<T: Real>(file: &mut impl Read, tensor: &Placed) -> Result<Array<T>, Fault> {
    let Placed { name, info, .. } = tensor;
    let length = info.shape.iter().product();
    let values = match info.dtype {
        Dtype::U32 => {
            let mut values = vec![0; length];
            read_whole(file, tensor, &mut values)?;
            Values::Whole(values)
        }
        Dtype::F32 | Dtype::F64 => {
            let mut values = vec![T::ZERO; length];
            read_numbers(file, tensor, &mut values)?;
            Values::Real(values)
        }
        other => refuse!("tensor `{name}` has type {other}, where F32, F64 or U32 was expected"),
    };
    Ok(Array::new(info.shape.clone(), values))
}

/// The file as an earlier version would have written it.
#[cfg(test)]
pub fn without_sums(bytes: &[u8]) -> Vec<u8> {
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Header = serde_json::from_slice(&bytes[8..end]).unwrap();
    header.metadata.remove(SUMS);
    header.metadata.remove(HEADER_SUM);
    let mut json = serde_json::to_vec(&header).unwrap();
    json.resize(json.len().next_multiple_of(8), b' ');
    [&(json.len() as u64).to_le_bytes(), &json[..], &bytes[end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let (real, whole) = ([1.5f32, -2.0, 0.0], [7u32, 8]);
        let tensors = [
            ("a".to_owned(), vec![3], Numbers::Real(&real[..])),
            ("b".to_owned(), vec![1, 2], Numbers::Whole(&whole[..])),
            ("none".to_owned(), vec![0], Numbers::Real(&[])),
        ];
        let tricky = "\"sparsam.header\":\"00000000".to_owned();
        let Ok(bytes) = encode([("note".to_owned(), tricky)].into(), tensors.into_iter()) else { panic!() };
        bytes
    }

    /// What is wrong with a file, if anything is.
    fn fault(bytes: &[u8]) -> Option<String> {
        let read = || -> Result<(), Fault> {
            let mut file = bytes;
            let header = read_header(&mut file, bytes.len() as u64, None)?;
            for tensor in header.into_order() {
                let length = tensor.info.shape.iter().product();
                match tensor.info.dtype {
                    Dtype::U32 => read_whole(&mut file, &tensor, &mut vec![0; length])?,
                    _ => read_numbers::<f32>(&mut file, &tensor, &mut vec![0.0; length])?,
                }
            }
            Ok(())
        };
        read().err().map(|fault| match fault {
            Fault::Reason(reason) => reason,
            Fault::Io(error) => error.to_string(),
            Fault::Other(error) => error.to_string(),
        })
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let whole = file();
        assert_eq!(fault(&whole), None);
        let mut named = 0;
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[place] ^= 1 << bit;
                let reason = fault(&bytes).unwrap_or_else(|| panic!("bit {bit} of byte {place}"));
                named += usize::from(reason.contains("the numbers of tensor `a` are not those that were written"));
            }
        }
        assert_eq!(named, 3 * 4 * 8);
    }

    #[test]
    fn files_without_checksums_are_read_and_half_of_them_are_refused() {
        let whole = file();
        assert_eq!(fault(&without_sums(&whole)), None);
        for key in ["sparsam.checksums", "sparsam.header"] {
            let text = String::from_utf8_lossy(&whole).into_owned();
            let place = text.find(&format!("\"{key}\":")).unwrap();
            let mut bytes = whole.clone();
            bytes[place + 1] = b'q';
            assert!(fault(&bytes).unwrap().contains("where both were expected"), "{key}");
        }
    }
}
