//! Operators that take axes away by summing them up, or by picking from them.

pub(super) mod arg;
pub(super) mod reduce;
