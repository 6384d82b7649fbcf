//! How far a run has come: what a checkpoint holds, and what a run goes on from.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::best::Best;
use super::budget::{Budget, Selection};
use super::checkpoint::{Checkpoint, Checkpoints};
use super::feed::Feed;
use super::footprint::Arrangement;
use super::{CompressError, Event, Observer};
use crate::autodiff::TrainingGraph;
use crate::ir::{Graph, Model};
use crate::report::Epoch;
use crate::safe::{GroupProjection, Select, Trainer};
use crate::tensor::Tensor;

/// Chooses the groups that leave by a budget.
pub(super) struct ByBudget<'a> {
    pub(super) budget: &'a Budget<'a>,
    /// Scores of groups without trained members, which stay.
    pub(super) still: Vec<Option<f64>>,
}

impl Select for ByBudget<'_> {
    fn removed(&mut self, scores: &[f64]) -> Vec<bool> {
        let scores = self.still.iter().zip(scores).map(|(still, &score)| still.unwrap_or(score));
        self.budget.select(&scores.collect::<Vec<f64>>()).removed
    }
}

/// The projection of the first phase.
pub(super) type Pruning<'a> = GroupProjection<f32, ByBudget<'a>>;

/// One phase: a model, its trainer.
pub(super) struct Phase {
    pub(super) model: Model,
    pub(super) trainer: Trainer,
    /// The initializers that are trained.
    pub(super) trained: Vec<String>,
    pub(super) feed: Feed,
    pub(super) notes: Vec<String>,
}

impl Phase {
    /// A phase that trains `model` by its training graph.
    pub(super) fn new(model: Model, trainer: Trainer, graph: &TrainingGraph, feed: Feed) -> Self {
        let name = |id| model.graph.value(id).name().to_owned();
        let trained = graph.gradients.iter().map(|&(weight, _)| name(weight)).collect();
        let notes = graph.frozen.iter().map(|(node, reason)| {
            format!("{node} has no gradient, weights before it stay as they are: {reason}")
        });
        let active = match graph.dropped.len() {
            0 => None,
            1 => Some("1 Dropout node is active in training".to_owned()),
            count => Some(format!("{count} Dropout nodes are active in training")),
        };
        let notes = notes.chain(active).collect();
        Self { model, trainer, trained, feed, notes }
    }
}

/// A run between two steps.
pub(super) struct Course<'a> {
    pub(super) phase: Phase,
    /// While the dense model is driven towards the budget.
    pub(super) projection: Option<Pruning<'a>>,
    pub(super) selection: Selection,
    pub(super) best: Best,
    pub(super) record: Record,
}

/// What of a run is written down in text.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// Epochs that are whole, and steps in all.
    pub(super) epoch: usize,
    pub(super) step: usize,
    /// Steps of the epoch that runs, the sum of their losses, and seconds before the run went on.
    pub(super) count: usize,
    pub(super) sum: f64,
    pub(super) seconds: f64,
    /// Milliseconds of steps on the dense model.
    pub(super) times: Vec<f64>,
    pub(super) history: Vec<Epoch>,
    pub(super) notes: Vec<String>,
    /// How the run keeps within the memory; the same for all of it, since it decides rounding.
    pub(super) arrangement: Arrangement,
}

/// What goes into a checkpoint in text.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) record: Record,
    /// Whether the dense model is still driven towards the budget.
    pub(super) sparsifies: bool,
    /// Steps of the phase.
    pub(super) steps: usize,
    /// The groups that leave.
    pub(super) removed: Vec<usize>,
    /// The initializers that are trained.
    pub(super) trained: Vec<String>,
    pub(super) best: SavedBest,
}

/// The best evaluation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedBest {
    pub(super) figure: Option<f64>,
    pub(super) step: usize,
    pub(super) since: usize,
    /// The initializers that are kept of its model.
    pub(super) kept: Vec<String>,
}

/// The kind of the arrays of the best model.
const BEST: &str = "best";

