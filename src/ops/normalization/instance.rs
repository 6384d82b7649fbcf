//! `InstanceNormalization`: every channel of every sample by its own mean and variance; `GroupNormalization`: every
//! group of channels of every sample.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html> and
//! <https://onnx.ai/onnx/operators/onnx__GroupNormalization.html>. `scale` and `bias` of a `GroupNormalization` are
//! `[num_groups]` in versions 18 to 20 and `[C]` since.

use super::{Standardised, couple_affine, per_channel};
use crate::ir::ValueId;
use crate::ops::{
    Axis, Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};

struct InstanceNormalization;
struct GroupNormalization;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&InstanceNormalization, &GroupNormalization];

static INSTANCE: Spec = Spec::onnx("InstanceNormalization", 3..=3, &["epsilon"]).versions(6..=NEWEST_OPSET);
static GROUP: Spec = Spec::onnx("GroupNormalization", 3..=3, &["epsilon", "num_groups", "stash_type"])
    .versions(18..=NEWEST_OPSET);

const PER_SAMPLE: &str = "the statistics of a sample are taken over the axis";

/// Couples the batch axis and the axes behind the channels, over which statistics are taken.
fn couple_rest(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    let rank = node.x(0)?.rank();
    for axis in (0..rank).filter(|&axis| axis != 1) {
        let own = slots.input(0, axis);
        if axis > 1 && !own.is_fixed() {
            slots.approximate(&own, PER_SAMPLE);
        }
        slots.set(0, axis, own.with_zero(false));
    }
    Ok(())
}

fn rank_of(node: &NodeView<'_>) -> Result<usize, Unsupported> {
    let rank = node.x(0)?.rank();
    if rank < 3 { Err(Unsupported(format!("x [N, C, ..] has rank {rank}"))) } else { Ok(rank) }
}

