//! Which groups each index of each axis belongs to, and one sweep over a tensor for all its groups.

use rayon::prelude::*;

use super::kernel::{CHUNK, sum_of_squares};
use super::{SafeError, Scalar};

/// For one axis of one parameter, the groups that each index belongs to: an index may belong to none, one or
/// several, and leaves when any of its groups leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AxisGroups {
    tensor: usize,
    axis: usize,
    /// The groups of index `i` are `groups[starts[i]..starts[i + 1]]`, each once.
    starts: Vec<usize>,
    groups: Vec<u32>,
}

impl AxisGroups {
    /// The groups of each index of `axis` of the parameter `tensor`; one list for each index.
    pub fn new<L: AsRef<[u32]>>(tensor: usize, axis: usize, groups_of_index: &[L]) -> Self {
        let mut starts = Vec::with_capacity(groups_of_index.len() + 1);
        let mut groups = Vec::new();
        starts.push(0);
        for list in groups_of_index {
            let start = groups.len();
            groups.extend_from_slice(list.as_ref());
            groups[start..].sort_unstable();
            let mut kept = start;
            for at in start..groups.len() {
                if kept == start || groups[kept - 1] != groups[at] {
                    groups[kept] = groups[at];
                    kept += 1;
                }
            }
            groups.truncate(kept);
            starts.push(kept);
        }
        Self { tensor, axis, starts, groups }
    }

    /// Position of the parameter.
    pub fn tensor(&self) -> usize {
        self.tensor
    }

    /// The axis.
    pub fn axis(&self) -> usize {
        self.axis
    }

    /// Length of the axis.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether the axis has no index.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The groups of an index, in rising order.
    pub fn groups_of(&self, index: usize) -> &[u32] {
        &self.groups[self.starts[index]..self.starts[index + 1]]
    }

    /// For each index, whether any of its groups is removed.
    pub fn removed_indices(&self, removed: &[bool]) -> Vec<bool> {
        let leaves = |index| self.groups_of(index).iter().any(|&group| removed[group as usize]);
        (0..self.len()).map(leaves).collect()
    }

    /// Outer count, length and inner count of the axis in `dims`.
    pub(super) fn extent(&self, dims: &[usize]) -> Result<(usize, usize, usize), SafeError> {
        let expected = dims.get(self.axis).copied();
        if expected != Some(self.len()) {
            let (tensor, axis) = (self.tensor, self.axis);
            return Err(SafeError::GroupAxis { tensor, axis, expected, found: self.len() });
        }
        let outer = dims[..self.axis].iter().product();
        Ok((outer, self.len(), dims[self.axis + 1..].iter().product()))
    }
}

/// Groups of slices that leave together, numbered from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    count: usize,
    axes: Vec<AxisGroups>,
}

impl Groups {
    /// `count` groups over the given axes.
    ///
    /// # Errors
    /// When an index names a group at or above `count`.
    pub fn new(count: usize, axes: Vec<AxisGroups>) -> Result<Self, SafeError> {
        for axis in &axes {
            for index in 0..axis.len() {
                if let Some(&group) = axis.groups_of(index).iter().find(|&&group| group as usize >= count) {
                    let (tensor, axis) = (axis.tensor, axis.axis);
                    return Err(SafeError::GroupNumber { tensor, axis, index, group, count });
                }
            }
        }
        Ok(Self { count, axes })
    }

    /// Number of groups.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The axes.
    pub fn axes(&self) -> &[AxisGroups] {
        &self.axes
    }
}

