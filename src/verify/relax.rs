//! Models that compute the same as others but for rounding and chance: to tell those from a wrong cut.

use std::collections::{BTreeMap, BTreeSet};

use crate::ir::{
    Attribute, Attributes, Graph, Initializer, IrError, Model, NodeId, ValueId, constants_to_initializers,
    drop_unused,
};
use crate::tensor::DType;

/// Operators that draw random numbers.
const RANDOM: [&str; 6] =
    ["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"];
/// The attributes that name an element type, with the number of `float`.
const TYPES: [&str; 4] = ["to", "dtype", "output_dtype", "output_datatype"];
const FLOAT: i64 = 1;
/// The numbers of `float16` and `bfloat16`.
const SHORT: [i64; 2] = [10, 16];

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

/// `model` in single precision where it computes with 16-bit floats; nothing if it does not, or if a body stands in
/// the way. Graph inputs of 16-bit floats become `float` as well.
///
/// # Errors
/// When a constant cannot be read.
pub(super) fn widened(model: &Model) -> Result<Option<Model>, IrError> {
    let short = |dtype: Option<DType>| matches!(dtype, Some(DType::F16 | DType::BF16));
    let graph = &model.graph;
    let computes = graph.values().any(|(_, value)| {
        short(value.initializer().and_then(Initializer::dtype))
            || short(value.declared().and_then(|declared| declared.dtype))
    });
    if !computes || graph.nodes().any(|(_, node)| node.attributes.has_graph()) {
        return Ok(None);
    }
    let mut model = model.clone();
    let graph = &mut model.graph;
    constants_to_initializers(graph);
    let stored: Vec<ValueId> =
        graph.initializers().filter(|(_, tensor)| short(tensor.dtype())).map(|(id, _)| id).collect();
    for id in stored {
        if let Some(tensor) = graph.value(id).initializer().map(Initializer::tensor).transpose()? {
            graph.set_initializer(id, &tensor.cast_float(DType::F32));
        }
    }
    let nodes: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    for id in nodes {
        widen_attributes(&mut graph.node_mut(id).attributes)?;
    }
    let edges: BTreeSet<ValueId> = graph.inputs().iter().chain(graph.outputs()).copied().collect();
    let values: Vec<ValueId> = graph.values().map(|(id, _)| id).collect();
    for id in values {
        redeclare(graph, id, edges.contains(&id), short);
    }
    Ok(Some(model))
}

fn widen_attributes(attributes: &mut Attributes) -> Result<(), IrError> {
    for name in TYPES {
        if attributes.int(name).is_some_and(|number| SHORT.contains(&number)) {
            attributes.set(name, FLOAT);
        }
    }
    let filling = attributes.tensor("value");
    if let Some(filling) = filling.filter(|tensor| matches!(tensor.dtype(), Some(DType::F16 | DType::BF16))) {
        let wide = filling.tensor()?.cast_float(DType::F32);
        attributes.set("value", Attribute::Tensor(Box::new(Initializer::from_tensor("value", &wide))));
    }
    Ok(())
}

fn redeclare(graph: &mut Graph, id: ValueId, edge: bool, short: impl Fn(Option<DType>) -> bool) {
    let Some(declared) = graph.value(id).declared() else { return };
    if !short(declared.dtype) {
        return;
    }
    match declared.dims.filter(|_| edge) {
        Some(dims) => graph.declare(id, DType::F32, &dims),
        None => graph.undeclare(id),
    }
}
