//! `TopK`, `CumSum`, Trilu, `ReverseSequence`: what depends on the order of indices along an axis.
//!
//! Specification: <https://onnx.ai/onnx/operators/>. `TopK` took `k` as an attribute before version 10.

use super::{Movement, pin_inputs, set};
use crate::ir::NodeSpec;
use crate::ops::node::axis_index;
use crate::ops::{Coupling, Example, NEWEST_OPSET, NodeView, Operator, Spec, Tape, Unsupported};
use crate::tensor::Tensor;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Movement::new(
        Spec::onnx("TopK", 1..=1, &["axis", "k"]).outputs(1..=2).versions(1..=9),
        couple_top,
        top_gradient,
        Vec::new,
    ),
    &Movement::new(
        Spec::onnx("TopK", 2..=2, &["axis", "largest", "sorted"]).outputs(1..=2).versions(10..=NEWEST_OPSET),
        couple_top,
        top_gradient,
        || {
            let top = || {
                Example::new("TopK")
                    .attribute("axis", 1)
                    .computed(&[2, 6, 3])
                    .ints(&[2])
                    .outputs(2)
                    .prunable(0, 2)
            };
            vec![top(), top().attribute("largest", 0)]
        },
    ),
    &Movement::new(
        Spec::onnx("CumSum", 2..=2, &["exclusive", "reverse"]).versions(11..=NEWEST_OPSET),
        couple_sums,
        sums_gradient,
        sums_examples,
    ),
    &Movement::new(
        Spec::onnx("Trilu", 1..=2, &["upper"]).versions(14..=NEWEST_OPSET),
        couple_triangle,
        triangle_gradient,
        triangle_examples,
    ),
    &Movement::new(
        Spec::onnx("ReverseSequence", 2..=2, &["batch_axis", "time_axis"]).versions(10..=NEWEST_OPSET),
        couple_reversed,
        reversed_gradient,
        reversed_examples,
    ),
];

/// Passes the axes of the first input on to every output, except those in `held`, which are pinned.
fn pass_except(
    node: &NodeView<'_>,
    slots: &mut dyn Coupling,
    held: &[usize],
    reason: &str,
) -> Result<(), Unsupported> {
    pin_inputs(node, slots, 1, reason);
    for axis in 0..node.x(0)?.rank() {
        let own = slots.input(0, axis);
        if held.contains(&axis) {
            slots.pin(&own, reason);
            continue;
        }
        for output in 0..node.output_count() {
            // The second output of TopK holds indices, which are not zero for a row of zeros.
            set(node, slots, output, axis, own.with_zero(own.zero() && output == 0))?;
        }
    }
    Ok(())
}

fn top_axis(node: &NodeView<'_>) -> Result<usize, Unsupported> {
    axis_index(node.int("axis", -1), node.x(0)?.rank())
}

fn couple_top(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    let axis = top_axis(node)?;
    pass_except(node, slots, &[axis], "the largest or smallest along the axis are chosen")
}

fn top_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) else { return Ok(()) };
    let indices = tape.y(1).map_err(|_| Unsupported::new("its indices are left out"))?;
    let x = tape.x(0)?;
    let base = super::adjoint::zeros_like(tape, x);
    let op_type = if tape.opset() < 11 { "Scatter" } else { "ScatterElements" };
    let spec = NodeSpec::new(op_type, &[base, indices, dy]).attribute("axis", top_axis(node)? as i64);
    let grad = tape.node(spec);
    tape.give(0, grad);
    Ok(())
}

fn sums_axis(node: &NodeView<'_>) -> Option<usize> {
    let axis = *node.input(1)?.steady_ints()?.first()?;
    axis_index(axis, node.input(0)?.rank()).ok()
}

fn couple_sums(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    let axis = sums_axis(node).ok_or_else(|| Unsupported::new("its axis is computed"))?;
    pass_except(node, slots, &[axis], "sums run along the axis")
}

fn sums_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    if let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) {
        let axis = tape.x(1)?;
        let spec = NodeSpec::new("CumSum", &[dy, axis])
            .attribute("exclusive", node.int("exclusive", 0))
            .attribute("reverse", 1 - node.int("reverse", 0));
        let grad = tape.node(spec);
        tape.give(0, grad);
    }
    Ok(())
}

fn couple_triangle(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    let rank = node.x(0)?.rank();
    let first =
        rank.checked_sub(2).ok_or_else(|| Unsupported::new("it needs an operand of 2 axes or more"))?;
    pass_except(node, slots, &[first, first + 1], "a triangle of the matrices is taken")
}

fn triangle_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    if let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) {
        let mut inputs = vec![dy];
        if node.input(1).is_some() {
            inputs.push(tape.x(1)?);
        }
        let grad = tape.node(NodeSpec::new("Trilu", &inputs).attribute("upper", node.int("upper", 1)));
        tape.give(0, grad);
    }
    Ok(())
}

fn couple_reversed(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    let rank = node.x(0)?.rank();
    let held = [axis_index(node.int("batch_axis", 1), rank)?, axis_index(node.int("time_axis", 0), rank)?];
    pass_except(node, slots, &held, "sequences along the axis are reversed")
}

fn reversed_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    if let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) {
        let lengths = tape.x(1)?;
        let spec = NodeSpec::new("ReverseSequence", &[dy, lengths])
            .attribute("batch_axis", node.int("batch_axis", 1))
            .attribute("time_axis", node.int("time_axis", 0));
        let grad = tape.node(spec);
        tape.give(0, grad);
    }
    Ok(())
}

fn sums_examples() -> Vec<Example> {
    let sums = || Example::new("CumSum").computed(&[2, 4, 6]).constant(Tensor::scalar(1_i64)).prunable(0, 2);
    vec![sums(), sums().attribute("reverse", 1), sums().attribute("exclusive", 1)]
}

fn triangle_examples() -> Vec<Example> {
    let triangle = || Example::new("Trilu").computed(&[6, 3, 3]).prunable(0, 0);
    vec![triangle(), triangle().attribute("upper", 0).constant(Tensor::scalar(1_i64))]
}

fn reversed_examples() -> Vec<Example> {
    vec![Example::new("ReverseSequence").computed(&[3, 2, 6]).ints(&[3, 2]).prunable(0, 2)]
}
