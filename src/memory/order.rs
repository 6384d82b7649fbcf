//! The order in which ONNX Runtime runs a graph.

use std::collections::BTreeSet;

use super::Shapes;
use super::live::PRODUCTS;
use crate::ir::{DeclaredDim, DeclaredType, Graph, NodeId, NodeSpec, ValueId};
use crate::tensor::Tensor;

/// For each node the nodes that it needs, in the order of the file, and whether any node needs it.
fn needs(graph: &Graph, ids: &[NodeId]) -> (Vec<Vec<usize>>, Vec<bool>) {
    let mut place = vec![usize::MAX; ids.iter().map(|id| id.index() + 1).max().unwrap_or(0)];
    for (position, id) in ids.iter().enumerate() {
        place[id.index()] = position;
    }
    let producers = graph.producers();
    let mut needed = vec![false; ids.len()];
    let before = |&id: &NodeId| {
        let node = graph.node(id);
        let reads = node.inputs.iter().flatten().chain(&node.captured);
        let mut before: Vec<usize> =
            reads.filter_map(|value| Some(place[producers[value.index()]?.0.index()])).collect();
        before.sort_unstable();
        before.dedup();
        for &position in &before {
            needed[position] = true;
        }
        before
    };
    let before = ids.iter().map(before).collect();
    (before, needed)
}

/// The nodes in the order in which ONNX Runtime runs them by default. It starts from the nodes that no other needs, the
/// last one of the file first, and runs what a node needs before it, again the last one of the file first.
pub fn runtime_order(graph: &Graph) -> Vec<NodeId> {
    let ids: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    let (needs, needed) = needs(graph, &ids);
    let ends = (0..ids.len()).filter(|&position| !needed[position]);
    let mut stack: Vec<(usize, bool)> = ends.map(|position| (position, false)).collect();
    let mut seen = vec![false; ids.len()];
    let mut order = Vec::with_capacity(ids.len());
    while let Some((position, done)) = stack.pop() {
        if done {
            order.push(ids[position]);
        } else if !std::mem::replace(&mut seen[position], true) {
            stack.push((position, true));
            stack.extend(
                needs[position].iter().filter(|&&before| !seen[before]).map(|&before| (before, false)),
            );
        }
    }
    order
}

/// Puts the nodes of a training graph in an order for which the runtime computes late what is needed late, and early what
/// frees memory: nodes by the length of the longest way to them, and behind them those that no other needs, the first that
/// can run last. Products among these get a node behind them, since the runtime may replace them, and what is new runs
/// first.
pub fn run_late(graph: &mut Graph, shapes: &mut Shapes) {
    let outputs: BTreeSet<ValueId> = graph.outputs().iter().copied().collect();
    let read: BTreeSet<ValueId> = graph
        .nodes()
        .flat_map(|(_, node)| node.inputs.iter().flatten().chain(&node.captured).copied())
        .collect();
    let products: Vec<ValueId> = graph
        .nodes()
        .filter(|(_, node)| PRODUCTS.contains(&node.op_type.as_str()))
        .filter_map(|(_, node)| node.outputs.first().copied().flatten())
        .filter(|output| outputs.contains(output) && !read.contains(output))
        .collect();
    for output in products {
        let name = graph.value(output).name().to_owned();
        let Some(DeclaredType { dims: Some(dims), .. }) = graph.value(output).declared() else { continue };
        let fixed = dims.iter().map(|dim| match dim {
            DeclaredDim::Fixed(dim) => Some(*dim as i64),
            _ => None,
        });
        let Some(dims) = fixed.collect::<Option<Vec<i64>>>() else { continue };
        let product = graph.add_value(&format!("{name}/product"));
        graph.rename_produced(output, product);
        let shape = graph.add_initializer(&format!("{name}/shape"), &Tensor::vector(dims));
        let last = graph.add(&format!("{name}/last"), NodeSpec::new("Reshape", &[product, shape]));
        graph.rename_produced(last, output);
        shapes.copy(output, product);
    }
    let order = runtime_order(graph);
    let ids: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    let (needs, needed) = needs(graph, &ids);
    let mut place = vec![0; ids.iter().map(|id| id.index() + 1).max().unwrap_or(0)];
    ids.iter().enumerate().for_each(|(position, id)| place[id.index()] = position);
    let mut lengths = vec![0_usize; ids.len()];
    for id in order {
        let position = place[id.index()];
        lengths[position] = needs[position].iter().map(|&before| lengths[before] + 1).max().unwrap_or(0);
    }
    let mut positions: Vec<usize> = (0..ids.len()).collect();
    positions.sort_by_key(|&position| (lengths[position], position));
    let (inner, mut ends): (Vec<usize>, Vec<usize>) = positions.into_iter().partition(|&at| needed[at]);
    ends.reverse();
    graph.reorder(inner.into_iter().chain(ends).map(|position| ids[position]).collect());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Model;
    use crate::tensor::DType;

    #[test]
    fn what_nothing_needs_runs_from_the_last_to_the_first() {
        let mut model = Model::empty("m", 17);
        let graph = &mut model.graph;
        let x = graph.add_value("x");
        graph.add_input(x, DType::F32, &[DeclaredDim::Free]);
        let a = graph.add("a", NodeSpec::new("Relu", &[x]));
        let b = graph.add("b", NodeSpec::new("Exp", &[a]));
        let c = graph.add("c", NodeSpec::new("Neg", &[x]));
        let d = graph.add("d", NodeSpec::new("Add", &[a, c]));
        graph.set_outputs(vec![b, d]);
        let order = runtime_order(graph);
        let operators: Vec<&str> = order.iter().map(|&id| graph.node(id).op_type.as_str()).collect();
        assert_eq!(operators, ["Neg", "Relu", "Add", "Exp"]);
    }
}
