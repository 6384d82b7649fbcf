//! Transpose.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__Transpose.html>. Without `perm` the axes are reversed.

use super::{Movement, pass};
use crate::ops::{Coupling, Example, NodeView, Operator, Spec, Tape, Unsupported};

pub(in crate::ops) static OPERATORS: &[&dyn Operator] =
    &[&Movement::new(Spec::onnx("Transpose", 1..=1, &["perm"]), couple, gradient, examples)];

/// For each axis of the result, that of the operand.
fn permutation(node: &NodeView<'_>) -> Result<Vec<usize>, Unsupported> {
    let rank = node.x(0)?.rank();
    let Some(perm) = node.ints("perm") else { return Ok((0..rank).rev().collect()) };
    let axes: Vec<usize> = perm.iter().map(|&axis| axis as usize).collect();
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if sorted.iter().copied().eq(0..rank) {
        Ok(axes)
    } else {
        Err(Unsupported(format!("perm {perm:?} is no permutation of the {rank} axes")))
    }
}

fn couple(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    let perm = permutation(node)?;
    perm.iter().enumerate().try_for_each(|(to, &from)| pass(node, slots, from, 0, to))
}

fn gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let perm = permutation(node)?;
    if let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) {
        let mut inverse = vec![0; perm.len()];
        for (to, &from) in perm.iter().enumerate() {
            inverse[from] = to;
        }
        let grad = tape.transpose(dy, &inverse);
        tape.give(0, grad);
    }
    Ok(())
}

fn examples() -> Vec<Example> {
    let transpose = || Example::new("Transpose").computed(&[2, 6, 3]).prunable(0, 1).prunable(0, 2);
    vec![
        transpose(),
        transpose().attribute("perm", vec![0, 2, 1]),
        transpose().attribute("perm", vec![1, 2, 0]),
    ]
}
