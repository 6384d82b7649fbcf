//! Results as plain data: what the commands found, for machines as JSON and for people as text and as a drawing.
//!
//! Nothing here computes anything but the layout of numbers. Shares and accuracies are fractions of 1, sizes are
//! bytes, times are in the unit that the field's name says.

mod closing;
mod picture;
mod table;
mod text;
mod units;

pub use picture::{BoxKind, Picture, PictureBox, PictureLine, Side};

use serde::{Deserialize, Serialize};

/// The figures of one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ModelFigures {
    /// Multiply-accumulates on one sample.
    pub macs: u64,
    /// Elements of initializers that hold floats, or integers that stand for real numbers.
    pub params: u64,
    /// Bytes of the model file, external data included.
    pub bytes: u64,
    /// Share of right answers on the validation data; nothing without labels.
    pub accuracy: Option<f64>,
    /// Mean loss on the validation data; nothing without data.
    pub loss: Option<f64>,
    /// Median time of one run on one sample; nothing if it was not measured.
    pub latency_ms: Option<f64>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TargetFigures {
    /// `macs`, `params` or `channels`.
    pub quantity: String,
    /// The share to be kept.
    pub share: f64,
}

/// How far the small model is from the masked dense one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verified {
    /// Largest difference of any output over its largest value.
    pub max_rel_error: f64,
    /// The difference that is allowed.
    pub tolerance: f64,
    /// The engine that ran both.
    pub engine: String,
    /// Samples compared.
    pub samples: usize,
    /// Whether the samples were real data.
    pub real_data: bool,
    /// Decisions of the dense model (integers and truth values that it computes from real numbers) that the small one
    /// was given, because rounding errors tipped some; 0 where the outputs agreed as they were. Otherwise `outputs`
    /// lists the numbers that were decided on, too.
    pub decisions: usize,
    /// Pairs of `QuantizeLinear` and `DequantizeLinear` that were left out of both models, because rounding errors
    /// tipped some numbers to the next integer; 0 where the outputs agreed as they were.
    pub unrounded: usize,
    /// Whether 16-bit floats were computed with in single precision, because the outputs did not agree otherwise.
    pub single_precision: bool,
    /// Groups among those that left that are only approximately right: then a difference above the tolerance is no
    /// defect.
    pub approximate_groups: usize,
    /// One entry an output, in the order of the dense model.
    pub outputs: Vec<OutputDifference>,
}

/// How far one output of the small model is from that of the dense one. Numbers that are not finite are `null` in
/// JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputDifference {
    /// The output.
    pub name: String,
    /// Largest difference of two values; infinite when one is not finite and the other is not the same.
    pub max_abs_error: f64,
    /// Largest finite value of the dense model, without its sign.
    pub max_abs_value: f64,
    /// The one over the other.
    pub rel_error: f64,
}

/// One epoch of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Counted from 1 over the whole run.
    pub epoch: usize,
    /// `sparsify`: the dense model is driven towards the budget; `recover`: the small model is trained on.
    pub phase: String,
    /// Mean training loss.
    pub loss: f64,
    /// Share of right answers on the validation data, of the model as it would be cut now.
    pub accuracy: Option<f64>,
    /// Learning rate at the end.
    pub learning_rate: f64,
    /// Penalty lambda at the end.
    pub penalty: f64,
    /// Share of the sum of squares of all groups' slices that lies in groups that would leave now.
    pub residual: f64,
    /// Seconds.
    pub seconds: f64,
}

/// How training went.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TrainFigures {
    /// Median time of an optimiser step on the dense model: both gradients and the update.
    pub ms_per_step: Option<f64>,
    /// Optimiser steps.
    pub steps: usize,
    /// Samples in a step.
    pub batch: usize,
    /// The loss, in words.
    pub loss: String,
    /// Optimiser and its settings, in words.
    pub optimizer: String,
    /// The memory of training.
    pub memory: MemoryFigures,
}

/// The memory that training needed, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MemoryFigures {
    /// What was predicted before the first step, where the system tells what the process holds.
    pub predicted: Option<u64>,
    /// The most that the process held until the end of training, where the system tells.
    pub measured: Option<u64>,
    /// The limit, if one was given.
    pub limit: Option<u64>,
    /// Samples that went through the model together.
    pub micro_batch: usize,
    /// Values that were computed again for the gradients, in place of being kept.
    pub recomputed: usize,
}

/// A number of bytes in words.
pub(crate) fn size(bytes: u64) -> String {
    units::bytes(bytes)
}

/// The result of `compress`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CompressReport {
    /// The model that was read.
    pub model: String,
    /// The model that was written.
    pub output: String,
    /// The model as it was.
    pub dense: ModelFigures,
    /// The model as it is now.
    pub small: ModelFigures,
    /// What was asked for.
    pub target: TargetFigures,
    /// The share of the target's quantity that is left.
    pub reached: f64,
    /// Whether `reached` is within 2 % below the target.
    pub target_met: bool,
    /// Nothing with `--no-verify`.
    pub verified: Option<Verified>,
    /// Groups in all.
    pub groups: usize,
    /// Groups that left.
    pub groups_removed: usize,
    /// `safe` or `magnitude`.
    pub method: String,
    /// The engine and its version.
    pub engine: String,
    /// The seed.
    pub seed: u64,
    /// Seconds in all.
    pub seconds: f64,
    /// What training did; nothing without epochs.
    pub train: Option<TrainFigures>,
    /// One entry an epoch.
    pub history: Vec<Epoch>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// The result of `apply`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ApplyReport {
    /// The model that was read.
    pub model: String,
    /// The plan file.
    pub plan: String,
    /// The model that was written.
    pub output: String,
    /// The model as it was.
    pub dense: ModelFigures,
    /// The model as it is now.
    pub small: ModelFigures,
    /// Groups in all.
    pub groups: usize,
    /// Groups that left.
    pub groups_removed: usize,
    /// Nothing with `--no-verify`.
    pub verified: Option<Verified>,
    /// Seconds in all.
    pub seconds: f64,
}

