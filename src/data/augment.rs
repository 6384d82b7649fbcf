//! Augmentation: what is asked for, and what one sample gets of it.

use std::str::FromStr;

use super::{DataError, pixels::Motion};
use crate::tensor::Random;

/// A random crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crop {
    /// Pads each side by so many black pixels, and cuts the old size out at random.
    Padded(usize),
    /// Cuts 8 to 100 per cent of the area out at random, with sides as 3:4 to 4:3, and scales that to the input's
    /// size. For folders of images only.
    Resized,
}

/// The augmentation of training samples. Nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Augment {
    /// Mirrors half of the images left to right.
    pub flip: bool,
    /// Moves images by up to so many pixels along both axes; what becomes free is black.
    pub shift: usize,
    /// Crops at random. A padded crop moves in addition to `shift`.
    pub crop: Option<Crop>,
}

impl Augment {
    /// Whether nothing is asked for.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The movement of one sample, drawn from its own generator.
    pub(super) fn motion(&self, random: &mut Random) -> Motion {
        let mut within = |reach: usize| random.below(2 * reach + 1) as isize - reach as isize;
        let padding = if let Some(Crop::Padded(padding)) = self.crop { padding } else { 0 };
        let down = within(self.shift) + within(padding);
        let right = within(self.shift) + within(padding);
        Motion { flip: self.flip && random.below(2) == 1, down, right }
    }
}

/// The generator of one sample in one epoch: the same whatever thread asks, in whatever order.
pub(super) fn sample_random(seed: u64, epoch: u64, sample: usize) -> Random {
    Random::fork(mix(mix(seed, epoch), sample as u64), "augment")
}

/// Two numbers mixed into one, each bit of which hangs on all bits of both.
pub(super) fn mix(first: u64, second: u64) -> u64 {
    Random::new(Random::new(first).bits().wrapping_add(second)).bits()
}

impl FromStr for Augment {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let mut augment = Self::default();
        let mut seen = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let problem = |problem| DataError::AugmentText { item: item.to_owned(), problem };
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (item, None),
            };
            if seen.contains(&name) {
                return Err(problem("it is given twice"));
            }
            seen.push(name);
            let pixels = value.map(|value| match value.parse() {
                Ok(pixels @ 1..=4096) => Ok(pixels),
                _ => Err(problem("the number of pixels must be an integer from 1 to 4096")),
            });
            match (name, pixels.transpose()?) {
                ("flip", None) => augment.flip = true,
                ("flip", Some(_)) => return Err(problem("flip takes no number")),
                ("shift", Some(pixels)) => augment.shift = pixels,
                ("shift", None) => return Err(problem("shift needs a number of pixels, as in shift=2")),
                ("crop", Some(pixels)) => augment.crop = Some(Crop::Padded(pixels)),
                ("crop", None) => augment.crop = Some(Crop::Resized),
                _ => return Err(problem("the name is none of flip, shift and crop")),
            }
        }
        Ok(augment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_or_refused_with_a_reason() {
        let all = Augment { flip: true, shift: 2, crop: Some(Crop::Padded(4)) };
        let good = [
            ("flip,shift=2,crop=4", all),
            (" crop=4 , flip,shift = 2,", all),
            ("crop", Augment { crop: Some(Crop::Resized), ..Augment::default() }),
            ("", Augment::default()),
        ];
        for (text, expected) in good {
            assert_eq!(text.parse::<Augment>().unwrap(), expected, "{text}");
        }
        let bad = [
            ("flip=1", "takes no number"),
            ("shift", "needs a number"),
            ("shift=-1", "from 1 to 4096"),
            ("crop=x", "from 1 to 4096"),
            ("crop=0", "from 1 to 4096"),
            ("rotate=3", "none of flip"),
            ("flip,flip", "twice"),
        ];
        for (text, reason) in bad {
            let message = text.parse::<Augment>().unwrap_err().to_string();
            assert!(message.contains(reason), "{text}: {message}");
        }
    }

    #[test]
    fn motions_reach_every_place_and_no_further() {
        let augment = Augment { flip: true, shift: 1, crop: Some(Crop::Padded(1)) };
        let motions: Vec<_> =
            (0..500).map(|sample| augment.motion(&mut sample_random(1, 0, sample))).collect();
        for wanted in -2..=2 {
            assert!(motions.iter().any(|motion| motion.down == wanted), "down {wanted}");
            assert!(motions.iter().any(|motion| motion.right == wanted), "right {wanted}");
        }
        assert!(motions.iter().all(|motion| motion.down.abs() <= 2 && motion.right.abs() <= 2));
        let flips = motions.iter().filter(|motion| motion.flip).count();
        assert!((200..300).contains(&flips), "{flips} of 500");
    }
}
