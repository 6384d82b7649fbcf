//! What a model shall answer.

use std::collections::BTreeSet;

use super::{DataError, TargetSpec, layout::resolve_target, source::Named, spec::show};
use crate::tensor::Tensor;

/// What batches hold where a label does not count: no class, and nothing that is stored by accident.
pub const IGNORED: i64 = i64::MIN;

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
    /// The label of positions that do not count.
    pub(super) ignored: Option<i64>,
}

impl Target {
    /// The targets in `array`, which must fit `spec`.
    pub(super) fn new(
        array: Named,
        spec: Option<&TargetSpec>,
        ignored: Option<i64>,
    ) -> Result<Self, DataError> {
        let Named { label, tensor } = array;
        let Some((_, stored)) = tensor.dims().split_first() else {
            return Err(DataError::Scalar { array: label });
        };
        let float = spec.map_or(tensor.dtype().is_float(), |spec| spec.dtype.is_float());
        let Some(spec) = spec else {
            return Ok(Self { dims: stored.to_vec(), label, tensor, float, classes: None, ignored });
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
        Ok(Self { dims, label, tensor, float, classes: spec.classes.filter(|_| !float), ignored })
    }

    /// The targets at `rows` of the storage.
    pub(super) fn batch(&self, rows: &[usize]) -> Result<Tensor, DataError> {
        let taken = self.tensor.take(0, rows);
        let dims = [&[rows.len()], &self.dims[..]].concat();
        if self.float {
            return Ok(Tensor::new(dims, taken.to_f32()?)?);
        }
        let mut labels = taken.to_i64()?;
        for label in labels.iter_mut().filter(|label| Some(**label) == self.ignored) {
            *label = IGNORED;
        }
        Ok(Tensor::new(dims, labels)?)
    }

    /// The labels at `rows` of the storage that count, sorted, each once.
    pub(super) fn found(&self, rows: impl Iterator<Item = usize>) -> BTreeSet<i64> {
        let labels = rows.flat_map(|row| self.tensor.take(0, &[row]).to_i64().unwrap_or_default());
        labels.filter(|&label| Some(label) != self.ignored).collect()
    }
}
