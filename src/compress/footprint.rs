//! The memory of training: predicted before the first step, and kept below a limit where one is given.

use serde::{Deserialize, Serialize};

use super::feed::{Feed, Progress, Teacher};
use super::fit::Fit;
use super::{CompressError, Event, Observer};
use crate::autodiff::TrainingGraph;
use crate::data::Batch;
use crate::ir::{Graph, Initializer, Model};
use crate::memory::{self, Need, Shapes};
use crate::report::MemoryFigures;
use crate::safe::{Options, Safe};
use crate::tensor::Tensor;

/// The share of the limit that a prediction may take: predictions are not exact.
const ROOM: f64 = 0.9;
/// Batches that are ready or in the making while one is in use.
const BATCHES: u64 = 4;

/// How training keeps within the memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Arrangement {
    /// Samples that go through the training graph together.
    pub(super) micro_batch: usize,
    /// Values of the first phase's training graph that are computed again.
    pub(super) recomputed: usize,
    /// The prediction in bytes, where there is one.
    pub(super) predicted: Option<u64>,
}

impl Arrangement {
    /// What the report says of it after training.
    pub(super) fn figures(&self, limit: Option<u64>) -> MemoryFigures {
        MemoryFigures {
            predicted: self.predicted,
            measured: memory::peak(),
            limit,
            micro_batch: self.micro_batch,
            recomputed: self.recomputed,
        }
    }
}

/// Something that is done with a training graph before it is loaded.
/// Gives whether values are computed again in it.
pub(super) type Prepare<'p> = &'p mut dyn FnMut(Planned<'_>) -> Result<bool, CompressError>;

/// What a prediction is made of.
pub(super) struct Planned<'a> {
    pub(super) model: &'a Model,
    pub(super) graph: &'a mut TrainingGraph,
    pub(super) options: &'a Options,
    /// Which of the trained tensors are split.
    pub(super) split: &'a [bool],
    pub(super) feed: &'a Feed,
}

