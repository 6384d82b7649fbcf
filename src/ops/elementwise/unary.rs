//! Functions of one tensor, element by element: Abs, Acos, Acosh, Asin, Asinh, Atan, Atanh, Ceil, Celu, Clip, Cos,
//! Cosh, Elu, Erf, Exp, Floor, Gelu, HardSigmoid, HardSwish, `IsInf`, `IsNaN`, LeakyRelu, Log, Mish, Neg, Not,
//! Reciprocal, Relu, Round, Selu, Sigmoid, Sign, Sin, Sinh, Softplus, Softsign, Sqrt, Swish, Tan, Tanh,
//! ThresholdedRelu.
//!
//! Specification: <https://onnx.ai/onnx/operators/>. Clip took its bounds as attributes before version 11 and as
//! inputs since.

use crate::ir::{Node, NodeSpec, ValueId};
use crate::ops::{Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};
use crate::tensor::Tensor;

/// What becomes of a zero.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AtZero {
    /// `f(0) = 0`.
    Zero,
    /// `f(0)` is another finite number.
    Finite,
    /// `f(0)` is not finite.
    Infinite,
    /// Depends on the node.
    Clip,
}

/// `f'` times the gradient: from the node, the tape, x, y and dy.
type Derivative = fn(&NodeView<'_>, &mut Tape<'_>, ValueId, ValueId, ValueId) -> ValueId;

/// The functions that are declared [`AtZero::Infinite`] below.
const INFINITE_AT_ZERO: [&str; 3] = ["Log", "Reciprocal", "Acosh"];

