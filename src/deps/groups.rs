//! Groups and families of groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Analysis, Pin};
use crate::ir::{Graph, ValueId};
use crate::ops::Slot;

/// What an initializer's axis is to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The slices make the values that leave: output channels of a weight, bias, scale.
    Producer,
    /// The slices read the values that leave: a contraction ends at the axis.
    Consumer,
}

/// An axis of an initializer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The initializer.
    pub value: ValueId,
    /// Its axis.
    pub axis: usize,
    /// Its role.
    pub role: Role,
}

/// Whether the masked model computes exactly what the smaller one does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exactness {
    /// Value for value.
    Exact,
    /// Only nearly, for the reason given.
    Approximate(Pin),
}

/// Slices that leave together.
#[derive(Debug, Clone)]
pub struct Group {
    /// The family it belongs to.
    pub family: usize,
}

/// Groups that stand for the indices of the same axes: the output channels of one layer, the heads of one attention.
#[derive(Debug, Clone)]
pub struct Family {
    /// The groups, in the order of the indices.
    pub groups: Vec<usize>,
    /// The initializer axes that lose slices, in the order of the file.
    pub members: Vec<Member>,
    /// Whether its groups are exact.
    pub exactness: Exactness,
}

/// An axis of an initializer and, for each of its indices, the groups with any of which it leaves.
#[derive(Debug, Clone)]
pub struct AxisGroups {
    /// The axis.
    pub member: Member,
    /// By index, groups in ascending order.
    pub groups: Vec<Vec<u32>>,
}

/// All groups of a graph.
#[derive(Debug, Clone)]
pub struct Groups {
    all: Vec<Group>,
    families: Vec<Family>,
    axes: Vec<AxisGroups>,
    /// Groups by slot; empty for slots that stay.
    by_slot: Vec<Arc<[u32]>>,
    /// Axes of which every index may leave, some with any of several groups: by index, the groups.
    compound: Vec<Vec<Arc<[u32]>>>,
}

impl Groups {
    /// Collects the groups of `graph` from what the walk found.
    pub fn collect(graph: &Graph, analysis: &mut Analysis) -> Self {
        let mut members: Vec<(Member, Arc<[Slot]>)> = Vec::new();
        let mut consumed: Vec<*const Slot> = analysis.consumed.iter().map(|slots| slots.as_ptr()).collect();
        consumed.sort_unstable();
        consumed.dedup();
        for (value, _) in graph.initializers() {
            for (axis, slots) in analysis.axes[value.index()].iter().flatten().enumerate() {
                if let Some(slots) = slots.slots() {
                    let ends = consumed.binary_search(&slots.as_ptr()).is_ok();
                    let role = if ends { Role::Consumer } else { Role::Producer };
                    members.push((Member { value, axis, role }, Arc::clone(slots)));
                }
            }
        }
        // A group is a free slot that some initializer's axis leaves with.
        let none: Arc<[u32]> = Arc::new([]);
        let mut by_slot: Vec<Arc<[u32]>> = vec![none; analysis.table.len()];
        let mut number: BTreeMap<Slot, u32> = BTreeMap::new();
        for (_, slots) in &members {
            for &slot in slots.iter() {
                for leaf in analysis.table.leaves(slot) {
                    let next = number.len() as u32;
                    number.entry(leaf).or_insert(next);
                }
            }
        }
        for (index, place) in by_slot.iter_mut().enumerate() {
            let leaves = analysis.table.leaves(Slot(index as u32));
            let mut groups: Vec<u32> = leaves.iter().filter_map(|leaf| number.get(leaf).copied()).collect();
            groups.sort_unstable();
            if !groups.is_empty() {
                *place = groups.into();
            }
        }
        let axes: Vec<AxisGroups> = members
            .iter()
            .map(|(member, slots)| AxisGroups {
                member: *member,
                groups: slots.iter().map(|slot| by_slot[slot.0 as usize].to_vec()).collect(),
            })
            .filter(|axis| axis.groups.iter().any(|groups| !groups.is_empty()))
            .collect();
        let mut result = Self { all: Vec::new(), families: Vec::new(), axes, by_slot, compound: Vec::new() };
        result.sort_into_families(analysis, &number);
        result.find_compound(analysis);
        result
    }

