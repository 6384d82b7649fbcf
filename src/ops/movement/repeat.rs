//! Expand, Tile: elements repeated along axes.
//!
//! Specification: <https://onnx.ai/onnx/operators/>. Tile took its counts in another form before version 6; that one
//! is not declared here.

use super::{Movement, pass, pin_inputs, set};
use crate::ops::cut::Entry;
use crate::ops::{
    Axis, Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Movement::new(Spec::onnx("Expand", 2..=2, &[]), couple_expand, expand_gradient, expand_examples)
        .resized_by(resize_expand),
    &Movement::new(
        Spec::onnx("Tile", 2..=2, &[]).versions(6..=NEWEST_OPSET),
        couple_tile,
        tile_gradient,
        tile_examples,
    ),
];

fn couple_expand(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    pin_inputs(node, slots, 1, "the target of an Expand has one entry for each axis");
    let (x, y) = (node.x(0)?, node.y(0)?);
    let lead = y.rank().checked_sub(x.rank()).ok_or_else(|| Unsupported::new("its ranks do not fit"))?;
    for axis in 0..y.rank() {
        let own = axis.checked_sub(lead);
        match own {
            Some(own) if x.dims()[own] == y.dims()[axis] => pass(node, slots, own, 0, axis)?,
            _ if y.varies(axis) => {}
            _ => {
                let made = slots.fresh(y.dims()[axis], false);
                set(node, slots, 0, axis, made)?;
            }
        }
    }
    Ok(())
}

fn resize_expand(node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
    let (target, y) = (node.x(1)?, node.y(0)?);
    let count = target.count();
    let raw = target.ints();
    // The target may be shorter than the result.
    let lead = y.rank().saturating_sub(count);
    let entries: Vec<Entry> = (0..count)
        .map(|place| {
            let copies = raw.as_ref().is_some_and(|raw| raw[place] == 1) && !target.int_varies(place);
            match cut.output(0, lead + place) {
                Some(kept) if !copies => Entry::Set(kept.len() as i64),
                _ => Entry::Keep,
            }
        })
        .collect();
    if entries.iter().any(|entry| *entry != Entry::Keep) {
        edit.input(1, entries);
    }
    Ok(())
}

fn expand_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    if let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) {
        tape.give_unbroadcast(node, 0, dy)?;
    }
    Ok(())
}

fn couple_tile(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    pin_inputs(node, slots, 1, "the counts of a Tile are one for each axis");
    let (x, repeats) = (node.x(0)?, node.x(1)?);
    let counts = repeats.ints().filter(|counts| counts.len() == x.rank());
    for axis in 0..x.rank() {
        let own = slots.input(0, axis);
        if own.is_fixed() {
            continue;
        }
        let count = counts.as_ref().filter(|_| !repeats.int_varies(axis) && !x.varies(axis));
        match count.map(|counts| counts[axis]) {
            Some(1) => pass(node, slots, axis, 0, axis)?,
            Some(count) if count > 1 => {
                let copies = vec![own; count as usize];
                set(node, slots, 0, axis, Axis::concat(&copies))?;
            }
            _ => slots.pin(&own, "how often it is repeated is computed"),
        }
    }
    Ok(())
}

fn tile_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) else { return Ok(()) };
    let (x, repeats) = (node.x(0)?, node.x(1)?);
    let rank = x.rank();
    let outer: Vec<usize> = (0..rank).map(|axis| 2 * axis).collect();
    // Every axis is seen as its repeats and its own indices.
    let steady = repeats
        .steady_ints()
        .filter(|counts| counts.len() == rank && (0..rank).filter(|&axis| x.varies(axis)).count() <= 1);
    let pairs = if let Some(counts) = steady {
        let dims: Vec<i64> = (0..rank)
            .flat_map(|axis| [counts[axis], if x.varies(axis) { -1 } else { x.dims()[axis] as i64 }])
            .collect();
        tape.reshape(dy, &dims)
    } else {
        let (counts, shape) = (tape.x(1)?, tape.shape_of(node, 0)?);
        let columns = [tape.unsqueeze(counts, &[1]), tape.unsqueeze(shape, &[1])];
        let both = tape.concat(&columns, 1);
        let target = tape.reshape(both, &[-1]);
        tape.reshape_to(dy, target)
    };
    let grad = tape.reduce_sum(pairs, &outer, false);
    tape.give(0, grad);
    Ok(())
}

fn expand_examples() -> Vec<Example> {
    vec![
        Example::new("Expand").computed(&[2, 6, 1]).ints(&[2, 6, 4]).prunable(0, 1),
        Example::new("Expand").computed(&[6, 1]).ints(&[3, 1, 4]).prunable(0, 0),
        Example::new("Expand").computed(&[2, 6, 3]).ints(&[3]).prunable(0, 1).prunable(0, 2),
        Example::new("Expand").opset(12).computed(&[6, 1]).ints(&[1, 5]).prunable(0, 0),
    ]
}

fn tile_examples() -> Vec<Example> {
    vec![
        Example::new("Tile").computed(&[2, 6, 3]).ints(&[1, 1, 2]).prunable(0, 1).prunable(0, 2),
        Example::new("Tile").computed(&[2, 6]).ints(&[3, 2]).prunable(0, 1),
    ]
}
