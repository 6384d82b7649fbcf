//! What a trainer takes for a batch: the batch, what the dense model makes of it, and the weights of the terms.

use super::CompressError;
use super::course::Phase;
use super::fit::Fit;
use crate::autodiff::taught_input;
use crate::data::Batch;
use crate::engine::{LoadOptions, Session, load_model};
use crate::ir::{ValueId, drop_unused};
use crate::tensor::Tensor;

/// The dense model, as far as the loss looks at it.
pub(super) struct Teacher {
    session: Box<dyn Session>,
    /// What it gives, and the inputs of training graphs that take it.
    answers: Vec<(ValueId, String)>,
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

    /// The tensors that the trainer of `phase` takes, in its order, at this point of the run.
    pub(super) fn given(
        &self,
        phase: &Phase,
        batch: &Batch,
        teacher: Option<&mut Teacher>,
        progress: Progress,
    ) -> Result<Vec<Tensor>, CompressError> {
        let names: Vec<&str> = self.structure.trace.inputs.iter().map(|(name, _)| name.as_str()).collect();
        let mut taught = match teacher {
            Some(teacher) => {
                let inputs: Vec<(&str, &Tensor)> = names.iter().copied().zip(&batch.inputs).collect();
                let answers = teacher.session.run(&inputs)?;
                teacher
                    .answers
                    .iter()
                    .zip(answers)
                    .map(|((id, name), answer)| (name, kept(phase, *id, answer)))
                    .collect()
            }
            None => Vec::new(),
        };
        let wanted = phase.trainer.inputs().iter();
        wanted
            .map(|wanted| {
                let input =
                    names.iter().position(|name| name == wanted).map(|place| batch.inputs[place].clone());
                let target = || (wanted == "target").then(|| self.objective.target(&names, batch)).flatten();
                let mut answer = || {
                    let place = taught.iter().position(|(name, _): &(&String, Tensor)| *name == wanted)?;
                    Some(taught.swap_remove(place).1)
                };
                input
                    .or_else(target)
                    .or_else(&mut answer)
                    .or_else(|| self.objective.term_weight(wanted, progress.done))
                    .or_else(|| phase.masks.draw(wanted, progress.batch))
                    .ok_or_else(|| CompressError::Loss(format!("nothing is given for its input `{wanted}`")))
            })
            .collect()
    }
}

/// What the dense model says of a value, without the indices that the model of `phase` has no more.
fn kept(phase: &Phase, id: ValueId, answer: Tensor) -> Tensor {
    let Some(survivors) = &phase.survivors else { return answer };
    let axes = 0..answer.dims().len();
    axes.fold(answer, |answer, axis| {
        survivors.axis(id, axis).map(|kept| answer.take(axis, kept)).unwrap_or(answer)
    })
}
