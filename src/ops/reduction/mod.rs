//! Operators that take axes away by summing them up, or by picking from them.

pub(super) mod arg;
pub(super) mod reduce;

use crate::ir::Node;

/// Whether the node reduces axes to one value.
pub(super) fn is_one(node: &Node) -> bool {
    reduce::OPERATORS.iter().any(|operator| operator.spec().names(node))
}