/// A layer of `inspect`: a node that costs multiply-accumulates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    /// Node name.
    pub name: String,
    /// Operator.
    pub operator: String,
    /// Dimensions of the first output on the traced run.
    pub output: Vec<usize>,
    /// Multiply-accumulates on one sample.
    pub macs: u64,
    /// Elements of its float initializers.
    pub params: u64,
}

/// An initializer axis that loses slices.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemberFigures {
    /// Initializer.
    pub tensor: String,
    /// Axis.
    pub axis: usize,
    /// `producer` or `consumer`.
    pub role: String,
}

/// Groups that stand for the indices of the same axes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FamilyFigures {
    /// Number of groups; all but one may leave.
    pub groups: usize,
    /// Whether the masked model equals the small one exactly.
    pub exact: bool,
    /// Why it does not.
    pub reason: Option<String>,
    /// Multiply-accumulates that leave with one group.
    pub macs_per_group: u64,
    /// Parameters that leave with one group.
    pub params_per_group: u64,
    /// The axes that lose slices.
    pub members: Vec<MemberFigures>,
}

/// A weight axis that may not shrink.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PinnedAxis {
    /// Initializer.
    pub tensor: String,
    /// Axis.
    pub axis: usize,
    /// Its length.
    pub size: usize,
    /// Multiply-accumulates that would go from the nodes that compute with the tensor if the axis had one index: what
    /// it would be worth at most if it could shrink.
    pub macs: u64,
    /// The node or graph edge that pins it.
    pub place: String,
    /// Why.
    pub reason: String,
}

/// The result of `inspect`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InspectReport {
    /// The file.
    pub model: String,
    /// Operator set version of ONNX's own domain.
    pub opset: i64,
    /// Inputs of the traced run, in words.
    pub inputs: Vec<String>,
    /// Nodes in all.
    pub nodes: usize,
    /// Multiply-accumulates on one sample.
    pub macs: u64,
    /// Elements of initializers that hold floats, or integers that stand for real numbers.
    pub params: u64,
    /// Bytes of the file, external data included.
    pub bytes: u64,
    /// Nodes that cost multiply-accumulates.
    pub layers: Vec<Layer>,
    /// Families of groups.
    pub families: Vec<FamilyFigures>,
    /// Groups in all.
    pub groups: usize,
    /// The smallest share of the multiply-accumulates that exact groups can reach.
    pub smallest_macs_share: f64,
    /// Weight axes of matrices that may not shrink.
    pub pinned: Vec<PinnedAxis>,
    /// Nodes that are not understood: place and reason.
    pub unknown: Vec<(String, String)>,
}

/// The result of `eval`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvalReport {
    /// The file.
    pub model: String,
    /// The data and the part of them that was used, in words.
    pub data: String,
    /// Samples.
    pub samples: usize,
    /// Mean loss.
    pub loss: Option<f64>,
    /// Share of right answers.
    pub accuracy: Option<f64>,
    /// Seconds.
    pub seconds: f64,
    /// The engine and its version.
    pub engine: String,
}

/// The result of `differentiate`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DifferentiateReport {
    /// The model that was read.
    pub model: String,
    /// The training graph that was written.
    pub output: String,
    /// Bytes of the training graph, external data included.
    pub bytes: u64,
    /// Inputs that the loss adds to those of the model.
    pub targets: Vec<String>,
    /// The scalar output of the loss.
    pub loss: String,
    /// Each trained initializer, which is an input too, and the output that is its gradient.
    pub gradients: Vec<(String, String)>,
    /// Each running statistic, and the output that is its updated value.
    pub statistics: Vec<(String, String)>,
}

/// The result of `verify`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerifyReport {
    /// The model that is taken for right.
    pub dense: String,
    /// The model that was held against it.
    pub small: String,
    /// Whether the difference is within the tolerance.
    pub holds: bool,
    /// The numbers.
    pub verified: Verified,
}

/// A library that was looked at for ONNX Runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LibraryFigures {
    /// Why it was looked at: `--ort-lib`, `ORT_DYLIB_PATH`, `python` or `system`.
    pub origin: String,
    /// Its path; nothing when there was none.
    pub path: Option<String>,
    /// `chosen`, `rejected`, `not tried` or `absent`, with version or reason.
    pub verdict: String,
}

/// A CUDA device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CudaFigures {
    /// Its number, as in `cuda:0`.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its memory in bytes.
    pub memory: usize,
}

/// The result of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DoctorFigures {
    /// This program's version.
    pub version: String,
    /// The engine that `auto` takes, and its version.
    pub engine: Option<String>,
    /// Why `auto` finds none.
    pub problem: Option<String>,
    /// ONNX Runtime's library.
    pub ort_path: Option<String>,
    /// Its version.
    pub ort_version: Option<String>,
    /// Its execution providers.
    pub execution_providers: Vec<String>,
    /// Every library that was looked at, in the order in which they are tried.
    pub libraries: Vec<LibraryFigures>,
    /// The version of tract, which is compiled in.
    pub tract_version: String,
    /// CUDA devices.
    pub cuda: Vec<CudaFigures>,
    /// Why there is none.
    pub cuda_problem: Option<String>,
    /// Threads that sessions use unless told otherwise.
    pub threads: usize,
    /// What the user should know.
    pub note: Option<String>,
}
