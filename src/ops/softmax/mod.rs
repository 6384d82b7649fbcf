//! `Softmax`, `LogSoftmax`, `Hardmax`.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__Softmax.html>. Before version 13 the tensor is read as a
//! matrix whose columns are all axes from `axis` (default 1) on; since then `axis` (default -1) alone is meant.

use super::node::axis_index;
use super::{Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};

type Gradient = fn(&mut Tape<'_>, &[usize]) -> Result<(), Unsupported>;

struct Softmax {
    spec: Spec,
    gradient: Gradient,
}

pub(super) static OPERATORS: &[&dyn Operator] =
    &[&row("Softmax", softmax), &row("LogSoftmax", log_softmax), &row("Hardmax", |_, _| Ok(()))];

const fn row(op_type: &'static str, gradient: Gradient) -> Softmax {
    Softmax { spec: Spec::onnx(op_type, 1..=1, &["axis"]), gradient }
}

/// The axes over which the result sums to one.
fn axes(node: &NodeView<'_>) -> Result<Vec<usize>, Unsupported> {
    let rank = node.x(0)?.rank();
    if node.opset() >= 13 {
        return Ok(vec![axis_index(node.int("axis", -1), rank)?]);
    }
    Ok((axis_index(node.int("axis", 1), rank)?..rank).collect())
}

impl Operator for Softmax {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let over = axes(node)?;
        for axis in 0..node.x(0)?.rank() {
            let own = slots.input(0, axis);
            if over.contains(&axis) && !own.is_fixed() {
                slots.approximate(&own, "a softmax over the axis counts every index of it");
            }
            slots.set(0, axis, own.with_zero(false));
        }
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        if tape.wants(0) { (self.gradient)(tape, &axes(node)?) } else { Ok(()) }
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let case = || Example::new(self.spec.op_type).computed(&[2, 3, 4]);
        let examples = vec![
            case().prunable(0, 1),
            case().attribute("axis", 1).prunable(0, 2),
            case().attribute("axis", -2).prunable(0, 2),
            case().opset(11),
            case().opset(11).attribute("axis", 2).prunable(0, 1),
            case().opset(9).attribute("axis", -1).prunable(0, 1),
            Example::new(self.spec.op_type).opset(12).computed(&[2, 6]),
        ];
        if self.spec.op_type == "Hardmax" {
            return examples.into_iter().map(Example::no_gradient).collect();
        }
        examples
    }
}

fn softmax(tape: &mut Tape<'_>, axes: &[usize]) -> Result<(), Unsupported> {
    let (y, dy) = (tape.y(0)?, tape.dy0()?);
    let weighted = tape.mul(dy, y);
    let sum = tape.reduce_sum(weighted, axes, true);
    let rest = tape.mul(y, sum);
    let grad = tape.sub(weighted, rest);
    tape.give(0, grad);
    Ok(())
}

fn log_softmax(tape: &mut Tape<'_>, axes: &[usize]) -> Result<(), Unsupported> {
    let (y, dy) = (tape.y(0)?, tape.dy0()?);
    let share = tape.op("Exp", &[y]);
    let sum = tape.reduce_sum(dy, axes, true);
    let rest = tape.mul(share, sum);
    let grad = tape.sub(dy, rest);
    tape.give(0, grad);
    Ok(())
}
