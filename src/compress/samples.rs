//! Batches for training: from data, or made up when there are none.

use super::objective::{input_specs, target_specs};
use super::structure::Structure;
use super::{CompressError, Plan};
use crate::data::{
    self, Batch, DataError, DataOptions, Dataset, InputSpec, Loader, LoaderOptions, Part, synthetic,
};
use crate::engine::{Engine, LoadOptions, load_model};
use crate::tensor::Tensor;
use crate::trace::Trace;

/// Batches of one epoch of made-up samples.
const SYNTHETIC_BATCHES: usize = 64;
/// Standard deviations that made-up inputs may have.
const SPREADS: [f64; 7] = [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 64.0];
/// Samples on which a spread is judged.
const JUDGED: usize = 16;

/// Channels and shortest side of what is taken for a single image.
const COLOURS: usize = 3;
const SIDE: usize = 8;

/// Batches of real data that a result is verified on, and samples of each.
const VERIFY_BATCHES: usize = 2;
const VERIFY_SAMPLES: usize = 16;
/// Samples for a model that takes one at a time.
const VERIFY_ALONE: usize = 4;

/// Where samples come from.
#[derive(Debug)]
pub(super) enum Samples {
    /// Real data.
    Data(Dataset),
    /// Random values of the model's input types.
    Synthetic {
        /// The inputs.
        inputs: Vec<InputSpec>,
        /// What they are drawn from.
        options: synthetic::SyntheticOptions,
    },
}

impl Samples {
    /// Made-up samples of the standard normal distribution.
    pub(super) fn normal(structure: &Structure, seed: u64) -> Self {
        let inputs = made_up(structure);
        Self::Synthetic { inputs, options: synthetic::SyntheticOptions { seed, ..Default::default() } }
    }

    /// Made-up samples for a model. Where the model keeps statistics of its activations, the spread of the inputs is
    /// the one of [`SPREADS`] whose activations come closest to them.
    pub(super) fn synthetic(
        engine: &dyn Engine,
        load: &LoadOptions,
        structure: &Structure,
        seed: u64,
    ) -> Result<Self, CompressError> {
        let inputs = made_up(structure);
        let mut best: Option<(f64, f64)> = None;
        for std in SPREADS {
            let options = synthetic::SyntheticOptions { std, seed, ..synthetic::SyntheticOptions::default() };
            let Some(distance) = distance(engine, load, structure, &inputs, &options)? else { break };
            if best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, std));
            }
        }
        let Some((_, std)) = best else { return Ok(Self::normal(structure, seed)) };
        let options = synthetic::SyntheticOptions { std, seed, ..synthetic::SyntheticOptions::default() };
        Ok(Self::Synthetic { inputs, options })
    }

    /// Samples of an epoch, in batches of about `batch`.
    pub(super) fn per_epoch(&self, batch: usize) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Synthetic { .. } => SYNTHETIC_BATCHES * batch,
        }
    }

    /// What tells these samples from others.
    pub(super) fn checksum(&self) -> String {
        match self {
            Self::Data(data) => data.checksum(),
            Self::Synthetic { options, .. } => format!("made up: {options:?}"),
        }
    }

    /// Whether the model takes several samples together.
    pub(super) fn is_batched(&self) -> bool {
        match self {
            Self::Data(data) => data.is_batched(),
            Self::Synthetic { inputs, .. } => inputs.iter().all(|input| input.batched),
        }
    }

    pub(super) fn is_real(&self) -> bool {
        matches!(self, Self::Data(_))
    }

    /// The batches of one epoch from number `from` on, shuffled and augmented for training, or plain.
    pub(super) fn epoch(
        &self,
        batch: usize,
        epoch: usize,
        from: usize,
        seed: u64,
        training: bool,
    ) -> Box<dyn Iterator<Item = Result<Batch, DataError>> + '_> {
        match self {
            Self::Data(data) => {
                let mut options = LoaderOptions::training(batch, seed);
                options.augment = training;
                Box::new(Loader::new(data.clone(), options).epoch_from(epoch as u64, from))
            }
            Self::Synthetic { inputs, options } => {
                let first = (epoch * SYNTHETIC_BATCHES) as u64;
                Box::new(
                    (first..first + SYNTHETIC_BATCHES as u64)
                        .skip(from)
                        .map(move |number| synthetic::batch(inputs, batch, number, options)),
                )
            }
        }
    }

    /// Named inputs of some runs, to verify a model of which `trace` tells.
    pub(super) fn for_verification(
        &self,
        trace: &Trace,
        seed: u64,
    ) -> Result<Vec<Vec<(String, Tensor)>>, CompressError> {
        let (batch, count) = if self.is_batched() {
            let fixed = (!trace.free_batch).then_some(trace.samples);
            let most = self.per_epoch(VERIFY_SAMPLES).max(1);
            (fixed.unwrap_or(VERIFY_SAMPLES).min(most), VERIFY_BATCHES)
        } else {
            (1, VERIFY_ALONE)
        };
        let names = trace.inputs.iter().map(|(name, _)| name);
        let named = |batch: Batch| names.clone().cloned().zip(batch.given().into_owned()).collect();
        Ok(self.plain(batch, count, seed)?.into_iter().map(named).collect())
    }

    /// Some plain batches, the same ones every time: for statistics and for verification.
    pub(super) fn plain(&self, batch: usize, count: usize, seed: u64) -> Result<Vec<Batch>, CompressError> {
        let batches: Result<Vec<Batch>, DataError> =
            self.epoch(batch, 0, 0, seed, false).take(count).collect();
        Ok(batches?)
    }
}

