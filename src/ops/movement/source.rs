//! Constant, `ConstantOfShape`, Shape, Size, Range, `EyeLike`, `OneHot`, `RandomNormal`, `RandomNormalLike`, `RandomUniform`,
//! `RandomUniformLike`: what makes tensors up, from sizes or from nothing.
//!
//! Specification: <https://onnx.ai/onnx/operators/>. Shape has `start` and `end` since version 15.
//!
//! Shape and Size deliver the numbers of the dense model after a cut, so they pin nothing but where that is
//! impossible.

use super::{Movement, no_gradient, pin_inputs, set};
use crate::ir::{Graph, Initializer, Node, NodeId, NodeSpec, ValueId};
use crate::ops::cut::Entry;
use crate::ops::{Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Unsupported};
use crate::tensor::{DType, Tensor};

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Movement::new(
        Spec::onnx(
            "Constant",
            0..=0,
            &[
                "value",
                "sparse_value",
                "value_float",
                "value_floats",
                "value_int",
                "value_ints",
                "value_string",
                "value_strings",
            ],
        ),
        |_, _| Ok(()),
        no_gradient,
        Vec::new,
    ),
    &Movement::new(
        Spec::onnx("ConstantOfShape", 1..=1, &["value"]).versions(9..=NEWEST_OPSET),
        couple_filled,
        no_gradient,
        || vec![Example::new("ConstantOfShape").ints(&[2, 3]).no_gradient()],
    )
    .resized_by(resize_filled),
    &Movement::new(Spec::onnx("Shape", 1..=1, &["start", "end"]), |_, _| Ok(()), no_gradient, shape_examples)
        .resized_by(resize_shape),
    &Movement::new(Spec::onnx("Size", 1..=1, &[]), couple_size, no_gradient, || {
        vec![Example::new("Size").computed(&[2, 6]).prunable(0, 1).no_gradient().output_dtype(DType::I64)]
    })
    .resized_by(resize_size),
    &Movement::new(Spec::onnx("Range", 3..=3, &[]), couple_fixed, no_gradient, Vec::new),
    &Movement::new(Spec::onnx("EyeLike", 1..=1, &["dtype", "k"]), couple_fixed, no_gradient, Vec::new),
    &Movement::new(Spec::onnx("OneHot", 3..=3, &["axis"]), couple_fixed, no_gradient, Vec::new),
    &random("RandomNormal", 0, &["dtype", "mean", "scale", "seed", "shape"]),
    &random("RandomUniform", 0, &["dtype", "high", "low", "seed", "shape"]),
    &random("RandomNormalLike", 1, &["dtype", "mean", "scale", "seed"]),
    &random("RandomUniformLike", 1, &["dtype", "high", "low", "seed"]),
];

/// Whether the node reads the lengths of its input's axes and not what they hold.
pub fn reads_lengths_alone(node: &Node) -> bool {
    let named = OPERATORS.iter().map(|operator| operator.spec()).find(|spec| spec.names(node));
    named.is_some_and(|spec| ["Shape", "Size"].contains(&spec.op_type))
}

