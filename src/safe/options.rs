//! The settings of a run.

use super::schedule::not_negative;
use super::{Base, LearningRate, Penalty, SafeError};

/// Where the penalty `lambda * (point - z + u)` is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProximalPoint {
    /// At `x`, as in the paper and in the published image code.
    Iterate,
    /// At the perturbed point, as in the published language-model code.
    Perturbed,
}

/// The settings of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Radius of the ascent, `rho`. 0 skips the ascent: the method is then ADMM.
    pub radius: f64,
    /// The penalty, `lambda`.
    pub penalty: Penalty,
    /// Where the penalty is taken.
    pub proximal_point: ProximalPoint,
    /// Steps between two dual updates, `K`. None: the split variable stays as it was made.
    pub dual_interval: Option<usize>,
    /// The base optimiser.
    pub base: Base,
    /// Its learning rate.
    pub learning_rate: LearningRate,
    /// Upper bound of the norm of `d` (gradient and penalty, without weight decay) over all parameters; a longer
    /// `d` is shortened. Costs one more pass over memory.
    pub clip_norm: Option<f64>,
    /// Decay of the running average of `x`; none keeps no average.
    pub average_decay: Option<f64>,
}

impl Options {
    /// The settings of the published image code: SGD with momentum 0.9, penalty at `x`.
    pub fn images(radius: f64, penalty: Penalty, interval: usize, learning_rate: LearningRate) -> Self {
        Self {
            radius,
            penalty,
            proximal_point: ProximalPoint::Iterate,
            dual_interval: Some(interval),
            base: Base::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-4 },
            learning_rate,
            clip_norm: None,
            average_decay: None,
        }
    }

    /// The settings of the published language-model code: Adam, constant penalty at the perturbed point.
    pub fn language_models(radius: f64, lambda: f64, interval: usize, learning_rate: LearningRate) -> Self {
        Self {
            radius,
            penalty: Penalty::constant(lambda),
            proximal_point: ProximalPoint::Perturbed,
            dual_interval: Some(interval),
            base: Base::Adam { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.0 },
            learning_rate,
            clip_norm: None,
            average_decay: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), SafeError> {
        not_negative("radius", self.radius)?;
        self.penalty.check()?;
        if self.dual_interval == Some(0) {
            return Err(SafeError::Option { option: "dual_interval", value: 0.0, expected: "at least 1" });
        }
        self.base.check()?;
        self.learning_rate.check()?;
        if let Some(bound) = self.clip_norm
            && (bound.is_nan() || bound <= 0.0)
        {
            return Err(SafeError::Option { option: "clip_norm", value: bound, expected: "above 0" });
        }
        match self.average_decay {
            Some(decay) if !(0.0..1.0).contains(&decay) => {
                let expected = "at least 0 and below 1";
                Err(SafeError::Option { option: "average_decay", value: decay, expected })
            }
            _ => Ok(()),
        }
    }
}