/// The inputs of a model to which no data are given. Those that all take an image `[3, H, W]` are taken for inputs
/// without axis of samples.
fn made_up(structure: &Structure) -> Vec<InputSpec> {
    let mut inputs = input_specs(&structure.model().graph, &structure.trace);
    let image = |input: &InputSpec| {
        let sides = matches!(input.dims[..], [Some(COLOURS), Some(SIDE..), Some(SIDE..)]);
        sides && input.dtype.is_float()
    };
    let batched = !inputs.iter().all(image);
    for input in &mut inputs {
        input.batched = batched;
    }
    inputs
}

/// Opens training and validation data; says also whether their targets fit the model's main output.
pub(super) fn open_data(
    plan: &Plan,
    structure: &Structure,
) -> Result<(Option<Dataset>, Option<Dataset>, bool), CompressError> {
    let Some(path) = &plan.data else { return Ok((None, None, false)) };
    let graph = &structure.model().graph;
    let inputs = input_specs(graph, &structure.trace);
    let inputs = data::read_as(path, Part::Train, &inputs, &plan.data_options)?;
    let batched = inputs.iter().all(|input| input.batched);
    let options = DataOptions { ignore_index: plan.loss.ignore_index, ..plan.data_options.clone() };
    let open = |spec: Option<&_>| data::open_both(path, plan.val.as_deref(), &inputs, spec, &options);
    let mut failure = None;
    for spec in target_specs(graph, &structure.trace, &plan.loss, batched) {
        match open(Some(&spec)) {
            Ok((train, val)) => return Ok((Some(train), val, true)),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let bare = matches!(failure, Some(DataError::MissingTarget { .. })) && plan.loss.parts.is_empty();
    match failure {
        Some(error) if !bare && !plan.loss.spares_targets() => Err(error.into()),
        _ => {
            let (train, val) = open(None)?;
            Ok((Some(train), val, false))
        }
    }
}

/// How far the statistics of made-up inputs are from those that the model keeps: the mean over all channels of the
/// squared distance of the means in standard deviations, and of the squared logarithm of the ratio of the standard
/// deviations. Nothing for a model that keeps none, or that does not run so.
fn distance(
    engine: &dyn Engine,
    load: &LoadOptions,
    structure: &Structure,
    inputs: &[InputSpec],
    options: &synthetic::SyntheticOptions,
) -> Result<Option<f64>, CompressError> {
    let mut model = structure.model().clone();
    let mut facts = structure.trace.facts.clone();
    let opset = model.opset("").unwrap_or(0);
    let statistics =
        crate::ops::use_batch_statistics(&mut model.graph, &mut facts, crate::ops::Statistics::Own);
    if statistics.is_empty() {
        return Ok(None);
    }
    let alone = inputs.iter().any(|input| !input.batched);
    let fixed = (alone || !structure.trace.free_batch).then_some(structure.trace.samples);
    let batch = synthetic::batch(inputs, fixed.unwrap_or(JUDGED), 0, options)?;
    model.graph.set_outputs(statistics.iter().map(|statistic| statistic.updated).collect());
    let all = !engine.normalizes_batches();
    crate::ops::spell_out_batch_normalization(&mut model.graph, &facts, opset, all);
    crate::ir::drop_unused(&mut model.graph);
    let Ok(mut session) = load_model(engine, load, &model) else { return Ok(None) };
    let samples = batch.given();
    let given: Vec<(&str, &Tensor)> =
        structure.trace.inputs.iter().map(|(name, _)| name.as_str()).zip(&*samples).collect();
    let Ok(outputs) = session.run(&given) else { return Ok(None) };
    let (mut sum, mut count) = (0.0, 0_usize);
    for (pair, outputs) in statistics.chunks(2).zip(outputs.chunks(2)) {
        let [mean, variance] = pair else { continue };
        let old = |id| structure.model().graph.value(id).initializer()?.tensor().ok()?.to_f64().ok();
        let (Some(old_mean), Some(old_variance)) = (old(mean.running), old(variance.running)) else {
            continue;
        };
        let (Ok(new_mean), Ok(new_variance)) = (outputs[0].to_f64(), outputs[1].to_f64()) else { continue };
        for channel in 0..old_mean.len().min(new_mean.len()) {
            let shift = new_mean[channel] - old_mean[channel];
            let spread = new_variance[channel].max(1e-12);
            let kept = old_variance[channel].max(1e-12);
            sum += shift * shift / kept + (spread / kept).ln().powi(2) / 4.0;
            count += 1;
        }
    }
    Ok((count > 0).then(|| sum / count as f64))
}
