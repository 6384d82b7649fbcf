//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use regex::Regex;
use safe_onnx::compress::Target;
use safe_onnx::data::Augment;

use super::training_args::{CheckpointArgs, TrainingArgs};
use super::values::{self, DeviceChoice};

/// ONNX pruning compiler: reads a trained model, moves its weights with SAFE until whole channels, heads and hidden
/// units are worthless, cuts them out, and verifies and writes the smaller model.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 110)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Compress(Box<CompressArgs>),
    Apply(ApplyArgs),
    Differentiate(DifferentiateArgs),
    Inspect(InspectArgs),
    Eval(EvalArgs),
    Verify(VerifyArgs),
    Doctor(DoctorArgs),
}

/// Makes a model smaller: trains it with SAFE towards the target, cuts, verifies, writes.
///
/// Exit code 1 when the file was written but the target was missed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  safe-onnx compress model.onnx -o small.onnx --data train.npz --val test.npz --target macs=0.5
  safe-onnx compress model.onnx -o small.onnx --data images/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 \\
      --augment flip,crop --target params=0.3 --epochs 20
  safe-onnx compress model.onnx -o small.onnx --data train.npz --checkpoint standing/ --checkpoint-every 5 --resume
  safe-onnx compress model.onnx -o small.onnx --method magnitude --epochs 0 --emit-masked masked.onnx")]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(super) struct CompressArgs {
    /// The ONNX model to read
    pub(super) model: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "OUT")]
    pub(super) output: PathBuf,
    /// Training data: .npz, .npy, a folder of IDX or CIFAR files, or one of images by class; without, random inputs
    #[arg(long, value_name = "PATH")]
    pub(super) data: Option<PathBuf>,
    /// Validation data
    #[arg(long, value_name = "PATH", conflicts_with = "val_split")]
    pub(super) val: Option<PathBuf>,
    /// Share of the training data that is split off for validation, between 0 and 1
    #[arg(long, value_name = "X", value_parser = values::open_share)]
    pub(super) val_split: Option<f64>,
    #[command(flatten)]
    pub(super) pixels: PixelArgs,
    /// Augmentation: a list of flip, shift=PIXELS and crop=PIXELS (crop alone for folders of images)
    #[arg(long, value_name = "LIST", value_parser = values::augment)]
    pub(super) augment: Option<Augment>,
    /// The share that is kept: macs=X, params=X or channels=X, above 0 and at most 1
    #[arg(long, value_name = "QUANTITY=X", default_value = "macs=0.5", value_parser = values::target)]
    pub(super) target: Target,
    /// How the groups that leave are chosen
    #[arg(long, value_enum, default_value_t = MethodArg::Safe)]
    pub(super) method: MethodArg,
    /// The loss: auto (by the model's outputs and the data), or a sum of cross-entropy (integer labels), next-token
    /// (language models), bce, mse, smooth-l1 (float targets), distill (from the dense model's outputs) and features
    /// (from the values that --distill-on names), as in cross-entropy:0.7,distill:0.3
    #[arg(long, value_name = "NAME[:WEIGHT],..", value_delimiter = ',', default_value = "auto",
          value_parser = values::loss)]
    pub(super) loss: Vec<(LossArg, f64)>,
    /// Share of each label that is spread evenly over all classes, from 0 to below 1
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = values::below_one)]
    pub(super) label_smoothing: f64,
    /// A weight for each class of the cross-entropy
    #[arg(long, value_name = "X,..", value_delimiter = ',', value_parser = values::above_zero)]
    pub(super) class_weights: Vec<f64>,
    /// The label of positions that do not count, such as 255 in segmentation; for next-token, a token that is not
    /// learned, such as the padding
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) ignore_index: Option<i64>,
    /// Temperature of the distillation of a classifier [default: 3]
    #[arg(long, value_name = "X", value_parser = values::above_zero)]
    pub(super) temperature: Option<f64>,
    /// Keeps values inside of the model whose names match this regular expression close to those of the dense model:
    /// one more part of the loss (see features), or the whole one where the data have no targets; may be given several
    /// times
    #[arg(long, value_name = "REGEX", value_parser = values::regex)]
    pub(super) distill_on: Vec<Regex>,
    /// Also writes the dense model with the cut slices set to zero, which computes what the small one does
    #[arg(long, value_name = "PATH")]
    pub(super) emit_masked: Option<PathBuf>,
    /// Also writes which indices of which initializer and axis leave, for `apply`
    #[arg(long, value_name = "PATH")]
    pub(super) plan_out: Option<PathBuf>,
    /// Also writes the report as JSON to a file
    #[arg(long, value_name = "PATH")]
    pub(super) report_json: Option<PathBuf>,
    /// Prints the report as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Does not hold the small model against the masked one
    #[arg(long)]
    pub(super) no_verify: bool,
    /// Replaces existing files
    #[arg(long)]
    pub(super) force: bool,
    /// No progress on stderr
    #[arg(long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
    #[command(flatten)]
    pub(super) training: TrainingArgs,
    #[command(flatten)]
    pub(super) checkpoint: CheckpointArgs,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
    #[command(flatten)]
    pub(super) shapes: ShapeArgs,
}

