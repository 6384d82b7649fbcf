//! What a run of `compress` is asked to do.

use std::path::PathBuf;

use super::Limits;
use crate::data::DataOptions;
use crate::engine::{Discovery, LoadOptions};

/// The quantity of which a share is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Multiply-accumulates of Conv, ConvTranspose, Gemm and MatMul on one sample.
    Macs,
    /// Elements of float initializers.
    Params,
    /// Groups: output channels, heads, hidden units.
    Channels,
}

impl Quantity {
    /// The word for it on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Macs => "macs",
            Self::Params => "params",
            Self::Channels => "channels",
        }
    }
}

/// What is to be kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Of what.
    pub quantity: Quantity,
    /// The share, above 0 and at most 1.
    pub share: f64,
}

/// How the groups that leave are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By SAFE: weights are moved until what leaves is worthless.
    Safe,
    /// By the size of the weights as they are; epochs then only train what is left.
    Magnitude,
}

/// The loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossChoice {
    /// By the model's outputs and the data.
    Auto,
    /// Cross-entropy on integer labels.
    CrossEntropy,
    /// Mean squared error.
    SquaredError,
    /// Distillation from the dense model.
    Distill,
}

/// The base optimiser of SAFE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam.
    Adam,
}

/// What batch normalisation does while a model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchNorm {
    /// As [`BatchNorm::Train`]; a convolutional classifier that has none is given some for the time of training.
    #[default]
    Auto,
    /// It uses the statistics of the batch, and the running ones follow.
    Train,
    /// It uses its running statistics, which stay.
    Frozen,
}

/// Settings of training; what is not set is chosen from the model and the data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Training {
    /// Passes over the data.
    pub epochs: Option<usize>,
    /// Samples in a step.
    pub batch: Option<usize>,
    /// The base optimiser.
    pub optimizer: Option<Optimizer>,
    /// Peak learning rate.
    pub learning_rate: Option<f64>,
    /// Momentum of stochastic gradient descent.
    pub momentum: Option<f64>,
    /// Weight decay.
    pub weight_decay: Option<f64>,
    /// What batch normalisation does.
    pub batch_norm: BatchNorm,
    /// Radius rho of the ascent.
    pub radius: Option<f64>,
    /// Penalty lambda.
    pub penalty: Option<f64>,
    /// Steps between dual updates.
    pub dual_interval: Option<usize>,
}

/// A whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The model to read.
    pub model: PathBuf,
    /// The file to write.
    pub output: PathBuf,
    /// Training data.
    pub data: Option<PathBuf>,
    /// Validation data.
    pub val: Option<PathBuf>,
    /// How data are read.
    pub data_options: DataOptions,
    /// What is to be kept.
    pub target: Target,
    /// How groups are chosen.
    pub method: Method,
    /// Settings of training.
    pub training: Training,
    /// The loss.
    pub loss: LossChoice,
    /// How far each layer may shrink.
    pub limits: Limits,
    /// Seed of everything random.
    pub seed: u64,
    /// Which engine.
    pub discovery: Discovery,
    /// How models are loaded.
    pub load: LoadOptions,
    /// Shapes of inputs and sizes of named dimensions.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Where to write the masked dense model.
    pub emit_masked: Option<PathBuf>,
    /// Where to write the cut as a plan file.
    pub plan_out: Option<PathBuf>,
    /// Whether the result is verified before it is written.
    pub verify: bool,
    /// Whether existing files are replaced.
    pub force: bool,
}
