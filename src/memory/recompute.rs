//! Cheap values computed again for the gradients, in place of being kept for them.

use std::collections::{BTreeMap, BTreeSet};

use super::Shapes;
use super::live::VIEWS;
use super::order::run_late;
use crate::ir::{Graph, Node, NodeId, NodeSpec, ValueId, drop_unused};

/// Operators that take hardly longer than reading their inputs.
const CHEAP: &[&str] = &[
    "Abs",
    "Add",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Div",
    // A program of the others, in graphs with kernels.
    "Elementwise",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LayerNormalization",
    "LeakyRelu",
    "Mul",
    "Neg",
    "Relu",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "Split",
    "Sqrt",
    "Sub",
    "Tanh",
    "Transpose",
];
/// Operators that give another result each time.
const RANDOM: &[&str] = &[
    "Bernoulli",
    "Dropout",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
];
/// Values of less than this share of the largest one are kept.
const SMALL: u64 = 32;

/// Where a value of the forward part comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It is kept anyway: a weight, or small.
    Free,
    /// It is kept if it is needed.
    Kept,
    /// It follows from one value that is kept by cheap operators.
    From(ValueId),
}

/// Lets the gradients in the training graph of `loss` compute cheap values again, where that takes less memory than to
/// keep them, and puts nodes in an order in which the runtime computes them late. The results stay the same up to
/// rounding. The runtime must not merge nodes that compute the same. Returns the number of values.
pub fn recompute(graph: &mut Graph, shapes: &mut Shapes, loss: ValueId, samples: usize) -> usize {
    merge_equal(graph);
    let forward = ancestors(graph, loss);
    let origins = origins(graph, &forward, shapes, samples);
    let used = used_backward(graph, &forward);
    let views = views(graph, &forward);
    let plain: BTreeSet<ValueId> = used.iter().map(|&value| unviewed(&views, value)).collect();
    let given: BTreeSet<ValueId> = graph.inputs().iter().copied().collect();
    let mut gains: BTreeMap<ValueId, i64> = BTreeMap::new();
    for &value in &plain {
        if let Origin::From(root) = origins[value.index()] {
            let held = plain.contains(&root) || given.contains(&root);
            let cost = if held { 0 } else { shapes.bytes(root, samples) as i64 };
            *gains.entry(root).or_insert(-cost) += shapes.bytes(value, samples) as i64;
        }
    }
    let roots: BTreeSet<ValueId> =
        gains.into_iter().filter(|(_, gain)| *gain > 0).map(|(root, _)| root).collect();
    let producers = graph.producers();
    let mut again = Again { producers: &producers, origins: &origins, copies: BTreeMap::new(), count: 0 };
    let backward: Vec<NodeId> = graph.nodes().map(|(id, _)| id).filter(|id| !forward.contains(id)).collect();
    for id in backward {
        for place in 0..graph.node(id).inputs.len() {
            let Some(value) = graph.node(id).inputs[place] else { continue };
            let Some(Origin::From(root)) = origins.get(value.index()).copied() else { continue };
            if roots.contains(&root) {
                let copy = again.copy(graph, shapes, value);
                graph.node_mut(id).inputs[place] = Some(copy);
            }
        }
    }
    let count = again.count;
    graph.sort_nodes();
    drop_unused(graph);
    run_late(graph, shapes);
    count
}

/// Nodes written a second time.
struct Again<'a> {
    producers: &'a [Option<(NodeId, usize)>],
    origins: &'a [Origin],
    copies: BTreeMap<ValueId, ValueId>,
    count: usize,
}

impl Again<'_> {
    /// The second `value`.
    fn copy(&mut self, graph: &mut Graph, shapes: &mut Shapes, value: ValueId) -> ValueId {
        if let Some(&copy) = self.copies.get(&value) {
            return copy;
        }
        let follows = matches!(self.origins[value.index()], Origin::From(_));
        let (true, Some((id, _))) = (follows, self.producers[value.index()]) else { return value };
        let node = graph.node(id).clone();
        let mut inputs: Vec<Option<ValueId>> = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            inputs.push(input.map(|input| self.copy(graph, shapes, input)));
        }
        let (mut attributes, mut outputs) = (node.attributes.clone(), node.outputs.len());
        if is_batch_normalization(&node) {
            // The statistics of the batch are there already.
            attributes.remove("training_mode");
            inputs.truncate(3);
            inputs.extend(&node.outputs[1..3]);
            outputs = 1;
        }
        let spec =
            NodeSpec::with_optional(&node.op_type, &inputs).domain(&node.domain).attributes(attributes);
        let made = graph.add_node(&format!("{}/again", graph.value(value).name()), spec, outputs);
        self.count += usize::from(!VIEWS.contains(&node.op_type.as_str()));
        for (old, new) in node.outputs.iter().zip(made) {
            if let Some(old) = *old {
                shapes.copy(old, new);
                self.copies.insert(old, new);
            }
        }
        self.copies.get(&value).copied().unwrap_or(value)
    }
}

