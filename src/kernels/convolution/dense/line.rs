//! What the windows along one axis see.

use crate::kernels::convolution::Axis;

/// Window `e` sees element `e * stride + offset` of the source through each tap; the sum is element `e * step + first`
/// of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) windows: usize,
    /// The taps by number, with their offsets.
    pub(super) taps: Vec<(usize, i64)>,
    pub(super) step: usize,
    pub(super) first: usize,
}

/// From inputs to windows.
pub(super) fn forward(axis: &Axis) -> Line {
    let taps = (0..axis.kernel).map(|tap| (tap, (tap * axis.dilation) as i64 - axis.before as i64)).collect();
    Line { windows: axis.output, taps, step: 1, first: 0 }
}

/// From windows back to inputs: those with the same remainder by the stride see the same taps.
pub(super) fn backward(axis: &Axis) -> Vec<Line> {
    // Input `i` was seen by window `e` through `tap` where `i + before = e * stride + tap * dilation`. With `i + before =
    // q * stride + remainder`, that is `e = q - (tap * dilation - remainder) / stride`.
    let line = |remainder: usize| {
        let first = axis.before.saturating_sub(remainder).div_ceil(axis.stride);
        let start = (first * axis.stride + remainder).checked_sub(axis.before)?;
        let taps = (0..axis.kernel)
            .filter(|tap| tap * axis.dilation % axis.stride == remainder)
            .map(|tap| (tap, first as i64 - ((tap * axis.dilation - remainder) / axis.stride) as i64))
            .collect();
        let windows = axis.input.saturating_sub(start).div_ceil(axis.stride);
        (windows > 0).then_some(Line { windows, taps, step: axis.stride, first: start })
    };
    (0..axis.stride).filter_map(line).collect()
}
