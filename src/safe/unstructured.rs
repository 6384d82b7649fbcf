//! Projection onto few non-zero weights, per tensor or over all tensors together.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::kernel::CHUNK;
use super::projection::position;
use super::threshold::{Metric, key, key_at_rank};
use super::{Importance, Projection, SafeError, Scalar, View};

/// What becomes of entries that equal the threshold, which is the entry at rank `floor(sparsity * N)`, counted
/// from 0, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threshold {
    /// They stay: without ties exactly `floor(sparsity * N)` leave, with ties fewer. Sparsity 1 keeps the largest.
    Kept,
    /// They leave: without ties one more than `floor(sparsity * N)` leaves, with ties more. Sparsity 1 is an error.
    Removed,
}

/// Projection onto few non-zero weights.
#[derive(Debug, Clone)]
pub struct Unstructured<T> {
    /// Tensors that share one threshold, and their sparsity.
    scopes: Vec<(Vec<usize>, f64)>,
    threshold: Threshold,
    importance: BTreeMap<usize, Importance<T>>,
}

impl<T: Scalar> Unstructured<T> {
    /// One threshold over all `tensors` together.
    ///
    /// # Errors
    /// When the sparsity is out of range, or a tensor is named twice.
    pub fn global(tensors: Vec<usize>, sparsity: f64, threshold: Threshold) -> Result<Self, SafeError> {
        Self::new(vec![(tensors, sparsity)], threshold)
    }

    /// A threshold for each tensor, with a sparsity of its own.
    ///
    /// # Errors
    /// When a sparsity is out of range, or a tensor is named twice.
    pub fn per_tensor(tensors: &[(usize, f64)], threshold: Threshold) -> Result<Self, SafeError> {
        Self::new(tensors.iter().map(|&(tensor, sparsity)| (vec![tensor], sparsity)).collect(), threshold)
    }

    fn new(scopes: Vec<(Vec<usize>, f64)>, threshold: Threshold) -> Result<Self, SafeError> {
        let mut named: Vec<usize> = scopes.iter().flat_map(|(tensors, _)| tensors.iter().copied()).collect();
        named.sort_unstable();
        if let Some(pair) = named.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(SafeError::NamedTwice { tensor: pair[0] });
        }
        for (tensors, sparsity) in &scopes {
            check_sparsity(*sparsity, threshold, tensors.len())?;
        }
        Ok(Self { scopes, threshold, importance: BTreeMap::new() })
    }

    /// Compares `|w| * a` in `tensor` (SAFE+).
    #[must_use]
    pub fn with_importance(mut self, tensor: usize, importance: Importance<T>) -> Self {
        self.importance.insert(tensor, importance);
        self
    }

    /// Gives all scopes the same new sparsity, for schedules.
    ///
    /// # Errors
    /// When the sparsity is out of range.
    pub fn set_sparsity(&mut self, sparsity: f64) -> Result<(), SafeError> {
        for (tensors, own) in &mut self.scopes {
            check_sparsity(sparsity, self.threshold, tensors.len())?;
            *own = sparsity;
        }
        Ok(())
    }

    fn factors(&self, tensor: usize, dims: &[usize]) -> Result<Option<&[T]>, SafeError> {
        self.importance.get(&tensor).map(|importance| importance.over(dims)).transpose()
    }
}

fn check_sparsity(sparsity: f64, threshold: Threshold, count: usize) -> Result<(), SafeError> {
    let (fits, expected) = match threshold {
        Threshold::Kept => ((0.0..=1.0).contains(&sparsity), "from 0 to 1"),
        Threshold::Removed => ((0.0..1.0).contains(&sparsity), "at least 0 and below 1"),
    };
    if fits { Ok(()) } else { Err(SafeError::Sparsity { sparsity, count, expected }) }
}

