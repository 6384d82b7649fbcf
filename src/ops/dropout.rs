//! Dropout while a model is trained: elements are multiplied by a mask that the caller gives.
//!
//! <https://onnx.ai/onnx/operators/onnx__Dropout.html>: in training an element is zero with probability `ratio`, and
//! else `1 / (1 - ratio)` times what it was (Srivastava et al., JMLR 15, 2014). The operator draws by itself; with
//! masks as inputs, both gradients of a step see the same ones, and a run can be made again.

use crate::ir::{Attributes, DeclaredDim, Facts, Graph, Initializer, NodeId, ValueId};

/// A node that became a product with a mask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropped {
    /// The input that takes the mask, of the dimensions of `source`: zeros, and else `1 / (1 - ratio)`.
    pub mask: ValueId,
    /// What is multiplied.
    pub source: ValueId,
    /// The probability of zero, above 0 and below 1.
    pub ratio: f64,
}

/// Before this version of the operator set a product names its broadcasting, and `is_test` says what Dropout does.
const FIRST_BROADCASTING: i64 = 7;
const DEFAULT_RATIO: f64 = 0.5;

/// Makes every Dropout whose ratio is known and whose own mask nobody reads a product with a mask, if that is
/// `wanted`; else those that would draw pass everything on.
pub fn drop_elements(graph: &mut Graph, facts: &mut Facts, opset: i64, wanted: bool) -> Vec<Dropped> {
    if opset < FIRST_BROADCASTING {
        return Vec::new();
    }
    let consumers = graph.consumers();
    let found: Vec<NodeId> = graph
        .nodes()
        .filter(|(_, node)| node.op_type == "Dropout" && matches!(node.domain.as_str(), "" | "ai.onnx"))
        .filter(|(_, node)| {
            node.outputs
                .iter()
                .skip(1)
                .flatten()
                .all(|mask| consumers[mask.index()].is_empty() && !graph.outputs().contains(mask))
        })
        .map(|(id, _)| id)
        .collect();
    let mut dropped = Vec::new();
    for id in found {
        let node = graph.node(id);
        let number = |input: usize| {
            let value = node.inputs.get(input).copied().flatten()?;
            graph.value(value).initializer().and_then(first)
        };
        let given = |input: usize| node.inputs.get(input).is_some_and(Option::is_some);
        let ratio = match node.attributes.float("ratio") {
            Some(ratio) => Some(f64::from(ratio)),
            None if given(1) => number(1),
            None => Some(DEFAULT_RATIO),
        };
        let draws = given(2) && number(2) != Some(0.0);
        let (Some(Some(source)), Some(Some(y))) = (node.inputs.first(), node.outputs.first()) else {
            continue;
        };
        let source = *source;
        let Some(seen) = facts.get(source).cloned().filter(|seen| seen.dtype.is_float()) else { continue };
        let name = format!("dropout:{}", graph.value(*y).name());
        match ratio {
            Some(ratio) if wanted && ratio > 0.0 && ratio < 1.0 => {
                let mask = graph.add_value(&name);
                let dims =
                    seen.dims.iter().zip(&seen.varies).map(|(&dim, &varies)| {
                        if varies { DeclaredDim::Free } else { DeclaredDim::Fixed(dim) }
                    });
                graph.add_input(mask, seen.dtype, &dims.collect::<Vec<_>>());
                facts.set(mask, seen);
                become_node(graph, id, "Mul", &[source, mask]);
                dropped.push(Dropped { mask, source, ratio });
            }
            _ if draws && !wanted => become_node(graph, id, "Identity", &[source]),
            _ => {}
        }
    }
    dropped
}

fn become_node(graph: &mut Graph, id: NodeId, op_type: &str, inputs: &[ValueId]) {
    let node = graph.node_mut(id);
    op_type.clone_into(&mut node.op_type);
    node.inputs = inputs.iter().copied().map(Some).collect();
    node.outputs.truncate(1);
    node.attributes = Attributes::default();
}

/// The number that a tensor of one element holds.
fn first(tensor: &Initializer) -> Option<f64> {
    let values = tensor.tensor().ok()?.to_f64().ok()?;
    values.first().copied().filter(|_| values.len() == 1)
}
