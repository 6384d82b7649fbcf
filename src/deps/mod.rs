//! Dependency groups: which slices of which tensors must leave together.
//!
//! Every index of every axis of every tensor is a slot ([`crate::ops::Slot`]). Operators tie slots, pin them, or
//! let them end in a contraction; [`analyze`] walks the graph once and collects what they say. A slot is free,
//! pinned for a reason, or leaves when any of several others leaves (an element of a block leaves with its row or
//! with its column). The free slots that are left are the [`Group`]s: each can leave on its own, and everything
//! tied to it leaves with it.
//!
//! Always true here: for every set of groups, the indices that leave an axis are the same ones for all tensors that
//! must agree on it, and no axis loses all its indices while every [`Family`] keeps one group. This module knows no
//! operator by name, no scores and no engine.

mod analyze;
mod groups;
mod slots;
mod survivors;

pub use analyze::{Analysis, Pin, analyze};
pub use groups::{AxisGroups, Exactness, Family, Group, Groups, Member, Role};
pub use survivors::Survivors;
