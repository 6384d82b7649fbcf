//! Sequences that are put together from known tensors and taken apart at known places.

use std::collections::HashMap;

use super::known::Known;
use super::{is, stack, with_axis};
use crate::ir::{Graph, Node, NodeId, NodeSpec, ValueId};
use crate::tensor::Tensor;

/// Whether the node reads tensors out of a sequence.
pub(super) fn takes_apart(node: &Node) -> bool {
    is(node, "SequenceAt") || is(node, "ConcatFromSequence") || is(node, "SequenceLength")
}

/// Replaces such nodes where all tensors of the sequence are known. Gives how many.
pub(super) fn resolve(graph: &mut Graph, known: &Known<'_>, opset: i64) -> usize {
    let readers: Vec<NodeId> =
        graph.nodes().filter(|(_, node)| takes_apart(node)).map(|(id, _)| id).collect();
    let mut parts = Parts { known, opset, made: HashMap::new() };
    let mut changed = 0;
    for id in readers {
        changed += usize::from(resolve_one(graph, &mut parts, id).is_some());
    }
    changed
}

/// Tensors that were split, each once.
struct Parts<'k> {
    known: &'k Known<'k>,
    opset: i64,
    made: HashMap<NodeId, Vec<ValueId>>,
}

fn resolve_one(graph: &mut Graph, parts: &mut Parts<'_>, id: NodeId) -> Option<()> {
    let (known, opset) = (parts.known, parts.opset);
    let node = graph.node(id).clone();
    let elements = elements(graph, parts, node.inputs.first().copied().flatten()?)?;
    if is(&node, "SequenceAt") {
        let place = integer(graph, known, node.inputs.get(1).copied().flatten()?)?;
        let element = *elements.get(index(place, elements.len())?)?;
        graph.replace_node(id, |graph| vec![Some(graph.alias(element))]);
    } else if is(&node, "SequenceLength") {
        let length = graph.add_initializer("length", &Tensor::scalar(elements.len() as i64));
        graph.replace_node(id, |graph| vec![Some(graph.alias(length))]);
    } else {
        let axis = node.attributes.int("axis")?;
        let fresh = node.attributes.int("new_axis").unwrap_or(0) != 0;
        graph.replace_node(id, |graph| {
            vec![Some(if fresh {
                stack(graph, &elements, axis, opset)
            } else {
                graph.add("concat", NodeSpec::new("Concat", &elements).attribute("axis", axis))
            })]
        });
    }
    Some(())
}

fn integer(graph: &Graph, known: &Known<'_>, id: ValueId) -> Option<i64> {
    // An initializer that came in with a body has no facts.
    let constant = || graph.value(id).initializer()?.tensor().ok()?.to_i64().ok()?.first().copied();
    known.integer(id).or_else(constant)
}

fn index(place: i64, length: usize) -> Option<usize> {
    usize::try_from(if place < 0 { place + length as i64 } else { place }).ok()
}

/// The tensors of a sequence.
fn elements(graph: &mut Graph, parts: &mut Parts<'_>, sequence: ValueId) -> Option<Vec<ValueId>> {
    // From the end of the chain of insertions to its start.
    let mut inserted: Vec<(ValueId, Option<ValueId>)> = Vec::new();
    let mut sequence = sequence;
    let mut found = loop {
        let (id, _) = graph.producers()[sequence.index()]?;
        let node = graph.node(id).clone();
        let input = |place: usize| node.inputs.get(place).copied().flatten();
        if is(&node, "SequenceEmpty") {
            break Vec::new();
        } else if is(&node, "SequenceConstruct") {
            break node.inputs.iter().copied().collect::<Option<Vec<ValueId>>>()?;
        } else if is(&node, "SplitToSequence") {
            break parts.split(graph, id, &node)?;
        } else if is(&node, "SequenceInsert") {
            inserted.push((input(1)?, input(2)));
        } else if !is(&node, "Identity") {
            return None;
        }
        sequence = input(0)?;
    };
    for (element, place) in inserted.into_iter().rev() {
        let at = match place {
            Some(place) => index(integer(graph, parts.known, place)?, found.len())?,
            None => found.len(),
        };
        if at > found.len() {
            return None;
        }
        found.insert(at, element);
    }
    Some(found)
}

impl Parts<'_> {
    /// The parts that a node splits a tensor into, made by a node that gives them one by one.
    fn split(&mut self, graph: &mut Graph, id: NodeId, node: &Node) -> Option<Vec<ValueId>> {
        if let Some(made) = self.made.get(&id) {
            return Some(made.clone());
        }
        let input = node.inputs.first().copied().flatten()?;
        let axis = node.attributes.int("axis").unwrap_or(0);
        let given = node.inputs.get(1).copied().flatten();
        let lengths = match given {
            Some(given) if self.known.integers(given)?.len() != 1 => self.known.integers(given)?.to_vec(),
            // One number is the length of all parts, of which the last may be shorter.
            _ => {
                let step =
                    given.map_or(Some(1), |given| self.known.integer(given)).filter(|&step| step > 0)?;
                let whole = self.known.length(input, axis)? as i64;
                (0..whole).step_by(usize::try_from(step).ok()?).map(|start| step.min(whole - start)).collect()
            }
        };
        let spec = if self.opset < 13 {
            NodeSpec::new("Split", &[input]).attribute("split", lengths.clone())
        } else {
            let sizes = graph.add_initializer("split", &Tensor::vector(lengths.clone()));
            NodeSpec::new("Split", &[input, sizes])
        };
        let mut made = graph.insert_node_before(id, "part", spec.attribute("axis", axis), lengths.len());
        if given.is_none() && node.attributes.int("keepdims") == Some(0) {
            for part in &mut made {
                let spec = with_axis(graph, "Squeeze", *part, axis, self.opset);
                *part = graph.insert_before(id, "part", spec);
            }
        }
        self.made.insert(id, made.clone());
        Some(made)
    }
}
