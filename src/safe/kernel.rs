//! The inner loops, over one chunk of one parameter. Each is plain enough to be vectorised by the compiler.

use rayon::prelude::*;

use super::{Base, Scalar};

/// Elements of a chunk. Fixed, because the order in which chunk sums are added decides the last bits of a norm.
pub(super) const CHUNK: usize = 16 * 1024;

/// Elements handled between two looks at memory: eight arrays of them fit into the first-level cache.
const BLOCK: usize = 512;

/// Sum of squares in double precision.
pub(super) fn sum_of_squares<T: Scalar>(values: &[T]) -> f64 {
    let mut lanes = [0.0_f64; 8];
    let (eights, rest) = values.as_chunks::<8>();
    for eight in eights {
        for (lane, &value) in lanes.iter_mut().zip(eight) {
            let value = value.to_f64();
            *lane += value * value;
        }
    }
    let rest: f64 = rest.iter().map(|&value| value.to_f64() * value.to_f64()).sum();
    lanes.iter().sum::<f64>() + rest
}

/// The norm of all `vectors` as one vector.
pub(super) fn norm<T: Scalar>(vectors: &[&[T]]) -> f64 {
    let chunks: Vec<&[T]> = vectors.iter().flat_map(|vector| vector.chunks(CHUNK)).collect();
    let sums: Vec<f64> = chunks.into_par_iter().map(sum_of_squares).collect();
    sums.iter().sum::<f64>().sqrt()
}

/// What a descent needs to know that is the same for all chunks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule<T> {
    pub(super) penalty: T,
    /// Factor of `d` that keeps it within the clipping bound.
    pub(super) clip: T,
    pub(super) average: T,
    update: Update<T>,
    decay: T,
}

#[derive(Debug, Clone, Copy)]
enum Update<T> {
    Plain { rate: T },
    Momentum { rate: T, momentum: T },
    Nesterov { rate: T, momentum: T },
    Adam { rate: T, beta1: T, rest1: T, beta2: T, rest2: T, root_correction: T, epsilon: T },
}

impl<T: Scalar> Rule<T> {
    /// The rule of step `step`, counted from 0.
    pub(super) fn new(base: Base, rate: f64, penalty: f64, average: f64, step: usize) -> Self {
        let t = T::from_f64;
        let (update, decay) = match base {
            Base::Sgd { momentum: 0.0, weight_decay, .. } => (Update::Plain { rate: t(rate) }, weight_decay),
            Base::Sgd { momentum, nesterov: false, weight_decay } => {
                (Update::Momentum { rate: t(rate), momentum: t(momentum) }, weight_decay)
            }
            Base::Sgd { momentum, nesterov: true, weight_decay } => {
                (Update::Nesterov { rate: t(rate), momentum: t(momentum) }, weight_decay)
            }
            Base::Adam { beta1, beta2, epsilon, weight_decay } => {
                let power = (step + 1) as f64;
                let update = Update::Adam {
                    rate: t(rate / (1.0 - beta1.powf(power))),
                    beta1: t(beta1),
                    rest1: t(1.0 - beta1),
                    beta2: t(beta2),
                    rest2: t(1.0 - beta2),
                    root_correction: t((1.0 - beta2.powf(power)).sqrt()),
                    epsilon: t(epsilon),
                };
                (update, rate * weight_decay)
            }
        };
        Self { penalty: t(penalty), clip: t(1.0), average: t(average), update, decay: t(decay) }
    }
}

/// The slices of one chunk. Absent ones are empty.
pub(super) struct Chunk<'a, T> {
    pub(super) x: &'a mut [T],
    /// Where the penalty is taken, if that is not `x`.
    pub(super) point: &'a [T],
    pub(super) gradient: &'a [T],
    pub(super) z: &'a [T],
    pub(super) u: &'a [T],
    pub(super) momentum: &'a mut [T],
    pub(super) second_moment: &'a mut [T],
    pub(super) average: &'a mut [T],
    pub(super) decay: bool,
    pub(super) held: bool,
}