const fn random(op_type: &'static str, inputs: usize, attributes: &'static [&'static str]) -> Movement {
    Movement::new(Spec::onnx(op_type, inputs..=inputs, attributes), couple_fixed, no_gradient, Vec::new)
}

#[allow(clippy::unnecessary_wraps, reason = "it stands in a table of functions that can fail")]
fn couple_fixed(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    pin_inputs(node, slots, 0, "it decides the size of a result that the node makes up");
    Ok(())
}

fn couple_filled(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    pin_inputs(node, slots, 0, "a shape has one entry for each axis");
    let is_zero =
        |value: crate::tensor::Tensor| value.to_f64().is_ok_and(|value| value.iter().all(|&v| v == 0.0));
    let zero = !node.has("value") || node.tensor("value").is_some_and(is_zero);
    let y = node.y(0)?;
    for axis in (0..y.rank()).filter(|&axis| !y.varies(axis)) {
        let made = slots.fresh(y.dims()[axis], zero);
        set(node, slots, 0, axis, made)?;
    }
    Ok(())
}

/// Whether the node is a `ConstantOfShape`.
fn fills(node: &Node) -> bool {
    node.op_type == "ConstantOfShape" && matches!(node.domain.as_str(), "" | "ai.onnx")
}

/// The largest tensor, in elements, that is stored in place of a filling.
const LARGEST_FILLING: usize = 1 << 28;

/// Stores what `ConstantOfShape` nodes fill with a number other than 0, in a graph that stores no matrix: such a file
/// leaves its weights out, and what is not stored cannot be cut by its values. Ensures that no value changes.
pub fn store_fillings(graph: &mut Graph) {
    let is_matrix = |tensor: &Initializer| {
        tensor.dtype().is_some_and(DType::is_float)
            && tensor.dims().iter().filter(|&&dim| dim > 1).count() > 1
    };
    if graph.initializers().any(|(_, tensor)| is_matrix(tensor)) {
        return;
    }
    let found: Vec<(NodeId, ValueId, Tensor)> = graph
        .nodes()
        .filter_map(|(id, node)| filling(graph, node).map(|(value, tensor)| (id, value, tensor)))
        .collect();
    let mut stored: Vec<NodeId> = Vec::with_capacity(found.len());
    for (node, value, tensor) in found {
        graph.set_initializer(value, &tensor);
        stored.push(node);
    }
    stored.sort_unstable();
    graph.retain_nodes(|id, _| stored.binary_search(&id).is_err());
}

/// The output of a `ConstantOfShape` with constant dimensions and a float other than 0, and what it holds.
fn filling(graph: &Graph, node: &Node) -> Option<(ValueId, Tensor)> {
    if !fills(node) {
        return None;
    }
    let output =
        node.outputs.first().copied().flatten().filter(|output| !graph.outputs().contains(output))?;
    let dims =
        graph.value(node.inputs.first().copied().flatten()?).initializer()?.tensor().ok()?.to_i64().ok()?;
    let dims: Vec<usize> = dims.into_iter().map(|dim| usize::try_from(dim).ok()).collect::<Option<_>>()?;
    let value = node.attributes.tensor("value")?.tensor().ok()?;
    let number = value.to_f64().ok()?.first().copied().filter(|number| *number != 0.0)?;
    let count = crate::tensor::checked_count(&dims).filter(|&count| count > 0 && count <= LARGEST_FILLING)?;
    let filled = value.dtype().is_float().then(|| Tensor::new(dims, vec![number as f32; count]).ok())??;
    Some((output, filled.cast_float(value.dtype())))
}

/// Gives every reader of what a `ConstantOfShape` makes a node of its own: exporters fill one tensor and take the
/// initial states of all layers from it, which would leave together otherwise. Returns each tensor and its copy.
/// Ensures that no value changes.
pub fn separate_fillings(graph: &mut Graph) -> Vec<(ValueId, ValueId)> {
    let consumers = graph.consumers();
    let found: Vec<(NodeId, ValueId)> = graph
        .nodes()
        .filter(|(_, node)| fills(node))
        .filter_map(|(id, node)| Some((id, node.outputs.first().copied().flatten()?)))
        .collect();
    let mut copies = Vec::new();
    for (id, filled) in found {
        let first = usize::from(!graph.outputs().contains(&filled));
        for &(reader, input) in consumers[filled.index()].iter().skip(first) {
            let Some(input) = input else { continue };
            let node = graph.node(id);
            let spec = NodeSpec::with_optional(&node.op_type, &node.inputs)
                .domain(&node.domain)
                .attributes(node.attributes.clone());
            let name = format!("{}.copy", graph.value(filled).name());
            let copy = graph.insert_after(id, &name, spec);
            graph.node_mut(reader).inputs[input] = Some(copy);
            copies.push((filled, copy));
        }
    }
    copies
}

fn resize_filled(node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
    let entry = |axis| cut.output(0, axis).map_or(Entry::Keep, |kept| Entry::Set(kept.len() as i64));
    let entries: Vec<Entry> = (0..node.y(0)?.rank()).map(entry).collect();
    if entries.iter().any(|entry| *entry != Entry::Keep) {
        edit.input(0, entries);
    }
    Ok(())
}

fn couple_size(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    if node.x(0)?.any_varies() {
        pin_inputs(node, slots, 0, "the number of elements is computed, together with the batch");
    }
    Ok(())
}

/// The number of elements stays that of the dense model.
fn resize_size(node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
    if cut.shrinks_input(0) {
        edit.outputs.insert(0, vec![Entry::Set(node.x(0)?.count() as i64)]);
    }
    Ok(())
}

/// The sizes stay those of the dense model; what is computed from them is set right where it is used.
fn resize_shape(node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
    let x = node.x(0)?;
    let rank = x.rank() as i64;
    let bound = |name: &str, default: i64| {
        let given = node.int(name, default);
        (if given < 0 { given + rank } else { given }).clamp(0, rank) as usize
    };
    let (start, end) = (bound("start", 0), bound("end", rank));
    let entry = |axis: usize| match cut.input(0, axis) {
        Some(_) => Entry::Set(x.dims()[axis] as i64),
        None => Entry::Keep,
    };
    let entries: Vec<Entry> = (start..end.max(start)).map(entry).collect();
    if entries.iter().any(|entry| *entry != Entry::Keep) {
        edit.outputs.insert(0, entries);
    }
    Ok(())
}

fn shape_examples() -> Vec<Example> {
    let shape = || {
        let shape = Example::new("Shape").computed(&[2, 6, 3]).prunable(0, 1).prunable(0, 2);
        shape.no_gradient().output_dtype(DType::I64)
    };
    vec![shape(), shape().attribute("start", 1), shape().attribute("end", -1)]
}