struct Unary {
    spec: Spec,
    at_zero: AtZero,
    derivative: Option<Derivative>,
    examples: fn() -> Vec<Example>,
}

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Unary::new("Relu", &[], AtZero::Zero, relu, || one("Relu", 0.01, 2.0)),
    &Unary::new("LeakyRelu", &["alpha"], AtZero::Zero, leaky_relu, || {
        let mut examples = one("LeakyRelu", 0.01, 2.0);
        examples.push(Example::new("LeakyRelu").attribute("alpha", 0.2).computed(&[2, 6]).prunable(0, 1));
        examples
    }),
    &Unary::new("ThresholdedRelu", &["alpha"], AtZero::Finite, thresholded_relu, || {
        one("ThresholdedRelu", 1.1, 2.0)
    }),
    &Unary::new("Elu", &["alpha"], AtZero::Zero, elu, || one("Elu", -2.0, 2.0)),
    &Unary::new("Celu", &["alpha"], AtZero::Zero, celu, || {
        vec![Example::new("Celu").attribute("alpha", 1.5).computed(&[2, 6]).prunable(0, 1)]
    }),
    &Unary::new("Selu", &["alpha", "gamma"], AtZero::Zero, selu, || one("Selu", -2.0, 2.0)),
    &Unary::new("Sigmoid", &[], AtZero::Finite, sigmoid, || one("Sigmoid", -2.0, 2.0)),
    &Unary::new("HardSigmoid", &["alpha", "beta"], AtZero::Finite, hard_sigmoid, || {
        one("HardSigmoid", -2.0, 2.0)
    }),
    &Unary::new("HardSwish", &[], AtZero::Zero, hard_swish, || one("HardSwish", -2.0, 2.0)),
    &Unary::new("Tanh", &[], AtZero::Zero, tanh, || one("Tanh", -2.0, 2.0)),
    &Unary::new("Softplus", &[], AtZero::Finite, softplus, || one("Softplus", -2.0, 2.0)),
    &Unary::new("Softsign", &[], AtZero::Zero, softsign, || one("Softsign", -2.0, 2.0)),
    &Unary::new("Mish", &[], AtZero::Zero, mish, || at_opset(18, one("Mish", -2.0, 2.0))),
    &Unary::new("Swish", &["alpha"], AtZero::Zero, swish, Vec::new),
    &Unary::new("Gelu", &["approximate"], AtZero::Zero, gelu, || {
        let mut examples = one("Gelu", -2.0, 2.0);
        examples.push(Example::new("Gelu").attribute("approximate", "tanh").computed(&[2, 6]).prunable(0, 1));
        at_opset(20, examples)
    }),
    &Unary::new("Erf", &[], AtZero::Zero, erf, || one("Erf", -2.0, 2.0)),
    &Unary::new("Abs", &[], AtZero::Zero, abs, || one("Abs", 0.01, 2.0)),
    &Unary::new("Neg", &[], AtZero::Zero, neg, || one("Neg", -2.0, 2.0)),
    &Unary::new("Exp", &[], AtZero::Finite, exp, || one("Exp", -2.0, 2.0)),
    &Unary::new("Log", &[], AtZero::Infinite, log, || {
        vec![Example::new("Log").computed(&[2, 6]).range(0.3, 2.0)]
    }),
    &Unary::new("Sqrt", &[], AtZero::Zero, sqrt, || one("Sqrt", 0.3, 2.0)),
    &Unary::new("Reciprocal", &[], AtZero::Infinite, reciprocal, || {
        vec![Example::new("Reciprocal").computed(&[2, 6]).range(0.3, 2.0)]
    }),
    &Unary::new("Sin", &[], AtZero::Zero, sin, || one("Sin", -2.0, 2.0)),
    &Unary::new("Cos", &[], AtZero::Finite, cos, || one("Cos", -2.0, 2.0)),
    &Unary::new("Tan", &[], AtZero::Zero, tan, || one("Tan", -1.0, 1.0)),
    &Unary::new("Asin", &[], AtZero::Zero, asin, || one("Asin", -0.8, 0.8)),
    &Unary::new("Acos", &[], AtZero::Finite, acos, || one("Acos", -0.8, 0.8)),
    &Unary::new("Atan", &[], AtZero::Zero, atan, || one("Atan", -2.0, 2.0)),
    &Unary::new("Sinh", &[], AtZero::Zero, sinh, || one("Sinh", -2.0, 2.0)),
    &Unary::new("Cosh", &[], AtZero::Finite, cosh, || one("Cosh", -2.0, 2.0)),
    &Unary::new("Asinh", &[], AtZero::Zero, asinh, || one("Asinh", -2.0, 2.0)),
    &Unary::new("Acosh", &[], AtZero::Infinite, acosh, || {
        vec![Example::new("Acosh").weight(&[2, 6]).range(1.5, 3.0)]
    }),
    &Unary::new("Atanh", &[], AtZero::Zero, atanh, || one("Atanh", -0.8, 0.8)),
    &Unary {
        spec: Spec::onnx("Clip", 1..=3, &["min", "max"]),
        at_zero: AtZero::Clip,
        derivative: Some(clip),
        examples: clip_examples,
    },
    &Unary::step("Sign", AtZero::Zero),
    &Unary::step("Floor", AtZero::Zero),
    &Unary::step("Ceil", AtZero::Zero),
    &Unary::step("Round", AtZero::Zero),
    &Unary::step("Not", AtZero::Finite),
    &Unary::step("IsNaN", AtZero::Zero),
    &Unary {
        spec: Spec::onnx("IsInf", 1..=1, &["detect_negative", "detect_positive"]),
        at_zero: AtZero::Zero,
        derivative: None,
        examples: Vec::new,
    },
];

impl Unary {
    const fn new(
        op_type: &'static str,
        attributes: &'static [&'static str],
        at_zero: AtZero,
        derivative: Derivative,
        examples: fn() -> Vec<Example>,
    ) -> Self {
        Self { spec: Spec::onnx(op_type, 1..=1, attributes), at_zero, derivative: Some(derivative), examples }
    }

    /// A function whose derivative is zero wherever there is one.
    const fn step(op_type: &'static str, at_zero: AtZero) -> Self {
        Self { spec: Spec::onnx(op_type, 1..=1, &[]), at_zero, derivative: None, examples: Vec::new }
    }
}

