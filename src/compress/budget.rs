//! Which groups leave so that the budget is met.

use super::{Quantity, Target};
use crate::cost::{Cost, CostModel};
use crate::deps::{Analysis, Exactness, Groups};

/// How far below the target a selection may stay, as a share of the target.
pub(super) const SLACK: f64 = 0.02;
/// Groups that are tried for being put back once the budget is met.
const PUT_BACK: usize = 256;

/// The budget of one graph.
#[derive(Debug)]
pub(super) struct Budget<'a> {
    cost: &'a CostModel<'a>,
    analysis: &'a Analysis,
    groups: &'a Groups,
    target: Target,
    /// Groups that may leave.
    free: Vec<bool>,
    round_to: usize,
    dense: Cost,
}

/// Groups that leave, and what is left.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Selection {
    /// By group.
    pub(super) removed: Vec<bool>,
    /// The share of the target's quantity that is left.
    pub(super) share: f64,
}

impl<'a> Budget<'a> {
    /// The budget `target`. Families marked in `held` keep all their groups; others keep a multiple of `round_to`.
    pub(super) fn new(
        cost: &'a CostModel<'a>,
        analysis: &'a Analysis,
        groups: &'a Groups,
        target: Target,
        held: &[bool],
        round_to: usize,
    ) -> Self {
        let free = groups
            .groups()
            .iter()
            .map(|group| {
                let exact = groups.families()[group.family].exactness == Exactness::Exact;
                exact && !held.get(group.family).copied().unwrap_or(false)
            })
            .collect();
        let dense = cost.dense();
        Self { cost, analysis, groups, target, free, round_to: round_to.max(1), dense }
    }

    /// Groups that may leave.
    pub(super) fn free(&self) -> &[bool] {
        &self.free
    }

    /// The share of the quantity that a cut leaves.
    pub(super) fn share(&self, removed: &[bool]) -> f64 {
        let ratio = |part: u64, whole: u64| if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
        match self.target.quantity {
            Quantity::Channels => {
                let left = removed.iter().filter(|&&removed| !removed).count();
                ratio(left as u64, removed.len() as u64)
            }
            Quantity::Macs => ratio(self.after(removed).macs, self.dense.macs),
            Quantity::Params => ratio(self.after(removed).params, self.dense.params),
        }
    }

    /// The cost after a cut.
    pub(super) fn after(&self, removed: &[bool]) -> Cost {
        self.cost.after(&self.groups.survivors(self.analysis, removed))
    }

    /// Whether a share meets the target: not above it, and not far below.
    pub(super) fn met(&self, share: f64) -> bool {
        share <= self.target.share && share >= self.target.share * (1.0 - SLACK)
    }

    /// The first `count` groups of `order` removed, except that every family keeps its best ones: at least one, and
    /// a multiple of `round_to`.
    fn prefix(&self, order: &[usize], count: usize) -> Vec<bool> {
        let mut removed = vec![false; self.groups.len()];
        for &group in &order[..count] {
            removed[group] = true;
        }
        for family in self.groups.families() {
            let size = family.groups.len();
            let leaving = family.groups.iter().filter(|&&group| removed[group]).count();
            if leaving == 0 {
                continue;
            }
            let kept = (size - leaving).max(1).next_multiple_of(self.round_to).min(size);
            let mut back = kept - (size - leaving);
            // The order is by rising score: the last ones of the family are its best.
            for &group in order[..count].iter().rev() {
                if back == 0 {
                    break;
                }
                if removed[group] && family.groups.binary_search(&group).is_ok() {
                    removed[group] = false;
                    back -= 1;
                }
            }
        }
        removed
    }

    /// The selection that removes the groups of the lowest scores until the budget is met.
    pub(super) fn select(&self, scores: &[f64]) -> Selection {
        let mut order: Vec<usize> = (0..self.groups.len()).filter(|&group| self.free[group]).collect();
        order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
        let share = |count: usize| self.share(&self.prefix(&order, count));
        let (mut low, mut high) = (0, order.len());
        if share(high) > self.target.share {
            let removed = self.prefix(&order, high);
            return Selection { share: self.share(&removed), removed };
        }
        while low < high {
            let middle = usize::midpoint(low, high);
            if share(middle) <= self.target.share {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let mut removed = self.prefix(&order, low);
        let mut reached = self.share(&removed);
        if self.round_to == 1 && reached < self.target.share {
            let back: Vec<usize> =
                order[..low].iter().rev().copied().filter(|&group| removed[group]).collect();
            for &group in back.iter().take(PUT_BACK) {
                if reached >= self.target.share * (1.0 - SLACK / 8.0) {
                    break;
                }
                removed[group] = false;
                let share = self.share(&removed);
                if share <= self.target.share {
                    reached = share;
                } else {
                    removed[group] = true;
                }
            }
        }
        Selection { removed, share: reached }
    }

    /// The smallest share that can be reached.
    pub(super) fn smallest_share(&self) -> f64 {
        let order: Vec<usize> = (0..self.groups.len()).filter(|&group| self.free[group]).collect();
        self.share(&self.prefix(&order, order.len()))
    }
}
