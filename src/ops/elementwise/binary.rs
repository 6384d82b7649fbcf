//! Functions of two or more tensors with broadcasting: Add, Sub, Mul, Div, Pow, PRelu, Min, Max, Sum, Mean, Mod,
//! comparisons, And, Or, Xor, Where.
//!
//! Specification: <https://onnx.ai/onnx/operators/>. Before version 7 broadcasting needed an attribute; those
//! versions are not declared here.

use super::couple_broadcast;
use crate::ir::ValueId;
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};
use crate::tensor::Tensor;

/// Whether the result is zero, from whether the operands are.
type Zero = fn(&[bool]) -> bool;
type Gradient = fn(&NodeView<'_>, &mut Tape<'_>) -> Result<(), Unsupported>;

struct Binary {
    spec: Spec,
    zero: Zero,
    /// Inputs that must not be masked to zero, because the result would not be finite.
    divisors: &'static [usize],
    gradient: Gradient,
    examples: fn() -> Vec<Example>,
}

const ANY: usize = usize::MAX;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Binary::new("Add", 2, |zeros| zeros.iter().all(|&zero| zero), sum_gradient, || arithmetic("Add")),
    &Binary::new("Sub", 2, |zeros| zeros.iter().all(|&zero| zero), sub_gradient, || arithmetic("Sub")),
    &Binary::new("Mul", 2, |zeros| zeros.contains(&true), mul_gradient, || arithmetic("Mul")),
    &Binary { divisors: &[1], ..Binary::new("Div", 2, |zeros| zeros[0], div_gradient, div_examples) },
    &Binary { divisors: &[1], ..Binary::new("Pow", 2, |zeros| zeros[0], pow_gradient, pow_examples) },
    &Binary::new("PRelu", 2, |zeros| zeros[0], prelu_gradient, prelu_examples),
    &Binary::new("Sum", ANY, |zeros| zeros.iter().all(|&zero| zero), sum_gradient, || arithmetic("Sum")),
    &Binary::new("Mean", ANY, |zeros| zeros.iter().all(|&zero| zero), mean_gradient, || arithmetic("Mean")),
    &Binary::new("Min", ANY, |zeros| zeros.iter().all(|&zero| zero), pick_gradient, || arithmetic("Min")),
    &Binary::new("Max", ANY, |zeros| zeros.iter().all(|&zero| zero), pick_gradient, || arithmetic("Max")),
    &Binary { divisors: &[1], ..Binary::logic("Mod", &["fmod"]) },
    &Binary::logic("Equal", &[]),
    &Binary::logic("Greater", &[]),
    &Binary::logic("GreaterOrEqual", &[]),
    &Binary::logic("Less", &[]),
    &Binary::logic("LessOrEqual", &[]),
    &Binary::logic("And", &[]),
    &Binary::logic("Or", &[]),
    &Binary::logic("Xor", &[]),
    &Binary {
        spec: Spec::onnx("Where", 3..=3, &[]),
        zero: |zeros| zeros[1] && zeros[2],
        divisors: &[],
        gradient: where_gradient,
        examples: where_examples,
    },
];

impl Binary {
    const fn new(
        op_type: &'static str,
        inputs: usize,
        zero: Zero,
        gradient: Gradient,
        examples: fn() -> Vec<Example>,
    ) -> Self {
        let range = if inputs == ANY { 1..=ANY } else { inputs..=inputs };
        let spec = Spec::onnx(op_type, range, &[]).versions(7..=NEWEST_OPSET);
        Self { spec, zero, divisors: &[], gradient, examples }
    }

    /// A function with a discrete result.
    const fn logic(op_type: &'static str, attributes: &'static [&'static str]) -> Self {
        let spec = Spec::onnx(op_type, 2..=2, attributes).versions(7..=NEWEST_OPSET);
        Self { spec, zero: |_| false, divisors: &[], gradient: |_, _| Ok(()), examples: Vec::new }
    }
}

impl Operator for Binary {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        for &divisor in self.divisors {
            for axis in 0..node.x(divisor)?.rank() {
                let own = slots.input(divisor, axis);
                if own.zero() {
                    slots.pin(&own, "masked elements are zero, and the result would not be finite there");
                }
            }
        }
        let operands: Vec<usize> = (0..node.input_count()).collect();
        couple_broadcast(node, slots, &operands, self.zero)
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        (self.gradient)(node, tape)
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        (self.examples)()
    }
}

fn arithmetic(op_type: &'static str) -> Vec<Example> {
    vec![
        Example::new(op_type).computed(&[2, 6, 3]).computed(&[2, 6, 3]).prunable(0, 1).prunable(1, 1),
        Example::new(op_type).computed(&[2, 6, 3]).weight(&[6, 1]).prunable(0, 1),
        Example::new(op_type).weight(&[1, 6, 1]).computed(&[2, 1, 3]),
        Example::new(op_type).computed(&[2, 6]).constant(Tensor::scalar(0.7_f32)).prunable(0, 1),
    ]
}

fn sum_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let dy = tape.dy0()?;
    for input in (0..node.input_count()).filter(|&input| tape.wants(input)).collect::<Vec<_>>() {
        tape.give_unbroadcast(node, input, dy)?;
    }
    Ok(())
}

fn mean_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let dy = tape.dy0()?;
    let share = tape.scale(dy, 1.0 / node.input_count() as f64);
    for input in (0..node.input_count()).filter(|&input| tape.wants(input)).collect::<Vec<_>>() {
        tape.give_unbroadcast(node, input, share)?;
    }
    Ok(())
}