/// Makes the cut again that `compress --plan-out` wrote down, on the same model or on one with other weights.
///
/// With the weights that the cut was made on, the file is the same, byte for byte. Nothing is trained.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  safe-onnx compress model.onnx -o small.onnx --method magnitude --epochs 0 --plan-out plan.json
  safe-onnx apply model.onnx plan.json -o again.onnx
  safe-onnx apply retrained.onnx plan.json -o retrained.small.onnx")]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(super) struct ApplyArgs {
    /// The ONNX model to read
    pub(super) model: PathBuf,
    /// The plan
    pub(super) plan: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "OUT")]
    pub(super) output: PathBuf,
    /// Prints the report as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Does not hold the small model against the masked one
    #[arg(long)]
    pub(super) no_verify: bool,
    /// Lets the plan name groups that are only approximately right; the difference is measured
    #[arg(long)]
    pub(super) allow_approximate: bool,
    /// Replaces an existing file
    #[arg(long)]
    pub(super) force: bool,
    /// No progress on stderr
    #[arg(long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
    #[command(flatten)]
    pub(super) shapes: ShapeArgs,
}

/// How far layers may shrink. Layers are named by their initializers and nodes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitArgs {
    /// Layers whose names match keep all their channels; may be given several times
    #[arg(long, value_name = "REGEX", value_parser = values::regex)]
    pub(super) exclude: Vec<Regex>,
    /// Only layers whose names match lose channels; may be given several times
    #[arg(long, value_name = "REGEX", value_parser = values::regex)]
    pub(super) only: Vec<Regex>,
    /// Layers whose names match keep at least this share of their channels; may be given several times
    #[arg(long, value_name = "REGEX=X", value_parser = values::regex_share)]
    pub(super) keep: Vec<(Regex, f64)>,
    /// Channels, heads or hidden units that every layer keeps at least
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = values::positive)]
    pub(super) min_width: usize,
    /// Widths are kept to multiples of this
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = values::positive)]
    pub(super) round_to: usize,
    /// Lets widths leave over which a layer normalisation takes its statistics, and other groups that are only
    /// approximately right; the difference from the masked model is measured and reported
    #[arg(long)]
    pub(super) allow_approximate: bool,
    /// What leaves an attention: heads, some width of every head, or both
    #[arg(long, value_enum, default_value_t = HeadsArg::Auto)]
    pub(super) heads: HeadsArg,
}

