//! Identity, Dropout, Cast, `CastLike`: every element at its place.
//!
//! Specification: <https://onnx.ai/onnx/operators/>. Dropout says that it is training by `is_test` = 0 before
//! version 7 and by an input since version 12; in between it never is. Cast named its target type by a string before
//! version 6; those are not declared here.

use super::{Movement, pass};
use crate::ops::{Coupling, Example, NEWEST_OPSET, NodeView, Operator, Spec, Tape, Unsupported};
use crate::tensor::{DType, Tensor};

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Movement::new(Spec::onnx("Identity", 1..=1, &[]), couple, gradient, || {
        vec![Example::new("Identity").computed(&[2, 6]).prunable(0, 1)]
    }),
    &Movement::new(
        Spec::onnx("Dropout", 1..=1, &["is_test", "ratio", "consumed_inputs"]).outputs(1..=2).versions(1..=6),
        couple_old_dropout,
        gradient,
        Vec::new,
    ),
    &Movement::new(
        Spec::onnx("Dropout", 1..=1, &["ratio"]).outputs(1..=2).versions(7..=11),
        couple_dropout,
        gradient,
        || vec![Example::new("Dropout").opset(10).attribute("ratio", 0.4).computed(&[2, 6]).prunable(0, 1)],
    ),
    &Movement::new(
        Spec::onnx("Dropout", 1..=3, &["seed"]).outputs(1..=2).versions(12..=NEWEST_OPSET),
        couple_dropout,
        gradient,
        dropout_examples,
    ),
    &Movement::new(
        Spec::onnx("Cast", 1..=1, &["to", "saturate", "round_mode"]).versions(6..=NEWEST_OPSET),
        couple,
        cast_gradient,
        cast_examples,
    ),
    &Movement::new(
        Spec::onnx("CastLike", 2..=2, &["saturate", "round_mode"]).versions(15..=NEWEST_OPSET),
        couple,
        cast_gradient,
        || {
            let like = Tensor::scalar(1.0_f32);
            vec![Example::new("CastLike").computed(&[2, 6]).constant(like).prunable(0, 1)]
        },
    ),
];

fn couple(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    (0..node.x(0)?.rank()).try_for_each(|axis| pass(node, slots, axis, 0, axis))
}

fn couple_old_dropout(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    if node.int("is_test", 0) == 0 {
        return Err(Unsupported::new("it drops elements at random (is_test = 0)"));
    }
    couple_dropout(node, slots)
}

fn couple_dropout(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    if let Some(training) = node.input(2) {
        let off = training.steady_ints().is_some_and(|mode| mode.iter().all(|&on| on == 0));
        if !off {
            return Err(Unsupported::new("training_mode is not known to be false"));
        }
    }
    for axis in 0..node.x(0)?.rank() {
        let own = slots.input(0, axis);
        if node.output(1).is_some() {
            super::set(node, slots, 1, axis, own.with_zero(false))?;
        }
        super::set(node, slots, 0, axis, own)?;
    }
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "it stands in a table of functions that can fail")]
fn gradient(_: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    if let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) {
        tape.give(0, dy);
    }
    Ok(())
}

fn cast_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (from, to) = (node.x(0)?.dtype(), node.y(0)?.dtype());
    let (true, true, Some(dy)) = (tape.wants(0), from.is_float() && to.is_float(), tape.dy(0)) else {
        return Ok(());
    };
    let grad = if from == to { dy } else { tape.cast(dy, from) };
    tape.give(0, grad);
    Ok(())
}

fn dropout_examples() -> Vec<Example> {
    let dropout = || Example::new("Dropout").computed(&[2, 6]).prunable(0, 1);
    vec![dropout(), dropout().constant(Tensor::scalar(0.3_f32)).constant(Tensor::scalar(false))]
}

fn cast_examples() -> Vec<Example> {
    let to = |dtype: DType| {
        let cast = Example::new("Cast").attribute("to", i64::from(dtype.onnx())).computed(&[2, 6]);
        cast.prunable(0, 1).output_dtype(dtype)
    };
    vec![to(DType::F32), to(DType::I32).no_gradient()]
}
