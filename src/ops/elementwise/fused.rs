//! Activations of ONNX Runtime's own domain, with a bias `[C]` that is added to x `[.., C]` first or without: Gelu,
//! BiasGelu, FastGelu, QuickGelu.
//!
//! Specification: <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>. FastGelu is Gelu by
//! a hyperbolic tangent; QuickGelu is `x * sigmoid(alpha * x)` with `alpha` 1.702 by default.

use super::couple_broadcast;
use super::unary::{gelu_slope, swish_slope};
use crate::ir::ValueId;
use crate::ops::{Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};

/// `f'` at the sum of x and bias: from the node, the tape, the sum and y.
type Slope = fn(&NodeView<'_>, &mut Tape<'_>, ValueId, ValueId) -> ValueId;

struct Activation {
    spec: Spec,
    slope: Slope,
    examples: fn() -> Vec<Example>,
}

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Activation {
        spec: Spec::microsoft("Gelu", 1..=1, &[]),
        slope: |_, tape, x, _| gelu_slope(tape, x, false),
        examples: || vec![plain("Gelu")],
    },
    &Activation {
        spec: Spec::microsoft("BiasGelu", 2..=2, &[]),
        slope: |_, tape, x, _| gelu_slope(tape, x, false),
        examples: || vec![biased("BiasGelu")],
    },
    &Activation {
        spec: Spec::microsoft("FastGelu", 1..=2, &[]),
        slope: |_, tape, x, _| gelu_slope(tape, x, true),
        examples: || vec![plain("FastGelu"), biased("FastGelu")],
    },
    &Activation {
        spec: Spec::microsoft("QuickGelu", 1..=1, &["alpha"]),
        slope: |node, tape, x, y| swish_slope(tape, x, y, f64::from(node.float("alpha", 1.702))),
        examples: || vec![plain("QuickGelu"), plain("QuickGelu").attribute("alpha", 0.8)],
    },
];

fn plain(op_type: &'static str) -> Example {
    Example::microsoft(op_type).computed(&[2, 3, 6]).prunable(0, 2).prunable(0, 1)
}

fn biased(op_type: &'static str) -> Example {
    plain(op_type).weight(&[6])
}

impl Operator for Activation {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let operands: Vec<usize> = (0..node.input_count()).collect();
        // All of these functions are zero at zero.
        couple_broadcast(node, slots, &operands, |zeros| zeros.iter().all(|&zero| zero))
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let (mut x, y, dy) = (tape.x(0)?, tape.y(0)?, tape.dy0()?);
        if node.input(1).is_some() {
            let bias = tape.x(1)?;
            x = tape.add(x, bias);
        }
        let slope = (self.slope)(node, tape, x, y);
        let grad = tape.mul(dy, slope);
        for input in 0..node.input_count() {
            if tape.wants(input) {
                tape.give_unbroadcast(node, input, grad)?;
            }
        }
        Ok(())
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
