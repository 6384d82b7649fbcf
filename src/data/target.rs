//! What a model shall answer.

use std::collections::BTreeSet;

use super::{DataError, TargetSpec, layout::resolve_target, source::Named, spec::show};
use crate::tensor::Tensor;

#[derive(Debug)]
pub(super) struct Target {
    /// Its name in messages.
    pub(super) label: String,
    pub(super) tensor: Tensor,
    /// Shape of one sample's target.
    pub(super) dims: Vec<usize>,
    /// Whether batches hold `float`, not `int64`.
    pub(super) float: bool,
    /// Number of classes of the model, if it is known.
    pub(super) classes: Option<usize>,
}

impl Target {
    /// The targets in `array`, which must fit `spec`.
    pub(super) fn new(array: Named, spec: Option<&TargetSpec>) -> Result<Self, DataError> {
        let Named { label, tensor } = array;
        let Some((_, stored)) = tensor.dims().split_first() else {
            return Err(DataError::Scalar { array: label });
        };
        let float = spec.map_or(tensor.dtype().is_float(), |spec| spec.dtype.is_float());
        let Some(spec) = spec else {
            return Ok(Self { dims: stored.to_vec(), label, tensor, float, classes: None });
        };
        if !float && tensor.dtype().is_float() {
            return Err(DataError::Type {
                array: label,
                found: tensor.dtype(),
                wanted_by: "the loss".to_owned(),
                wanted: spec.dtype,
                hint: "store class numbers as integers (of one-hot rows: the position of the one)",
            });
        }
        let Some(dims) = resolve_target(stored, spec.sample_dims()) else {
            return Err(DataError::Shape {
                array: label,
                found: format!("{stored:?}"),
                wanted_by: "the loss".to_owned(),
                wanted: show(spec.sample_dims()),
                hint: "store one target of that shape for each sample (for classes: one integer)",
            });
        };
        Ok(Self { dims, label, tensor, float, classes: spec.classes.filter(|_| !float) })
    }

    /// The targets at `rows` of the storage.
    pub(super) fn batch(&self, rows: &[usize]) -> Result<Tensor, DataError> {
        let taken = self.tensor.take(0, rows);
        let dims = [&[rows.len()], &self.dims[..]].concat();
        Ok(if self.float { Tensor::new(dims, taken.to_f32()?)? } else { Tensor::new(dims, taken.to_i64()?)? })
    }

    /// The labels at `rows` of the storage, sorted, each once.
    pub(super) fn found(&self, rows: impl Iterator<Item = usize>) -> BTreeSet<i64> {
        rows.flat_map(|row| self.tensor.take(0, &[row]).to_i64().unwrap_or_default()).collect()
    }
}