/// Whether a node normalises with the statistics of the batch and returns them.
fn is_batch_normalization(node: &Node) -> bool {
    node.attributes.int("training_mode").unwrap_or(0) != 0
        && node.attributes.float("momentum") == Some(0.0)
        && node.outputs.len() == 3
        && node.outputs.iter().all(Option::is_some)
}

fn is_cheap(node: &Node) -> bool {
    let known = CHEAP.contains(&node.op_type.as_str()) || VIEWS.contains(&node.op_type.as_str());
    let trains = node.attributes.int("training_mode").unwrap_or(0) != 0;
    known && node.captured.is_empty() && (!trains || is_batch_normalization(node))
}

/// The nodes that `value` depends on.
fn ancestors(graph: &Graph, value: ValueId) -> BTreeSet<NodeId> {
    let mut wanted = BTreeSet::from([value]);
    let mut found = BTreeSet::new();
    for (id, node) in graph.nodes().rev() {
        if node.outputs.iter().flatten().any(|output| wanted.contains(output)) {
            found.insert(id);
            wanted.extend(node.inputs.iter().flatten().chain(&node.captured));
        }
    }
    found
}

/// The values of the forward part that other nodes read.
fn used_backward(graph: &Graph, forward: &BTreeSet<NodeId>) -> BTreeSet<ValueId> {
    let backward = graph.nodes().filter(|(id, _)| !forward.contains(id));
    let read: BTreeSet<ValueId> =
        backward.flat_map(|(_, node)| node.inputs.iter().flatten().copied()).collect();
    let made = graph.nodes().filter(|(id, _)| forward.contains(id));
    made.flat_map(|(_, node)| node.outputs.iter().flatten().copied())
        .filter(|value| read.contains(value))
        .collect()
}

/// The forward part's values that lie in another one's memory, and that one.
fn views(graph: &Graph, forward: &BTreeSet<NodeId>) -> BTreeMap<ValueId, ValueId> {
    let views =
        graph.nodes().filter(|(id, node)| forward.contains(id) && VIEWS.contains(&node.op_type.as_str()));
    let pair = |node: &Node| Some((node.outputs.first().copied()??, node.inputs.first().copied()??));
    views.filter_map(|(_, node)| pair(node)).collect()
}

/// The value whose memory `value` lies in.
fn unviewed(views: &BTreeMap<ValueId, ValueId>, mut value: ValueId) -> ValueId {
    while let Some(&source) = views.get(&value) {
        value = source;
    }
    value
}

/// The origin of every value.
fn origins(graph: &Graph, forward: &BTreeSet<NodeId>, shapes: &Shapes, samples: usize) -> Vec<Origin> {
    let largest = graph.values().map(|(id, _)| shapes.bytes(id, samples)).max().unwrap_or(0);
    let mut origins = vec![Origin::Kept; graph.value_count()];
    for (id, value) in graph.values() {
        if value.initializer().is_some() || shapes.bytes(id, samples) * SMALL < largest {
            origins[id.index()] = Origin::Free;
        }
    }
    for (_, node) in graph.nodes().filter(|(id, node)| forward.contains(id) && is_cheap(node)) {
        let roots: BTreeSet<ValueId> = node
            .inputs
            .iter()
            .flatten()
            .filter_map(|&input| match origins[input.index()] {
                Origin::Free => None,
                Origin::Kept => Some(input),
                Origin::From(root) => Some(root),
            })
            .collect();
        let mut roots = roots.into_iter();
        let (Some(root), None) = (roots.next(), roots.next()) else { continue };
        for output in node.outputs.iter().flatten() {
            if origins[output.index()] == Origin::Kept {
                origins[output.index()] = Origin::From(root);
            }
        }
    }
    origins
}

/// Merges nodes that compute the same from the same values, which the runtime must not do any more afterwards.
fn merge_equal(graph: &mut Graph) {
    let outputs: BTreeSet<ValueId> = graph.outputs().iter().copied().collect();
    let ids: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    let mut seen: BTreeMap<String, NodeId> = BTreeMap::new();
    for id in ids {
        let node = graph.node(id);
        let named = node.outputs.iter().flatten().any(|output| outputs.contains(output));
        if named || !node.captured.is_empty() || RANDOM.contains(&node.op_type.as_str()) {
            continue;
        }
        let present: Vec<bool> = node.outputs.iter().map(Option::is_some).collect();
        let key =
            format!("{} {} {:?} {present:?} {:?}", node.domain, node.op_type, node.inputs, node.attributes);
        match seen.get(&key) {
            None => drop(seen.insert(key, id)),
            Some(&first) => {
                let pairs: Vec<_> =
                    node.outputs.iter().copied().zip(graph.node(first).outputs.clone()).collect();
                for (old, new) in pairs {
                    if let (Some(old), Some(new)) = (old, new) {
                        graph.redirect(old, new);
                    }
                }
            }
        }
    }
    drop_unused(graph);
}
