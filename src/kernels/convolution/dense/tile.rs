//! The inner loop: a few rows of sums, as long as a few vectors.

use pulp::{Simd, WithSimd};

/// Vectors that a tile is long at most.
pub(super) const VECTORS: usize = 3;
/// Steps that are taken at once, so that the vectors of all of them stay in the nearest cache.
pub(super) const DEPTH: usize = 192;

/// Rows of a tile: with their sums, the vectors and a scalar, what the registers hold.
#[inline(always)]
pub(super) const fn rows<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 8 } else { 4 }
}

/// Floats of a vector, and rows of a tile.
pub(super) struct Sizes;

impl WithSimd for Sizes {
    type Output = [usize; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [usize; 2] {
        [S::F32_LANES, rows::<S>()]
    }
}

/// Operands of a tile: where each row or vector starts, and the steps from there that all of them take.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    pub(super) data: &'a [f32],
    pub(super) starts: &'a [usize],
    pub(super) steps: &'a [usize],
}

impl Operand<'_> {
    /// Whether all that is read, `width` elements each, lies inside.
    fn holds(&self, width: usize) -> bool {
        let furthest = |places: &[usize]| places.iter().max().copied().unwrap_or(0);
        furthest(self.starts) + furthest(self.steps) + width <= self.data.len()
    }
}

/// `sums[row][place] += sum over steps of scalars[row][step] * vectors[place][step]`, for up to [`rows`] rows and
/// [`VECTORS`] vectors; the rows of `sums` lie `pitch` apart. Where there are fewer scalars than rows, the last one
/// counts for the rows that are left, so that `sums` has room for all of them.
#[inline(always)]
pub(super) fn add_products<S: Simd>(
    simd: S,
    scalars: Operand<'_>,
    vectors: Operand<'_>,
    sums: &mut [f32],
    pitch: usize,
) {
    if S::REGISTER_COUNT >= 32 {
        by_vectors::<S, 8>(simd, scalars, vectors, sums, pitch);
    } else {
        by_vectors::<S, 4>(simd, scalars, vectors, sums, pitch);
    }
}

#[inline(always)]
fn by_vectors<S: Simd, const ROWS: usize>(
    simd: S,
    scalars: Operand<'_>,
    vectors: Operand<'_>,
    sums: &mut [f32],
    pitch: usize,
) {
    match vectors.starts.len() {
        1 => tile::<S, ROWS, 1>(simd, scalars, vectors, sums, pitch),
        2 => tile::<S, ROWS, 2>(simd, scalars, vectors, sums, pitch),
        _ => tile::<S, ROWS, 3>(simd, scalars, vectors, sums, pitch),
    }
}

#[inline(always)]
fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    scalars: Operand<'_>,
    vectors: Operand<'_>,
    sums: &mut [f32],
    pitch: usize,
) {
    let lanes = S::F32_LANES;
    assert!(vectors.starts.len() == VECTORS && scalars.steps.len() == vectors.steps.len(), "operands fit");
    debug_assert!(scalars.holds(1) && vectors.holds(lanes), "operands lie inside");
    assert!((ROWS - 1) * pitch + VECTORS * lanes <= sums.len(), "sums lie inside");
    let last = scalars.starts.len() - 1;
    let mut rows = [scalars.data.as_ptr(); ROWS];
    let mut places = [vectors.data.as_ptr(); VECTORS];
    let mut results = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    #[allow(unsafe_code, reason = "checking every scalar would cost more than multiplying it")]
    // SAFETY: whoever lays out rooms and windows makes every start and step end inside of the operands, which is
    // checked where debug assertions are; the sums were just checked.
    unsafe {
        for (row, start) in rows.iter_mut().enumerate() {
            *start = start.add(scalars.starts[row.min(last)]);
        }
        for (place, start) in places.iter_mut().zip(vectors.starts) {
            *place = place.add(*start);
        }
        for (row, results) in results.iter_mut().enumerate() {
            for (place, result) in results.iter_mut().enumerate() {
                *result =
                    sums.as_ptr().add(row * pitch + place * lanes).cast::<S::f32s>().read_unaligned();
            }
        }
        for (&scalar, &vector) in scalars.steps.iter().zip(vectors.steps) {
            let mut found = [simd.splat_f32s(0.0); VECTORS];
            for (found, place) in found.iter_mut().zip(places) {
                *found = place.add(vector).cast::<S::f32s>().read_unaligned();
            }
            for (row, results) in rows.iter().zip(&mut results) {
                let factor = simd.splat_f32s(*row.add(scalar));
                for (result, found) in results.iter_mut().zip(found) {
                    *result = simd.mul_add_e_f32s(factor, found, *result);
                }
            }
        }
        for (row, results) in results.iter().enumerate() {
            for (place, result) in results.iter().enumerate() {
                sums.as_mut_ptr()
                    .add(row * pitch + place * lanes)
                    .cast::<S::f32s>()
                    .write_unaligned(*result);
            }
        }
    }
}
