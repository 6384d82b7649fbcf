//! What a trainer takes for a batch: the batch, what the dense model makes of it, and the weights of the terms.

use super::CompressError;
use super::dropout::Masks;
use super::fit::Fit;
use crate::autodiff::{TrainingGraph, taught_input};
use crate::data::Batch;
use crate::deps::Survivors;
use crate::engine::{LoadOptions, Session, load_model};
use crate::ir::{Model, ValueId, drop_unused};
use crate::tensor::Tensor;

/// The dense model, as far as the loss looks at it.
pub(super) struct Teacher {
    session: Box<dyn Session>,
    /// What it gives, and the inputs of training graphs that take it.
    answers: Vec<(ValueId, String)>,
}

/// What a training graph is fed with.
pub(super) struct Feed {
    /// Its inputs but for weights and statistics, in order.
    inputs: Vec<String>,
    /// What the model has left of the dense one; nothing for the dense one itself.
    survivors: Option<Survivors>,
    masks: Masks,
}

impl Feed {
    /// The inputs of the training graph but for weights and statistics, in order.
    pub(super) fn inputs(&self) -> &[String] {
        &self.inputs
    }
}

/// How far the run is when a batch is used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// The share of all steps that is done.
    pub(super) done: f64,
    /// The number of the batch in the run; nothing for one that is not learned.
    pub(super) batch: Option<usize>,
}

impl Fit<'_> {
    /// The teacher, if the loss needs one.
    pub(super) fn teacher(&self) -> Result<Option<Teacher>, CompressError> {
        let mut model = self.structure.model().clone();
        let taught = self.objective.loss.taught(&model.graph);
        if taught.is_empty() {
            return Ok(None);
        }
        let answers = taught.iter().map(|&id| (id, taught_input(&model.graph, id))).collect();
        model.graph.set_outputs(taught);
        drop_unused(&mut model.graph);
        let load = LoadOptions { optimize: true, ..self.load };
        Ok(Some(Teacher { session: load_model(self.engine, &load, &model)?, answers }))
    }

    /// What `graph`, the training graph of `model`, is fed with.
    pub(super) fn feed(
        &self,
        graph: &TrainingGraph,
        model: &Model,
        survivors: Option<Survivors>,
    ) -> Result<Feed, CompressError> {
        let training = &graph.model.graph;
        let inputs = training.required_inputs().map(|id| training.value(id).name().to_owned()).collect();
        let mut masks = Masks::default();
        if !graph.dropped.is_empty() {
            let mut runs = Vec::new();
            for &size in self.probe_sizes() {
                for batch in self.samples.plain(size, 1, self.plan.seed)? {
                    let names = self.structure.trace.inputs.iter().map(|(name, _)| name.clone());
                    runs.push((size, names.zip(batch.given().into_owned()).collect()));
                }
            }
            masks = Masks::of(graph, model, self.engine, &self.load, runs, self.plan.seed)?;
        }
        Ok(Feed { inputs, survivors, masks })
    }

    /// The tensors that a trainer takes, in its order, at this point of the run.
    pub(super) fn given(
        &self,
        feed: &Feed,
        batch: &Batch,
        teacher: Option<&mut Teacher>,
        progress: Progress,
    ) -> Result<Vec<Tensor>, CompressError> {
        let names: Vec<&str> = self.structure.trace.inputs.iter().map(|(name, _)| name.as_str()).collect();
        let samples = batch.given();
        let mut taught = match teacher {
            Some(teacher) => {
                let inputs: Vec<(&str, &Tensor)> = names.iter().copied().zip(&*samples).collect();
                let answers = teacher.session.run(&inputs)?;
                teacher
                    .answers
                    .iter()
                    .zip(answers)
                    .map(|((id, name), answer)| (name, kept(feed, *id, answer)))
                    .collect()
            }
            None => Vec::new(),
        };
        feed.inputs
            .iter()
            .map(|wanted| {
                let input = names.iter().position(|name| name == wanted).map(|place| samples[place].clone());
                let target =
                    || (wanted == "target").then(|| self.objective.given_target(&names, batch)).flatten();
                let mut answer = || {
                    let place = taught.iter().position(|(name, _): &(&String, Tensor)| *name == wanted)?;
                    Some(taught.swap_remove(place).1)
                };
                input
                    .or_else(target)
                    .or_else(&mut answer)
                    .or_else(|| self.objective.term_weight(wanted, progress.done))
                    .or_else(|| feed.masks.draw(wanted, batch.len(), progress.batch))
                    .ok_or_else(|| CompressError::Loss(format!("nothing is given for its input `{wanted}`")))
            })
            .collect()
    }
}

/// What the dense model says of a value, without the indices that the model has no more.
fn kept(feed: &Feed, id: ValueId, answer: Tensor) -> Tensor {
    let Some(survivors) = &feed.survivors else { return answer };
    let axes = 0..answer.dims().len();
    axes.fold(answer, |answer, axis| {
        survivors.axis(id, axis).map(|kept| answer.take(axis, kept)).unwrap_or(answer)
    })
}
