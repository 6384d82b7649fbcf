//! `GRU`: with the gates z (update) and r (reset), `h_t = (1 - z) * g + z * h_{t-1}`, where
//! `g = tanh(W x_t + R (r * h_{t-1}) + B)`, or `g = tanh(W x_t + r * (R h_{t-1} + B_r) + B_w)` with
//! `linear_before_reset`. The rows of W, R and B are z, r, g.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__GRU.html>. `layout` came in version 14. Versions before 7 had
//! `output_sequence` and are not declared here. Multiply-accumulates are those of the products with W and R.

use super::Recurrent;
use super::unrolled::{Direction, Gradients, one_minus, outer, sigmoid_slope, split, tanh_slope};
use crate::ir::ValueId;
use crate::ops::{Example, NEWEST_OPSET, NodeView, Operator, Spec, Tape};
use crate::tensor::Tensor;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&Recurrent {
    spec: Spec::onnx(
        "GRU",
        3..=6,
        &[
            "activation_alpha",
            "activation_beta",
            "activations",
            "clip",
            "direction",
            "hidden_size",
            "layout",
            "linear_before_reset",
        ],
    )
    .outputs(1..=2)
    .versions(7..=NEWEST_OPSET),
    gates: 3,
    activations: &[&["Sigmoid"], &["Tanh"]],
    stays_zero: |masked| [masked.nothing && masked.initial_h && masked.keeps_zero[1]; 2],
    backward,
    examples,
}];

/// What the steps of both forms read of the gates, each `[T, N, H]`.
struct Gates {
    z: ValueId,
    r: ValueId,
    /// By what the gradient of the state becomes that of what z gets.
    to_z: ValueId,
    /// By what the gradient of the state becomes that of what g gets.
    to_g: ValueId,
}

impl Gates {
    fn new(tape: &mut Tape<'_>, direction: &Direction, [z, r, g]: [ValueId; 3]) -> Self {
        let gap = tape.sub(direction.before, g);
        let slope = sigmoid_slope(tape, z);
        let to_z = tape.mul(gap, slope);
        let rest = one_minus(tape, z);
        let slope = tanh_slope(tape, g);
        let to_g = tape.mul(rest, slope);
        Self { z, r, to_z, to_g }
    }
}

fn backward(node: &NodeView<'_>, tape: &mut Tape<'_>, direction: &Direction) -> Gradients {
    if node.int("linear_before_reset", 0) == 0 {
        reset_before(tape, direction)
    } else {
        reset_after(tape, direction)
    }
}

/// The product with R comes first, then the reset.
fn reset_after(tape: &mut Tape<'_>, direction: &Direction) -> Gradients {
    let [from_x, from_h] = direction.products(tape);
    let (from_x, from_h) = (direction.gates(tape, from_x), direction.gates(tape, from_h));
    let [z, r] = [0, 1].map(|gate| {
        let sum = tape.add(from_x[gate], from_h[gate]);
        tape.op("Sigmoid", &[sum])
    });
    let kept = tape.mul(r, from_h[2]);
    let sum = tape.add(from_x[2], kept);
    let g = tape.op("Tanh", &[sum]);
    let gates = Gates::new(tape, direction, [z, r, g]);
    let slope = sigmoid_slope(tape, r);
    let to_r = tape.mul(from_h[2], slope);
    let to_r = tape.mul(gates.to_g, to_r);
    let to_product = tape.mul(gates.to_g, r);
    let factors = tape.concat(&[gates.to_z, to_r, to_product], 2);
    let (factors, zs) = (direction.steps(tape, factors), direction.steps(tape, z));
    let mut carried = direction.dh;
    let (mut states, mut sums) = (Vec::new(), Vec::new());
    for step in (0..zs.len()).rev() {
        let dh = direction.state_gradient(tape, step, carried);
        let thrice = tape.concat(&[dh; 3], 2);
        let sum = tape.mul(thrice, factors[step]);
        let past = tape.matmul(sum, direction.r);
        let stayed = tape.mul(dh, zs[step]);
        carried = tape.add(past, stayed);
        states.push(dh);
        sums.push(sum);
    }
    states.reverse();
    sums.reverse();
    let (states, sums) = (direction.join(tape, states), direction.join(tape, sums));
    let hidden = direction.hidden();
    let own = tape.mul(states, gates.to_g);
    let zr = split(tape, sums, 2, &[2 * hidden, hidden])[0];
    let from_x = tape.concat(&[zr, own], 2);
    let r = outer(tape, (sums, 3 * hidden), (direction.before, hidden));
    Gradients { from_x, from_bias: sums, r, initial_h: carried, initial_c: None }
}

