//! Training: the dense model is driven towards the budget, cut, and what is left is trained on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::best::Best;
use super::budget::{Budget, Selection};
use super::checkpoint::{Checkpoint, Checkpoints};
use super::course::{ByBudget, Course, Phase, Pruning, Record, Written};
use super::dropout::Masks;
use super::feed::{Progress, Teacher};
use super::objective::Objective;
use super::samples::Samples;
use super::settings::Settings;
use super::structure::Structure;
use super::{BatchNorm, CompressError, Dropout, Event, Observer, Plan};
use crate::autodiff::{Request, TrainingGraph, differentiate};
use crate::engine::{Engine, LoadOptions};
use crate::ir::{Facts, Model, ValueId};
use crate::report::{Epoch, TrainFigures};
use crate::safe::{
    GroupNorm, GroupProjection, Keep, LambdaSchedule, LearningRate, Options, Penalty, Projection,
    ProximalPoint, Trainer,
};
use crate::shrink::shrink;
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
    /// Measures a model on the validation data.
    pub(super) measure: &'a dyn Fn(&Model) -> Result<Measured, CompressError>,
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
            Some(checkpoint) => self.resume(&checkpoint)?,
            None => self.begin(first)?,
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
            self.cut(&mut course, &mut made)?;
        }
        let Course { phase, selection, best, mut record, .. } = course;
        let small = self.result(phase, best, &mut record.notes)?;
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
                self.cut(course, &mut made)?;
            }
            let done = course.record.step as f64 / settings.total_steps.max(1) as f64;
            let first = course.record.step * settings.accumulate;
            let given = batches
                .by_ref()
                .take(settings.accumulate)
                .enumerate()
                .map(|(place, batch)| {
                    let progress = Progress { done, batch: Some(first + place) };
                    self.given(&course.phase, &batch?, teacher.as_deref_mut(), progress)
                })
                .collect::<Result<Vec<_>, _>>()?;
            if given.len() < settings.accumulate {
                break;
            }
            self.step(course, &given)?;
            let record = &course.record;
            observer.event(Event::Step(1, format!("loss {:.4}", record.sum / record.count as f64)));
            let due =
                self.plan.training.evaluate_every.is_some_and(|steps| record.step.is_multiple_of(steps));
            if due && course.projection.is_none() && record.count < steps_per_epoch {
                let measured = self.evaluated(&mut course.phase)?;
                goes_on = course.best.see(course.record.step, measured, &course.phase.model)?;
            }
        }
        observer.event(Event::End);
        let trainer = &course.phase.trainer;
        let residual = course.projection.as_mut().map_or(Ok(0.0), |made| residual(trainer, made))?;
        let measured = self.evaluated(&mut course.phase)?;
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
    fn begin(&self, first: Selection) -> Result<Course<'a>, CompressError> {
        let (mut phase, projection) = if self.settings.sparsify_steps == 0 {
            (self.recover(&first, None, None)?, None)
        } else {
            let (phase, made) = self.sparsify(None)?;
            (phase, Some(made))
        };
        let record = Record { notes: std::mem::take(&mut phase.notes), ..Record::default() };
        let best = Best::new(&self.plan.training);
        Ok(Course { phase, projection, selection: first, best, record })
    }

    /// The run that a checkpoint was made of.
    fn resume(&self, checkpoint: &Checkpoint<Written>) -> Result<Course<'a>, CompressError> {
        let written = &checkpoint.record;
        let mut removed = vec![false; self.structure.groups.len()];
        for &group in &written.removed {
            if let Some(removed) = removed.get_mut(group) {
                *removed = true;
            }
        }
        let selection = Selection { share: self.budget.share(&removed), removed };
        let (phase, projection) = if written.sparsifies {
            let (phase, made) = self.sparsify(Some(&written.trained))?;
            (phase, Some(made))
        } else {
            (self.recover(&selection, None, Some(&written.trained))?, None)
        };
        let best = Best::new(&self.plan.training);
        let mut course = Course { phase, projection, selection, best, record: Record::default() };
        course.restore(checkpoint)?;
        Ok(course)
    }

    /// The end of the first phase: the model is cut to what the projection leaves.
    fn cut(&self, course: &mut Course<'a>, projection: &mut Pruning<'a>) -> Result<(), CompressError> {
        let phase = &mut course.phase;
        phase.trainer.project(projection)?;
        let removed = projection.removed().map_err(crate::safe::TrainError::Safe)?.to_vec();
        course.selection = Selection { share: self.budget.share(&removed), removed };
        phase.trainer.store(&mut phase.model.graph);
        *phase = self.recover(&course.selection, Some(&phase.model), None)?;
        self.reestimate(phase)
    }

    /// The model that training ends with: the best one where that is wanted, else the last one.
    fn result(&self, mut phase: Phase, best: Best, notes: &mut Vec<String>) -> Result<Model, CompressError> {
        if let Some((model, step)) = best.into_model() {
            notes.push(format!("the weights are those of step {step}, the best evaluation"));
            return Ok(model);
        }
        phase.trainer.adopt_average();
        self.reestimate(&mut phase)?;
        Ok(phase.model)
    }

    /// Puts the weights into the model, or their average where one is kept, and measures it.
    fn evaluated(&self, phase: &mut Phase) -> Result<Measured, CompressError> {
        phase.trainer.store_average(&mut phase.model.graph);
        (self.measure)(&phase.model)
    }

    /// Whether batch normalisation uses the statistics of the batch.
    fn trains_statistics(&self) -> bool {
        self.samples.is_real() && self.plan.training.batch_norm != BatchNorm::Frozen
    }

    /// Whether Dropout is active.
    fn drops(&self) -> bool {
        match self.plan.training.dropout {
            Dropout::Auto => self.samples.is_real(),
            Dropout::On => true,
            Dropout::Off => false,
        }
    }

    /// The masks of Dropout for batches of the run.
    fn masks(&self, graph: &TrainingGraph, model: &Model) -> Result<Masks, CompressError> {
        if graph.dropped.is_empty() {
            return Ok(Masks::default());
        }
        let seed = self.plan.seed;
        let batches = self.samples.plain(self.settings.batch, 1, seed)?;
        let Some(batch) = batches.first() else { return Ok(Masks::default()) };
        let names = self.structure.trace.inputs.iter().map(|(name, _)| name.as_str());
        let inputs: Vec<(&str, &Tensor)> = names.zip(&batch.inputs).collect();
        Masks::of(graph, model, self.engine, &self.load, &inputs, seed)
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

    fn options(&self, first_step: usize, sparsifies: bool) -> Options {
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
    fn sparsify(&self, trained: Option<&[String]>) -> Result<(Phase, Pruning<'a>), CompressError> {
        let model = self.structure.model().clone();
        let graph = self.training_graph(&model, &self.structure.trace.facts, trained)?;
        let tensors: Vec<ValueId> = graph.gradients.iter().map(|&(weight, _)| weight).collect();
        let groups = self.structure.groups_over(&tensors).map_err(crate::safe::TrainError::Safe)?;
        let split: Vec<bool> = (0..tensors.len())
            .map(|tensor| groups.axes().iter().any(|axis| axis.tensor() == tensor))
            .collect();
        let still = self.scores_of_still_groups(&groups)?;
        let mut projection = GroupProjection::new(groups, NORM, ByBudget { budget: self.budget, still });
        let trainer = Trainer::new(
            &graph,
            &model.graph,
            self.engine,
            &self.load,
            self.options(0, true),
            &split,
            &mut projection,
        )?;
        let masks = self.masks(&graph, &model)?;
        Ok((Phase::new(model, trainer, &graph, None, masks), projection))
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
    fn recover(
        &self,
        selection: &Selection,
        from: Option<&Model>,
        trained: Option<&[String]>,
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
        let graph = self.training_graph(&model, &trace.facts, trained)?;
        let options = self.options(self.settings.sparsify_steps, false);
        let trainer = Trainer::new(&graph, &model.graph, self.engine, &self.load, options, &[], &mut Keep)?;
        let masks = self.masks(&graph, &model)?;
        Ok(Phase::new(model, trainer, &graph, Some(survivors), masks))
    }

    /// Estimates running statistics anew on data as it is, and puts everything into the model.
    fn reestimate(&self, phase: &mut Phase) -> Result<(), CompressError> {
        if self.trains_statistics() {
            let mut teacher = self.teacher()?;
            let batches = self.samples.plain(self.settings.batch, STATISTICS_BATCHES, self.plan.seed)?;
            let given: Vec<Vec<Tensor>> = batches
                .iter()
                .map(|batch| self.given(phase, batch, teacher.as_mut(), Progress { done: 1.0, batch: None }))
                .collect::<Result<_, _>>()?;
            let refs: Vec<Vec<&Tensor>> = given.iter().map(|batch| batch.iter().collect()).collect();
            phase.trainer.reestimate_statistics(&refs)?;
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
