//! The steps of `x`: ascent and descent.

use std::iter::repeat_with;

use rayon::prelude::*;

use super::kernel::{CHUNK, Chunk, Rule, norm};
use super::state::{values, values_mut};
use super::{ProximalPoint, Safe, SafeError, Scalar};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safe::{Base, Keep, LearningRate, Options, Parameter, Penalty, Threshold, Unstructured};
    use crate::tensor::Random;

    fn plain(rate: f64) -> Options {
        Options {
            radius: 0.0,
            penalty: Penalty::constant(0.0),
            proximal_point: ProximalPoint::Iterate,
            dual_interval: None,
            base: Base::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 },
            learning_rate: LearningRate::Constant(rate),
            clip_norm: None,
            average_decay: None,
        }
    }

    fn parameter(name: &str, values: &[f64]) -> Parameter {
        Parameter::new(name, vec![values.len()], values.to_vec()).unwrap()
    }

    fn one(values: &[f64], options: Options) -> Safe<f64> {
        Safe::new(vec![parameter("x", values)], options, &mut Keep).unwrap()
    }

    /// The gradient of `|x - center|^2 / 2`.
    fn pull(x: &[f64], center: &[f64]) -> Vec<Vec<f64>> {
        vec![x.iter().zip(center).map(|(x, center)| x - center).collect()]
    }

    /// Name, settings, `x` after one step, `x` after two.
    type Case = (&'static str, Options, [f64; 2], [f64; 2]);

    #[test]
    fn single_steps_have_the_values_worked_out_by_hand() {
        let sgd = |momentum, nesterov, weight_decay| Base::Sgd { momentum, nesterov, weight_decay };
        let adam = |weight_decay| Base::Adam { beta1: 0.9, beta2: 0.99, epsilon: 0.0, weight_decay };
        // Two steps from x = (3, 4) on |x|^2 / 2.
        let cases: [Case; 8] = [
            ("gradient", plain(0.1), [2.7, 3.6], [2.43, 3.24]),
            ("ascent", Options { radius: 0.5, ..plain(0.1) }, [2.67, 3.56], [2.373, 3.164]),
            ("momentum", Options { base: sgd(0.5, false, 0.0), ..plain(0.1) }, [2.7, 3.6], [2.28, 3.04]),
            ("nesterov", Options { base: sgd(0.5, true, 0.0), ..plain(0.1) }, [2.55, 3.4], [2.0925, 2.79]),
            ("weight decay", Options { base: sgd(0.0, false, 1.0), ..plain(0.1) }, [2.4, 3.2], [1.92, 2.56]),
            ("clip", Options { clip_norm: Some(1.0), ..plain(0.5) }, [2.7, 3.6], [2.4, 3.2]),
            ("adam", Options { base: adam(0.0), ..plain(0.1) }, [2.9, 3.9], [2.800_095_05, 3.800_068_27]),
            ("adamw", Options { base: adam(1.0), ..plain(0.1) }, [2.6, 3.5], [2.240_593_61, 3.050_538_41]),
        ];
        let mut wrong = Vec::new();
        for (name, options, first, second) in cases {
            let mut safe = one(&[3.0, 4.0], options);
            for expected in [first, second] {
                let length = safe.ascend(&pull(safe.x(0), &[0.0, 0.0])).unwrap();
                assert!(length > 0.0);
                safe.descend(&pull(safe.perturbed(0), &[0.0, 0.0])).unwrap();
                if safe.x(0).iter().zip(expected).any(|(x, expected)| (x - expected).abs() > 1e-6) {
                    wrong.push(format!("{name}: {:?}, expected {expected:?}", safe.x(0)));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn the_penalty_stands_at_the_chosen_point() {
        // x = (3, 4), g = (3, 4), perturbed = (6, 8); z = x, u = 0; d = g + 1 * (point - z).
        for (point, expected) in
            [(ProximalPoint::Iterate, [3.0, 4.0]), (ProximalPoint::Perturbed, [6.0, 8.0])]
        {
            let options =
                Options { radius: 5.0, penalty: Penalty::constant(1.0), proximal_point: point, ..plain(1.0) };
            let mut safe = Safe::new(vec![parameter("x", &[3.0, 4.0]).split()], options, &mut Keep).unwrap();
            safe.ascend(&[[3.0, 4.0]]).unwrap();
            let descent = safe.descend(&[[3.0, 4.0]]).unwrap();
            let moved: Vec<f64> = safe.x(0).iter().zip([3.0, 4.0]).map(|(x, start)| start - x).collect();
            assert!(moved.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{point:?}: {moved:?}");
            assert!((descent.norm - expected[0].hypot(expected[1])).abs() < 1e-9);
        }
    }

    #[test]
    fn decay_holding_and_averages_follow_their_settings() {
        let options = Options {
            base: Base::Sgd { momentum: 0.5, nesterov: false, weight_decay: 1.0 },
            average_decay: Some(0.5),
            ..plain(0.1)
        };
        let parameters = vec![
            parameter("decays", &[1.0]),
            parameter("does not", &[1.0]).without_decay(),
            parameter("held", &[1.0]).held(),
        ];
        let mut safe = Safe::new(parameters, options, &mut Keep).unwrap();
        safe.descend(&[[0.0], [0.0], [1.0]]).unwrap();
        assert_eq!([safe.x(0)[0], safe.x(1)[0], safe.x(2)[0]], [0.9, 1.0, 1.0]);
        assert_eq!(safe.momentum(2), [2.0]);
        assert_eq!(safe.average_tensor(0).unwrap().to_f64().unwrap(), [0.95]);
        safe.adopt_average();
        assert_eq!(safe.x(0), [0.95]);
    }

    /// Bits of `x` and the norms after some steps over several chunks, on `threads` threads.
    fn bits(threads: usize, base: Base) -> Vec<u64> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut random = Random::new(11);
            let mut draw = |count: usize| (0..count).map(|_| random.normal()).collect::<Vec<f64>>();
            let sizes = [3 * CHUNK + 17, 1, 0, 2 * CHUNK, 100];
            let parameters = sizes.iter().enumerate();
            let parameters = parameters.map(|(at, &size)| parameter(&at.to_string(), &draw(size)).split());
            let parameters: Vec<Parameter> = parameters.collect();
            let options = Options {
                radius: 0.1,
                penalty: Penalty::constant(0.1),
                proximal_point: ProximalPoint::Perturbed,
                dual_interval: Some(2),
                base,
                clip_norm: Some(100.0),
                average_decay: Some(0.9),
                ..plain(0.1)
            };
            let mut rule = Unstructured::global(vec![0, 1, 2, 3], 0.5, Threshold::Kept).unwrap();
            let mut safe = Safe::new(parameters, options, &mut rule).unwrap();
            let mut bits = Vec::new();
            for _ in 0..4 {
                let gradients: Vec<Vec<f64>> = sizes.iter().map(|&size| draw(size)).collect();
                bits.push(safe.ascend(&gradients).unwrap().to_bits());
                bits.push(safe.descend(&gradients).unwrap().norm.to_bits());
                if safe.dual_is_due() {
                    safe.dual_update(&mut rule).unwrap();
                }
            }
            let state =
                (0..safe.len()).flat_map(|at| [safe.x(at), safe.split(at).unwrap(), safe.dual(at).unwrap()]);
            bits.extend(state.flatten().map(|value| value.to_bits()));
            bits
        })
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let sgd = Base::Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-4 };
        let adam = Base::Adam { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 1e-2 };
        for base in [sgd, adam] {
            assert!(bits(1, base) == bits(2, base) && bits(2, base) == bits(5, base), "{base:?}");
        }
    }

    #[test]
    fn what_does_not_match_is_an_error_and_changes_nothing() {
        let mut safe = one(&[1.0, 2.0], Options { radius: 0.1, ..plain(0.1) });
        let good = [vec![1.0, 1.0]];
        assert_eq!(safe.ascend::<Vec<f64>>(&[]), Err(SafeError::GradientCount { expected: 1, found: 0 }));
        let short = SafeError::GradientLength { name: "x".into(), expected: 2, found: 1 };
        assert_eq!(safe.ascend(&[[1.0]]), Err(short.clone()));
        assert_eq!(safe.descend(&good), Err(SafeError::NoAscent { step: 0 }));
        assert!(matches!(safe.ascend(&[[1.0, f64::NAN]]), Err(SafeError::NotFinite { step: 0, .. })));
        safe.ascend(&good).unwrap();
        assert_eq!(safe.descend(&[[1.0]]), Err(short));
        assert_eq!((safe.x(0), safe.steps_done()), (&[1.0, 2.0][..], 0));
        safe.descend(&good).unwrap();
        assert_eq!(safe.descend(&good), Err(SafeError::NoAscent { step: 1 }));

        let twice = vec![parameter("x", &[1.0]), parameter("x", &[1.0])];
        let twice = Safe::<f64>::new(twice, plain(0.1), &mut Keep);
        assert_eq!(twice.err(), Some(SafeError::DuplicateName { name: "x".into() }));
        let other_type = Safe::<f32>::new(vec![parameter("x", &[1.0])], plain(0.1), &mut Keep);
        assert!(matches!(other_type.err(), Some(SafeError::Parameter { .. })));
        assert!(Parameter::new("x", vec![2], vec![1.0_f32]).is_err());
        let wrong = [
            Options { radius: -1.0, ..plain(0.1) },
            Options { dual_interval: Some(0), ..plain(0.1) },
            Options { clip_norm: Some(0.0), ..plain(0.1) },
            Options { average_decay: Some(1.0), ..plain(0.1) },
            Options { base: Base::Sgd { momentum: 1.0, nesterov: false, weight_decay: 0.0 }, ..plain(0.1) },
        ];
        for options in wrong {
            let made = Safe::<f64>::new(Vec::new(), options.clone(), &mut Keep);
            assert!(matches!(made.err(), Some(SafeError::Option { .. })), "{options:?}");
        }
    }
}
