//! Operators that carry a state from step to step: RNN, GRU, LSTM.
//!
//! Always true here: unit `j` of the state is made by row `j` of every gate in W, R, B and P, and acts on other units
//! through column `j` of R alone. So a unit leaves with all of these, whatever the activations are: where R's column
//! is zero, nobody sees what the state holds. What the activations and initial states decide is whether the outputs
//! are zero at a unit that is masked. This module must not know which formula a gate has; its file does.

mod activation;
pub(super) mod gru;
pub(super) mod lstm;
pub(super) mod rnn;
mod sizes;
mod unrolled;

use super::{Axis, Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};
use sizes::Sizes;
use unrolled::Backward;

const X: usize = 0;
const W: usize = 1;
const R: usize = 2;
const B: usize = 3;
const SEQUENCE_LENS: usize = 4;
const INITIAL_H: usize = 5;
const INITIAL_C: usize = 6;
const P: usize = 7;

/// What is known of a masked unit: all of its rows are zero.
struct Masked<'a> {
    /// Whether a gate of the unit gets nothing at all.
    nothing: bool,
    /// Whether the unit's initial state is zero.
    initial_h: bool,
    /// Whether the unit's initial cell is zero.
    initial_c: bool,
    /// For each kind of activation, whether it makes zero of zero.
    keeps_zero: &'a [bool],
}

/// An operator that carries a state.
struct Recurrent {
    spec: Spec,
    /// Number of blocks of rows in W and R.
    gates: usize,
    /// For each kind of activation, the default and the others that the gradient knows.
    activations: &'static [&'static [&'static str]],
    /// Whether state and cell of a masked unit are zero after every step.
    stays_zero: fn(&Masked<'_>) -> [bool; 2],
    /// The gradient of one direction.
    backward: Backward,
    examples: fn() -> Vec<Example>,
}

/// The units behind the rows of input `input`, which are `blocks` gates of them.
fn units(slots: &mut dyn Coupling, input: usize, blocks: usize) -> Result<Axis, Unsupported> {
    let rows = slots.input(input, 1);
    if blocks == 1 {
        return Ok(rows);
    }
    let parts = slots.split(&rows, &[blocks, rows.len() / blocks]);
    let [gates, units] = parts.as_slice() else {
        return Err(Unsupported::new("the rows cannot be seen as gates"));
    };
    slots.pin(gates, "every unit has all gates");
    Ok(units.clone())
}

impl Recurrent {
    /// Ties everything that leaves with a unit; returns the units as they stand in state and cell.
    fn couple_units(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<[Axis; 2], Unsupported> {
        let keeps_zero = activation::keeps_zero(node, self.activations)?;
        let units_of_w = units(slots, W, self.gates)?;
        let mut nothing = units_of_w.zero();
        for (input, blocks) in [(R, self.gates), (B, 2 * self.gates), (P, 3)] {
            if node.input(input).is_some() {
                let same = units(slots, input, blocks)?;
                slots.tie(&units_of_w, &same);
                // A peephole is a factor of the cell, not a term of its own.
                nothing &= same.zero() || input == P;
            }
        }
        let mut initial = |input: usize| {
            if node.input(input).is_none() {
                return true;
            }
            let own = slots.input(input, 2);
            slots.tie(&units_of_w, &own);
            own.zero()
        };
        let (initial_h, initial_c) = (initial(INITIAL_H), initial(INITIAL_C));
        let [mut state, cell] =
            (self.stays_zero)(&Masked { nothing, initial_h, initial_c, keeps_zero: &keeps_zero });
        // A sequence of no steps hands its initial state on.
        state &= initial_h || node.input(SEQUENCE_LENS).is_none();
        let columns = slots.input(R, 2);
        slots.contract(&units_of_w.with_zero(state && initial_h), &columns);
        Ok([units_of_w.with_zero(state), units_of_w.with_zero(cell)])
    }
}

/// Samples of the batch do not meet: they pass through.
fn couple_batch(node: &NodeView<'_>, slots: &mut dyn Coupling, sizes: &Sizes) {
    let batch = slots.input(X, sizes.batch_axis());
    let places = [
        (SEQUENCE_LENS, 0),
        (INITIAL_H, sizes.batch_axis_of_state()),
        (INITIAL_C, sizes.batch_axis_of_state()),
    ];
    for (input, axis) in places {
        if node.input(input).is_some() {
            let own = slots.input(input, axis);
            slots.tie(&batch, &own);
        }
    }
    let axes = [sizes.batch_axis_of_y(), sizes.batch_axis_of_state(), sizes.batch_axis_of_state()];
    for (output, axis) in axes.into_iter().enumerate() {
        slots.set(output, axis, batch.with_zero(false));
    }
}

impl Operator for Recurrent {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let sizes = Sizes::new(node, self.gates)?;
        let (features, columns) = (slots.input(X, 2), slots.input(W, 2));
        slots.contract(&features, &columns);
        let time = slots.input(X, sizes.time_axis());
        slots.pin(&time, "the steps follow one another");
        for (input, axis) in [(W, 0), (R, 0), (B, 0), (P, 0)]
            .into_iter()
            .chain([INITIAL_H, INITIAL_C].map(|input| (input, sizes.direction_axis_of_state())))
        {
            let directions = slots.input(input, axis);
            slots.pin(&directions, "the node runs in both directions");
        }
        couple_batch(node, slots, &sizes);
        let [state, cell] = self.couple_units(node, slots)?;
        slots.set(0, 3, state.clone());
        slots.set(1, 2, state);
        slots.set(2, 2, cell);
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let sizes = Sizes::new(node, self.gates)?;
        for (input, name) in [(SEQUENCE_LENS, "sequence_lens"), (P, "peepholes")] {
            if node.input(input).is_some() {
                return Err(Unsupported(format!("there is no gradient with {name}")));
            }
        }
        if node.has("clip") || node.int("input_forget", 0) != 0 {
            return Err(Unsupported::new("there is no gradient with clip or input_forget"));
        }
        for (place, name) in activation::names(node, self.activations)?.iter().enumerate() {
            let known = self.activations[place % self.activations.len()];
            if !known.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                return Err(Unsupported(format!("there is no gradient with the activation {name}")));
            }
        }
        unrolled::gradient(node, tape, &sizes, self.backward)
    }

    /// Those of the products with W and R in every step: `T * N * D * G * H * (I + H)`.
    fn macs(&self, node: &NodeView<'_>) -> u64 {
        match (node.input(X), node.input(W), node.input(R)) {
            (Some(x), Some(w), Some(r)) => {
                let vectors: usize = x.dims().iter().take(2).product();
                (vectors * (w.count() + r.count())) as u64
            }
            _ => 0,
        }
    }

    fn resize(&self, _: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
        if let Some(kept) = cut.input(R, 2) {
            edit.attribute("hidden_size", kept.len() as i64);
        }
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        (self.examples)()
    }
}
