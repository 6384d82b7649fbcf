//! Tensors of a model file.

use bytes::Bytes;
use half::{bf16, f16};
use onnx_proto::TensorProto;

use super::IrError;
use super::external::Mapped;
use super::gather::gather;
use crate::tensor::{DType, Tensor, Values, checked_count};

/// A tensor of a model: an initializer or a tensor attribute. Its numbers stay encoded, for weights in the mapped
/// file, until [`Initializer::tensor`] asks for them.
#[derive(Debug, Clone)]
pub struct Initializer {
    proto: TensorProto,
    /// The bytes of external data, mapped from their file; the message then still names the file.
    mapped: Option<Mapped>,
}

impl PartialEq for Initializer {
    fn eq(&self, other: &Self) -> bool {
        self.proto == other.proto && self.external() == other.external()
    }
}

pub(super) const EXTERNAL: i32 = 1;

impl Initializer {
    pub(super) fn from_proto(proto: TensorProto) -> Self {
        Self { proto, mapped: None }
    }

    pub(super) fn proto(&self) -> &TensorProto {
        &self.proto
    }

    /// The message, with external data embedded.
    pub(super) fn into_proto(self) -> TensorProto {
        match self.mapped {
            None => self.proto,
            Some(mapped) => embedded(self.proto, mapped.bytes().clone()),
        }
    }

    pub(super) fn embedded_proto(&self) -> TensorProto {
        self.clone().into_proto()
    }

    pub(super) fn set_mapped(&mut self, mapped: Mapped) {
        self.mapped = Some(mapped);
    }

    fn external(&self) -> Option<&Bytes> {
        self.mapped.as_ref().map(Mapped::bytes)
    }

    /// Lets the system take back the memory that holds external data read so far. To be called where a large weight
    /// is done with for now: the data stay readable.
    pub fn release(&self) {
        if let Some(mapped) = &self.mapped {
            mapped.release();
        }
    }

    /// A tensor named `name` with the values of `tensor`.
    pub fn from_tensor(name: &str, tensor: &Tensor) -> Self {
        let mut proto = TensorProto {
            name: Some(name.to_owned()),
            dims: tensor.dims().iter().map(|&dim| dim as i64).collect(),
            data_type: Some(tensor.dtype().onnx()),
            ..TensorProto::default()
        };
        match encode(tensor.values()) {
            Ok(raw) => proto.raw_data = Some(raw),
            Err(strings) => proto.string_data = strings,
        }
        Self::from_proto(proto)
    }

    /// The name; empty for tensors that have none.
    pub fn name(&self) -> &str {
        self.proto.name.as_deref().unwrap_or("")
    }

    pub(super) fn set_name(&mut self, name: &str) {
        self.proto.name = Some(name.to_owned());
    }

    /// The element type, or nothing for a type that this crate does not compute with.
    pub fn dtype(&self) -> Option<DType> {
        self.proto.data_type.and_then(DType::from_onnx)
    }

    /// The number that stands for the element type in the file.
    pub fn raw_dtype(&self) -> i32 {
        self.proto.data_type.unwrap_or(0)
    }

    /// The dimensions. Negative ones, which no valid file has, count as 0.
    pub fn dims(&self) -> Vec<usize> {
        self.proto.dims.iter().map(|&dim| usize::try_from(dim).unwrap_or(0)).collect()
    }

    /// Number of elements; saturates when the product overflows.
    pub fn count(&self) -> usize {
        checked_count(&self.dims()).unwrap_or(usize::MAX)
    }

    /// Bytes that the values take in a file: raw data, or as many as raw data would take.
    pub fn bytes(&self) -> u64 {
        match (self.external(), &self.proto.raw_data, self.dtype().and_then(DType::size)) {
            (Some(bytes), ..) | (None, Some(bytes), _) => bytes.len() as u64,
            (None, None, Some(size)) => (self.count() as u64).saturating_mul(size as u64),
            (None, None, None) => self.proto.string_data.iter().map(|text| text.len() as u64).sum(),
        }
    }

    /// Whether the values came from external data.
    pub fn is_external(&self) -> bool {
        self.proto.data_location == Some(EXTERNAL)
    }

    /// The values as they are stored, little-endian; nothing where they are stored in fields of their type.
    pub fn raw(&self) -> Option<&Bytes> {
        self.external().or(self.proto.raw_data.as_ref())
    }

    /// An error about this tensor.
    pub(crate) fn fail(&self, reason: impl Into<String>) -> IrError {
        IrError::Tensor { name: self.name().to_owned(), reason: reason.into() }
    }

    /// Whether the two hold the same values of the same type and dimensions, encoded in the same way.
    pub fn same_values(&self, other: &Self) -> bool {
        let plain = |tensor: &Self| (tensor.proto.float_data.clone(), tensor.raw().cloned());
        self.raw_dtype() == other.raw_dtype() && self.dims() == other.dims() && plain(self) == plain(other)
    }

