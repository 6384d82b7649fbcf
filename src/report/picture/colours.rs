//! One colour for each family.

use std::fmt::{self, Display, Formatter};

/// Red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour(u8, u8, u8);

/// What may not shrink.
pub(super) const PINNED: Colour = Colour(0xa3, 0xab, 0xb8);

/// The first families: colours far apart from each other.
const FIRST: [Colour; 12] = [
    Colour(0x2f, 0x74, 0xc9),
    Colour(0xe0, 0x7b, 0x28),
    Colour(0x2f, 0x9e, 0x5b),
    Colour(0xd1, 0x43, 0x4b),
    Colour(0x84, 0x5e, 0xc2),
    Colour(0x1b, 0x9a, 0xaa),
    Colour(0xd6, 0x58, 0xa0),
    Colour(0x9a, 0x92, 0x1f),
    Colour(0x8d, 0x62, 0x45),
    Colour(0x58, 0xb1, 0xe3),
    Colour(0x7a, 0xbb, 0x3b),
    Colour(0x9c, 0x2f, 0x5d),
];

impl Colour {
    /// The colour of a family. Those behind the first dozen go round the circle of hues by the golden angle, so that
    /// neighbours differ.
    pub(super) fn of(family: usize) -> Self {
        FIRST.get(family).copied().unwrap_or_else(|| {
            let hue = ((family - FIRST.len()) as f64 * 137.508 + 75.0) % 360.0;
            let (saturation, lightness) = [(0.62, 0.46), (0.48, 0.62), (0.70, 0.34)][family % 3];
            Self::from_hue(hue, saturation, lightness)
        })
    }

    fn from_hue(hue: f64, saturation: f64, lightness: f64) -> Self {
        let chroma = (1.0 - (2.0 * lightness - 1.0).abs()) * saturation;
        let part = |shift: f64| {
            let place = (shift + hue / 30.0) % 12.0;
            let level = lightness - chroma / 2.0 * (place - 3.0).min(9.0 - place).clamp(-1.0, 1.0);
            (level * 255.0).round() as u8
        };
        Self(part(0.0), part(8.0), part(4.0))
    }

    /// Black or white, whichever is easier to read on it.
    pub(super) fn ink(self) -> &'static str {
        let light = 0.299 * f64::from(self.0) + 0.587 * f64::from(self.1) + 0.114 * f64::from(self.2);
        if light > 150.0 { "#111827" } else { "#ffffff" }
    }
}

impl Display for Colour {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn hues_go_round() {
        let cases = [(0.0, "#ff0000"), (120.0, "#00ff00"), (240.0, "#0000ff"), (60.0, "#ffff00")];
        for (hue, text) in cases {
            assert_eq!(Colour::from_hue(hue, 1.0, 0.5).to_string(), text);
        }
    }

    #[test]
    fn many_families_have_colours_of_their_own() {
        let found: BTreeSet<String> = (0..200).map(|family| Colour::of(family).to_string()).collect();
        assert_eq!(found.len(), 200);
    }
}
