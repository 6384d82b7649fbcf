//! Operators that compute each element of their result from the elements at the same place.

pub(super) mod binary;
pub(super) mod fused;
pub(super) mod unary;

use super::{Axis, Coupling, NodeView, Unsupported};

/// Couples the inputs in `operands` and output 0 by the broadcasting rules of ONNX.
///
/// `zero` says whether the result is zero, given for each operand whether it is. An operand that is broadcast along
/// an axis is not zero there.
pub(super) fn couple_broadcast(
    node: &NodeView<'_>,
    slots: &mut dyn Coupling,
    operands: &[usize],
    zero: impl Fn(&[bool]) -> bool,
) -> Result<(), Unsupported> {
    for (axis, coupled) in broadcast_axes(node, slots, operands, zero)?.into_iter().enumerate() {
        slots.set(0, axis, coupled);
    }
    Ok(())
}

/// The same, but returns the axes of the result, which has the dimensions of output 0, instead of setting them.
pub(super) fn broadcast_axes(
    node: &NodeView<'_>,
    slots: &mut dyn Coupling,
    operands: &[usize],
    zero: impl Fn(&[bool]) -> bool,
) -> Result<Vec<Axis>, Unsupported> {
    let result = node.y(0)?;
    let mut axes = Vec::with_capacity(result.rank());
    for axis in 0..result.rank() {
        let mut coupled: Option<Axis> = None;
        let mut zeros = vec![false; operands.len()];
        for (place, &input) in operands.iter().enumerate() {
            let operand = node.x(input)?;
            let Some(own) = (axis + operand.rank()).checked_sub(result.rank()) else { continue };
            if operand.dims()[own] != result.dims()[axis] {
                continue;
            }
            if operand.dims()[own] == 1 && operand.varies(own) != result.varies(axis) {
                continue;
            }
            let slots_here = slots.input(input, own);
            zeros[place] = slots_here.zero();
            match &coupled {
                None => coupled = Some(slots_here),
                Some(first) => {
                    slots.tie(first, &slots_here);
                    if first.is_fixed() {
                        coupled = Some(slots_here);
                    }
                }
            }
        }
        axes.push(match coupled {
            Some(coupled) => coupled.with_zero(zero(&zeros)),
            None => Axis::fixed(result.dims()[axis]),
        });
    }
    Ok(axes)
}
