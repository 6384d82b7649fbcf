//! The indices that stay once groups have left.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Analysis, Groups};
use crate::ir::{Facts, Graph, ValueId};
use crate::ops::Slot;

/// For every axis of every value, the indices that stay.
#[derive(Debug, Clone, Default)]
pub struct Survivors {
    /// By value and axis; nothing where all stay.
    kept: Vec<Vec<Option<Arc<[usize]>>>>,
}

impl Survivors {
    /// The indices of an axis that stay; nothing when all do.
    pub fn axis(&self, value: ValueId, axis: usize) -> Option<&[usize]> {
        self.kept.get(value.index())?.get(axis)?.as_deref()
    }

    /// Whether any axis of the value shrinks.
    pub fn touches(&self, value: ValueId) -> bool {
        self.kept.get(value.index()).is_some_and(|axes| axes.iter().any(Option::is_some))
    }

    /// The facts of the graph after the cut.
    pub fn facts(&self, graph: &Graph, facts: &Facts) -> Facts {
        let mut small = facts.clone();
        for (id, _) in graph.values() {
            if let Some(seen) = facts.get(id).filter(|_| self.touches(id)) {
                let mut seen = seen.clone();
                for (axis, dim) in seen.dims.iter_mut().enumerate() {
                    *dim = self.axis(id, axis).map_or(*dim, <[usize]>::len);
                }
                small.set(id, seen);
            }
        }
        small
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
                let of_axis = |axis: &crate::ops::Axis| {
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
        Survivors { kept }
    }
}