/// Whether the node is a function that is not finite at zero.
pub(in crate::ops) fn is_infinite_at_zero(node: &Node) -> bool {
    let standard = matches!(node.domain.as_str(), "" | "ai.onnx");
    standard && INFINITE_AT_ZERO.contains(&node.op_type.as_str())
}

impl Operator for Unary {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        for bound in 1..node.input_count() {
            if node.input(bound).is_some_and(|bound| bound.count() != 1) {
                return Err(Unsupported(format!("input {bound} must be a scalar")));
            }
        }
        let at_zero = if self.at_zero == AtZero::Clip { clip_at_zero(node) } else { self.at_zero };
        for axis in 0..node.x(0)?.rank() {
            let own = slots.input(0, axis);
            if at_zero == AtZero::Infinite && own.zero() {
                slots.pin(&own, "the function is not finite at zero, which is what masked elements are");
            }
            let zero = own.zero() && at_zero == AtZero::Zero;
            slots.set(0, axis, own.with_zero(zero));
        }
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let Some(derivative) = self.derivative else { return Ok(()) };
        if tape.wants(1) || tape.wants(2) {
            return Err(Unsupported::new("the bounds of Clip are trainable"));
        }
        if tape.wants(0) {
            let (x, y, dy) = (tape.x(0)?, tape.y(0)?, tape.dy0()?);
            let dx = derivative(node, tape, x, y, dy);
            tape.give(0, dx);
        }
        Ok(())
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        (self.examples)()
    }
}

fn one(op_type: &'static str, low: f32, high: f32) -> Vec<Example> {
    vec![Example::new(op_type).computed(&[2, 6]).prunable(0, 1).range(low, high)]
}

fn at_opset(opset: i64, examples: Vec<Example>) -> Vec<Example> {
    examples.into_iter().map(|example| example.opset(opset)).collect()
}

/// `dy` where `condition`, else 0. A product: runtimes are several times slower at choosing element by element.
fn where_or_zero(tape: &mut Tape<'_>, condition: ValueId, dy: ValueId) -> ValueId {
    let indicator = tape.indicator(condition);
    tape.mul(dy, indicator)
}

fn above(tape: &mut Tape<'_>, x: ValueId, bound: f64) -> ValueId {
    let bound = tape.scalar(bound);
    tape.op("Greater", &[x, bound])
}

fn relu(_: &NodeView<'_>, tape: &mut Tape<'_>, _: ValueId, y: ValueId, dy: ValueId) -> ValueId {
    // y is kept for the next operator anyway, x need not be.
    let condition = above(tape, y, 0.0);
    where_or_zero(tape, condition, dy)
}

/// `dy` for positive x, `dy * slope` else.
fn two_sided(tape: &mut Tape<'_>, x: ValueId, dy: ValueId, positive: ValueId, negative: ValueId) -> ValueId {
    let condition = above(tape, x, 0.0);
    let indicator = tape.indicator(condition);
    let gap = tape.sub(positive, negative);
    let gap = tape.mul(gap, indicator);
    let slope = tape.add(negative, gap);
    tape.mul(dy, slope)
}

fn leaky_relu(node: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    let (positive, negative) = (tape.scalar(1.0), tape.scalar(f64::from(node.float("alpha", 0.01))));
    two_sided(tape, x, dy, positive, negative)
}

fn thresholded_relu(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    x: ValueId,
    _: ValueId,
    dy: ValueId,
) -> ValueId {
    let condition = above(tape, x, f64::from(node.float("alpha", 1.0)));
    where_or_zero(tape, condition, dy)
}

fn elu(node: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, y: ValueId, dy: ValueId) -> ValueId {
    // For x < 0: y = alpha (exp x - 1), so dy/dx = y + alpha.
    let positive = tape.scalar(1.0);
    let negative = tape.shift(y, f64::from(node.float("alpha", 1.0)));
    two_sided(tape, x, dy, positive, negative)
}

fn celu(node: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, y: ValueId, dy: ValueId) -> ValueId {
    // For x < 0: y = alpha (exp(x / alpha) - 1), so dy/dx = y / alpha + 1.
    let positive = tape.scalar(1.0);
    let scaled = tape.scale(y, 1.0 / f64::from(node.float("alpha", 1.0)));
    let negative = tape.shift(scaled, 1.0);
    two_sided(tape, x, dy, positive, negative)
}

