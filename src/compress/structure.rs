//! The model as the run works on it: prepared, traced, its groups found.

use std::collections::BTreeMap;

use super::CompressError;
use crate::autodiff::trainable_initializers;
use crate::deps::{Analysis, Exactness, Groups, analyze};
use crate::engine::{Engine, LoadOptions, Slice};
use crate::ir::{Facts, Graph, Initializer, Model, ValueId};
use crate::ops::{contents, counted_axis, has_control_flow, is_better_folded, unfold};
use crate::safe;
use crate::shrink::{Prepared, prepare};
use crate::tensor::DType;
use crate::trace::{InputShapes, Trace, TraceError, fold_constants, trace};

/// A model and what is known of it.
#[derive(Debug)]
pub(super) struct Structure {
    pub(super) prepared: Prepared,
    pub(super) trace: Trace,
    pub(super) analysis: Analysis,
    pub(super) groups: Groups,
}

/// How often bodies inside of bodies are followed.
const DEPTH: usize = 16;

/// The model with its functions and its constant control flow written out.
pub(super) fn unfolded(
    mut model: Model,
    engine: &dyn Engine,
    load: &LoadOptions,
    shapes: &InputShapes,
) -> Result<Model, TraceError> {
    model.inline_functions();
    let opset = model.opset("").unwrap_or(1);
    for _ in 0..DEPTH {
        if !has_control_flow(&model.graph) {
            break;
        }
        let facts = trace(&model, engine, load, shapes)?.facts;
        if unfold(&mut model.graph, &facts, opset) == 0 {
            break;
        }
    }
    Ok(model)
}

/// What runs of the model tell, without what came out the same on all made-up inputs only.
pub(super) fn traced(
    model: &Model,
    engine: &dyn Engine,
    load: &LoadOptions,
    shapes: &InputShapes,
) -> Result<Trace, TraceError> {
    let mut trace = trace(model, engine, load, shapes)?;
    trace.vary_counts(model, engine, load, counted_axis);
    for id in contents(&model.graph) {
        trace.facts.distrust_integers(id);
    }
    Ok(trace)
}

impl Structure {
    pub(super) fn of(
        model: Model,
        engine: &dyn Engine,
        load: &LoadOptions,
        shapes: &[(String, Vec<usize>)],
    ) -> Result<Self, TraceError> {
        let shapes = InputShapes::new(&model.graph, shapes)?;
        let model = unfolded(model, engine, load, &shapes)?;
        let mut prepared = prepare(model);
        fold_constants(&mut prepared.model, engine, load, is_better_folded);
        Self::analyzed(prepared, engine, load, &shapes)
    }

    fn analyzed(
        prepared: Prepared,
        engine: &dyn Engine,
        load: &LoadOptions,
        shapes: &InputShapes,
    ) -> Result<Self, TraceError> {
        let trace = traced(&prepared.model, engine, load, shapes)?;
        let mut analysis = analyze(&prepared.model, &trace.facts);
        let groups = Groups::collect(&prepared.model.graph, &mut analysis);
        Ok(Self { prepared, trace, analysis, groups })
    }

    /// The structure of `model`, which was made from this one's to be trained in its place: values that both have bear
    /// the same ids. Nothing where groups of the one stand for other indices than those of the other.
    pub(super) fn of_variant(
        &self,
        model: Model,
        engine: &dyn Engine,
        load: &LoadOptions,
        shapes: &[(String, Vec<usize>)],
    ) -> Result<Option<Self>, TraceError> {
        let shapes = InputShapes::new(&model.graph, shapes)?;
        let variant = Self::analyzed(self.prepared.with_model(model), engine, load, &shapes)?;
        Ok(self.has_same_groups(&variant).then_some(variant))
    }

