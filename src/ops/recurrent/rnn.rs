//! `RNN`: `h_t = f(W x_t + R h_{t-1} + B)`.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__RNN.html>. `layout` came in version 14. Versions before 7 had
//! `output_sequence` and are not declared here. Multiply-accumulates are those of the products with W and R.

use super::unrolled::{Direction, Gradients, outer, tanh_slope};
use super::{Recurrent, activation};
use crate::ops::{Example, NEWEST_OPSET, NodeView, Operator, Spec, Tape};
use crate::tensor::Tensor;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&Recurrent {
    spec: Spec::onnx(
        "RNN",
        3..=6,
        &["activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout"],
    )
    .outputs(1..=2)
    .versions(7..=NEWEST_OPSET),
    gates: 1,
    activations: KINDS,
    stays_zero: |masked| [masked.nothing && masked.keeps_zero[0]; 2],
    backward,
    examples,
}];

const KINDS: &[&[&str]] = &[&["Tanh", "Relu"]];

fn backward(node: &NodeView<'_>, tape: &mut Tape<'_>, direction: &Direction) -> Gradients {
    let names = activation::names(node, KINDS).unwrap_or_default();
    let relu = names.get(direction.index).is_some_and(|name| name.eq_ignore_ascii_case("Relu"));
    let slope = if relu {
        let zero = tape.scalar(0.0);
        let positive = tape.op("Greater", &[direction.y, zero]);
        tape.indicator(positive)
    } else {
        tanh_slope(tape, direction.y)
    };
    let slopes = direction.steps(tape, slope);
    let mut carried = direction.dh;
    let mut sums = Vec::with_capacity(slopes.len());
    for (step, &slope) in slopes.iter().enumerate().rev() {
        let dh = direction.state_gradient(tape, step, carried);
        let sum = tape.mul(dh, slope);
        carried = tape.matmul(sum, direction.r);
        sums.push(sum);
    }
    sums.reverse();
    let sums = direction.join(tape, sums);
    let hidden = direction.hidden();
    let r = outer(tape, (sums, hidden), (direction.before, hidden));
    Gradients { from_x: sums, from_bias: sums, r, initial_h: carried, initial_c: None }
}

fn examples() -> Vec<Example> {
    // T = 3, N = 2, I = 5, H = 4.
    let open = || Example::new("RNN").attribute("hidden_size", 4).range(-1.0, 1.0).macs(6 * 4 * (5 + 4));
    let one = || open().computed(&[3, 2, 5]).weight(&[1, 4, 5]).weight(&[1, 4, 4]);
    let one = move || one().prunable(0, 2).prunable(1, 1).prunable(0, 1);
    let two = || {
        let both = open().attribute("direction", "bidirectional").macs(2 * 6 * 4 * (5 + 4));
        both.computed(&[3, 2, 5]).weight(&[2, 4, 5]).weight(&[2, 4, 4]).prunable(0, 2).prunable(1, 1)
    };
    let activated = |names: &[&str]| one().attribute("activations", names);
    vec![
        one().outputs(2),
        one().weight(&[1, 8]).absent().weight(&[1, 2, 4]).outputs(2).through(1),
        one().opset(7).weight(&[1, 8]),
        one().attribute("direction", "reverse").weight(&[1, 8]).absent().computed(&[1, 2, 4]).prunable(5, 2),
        two().weight(&[2, 8]).absent().weight(&[2, 2, 4]).outputs(2),
        two().attribute("activations", &["Relu", "Tanh"][..]),
        activated(&["Relu"]).weight(&[1, 8]),
        activated(&["Sigmoid"]).weight(&[1, 8]).no_gradient(),
        one().attribute("clip", 0.5).no_gradient(),
        open()
            .computed(&[3, 2, 5])
            .weight(&[1, 4, 5])
            .weight(&[1, 4, 4])
            .absent()
            .constant(Tensor::vector(vec![3_i32, 2]))
            .outputs(2)
            .prunable(0, 2)
            .prunable(1, 1)
            .no_gradient(),
        open()
            .attribute("layout", 1)
            .computed(&[2, 3, 5])
            .weight(&[1, 4, 5])
            .weight(&[1, 4, 4])
            .weight(&[1, 8])
            .prunable(0, 0)
            .prunable(0, 2)
            .prunable(1, 1),
    ]
}
