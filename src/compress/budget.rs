//! Which groups leave so that the budget is met.

use super::{Limits, Quantity, Target};
use crate::cost::{Cost, CostModel, Meter};
use crate::deps::{Analysis, Exactness, Groups};

/// How far below the target a selection may stay, as a share of the target.
pub(super) const SLACK: f64 = 0.02;
/// Groups that are tried for being put back once the budget is met.
const PUT_BACK: usize = 1024;

/// The budget of one graph.
#[derive(Debug)]
pub(super) struct Budget<'a> {
    cost: &'a CostModel<'a>,
    analysis: &'a Analysis,
    groups: &'a Groups,
    target: Target,
    /// By family, groups that it keeps at least.
    floors: Vec<usize>,
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

/// The groups in the order in which they leave, as a whole and by family.
struct Order {
    /// By place, the group.
    groups: Vec<usize>,
    /// By family, the places of its groups, rising.
    families: Vec<Vec<usize>>,
    /// By group, its place; nothing useful for groups that may not leave.
    places: Vec<usize>,
}

impl<'a> Budget<'a> {
    /// The budget `target`. Each family keeps at least as many groups as `floors` says, and a multiple of
    /// what `limits` rounds to.
    pub(super) fn new(
        cost: &'a CostModel<'a>,
        analysis: &'a Analysis,
        groups: &'a Groups,
        target: Target,
        floors: Vec<usize>,
        limits: &Limits,
    ) -> Self {
        let free = groups
            .groups()
            .iter()
            .map(|group| {
                let exact = groups.families()[group.family].exactness == Exactness::Exact;
                (exact || limits.allow_approximate)
                    && floors[group.family] < groups.families()[group.family].groups.len()
            })
            .collect();
        let dense = cost.dense();
        Self { cost, analysis, groups, target, floors, free, round_to: limits.round_to.max(1), dense }
    }

    /// Groups that may leave.
    pub(super) fn free(&self) -> &[bool] {
        &self.free
    }

    fn share_of(&self, cost: Cost, removed: &[bool]) -> f64 {
        let ratio = |part: u64, whole: u64| if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
        match self.target.quantity {
            Quantity::Channels => {
                let left = removed.iter().filter(|&&removed| !removed).count();
                ratio(left as u64, removed.len() as u64)
            }
            Quantity::Macs => ratio(cost.macs, self.dense.macs),
            Quantity::Params => ratio(cost.params, self.dense.params),
        }
    }

    /// The share of the quantity that a cut leaves.
    pub(super) fn share(&self, removed: &[bool]) -> f64 {
        self.share_of(self.cost.after(&self.groups.survivors(self.analysis, removed)), removed)
    }

    /// Whether a share meets the target: not above it, and not far below.
    pub(super) fn met(&self, share: f64) -> bool {
        share <= self.target.share && share >= self.target.share * (1.0 - SLACK)
    }

    fn order(&self, scores: &[f64]) -> Order {
        let mut groups: Vec<usize> = (0..self.groups.len()).filter(|&group| self.free[group]).collect();
        groups.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
        let mut families = vec![Vec::new(); self.groups.families().len()];
        let mut places = vec![0; self.groups.len()];
        for (place, &group) in groups.iter().enumerate() {
            places[group] = place;
            families[self.groups.groups()[group].family].push(place);
        }
        Order { groups, families, places }
    }

    /// The first `count` groups of `order` removed, except that every family keeps its best ones: as many as it must,
    /// and a multiple of `round_to`.
    fn prefix(&self, order: &Order, count: usize) -> Vec<bool> {
        let mut removed = vec![false; self.groups.len()];
        let families = self.groups.families().iter().zip(&self.floors);
        for ((family, &floor), places) in families.zip(&order.families) {
            let size = family.groups.len();
            let leaving = places.partition_point(|&place| place < count);
            let kept = (size - leaving).max(floor).next_multiple_of(self.round_to).min(size);
            for &place in &places[..(size - kept).min(leaving)] {
                removed[order.groups[place]] = true;
            }
        }
        self.groups.keep_axes(&mut removed, |group| order.places[group]);
        removed
    }

    /// The selection that removes the groups of the lowest scores until the budget is met.
    pub(super) fn select(&self, scores: &[f64]) -> Selection {
        let order = self.order(scores);
        let mut meter = Meter::new(self.cost, self.analysis, self.groups);
        let mut at = |count: usize| {
            let removed = self.prefix(&order, count);
            meter.set(&removed);
            let share = self.share_of(meter.cost(), &removed);
            Selection { removed, share }
        };
        let (mut low, mut high) = (0, order.groups.len());
        let most = at(high);
        if most.share > self.target.share {
            return most;
        }
        while low < high {
            let middle = usize::midpoint(low, high);
            if at(middle).share <= self.target.share {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let mut selection = at(low);
        if self.round_to == 1 {
            self.put_back(&order, low, &mut meter, &mut selection);
        }
        selection
    }

    /// Puts the best of the removed groups back as far as the budget allows.
    fn put_back(&self, order: &Order, count: usize, meter: &mut Meter<'_>, selection: &mut Selection) {
        let enough = self.target.share * (1.0 - SLACK / 8.0);
        let candidates: Vec<usize> =
            order.groups[..count].iter().rev().copied().filter(|&group| selection.removed[group]).collect();
        for &group in candidates.iter().take(PUT_BACK) {
            if selection.share >= enough {
                break;
            }
            selection.removed[group] = false;
            meter.change(group, false);
            let share = self.share_of(meter.cost(), &selection.removed);
            if share <= self.target.share {
                selection.share = share;
            } else {
                selection.removed[group] = true;
                meter.change(group, true);
            }
        }
    }

    /// The smallest share that can be reached.
    pub(super) fn smallest_share(&self) -> f64 {
        let order = self.order(&vec![0.0; self.groups.len()]);
        self.share(&self.prefix(&order, order.groups.len()))
    }
}
