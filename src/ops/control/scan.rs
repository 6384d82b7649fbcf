//! `Scan` over an axis of fixed length, written out round by round.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__Scan.html>. Version 8 had a batch axis of its own and lengths
//! of sequences; such nodes stay.

use super::known::Known;
use super::{ROUNDS, replace, stack};
use crate::ir::{Graph, Node, NodeId, NodeSpec, ValueId};
use crate::tensor::Tensor;

/// The first version whose inputs have no batch axis of their own.
const PLAIN: i64 = 9;

/// For each of `count` inputs or outputs, the entry of a list attribute; 0 where the list is left out.
fn entries(node: &Node, name: &str, count: usize) -> Option<Vec<i64>> {
    match node.attributes.ints(name) {
        None => Some(vec![0; count]),
        Some(given) => (given.len() == count).then(|| given.to_vec()),
    }
}

pub(super) fn unfold(graph: &mut Graph, known: &Known<'_>, id: NodeId, opset: i64) -> Option<()> {
    if opset < PLAIN {
        return None;
    }
    let node = graph.node(id).clone();
    let inputs: Vec<ValueId> = node.inputs.iter().copied().collect::<Option<_>>()?;
    let scanned = usize::try_from(node.attributes.int("num_scan_inputs")?).ok()?;
    let states = inputs.len().checked_sub(scanned)?;
    let gathered = node.outputs.len().checked_sub(states)?;
    let (initial, sources) = inputs.split_at(states);
    let axes = entries(&node, "scan_input_axes", scanned)?;
    let backward = entries(&node, "scan_input_directions", scanned)?;
    let output_axes = entries(&node, "scan_output_axes", gathered)?;
    let output_backward = entries(&node, "scan_output_directions", gathered)?;
    let rounds = known.length(*sources.first()?, axes[0])? as i64;
    if rounds == 0 || rounds > ROUNDS {
        return None;
    }
    replace(graph, id, |graph| {
        let mut state = initial.to_vec();
        let mut lists: Vec<Vec<ValueId>> = vec![Vec::new(); gathered];
        for round in 0..rounds {
            let mut arguments = state.clone();
            for (number, &source) in sources.iter().enumerate() {
                let at = if backward[number] == 0 { round } else { rounds - 1 - round };
                let at = graph.add_initializer("round", &Tensor::scalar(at));
                let spec = NodeSpec::new("Gather", &[source, at]).attribute("axis", axes[number]);
                arguments.push(graph.add("slice", spec));
            }
            let results = graph.inline_body(id, "body", &arguments)?;
            if results.len() != states + gathered {
                return None;
            }
            state = results[..states].to_vec();
            for (list, &value) in lists.iter_mut().zip(&results[states..]) {
                list.push(value);
            }
        }
        for (number, mut list) in lists.into_iter().enumerate() {
            if output_backward[number] != 0 {
                list.reverse();
            }
            state.push(stack(graph, &list, output_axes[number], opset));
        }
        Some(state)
    })
}
