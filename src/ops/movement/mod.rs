//! Operators that move elements and compute nothing: reshapes, transpositions, slices, gathers, pads, copies,
//! resampling, and what makes up tensors from shapes.
//!
//! Always true here: the slots of a result are slots of the inputs, re-arranged at index level, or fresh ones for
//! elements that the operator makes up. An axis that cannot be followed is pinned; the others pass on.

pub(super) mod adjoint;
pub(super) mod blocks;
pub(super) mod concat;
pub(super) mod copy;
pub(super) mod gather;
mod interpolation;
pub(super) mod order;
pub(super) mod pad;
mod regroup;
pub(super) mod repeat;
pub(super) mod resample;
pub(super) mod reshape;
pub(super) mod sampled;
mod sampling;
pub(super) mod scatter;
pub(super) mod slice;
pub(super) mod source;
pub(super) mod split;
pub(super) mod transpose;

use super::{Axis, Coupling, Cut, Entry, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};

type Couple = fn(&NodeView<'_>, &mut dyn Coupling) -> Result<(), Unsupported>;
type Gradient = fn(&NodeView<'_>, &mut Tape<'_>) -> Result<(), Unsupported>;
type Resize = fn(&NodeView<'_>, &Cut<'_>, &mut NodeEdit) -> Result<(), Unsupported>;

/// An operator that moves elements.
struct Movement {
    spec: Spec,
    couple: Couple,
    gradient: Gradient,
    resize: Resize,
    examples: fn() -> Vec<Example>,
}

impl Movement {
    /// An operator of which nothing changes when axes shrink.
    const fn new(spec: Spec, couple: Couple, gradient: Gradient, examples: fn() -> Vec<Example>) -> Self {
        Self { spec, couple, gradient, resize: |_, _, _| Ok(()), examples }
    }

    const fn resized_by(self, resize: Resize) -> Self {
        Self { resize, ..self }
    }
}

impl Operator for Movement {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        (self.couple)(node, slots)
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        (self.gradient)(node, tape)
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
        (self.resize)(node, cut, edit)
    }

    fn examples(&self) -> Vec<Example> {
        (self.examples)()
    }
}

/// The gradient of what has none: integers, sizes, random numbers.
#[allow(clippy::unnecessary_wraps, reason = "it stands in a table of functions that can fail")]
fn no_gradient(_: &NodeView<'_>, _: &mut Tape<'_>) -> Result<(), Unsupported> {
    Ok(())
}

/// Pins every axis of the inputs from `first` on.
fn pin_inputs(node: &NodeView<'_>, slots: &mut dyn Coupling, first: usize, reason: &str) {
    for input in first..node.input_count() {
        for axis in 0..node.input(input).map_or(0, super::Operand::rank) {
            let own = slots.input(input, axis);
            slots.pin(&own, reason);
        }
    }
}

/// Gives axis `to` of output `output` the slots `axis`.
///
/// # Errors
/// When the traced length is another one: then the node is not what its attributes say.
fn set(
    node: &NodeView<'_>,
    slots: &mut dyn Coupling,
    output: usize,
    to: usize,
    axis: Axis,
) -> Result<(), Unsupported> {
    let Some(result) = node.output(output) else { return Ok(()) };
    match result.dims().get(to) {
        Some(&len) if len == axis.len() => {
            slots.set(output, to, axis);
            Ok(())
        }
        found => Err(Unsupported(format!(
            "axis {to} of output {output} should have {} indices, but the run saw {found:?}",
            axis.len()
        ))),
    }
}

/// Passes axis `from` of the first input on to axis `to` of output `output`.
fn pass(
    node: &NodeView<'_>,
    slots: &mut dyn Coupling,
    from: usize,
    output: usize,
    to: usize,
) -> Result<(), Unsupported> {
    let own = slots.input(0, from);
    set(node, slots, output, to, own)
}

/// The axis of the given indices of `axis`. A lone index is pinned: without it the result would be empty.
fn part(slots: &mut dyn Coupling, axis: &Axis, indices: &[usize]) -> Axis {
    if let (&[index], false) = (indices, axis.is_fixed()) {
        // Two of them, because an axis of one index has no slots.
        slots.pin(&axis.take(&[index, index]), "it is the only index taken from its axis");
    }
    axis.take(indices)
}

/// Where the `kept` indices lie once only they are left; nothing for the others.
fn new_places(kept: Option<&[usize]>, len: usize) -> Vec<Option<usize>> {
    let Some(kept) = kept else { return (0..len).map(Some).collect() };
    let mut places = vec![None; len];
    for (place, &index) in kept.iter().enumerate() {
        if let Some(slot) = places.get_mut(index) {
            *slot = Some(place);
        }
    }
    places
}

/// An integers attribute with the entries that are set replaced.
fn patched(entries: &[Entry], old: &[i64]) -> Vec<i64> {
    let value = |(entry, &old): (&Entry, &i64)| match *entry {
        Entry::Keep => old,
        Entry::Set(value) => value,
    };
    entries.iter().zip(old).map(value).collect()
}

/// How many of the `kept` indices lie in front of `bound`.
fn survivors_before(kept: &[usize], bound: usize) -> i64 {
    kept.iter().filter(|&&index| index < bound).count() as i64
}
