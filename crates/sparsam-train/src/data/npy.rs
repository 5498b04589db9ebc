//! Arrays of NumPy's format `.npy` (versions 1 to 3), which are small and plain enough to be read by hand.

/// An array of numbers, the last index going fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its length along each axis.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub values: Vec<f64>,
}

impl Array {
    /// Reads an array of floating-point numbers, whole numbers or truth values.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let cut = || "the array is cut off".to_owned();
        let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or("it is no array of NumPy's format")?;
        let (header, data) = match *rest {
            [1, _, a, b, ref rest @ ..] => rest.split_at_checked(usize::from(u16::from_le_bytes([a, b]))),
            [2 | 3, _, a, b, c, d, ref rest @ ..] => rest.split_at_checked(u32::from_le_bytes([a, b, c, d]) as usize),
            _ => return Err("its version of NumPy's format is not known; save it with numpy.savez".into()),
        }
        .ok_or_else(cut)?;
        let header = std::str::from_utf8(header).map_err(|_| "its header is not text")?;
        let field = |name: &str| {
            let rest = header.split_once(&format!("'{name}':"))?.1.trim_start();
            let end = if rest.starts_with('(') { rest.find(')')? + 1 } else { rest.find([',', '}'])? };
            Some(rest[..end].trim())
        };
        let missing = |name: &str| format!("its header lacks {name}");
        if field("fortran_order").ok_or_else(|| missing("fortran_order"))? != "False" {
            return Err("it is in Fortran's order; save numpy.ascontiguousarray of it".into());
        }
        let shape = field("shape").ok_or_else(|| missing("shape"))?.trim_matches(['(', ')']).split(',');
        let shape: Vec<usize> = shape
            .map(str::trim)
            .filter(|length| !length.is_empty())
            .map(|length| length.parse().map_err(|_| format!("its shape has the length {length}")))
            .collect::<Result<_, _>>()?;
        let count = shape.iter().try_fold(1usize, |product, length| product.checked_mul(*length)).ok_or_else(cut)?;
        let descr = field("descr").ok_or_else(|| missing("descr"))?.trim_matches('\'');

        /// The numbers of a type that takes so many bytes.
        fn numbers<const BYTES: usize>(data: &[u8], count: usize, number: fn([u8; BYTES]) -> f64) -> Option<Vec<f64>> {
            let data = data.get(..count.checked_mul(BYTES)?)?;
            Some(data.as_chunks().0.iter().map(|bytes| number(*bytes)).collect())
        }
        let values = match descr {
            "<f4" => numbers(data, count, |bytes| f64::from(f32::from_le_bytes(bytes))),
            "<f8" => numbers(data, count, f64::from_le_bytes),
            "|b1" | "|u1" => numbers(data, count, |[byte]| f64::from(byte)),
            "|i1" => numbers(data, count, |bytes| f64::from(i8::from_le_bytes(bytes))),
            "<i2" => numbers(data, count, |bytes| f64::from(i16::from_le_bytes(bytes))),
            "<u2" => numbers(data, count, |bytes| f64::from(u16::from_le_bytes(bytes))),
            "<i4" => numbers(data, count, |bytes| f64::from(i32::from_le_bytes(bytes))),
            "<u4" => numbers(data, count, |bytes| f64::from(u32::from_le_bytes(bytes))),
            "<i8" => numbers(data, count, |bytes| i64::from_le_bytes(bytes) as f64),
            "<u8" => numbers(data, count, |bytes| u64::from_le_bytes(bytes) as f64),
            other => return Err(format!("its numbers are of the type {other}; save them as float32 or int64")),
        };
        Ok(Self { shape, values: values.ok_or_else(cut)? })
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
            let array = Array::parse(&npy(descr, &[2, 3], &[1.0, 0.0, 1.0, 1.0, 0.0, 0.0])).unwrap();
            assert_eq!((array.shape, array.values), (vec![2, 3], vec![1.0, 0.0, 1.0, 1.0, 0.0, 0.0]), "{descr}");
        }
        assert_eq!(Array::parse(&npy("<f4", &[], &[5.0])).unwrap(), Array { shape: vec![], values: vec![5.0] });
        for (bytes, expected) in [
            (b"rubbish".to_vec(), "no array of NumPy's format"),
            (npy("<f4", &[3], &[1.0]), "cut off"),
            (npy("<c8", &[1], &[1.0]), "of the type <c8"),
            (npy("<f4", &[usize::MAX, 3], &[1.0]), "cut off"),
        ] {
            assert!(Array::parse(&bytes).unwrap_err().contains(expected));
        }
        let text = String::from_utf8_lossy(&npy("<f4", &[1], &[0.0])).replace("False", "True ").into_bytes();
        assert!(Array::parse(&[b"\x93", &text[3..]].concat()).unwrap_err().contains("Fortran"));
    }

    proptest! {
        #[test]
        fn damaged_arrays_give_errors_or_numbers(changes in proptest::collection::vec(any::<(u8, u8)>(), 1..5)) {
            let mut bytes = npy("<f4", &[2, 2], &[1.0; 4]);
            for (place, byte) in changes {
                let place = usize::from(place) % bytes.len();
                bytes[place] = byte;
            }
            if let Ok(array) = Array::parse(&bytes) {
                prop_assert_eq!(array.values.len(), array.shape.iter().product::<usize>());
            }
        }
    }
}
