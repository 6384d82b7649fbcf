//! `MatMul`: `a [.., M, K] @ b [.., K, N] = y [.., M, N]`, with broadcast batch axes; a 1-D `a` has no M, a 1-D `b`
//! no N.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__MatMul.html>. All versions agree in what it does.

use crate::ir::{NodeSpec, ValueId};
use crate::ops::{Axis, Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};

struct MatMul;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&MatMul];

static SPEC: Spec = Spec::onnx("MatMul", 2..=2, &[]);

/// The ranks of a, b and y, and where the axes of the matrices are.
struct Layout {
    a_rank: usize,
    b_rank: usize,
    /// Number of batch axes of y.
    batch: usize,
}

impl Layout {
    fn new(node: &NodeView<'_>) -> Result<Self, Unsupported> {
        let (a_rank, b_rank) = (node.x(0)?.rank(), node.x(1)?.rank());
        if a_rank == 0 || b_rank == 0 {
            return Err(Unsupported::new("an operand is a scalar"));
        }
        Ok(Self { a_rank, b_rank, batch: a_rank.max(b_rank).saturating_sub(2) })
    }

    fn has_m(&self) -> bool {
        self.a_rank > 1
    }

    fn has_n(&self) -> bool {
        self.b_rank > 1
    }

    /// The axis of b that is summed over.
    fn b_inner(&self) -> usize {
        self.b_rank.saturating_sub(2)
    }

    /// Whether `a` can be read as one matrix `[rest, K]` that meets the one matrix b.
    fn flattens(&self) -> bool {
        self.b_rank == 2 && self.a_rank > 1
    }
}

impl Operator for MatMul {
    fn spec(&self) -> &Spec {
        &SPEC
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let layout = Layout::new(node)?;
        let (a, b, y) = (node.x(0)?, node.x(1)?, node.y(0)?);
        let (a_inner, b_inner) = (slots.input(0, layout.a_rank - 1), slots.input(1, layout.b_inner()));
        slots.contract(&a_inner, &b_inner);
        for axis in 0..layout.batch {
            let mut coupled: Option<Axis> = None;
            let mut zero = false;
            for (input, operand) in [(0, a), (1, b)] {
                let Some(own) = (axis + operand.rank()).checked_sub(layout.batch + 2) else { continue };
                if operand.rank() < 2 || operand.dims()[own] != y.dims()[axis] {
                    continue;
                }
                let here = slots.input(input, own);
                zero |= here.zero();
                if let Some(other) = &coupled {
                    slots.tie(other, &here);
                }
                coupled = coupled.filter(|other| !other.is_fixed()).or(Some(here));
            }
            if let Some(coupled) = coupled {
                slots.set(0, axis, coupled.with_zero(zero));
            }
        }
        if layout.has_m() {
            let rows = slots.input(0, layout.a_rank - 2);
            slots.set(0, layout.batch, rows);
        }
        if layout.has_n() {
            let columns = slots.input(1, layout.b_rank - 1);
            slots.set(0, layout.batch + usize::from(layout.has_m()), columns);
        }
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let layout = Layout::new(node)?;
        if layout.flattens() {
            return flat_gradient(node, tape);
        }
        batched_gradient(node, tape, &layout)
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        match (node.input(0), node.output(0)) {
            (Some(a), Some(y)) => (y.count() * a.dims().last().copied().unwrap_or(1)) as u64,
            _ => 0,
        }
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let case = || Example::new("MatMul");
        vec![
            case().computed(&[3, 6]).weight(&[6, 5]).prunable(0, 1).macs(90),
            case().computed(&[2, 3, 6]).weight(&[6, 4]).prunable(0, 2).macs(144),
            case().computed(&[2, 2, 3, 6]).weight(&[6, 4]).prunable(0, 3).prunable(0, 1).macs(288),
            case().opset(9).computed(&[2, 3, 6]).weight(&[6, 4]).prunable(0, 2).macs(144),
            case().weight(&[4, 6]).computed(&[2, 6, 3]).prunable(1, 1).prunable(1, 2).macs(144),
            case()
                .computed(&[2, 4, 3, 5])
                .computed(&[2, 4, 5, 6])
                .prunable(0, 1)
                .prunable(0, 3)
                .prunable(1, 3)
                .macs(720),
            case().computed(&[2, 1, 3, 5]).computed(&[4, 5, 6]).prunable(0, 3).prunable(1, 2).macs(720),
            case().computed(&[4, 3, 5]).weight(&[1, 5, 6]).prunable(0, 2).macs(360),
            case().computed(&[3, 6]).computed(&[2, 6, 4]).prunable(0, 0).prunable(1, 2).macs(144),
            case().computed(&[6]).weight(&[6, 4]).prunable(0, 0).macs(24),
            case().computed(&[3, 6]).weight(&[6]).prunable(0, 1).prunable(0, 0).macs(18),
            case().computed(&[2, 3, 6]).weight(&[6]).prunable(0, 2).prunable(0, 1).macs(36),
            case().computed(&[6]).computed(&[2, 6, 4]).prunable(0, 0).prunable(1, 2).macs(48),
            case().computed(&[6]).computed(&[6]).prunable(0, 0).macs(6),
        ]
    }
}

