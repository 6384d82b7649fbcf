//! The base optimiser that turns the descent direction `d` into a step of `x`.

use super::SafeError;
use super::schedule::not_negative;

/// The base optimiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Base {
    /// `d += weight_decay * x;  m = d + momentum * m;  x -= lr * m`, or with Nesterov's form
    /// `x -= lr * (d + momentum * m)`.
    Sgd {
        /// Share of the previous direction that is kept; 0 needs no state.
        momentum: f64,
        /// Whether to look one step ahead.
        nesterov: bool,
        /// Factor of `x` added to the gradient.
        weight_decay: f64,
    },
    /// `m = beta1 * m + (1 - beta1) * d;  v = beta2 * v + (1 - beta2) * d^2`, both corrected for their start at
    /// zero; `x -= lr * m / (sqrt(v) + epsilon)`.
    Adam {
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Lower bound of the denominator.
        epsilon: f64,
        /// Factor of `lr * x` taken from `x` itself, apart from the moments.
        weight_decay: f64,
    },
}

impl Base {
    /// Whether a momentum (first moment) is kept for each element.
    pub(super) fn has_momentum(&self) -> bool {
        match self {
            Self::Sgd { momentum, .. } => *momentum != 0.0,
            Self::Adam { .. } => true,
        }
    }

    pub(super) fn check(&self) -> Result<(), SafeError> {
        let below_one = |option, value: f64| {
            if (0.0..1.0).contains(&value) {
                Ok(())
            } else {
                Err(SafeError::Option { option, value, expected: "at least 0 and below 1" })
            }
        };
        match *self {
            Self::Sgd { momentum, weight_decay, nesterov } => {
                below_one("base.momentum", momentum)?;
                if nesterov && momentum == 0.0 {
                    let expected = "above 0 with nesterov";
                    return Err(SafeError::Option { option: "base.momentum", value: momentum, expected });
                }
                not_negative("base.weight_decay", weight_decay)
            }
            Self::Adam { beta1, beta2, epsilon, weight_decay } => {
                below_one("base.beta1", beta1)?;
                below_one("base.beta2", beta2)?;
                not_negative("base.epsilon", epsilon)?;
                not_negative("base.weight_decay", weight_decay)
            }
        }
    }
}