fn selu(node: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, y: ValueId, dy: ValueId) -> ValueId {
    let alpha = f64::from(node.float("alpha", 1.673_263_2));
    let gamma = f64::from(node.float("gamma", 1.050_701));
    let positive = tape.scalar(gamma);
    let negative = tape.shift(y, alpha * gamma);
    two_sided(tape, x, dy, positive, negative)
}

fn sigmoid(_: &NodeView<'_>, tape: &mut Tape<'_>, _: ValueId, y: ValueId, dy: ValueId) -> ValueId {
    let one = tape.scalar(1.0);
    let rest = tape.sub(one, y);
    let slope = tape.mul(y, rest);
    tape.mul(dy, slope)
}

/// `dy` where `low < x < high`, else 0.
fn inside(tape: &mut Tape<'_>, x: ValueId, low: ValueId, high: ValueId, dy: ValueId) -> ValueId {
    let (over, under) = (tape.op("Greater", &[x, low]), tape.op("Less", &[x, high]));
    let condition = tape.op("And", &[over, under]);
    where_or_zero(tape, condition, dy)
}

fn hard_sigmoid(node: &NodeView<'_>, tape: &mut Tape<'_>, _: ValueId, y: ValueId, dy: ValueId) -> ValueId {
    let (low, high) = (tape.scalar(0.0), tape.scalar(1.0));
    let scaled = tape.scale(dy, f64::from(node.float("alpha", 0.2)));
    inside(tape, y, low, high, scaled)
}

fn hard_swish(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    // x * h(x) with h = max(0, min(1, x / 6 + 1 / 2)): h + x / 6 inside, h outside.
    let third = tape.scale(x, 1.0 / 3.0);
    let middle = tape.shift(third, 0.5);
    let (three, minus) = (tape.scalar(3.0), tape.scalar(-3.0));
    let over = tape.op("Greater", &[x, minus]);
    let inner = where_or_zero(tape, over, middle);
    let one = tape.scalar(1.0);
    let rest = tape.sub(one, inner);
    let beyond = tape.op("Greater", &[x, three]);
    let rest = where_or_zero(tape, beyond, rest);
    let slope = tape.add(inner, rest);
    tape.mul(dy, slope)
}

fn tanh(_: &NodeView<'_>, tape: &mut Tape<'_>, _: ValueId, y: ValueId, dy: ValueId) -> ValueId {
    let square = tape.mul(y, y);
    let one = tape.scalar(1.0);
    let slope = tape.sub(one, square);
    tape.mul(dy, slope)
}

/// `dy / sqrt(sign * (x^2 + shift))`, the derivative of several inverse functions.
fn over_root(tape: &mut Tape<'_>, x: ValueId, dy: ValueId, sign: f64, shift: f64) -> ValueId {
    let square = tape.mul(x, x);
    let shifted = tape.shift(square, shift);
    let inside = tape.scale(shifted, sign);
    let root = tape.op("Sqrt", &[inside]);
    tape.div(dy, root)
}

fn tan(_: &NodeView<'_>, tape: &mut Tape<'_>, _: ValueId, y: ValueId, dy: ValueId) -> ValueId {
    let square = tape.mul(y, y);
    let slope = tape.shift(square, 1.0);
    tape.mul(dy, slope)
}

fn asin(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    over_root(tape, x, dy, -1.0, -1.0)
}

fn acos(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    let grad = over_root(tape, x, dy, -1.0, -1.0);
    tape.neg(grad)
}

fn atan(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    let square = tape.mul(x, x);
    let below = tape.shift(square, 1.0);
    tape.div(dy, below)
}

fn sinh(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    let slope = tape.op("Cosh", &[x]);
    tape.mul(dy, slope)
}

fn cosh(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    let slope = tape.op("Sinh", &[x]);
    tape.mul(dy, slope)
}

