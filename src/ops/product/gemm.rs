//! `Gemm`: `y [M, N] = alpha * a @ b + beta * c` with `a [M, K]` or transposed, `b [K, N]` or transposed, and `c`
//! broadcast to `[M, N]`.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__Gemm.html>. Before version 7 broadcasting of `c` needed an
//! attribute; those versions are not declared here. Since version 11 `c` may be left out.

use crate::ir::{NodeSpec, ValueId};
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};

struct Gemm;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&Gemm];

static SPEC: Spec =
    Spec::onnx("Gemm", 2..=3, &["alpha", "beta", "transA", "transB"]).versions(7..=NEWEST_OPSET);

/// Which axis of a and b is summed over.
fn inner_axes(node: &NodeView<'_>) -> (usize, usize) {
    let a = usize::from(node.int("transA", 0) == 0);
    let b = usize::from(node.int("transB", 0) != 0);
    (a, b)
}

impl Operator for Gemm {
    fn spec(&self) -> &Spec {
        &SPEC
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        if node.x(0)?.rank() != 2 || node.x(1)?.rank() != 2 {
            return Err(Unsupported::new("a and b must be matrices"));
        }
        let (a_inner, b_inner) = inner_axes(node);
        let (inner, other) = (slots.input(0, a_inner), slots.input(1, b_inner));
        slots.contract(&inner, &other);
        let result = [slots.input(0, 1 - a_inner), slots.input(1, 1 - b_inner)];
        for (axis, from) in result.iter().enumerate() {
            let mut zero = from.zero();
            let mut coupled = from.clone();
            if let Some(c) = node.input(2) {
                let own = (axis + c.rank()).checked_sub(2);
                match own.filter(|&own| c.dims()[own] == from.len()) {
                    Some(own) => {
                        let term = slots.input(2, own);
                        slots.tie(from, &term);
                        zero &= term.zero();
                        if coupled.is_fixed() {
                            coupled = term;
                        }
                    }
                    None => zero = false,
                }
            }
            slots.set(0, axis, coupled.with_zero(zero));
        }
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let (a, b, dy) = (tape.x(0)?, tape.x(1)?, tape.dy0()?);
        let alpha = node.float("alpha", 1.0);
        let transposed = [node.int("transA", 0) != 0, node.int("transB", 0) != 0];
        if tape.wants(0) {
            let grad = if transposed[0] {
                product(tape, alpha, (b, transposed[1]), (dy, true))
            } else {
                product(tape, alpha, (dy, false), (b, !transposed[1]))
            };
            tape.give(0, grad);
        }
        if tape.wants(1) {
            let grad = if transposed[1] {
                product(tape, alpha, (dy, true), (a, transposed[0]))
            } else {
                product(tape, alpha, (a, !transposed[0]), (dy, false))
            };
            tape.give(1, grad);
        }
        if tape.wants(2) {
            let beta = node.float("beta", 1.0);
            let grad = if beta == 1.0 { dy } else { tape.scale(dy, f64::from(beta)) };
            tape.give_unbroadcast(node, 2, grad)?;
        }
        Ok(())
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        let inner = node.input(0).and_then(|a| a.dims().get(inner_axes(node).0).copied());
        match (inner, node.output(0)) {
            (Some(inner), Some(y)) => (y.count() * inner) as u64,
            _ => 0,
        }
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let case = || Example::new("Gemm").macs(90);
        let scaled = || case().attribute("alpha", 0.7).attribute("beta", 1.3);
        vec![
            case().computed(&[3, 6]).weight(&[6, 5]).weight(&[5]).prunable(0, 1),
            case().attribute("transB", 1).computed(&[3, 6]).weight(&[5, 6]).weight(&[5]).prunable(0, 1),
            scaled().attribute("transA", 1).computed(&[6, 3]).weight(&[6, 5]).weight(&[1, 5]).prunable(0, 0),
            scaled()
                .attribute("transA", 1)
                .attribute("transB", 1)
                .computed(&[6, 3])
                .weight(&[5, 6])
                .weight(&[3, 5])
                .prunable(0, 0)
                .prunable(0, 1),
            scaled().attribute("transB", 1).computed(&[3, 6]).computed(&[5, 6]).prunable(0, 1).prunable(1, 0),
            case().computed(&[3, 6]).weight(&[6, 5]).weight(&[3, 1]).prunable(0, 0).prunable(0, 1),
            case().computed(&[3, 6]).weight(&[6, 5]).weight(&[1]).prunable(0, 1),
            case().opset(7).computed(&[3, 6]).weight(&[6, 5]).weight(&[5]).prunable(0, 1),
        ]
    }
}

/// `alpha * a @ b`, either transposed or not.
fn product(
    tape: &mut Tape<'_>,
    alpha: f32,
    (a, a_transposed): (ValueId, bool),
    (b, b_transposed): (ValueId, bool),
) -> ValueId {
    let mut inputs = vec![a, b];
    if tape.opset() < 11 {
        inputs.push(tape.scalar(0.0));
    }
    let mut spec = NodeSpec::new("Gemm", &inputs);
    if alpha != 1.0 {
        spec = spec.attribute("alpha", alpha);
    }
    for (name, set) in [("transA", a_transposed), ("transB", b_transposed)] {
        if set {
            spec = spec.attribute(name, 1);
        }
    }
    tape.node(spec)
}
