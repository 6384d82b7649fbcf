//! `ArgMax`, `ArgMin`: where along an axis the largest or smallest element is.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__ArgMax.html>. Version 12 added `select_last_index`.

use crate::ops::node::axis_index;
use crate::ops::{Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};
use crate::tensor::DType;

struct Arg {
    spec: Spec,
}

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&row("ArgMax"), &row("ArgMin")];

const fn row(op_type: &'static str) -> Arg {
    Arg { spec: Spec::onnx(op_type, 1..=1, &["axis", "keepdims", "select_last_index"]) }
}

impl Operator for Arg {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let rank = node.x(0)?.rank();
        let over = axis_index(node.int("axis", 0), rank)?;
        let keeps = node.int("keepdims", 1) != 0;
        for axis in 0..rank {
            let own = slots.input(0, axis);
            if axis == over {
                slots.pin(&own, "the result is an index into the axis");
            } else {
                let place = if axis > over && !keeps { axis - 1 } else { axis };
                slots.set(0, place, own.with_zero(false));
            }
        }
        Ok(())
    }

    fn gradient(&self, _: &NodeView<'_>, _: &mut Tape<'_>) -> Result<(), Unsupported> {
        Ok(())
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let case =
            || Example::new(self.spec.op_type).output_dtype(DType::I64).no_gradient().computed(&[2, 6, 3]);
        vec![
            case().attribute("axis", 2).prunable(0, 1),
            case().attribute("axis", 0).attribute("keepdims", 0).prunable(0, 1).prunable(0, 2),
            case().attribute("axis", -1).opset(11).attribute("keepdims", 0).prunable(0, 1),
        ]
    }
}
