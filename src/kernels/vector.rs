//! Inner loops for the widest vectors that the processor has.

/// Floats of a vector as the loops are written; narrower processors take several steps for one.
pub(super) const LANES: usize = 8;

/// An inner loop. `run` must be marked `#[inline(always)]`, so that it is compiled for the caller's instructions.
pub(super) trait Loop {
    /// Whether it only runs along neighbours. In other loops, the compiler picks elements apart with gathers for the
    /// widest vectors, which cost more than they save.
    const STRAIGHT: bool = false;

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
    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
    fn with_avx512(work: impl Loop) {
        work.run::<true>();
    }
    let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let has_avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw");
    #[allow(unsafe_code, reason = "what the processor can do is known while running only")]
    match (has_avx2, has_avx512 && W::STRAIGHT) {
        // SAFETY: the processor was just asked for every instruction set that the function is compiled for.
        (true, true) => unsafe { with_avx512(work) },
        // SAFETY: as above.
        (true, false) => unsafe { with_avx2(work) },
        (false, _) => work.run::<false>(),
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
