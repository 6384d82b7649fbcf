//! `Constant` nodes as initializers.

use super::{Graph, Initializer, NodeId, ValueId};
use crate::tensor::Tensor;

/// Turns every `Constant` node of the graph whose value is a plain tensor into an initializer of the same name, so
/// that weights have one form. Nodes with sparse values stay. Ensures that no value changes.
pub fn constants_to_initializers(graph: &mut Graph) {
    let found: Vec<(NodeId, ValueId, Initializer)> = graph
        .nodes()
        .filter(|(_, node)| node.op_type == "Constant" && matches!(node.domain.as_str(), "" | "ai.onnx"))
        .filter_map(|(id, node)| {
            let &output = node.outputs.first()?.as_ref()?;
            let attributes = &node.attributes;
            let name = graph.value(output).name();
            let tensor = if let Some(mut initializer) = attributes.tensor("value") {
                initializer.set_name(name);
                return Some((id, output, initializer));
            } else if let Some(value) = attributes.int("value_int") {
                Tensor::scalar(value)
            } else if let Some(value) = attributes.float("value_float") {
                Tensor::scalar(value)
            } else if let Some(values) = attributes.ints("value_ints") {
                Tensor::vector(values.to_vec())
            } else {
                Tensor::vector(attributes.floats("value_floats")?.to_vec())
            };
            Some((id, output, Initializer::from_tensor(name, &tensor)))
        })
        .filter(|(.., initializer)| initializer.dtype().is_some() && initializer.check().is_ok())
        .collect();
    let mut hoisted: Vec<NodeId> = Vec::with_capacity(found.len());
    for (node, output, initializer) in found {
        graph.values[output.index()].initializer = Some(initializer);
        graph.initializers.push(output);
        hoisted.push(node);
    }
    hoisted.sort_unstable();
    graph.retain_nodes(|id, _| hoisted.binary_search(&id).is_err());
}
