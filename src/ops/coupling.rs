//! The words in which an operator says how axes leave together.

use std::ops::Range;
use std::sync::Arc;

/// One index of one axis. What becomes of it is decided by whoever hands slots out; 0 never leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// The slot that never leaves.
    pub const FIXED: Self = Self(0);
}

/// The slots along one axis of a tensor, and what the tensor holds where a slot leaves.
#[derive(Debug, Clone)]
pub struct Axis {
    len: usize,
    slots: Option<Arc<[Slot]>>,
    zero: bool,
}

impl Axis {
    /// An axis of `len` indices that never leave.
    pub const fn fixed(len: usize) -> Self {
        Self { len, slots: None, zero: false }
    }

    /// An axis over `slots`; `zero` says whether the masked tensor is zero wherever a slot has left.
    pub fn new(slots: Arc<[Slot]>, zero: bool) -> Self {
        // One index must always stay, so an axis of one index has nothing to give.
        if slots.len() < 2 || slots.iter().all(|&slot| slot == Slot::FIXED) {
            return Self::fixed(slots.len());
        }
        Self { len: slots.len(), slots: Some(slots), zero }
    }

    /// Number of indices.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no index.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no index can leave.
    pub const fn is_fixed(&self) -> bool {
        self.slots.is_none()
    }

    /// The slots; nothing when all are fixed.
    pub const fn slots(&self) -> Option<&Arc<[Slot]>> {
        self.slots.as_ref()
    }

    /// The slot of one index.
    pub fn slot(&self, index: usize) -> Slot {
        self.slots.as_ref().map_or(Slot::FIXED, |slots| slots[index])
    }

    /// Whether the masked tensor is zero wherever a slot of this axis has left.
    pub const fn zero(&self) -> bool {
        self.zero
    }

    /// The same axis of a tensor that is zero where a slot has left, or not.
    #[must_use]
    pub fn with_zero(&self, zero: bool) -> Self {
        Self { zero: zero && self.slots.is_some(), ..self.clone() }
    }

    /// The axis of the indices `range`.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        match &self.slots {
            None => Self::fixed(range.len()),
            Some(_) if range == (0..self.len) => self.clone(),
            Some(slots) => Self::new(slots[range].into(), self.zero),
        }
    }

    /// The axis of the given indices in the given order.
    #[must_use]
    pub fn take(&self, indices: &[usize]) -> Self {
        match &self.slots {
            None => Self::fixed(indices.len()),
            Some(slots) => Self::new(indices.iter().map(|&index| slots[index]).collect(), self.zero),
        }
    }

    /// One axis behind the other.
    pub fn concat(parts: &[Self]) -> Self {
        let len = parts.iter().map(Self::len).sum();
        if parts.iter().all(Self::is_fixed) {
            return Self::fixed(len);
        }
        let zero = parts.iter().filter(|part| !part.is_fixed()).all(Self::zero);
        Self::new(parts.iter().flat_map(|part| (0..part.len).map(|index| part.slot(index))).collect(), zero)
    }
}

/// What an operator may say of the axes of its node. Outputs of which nothing is said keep all their indices.
pub trait Coupling {
    /// Axis `axis` of input `input`. A left-out input has only fixed axes.
    fn input(&self, input: usize, axis: usize) -> Axis;

    /// Axis `axis` of output `output` has these slots.
    fn set(&mut self, output: usize, axis: usize, slots: Axis);

    /// A new axis whose indices may leave freely, for tensors that a node makes up, such as a broadcast.
    fn fresh(&mut self, len: usize, zero: bool) -> Axis;

    /// Index by index, the two axes leave together. Where one is fixed the other is pinned.
    fn tie(&mut self, a: &Axis, b: &Axis);

    /// The axis may not shrink.
    fn pin(&mut self, axis: &Axis, reason: &str);

    /// Products of the two axes are summed up and the axes end here. Where neither tensor is zero at indices that
    /// have left, the sum would keep a rest: then the axes are pinned.
    fn contract(&mut self, a: &Axis, b: &Axis);

    /// The node's result depends on how many indices the axis has, so removing some is only approximately right.
    fn approximate(&mut self, axis: &Axis, reason: &str);

    /// The node averages over the axis of a tensor that is zero at indices that have left. What the average is over
    /// fewer indices, [`Cut::averages`](super::Cut::averages) has `resize` make up for, so that removing some is exact.
    fn average(&mut self, axis: &Axis);

    /// The axis seen as a block of the given sizes, outermost first: what leaves must stay rectangular.
    fn split(&mut self, axis: &Axis, sizes: &[usize]) -> Vec<Axis>;

    /// The axes, outermost first, seen as one.
    fn merge(&mut self, axes: &[Axis]) -> Axis;
}
