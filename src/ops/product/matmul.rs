//! `MatMul`: `a [.., M, K] @ b [.., K, N] = y [.., M, N]`, with broadcast batch axes; a 1-D `a` has no M, a 1-D `b`
//! no N. `FusedMatMul`: the same times `alpha`, with the last two axes of a or b exchanged first if so asked.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__MatMul.html>, all versions of which agree in what it does, and
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>. FusedMatMul's `transBatchA` and
//! `transBatchB`, and transposed vectors, are not understood.

use crate::ir::{NodeSpec, ValueId};
use crate::ops::{Axis, Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};

struct MatMul {
    spec: Spec,
    examples: fn() -> Vec<Example>,
}

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &MatMul { spec: Spec::onnx("MatMul", 2..=2, &[]), examples },
    &MatMul {
        spec: Spec::microsoft(
            "FusedMatMul",
            2..=2,
            &["alpha", "transA", "transB", "transBatchA", "transBatchB"],
        ),
        examples: fused_examples,
    },
];

/// The ranks of a, b and y, and where the axes of the matrices are.
struct Layout {
    a_rank: usize,
    b_rank: usize,
    /// Whether the last two axes of a, and of b, are exchanged.
    transposed: [bool; 2],
    /// Number of batch axes of y.
    batch: usize,
}

impl Layout {
    fn new(node: &NodeView<'_>) -> Result<Self, Unsupported> {
        let (a_rank, b_rank) = (node.x(0)?.rank(), node.x(1)?.rank());
        if a_rank == 0 || b_rank == 0 {
            return Err(Unsupported::new("an operand is a scalar"));
        }
        if node.int("transBatchA", 0) != 0 || node.int("transBatchB", 0) != 0 {
            return Err(Unsupported::new("batch axes are exchanged with those of the matrix"));
        }
        let transposed = [node.int("transA", 0) != 0, node.int("transB", 0) != 0];
        if (transposed[0] && a_rank < 2) || (transposed[1] && b_rank < 2) {
            return Err(Unsupported::new("a vector is transposed"));
        }
        Ok(Self { a_rank, b_rank, transposed, batch: a_rank.max(b_rank).saturating_sub(2) })
    }

    fn has_m(&self) -> bool {
        self.a_rank > 1
    }

    fn has_n(&self) -> bool {
        self.b_rank > 1
    }

    /// The axis of a that is summed over.
    fn a_inner(&self) -> usize {
        self.a_rank - 1 - usize::from(self.transposed[0])
    }

    /// The axis of b that is summed over.
    fn b_inner(&self) -> usize {
        if self.transposed[1] { self.b_rank - 1 } else { self.b_rank.saturating_sub(2) }
    }

    /// The axis of a that is M.
    fn rows(&self) -> usize {
        self.a_rank - 2 + usize::from(self.transposed[0])
    }

    /// The axis of b that is N.
    fn columns(&self) -> usize {
        self.b_rank - 1 - usize::from(self.transposed[1])
    }

    /// Whether `a` can be read as one matrix `[rest, K]` that meets the one matrix b.
    fn flattens(&self) -> bool {
        self.b_rank == 2 && self.a_rank > 1
    }
}

impl Operator for MatMul {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let layout = Layout::new(node)?;
        let (a, b, y) = (node.x(0)?, node.x(1)?, node.y(0)?);
        let (a_inner, b_inner) = (slots.input(0, layout.a_inner()), slots.input(1, layout.b_inner()));
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
            let rows = slots.input(0, layout.rows());
            slots.set(0, layout.batch, rows);
        }
        if layout.has_n() {
            let columns = slots.input(1, layout.columns());
            slots.set(0, layout.batch + usize::from(layout.has_m()), columns);
        }
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let layout = Layout::new(node)?;
        let (mut a, mut b, mut dy) = (tape.x(0)?, tape.x(1)?, tape.dy0()?);
        if layout.transposed[0] {
            a = transposed(tape, a, layout.a_rank);
        }
        if layout.transposed[1] {
            b = transposed(tape, b, layout.b_rank);
        }
        let alpha = node.float("alpha", 1.0);
        if alpha != 1.0 {
            dy = tape.scale(dy, f64::from(alpha));
        }
        let grads = if layout.flattens() {
            let (rows, columns) = (node.x(1)?.dims()[layout.b_inner()], node.x(1)?.dims()[layout.columns()]);
            let wanted = [tape.wants(0), tape.wants(1)];
            flat_gradient(tape, wanted, (a, layout.a_rank), (b, [rows, columns]), dy)
        } else {
            batched_gradient(node, tape, &layout, [a, b, dy])?
        };
        for (input, (grad, rank)) in grads.into_iter().zip([layout.a_rank, layout.b_rank]).enumerate() {
            let Some(mut grad) = grad else { continue };
            if layout.transposed[input] {
                grad = transposed(tape, grad, rank);
            }
            tape.give(input, grad);
        }
        Ok(())
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        match (Layout::new(node), node.input(0), node.output(0)) {
            (Ok(layout), Some(a), Some(y)) => (y.count() * a.dims()[layout.a_inner()]) as u64,
            _ => 0,
        }
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        (self.examples)()
    }
}