    /// Checks, without decoding, that the data fills the dimensions.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.proto.dims.iter().any(|&dim| dim < 0) {
            return Err(format!("dimensions {:?} are negative", self.proto.dims));
        }
        let Some(count) = checked_count(&self.dims()) else {
            return Err(format!("dimensions {:?} are too large", self.proto.dims));
        };
        let Some(dtype) = self.dtype() else {
            return Ok(());
        };
        if self.is_external() && self.mapped.is_none() {
            return Err("its external data was not read".to_owned());
        }
        let found = match (self.raw(), dtype.size()) {
            (Some(raw), Some(size)) => {
                if raw.len() != count * size {
                    return Err(format!(
                        "dimensions {:?} of {dtype} take {} bytes, the file holds {}: the data is missing or cut off",
                        self.proto.dims,
                        count * size,
                        raw.len()
                    ));
                }
                return Ok(());
            }
            _ => self.typed_count(dtype),
        };
        if found != count {
            return Err(format!(
                "dimensions {:?} take {count} values, the file holds {found}: the data is missing or cut off",
                self.proto.dims
            ));
        }
        Ok(())
    }

    fn typed_count(&self, dtype: DType) -> usize {
        match dtype {
            DType::F32 => self.proto.float_data.len(),
            DType::F64 => self.proto.double_data.len(),
            DType::I64 => self.proto.int64_data.len(),
            DType::U32 | DType::U64 => self.proto.uint64_data.len(),
            DType::String => self.proto.string_data.len(),
            _ => self.proto.int32_data.len(),
        }
    }

    /// The numbers, decoded.
    ///
    /// # Errors
    /// When the data does not fill the dimensions or has a type that this crate does not know.
    pub fn tensor(&self) -> Result<Tensor, IrError> {
        self.check().map_err(|reason| self.fail(reason))?;
        let Some(dtype) = self.dtype() else {
            return Err(self.fail(format!("element type {} is not supported", self.raw_dtype())));
        };
        let values = match self.raw() {
            Some(raw) if dtype != DType::String => decode(dtype, raw),
            _ => self.typed_values(dtype)?,
        };
        Tensor::new(self.dims(), values).map_err(|error| IrError::tensor(self.name(), &error))
    }

    fn typed_values(&self, dtype: DType) -> Result<Values, IrError> {
        let ints = &self.proto.int32_data;
        Ok(match dtype {
            DType::F32 => Values::F32(self.proto.float_data.clone()),
            DType::F64 => Values::F64(self.proto.double_data.clone()),
            DType::I64 => Values::I64(self.proto.int64_data.clone()),
            DType::U64 => Values::U64(self.proto.uint64_data.clone()),
            DType::U32 => Values::U32(self.proto.uint64_data.iter().map(|&value| value as u32).collect()),
            DType::I32 => Values::I32(ints.clone()),
            DType::I16 => Values::I16(ints.iter().map(|&value| value as i16).collect()),
            DType::I8 => Values::I8(ints.iter().map(|&value| value as i8).collect()),
            DType::U16 => Values::U16(ints.iter().map(|&value| value as u16).collect()),
            DType::U8 => Values::U8(ints.iter().map(|&value| value as u8).collect()),
            DType::Bool => Values::Bool(ints.iter().map(|&value| value != 0).collect()),
            DType::F16 => Values::F16(ints.iter().map(|&value| f16::from_bits(value as u16)).collect()),
            DType::BF16 => Values::BF16(ints.iter().map(|&value| bf16::from_bits(value as u16)).collect()),
            DType::String => Values::String(
                self.proto
                    .string_data
                    .iter()
                    .map(|text| String::from_utf8(text.to_vec()))
                    .collect::<Result<_, _>>()
                    .map_err(|_| self.fail("a string is not UTF-8"))?,
            ),
        })
    }

    /// The tensor with the indices that `kept` names for each axis, in that order; all of them where it names none.
    ///
    /// # Errors
    /// When the data does not fill the dimensions or has a type that this crate does not know.
    ///
    /// # Panics
    /// When an index is outside the dimensions: callers hold indices of this very tensor.
    pub fn take(&self, kept: &[Option<&[usize]>]) -> Result<Self, IrError> {
        let dims = self.dims();
        let (Some(raw), Some(size)) = (self.raw(), self.dtype().and_then(DType::size)) else {
            let mut values = self.tensor()?;
            for (axis, kept) in kept.iter().enumerate() {
                values = kept.map_or_else(|| values.clone(), |kept| values.take(axis, kept));
            }
            return Ok(self.with_tensor(&values));
        };
        self.check().map_err(|reason| self.fail(reason))?;
        let taken = gather(raw, &dims, size, kept);
        let dims =
            dims.iter().zip(kept).map(|(&dim, kept)| kept.map_or(dim, <[usize]>::len) as i64).collect();
        let proto = TensorProto { dims, ..self.described() };
        Ok(Self::from_proto(embedded(proto, Bytes::from(taken))))
    }

    /// The message without values.
    fn described(&self) -> TensorProto {
        TensorProto {
            name: self.proto.name.clone(),
            data_type: self.proto.data_type,
            doc_string: self.proto.doc_string.clone(),
            metadata_props: self.proto.metadata_props.clone(),
            ..TensorProto::default()
        }
    }

    /// The same tensor (name, documentation, metadata) with other dimensions and values.
    #[must_use]
    pub fn with_tensor(&self, tensor: &Tensor) -> Self {
        let fresh = Self::from_tensor(self.name(), tensor).proto;
        Self::from_proto(TensorProto {
            doc_string: self.proto.doc_string.clone(),
            metadata_props: self.proto.metadata_props.clone(),
            ..fresh
        })
    }
}

