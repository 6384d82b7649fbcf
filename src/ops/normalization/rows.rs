//! What LayerNormalization and its relatives share: rows by their own statistics, times a scale, plus a bias.

use super::Standardised;
use crate::ir::ValueId;
use crate::ops::{Axis, Coupling, Cut, NodeEdit, NodeView, Tape, Unsupported};

/// Rows over the last axes of a tensor that has the dimensions of output 0.
pub(super) struct Rows {
    /// The first axis of a row, counted from the front.
    pub(super) first: usize,
    /// Whether the mean is taken out.
    pub(super) with_mean: bool,
    /// What is added to the variance.
    pub(super) epsilon: f32,
    /// The input that holds the scale.
    pub(super) scale: usize,
    /// The input that holds the bias.
    pub(super) bias: Option<usize>,
}

impl Rows {
    /// Couples output 0 with the axes `own` of the tensor that is normalised, and with scale and bias.
    pub(super) fn couple(
        &self,
        node: &NodeView<'_>,
        slots: &mut dyn Coupling,
        own: &[Axis],
    ) -> Result<(), Unsupported> {
        let rank = own.len();
        // Without a mean to be taken out, the statistics are those of a row with zeros in it.
        let zero_rows = own[self.first..].iter().all(|own| own.is_fixed() || own.zero());
        let statistics_used = node.output(1).is_some() || node.output(2).is_some();
        let exact = !self.with_mean && zero_rows && !statistics_used;
        for (axis, own) in own.iter().enumerate() {
            if axis < self.first {
                slots.set(0, axis, own.with_zero(own.zero() && self.bias.is_none()));
                continue;
            }
            let mut coupled = own.clone();
            // Only where scale and bias both have the axis are masked elements zero.
            let mut zero = true;
            for input in std::iter::once(self.scale).chain(self.bias) {
                let vector = node.x(input)?;
                let place = (axis + vector.rank()).checked_sub(rank);
                match place.filter(|&place| vector.dims()[place] == own.len()) {
                    Some(place) => {
                        let other = slots.input(input, place);
                        slots.tie(own, &other);
                        zero &= other.zero();
                        if coupled.is_fixed() {
                            coupled = other;
                        }
                    }
                    None => zero = false,
                }
            }
            if exact && !own.is_fixed() {
                slots.average(own);
                zero |= self.bias.is_none();
            } else if !coupled.is_fixed() {
                slots.approximate(&coupled, "the statistics of a row are taken over the axis");
            }
            slots.set(0, axis, coupled.with_zero(zero));
        }
        Ok(())
    }

    /// Keeps the averages over rows of which some indices left, `own` of input 0. With `share` of the indices left, the
    /// mean of the squares is `1 / share` of what it was, so `epsilon` grows as much, and the scale makes up for the
    /// root of it.
    pub(super) fn resize(
        &self,
        node: &NodeView<'_>,
        cut: &Cut<'_>,
        edit: &mut NodeEdit,
    ) -> Result<(), Unsupported> {
        let dims = node.y(0)?.dims();
        if let Some(share) = cut.averaged_share(0, dims, self.first..dims.len()) {
            edit.attribute("epsilon", (f64::from(self.epsilon) / share) as f32);
            edit.input_factors.insert(self.scale, share.sqrt().recip());
        }
        Ok(())
    }

    /// Gives the gradients of scale and bias; returns that of the normalised tensor `x` if it is asked for.
    pub(super) fn gradient(
        &self,
        node: &NodeView<'_>,
        tape: &mut Tape<'_>,
        dy: ValueId,
        x: impl FnOnce(&mut Tape<'_>) -> Result<ValueId, Unsupported>,
        wants_x: bool,
    ) -> Result<Option<ValueId>, Unsupported> {
        if let Some(bias) = self.bias.filter(|&bias| tape.wants(bias)) {
            tape.give_unbroadcast(node, bias, dy)?;
        }
        if !wants_x && !tape.wants(self.scale) {
            return Ok(None);
        }
        let x = x(tape)?;
        let axes: Vec<usize> = (self.first..node.y(0)?.rank()).collect();
        let standard = if self.with_mean {
            Standardised::new(tape, x, axes, self.epsilon)
        } else {
            Standardised::of_centred(tape, x, axes, self.epsilon)
        };
        let value = standard.value(tape);
        if tape.wants(self.scale) {
            let product = tape.mul(dy, value);
            tape.give_unbroadcast(node, self.scale, product)?;
        }
        if !wants_x {
            return Ok(None);
        }
        let scale = tape.x(self.scale)?;
        let grad = tape.mul(dy, scale);
        Ok(Some(standard.gradient(tape, value, grad, self.with_mean)))
    }
}