fn examples() -> Vec<Example> {
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

fn fused_examples() -> Vec<Example> {
    let case = || Example::microsoft("FusedMatMul");
    vec![
        case().attribute("alpha", 0.5).computed(&[3, 6]).weight(&[6, 5]).prunable(0, 1).macs(90),
        case()
            .attribute("transB", 1)
            .attribute("transBatchB", 0)
            .computed(&[2, 3, 6])
            .weight(&[4, 6])
            .prunable(0, 2)
            .macs(144),
        case()
            .attribute("transA", 1)
            .computed(&[6, 3])
            .weight(&[6, 4])
            .prunable(0, 0)
            .prunable(0, 1)
            .macs(72),
        case()
            .attribute("transA", 1)
            .attribute("transB", 1)
            .attribute("alpha", 0.5)
            .computed(&[2, 4, 5, 3])
            .computed(&[2, 4, 6, 5])
            .prunable(0, 1)
            .prunable(0, 3)
            .prunable(1, 2)
            .macs(720),
        case().attribute("transB", 1).computed(&[6]).computed(&[2, 4, 6]).prunable(1, 1).macs(48),
    ]
}

/// `a` with its last two axes exchanged.
pub(in crate::ops) fn transposed(tape: &mut Tape<'_>, a: ValueId, rank: usize) -> ValueId {
    let mut permutation: Vec<usize> = (0..rank).collect();
    permutation.swap(rank - 2, rank - 1);
    tape.transpose(a, &permutation)
}

/// The gradients, as far as they are wanted, of a of rank `rank` and of the one matrix b of dimensions `dims` that all
/// of a meets: that of b is one product over all rows.
pub(in crate::ops) fn flat_gradient(
    tape: &mut Tape<'_>,
    wanted: [bool; 2],
    (a, rank): (ValueId, usize),
    (b, dims): (ValueId, [usize; 2]),
    dy: ValueId,
) -> [Option<ValueId>; 2] {
    let of_a = wanted[0].then(|| {
        let bt = transposed(tape, b, 2);
        tape.matmul(dy, bt)
    });
    let of_b = wanted[1].then(|| {
        let (mut rows, mut dy_rows) = (a, dy);
        if rank > 2 {
            rows = tape.reshape(a, &[-1, dims[0] as i64]);
            dy_rows = tape.reshape(dy, &[-1, dims[1] as i64]);
        }
        transposed_product(tape, rows, dy_rows)
    });
    [of_a, of_b]
}

/// `a^T @ b` of two matrices.
pub(in crate::ops) fn transposed_product(tape: &mut Tape<'_>, a: ValueId, b: ValueId) -> ValueId {
    if tape.opset() >= 11 {
        return tape.node(NodeSpec::new("Gemm", &[a, b]).attribute("transA", 1));
    }
    let at = transposed(tape, a, 2);
    tape.matmul(at, b)
}

/// The gradients of `a @ b` as far as they are wanted.
fn batched_gradient(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    layout: &Layout,
    [mut a, mut b, mut dy]: [ValueId; 3],
) -> Result<[Option<ValueId>; 2], Unsupported> {
    let mut grads = [None; 2];
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
        grads[0] = Some(unbroadcast(node, tape, layout, 0, grad)?);
    }
    if tape.wants(1) {
        let at = transposed(tape, a, a_rank);
        let grad = tape.matmul(at, dy);
        grads[1] = Some(unbroadcast(node, tape, layout, 1, grad)?);
    }
    Ok(grads)
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