impl Fit<'_> {
    /// Chooses how the run keeps within the memory, and tells what it will need.
    pub(super) fn arrange(
        &self,
        planned: &mut Planned<'_>,
        teacher: Option<&mut Teacher>,
        observer: &mut dyn Observer,
    ) -> Result<Arrangement, CompressError> {
        let (batch, limit) = (self.settings.batch, self.plan.training.memory_limit);
        let together = self.together();
        let unknown = Arrangement { micro_batch: together, ..Arrangement::default() };
        let mut shapes = match self.shapes(planned, teacher) {
            Ok(shapes) => shapes,
            Err(error) if limit.is_some() => return Err(error),
            Err(_) => return Ok(unknown),
        };
        let Some(base) = memory::base(&planned.model.graph) else {
            return if limit.is_some() { Err(CompressError::NoMemoryFigures) } else { Ok(unknown) };
        };
        let need = |planned: &Planned<'_>, shapes: &Shapes, micro_batch: usize| {
            let predicted = self.need(planned, shapes, micro_batch, base).total();
            predicted.max(memory::peak().unwrap_or(0))
        };
        let (mut micro_batch, mut recomputed) = (together, 0);
        let mut predicted = need(planned, &shapes, together);
        if let Some(limit) = limit {
            let allowed = (limit as f64 * ROOM) as u64;
            if predicted > allowed {
                let (graph, loss) = (&mut planned.graph.model.graph, planned.graph.loss);
                recomputed = memory::recompute(graph, &mut shapes, loss, together);
            }
            let free = self.structure.trace.free_batch;
            let sizes = (1..=together)
                .rev()
                .filter(|size| batch.is_multiple_of(*size) && (free || *size == together));
            for size in sizes {
                if predicted <= allowed {
                    break;
                }
                (micro_batch, predicted) = (size, need(planned, &shapes, size));
            }
            if predicted > allowed {
                return Err(CompressError::Memory { limit, smallest: predicted, micro_batch });
            }
        }
        let text = [
            Some(format!("training will need about {} of memory", crate::report::size(predicted))),
            (recomputed > 0).then(|| format!("with {recomputed} values computed again")),
            (micro_batch < together).then(|| format!("in micro-batches of {micro_batch}")),
        ];
        observer.event(Event::Note(text.into_iter().flatten().collect::<Vec<_>>().join(", ")));
        Ok(Arrangement { micro_batch, recomputed, predicted: Some(predicted) })
    }

    /// Does with a later training graph of the run what was chosen for the first.
    pub(super) fn arrange_alike(
        &self,
        planned: &mut Planned<'_>,
        chosen: &Arrangement,
        teacher: Option<&mut Teacher>,
    ) -> Result<bool, CompressError> {
        if chosen.recomputed > 0 {
            let mut shapes = self.shapes(planned, teacher)?;
            let (graph, loss) = (&mut planned.graph.model.graph, planned.graph.loss);
            memory::recompute(graph, &mut shapes, loss, self.together());
        }
        Ok(chosen.recomputed > 0)
    }

    /// What the user should know of micro-batches.
    pub(super) fn note_of(&self, arrangement: &Arrangement) -> Option<String> {
        let batch = self.settings.batch;
        if arrangement.micro_batch >= batch {
            return None;
        }
        let mut text = if self.samples.is_batched() {
            format!(
                "batches of {batch} went through the model in micro-batches of {}, whose gradients were averaged",
                arrangement.micro_batch
            )
        } else {
            format!("samples went through the model one by one; the gradients of {batch} were averaged")
        };
        if self.trains_statistics()
            && !crate::ops::running_statistics(&self.structure.model().graph).is_empty()
        {
            text.push_str(
                "; batch normalisation saw each micro-batch alone, which is not the same as the whole batch",
            );
        }
        if !self.plan.loss.class_weights.is_empty() || self.plan.loss.ignore_index.is_some() {
            text.push_str("; labels were averaged by their weights within each");
        }
        Some(text)
    }

    /// Samples that go through the training graph together, unless memory is short.
    fn together(&self) -> usize {
        if self.samples.is_batched() { self.settings.batch } else { 1 }
    }

    /// Numbers of samples from whose runs shapes for other numbers follow.
    pub(super) fn probe_sizes(&self) -> &[usize] {
        match self.settings.batch {
            _ if !self.samples.is_batched() => &[1],
            _ if !self.structure.trace.free_batch => std::slice::from_ref(&self.settings.batch),
            4.. => &[2, 3],
            2 | 3 => &[1, 2],
            _ => &[1],
        }
    }

    /// The shapes of all values of the training graph.
    fn shapes(
        &self,
        planned: &Planned<'_>,
        mut teacher: Option<&mut Teacher>,
    ) -> Result<Shapes, CompressError> {
        let mut runs = Vec::new();
        for &size in self.probe_sizes() {
            let samples = self.samples.plain(size, 1, self.plan.seed)?;
            let Some(batch) = samples.first() else { continue };
            let progress = Progress { done: 0.0, batch: None };
            let given = self.given(planned.feed, batch, teacher.as_deref_mut(), progress)?;
            runs.push((size, planned.feed.inputs().iter().cloned().zip(given).collect()));
        }
        Ok(Shapes::of(&planned.graph.model, self.engine, &self.load, runs)?)
    }

    /// What training in micro-batches of `micro_batch` samples needs, on top of the `base` that the process holds.
    fn need(&self, planned: &Planned<'_>, shapes: &Shapes, micro_batch: usize, base: u64) -> Need {
        let Planned { model, graph, options, split, .. } = planned;
        let (forward, backward) = (&model.graph, &graph.model.graph);
        let held = |graph: &Graph, id| graph.value(id).initializer().map_or(0, Initializer::count);
        let counts: Vec<usize> = graph.gradients.iter().map(|&(weight, _)| held(forward, weight)).collect();
        let trained = counts.iter().sum::<usize>() as u64 * 4;
        // The shapes of inputs are those of so many samples.
        let (batch, seen) = (self.settings.batch, self.together());
        let parts = batch / micro_batch * self.settings.accumulate;
        // Gradients, their sum over the parts, the weights in the model, and those of the best one.
        let copies = 2 + u64::from(parts > 1) + u64::from(self.plan.training.keep_best);
        let state = Safe::<f32>::state_bytes(options, counts.into_iter().zip(split.iter().copied()));
        let weights = forward.initializers().map(|(_, tensor)| tensor.count() as u64 * 4).sum();
        let inputs = backward.required_inputs().map(|id| shapes.bytes(id, seen)).sum::<u64>();
        let inputs = inputs * (batch / seen) as u64;
        let taught = !self.objective.loss.taught(forward).is_empty();
        let teacher = if taught { memory::values_peak(forward, shapes, micro_batch) } else { 0 };
        let evaluated =
            if self.evaluates { memory::model_bytes(forward, shapes, micro_batch, weights) } else { 0 };
        Need {
            base,
            state: state + copies * trained,
            graphs: memory::graph_bytes(backward),
            values: memory::values_peak(backward, shapes, micro_batch),
            samples: inputs * self.settings.accumulate as u64 * BATCHES,
            others: teacher + evaluated,
        }
    }

    /// What a trainer takes for a batch, in micro-batches, at this point of the run.
    pub(super) fn given_in_parts(
        &self,
        feed: &Feed,
        batch: &Batch,
        micro_batch: usize,
        mut teacher: Option<&mut Teacher>,
        progress: Progress,
    ) -> Result<Vec<Vec<Tensor>>, CompressError> {
        if batch.len() <= micro_batch {
            return Ok(vec![self.given(feed, batch, teacher, progress)?]);
        }
        (0..batch.len())
            .step_by(micro_batch.max(1))
            .map(|start| {
                let part = batch.part(start..(start + micro_batch).min(batch.len()));
                // Each part has a number of its own.
                let number = progress.batch.map(|number| number * batch.len() + start);
                let progress = Progress { batch: number, ..progress };
                self.given(feed, &part, teacher.as_deref_mut(), progress)
            })
            .collect()
    }
}
