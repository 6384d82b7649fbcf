//! Control flow and sequences, written out where the model itself fixes what they do.
//!
//! Exporters leave `If` nodes that ask for a rank, `Loop` and `Scan` nodes over a fixed list and sequences that are taken apart
//! at once. What runs inside is plain then, and is followed like the rest of the graph. A condition that depends on
//! what the inputs hold, or on a dimension that is free, stays as it is.

mod known;
mod scan;
mod sequence;

use crate::ir::{Facts, Graph, Initializer, Node, NodeId, NodeSpec, ValueId, drop_unused};
use crate::tensor::Tensor;

use known::Known;
pub use known::{contents, counted_axis};

/// A loop with more rounds than this stays a loop: the file would grow by as many copies of its body.
const ROUNDS: i64 = 32;

/// Whether [`unfold`] may have something to do.
pub fn has_control_flow(graph: &Graph) -> bool {
    let runs_bodies = |node: &Node| ["If", "Loop", "Scan"].iter().any(|op_type| is(node, op_type));
    graph.nodes().any(|(_, node)| runs_bodies(node) || sequence::takes_apart(node))
}

fn is(node: &Node, op_type: &str) -> bool {
    node.op_type == op_type && matches!(node.domain.as_str(), "" | "ai.onnx")
}

/// Writes out the `If`, `Loop`, `Scan` and sequence nodes that come to the same on all inputs, as far as `facts` of this very
/// graph tell. Ensures that no value changes. Gives how many nodes it replaced; bodies that come into the graph this
/// way may hold more to unfold, of which there are no facts yet.
pub fn unfold(graph: &mut Graph, facts: &Facts, opset: i64) -> usize {
    let known = Known::new(graph, facts);
    let nodes: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    let mut changed = 0;
    for id in nodes {
        let node = graph.node(id);
        let done = if is(node, "If") {
            unfold_if(graph, &known, id)
        } else if is(node, "Loop") {
            unfold_loop(graph, &known, id, opset)
        } else if is(node, "Scan") {
            scan::unfold(graph, &known, id, opset)
        } else {
            None
        };
        changed += usize::from(done.is_some());
    }
    changed += sequence::resolve(graph, &known, opset);
    if changed > 0 {
        drop_unused(graph);
    }
    changed
}

fn unfold_if(graph: &mut Graph, known: &Known<'_>, id: NodeId) -> Option<()> {
    let condition = graph.node(id).inputs.first().copied().flatten()?;
    let branch = if known.truth(condition)? { "then_branch" } else { "else_branch" };
    replace(graph, id, |graph| graph.inline_body(id, branch, &[]))
}

/// Replaces a node by what `write` adds; if it gives nothing, the graph stays.
fn replace(
    graph: &mut Graph,
    id: NodeId,
    write: impl FnOnce(&mut Graph) -> Option<Vec<ValueId>>,
) -> Option<()> {
    let mut trial = graph.clone();
    let mut done = false;
    trial.replace_node(id, |graph| {
        let results = write(graph);
        done = results.is_some();
        results.unwrap_or_default().into_iter().map(|value| Some(graph.alias(value))).collect()
    });
    if done {
        *graph = trial;
    }
    done.then_some(())
}

fn unfold_loop(graph: &mut Graph, known: &Known<'_>, id: NodeId, opset: i64) -> Option<()> {
    let node = graph.node(id).clone();
    let rounds = known.integer(node.inputs.first().copied().flatten()?)?;
    let condition = node.inputs.get(1).copied().flatten();
    if !(0..=ROUNDS).contains(&rounds) || condition.is_some_and(|given| known.truth(given) != Some(true)) {
        return None;
    }
    let initial: Vec<ValueId> =
        node.inputs.get(2..).unwrap_or_default().iter().copied().collect::<Option<_>>()?;
    let gathered = node.outputs.len().checked_sub(initial.len())?;
    if gathered > 0 && rounds == 0 {
        return None;
    }
    let ranks = node.attributes.body_input_ranks("body");
    replace(graph, id, |graph| {
        let truth = match condition {
            Some(given) => given,
            None => graph.add_initializer("condition", &Tensor::scalar(true)),
        };
        let mut state = initial;
        let mut lists: Vec<Vec<ValueId>> = vec![Vec::new(); gathered];
        for round in 0..rounds {
            // Some bodies take the number as a vector of one element, which runtimes allow.
            let vector = ranks.first() == Some(&Some(1));
            let count = if vector { Tensor::vector(vec![round]) } else { Tensor::scalar(round) };
            let count = graph.add_initializer("round", &count);
            let mut arguments = vec![count, truth];
            arguments.extend(&state);
            let results = graph.inline_body(id, "body", &arguments)?;
            let (&goes_on, results) = results.split_first()?;
            if !stays_true(graph, known, goes_on, truth) || results.len() != state.len() + gathered {
                return None;
            }
            state = results[..state.len()].to_vec();
            for (list, &value) in lists.iter_mut().zip(&results[state.len()..]) {
                list.push(value);
            }
        }
        state.extend(lists.into_iter().map(|list| stack(graph, &list, 0, opset)));
        Some(state)
    })
}

/// Whether a round of a loop hands the condition on, or says the constant true.
fn stays_true(graph: &Graph, known: &Known<'_>, value: ValueId, truth: ValueId) -> bool {
    let producers = graph.producers();
    let mut value = value;
    loop {
        if value == truth || known.truth(value) == Some(true) {
            return true;
        }
        if let Some(tensor) = graph.value(value).initializer() {
            return is_true(tensor);
        }
        let Some((id, _)) = producers[value.index()] else { return false };
        let node = graph.node(id);
        match node.inputs.first().copied().flatten() {
            Some(input) if is(node, "Identity") || is(node, "Cast") => value = input,
            None if is(node, "Constant") => {
                return node.attributes.tensor("value").is_some_and(|tensor| is_true(&tensor));
            }
            _ => return false,
        }
    }
}

fn is_true(constant: &Initializer) -> bool {
    constant.tensor().ok().and_then(|tensor| tensor.to_i64().ok()).is_some_and(|ints| ints == [1])
}

/// An operator that adds or removes one axis, in the form that the operator set has for it.
fn with_axis(graph: &mut Graph, op_type: &str, value: ValueId, axis: i64, opset: i64) -> NodeSpec {
    if opset < 13 {
        NodeSpec::new(op_type, &[value]).attribute("axes", vec![axis])
    } else {
        let axes = graph.add_initializer("axes", &Tensor::vector(vec![axis]));
        NodeSpec::new(op_type, &[value, axes])
    }
}

/// The values as one tensor with a new axis.
fn stack(graph: &mut Graph, values: &[ValueId], axis: i64, opset: i64) -> ValueId {
    let rows: Vec<ValueId> = values
        .iter()
        .map(|&value| {
            let spec = with_axis(graph, "Unsqueeze", value, axis, opset);
            graph.add("row", spec)
        })
        .collect();
    graph.add("stack", NodeSpec::new("Concat", &rows).attribute("axis", axis))
}
