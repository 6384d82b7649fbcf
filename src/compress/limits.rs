//! How far each family of groups may shrink.

use std::collections::BTreeMap;

use regex::Regex;

use super::structure::Structure;
use crate::deps::{AxisGroups, Family, Role};
use crate::ir::ValueId;

/// What may leave an axis that is seen as blocks: the heads of an attention, the groups of a convolution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Heads {
    /// Whole blocks, and indices within all blocks.
    #[default]
    Auto,
    /// Whole blocks only: heads.
    Whole,
    /// Indices within all blocks only: the width of the heads.
    Width,
}

/// What the user wants kept.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Families of which an initializer, or a node that reads it, matches keep all their groups.
    pub exclude: Vec<Regex>,
    /// If there are any, families of which nothing matches keep all their groups.
    pub only: Vec<Regex>,
    /// Families that match keep at least this share of their groups.
    pub keep: Vec<(Regex, f64)>,
    /// Every family keeps at least so many groups.
    pub min_width: usize,
    /// Every family keeps a multiple of this.
    pub round_to: usize,
    /// What may leave an axis of blocks.
    pub heads: Heads,
    /// Whether groups may leave that are only approximately right: the widths over which a layer normalisation takes
    /// its statistics, and the like.
    pub allow_approximate: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            exclude: Vec::new(),
            only: Vec::new(),
            keep: Vec::new(),
            min_width: 1,
            round_to: 1,
            heads: Heads::Auto,
            allow_approximate: false,
        }
    }
}

impl Limits {
    /// By family, the number of groups that it keeps at least.
    pub(super) fn floors(&self, structure: &Structure) -> Vec<usize> {
        let names = Names::of(structure);
        let blocks = block_sides(structure.groups.axes(), structure.groups.groups().len(), |group| {
            structure.groups.groups()[group].family
        });
        let families = structure.groups.families().iter().enumerate();
        let floor = |(number, family): (usize, &Family)| {
            let size = family.groups.len();
            let named = |pattern: &Regex| names.any(family, pattern);
            let side = match self.heads {
                Heads::Auto => None,
                Heads::Whole => Some(Side::Within),
                Heads::Width => Some(Side::Blocks),
            };
            let held = self.exclude.iter().any(named)
                || (!self.only.is_empty() && !self.only.iter().any(named))
                || (side.is_some() && blocks.get(&number).copied() == side);
            if held {
                return size;
            }
            let shares = self.keep.iter().filter(|(pattern, _)| named(pattern)).map(|(_, share)| *share);
            let by_share = (shares.fold(0.0, f64::max) * size as f64).ceil() as usize;
            by_share.max(self.min_width).max(1).min(size)
        };
        families.map(floor).collect()
    }
}

/// The names by which a family can be called.
struct Names<'a> {
    structure: &'a Structure,
    readers: Vec<Vec<&'a str>>,
}

impl<'a> Names<'a> {
    fn of(structure: &'a Structure) -> Self {
        let graph = &structure.model().graph;
        let readers = graph.consumers().into_iter();
        let name = |(node, _): (crate::ir::NodeId, Option<usize>)| graph.node(node).name.as_str();
        Self { structure, readers: readers.map(|nodes| nodes.into_iter().map(name).collect()).collect() }
    }

    /// Whether an initializer that makes the family's values, or a node that reads it, has a name that matches.
    fn any(&self, family: &Family, pattern: &Regex) -> bool {
        let matches = |value: ValueId| {
            pattern.is_match(self.structure.model().graph.value(value).name())
                || self.readers[value.index()].iter().any(|name| pattern.is_match(name))
        };
        family.members.iter().any(|member| member.role == Role::Producer && matches(member.value))
    }
}

/// What the groups of a family are on an axis of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Whole blocks.
    Blocks,
    /// The same index within every block.
    Within,
}

/// The families that stand for the two sides of an axis of blocks, on which every index belongs to one of each.
fn block_sides(
    axes: &[AxisGroups],
    groups: usize,
    family_of: impl Fn(usize) -> usize,
) -> BTreeMap<usize, Side> {
    let mut sides = BTreeMap::new();
    for axis in axes.iter().filter(|axis| axis.groups.iter().any(|own| own.len() > 1)) {
        // By group, first and last index and their number: whole blocks are runs without gaps.
        let mut runs = vec![(usize::MAX, 0, 0_usize); groups];
        for (index, own) in axis.groups.iter().enumerate() {
            for &group in own {
                let (first, last, count) = &mut runs[group as usize];
                (*first, *last, *count) = ((*first).min(index), index, *count + 1);
            }
        }
        let mut gapless: BTreeMap<usize, bool> = BTreeMap::new();
        for (group, &(first, last, count)) in runs.iter().enumerate().filter(|(_, run)| run.2 > 0) {
            *gapless.entry(family_of(group)).or_insert(true) &= last - first + 1 == count;
        }
        if gapless.values().any(|&gapless| gapless) && gapless.values().any(|&gapless| !gapless) {
            let side = |gapless| if gapless { Side::Blocks } else { Side::Within };
            sides.extend(gapless.into_iter().map(|(family, gapless)| (family, side(gapless))));
        }
    }
    sides
}
