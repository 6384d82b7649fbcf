//! Settings for reading data.

use super::{Augment, DataError};

/// How data become batches.
#[derive(Debug, Clone, Default)]
pub struct DataOptions {
    /// Subtracted from each value: one number, or one for each channel. For `uint8` data, which are divided by
    /// 255 first, in units of 0 to 1. Empty: zero.
    pub mean: Vec<f32>,
    /// What each value is divided by after that: one number, or one for each channel. Empty: one.
    pub std: Vec<f32>,
    /// Augmentation of the batches that ask for it.
    pub augment: Augment,
    /// Folders of images: length of the short side after scaling, in pixels. Nothing: just enough for the crop.
    pub resize: Option<usize>,
    /// Folders of images: height and width of the centre crop. Nothing: the model's input size.
    pub crop: Option<[usize; 2]>,
    /// Share of the samples, between 0 and 1, that becomes validation data.
    pub val_split: Option<f64>,
    /// The label of positions that do not count; batches hold [`IGNORED`](super::IGNORED) there.
    pub ignore_index: Option<i64>,
    /// Seed of the split.
    pub seed: u64,
}

impl DataOptions {
    /// Whether a mean or a standard deviation is given.
    pub(super) fn normalises(&self) -> bool {
        !self.mean.is_empty() || !self.std.is_empty()
    }

    /// Mean and standard deviation of each of `channels` channels.
    pub(super) fn channels(&self, channels: usize) -> Result<Vec<(f32, f32)>, DataError> {
        let spread = |values: &[f32], name: &str, default: f32| match values {
            [] => Ok(vec![default; channels]),
            [value] => Ok(vec![*value; channels]),
            values if values.len() == channels => Ok(values.to_vec()),
            values => Err(DataError::Normalise {
                problem: format!("{} values of the {name} for {channels} channel(s)", values.len()),
            }),
        };
        let mean = spread(&self.mean, "mean", 0.0)?;
        let std = spread(&self.std, "standard deviation", 1.0)?;
        if let Some(value) = mean.iter().find(|value| !value.is_finite()) {
            return Err(DataError::Normalise { problem: format!("a mean of {value} is not finite") });
        }
        if let Some(value) = std.iter().find(|value| !(value.is_finite() && **value > 0.0)) {
            return Err(DataError::Normalise {
                problem: format!("a standard deviation of {value} is not a positive number"),
            });
        }
        Ok(mean.into_iter().zip(std).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_serves_all_channels() {
        let options = |mean: &[f32], std: &[f32]| DataOptions {
            mean: mean.to_vec(),
            std: std.to_vec(),
            ..DataOptions::default()
        };
        assert_eq!(options(&[0.5], &[1.0, 2.0]).channels(2).unwrap(), [(0.5, 1.0), (0.5, 2.0)]);
        assert_eq!(options(&[], &[]).channels(1).unwrap(), [(0.0, 1.0)]);
        let bad: [(&[f32], &[f32]); 4] =
            [(&[0.0; 3], &[1.0]), (&[0.0], &[0.0]), (&[0.0], &[-1.0]), (&[f32::NAN], &[1.0])];
        for (mean, std) in bad {
            assert!(options(mean, std).channels(2).is_err(), "{mean:?} {std:?}");
        }
    }
}
