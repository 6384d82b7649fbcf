//! The model as the run works on it: prepared, traced, its groups found.

use super::CompressError;
use crate::deps::{Analysis, Exactness, Groups, analyze};
use crate::engine::{Engine, LoadOptions};
use crate::ir::{Model, ValueId};
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
fn unfolded(
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
        let mut trace = trace(&prepared.model, engine, load, &shapes)?;
        trace.vary_counts(&prepared.model, engine, load, counted_axis);
        for id in contents(&prepared.model.graph) {
            // They may have come out the same on all made-up inputs.
            trace.facts.distrust_integers(id);
        }
        let mut analysis = analyze(&prepared.model, &trace.facts);
        let groups = Groups::collect(&prepared.model.graph, &mut analysis);
        Ok(Self { prepared, trace, analysis, groups })
    }

    pub(super) fn model(&self) -> &Model {
        &self.prepared.model
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
        let axes = self
            .groups
            .axes()
            .iter()
            .filter_map(|axis| {
                let tensor = tensors.iter().position(|&id| id == axis.member.value)?;
                Some(safe::AxisGroups::new(tensor, axis.member.axis, &axis.groups))
            })
            .collect();
        safe::Groups::new(self.groups.len(), axes)
    }

    /// The float tensors that groups are scored by, with their values in single precision.
    pub(super) fn weights(&self) -> Result<(Vec<ValueId>, Vec<crate::tensor::Tensor>), CompressError> {
        let graph = &self.model().graph;
        let statistics = crate::ops::running_statistics(graph);
        let mut ids = Vec::new();
        let mut tensors = Vec::new();
        for (id, tensor) in graph.initializers() {
            if tensor.dims().is_empty() || statistics.contains(&id) {
                continue;
            }
            let real = if tensor.dtype().is_some_and(DType::is_float) {
                Some(tensor.tensor()?.cast_float(DType::F32))
            } else {
                let quantization = self.analysis.quantized().get(&id);
                quantization
                    .map(|numbers| tensor.tensor().map(|stored| numbers.real(&stored)))
                    .transpose()?
                    .flatten()
            };
            if let Some(real) = real {
                ids.push(id);
                tensors.push(real);
            }
        }
        Ok((ids, tensors))
    }
}
