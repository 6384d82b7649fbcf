//! Projection onto N zeros in every M entries along an axis.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::kernel::CHUNK;
use super::projection::position;
use super::{Importance, Projection, SafeError, Scalar, View};

/// Projection onto N zeros in each block of M consecutive entries along an axis. Metrics are compared in single
/// precision, as the published code does; of equal ones the entry with the lower index leaves first.
#[derive(Debug, Clone)]
pub struct NOfM<T> {
    remove: usize,
    block: usize,
    /// Axis for each tensor.
    axes: BTreeMap<usize, usize>,
    importance: BTreeMap<usize, Importance<T>>,
}

impl<T: Scalar> NOfM<T> {
    /// `remove` (N) zeros in every `block` (M) entries of the given (tensor, axis) pairs.
    ///
    /// # Errors
    /// When N exceeds M, M is zero, or a tensor is named twice.
    pub fn new(remove: usize, block: usize, axes: &[(usize, usize)]) -> Result<Self, SafeError> {
        if block == 0 || remove > block {
            return Err(SafeError::BlockCount { remove, block });
        }
        let mut named = BTreeMap::new();
        for &(tensor, axis) in axes {
            if named.insert(tensor, axis).is_some() {
                return Err(SafeError::NamedTwice { tensor });
            }
        }
        Ok(Self { remove, block, axes: named, importance: BTreeMap::new() })
    }

    /// Compares `|w| * a` in `tensor` (SAFE+).
    #[must_use]
    pub fn with_importance(mut self, tensor: usize, importance: Importance<T>) -> Self {
        self.importance.insert(tensor, importance);
        self
    }

    /// Projects whole slabs of M entries along the axis times `inner` elements behind it.
    fn project_slabs(&self, values: &mut [T], factors: Option<&[T]>, inner: usize) {
        let mut metrics = vec![(0.0_f32, 0_usize); self.block];
        for (slab, values) in values.chunks_exact_mut(self.block * inner).enumerate() {
            for column in 0..inner {
                for (entry, metric) in metrics.iter_mut().enumerate() {
                    let at = entry * inner + column;
                    let size = values[at].magnitude();
                    let size = factors.map_or(size, |factors| size * factors[slab * self.block * inner + at]);
                    *metric = (size.to_f64() as f32, at);
                }
                metrics.sort_by(|left, right| left.0.total_cmp(&right.0));
                metrics[..self.remove].iter().for_each(|&(_, at)| values[at] = T::ZERO);
            }
        }
    }
}

impl<T: Scalar> Projection<T> for NOfM<T> {
    fn project(&mut self, tensors: &mut [View<'_, T>]) -> Result<(), SafeError> {
        for (&tensor, &axis) in &self.axes {
            let at = position(tensors, tensor)?;
            let View { dims, values, .. } = &mut tensors[at];
            if dims.get(axis).is_none_or(|dim| !dim.is_multiple_of(self.block)) {
                return Err(SafeError::Blocks { tensor, dims: dims.to_vec(), axis, block: self.block });
            }
            let factors = self.importance.get(&tensor).map(|importance| importance.over(dims)).transpose()?;
            if values.is_empty() {
                continue;
            }
            let inner: usize = dims[axis + 1..].iter().product();
            let slab = self.block * inner;
            let size = slab * (CHUNK / slab).max(1);
            values.par_chunks_mut(size).enumerate().for_each(|(number, slabs)| {
                self.project_slabs(slabs, factors.map(|factors| &factors[number * size..]), inner);
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(projection: &mut NOfM<f32>, dims: &[usize], values: &[f32]) -> Result<Vec<f32>, SafeError> {
        let mut values = values.to_vec();
        projection.project(&mut [View { index: 0, dims, values: &mut values }])?;
        Ok(values)
    }

    #[test]
    fn blocks_lie_along_the_axis() {
        let values = [1.0, -2.0, 3.0, 4.0, 8.0, 7.0, -6.0, 5.0];
        let along = |axis| project(&mut NOfM::new(1, 2, &[(0, axis)]).unwrap(), &[2, 4], &values);
        assert_eq!(along(1), Ok(vec![0.0, -2.0, 0.0, 4.0, 8.0, 0.0, -6.0, 0.0]));
        assert_eq!(along(0), Ok(vec![0.0, 0.0, 0.0, 0.0, 8.0, 7.0, -6.0, 5.0]));
    }

    #[test]
    fn of_equal_entries_the_first_leaves() {
        let found = project(&mut NOfM::new(2, 4, &[(0, 0)]).unwrap(), &[4], &[1.0, -1.0, 1.0, 1.0]);
        assert_eq!(found, Ok(vec![0.0, 0.0, 1.0, 1.0]));
    }

    #[test]
    fn axes_that_do_not_divide_are_refused() {
        let mut projection = NOfM::new(2, 4, &[(0, 1)]).unwrap();
        assert!(matches!(
            project(&mut projection, &[4, 3], &[0.0; 12]),
            Err(SafeError::Blocks { axis: 1, .. })
        ));
        assert!(matches!(project(&mut projection, &[4], &[0.0; 4]), Err(SafeError::Blocks { .. })));
        assert!(NOfM::<f32>::new(5, 4, &[]).is_err());
        assert!(NOfM::<f32>::new(0, 0, &[]).is_err());
    }
}
