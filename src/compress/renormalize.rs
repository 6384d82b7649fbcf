//! Batch normalisation for the time of training, for convolutional networks from which it was folded away.

use super::CompressError;
use super::samples::Samples;
use super::structure::Structure;
use crate::data::Batch;
use crate::engine::{Engine, LoadOptions, load_model};
use crate::ir::{Model, drop_unused};
use crate::ops::{
    ChannelStatistics, NormalizedLayer, Statistics, fold_normalization, insert_normalization,
    normalizable_layers, observe_layers, spell_out_batch_normalization, use_batch_statistics,
};
use crate::tensor::Tensor;

/// Samples that the statistics of a layer's outputs are taken over.
const OBSERVED: usize = 2048;
/// Samples that are run at once for them.
const BATCH: usize = 32;
/// With fewer samples in a step, the statistics of a batch say too little.
const SMALLEST_BATCH: usize = 16;

/// A network with normalisations put in.
pub(super) struct Renormalized {
    /// Its structure; the groups have the numbers that they have without.
    pub(super) structure: Structure,
    layers: Vec<NormalizedLayer>,
}

impl Renormalized {
    /// Puts normalisations behind the convolutions of `structure`'s model that change nothing on the samples; nothing
    /// where that does not fit.
    pub(super) fn of(
        structure: &Structure,
        engine: &dyn Engine,
        load: &LoadOptions,
        shapes: &[(String, Vec<usize>)],
        samples: &Samples,
        seed: u64,
    ) -> Result<Option<Self>, CompressError> {
        let layers = normalizable_layers(&structure.model().graph, &structure.trace.facts);
        let fixed = (!structure.trace.free_batch).then_some(structure.trace.samples);
        let batch = fixed.unwrap_or(BATCH);
        if layers.is_empty() || !samples.is_batched() || batch < SMALLEST_BATCH {
            return Ok(None);
        }
        let batches = samples.plain(batch, OBSERVED.div_ceil(batch), seed)?;
        let statistics = observe(structure, engine, load, &layers, &batches)?;
        let mut model = structure.model().clone();
        insert_normalization(&mut model.graph, &layers, &statistics);
        let normalized = structure.of_variant(model, engine, load, shapes)?;
        Ok(normalized.map(|structure| Self { structure, layers }))
    }

    /// How many layers are normalised.
    pub(super) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Folds the normalisations of a model that was made from the normalised one into its weights.
    pub(super) fn fold(&self, model: &mut Model) -> Result<(), CompressError> {
        Ok(fold_normalization(&mut model.graph, &self.layers)?)
    }
}

/// Mean and variance of the outputs of `layers`.
fn observe(
    structure: &Structure,
    engine: &dyn Engine,
    load: &LoadOptions,
    layers: &[NormalizedLayer],
    batches: &[Batch],
) -> Result<Vec<ChannelStatistics>, CompressError> {
    let mut model = structure.model().clone();
    let mut facts = structure.trace.facts.clone();
    observe_layers(&mut model.graph, layers);
    let observed = use_batch_statistics(&mut model.graph, &mut facts, Statistics::Own);
    model.graph.set_outputs(observed.iter().map(|statistic| statistic.updated).collect());
    let opset = model.opset("").unwrap_or(0);
    spell_out_batch_normalization(&mut model.graph, &facts, opset, !engine.normalizes_batches());
    drop_unused(&mut model.graph);
    let mut session = load_model(engine, load, &model)?;
    let names = structure.trace.inputs.iter().map(|(name, _)| name.as_str());
    let (mut sums, mut count) = (Vec::new(), 0.0);
    for batch in batches {
        let inputs: Vec<(&str, &Tensor)> = names.clone().zip(&batch.inputs).collect();
        let outputs = session.run(&inputs)?;
        // Statistics are floating-point numbers, so none is lost.
        let values: Vec<Vec<f64>> = outputs.iter().filter_map(|tensor| tensor.to_f64().ok()).collect();
        if sums.is_empty() {
            // Of a layer: sums of the means, of their squares, and of the variances.
            sums = values.chunks(2).map(|pair| vec![[0.0; 3]; pair[0].len()]).collect();
        }
        for (sums, pair) in sums.iter_mut().zip(values.chunks(2)) {
            for (channel, sums) in sums.iter_mut().enumerate() {
                let (mean, variance) = (pair[0][channel], pair[1][channel]);
                *sums = [sums[0] + mean, sums[1] + mean * mean, sums[2] + variance];
            }
        }
        count += 1.0;
    }
    // All batches but the last have one size: the variance over all samples is the mean variance within a batch and
    // the variance of the batches' means.
    let statistics = |sums: &[[f64; 3]]| ChannelStatistics {
        mean: sums.iter().map(|sums| sums[0] / count).collect(),
        variance: sums
            .iter()
            .map(|sums| (sums[2] + sums[1] - sums[0] * sums[0] / count).max(0.0) / count)
            .collect(),
    };
    Ok(sums.iter().map(|sums| statistics(sums)).collect())
}
