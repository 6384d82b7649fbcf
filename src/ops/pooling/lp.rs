//! `LpPool`: `(sum |x|^p)^(1/p)` over each window of `x [N, C, D1, …]`.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__LpPool.html>. In version 1 `p` was a float; `ceil_mode` and
//! `dilations` came with version 18.

use super::{couple, spread, windows};
use crate::ir::ValueId;
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};

struct LpPool(Spec);

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&LpPool(
    Spec::onnx(
        "LpPool",
        1..=1,
        &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "p", "pads", "strides"],
    )
    .versions(2..=NEWEST_OPSET),
)];

impl Operator for LpPool {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        windows(node)?;
        couple(node, slots, true)
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        if !tape.wants(0) {
            return Ok(());
        }
        let (windows, p) = (windows(node)?, node.int("p", 2));
        let (x, y, dy) = (tape.x(0)?, tape.y(0)?, tape.dy0()?);
        let ones: Vec<Vec<f64>> = windows.iter().map(|slide| vec![1.0; slide.output]).collect();
        let share = share(tape, dy, y, p)?;
        let spread = spread(tape, &windows, &ones, share)?;
        let slope = slope(tape, x, p);
        let dx = tape.mul(slope, spread);
        tape.give(0, dx);
        Ok(())
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let pool = |dims: &[usize], kernel: &[i64]| {
            Example::new("LpPool")
                .computed(dims)
                .attribute("kernel_shape", kernel.to_vec())
                .prunable(0, 1)
                .range(0.3, 1.5)
        };
        let ints = |values: &[i64]| values.to_vec();
        vec![
            pool(&[2, 3, 4, 5], &[2, 2]),
            pool(&[2, 3, 5, 6], &[3, 2])
                .attribute("p", 3)
                .attribute("strides", ints(&[2, 2]))
                .attribute("pads", ints(&[1, 0, 1, 0])),
            pool(&[2, 3, 7], &[3]).attribute("p", 1).attribute("strides", ints(&[2])),
        ]
    }
}

/// `dy / y^(p-1)`, and zero where `y` is.
pub(super) fn share(tape: &mut Tape<'_>, dy: ValueId, y: ValueId, p: i64) -> Result<ValueId, Unsupported> {
    if p < 1 {
        return Err(Unsupported(format!("p is {p}")));
    }
    if p == 1 {
        return Ok(dy);
    }
    let power = power(tape, y, p - 1);
    let (zero, one) = (tape.scalar(0.0), tape.scalar(1.0));
    let none = tape.op("Equal", &[power, zero]);
    let divisor = tape.select(none, one, power);
    let quotient = tape.div(dy, divisor);
    Ok(tape.select(none, zero, quotient))
}

/// `sign(x) * |x|^(p-1)`.
pub(super) fn slope(tape: &mut Tape<'_>, x: ValueId, p: i64) -> ValueId {
    match p {
        1 => tape.op("Sign", &[x]),
        2 => x,
        _ => {
            let size = tape.op("Abs", &[x]);
            let power = power(tape, size, p - 2);
            tape.mul(x, power)
        }
    }
}

fn power(tape: &mut Tape<'_>, base: ValueId, exponent: i64) -> ValueId {
    if exponent == 1 {
        return base;
    }
    let exponent = tape.scalar(exponent as f64);
    tape.op("Pow", &[base, exponent])
}