/// `a` with its last two axes exchanged.
fn transposed(tape: &mut Tape<'_>, a: ValueId, rank: usize) -> ValueId {
    let mut permutation: Vec<usize> = (0..rank).collect();
    permutation.swap(rank - 2, rank - 1);
    tape.transpose(a, &permutation)
}

/// One matrix b for all of a: its gradient is one product over all rows.
fn flat_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (a, b, dy) = (tape.x(0)?, tape.x(1)?, tape.dy0()?);
    if tape.wants(0) {
        let bt = transposed(tape, b, 2);
        let grad = tape.matmul(dy, bt);
        tape.give(0, grad);
    }
    if tape.wants(1) {
        let (mut rows, mut dy_rows) = (a, dy);
        if node.x(0)?.rank() > 2 {
            let weight = node.x(1)?.dims();
            rows = tape.reshape(a, &[-1, weight[0] as i64]);
            dy_rows = tape.reshape(dy, &[-1, weight[1] as i64]);
        }
        let grad = transposed_product(tape, rows, dy_rows);
        tape.give(1, grad);
    }
    Ok(())
}

/// `a^T @ b` of two matrices.
pub(in crate::ops) fn transposed_product(tape: &mut Tape<'_>, a: ValueId, b: ValueId) -> ValueId {
    if tape.opset() >= 11 {
        return tape.node(NodeSpec::new("Gemm", &[a, b]).attribute("transA", 1));
    }
    let at = transposed(tape, a, 2);
    tape.matmul(at, b)
}

fn batched_gradient(node: &NodeView<'_>, tape: &mut Tape<'_>, layout: &Layout) -> Result<(), Unsupported> {
    let (mut a, mut b, mut dy) = (tape.x(0)?, tape.x(1)?, tape.dy0()?);
    // 1-D operands become matrices: a a row, b a column.
    if !layout.has_n() {
        b = tape.unsqueeze(b, &[1]);
        let rank = node.y(0)?.rank();
        dy = tape.unsqueeze(dy, &[rank]);
    }
    if !layout.has_m() {
        a = tape.unsqueeze(a, &[0]);
        dy = tape.unsqueeze(dy, &[layout.batch]);
    }
    let (a_rank, b_rank) = (layout.a_rank.max(2), layout.b_rank.max(2));
    if tape.wants(0) {
        let bt = transposed(tape, b, b_rank);
        let grad = tape.matmul(dy, bt);
        let grad = unbroadcast(node, tape, layout, 0, grad)?;
        tape.give(0, grad);
    }
    if tape.wants(1) {
        let at = transposed(tape, a, a_rank);
        let grad = tape.matmul(at, dy);
        let grad = unbroadcast(node, tape, layout, 1, grad)?;
        tape.give(1, grad);
    }
    Ok(())
}

/// Sums the gradient over the batch axes along which the input was broadcast; takes away the axis that a vector
/// does not have.
fn unbroadcast(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    layout: &Layout,
    input: usize,
    grad: ValueId,
) -> Result<ValueId, Unsupported> {
    let (operand, y) = (node.x(input)?, node.y(0)?);
    let lead = layout.batch + 2 - operand.rank().max(2);
    let stretched =
        |axis: usize| operand.dims()[axis - lead] == 1 && !operand.varies(axis - lead) && y.dims()[axis] != 1;
    let kept: Vec<usize> = (lead..layout.batch).filter(|&axis| stretched(axis)).collect();
    let grad = tape.reduce_sum(grad, &kept, true);
    let dropped: Vec<usize> = (0..lead).collect();
    let grad = tape.reduce_sum(grad, &dropped, false);
    if operand.rank() == 1 {
        // What is left is a row [1, K] for a, a column [K, 1] for b.
        return Ok(tape.squeeze(grad, &[input]));
    }
    Ok(grad)
}
