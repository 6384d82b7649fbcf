//! Settings of training that were not given, chosen from the model and the data.

use super::{Optimizer, Plan, RateSchedule};
use crate::safe::{Base, LearningRate};
use crate::trace::Trace;

/// All settings of training.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) epochs: usize,
    pub(super) batch: usize,
    pub(super) base: Base,
    pub(super) learning_rate: f64,
    pub(super) radius: f64,
    pub(super) penalty: f64,
    pub(super) dual_interval: usize,
    /// Optimiser steps of all epochs.
    pub(super) total_steps: usize,
    /// Steps after which the model is cut.
    pub(super) sparsify_steps: usize,
    pub(super) warmup_steps: usize,
    /// Batches of a step.
    pub(super) accumulate: usize,
    schedule: RateSchedule,
    /// In words.
    pub(super) text: String,
}

/// The axis of samples that the model's inputs have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SampleAxis {
    /// One of any length.
    Free,
    /// One of this length.
    Fixed(usize),
    /// None: the model takes one sample at a time.
    Missing,
}

/// What the choice depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    /// Samples of an epoch.
    pub(super) samples: usize,
    /// Whether the samples are real.
    pub(super) real_data: bool,
    /// Trainable weights.
    pub(super) params: usize,
    /// Whether the model normalises over the batch.
    pub(super) batch_normalised: bool,
    pub(super) axis: SampleAxis,
    /// Whether training has a phase in which the dense model is driven towards the budget.
    pub(super) sparsifies: bool,
}

/// Share of the steps that drive the dense model towards the budget; the others train what is left.
const SPARSIFY: f64 = 0.15;
/// Share of the steps in which the learning rate rises.
const WARMUP: f64 = 0.03;
/// Bytes that the activations of a batch may take, forward and backward.
const ACTIVATIONS: f64 = 3e9;
/// Samples of a step where each is run alone.
const SINGLE: usize = 8;
/// How much of the distance to the split variable the penalty takes away while the dense model is trained, as a power
/// of e.
const PULL: f64 = 3.0;
/// The radius for a model of [`RADIUS_PARAMS`] weights or more. It is a length over all weights together, so that a
/// smaller model gets one that moves each weight as far.
const RADIUS: f64 = 0.05;
const RADIUS_PARAMS: f64 = 1e6;

impl Settings {
    pub(super) fn choose(plan: &Plan, trace: &Trace, about: Circumstances) -> Self {
        let given = &plan.training;
        let epochs = given.epochs.unwrap_or(if about.real_data { 10 } else { 4 });
        let batch = match about.axis {
            SampleAxis::Fixed(batch) => batch,
            _ => given.batch.unwrap_or_else(|| default_batch(trace, about)),
        };
        let batch = batch.clamp(1, about.samples.max(1));
        // An epoch has at least one step.
        let accumulate = given.accumulate.unwrap_or(1).clamp(1, (about.samples / batch).max(1));
        let together = batch * accumulate;
        let steps_per_epoch = (about.samples / together).max(1);
        let total_steps = epochs * steps_per_epoch;
        let sparsify_steps =
            if about.sparsifies { ((total_steps as f64 * SPARSIFY).round() as usize).max(1) } else { 0 };
        let optimizer =
            given.optimizer.unwrap_or(if about.batch_normalised { Optimizer::Sgd } else { Optimizer::Adam });
        let momentum = given.momentum.unwrap_or(0.9);
        let (base, learning_rate, gain, name) = match optimizer {
            Optimizer::Sgd => {
                let weight_decay = given.weight_decay.unwrap_or(1e-4);
                let rate = given.learning_rate.unwrap_or(0.1 * (together as f64 / 128.0).min(1.0));
                let base = Base::Sgd { momentum, nesterov: true, weight_decay };
                (base, rate, 1.0 / (1.0 - momentum).max(1e-3), "SGD with Nesterov momentum")
            }
            Optimizer::Adam => {
                let weight_decay = given.weight_decay.unwrap_or(1e-2);
                // Made-up samples tell little: weights had better stay close to what they are.
                let rate = given.learning_rate.unwrap_or(if about.real_data { 1e-3 } else { 1e-4 });
                (Base::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay }, rate, 1.0, "Adam")
            }
        };
        let size = (about.params as f64 / RADIUS_PARAMS).min(1.0);
        let radius = given.radius.unwrap_or(((RADIUS * size.sqrt() * 1e4).round() / 1e4).max(1e-3));
        // The penalty rises as half a cosine, so its mean is half of its peak.
        let reach = 0.5 * sparsify_steps as f64 * learning_rate * gain;
        let penalty = given.penalty.unwrap_or(if reach > 0.0 { (PULL / reach).min(1.0) } else { 0.0 });
        // In a run as short as this one, weights hardly move between dual updates: `x + u` of the groups that are to
        // leave grows past that of others, which are then chosen in their place, and in the end all have been damaged.
        let dual_interval = given.dual_interval.unwrap_or(sparsify_steps.max(1));
        let warmup_steps = given.warmup.unwrap_or((total_steps as f64 * WARMUP) as usize).min(total_steps);
        let text = format!(
            "{name}, learning rate {learning_rate}, rho {radius}, lambda {penalty:.2e}, dual update every {dual_interval} steps"
        );
        Self {
            epochs,
            batch,
            base,
            learning_rate,
            radius,
            penalty,
            dual_interval,
            total_steps,
            sparsify_steps,
            warmup_steps,
            accumulate,
            schedule: given.schedule,
            text,
        }
    }
}

impl Settings {
    /// The learning rate of a step, counted from 0: a straight rise to its peak, then by the schedule.
    pub(super) fn learning_rate_at(&self, step: usize) -> f64 {
        let (peak, warmup, total) = (self.learning_rate, self.warmup_steps, self.total_steps.max(1));
        let cosine = LearningRate::WarmupCosine { peak, warmup, total };
        if step < warmup {
            return cosine.at(step);
        }
        let share = step as f64 / total as f64;
        match self.schedule {
            RateSchedule::Cosine => cosine.at(step),
            RateSchedule::Constant => peak,
            RateSchedule::Step if share < 0.5 => peak,
            RateSchedule::Step if share < 0.75 => peak / 10.0,
            RateSchedule::Step => peak / 100.0,
        }
    }
}

fn default_batch(trace: &Trace, about: Circumstances) -> usize {
    if about.axis == SampleAxis::Missing {
        return if about.real_data { SINGLE } else { 1 };
    }
    let by_samples = match about.samples {
        // Two gradients a step leave half as many steps as other methods take in the same time: small batches.
        4_000.. => 64,
        _ => 32,
    };
    let activations = trace.activation_elements() as f64 * 4.0 * 3.0 / trace.samples as f64;
    let by_memory = (ACTIVATIONS / activations.max(1.0)) as usize;
    by_samples.min(by_memory.max(1))
}
