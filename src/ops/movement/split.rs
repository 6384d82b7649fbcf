//! Split.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__Split.html>. The sizes were an attribute before version 13
//! and are an input since; version 18 added `num_outputs` for parts of equal size with a smaller last one. Before
//! version 2 an input too could hold the sizes; that form is not declared here.

use super::{Movement, pass, pin_inputs, set};
use crate::ir::Attribute;
use crate::ops::cut::{Replacement, ReplacementInput};
use crate::ops::node::axis_index;
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};

const ANY: usize = usize::MAX;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Movement::new(
        Spec::onnx("Split", 1..=1, &["axis", "split"]).outputs(1..=ANY).versions(2..=12),
        couple,
        gradient,
        old_examples,
    )
    .resized_by(resize),
    &Movement::new(
        Spec::onnx("Split", 1..=2, &["axis", "num_outputs"]).outputs(1..=ANY).versions(13..=NEWEST_OPSET),
        couple,
        gradient,
        examples,
    )
    .resized_by(resize),
];

fn parted(node: &NodeView<'_>) -> Result<usize, Unsupported> {
    axis_index(node.int("axis", 0), node.x(0)?.rank())
}

/// The sizes of the parts, used or not; nothing when they are not known.
fn sizes(node: &NodeView<'_>, axis: usize) -> Option<Vec<usize>> {
    let len = *node.input(0)?.dims().get(axis)?;
    let given = match node.input(1) {
        Some(input) => Some(input.steady_ints()?.to_vec()),
        None => node.ints("split").map(<[i64]>::to_vec),
    };
    let sizes: Vec<usize> = if let Some(given) = given {
        given.into_iter().map(usize::try_from).collect::<Result<_, _>>().ok()?
    } else {
        let count = usize::try_from(node.int("num_outputs", node.output_count() as i64)).ok()?.max(1);
        let size = len.div_ceil(count);
        (0..count).map(|place| size.min(len.saturating_sub(place * size))).collect()
    };
    (sizes.iter().try_fold(0_usize, |sum, &size| sum.checked_add(size)) == Some(len)).then_some(sizes)
}

fn couple(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    pin_inputs(node, slots, 1, "the sizes of the parts are one for each part");
    let parted = parted(node)?;
    let sizes = sizes(node, parted).filter(|sizes| sizes.len() >= node.output_count());
    for axis in 0..node.x(0)?.rank() {
        let own = slots.input(0, axis);
        if axis != parted {
            for output in 0..node.output_count() {
                pass(node, slots, axis, output, axis)?;
            }
            continue;
        }
        if own.is_fixed() {
            continue;
        }
        let Some(sizes) = sizes.as_ref().filter(|_| !node.x(0).is_ok_and(|x| x.varies(axis))) else {
            slots.pin(&own, "the sizes of the parts are computed");
            continue;
        };
        let mut start = 0;
        for (output, &size) in sizes.iter().enumerate() {
            let indices: Vec<usize> = (start..start + size).collect();
            let taken = super::part(slots, &own, &indices);
            set(node, slots, output, axis, taken)?;
            start += size;
        }
    }
    Ok(())
}

fn resize(node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
    let axis = parted(node)?;
    let Some(kept) = cut.input(0, axis) else { return Ok(()) };
    let sizes = sizes(node, axis).ok_or_else(|| Unsupported::new("the sizes of the parts are computed"))?;
    let mut start = 0;
    let mut small = Vec::with_capacity(sizes.len());
    for size in sizes {
        small.push(super::survivors_before(kept, start + size) - super::survivors_before(kept, start));
        start += size;
    }
    if node.opset() < 13 {
        edit.attribute("split", small);
    } else if node.has("num_outputs") {
        // Sizes and `num_outputs` exclude each other, so the attribute must go.
        edit.replacement = Some(Replacement {
            op_type: "Split".to_owned(),
            attributes: vec![("axis".to_owned(), Attribute::Int(axis as i64))],
            inputs: vec![ReplacementInput::Old(0), ReplacementInput::Ints(small)],
        });
    } else {
        edit.input_ints(1, small);
    }
    Ok(())
}

fn gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    if !tape.wants(0) {
        return Ok(());
    }
    let axis = parted(node)?;
    let mut parts = Vec::with_capacity(node.output_count());
    for output in 0..node.output_count() {
        let grad = if let Some(dy) = tape.dy(output) {
            dy
        } else {
            let y = tape
                .y(output)
                .map_err(|_| Unsupported(format!("part {output} is left out, so its size is unknown")))?;
            super::adjoint::zeros_like(tape, y)
        };
        parts.push(grad);
    }
    if sizes(node, axis).is_some_and(|sizes| sizes.len() != parts.len()) {
        return Err(Unsupported::new("the last parts are left out"));
    }
    let grad = tape.concat(&parts, axis);
    tape.give(0, grad);
    Ok(())
}

fn old_examples() -> Vec<Example> {
    let split = || Example::new("Split").opset(11).attribute("axis", 1).computed(&[2, 6, 3]);
    vec![
        split().outputs(2).prunable(0, 1).prunable(0, 2),
        split().attribute("split", vec![2, 4]).outputs(2).prunable(0, 1).prunable(0, 2),
    ]
}

fn examples() -> Vec<Example> {
    let split = || Example::new("Split").attribute("axis", -2).computed(&[2, 6, 3]);
    vec![
        split().outputs(3).opset(13).prunable(0, 1).prunable(0, 2),
        split().ints(&[4, 2]).outputs(2).prunable(0, 1).prunable(0, 2),
        split().opset(18).attribute("num_outputs", 2).outputs(2).prunable(0, 1).prunable(0, 2),
        Example::new("Split")
            .opset(18)
            .attribute("num_outputs", 2)
            .computed(&[7, 2])
            .outputs(2)
            .prunable(0, 0)
            .prunable(0, 1),
    ]
}
