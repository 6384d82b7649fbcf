//! `LpNormalization`: along `axis` divided by its 1-norm or 2-norm.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__LpNormalization.html>.

use crate::ops::node::axis_index;
use crate::ops::{Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};

struct LpNormalization;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&LpNormalization];

static SPEC: Spec = Spec::onnx("LpNormalization", 1..=1, &["axis", "p"]);

impl Operator for LpNormalization {
    fn spec(&self) -> &Spec {
        &SPEC
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let rank = node.x(0)?.rank();
        let over = axis_index(node.int("axis", -1), rank)?;
        for axis in 0..rank {
            let own = slots.input(0, axis);
            if axis == over {
                if !own.is_fixed() && !own.zero() {
                    slots.approximate(&own, "the norm over the axis counts every index of it");
                }
                slots.set(0, axis, own);
            } else {
                if own.zero() {
                    slots.pin(&own, "masked rows are zero, and so is their norm, by which they are divided");
                }
                slots.set(0, axis, own.with_zero(false));
            }
        }
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        if !tape.wants(0) {
            return Ok(());
        }
        let axis = axis_index(node.int("axis", -1), node.x(0)?.rank())?;
        let (x, y, dy) = (tape.x(0)?, tape.y(0)?, tape.dy0()?);
        // y = x / |x|, and |x| has the gradient y for p = 2 and sign(x) for p = 1.
        let one = node.int("p", 2) == 1;
        let norm = tape.reduce(if one { "ReduceL1" } else { "ReduceL2" }, x, &[axis], true, 18);
        let slope = if one { tape.op("Sign", &[x]) } else { y };
        let along = tape.mul(dy, y);
        let along = tape.reduce_sum(along, &[axis], true);
        let taken = tape.mul(slope, along);
        let rest = tape.sub(dy, taken);
        let grad = tape.div(rest, norm);
        tape.give(0, grad);
        Ok(())
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let case = || Example::new("LpNormalization");
        vec![
            case().computed(&[2, 6]).prunable(0, 1),
            case().attribute("p", 1).attribute("axis", 1).computed(&[2, 6, 3]).prunable(0, 1),
            case().attribute("p", 2).attribute("axis", -2).computed(&[2, 6, 3]).prunable(0, 1),
        ]
    }
}
