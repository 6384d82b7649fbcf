//! Settings of training that can be typed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use regex::Regex;
use safe_onnx::compress::{BatchNorm, CheckpointPlan, Dropout, Optimizer, RateSchedule, Training};

use super::values;

/// Settings of training; what is left out is chosen from the model and the data.
#[derive(Debug, Args)]
#[command(next_help_heading = "Training (left out: chosen from model and data)")]
pub(super) struct TrainingArgs {
    /// Passes over the data; 0 cuts without training
    #[arg(long, value_name = "N")]
    pub(super) epochs: Option<usize>,
    /// Samples in a step; a model whose inputs have no axis of samples takes them one by one, and their gradients are
    /// averaged
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub(super) batch: Option<usize>,
    /// The base optimiser
    #[arg(long, value_enum)]
    pub(super) optimizer: Option<OptimizerArg>,
    /// Peak learning rate
    #[arg(long, value_name = "X", value_parser = values::above_zero)]
    pub(super) lr: Option<f64>,
    /// Momentum of stochastic gradient descent, from 0 to below 1
    #[arg(long, value_name = "X", value_parser = values::below_one)]
    pub(super) momentum: Option<f64>,
    /// Weight decay
    #[arg(long, value_name = "X", value_parser = values::not_negative)]
    pub(super) weight_decay: Option<f64>,
    /// What batch normalisation does while the model is trained
    #[arg(long, value_enum, default_value_t = TrainedBatchNormArg::Auto)]
    pub(super) batch_norm: TrainedBatchNormArg,
    /// Whether Dropout drops elements while the model is trained; the written model never does
    #[arg(long, value_enum, default_value_t = DropoutArg::Auto)]
    pub(super) dropout: DropoutArg,
    /// Radius of the ascent; 0 turns it off
    #[arg(long, value_name = "X", value_parser = values::not_negative)]
    pub(super) rho: Option<f64>,
    /// Penalty on the distance to the sparse weights
    #[arg(long, value_name = "X", value_parser = values::not_negative)]
    pub(super) lambda: Option<f64>,
    /// Steps between dual updates
    #[arg(long, value_name = "K", value_parser = values::positive)]
    pub(super) dual_interval: Option<usize>,
    /// Trains only initializers whose name matches this regular expression; may be given several times
    #[arg(long, value_name = "REGEX")]
    pub(super) train_only: Vec<Regex>,
    /// Does not train initializers whose name matches this regular expression; may be given several times
    #[arg(long, value_name = "REGEX")]
    pub(super) freeze: Vec<Regex>,
    /// Batches whose gradients are averaged for a step
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub(super) accumulate: Option<usize>,
    /// Memory that training must keep below, as in 2GB or 800MB: cheap values are then computed again,
    /// and batches split in micro-batches
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub(super) memory_limit: Option<u64>,
    /// Upper bound of the norm of the descent direction over all weights
    #[arg(long, value_name = "X", value_parser = values::above_zero)]
    pub(super) clip_norm: Option<f64>,
    /// Decay of a running average of the weights, from 0 to below 1, which is then the result
    #[arg(long, value_name = "X", value_parser = values::below_one)]
    pub(super) average_decay: Option<f64>,
    /// How the learning rate falls from its peak
    #[arg(long, value_enum, default_value_t = LrScheduleArg::Cosine)]
    pub(super) lr_schedule: LrScheduleArg,
    /// Steps in which the learning rate rises to its peak
    #[arg(long, value_name = "N")]
    pub(super) warmup: Option<usize>,
    /// Steps between evaluations on the validation data, besides those after each epoch
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub(super) evaluate_every: Option<usize>,
    /// Ends training when so many evaluations in turn were no better than the best before
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub(super) patience: Option<usize>,
    /// Takes the weights of the best evaluation for the result, not the last ones
    #[arg(long)]
    pub(super) keep_best: bool,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u64,
}

/// Where a run that was cut off goes on.
#[derive(Debug, Args)]
#[command(next_help_heading = "Checkpoints")]
pub(super) struct CheckpointArgs {
    /// Folder for checkpoints; the last two are kept, and Ctrl-C writes one more
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// Minutes between checkpoints; 0 writes one after each step
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0, requires = "checkpoint",
          value_parser = values::not_negative)]
    checkpoint_every: f64,
    /// Goes on from the last whole checkpoint of the folder, with the same end as if nothing had happened; where there
    /// is none yet, training starts anew
    #[arg(long, requires = "checkpoint")]
    resume: bool,
}

impl CheckpointArgs {
    /// The settings as a part of a plan.
    pub(super) fn plan(&self) -> Option<CheckpointPlan> {
        let folder = self.checkpoint.clone()?;
        Some(CheckpointPlan { folder, minutes: self.checkpoint_every, resume: self.resume })
    }
}

impl TrainingArgs {
    /// The settings as a part of a plan.
    pub(super) fn plan(&self) -> Training {
        Training {
            epochs: self.epochs,
            batch: self.batch,
            optimizer: self.optimizer.map(|optimizer| match optimizer {
                OptimizerArg::Sgd => Optimizer::Sgd,
                OptimizerArg::Adam => Optimizer::Adam,
            }),
            learning_rate: self.lr,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            batch_norm: match self.batch_norm {
                TrainedBatchNormArg::Auto => BatchNorm::Auto,
                TrainedBatchNormArg::Train => BatchNorm::Train,
                TrainedBatchNormArg::Frozen => BatchNorm::Frozen,
            },
            dropout: match self.dropout {
                DropoutArg::Auto => Dropout::Auto,
                DropoutArg::On => Dropout::On,
                DropoutArg::Off => Dropout::Off,
            },
            radius: self.rho,
            penalty: self.lambda,
            dual_interval: self.dual_interval,
            train_only: self.train_only.clone(),
            freeze: self.freeze.clone(),
            accumulate: self.accumulate,
            memory_limit: self.memory_limit,
            clip_norm: self.clip_norm,
            average_decay: self.average_decay,
            schedule: match self.lr_schedule {
                LrScheduleArg::Cosine => RateSchedule::Cosine,
                LrScheduleArg::Step => RateSchedule::Step,
                LrScheduleArg::Constant => RateSchedule::Constant,
            },
            warmup: self.warmup,
            evaluate_every: self.evaluate_every,
            patience: self.patience,
            keep_best: self.keep_best,
        }
    }
}

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LrScheduleArg {
    /// As half a cosine, to 0
    Cosine,
    /// To a tenth after half of the steps, and to a tenth of that after three quarters
    Step,
    /// Not at all
    Constant,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum OptimizerArg {
    /// Stochastic gradient descent with momentum
    Sgd,
    /// Adam
    Adam,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum TrainedBatchNormArg {
    /// As train; a convolutional classifier from which it was folded away gets it back, and it is folded in at the end.
    /// As frozen where the model takes one sample at a time
    Auto,
    /// Statistics of the batch; the running ones follow
    Train,
    /// Running statistics, which stay as they are
    Frozen,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum DropoutArg {
    /// With data: on; without: off
    Auto,
    /// Each Dropout node drops elements with its ratio
    On,
    /// Everything passes
    Off,
}
