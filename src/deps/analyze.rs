//! The walk over the graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::slots::{ReasonId, SlotTable};
use crate::ir::{Facts, Model, NodeId, ValueId};
use crate::ops::{self, Axis, Coupling, NodeView, Quantization, Slot};

/// An axis that was pinned, or is only approximately prunable, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The place: operator and node name, or graph input or output.
    pub place: String,
    /// The reason.
    pub reason: String,
}

/// What the walk found.
#[derive(Debug)]
pub struct Analysis {
    pub(super) table: SlotTable,
    /// By value and axis; nothing for values that no run has seen.
    pub(super) axes: Vec<Option<Vec<Axis>>>,
    /// The axes of blocks that operators see in the axes of values: heads and their width in one axis.
    pub(super) parts: Vec<Axis>,
    pub(super) reasons: Vec<Pin>,
    /// Weight axes at which a contraction ends, by the identity of their slots.
    pub(super) consumed: Vec<Arc<[Slot]>>,
    /// Integer initializers that stand for real numbers.
    pub(super) quantized: Arc<BTreeMap<ValueId, Quantization>>,
    /// Axes over which nodes average, exact as long as they make up for what left.
    pub(super) averages: Vec<(NodeId, Arc<[Slot]>)>,
    /// Nodes that no operator understands.
    unknown: Vec<(NodeId, String)>,
}

impl Analysis {
    /// The slots of one axis of a value, fixed if nothing is known of it.
    pub fn axis(&self, value: ValueId, axis: usize) -> Option<&Axis> {
        self.axes.get(value.index())?.as_ref()?.get(axis)
    }

    /// Why the first index of an axis that cannot leave may not; nothing where all indices may leave, or where the
    /// axis has no slots.
    pub fn pin(&mut self, value: ValueId, axis: usize) -> Option<&Pin> {
        let slots = self.axis(value, axis)?.slots().map(Arc::clone)?;
        let reason = slots.iter().find_map(|&slot| self.table.pin_reason(slot))?;
        self.reasons.get(reason as usize)
    }

    /// Whether a contraction ends at the axis of a weight: the axis is read, not made.
    pub fn is_contracted(&self, weight: ValueId, axis: usize) -> bool {
        let slots = self.axis(weight, axis).and_then(Axis::slots);
        slots.is_some_and(|slots| self.consumed.iter().any(|consumed| Arc::ptr_eq(consumed, slots)))
    }

    /// Integer initializers whose axes may leave, and how they stand for real numbers.
    pub fn quantized(&self) -> &BTreeMap<ValueId, Quantization> {
        &self.quantized
    }

    /// Nodes that no operator understands, and why.
    pub fn unknown(&self) -> &[(NodeId, String)] {
        &self.unknown
    }
}

struct Walk<'a> {
    analysis: Analysis,
    inputs: &'a [Option<ValueId>],
    outputs: &'a [Option<ValueId>],
    node: Option<NodeId>,
    place: String,
    /// By value: whether it is made of initializers alone, as a transposed weight is.
    constant: Vec<bool>,
}

impl Walk<'_> {
    fn reason(&mut self, reason: &str) -> ReasonId {
        let pin = Pin { place: self.place.clone(), reason: reason.to_owned() };
        if let Some(last) = self.analysis.reasons.last()
            && *last == pin
        {
            return self.analysis.reasons.len() as ReasonId - 1;
        }
        self.analysis.reasons.push(pin);
        self.analysis.reasons.len() as ReasonId - 1
    }

    /// Whether the slots are those of a weight that this node reads. Values that it computes with may have the very
    /// slots of another weight: the one that made them.
    fn of_a_weight(&self, slots: &Arc<[Slot]>) -> bool {
        let weights = self.inputs.iter().flatten().filter(|input| self.constant[input.index()]);
        weights
            .filter_map(|input| self.analysis.axes[input.index()].as_ref())
            .flatten()
            .any(|axis| axis.slots().is_some_and(|own| Arc::ptr_eq(own, slots)))
    }

    fn for_slots(&mut self, axis: &Axis, mut change: impl FnMut(&mut SlotTable, Slot)) {
        for &slot in axis.slots().iter().flat_map(|slots| slots.iter()) {
            change(&mut self.analysis.table, slot);
        }
    }
}

