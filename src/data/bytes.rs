//! Numbers out of byte streams.

use std::io::{Error, ErrorKind, Read, Result};

use half::f16;

use crate::tensor::{DType, Values};

/// Bytes of a chunk: a multiple of every element size.
const CHUNK: usize = 1 << 16;

fn collect<T, const WIDTH: usize>(
    reader: &mut impl Read,
    count: usize,
    convert: impl Fn([u8; WIDTH]) -> T,
) -> Result<Vec<T>> {
    let mut values = Vec::with_capacity(count);
    let mut chunk = vec![0; CHUNK.min(count * WIDTH)];
    while values.len() < count {
        let bytes = chunk.len().min((count - values.len()) * WIDTH);
        reader.read_exact(&mut chunk[..bytes])?;
        values.extend(chunk[..bytes].as_chunks::<WIDTH>().0.iter().map(|bytes| convert(*bytes)));
    }
    Ok(values)
}

/// Reads `count` values of `dtype`, of which the stream can hold no more than `limit` bytes: so memory stays in
/// proportion to the file, whatever its header says.
///
/// # Errors
/// `UnexpectedEof` when the stream is shorter, `InvalidInput` for types without bytes of fixed size.
pub(super) fn read_values(
    reader: &mut impl Read,
    dtype: DType,
    big_endian: bool,
    count: usize,
    limit: u64,
) -> Result<Values> {
    let width = dtype.size().ok_or_else(|| Error::new(ErrorKind::InvalidInput, "text has no fixed size"))?;
    if count.checked_mul(width).is_none_or(|bytes| bytes as u64 > limit) {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    macro_rules! numbers {
        ($type:ty) => {
            if big_endian {
                collect(reader, count, <$type>::from_be_bytes).map(Values::from)
            } else {
                collect(reader, count, <$type>::from_le_bytes).map(Values::from)
            }
        };
    }
    match dtype {
        DType::U8 => collect(reader, count, |[byte]| byte).map(Values::from),
        DType::Bool => collect(reader, count, |[byte]| byte != 0).map(Values::from),
        DType::I8 => numbers!(i8),
        DType::I16 => numbers!(i16),
        DType::I32 => numbers!(i32),
        DType::I64 => numbers!(i64),
        DType::U16 => numbers!(u16),
        DType::U32 => numbers!(u32),
        DType::U64 => numbers!(u64),
        DType::F16 => numbers!(f16),
        DType::F32 => numbers!(f32),
        DType::F64 => numbers!(f64),
        DType::BF16 | DType::String => {
            Err(Error::new(ErrorKind::InvalidInput, format!("values of type {dtype}")))
        }
    }
}

/// Most bytes that `compressed` bytes can become: deflate packs at most 1032 to 1.
pub(super) fn inflated_limit(compressed: u64) -> u64 {
    compressed.saturating_mul(1032).saturating_add(1024)
}