fn sub_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let dy = tape.dy0()?;
    if tape.wants(0) {
        tape.give_unbroadcast(node, 0, dy)?;
    }
    if tape.wants(1) {
        let minus = tape.neg(dy);
        tape.give_unbroadcast(node, 1, minus)?;
    }
    Ok(())
}

fn mul_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (dy, a, b) = (tape.dy0()?, tape.x(0)?, tape.x(1)?);
    for (input, other) in [(0, b), (1, a)] {
        if tape.wants(input) {
            let grad = tape.mul(dy, other);
            tape.give_unbroadcast(node, input, grad)?;
        }
    }
    Ok(())
}

fn div_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (dy, b, y) = (tape.dy0()?, tape.x(1)?, tape.y(0)?);
    let quotient = tape.div(dy, b);
    if tape.wants(0) {
        tape.give_unbroadcast(node, 0, quotient)?;
    }
    if tape.wants(1) {
        let product = tape.mul(quotient, y);
        let grad = tape.neg(product);
        tape.give_unbroadcast(node, 1, grad)?;
    }
    Ok(())
}

fn pow_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (dy, x, exponent) = (tape.dy0()?, tape.x(0)?, tape.x(1)?);
    if tape.wants(1) {
        return Err(Unsupported::new("the exponent is trainable"));
    }
    if !tape.wants(0) {
        return Ok(());
    }
    let constant = node.x(1)?.constant().and_then(|tensor| tensor.to_f64().ok());
    let grad = match constant.as_deref() {
        Some(&[2.0]) => {
            let twice = tape.scale(x, 2.0);
            tape.mul(dy, twice)
        }
        _ => {
            let dtype = tape.dtype();
            let exponent = if node.x(1)?.dtype() == dtype { exponent } else { tape.cast(exponent, dtype) };
            let less = tape.shift(exponent, -1.0);
            let power = tape.op("Pow", &[x, less]);
            let slope = tape.mul(exponent, power);
            tape.mul(dy, slope)
        }
    };
    tape.give_unbroadcast(node, 0, grad)
}

fn prelu_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (dy, x, slope) = (tape.dy0()?, tape.x(0)?, tape.x(1)?);
    let zero = tape.scalar(0.0);
    let positive = tape.op("Greater", &[x, zero]);
    let positive = tape.indicator(positive);
    let one = tape.scalar(1.0);
    let negative = tape.sub(one, positive);
    if tape.wants(0) {
        let factor = tape.mul(negative, slope);
        let factor = tape.add(factor, positive);
        let grad = tape.mul(dy, factor);
        tape.give_unbroadcast(node, 0, grad)?;
    }
    if tape.wants(1) {
        let part = tape.mul(negative, x);
        let grad = tape.mul(dy, part);
        tape.give_unbroadcast(node, 1, grad)?;
    }
    Ok(())
}

/// The gradient goes to the operands that equal the result, in equal shares.
fn pick_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (dy, y) = (tape.dy0()?, tape.y(0)?);
    let mut hits: Vec<ValueId> = Vec::new();
    for input in 0..node.input_count() {
        let x = tape.x(input)?;
        let equal = tape.op("Equal", &[x, y]);
        hits.push(tape.indicator(equal));
    }
    let count = tape.op("Sum", &hits);
    let share = tape.div(dy, count);
    for (input, &hit) in hits.iter().enumerate() {
        if tape.wants(input) {
            let grad = tape.mul(share, hit);
            tape.give_unbroadcast(node, input, grad)?;
        }
    }
    Ok(())
}

fn where_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (dy, condition) = (tape.dy0()?, tape.x(0)?);
    let chosen = tape.indicator(condition);
    if tape.wants(1) {
        let grad = tape.mul(dy, chosen);
        tape.give_unbroadcast(node, 1, grad)?;
    }
    if tape.wants(2) {
        let one = tape.scalar(1.0);
        let other = tape.sub(one, chosen);
        let grad = tape.mul(dy, other);
        tape.give_unbroadcast(node, 2, grad)?;
    }
    Ok(())
}

fn div_examples() -> Vec<Example> {
    vec![
        Example::new("Div").computed(&[2, 6]).positive(&[2, 1]).prunable(0, 1),
        Example::new("Div").computed(&[2, 6]).constant(Tensor::scalar(1.7_f32)).prunable(0, 1),
        Example::new("Div").positive(&[6]).computed(&[2, 1]).range(0.5, 1.5),
    ]
}

fn pow_examples() -> Vec<Example> {
    vec![
        Example::new("Pow").computed(&[2, 6]).constant(Tensor::scalar(2.0_f32)).prunable(0, 1),
        Example::new("Pow").computed(&[2, 6]).constant(Tensor::scalar(3.0_f32)).prunable(0, 1),
        Example::new("Pow")
            .computed(&[2, 6])
            .constant(Tensor::scalar(0.5_f32))
            .prunable(0, 1)
            .range(0.3, 2.0),
    ]
}

fn prelu_examples() -> Vec<Example> {
    vec![
        Example::new("PRelu").computed(&[2, 6, 3]).weight(&[6, 1]).prunable(0, 1),
        Example::new("PRelu").computed(&[2, 6]).weight(&[1]).prunable(0, 1),
    ]
}

fn where_examples() -> Vec<Example> {
    let condition = Tensor::new(vec![2, 1], vec![true, false]);
    condition.map_or_else(
        |_| Vec::new(),
        |condition| {
            vec![
                Example::new("Where")
                    .constant(condition.clone())
                    .computed(&[2, 6])
                    .computed(&[2, 6])
                    .prunable(1, 1),
                Example::new("Where").constant(condition).computed(&[2, 6]).weight(&[1, 6]).prunable(1, 1),
            ]
        },
    )
}
