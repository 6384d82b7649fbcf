//! Convolution over all channels of a group, and its gradients, as products of matrices that are never laid out.
//!
//! The sums run over taps and channels (for `y`), or over windows (for `dw`). One inner loop serves all: it adds the
//! products of some scalars and some vectors, each found at a start plus a step that all of a kind share. So the
//! elements that a tap sees are read where they lie, and no copy of an image is made for every tap.

mod correlate;
mod line;
mod room;
mod tile;
mod weight;
mod windows;

use self::correlate::{Correlation, Pass, Taken};
use super::Shape;
use crate::kernels::Threads;

pub(super) use self::weight::weight_gradient;

/// The start of a result that tasks on several threads write to.
struct Target {
    start: *mut f32,
    len: usize,
}

#[allow(unsafe_code, reason = "tasks on several threads write to the same result")]
// SAFETY: every task writes elements of its own.
unsafe impl Sync for Target {}

impl Target {
    fn new(result: &mut [f32]) -> Self {
        Self { start: result.as_mut_ptr(), len: result.len() }
    }

    /// Part of the result. No other task may hold any of it.
    #[inline(always)]
    #[allow(unsafe_code, clippy::mut_from_ref, reason = "the parts of a task lie between those of others")]
    fn part(&self, from: usize, len: usize) -> &mut [f32] {
        assert!(len <= self.len && from <= self.len - len, "inside of the result");
        // SAFETY: inside, as was just seen; callers ask for parts that no other task asks for.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), len) }
    }
}

/// Computes `y`.
pub(super) fn forward(
    shape: &Shape,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
    threads: &dyn Threads,
) {
    let [vertical, horizontal] = &shape.axes;
    Correlation {
        images: shape.images,
        groups: shape.groups,
        sources: shape.columns,
        targets: shape.rows,
        source: shape.axes.map(|axis| axis.input),
        target: shape.axes.map(|axis| axis.output),
        stride: shape.axes.map(|axis| axis.stride),
        passes: vec![Pass([line::forward(vertical), line::forward(horizontal)])],
        taken: Taken {
            taps: [vertical.kernel, horizontal.kernel],
            source: shape.taps(),
            target: shape.columns * shape.taps(),
        },
    }
    .run(x, w, bias, y, threads);
}

/// Computes the gradient of `x`.
pub(super) fn input_gradient(shape: &Shape, w: &[f32], dy: &[f32], dx: &mut [f32], threads: &dyn Threads) {
    let [vertical, horizontal] = shape.axes.map(|axis| line::backward(&axis));
    let passes: Vec<Pass> =
        vertical.iter().flat_map(|a| horizontal.iter().map(|b| Pass([a.clone(), b.clone()]))).collect();
    let (whole, some): (Vec<Pass>, Vec<Pass>) =
        passes.into_iter().partition(|pass| pass.0.iter().all(|line| !line.taps.is_empty()));
    if !some.is_empty() {
        // No window sees these.
        dx.fill(0.0);
    }
    Correlation {
        images: shape.images,
        groups: shape.groups,
        sources: shape.rows,
        targets: shape.columns,
        source: shape.axes.map(|axis| axis.output),
        target: shape.axes.map(|axis| axis.input),
        stride: [1; 2],
        passes: whole,
        taken: Taken {
            taps: shape.axes.map(|axis| axis.kernel),
            source: shape.columns * shape.taps(),
            target: shape.taps(),
        },
    }
    .run(dy, w, None, dx, threads);
}
