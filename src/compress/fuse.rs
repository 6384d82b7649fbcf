//! Which nodes are drawn, and which of them as one box.
//!
//! Drawn is what carries the contents of an input to an output: constants, and what is computed from lengths alone,
//! are left out. A node without weights of its own that reads one value joins the box of what makes it, as long as
//! nobody else reads the value and it keeps its number of elements; so do several that together read one value and
//! make one.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::CostModel;
use crate::ir::{Graph, Model, NodeId, ValueId};
use crate::ops::reads_lengths_alone;
use crate::trace::Trace;

/// Nodes that are drawn as one without being a chain.
const LARGEST: usize = 24;

/// The drawn part of a graph.
pub(super) struct Fused {
    /// Boxes in the order of their first nodes; nodes in the order of the graph.
    pub(super) boxes: Vec<Vec<NodeId>>,
    /// By value: whether it carries the contents of an input towards an output.
    pub(super) drawn: Vec<bool>,
    /// By value: the initializers of real numbers that it is made of, where it is made of constants alone.
    pub(super) weights: Vec<BTreeSet<ValueId>>,
}

struct View<'a> {
    graph: &'a Graph,
    traced: &'a Trace,
    /// The nodes that are drawn, in the order of the graph.
    nodes: Vec<NodeId>,
    /// By value.
    drawn: Vec<bool>,
    /// By drawn value: the places of the nodes that read it, and that of the one that makes it.
    readers: Vec<Vec<usize>>,
    maker: Vec<Option<usize>>,
    /// By value: whether it is a graph output.
    leaves: Vec<bool>,
    /// By place: whether the node has neither weights nor cost, and one result.
    light: Vec<bool>,
}

/// Finds the boxes. `is_weight` says which initializers hold real numbers.
pub(super) fn fuse(
    model: &Model,
    traced: &Trace,
    cost: &CostModel<'_>,
    is_weight: &dyn Fn(ValueId) -> bool,
) -> Fused {
    let graph = &model.graph;
    let (drawn, weights) = follow(graph, is_weight);
    let mut view = View::new(graph, traced, drawn);
    let costly: BTreeSet<NodeId> = cost.nodes().map(|(id, _)| id).collect();
    view.light = view.nodes.iter().map(|&id| !costly.contains(&id) && view.is_light(id, &weights)).collect();
    let boxes = view.boxes();
    Fused { boxes, drawn: view.drawn, weights }
}

/// By value: whether it is drawn, and which weights it is made of if it is a constant.
fn follow(graph: &Graph, is_weight: &dyn Fn(ValueId) -> bool) -> (Vec<bool>, Vec<BTreeSet<ValueId>>) {
    let mut carries = vec![false; graph.value_count()];
    let mut weights: Vec<BTreeSet<ValueId>> = vec![BTreeSet::new(); graph.value_count()];
    for input in graph.required_inputs() {
        carries[input.index()] = true;
    }
    for (id, _) in graph.initializers().filter(|(id, _)| is_weight(*id)) {
        weights[id.index()].insert(id);
    }
    for (_, node) in graph.nodes().filter(|(_, node)| !reads_lengths_alone(node)) {
        let reads = || node.inputs.iter().flatten().chain(&node.captured);
        let computed = reads().any(|input| carries[input.index()]);
        let made_of: BTreeSet<ValueId> = if computed {
            BTreeSet::new()
        } else {
            reads().flat_map(|input| weights[input.index()].iter().copied()).collect()
        };
        for output in node.outputs.iter().flatten() {
            carries[output.index()] = computed;
            weights[output.index()].clone_from(&made_of);
        }
    }
    let mut wanted = vec![false; graph.value_count()];
    for output in graph.outputs() {
        wanted[output.index()] = true;
    }
    for (_, node) in graph.nodes().rev().filter(|(_, node)| !reads_lengths_alone(node)) {
        if node.outputs.iter().flatten().any(|output| wanted[output.index()]) {
            for input in node.inputs.iter().flatten().chain(&node.captured) {
                wanted[input.index()] = true;
            }
        }
    }
    let drawn = carries.iter().zip(&wanted).map(|(carries, wanted)| *carries && *wanted).collect();
    (drawn, weights)
}

impl<'a> View<'a> {
    fn new(graph: &'a Graph, traced: &'a Trace, drawn: Vec<bool>) -> Self {
        let shown = |id: &ValueId| drawn[id.index()];
        let nodes: Vec<NodeId> = graph
            .nodes()
            .filter(|(_, node)| node.outputs.iter().flatten().any(shown))
            .map(|(id, _)| id)
            .collect();
        let mut readers = vec![Vec::new(); graph.value_count()];
        let mut maker = vec![None; graph.value_count()];
        let mut leaves = vec![false; graph.value_count()];
        for (index, &id) in nodes.iter().enumerate() {
            let node = graph.node(id);
            for value in node.inputs.iter().flatten().chain(&node.captured) {
                if readers[value.index()].last() != Some(&index) {
                    readers[value.index()].push(index);
                }
            }
            for value in node.outputs.iter().flatten() {
                maker[value.index()] = Some(index);
            }
        }
        for output in graph.outputs() {
            leaves[output.index()] = true;
        }
        Self { graph, traced, nodes, drawn, readers, maker, leaves, light: Vec::new() }
    }

