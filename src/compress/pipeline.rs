//! One run of `compress`, stage by stage.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::budget::{self, Budget, Selection};
use super::checkpoint::{self, Checkpoints};
use super::features::Features;
use super::fit::{Fit, NORM};
use super::objective::{self, About, Objective};
use super::phases::learns_statistics;
use super::precision::{SinglePrecision, round_into};
use super::renormalize::Renormalized;
use super::samples::{Samples, open_data};
use super::settings::{Circumstances, SampleAxis, Settings};
use super::structure::Structure;
use super::verify::prove;
use super::{BatchNorm, Compared, CompressError, CutPlan, Event, Method, Observer, Plan, evaluate};

use crate::cost::CostModel;
use crate::data::{self, Dataset};
use crate::engine::{Engine, LoadOptions, load_model};
use crate::ir::{Model, Storage};
use crate::report::{CompressReport, ModelFigures, TargetFigures, Verified};
use crate::shrink::{expand, shrink};
use crate::tensor::{DType, Tensor};

/// Runs `plan`. `stop` may be set from another thread.
///
/// # Errors
/// See [`CompressError`]; no file is left behind then.
pub fn compress(
    plan: &Plan,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<CompressReport, CompressError> {
    let start = Instant::now();
    let mut notes: Vec<String> = Vec::new();
    for path in [Some(&plan.output), plan.emit_masked.as_ref(), plan.plan_out.as_ref()].into_iter().flatten()
    {
        crate::ir::check_writable(path, plan.force)?;
    }
    if let Some(checkpoint) = &plan.checkpoint {
        checkpoint::check(checkpoint, plan.force)?;
    }
    observer.event(Event::Stage("reading the model"));
    let model = Model::read(&plan.model)?;
    let found = crate::engine::discover(&plan.discovery)?;
    let engine = &*found.engine;
    if let Some(note) = found.note {
        observer.event(Event::Note(note));
    }
    observer.event(Event::Stage("tracing shapes and finding groups"));
    let structure = Structure::of(model, engine, &plan.load, &plan.shapes)?;
    let cost = CostModel::new(structure.model(), &structure.trace.facts, structure.trace.samples);
    let floors = plan.limits.floors(&structure);
    let budget =
        Budget::new(&cost, &structure.analysis, &structure.groups, plan.target, floors, &plan.limits);
    let trains = plan.training.epochs != Some(0);
    let single = trains
        .then(|| SinglePrecision::of(&structure, engine, &plan.load, &plan.shapes))
        .transpose()?
        .flatten();
    let worked = single.as_ref().map_or(&structure, |made| &made.structure);
    let (train, val, targets) = open_data(plan, worked)?;
    let run = Run {
        plan,
        engine,
        structure: &structure,
        single: single.as_ref(),
        budget: &budget,
        val: val.as_ref().or(train.as_ref()),
        targets,
        stop,
    };
    let first = run.magnitude_selection()?;
    run.check_reachable(&first)?;
    let outcome = run.train(train.as_ref(), first, observer, &mut notes)?;
    run.finish(outcome, &cost, notes, start, observer)
}

/// What training, or the choice by magnitude alone, ends with.
struct Outcome {
    small: Model,
    selection: Selection,
    objective: Option<Objective>,
    fitted: Option<(crate::report::TrainFigures, Vec<crate::report::Epoch>)>,
    batch: usize,
    samples: Samples,
}

struct Run<'a> {
    plan: &'a Plan,
    engine: &'a dyn Engine,
    structure: &'a Structure,
    /// What is trained, where the model computes with 16-bit floats.
    single: Option<&'a SinglePrecision>,
    budget: &'a Budget<'a>,
    val: Option<&'a Dataset>,
    /// Whether the data have targets that fit.
    targets: bool,
    stop: &'a AtomicBool,
}

