//! The gradient of attention, spelled out in ordinary operators.

use super::Heads;
use crate::ir::{NodeSpec, ValueId};
use crate::ops::movement::adjoint::dim_of;
use crate::ops::product::matmul::transposed;
use crate::ops::{NodeView, Operand, Tape, Unsupported};
use crate::tensor::{DType, Tensor};

/// Queries, keys and values `[B, heads, positions, width]`, each with as many heads.
pub(super) struct Attention {
    pub(super) query: ValueId,
    pub(super) key: ValueId,
    pub(super) value: ValueId,
    /// The factor of the scores.
    pub(super) scale: f64,
    /// What is added to the scores, broadcast to `[B, heads, S, T]`.
    pub(super) terms: Vec<ValueId>,
}

/// The gradients of an [`Attention`].
pub(super) struct Gradients {
    pub(super) query: ValueId,
    pub(super) key: ValueId,
    pub(super) value: ValueId,
    /// Of the scores `[B, heads, S, T]`, as the softmax reads them.
    pub(super) scores: ValueId,
}

impl Attention {
    /// The gradients, given that of the result `[B, heads, S, width]`.
    pub(super) fn gradients(&self, tape: &mut Tape<'_>, dy: ValueId) -> Gradients {
        let flipped = transposed(tape, self.key, 4);
        let scores = tape.matmul(self.query, flipped);
        let mut scores = tape.scale(scores, self.scale);
        for &term in &self.terms {
            scores = tape.add(scores, term);
        }
        let shares = tape.node(NodeSpec::new("Softmax", &[scores]).attribute("axis", 3));
        let turned = transposed(tape, shares, 4);
        let value = tape.matmul(turned, dy);
        let flipped = transposed(tape, self.value, 4);
        let of_shares = tape.matmul(dy, flipped);
        let weighted = tape.mul(of_shares, shares);
        let sum = tape.reduce_sum(weighted, &[3], true);
        let rest = tape.mul(shares, sum);
        let scores = tape.sub(weighted, rest);
        let scaled = tape.scale(scores, self.scale);
        let query = tape.matmul(scaled, self.key);
        let turned = transposed(tape, scaled, 4);
        let key = tape.matmul(turned, self.query);
        Gradients { query, key, value, scores }
    }
}

/// `[B, S, heads * width]` as `[B, heads, S, width]`.
pub(super) fn apart(tape: &mut Tape<'_>, a: ValueId, [heads, width]: [usize; 2]) -> ValueId {
    let split = tape.reshape(a, &[0, 0, heads as i64, width as i64]);
    tape.transpose(split, &[0, 2, 1, 3])
}

/// `[B, heads, S, width]` as `[B, S, heads * width]`.
pub(super) fn together(tape: &mut Tape<'_>, a: ValueId, [heads, width]: [usize; 2]) -> ValueId {
    let back = tape.transpose(a, &[0, 2, 1, 3]);
    tape.reshape(back, &[0, 0, (heads * width) as i64])
}

/// An axis of positions: the operand, its value and the axis.
#[derive(Clone, Copy)]
pub(super) struct Positions<'a> {
    pub(super) operand: &'a Operand<'a>,
    pub(super) value: ValueId,
    pub(super) axis: usize,
}

impl Positions<'_> {
    /// 0, 1, .. as an integer vector.
    fn count(self, tape: &mut Tape<'_>) -> Result<ValueId, Unsupported> {
        if !self.operand.varies(self.axis) {
            return Ok(tape.ints(&(0..self.operand.dims()[self.axis] as i64).collect::<Vec<_>>()));
        }
        if tape.opset() < 11 {
            return Err(Unsupported::new("positions of a varying number need opset 11"));
        }
        let count = dim_of(tape, self.value, self.axis);
        let count = tape.squeeze(count, &[0]);
        let [start, step] = [0_i64, 1].map(|value| tape.constant(&Tensor::scalar(value)));
        Ok(tape.op("Range", &[start, count, step]))
    }
}

/// What padding adds to the scores, `filter`: from a mask `[B, T]` that is zero there, or from a vector `[B]` that
/// says before which of the `keys` it begins.
pub(super) fn padding(
    tape: &mut Tape<'_>,
    (mask, value): (&Operand<'_>, ValueId),
    keys: Positions<'_>,
    filter: f32,
) -> Result<ValueId, Unsupported> {
    let samples = keys.operand.dims().first();
    let seen = match mask.dims() {
        [_, _] => tape.cast(value, DType::Bool),
        [len] if Some(len) == samples => {
            let positions = keys.count(tape)?;
            let ends = tape.cast(value, DType::I64);
            let ends = tape.unsqueeze(ends, &[1]);
            tape.op("Less", &[positions, ends])
        }
        dims => return Err(Unsupported(format!("a mask {dims:?} has no gradient here"))),
    };
    let hidden = tape.op("Not", &[seen]);
    let hidden = tape.indicator(hidden);
    let term = tape.scale(hidden, f64::from(filter));
    Ok(tape.unsqueeze(term, &[1, 2]))
}

/// What hides later keys from a query, to be added to the scores, where queries and keys have the same positions.
pub(super) fn later(tape: &mut Tape<'_>, positions: Positions<'_>) -> Result<ValueId, Unsupported> {
    const HIDDEN: f64 = -1e9;
    let keys = positions.count(tape)?;
    let queries = tape.unsqueeze(keys, &[1]);
    let later = tape.op("Greater", &[keys, queries]);
    let later = tape.indicator(later);
    Ok(tape.scale(later, HIDDEN))
}

/// Gives input `input`, which was added to the scores, their gradient.
pub(super) fn give_scores(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    input: usize,
    grad: ValueId,
    heads: Heads,
) -> Result<(), Unsupported> {
    if !tape.wants(input) {
        return Ok(());
    }
    let term = node.x(input)?;
    let lead = 4_usize.checked_sub(term.rank()).ok_or_else(|| Unsupported::new("a mask has over 4 axes"))?;
    let stretched: Vec<usize> = (lead..4)
        .filter(|&axis| {
            let heads_alone = axis == 1 && heads.queries() == 1;
            term.dims()[axis - lead] == 1 && !term.varies(axis - lead) && !heads_alone
        })
        .collect();
    let grad = tape.reduce_sum(grad, &stretched, true);
    let grad = tape.reduce_sum(grad, &(0..lead).collect::<Vec<_>>(), false);
    tape.give(input, grad);
    Ok(())
}
