//! Reshape, Flatten, Squeeze, Unsqueeze: the same elements in the same order under other dimensions.
//!
//! Specification: <https://onnx.ai/onnx/operators/>. Reshape took its target as an attribute before version 5;
//! Squeeze and Unsqueeze took their axes as an attribute before version 13 and take them as an input since.

use super::regroup::{Dim, Group, groups};
use super::{Movement, pass, pin_inputs, set};
use crate::ops::cut::Entry;
use crate::ops::node::axis_index;
use crate::ops::{
    Axis, Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operand, Operator, Spec, Tape,
    Unsupported,
};

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Movement::new(
        Spec::onnx("Reshape", 1..=1, &["shape", "consumed_inputs"]).versions(1..=4),
        couple_reshape,
        gradient,
        Vec::new,
    )
    .resized_by(resize_reshape),
    &Movement::new(
        Spec::onnx("Reshape", 2..=2, &["allowzero"]).versions(5..=NEWEST_OPSET),
        couple_reshape,
        gradient,
        reshape_examples,
    )
    .resized_by(resize_reshape),
    &Movement::new(Spec::onnx("Flatten", 1..=1, &["axis"]), couple_flatten, gradient, flatten_examples),
    &Movement::new(
        Spec::onnx("Squeeze", 1..=1, &["axes"]).versions(1..=12),
        couple_squeeze,
        gradient,
        old_squeeze_examples,
    )
    .resized_by(resize_squeeze),
    &Movement::new(
        Spec::onnx("Squeeze", 1..=2, &[]).versions(13..=NEWEST_OPSET),
        couple_squeeze,
        gradient,
        squeeze_examples,
    )
    .resized_by(resize_squeeze),
    &Movement::new(
        Spec::onnx("Unsqueeze", 1..=1, &["axes"]).versions(1..=12),
        couple_unsqueeze,
        gradient,
        || {
            vec![
                Example::new("Unsqueeze")
                    .opset(12)
                    .attribute("axes", vec![0, 3])
                    .computed(&[2, 6])
                    .prunable(0, 1),
            ]
        },
    ),
    &Movement::new(
        Spec::onnx("Unsqueeze", 2..=2, &[]).versions(13..=NEWEST_OPSET),
        couple_unsqueeze,
        gradient,
        || vec![Example::new("Unsqueeze").computed(&[2, 6]).ints(&[1, -1]).prunable(0, 1)],
    ),
];

fn gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    if let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) {
        let grad = super::adjoint::reshape_like(node, tape, dy, 0)?;
        tape.give(0, grad);
    }
    Ok(())
}

fn dims(operand: &Operand<'_>) -> Vec<Dim> {
    let dim = |axis: usize| Dim { size: operand.dims()[axis], varies: operand.varies(axis) };
    (0..operand.rank()).map(dim).collect()
}

/// Couples the first input and output, whose elements are the same in the same order. `may_shrink` says which axes
/// of the output may shrink although their size follows the batch.
fn couple_regrouped(
    node: &NodeView<'_>,
    slots: &mut dyn Coupling,
    may_shrink: impl Fn(usize) -> bool,
) -> Result<(), Unsupported> {
    let (x, y) = (node.x(0)?, node.y(0)?);
    let matched = groups(&dims(x), &dims(y)).ok_or_else(|| {
        Unsupported(format!("{:?} and {:?} hold no equal numbers of elements", x.dims(), y.dims()))
    })?;
    for group in &matched {
        let own: Vec<Axis> = group.inputs.iter().map(|&axis| slots.input(0, axis)).collect();
        if own.iter().all(Axis::is_fixed) {
            continue;
        }
        if let Err(reason) = couple_group(node, slots, group, &own, &may_shrink) {
            for axis in &own {
                slots.pin(axis, &reason.0);
            }
        }
    }
    Ok(())
}

