//! `DepthToSpace`, `SpaceToDepth`: channels against blocks of pixels.
//!
//! Specification: <https://onnx.ai/onnx/operators/>. `mode` came with version 11; before, `DepthToSpace` was `DCR`.
//!
//! With blocks of `b` x `b` pixels, the channels of the deep side are `[b, b, c]` (`DCR`, and `SpaceToDepth`) or
//! `[c, b, b]` (`CRD`), where `c` are the channels of the wide side. Only whole `c` may leave, so that the deep side
//! stays divisible.

use super::{Movement, set};
use crate::ir::NodeSpec;
use crate::ops::{Axis, Coupling, Example, NodeView, Operator, Spec, Tape, Unsupported};

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Movement::new(
        Spec::onnx("DepthToSpace", 1..=1, &["blocksize", "mode"]),
        couple_to_space,
        to_space_gradient,
        to_space_examples,
    ),
    &Movement::new(
        Spec::onnx("SpaceToDepth", 1..=1, &["blocksize"]),
        couple_to_depth,
        to_depth_gradient,
        to_depth_examples,
    ),
];

fn block_size(node: &NodeView<'_>) -> Result<usize, Unsupported> {
    let size = usize::try_from(node.int("blocksize", 0)).unwrap_or(0);
    if size == 0 || node.x(0)?.rank() != 4 {
        return Err(Unsupported::new("it needs a positive blocksize and an operand of 4 axes"));
    }
    Ok(size)
}

fn pin_spatial(slots: &mut dyn Coupling) {
    for axis in [0, 2, 3] {
        let own = slots.input(0, axis);
        slots.pin(&own, "it is an axis of pixels");
    }
}

fn couple_to_space(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    let size = block_size(node)?;
    pin_spatial(slots);
    let deep = slots.input(0, 1);
    let wide = deep.len() / (size * size);
    if deep.is_fixed() {
        return Ok(());
    }
    if wide * size * size != deep.len() {
        return Err(Unsupported(format!("{} channels are no blocks of {size} x {size}", deep.len())));
    }
    let channels_last = node.string("mode", "DCR") == "DCR";
    let sizes = if channels_last { [size, size, wide] } else { [wide, size, size] };
    for (place, part) in slots.split(&deep, &sizes).into_iter().enumerate() {
        if place == if channels_last { 2 } else { 0 } {
            set(node, slots, 0, 1, part)?;
        } else {
            slots.pin(&part, "it is a place in a block of pixels");
        }
    }
    Ok(())
}

fn couple_to_depth(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    let size = block_size(node)?;
    pin_spatial(slots);
    let wide = slots.input(0, 1);
    if wide.is_fixed() {
        return Ok(());
    }
    let deep = slots.merge(&[Axis::fixed(size), Axis::fixed(size), wide]);
    set(node, slots, 0, 1, deep)
}

fn to_space_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) else { return Ok(()) };
    let size = block_size(node)?;
    let mut grad = tape.node(NodeSpec::new("SpaceToDepth", &[dy]).attribute("blocksize", size as i64));
    if node.string("mode", "DCR") != "DCR" {
        // From [b * b, c] to [c, b * b].
        let pixels = size * size;
        let wide = node.x(0)?.dims()[1] / pixels;
        let order: Vec<i64> =
            (0..wide * pixels).map(|place| ((place % pixels) * wide + place / pixels) as i64).collect();
        let order = tape.ints(&order);
        grad = tape.node(NodeSpec::new("Gather", &[grad, order]).attribute("axis", 1));
    }
    tape.give(0, grad);
    Ok(())
}

fn to_depth_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    if let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) {
        let spec = NodeSpec::new("DepthToSpace", &[dy]).attribute("blocksize", block_size(node)? as i64);
        let grad = tape.node(spec);
        tape.give(0, grad);
    }
    Ok(())
}

fn to_space_examples() -> Vec<Example> {
    let to_space =
        || Example::new("DepthToSpace").attribute("blocksize", 2).computed(&[2, 12, 2, 1]).prunable(0, 1);
    vec![to_space(), to_space().opset(10), to_space().attribute("mode", "CRD")]
}

fn to_depth_examples() -> Vec<Example> {
    vec![Example::new("SpaceToDepth").attribute("blocksize", 2).computed(&[2, 3, 4, 2]).prunable(0, 1)]
}
