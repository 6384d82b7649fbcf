//! The table of slots: which are the same, which are pinned, which leave with others.

use crate::ops::Slot;

/// Names a reason in the list that the analysis keeps.
pub(super) type ReasonId = u32;

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// May leave; only approximately right for the reason, if there is one.
    Free(Option<ReasonId>),
    /// May not leave.
    Pinned(ReasonId),
    /// Leaves when any of these does.
    AnyOf(Box<[Slot]>),
}

/// Union-find over slots.
#[derive(Debug)]
pub(super) struct SlotTable {
    parent: Vec<u32>,
    state: Vec<State>,
}

impl SlotTable {
    /// A table with [`Slot::FIXED`] alone, pinned for reason 0.
    pub(super) fn new() -> Self {
        Self { parent: vec![0], state: vec![State::Pinned(0)] }
    }

    pub(super) fn len(&self) -> usize {
        self.parent.len()
    }

    fn push(&mut self, state: State) -> Slot {
        let slot = Slot(self.parent.len() as u32);
        self.parent.push(slot.0);
        self.state.push(state);
        slot
    }

    /// A new free slot.
    pub(super) fn fresh(&mut self) -> Slot {
        self.push(State::Free(None))
    }

    /// The slot that stands for all that are the same as `slot`.
    pub(super) fn find(&mut self, slot: Slot) -> Slot {
        let mut at = slot.0;
        while self.parent[at as usize] != at {
            let above = self.parent[self.parent[at as usize] as usize];
            self.parent[at as usize] = above;
            at = above;
        }
        Slot(at)
    }

    fn state(&self, root: Slot) -> &State {
        &self.state[root.0 as usize]
    }

    /// The free slots with any of which `slot` leaves, sorted. Empty for a slot that cannot leave.
    pub(super) fn leaves(&mut self, slot: Slot) -> Vec<Slot> {
        let mut leaves = Vec::new();
        let mut todo = vec![slot];
        while let Some(slot) = todo.pop() {
            let root = self.find(slot);
            match self.state(root) {
                State::Free(_) => leaves.push(root),
                State::Pinned(_) => {}
                State::AnyOf(parts) => todo.extend(parts.iter().copied()),
            }
        }
        leaves.sort_unstable();
        leaves.dedup();
        leaves
    }

    /// The reason why `slot` cannot leave, if it cannot.
    pub(super) fn pin_reason(&mut self, slot: Slot) -> Option<ReasonId> {
        let root = self.find(slot);
        match self.state(root) {
            State::Free(_) => None,
            State::Pinned(reason) => Some(*reason),
            State::AnyOf(parts) => {
                let parts = parts.clone();
                let reasons: Vec<_> = parts.iter().map(|&part| self.pin_reason(part)).collect();
                reasons.iter().all(Option::is_some).then(|| reasons.into_iter().flatten().next()).flatten()
            }
        }
    }

    /// The reason why removing the free slot `leaf` is only approximately right.
    pub(super) fn approximate_reason(&self, leaf: Slot) -> Option<ReasonId> {
        match self.state(leaf) {
            State::Free(reason) => *reason,
            _ => None,
        }
    }

    /// `slot` may not leave.
    pub(super) fn pin(&mut self, slot: Slot, reason: ReasonId) {
        for leaf in self.leaves(slot) {
            self.state[leaf.0 as usize] = State::Pinned(reason);
        }
    }

    /// `slot` leaves only approximately right.
    pub(super) fn approximate(&mut self, slot: Slot, reason: ReasonId) {
        for leaf in self.leaves(slot) {
            if let State::Free(known) = &mut self.state[leaf.0 as usize] {
                known.get_or_insert(reason);
            }
        }
    }

    /// The slot that leaves when any of `parts` does.
    pub(super) fn any_of(&mut self, parts: &[Slot]) -> Slot {
        let mut roots: Vec<Slot> = Vec::with_capacity(parts.len());
        for &part in parts {
            let root = self.find(part);
            if !matches!(self.state(root), State::Pinned(_)) && !roots.contains(&root) {
                roots.push(root);
            }
        }
        match roots.as_slice() {
            [] => parts.first().copied().unwrap_or(Slot::FIXED),
            [only] => *only,
            _ => self.push(State::AnyOf(roots.into())),
        }
    }

    /// Declares that the free slot `leaf` leaves exactly when any of `parts` does.
    fn define(&mut self, leaf: Slot, whole: Slot) {
        let reason = self.approximate_reason(leaf);
        self.parent[leaf.0 as usize] = whole.0;
        if let Some(reason) = reason {
            self.approximate(whole, reason);
        }
    }

