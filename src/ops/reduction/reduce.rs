//! `ReduceSum`, `ReduceMean`, `ReduceMax`, `ReduceMin`, `ReduceProd`, `ReduceL1`, `ReduceL2`, `ReduceSumSquare`,
//! `ReduceLogSum`, `ReduceLogSumExp`.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__ReduceSum.html>. `axes` is an attribute before version 18
//! (13 for `ReduceSum`) and an input since; no axes means all of them, or none with `noop_with_empty_axes`.

use std::collections::BTreeSet;

use crate::ir::ValueId;
use crate::ops::node::axis_index;
use crate::ops::{Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};

/// The gradient of x from that of the result, which has the reduced axes in size 1; broadcast over them or not.
type Derivative = fn(&NodeView<'_>, &mut Tape<'_>, &Reduction) -> Result<ValueId, Unsupported>;

struct Reduce {
    spec: Spec,
    /// The first version in which `axes` is an input.
    axes_input_since: i64,
    zeros: Zeros,
    at_zero: AtZero,
    /// A reduction of one element is that element.
    keeps_single: bool,
    derivative: Derivative,
}

/// What becomes of the result when zeros among many elements are left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zeros {
    /// Nothing.
    Ignored,
    /// It is that of another number of elements.
    Averaged,
    /// Another one.
    Counted,
}

/// The result over zeros alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AtZero {
    Zero,
    Finite,
    Infinite,
}

/// What a gradient is made of; `y` and `dy` have the reduced axes in size 1.
struct Reduction {
    axes: Vec<usize>,
    x: ValueId,
    y: ValueId,
    dy: ValueId,
}

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Reduce { axes_input_since: 13, ..Reduce::new("ReduceSum", Zeros::Ignored, AtZero::Zero, true, sum) },
    &Reduce::new("ReduceMean", Zeros::Averaged, AtZero::Zero, true, mean),
    &Reduce::new("ReduceMax", Zeros::Counted, AtZero::Zero, true, |_, tape, of| Ok(pick(tape, of, "Less"))),
    &Reduce::new("ReduceMin", Zeros::Counted, AtZero::Zero, true, |_, tape, of| {
        Ok(pick(tape, of, "Greater"))
    }),
    &Reduce::new("ReduceProd", Zeros::Counted, AtZero::Zero, true, |_, tape, of| Ok(prod(tape, of))),
    &Reduce::new("ReduceL1", Zeros::Ignored, AtZero::Zero, false, |_, tape, of| Ok(l1(tape, of))),
    &Reduce::new("ReduceL2", Zeros::Ignored, AtZero::Zero, false, |_, tape, of| Ok(l2(tape, of))),
    &Reduce::new("ReduceSumSquare", Zeros::Ignored, AtZero::Zero, false, |_, tape, of| {
        Ok(sum_square(tape, of))
    }),
    &Reduce::new("ReduceLogSum", Zeros::Ignored, AtZero::Infinite, false, log_sum),
    &Reduce::new("ReduceLogSumExp", Zeros::Counted, AtZero::Finite, false, |_, tape, of| {
        Ok(log_sum_exp(tape, of))
    }),
];

impl Reduce {
    const fn new(
        op_type: &'static str,
        zeros: Zeros,
        at_zero: AtZero,
        keeps_single: bool,
        derivative: Derivative,
    ) -> Self {
        let spec = Spec::onnx(op_type, 1..=2, &["axes", "keepdims", "noop_with_empty_axes"]);
        Self { spec, axes_input_since: 18, zeros, at_zero, keeps_single, derivative }
    }

