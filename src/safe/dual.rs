//! The dual update, and projections of `x` itself.

use rayon::prelude::*;

use super::kernel::CHUNK;
use super::state::{values, values_mut};
use super::{Projection, Safe, SafeError, Scalar, View};
use crate::tensor::Tensor;

impl<T: Scalar> Safe<T> {
    /// Whether the steps done are a multiple of the dual interval.
    pub fn dual_is_due(&self) -> bool {
        self.options.dual_interval.is_some_and(|interval| self.step > 0 && self.step.is_multiple_of(interval))
    }

    /// `z <- P(x + u)`, then `u <- u + x - z`. Call it after a descent when [`Safe::dual_is_due`].
    ///
    /// # Errors
    /// When the projection fails; `z` is then undefined and `u` unchanged.
    pub fn dual_update(&mut self, projection: &mut dyn Projection<T>) -> Result<(), SafeError> {
        let jobs = self.slots.iter_mut().filter_map(|slot| slot.split.as_mut().map(|split| (split, &slot.x)));
        let jobs = jobs.flat_map(|(split, x)| {
            split.z.chunks_mut(CHUNK).zip(split.u.chunks(CHUNK)).zip(values::<T>(x).chunks(CHUNK))
        });
        jobs.collect::<Vec<_>>().into_par_iter().for_each(|((z, u), x)| {
            z.iter_mut().zip(u).zip(x).for_each(|((z, &u), &x)| *z = x + u);
        });
        projection.project(&mut self.split_views())?;
        let jobs = self.slots.iter_mut().filter_map(|slot| slot.split.as_mut().map(|split| (split, &slot.x)));
        let jobs = jobs.flat_map(|(split, x)| {
            split.u.chunks_mut(CHUNK).zip(split.z.chunks(CHUNK)).zip(values::<T>(x).chunks(CHUNK))
        });
        jobs.collect::<Vec<_>>().into_par_iter().for_each(|((u, z), x)| {
            u.iter_mut().zip(z).zip(x).for_each(|((u, &z), &x)| *u = x + *u - z);
        });
        Ok(())
    }

    /// `x <- P(x)`: the final projection, or a step of iterative hard thresholding.
    ///
    /// # Errors
    /// When the projection fails; `x` is then undefined.
    pub fn project(&mut self, projection: &mut dyn Projection<T>) -> Result<(), SafeError> {
        let views = self.slots.iter_mut().enumerate().filter(|(_, slot)| slot.split.is_some());
        let mut tensors: Vec<_> = views.map(|(index, slot)| (index, &mut slot.x)).collect();
        project_tensors(&mut tensors, projection)
    }

    /// All parameters with `P(x)` in place of `x`, in order; the state stays as it is.
    ///
    /// # Errors
    /// When the projection fails.
    pub fn projected(&self, projection: &mut dyn Projection<T>) -> Result<Vec<Tensor>, SafeError> {
        let mut copies: Vec<Tensor> = self.slots.iter().map(|slot| slot.x.clone()).collect();
        let views = copies.iter_mut().enumerate().filter(|(index, _)| self.slots[*index].split.is_some());
        project_tensors(&mut views.collect::<Vec<_>>(), projection)?;
        Ok(copies)
    }

    /// Puts the running average in the place of `x`. Without an average nothing changes.
    pub fn adopt_average(&mut self) {
        for slot in &mut self.slots {
            if let Some(average) = &slot.average {
                slot.x.clone_from(average);
            }
        }
    }
}

fn project_tensors<T: Scalar>(
    tensors: &mut [(usize, &mut Tensor)],
    projection: &mut dyn Projection<T>,
) -> Result<(), SafeError> {
    let dims: Vec<Vec<usize>> = tensors.iter().map(|(_, tensor)| tensor.dims().to_vec()).collect();
    let views = tensors.iter_mut().zip(&dims);
    let views = views.map(|((index, tensor), dims)| View { index: *index, dims, values: values_mut(tensor) });
    projection.project(&mut views.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safe::{Base, LearningRate, Options, Parameter, Penalty, Threshold, Unstructured};

    #[test]
    fn the_sparse_minimum_is_found() {
        // Best with one non-zero entry: the farthest coordinate of the center.
        let center = [1.0, -3.0, 2.0];
        let gradient =
            |x: &[f64]| vec![x.iter().zip(center).map(|(x, center)| x - center).collect::<Vec<f64>>()];
        let options = Options::images(0.0, Penalty::constant(1.0), 20, LearningRate::Constant(0.1));
        let options =
            Options { base: Base::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 }, ..options };
        for radius in [0.0, 1e-4] {
            let mut keep_one = Unstructured::global(vec![0], 2.0 / 3.0, Threshold::Kept).unwrap();
            let start = vec![Parameter::new("x", vec![3], vec![0.1, -0.2, 0.1]).unwrap().split()];
            let mut safe = Safe::new(start, Options { radius, ..options.clone() }, &mut keep_one).unwrap();
            for _ in 0..2000 {
                safe.ascend(&gradient(safe.x(0))).unwrap();
                safe.descend(&gradient(safe.perturbed(0))).unwrap();
                if safe.dual_is_due() {
                    safe.dual_update(&mut keep_one).unwrap();
                }
            }
            let copies = safe.projected(&mut keep_one).unwrap();
            safe.project(&mut keep_one).unwrap();
            assert_eq!(copies[0], *safe.x_tensor(0));
            let x = safe.x(0);
            assert!(x[0] == 0.0 && x[2] == 0.0 && (x[1] + 3.0).abs() < 1e-3, "radius {radius}: {x:?}");
        }
    }
}