impl Operator for InstanceNormalization {
    fn spec(&self) -> &Spec {
        &INSTANCE
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        rank_of(node)?;
        let channel = slots.input(0, 1);
        let coupled = couple_affine(node, slots, &channel, [1, 2])?;
        slots.set(0, 1, coupled);
        couple_rest(node, slots)
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let rank = rank_of(node)?;
        let (x, dy) = (tape.x(0)?, tape.dy0()?);
        let axes: Vec<usize> = (2..rank).collect();
        let sum = tape.reduce_sum(dy, &axes, true);
        if tape.wants(2) {
            give_channels(tape, 2, sum, rank);
        }
        if !tape.wants(0) && !tape.wants(1) {
            return Ok(());
        }
        let standard = Standardised::new(tape, x, axes.clone(), node.float("epsilon", 1e-5));
        let along = tape.mul(dy, standard.centred);
        let along = tape.reduce_sum(along, &axes, true);
        if tape.wants(1) {
            let grad = tape.mul(along, standard.inverse);
            give_channels(tape, 1, grad, rank);
        }
        if tape.wants(0) {
            let count = tape.count_over(node, 0, &axes)?;
            let scale = tape.x(1)?;
            let scale = per_channel(tape, scale, rank);
            let grad = standard.scaled_gradient(tape, dy, [sum, along, count], scale);
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
        let case = || Example::new("InstanceNormalization");
        vec![
            case().computed(&[2, 6, 3, 4]).weight(&[6]).weight(&[6]).prunable(0, 1),
            case().attribute("epsilon", 0.1).computed(&[2, 6, 5]).weight(&[6]).weight(&[6]).prunable(0, 1),
            case().opset(9).computed(&[1, 4, 3, 2, 2]).positive(&[4]).weight(&[4]).prunable(0, 1),
        ]
    }
}

/// Gives input `input` the sum of `a [N, C, 1, ..]` over all but the channels.
fn give_channels(tape: &mut Tape<'_>, input: usize, a: ValueId, rank: usize) {
    let axes: Vec<usize> = (0..rank).filter(|&axis| axis != 1).collect();
    let sum = tape.reduce_sum(a, &axes, false);
    tape.give(input, sum);
}

/// Number of groups and of channels in each.
fn groups(node: &NodeView<'_>) -> Result<[usize; 2], Unsupported> {
    rank_of(node)?;
    let channels = node.x(0)?.dims()[1];
    usize::try_from(node.int("num_groups", 0))
        .ok()
        .filter(|&groups| groups > 0 && channels % groups == 0)
        .map(|groups| [groups, channels / groups])
        .ok_or_else(|| Unsupported(format!("num_groups does not divide {channels} channels")))
}

impl Operator for GroupNormalization {
    fn spec(&self) -> &Spec {
        &GROUP
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let sizes = groups(node)?;
        let channel = slots.input(0, 1);
        let parts = slots.split(&channel, &sizes);
        let [rows, columns] = parts.as_slice() else {
            return Err(Unsupported::new("the channels cannot be seen as groups"));
        };
        if !columns.is_fixed() {
            slots.approximate(columns, PER_SAMPLE);
        }
        let coupled = if node.opset() >= 21 {
            let whole = slots.merge(&[rows.clone(), columns.clone()]);
            couple_affine(node, slots, &whole, [1, 2])?
        } else {
            couple_group_affine(node, slots, rows, columns)?
        };
        slots.set(0, 1, coupled);
        couple_rest(node, slots)
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let ([groups, size], rank) = (groups(node)?, rank_of(node)?);
        let (x, dy) = (tape.x(0)?, tape.dy0()?);
        // [N, C, ..] as [N, groups, C / groups, rest].
        let split = [0, groups as i64, size as i64, -1];
        let dy = tape.reshape(dy, &split);
        let (vector, sum_axes): (Vec<i64>, _) = if node.opset() >= 21 {
            (vec![groups as i64, size as i64, 1], vec![0, 3])
        } else {
            (vec![groups as i64, 1, 1], vec![0, 2, 3])
        };
        let sum = |tape: &mut Tape<'_>, input: usize, a: ValueId| {
            let mut grad = tape.reduce_sum(a, &sum_axes, false);
            if sum_axes.len() == 2 {
                grad = tape.reshape(grad, &[-1]);
            }
            tape.give(input, grad);
        };
        if tape.wants(2) {
            sum(tape, 2, dy);
        }
        if !tape.wants(0) && !tape.wants(1) {
            return Ok(());
        }
        let x = tape.reshape(x, &split);
        let standard = Standardised::new(tape, x, vec![2, 3], node.float("epsilon", 1e-5));
        let value = standard.value(tape);
        if tape.wants(1) {
            let product = tape.mul(dy, value);
            sum(tape, 1, product);
        }
        if tape.wants(0) {
            let scale = tape.x(1)?;
            let scale = tape.reshape(scale, &vector);
            let grad = tape.mul(dy, scale);
            let grad = standard.gradient(tape, value, grad, true);
            let dims = node.x(0)?;
            let shape = if (2..rank).any(|axis| dims.varies(axis)) {
                tape.shape_of(node, 0)?
            } else {
                let behind = dims.dims()[1..].iter().map(|&dim| dim as i64);
                let dims: Vec<i64> = std::iter::once(0).chain(behind).collect();
                tape.ints(&dims)
            };
            let grad = tape.reshape_to(grad, shape);
            tape.give(0, grad);
        }
        Ok(())
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
        let [_, size] = groups(node)?;
        if let Some(kept) = cut.input(0, 1) {
            let rows: std::collections::BTreeSet<usize> = kept.iter().map(|&index| index / size).collect();
            edit.attribute("num_groups", rows.len() as i64);
        }
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let case = |opset| Example::new("GroupNormalization").opset(opset);
        vec![
            case(21).attribute("num_groups", 3).computed(&[2, 6, 4]).weight(&[6]).weight(&[6]).prunable(0, 1),
            case(21)
                .attribute("num_groups", 2)
                .attribute("epsilon", 0.1)
                .computed(&[2, 8, 3, 2])
                .positive(&[8])
                .weight(&[8])
                .prunable(0, 1),
            case(21).attribute("num_groups", 6).computed(&[2, 6, 4]).weight(&[6]).weight(&[6]).prunable(0, 1),
            case(18).attribute("num_groups", 3).computed(&[2, 6, 4]).weight(&[3]).weight(&[3]).prunable(0, 1),
        ]
    }
}

/// With one scale and bias for a group, whole groups can be masked; a channel on its own cannot.
fn couple_group_affine(
    node: &NodeView<'_>,
    slots: &mut dyn Coupling,
    rows: &Axis,
    columns: &Axis,
) -> Result<Axis, Unsupported> {
    let rows = couple_affine(node, slots, rows, [1, 2])?;
    if rows.len() > 1 {
        slots.pin(columns, "scale and bias belong to whole groups");
        return Ok(slots.merge(&[rows, Axis::fixed(columns.len())]));
    }
    Ok(slots.merge(&[rows, columns.with_zero(false)]))
}