impl Run<'_> {
    /// The selection by the size of the weights as they are.
    fn magnitude_selection(&self) -> Result<Selection, CompressError> {
        let scores = self.structure.magnitudes(NORM)?;
        Ok(self.budget.select(&scores))
    }

    fn check_reachable(&self, selection: &Selection) -> Result<(), CompressError> {
        let target = self.plan.target;
        if selection.share <= target.share {
            return Ok(());
        }
        let target_allows = self.plan.limits.allow_approximate;
        Err(CompressError::Unreachable {
            quantity: target.quantity.name(),
            target: target.share,
            smallest: self.budget.smallest_share(),
            groups: self.budget.free().iter().filter(|free| **free).count(),
            approximate: if target_allows { 0 } else { self.structure.approximate_families() },
            unknown: self
                .structure
                .analysis
                .unknown()
                .iter()
                .map(|(node, reason)| format!("{}: {reason}", self.structure.model().graph.describe(*node)))
                .collect(),
        })
    }

    fn train(
        &self,
        train: Option<&Dataset>,
        first: Selection,
        observer: &mut dyn Observer,
        notes: &mut Vec<String>,
    ) -> Result<Outcome, CompressError> {
        let plan = self.plan;
        let structure = self.single.map_or(self.structure, |made| &made.structure);
        let graph = &structure.model().graph;
        let samples = match train {
            Some(data) => {
                observer.event(Event::Note(data.describe()));
                Samples::Data(data.clone())
            }
            None => {
                let untrained = plan.training.epochs == Some(0);
                let trained = if untrained { "" } else { ", and weights are trained on made-up inputs" };
                notes.push(format!("no data were given: accuracy is not measured{trained}"));
                if untrained {
                    Samples::normal(structure, plan.seed)
                } else {
                    Samples::synthetic(self.engine, &plan.load, structure, plan.seed)?
                }
            }
        };
        let target = train.filter(|_| self.targets).and_then(Dataset::target_dtype);
        let renormalized = self.renormalized(structure, &samples, target)?;
        let worked = renormalized.as_ref().map_or(structure, |made| &made.structure);
        let (settings, per_epoch) = self.settings(&samples, worked, notes)?;
        if let Some(data) = train {
            data::check(data, settings.batch)?;
        }
        if let Some(val) = self.val {
            data::check(val, 1)?;
        }
        let objective = || {
            let outputs = self.outputs_of(structure)?;
            let features = Features::named(&worked.model().graph, &worked.trace, &plan.loss.distill_on)?;
            let about = About { target, samples: per_epoch, batched: samples.is_batched() };
            objective::choose(graph, &structure.trace, &plan.loss, about, &outputs, &features)
        };
        if settings.epochs == 0 {
            let objective = target.map(|_| objective()).transpose()?;
            return Ok(Outcome {
                small: self.cut(&first)?,
                selection: first,
                objective,
                fitted: None,
                batch: settings.batch,
                samples,
            });
        }
        let objective = objective()?;
        observer.event(Event::Note(format!("loss: {}", objective.text)));
        observer.event(Event::Note(format!(
            "{} epochs of {} samples in batches of {}; {}",
            settings.epochs, per_epoch, settings.batch, settings.text
        )));
        if let Some(made) = &renormalized {
            notes.push(format!(
                "{} convolutions without batch normalisation had it while the model was trained; it is folded into them",
                made.layers()
            ));
        }
        let measure = |model: &Model, batch: usize| self.measure(model, Some(&objective), batch);
        let fit = Fit {
            plan,
            engine: self.engine,
            load: plan.load,
            structure: worked,
            budget: self.budget,
            objective: &objective,
            settings: &settings,
            samples: &samples,
            stop: self.stop,
            evaluates: self.val.is_some_and(|data| data.has_target() || objective.next_token.is_some()),
            measure: &measure,
        };
        let model = self.structure.model();
        let mut checkpoints = Checkpoints::new(plan, model, self.engine, &samples, self.val);
        let fitted = fit.run(first, &mut checkpoints, observer)?;
        notes.extend(fitted.notes);
        let (mut small, selection, batch) = (fitted.small, fitted.selection, settings.batch);
        if let Some(made) = &renormalized {
            made.fold(&mut small)?;
        }
        if self.single.is_some() {
            let trained = std::mem::replace(&mut small, self.cut(&selection)?);
            notes.push(round_into(&trained, &mut small)?);
        }
        let fitted = Some((fitted.figures, fitted.history));
        Ok(Outcome { small, selection, objective: Some(objective), fitted, batch, samples })
    }

    /// The settings of training the model of `worked`, and the samples of an epoch.
    fn settings(
        &self,
        samples: &Samples,
        worked: &Structure,
        notes: &mut Vec<String>,
    ) -> Result<(Settings, usize), CompressError> {
        let plan = self.plan;
        let (graph, trace) = (&worked.model().graph, &worked.trace);
        let statistics = crate::ops::running_statistics(graph);
        // On made-up samples the statistics stay, and steps of plain gradients have no scale.
        let trained = learns_statistics(plan.training.batch_norm, samples);
        let batch_normalised = !statistics.is_empty() && trained;
        // Telling weights from other constants takes a look at every number.
        let untrained = plan.training.epochs == Some(0);
        let trainable = if untrained { Vec::new() } else { worked.trainable(graph, &trace.facts) };
        let trainable: Vec<_> =
            trainable.into_iter().filter(|&id| plan.training.trains(graph.value(id).name())).collect();
        let mut about = Circumstances {
            samples: samples.per_epoch(32),
            real_data: samples.is_real(),
            params: trainable
                .iter()
                .filter_map(|&id| graph.value(id).initializer())
                .map(crate::ir::Initializer::count)
                .sum(),
            batch_normalised,
            axis: match trace.free_batch {
                _ if !samples.is_batched() => SampleAxis::Missing,
                true => SampleAxis::Free,
                false => SampleAxis::Fixed(trace.samples),
            },
            sparsifies: plan.method == Method::Safe,
        };
        let mut settings = Settings::choose(plan, trace, about);
        if !samples.is_real() {
            about.samples = samples.per_epoch(settings.batch);
            settings = Settings::choose(plan, trace, about);
        }
        if trainable.is_empty() && settings.epochs > 0 {
            if plan.training.epochs.is_some() {
                return Err(CompressError::Loss(
                    "the model has no float weights that can be trained, or --train-only and --freeze leave none".to_owned(),
                ));
            }
            notes.push(
                "the model has no weights that can be trained: it was pruned by magnitude only".to_owned(),
            );
            settings.epochs = 0;
        }
        Ok((settings, about.samples))
    }

    /// The network with normalisations for the time of training, if that is wanted and fits.
    fn renormalized(
        &self,
        structure: &Structure,
        samples: &Samples,
        target: Option<DType>,
    ) -> Result<Option<Renormalized>, CompressError> {
        let plan = self.plan;
        let classifies = target.is_some_and(|dtype| !dtype.is_float());
        if plan.training.batch_norm != BatchNorm::Auto || plan.training.epochs == Some(0) || !classifies {
            return Ok(None);
        }
        Renormalized::of(structure, self.engine, &plan.load, &plan.shapes, samples, plan.seed)
    }

    /// The model without the groups of `selection`, its weights as they are.
    fn cut(&self, selection: &Selection) -> Result<Model, CompressError> {
        let structure = self.structure;
        let survivors = structure.groups.survivors(&structure.analysis, &selection.removed);
        Ok(shrink(&structure.prepared, &structure.trace.facts, &survivors)?)
    }

    fn outputs_of(&self, structure: &Structure) -> Result<Vec<Tensor>, CompressError> {
        let mut session = load_model(self.engine, &self.plan.load, structure.model())?;
        let inputs: Vec<(&str, &Tensor)> =
            structure.trace.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        Ok(session.run(&inputs)?)
    }

    /// Loss and accuracy on the validation data, where there are labels.
    fn measure(
        &self,
        model: &Model,
        objective: Option<&Objective>,
        batch: usize,
    ) -> Result<(Option<f64>, Option<f64>), CompressError> {
        let (Some(data), Some(objective)) = (self.val, objective) else { return Ok((None, None)) };
        if objective.next_token.is_none() && !(self.targets && data.has_target()) {
            return Ok((None, None));
        }
        let load = LoadOptions { optimize: true, ..self.plan.load };
        let mut session = load_model(self.engine, &load, model)?;
        let compared = Compared {
            output: objective.output,
            class_axis: objective.class_axis.unwrap_or(0),
            alone: objective.alone,
        };
        let result =
            evaluate(&mut *session, data, compared, batch, &|names, batch| objective.target(names, batch))?;
        Ok((result.loss, result.accuracy))
    }

    fn finish(
        &self,
        outcome: Outcome,
        cost: &CostModel<'_>,
        mut notes: Vec<String>,
        start: Instant,
        observer: &mut dyn Observer,
    ) -> Result<CompressReport, CompressError> {
        let (plan, structure) = (self.plan, self.structure);
        let survivors = structure.groups.survivors(&structure.analysis, &outcome.selection.removed);
        let masked = (plan.verify || plan.emit_masked.is_some())
            .then(|| expand(&structure.prepared, &survivors, &outcome.small))
            .transpose()?;
        let mut small = outcome.small;
        structure.prepared.finish(&mut small.graph)?;
        let verified = if let Some(masked) = masked.as_ref().filter(|_| plan.verify) {
            observer.event(Event::Stage("verifying: masked dense model against small model"));
            let approximate = structure.approximate_groups(&outcome.selection.removed);
            if approximate > 0 {
                notes.push(format!(
                    "{approximate} of the groups that left are only approximately right, so masked and small model differ"
                ));
            }
            Some(self.verify(masked, &small, &outcome.samples, approximate)?)
        } else {
            notes.push("the result was not verified".to_owned());
            None
        };
        observer.event(Event::Stage("measuring dense and small model"));
        let batch = outcome.batch;
        let (dense_loss, dense_accuracy) =
            self.measure(structure.model(), outcome.objective.as_ref(), batch)?;
        let (small_loss, small_accuracy) = self.measure(&small, outcome.objective.as_ref(), batch)?;
        // A result that is not verified is not run at all.
        let latency = if plan.verify { self.latency(&small) } else { None };
        let (dense_cost, small_cost) = (cost.dense(), cost.after(&survivors));
        let small_bytes = self.write(&small, masked.as_ref(), &outcome.selection.removed)?;
        let reached = outcome.selection.share;
        if !self.budget.met(reached) {
            notes.push(format!(
                "{} of {} are left, more than {} % below the target: the groups are too coarse to come closer",
                reached,
                plan.target.quantity.name(),
                budget::SLACK * 100.0
            ));
        }
        let (train, history) =
            outcome.fitted.map_or((None, Vec::new()), |(train, history)| (Some(train), history));
        Ok(CompressReport {
            model: plan.model.display().to_string(),
            output: plan.output.display().to_string(),
            dense: ModelFigures {
                macs: dense_cost.macs,
                params: dense_cost.params,
                bytes: structure.model().file_bytes(),
                accuracy: dense_accuracy,
                loss: dense_loss,
                latency_ms: latency.map(|latency| latency.first_ms),
            },
            small: ModelFigures {
                macs: small_cost.macs,
                params: small_cost.params,
                bytes: small_bytes,
                accuracy: small_accuracy,
                loss: small_loss,
                latency_ms: latency.map(|latency| latency.second_ms),
            },
            target: TargetFigures {
                quantity: plan.target.quantity.name().to_owned(),
                share: plan.target.share,
            },
            reached,
            target_met: self.budget.met(reached),
            verified,
            groups: structure.groups.len(),
            groups_removed: outcome.selection.removed.iter().filter(|removed| **removed).count(),
            method: match plan.method {
                Method::Safe => "safe",
                Method::Magnitude => "magnitude",
            }
            .to_owned(),
            engine: format!("{} {}", self.engine.name(), self.engine.version()),
            seed: plan.seed,
            seconds: start.elapsed().as_secs_f64(),
            train,
            history,
            notes,
        })
    }

    /// Writes the small model and what belongs to it: all of it or nothing. Returns the small model's bytes.
    fn write(&self, small: &Model, masked: Option<&Model>, removed: &[bool]) -> Result<u64, CompressError> {
        let plan = self.plan;
        let mut written: Vec<&Path> = Vec::new();
        let mut write_all = || -> Result<u64, CompressError> {
            if let (Some(path), Some(masked)) = (&plan.emit_masked, masked) {
                masked.write(path, Storage::Auto, plan.force)?;
                written.push(path);
            }
            if let Some(path) = &plan.plan_out {
                let cut = CutPlan::of(self.structure, removed, &plan.model);
                crate::ir::write_atomically(path, cut.to_json().as_bytes(), plan.force)?;
                written.push(path);
            }
            Ok(small.write(&plan.output, Storage::Auto, plan.force)?)
        };
        let result = write_all();
        if result.is_err() {
            for path in written {
                let _ = std::fs::remove_file(path);
            }
        }
        result
    }

    fn verify(
        &self,
        masked: &Model,
        small: &Model,
        samples: &Samples,
        approximate: usize,
    ) -> Result<Verified, CompressError> {
        let real = samples.is_real();
        let mut inputs = vec![self.structure.trace.inputs.clone()];
        if let Some(data) = self.val.filter(|_| real) {
            inputs
                .extend(Samples::Data(data.clone()).for_verification(&self.structure.trace, self.plan.seed)?);
        }
        let runs = (!samples.is_batched()).then_some(inputs.len());
        let mut verified = prove(self.engine, &self.plan.load, masked, small, &inputs, real, approximate)?;
        // Without an axis of samples, each run is one.
        verified.samples = runs.unwrap_or(verified.samples);
        Ok(verified)
    }

    /// Latency of one sample; nothing where a model does not run alone.
    fn latency(&self, small: &Model) -> Option<crate::bench::Latency> {
        let graph = &self.structure.model().graph;
        let shapes = crate::trace::InputShapes::new(graph, &self.plan.shapes).ok()?;
        let one = crate::trace::Probe::new(graph, &shapes.with_batch(1), 0).ok()?;
        let dense = self.structure.model();
        crate::bench::paired_latency(self.engine, &self.plan.load, dense, small, &one.tensors).ok()
    }
}