/// How stored pixels become inputs.
#[derive(Debug, Args)]
pub(super) struct PixelArgs {
    /// Subtracted from each value, after bytes were divided by 255: one number, or one for each channel
    #[arg(long, value_name = "X,..", value_delimiter = ',', allow_hyphen_values = true,
          value_parser = values::finite)]
    pub(super) mean: Vec<f32>,
    /// What each value is divided by after that: one number, or one for each channel
    #[arg(long, value_name = "X,..", value_delimiter = ',', value_parser = values::deviation)]
    pub(super) std: Vec<f32>,
    /// Folders of images: length of the short side after scaling, in pixels
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub(super) resize: Option<usize>,
    /// Folders of images: size of the centre crop, in pixels
    #[arg(long, value_name = "HxW", value_parser = values::size)]
    pub(super) crop: Option<[usize; 2]>,
}

/// What runs the model.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engine and input shapes")]
pub(super) struct EngineArgs {
    /// The engine; auto takes ONNX Runtime where there is one, else tract
    #[arg(long, value_enum, default_value_t = EngineArg::Auto)]
    pub(super) engine: EngineArg,
    /// Where to run: auto, cpu or cuda[:N]; auto means cpu in this build
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = values::device)]
    pub(super) device: DeviceChoice,
    /// Threads within one operator; all by default
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub(super) threads: Option<usize>,
    /// ONNX Runtime's library
    #[arg(long, value_name = "PATH")]
    pub(super) ort_lib: Option<PathBuf>,
}

/// Shapes of the inputs.
#[derive(Debug, Args)]
pub(super) struct ShapeArgs {
    /// Shape of an input, as in input=1x3x224x224, or size of a named dimension, as in sequence=128; may be given
    /// several times
    #[arg(long, value_name = "NAME=DIMS", value_parser = values::shape)]
    pub(super) shape: Vec<(String, Vec<usize>)>,
}

/// Writes a training graph: a plain ONNX model that computes a loss and its gradients.
///
/// Inputs are those of the model, `target`, and the trained initializers, whose values are the defaults. Outputs are
/// `loss` and `grad:NAME` for each trained initializer, and with --batch-norm train the updated running statistics.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  safe-onnx differentiate model.onnx -o grad.onnx --loss cross-entropy
  safe-onnx differentiate segmenter.onnx -o grad.onnx --loss cross-entropy --class-axis 1 --batch-norm train
  safe-onnx differentiate regressor.onnx -o grad.onnx --loss mse --shape input=1x16")]
pub(super) struct DifferentiateArgs {
    /// The ONNX model to read
    pub(super) model: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "GRAD")]
    pub(super) output: PathBuf,
    /// The loss of the first output
    #[arg(long, value_enum)]
    pub(super) loss: TargetLossArg,
    /// Axis of the classes; a negative one counts from the back. By default the last one of [N, C] and [N, T, C], and
    /// axis 1 of [N, C, H, W]; axis 0 of [C], and where it is given, for a model that takes one sample without a batch axis
    #[arg(long, value_name = "A", allow_negative_numbers = true)]
    pub(super) class_axis: Option<i64>,
    /// Share of each label that is spread evenly over all classes, from 0 to below 1
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = values::below_one)]
    pub(super) label_smoothing: f64,
    /// A weight for each class of the cross-entropy
    #[arg(long, value_name = "X,..", value_delimiter = ',', value_parser = values::above_zero)]
    pub(super) class_weights: Vec<f64>,
    /// The label of positions that do not count in the cross-entropy; labels that are no class do not count either then
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) ignore_index: Option<i64>,
    /// Whether batch normalisation uses its running statistics or those of the batch
    #[arg(long, value_enum, default_value_t = BatchNormArg::Frozen)]
    pub(super) batch_norm: BatchNormArg,
    /// Replaces an existing file
    #[arg(long)]
    pub(super) force: bool,
    /// Prints the names as JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
    #[command(flatten)]
    pub(super) shapes: ShapeArgs,
}

/// Shows what can be cut from a model and what cannot, and why.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  safe-onnx inspect model.onnx
  safe-onnx inspect model.onnx --shape input=1x3x224x224
  safe-onnx inspect model.onnx --svg groups.svg
  safe-onnx inspect model.onnx --json | jq '.families | length'")]
