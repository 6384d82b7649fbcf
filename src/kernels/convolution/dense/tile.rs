//! The inner loop: a few rows of sums, as long as a few vectors.

use pulp::{Simd, WithSimd};

/// Vectors that a tile is long at most where scalars lie side by side.
pub(super) const VECTORS: usize = 3;
/// The same where each row has its own: compilers then keep more in registers.
pub(super) const SPREAD: usize = 2;
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

    #[inline(always)]
    fn pointers<const COUNT: usize>(&self) -> [*const f32; COUNT] {
        let last = self.starts.len() - 1;
        // What is out of reach is told when it is read.
        std::array::from_fn(|place| self.data.as_ptr().wrapping_add(self.starts[place.min(last)]))
    }
}

/// `sums[row][place] += sum over steps of scalars[row][step] * vectors[place][step]`, for up to [`rows`] rows and
/// [`SPREAD`] vectors; the rows of `sums` lie `pitch` apart. Where there are fewer scalars than rows, the last one
/// counts for the rows that are left, so that `sums` has room for all of them.
#[inline(always)]
pub(super) fn add_spread<S: Simd>(
    simd: S,
    scalars: Operand<'_>,
    vectors: Operand<'_>,
    sums: &mut [f32],
    pitch: usize,
) {
    assert!(scalars.steps.len() == vectors.steps.len(), "operands fit");
    debug_assert!(scalars.holds(1), "scalars lie inside");
    match (S::REGISTER_COUNT >= 32, vectors.starts.len()) {
        (true, 1) => tile::<S, 8, 1>(simd, &spread::<8>(scalars), vectors, sums, pitch),
        (true, _) => tile::<S, 8, 2>(simd, &spread::<8>(scalars), vectors, sums, pitch),
        (false, 1) => tile::<S, 4, 1>(simd, &spread::<4>(scalars), vectors, sums, pitch),
        (false, _) => tile::<S, 4, 2>(simd, &spread::<4>(scalars), vectors, sums, pitch),
    }
}

/// The same for up to [`VECTORS`] vectors and scalars that lie side by side: all rows of a step, then of the next.
#[inline(always)]
pub(super) fn add_packed<S: Simd>(
    simd: S,
    scalars: &[f32],
    vectors: Operand<'_>,
    sums: &mut [f32],
    pitch: usize,
) {
    assert!(scalars.len() >= vectors.steps.len() * rows::<S>(), "scalars lie inside");
    match (S::REGISTER_COUNT >= 32, vectors.starts.len()) {
        (true, 1) => tile::<S, 8, 1>(simd, &Packed(scalars), vectors, sums, pitch),
        (true, 2) => tile::<S, 8, 2>(simd, &Packed(scalars), vectors, sums, pitch),
        (true, _) => tile::<S, 8, 3>(simd, &Packed(scalars), vectors, sums, pitch),
        (false, 1) => tile::<S, 4, 1>(simd, &Packed(scalars), vectors, sums, pitch),
        (false, 2) => tile::<S, 4, 2>(simd, &Packed(scalars), vectors, sums, pitch),
        (false, _) => tile::<S, 4, 3>(simd, &Packed(scalars), vectors, sums, pitch),
    }
}

/// The scalars of a tile.
trait Scalars<const ROWS: usize> {
    /// Where that of a row is, in a step.
    fn at(&self, row: usize, step: usize) -> *const f32;
}

struct Packed<'a>(&'a [f32]);

impl<const ROWS: usize> Scalars<ROWS> for Packed<'_> {
    #[inline(always)]
    fn at(&self, row: usize, step: usize) -> *const f32 {
        self.0.as_ptr().wrapping_add(step * ROWS + row)
    }
}

struct Spread<'a, const ROWS: usize> {
    rows: [*const f32; ROWS],
    steps: &'a [usize],
}

#[inline(always)]
fn spread<const ROWS: usize>(scalars: Operand<'_>) -> Spread<'_, ROWS> {
    Spread { rows: scalars.pointers(), steps: scalars.steps }
}

impl<const ROWS: usize> Scalars<ROWS> for Spread<'_, ROWS> {
    #[inline(always)]
    fn at(&self, row: usize, step: usize) -> *const f32 {
        self.rows[row].wrapping_add(self.steps[step])
    }
}

#[inline(always)]
fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    scalars: &impl Scalars<ROWS>,
    vectors: Operand<'_>,
    sums: &mut [f32],
    pitch: usize,
) {
    let lanes = S::F32_LANES;
    assert!(vectors.starts.len() == VECTORS, "vectors fit");
    debug_assert!(vectors.holds(lanes), "vectors lie inside");
    assert!((ROWS - 1) * pitch + VECTORS * lanes <= sums.len(), "sums lie inside");
    let places = vectors.pointers::<VECTORS>();
    let mut results = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    #[allow(unsafe_code, reason = "checking every scalar would cost more than multiplying it")]
    // SAFETY: whoever lays out rooms and windows makes every start and step end inside of the operands, which is
    // checked where debug assertions are; the sums, and scalars that lie side by side, were checked.
    unsafe {
        for (row, results) in results.iter_mut().enumerate() {
            for (place, result) in results.iter_mut().enumerate() {
                *result = sums.as_ptr().add(row * pitch + place * lanes).cast::<S::f32s>().read_unaligned();
            }
        }
        for (step, &vector) in vectors.steps.iter().enumerate() {
            let mut found = [simd.splat_f32s(0.0); VECTORS];
            for (found, place) in found.iter_mut().zip(places) {
                *found = place.add(vector).cast::<S::f32s>().read_unaligned();
            }
            for (row, results) in results.iter_mut().enumerate() {
                let factor = simd.splat_f32s(*scalars.at(row, step));
                for (result, found) in results.iter_mut().zip(found) {
                    *result = simd.mul_add_e_f32s(factor, found, *result);
                }
            }
        }
        for (row, results) in results.iter().enumerate() {
            for (place, result) in results.iter().enumerate() {
                sums.as_mut_ptr().add(row * pitch + place * lanes).cast::<S::f32s>().write_unaligned(*result);
            }
        }
    }
}
