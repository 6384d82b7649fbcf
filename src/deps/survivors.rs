//! The indices that stay once groups have left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Analysis, Exactness, Groups};
use crate::ir::{NodeId, ValueFacts, ValueId};
use crate::ops::{Axis, Quantization, Slot};

/// For every axis of every value, the indices that stay.
#[derive(Debug, Clone, Default)]
pub struct Survivors {
    /// By value and axis; nothing where all stay.
    kept: Vec<Vec<Option<Arc<[usize]>>>>,
    quantized: Arc<BTreeMap<ValueId, Quantization>>,
    averages: BTreeSet<NodeId>,
}

impl Survivors {
    /// The indices of an axis that stay; nothing when all do.
    pub fn axis(&self, value: ValueId, axis: usize) -> Option<&[usize]> {
        self.kept.get(value.index())?.get(axis)?.as_deref()
    }

    /// How an initializer of integers stands for real numbers.
    pub fn quantization(&self, value: ValueId) -> Option<&Quantization> {
        self.quantized.get(&value)
    }

    /// Whether the averages that the node takes are to be those over all indices, with zeros for those that left.
    pub fn averages(&self, node: NodeId) -> bool {
        self.averages.contains(&node)
    }

    /// Whether any axis of the value shrinks.
    pub fn touches(&self, value: ValueId) -> bool {
        self.kept.get(value.index()).is_some_and(|axes| axes.iter().any(Option::is_some))
    }

    /// The facts of a value after the cut.
    pub fn seen(&self, value: ValueId, seen: &ValueFacts) -> ValueFacts {
        let mut seen = seen.clone();
        for (axis, dim) in seen.dims.iter_mut().enumerate() {
            *dim = self.axis(value, axis).map_or(*dim, <[usize]>::len);
        }
        seen
    }

    /// Whether some axis loses all its indices.
    pub fn empties_an_axis(&self) -> bool {
        self.kept.iter().flatten().flatten().any(|kept| kept.is_empty())
    }
}

impl Analysis {
    /// What would stay if an axis that may not shrink kept its first index alone: of that axis, and of those axes of
    /// the values `among` that have the very same slots.
    pub fn first_of(&self, value: ValueId, axis: usize, among: &[ValueId]) -> Survivors {
        let mut kept = vec![Vec::new(); self.axes.len()];
        let first: Arc<[usize]> = [0].into();
        let slots = self.axis(value, axis).and_then(Axis::slots);
        for &other in among.iter().chain([&value]) {
            let axes = self.axes[other.index()].iter().flatten().enumerate();
            let same = |(number, own): (usize, &Axis)| {
                let alike = slots.zip(own.slots()).is_some_and(|(slots, own)| Arc::ptr_eq(slots, own));
                (alike || (other, number) == (value, axis)).then(|| Arc::clone(&first))
            };
            kept[other.index()] = axes.map(same).collect();
        }
        Survivors { kept, quantized: Arc::clone(&self.quantized), averages: BTreeSet::new() }
    }
}

impl Groups {
    /// What stays when the groups marked in `removed` leave.
    pub fn survivors(&self, analysis: &Analysis, removed: &[bool]) -> Survivors {
        let mut known: BTreeMap<*const Slot, Option<Arc<[usize]>>> = BTreeMap::new();
        let kept = analysis
            .axes
            .iter()
            .map(|axes| {
                let of_axis = |axis: &Axis| {
                    let slots = axis.slots()?;
                    known
                        .entry(slots.as_ptr())
                        .or_insert_with(|| {
                            let stays = |index: &usize| !self.leaves(slots[*index], removed);
                            let kept: Vec<usize> = (0..slots.len()).filter(stays).collect();
                            (kept.len() < slots.len()).then(|| kept.into())
                        })
                        .clone()
                };
                axes.iter().flatten().map(of_axis).collect()
            })
            .collect();
        // What is only nearly right anyway is left to average over what stays, as all the rest of the model does.
        let exact = |group: u32| {
            let family = &self.families()[self.groups()[group as usize].family];
            !removed[group as usize] || family.exactness == Exactness::Exact
        };
        let mut averages: BTreeSet<NodeId> = analysis.averages.iter().map(|(node, _)| *node).collect();
        for (node, slots) in &analysis.averages {
            if !slots.iter().flat_map(|&slot| self.of_slot(slot)).all(|&group| exact(group)) {
                averages.remove(node);
            }
        }
        Survivors { kept, quantized: Arc::clone(&analysis.quantized), averages }
    }
}