fn couple_group(
    node: &NodeView<'_>,
    slots: &mut dyn Coupling,
    group: &Group,
    own: &[Axis],
    may_shrink: impl Fn(usize) -> bool,
) -> Result<(), Unsupported> {
    let (x, y) = (node.x(0)?, node.y(0)?);
    let varies =
        group.inputs.iter().any(|&axis| x.varies(axis)) || group.outputs.iter().any(|&axis| y.varies(axis));
    let Some(atoms) = &group.atoms else {
        if varies {
            return Err(Unsupported::new("it is mixed with an axis that follows the batch"));
        }
        let whole = if let [only] = own { only.clone() } else { slots.merge(own) };
        let sizes: Vec<usize> = group.outputs.iter().map(|&axis| y.dims()[axis]).collect();
        let parts = if sizes.len() == 1 { vec![whole] } else { slots.split(&whole, &sizes) };
        return group.outputs.iter().zip(parts).try_for_each(|(&axis, part)| set(node, slots, 0, axis, part));
    };
    let moving = |place: usize| {
        // What follows the batch stays; it is pinned below.
        let mut inside = atoms.iter().filter(|atom| atom.output == place && !atom.varies);
        inside.any(|atom| !own[atom.input].is_fixed())
    };
    for (place, &axis) in group.outputs.iter().enumerate() {
        if y.varies(axis) && moving(place) && !may_shrink(axis) {
            return Err(Unsupported::new(
                "it becomes part of an axis that follows the batch and whose size is given otherwise than by -1",
            ));
        }
    }
    let mut parts: Vec<Axis> = Vec::with_capacity(atoms.len());
    for (place, axis) in own.iter().enumerate() {
        let sizes: Vec<usize> =
            atoms.iter().filter(|atom| atom.input == place).map(|atom| atom.size).collect();
        if sizes.len() == 1 {
            parts.push(axis.clone());
        } else {
            parts.extend(slots.split(axis, &sizes));
        }
    }
    for (part, atom) in parts.iter().zip(atoms) {
        if atom.varies {
            slots.pin(part, "its size follows the batch");
        }
    }
    for (place, &axis) in group.outputs.iter().enumerate() {
        let inside: Vec<Axis> = parts
            .iter()
            .zip(atoms)
            .filter(|(_, atom)| atom.output == place)
            .map(|(part, _)| part.clone())
            .collect();
        let merged = if let [only] = inside.as_slice() { only.clone() } else { slots.merge(&inside) };
        set(node, slots, 0, axis, merged)?;
    }
    Ok(())
}

/// The target of a Reshape as it stands in the model: one entry for each output axis. Computed entries are those of
/// the traced run.
fn target(node: &NodeView<'_>) -> Result<Vec<i64>, Unsupported> {
    let y = node.y(0)?;
    let given = match node.input(1) {
        Some(input) => input.ints().map(|ints| ints.to_vec()),
        None => node.ints("shape").map(<[i64]>::to_vec),
    };
    let target = given.unwrap_or_else(|| y.dims().iter().map(|&dim| dim as i64).collect());
    if target.len() == y.rank() {
        Ok(target)
    } else {
        Err(Unsupported(format!("the target {target:?} is not the shape of its result {:?}", y.dims())))
    }
}

fn couple_reshape(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    pin_inputs(node, slots, 1, "the target of a Reshape has one entry for each axis");
    let (target, y) = (target(node)?, node.y(0)?);
    // A size that shrinks and follows the batch can only be written as -1, of which there is one. Other sizes that
    // follow the batch stay as the model computes them.
    let inferred = (0..y.rank()).find(|&axis| target[axis] == -1 && y.varies(axis)).or_else(|| joined(node));
    couple_regrouped(node, slots, |axis| inferred == Some(axis))
}

/// The output axis that holds both what varies and what does not, if there is only one.
fn joined(node: &NodeView<'_>) -> Option<usize> {
    let (x, y) = (node.x(0).ok()?, node.y(0).ok()?);
    let matched = groups(&dims(x), &dims(y))?;
    let mut joined = Vec::new();
    for group in &matched {
        for (place, &axis) in group.outputs.iter().enumerate() {
            let mut inside = group.atoms.iter().flatten().filter(|atom| atom.output == place);
            if y.varies(axis) && inside.any(|atom| !atom.varies) {
                joined.push(axis);
            }
        }
    }
    if let [only] = joined.as_slice() { Some(*only) } else { None }
}

fn resize_reshape(node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
    let (target, y) = (target(node)?, node.y(0)?);
    let copies = node.int("allowzero", 0) == 0;
    let shrunk = |axis: usize| cut.output(0, axis).map(<[usize]>::len);
    let inferred = (0..y.rank()).find(|&axis| shrunk(axis).is_some() && y.varies(axis));
    let mut entries = Vec::with_capacity(target.len());
    for (axis, &raw) in target.iter().enumerate() {
        let known = || {
            if y.varies(axis) {
                Err(Unsupported(format!("the size of output axis {axis} follows the batch")))
            } else {
                Ok(Entry::Set(y.dims()[axis] as i64))
            }
        };
        let input = cut.input(0, axis).map(<[usize]>::len);
        entries.push(match (raw, shrunk(axis)) {
            (_, Some(_)) if inferred == Some(axis) => {
                if raw == -1 {
                    Entry::Keep
                } else {
                    Entry::Set(-1)
                }
            }
            (_, Some(_)) if y.varies(axis) => known()?,
            (-1, None) if inferred.is_some() => known()?,
            (-1, Some(_)) if inferred.is_none() => Entry::Keep,
            (0, Some(len)) if copies && input == Some(len) => Entry::Keep,
            (_, Some(len)) => Entry::Set(len as i64),
            (0, None) if copies && input.is_some() => known()?,
            (_, None) => Entry::Keep,
        });
    }
    write_entries(node, edit, entries, &target);
    Ok(())
}

/// Writes the new target of a Reshape, if anything in it changes.
fn write_entries(node: &NodeView<'_>, edit: &mut NodeEdit, entries: Vec<Entry>, target: &[i64]) {
    if entries.iter().all(|entry| *entry == Entry::Keep) {
        return;
    }
    if node.input(1).is_some() {
        edit.input(1, entries);
    } else {
        edit.attribute("shape", super::patched(&entries, target));
    }
}

