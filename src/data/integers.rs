//! Integers in the type that a model takes.

use super::{DataError, InputSpec};
use crate::tensor::{DType, Element, Tensor, Values};

pub(super) fn mismatch(label: &str, found: DType, spec: &InputSpec, wanted: DType) -> DataError {
    DataError::Type {
        array: label.to_owned(),
        found,
        wanted_by: format!("the model input '{}'", spec.name),
        wanted,
        hint: "store the values in that type",
    }
}

/// Integers or booleans in the type of the input `spec`, which is no float.
pub(super) fn integers(
    tensor: Tensor,
    spec: &InputSpec,
    label: &str,
    samples: usize,
) -> Result<Tensor, DataError> {
    let found = tensor.dtype();
    if found == spec.dtype {
        return Ok(tensor);
    }
    let values = match tensor.to_i64() {
        Ok(values) if spec.dtype.is_integer() => values,
        _ => return Err(mismatch(label, found, spec, spec.dtype)),
    };
    let each = values.len() / samples.max(1);
    let unfit = |place: usize| DataError::Range {
        array: label.to_owned(),
        index: place / each.max(1),
        value: values[place],
        wanted: spec.dtype,
    };
    // `to_i64` wraps unsigned values past its range: those are negative now, and fit into no type but `int64`.
    let wrapped = (found == DType::U64).then(|| values.iter().position(|&value| value < 0)).flatten();
    if let Some(place) = wrapped {
        return Err(unfit(place));
    }
    let narrowed = match spec.dtype {
        DType::I8 => narrow::<i8>(&values),
        DType::I16 => narrow::<i16>(&values),
        DType::I32 => narrow::<i32>(&values),
        DType::U8 => narrow::<u8>(&values),
        DType::U16 => narrow::<u16>(&values),
        DType::U32 => narrow::<u32>(&values),
        DType::U64 => narrow::<u64>(&values),
        _ => narrow::<i64>(&values),
    };
    Ok(Tensor::new(tensor.dims().to_vec(), narrowed.map_err(unfit)?)?)
}

/// The values in type `T`, or the place of the first that does not fit.
fn narrow<T: Element + TryFrom<i64>>(values: &[i64]) -> Result<Values, usize> {
    let each = values.iter().enumerate().map(|(place, &value)| T::try_from(value).map_err(|_| place));
    each.collect::<Result<Vec<T>, usize>>().map(T::wrap)
}
