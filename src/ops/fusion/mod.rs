//! A finished training graph, rewritten for the kernels of [`crate::kernels`]: elementwise operators are gathered into
//! programs, and products of matrices take their operands in any order of axes.
//!
//! Each program has one result: a value that others than elementwise operators read, or a sum or mean of one. What is
//! read by one program alone is computed there and never stored; what is cheap and read from one large tensor is
//! computed anew in every program that reads it. So no program waits for another that waits for it.

mod product;
mod seen;

use std::collections::{BTreeMap, BTreeSet};

use self::seen::{Seen, axes_of};
use crate::ir::{Facts, Graph, Node, NodeId, NodeSpec, ValueId};
use crate::kernels::DOMAIN;
use crate::kernels::elementwise::{self, Code, Instruction, Program};
use crate::tensor::DType;

/// More instructions, and more inputs, do not fit into the nearest cache.
const INSTRUCTIONS: usize = 24;
const INPUTS: usize = 12;

/// An operand of a step: a value of the graph, or the result of an earlier step of the same node.
#[derive(Clone, Copy)]
enum Operand {
    Value(ValueId),
    Step(usize),
}

type Steps = Vec<(Code, Vec<Operand>)>;

fn is_onnx(node: &Node) -> bool {
    matches!(node.domain.as_str(), "" | "ai.onnx")
}

/// The node as steps, if it is elementwise.
fn steps(graph: &Graph, node: &Node) -> Option<Steps> {
    let inputs: Vec<ValueId> = node.inputs.iter().copied().collect::<Option<_>>()?;
    if !is_onnx(node) || node.outputs.len() != 1 || !node.captured.is_empty() {
        return None;
    }
    let value = |index: usize| inputs.get(index).copied().map(Operand::Value);
    match node.op_type.as_str() {
        "Cast" if node.attributes.int("to") == Some(i64::from(DType::F32.onnx())) => {
            Some(vec![(Code::Identity, vec![value(0)?])])
        }
        "And" => Some(vec![(Code::Mul, vec![value(0)?, value(1)?])]),
        "Clip" if inputs.len() == 3 => Some(vec![
            (Code::Max, vec![value(0)?, value(1)?]),
            (Code::Min, vec![Operand::Step(0), value(2)?]),
        ]),
        "Pow" => {
            let exponent = graph.value(*inputs.get(1)?).initializer()?.tensor().ok()?;
            let square = exponent.to_f64().ok()? == [2.0];
            square.then(|| Some(vec![(Code::Mul, vec![value(0)?, value(0)?])])).flatten()
        }
        name => {
            let &(code, _, count) = Code::ALL.iter().find(|known| known.1 == name)?;
            let fits = inputs.len() == count && node.attributes.names().next().is_none();
            fits.then(|| vec![(code, inputs.iter().copied().map(Operand::Value).collect())])
        }
    }
}

/// The sum or mean that the node takes: over which axes, and whether they stay.
fn reduction(graph: &Graph, node: &Node, seen: &Seen) -> Option<elementwise::Reduction> {
    let mean = match node.op_type.as_str() {
        "ReduceSum" => false,
        "ReduceMean" => true,
        _ => return None,
    };
    let input = node.inputs.first().copied().flatten()?;
    let axes = axes_of(graph, node, seen.dims(input)?.len())?;
    let keep_dims = node.attributes.int("keepdims").unwrap_or(1) != 0;
    (is_onnx(node) && seen.dtype(input) == Some(DType::F32)).then_some(elementwise::Reduction {
        axes,
        keep_dims,
        mean,
    })
}

/// A program in the making.
struct Group {
    root: NodeId,
    reduction: Option<elementwise::Reduction>,
    nodes: BTreeSet<NodeId>,
}

struct Fusion<'a> {
    graph: &'a Graph,
    seen: &'a Seen,
    steps: BTreeMap<NodeId, Steps>,
    producers: Vec<Option<(NodeId, usize)>>,
    consumers: Vec<Vec<(NodeId, Option<usize>)>>,
    places: Vec<usize>,
    /// Values that must be there as tensors, as far as the walk has come.
    read: BTreeSet<ValueId>,
}

