//! `BatchNormalization`: every channel by stored statistics (inference), or by those of the batch
//! (`training_mode`).
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>. Versions 7 to 13 say by the number
//! of outputs whether they train; version 7 knows `spatial`; version 14 brought `training_mode`, whose outputs 1
//! and 2 are the new statistics: `momentum * old + (1 - momentum) * batch`, the variance being the biased one.

use super::couple_affine;
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};

struct BatchNormalization;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&BatchNormalization];

static SPEC: Spec =
    Spec::onnx("BatchNormalization", 5..=5, &["epsilon", "momentum", "spatial", "training_mode"])
        .versions(7..=NEWEST_OPSET)
        .outputs(1..=5);

/// Whether the statistics are those of the batch.
fn trains(node: &NodeView<'_>) -> bool {
    if node.opset() < 14 { node.output_count() > 1 } else { node.int("training_mode", 0) != 0 }
}

fn check(node: &NodeView<'_>) -> Result<usize, Unsupported> {
    let rank = node.x(0)?.rank();
    if rank < 2 {
        return Err(Unsupported::new("x has no channel axis"));
    }
    if node.int("spatial", 1) == 0 {
        return Err(Unsupported::new("statistics for every place (spatial = 0) are not understood"));
    }
    Ok(rank)
}

impl Operator for BatchNormalization {
    fn spec(&self) -> &Spec {
        &SPEC
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let rank = check(node)?;
        let channel = slots.input(0, 1);
        let coupled = couple_affine(node, slots, &channel, [1, 2])?;
        for input in [3, 4] {
            let own = slots.input(input, 0);
            slots.tie(&coupled, &own);
        }
        for output in 1..node.output_count() {
            slots.set(output, 0, coupled.with_zero(false));
        }
        slots.set(0, 1, coupled);
        for axis in (0..rank).filter(|&axis| axis != 1) {
            let own = slots.input(0, axis);
            if trains(node) && !own.is_fixed() {
                slots.approximate(&own, "the statistics of the batch are taken over the axis");
            }
            slots.set(0, axis, own.with_zero(false));
        }
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let _ = (tape, node);
        Err(Unsupported::new("BatchNormalization has no gradient yet"))
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let case = |dims: &[usize]| {
            let channels = [dims[1]];
            Example::new("BatchNormalization")
                .computed(dims)
                .weight(&channels)
                .weight(&channels)
                .weight(&channels)
                .positive(&channels)
                .prunable(0, 1)
        };
        vec![
            case(&[2, 6, 3, 2]),
            case(&[3, 6]).attribute("epsilon", 0.1),
            case(&[2, 4, 5]).opset(9),
            case(&[2, 4, 3]).opset(7).attribute("spatial", 1),
            case(&[3, 4, 2, 2]).opset(14).attribute("training_mode", 0),
            case(&[3, 6, 2, 2]).opset(15).attribute("training_mode", 1).outputs(3),
            case(&[4, 6]).attribute("training_mode", 1).attribute("momentum", 0.0).outputs(3),
            case(&[3, 4, 3]).attribute("training_mode", 1),
        ]
    }
}
