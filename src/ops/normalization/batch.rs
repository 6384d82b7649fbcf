//! `BatchNormalization`: every channel by stored statistics (inference), or by those of the batch
//! (`training_mode`).
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>. Versions 7 to 13 say by the number
//! of outputs whether they train; version 7 knows `spatial`; version 14 brought `training_mode`, whose outputs 1
//! and 2 are the new statistics: `momentum * old + (1 - momentum) * batch`, the variance being the biased one.

use super::{Standardised, couple_affine, inverse_deviation, per_channel};
use crate::ir::ValueId;
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
        check(node)?;
        if !trains(node) {
            return inference_gradient(node, tape);
        }
        if node.opset() < 14 && node.int("training_mode", 0) == 0 {
            return Err(Unsupported::new("it trains in the manner of operator sets before 14"));
        }
        training_gradient(node, tape)
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
            case(&[3, 4, 3]).attribute("training_mode", 1).attribute("momentum", 0.5).outputs(3),
        ]
    }
}

/// All axes but that of the channels.
fn statistics_axes(rank: usize) -> Vec<usize> {
    (0..rank).filter(|&axis| axis != 1).collect()
}

/// `y = (x - mean) * k + bias` with `k = scale / sqrt(var + epsilon)`, all vectors constant over the batch.
fn inference_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let rank = check(node)?;
    let axes = statistics_axes(rank);
    let (x, scale, mean, variance, dy) = (tape.x(0)?, tape.x(1)?, tape.x(3)?, tape.x(4)?, tape.dy0()?);
    let inverse = inverse_deviation(tape, variance, node.float("epsilon", 1e-5));
    let factor = tape.mul(scale, inverse);
    if tape.wants(0) {
        let factor = per_channel(tape, factor, rank);
        let grad = tape.mul(dy, factor);
        tape.give(0, grad);
    }
    if tape.wants(2) || tape.wants(3) {
        let sum = tape.reduce_sum(dy, &axes, false);
        if tape.wants(2) {
            tape.give(2, sum);
        }
        if tape.wants(3) {
            let grad = tape.mul(sum, factor);
            let grad = tape.neg(grad);
            tape.give(3, grad);
        }
    }
    if tape.wants(1) || tape.wants(4) {
        let mean = per_channel(tape, mean, rank);
        let centred = tape.sub(x, mean);
        let along = tape.mul(dy, centred);
        let along = tape.reduce_sum(along, &axes, false);
        let along = tape.mul(along, inverse);
        if tape.wants(1) {
            tape.give(1, along);
        }
        if tape.wants(4) {
            // d inverse / d variance = -inverse^3 / 2.
            let grad = tape.mul(along, factor);
            let grad = tape.mul(grad, inverse);
            let grad = tape.scale(grad, -0.5);
            tape.give(4, grad);
        }
    }
    Ok(())
}

/// The gradient through mean and variance of the batch as well.
fn training_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let momentum = node.float("momentum", 0.9);
    for (output, input) in [(1, 3), (2, 4)] {
        if let Some(dy) = tape.dy(output).filter(|_| tape.wants(input)) {
            let grad = tape.scale(dy, f64::from(momentum));
            tape.give(input, grad);
        }
    }
    let wants_statistics = tape.wants(0) && (tape.dy(1).is_some() || tape.dy(2).is_some());
    let Some(dy) = tape.dy(0) else {
        if wants_statistics {
            return Err(Unsupported::new("the loss depends on the new statistics alone"));
        }
        return Ok(());
    };
    let rank = check(node)?;
    let axes = statistics_axes(rank);
    let sum = tape.reduce_sum(dy, &axes, true);
    if tape.wants(2) {
        let grad = tape.reshape(sum, &[-1]);
        tape.give(2, grad);
    }
    if !tape.wants(0) && !tape.wants(1) {
        return Ok(());
    }
    let standard = standardised(node, tape, axes.clone())?;
    let along = tape.mul(dy, standard.centred);
    let along = tape.reduce_sum(along, &axes, true);
    if tape.wants(1) {
        let grad = tape.mul(along, standard.inverse);
        let grad = tape.reshape(grad, &[-1]);
        tape.give(1, grad);
    }
    if tape.wants(0) {
        let count = tape.count_over(node, 0, &axes)?;
        let scale = tape.x(1)?;
        let scale = per_channel(tape, scale, rank);
        let mut grad = standard.scaled_gradient(tape, dy, [sum, along, count], scale);
        if wants_statistics {
            let through = through_statistics(tape, &standard, f64::from(1.0 - momentum), count, rank);
            grad = tape.add(grad, through);
        }
        tape.give(0, grad);
    }
    Ok(())
}

/// x by the statistics of the batch: those that the node gives out where they are the batch's own.
fn standardised(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    axes: Vec<usize>,
) -> Result<Standardised, Unsupported> {
    let (rank, x, epsilon) = (check(node)?, tape.x(0)?, node.float("epsilon", 1e-5));
    if node.float("momentum", 0.9) == 0.0 && node.output(1).is_some() && node.output(2).is_some() {
        let (mean, variance) = (tape.y(1)?, tape.y(2)?);
        let (mean, variance) = (per_channel(tape, mean, rank), per_channel(tape, variance, rank));
        let centred = tape.sub(x, mean);
        let inverse = inverse_deviation(tape, variance, epsilon);
        return Ok(Standardised { axes, centred, inverse });
    }
    Ok(Standardised::new(tape, x, axes, epsilon))
}

/// The gradient of x through the new statistics, in which those of the batch have the part `share`.
fn through_statistics(
    tape: &mut Tape<'_>,
    standard: &Standardised,
    share: f64,
    count: ValueId,
    rank: usize,
) -> ValueId {
    let part = |tape: &mut Tape<'_>, output: usize| {
        let grad = tape.dy(output)?;
        let grad = per_channel(tape, grad, rank);
        let grad = tape.scale(grad, share);
        Some(tape.div(grad, count))
    };
    let mean = part(tape, 1);
    let variance = part(tape, 2).map(|grad| {
        // d variance / d x = 2 (x - mean) / count.
        let twice = tape.scale(grad, 2.0);
        tape.mul(standard.centred, twice)
    });
    match (mean, variance) {
        (Some(mean), Some(variance)) => tape.add(mean, variance),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => tape.scalar(0.0),
    }
}
