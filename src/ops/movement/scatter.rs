//! `GatherElements`, `GatherND`, Scatter, `ScatterElements`, `ScatterND`: elements picked or written one by one.
//!
//! Specification: <https://onnx.ai/onnx/operators/>. The sums among reductions came with version 16, minimum and
//! maximum with version 18. Scatter is the old name of `ScatterElements`.

use super::adjoint::{Size, scatter_add, size, zeros, zeros_like};
use super::{Movement, pass, pin_inputs, set};
use crate::ir::{Node, NodeSpec};
use crate::ops::node::axis_index;
use crate::ops::{Coupling, Example, NodeView, Operator, Spec, Tape, Unsupported};
use crate::tensor::Tensor;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Movement::new(
        Spec::onnx("GatherElements", 2..=2, &["axis"]),
        couple_elements,
        gather_elements_gradient,
        gather_elements_examples,
    ),
    &Movement::new(
        Spec::onnx("Scatter", 3..=3, &["axis"]).versions(9..=10),
        couple_elements,
        scatter_elements_gradient,
        Vec::new,
    ),
    &Movement::new(
        Spec::onnx("ScatterElements", 3..=3, &["axis", "reduction"]),
        couple_elements,
        scatter_elements_gradient,
        scatter_elements_examples,
    ),
    &Movement::new(
        Spec::onnx("GatherND", 2..=2, &["batch_dims"]),
        couple_gather_nd,
        gather_nd_gradient,
        gather_nd_examples,
    ),
    &Movement::new(
        Spec::onnx("ScatterND", 3..=3, &["reduction"]),
        couple_scatter_nd,
        scatter_nd_gradient,
        scatter_nd_examples,
    ),
];

/// Whether the node reads or writes elements one by one, so that the axes it indexes cannot leave in part.
pub(in crate::ops) fn picks_by_index(node: &Node) -> bool {
    OPERATORS.iter().any(|operator| operator.spec().names(node))
}

const INDEXED: &str = "the node picks its elements by index";

/// Along other axes than the indexed one, element `i` of all operands belongs together.
fn couple_elements(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    let (x, y) = (node.x(0)?, node.y(0)?);
    let indexed = axis_index(node.int("axis", 0), x.rank())?;
    let others = 1..node.input_count();
    for input in others.clone() {
        if node.x(input)?.rank() != x.rank() {
            return Err(Unsupported(format!("input {input} has another rank than input 0")));
        }
    }
    for axis in 0..x.rank() {
        let own = slots.input(0, axis);
        let mut equal = axis != indexed;
        for input in others.clone() {
            equal &= node.x(input)?.dims()[axis] == y.dims()[axis] && x.dims()[axis] == y.dims()[axis];
        }
        let mut zero = own.zero();
        for input in others.clone() {
            let other = slots.input(input, axis);
            if equal {
                slots.tie(&own, &other);
            } else {
                slots.pin(&other, INDEXED);
            }
            zero &= input != 2 || other.zero();
        }
        if equal {
            set(node, slots, 0, axis, own.with_zero(zero))?;
        } else {
            slots.pin(&own, INDEXED);
        }
    }
    Ok(())
}

fn gather_elements_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) else { return Ok(()) };
    if tape.opset() < 16 {
        return Err(Unsupported::new("adding into picked elements needs opset 16"));
    }
    let (x, indices) = (tape.x(0)?, tape.x(1)?);
    let base = zeros_like(tape, x);
    let spec = NodeSpec::new("ScatterElements", &[base, indices, dy]).attribute("axis", node.int("axis", 0));
    let grad = tape.node(spec.attribute("reduction", "add"));
    tape.give(0, grad);
    Ok(())
}

fn is_sum(node: &NodeView<'_>) -> Result<bool, Unsupported> {
    match node.string("reduction", "none") {
        "none" => Ok(false),
        "add" => Ok(true),
        other => Err(Unsupported(format!("the reduction `{other}` has no gradient here"))),
    }
}

fn scatter_elements_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let Some(dy) = tape.dy(0) else { return Ok(()) };
    let (sum, axis, indices) = (is_sum(node)?, node.int("axis", 0), tape.x(1)?);
    if tape.wants(0) {
        let grad = if sum {
            dy
        } else {
            let updates = tape.x(2)?;
            let nothing = zeros_like(tape, updates);
            let op_type = if tape.opset() < 11 { "Scatter" } else { "ScatterElements" };
            tape.node(NodeSpec::new(op_type, &[dy, indices, nothing]).attribute("axis", axis))
        };
        tape.give(0, grad);
    }
    if tape.wants(2) {
        if tape.opset() < 11 {
            return Err(Unsupported::new("picking elements needs opset 11"));
        }
        let grad = tape.node(NodeSpec::new("GatherElements", &[dy, indices]).attribute("axis", axis));
        tape.give(2, grad);
    }
    Ok(())
}

