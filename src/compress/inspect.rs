//! What could be cut from a model, and what could not.

use std::collections::BTreeSet;

use super::picture;
use super::structure::Structure;
use super::tool::{ModelPlan, ToolError};
use crate::cost::CostModel;
use crate::deps::{Analysis, Exactness, Groups, Role};
use crate::engine::discover;
use crate::ir::{Model, ValueId};
use crate::report::{FamilyFigures, InspectReport, Layer, MemberFigures, Picture, PinnedAxis};
use crate::trace::Trace;

/// Runs `inspect`.
///
/// # Errors
/// When the model cannot be read or does not run.
pub fn inspect(plan: &ModelPlan) -> Result<InspectReport, ToolError> {
    Ok(inspected(plan, false)?.0)
}

/// Runs `inspect`, and draws the graph.
///
/// # Errors
/// When the model cannot be read or does not run.
pub fn draw(plan: &ModelPlan) -> Result<(InspectReport, Picture), ToolError> {
    inspected(plan, true)
}

/// The report and, when it is wanted, the picture, which is empty otherwise.
fn inspected(plan: &ModelPlan, drawn: bool) -> Result<(InspectReport, Picture), ToolError> {
    let model = Model::read(&plan.model)?;
    let bytes = model.file_bytes();
    let nodes = model.graph.nodes().len();
    let engine = discover(&plan.runtime.discovery)?;
    let Structure { prepared, trace: traced, mut analysis, groups } =
        Structure::of(model, &*engine.engine, &plan.runtime.load, &plan.shapes)?;
    let model = prepared.model;
    let cost = CostModel::new(&model, &traced.facts, traced.samples);
    let dense = cost.dense();
    let smallest = smallest_macs(&analysis, &groups, &cost);
    let families = families(&model, &analysis, &groups, &cost);
    let mut picture = Picture::default();
    if drawn {
        picture = picture::picture(&model, &traced, &analysis, &groups, &cost);
        let name = plan.model.file_name().unwrap_or(plan.model.as_os_str());
        picture.title = name.to_string_lossy().into_owned();
        picture.families.clone_from(&families);
    }
    let report = InspectReport {
        model: plan.model.display().to_string(),
        opset: model.opset("").unwrap_or(0),
        inputs: traced
            .inputs
            .iter()
            .map(|(name, tensor)| format!("{name} {} {:?}", tensor.dtype(), tensor.dims()))
            .collect(),
        nodes,
        macs: dense.macs,
        params: dense.params,
        bytes,
        layers: layers(&model, &traced, &cost),
        families,
        groups: groups.groups().len(),
        smallest_macs_share: if dense.macs == 0 { 1.0 } else { smallest as f64 / dense.macs as f64 },
        unknown: analysis
            .unknown()
            .iter()
            .map(|(id, reason)| (model.graph.describe(*id), reason.clone()))
            .collect(),
        pinned: pinned(&model, &mut analysis, &groups, &cost),
    };
    picture.facts = if drawn { report.summary() } else { Vec::new() };
    Ok((report, picture))
}

fn is_float(model: &Model, id: ValueId) -> bool {
    let tensor = model.graph.value(id).initializer();
    tensor.and_then(crate::ir::Initializer::dtype).is_some_and(crate::tensor::DType::is_float)
}

fn layers(model: &Model, traced: &Trace, cost: &CostModel<'_>) -> Vec<Layer> {
    cost.nodes()
        .map(|(id, macs)| {
            let node = model.graph.node(id);
            let weights = node.inputs.iter().flatten().filter(|&&input| is_float(model, input));
            let output = node.outputs.first().copied().flatten();
            Layer {
                name: if node.name.is_empty() { model.graph.describe(id) } else { node.name.clone() },
                operator: node.op_type.clone(),
                output: output
                    .and_then(|output| traced.facts.get(output))
                    .map(|seen| seen.dims.clone())
                    .unwrap_or_default(),
                macs,
                params: weights
                    .filter_map(|&input| model.graph.value(input).initializer())
                    .map(|tensor| tensor.count() as u64)
                    .sum(),
            }
        })
        .collect()
}

fn families(model: &Model, analysis: &Analysis, groups: &Groups, cost: &CostModel<'_>) -> Vec<FamilyFigures> {
    let dense = cost.dense();
    groups
        .families()
        .iter()
        .map(|family| {
            let mut removed = vec![false; groups.groups().len()];
            if let Some(&first) = family.groups.first() {
                removed[first] = true;
            }
            let after = cost.after(&groups.survivors(analysis, &removed));
            let reason = match &family.exactness {
                Exactness::Exact => None,
                Exactness::Approximate(pin) => Some(format!("{}: {}", pin.place, pin.reason)),
            };
            FamilyFigures {
                groups: family.groups.len(),
                exact: reason.is_none(),
                reason,
                macs_per_group: dense.macs.saturating_sub(after.macs),
                params_per_group: dense.params.saturating_sub(after.params),
                members: family
                    .members
                    .iter()
                    .map(|member| MemberFigures {
                        tensor: model.graph.value(member.value).name().to_owned(),
                        axis: member.axis,
                        role: match member.role {
                            Role::Producer => "producer",
                            Role::Consumer => "consumer",
                        }
                        .to_owned(),
                    })
                    .collect(),
            }
        })
        .collect()
}

/// The multiply-accumulates that are left when every exact family keeps one group.
fn smallest_macs(analysis: &Analysis, groups: &Groups, cost: &CostModel<'_>) -> u64 {
    let mut removed = vec![false; groups.groups().len()];
    for family in groups.families().iter().filter(|family| family.exactness == Exactness::Exact) {
        for &group in family.groups.iter().skip(1) {
            removed[group] = true;
        }
    }
    cost.after(&groups.survivors(analysis, &removed)).macs
}

/// The axes of matrices that may not shrink, and why.
fn pinned(model: &Model, analysis: &mut Analysis, groups: &Groups, cost: &CostModel<'_>) -> Vec<PinnedAxis> {
    let free: BTreeSet<(ValueId, usize)> =
        groups.axes().iter().map(|axis| (axis.member.value, axis.member.axis)).collect();
    let matrices =
        model.graph.initializers().filter(|(id, tensor)| tensor.dims().len() > 1 && is_float(model, *id));
    let axes: Vec<(ValueId, usize, usize)> = matrices
        .flat_map(|(id, tensor)| {
            tensor.dims().into_iter().enumerate().map(move |(axis, size)| (id, axis, size))
        })
        .filter(|&(id, axis, size)| size > 1 && !free.contains(&(id, axis)))
        .collect();
    let places: Vec<(ValueId, usize)> = axes.iter().map(|&(id, axis, _)| (id, axis)).collect();
    let worth = cost.worth(analysis, &places);
    let told = axes.into_iter().zip(worth).filter_map(|((id, axis, size), macs)| {
        let pin = analysis.pin(id, axis)?;
        Some(PinnedAxis {
            tensor: model.graph.value(id).name().to_owned(),
            axis,
            size,
            macs,
            place: pin.place.clone(),
            reason: pin.reason.clone(),
        })
    });
    told.collect()
}