fn asinh(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    over_root(tape, x, dy, 1.0, 1.0)
}

fn acosh(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    over_root(tape, x, dy, 1.0, -1.0)
}

fn atanh(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    let square = tape.mul(x, x);
    let one = tape.scalar(1.0);
    let below = tape.sub(one, square);
    tape.div(dy, below)
}

fn softplus(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    let slope = tape.op("Sigmoid", &[x]);
    tape.mul(dy, slope)
}

fn softsign(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    let size = tape.op("Abs", &[x]);
    let sum = tape.shift(size, 1.0);
    let square = tape.mul(sum, sum);
    tape.div(dy, square)
}

fn mish(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    // y = x t with t = tanh(softplus x): t + x (1 - t^2) sigmoid x.
    let soft = tape.op("Softplus", &[x]);
    let t = tape.op("Tanh", &[soft]);
    let square = tape.mul(t, t);
    let one = tape.scalar(1.0);
    let rest = tape.sub(one, square);
    let s = tape.op("Sigmoid", &[x]);
    let xs = tape.mul(x, s);
    let bend = tape.mul(xs, rest);
    let slope = tape.add(t, bend);
    tape.mul(dy, slope)
}

fn swish(node: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, y: ValueId, dy: ValueId) -> ValueId {
    let slope = swish_slope(tape, x, y, f64::from(node.float("alpha", 1.0)));
    tape.mul(dy, slope)
}

/// The derivative of `y = x * sigmoid(alpha * x)`.
pub(super) fn swish_slope(tape: &mut Tape<'_>, x: ValueId, y: ValueId, alpha: f64) -> ValueId {
    // With s = sigmoid(alpha x): s + alpha y (1 - s).
    let scaled = tape.scale(x, alpha);
    let s = tape.op("Sigmoid", &[scaled]);
    let one = tape.scalar(1.0);
    let rest = tape.sub(one, s);
    let bend = tape.mul(y, rest);
    let bend = tape.scale(bend, alpha);
    tape.add(s, bend)
}

fn gelu(node: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    let slope = gelu_slope(tape, x, node.string("approximate", "none") == "tanh");
    tape.mul(dy, slope)
}

/// The derivative of `x * Phi(x)`, or of its approximation by a hyperbolic tangent.
pub(super) fn gelu_slope(tape: &mut Tape<'_>, x: ValueId, approximate: bool) -> ValueId {
    if approximate {
        // y = x (1 + t) / 2 with t = tanh(k (x + c x^3)): (1 + t) / 2 + x (1 - t^2) k (1 + 3 c x^2) / 2.
        let (k, c) = ((2.0 / std::f64::consts::PI).sqrt(), 0.044_715);
        let square = tape.mul(x, x);
        let cubic = tape.scale(square, c);
        let cubic = tape.shift(cubic, 1.0);
        let argument = tape.mul(x, cubic);
        let argument = tape.scale(argument, k);
        let t = tape.op("Tanh", &[argument]);
        let tt = tape.mul(t, t);
        let one = tape.scalar(1.0);
        let rest = tape.sub(one, tt);
        let inner = tape.scale(square, 3.0 * c);
        let inner = tape.shift(inner, 1.0);
        let inner = tape.scale(inner, k);
        let bend = tape.mul(rest, inner);
        let bend = tape.mul(bend, x);
        let twice = tape.add(t, bend);
        let twice = tape.shift(twice, 1.0);
        tape.scale(twice, 0.5)
    } else {
        // y = x Phi(x): Phi(x) + x phi(x).
        let scaled = tape.scale(x, std::f64::consts::FRAC_1_SQRT_2);
        let e = tape.op("Erf", &[scaled]);
        let e = tape.shift(e, 1.0);
        let phi = tape.scale(e, 0.5);
        let density = gauss(tape, x, 0.5, 1.0 / std::f64::consts::TAU.sqrt());
        let bend = tape.mul(x, density);
        tape.add(phi, bend)
    }
}

