//! Models that compute the same as others but for rounding and chance: to tell those from a wrong cut.

use std::collections::BTreeMap;

use crate::ir::{Model, NodeId, ValueId, drop_unused};

/// Operators that draw random numbers.
const RANDOM: [&str; 6] =
    ["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"];

/// `model` with a seed at every node that draws random numbers without one; nothing if there is none. The same nodes
/// of two models get the same seeds.
pub(super) fn seeded(model: &Model) -> Option<Model> {
    let unseeded: Vec<NodeId> = model
        .graph
        .nodes()
        .filter(|(_, node)| RANDOM.contains(&node.op_type.as_str()) && !node.attributes.has("seed"))
        .map(|(id, _)| id)
        .collect();
    if unseeded.is_empty() {
        return None;
    }
    let mut model = model.clone();
    for (place, id) in unseeded.into_iter().enumerate() {
        model.graph.node_mut(id).attributes.set("seed", place as f32 + 1.0);
    }
    Some(model)
}

/// `model` without the rounding of real numbers to integers that are turned back at once, and how often that was
/// done: a `DequantizeLinear` that reads a `QuantizeLinear` of the same scale and zero point passes on what that one
/// reads. Nothing if there is no such pair.
pub(super) fn without_rounding(model: &Model) -> Option<(Model, usize)> {
    let graph = &model.graph;
    let producers = graph.producers();
    let scale = |inputs: &[Option<ValueId>], place: usize| inputs.get(place).copied().flatten();
    let pairs: Vec<(ValueId, ValueId)> = graph
        .nodes()
        .filter(|(_, node)| node.op_type == "DequantizeLinear")
        .filter_map(|(_, node)| {
            let (quantized, output) = (scale(&node.inputs, 0)?, node.outputs.first().copied().flatten()?);
            let (before, _) = producers[quantized.index()]?;
            let before = graph.node(before);
            let same = |place: usize| {
                let (a, b) = (scale(&before.inputs, place), scale(&node.inputs, place));
                let values = |id: ValueId| graph.value(id).initializer();
                match (a, b) {
                    (Some(a), Some(b)) if a != b => match (values(a), values(b)) {
                        (Some(a), Some(b)) => a.same_values(b),
                        _ => false,
                    },
                    (a, b) => a == b,
                }
            };
            let pair = before.op_type == "QuantizeLinear" && same(1) && same(2);
            (pair && !graph.outputs().contains(&output)).then_some((output, scale(&before.inputs, 0)?))
        })
        .collect();
    if pairs.is_empty() {
        return None;
    }
    let mut model = model.clone();
    let mut passed: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for &(output, real) in &pairs {
        // What is read may itself be passed on by then.
        let real = passed.get(&real).copied().unwrap_or(real);
        model.graph.redirect(output, real);
        passed.insert(output, real);
    }
    drop_unused(&mut model.graph);
    Some((model, pairs.len()))
}