impl<T: Scalar> Projection<T> for Unstructured<T> {
    fn project(&mut self, tensors: &mut [View<'_, T>]) -> Result<(), SafeError> {
        for (scope, sparsity) in &self.scopes {
            let at: Vec<usize> =
                scope.iter().map(|&tensor| position(tensors, tensor)).collect::<Result<_, _>>()?;
            let mut metrics: Vec<Metric<'_, T>> = Vec::with_capacity(at.len());
            for &at in &at {
                let view = &tensors[at];
                metrics.push((view.values, self.factors(view.index, view.dims)?));
            }
            let count: usize = metrics.iter().map(|(values, _)| values.len()).sum();
            if count == 0 {
                continue;
            }
            let rank = ((count as f64 * sparsity) as usize).min(count - 1);
            let bound = key_at_rank(&metrics, rank);
            let leaves = |key: u64| match self.threshold {
                Threshold::Kept => key < bound,
                Threshold::Removed => key <= bound,
            };
            for at in at {
                let factors = self.factors(tensors[at].index, tensors[at].dims)?;
                tensors[at].values.par_chunks_mut(CHUNK).enumerate().for_each(|(number, chunk)| {
                    let factors = factors.map(|factors| &factors[number * CHUNK..]);
                    for (offset, value) in chunk.iter_mut().enumerate() {
                        if leaves(key(*value, factors.map(|factors| factors[offset]))) {
                            *value = T::ZERO;
                        }
                    }
                });
            }
        }
        Ok(())
    }
}

/// The projection of gradual magnitude pruning: what has once been set to zero stays zero.
#[derive(Debug, Clone)]
pub struct Gradual<T> {
    /// The projection that says what leaves next.
    pub inner: Unstructured<T>,
    /// For each tensor that has been projected, whether each element has left.
    gone: BTreeMap<usize, Vec<bool>>,
}

impl<T: Scalar> Gradual<T> {
    /// Nothing has left yet.
    pub fn new(inner: Unstructured<T>) -> Self {
        Self { inner, gone: BTreeMap::new() }
    }
}

impl<T: Scalar> Projection<T> for Gradual<T> {
    fn project(&mut self, tensors: &mut [View<'_, T>]) -> Result<(), SafeError> {
        for view in tensors.iter_mut() {
            if let Some(gone) = self.gone.get(&view.index) {
                let gone = view.values.iter_mut().zip(gone).filter(|(_, gone)| **gone);
                gone.for_each(|(value, _)| *value = T::ZERO);
            }
        }
        self.inner.project(tensors)?;
        for tensor in self.inner.scopes.iter().flat_map(|(tensors, _)| tensors) {
            let values = &*tensors[position(tensors, *tensor)?].values;
            self.gone.insert(*tensor, values.iter().map(|&value| value == T::ZERO).collect());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(projection: &mut dyn Projection<f32>, values: &[f32]) -> Result<Vec<f32>, SafeError> {
        let mut values = values.to_vec();
        let dims = [values.len()];
        projection.project(&mut [View { index: 3, dims: &dims, values: &mut values }])?;
        Ok(values)
    }

    #[test]
    fn ties_follow_the_rule() {
        let values = [1.0, -2.0, 2.0, 3.0, -4.0];
        let cases: &[(Threshold, f64, &[f32])] = &[
            (Threshold::Kept, 0.0, &[1.0, -2.0, 2.0, 3.0, -4.0]),
            (Threshold::Kept, 0.2, &[0.0, -2.0, 2.0, 3.0, -4.0]),
            (Threshold::Kept, 0.4, &[0.0, -2.0, 2.0, 3.0, -4.0]),
            (Threshold::Kept, 0.6, &[0.0, 0.0, 0.0, 3.0, -4.0]),
            (Threshold::Kept, 1.0, &[0.0, 0.0, 0.0, 0.0, -4.0]),
            (Threshold::Removed, 0.0, &[0.0, -2.0, 2.0, 3.0, -4.0]),
            (Threshold::Removed, 0.2, &[0.0, 0.0, 0.0, 3.0, -4.0]),
            (Threshold::Removed, 0.6, &[0.0, 0.0, 0.0, 0.0, -4.0]),
        ];
        let mut wrong = Vec::new();
        for (threshold, sparsity, expected) in cases {
            let mut projection = Unstructured::global(vec![3], *sparsity, *threshold).unwrap();
            let found = project(&mut projection, &values).unwrap();
            if found != *expected {
                wrong.push(format!("{threshold:?} {sparsity}: {found:?}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn importance_selects_but_does_not_scale() {
        let importance = Importance::new(&[4], &[1.0, 10.0, 1.0, 0.0], &[4]).unwrap();
        let projection = Unstructured::per_tensor(&[(3, 0.5)], Threshold::Kept).unwrap();
        let found = project(&mut projection.with_importance(3, importance), &[2.0, 1.0, 3.0, 9.0]);
        assert_eq!(found, Ok(vec![0.0, 1.0, 3.0, 0.0]));
    }

    #[test]
    fn what_gradual_pruning_removed_stays_away() {
        let mut gradual = Gradual::new(Unstructured::global(vec![3], 0.5, Threshold::Kept).unwrap());
        assert_eq!(project(&mut gradual, &[1.0, 2.0, 3.0, 4.0]), Ok(vec![0.0, 0.0, 3.0, 4.0]));
        assert_eq!(project(&mut gradual, &[9.0, 9.0, 1.0, 2.0]), Ok(vec![0.0, 0.0, 1.0, 2.0]));
        gradual.inner.set_sparsity(0.75).unwrap();
        assert_eq!(project(&mut gradual, &[9.0, 9.0, 3.0, 2.0]), Ok(vec![0.0, 0.0, 3.0, 0.0]));
    }

    #[test]
    fn mistakes_are_errors() {
        type Projector = Unstructured<f32>;
        assert!(Projector::global(vec![0, 0], 0.5, Threshold::Kept).is_err());
        assert!(Projector::global(vec![0], 1.0, Threshold::Removed).is_err());
        assert!(Projector::global(vec![0], f64::NAN, Threshold::Kept).is_err());
        let mut other = Projector::global(vec![0], 0.5, Threshold::Kept).unwrap();
        assert_eq!(project(&mut other, &[1.0]), Err(SafeError::NotSplit { tensor: 0 }));
        let importance = Importance::new(&[1], &[1.0], &[7]).unwrap();
        let mut projection =
            Projector::global(vec![3], 0.5, Threshold::Kept).unwrap().with_importance(3, importance);
        assert!(matches!(project(&mut projection, &[1.0]), Err(SafeError::Importance { .. })));
    }
}