/// `factor * exp(-rate * x^2)`.
fn gauss(tape: &mut Tape<'_>, x: ValueId, rate: f64, factor: f64) -> ValueId {
    let square = tape.mul(x, x);
    let exponent = tape.scale(square, -rate);
    let bell = tape.op("Exp", &[exponent]);
    tape.scale(bell, factor)
}

fn erf(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    let slope = gauss(tape, x, 1.0, std::f64::consts::FRAC_2_SQRT_PI);
    tape.mul(dy, slope)
}

fn abs(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    let sign = tape.op("Sign", &[x]);
    tape.mul(dy, sign)
}

fn neg(_: &NodeView<'_>, tape: &mut Tape<'_>, _: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    tape.neg(dy)
}

fn exp(_: &NodeView<'_>, tape: &mut Tape<'_>, _: ValueId, y: ValueId, dy: ValueId) -> ValueId {
    tape.mul(dy, y)
}

fn log(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    tape.div(dy, x)
}

fn sqrt(_: &NodeView<'_>, tape: &mut Tape<'_>, _: ValueId, y: ValueId, dy: ValueId) -> ValueId {
    let half = tape.scale(dy, 0.5);
    tape.div(half, y)
}

fn reciprocal(_: &NodeView<'_>, tape: &mut Tape<'_>, _: ValueId, y: ValueId, dy: ValueId) -> ValueId {
    let square = tape.mul(y, y);
    let product = tape.mul(dy, square);
    tape.neg(product)
}

fn sin(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    let slope = tape.op("Cos", &[x]);
    tape.mul(dy, slope)
}

fn cos(_: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    let slope = tape.op("Sin", &[x]);
    let product = tape.mul(dy, slope);
    tape.neg(product)
}

/// The bounds of Clip as numbers, where they are constants.
fn bounds(node: &NodeView<'_>) -> [Option<f64>; 2] {
    let attribute = |name| {
        node.floats(name)
            .is_none()
            .then(|| node.has(name).then(|| f64::from(node.float(name, 0.0))))
            .flatten()
    };
    let input = |index| node.input(index)?.constant()?.to_f64().ok()?.first().copied();
    [attribute("min").or_else(|| input(1)), attribute("max").or_else(|| input(2))]
}

fn clip_at_zero(node: &NodeView<'_>) -> AtZero {
    let [low, high] = bounds(node);
    let computed = |index: usize, known: Option<f64>| node.input(index).is_some() && known.is_none();
    let kept = low.is_none_or(|low| low <= 0.0) && high.is_none_or(|high| high >= 0.0);
    if kept && !computed(1, low) && !computed(2, high) { AtZero::Zero } else { AtZero::Finite }
}

fn clip(node: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId, _: ValueId, dy: ValueId) -> ValueId {
    let mut bound = |name: &str, input: usize| {
        if node.has(name) {
            Some(tape.scalar(f64::from(node.float(name, 0.0))))
        } else {
            node.input(input).and_then(|_| tape.x(input).ok())
        }
    };
    let (low, high) = (bound("min", 1), bound("max", 2));
    match (low, high) {
        (Some(low), Some(high)) => inside(tape, x, low, high, dy),
        (Some(low), None) => {
            let condition = tape.node(NodeSpec::new("Greater", &[x, low]));
            where_or_zero(tape, condition, dy)
        }
        (None, Some(high)) => {
            let condition = tape.node(NodeSpec::new("Less", &[x, high]));
            where_or_zero(tape, condition, dy)
        }
        (None, None) => dy,
    }
}

fn clip_examples() -> Vec<Example> {
    let bound = |value: f32| Tensor::scalar(value);
    let clip = || Example::new("Clip").computed(&[2, 6]).prunable(0, 1);
    vec![
        clip().constant(bound(-0.7)).constant(bound(1.1)),
        clip().constant(bound(0.25)),
        clip().absent().constant(bound(0.9)),
        Example::new("Clip")
            .opset(10)
            .attribute("min", -0.5)
            .attribute("max", 0.5)
            .computed(&[2, 6])
            .prunable(0, 1),
    ]
}