    /// The reduced axes in ascending order.
    fn axes(&self, node: &NodeView<'_>) -> Result<Vec<usize>, Unsupported> {
        let rank = node.x(0)?.rank();
        let given = if node.opset() < self.axes_input_since {
            if node.input_count() > 1 {
                return Err(Unsupported::new("`axes` is an attribute in this version"));
            }
            node.ints("axes").unwrap_or(&[]).to_vec()
        } else if node.has("axes") {
            return Err(Unsupported::new("`axes` is an input in this version"));
        } else if let Some(axes) = node.input(1) {
            let steady =
                axes.steady_ints().ok_or_else(|| Unsupported::new("the axes are computed from the data"))?;
            steady.into_owned()
        } else {
            Vec::new()
        };
        if !given.is_empty() {
            let axes: BTreeSet<usize> =
                given.iter().map(|&axis| axis_index(axis, rank)).collect::<Result<_, _>>()?;
            return Ok(axes.into_iter().collect());
        }
        if node.int("noop_with_empty_axes", 0) == 0 {
            return Ok((0..rank).collect());
        }
        if self.keeps_single {
            return Ok(Vec::new());
        }
        Err(Unsupported::new("runtimes disagree on what a reduction over no axes is"))
    }
}

impl Operator for Reduce {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let axes = self.axes(node)?;
        let keeps = node.int("keepdims", 1) != 0;
        let zero_everywhere =
            axes.iter().map(|&axis| slots.input(0, axis)).all(|own| own.is_fixed() || own.zero());
        let mut place = 0;
        for axis in 0..node.x(0)?.rank() {
            let own = slots.input(0, axis);
            if axes.contains(&axis) {
                if !own.is_fixed() {
                    match self.zeros {
                        Zeros::Ignored if own.zero() => {}
                        Zeros::Averaged if zero_everywhere => slots.average(&own),
                        _ => {
                            slots.approximate(&own, "what is reduced over the axis changes with its indices");
                        }
                    }
                }
                place += usize::from(keeps);
                continue;
            }
            if self.at_zero == AtZero::Infinite && own.zero() {
                slots.pin(&own, "the result is not finite at zero, which is what masked elements are");
            }
            let zero = own.zero() && self.at_zero == AtZero::Zero;
            slots.set(0, place, own.with_zero(zero));
            place += 1;
        }
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        if !tape.wants(0) {
            return Ok(());
        }
        let axes = self.axes(node)?;
        let (x, mut y, mut dy) = (tape.x(0)?, tape.y(0)?, tape.dy0()?);
        if axes.is_empty() {
            tape.give(0, dy);
            return Ok(());
        }
        if node.int("keepdims", 1) == 0 {
            y = tape.unsqueeze(y, &axes);
            dy = tape.unsqueeze(dy, &axes);
        }
        let grad = (self.derivative)(node, tape, &Reduction { axes, x, y, dy })?;
        tape.give(0, grad);
        Ok(())
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
        if let Some(share) = cut.averaged_share(0, node.x(0)?.dims(), self.axes(node)?) {
            edit.output_factors.insert(0, share);
        }
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        // Far enough apart for what is picked to stay the largest or smallest when an element is moved a little.
        let picks = matches!(self.spec.op_type, "ReduceMax" | "ReduceMin");
        let (low, high) = match self.at_zero {
            AtZero::Infinite => (0.3, 2.0),
            _ if picks => (-20.0, 20.0),
            _ => (-2.0, 2.0),
        };
        let case = |opset| Example::new(self.spec.op_type).opset(opset).range(low, high).computed(&[2, 6, 3]);
        let attribute = |axes: Vec<i64>| case(self.axes_input_since - 1).attribute("axes", axes);
        let mut examples = vec![
            attribute(vec![2]),
            attribute(vec![0, -1]).attribute("keepdims", 0),
            case(self.axes_input_since).ints(&[2]).attribute("keepdims", 0),
            case(self.axes_input_since).ints(&[-3, 2]),
        ];
        if self.at_zero != AtZero::Infinite {
            examples = examples.into_iter().map(|example| example.prunable(0, 1)).collect();
        }
        examples.push(case(self.axes_input_since).attribute("keepdims", 0));
        let across = attribute(vec![1]).attribute("keepdims", 0);
        examples.push(if self.zeros == Zeros::Counted { across } else { across.prunable(0, 1) });
        if self.zeros == Zeros::Averaged {
            examples.push(attribute(vec![1, 2]).prunable(0, 1).prunable(0, 2));
        }
        if self.keeps_single {
            examples.push(case(self.axes_input_since).attribute("noop_with_empty_axes", 1).prunable(0, 1));
        }
        examples
    }
}

