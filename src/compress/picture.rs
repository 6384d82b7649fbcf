//! The drawing of a graph and its families.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fuse::{Fused, fuse};
use crate::cost::CostModel;
use crate::deps::{Analysis, Groups, Role};
use crate::ir::{Initializer, Model, NodeId, ValueId};
use crate::ops::Axis;
use crate::report::{BoxKind, Picture, PictureBox, PictureLine, Side};
use crate::tensor::DType;
use crate::trace::Trace;

struct Painter<'a> {
    model: &'a Model,
    traced: &'a Trace,
    analysis: &'a Analysis,
    groups: &'a Groups,
    /// By initializer: axis, role and family of each way in which it loses slices.
    members: BTreeMap<ValueId, Vec<(usize, Role, usize)>>,
    macs: BTreeMap<NodeId, u64>,
    fused: Fused,
}

/// The boxes and lines of the graph. Title and families are left to the caller.
pub(super) fn picture(
    model: &Model,
    traced: &Trace,
    analysis: &Analysis,
    groups: &Groups,
    cost: &CostModel<'_>,
) -> Picture {
    let mut members: BTreeMap<ValueId, Vec<(usize, Role, usize)>> = BTreeMap::new();
    for (number, family) in groups.families().iter().enumerate() {
        for member in &family.members {
            members.entry(member.value).or_default().push((member.axis, member.role, number));
        }
    }
    let is_weight = |id: ValueId| {
        let tensor = model.graph.value(id).initializer();
        let float = tensor.and_then(Initializer::dtype).is_some_and(DType::is_float);
        (float && tensor.is_some_and(|tensor| !tensor.dims().is_empty())) || members.contains_key(&id)
    };
    let fused = fuse(model, traced, cost, &is_weight);
    let macs = cost.nodes().collect();
    Painter { model, traced, analysis, groups, members, macs, fused }.paint()
}

