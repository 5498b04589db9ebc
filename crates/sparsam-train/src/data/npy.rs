//! Arrays of NumPy's format `.npy` (versions 1 to 3), which are small and plain enough to be read by hand.

/// An array of numbers. They stay as the file has them: read into numbers of one kind they might take eight times the room.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its length along each axis.
    pub shape: Vec<usize>,
    /// The file, and where in it the numbers begin.
    bytes: Vec<u8>,
    start: usize,
    kind: Kind,
    big_endian: bool,
    /// The first index goes fastest and not the last.
    fortran: bool,
}

/// What the numbers of an array are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Float16,
    Float32,
    Float64,
    Signed(usize),
    Unsigned(usize),
}

impl Kind {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "f2" => Self::Float16,
            "f4" => Self::Float32,
            "f8" => Self::Float64,
            "i1" | "i2" | "i4" | "i8" => Self::Signed(name[1..].parse().ok()?),
            "u1" | "u2" | "u4" | "u8" => Self::Unsigned(name[1..].parse().ok()?),
            "b1" => Self::Unsigned(1),
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::Float16 => 2,
            Self::Float32 => 4,
            Self::Float64 => 8,
            Self::Signed(bytes) | Self::Unsigned(bytes) => bytes,
        }
    }

    /// The number that these bits, the lowest of a word, stand for.
    fn number(self, bits: u64) -> f64 {
        match self {
            Self::Float16 => half(bits as u16),
            Self::Float32 => f64::from(f32::from_bits(bits as u32)),
            Self::Float64 => f64::from_bits(bits),
            Self::Signed(bytes) => {
                let above = 64 - 8 * bytes;
                (((bits << above) as i64) >> above) as f64
            }
            Self::Unsigned(_) => bits as f64,
        }
    }
}

/// A number of half precision.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 0 { size } else { -size }
}

/// Why arrays of a type are not read, and the way out.
fn other_type(descr: &str) -> String {
    let of = match descr.trim_start_matches(['<', '>', '|', '=']).chars().next() {
        Some('O') => {
            return "it holds Python objects (sequences of different lengths, say); pad them to one length, and save that \
                    array with their lengths beside it"
                .into();
        }
        Some('U' | 'S' | 'a') => "texts",
        Some('c') => "complex numbers",
        Some('M' | 'm') => "times",
        Some('[' | 'V') => "fields of several types",
        _ => return format!("its numbers are of the type {descr}; save them as float32 or int64"),
    };
    format!("it holds {of} (type {descr}); save numbers, as float32 or int64")
}

