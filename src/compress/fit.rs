//! Training: the dense model is driven towards the budget, cut, and what is left is trained on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::best::Best;
use super::budget::{Budget, Selection};
use super::checkpoint::{Checkpoint, Checkpoints};
use super::course::{Course, Phase, Pruning, Record, Written};
use super::feed::{Progress, Teacher};
use super::footprint::{Arrangement, Planned};
use super::objective::Objective;
use super::samples::Samples;
use super::settings::Settings;
use super::structure::Structure;
use super::{CompressError, Event, Observer, Plan};
use crate::engine::{Engine, LoadOptions};
use crate::ir::Model;
use crate::report::{Epoch, TrainFigures};
use crate::safe::{GroupNorm, Keep, Projection, Trainer};
use crate::tensor::Tensor;

/// Batches over which running statistics are estimated anew.
const STATISTICS_BATCHES: usize = 64;
/// How members of a group of different size and scale become one score.
pub(super) const NORM: GroupNorm = GroupNorm::RelativeAxisMean;

/// Loss and accuracy, where there are targets.
pub(super) type Measured = (Option<f64>, Option<f64>);

/// What training needs of the run.
pub(super) struct Fit<'a> {
    pub(super) plan: &'a Plan,
    pub(super) engine: &'a dyn Engine,
    pub(super) load: LoadOptions,
    pub(super) structure: &'a Structure,
    pub(super) budget: &'a Budget<'a>,
    pub(super) objective: &'a Objective,
    pub(super) settings: &'a Settings,
    pub(super) samples: &'a Samples,
    pub(super) stop: &'a AtomicBool,
    /// Whether there are validation data to measure models on.
    pub(super) evaluates: bool,
    /// Measures a model on the validation data, in batches of a size.
    pub(super) measure: &'a dyn Fn(&Model, usize) -> Result<Measured, CompressError>,
}

/// What training ends with.
pub(super) struct Fitted {
    pub(super) small: Model,
    pub(super) selection: Selection,
    pub(super) history: Vec<Epoch>,
    pub(super) figures: TrainFigures,
    pub(super) notes: Vec<String>,
}

