//! One array in the `.npy` format, versions 1 to 3
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).

use std::io::Read;

use ndarray::{ArrayD, IxDyn, ShapeBuilder};

use super::{DataError, bytes::read_values};
use crate::tensor::{DType, Element, Tensor, Values, checked_count};

/// The bytes that every file starts with.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header that is read, in bytes. `NumPy` itself refuses more than 10,000 by default.
const HEADER_LIMIT: usize = 1 << 16;

#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran_order: bool,
    dims: Vec<usize>,
}

/// Dimensions and element type of the array at the start of a stream. `file` is its name in messages.
pub(super) fn read_form(reader: &mut impl Read, file: &str) -> Result<(Vec<usize>, DType), DataError> {
    let header = read_header(reader, file)?;
    let (dtype, _) = read_type(&header, file)?;
    Ok((header.dims, dtype))
}

fn read_header(reader: &mut impl Read, file: &str) -> Result<Header, DataError> {
    let mut start = [0; 8];
    reader.read_exact(&mut start).map_err(|error| DataError::content(file, error))?;
    if &start[..6] != MAGIC {
        return Err(DataError::damaged(file, "it does not start with the signature of a .npy file"));
    }
    let mut length = [0; 4];
    let width = match start[6] {
        1 => 2,
        2 | 3 => 4,
        version => return Err(DataError::damaged(file, format!("format version {version} is unknown"))),
    };
    reader.read_exact(&mut length[..width]).map_err(|error| DataError::content(file, error))?;
    let length = u32::from_le_bytes(length) as usize;
    if length > HEADER_LIMIT {
        return Err(DataError::damaged(file, format!("its header claims {length} bytes")));
    }
    let mut text = vec![0; length];
    reader.read_exact(&mut text).map_err(|error| DataError::content(file, error))?;
    let text = String::from_utf8_lossy(&text);
    parse(&text).ok_or_else(|| {
        DataError::damaged(file, format!("its header is not understood: {}", text.trim().escape_debug()))
    })
}

/// The element type, and whether the high byte comes first.
fn read_type(header: &Header, file: &str) -> Result<(DType, bool), DataError> {
    element_type(&header.descr).ok_or_else(|| DataError::Unsupported {
        file: file.to_owned(),
        what: format!("element type {}", header.descr),
        instead: "store bool, integers of 8 to 64 bits, or float16, float32 or float64",
    })
}

/// Reads an array from a stream that holds at most `limit` bytes. `file` is its name in messages.
pub(super) fn read(reader: &mut impl Read, limit: u64, file: &str) -> Result<Tensor, DataError> {
    let header = read_header(reader, file)?;
    let (dtype, big_endian) = read_type(&header, file)?;
    let count = checked_count(&header.dims)
        .ok_or_else(|| DataError::damaged(file, format!("dimensions {:?} are too large", header.dims)))?;
    let values = read_values(reader, dtype, big_endian, count, limit)
        .map_err(|error| DataError::content(file, error))?;
    if header.fortran_order && header.dims.len() > 1 {
        let values = row_major(values, &header.dims)
            .ok_or_else(|| DataError::damaged(file, format!("dimensions {:?} are too large", header.dims)))?;
        return Ok(Tensor::new(header.dims, values)?);
    }
    Ok(Tensor::new(header.dims, values)?)
}

/// The element type of a `NumPy` type string, and whether the high byte comes first.
fn element_type(descr: &str) -> Option<(DType, bool)> {
    let (order, kind) = descr.split_at_checked(1)?;
    let big_endian = match order {
        "<" | "|" | "=" => false,
        ">" => true,
        _ => return None,
    };
    let dtype = match kind {
        "b1" => DType::Bool,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        _ => return None,
    };
    Some((dtype, big_endian))
}

/// The header: a Python dictionary of `descr`, `fortran_order` and `shape`, in any order.
fn parse(text: &str) -> Option<Header> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let (mut descr, mut fortran_order, mut dims) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        let value = after.trim_start().strip_prefix(':')?.trim_start();
        rest = match key {
            // A list describes records: kept as it stands, for the message.
            "descr" if value.starts_with('[') => {
                let end = value.rfind(']')? + 1;
                descr = Some(&value[..end]);
                (fortran_order, dims) = (fortran_order.or(Some(false)), dims.or(Some(Vec::new())));
                ""
            }
            "descr" => {
                let (value, after) = quoted(value)?;
                descr = Some(value);
                after
            }
            "fortran_order" => {
                let (word, after) = value.split_at(value.find([',', ' ']).unwrap_or(value.len()));
                fortran_order = Some(match word {
                    "True" => true,
                    "False" => false,
                    _ => return None,
                });
                after
            }
            "shape" => {
                let (inside, after) = value.strip_prefix('(')?.split_once(')')?;
                let numbers = inside.split(',').map(str::trim).filter(|number| !number.is_empty());
                dims = Some(
                    numbers.map(|number| number.trim_end_matches('L').parse().ok()).collect::<Option<_>>()?,
                );
                after
            }
            _ => return None,
        };
        rest = rest.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(rest) => rest.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some(Header { descr: descr?.to_owned(), fortran_order: fortran_order?, dims: dims? })
}

