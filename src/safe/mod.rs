//! The arithmetic of SAFE: sharpness-aware minimisation under a sparsity constraint, by ADMM (arXiv 2506.06866).
//!
//! One step asks the caller for two gradients, at `x` and at the perturbed point:
//!
//! ```text
//! ascend    norm = ||g||;  perturbed = x + rho * g / (norm + 1e-12)
//! descend   d = grad f(perturbed) + lambda * (x - z + u);  x <- base optimiser step with d
//! dual      every K steps:  z <- P(x + u);  u <- u + x - z
//! finish    x <- P(x)
//! ```
//!
//! Always true here: a parameter's `x`, perturbed point, split `z`, dual `u` and moments have the same length;
//! gradients that do not match are an error and never a skipped update; norms are sums in `f64` over chunks of
//! fixed size added in order, so the number of threads changes no bit. This module knows arrays and sets of
//! indices; it must not know graphs, engines or files. `train` alone does: it joins the arithmetic to an engine.

mod base;
mod dual;
mod error;
mod group_projection;
mod groups;
mod importance;
mod kernel;
mod n_of_m;
mod options;
mod parameter;
mod projection;
mod saved;
mod scalar;
mod schedule;
mod state;
mod step;
mod threshold;
mod train;
mod unstructured;

pub use base::Base;
pub use error::SafeError;
pub use group_projection::{GroupNorm, GroupProjection, Scoring, Select};
pub use groups::{AxisGroups, Groups};
pub use importance::Importance;
pub use n_of_m::NOfM;
pub use options::{Options, ProximalPoint};
pub use parameter::Parameter;
pub use projection::{Keep, Projection, View};
pub use saved::Saved;
pub use scalar::Scalar;
pub use schedule::{LambdaSchedule, LearningRate, Penalty, SparsitySchedule};
pub use state::Safe;
pub use step::Descent;
pub use train::{TrainError, Trainer};
pub use unstructured::{Gradual, Threshold, Unstructured};