    /// The two slots leave together. `reason` is noted for what must be pinned to make that so.
    pub(super) fn unify(&mut self, a: Slot, b: Slot, reason: ReasonId) {
        let (a, b) = (self.find(a), self.find(b));
        if a == b {
            return;
        }
        match (self.state(a).clone(), self.state(b).clone()) {
            (State::Free(first), State::Free(second)) => {
                // The older slot stands for both, so that the result does not depend on the order of ties.
                let (root, other) = if a < b { (a, b) } else { (b, a) };
                self.parent[other.0 as usize] = root.0;
                self.state[root.0 as usize] = State::Free(first.or(second));
            }
            (State::Pinned(first), State::Pinned(_)) => {
                self.parent[b.0 as usize] = a.0;
                self.state[a.0 as usize] = State::Pinned(first);
            }
            (State::Pinned(why), State::Free(_)) => self.state[b.0 as usize] = State::Pinned(why),
            (State::Free(_), State::Pinned(why)) => self.state[a.0 as usize] = State::Pinned(why),
            (State::Pinned(why), State::AnyOf(_)) => self.pin(b, why),
            (State::AnyOf(_), State::Pinned(why)) => self.pin(a, why),
            (State::Free(_), State::AnyOf(_)) => self.unify_leaf(a, b, reason),
            (State::AnyOf(_), State::Free(_)) => self.unify_leaf(b, a, reason),
            (State::AnyOf(_), State::AnyOf(_)) => self.unify_sets(a, b, reason),
        }
    }

    /// A free slot and one that leaves with others.
    fn unify_leaf(&mut self, leaf: Slot, whole: Slot, reason: ReasonId) {
        let leaves = self.leaves(whole);
        if leaves.contains(&leaf) {
            // "leaf" equals "leaf or others": the others may not leave on their own.
            for other in leaves.into_iter().filter(|&other| other != leaf) {
                self.pin(other, reason);
            }
        } else {
            self.define(leaf, whole);
        }
    }

    /// Two slots that leave with others: what both share is settled; the rest is matched in order.
    fn unify_sets(&mut self, a: Slot, b: Slot, reason: ReasonId) {
        let (first, second) = (self.ordered_leaves(a), self.ordered_leaves(b));
        let rest_a: Vec<Slot> = first.iter().copied().filter(|leaf| !second.contains(leaf)).collect();
        let rest_b: Vec<Slot> = second.iter().copied().filter(|leaf| !first.contains(leaf)).collect();
        if rest_a.len() == rest_b.len() {
            for (x, y) in rest_a.into_iter().zip(rest_b) {
                self.unify(x, y, reason);
            }
        } else {
            for leaf in rest_a.into_iter().chain(rest_b) {
                self.pin(leaf, reason);
            }
        }
    }

    /// The leaves in the order of the block's axes.
    fn ordered_leaves(&mut self, slot: Slot) -> Vec<Slot> {
        let root = self.find(slot);
        match self.state(root).clone() {
            State::Free(_) => vec![root],
            State::Pinned(_) => Vec::new(),
            State::AnyOf(parts) => {
                let mut leaves: Vec<Slot> = Vec::new();
                for part in parts {
                    for leaf in self.ordered_leaves(part) {
                        if !leaves.contains(&leaf) {
                            leaves.push(leaf);
                        }
                    }
                }
                leaves
            }
        }
    }

    /// Sees `slots` as a block of `rows` rows and the given number of columns; returns the slots of the rows and
    /// of the columns. What leaves is rectangular from now on.
    pub(super) fn split(&mut self, slots: &[Slot], rows: usize, reason: ReasonId) -> (Vec<Slot>, Vec<Slot>) {
        let columns = slots.len() / rows.max(1);
        if rows <= 1 {
            return (vec![Slot::FIXED; rows], slots.to_vec());
        }
        if columns <= 1 {
            return (slots.to_vec(), vec![Slot::FIXED; columns]);
        }
        let leaves: Vec<Vec<Slot>> = slots.iter().map(|&slot| self.leaves(slot)).collect();
        if let Some(found) = self.factors(&leaves, rows, columns) {
            return found;
        }
        if Self::all_alone(&leaves) {
            let row_slots: Vec<Slot> = (0..rows).map(|_| self.fresh()).collect();
            let column_slots: Vec<Slot> = (0..columns).map(|_| self.fresh()).collect();
            for (index, leaf) in leaves.iter().enumerate() {
                let whole = self.any_of(&[row_slots[index / columns], column_slots[index % columns]]);
                self.unify(leaf[0], whole, reason);
            }
            return (row_slots, column_slots);
        }
        // Some elements are bound to others already: let whole columns leave, which is always rectangular.
        for row in 1..rows {
            for column in 0..columns {
                self.unify(slots[column], slots[row * columns + column], reason);
            }
        }
        (vec![Slot::FIXED; rows], slots[..columns].to_vec())
    }

