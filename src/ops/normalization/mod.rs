//! Operators that shift and scale a tensor by its own statistics or by stored ones.

pub(super) mod batch;
pub(super) mod embedding;
pub(super) mod instance;
pub(super) mod layer;
pub(super) mod local;
pub(super) mod lp;
pub(super) mod mean_variance;
mod rows;
pub(super) mod skip;

use super::{Axis, Coupling, NodeView, Tape, Unsupported};
use crate::ir::{Node, ValueId};

/// Whether the node is one of these operators.
pub(super) fn is_one(node: &Node) -> bool {
    let files = [
        batch::OPERATORS,
        instance::OPERATORS,
        layer::OPERATORS,
        local::OPERATORS,
        lp::OPERATORS,
        mean_variance::OPERATORS,
    ];
    files.into_iter().flatten().any(|operator| operator.spec().names(node))
}

/// Ties the channel axis to the vectors `[C]` of the inputs `scale` and `bias`; returns the axis of the result,
/// which is zero where both are.
fn couple_affine(
    node: &NodeView<'_>,
    slots: &mut dyn Coupling,
    channel: &Axis,
    [scale, bias]: [usize; 2],
) -> Result<Axis, Unsupported> {
    let mut zero = true;
    let mut coupled = channel.clone();
    for input in [scale, bias] {
        if node.x(input)?.dims() != [channel.len()] {
            return Err(Unsupported(format!("input {input} must have {} elements", channel.len())));
        }
        let own = slots.input(input, 0);
        slots.tie(channel, &own);
        zero &= own.zero();
        if coupled.is_fixed() {
            coupled = own;
        }
    }
    Ok(coupled.with_zero(zero))
}

/// A vector `[C]` in a shape that broadcasts along axis 1 of a tensor of the given rank.
fn per_channel(tape: &mut Tape<'_>, vector: ValueId, rank: usize) -> ValueId {
    tape.unsqueeze(vector, &(1..rank.saturating_sub(1)).collect::<Vec<_>>())
}

/// A tensor less its mean, and the reciprocal of its standard deviation.
struct Standardised {
    /// The statistics are taken over these axes, counted from the front.
    axes: Vec<usize>,
    /// `x - mean`.
    centred: ValueId,
    /// `1 / sqrt(variance + epsilon)`, with the axes in size 1.
    inverse: ValueId,
}

impl Standardised {
    /// `x` by its own mean and variance over `axes`.
    fn new(tape: &mut Tape<'_>, x: ValueId, axes: Vec<usize>, epsilon: f32) -> Self {
        let mean = tape.reduce_mean(x, &axes, true);
        let centred = tape.sub(x, mean);
        Self::of_centred(tape, centred, axes, epsilon)
    }

    /// The same of a tensor whose mean is taken as zero.
    fn of_centred(tape: &mut Tape<'_>, centred: ValueId, axes: Vec<usize>, epsilon: f32) -> Self {
        let square = tape.mul(centred, centred);
        let variance = tape.reduce_mean(square, &axes, true);
        let inverse = inverse_deviation(tape, variance, epsilon);
        Self { axes, centred, inverse }
    }

    /// `(x - mean) / sqrt(variance + epsilon)`.
    fn value(&self, tape: &mut Tape<'_>) -> ValueId {
        tape.mul(self.centred, self.inverse)
    }

    /// The gradient of x, given that of `value`: its part along the value, and its mean (unless the mean of x was
    /// taken as zero), are taken out.
    fn gradient(&self, tape: &mut Tape<'_>, value: ValueId, grad: ValueId, with_mean: bool) -> ValueId {
        let along = tape.mul(grad, value);
        let along = tape.reduce_mean(along, &self.axes, true);
        let taken = tape.mul(value, along);
        let mut rest = tape.sub(grad, taken);
        if with_mean {
            let mean = tape.reduce_mean(grad, &self.axes, true);
            rest = tape.sub(rest, mean);
        }
        tape.mul(rest, self.inverse)
    }

    /// The gradient of x where the value is multiplied by a `scale` that is constant over the axes. `sum` and
    /// `along` are the sums over the axes of the product's gradient `grad` and of `grad * centred`; `count` is the
    /// number of elements they run over. Fewer passes over the tensor than [`Self::gradient`].
    fn scaled_gradient(
        &self,
        tape: &mut Tape<'_>,
        grad: ValueId,
        [sum, along, count]: [ValueId; 3],
        scale: ValueId,
    ) -> ValueId {
        let precision = tape.mul(self.inverse, self.inverse);
        let (mean, along) = (tape.div(sum, count), tape.div(along, count));
        let slope = tape.mul(along, precision);
        let factor = tape.mul(self.inverse, scale);
        let taken = tape.mul(self.centred, slope);
        let rest = tape.sub(grad, taken);
        let rest = tape.sub(rest, mean);
        tape.mul(rest, factor)
    }
}

/// `1 / sqrt(variance + epsilon)`.
fn inverse_deviation(tape: &mut Tape<'_>, variance: ValueId, epsilon: f32) -> ValueId {
    let variance = tape.shift(variance, f64::from(epsilon));
    let deviation = tape.op("Sqrt", &[variance]);
    tape.op("Reciprocal", &[deviation])
}
