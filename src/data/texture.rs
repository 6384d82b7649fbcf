//! Random values that vary as images do: neighbours resemble each other, and so do the colours of a place.
//!
//! Every octave of sizes, from one pixel to the whole side, has the same share of the variance, as in photographs,
//! whose power falls with the square of the spatial frequency (D. J. Field, 1987).

use crate::tensor::Random;

/// Shortest side of what is taken for an image.
const SIDE: usize = 8;
/// Most channels that are taken for colours.
const COLOURS: usize = 4;
/// How much of a colour is its own; the rest it shares with the others.
const OWN: f64 = 0.5;
/// Standard deviation of the logarithm of an image's contrast.
const CONTRAST: f64 = 0.5;

/// Where the axes of an image input are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    channels: usize,
    /// Whether the channels are the last axis; else they are the second.
    last: bool,
}

/// The layout of a batch of images, videos or volumes; nothing for other inputs.
pub(super) fn layout(dims: &[usize]) -> Option<Layout> {
    let [_, inner @ ..] = dims else { return None };
    if inner.len() < 3 {
        return None;
    }
    let (first, end) = (inner[0], inner[inner.len() - 1]);
    let last = end <= COLOURS && first > COLOURS;
    let sides = if last { &inner[..inner.len() - 1] } else { &inner[1..] };
    let images = sides.iter().filter(|&&side| side >= SIDE).count() >= 2;
    images.then_some(Layout { channels: if last { end } else { first }, last })
}

/// A batch of dimensions `dims`, of mean 0 and standard deviation 1.
pub(super) fn textures(dims: &[usize], layout: Layout, random: &mut Random) -> Vec<f64> {
    let inner = &dims[1..];
    let sides = if layout.last { &inner[..inner.len() - 1] } else { &inner[1..] };
    let (area, channels) = (sides.iter().product::<usize>(), layout.channels);
    let mut values = Vec::with_capacity(dims.iter().product());
    for _ in 0..dims[0] {
        let contrast = (CONTRAST * random.normal()).exp();
        let shared = plane(sides, random);
        let share = if channels <= COLOURS && channels > 1 { (1.0 - OWN * OWN).sqrt() } else { 0.0 };
        let own = if share > 0.0 { OWN } else { 1.0 };
        let planes: Vec<Vec<f64>> = (0..channels)
            .map(|_| {
                let plane = plane(sides, random);
                plane
                    .iter()
                    .zip(&shared)
                    .map(|(own_value, shared)| contrast * (own * own_value + share * shared))
                    .collect()
            })
            .collect();
        if layout.last {
            values.extend((0..area).flat_map(|place| planes.iter().map(move |plane| plane[place])));
        } else {
            values.extend(planes.into_iter().flatten());
        }
    }
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let scale = 1.0 / variance.sqrt().max(f64::MIN_POSITIVE);
    for value in &mut values {
        *value = (*value - mean) * scale;
    }
    values
}

/// One plane, or volume: the sum of an octave of each size.
fn plane(sides: &[usize], random: &mut Random) -> Vec<f64> {
    let mut sum = vec![0.0; sides.iter().product()];
    let longest = sides.iter().copied().max().unwrap_or(1);
    let mut cell = 1;
    while cell <= longest {
        let mut dims: Vec<usize> = sides.iter().map(|side| (side - 1) / cell + 2).collect();
        let mut values: Vec<f64> = (0..dims.iter().product()).map(|_| random.normal()).collect();
        for (axis, &side) in sides.iter().enumerate() {
            values = stretched(&values, &dims, axis, side, cell);
            dims[axis] = side;
        }
        let count = values.len().max(1) as f64;
        let power = (values.iter().map(|value| value * value).sum::<f64>() / count).sqrt().max(1e-12);
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value / power);
        cell *= 2;
    }
    sum
}

/// `values` with `side` indices along `axis`, by straight lines between grid points that are `cell` indices apart.
fn stretched(values: &[f64], dims: &[usize], axis: usize, side: usize, cell: usize) -> Vec<f64> {
    let inner: usize = dims[axis + 1..].iter().product();
    let outer: usize = dims[..axis].iter().product();
    let mut stretched = Vec::with_capacity(outer * side * inner);
    for run in 0..outer {
        for place in 0..side {
            let (at, share) = (place / cell, (place % cell) as f64 / cell as f64);
            let start = (run * dims[axis] + at) * inner;
            let (low, high) = (&values[start..start + inner], &values[start + inner..start + 2 * inner]);
            stretched.extend(low.iter().zip(high).map(|(low, high)| low + share * (high - low)));
        }
    }
    stretched
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_from_other_inputs() {
        let channels = |dims: &[usize]| layout(dims).map(|layout| (layout.channels, layout.last));
        assert_eq!(channels(&[2, 3, 32, 32]), Some((3, false)));
        assert_eq!(channels(&[2, 32, 32, 3]), Some((3, true)));
        assert_eq!(channels(&[2, 3, 4, 32, 32]), Some((3, false)));
        assert_eq!(channels(&[2, 1, 28, 28]), Some((1, false)));
        for other in [&[2, 16][..], &[2, 10, 64], &[2, 12, 4, 4], &[4]] {
            assert_eq!(channels(other), None, "{other:?}");
        }
    }

    #[test]
    fn neighbours_and_colours_resemble_each_other() {
        for (dims, step, colour) in [([8, 3, 32, 32], 1, 1024), ([8, 32, 32, 3], 3, 1)] {
            let values = textures(&dims, layout(&dims).unwrap(), &mut Random::new(3));
            assert_eq!(values.len(), 8 * 3 * 1024);
            let count = values.len() as f64;
            assert!((values.iter().sum::<f64>() / count).abs() < 1e-9);
            let likeness = |distance: usize| {
                let pairs = values.iter().zip(&values[distance..]);
                pairs.map(|(a, b)| a * b).sum::<f64>() / count
            };
            assert!((likeness(0) - 1.0).abs() < 1e-9);
            assert!((0.5..0.95).contains(&likeness(step)), "{}", likeness(step));
            assert!(likeness(colour) > 0.4, "{}", likeness(colour));
            assert!(likeness(16 * step) < likeness(step) - 0.1);
        }
    }
}
