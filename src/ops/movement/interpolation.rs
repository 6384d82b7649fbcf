//! The linear map that resampling is along one axis.

use super::adjoint::AxisMap;

/// How an axis is resampled: the attributes of Resize.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interpolation<'a> {
    /// `nearest`, `linear` or `cubic`.
    pub(super) mode: &'a str,
    /// `coordinate_transformation_mode`.
    pub(super) coordinates: &'a str,
    /// `nearest_mode`; `simple` rounds up where the axis shrinks and down where it grows, as runtimes did before
    /// version 11.
    pub(super) nearest: &'a str,
    /// `cubic_coeff_a`.
    pub(super) cubic: f32,
    /// `exclude_outside`.
    pub(super) exclude_outside: bool,
}

impl Interpolation<'_> {
    /// The map from an axis of `len` indices to one of `result` indices, scaled by `scale`. Nothing for a
    /// coordinate transformation or a mode that is not known.
    pub(super) fn map(&self, len: usize, result: usize, scale: f32) -> Option<AxisMap> {
        let mut weights = vec![0.0; len.checked_mul(result).filter(|&count| count <= AxisMap::MOST)?];
        for (place, row) in weights.chunks_mut(len.max(1)).enumerate() {
            let x = self.coordinate(place, len, result, scale)?;
            for (index, weight) in self.taps(x, len, scale)? {
                row[index] += weight;
            }
        }
        Some(AxisMap { rows: result, columns: len, weights })
    }

    /// Where index `place` of the result lies on the axis. Runtimes compute this in single precision, and ties
    /// between neighbours depend on it.
    fn coordinate(&self, place: usize, len: usize, result: usize, scale: f32) -> Option<f32> {
        let (place, len_f, result_f) = (place as f32, len as f32, result as f32);
        let half_pixel = (place + 0.5) / scale - 0.5;
        Some(match self.coordinates {
            "half_pixel" => half_pixel,
            "pytorch_half_pixel" => {
                if result > 1 {
                    half_pixel
                } else {
                    0.0
                }
            }
            "half_pixel_symmetric" => {
                let adjustment = result_f / (scale * len_f);
                len_f / 2.0 * (1.0 - adjustment) + half_pixel
            }
            "align_corners" => {
                if result > 1 {
                    place * (len_f - 1.0) / (result_f - 1.0)
                } else {
                    0.0
                }
            }
            "asymmetric" => place / scale,
            "tf_half_pixel_for_nn" => (place + 0.5) / scale,
            _ => return None,
        })
    }

    /// The indices that are summed up for coordinate `x`, with their weights.
    fn taps(&self, x: f32, len: usize, scale: f32) -> Option<Vec<(usize, f32)>> {
        let last = len.checked_sub(1)? as f32;
        let inside = |index: f32| index.clamp(0.0, last) as usize;
        Some(match self.mode {
            "nearest" => vec![(inside(self.round(x, scale)?), 1.0)],
            "linear" | "bilinear" | "trilinear" => {
                let x = x.clamp(0.0, last);
                let low = x.floor();
                vec![(inside(low), 1.0 - (x - low)), (inside(low + 1.0), x - low)]
            }
            "cubic" => {
                let low = x.floor();
                let t = x - low;
                let places = [low - 1.0, low, low + 1.0, low + 2.0];
                let mut weights = [1.0 + t, t, 1.0 - t, 2.0 - t].map(|distance| self.kernel(distance));
                if self.exclude_outside {
                    for (weight, place) in weights.iter_mut().zip(places) {
                        if !(0.0..=last).contains(&place) {
                            *weight = 0.0;
                        }
                    }
                    let sum: f32 = weights.iter().sum();
                    weights = weights.map(|weight| weight / sum);
                }
                places.into_iter().map(inside).zip(weights).collect()
            }
            _ => return None,
        })
    }

    fn round(&self, x: f32, scale: f32) -> Option<f32> {
        Some(match self.nearest {
            "simple" if scale < 1.0 => x.ceil(),
            "floor" | "simple" => x.floor(),
            "ceil" => x.ceil(),
            "round_prefer_floor" => (x - 0.5).ceil(),
            "round_prefer_ceil" => (x + 0.5).floor(),
            _ => return None,
        })
    }

    /// The cubic convolution kernel at a distance of at most 2.
    fn kernel(&self, distance: f32) -> f32 {
        let (a, d) = (self.cubic, distance);
        if d <= 1.0 {
            ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
        } else {
            ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(mode: &str, coordinates: &str, len: usize, result: usize) -> Vec<Vec<f32>> {
        let interpolation = Interpolation {
            mode,
            coordinates,
            nearest: "round_prefer_floor",
            cubic: -0.75,
            exclude_outside: false,
        };
        let map = interpolation.map(len, result, result as f32 / len as f32).unwrap();
        map.weights.chunks(len).map(<[f32]>::to_vec).collect()
    }

    #[test]
    fn weights_are_those_of_the_formulas() {
        assert_eq!(rows("linear", "align_corners", 2, 3), [vec![1.0, 0.0], vec![0.5, 0.5], vec![0.0, 1.0]]);
        assert_eq!(
            rows("linear", "half_pixel", 2, 4),
            [vec![1.0, 0.0], vec![0.75, 0.25], vec![0.25, 0.75], vec![0.0, 1.0]]
        );
        assert_eq!(rows("nearest", "asymmetric", 2, 4), [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]);
        // At t = 1/2 the kernel with a = -3/4 is (-3/32, 19/32, 19/32, -3/32).
        assert_eq!(rows("cubic", "align_corners", 3, 5)[1], [0.5, 0.59375, -0.09375]);
    }

    #[test]
    fn the_same_size_changes_nothing() {
        for mode in ["nearest", "linear", "cubic"] {
            for coordinates in ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"] {
                let identity: Vec<Vec<f32>> =
                    (0..3).map(|row| (0..3).map(|column| f32::from(row == column)).collect()).collect();
                assert_eq!(rows(mode, coordinates, 3, 3), identity, "{mode} {coordinates}");
            }
        }
    }
}