impl<'a> Fit<'a> {
    /// Trains by the plan. `first` is the selection by the weights as they are.
    pub(super) fn run(
        &self,
        first: Selection,
        checkpoints: &mut Checkpoints<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Fitted, CompressError> {
        let settings = self.settings;
        let mut teacher = self.teacher()?;
        let mut course = match checkpoints.read(observer)? {
            Some(checkpoint) => self.resume(&checkpoint, teacher.as_mut())?,
            None => self.begin(first, teacher.as_mut(), observer)?,
        };
        while course.record.epoch < settings.epochs {
            if !self.epoch(&mut course, teacher.as_mut(), checkpoints, observer)? {
                let note = course.best.note(course.record.step);
                course.record.notes.push(note);
                break;
            }
        }
        if let Some(mut made) = course.projection.take() {
            // Too few steps for a second phase.
            self.cut(&mut course, &mut made, teacher.as_mut())?;
        }
        let Course { phase, selection, best, mut record, .. } = course;
        let small = self.result(phase, best, &mut record)?;
        let memory = record.arrangement.figures(self.plan.training.memory_limit);
        Ok(Fitted {
            small,
            selection,
            history: record.history,
            figures: TrainFigures {
                ms_per_step: crate::bench::median(record.times),
                steps: record.step,
                batch: settings.batch * settings.accumulate,
                loss: self.objective.text.clone(),
                optimizer: settings.text.clone(),
                memory,
            },
            notes: record.notes,
        })
    }

    /// One epoch, or what is left of it. Gives whether training is to go on.
    fn epoch(
        &self,
        course: &mut Course<'a>,
        mut teacher: Option<&mut Teacher>,
        checkpoints: &mut Checkpoints<'_>,
        observer: &mut dyn Observer,
    ) -> Result<bool, CompressError> {
        let settings = self.settings;
        let epoch = course.record.epoch;
        let steps_per_epoch = settings.total_steps / settings.epochs.max(1);
        observer.event(Event::Begin(format!("epoch {} of {}", epoch + 1, settings.epochs), steps_per_epoch));
        let start = Instant::now();
        let done = course.record.count;
        if done > 0 {
            observer.event(Event::Step(done, String::new()));
        }
        let from = done * settings.accumulate;
        let mut batches = self.samples.epoch(settings.batch, epoch, from, self.plan.seed, true);
        let mut goes_on = true;
        while course.record.count < steps_per_epoch && goes_on {
            if self.stop.load(Ordering::Relaxed) {
                return Err(course.stopped(start, checkpoints));
            }
            course.save_when_due(start, checkpoints, observer);
            if course.record.step == settings.sparsify_steps
                && let Some(mut made) = course.projection.take()
            {
                self.cut(course, &mut made, teacher.as_deref_mut())?;
            }
            let done = course.record.step as f64 / settings.total_steps.max(1) as f64;
            let (mut given, mut taken) = (Vec::new(), 0);
            for batch in batches.by_ref().take(settings.accumulate) {
                let (feed, size) = (&course.phase.feed, course.record.arrangement.micro_batch);
                let number = course.record.step * settings.accumulate + taken;
                let progress = Progress { done, batch: Some(number) };
                given.extend(self.given_in_parts(feed, &batch?, size, teacher.as_deref_mut(), progress)?);
                taken += 1;
            }
            if taken < settings.accumulate {
                break;
            }
            self.step(course, &given)?;
            let record = &course.record;
            observer.event(Event::Step(1, format!("loss {:.4}", record.sum / record.count as f64)));
            let due =
                self.plan.training.evaluate_every.is_some_and(|steps| record.step.is_multiple_of(steps));
            if due && course.projection.is_none() && record.count < steps_per_epoch {
                let measured = self.evaluated(course)?;
                goes_on = course.best.see(course.record.step, measured, &course.phase.model)?;
            }
        }
        observer.event(Event::End);
        let trainer = &course.phase.trainer;
        let residual = course.projection.as_mut().map_or(Ok(0.0), |made| residual(trainer, made))?;
        let measured = self.evaluated(course)?;
        if course.projection.is_none() && goes_on {
            goes_on = course.best.see(course.record.step, measured, &course.phase.model)?;
        }
        let record = &mut course.record;
        let ended = Epoch {
            epoch: epoch + 1,
            phase: if course.projection.is_some() { "sparsify" } else { "recover" }.to_owned(),
            loss: record.sum / record.count.max(1) as f64,
            accuracy: measured.1,
            learning_rate: course.phase.trainer.safe().learning_rate(),
            penalty: course.phase.trainer.safe().penalty(),
            residual,
            seconds: record.seconds + start.elapsed().as_secs_f64(),
        };
        observer.event(Event::Epoch(ended.clone()));
        record.history.push(ended);
        (record.epoch, record.count, record.sum, record.seconds) = (epoch + 1, 0, 0.0, 0.0);
        Ok(goes_on)
    }

    /// One step of the optimiser.
    fn step(&self, course: &mut Course<'a>, given: &[Vec<Tensor>]) -> Result<(), CompressError> {
        let refs: Vec<Vec<&Tensor>> = given.iter().map(|batch| batch.iter().collect()).collect();
        let begin = Instant::now();
        let loss = match &mut course.projection {
            Some(made) => course.phase.trainer.step(&refs, made)?,
            None => course.phase.trainer.step(&refs, &mut Keep)?,
        };
        let (record, sparsify) = (&mut course.record, self.settings.sparsify_steps);
        if record.step < sparsify || sparsify == 0 {
            record.times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        record.sum += loss;
        record.count += 1;
        record.step += 1;
        Ok(())
    }

    /// A run before its first step.
    fn begin(
        &self,
        first: Selection,
        mut teacher: Option<&mut Teacher>,
        observer: &mut dyn Observer,
    ) -> Result<Course<'a>, CompressError> {
        let mut arrangement = Arrangement::default();
        let mut arrange = |mut planned: Planned<'_>| {
            arrangement = self.arrange(&mut planned, teacher.as_deref_mut(), observer)?;
            Ok(arrangement.recomputed > 0)
        };
        let (mut phase, projection) = if self.settings.sparsify_steps == 0 {
            (self.recover(&first, None, None, &mut arrange)?, None)
        } else {
            let (phase, made) = self.sparsify(None, &mut arrange)?;
            (phase, Some(made))
        };
        let mut notes = std::mem::take(&mut phase.notes);
        notes.extend(self.note_of(&arrangement));
        let record = Record { notes, arrangement, ..Record::default() };
        let best = Best::new(&self.plan.training);
        Ok(Course { phase, projection, selection: first, best, record })
    }

