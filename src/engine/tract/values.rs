//! Tensors to and from the runtime, by copy.

use half::f16;
use tract_onnx::prelude::{DatumType, Tensor as TractTensor, TractResult};

use crate::engine::{Slice, View};
use crate::tensor::{DType, Tensor, Values};

/// The runtime's name for an element type; nothing for those that it does not have or does not take.
pub(super) fn datum_type(dtype: DType) -> Option<DatumType> {
    Some(match dtype {
        DType::F32 => DatumType::F32,
        DType::F64 => DatumType::F64,
        DType::F16 => DatumType::F16,
        DType::I8 => DatumType::I8,
        DType::I16 => DatumType::I16,
        DType::I32 => DatumType::I32,
        DType::I64 => DatumType::I64,
        DType::U8 => DatumType::U8,
        DType::U16 => DatumType::U16,
        DType::U32 => DatumType::U32,
        DType::U64 => DatumType::U64,
        DType::Bool => DatumType::Bool,
        DType::BF16 | DType::String => return None,
    })
}

/// A copy for the runtime; nothing for element types that it does not take.
pub(super) fn to_tract(view: View<'_>) -> Option<TractResult<TractTensor>> {
    let dims = view.dims();
    Some(match view.values() {
        Slice::F32(values) => TractTensor::from_shape(dims, values),
        Slice::F64(values) => TractTensor::from_shape(dims, values),
        Slice::F16(values) => TractTensor::from_shape(dims, values),
        Slice::I8(values) => TractTensor::from_shape(dims, values),
        Slice::I16(values) => TractTensor::from_shape(dims, values),
        Slice::I32(values) => TractTensor::from_shape(dims, values),
        Slice::I64(values) => TractTensor::from_shape(dims, values),
        Slice::U8(values) => TractTensor::from_shape(dims, values),
        Slice::U16(values) => TractTensor::from_shape(dims, values),
        Slice::U32(values) => TractTensor::from_shape(dims, values),
        Slice::U64(values) => TractTensor::from_shape(dims, values),
        Slice::Bool(values) => TractTensor::from_shape(dims, values),
        Slice::BF16(_) | Slice::String(_) => return None,
    })
}

/// Hands the runtime's values to `take`. Symbolic integers, which the runtime uses for shapes, become `i64`.
pub(super) fn with_values<R>(tensor: &TractTensor, take: impl FnOnce(Slice<'_>) -> R) -> TractResult<R> {
    if tensor.datum_type() == DatumType::TDim {
        let numbers = tensor.cast_to::<i64>()?;
        return Ok(take(Slice::I64(numbers.try_as_plain_ram()?.as_slice::<i64>()?)));
    }
    let plain = tensor.try_as_plain_ram()?;
    Ok(match tensor.datum_type() {
        DatumType::F32 => take(Slice::F32(plain.as_slice()?)),
        DatumType::F64 => take(Slice::F64(plain.as_slice()?)),
        DatumType::F16 => take(Slice::F16(plain.as_slice::<f16>()?)),
        DatumType::I8 => take(Slice::I8(plain.as_slice()?)),
        DatumType::I16 => take(Slice::I16(plain.as_slice()?)),
        DatumType::I32 => take(Slice::I32(plain.as_slice()?)),
        DatumType::I64 => take(Slice::I64(plain.as_slice()?)),
        DatumType::U8 => take(Slice::U8(plain.as_slice()?)),
        DatumType::U16 => take(Slice::U16(plain.as_slice()?)),
        DatumType::U32 => take(Slice::U32(plain.as_slice()?)),
        DatumType::U64 => take(Slice::U64(plain.as_slice()?)),
        DatumType::Bool => take(Slice::Bool(plain.as_slice()?)),
        DatumType::String => take(Slice::String(plain.as_slice()?)),
        other => tract_onnx::tract_hir::internal::bail!("its element type {other:?} is unknown"),
    })
}

/// A copy of the runtime's tensor.
pub(super) fn from_tract(tensor: &TractTensor) -> TractResult<Tensor> {
    let values = with_values(tensor, |values| Values::from(values))?;
    Ok(Tensor::new(tensor.shape().to_vec(), values)?)
}
