//! Convolutions: sums of products over sliding windows and over the channels of a group.
//!
//! Letters: `x [N, C, D1, …]`, `y [N, M, E1, …]`, `g` groups, a window of `K1, …` taps.

pub(super) mod conv;
pub(super) mod conv_transpose;
