//! Operators that sum products over a common axis.

pub(super) mod einsum;
pub(super) mod gemm;
pub(super) mod matmul;
