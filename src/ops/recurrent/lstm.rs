//! `LSTM`: with the gates i (input), o (output), f (forget) and the candidate g, `c_t = f * c_{t-1} + i * g` and
//! `h_t = o * tanh(c_t)`. The rows of W, R and B are i, o, f, g; those of the peepholes P are i, o, f.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__LSTM.html>. `layout` came in version 14. Versions before 7 had
//! `output_sequence` and are not declared here. Multiply-accumulates are those of the products with W and R.

use super::Recurrent;
use super::unrolled::{Direction, Gradients, outer, sigmoid_slope, tanh_slope};
use crate::ir::ValueId;
use crate::ops::{Example, NEWEST_OPSET, NodeView, Operator, Spec, Tape};
use crate::tensor::Tensor;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&Recurrent {
    spec: Spec::onnx(
        "LSTM",
        3..=8,
        &[
            "activation_alpha",
            "activation_beta",
            "activations",
            "clip",
            "direction",
            "hidden_size",
            "input_forget",
            "layout",
        ],
    )
    .outputs(1..=3)
    .versions(7..=NEWEST_OPSET),
    gates: 4,
    activations: &[&["Sigmoid"], &["Tanh"], &["Tanh"]],
    stays_zero: |masked| {
        let cell = masked.nothing && masked.initial_c && masked.keeps_zero[1];
        [cell && masked.keeps_zero[2], cell]
    },
    backward,
    examples,
}];

fn backward(_: &NodeView<'_>, tape: &mut Tape<'_>, direction: &Direction) -> Gradients {
    let [from_x, from_h] = direction.products(tape);
    let sum = tape.add(from_x, from_h);
    let gates = direction.gates(tape, sum);
    let [i, o, f] = [0, 1, 2].map(|gate| tape.op("Sigmoid", &[gates[gate]]));
    let g = tape.op("Tanh", &[gates[3]]);
    let forget = direction.steps(tape, f);
    let cells = cells(tape, direction, &forget, [i, g]);
    let before = direction.shifted(tape, cells, direction.initial_c);
    let shown = tape.op("Tanh", &[cells]);
    let slope = tanh_slope(tape, shown);
    let to_cell = tape.mul(o, slope);
    let to_cell = direction.steps(tape, to_cell);
    // By what the gradients of cell and state become those of what the gates get.
    let factors = [(i, g), (o, shown), (f, before)].map(|(gate, other)| {
        let slope = sigmoid_slope(tape, gate);
        tape.mul(slope, other)
    });
    let slope = tanh_slope(tape, g);
    let last = tape.mul(slope, i);
    let factors = tape.concat(&[factors[0], factors[1], factors[2], last], 2);
    let factors = direction.steps(tape, factors);
    let (mut dh, mut dc) = (direction.dh, direction.dc);
    let mut sums = Vec::new();
    for step in (0..forget.len()).rev() {
        dh = direction.state_gradient(tape, step, dh);
        let through = tape.mul(dh, to_cell[step]);
        dc = tape.add(dc, through);
        let both = tape.concat(&[dc, dh, dc, dc], 2);
        let sum = tape.mul(both, factors[step]);
        dh = tape.matmul(sum, direction.r);
        dc = tape.mul(dc, forget[step]);
        sums.push(sum);
    }
    sums.reverse();
    let sums = direction.join(tape, sums);
    let hidden = direction.hidden();
    let r = outer(tape, (sums, 4 * hidden), (direction.before, hidden));
    Gradients { from_x: sums, from_bias: sums, r, initial_h: dh, initial_c: Some(dc) }
}

/// The cell after each step `[T, N, H]`, which the node does not return.
fn cells(tape: &mut Tape<'_>, direction: &Direction, forget: &[ValueId], [i, g]: [ValueId; 2]) -> ValueId {
    let new = tape.mul(i, g);
    let new = direction.steps(tape, new);
    let mut cell = direction.initial_c;
    let mut cells = Vec::with_capacity(new.len());
    for (&forget, &new) in forget.iter().zip(&new) {
        let old = tape.mul(forget, cell);
        cell = tape.add(old, new);
        cells.push(cell);
    }
    direction.join(tape, cells)
}

fn examples() -> Vec<Example> {
    // T = 3, N = 2, I = 5, H = 4.
    let open = || Example::new("LSTM").attribute("hidden_size", 4).range(-1.0, 1.0).macs(6 * 16 * (5 + 4));
    let one = || open().computed(&[3, 2, 5]).weight(&[1, 16, 5]).weight(&[1, 16, 4]);
    let one = move || one().prunable(0, 2).prunable(1, 1).prunable(0, 1);
    let begun = |example: Example| example.weight(&[1, 32]).absent().weight(&[1, 2, 4]).weight(&[1, 2, 4]);
    let two = || {
        let both = open().attribute("direction", "bidirectional").macs(2 * 6 * 16 * (5 + 4));
        both.computed(&[3, 2, 5]).weight(&[2, 16, 5]).weight(&[2, 16, 4]).prunable(0, 2).prunable(1, 1)
    };
    let activated =
        |names: &[&str]| one().attribute("activations", names).weight(&[1, 32]).outputs(3).no_gradient();
    vec![
        one().outputs(3),
        begun(one()).outputs(3),
        begun(one()).outputs(3).through(1),
        begun(one()).outputs(3).through(2),
        one().opset(7).weight(&[1, 32]),
        begun(one().opset(11).attribute("direction", "reverse")).outputs(3).through(2),
        one()
            .weight(&[1, 32])
            .absent()
            .computed(&[1, 2, 4])
            .computed(&[1, 2, 4])
            .prunable(5, 2)
            .prunable(6, 2),
        two().weight(&[2, 32]).absent().weight(&[2, 2, 4]).weight(&[2, 2, 4]).outputs(3),
        activated(&["HardSigmoid", "Softsign", "Relu"]),
        activated(&["Sigmoid", "Sigmoid", "Tanh"]),
        activated(&["Sigmoid", "Tanh", "Softplus"]),
        one().attribute("clip", 0.5).weight(&[1, 32]).no_gradient(),
        one().attribute("input_forget", 1).weight(&[1, 32]).no_gradient(),
        begun(one()).weight(&[1, 12]).prunable(7, 1).no_gradient(),
        open()
            .computed(&[3, 2, 5])
            .weight(&[1, 16, 5])
            .weight(&[1, 16, 4])
            .absent()
            .constant(Tensor::vector(vec![3_i32, 2]))
            .outputs(3)
            .prunable(0, 2)
            .prunable(1, 1)
            .no_gradient(),
        open()
            .attribute("layout", 1)
            .computed(&[2, 3, 5])
            .weight(&[1, 16, 5])
            .weight(&[1, 16, 4])
            .weight(&[1, 32])
            .absent()
            .weight(&[2, 1, 4])
            .weight(&[2, 1, 4])
            .prunable(0, 0)
            .prunable(0, 2)
            .prunable(1, 1),
    ]
}