impl Painter<'_> {
    fn paint(&self) -> Picture {
        let graph = &self.model.graph;
        let drawn = |value: &ValueId| self.fused.drawn[value.index()];
        let mut boxes = Vec::new();
        let mut maker: BTreeMap<ValueId, usize> = BTreeMap::new();
        for input in graph.required_inputs().filter(drawn) {
            maker.insert(input, boxes.len());
            boxes.push(self.end(input));
        }
        let mut lines: BTreeSet<PictureLine> = BTreeSet::new();
        let mut families: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
        let mut connect = |value: ValueId, from: Option<&usize>, to: usize| {
            if let Some(&from) = from.filter(|&&from| from != to) {
                let families = families.entry(value).or_insert_with(|| self.families_of(value)).clone();
                lines.insert(PictureLine { from, families, to });
            }
        };
        for nodes in &self.fused.boxes {
            let index = boxes.len();
            boxes.push(self.item(nodes));
            for node in nodes.iter().map(|&id| graph.node(id)) {
                for value in node.outputs.iter().flatten() {
                    maker.insert(*value, index);
                }
            }
            for node in nodes.iter().map(|&id| graph.node(id)) {
                for value in node.inputs.iter().flatten().chain(&node.captured).copied().filter(drawn) {
                    connect(value, maker.get(&value), index);
                }
            }
        }
        for output in graph.outputs().iter().copied().filter(drawn) {
            connect(output, maker.get(&output), boxes.len());
            boxes.push(self.end(output));
        }
        Picture { boxes, lines: lines.into_iter().collect(), ..Picture::default() }
    }

    fn dims(&self, value: ValueId) -> Vec<usize> {
        self.traced.facts.get(value).map(|seen| seen.dims.clone()).unwrap_or_default()
    }

    fn end(&self, value: ValueId) -> PictureBox {
        PictureBox {
            kind: BoxKind::End,
            operators: Vec::new(),
            names: vec![self.model.graph.value(value).name().to_owned()],
            output: self.dims(value),
            macs: 0,
            reads: Side::default(),
            makes: Side::default(),
            axes: Vec::new(),
        }
    }

    /// The families on the axes of a value.
    fn families_of(&self, value: ValueId) -> Vec<usize> {
        let rank = self.traced.facts.get(value).map_or(0, |seen| seen.dims.len());
        let slots = (0..rank).filter_map(|axis| self.analysis.axis(value, axis)?.slots());
        let groups = slots.flat_map(|slots| slots.iter()).flat_map(|&slot| self.groups.of_slot(slot));
        let families: BTreeSet<usize> =
            groups.map(|&group| self.groups.groups()[group as usize].family).collect();
        families.into_iter().collect()
    }

    fn item(&self, nodes: &[NodeId]) -> PictureBox {
        let graph = &self.model.graph;
        let inputs = nodes.iter().flat_map(|&id| graph.node(id).inputs.iter().flatten());
        let weights: BTreeSet<ValueId> =
            inputs.flat_map(|input| self.fused.weights[input.index()].iter().copied()).collect();
        let output = nodes.last().and_then(|&id| graph.node(id).outputs.iter().flatten().next().copied());
        let name = |id: NodeId| {
            let node = graph.node(id);
            let output = || node.outputs.iter().flatten().next();
            if node.name.is_empty() {
                output().map(|&output| graph.value(output).name().to_owned()).unwrap_or_default()
            } else {
                node.name.clone()
            }
        };
        let (reads, makes) =
            (self.side(nodes, &weights, Role::Consumer), self.side(nodes, &weights, Role::Producer));
        PictureBox {
            kind: if weights.is_empty() { BoxKind::Step } else { BoxKind::Layer },
            operators: nodes.iter().map(|&id| graph.node(id).op_type.clone()).collect(),
            names: nodes.iter().map(|&id| name(id)).collect(),
            output: output.map(|output| self.dims(output)).unwrap_or_default(),
            macs: nodes.iter().filter_map(|id| self.macs.get(id)).sum(),
            reads,
            makes,
            axes: weights.iter().flat_map(|&weight| self.axes(weight)).collect(),
        }
    }

    fn axes(&self, weight: ValueId) -> Vec<String> {
        let value = self.model.graph.value(weight);
        let dims = value.initializer().map(Initializer::dims).unwrap_or_default();
        let mut lines = vec![format!("{} {dims:?}", value.name())];
        for (axis, role, family) in self.members.get(&weight).into_iter().flatten() {
            let what = match role {
                Role::Producer => "makes",
                Role::Consumer => "reads",
            };
            lines.push(format!("  axis {axis} {what} family {family}"));
        }
        lines
    }

    fn side(&self, nodes: &[NodeId], weights: &BTreeSet<ValueId>, role: Role) -> Side {
        let members = weights.iter().filter_map(|weight| self.members.get(weight)).flatten();
        let families: BTreeSet<usize> =
            members.filter(|(_, own, _)| *own == role).map(|&(.., family)| family).collect();
        let pinned = families.is_empty()
            && weights.iter().any(|&weight| match role {
                Role::Consumer => self.has_axis(weight, |axis| self.analysis.is_contracted(weight, axis)),
                Role::Producer => self.has_axis(weight, |axis| self.is_made(nodes, weight, axis)),
            });
        Side { families: families.into_iter().collect(), pinned }
    }

    /// Whether a matrix has an axis of more than one index that fits.
    fn has_axis(&self, weight: ValueId, fits: impl Fn(usize) -> bool) -> bool {
        let dims = self.model.graph.value(weight).initializer().map(Initializer::dims).unwrap_or_default();
        dims.len() > 1 && dims.iter().enumerate().any(|(axis, &dim)| dim > 1 && fits(axis))
    }

    /// Whether the axis of a weight is an axis of what one of the nodes makes.
    fn is_made(&self, nodes: &[NodeId], weight: ValueId, axis: usize) -> bool {
        let Some(slots) = self.analysis.axis(weight, axis).and_then(Axis::slots) else { return false };
        let outputs = nodes.iter().flat_map(|&id| self.model.graph.node(id).outputs.iter().flatten());
        outputs.copied().any(|output| {
            let axes =
                (0..self.dims(output).len()).filter_map(|axis| self.analysis.axis(output, axis)?.slots());
            axes.into_iter().any(|own| Arc::ptr_eq(own, slots))
        })
    }
}