    fn is_light(&self, id: NodeId, weights: &[BTreeSet<ValueId>]) -> bool {
        let node = self.graph.node(id);
        let heavy = |value: &ValueId| {
            !weights[value.index()].is_empty()
                && self.dims(*value).is_none_or(|dims| dims.iter().filter(|&&dim| dim > 1).count() > 1)
        };
        node.captured.is_empty() && !node.inputs.iter().flatten().any(heavy) && self.results(id).len() == 1
    }

    fn dims(&self, value: ValueId) -> Option<Vec<usize>> {
        let initializer = self.graph.value(value).initializer().map(crate::ir::Initializer::dims);
        initializer.or_else(|| self.traced.facts.get(value).map(|seen| seen.dims.clone()))
    }

    fn elements(&self, value: ValueId) -> Option<usize> {
        self.dims(value).map(|dims| dims.iter().product())
    }

    fn results(&self, id: NodeId) -> Vec<ValueId> {
        let outputs = self.graph.node(id).outputs.iter().flatten();
        outputs.copied().filter(|output| self.drawn[output.index()]).collect()
    }

    /// The drawn values that the nodes at `places` read from elsewhere.
    fn reads(&self, places: &BTreeSet<usize>) -> BTreeSet<ValueId> {
        let nodes = places.iter().map(|&place| self.graph.node(self.nodes[place]));
        nodes
            .flat_map(|node| node.inputs.iter().flatten().chain(&node.captured))
            .filter(|value| self.drawn[value.index()])
            .filter(|value| self.maker[value.index()].is_none_or(|maker| !places.contains(&maker)))
            .copied()
            .collect()
    }

    /// The fewest nodes that end at `last`, read one value, and make nothing that others read.
    fn unit(&self, last: usize) -> BTreeSet<usize> {
        let mut unit = BTreeSet::from([last]);
        while self.light[last] && unit.len() < LARGEST {
            let reads = self.reads(&unit);
            if reads.len() <= 1 {
                return unit;
            }
            let hidden = |value: &&ValueId| {
                let readers = &self.readers[value.index()];
                !self.leaves[value.index()] && readers.iter().all(|reader| unit.contains(reader))
            };
            let makers = reads.iter().filter(hidden).filter_map(|value| self.maker[value.index()]);
            match makers.filter(|&maker| self.light[maker]).max() {
                Some(maker) => unit.insert(maker),
                None => break,
            };
        }
        BTreeSet::from([last])
    }

    fn boxes(&self) -> Vec<Vec<NodeId>> {
        // Units, each under its last node.
        let mut units: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut taken = vec![false; self.nodes.len()];
        for last in (0..self.nodes.len()).rev() {
            if !taken[last] {
                let unit = self.unit(last);
                for &place in &unit {
                    taken[place] = true;
                }
                units.insert(last, unit);
            }
        }
        let mut boxes: Vec<BTreeSet<usize>> = Vec::new();
        let mut box_of = vec![0; self.nodes.len()];
        // In this order the box of what a unit reads is known already: a unit's value is made by its last node.
        for (last, unit) in units {
            let index = self.host(last, &unit).map_or(boxes.len(), |maker| box_of[maker]);
            for &place in &unit {
                box_of[place] = index;
            }
            match boxes.get_mut(index) {
                Some(host) => host.extend(unit),
                None => boxes.push(unit),
            }
        }
        boxes.sort_by_key(|places| places.first().copied());
        boxes.into_iter().map(|places| places.into_iter().map(|place| self.nodes[place]).collect()).collect()
    }

    /// The node whose box the unit joins.
    fn host(&self, last: usize, unit: &BTreeSet<usize>) -> Option<usize> {
        let reads = self.reads(unit);
        let (Some(&value), true, true) = (reads.first(), reads.len() == 1, self.light[last]) else {
            return None;
        };
        let maker = self.maker[value.index()]?;
        let alone = !self.leaves[value.index()]
            && self.readers[value.index()].iter().all(|reader| unit.contains(reader))
            && self.results(self.nodes[maker]).len() == 1;
        let result = self.results(self.nodes[last]).first().and_then(|&result| self.elements(result));
        (alone && result.is_some() && result == self.elements(value)).then_some(maker)
    }
}
