//! Why a run ended without a result.

use std::path::PathBuf;

use thiserror::Error;

use crate::autodiff::AutodiffError;
use crate::data::DataError;
use crate::engine::EngineError;
use crate::ir::IrError;
use crate::report::Verified;
use crate::safe::TrainError;
use crate::shrink::ShrinkError;
use crate::trace::TraceError;
use crate::verify::VerifyError;

/// Why a run ended without a result. No file is left behind then.
#[derive(Debug, Error)]
pub enum CompressError {
    /// The user stopped it.
    #[error("stopped; nothing was written")]
    Stopped,
    /// The user stopped it, and it can go on.
    #[error("stopped after {step} steps; --resume goes on from the checkpoint in {}", .folder.display())]
    Paused {
        /// The folder of checkpoints.
        folder: PathBuf,
        /// Steps done.
        step: usize,
    },
    /// The folder for checkpoints holds those of another run.
    #[error("{} is a checkpoint of an earlier run", .path.display())]
    OtherCheckpoints {
        /// The last one.
        path: PathBuf,
    },
    /// A checkpoint was made with other settings or things.
    #[error("{} belongs to another run: {what} was {before}, and is {now} now", .path.display())]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        what: String,
        /// What it was.
        before: String,
        /// What it is.
        now: String,
    },
    /// No checkpoint is whole.
    #[error("{} is damaged: {problem}; there is no other one", .path.display())]
    DamagedCheckpoint {
        /// The last one.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A model file could not be read or written.
    #[error(transparent)]
    Ir(#[from] IrError),
    /// No engine, or it failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The model could not be traced.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The data do not fit.
    #[error(transparent)]
    Data(#[from] DataError),
    /// There is no training graph.
    #[error(transparent)]
    Autodiff(#[from] AutodiffError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The cut could not be applied.
    #[error(transparent)]
    Shrink(#[from] ShrinkError),
    /// The comparison could not be made.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The evaluation failed.
    #[error(transparent)]
    Eval(#[from] super::ToolError),
    /// The loss does not fit.
    #[error("the loss does not fit: {0}")]
    Loss(String),
    /// No value inside of the model is called so.
    #[error("--distill-on {pattern} names nothing: {problem}")]
    Unnamed {
        /// The regular expression.
        pattern: String,
        /// What there is.
        problem: String,
    },
    /// The target cannot be met.
    #[error(
        "the target {quantity}={target} cannot be reached: {groups} groups may leave, and {quantity}={smallest:.4} is the least that is left then{}",
        reasons(*approximate, unknown)
    )]
    Unreachable {
        /// The quantity.
        quantity: &'static str,
        /// The share asked for.
        target: f64,
        /// The smallest share that can be reached.
        smallest: f64,
        /// Groups that may leave.
        groups: usize,
        /// Families that are left alone because removing them is only approximately right.
        approximate: usize,
        /// Nodes that are not understood.
        unknown: Vec<String>,
    },
    /// Training needs more memory than it may take.
    #[error(
        "training cannot keep below {}: the least that is predicted is {}, with {micro_batch} samples at a time",
        crate::report::size(*limit), crate::report::size(*smallest)
    )]
    Memory {
        /// The limit in bytes.
        limit: u64,
        /// The smallest prediction in bytes.
        smallest: u64,
        /// Samples that go through the model together then.
        micro_batch: usize,
    },
    /// There is a limit, but nothing to hold it by.
    #[error(
        "this system does not tell how much memory the process holds, so that --memory-limit has no ground"
    )]
    NoMemoryFigures,
    /// A plan file cannot be used.
    #[error("{place}: {problem}")]
    CutPlan {
        /// The file, or the initializer and axis.
        place: String,
        /// Why not.
        problem: String,
    },
    /// Masked and small model differ.
    #[error(
        "the small model differs from the masked dense one by {:.2e} of the largest output (allowed: {:.0e}); nothing was written",
        .0.max_rel_error, .0.tolerance
    )]
    Differs(Verified),
}

fn reasons(approximate: usize, unknown: &[String]) -> String {
    let mut parts = vec![String::new()];
    if approximate > 0 {
        parts.push(format!("{approximate} families would be only approximately right and are left alone (--allow-approximate)"));
    }
    if !unknown.is_empty() {
        let (first, more) = unknown.split_at(unknown.len().min(3));
        let more = if more.is_empty() { String::new() } else { format!("; and {} more nodes", more.len()) };
        parts.push(format!("not understood: {}{more}", first.join("; ")));
    }
    parts.join("; ")
}
