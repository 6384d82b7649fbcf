//! The steps: ascent, descent, dual update, final projection.

use std::iter::repeat_with;

use rayon::prelude::*;

use super::kernel::{CHUNK, Chunk, Rule, norm};
use super::state::{values, values_mut};
use super::{Projection, ProximalPoint, Safe, SafeError, Scalar, View};
use crate::tensor::Tensor;

/// What a descent did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Descent {
    /// The learning rate used.
    pub learning_rate: f64,
    /// The penalty used.
    pub penalty: f64,
    /// Norm over all parameters of `d`, the gradient with the penalty, before clipping and weight decay.
    pub norm: f64,
}

/// Chunks of a slice, then empty ones without end: an absent slice gives empty chunks.
fn chunks<T>(slice: &[T]) -> impl Iterator<Item = &[T]> {
    slice.chunks(CHUNK).chain(repeat_with(<&[T]>::default))
}

fn chunks_mut<T>(slice: &mut [T]) -> impl Iterator<Item = &mut [T]> {
    slice.chunks_mut(CHUNK).chain(repeat_with(<&mut [T]>::default))
}

impl<T: Scalar> Safe<T> {
    /// Writes the perturbed points from the gradients at `x`, one for each parameter in order, and returns the
    /// norm of all gradients together. With radius 0 only the norm is taken.
    ///
    /// # Errors
    /// When a gradient is missing or of the wrong length, or the norm is not finite. Nothing has changed then.
    pub fn ascend<G: AsRef<[T]>>(&mut self, gradients: &[G]) -> Result<f64, SafeError> {
        let gradients = self.matched(gradients)?;
        let length = norm(&gradients);
        self.finite("the gradient at x", length)?;
        let factor = T::from_f64(self.options.radius / (length + 1e-12));
        let jobs = self.slots.iter_mut().zip(&gradients).flat_map(|(slot, gradient)| {
            let perturbed = slot.perturbed.as_mut().map(values_mut::<T>).unwrap_or_default();
            perturbed.chunks_mut(CHUNK).zip(values::<T>(&slot.x).chunks(CHUNK)).zip(gradient.chunks(CHUNK))
        });
        let jobs: Vec<_> = jobs.collect();
        jobs.into_par_iter().for_each(|((perturbed, x), gradient)| {
            for ((perturbed, &x), &gradient) in perturbed.iter_mut().zip(x).zip(gradient) {
                *perturbed = x + factor * gradient;
            }
        });
        self.ascended = true;
        Ok(length)
    }

    /// One step of the base optimiser from the gradients at the perturbed points (at `x` when the radius is 0).
    ///
    /// # Errors
    /// When a gradient is missing or of the wrong length, or [`Safe::ascend`] has not run since the last descent:
    /// nothing has changed then. When the norm of `d` is not finite: the state is then spoilt, unless clipping is
    /// on.
    pub fn descend<G: AsRef<[T]>>(&mut self, gradients: &[G]) -> Result<Descent, SafeError> {
        let gradients = self.matched(gradients)?;
        if self.options.radius > 0.0 && !self.ascended {
            return Err(SafeError::NoAscent { step: self.step });
        }
        let (learning_rate, penalty) = (self.learning_rate(), self.penalty());
        let average = self.options.average_decay.map_or(0.0, |decay| 1.0 - decay);
        let mut rule = Rule::new(self.options.base, learning_rate, penalty, average, self.step);
        let mut unclipped = None;
        if let Some(bound) = self.options.clip_norm {
            let sums: Vec<f64> = self.jobs(&gradients).par_iter().map(|chunk| chunk.measure(&rule)).collect();
            let length = sums.iter().sum::<f64>().sqrt();
            self.finite("the descent direction", length)?;
            if length > bound {
                rule.clip = T::from_f64(bound / length);
            }
            unclipped = Some(length);
        }
        let mut jobs = self.jobs(&gradients);
        let sums: Vec<f64> = jobs.par_iter_mut().map(|chunk| chunk.descend(&rule)).collect();
        let norm = unclipped.unwrap_or_else(|| sums.iter().sum::<f64>().sqrt());
        self.finite("the descent direction", norm)?;
        self.step += 1;
        self.ascended = false;
        Ok(Descent { learning_rate, penalty, norm })
    }

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

    fn matched<'a, G: AsRef<[T]>>(&self, gradients: &'a [G]) -> Result<Vec<&'a [T]>, SafeError> {
        let (expected, found) = (self.slots.len(), gradients.len());
        if expected != found {
            return Err(SafeError::GradientCount { expected, found });
        }
        for (slot, gradient) in self.slots.iter().zip(gradients) {
            let (expected, found) = (slot.x.len(), gradient.as_ref().len());
            if expected != found {
                return Err(SafeError::GradientLength { name: slot.name.clone(), expected, found });
            }
        }
        Ok(gradients.iter().map(AsRef::as_ref).collect())
    }

    fn finite(&self, what: &'static str, norm: f64) -> Result<(), SafeError> {
        if norm.is_finite() { Ok(()) } else { Err(SafeError::NotFinite { what, step: self.step, norm }) }
    }

    fn jobs<'a>(&'a mut self, gradients: &[&'a [T]]) -> Vec<Chunk<'a, T>> {
        let at_perturbed = self.options.proximal_point == ProximalPoint::Perturbed;
        let jobs = self.slots.iter_mut().zip(gradients).flat_map(|(slot, gradient)| {
            let (z, u) = slot.split.as_ref().map_or((&[][..], &[][..]), |split| (&split.z, &split.u));
            let point = slot.perturbed.as_ref().filter(|_| at_perturbed).map(values::<T>).unwrap_or_default();
            let average = slot.average.as_mut().map(values_mut::<T>).unwrap_or_default();
            let (decay, held) = (slot.decay, slot.held);
            let mutable = values_mut::<T>(&mut slot.x)
                .chunks_mut(CHUNK)
                .zip(chunks_mut(&mut slot.momentum))
                .zip(chunks_mut(&mut slot.second_moment))
                .zip(chunks_mut(average));
            let fixed = chunks(gradient).zip(chunks(point)).zip(chunks(z)).zip(chunks(u));
            mutable.zip(fixed).map(
                move |((((x, momentum), second_moment), average), (((gradient, point), z), u))| Chunk {
                    x,
                    point,
                    gradient,
                    z,
                    u,
                    momentum,
                    second_moment,
                    average,
                    decay,
                    held,
                },
            )
        });
        jobs.collect()
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
