//! Inner loops for the widest vectors that the processor has.

/// Floats of a vector as the loops are written; narrower processors take several steps for one.
pub(super) const LANES: usize = 8;

/// An inner loop. `run` must be marked `#[inline(always)]`, so that it is compiled for the caller's instructions.
pub(super) trait Loop {
    /// Runs it; with `FUSED`, multiplying and adding in one instruction is fast.
    fn run<const FUSED: bool>(self);
}

/// `a * b + c`, rounded once where that is fast.
#[inline(always)]
pub(super) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Runs the loop with the best instructions there are.
#[cfg(target_arch = "x86_64")]
pub(super) fn widest<W: Loop>(work: W) {
    #[target_feature(enable = "avx2,fma")]
    fn with_avx2(work: impl Loop) {
        work.run::<true>();
    }
    // Given wider vectors, the compiler picks elements apart with gathers, which cost more than they save.
    #[allow(unsafe_code, reason = "what the processor can do is known while running only")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor was just asked for every instruction set that the function is compiled for.
        unsafe { with_avx2(work) };
    } else {
        work.run::<false>();
    }
}

/// Runs the loop with the best instructions there are.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn widest<W: Loop>(work: W) {
    // Every processor with 64-bit ARM instructions multiplies and adds in one.
    if cfg!(target_arch = "aarch64") {
        work.run::<true>();
    } else {
        work.run::<false>();
    }
}
