//! The dimensions of a recurrent node and where its axes are.

use super::{B, INITIAL_C, INITIAL_H, P, R, SEQUENCE_LENS, W, X};
use crate::ops::{NodeView, Operand, Unsupported};

/// The dimensions of a node, checked against all of its operands.
///
/// With `layout` 0: `x [T, N, I]`, `y [T, D, N, H]`, states `[D, N, H]`; with 1: `x [N, T, I]`, `y [N, T, D, H]`,
/// states `[N, D, H]`. Always `w [D, G*H, I]`, `r [D, G*H, H]`, `b [D, 2*G*H]`, `p [D, 3*H]`.
pub(super) struct Sizes {
    /// T.
    pub(super) steps: usize,
    /// H.
    pub(super) hidden: usize,
    /// G.
    pub(super) gates: usize,
    /// For each direction, whether it runs from the last step to the first.
    pub(super) reverse: &'static [bool],
    /// Whether the batch comes first.
    pub(super) batch_first: bool,
}

fn expect(name: &str, operand: Option<&Operand<'_>>, dims: &[usize]) -> Result<(), Unsupported> {
    match operand {
        Some(operand) if operand.dims() != dims => {
            Err(Unsupported(format!("{name} is {:?} instead of {dims:?}", operand.dims())))
        }
        _ => Ok(()),
    }
}

impl Sizes {
    /// The sizes of `node`, whose operator has so many gates.
    ///
    /// # Errors
    /// When an operand has other dimensions than the specification says, or an attribute has another value.
    pub(super) fn new(node: &NodeView<'_>, gates: usize) -> Result<Self, Unsupported> {
        let reverse: &[bool] = match node.string("direction", "forward") {
            "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" => &[false, true],
            other => return Err(Unsupported(format!("direction is {other}"))),
        };
        let batch_first = match node.int("layout", 0) {
            0 => false,
            1 => true,
            other => return Err(Unsupported(format!("layout is {other}"))),
        };
        let (&[first, second, features], &[_, _, hidden]) = (node.x(X)?.dims(), node.x(R)?.dims()) else {
            return Err(Unsupported::new("x [T, N, I] and r [D, G*H, H] must have three axes"));
        };
        let [steps, batch] = if batch_first { [second, first] } else { [first, second] };
        let directions = reverse.len();
        let state = if batch_first { [batch, directions, hidden] } else { [directions, batch, hidden] };
        let y =
            if batch_first { [batch, steps, directions, hidden] } else { [steps, directions, batch, hidden] };
        let rows = gates * hidden;
        expect("w", node.input(W), &[directions, rows, features])?;
        expect("r", node.input(R), &[directions, rows, hidden])?;
        expect("b", node.input(B), &[directions, 2 * rows])?;
        expect("sequence_lens", node.input(SEQUENCE_LENS), &[batch])?;
        expect("initial_h", node.input(INITIAL_H), &state)?;
        expect("initial_c", node.input(INITIAL_C), &state)?;
        expect("p", node.input(P), &[directions, 3 * hidden])?;
        expect("y", node.output(0), &y)?;
        expect("y_h", node.output(1), &state)?;
        expect("y_c", node.output(2), &state)?;
        Ok(Self { steps, hidden, gates, reverse, batch_first })
    }

    /// The axis of x that counts the steps.
    pub(super) fn time_axis(&self) -> usize {
        usize::from(self.batch_first)
    }

    /// The axis of x that counts the samples.
    pub(super) fn batch_axis(&self) -> usize {
        usize::from(!self.batch_first)
    }

    /// The axis of states that counts the samples.
    pub(super) fn batch_axis_of_state(&self) -> usize {
        usize::from(!self.batch_first)
    }

    /// The axis of states that counts the directions.
    pub(super) fn direction_axis_of_state(&self) -> usize {
        usize::from(self.batch_first)
    }

    /// The axis of y that counts the samples.
    pub(super) fn batch_axis_of_y(&self) -> usize {
        if self.batch_first { 0 } else { 2 }
    }
}