    /// Every element is one free slot, and no two are the same.
    fn all_alone(leaves: &[Vec<Slot>]) -> bool {
        let mut seen: Vec<Slot> =
            leaves.iter().filter(|leaves| leaves.len() == 1).map(|leaves| leaves[0]).collect();
        seen.sort_unstable();
        seen.dedup();
        seen.len() == leaves.len()
    }

    /// Rows and columns such that each element leaves exactly when its row or its column does, if there are such.
    fn factors(
        &mut self,
        leaves: &[Vec<Slot>],
        rows: usize,
        columns: usize,
    ) -> Option<(Vec<Slot>, Vec<Slot>)> {
        let common = |mut sets: Box<dyn Iterator<Item = &Vec<Slot>> + '_>| {
            let first = sets.next().cloned().unwrap_or_default();
            sets.fold(first, |kept, set| {
                kept.into_iter().filter(|leaf| set.binary_search(leaf).is_ok()).collect()
            })
        };
        let row_sets: Vec<Vec<Slot>> = (0..rows)
            .map(|row| common(Box::new(leaves[row * columns..(row + 1) * columns].iter())))
            .collect();
        let column_sets: Vec<Vec<Slot>> =
            (0..columns).map(|column| common(Box::new(leaves[column..].iter().step_by(columns)))).collect();
        let fits = leaves.iter().enumerate().all(|(index, set)| {
            let (row, column) = (&row_sets[index / columns], &column_sets[index % columns]);
            set.iter().all(|leaf| row.binary_search(leaf).is_ok() || column.binary_search(leaf).is_ok())
        });
        fits.then(|| {
            let rows = row_sets.iter().map(|set| self.any_of(set)).collect();
            let columns = column_sets.iter().map(|set| self.any_of(set)).collect();
            (rows, columns)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(table: &mut SlotTable, count: usize) -> Vec<Slot> {
        (0..count).map(|_| table.fresh()).collect()
    }

    #[test]
    fn a_block_leaves_by_rows_and_columns() {
        let mut table = SlotTable::new();
        let slots = fresh(&mut table, 6);
        let (rows, columns) = table.split(&slots, 2, 0);
        for (index, &slot) in slots.iter().enumerate() {
            let mut expected = vec![rows[index / 3], columns[index % 3]];
            expected.sort_unstable();
            assert_eq!(table.leaves(slot), expected);
        }
        let again = table.split(&slots, 2, 0);
        assert_eq!(again, (rows, columns), "the same block has the same rows and columns");
    }

    #[test]
    fn repeated_slots_split_without_new_ones() {
        let mut table = SlotTable::new();
        let slots = fresh(&mut table, 2);
        let flat = [slots[0], slots[0], slots[0], slots[1], slots[1], slots[1]];
        let (rows, columns) = table.split(&flat, 2, 0);
        assert_eq!(rows, slots);
        assert!(columns.iter().all(|&column| table.pin_reason(column).is_some()));
    }

    #[test]
    fn pinning_reaches_every_part_and_everything_tied() {
        let mut table = SlotTable::new();
        let slots = fresh(&mut table, 4);
        let (rows, columns) = table.split(&slots, 2, 0);
        table.pin(slots[0], 7);
        assert_eq!(table.pin_reason(rows[0]), Some(7));
        assert_eq!(table.pin_reason(columns[0]), Some(7));
        assert_eq!(table.pin_reason(rows[1]), None);
        let other = table.fresh();
        table.unify(other, rows[0], 0);
        assert_eq!(table.pin_reason(other), Some(7));
    }

    #[test]
    fn what_cannot_be_rectangular_leaves_by_columns() {
        let mut table = SlotTable::new();
        let slots = fresh(&mut table, 3);
        let bound = [slots[0], slots[1], slots[2], slots[0]];
        let (rows, columns) = table.split(&bound, 2, 0);
        assert!(rows.iter().all(|&row| table.pin_reason(row).is_some()));
        assert_eq!(table.find(columns[0]), table.find(slots[2]), "0 with 2 in one column");
        assert_eq!(table.find(columns[1]), table.find(slots[0]), "1 with 0 in the other");
    }

    #[test]
    fn a_part_that_equals_its_whole_pins_the_other_parts() {
        let mut table = SlotTable::new();
        let slots = fresh(&mut table, 2);
        let whole = table.any_of(&slots);
        table.unify(slots[0], whole, 5);
        assert_eq!(table.pin_reason(slots[1]), Some(5));
        assert_eq!(table.leaves(whole), vec![slots[0]]);
    }
}