impl Array {
    /// Reads an array of floating-point numbers, whole numbers or truth values, from the bytes of a file.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let cut = || "the array is cut off".to_owned();
        let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or("it is no array of NumPy's format")?;
        let (header, data) = match *rest {
            [1, _, a, b, ref rest @ ..] => rest.split_at_checked(usize::from(u16::from_le_bytes([a, b]))),
            [2 | 3, _, a, b, c, d, ref rest @ ..] => rest.split_at_checked(u32::from_le_bytes([a, b, c, d]) as usize),
            _ => return Err("its version of NumPy's format is not known; save it with numpy.savez".into()),
        }
        .ok_or_else(cut)?;
        let start = bytes.len() - data.len();
        let header = std::str::from_utf8(header).map_err(|_| "its header is not text")?;
        let field = |name: &str| {
            let rest = header.split_once(&format!("'{name}':"))?.1.trim_start();
            let end = match rest.chars().next()? {
                '(' => rest.find(')')? + 1,
                '[' => rest.find(']')? + 1,
                _ => rest.find([',', '}'])?,
            };
            Some(rest[..end].trim())
        };
        let missing = |name: &str| format!("its header lacks {name}; save it with numpy.savez");
        let fortran = match field("fortran_order").ok_or_else(|| missing("fortran_order"))? {
            "False" => false,
            "True" => true,
            other => return Err(format!("its fortran_order is {other}; save it with numpy.savez")),
        };
        let shape = field("shape").ok_or_else(|| missing("shape"))?.trim_matches(['(', ')']).split(',');
        let shape: Vec<usize> = shape
            .map(str::trim)
            .filter(|length| !length.is_empty())
            .map(|length| {
                // NumPy under Python 2 wrote long numbers so.
                let number = length.trim_end_matches('L').parse();
                number.map_err(|_| format!("its shape has the length {length}; save it with numpy.savez"))
            })
            .collect::<Result<_, _>>()?;
        let count = shape.iter().try_fold(1usize, |product, length| product.checked_mul(*length)).ok_or_else(cut)?;
        let descr = field("descr").ok_or_else(|| missing("descr"))?.trim_matches(['\'', '"']);
        let (big_endian, name) = match descr.split_at_checked(1) {
            Some(("<" | "|" | "=", name)) => (false, name),
            Some((">", name)) => (true, name),
            _ => (false, descr),
        };
        let kind = Kind::parse(name).ok_or_else(|| other_type(descr))?;
        let length = count.checked_mul(kind.bytes()).ok_or_else(cut)?;
        if data.len() < length {
            return Err(cut());
        }
        Ok(Self { shape, bytes, start, kind, big_endian, fortran })
    }

    /// The number at a place, the last index going fastest.
    pub fn number(&self, mut place: usize) -> f64 {
        if self.fortran {
            let (mut stored, mut stride) = (0, self.shape.iter().product::<usize>());
            for length in self.shape.iter().rev() {
                stride /= length;
                stored += place % length * stride;
                place /= length;
            }
            place = stored;
        }
        let size = self.kind.bytes();
        let bytes = &self.bytes[self.start + place * size..][..size];
        let join = |bits: u64, byte: &u8| bits << 8 | u64::from(*byte);
        self.kind.number(if self.big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// An array as NumPy writes it.
    fn npy(descr: &str, shape: &[usize], values: &[f64]) -> Vec<u8> {
        let shape: String = shape.iter().map(|length| format!("{length}, ")).collect();
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}\n", shape.trim_end());
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        for value in values {
            match descr {
                "<f4" => bytes.extend((*value as f32).to_le_bytes()),
                "<f8" => bytes.extend(value.to_le_bytes()),
                "<i4" => bytes.extend((*value as i32).to_le_bytes()),
                "<i8" => bytes.extend((*value as i64).to_le_bytes()),
                _ => bytes.push(*value as u8),
            }
        }
        bytes
    }

    /// The numbers of an array, the last index going fastest.
    fn values(array: &Array) -> Vec<f64> {
        (0..array.shape.iter().product()).map(|place| array.number(place)).collect()
    }

    /// Arrays as `numpy.savez` writes them: names, types, shapes and numbers.
    pub fn write_npz(path: &Path, arrays: &[(&str, &str, &[usize], &[f64])]) {
        let mut writer = zip::ZipWriter::new(File::create(path).unwrap());
        for (name, descr, shape, values) in arrays {
            writer.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(&npy(descr, shape, values)).unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn arrays_are_read() {
        for descr in ["<f4", "<f8", "<i4", "<i8", "|u1", "|b1"] {
            let array = Array::parse(npy(descr, &[2, 3], &[1.0, 0.0, 1.0, 1.0, 0.0, 0.0])).unwrap();
            assert_eq!(
                (&array.shape[..], values(&array)),
                (&[2, 3][..], vec![1.0, 0.0, 1.0, 1.0, 0.0, 0.0]),
                "{descr}"
            );
        }
        let scalar = Array::parse(npy("<f4", &[], &[5.0])).unwrap();
        assert_eq!((scalar.shape.len(), values(&scalar)), (0, vec![5.0]));
        for (bytes, expected) in [
            (b"rubbish".to_vec(), "no array of NumPy's format"),
            (npy("<f4", &[3], &[1.0]), "cut off"),
            (npy("<c8", &[1], &[1.0]), "complex numbers"),
            (npy("|O", &[1], &[1.0]), "Python objects"),
            (npy("<U3", &[1], &[1.0]), "texts"),
            (npy("<M8[s]", &[1], &[1.0]), "times"),
            (npy("<f16", &[1], &[1.0]), "of the type <f16; save them as float32"),
            (npy("<f4", &[usize::MAX, 3], &[1.0]), "cut off"),
        ] {
            let found = Array::parse(bytes).unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
        let text =
            String::from_utf8_lossy(&npy("<f4", &[1], &[0.0])[10..]).replace("'<f4'", "[('a', '<f4'), ('b', '<i8')]");
        let fields = [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat();
        assert!(Array::parse(fields).unwrap_err().contains("fields of several types"));
    }

    /// What NumPy itself writes: any order of bytes and of axes, half precision, and the shapes of Python 2.
    #[test]
    fn arrays_of_other_machines_are_read() {
        let file = |descr: &str, fortran: bool, shape: &str, data: &[u8]| {
            let fortran = if fortran { "True" } else { "False" };
            let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
            let length = (header.len() as u16).to_le_bytes();
            Array::parse([b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), data].concat()).unwrap()
        };
        let numbers = [1.5f32, -2.0, 0.0, 3.25, 1e9, -1e-9].map(f64::from);
        let big: Vec<u8> = numbers.iter().flat_map(|number| (*number as f32).to_be_bytes()).collect();
        assert_eq!(values(&file(">f4", false, "(2L, 3L)", &big)), numbers);
        assert_eq!(values(&file(">i2", false, "(2,)", &[0xff, 0xfe, 0x01, 0x00])), [-2.0, 256.0]);
        assert_eq!(values(&file("<u2", false, "(1,)", &[0xfe, 0xff])), [65534.0]);
        assert_eq!(values(&file("|i1", false, "(2,)", &[0xff, 0x7f])), [-1.0, 127.0]);
        // The columns of [[1, 2, 3], [4, 5, 6]], and an array of three axes.
        assert_eq!(values(&file("|u1", true, "(2, 3)", &[1, 4, 2, 5, 3, 6])), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let cube: Vec<u8> = (0..24).collect();
        let cube = file("|u1", true, "(2, 3, 4)", &cube);
        assert_eq!((cube.number(0), cube.number(1), cube.number(4), cube.number(12)), (0.0, 6.0, 2.0, 1.0));
        let halves =
            [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 2f64.powi(-24)), (0x7bff, 65504.0), (0x3555, 0.333_251_953_125)];
        for (bits, number) in halves {
            assert_eq!(values(&file("<f2", false, "(1,)", &u16::to_le_bytes(bits))), [number]);
        }
        assert!(half(0x7c00) == f64::INFINITY && half(0xfc00) == f64::NEG_INFINITY && half(0x7e00).is_nan());
    }

    proptest! {
        #[test]
        fn damaged_arrays_give_errors_or_numbers(changes in proptest::collection::vec(any::<(u8, u8)>(), 1..5)) {
            let mut bytes = npy("<f4", &[2, 2], &[1.0; 4]);
            for (place, byte) in changes {
                let place = usize::from(place) % bytes.len();
                bytes[place] = byte;
            }
            if let Ok(array) = Array::parse(bytes) {
                values(&array);
            }
        }
    }
}