pub(super) struct InspectArgs {
    /// The ONNX model to read
    pub(super) model: PathBuf,
    /// Prints the report as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Also draws the graph, one colour for each family of groups
    #[arg(long, value_name = "PATH")]
    pub(super) svg: Option<PathBuf>,
    /// Replaces an existing file
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
    #[command(flatten)]
    pub(super) shapes: ShapeArgs,
}

/// Loss and accuracy of a model on data: on the validation or test part where the data have one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  safe-onnx eval model.onnx --data test.npz --mean 0.2860 --std 0.3530
  safe-onnx eval model.onnx --data images/ --resize 256 --crop 224x224 --json")]
pub(super) struct EvalArgs {
    /// The ONNX model to read
    pub(super) model: PathBuf,
    /// The data
    #[arg(long, value_name = "PATH")]
    pub(super) data: PathBuf,
    #[command(flatten)]
    pub(super) pixels: PixelArgs,
    /// The loss; auto goes by the data
    #[arg(long, value_enum, default_value_t = EvalLossArg::Auto)]
    pub(super) loss: EvalLossArg,
    /// The label of positions that do not count
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) ignore_index: Option<i64>,
    /// Samples in a run
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub(super) batch: Option<usize>,
    /// Prints the report as JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
}

/// Runs two models on the same inputs and compares every output.
///
/// Graph optimisation is off. Exit code 1 when the largest difference of an output is more than the tolerance times
/// its largest value.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  safe-onnx compress model.onnx -o small.onnx --emit-masked masked.onnx
  safe-onnx verify masked.onnx small.onnx
  safe-onnx verify masked.onnx small.onnx --data test.npz --mean 0.2860 --std 0.3530 --engine tract")]
pub(super) struct VerifyArgs {
    /// The model that is taken for right: the one that `compress --emit-masked` wrote
    pub(super) dense: PathBuf,
    /// The model that shall compute the same
    pub(super) small: PathBuf,
    /// Data to run both on, the first 64 samples; random inputs by default
    #[arg(long, value_name = "PATH")]
    pub(super) data: Option<PathBuf>,
    #[command(flatten)]
    pub(super) pixels: PixelArgs,
    /// The difference that is allowed, over the largest value of the output [default: 0.0001]
    #[arg(long, value_name = "X", value_parser = values::not_negative)]
    pub(super) tolerance: Option<f64>,
    /// Prints the report as JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
    #[command(flatten)]
    pub(super) shapes: ShapeArgs,
}

/// Shows what this machine has to run models with.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  safe-onnx doctor
  safe-onnx doctor --ort-lib /opt/onnxruntime/lib/libonnxruntime.so --json")]
pub(super) struct DoctorArgs {
    /// ONNX Runtime's library
    #[arg(long, value_name = "PATH")]
    pub(super) ort_lib: Option<PathBuf>,
    /// Prints the report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum MethodArg {
    /// By SAFE: weights are moved until what leaves is worthless
    Safe,
    /// By the size of the weights as they are
    Magnitude,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum HeadsArg {
    /// Both
    Auto,
    /// Whole heads, and whole groups of grouped convolutions
    Whole,
    /// The same part of every head
    Width,
}

/// A part of a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LossArg {
    Auto,
    CrossEntropy,
    NextToken,
    Bce,
    Mse,
    SmoothL1,
    Distill,
    Features,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum EvalLossArg {
    /// By the data
    Auto,
    /// Cross-entropy on integer labels
    CrossEntropy,
    /// Mean squared error
    Mse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TargetLossArg {
    /// Cross-entropy on integer labels
    CrossEntropy,
    /// Binary cross-entropy on targets from 0 to 1
    Bce,
    /// Mean squared error
    Mse,
    /// The absolute difference, squared near zero
    SmoothL1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BatchNormArg {
    /// The running statistics, as in use
    Frozen,
    /// Those of the batch, as in training
    Train,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum EngineArg {
    /// ONNX Runtime where there is one, else tract
    Auto,
    /// ONNX Runtime
    Ort,
    /// tract, which is compiled in
    Tract,
}
