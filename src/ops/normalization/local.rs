//! `LRN`: `y = x / (bias + alpha / size * s)^beta`, where `s` is the sum of the squares of `size` neighbouring
//! channels.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__LRN.html>.

use crate::ir::{NodeSpec, ValueId};
use crate::ops::{Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};
use crate::tensor::Tensor;

struct Lrn;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&Lrn];

static SPEC: Spec = Spec::onnx("LRN", 1..=1, &["alpha", "beta", "bias", "size"]);

impl Operator for Lrn {
    fn spec(&self) -> &Spec {
        &SPEC
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        for axis in 0..node.x(0)?.rank() {
            let own = slots.input(0, axis);
            if axis == 1 && !own.is_fixed() {
                slots.approximate(&own, "channels are scaled by their neighbours");
            }
            slots.set(0, axis, own);
        }
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        if !tape.wants(0) {
            return Ok(());
        }
        let size = node.int("size", 0);
        let operand = node.x(0)?;
        if size < 1 || operand.rank() < 2 || operand.varies(1) {
            return Err(Unsupported::new("size and channels must be known"));
        }
        let (alpha, beta) = (f64::from(node.float("alpha", 1e-4)), f64::from(node.float("beta", 0.75)));
        let bias = f64::from(node.float("bias", 1.0));
        let (x, dy) = (tape.x(0)?, tape.dy0()?);
        let window = Window { channels: operand.dims()[1] as i64, before: (size - 1) / 2, behind: size / 2 };
        let shape = tape.shape_of(node, 0)?;
        let square = tape.mul(x, x);
        let sum = window.sum(tape, square, shape)?;
        let sum = tape.scale(sum, alpha / size as f64);
        let base = tape.shift(sum, bias);
        let exponent = tape.scalar(-beta);
        let factor = tape.op("Pow", &[base, exponent]);
        // y_j = x_j factor_j, and base_j depends on x_i wherever i is in the window of j.
        let direct = tape.mul(dy, factor);
        let through = tape.mul(direct, x);
        let through = tape.div(through, base);
        let reversed = Window { before: window.behind, behind: window.before, ..window };
        let through = reversed.sum(tape, through, shape)?;
        let through = tape.mul(through, x);
        let through = tape.scale(through, 2.0 * alpha * beta / size as f64);
        let grad = tape.sub(direct, through);
        tape.give(0, grad);
        Ok(())
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let case = |size: i64| Example::new("LRN").attribute("size", size).attribute("alpha", 0.5);
        vec![
            case(3).computed(&[2, 6, 2, 3]),
            case(1).attribute("beta", 0.5).attribute("bias", 2.0).computed(&[2, 6, 2, 3]),
            case(5).opset(9).computed(&[1, 4, 3, 2]),
        ]
    }
}

/// Neighbouring channels.
struct Window {
    channels: i64,
    before: i64,
    behind: i64,
}

impl Window {
    /// The sum over the window around every channel.
    fn sum(&self, tape: &mut Tape<'_>, a: ValueId, shape: ValueId) -> Result<ValueId, Unsupported> {
        let size = (self.before + self.behind + 1) as usize;
        let ones = Tensor::new(vec![1, 1, size, 1], vec![1.0_f32; size])
            .map_err(|error| Unsupported(error.to_string()))?
            .cast_float(tape.dtype());
        let ones = tape.constant(&ones);
        let plane = tape.reshape(a, &[0, 1, self.channels, -1]);
        let pads = vec![self.before, 0, self.behind, 0];
        let sum = tape.node(NodeSpec::new("Conv", &[plane, ones]).attribute("pads", pads));
        Ok(tape.reshape_to(sum, shape))
    }
}