impl Fusion<'_> {
    fn producer(&self, value: ValueId) -> Option<NodeId> {
        self.producers.get(value.index()).copied().flatten().map(|(node, _)| node)
    }

    fn inputs(&self, node: NodeId) -> impl Iterator<Item = ValueId> + '_ {
        self.graph.node(node).inputs.iter().copied().flatten()
    }

    /// Whether the node's result is computed element by element over `dims`.
    fn runs_over(&self, node: NodeId, dims: &[usize]) -> bool {
        let output = self.graph.node(node).outputs.first().copied().flatten();
        self.steps.contains_key(&node) && output.is_some_and(|output| self.seen.dims(output) == Some(dims))
    }

    /// The node with the nodes that compute the truth values it reads; nothing when one of them cannot be part of a
    /// program, or an operand is neither number nor truth value.
    fn with_tests(&self, node: NodeId, dims: &[usize]) -> Option<Vec<NodeId>> {
        if !self.runs_over(node, dims) {
            return None;
        }
        let mut nodes = vec![node];
        for input in self.inputs(node) {
            match self.seen.dtype(input)? {
                DType::F32 => {}
                DType::Bool => nodes.extend(self.with_tests(self.producer(input)?, dims)?),
                _ => return None,
            }
        }
        Some(nodes)
    }

    /// Whether nobody outside of the group reads `value`.
    fn is_own(&self, value: ValueId, group: &Group) -> bool {
        let inside = |&(node, input): &(NodeId, Option<usize>)| {
            input.is_some()
                && (self.places[node.index()] > self.places[group.root.index()]
                    || group.nodes.contains(&node))
        };
        !self.read.contains(&value) && self.consumers[value.index()].iter().all(inside)
    }

    /// Whether computing the node anew costs no more than reading its result, and nobody else needs that.
    fn is_cheap(&self, node: NodeId, value: ValueId, dims: &[usize]) -> bool {
        let dear = |code: Code| matches!(code, Code::Exp | Code::Tanh | Code::Sigmoid | Code::Erf);
        let large: BTreeSet<ValueId> =
            self.inputs(node).filter(|&input| self.seen.dims(input) == Some(dims)).collect();
        let in_program = |&(reader, _): &(NodeId, Option<usize>)| {
            self.steps.contains_key(&reader)
                || reduction(self.graph, self.graph.node(reader), self.seen).is_some()
        };
        large.len() <= 1
            && !self.steps[&node].iter().any(|(code, _)| dear(*code))
            && !self.graph.outputs().contains(&value)
            && self.consumers[value.index()].iter().all(in_program)
    }

    /// The program that ends in node `root`, if there is one worth it.
    fn group(&self, root: NodeId) -> Option<Group> {
        let node = self.graph.node(root);
        let reduction = reduction(self.graph, node, self.seen);
        let over = if reduction.is_some() { node.inputs.first() } else { node.outputs.first() };
        let over = over.copied().flatten()?;
        let dims = self.seen.dims(over)?;
        let mut group = Group { root, reduction, nodes: BTreeSet::new() };
        let mut open: Vec<NodeId> = Vec::new();
        if group.reduction.is_none() {
            if self.seen.dtype(over) != Some(DType::F32) {
                return None;
            }
            group.nodes.extend(self.with_tests(root, dims)?);
            open.extend(&group.nodes);
        } else {
            group.nodes.insert(root);
            open.push(root);
        }
        // A value may become the group's own once another of its readers has joined.
        let mut grew = true;
        while grew {
            grew = false;
            let edge: BTreeSet<ValueId> = group.nodes.iter().flat_map(|&node| self.inputs(node)).collect();
            for value in edge.into_iter().rev() {
                let Some(producer) = self.producer(value).filter(|node| !group.nodes.contains(node)) else {
                    continue;
                };
                let Some(nodes) = self.with_tests(producer, dims) else { continue };
                if !self.is_own(value, &group) && !self.is_cheap(producer, value, dims) {
                    continue;
                }
                let mut larger = group.nodes.clone();
                larger.extend(nodes);
                if larger.len() <= INSTRUCTIONS && self.inputs_of(&larger).len() <= INPUTS {
                    group.nodes = larger;
                    grew = true;
                }
            }
        }
        let count = group.nodes.len();
        (count >= 2).then_some(group)
    }

    /// What a program of these nodes reads from outside.
    fn inputs_of(&self, nodes: &BTreeSet<NodeId>) -> Vec<ValueId> {
        let mut inputs: Vec<ValueId> = Vec::new();
        let mut sorted: Vec<NodeId> = nodes.iter().copied().collect();
        sorted.sort_by_key(|node| self.places[node.index()]);
        for node in sorted {
            // The axes of a reduction are no operand.
            let count = if self.steps.contains_key(&node) { usize::MAX } else { 1 };
            for input in self.inputs(node).take(count) {
                let inside = self.producer(input).is_some_and(|producer| nodes.contains(&producer));
                if !inside && !inputs.contains(&input) {
                    inputs.push(input);
                }
            }
        }
        inputs
    }

    fn spec(&self, group: &Group) -> Option<NodeSpec> {
        let inputs = self.inputs_of(&group.nodes);
        let mut places: BTreeMap<ValueId, usize> =
            inputs.iter().enumerate().map(|(place, &input)| (input, place)).collect();
        let mut sorted: Vec<NodeId> = group.nodes.iter().copied().collect();
        sorted.sort_by_key(|node| self.places[node.index()]);
        let mut instructions: Vec<Instruction> = Vec::new();
        for node in sorted.iter().filter(|&&node| group.reduction.is_none() || node != group.root) {
            let first = inputs.len() + instructions.len();
            for (code, given) in &self.steps[node] {
                let mut operands = [0; 3];
                for (operand, given) in operands.iter_mut().zip(given) {
                    *operand = match given {
                        Operand::Value(value) => *places.get(value)?,
                        Operand::Step(step) => first + step,
                    };
                }
                instructions.push(Instruction { code: *code, operands });
            }
            let output = self.graph.node(*node).outputs.first().copied().flatten()?;
            places.insert(output, inputs.len() + instructions.len() - 1);
        }
        let program = Program::new(inputs.len(), instructions).ok()?;
        let spec = NodeSpec::new(elementwise::OPERATOR, &inputs)
            .domain(DOMAIN)
            .attribute(elementwise::PROGRAM, program.encode());
        Some(match &group.reduction {
            None => spec,
            Some(reduction) => spec
                .attribute(
                    elementwise::AXES,
                    reduction.axes.iter().map(|&axis| axis as i64).collect::<Vec<_>>(),
                )
                .attribute(elementwise::KEEP_DIMS, i64::from(reduction.keep_dims))
                .attribute(elementwise::MEAN, i64::from(reduction.mean)),
        })
    }
}

