//! How far two tensors are apart.

use crate::tensor::{Tensor, Values};

/// The largest difference of an output over all runs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Difference {
    /// Largest difference of two values.
    pub(super) gap: f64,
    /// Largest finite value of the dense model, without its sign.
    pub(super) scale: f64,
    /// Values that are finite on both sides.
    pub(super) finite: usize,
    values: usize,
}

impl Difference {
    /// Takes two tensors of the same type and dimensions in. A value that is not finite and not the same on the
    /// other side is infinitely far away; so are texts that differ.
    pub(super) fn add(&mut self, dense: &Tensor, small: &Tensor) {
        self.values += dense.len();
        if let (Values::String(a), Values::String(b)) = (dense.values(), small.values()) {
            self.finite += a.len();
            self.gap = if a == b { self.gap } else { f64::INFINITY };
            return;
        }
        let (a, b) = (dense.to_f64().unwrap_or_default(), small.to_f64().unwrap_or_default());
        for (a, b) in a.into_iter().zip(b) {
            if a.is_finite() && b.is_finite() {
                self.finite += 1;
                self.gap = self.gap.max((a - b).abs());
                self.scale = self.scale.max(a.abs());
            } else if a != b && !(a.is_nan() && b.is_nan()) {
                self.gap = f64::INFINITY;
            }
        }
    }

    /// The difference over the largest value; infinite when all values of the dense model are zero and others are
    /// not.
    pub(super) fn relative(&self) -> f64 {
        if self.gap == 0.0 { 0.0 } else { self.gap / self.scale }
    }

    /// Whether nothing was compared.
    pub(super) fn is_empty(&self) -> bool {
        self.values == 0
    }
}
