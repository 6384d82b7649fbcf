//! Pools: one number for each window of `x [N, C, D1, …]`, each channel on its own.

pub(super) mod average;
pub(super) mod global;
pub(super) mod lp;
pub(super) mod max;

use super::window::{Slide, kernel_shape, slides};
use super::{Coupling, NodeView, Unsupported};

/// The windows of a pool along each spatial axis.
fn windows(node: &NodeView<'_>) -> Result<Vec<Slide>, Unsupported> {
    slides(node, &kernel_shape(node)?, node.x(0)?, node.y(0)?)
}

/// Couples the channels of a pool; `zero` says whether a channel of zeros gives zeros.
fn couple(node: &NodeView<'_>, slots: &mut dyn Coupling, zero: bool) -> Result<(), Unsupported> {
    for axis in 0..node.x(0)?.rank() {
        let own = slots.input(0, axis);
        if axis < 2 {
            slots.set(0, axis, own.with_zero(own.zero() && zero));
        } else {
            slots.pin(&own, "a window slides along the axis");
        }
    }
    Ok(())
}

/// The same windows along every spatial axis must be there for every run.
fn require_steady(windows: &[Slide]) -> Result<(), Unsupported> {
    match windows.iter().position(|slide| slide.varies) {
        Some(axis) => {
            Err(Unsupported(format!("spatial axis {axis} has no fixed size; give one with --shape")))
        }
        None => Ok(()),
    }
}