/// The part of a slice that belongs to a block, or nothing of an absent slice.
fn part<T>(slice: &[T], start: usize, end: usize) -> &[T] {
    slice.get(start..end).unwrap_or_default()
}

fn part_mut<T>(slice: &mut [T], start: usize, end: usize) -> &mut [T] {
    slice.get_mut(start..end).unwrap_or_default()
}

/// `gradient + penalty * (point - z + u)`, or the gradient where there is no split variable.
fn direction<T: Scalar>(into: &mut [T], gradient: &[T], point: &[T], z: &[T], u: &[T], penalty: T) {
    into.copy_from_slice(gradient);
    for (((into, &point), &z), &u) in into.iter_mut().zip(point).zip(z).zip(u) {
        *into += penalty * (point - z + u);
    }
}

impl<T: Scalar> Chunk<'_, T> {
    /// Sum of squares of `d` before clipping, without a change.
    pub(super) fn measure(&self, rule: &Rule<T>) -> f64 {
        let mut buffer = [T::ZERO; BLOCK];
        let mut sum = 0.0;
        for start in (0..self.x.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(self.x.len());
            let d = &mut buffer[..end - start];
            self.write_direction(d, start, end, rule);
            sum += sum_of_squares(d);
        }
        sum
    }

    /// Moves `x` and the moments. Returns the sum of squares of `d` after clipping.
    pub(super) fn descend(&mut self, rule: &Rule<T>) -> f64 {
        let mut buffer = [T::ZERO; BLOCK];
        let mut sum = 0.0;
        for start in (0..self.x.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(self.x.len());
            let d = &mut buffer[..end - start];
            self.write_direction(d, start, end, rule);
            if rule.clip != T::from_f64(1.0) {
                for d in &mut *d {
                    *d = *d * rule.clip;
                }
            }
            sum += sum_of_squares(d);
            self.update(d, start, end, rule);
        }
        sum
    }

    fn write_direction(&self, d: &mut [T], start: usize, end: usize, rule: &Rule<T>) {
        let point = if self.point.is_empty() { &*self.x } else { self.point };
        let gradient = part(self.gradient, start, end);
        let (z, u) = (part(self.z, start, end), part(self.u, start, end));
        direction(d, gradient, part(point, start, end), z, u, rule.penalty);
    }

    fn update(&mut self, d: &mut [T], start: usize, end: usize, rule: &Rule<T>) {
        let x = part_mut(self.x, start, end);
        let first = part_mut(self.momentum, start, end);
        let second = part_mut(self.second_moment, start, end);
        let decay = if self.decay { rule.decay } else { T::ZERO };
        if decay != T::ZERO && !matches!(rule.update, Update::Adam { .. }) {
            d.iter_mut().zip(&*x).for_each(|(d, &x)| *d += decay * x);
        }
        // After this loop `d` is what `x` moves by.
        match rule.update {
            Update::Plain { rate } => d.iter_mut().for_each(|d| *d = rate * *d),
            Update::Momentum { rate, momentum } => {
                for (d, m) in d.iter_mut().zip(first) {
                    *m = *d + momentum * *m;
                    *d = rate * *m;
                }
            }
            Update::Nesterov { rate, momentum } => {
                for (d, m) in d.iter_mut().zip(first) {
                    *m = *d + momentum * *m;
                    *d = rate * (*d + momentum * *m);
                }
            }
            Update::Adam { rate, beta1, rest1, beta2, rest2, root_correction, epsilon } => {
                for ((d, m), v) in d.iter_mut().zip(first).zip(second) {
                    *m = beta1 * *m + rest1 * *d;
                    *v = beta2 * *v + rest2 * *d * *d;
                    *d = rate * (*m / (v.root() / root_correction + epsilon));
                }
                if decay != T::ZERO {
                    d.iter_mut().zip(&*x).for_each(|(d, &x)| *d += decay * x);
                }
            }
        }
        if !self.held {
            x.iter_mut().zip(&*d).for_each(|(x, &d)| *x -= d);
        }
        let average = part_mut(self.average, start, end);
        average.iter_mut().zip(&*x).for_each(|(a, &x)| *a += rule.average * (x - *a));
    }
}
