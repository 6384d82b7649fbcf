//! Schedules over the step counter `t`, which starts at 0.

use std::f64::consts::PI;

use super::SafeError;

/// The penalty `lambda(t)` on the distance between `x` and the split variable.
#[derive(Debug, Clone, PartialEq)]
pub struct Penalty {
    /// The value of a constant penalty, and the end value of a rising one.
    pub lambda: f64,
    /// How it rises.
    pub schedule: LambdaSchedule,
}

/// How the penalty rises.
#[derive(Debug, Clone, PartialEq)]
pub enum LambdaSchedule {
    /// `lambda`.
    Constant,
    /// `lambda * t / total`.
    Linear {
        /// Steps until `lambda` is reached.
        total: usize,
    },
    /// `lambda * (1 - cos(pi * t / total)) / 2`.
    Cosine {
        /// Steps until `lambda` is reached.
        total: usize,
    },
    /// `lambda` times the value listed for the step; past the end, times the last.
    Table(Vec<f64>),
}

impl Penalty {
    /// A penalty that does not change.
    pub fn constant(lambda: f64) -> Self {
        Self { lambda, schedule: LambdaSchedule::Constant }
    }

    /// The penalty at step `step`. Rising schedules stay at `lambda` after their end.
    pub fn at(&self, step: usize) -> f64 {
        self.lambda
            * match &self.schedule {
                LambdaSchedule::Constant => 1.0,
                LambdaSchedule::Linear { total } => share(step, *total),
                LambdaSchedule::Cosine { total } => 0.5 * (1.0 - (PI * share(step, *total)).cos()),
                LambdaSchedule::Table(values) => entry(values, step),
            }
    }

    pub(super) fn check(&self) -> Result<(), SafeError> {
        not_negative("penalty", self.lambda)?;
        match &self.schedule {
            LambdaSchedule::Constant => Ok(()),
            LambdaSchedule::Linear { total } | LambdaSchedule::Cosine { total } => {
                positive("penalty.schedule.total", *total)
            }
            LambdaSchedule::Table(values) => check_table("penalty.schedule", values),
        }
    }
}

/// The learning rate `lr(t)`.
#[derive(Debug, Clone, PartialEq)]
pub enum LearningRate {
    /// The same at every step.
    Constant(f64),
    /// `peak * (t + 1) / (warmup + 1)` before `warmup`, then a half cosine that reaches 0 at `total`.
    WarmupCosine {
        /// The highest rate.
        peak: f64,
        /// Steps of the rise.
        warmup: usize,
        /// Steps of the whole run.
        total: usize,
    },
    /// The schedule of the published language-model code: `peak * t / warmup`, then a straight line to 0 at
    /// `total`. The first step has rate 0 when there is a warmup.
    LinearWarmupDecay {
        /// The highest rate.
        peak: f64,
        /// Steps of the rise.
        warmup: usize,
        /// Steps of the whole run.
        total: usize,
    },
    /// The schedule of the published image code: `peak * t / warmup`, then a half cosine that ends `warmup` steps
    /// too early, at `decay_end`, after which the rate is 0.
    PublishedWarmupCosine {
        /// The highest rate.
        peak: f64,
        /// Steps of the rise.
        warmup: usize,
        /// The step, counted from 0, at which the rate reaches 0.
        decay_end: usize,
    },
    /// The rate listed for the step; past the end, the last.
    Table(Vec<f64>),
}

impl LearningRate {
    /// The rate at step `step`.
    pub fn at(&self, step: usize) -> f64 {
        match self {
            Self::Constant(rate) => *rate,
            Self::WarmupCosine { peak, warmup, .. } if step < *warmup => peak * share(step + 1, warmup + 1),
            Self::LinearWarmupDecay { peak, warmup, .. }
            | Self::PublishedWarmupCosine { peak, warmup, .. }
                if step < *warmup =>
            {
                peak * share(step, *warmup)
            }
            Self::LinearWarmupDecay { peak, warmup, total } => {
                peak * total.saturating_sub(step) as f64 / total.saturating_sub(*warmup).max(1) as f64
            }
            Self::WarmupCosine { peak, warmup, total: end }
            | Self::PublishedWarmupCosine { peak, warmup, decay_end: end } => {
                peak * 0.5 * (1.0 + (PI * share(step - warmup, end.saturating_sub(*warmup))).cos())
            }
            Self::Table(values) => entry(values, step),
        }
    }

    pub(super) fn check(&self) -> Result<(), SafeError> {
        match self {
            Self::Constant(rate) => not_negative("learning_rate", *rate),
            Self::WarmupCosine { peak, total, .. } | Self::LinearWarmupDecay { peak, total, .. } => {
                not_negative("learning_rate.peak", *peak)?;
                positive("learning_rate.total", *total)
            }
            Self::PublishedWarmupCosine { peak, decay_end, .. } => {
                not_negative("learning_rate.peak", *peak)?;
                positive("learning_rate.decay_end", *decay_end)
            }
            Self::Table(values) => check_table("learning_rate", values),
        }
    }
}

