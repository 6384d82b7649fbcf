//! What a model takes: the shapes and types that data must meet.

use crate::tensor::DType;

/// One input of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    /// Name of the graph input.
    pub name: String,
    /// Element type of the graph input.
    pub dtype: DType,
    /// Dimensions; nothing where a dimension is free.
    pub dims: Vec<Option<usize>>,
    /// Whether the first of the dimensions is the batch. Else the input takes one sample at a time.
    pub batched: bool,
}

/// The targets that a loss takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSpec {
    /// An integer type for class numbers (batches then hold `int64`), a float type for numbers to be met
    /// (batches then hold `float`).
    pub dtype: DType,
    /// Dimensions, the batch axis first; nothing where a dimension is free.
    pub dims: Vec<Option<usize>>,
    /// Number of classes: labels lie in `0..classes`. Nothing when unknown, or for float targets.
    pub classes: Option<usize>,
}

impl InputSpec {
    /// Dimensions of one sample.
    pub fn sample_dims(&self) -> &[Option<usize>] {
        if self.batched { self.dims.get(1..).unwrap_or(&[]) } else { &self.dims }
    }

    /// The batch size that the input is fixed to.
    pub fn fixed_batch(&self) -> Option<usize> {
        self.dims.first().copied().flatten().filter(|_| self.batched)
    }
}

impl TargetSpec {
    /// Class numbers for a model output of `dims` (batch axis first), whose axis `class_axis` runs over the
    /// classes: `[N, C]` takes labels `[N]`, `[N, C, H, W]` takes labels `[N, H, W]`. Nothing when the axis is
    /// not one of the output's.
    pub fn labels(dims: &[Option<usize>], class_axis: usize) -> Option<Self> {
        let classes = *dims.get(class_axis)?;
        let mut dims = dims.to_vec();
        dims.remove(class_axis);
        Some(Self { dtype: DType::I64, dims, classes })
    }

    /// Numbers to be met by a model output of `dims` (batch axis first).
    pub fn values(dims: &[Option<usize>]) -> Self {
        Self { dtype: DType::F32, dims: dims.to_vec(), classes: None }
    }

    /// Dimensions of the target of one sample.
    pub fn sample_dims(&self) -> &[Option<usize>] {
        self.dims.get(1..).unwrap_or(&[])
    }
}

/// Whether `dims` meet `wanted`, where a free dimension takes any length.
pub(super) fn fits(dims: &[usize], wanted: &[Option<usize>]) -> bool {
    dims.len() == wanted.len()
        && dims.iter().zip(wanted).all(|(&dim, wanted)| wanted.is_none_or(|wanted| wanted == dim))
}

/// `wanted` for messages, `?` for a free dimension.
pub(super) fn show(wanted: &[Option<usize>]) -> String {
    let dims: Vec<_> =
        wanted.iter().map(|dim| dim.map_or_else(|| "?".to_owned(), |dim| dim.to_string())).collect();
    format!("[{}]", dims.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_lose_the_class_axis() {
        let spec = TargetSpec::labels(&[None, Some(21), Some(8), None], 1).unwrap();
        assert_eq!((spec.dims, spec.classes), (vec![None, Some(8), None], Some(21)));
        assert_eq!(TargetSpec::labels(&[None], 1), None);
    }

    #[test]
    fn free_dimensions_take_any_length() {
        let wanted = [Some(3), None];
        for (dims, expected) in [(vec![3, 7], true), (vec![2, 7], false), (vec![3], false)] {
            assert_eq!(fits(&dims, &wanted), expected, "{dims:?}");
        }
        assert_eq!(show(&wanted), "[3, ?]");
    }
}
