//! The indices that stay once groups have left.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Analysis, Groups};
use crate::ir::{ValueFacts, ValueId};
use crate::ops::{Quantization, Slot};

/// For every axis of every value, the indices that stay.
#[derive(Debug, Clone, Default)]
pub struct Survivors {
    /// By value and axis; nothing where all stay.
    kept: Vec<Vec<Option<Arc<[usize]>>>>,
    quantized: Arc<BTreeMap<ValueId, Quantization>>,
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
        Survivors { kept, quantized: Arc::clone(&analysis.quantized) }
    }
}