/// How the sparsity of the baselines with gradual pruning rises from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SparsitySchedule {
    /// The target from the first step on.
    Constant,
    /// In proportion to the step.
    Linear,
    /// By a half cosine.
    Cosine,
    /// Fast at first: `1 - (1 - t / total)^3`.
    Cubic,
}

impl SparsitySchedule {
    /// The sparsity at step `step` of `total`, on the way to `target`; `target` after the end.
    pub fn at(self, step: usize, total: usize, target: f64) -> f64 {
        let left = 1.0 - share(step, total);
        match self {
            Self::Constant => target,
            Self::Linear => target - target * left,
            Self::Cosine => target - target * 0.5 * (1.0 + (PI * share(step, total)).cos()),
            Self::Cubic => target - target * left.powi(3),
        }
    }
}

/// `step / total`, at most 1; 1 when `total` is 0.
fn share(step: usize, total: usize) -> f64 {
    if step >= total { 1.0 } else { step as f64 / total as f64 }
}

fn entry(values: &[f64], step: usize) -> f64 {
    values.get(step).or(values.last()).copied().unwrap_or_default()
}

pub(super) fn not_negative(option: &'static str, value: f64) -> Result<(), SafeError> {
    if value.is_finite() && value >= 0.0 {
        Ok(())
    } else {
        Err(SafeError::Option { option, value, expected: "finite and not negative" })
    }
}

pub(super) fn positive(option: &'static str, value: usize) -> Result<(), SafeError> {
    if value > 0 { Ok(()) } else { Err(SafeError::Option { option, value: 0.0, expected: "at least 1" }) }
}

fn check_table(option: &'static str, values: &[f64]) -> Result<(), SafeError> {
    if values.is_empty() {
        return Err(SafeError::Option { option, value: 0.0, expected: "a list of at least 1 value" });
    }
    values.iter().try_for_each(|&value| not_negative(option, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_have_the_stated_values() {
        let sane = LearningRate::WarmupCosine { peak: 1.0, warmup: 4, total: 12 };
        let linear = LearningRate::LinearWarmupDecay { peak: 1.0, warmup: 4, total: 12 };
        let published = LearningRate::PublishedWarmupCosine { peak: 1.0, warmup: 4, decay_end: 8 };
        let table = LearningRate::Table(vec![0.5, 0.25]);
        let penalty = |schedule| Penalty { lambda: 2.0, schedule };
        let cases: &[(&str, f64, f64)] = &[
            ("sane 0", sane.at(0), 0.2),
            ("sane 3", sane.at(3), 0.8),
            ("sane 4", sane.at(4), 1.0),
            ("sane 8", sane.at(8), 0.5),
            ("sane 12", sane.at(12), 0.0),
            ("sane after the end", sane.at(99), 0.0),
            ("linear 0", linear.at(0), 0.0),
            ("linear 2", linear.at(2), 0.5),
            ("linear 4", linear.at(4), 1.0),
            ("linear 10", linear.at(10), 0.25),
            ("linear after the end", linear.at(99), 0.0),
            (
                "linear, all warmup",
                LearningRate::LinearWarmupDecay { peak: 1.0, warmup: 4, total: 4 }.at(4),
                0.0,
            ),
            ("published 0", published.at(0), 0.0),
            ("published 6", published.at(6), 0.5),
            ("published 9", published.at(9), 0.0),
            ("table 1", table.at(1), 0.25),
            ("table after the end", table.at(7), 0.25),
            ("lambda constant", penalty(LambdaSchedule::Constant).at(3), 2.0),
            ("lambda linear", penalty(LambdaSchedule::Linear { total: 8 }).at(2), 0.5),
            ("lambda cosine 0", penalty(LambdaSchedule::Cosine { total: 8 }).at(0), 0.0),
            ("lambda cosine 4", penalty(LambdaSchedule::Cosine { total: 8 }).at(4), 1.0),
            ("lambda cosine after the end", penalty(LambdaSchedule::Cosine { total: 8 }).at(80), 2.0),
            ("sparsity linear", SparsitySchedule::Linear.at(1, 4, 0.8), 0.2),
            ("sparsity cubic", SparsitySchedule::Cubic.at(2, 4, 0.8), 0.7),
            ("sparsity constant", SparsitySchedule::Constant.at(0, 4, 0.8), 0.8),
        ];
        let wrong: Vec<_> =
            cases.iter().filter(|(_, found, expected)| (found - expected).abs() > 1e-12).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn values_outside_the_range_are_refused() {
        assert!(LearningRate::Constant(-0.1).check().is_err());
        assert!(LearningRate::Constant(f64::NAN).check().is_err());
        assert!(LearningRate::Table(Vec::new()).check().is_err());
        assert!(LearningRate::WarmupCosine { peak: 1.0, warmup: 0, total: 0 }.check().is_err());
        assert!(Penalty { lambda: 1.0, schedule: LambdaSchedule::Cosine { total: 0 } }.check().is_err());
        assert!(Penalty::constant(0.0).check().is_ok());
    }
}
