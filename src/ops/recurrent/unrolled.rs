//! The gradient of recurrent operators: back through time, step by step, in as few nodes a step as the formula allows.
//!
//! The states after all steps are an output of the node, so what the gates were is computed for all steps at once;
//! only what the gradient carries from a step to the one before it is a chain. Every tensor here has time first.

use super::{B, INITIAL_C, INITIAL_H, R, W, X};
use crate::ir::{NodeSpec, ValueId};
use crate::ops::product::matmul::transposed_product;
use crate::ops::recurrent::sizes::Sizes;
use crate::ops::{NodeView, Tape, Unsupported};

/// More steps are not written out.
const MOST_STEPS: usize = 2048;

/// The gradient of one direction of a node.
pub(super) type Backward = fn(&NodeView<'_>, &mut Tape<'_>, &Direction) -> Gradients;

/// One direction of a node.
pub(super) struct Direction {
    /// Its number.
    pub(super) index: usize,
    reverse: bool,
    steps: usize,
    hidden: usize,
    gates: usize,
    x: ValueId,
    w: ValueId,
    /// R `[G*H, H]`.
    pub(super) r: ValueId,
    /// The biases that go with W and with R, each `[G*H]`.
    biases: Option<[ValueId; 2]>,
    /// The state after each step `[T, N, H]`.
    pub(super) y: ValueId,
    /// The state before each step `[T, N, H]`.
    pub(super) before: ValueId,
    /// The cell before the first step `[1, N, H]`.
    pub(super) initial_c: ValueId,
    /// The gradients of the state after each step, in the order of the steps, if there are any.
    dy: Option<Vec<ValueId>>,
    /// The gradient of the last state `[1, N, H]`.
    pub(super) dh: ValueId,
    /// The gradient of the last cell `[1, N, H]`.
    pub(super) dc: ValueId,
}

/// What a [`Backward`] returns.
pub(super) struct Gradients {
    /// Of what the gates get from x `[T, N, G*H]`.
    pub(super) from_x: ValueId,
    /// Of what the gates get from the bias of R `[T, N, G*H]`.
    pub(super) from_bias: ValueId,
    /// Of R `[G*H, H]`.
    pub(super) r: ValueId,
    /// Of the initial state `[1, N, H]`.
    pub(super) initial_h: ValueId,
    /// Of the initial cell `[1, N, H]`.
    pub(super) initial_c: Option<ValueId>,
}

/// `a` cut into parts along `axis`.
pub(super) fn split(tape: &mut Tape<'_>, a: ValueId, axis: usize, sizes: &[usize]) -> Vec<ValueId> {
    if sizes.len() == 1 {
        return vec![a];
    }
    let lengths: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
    let spec = if tape.opset() >= 13 {
        let lengths = tape.ints(&lengths);
        NodeSpec::new("Split", &[a, lengths])
    } else {
        NodeSpec::new("Split", &[a]).attribute("split", lengths)
    };
    tape.nodes(spec.attribute("axis", axis as i64), sizes.len())
}

/// `s * (1 - s)`: the slope of the sigmoid where it is `s`.
pub(super) fn sigmoid_slope(tape: &mut Tape<'_>, s: ValueId) -> ValueId {
    let rest = one_minus(tape, s);
    tape.mul(s, rest)
}

/// `1 - t^2`: the slope of the hyperbolic tangent where it is `t`.
pub(super) fn tanh_slope(tape: &mut Tape<'_>, t: ValueId) -> ValueId {
    let square = tape.mul(t, t);
    one_minus(tape, square)
}

/// `1 - a`.
pub(super) fn one_minus(tape: &mut Tape<'_>, a: ValueId) -> ValueId {
    let one = tape.scalar(1.0);
    tape.sub(one, a)
}

/// The sum over steps and samples of the outer products of `a [T, N, A]` and `b [T, N, B]`: `[A, B]`.
pub(super) fn outer(
    tape: &mut Tape<'_>,
    (a, rows): (ValueId, usize),
    (b, columns): (ValueId, usize),
) -> ValueId {
    let a = tape.reshape(a, &[-1, rows as i64]);
    let b = tape.reshape(b, &[-1, columns as i64]);
    transposed_product(tape, a, b)
}

impl Direction {
    /// H.
    pub(super) fn hidden(&self) -> usize {
        self.hidden
    }

