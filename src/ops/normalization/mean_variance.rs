//! `MeanVarianceNormalization`: less the mean over `axes`, divided by the standard deviation over them.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__MeanVarianceNormalization.html> (since version 9).

use std::collections::BTreeSet;

use super::Standardised;
use crate::ops::node::axis_index;
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};

struct MeanVarianceNormalization;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&MeanVarianceNormalization];

static SPEC: Spec = Spec::onnx("MeanVarianceNormalization", 1..=1, &["axes"]).versions(9..=NEWEST_OPSET);

fn axes(node: &NodeView<'_>) -> Result<Vec<usize>, Unsupported> {
    let rank = node.x(0)?.rank();
    let given = node.ints("axes").unwrap_or(&[0, 2, 3]);
    let axes: BTreeSet<usize> = given.iter().map(|&axis| axis_index(axis, rank)).collect::<Result<_, _>>()?;
    Ok(axes.into_iter().collect())
}

impl Operator for MeanVarianceNormalization {
    fn spec(&self) -> &Spec {
        &SPEC
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let over = axes(node)?;
        for axis in 0..node.x(0)?.rank() {
            let own = slots.input(0, axis);
            if over.contains(&axis) {
                if !own.is_fixed() {
                    slots.approximate(&own, "the statistics are taken over the axis");
                }
                slots.set(0, axis, own.with_zero(false));
            } else {
                slots.pin(&own, "masked rows are all alike, and divided by their standard deviation of zero");
            }
        }
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        if tape.wants(0) {
            let (x, dy) = (tape.x(0)?, tape.dy0()?);
            let standard = Standardised::new(tape, x, axes(node)?, 1e-18);
            let value = standard.value(tape);
            let grad = standard.gradient(tape, value, dy, true);
            tape.give(0, grad);
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
        let case = || Example::new("MeanVarianceNormalization");
        vec![
            case().computed(&[2, 6, 3, 2]),
            case().attribute("axes", vec![2, 3]).computed(&[2, 6, 3, 2]),
            case().opset(9).attribute("axes", vec![-1]).computed(&[2, 6, 5]),
        ]
    }
}