impl Course<'_> {
    /// Writes a checkpoint.
    fn save(&self, start: Instant, checkpoints: &mut Checkpoints<'_>) -> Result<(), CompressError> {
        let saved = self.phase.trainer.saved();
        let kept: Vec<(String, Tensor)> = match self.best.model() {
            None => Vec::new(),
            Some(model) => saved
                .iter()
                .filter(|saved| matches!(saved.kind, "x" | "running"))
                .map(|saved| Ok((saved.parameter.to_owned(), held(&model.graph, saved.parameter)?)))
                .collect::<Result<_, CompressError>>()?,
        };
        let mut record = self.record.clone();
        record.seconds += start.elapsed().as_secs_f64();
        let removed = self.selection.removed.iter().enumerate().filter(|(_, removed)| **removed);
        let written = Written {
            record,
            sparsifies: self.projection.is_some(),
            steps: self.phase.trainer.safe().steps_done(),
            removed: removed.map(|(group, _)| group).collect(),
            trained: self.phase.trained.clone(),
            best: self.best.saved(kept.iter().map(|(name, _)| name.clone()).collect()),
        };
        let state =
            saved.iter().map(|saved| (saved.kind, saved.parameter, saved.dims.to_vec(), saved.values));
        let best = kept.iter().map(|(name, tensor)| {
            (BEST, name.as_str(), tensor.dims().to_vec(), tensor.as_slice::<f32>().unwrap_or_default())
        });
        checkpoints.write(self.record.step, &written, state.chain(best).collect())
    }

    /// Writes a checkpoint where one is due. One that cannot be written is told of: the run goes on.
    pub(super) fn save_when_due(
        &self,
        start: Instant,
        checkpoints: &mut Checkpoints<'_>,
        observer: &mut dyn Observer,
    ) {
        if !checkpoints.due() {
            return;
        }
        if let Err(error) = self.save(start, checkpoints) {
            checkpoints.put_off();
            observer
                .event(Event::Note(format!("the run goes on without a checkpoint: {}", explained(&error))));
        }
    }

    /// The end of a run that the user stops: with a checkpoint, where there are any.
    pub(super) fn stopped(&self, start: Instant, checkpoints: &mut Checkpoints<'_>) -> CompressError {
        match (self.save(start, checkpoints), checkpoints.folder()) {
            (Err(error), _) => error,
            (Ok(()), Some(folder)) => {
                CompressError::Paused { folder: folder.to_owned(), step: self.record.step }
            }
            (Ok(()), None) => CompressError::Stopped,
        }
    }

    /// Takes up what a checkpoint holds; phase and projection are those that it was made in.
    pub(super) fn restore(&mut self, from: &Checkpoint<Written>) -> Result<(), CompressError> {
        let saved = &from.record;
        self.phase.trainer.restore(saved.steps, |kind, name| from.values(kind, name))?;
        let mut model = None;
        if !saved.best.kept.is_empty() {
            let mut graph = self.phase.model.clone();
            for name in &saved.best.kept {
                let found = graph.graph.find(name).zip(from.values(BEST, name));
                let Some((id, values)) = found else { continue };
                let dims = held(&graph.graph, name)?.dims().to_vec();
                let tensor =
                    Tensor::new(dims, values).map_err(|error| CompressError::Loss(error.to_string()))?;
                graph.graph.set_initializer(id, &tensor);
            }
            model = Some(graph);
        }
        self.best.restore(&saved.best, model);
        self.record = saved.record.clone();
        Ok(())
    }
}

/// The values of an initializer.
fn held(graph: &Graph, name: &str) -> Result<Tensor, CompressError> {
    let initializer = graph.find(name).and_then(|id| graph.value(id).initializer());
    let missing =
        || crate::ir::IrError::Tensor { name: name.to_owned(), reason: "it is no initializer".to_owned() };
    Ok(initializer.ok_or_else(missing)?.tensor()?)
}

fn explained(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
