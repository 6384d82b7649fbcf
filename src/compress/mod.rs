//! The whole run, in the order of the data: read, trace, find groups, train, cut, verify, write.
//!
//! Always true here: no file appears before its content was verified (unless the user said otherwise), and files
//! appear whole or not at all. This module joins the others; it computes nothing itself that one of them could.

mod apply;
mod best;
mod budget;
mod checkpoint;
mod course;
mod cut_plan;
mod differentiate;
mod dropout;
mod error;
mod eval;
mod features;
mod feed;
mod fit;
mod footprint;
mod fuse;
mod inspect;
mod limits;
mod objective;
mod phases;
mod picture;
mod pipeline;
mod plan;
mod precision;
mod progress;
mod renormalize;
mod samples;
mod score;
mod settings;
mod structure;
mod tool;
mod verify;

pub use apply::{ApplyPlan, apply};
pub use cut_plan::{AxisCut, CutPlan};
pub use differentiate::{DifferentiatePlan, TargetLoss, differentiate};
pub use error::CompressError;
pub use eval::{BATCH, Compared, EvalPlan, Evaluation, eval, evaluate};
pub use inspect::{draw, inspect};
pub use limits::{Heads, Limits};
pub use pipeline::compress;
pub use plan::{
    BatchNorm, CheckpointPlan, Dropout, LossChoice, LossPart, LossPlan, Method, Optimizer, Plan, Quantity,
    RateSchedule, Target, Training,
};
pub use progress::{Event, Observer, Silent};
pub use tool::{ModelPlan, Runtime, ToolError, class_axis, input_specs};
pub use verify::{VerifyPlan, verify};