    /// The run that a checkpoint was made of.
    fn resume(
        &self,
        checkpoint: &Checkpoint<Written>,
        mut teacher: Option<&mut Teacher>,
    ) -> Result<Course<'a>, CompressError> {
        let written = &checkpoint.record;
        let chosen = &written.record.arrangement;
        let mut alike =
            |mut planned: Planned<'_>| self.arrange_alike(&mut planned, chosen, teacher.as_deref_mut());
        let mut removed = vec![false; self.structure.groups.len()];
        for &group in &written.removed {
            if let Some(removed) = removed.get_mut(group) {
                *removed = true;
            }
        }
        let selection = Selection { share: self.budget.share(&removed), removed };
        let (phase, projection) = if written.sparsifies {
            let (phase, made) = self.sparsify(Some(&written.trained), &mut alike)?;
            (phase, Some(made))
        } else {
            (self.recover(&selection, None, Some(&written.trained), &mut alike)?, None)
        };
        let best = Best::new(&self.plan.training);
        let mut course = Course { phase, projection, selection, best, record: Record::default() };
        course.restore(checkpoint)?;
        Ok(course)
    }

    /// The end of the first phase: the model is cut to what the projection leaves.
    fn cut(
        &self,
        course: &mut Course<'a>,
        projection: &mut Pruning<'a>,
        mut teacher: Option<&mut Teacher>,
    ) -> Result<(), CompressError> {
        let chosen = course.record.arrangement.clone();
        let mut alike =
            |mut planned: Planned<'_>| self.arrange_alike(&mut planned, &chosen, teacher.as_deref_mut());
        let phase = &mut course.phase;
        phase.trainer.project(projection)?;
        let removed = projection.removed().map_err(crate::safe::TrainError::Safe)?.to_vec();
        course.selection = Selection { share: self.budget.share(&removed), removed };
        phase.trainer.store(&mut phase.model.graph);
        // Its memory is for the next one.
        phase.trainer.discard();
        *phase = self.recover(&course.selection, Some(&phase.model), None, &mut alike)?;
        self.reestimate(phase, course.record.arrangement.micro_batch)
    }

    /// The model that training ends with: the best one where that is wanted, else the last one.
    fn result(&self, mut phase: Phase, best: Best, record: &mut Record) -> Result<Model, CompressError> {
        if let Some((model, step)) = best.into_model() {
            record.notes.push(format!("the weights are those of step {step}, the best evaluation"));
            return Ok(model);
        }
        phase.trainer.adopt_average();
        self.reestimate(&mut phase, record.arrangement.micro_batch)?;
        Ok(phase.model)
    }

    /// Puts the weights into the model, or their average where one is kept, and measures it.
    fn evaluated(&self, course: &mut Course<'a>) -> Result<Measured, CompressError> {
        let phase = &mut course.phase;
        phase.trainer.store_average(&mut phase.model.graph);
        (self.measure)(&phase.model, course.record.arrangement.micro_batch)
    }

    /// Estimates running statistics anew on data as it is, and puts everything into the model.
    fn reestimate(&self, phase: &mut Phase, size: usize) -> Result<(), CompressError> {
        if self.trains_statistics() {
            let mut teacher = self.teacher()?;
            let batches = self.samples.epoch(self.settings.batch, 0, 0, self.plan.seed, false);
            let given = batches.take(STATISTICS_BATCHES).flat_map(|batch| {
                let progress = Progress { done: 1.0, batch: None };
                let feed = &phase.feed;
                let given = batch
                    .map_err(CompressError::from)
                    .and_then(|batch| self.given_in_parts(feed, &batch, size, teacher.as_mut(), progress));
                match given {
                    Ok(parts) => parts.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                }
            });
            phase.trainer.reestimate_statistics(given)?;
        }
        phase.trainer.store(&mut phase.model.graph);
        Ok(())
    }
}

/// The share of the sum of squares of the split tensors that the projection would take away.
fn residual(trainer: &Trainer, projection: &mut dyn Projection<f32>) -> Result<f64, CompressError> {
    let safe = trainer.safe();
    let projected = safe.projected(projection).map_err(crate::safe::TrainError::Safe)?;
    let (mut gone, mut all) = (0.0, 0.0);
    for (index, tensor) in projected.iter().enumerate() {
        if safe.split(index).is_none() {
            continue;
        }
        for (x, z) in safe.x(index).iter().zip(tensor.as_slice::<f32>().unwrap_or_default()) {
            all += f64::from(x * x);
            gone += f64::from((x - z) * (x - z));
        }
    }
    Ok(if all > 0.0 { gone / all } else { 0.0 })
}