fn couple_flatten(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    couple_regrouped(node, slots, |_| true)
}

/// The axes that Squeeze removes or Unsqueeze adds, as they are given; nothing when they are left out.
fn given_axes(node: &NodeView<'_>) -> Result<Option<Vec<i64>>, Unsupported> {
    match node.input(1) {
        Some(input) => {
            let axes = input.steady_ints().ok_or_else(|| Unsupported::new("its axes are computed"))?;
            Ok(Some(axes.to_vec()))
        }
        None => Ok(node.ints("axes").map(<[i64]>::to_vec)),
    }
}

/// For each axis of the shorter side, that of the longer one, which has also the axes `extra`.
fn kept_axes(extra: &[i64], rank: usize) -> Result<Vec<usize>, Unsupported> {
    let mut kept = vec![true; rank];
    for &axis in extra {
        kept[axis_index(axis, rank)?] = false;
    }
    Ok((0..rank).filter(|&axis| kept[axis]).collect())
}

fn squeezed(node: &NodeView<'_>) -> Result<Vec<i64>, Unsupported> {
    let x = node.x(0)?;
    let ones = || (0..x.rank()).filter(|&axis| x.dims()[axis] == 1).map(|axis| axis as i64).collect();
    Ok(given_axes(node)?.unwrap_or_else(ones))
}

fn couple_squeeze(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    let kept = kept_axes(&squeezed(node)?, node.x(0)?.rank())?;
    kept.iter().enumerate().try_for_each(|(to, &from)| pass(node, slots, from, 0, to))
}

/// Without axes, an axis that shrinks to one index would vanish.
fn resize_squeeze(node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
    let shrinks_to_one =
        (0..node.x(0)?.rank()).any(|axis| cut.input(0, axis).is_some_and(|kept| kept.len() == 1));
    if given_axes(node)?.is_some() || !shrinks_to_one {
        return Ok(());
    }
    let axes = squeezed(node)?;
    if node.opset() < 13 {
        edit.attribute("axes", axes);
    } else {
        edit.input_ints(1, axes);
    }
    Ok(())
}

fn couple_unsqueeze(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    let added = given_axes(node)?.ok_or_else(|| Unsupported::new("it has no axes"))?;
    let kept = kept_axes(&added, node.y(0)?.rank())?;
    kept.iter().enumerate().try_for_each(|(from, &to)| pass(node, slots, from, 0, to))
}

fn reshape_examples() -> Vec<Example> {
    let reshape = |dims: &[usize], target: &[i64]| Example::new("Reshape").computed(dims).ints(target);
    vec![
        reshape(&[2, 12], &[2, 3, 4]).prunable(0, 1),
        reshape(&[2, 12], &[0, 3, -1]).prunable(0, 1),
        reshape(&[2, 12], &[-1, 3, 4]).prunable(0, 1),
        reshape(&[2, 6, 4], &[2, 24]).prunable(0, 1).prunable(0, 2),
        reshape(&[2, 6, 4], &[0, -1]).prunable(0, 1).prunable(0, 2),
        reshape(&[2, 6, 1, 1], &[-1, 6]).prunable(0, 1),
        reshape(&[2, 6], &[2, 6, 1, 1]).prunable(0, 1),
        reshape(&[2, 6, 4], &[0, 0, 2, 2]).prunable(0, 1).prunable(0, 2),
        reshape(&[6, 4], &[2, 12]).prunable(0, 0).prunable(0, 1),
        reshape(&[4, 6], &[6, 4]),
        reshape(&[2, 6, 4], &[2, 6, 4]).attribute("allowzero", 1).prunable(0, 1).prunable(0, 2),
        reshape(&[3, 8, 2], &[3, 2, 4, 2]).opset(9).prunable(0, 1).prunable(0, 2),
    ]
}

fn flatten_examples() -> Vec<Example> {
    let flatten = || Example::new("Flatten").computed(&[2, 6, 3]);
    vec![
        flatten().prunable(0, 1).prunable(0, 2),
        flatten().attribute("axis", 2).prunable(0, 1).prunable(0, 2),
        flatten().attribute("axis", 0).prunable(0, 1).prunable(0, 2),
        flatten().opset(11).attribute("axis", -1).prunable(0, 2),
    ]
}

fn old_squeeze_examples() -> Vec<Example> {
    let squeeze = || Example::new("Squeeze").opset(11).computed(&[2, 1, 6, 1]).prunable(0, 2);
    vec![squeeze(), squeeze().attribute("axes", vec![1]), squeeze().attribute("axes", vec![1, 3])]
}

fn squeeze_examples() -> Vec<Example> {
    let squeeze = || Example::new("Squeeze").computed(&[2, 1, 6, 1]).prunable(0, 2);
    vec![squeeze(), squeeze().ints(&[-1]), squeeze().ints(&[1, 3])]
}