/// `grad`, with the reduced axes in size 1, in the dimensions of x.
fn spread(node: &NodeView<'_>, tape: &mut Tape<'_>, grad: ValueId) -> Result<ValueId, Unsupported> {
    if tape.opset() < 8 {
        return Err(Unsupported::new("its gradient needs the operator Expand of opset 8"));
    }
    let shape = tape.shape_of(node, 0)?;
    Ok(tape.op("Expand", &[grad, shape]))
}

fn sum(node: &NodeView<'_>, tape: &mut Tape<'_>, of: &Reduction) -> Result<ValueId, Unsupported> {
    spread(node, tape, of.dy)
}

fn mean(node: &NodeView<'_>, tape: &mut Tape<'_>, of: &Reduction) -> Result<ValueId, Unsupported> {
    let count = tape.count_over(node, 0, &of.axes)?;
    let share = tape.div(of.dy, count);
    spread(node, tape, share)
}

/// The gradient goes in equal shares to the elements that equal the result; `beyond` compares the others with it.
fn pick(tape: &mut Tape<'_>, of: &Reduction, beyond: &str) -> ValueId {
    let other = tape.op(beyond, &[of.x, of.y]);
    let hit = tape.op("Not", &[other]);
    let hit = tape.indicator(hit);
    let count = tape.reduce_sum(hit, &of.axes, true);
    let share = tape.div(of.dy, count);
    tape.mul(hit, share)
}

fn prod(tape: &mut Tape<'_>, of: &Reduction) -> ValueId {
    // The product of all others: y / x, or where x is zero the product of what is not. Zeros count as ones here,
    // and the result is wiped where another element is zero.
    let truth = tape.cast(of.x, crate::tensor::DType::Bool);
    let is_zero = tape.op("Not", &[truth]);
    let is_zero = tape.indicator(is_zero);
    let zeros = tape.reduce_sum(is_zero, &of.axes, true);
    let others = tape.sub(zeros, is_zero);
    let half = tape.scalar(0.5);
    let alone = tape.op("Less", &[others, half]);
    let alone = tape.indicator(alone);
    let filled = tape.add(of.x, is_zero);
    let product = tape.reduce("ReduceProd", filled, &of.axes, true, 18);
    let rest = tape.div(product, filled);
    let rest = tape.mul(rest, alone);
    tape.mul(rest, of.dy)
}

fn l1(tape: &mut Tape<'_>, of: &Reduction) -> ValueId {
    let sign = tape.op("Sign", &[of.x]);
    tape.mul(sign, of.dy)
}

fn l2(tape: &mut Tape<'_>, of: &Reduction) -> ValueId {
    // The tiny term makes the gradient of a norm of zeros zero and changes nothing else.
    let norm = tape.shift(of.y, 1e-30);
    let factor = tape.div(of.dy, norm);
    tape.mul(of.x, factor)
}

fn sum_square(tape: &mut Tape<'_>, of: &Reduction) -> ValueId {
    let twice = tape.scale(of.dy, 2.0);
    tape.mul(of.x, twice)
}

fn log_sum(node: &NodeView<'_>, tape: &mut Tape<'_>, of: &Reduction) -> Result<ValueId, Unsupported> {
    let sum = tape.op("Exp", &[of.y]);
    let share = tape.div(of.dy, sum);
    spread(node, tape, share)
}

fn log_sum_exp(tape: &mut Tape<'_>, of: &Reduction) -> ValueId {
    let log_share = tape.sub(of.x, of.y);
    let share = tape.op("Exp", &[log_share]);
    tape.mul(share, of.dy)
}