    /// What the gates get from x and from the state before, each `[T, N, G*H]`.
    pub(super) fn products(&self, tape: &mut Tape<'_>) -> [ValueId; 2] {
        let mut sums = [(self.x, self.w), (self.before, self.r)].map(|(a, weight)| {
            let weight = tape.transpose(weight, &[1, 0]);
            tape.matmul(a, weight)
        });
        if let Some(biases) = self.biases {
            for (sum, bias) in sums.iter_mut().zip(biases) {
                *sum = tape.add(*sum, bias);
            }
        }
        sums
    }

    /// `a [.., G*H]` of rank 3 as its gates.
    pub(super) fn gates(&self, tape: &mut Tape<'_>, a: ValueId) -> Vec<ValueId> {
        split(tape, a, 2, &vec![self.hidden; self.gates])
    }

    /// `a [T, N, ..]` as its steps `[1, N, ..]`, in the order in which they are taken.
    pub(super) fn steps(&self, tape: &mut Tape<'_>, a: ValueId) -> Vec<ValueId> {
        let mut steps = split(tape, a, 0, &vec![1; self.steps]);
        if self.reverse {
            steps.reverse();
        }
        steps
    }

    /// The steps, in the order in which they are taken, as one tensor.
    pub(super) fn join(&self, tape: &mut Tape<'_>, mut steps: Vec<ValueId>) -> ValueId {
        if self.reverse {
            steps.reverse();
        }
        tape.concat(&steps, 0)
    }

    /// For each step what `after [T, N, H]` held before it, when that was `initial [1, N, H]` at first.
    pub(super) fn shifted(&self, tape: &mut Tape<'_>, after: ValueId, initial: ValueId) -> ValueId {
        let last = self.steps as i64;
        if last == 1 {
            return initial;
        }
        if self.reverse {
            let later = tape.slice(after, &[0], &[1], &[last], &[1]);
            return tape.concat(&[later, initial], 0);
        }
        let earlier = tape.slice(after, &[0], &[0], &[last - 1], &[1]);
        tape.concat(&[initial, earlier], 0)
    }

    /// The gradient of the state after step `step`, of which `carried` comes from the steps behind it.
    pub(super) fn state_gradient(&self, tape: &mut Tape<'_>, step: usize, carried: ValueId) -> ValueId {
        match &self.dy {
            Some(dy) => tape.add(dy[step], carried),
            None => carried,
        }
    }
}

/// The operands of a node that are the same for all directions, with time first.
struct Operands {
    x: ValueId,
    y: ValueId,
    dy: Option<ValueId>,
    initial: [Option<ValueId>; 2],
    last: [Option<ValueId>; 2],
}

impl Operands {
    fn new(node: &NodeView<'_>, tape: &mut Tape<'_>, sizes: &Sizes) -> Result<Self, Unsupported> {
        let y = match tape.y(0) {
            Ok(y) => y,
            // Nobody else reads the states after all steps: compute them here.
            Err(_) => {
                let inputs: Vec<Option<ValueId>> =
                    (0..node.input_count()).map(|input| tape.x(input).ok()).collect();
                let spec = NodeSpec::with_optional(node.op_type(), &inputs);
                tape.node(spec.attributes(node.attributes().clone()))
            }
        };
        let initial = [INITIAL_H, INITIAL_C].map(|input| tape.x(input).ok());
        let last = [tape.dy(1), tape.dy(2)];
        let mut found = Self { x: tape.x(X)?, y, dy: tape.dy(0), initial, last };
        if sizes.batch_first {
            found.x = tape.transpose(found.x, &[1, 0, 2]);
            for y in std::iter::once(&mut found.y).chain(found.dy.as_mut()) {
                *y = tape.transpose(*y, &[1, 2, 0, 3]);
            }
            for state in found.initial.iter_mut().chain(&mut found.last).flatten() {
                *state = tape.transpose(*state, &[1, 0, 2]);
            }
        }
        Ok(found)
    }

