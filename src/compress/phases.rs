//! The two phases of training: a training graph, its trainer, and what it is fed with.

use super::budget::Selection;
use super::course::{ByBudget, Phase, Pruning};
use super::fit::{Fit, NORM};
use super::footprint::{Planned, Prepare};
use super::samples::Samples;
use super::{BatchNorm, CompressError, Dropout};
use crate::autodiff::{Request, TrainingGraph, differentiate};
use crate::engine::LoadOptions;
use crate::ir::{Facts, Model, ValueId};
use crate::safe::{
    GroupProjection, Keep, LambdaSchedule, LearningRate, Options, Penalty, ProximalPoint, Trainer,
};
use crate::shrink::shrink;

/// Whether batch normalisation uses the statistics of the batch: not of made-up samples, and those of a single sample
/// only if that is asked for.
pub(super) fn learns_statistics(wanted: BatchNorm, samples: &Samples) -> bool {
    match wanted {
        BatchNorm::Auto => samples.is_real() && samples.is_batched(),
        BatchNorm::Train => samples.is_real(),
        BatchNorm::Frozen => false,
    }
}

impl<'a> Fit<'a> {
    /// Whether batch normalisation uses the statistics of the batch.
    pub(super) fn trains_statistics(&self) -> bool {
        learns_statistics(self.plan.training.batch_norm, self.samples)
    }

    /// Whether Dropout is active.
    fn drops(&self) -> bool {
        match self.plan.training.dropout {
            Dropout::Auto => self.samples.is_real(),
            Dropout::On => true,
            Dropout::Off => false,
        }
    }

    /// The training graph of the initializers `trained`, or of those that the plan lets be trained.
    fn training_graph(
        &self,
        model: &Model,
        facts: &Facts,
        trained: Option<&[String]>,
    ) -> Result<TrainingGraph, CompressError> {
        let trainable: Vec<ValueId> = match trained {
            Some(names) => names.iter().filter_map(|name| model.graph.find(name)).collect(),
            None => self
                .structure
                .trainable(&model.graph, facts)
                .into_iter()
                .filter(|&id| self.plan.training.trains(model.graph.value(id).name()))
                .collect(),
        };
        let request = Request {
            loss: self.objective.loss.clone(),
            trainable,
            batch_statistics: self.trains_statistics().then_some(crate::ops::Statistics::Own),
            dropout: self.drops(),
            elementary: !self.engine.normalizes_batches(),
            kernels: self.engine.has_kernels(),
            freeze_unsupported: true,
        };
        Ok(differentiate(model, facts, &request)?)
    }

    pub(super) fn options(&self, first_step: usize, sparsifies: bool) -> Options {
        let settings = self.settings;
        let rates = first_step..settings.total_steps.max(first_step + 1);
        let table = rates.map(|step| settings.learning_rate_at(step)).collect();
        Options {
            radius: settings.radius,
            penalty: Penalty {
                lambda: if sparsifies { settings.penalty } else { 0.0 },
                schedule: LambdaSchedule::Cosine { total: settings.sparsify_steps.max(1) },
            },
            proximal_point: ProximalPoint::Iterate,
            dual_interval: sparsifies.then_some(settings.dual_interval),
            base: settings.base,
            learning_rate: LearningRate::Table(table),
            clip_norm: self.plan.training.clip_norm,
            average_decay: self.plan.training.average_decay.filter(|_| !sparsifies),
        }
    }

    /// The dense model under the penalty.
    pub(super) fn sparsify(
        &self,
        trained: Option<&[String]>,
        prepare: Prepare<'_>,
    ) -> Result<(Phase, Pruning<'a>), CompressError> {
        let model = self.structure.model().clone();
        let mut graph = self.training_graph(&model, &self.structure.trace.facts, trained)?;
        let tensors: Vec<ValueId> = graph.gradients.iter().map(|&(weight, _)| weight).collect();
        let groups = self.structure.groups_over(&tensors).map_err(crate::safe::TrainError::Safe)?;
        let split: Vec<bool> = (0..tensors.len())
            .map(|tensor| groups.axes().iter().any(|axis| axis.tensor() == tensor))
            .collect();
        let still = self.scores_of_still_groups(&groups)?;
        let mut projection = GroupProjection::new(groups, NORM, ByBudget { budget: self.budget, still });
        let options = self.options(0, true);
        let feed = self.feed(&graph, &model, None)?;
        let keep_repeated = prepare(Planned {
            model: &model,
            graph: &mut graph,
            options: &options,
            split: &split,
            feed: &feed,
        })?;
        let load = LoadOptions { keep_repeated, ..self.load };
        let trainer =
            Trainer::new(&graph, &model.graph, self.engine, &load, options, &split, &mut projection)?;
        Ok((Phase::new(model, trainer, &graph, feed), projection))
    }

    /// The scores of groups that have no member among the trained weights: those that they have all along.
    fn scores_of_still_groups(
        &self,
        groups: &crate::safe::Groups,
    ) -> Result<Vec<Option<f64>>, CompressError> {
        let mut moved = vec![false; groups.count()];
        for axis in groups.axes() {
            for &group in (0..axis.len()).flat_map(|index| axis.groups_of(index)) {
                moved[group as usize] = true;
            }
        }
        if moved.iter().all(|&moved| moved) {
            return Ok(vec![None; moved.len()]);
        }
        let scores = self.structure.magnitudes(NORM)?;
        Ok(moved.into_iter().zip(scores).map(|(moved, score)| (!moved).then_some(score)).collect())
    }

    /// The small model, cut out of `from` or of the dense model, to be trained on.
    pub(super) fn recover(
        &self,
        selection: &Selection,
        from: Option<&Model>,
        trained: Option<&[String]>,
        prepare: Prepare<'_>,
    ) -> Result<Phase, CompressError> {
        let survivors = self.structure.groups.survivors(&self.structure.analysis, &selection.removed);
        let mut prepared = self.structure.prepared.clone();
        if let Some(from) = from {
            prepared.model = from.clone();
        }
        let model = shrink(&prepared, &self.structure.trace.facts, &survivors)?;
        let shapes = crate::trace::InputShapes::new(&model.graph, &self.plan.shapes)
            .map_err(crate::trace::TraceError::Shape)?;
        let trace = super::structure::traced(&model, self.engine, &self.load, &shapes)?;
        let mut graph = self.training_graph(&model, &trace.facts, trained)?;
        let options = self.options(self.settings.sparsify_steps, false);
        let feed = self.feed(&graph, &model, Some(survivors))?;
        let keep_repeated = prepare(Planned {
            model: &model,
            graph: &mut graph,
            options: &options,
            split: &[],
            feed: &feed,
        })?;
        let load = LoadOptions { keep_repeated, ..self.load };
        let trainer = Trainer::new(&graph, &model.graph, self.engine, &load, options, &[], &mut Keep)?;
        Ok(Phase::new(model, trainer, &graph, feed))
    }
}