impl Coupling for Walk<'_> {
    fn input(&self, input: usize, axis: usize) -> Axis {
        let value = self.inputs.get(input).copied().flatten();
        value.and_then(|value| self.analysis.axis(value, axis)).cloned().unwrap_or(Axis::fixed(1))
    }

    fn set(&mut self, output: usize, axis: usize, slots: Axis) {
        let Some(value) = self.outputs.get(output).copied().flatten() else { return };
        if let Some(axes) = self.analysis.axes[value.index()].as_mut()
            && let Some(place) = axes.get_mut(axis)
        {
            // An operator that gets a length wrong must not be able to misplace a cut.
            assert_eq!(
                place.len(),
                slots.len(),
                "{}: axis {axis} of output {output} has another length",
                self.place
            );
            *place = slots;
        }
    }

    fn fresh(&mut self, len: usize, zero: bool) -> Axis {
        Axis::new((0..len).map(|_| self.analysis.table.fresh()).collect(), zero)
    }

    fn tie(&mut self, a: &Axis, b: &Axis) {
        if let (Some(first), Some(second)) = (a.slots(), b.slots())
            && Arc::ptr_eq(first, second)
        {
            return;
        }
        if a.is_fixed() && b.is_fixed() {
            return;
        }
        let reason = self.reason("tied to an axis that cannot shrink");
        for index in 0..a.len().min(b.len()) {
            let (mut x, mut y) = (a.slot(index), b.slot(index));
            if x == Slot::FIXED || y == Slot::FIXED {
                if y != Slot::FIXED {
                    std::mem::swap(&mut x, &mut y);
                }
                self.analysis.table.pin(x, reason);
            } else {
                self.analysis.table.unify(x, y, reason);
            }
        }
    }

    fn pin(&mut self, axis: &Axis, reason: &str) {
        if axis.is_fixed() {
            return;
        }
        let reason = self.reason(reason);
        self.for_slots(axis, |table, slot| table.pin(slot, reason));
    }

    fn contract(&mut self, a: &Axis, b: &Axis) {
        for axis in [a, b] {
            if let Some(slots) = axis.slots()
                && self.of_a_weight(slots)
            {
                self.analysis.consumed.push(Arc::clone(slots));
            }
        }
        self.tie(a, b);
        if !a.zero() && !b.zero() {
            for axis in [a, b] {
                self.pin(axis, "both factors of the sum have a rest where elements are masked");
            }
        }
    }

    fn approximate(&mut self, axis: &Axis, reason: &str) {
        if axis.is_fixed() {
            return;
        }
        let reason = self.reason(reason);
        self.for_slots(axis, |table, slot| table.approximate(slot, reason));
    }

    fn average(&mut self, axis: &Axis) {
        if let (Some(node), Some(slots)) = (self.node, axis.slots()) {
            self.analysis.averages.push((node, Arc::clone(slots)));
        }
    }

    fn split(&mut self, axis: &Axis, sizes: &[usize]) -> Vec<Axis> {
        let Some(slots) = axis.slots() else {
            return sizes.iter().map(|&size| Axis::fixed(size)).collect();
        };
        let reason = self.reason("what leaves would not be rectangular");
        let mut parts = Vec::with_capacity(sizes.len());
        let mut rest: Vec<Slot> = slots.to_vec();
        for &size in &sizes[..sizes.len().saturating_sub(1)] {
            let (rows, columns) = self.analysis.table.split(&rest, size, reason);
            parts.push(Axis::new(rows.into(), axis.zero()));
            rest = columns;
        }
        parts.push(if sizes.len() == 1 { axis.clone() } else { Axis::new(rest.into(), axis.zero()) });
        self.analysis.parts.extend(parts.iter().filter(|part| !part.is_fixed()).cloned());
        parts
    }

    fn merge(&mut self, axes: &[Axis]) -> Axis {
        let mut merged: Option<Axis> = None;
        for axis in axes {
            merged = Some(match merged {
                None => axis.clone(),
                Some(outer) => self.product(&outer, axis),
            });
        }
        merged.unwrap_or(Axis::fixed(1))
    }
}

