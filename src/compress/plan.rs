//! What a run of `compress` is asked to do.

use std::path::PathBuf;

use regex::Regex;

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

/// The loss that is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossChoice {
    /// By the model's outputs and the data.
    Auto,
    /// Cross-entropy on integer labels.
    CrossEntropy,
    /// Mean squared error.
    SquaredError,
}

/// A named part of a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossPart {
    /// Cross-entropy on integer labels.
    CrossEntropy,
    /// Cross-entropy of each position of a language model on the token that comes next in its first integer input.
    NextToken,
    /// Binary cross-entropy on float targets from 0 to 1.
    BinaryCrossEntropy,
    /// Mean squared error on float targets.
    SquaredError,
    /// Smooth L1 on float targets.
    SmoothL1,
    /// Distillation from the dense model.
    Distill,
    /// Squared distance to values inside of the dense model.
    Features,
}

impl LossPart {
    /// Whether it compares with labels or values, those of the data or next tokens.
    pub fn takes_targets(self) -> bool {
        !matches!(self, Self::Distill | Self::Features)
    }
}

/// The loss of a run.
#[derive(Debug, Clone, Default)]
pub struct LossPlan {
    /// The parts and their weights; none means that the model's outputs and the data decide.
    pub parts: Vec<(LossPart, f64)>,
    /// The share of each label that is spread over all classes.
    pub label_smoothing: f64,
    /// A weight for each class; none means 1.
    pub class_weights: Vec<f64>,
    /// The label of positions that do not count; for language models the token that is not learned.
    pub ignore_index: Option<i64>,
    /// The temperature of a classifier's distillation; nothing means 3.
    pub temperature: Option<f64>,
    /// The names of values inside of the model that are to stay close to those of the dense model.
    pub distill_on: Vec<Regex>,
}

impl LossPlan {
    /// Whether next tokens are labels.
    pub fn foretells(&self) -> bool {
        self.parts.iter().any(|(part, _)| *part == LossPart::NextToken)
    }

    /// Whether targets are only used where the data have some that fit: nothing in the loss asks for them.
    pub fn spares_targets(&self) -> bool {
        let asks = |part: LossPart| part.takes_targets() && part != LossPart::NextToken;
        !self.parts.is_empty() && !self.parts.iter().any(|&(part, _)| asks(part))
    }
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
    /// As [`BatchNorm::Train`]; a convolutional classifier that has none is given some for the time of training. As
    /// [`BatchNorm::Frozen`] for models that take one sample at a time.
    #[default]
    Auto,
    /// It uses the statistics of the batch, and the running ones follow.
    Train,
    /// It uses its running statistics, which stay.
    Frozen,
}

/// Whether Dropout drops elements while a model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dropout {
    /// With data, but not on made-up inputs.
    #[default]
    Auto,
    /// Yes.
    On,
    /// No.
    Off,
}

/// How the learning rate falls from its peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RateSchedule {
    /// As half a cosine, to 0.
    #[default]
    Cosine,
    /// To a tenth after half of the steps, and to a tenth of that after three quarters.
    Step,
    /// Not at all.
    Constant,
}

/// Settings of training; what is not set is chosen from the model and the data.
#[derive(Debug, Clone, Default)]
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
    /// Whether Dropout is active.
    pub dropout: Dropout,
    /// Radius rho of the ascent.
    pub radius: Option<f64>,
    /// Penalty lambda.
    pub penalty: Option<f64>,
    /// Steps between dual updates.
    pub dual_interval: Option<usize>,
    /// If there are any, only initializers that match are trained.
    pub train_only: Vec<Regex>,
    /// Initializers that match are not trained.
    pub freeze: Vec<Regex>,
    /// Batches whose gradients are averaged for a step; 1 when left out.
    pub accumulate: Option<usize>,
    /// Bytes of memory that training must keep below.
    pub memory_limit: Option<u64>,
    /// Upper bound of the norm of the descent direction over all weights.
    pub clip_norm: Option<f64>,
    /// Decay of the running average of the weights, which is then the result.
    pub average_decay: Option<f64>,
    /// How the learning rate falls.
    pub schedule: RateSchedule,
    /// Steps in which the learning rate rises.
    pub warmup: Option<usize>,
    /// Steps between evaluations on the validation data; they take place after each epoch anyhow.
    pub evaluate_every: Option<usize>,
    /// Evaluations without a better one after which training ends.
    pub patience: Option<usize>,
    /// Whether the weights of the best evaluation are the result.
    pub keep_best: bool,
}

impl Training {
    /// Whether an initializer of this name is to be trained.
    pub fn trains(&self, name: &str) -> bool {
        let any = |patterns: &[Regex]| patterns.iter().any(|pattern| pattern.is_match(name));
        (self.train_only.is_empty() || any(&self.train_only)) && !any(&self.freeze)
    }
}

/// Where and when the standing of a run is written down.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointPlan {
    /// The folder.
    pub folder: PathBuf,
    /// Minutes between two checkpoints; 0 for one after each step.
    pub minutes: f64,
    /// Whether to go on from the last one.
    pub resume: bool,
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
    pub loss: LossPlan,
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
    /// Checkpoints, if there are to be any.
    pub checkpoint: Option<CheckpointPlan>,
    /// Whether the result is verified before it is written.
    pub verify: bool,
    /// Whether existing files are replaced.
    pub force: bool,
}
