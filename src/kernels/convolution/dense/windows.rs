//! Which windows are computed at once, and where their sums go.

use super::line::Line;
use super::room::{Band, Room};

/// Neighbouring sums, and the row of windows that they are: number `from` of the sums on belongs to window `column` of
/// the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) from: usize,
    pub(super) image: usize,
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) len: usize,
}

/// The windows of some bands: where each, or each vector of them, starts in the room, and the runs of their sums.
#[derive(Debug, Default)]
pub(super) struct Windows {
    pub(super) starts: Vec<usize>,
    pub(super) runs: Vec<Run>,
}

/// For each band and each of its rows of windows: the row, where it starts, and where the band's part of the room ends.
fn rows<'a>(
    room: &'a Room,
    line: &'a Line,
    bands: &'a [Band],
) -> impl Iterator<Item = (&'a Band, usize, usize, usize)> + 'a {
    let [band_step, channel_step] = room.steps(bands.len());
    bands.iter().enumerate().flat_map(move |(number, band)| {
        let (base, skipped, len) = if room.as_it_is {
            // The room starts with the planes of the first band's image.
            ((band.image - bands[0].image) * band_step, band.row, channel_step)
        } else {
            (number * band_step, 0, band_step)
        };
        let last = (band.row + band.rows).min(line.windows);
        (band.row..last)
            .map(move |row| (band, row, base + (row - band.row + skipped) * room.pitch(), base + len))
    })
}

impl Windows {
    fn add(&mut self, run: Run) {
        match self.runs.last_mut() {
            Some(last) if (last.image, last.row, last.from + last.len) == (run.image, run.row, run.from) => {
                last.len += run.len;
            }
            _ => self.runs.push(run),
        }
    }

    /// Window by window.
    pub(super) fn one_by_one(room: &Room, lines: [&Line; 2], bands: &[Band]) -> Self {
        let mut windows = Self::default();
        for (band, row, start, _) in rows(room, lines[0], bands) {
            let from = windows.starts.len();
            windows.starts.extend(start..start + lines[1].windows);
            windows.add(Run { from, image: band.image, row, column: 0, len: lines[1].windows });
        }
        windows
    }

    /// In vectors of neighbours, which may hold elements between the rows as well.
    pub(super) fn in_vectors(room: &Room, lines: [&Line; 2], bands: &[Band], lanes: usize) -> Self {
        let mut windows = Self::default();
        for (band, row, start, end) in rows(room, lines[0], bands) {
            let mut column = 0;
            while column < lines[1].windows {
                let place = start + column;
                let covering = windows.starts.last().filter(|&&last| place < last + lanes).copied();
                let vector = covering.unwrap_or_else(|| {
                    // Nothing may lie behind the source.
                    let vector = if room.as_it_is { place.min(end.saturating_sub(lanes)) } else { place };
                    windows.starts.push(vector);
                    vector
                });
                let len = (vector + lanes - place).min(lines[1].windows - column);
                let from = (windows.starts.len() - 1) * lanes + (place - vector);
                windows.add(Run { from, image: band.image, row, column, len });
                column += len;
            }
        }
        windows
    }
}
