//! Models whose decisions can be handed from one to the other.
//!
//! A decision is an integer or a truth value that a node computes from real numbers: the place of the largest, whether
//! a threshold is passed, which boxes survive.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::{Engine, LoadOptions, Port, load_model};
use crate::ir::{DeclaredDim, Graph, Model, Node, ValueId, drop_unused};
use crate::tensor::DType;

/// Two models of which the second takes the decisions of the first as inputs.
pub(super) struct Opened {
    /// With its decisions, and the numbers that they are made of, as further outputs.
    pub(super) dense: Model,
    /// With the numbers that decisions would be made of as further outputs.
    pub(super) small: Model,
    /// The names of the decisions.
    pub(super) decisions: Vec<String>,
}

/// Opens two models at their decisions. Nothing when there are none, when the engine does not tell the types of
/// values, or when the models do not have the same decisions and the same numbers before them.
pub(super) fn open(
    engine: &dyn Engine,
    options: &LoadOptions,
    dense: &Model,
    small: &Model,
) -> Option<Opened> {
    let types = types(engine, options, dense)?;
    let (decisions, numbers) = find(&dense.graph, &types);
    if decisions.is_empty() {
        return None;
    }
    let mut opened = Opened { dense: dense.clone(), small: small.clone(), decisions: Vec::new() };
    let made: BTreeSet<ValueId> =
        small.graph.nodes().flat_map(|(_, node)| node.outputs.iter().flatten().copied()).collect();
    let own = |name: &str| small.graph.find(name).filter(|id| made.contains(id));
    // The small model's producers of the decisions go: what they were made of is compared instead.
    let mut shown = small.graph.outputs().to_vec();
    for &id in &numbers {
        let id = own(dense.graph.value(id).name())?;
        if !shown.contains(&id) {
            opened.small.graph.undeclare(id);
            shown.push(id);
        }
    }
    let mut replaced = BTreeMap::new();
    for &id in &decisions {
        let name = dense.graph.value(id).name();
        replaced.insert(own(name)?, types.get(name)?);
        opened.decisions.push(name.to_owned());
    }
    shown.retain(|id| !replaced.contains_key(id));
    let nodes: Vec<_> = opened.small.graph.nodes().map(|(id, _)| id).collect();
    for node in nodes {
        for place in 0..opened.small.graph.node(node).outputs.len() {
            let Some(output) = opened.small.graph.node(node).outputs[place] else { continue };
            if let Some((dtype, dims)) = replaced.get(&output) {
                let unread = opened.small.graph.add_value("decided");
                opened.small.graph.node_mut(node).outputs[place] = Some(unread);
                match dims {
                    Some(dims) => opened.small.graph.add_input(output, *dtype, dims),
                    None => opened.small.graph.add_input_of_any_shape(output, *dtype),
                }
            }
        }
    }
    opened.small.graph.set_outputs(shown.clone());
    drop_unused(&mut opened.small.graph);
    let mut outputs: Vec<ValueId> =
        shown.iter().filter_map(|&id| dense.graph.find(small.graph.value(id).name())).collect();
    outputs.extend(&decisions);
    for &id in numbers.iter().chain(&decisions) {
        opened.dense.graph.undeclare(id);
    }
    opened.dense.graph.set_outputs(outputs);
    Some(opened)
}

/// Element types, and dimensions as far as they are known without a run.
type Types = BTreeMap<String, (DType, Option<Vec<DeclaredDim>>)>;

/// The element types of what nodes make, as far as the engine tells them.
fn types(engine: &dyn Engine, options: &LoadOptions, model: &Model) -> Option<Types> {
    let mut open = model.clone();
    let made: Vec<ValueId> =
        open.graph.nodes().flat_map(|(_, node)| node.outputs.iter().flatten().copied()).collect();
    for &id in &made {
        open.graph.undeclare(id);
    }
    open.graph.set_outputs(made);
    let session = load_model(engine, options, &open).ok()?;
    let dim = |dim: &Option<usize>| dim.map_or(DeclaredDim::Free, DeclaredDim::Fixed);
    let known = |port: &Port| {
        let dims = port.dims.as_ref().map(|dims| dims.iter().map(dim).collect());
        Some((port.name.clone(), (port.dtype?, dims)))
    };
    let types = session.outputs().iter().chain(session.inputs()).filter_map(known).collect();
    Some(types)
}

/// The decisions of a graph and the numbers that they are made of.
fn find(graph: &Graph, types: &Types) -> (Vec<ValueId>, Vec<ValueId>) {
    let dtype = |id: ValueId| types.get(graph.value(id).name()).map(|(dtype, _)| *dtype);
    let (mut decisions, mut numbers) = (Vec::new(), BTreeSet::new());
    // Sizes go through real numbers now and then; they are no decisions.
    let mut computed: BTreeSet<ValueId> = graph.required_inputs().collect();
    for (_, node) in graph.nodes().filter(|(_, node)| !reads_shape(node)) {
        let read =
            || node.inputs.iter().flatten().chain(&node.captured).copied().filter(|id| computed.contains(id));
        let from: Vec<ValueId> = read().filter(|&id| dtype(id).is_some_and(DType::is_float)).collect();
        if read().next().is_some() {
            computed.extend(node.outputs.iter().flatten());
        }
        let made = node.outputs.iter().flatten().copied();
        // A body, which no cut reaches into, may decide inside.
        let body = node.attributes.has_graph();
        let decided: Vec<ValueId> = made
            .filter(|&id| match dtype(id) {
                Some(DType::I64 | DType::I32 | DType::Bool) => true,
                kind => body && kind.is_some(),
            })
            .collect();
        if !from.is_empty() && !decided.is_empty() {
            decisions.extend(decided);
            // What the model is given is the same on both sides.
            numbers.extend(from.into_iter().filter(|id| !graph.inputs().contains(id)));
        }
    }
    (decisions, numbers.into_iter().collect())
}

/// Whether the node says how large its input is, not what it holds.
fn reads_shape(node: &Node) -> bool {
    matches!(node.op_type.as_str(), "Shape" | "Size")
}