/// `proto` with `bytes` as its raw data instead of a reference to external data.
fn embedded(mut proto: TensorProto, bytes: Bytes) -> TensorProto {
    proto.data_location = None;
    proto.external_data.clear();
    proto.raw_data = Some(bytes);
    proto
}

/// The values as little-endian raw data, or strings, which have none.
fn encode(values: &Values) -> Result<Bytes, Vec<Bytes>> {
    fn raw<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Bytes {
        let mut raw = Vec::with_capacity(values.len() * N);
        for &value in values {
            raw.extend_from_slice(&bytes(value));
        }
        Bytes::from(raw)
    }
    Ok(match values {
        Values::F32(values) => raw(values, f32::to_le_bytes),
        Values::F64(values) => raw(values, f64::to_le_bytes),
        Values::F16(values) => raw(values, f16::to_le_bytes),
        Values::BF16(values) => raw(values, bf16::to_le_bytes),
        Values::I8(values) => raw(values, i8::to_le_bytes),
        Values::I16(values) => raw(values, i16::to_le_bytes),
        Values::I32(values) => raw(values, i32::to_le_bytes),
        Values::I64(values) => raw(values, i64::to_le_bytes),
        Values::U8(values) => Bytes::copy_from_slice(values),
        Values::U16(values) => raw(values, u16::to_le_bytes),
        Values::U32(values) => raw(values, u32::to_le_bytes),
        Values::U64(values) => raw(values, u64::to_le_bytes),
        Values::Bool(values) => raw(values, |value| [u8::from(value)]),
        Values::String(values) => {
            return Err(values.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect());
        }
    })
}

/// Little-endian raw data as values; the length was checked.
fn decode(dtype: DType, raw: &[u8]) -> Values {
    fn all<T, const N: usize>(raw: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
        raw.as_chunks::<N>().0.iter().map(|bytes| value(*bytes)).collect()
    }
    match dtype {
        DType::F32 => Values::F32(all(raw, f32::from_le_bytes)),
        DType::F64 => Values::F64(all(raw, f64::from_le_bytes)),
        DType::F16 => Values::F16(all(raw, f16::from_le_bytes)),
        DType::BF16 => Values::BF16(all(raw, bf16::from_le_bytes)),
        DType::I8 => Values::I8(all(raw, i8::from_le_bytes)),
        DType::I16 => Values::I16(all(raw, i16::from_le_bytes)),
        DType::I32 => Values::I32(all(raw, i32::from_le_bytes)),
        DType::I64 => Values::I64(all(raw, i64::from_le_bytes)),
        DType::U8 => Values::U8(raw.to_vec()),
        DType::U16 => Values::U16(all(raw, u16::from_le_bytes)),
        DType::U32 => Values::U32(all(raw, u32::from_le_bytes)),
        DType::U64 => Values::U64(all(raw, u64::from_le_bytes)),
        DType::Bool => Values::Bool(raw.iter().map(|&byte| byte != 0).collect()),
        DType::String => Values::String(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_encoding() {
        let tensors = [
            Tensor::vector(vec![1.5_f32, -0.0]),
            Tensor::vector(vec![1.5_f64, f64::MIN]),
            Tensor::vector(vec![f16::from_f32(0.5)]),
            Tensor::vector(vec![bf16::from_f32(-2.0)]),
            Tensor::vector(vec![-1_i8, 2]),
            Tensor::vector(vec![-300_i16]),
            Tensor::vector(vec![-70_000_i32]),
            Tensor::vector(vec![i64::MIN, 3]),
            Tensor::vector(vec![255_u8]),
            Tensor::vector(vec![65_535_u16]),
            Tensor::vector(vec![u32::MAX]),
            Tensor::vector(vec![u64::MAX]),
            Tensor::vector(vec![true, false]),
            Tensor::vector(vec!["text".to_owned()]),
        ];
        for tensor in tensors {
            let initializer = Initializer::from_tensor("t", &tensor);
            assert_eq!(initializer.tensor().unwrap(), tensor, "{}", tensor.dtype());
        }
    }

    #[test]
    fn data_that_does_not_fill_the_dimensions_is_refused() {
        let mut proto = Initializer::from_tensor("w", &Tensor::vector(vec![0_f32; 4])).proto;
        proto.dims = vec![5];
        let error = Initializer::from_proto(proto.clone()).tensor().unwrap_err().to_string();
        assert!(error.contains("`w`") && error.contains("20 bytes") && error.contains("holds 16"), "{error}");
        proto.dims = vec![i64::MAX, i64::MAX];
        assert!(Initializer::from_proto(proto).tensor().is_err());
    }
}
