//! Projection onto whole groups under a budget.

use std::collections::BTreeMap;

use super::groups::{squares_by_index, zero_indices};
use super::projection::position;
use super::{Groups, Importance, Projection, SafeError, Scalar, View};

/// How the squares of a group's members become one score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupNorm {
    /// Root of the sum: larger groups score higher.
    Sum,
    /// Root of the mean over all elements of the group.
    ElementMean,
    /// Root of the mean over the axes where the group has members, of the mean square of its elements there: each
    /// tensor counts the same, whatever its size.
    AxisMean,
    /// As [`GroupNorm::AxisMean`], each mean square divided by the mean square of the whole tensor, so that tensors
    /// of different scale compare.
    RelativeAxisMean,
}

/// Decides, under a budget, which groups leave.
pub trait Select {
    /// For each group, whether it is removed. `scores` has one value for each group: the higher, the more is lost.
    fn removed(&mut self, scores: &[f64]) -> Vec<bool>;
}

impl<F: FnMut(&[f64]) -> Vec<bool>> Select for F {
    fn removed(&mut self, scores: &[f64]) -> Vec<bool> {
        self(scores)
    }
}

/// Projection onto whole groups: scores them, asks the selection, and sets the slices of the removed ones to zero.
#[derive(Debug, Clone)]
pub struct GroupProjection<T, S> {
    groups: Groups,
    norm: GroupNorm,
    select: S,
    importance: BTreeMap<usize, Importance<T>>,
    scores: Vec<f64>,
    removed: Option<Vec<bool>>,
}

impl<T: Scalar, S: Select> GroupProjection<T, S> {
    /// A projection onto `groups` by the `select`ion.
    pub fn new(groups: Groups, norm: GroupNorm, select: S) -> Self {
        Self { groups, norm, select, importance: BTreeMap::new(), scores: Vec::new(), removed: None }
    }

    /// Scores `|w| * a` in `tensor` (SAFE+).
    #[must_use]
    pub fn with_importance(mut self, tensor: usize, importance: Importance<T>) -> Self {
        self.importance.insert(tensor, importance);
        self
    }

    /// The groups.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The selection.
    pub fn select(&self) -> &S {
        &self.select
    }

    /// The selection, for instance to move its budget.
    pub fn select_mut(&mut self) -> &mut S {
        &mut self.select
    }

    /// The scores of the last projection, one for each group; empty before the first.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// For each group, whether the last projection removed it.
    ///
    /// # Errors
    /// When no projection has run.
    pub fn removed(&self) -> Result<&[bool], SafeError> {
        self.removed.as_deref().ok_or(SafeError::NotProjected { groups: self.groups.count() })
    }