impl Walk<'_> {
    /// Two axes as one; an element leaves when its row or its column does.
    fn product(&mut self, outer: &Axis, inner: &Axis) -> Axis {
        let len = outer.len() * inner.len();
        if outer.is_fixed() && inner.is_fixed() {
            return Axis::fixed(len);
        }
        if outer.len() == 1 {
            return inner.clone();
        }
        if inner.len() == 1 {
            return outer.clone();
        }
        let mut slots = Vec::with_capacity(len);
        for row in 0..outer.len() {
            for column in 0..inner.len() {
                let (x, y) = (outer.slot(row), inner.slot(column));
                slots.push(match (x, y) {
                    (Slot::FIXED, slot) | (slot, Slot::FIXED) => slot,
                    _ => self.analysis.table.any_of(&[x, y]),
                });
            }
        }
        let zero = (outer.is_fixed() || outer.zero()) && (inner.is_fixed() || inner.zero());
        Axis::new(slots.into(), zero)
    }
}

/// Walks the graph of `model`, of which `facts` were traced.
pub fn analyze(model: &Model, facts: &Facts) -> Analysis {
    let graph = &model.graph;
    let mut table = SlotTable::new();
    let quantized = Arc::new(ops::quantized_initializers(model, facts));
    let mut axes: Vec<Option<Vec<Axis>>> = vec![None; graph.value_count()];
    for (id, value) in graph.values() {
        if let Some(tensor) = value.initializer() {
            let float = tensor.dtype().is_some_and(crate::tensor::DType::is_float);
            let holds_numbers = float || quantized.contains_key(&id);
            let fresh = |&dim: &usize| {
                if holds_numbers {
                    Axis::new((0..dim).map(|_| table.fresh()).collect(), true)
                } else {
                    Axis::fixed(dim)
                }
            };
            axes[id.index()] = Some(tensor.dims().iter().map(fresh).collect());
        } else if let Some(seen) = facts.get(id) {
            axes[id.index()] = Some(seen.dims.iter().map(|&dim| Axis::fixed(dim)).collect());
        }
    }
    let fixed = Pin { place: "graph".to_owned(), reason: "the axis has a fixed length".to_owned() };
    let parts = Vec::new();
    let consumed = Vec::new();
    let (averages, unknown) = (Vec::new(), Vec::new());
    let reasons = vec![fixed];
    let analysis = Analysis { table, axes, parts, reasons, consumed, quantized, averages, unknown };
    let constant = graph.values().map(|(_, value)| value.initializer().is_some()).collect();
    let mut walk = Walk { analysis, inputs: &[], outputs: &[], node: None, place: String::new(), constant };
    for (id, node) in graph.nodes() {
        let opset = model.opset(&node.domain).unwrap_or(0);
        let view = NodeView::new(graph, facts, id, opset);
        walk.inputs = &node.inputs;
        walk.outputs = &node.outputs;
        walk.node = Some(id);
        walk.place = graph.describe(id);
        let mut read = node.inputs.iter().flatten().chain(&node.captured);
        let constant = read.all(|input| walk.constant[input.index()]);
        for output in node.outputs.iter().flatten() {
            walk.constant[output.index()] = constant;
        }
        if let Err(reason) = ops::find(&view).couple(&view, &mut walk) {
            walk.analysis.unknown.push((id, reason.to_string()));
            walk.pin_values(&node.inputs, &reason.0);
            walk.pin_values(&node.outputs, &reason.0);
        }
        if !node.captured.is_empty() {
            let captured: Vec<Option<ValueId>> = node.captured.iter().copied().map(Some).collect();
            walk.pin_values(&captured, "read inside a subgraph");
        }
    }
    let edge = |walk: &mut Walk<'_>, ids: &[ValueId], what: &str, reason: &str| {
        for &id in ids {
            walk.place = format!("graph {what} `{}`", graph.value(id).name());
            walk.pin_values(&[Some(id)], reason);
        }
    };
    edge(&mut walk, graph.outputs(), "output", "the axis reaches a graph output, whose shape must stay");
    walk.analysis
}

impl Walk<'_> {
    fn pin_values(&mut self, values: &[Option<ValueId>], reason: &str) {
        for value in values.iter().flatten() {
            let axes = self.analysis.axes[value.index()].clone().unwrap_or_default();
            for axis in &axes {
                self.pin(axis, reason);
            }
        }
    }
}
