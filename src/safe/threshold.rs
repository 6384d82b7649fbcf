//! The k-th smallest magnitude of many arrays, without sorting and without a copy.

use rayon::prelude::*;

use super::Scalar;
use super::kernel::CHUNK;

/// Values and, under SAFE+, their factors.
pub(super) type Metric<'a, T> = (&'a [T], Option<&'a [T]>);

/// Bits of the key that are decided in one pass.
const DIGIT: u32 = 11;

/// The key of `|value| * factor`.
#[inline]
pub(super) fn key<T: Scalar>(value: T, factor: Option<T>) -> u64 {
    match factor {
        None => value.magnitude_key(),
        Some(factor) => (value.magnitude() * factor).magnitude_key(),
    }
}

/// The key of the element that stands at `rank` (counted from 0) among all elements in rising order of
/// magnitude. `rank` must be below the number of elements.
pub(super) fn key_at_rank<T: Scalar>(metrics: &[Metric<'_, T>], rank: usize) -> u64 {
    let chunks = metrics.iter().flat_map(|(values, factors)| {
        values.chunks(CHUNK).enumerate().map(move |(number, chunk)| {
            let start = number * CHUNK;
            (chunk, factors.map(|factors| &factors[start..start + chunk.len()]))
        })
    });
    let chunks: Vec<Metric<'_, T>> = chunks.collect();
    let mut rank = rank as u64;
    let mut found = 0_u64;
    let mut open = T::KEY_BITS;
    while open > 0 {
        let shift = open.saturating_sub(DIGIT);
        let counts = histogram(&chunks, found, open, shift);
        let mut digit = 0;
        while digit + 1 < counts.len() && rank >= counts[digit] {
            rank -= counts[digit];
            digit += 1;
        }
        found |= (digit as u64) << shift;
        open = shift;
    }
    found
}

/// How many keys that agree with `found` above bit `open` have each value in the bits `shift..open`.
fn histogram<T: Scalar>(chunks: &[Metric<'_, T>], found: u64, open: u32, shift: u32) -> Vec<u64> {
    let size = 1_usize << (open - shift);
    let mask = size as u64 - 1;
    // No bit is above bit 64.
    let above = |key: u64| key.checked_shr(open).unwrap_or(0);
    let wanted = above(found);
    let count = |mut counts: Vec<u64>, (values, factors): &Metric<'_, T>| {
        let mut add = |key: u64| {
            if above(key) == wanted {
                counts[((key >> shift) & mask) as usize] += 1;
            }
        };
        match factors {
            None => values.iter().for_each(|&value| add(key(value, None))),
            Some(factors) => {
                values.iter().zip(*factors).for_each(|(&value, &factor)| add(key(value, Some(factor))));
            }
        }
        counts
    };
    let join = |mut left: Vec<u64>, right: Vec<u64>| {
        left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
        left
    };
    chunks.par_iter().fold(|| vec![0; size], count).reduce(|| vec![0; size], join)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Random;

    fn check<T: Scalar>(seed: u64) {
        let mut random = Random::new(seed);
        let count = CHUNK + 100 + random.below(100);
        let mut draw =
            || T::from_f64((random.normal() * 8.0).round() * random.unit().round() + random.normal());
        let arrays =
            [(0..count).map(|_| draw()).collect::<Vec<T>>(), (0..7).map(|_| draw()).collect(), Vec::new()];
        let factors: Vec<T> = arrays[0].iter().map(|value| value.magnitude()).collect();
        for with_factor in [false, true] {
            let factor = with_factor.then_some(factors.as_slice());
            let metrics: [Metric<'_, T>; 3] = [(&arrays[0], factor), (&arrays[1], None), (&arrays[2], None)];
            let mut sorted: Vec<u64> = Vec::new();
            for (values, factors) in metrics {
                let factor = |at: usize| factors.map(|factors| factors[at]);
                sorted.extend(values.iter().enumerate().map(|(at, &value)| key(value, factor(at))));
            }
            sorted.sort_unstable();
            for rank in [0, 1, 5, sorted.len() / 2, sorted.len() - 1] {
                assert_eq!(key_at_rank(&metrics, rank), sorted[rank], "rank {rank}, seed {seed}");
            }
        }
    }

    #[test]
    fn ranks_agree_with_sorting() {
        for seed in 0..4 {
            check::<f32>(seed);
            check::<f64>(seed);
        }
    }
}