    fn direction(&self, tape: &mut Tape<'_>, sizes: &Sizes, index: usize) -> Result<Direction, Unsupported> {
        let both = sizes.reverse.len() > 1;
        let of = |tape: &mut Tape<'_>, a: ValueId, axis: usize| {
            let at = index as i64;
            if both { tape.slice(a, &[axis], &[at], &[at + 1], &[1]) } else { a }
        };
        let matrix = |tape: &mut Tape<'_>, input: usize| {
            let all = tape.x(input)?;
            let own = of(tape, all, 0);
            Ok(tape.squeeze(own, &[0]))
        };
        let (w, r) = (matrix(tape, W)?, matrix(tape, R)?);
        let biases = match tape.x(B) {
            Ok(_) => {
                let all = matrix(tape, B)?;
                let parts = split(tape, all, 0, &[sizes.gates * sizes.hidden; 2]);
                parts.try_into().ok()
            }
            Err(_) => None,
        };
        let sequence = |tape: &mut Tape<'_>, a: ValueId| {
            let own = of(tape, a, 1);
            tape.squeeze(own, &[1])
        };
        let y = sequence(tape, self.y);
        let zeros = tape.slice(y, &[0], &[0], &[1], &[1]);
        let zeros = tape.scale(zeros, 0.0);
        let state =
            |tape: &mut Tape<'_>, state: Option<ValueId>| state.map_or(zeros, |state| of(tape, state, 0));
        let initial_h = state(tape, self.initial[0]);
        let mut direction = Direction {
            index,
            reverse: sizes.reverse[index],
            steps: sizes.steps,
            hidden: sizes.hidden,
            gates: sizes.gates,
            x: self.x,
            w,
            r,
            biases,
            y,
            before: y,
            initial_c: state(tape, self.initial[1]),
            dy: None,
            dh: state(tape, self.last[0]),
            dc: state(tape, self.last[1]),
        };
        direction.before = direction.shifted(tape, y, initial_h);
        if let Some(dy) = self.dy {
            let dy = sequence(tape, dy);
            direction.dy = Some(direction.steps(tape, dy));
        }
        Ok(direction)
    }
}

/// An initial state that is zero in every run is none, and is not trained.
fn is_nothing(node: &NodeView<'_>, input: usize) -> bool {
    let values = node.input(input).and_then(|state| state.constant()?.to_f64().ok());
    values.is_some_and(|values| values.iter().all(|&value| value == 0.0))
}

/// Emits the gradient of `node`, each direction by `backward`.
///
/// # Errors
/// When the number of steps varies from run to run or is too large.
pub(super) fn gradient(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    sizes: &Sizes,
    backward: Backward,
) -> Result<(), Unsupported> {
    if node.x(X)?.varies(sizes.time_axis()) {
        return Err(Unsupported::new("the number of steps is not fixed, so they cannot be written out"));
    }
    if sizes.steps == 0 || sizes.steps > MOST_STEPS {
        return Err(Unsupported(format!(
            "there are {} steps; at least 1 and at most {MOST_STEPS} are written out",
            sizes.steps
        )));
    }
    let features = node.x(X)?.dims()[2];
    let rows = sizes.gates * sizes.hidden;
    let operands = Operands::new(node, tape, sizes)?;
    let mut dx: Option<ValueId> = None;
    let mut parts: [Vec<ValueId>; 5] = Default::default();
    let [dw, dr, db, dh, dc] = &mut parts;
    for index in 0..sizes.reverse.len() {
        let direction = operands.direction(tape, sizes, index)?;
        let found = backward(node, tape, &direction);
        if tape.wants(X) {
            let part = tape.matmul(found.from_x, direction.w);
            dx = Some(dx.map_or(part, |sum| tape.add(sum, part)));
        }
        let w = outer(tape, (found.from_x, rows), (direction.x, features));
        let biases = [found.from_x, found.from_bias].map(|a| tape.reduce_sum(a, &[0, 1], false));
        let bias = tape.concat(&biases, 0);
        for (list, part) in [(&mut *dw, w), (&mut *dr, found.r), (&mut *db, bias)] {
            list.push(tape.unsqueeze(part, &[0]));
        }
        dh.push(found.initial_h);
        dc.extend(found.initial_c);
    }
    if let Some(mut dx) = dx {
        if sizes.batch_first {
            dx = tape.transpose(dx, &[1, 0, 2]);
        }
        tape.give(X, dx);
    }
    for (input, parts) in [W, R, B, INITIAL_H, INITIAL_C].into_iter().zip(&parts) {
        if !tape.wants(input) || parts.is_empty() || is_nothing(node, input) && input >= INITIAL_H {
            continue;
        }
        let mut grad = tape.concat(parts, 0);
        if input >= INITIAL_H && sizes.batch_first {
            grad = tape.transpose(grad, &[1, 0, 2]);
        }
        tape.give(input, grad);
    }
    Ok(())
}