/// Gathers elementwise operators on single precision into programs, and has products of matrices computed where their
/// operands lie. `alike` names values of which only is known that they have the type and dimensions of another one.
/// Ensures the same values up to rounding.
pub fn fuse_for_kernels(graph: &mut Graph, facts: &Facts, alike: &[(ValueId, ValueId)]) {
    let seen = Seen::of(graph, facts, alike);
    let mut places = vec![0; graph.node_count()];
    for (place, (id, _)) in graph.nodes().enumerate() {
        places[id.index()] = place;
    }
    let mut fusion = Fusion {
        graph,
        seen: &seen,
        steps: graph.nodes().filter_map(|(id, node)| Some((id, steps(graph, node)?))).collect(),
        producers: graph.producers(),
        consumers: graph.consumers(),
        places,
        read: graph.outputs().iter().copied().collect(),
    };
    let mut written: Vec<(NodeId, NodeSpec)> = Vec::new();
    for (id, node) in graph.nodes().rev() {
        if !node.outputs.iter().flatten().any(|output| fusion.read.contains(output)) {
            continue;
        }
        let program = fusion.group(id);
        let program = program.and_then(|group| Some((fusion.inputs_of(&group.nodes), fusion.spec(&group)?)));
        match program.or_else(|| fusion.product(id)) {
            Some((inputs, spec)) => {
                fusion.read.extend(inputs);
                written.push((id, spec));
            }
            None => fusion.read.extend(node.inputs.iter().flatten().chain(&node.captured)),
        }
    }
    for (id, spec) in written {
        graph.replace_node(id, |graph| vec![Some(graph.add("fused", spec))]);
    }
}