    /// Whether the groups of both stand for the same indices of the axes that both have.
    fn has_same_groups(&self, variant: &Self) -> bool {
        let inherited = |value: ValueId| value.index() < self.model().graph.value_count();
        let axes = |structure: &Self| -> Vec<_> {
            let axes = structure.groups.axes().iter().filter(|axis| inherited(axis.member.value));
            axes.map(|axis| (axis.member, axis.groups.clone())).collect()
        };
        self.groups.len() == variant.groups.len() && axes(self) == axes(variant)
    }

    pub(super) fn model(&self) -> &Model {
        &self.prepared.model
    }

    /// The initializers that can be trained.
    pub(super) fn trainable(&self, graph: &Graph, facts: &Facts) -> Vec<ValueId> {
        trainable_initializers(graph, facts, |id| self.prepared.is_stored(id))
    }

    /// Why a family is left alone by default, for each one that is.
    pub(super) fn approximate_families(&self) -> usize {
        self.groups.families().iter().filter(|family| family.exactness != Exactness::Exact).count()
    }

    /// How many of the groups marked in `removed` are only approximately right.
    pub(super) fn approximate_groups(&self, removed: &[bool]) -> usize {
        let families = self.groups.families();
        let exact = |group: &crate::deps::Group| families[group.family].exactness == Exactness::Exact;
        self.groups.groups().iter().zip(removed).filter(|(group, removed)| **removed && !exact(group)).count()
    }

    /// The groups over the given tensors, numbered by their place in `tensors`.
    pub(super) fn groups_over(&self, tensors: &[ValueId]) -> Result<safe::Groups, safe::SafeError> {
        let places: BTreeMap<ValueId, usize> =
            tensors.iter().enumerate().map(|(place, &id)| (id, place)).collect();
        let axes = self
            .groups
            .axes()
            .iter()
            .filter_map(|axis| {
                let place = *places.get(&axis.member.value)?;
                Some(safe::AxisGroups::new(place, axis.member.axis, &axis.groups))
            })
            .collect();
        safe::Groups::new(self.groups.len(), axes)
    }

    /// The score of each group by the weights as they are: those of real numbers, and integers that stand for some.
    pub(super) fn magnitudes(&self, norm: safe::GroupNorm) -> Result<Vec<f64>, CompressError> {
        let failed = crate::safe::TrainError::Safe;
        let graph = &self.model().graph;
        let statistics = crate::ops::running_statistics(graph);
        let scored = |tensor: &Initializer| !tensor.dims().is_empty();
        let ids: Vec<ValueId> = graph
            .initializers()
            .filter(|(id, tensor)| scored(tensor) && !statistics.contains(id))
            .filter(|(id, tensor)| is_float(tensor) || self.analysis.quantized().contains_key(id))
            .map(|(id, _)| id)
            .collect();
        let groups = self.groups_over(&ids).map_err(failed)?;
        let mut scoring = safe::Scoring::new(&groups, norm);
        for place in scoring.tensors() {
            let Some(tensor) = graph.value(ids[place]).initializer() else { continue };
            if let Some(Slice::F32(values)) = stored_f32(tensor) {
                scoring.add(place, &tensor.dims(), values, None).map_err(failed)?;
                tensor.release();
                continue;
            }
            let stored = tensor.tensor()?;
            let real = match self.analysis.quantized().get(&ids[place]) {
                Some(numbers) if !is_float(tensor) => numbers.real(&stored),
                _ => Some(stored),
            };
            if let Some(real) = real.map(|real| real.cast_float(DType::F32)) {
                let values = real.as_slice::<f32>().unwrap_or_default();
                scoring.add(place, real.dims(), values, None).map_err(failed)?;
            }
            tensor.release();
        }
        Ok(scoring.finish())
    }
}

/// The values where they are stored, if that is in single precision and in order.
fn stored_f32(tensor: &Initializer) -> Option<Slice<'_>> {
    tensor.check().ok()?;
    Slice::from_stored(tensor.dtype()?, tensor.raw()?)
}

fn is_float(tensor: &Initializer) -> bool {
    tensor.dtype().is_some_and(DType::is_float)
}
