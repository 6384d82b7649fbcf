//! The inner loops over taps: several at a time, so that sums stay in registers.

use crate::kernels::vector::{LANES, multiply_add};

/// Adds `factors[t] * source` shifted by `shifts[t]` to `sums`, for every `t`.
#[inline(always)]
pub(super) fn add_taps<const FUSED: bool>(
    sums: &mut [f32],
    source: &[f32],
    shifts: &[usize],
    factors: &[f32],
) {
    let mut done = 0;
    while done < shifts.len() {
        let (shifts, factors) = (&shifts[done..], &factors[done..]);
        done += match shifts.len() {
            9.. => add_some::<FUSED, 9>(sums, source, shifts, factors),
            4.. => add_some::<FUSED, 4>(sums, source, shifts, factors),
            2.. => add_some::<FUSED, 2>(sums, source, shifts, factors),
            _ => add_some::<FUSED, 1>(sums, source, shifts, factors),
        };
    }
}

#[inline(always)]
fn add_some<const FUSED: bool, const T: usize>(
    sums: &mut [f32],
    source: &[f32],
    shifts: &[usize],
    factors: &[f32],
) -> usize {
    let sums = sums.as_chunks_mut::<LANES>().0;
    let (mut shifted, mut own): ([&[[f32; LANES]]; T], [f32; T]) = ([&[]; T], [0.0; T]);
    for tap in 0..T {
        shifted[tap] = &source[shifts[tap]..].as_chunks::<LANES>().0[..sums.len()];
        own[tap] = factors[tap];
    }
    for (place, sums) in sums.iter_mut().enumerate() {
        let mut total = *sums;
        for tap in 0..T {
            let row = &shifted[tap][place];
            for lane in 0..LANES {
                total[lane] = multiply_add::<FUSED>(row[lane], own[tap], total[lane]);
            }
        }
        *sums = total;
    }
    T
}

/// Adds the products of `windows` with `source` shifted by `shifts[t]` to `sums[t]`, lane by lane.
#[inline(always)]
pub(super) fn add_products<const FUSED: bool>(
    sums: &mut [[f32; LANES]],
    source: &[f32],
    shifts: &[(usize, usize)],
    stretch: usize,
    windows: &[f32],
) {
    let mut done = 0;
    while done < shifts.len() {
        let (sums, shifts) = (&mut sums[done..], &shifts[done..]);
        done += match shifts.len() {
            9.. => add_some_products::<FUSED, 9>(sums, source, shifts, stretch, windows),
            5.. => add_some_products::<FUSED, 5>(sums, source, shifts, stretch, windows),
            3.. => add_some_products::<FUSED, 3>(sums, source, shifts, stretch, windows),
            _ => add_some_products::<FUSED, 1>(sums, source, shifts, stretch, windows),
        };
    }
}

#[inline(always)]
fn add_some_products<const FUSED: bool, const T: usize>(
    sums: &mut [[f32; LANES]],
    source: &[f32],
    shifts: &[(usize, usize)],
    stretch: usize,
    windows: &[f32],
) -> usize {
    let windows = windows.as_chunks::<LANES>().0;
    let (mut shifted, mut totals): ([&[[f32; LANES]]; T], _) = ([&[]; T], [[0.0; LANES]; T]);
    for tap in 0..T {
        let (copy, shift) = shifts[tap];
        shifted[tap] = &source[copy * stretch + shift..].as_chunks::<LANES>().0[..windows.len()];
        totals[tap] = sums[tap];
    }
    for (place, window) in windows.iter().enumerate() {
        for tap in 0..T {
            let row = &shifted[tap][place];
            for lane in 0..LANES {
                totals[tap][lane] = multiply_add::<FUSED>(row[lane], window[lane], totals[tap][lane]);
            }
        }
    }
    sums[..T].copy_from_slice(&totals);
    T
}