    /// The score of each group over `tensors`; 0 for a group without members.
    ///
    /// # Errors
    /// When a group names a tensor that is not given, or an axis of another length.
    pub fn score(&self, tensors: &[View<'_, T>]) -> Result<Vec<f64>, SafeError> {
        let mut scoring = Scoring::new(&self.groups, self.norm);
        for tensor in scoring.tensors() {
            let View { dims, values, .. } = &tensors[position(tensors, tensor)?];
            let factors = self.importance.get(&tensor).map(|factor| factor.over(dims)).transpose()?;
            scoring.add(tensor, dims, values, factors)?;
        }
        Ok(scoring.finish())
    }

    /// Sets to zero every slice whose index belongs to a removed group.
    ///
    /// # Errors
    /// When `removed` has another length than there are groups, a group names a tensor that is not given, or an
    /// axis of another length.
    pub fn zero_groups(&self, tensors: &mut [View<'_, T>], removed: &[bool]) -> Result<(), SafeError> {
        if removed.len() != self.groups.count() {
            return Err(SafeError::Selection { expected: self.groups.count(), found: removed.len() });
        }
        for axis in self.groups.axes() {
            let at = position(tensors, axis.tensor())?;
            let (_, _, inner) = axis.extent(tensors[at].dims)?;
            zero_indices(tensors[at].values, &axis.removed_indices(removed), inner);
        }
        Ok(())
    }
}

impl<T: Scalar, S: Select> Projection<T> for GroupProjection<T, S> {
    fn project(&mut self, tensors: &mut [View<'_, T>]) -> Result<(), SafeError> {
        self.scores = self.score(tensors)?;
        let removed = self.select.removed(&self.scores);
        self.zero_groups(tensors, &removed)?;
        self.removed = Some(removed);
        Ok(())
    }
}

/// Scores groups tensor by tensor, so that no two tensors need be in memory at once.
#[derive(Debug)]
pub struct Scoring<'a> {
    groups: &'a Groups,
    norm: GroupNorm,
    /// By tensor, the places of its axes among those of the groups.
    axes: BTreeMap<usize, Vec<usize>>,
    sums: Vec<f64>,
    weights: Vec<f64>,
    /// Of the axis at hand, by group.
    squares: Vec<f64>,
    elements: Vec<usize>,
}

impl<'a> Scoring<'a> {
    /// Nothing added yet.
    pub fn new(groups: &'a Groups, norm: GroupNorm) -> Self {
        let count = groups.count();
        let mut axes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, axis) in groups.axes().iter().enumerate() {
            axes.entry(axis.tensor()).or_default().push(place);
        }
        let (sums, weights) = (vec![0.0; count], vec![0.0; count]);
        Self { groups, norm, axes, sums, weights, squares: vec![0.0; count], elements: vec![0; count] }
    }

    /// The tensors that groups have members in, in rising order.
    pub fn tensors(&self) -> Vec<usize> {
        self.axes.keys().copied().collect()
    }

    /// Adds the values of a tensor, row-major; with factors, of `value * factor`.
    ///
    /// # Errors
    /// When an axis has another length than the groups know.
    pub fn add<T: Scalar>(
        &mut self,
        tensor: usize,
        dims: &[usize],
        values: &[T],
        factors: Option<&[T]>,
    ) -> Result<(), SafeError> {
        for &place in self.axes.get(&tensor).into_iter().flatten() {
            let axis = &self.groups.axes()[place];
            let (outer, length, inner) = axis.extent(dims)?;
            let by_index = squares_by_index(values, factors, length, inner);
            for (index, square) in by_index.iter().enumerate() {
                for &group in axis.groups_of(index) {
                    self.squares[group as usize] += square;
                    self.elements[group as usize] += outer * inner;
                }
            }
            let tensor_mean = by_index.iter().sum::<f64>() / values.len().max(1) as f64;
            // Only groups met on this axis have elements now; each is taken once and emptied for the next axis.
            for &group in (0..length).flat_map(|index| axis.groups_of(index)) {
                let group = group as usize;
                let square = std::mem::take(&mut self.squares[group]);
                let own = std::mem::take(&mut self.elements[group]) as f64;
                if own == 0.0 {
                    continue;
                }
                let (sum, weight) = match self.norm {
                    GroupNorm::Sum => (square, 0.0),
                    GroupNorm::ElementMean => (square, own),
                    GroupNorm::AxisMean => (square / own, 1.0),
                    GroupNorm::RelativeAxisMean if tensor_mean > 0.0 => (square / own / tensor_mean, 1.0),
                    GroupNorm::RelativeAxisMean => (0.0, 1.0),
                };
                self.sums[group] += sum;
                self.weights[group] += weight;
            }
        }
        Ok(())
    }

    /// The score of each group; 0 for a group without members.
    pub fn finish(self) -> Vec<f64> {
        let roots = self.sums.iter().zip(self.weights);
        roots.map(|(sum, weight)| if weight > 0.0 { (sum / weight).sqrt() } else { sum.sqrt() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safe::AxisGroups;

    /// Group 0: row 0 of `a` and column 0 of `b`. Group 1: row 1 of `a` and columns 1 and 2 of `b`. Group 2: row 1
    /// of `a` alone. Group 3: nothing.
    fn groups() -> Groups {
        let a = AxisGroups::new(0, 0, &[vec![0_u32], vec![1, 2]]);
        let b = AxisGroups::new(1, 1, &[vec![0_u32], vec![1], vec![1]]);
        Groups::new(4, vec![a, b]).unwrap()
    }

    /// Scores, then `a [2, 2]` and `b [2, 3]` after the projection.
    type Outcome = Result<(Vec<f64>, Vec<f64>, Vec<f64>), SafeError>;

    fn project(norm: GroupNorm, select: impl Select) -> Outcome {
        let (mut a, mut b) = (vec![3.0, 4.0, 1.0, 1.0], vec![1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
        let mut projection = GroupProjection::new(groups(), norm, select);
        let mut views = [
            View { index: 0, dims: &[2, 2], values: &mut a },
            View { index: 1, dims: &[2, 3], values: &mut b },
        ];
        projection.project(&mut views)?;
        assert_eq!(projection.removed().unwrap().len(), 4);
        let scores = projection.scores().to_vec();
        Ok((scores, a, b))
    }

    #[test]
    fn scores_follow_the_norm() {
        let cases = [
            (GroupNorm::Sum, [27.0, 28.0, 2.0, 0.0]),
            (GroupNorm::ElementMean, [27.0 / 4.0, 28.0 / 6.0, 1.0, 0.0]),
            (GroupNorm::AxisMean, [13.5 / 2.0, 7.5 / 2.0, 1.0, 0.0]),
            (
                GroupNorm::RelativeAxisMean,
                [(12.5 / 6.75 + 6.0 / 28.0) * 0.5, (1.0 / 6.75 + 6.5 * 6.0 / 28.0) * 0.5, 1.0 / 6.75, 0.0],
            ),
        ];
        let mut wrong = Vec::new();
        for (norm, expected) in cases {
            let (scores, _, _) = project(norm, |scores: &[f64]| vec![false; scores.len()]).unwrap();
            let squares: Vec<f64> = scores.iter().map(|score| score * score).collect();
            if squares.iter().zip(expected).any(|(found, expected)| (found - expected).abs() > 1e-12) {
                wrong.push((norm, squares, expected));
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn removed_groups_are_zero_in_every_tensor() {
        let remove =
            |wanted: usize| move |scores: &[f64]| (0..scores.len()).map(|group| group == wanted).collect();
        let (_, a, b) = project(GroupNorm::Sum, remove(1)).unwrap();
        assert_eq!((a, b), (vec![3.0, 4.0, 0.0, 0.0], vec![1.0, 0.0, 0.0, 1.0, 0.0, 0.0]));
        let (_, a, b) = project(GroupNorm::Sum, remove(2)).unwrap();
        assert_eq!((a, b), (vec![3.0, 4.0, 0.0, 0.0], vec![1.0, 2.0, 3.0, 1.0, 2.0, 3.0]));
    }

    #[test]
    fn mismatches_are_errors() {
        let short = project(GroupNorm::Sum, |_: &[f64]| vec![true]);
        assert_eq!(short, Err(SafeError::Selection { expected: 4, found: 1 }));
        let keep = |scores: &[f64]| vec![false; scores.len()];
        let mut projection = GroupProjection::new(groups(), GroupNorm::Sum, keep);
        assert_eq!(projection.removed(), Err(SafeError::NotProjected { groups: 4 }));
        let mut values = [1.0_f32; 6];
        let one = projection.project(&mut [View { index: 0, dims: &[3, 2], values: &mut values }]);
        assert_eq!(one, Err(SafeError::GroupAxis { tensor: 0, axis: 0, expected: Some(3), found: 2 }));
        let none = projection.project(&mut [View { index: 1, dims: &[2, 3], values: &mut values }]);
        assert_eq!(none, Err(SafeError::NotSplit { tensor: 0 }));
    }
}