/// The text between a pair of quotes, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// Values in column-major order put into row-major order.
fn row_major(values: Values, dims: &[usize]) -> Option<Values> {
    fn turn<T: Element>(values: Vec<T>, dims: &[usize]) -> Option<Values> {
        let array = ArrayD::from_shape_vec(IxDyn(dims).f(), values).ok()?;
        Some(T::wrap(array.iter().cloned().collect()))
    }
    match values {
        Values::F32(values) => turn(values, dims),
        Values::F64(values) => turn(values, dims),
        Values::F16(values) => turn(values, dims),
        Values::BF16(values) => turn(values, dims),
        Values::I8(values) => turn(values, dims),
        Values::I16(values) => turn(values, dims),
        Values::I32(values) => turn(values, dims),
        Values::I64(values) => turn(values, dims),
        Values::U8(values) => turn(values, dims),
        Values::U16(values) => turn(values, dims),
        Values::U32(values) => turn(values, dims),
        Values::U64(values) => turn(values, dims),
        Values::Bool(values) => turn(values, dims),
        Values::String(values) => turn(values, dims),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, arr2};
    use ndarray_npy::WriteNpyExt;

    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn open(bytes: &[u8]) -> Result<Tensor, DataError> {
        read(&mut &bytes[..], bytes.len() as u64, "a.npy")
    }

    #[test]
    fn every_element_type_is_read_in_both_byte_orders() {
        let wide = |bytes: &[u8]| [bytes, bytes].concat();
        let cases: [(&str, Vec<u8>, Values); 16] = [
            ("|u1", vec![1, 255], vec![1_u8, 255].into()),
            ("|i1", vec![1, 255], vec![1_i8, -1].into()),
            ("|b1", vec![1, 0], vec![true, false].into()),
            ("<i2", wide(&[1, 2]), vec![513_i16; 2].into()),
            (">i2", wide(&[1, 2]), vec![258_i16; 2].into()),
            (">u2", wide(&[1, 2]), vec![258_u16; 2].into()),
            ("<i4", wide(&(-7_i32).to_le_bytes()), vec![-7_i32; 2].into()),
            (">u4", wide(&7_u32.to_be_bytes()), vec![7_u32; 2].into()),
            (">i8", wide(&(-7_i64).to_be_bytes()), vec![-7_i64; 2].into()),
            ("<u8", wide(&7_u64.to_le_bytes()), vec![7_u64; 2].into()),
            ("<f2", wide(&[0, 0x3e]), vec![half::f16::from_f32(1.5); 2].into()),
            (">f2", wide(&[0x3e, 0]), vec![half::f16::from_f32(1.5); 2].into()),
            ("<f4", wide(&1.5_f32.to_le_bytes()), vec![1.5_f32; 2].into()),
            (">f4", wide(&1.5_f32.to_be_bytes()), vec![1.5_f32; 2].into()),
            ("<f8", wide(&1.5_f64.to_le_bytes()), vec![1.5_f64; 2].into()),
            (">f8", wide(&1.5_f64.to_be_bytes()), vec![1.5_f64; 2].into()),
        ];
        for (descr, data, expected) in cases {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2,), }}\n");
            assert_eq!(open(&file(&header, &data)).unwrap().values(), &expected, "{descr}");
        }
    }

    #[test]
    fn column_major_arrays_are_turned() {
        let array = arr2(&[[1_i16, 2, 3], [4, 5, 6]]);
        let mut turned = Array2::zeros((2, 3).f());
        turned.assign(&array);
        for array in [array, turned] {
            let mut bytes = Vec::new();
            array.write_npy(&mut bytes).unwrap();
            assert_eq!(open(&bytes).unwrap(), Tensor::new(vec![2, 3], vec![1_i16, 2, 3, 4, 5, 6]).unwrap());
        }
    }

    #[test]
    fn broken_files_are_refused_with_a_reason() {
        let header = |text: &str| file(text, &[0; 8]);
        let cases = [
            (b"PK".to_vec(), "ends before"),
            (b"no array at all".to_vec(), "signature"),
            (header("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}"), "ends before"),
            (header("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999,)}"), "ends before"),
            (
                header("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999)}"),
                "too large",
            ),
            (header("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,)}"), "not understood"),
            (header("{'descr': '<f4', 'shape': (2,)}"), "not understood"),
            (header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}"), "not understood"),
            (header(&"(".repeat(60_000)), "not understood"),
            (header("{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}"), "element type <c8"),
            (header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"), "element type |O"),
            (
                header("{'descr': [('a', '<f4'), ('b', '<f4')], 'fortran_order': False, 'shape': (1,)}"),
                "element type [('a'",
            ),
            ([MAGIC, &[9, 0, 0, 0]].concat(), "version 9"),
            ([MAGIC, &[2, 0, 255, 255, 255, 255]].concat(), "claims"),
        ];
        for (bytes, reason) in cases {
            let message = open(&bytes).unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains("a.npy"), "{reason}: {message}");
        }
    }
}
