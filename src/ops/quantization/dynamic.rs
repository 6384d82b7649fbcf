//! `DynamicQuantizeLinear`: bytes `y`, with scale and zero point by the range of all numbers and of 0.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html>.

use super::rounds;
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};
use crate::tensor::DType;

struct Dynamic(Spec);

pub(in crate::ops) static OPERATORS: &[&dyn Operator] =
    &[&Dynamic(Spec::onnx("DynamicQuantizeLinear", 1..=1, &[]).versions(11..=NEWEST_OPSET).outputs(3..=3))];

impl Operator for Dynamic {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        for axis in 0..node.x(0)?.rank() {
            let own = slots.input(0, axis);
            // The range has 0 in it anyway, so zeros may leave.
            if !own.is_fixed() && !own.zero() {
                slots.approximate(&own, "numbers are quantised by the range of all of them");
            }
            // What is zero is stored as the zero point.
            slots.set(0, axis, own.with_zero(false));
        }
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        rounds(node, tape)
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let case =
            Example::new("DynamicQuantizeLinear").computed(&[2, 6, 3]).outputs(3).output_dtype(DType::U8);
        vec![case.no_gradient().prunable(0, 1)]
    }
}
