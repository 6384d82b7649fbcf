//! Concat.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__Concat.html>. `axis` was optional, 1, before version 4.

use super::{Movement, set};
use crate::ir::{NodeSpec, ValueId};
use crate::ops::node::axis_index;
use crate::ops::{Axis, Coupling, Example, NodeView, Operator, Spec, Tape, Unsupported};

pub(in crate::ops) static OPERATORS: &[&dyn Operator] =
    &[&Movement::new(Spec::onnx("Concat", 1..=usize::MAX, &["axis"]), couple, gradient, examples)];

fn joined(node: &NodeView<'_>) -> Result<usize, Unsupported> {
    axis_index(node.int("axis", 1), node.x(0)?.rank())
}

fn couple(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    let joined = joined(node)?;
    let rank = node.x(0)?.rank();
    for input in 0..node.input_count() {
        if node.x(input)?.rank() != rank {
            return Err(Unsupported(format!("input {input} has another rank than input 0")));
        }
    }
    for axis in 0..rank {
        let parts: Vec<Axis> = (0..node.input_count()).map(|input| slots.input(input, axis)).collect();
        if axis == joined {
            set(node, slots, 0, axis, Axis::concat(&parts))?;
            continue;
        }
        let mut coupled = parts[0].clone();
        for part in &parts[1..] {
            slots.tie(&coupled, part);
            if coupled.is_fixed() {
                coupled = part.clone();
            }
        }
        set(node, slots, 0, axis, coupled.with_zero(parts.iter().all(Axis::zero)))?;
    }
    Ok(())
}

fn gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let axis = joined(node)?;
    let Some(dy) = tape.dy(0) else { return Ok(()) };
    let count = node.input_count();
    if count == 1 {
        tape.give(0, dy);
        return Ok(());
    }
    let mut sizes = Vec::with_capacity(count);
    for input in 0..count {
        let operand = node.x(input)?;
        sizes.push((!operand.varies(axis)).then(|| operand.dims()[axis] as i64));
    }
    for input in (0..count).filter(|&input| tape.wants(input)).collect::<Vec<_>>() {
        let sum = |sizes: &[Option<i64>]| sizes.iter().copied().sum::<Option<i64>>();
        let (before, behind) = (sum(&sizes[..input]), sum(&sizes[input + 1..]));
        let grad = match (before, sizes[input], behind) {
            (Some(start), Some(size), _) => tape.slice(dy, &[axis], &[start], &[start + size], &[1]),
            (Some(start), None, Some(rest)) => {
                let end = if rest == 0 { i64::MAX } else { -rest };
                tape.slice(dy, &[axis], &[start], &[end], &[1])
            }
            (None, Some(size), Some(rest)) => {
                let end = if rest == 0 { i64::MAX } else { -rest };
                tape.slice(dy, &[axis], &[-rest - size], &[end], &[1])
            }
            _ => computed_part(tape, dy, axis, input)?,
        };
        tape.give(input, grad);
    }
    Ok(())
}

/// The part of `dy` that belongs to input `input`, where sizes on both sides of it vary.
fn computed_part(
    tape: &mut Tape<'_>,
    dy: ValueId,
    axis: usize,
    input: usize,
) -> Result<ValueId, Unsupported> {
    if tape.opset() < 10 {
        return Err(Unsupported::new(
            "more than one part varies along the joined axis, which needs opset 10",
        ));
    }
    let mut start = tape.ints(&[0]);
    for before in 0..input {
        let x = tape.x(before)?;
        let size = super::adjoint::dim_of(tape, x, axis);
        start = tape.add(start, size);
    }
    let x = tape.x(input)?;
    let size = super::adjoint::dim_of(tape, x, axis);
    let end = tape.add(start, size);
    let axes = tape.ints(&[axis as i64]);
    Ok(tape.node(NodeSpec::new("Slice", &[dy, start, end, axes])))
}

fn examples() -> Vec<Example> {
    vec![
        Example::new("Concat")
            .attribute("axis", 1)
            .computed(&[2, 6, 3])
            .computed(&[2, 4, 3])
            .prunable(0, 1)
            .prunable(1, 1)
            .prunable(0, 2),
        Example::new("Concat")
            .attribute("axis", -1)
            .computed(&[2, 6])
            .weight(&[2, 3])
            .computed(&[2, 2])
            .prunable(0, 1)
            .prunable(2, 1),
        Example::new("Concat").attribute("axis", 0).computed(&[2, 6]).computed(&[1, 6]).prunable(0, 1),
        Example::new("Concat").attribute("axis", 0).computed(&[3, 6]).prunable(0, 1),
    ]
}