    /// Groups that stand on exactly the same axes, of weights and of values, form a family.
    fn sort_into_families(&mut self, analysis: &Analysis, number: &BTreeMap<Slot, u32>) {
        let count = number.len();
        let mut signature = vec![0_u64; count];
        let mut last = vec![usize::MAX; count];
        let mut seen: BTreeSet<*const Slot> = BTreeSet::new();
        let mut axis_number = 0_usize;
        // The rows and the columns of a block may stand on the same axes and still are no alternatives: each needs
        // one that stays.
        for axis in analysis.axes.iter().flatten().flatten().chain(&analysis.parts) {
            let Some(slots) = axis.slots() else { continue };
            if !seen.insert(slots.as_ptr()) {
                continue;
            }
            axis_number += 1;
            let mark = scrambled(axis_number as u64);
            for slot in slots.iter() {
                for &group in self.by_slot[slot.0 as usize].iter() {
                    if last[group as usize] != axis_number {
                        last[group as usize] = axis_number;
                        signature[group as usize] = signature[group as usize].wrapping_add(mark);
                    }
                }
            }
        }
        let mut leaf_of = vec![Slot::FIXED; count];
        for (&slot, &group) in number {
            leaf_of[group as usize] = slot;
        }
        let mut family_of: BTreeMap<(u64, Option<u32>), usize> = BTreeMap::new();
        for group in 0..count {
            let reason = analysis.table.approximate_reason(leaf_of[group]);
            let key = (signature[group], reason);
            let family = *family_of.entry(key).or_insert_with(|| {
                let exactness = reason.map_or(Exactness::Exact, |reason| {
                    Exactness::Approximate(analysis.reasons[reason as usize].clone())
                });
                self.families.push(Family { groups: Vec::new(), members: Vec::new(), exactness });
                self.families.len() - 1
            });
            self.families[family].groups.push(group);
            self.all.push(Group { family });
        }
        for axis in &self.axes {
            let mut families: Vec<usize> =
                axis.groups.iter().flatten().map(|&group| self.all[group as usize].family).collect();
            families.sort_unstable();
            families.dedup();
            for family in families {
                self.families[family].members.push(axis.member);
            }
        }
    }

    fn find_compound(&mut self, analysis: &Analysis) {
        let mut seen: BTreeSet<*const Slot> = BTreeSet::new();
        let axes = analysis.axes.iter().flatten().flatten().filter_map(crate::ops::Axis::slots);
        for slots in axes.filter(|slots| seen.insert(slots.as_ptr())) {
            let groups = |slot: &Slot| &self.by_slot[slot.0 as usize];
            let leaves = slots.iter().all(|slot| !groups(slot).is_empty());
            if leaves && slots.iter().any(|slot| groups(slot).len() > 1) {
                self.compound.push(slots.iter().map(|slot| Arc::clone(groups(slot))).collect());
            }
        }
    }

    /// Takes groups out of `removed` again where they would leave an axis without any index although every family
    /// keeps a group: an axis of blocks of which a part was picked may hold no index that is in a row and a column
    /// that stay. The index comes back whose groups are the last to leave by `place`.
    pub fn keep_axes(&self, removed: &mut [bool], place: impl Fn(usize) -> usize) {
        for axis in &self.compound {
            let leaves = |own: &Arc<[u32]>| own.iter().any(|&group| removed[group as usize]);
            if !axis.iter().all(leaves) {
                continue;
            }
            let first_to_leave = |own: &&Arc<[u32]>| {
                let leaving = own.iter().map(|&group| group as usize).filter(|&group| removed[group]);
                leaving.map(&place).min()
            };
            let Some(best) = axis.iter().max_by_key(first_to_leave) else { continue };
            for &group in best.iter() {
                removed[group as usize] = false;
            }
        }
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether nothing can leave.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The groups.
    pub fn groups(&self) -> &[Group] {
        &self.all
    }

    /// The families.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// The initializer axes that lose slices.
    pub fn axes(&self) -> &[AxisGroups] {
        &self.axes
    }

    /// The groups with any of which the slot leaves.
    pub fn of_slot(&self, slot: Slot) -> &[u32] {
        &self.by_slot[slot.0 as usize]
    }

    /// Whether the slot leaves when the groups marked in `removed` do.
    pub(super) fn leaves(&self, slot: Slot, removed: &[bool]) -> bool {
        self.by_slot[slot.0 as usize].iter().any(|&group| removed[group as usize])
    }
}

/// A 64-bit number without pattern, different for different `number`s: the finaliser of a counter-based generator.
fn scrambled(number: u64) -> u64 {
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