/// The reset comes first, then the product with R.
fn reset_before(tape: &mut Tape<'_>, direction: &Direction) -> Gradients {
    let hidden = direction.hidden();
    let halves = [2 * hidden, hidden];
    let [from_x, from_h] = direction.products(tape);
    let (from_x, from_h) = (direction.gates(tape, from_x), direction.gates(tape, from_h));
    let [z, r] = [0, 1].map(|gate| {
        let sum = tape.add(from_x[gate], from_h[gate]);
        tape.op("Sigmoid", &[sum])
    });
    let parts = split(tape, direction.r, 0, &halves);
    let (r_gates, r_state) = (parts[0], parts[1]);
    // What g gets of the state before is its product with R on what the reset left, plus the bias.
    let left = tape.mul(r, direction.before);
    let lost = tape.sub(left, direction.before);
    let transposed = tape.transpose(r_state, &[1, 0]);
    let change = tape.matmul(lost, transposed);
    let sum = tape.add(from_h[2], change);
    let sum = tape.add(from_x[2], sum);
    let g = tape.op("Tanh", &[sum]);
    let gates = Gates::new(tape, direction, [z, r, g]);
    let slope = sigmoid_slope(tape, r);
    let to_r = tape.mul(direction.before, slope);
    let [to_g, to_z, to_r, zs, rs] =
        [gates.to_g, gates.to_z, to_r, gates.z, gates.r].map(|a| direction.steps(tape, a));
    let mut carried = direction.dh;
    let mut sums = Vec::new();
    for step in (0..zs.len()).rev() {
        let dh = direction.state_gradient(tape, step, carried);
        let dg = tape.mul(dh, to_g[step]);
        let dleft = tape.matmul(dg, r_state);
        let dz = tape.mul(dh, to_z[step]);
        let dr = tape.mul(dleft, to_r[step]);
        let zr = tape.concat(&[dz, dr], 2);
        let past = tape.matmul(zr, r_gates);
        let stayed = tape.mul(dh, zs[step]);
        let reset = tape.mul(dleft, rs[step]);
        let direct = tape.add(stayed, reset);
        carried = tape.add(past, direct);
        sums.push(tape.concat(&[zr, dg], 2));
    }
    sums.reverse();
    let sums = direction.join(tape, sums);
    let parts = split(tape, sums, 2, &halves);
    let of_gates = outer(tape, (parts[0], 2 * hidden), (direction.before, hidden));
    let of_state = outer(tape, (parts[1], hidden), (left, hidden));
    let r = tape.concat(&[of_gates, of_state], 0);
    Gradients { from_x: sums, from_bias: sums, r, initial_h: carried, initial_c: None }
}

fn examples() -> Vec<Example> {
    // T = 3, N = 2, I = 5, H = 4.
    let open = || Example::new("GRU").attribute("hidden_size", 4).range(-1.0, 1.0).macs(6 * 12 * (5 + 4));
    let one = || open().computed(&[3, 2, 5]).weight(&[1, 12, 5]).weight(&[1, 12, 4]);
    let one = move || one().prunable(0, 2).prunable(1, 1).prunable(0, 1);
    let linear = || one().attribute("linear_before_reset", 1);
    let two = || {
        let both = open().attribute("direction", "bidirectional").macs(2 * 6 * 12 * (5 + 4));
        both.computed(&[3, 2, 5]).weight(&[2, 12, 5]).weight(&[2, 12, 4]).prunable(0, 2).prunable(1, 1)
    };
    vec![
        one().outputs(2),
        one().weight(&[1, 24]).absent().weight(&[1, 2, 4]).outputs(2).through(1),
        one().opset(7).weight(&[1, 24]),
        one().attribute("direction", "reverse").weight(&[1, 24]).absent().computed(&[1, 2, 4]).prunable(5, 2),
        linear(),
        linear().weight(&[1, 24]).absent().weight(&[1, 2, 4]).outputs(2).through(1),
        linear().opset(11).attribute("direction", "reverse").weight(&[1, 24]),
        two().weight(&[2, 24]).absent().weight(&[2, 2, 4]).outputs(2),
        two().attribute("linear_before_reset", 1).weight(&[2, 24]).absent().computed(&[2, 2, 4]),
        one().attribute("activations", &["HardSigmoid", "Softsign"][..]).weight(&[1, 24]).no_gradient(),
        one().attribute("activations", &["Sigmoid", "Sigmoid"][..]).weight(&[1, 24]).no_gradient(),
        linear().attribute("clip", 0.5).weight(&[1, 24]).no_gradient(),
        open()
            .computed(&[3, 2, 5])
            .weight(&[1, 12, 5])
            .weight(&[1, 12, 4])
            .weight(&[1, 24])
            .constant(Tensor::vector(vec![3_i32, 2]))
            .weight(&[1, 2, 4])
            .outputs(2)
            .prunable(0, 2)
            .prunable(1, 1)
            .no_gradient(),
        open()
            .attribute("layout", 1)
            .computed(&[2, 3, 5])
            .weight(&[1, 12, 5])
            .weight(&[1, 12, 4])
            .weight(&[1, 24])
            .absent()
            .weight(&[2, 1, 4])
            .prunable(0, 0)
            .prunable(0, 2)
            .prunable(1, 1),
    ]
}
