//! What a model costs: multiply-accumulates and parameters, of the dense graph and of any cut of it.
//!
//! Multiply-accumulates are those of contractions, as each operator states them, on one sample. Parameters are the
//! elements of all float initializers but running statistics. This module knows no operator by name.

mod meter;

pub use meter::Meter;

use std::collections::{BTreeMap, BTreeSet};

use crate::deps::{Analysis, Survivors};
use crate::ir::{Facts, Model, NodeId, ValueId};
use crate::ops::{self, NodeView, Operator};

/// The cost of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Multiply-accumulates on one sample.
    pub macs: u64,
    /// Elements of float initializers but running statistics.
    pub params: u64,
}

/// The parts of a graph that cost something.
pub struct CostModel<'a> {
    model: &'a Model,
    facts: &'a Facts,
    samples: u64,
    nodes: Vec<(NodeId, &'static dyn Operator)>,
    weights: Vec<ValueId>,
}

impl std::fmt::Debug for CostModel<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CostModel").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl<'a> CostModel<'a> {
    /// The cost model of `model`, whose `facts` were traced on so many samples.
    pub fn new(model: &'a Model, facts: &'a Facts, samples: usize) -> Self {
        let nodes = model
            .graph
            .nodes()
            .filter_map(|(id, node)| {
                let view = NodeView::new(&model.graph, facts, id, model.opset(&node.domain).unwrap_or(0));
                let operator = ops::find(&view);
                (operator.macs(&view) > 0).then_some((id, operator))
            })
            .collect();
        let float =
            |tensor: &crate::ir::Initializer| tensor.dtype().is_some_and(crate::tensor::DType::is_float);
        let statistics = ops::running_statistics(&model.graph);
        let quantized = ops::quantized_initializers(model, facts);
        let weight = |id: &ValueId, tensor: &crate::ir::Initializer| {
            let stored =
                quantized.get(id).is_some_and(|numbers| numbers.scale.iter().any(|&scale| scale != 0.0));
            (float(tensor) || stored) && !statistics.contains(id)
        };
        let weights =
            model.graph.initializers().filter(|(id, tensor)| weight(id, tensor)).map(|(id, _)| id).collect();
        Self { model, facts, samples: samples.max(1) as u64, nodes, weights }
    }

    /// The nodes that cost something, and their multiply-accumulates on one sample.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        self.nodes.iter().map(|&(id, operator)| (id, self.node_macs(id, operator, self.facts)))
    }

    fn node_macs(&self, id: NodeId, operator: &dyn Operator, facts: &Facts) -> u64 {
        let opset = self.model.opset(&self.model.graph.node(id).domain).unwrap_or(0);
        operator.macs(&NodeView::new(&self.model.graph, facts, id, opset)) / self.samples
    }

    /// The cost as it stands.
    pub fn dense(&self) -> Cost {
        Cost {
            macs: self.nodes().map(|(_, macs)| macs).sum(),
            params: self.weights.iter().map(|&id| self.elements(id, None)).sum(),
        }
    }

    /// The cost after a cut.
    pub fn after(&self, survivors: &Survivors) -> Cost {
        let mut facts = Facts::empty(&self.model.graph);
        let after = |&(id, operator): &(NodeId, _)| self.node_after(id, operator, survivors, &mut facts);
        let macs = self.nodes.iter().map(after).sum();
        let params = self.weights.iter().map(|&id| self.elements(id, Some(survivors))).sum();
        Cost { macs, params }
    }

    fn node_after(
        &self,
        id: NodeId,
        operator: &dyn Operator,
        survivors: &Survivors,
        facts: &mut Facts,
    ) -> u64 {
        let node = self.model.graph.node(id);
        for &value in node.inputs.iter().chain(&node.outputs).flatten() {
            if let Some(seen) = self.facts.get(value) {
                facts.set(value, survivors.seen(value, seen));
            }
        }
        self.node_macs(id, operator, facts)
    }

    /// The multiply-accumulates that each pinned axis of `axes` has a part in: those that would go from the nodes that
    /// compute with the weight if the axis had one index.
    pub fn worth(&self, analysis: &Analysis, axes: &[(ValueId, usize)]) -> Vec<u64> {
        let graph = &self.model.graph;
        // By value, the initializers that it is made of, where it is made of them alone.
        let mut sources: Vec<BTreeSet<ValueId>> = vec![BTreeSet::new(); graph.value_count()];
        for (id, _) in graph.initializers() {
            sources[id.index()].insert(id);
        }
        for (_, node) in graph.nodes() {
            let made = node.inputs.iter().flatten();
            if node.captured.is_empty() && made.clone().all(|input| !sources[input.index()].is_empty()) {
                let all: BTreeSet<ValueId> =
                    made.flat_map(|input| sources[input.index()].iter().copied()).collect();
                for output in node.outputs.iter().flatten() {
                    sources[output.index()].clone_from(&all);
                }
            }
        }
        let mut readers: BTreeMap<ValueId, Vec<(NodeId, &'static dyn Operator)>> = BTreeMap::new();
        for &(id, operator) in &self.nodes {
            let weights: BTreeSet<ValueId> = graph
                .node(id)
                .inputs
                .iter()
                .flatten()
                .flat_map(|input| &sources[input.index()])
                .copied()
                .collect();
            for weight in weights {
                readers.entry(weight).or_default().push((id, operator));
            }
        }
        let mut facts = Facts::empty(graph);
        let worth = |&(weight, axis): &(ValueId, usize)| {
            let mut saved = 0;
            for &(id, operator) in readers.get(&weight).into_iter().flatten() {
                let node = graph.node(id);
                let among: Vec<ValueId> =
                    node.inputs.iter().chain(&node.outputs).flatten().copied().collect();
                let survivors = analysis.first_of(weight, axis, &among);
                let after = self.node_after(id, operator, &survivors, &mut facts);
                saved += self.node_macs(id, operator, self.facts).saturating_sub(after);
            }
            saved
        };
        axes.iter().map(worth).collect()
    }

    fn elements(&self, id: ValueId, survivors: Option<&Survivors>) -> u64 {
        let Some(tensor) = self.model.graph.value(id).initializer() else { return 0 };
        let dims = tensor.dims();
        let kept = |axis: usize| survivors.and_then(|survivors| survivors.axis(id, axis)).map(<[usize]>::len);
        dims.iter().enumerate().map(|(axis, &dim)| kept(axis).unwrap_or(dim) as u64).product()
    }
}