/// Of `values`, seen as `outer` times `length` runs of `inner`, the sum of squares for each index of the middle
/// axis, in one pass. With factors, of `value * factor`.
pub(super) fn squares_by_index<T: Scalar>(
    values: &[T],
    factors: Option<&[T]>,
    length: usize,
    inner: usize,
) -> Vec<f64> {
    if values.is_empty() {
        return vec![0.0; length];
    }
    let square = |at: usize| match factors {
        None => sum_of_squares(&values[at..at + inner]),
        Some(factors) => {
            let products = values[at..at + inner].iter().zip(&factors[at..at + inner]);
            products.map(|(&value, &factor)| (value.to_f64() * factor.to_f64()).powi(2)).sum()
        }
    };
    let row = length * inner;
    if values.len() == row {
        return (0..length)
            .into_par_iter()
            .with_min_len((CHUNK / inner).max(1))
            .map(|i| square(i * inner))
            .collect();
    }
    // Rows in a job: fixed by the shape, so that sums do not depend on the number of threads.
    let rows = (4 * CHUNK / row).max(32);
    let jobs = values.par_chunks(rows * row).enumerate().map(|(job, chunk)| {
        let mut sums = vec![0.0; length];
        for start in (0..chunk.len()).step_by(row) {
            if inner == 1 && factors.is_none() {
                for (sum, &value) in sums.iter_mut().zip(&chunk[start..start + row]) {
                    *sum += value.to_f64() * value.to_f64();
                }
                continue;
            }
            let start = job * rows * row + start;
            for (index, sum) in sums.iter_mut().enumerate() {
                *sum += square(start + index * inner);
            }
        }
        sums
    });
    let mut total = vec![0.0; length];
    for partial in jobs.collect::<Vec<_>>() {
        total.iter_mut().zip(partial).for_each(|(total, partial)| *total += partial);
    }
    total
}

/// Sets to zero the runs of `inner` values at every index of the middle axis that is marked.
pub(super) fn zero_indices<T: Scalar>(values: &mut [T], marked: &[bool], inner: usize) {
    if inner == 0 || !marked.contains(&true) {
        return;
    }
    let runs = (CHUNK / inner).max(1);
    values.par_chunks_mut(runs * inner).enumerate().for_each(|(job, chunk)| {
        for (run, values) in chunk.chunks_mut(inner).enumerate() {
            if marked[(job * runs + run) % marked.len()] {
                values.fill(T::ZERO);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Random;

    #[test]
    fn sums_and_zeros_agree_with_the_plain_loop() {
        let mut random = Random::new(5);
        let shapes =
            [[1, 5, 7], [6, 5, 1], [3, 4, 5], [700, 90, 3], [1, 3, 40_000], [30_000, 2, 1], [2, 0, 3]];
        for [outer, length, inner] in shapes {
            let mut values: Vec<f32> = (0..outer * length * inner).map(|_| random.normal() as f32).collect();
            let factors: Vec<f32> = values.iter().map(|_| random.unit() as f32).collect();
            let marked: Vec<bool> = (0..length).map(|index| index % 2 == 1).collect();
            for factors in [None, Some(factors.as_slice())] {
                let mut expected = vec![0.0; length];
                for at in 0..values.len() {
                    let factor = factors.map_or(1.0, |factors| f64::from(factors[at]));
                    expected[at / inner % length] += (f64::from(values[at]) * factor).powi(2);
                }
                let found = squares_by_index(&values, factors, length, inner);
                assert_eq!(found.len(), length);
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((found - expected).abs() <= 1e-10 * expected, "{outer} {length} {inner}");
                }
            }
            let before = values.clone();
            zero_indices(&mut values, &marked, inner);
            for at in 0..values.len() {
                let kept = if marked[at / inner % length] { 0.0 } else { before[at] };
                assert_eq!(values[at], kept, "{outer} {length} {inner} at {at}");
            }
        }
    }

    #[test]
    fn an_index_leaves_with_any_of_its_groups() {
        let axis = AxisGroups::new(0, 0, &[vec![], vec![0], vec![1, 0, 1], vec![2]]);
        assert_eq!(axis.groups_of(2), [0, 1]);
        assert_eq!(axis.removed_indices(&[false, true, false]), [false, false, true, false]);
        assert_eq!(axis.removed_indices(&[true, false, true]), [false, true, true, true]);
        assert!(Groups::new(2, vec![axis]).is_err());
    }
}
