//! `GlobalAveragePool`, `GlobalMaxPool`, `GlobalLpPool`: one number for each channel of `x [N, C, D1, …]`.
//!
//! Specification: <https://onnx.ai/onnx/operators/>. In version 1 the `p` of `GlobalLpPool` was a float.

use super::couple;
use crate::ir::NodeSpec;
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};

type Gradient = fn(&NodeView<'_>, &mut Tape<'_>) -> Result<(), Unsupported>;

struct Global {
    spec: Spec,
    gradient: Gradient,
    examples: fn() -> Vec<Example>,
}

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Global {
        spec: Spec::onnx("GlobalAveragePool", 1..=1, &[]),
        gradient: average_gradient,
        examples: || examples("GlobalAveragePool"),
    },
    &Global {
        spec: Spec::onnx("GlobalMaxPool", 1..=1, &[]),
        gradient: max_gradient,
        examples: || examples("GlobalMaxPool"),
    },
    &Global {
        spec: Spec::onnx("GlobalLpPool", 1..=1, &["p"]).versions(2..=NEWEST_OPSET),
        gradient: lp_gradient,
        examples: lp_examples,
    },
];

impl Operator for Global {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        if node.x(0)?.rank() < 3 {
            return Err(Unsupported::new("x has no spatial axes"));
        }
        couple(node, slots, true)
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        if tape.wants(0) { (self.gradient)(node, tape) } else { Ok(()) }
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        (self.examples)()
    }
}

/// Every element gets the same share.
fn average_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (x, dy) = (node.x(0)?, tape.dy0()?);
    let shape = tape.shape_of(node, 0)?;
    let spatial = 2..x.rank();
    let share = if spatial.clone().any(|axis| x.varies(axis)) {
        let one = tape.scalar(1.0);
        let ones = tape.op("Expand", &[one, shape]);
        let axes: Vec<usize> = spatial.collect();
        let count = tape.reduce_sum(ones, &axes, true);
        tape.div(dy, count)
    } else {
        let count: usize = x.dims()[2..].iter().product();
        tape.scale(dy, 1.0 / count as f64)
    };
    let dx = tape.op("Expand", &[share, shape]);
    tape.give(0, dx);
    Ok(())
}

/// The gradient goes to the first of the largest elements of each channel.
fn max_gradient(_: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    if tape.opset() < 11 {
        return Err(Unsupported::new("its gradient needs opset 11"));
    }
    let (x, dy) = (tape.x(0)?, tape.dy0()?);
    let shape = tape.op("Shape", &[x]);
    let flat = tape.reshape(x, &[0, 0, -1]);
    let flat_shape = tape.op("Shape", &[flat]);
    let place = tape.node(NodeSpec::new("ArgMax", &[flat]).attribute("axis", 2).attribute("keepdims", 1));
    let zero = tape.scalar(0.0);
    let zeros = tape.op("Expand", &[zero, flat_shape]);
    let grad = tape.reshape(dy, &[0, 0, -1]);
    let scattered = tape.node(NodeSpec::new("ScatterElements", &[zeros, place, grad]).attribute("axis", 2));
    let dx = tape.reshape_to(scattered, shape);
    tape.give(0, dx);
    Ok(())
}

/// `dx = dy * sign(x) * |x|^(p-1) / y^(p-1)`, and zero where `y` is.
fn lp_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (dy, x, y) = (tape.dy0()?, tape.x(0)?, tape.y(0)?);
    let p = node.int("p", 2);
    let share = super::lp::share(tape, dy, y, p)?;
    let slope = super::lp::slope(tape, x, p);
    let dx = tape.mul(slope, share);
    tape.give(0, dx);
    Ok(())
}

fn examples(op_type: &'static str) -> Vec<Example> {
    vec![
        Example::new(op_type).computed(&[2, 4, 3, 5]).prunable(0, 1),
        Example::new(op_type).computed(&[2, 4, 6]).opset(11).prunable(0, 1),
        Example::new(op_type).computed(&[1, 3, 2, 3, 2]).prunable(0, 1),
    ]
}

fn lp_examples() -> Vec<Example> {
    let pool = || Example::new("GlobalLpPool").computed(&[2, 4, 3, 2]).prunable(0, 1).range(0.3, 1.5);
    vec![pool(), pool().attribute("p", 3), pool().attribute("p", 1)]
}
