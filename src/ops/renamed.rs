//! Operators that are another one with something around it.

use super::{Axis, Coupling};

/// The words of a node for the operator that is wrapped in it.
pub(super) struct Renamed<'a> {
    pub(super) slots: &'a mut dyn Coupling,
    /// By input of the operator, that of the node, and whether what is stored as 0 there is zero.
    pub(super) inputs: Vec<(usize, bool)>,
    /// Whether what is zero is stored as 0 in the output.
    pub(super) output: bool,
}

impl Coupling for Renamed<'_> {
    fn input(&self, input: usize, axis: usize) -> Axis {
        let Some(&(input, zero)) = self.inputs.get(input) else { return Axis::fixed(1) };
        let own = self.slots.input(input, axis);
        let zero = own.zero() && zero;
        own.with_zero(zero)
    }

    fn set(&mut self, output: usize, axis: usize, slots: Axis) {
        let zero = slots.zero() && self.output;
        self.slots.set(output, axis, slots.with_zero(zero));
    }

    fn fresh(&mut self, len: usize, zero: bool) -> Axis {
        self.slots.fresh(len, zero)
    }

    fn tie(&mut self, a: &Axis, b: &Axis) {
        self.slots.tie(a, b);
    }

    fn pin(&mut self, axis: &Axis, reason: &str) {
        self.slots.pin(axis, reason);
    }

    fn contract(&mut self, a: &Axis, b: &Axis) {
        self.slots.contract(a, b);
    }

    fn approximate(&mut self, axis: &Axis, reason: &str) {
        self.slots.approximate(axis, reason);
    }

    fn average(&mut self, axis: &Axis) {
        self.slots.approximate(axis, "the average inside cannot make up for what left");
    }

    fn split(&mut self, axis: &Axis, sizes: &[usize]) -> Vec<Axis> {
        self.slots.split(axis, sizes)
    }

    fn merge(&mut self, axes: &[Axis]) -> Axis {
        self.slots.merge(axes)
    }
}