fn couple_gather_nd(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    pin_inputs(node, slots, 1, INDEXED);
    let (x, indices, y) = (node.x(0)?, node.x(1)?, node.y(0)?);
    let depth = *indices.dims().last().ok_or_else(|| Unsupported::new("its indices are a scalar"))?;
    let batch = usize::try_from(node.int("batch_dims", 0)).unwrap_or(usize::MAX);
    let first = batch.saturating_add(depth).min(x.rank());
    for axis in 0..first {
        let own = slots.input(0, axis);
        slots.pin(&own, INDEXED);
    }
    let lead =
        y.rank().checked_sub(x.rank() - first).ok_or_else(|| Unsupported::new("its ranks do not fit"))?;
    (first..x.rank()).try_for_each(|axis| pass(node, slots, axis, 0, lead + axis - first))
}

fn gather_nd_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) else { return Ok(()) };
    if node.int("batch_dims", 0) != 0 {
        return Err(Unsupported::new("batch_dims other than 0 have no gradient here"));
    }
    let (x, value, indices) = (node.x(0)?, tape.x(0)?, tape.x(1)?);
    let sizes: Vec<Size> = (0..x.rank()).map(|axis| size(x, value, axis)).collect();
    let grad = scatter_add(tape, &sizes, indices, dy)?;
    tape.give(0, grad);
    Ok(())
}

fn couple_scatter_nd(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    let (x, indices, updates) = (node.x(0)?, node.x(1)?, node.x(2)?);
    let depth = *indices.dims().last().ok_or_else(|| Unsupported::new("its indices are a scalar"))?;
    let lead = indices.rank() - 1;
    if depth > x.rank() || updates.rank() != lead + x.rank() - depth {
        return Err(Unsupported::new("its ranks do not fit"));
    }
    for axis in 0..indices.rank() {
        let own = slots.input(1, axis);
        slots.pin(&own, INDEXED);
    }
    for axis in 0..lead {
        let own = slots.input(2, axis);
        slots.pin(&own, INDEXED);
    }
    for axis in 0..x.rank() {
        let own = slots.input(0, axis);
        if axis < depth {
            slots.pin(&own, INDEXED);
            continue;
        }
        let update = slots.input(2, lead + axis - depth);
        slots.tie(&own, &update);
        let zero = own.zero() && update.zero();
        set(node, slots, 0, axis, own.with_zero(zero))?;
    }
    Ok(())
}

fn scatter_nd_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let Some(dy) = tape.dy(0) else { return Ok(()) };
    let (sum, indices) = (is_sum(node)?, tape.x(1)?);
    if tape.wants(0) {
        let grad = if sum {
            dy
        } else {
            let (updates, value) = (node.x(2)?, tape.x(2)?);
            let sizes: Vec<Size> = (0..updates.rank()).map(|axis| size(updates, value, axis)).collect();
            let nothing = zeros(tape, &sizes);
            tape.op("ScatterND", &[dy, indices, nothing])
        };
        tape.give(0, grad);
    }
    if tape.wants(2) {
        if tape.opset() < 12 {
            return Err(Unsupported::new("picking elements needs opset 12"));
        }
        let grad = tape.op("GatherND", &[dy, indices]);
        tape.give(2, grad);
    }
    Ok(())
}

fn block(dims: &[usize], values: &[i64]) -> Option<Tensor> {
    Tensor::new(dims.to_vec(), values.to_vec()).ok()
}

fn gather_elements_examples() -> Vec<Example> {
    let indices = block(&[2, 3], &[5, 0, 0, 1, 2, 4]);
    let example = |indices| {
        vec![Example::new("GatherElements").attribute("axis", 1).computed(&[2, 6]).constant(indices)]
    };
    indices.map_or_else(Vec::new, example)
}

fn scatter_elements_examples() -> Vec<Example> {
    let Some(indices) = block(&[2, 3], &[5, 0, 2, 1, 2, 4]) else { return Vec::new() };
    let scatter = || {
        let data = Example::new("ScatterElements").attribute("axis", 1).computed(&[2, 6]);
        data.constant(indices.clone()).computed(&[2, 3])
    };
    vec![scatter(), scatter().attribute("reduction", "add")]
}

fn gather_nd_examples() -> Vec<Example> {
    let gather = |indices| Example::new("GatherND").computed(&[3, 6, 4]).constant(indices);
    let rows = block(&[3, 1], &[2, 0, 2]).map(|rows| gather(rows).prunable(0, 1).prunable(0, 2));
    let points = block(&[2, 2], &[1, 5, 0, 0]).map(|points| gather(points).prunable(0, 2));
    rows.into_iter().chain(points).collect()
}

fn scatter_nd_examples() -> Vec<Example> {
    let Some(rows) = block(&[2, 1], &[2, 0]) else { return Vec::new() };
    let scatter = || {
        let data = Example::new("ScatterND").computed(&[3, 6]).constant(rows.clone());
        data.computed(&[2, 6]).prunable(0, 1).prunable(2, 1)
    };
    vec![scatter(), scatter().attribute("reduction", "add")]
}
