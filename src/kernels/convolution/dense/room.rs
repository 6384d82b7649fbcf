//! Where the source lies while taps are shifts of it.

use super::line::Line;

/// The source with the padding around it, one copy for each remainder by the strides that a tap needs; or the source as
/// it is, where one tap sees every element of it.
#[derive(Debug)]
pub(super) struct Room {
    /// Channels of a group, and of all groups, and rows and columns of the source.
    channels: [usize; 2],
    source: [usize; 2],
    stride: [usize; 2],
    /// What place 0 of the copies is in the source, in strides.
    first: [i64; 2],
    /// Rows and columns of a copy.
    sizes: [usize; 2],
    /// The remainders by the strides that have a copy.
    copies: Vec<[usize; 2]>,
    pub(super) as_it_is: bool,
}

/// Some rows of windows of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Band {
    pub(super) image: usize,
    /// The first row of windows.
    pub(super) row: usize,
    pub(super) rows: usize,
}

impl Room {
    /// Room for bands of up to so many `rows` of windows of each pass.
    pub(super) fn new(
        channels: [usize; 2],
        source: [usize; 2],
        stride: [usize; 2],
        passes: &[[&Line; 2]],
        rows: usize,
    ) -> Self {
        let mut first = [i64::MAX; 2];
        let mut end = [i64::MIN; 2];
        let mut copies: Vec<[usize; 2]> = Vec::new();
        let split = |axis: usize, offset: i64| {
            let step = stride[axis] as i64;
            (offset.div_euclid(step), offset.rem_euclid(step) as usize)
        };
        for lines in passes {
            for axis in 0..2 {
                let windows = if axis == 0 { lines[0].windows.min(rows) } else { lines[1].windows };
                for &(_, offset) in &lines[axis].taps {
                    let (shift, _) = split(axis, offset);
                    first[axis] = first[axis].min(shift);
                    end[axis] = end[axis].max(shift + windows as i64);
                }
            }
            for &(_, down) in &lines[0].taps {
                for &(_, right) in &lines[1].taps {
                    let copy = [split(0, down).1, split(1, right).1];
                    if !copies.contains(&copy) {
                        copies.push(copy);
                    }
                }
            }
        }
        let one =
            |line: &Line, size: usize| line.windows == size && line.taps.len() == 1 && line.taps[0].1 == 0;
        let as_it_is = stride == [1; 2]
            && matches!(passes, [[rows, columns]] if one(rows, source[0]) && one(columns, source[1]));
        let sizes = [0, 1].map(|axis| usize::try_from(end[axis].saturating_sub(first[axis])).unwrap_or(0));
        Self { channels, source, stride, first, sizes, copies, as_it_is }
    }

    /// Elements from band to band, and from channel to channel where there are so many bands.
    pub(super) fn steps(&self, bands: usize) -> [usize; 2] {
        let band = self.copies.len() * self.sizes[0] * self.sizes[1];
        if self.as_it_is {
            let plane = self.source[0] * self.source[1];
            [self.channels[1] * plane, plane]
        } else {
            [band, bands * band]
        }
    }

    /// Elements from row to row of windows.
    pub(super) fn pitch(&self) -> usize {
        self.sizes[1]
    }

    /// Elements for so many bands, vectors that reach over the end included.
    pub(super) fn len(&self, bands: usize, lanes: usize) -> usize {
        self.steps(bands)[1] * self.channels[0] + lanes
    }

    /// Where, from the place of a window on, tap offsets lead within a channel.
    pub(super) fn shift(&self, offsets: [i64; 2]) -> usize {
        if self.as_it_is {
            return 0;
        }
        let split = |axis: usize| {
            let step = self.stride[axis] as i64;
            let shift = offsets[axis].div_euclid(step) - self.first[axis];
            (usize::try_from(shift).unwrap_or(0), offsets[axis].rem_euclid(step) as usize)
        };
        let ((down, above), (right, left)) = (split(0), split(1));
        let copy = self.copies.iter().position(|copy| *copy == [above, left]).unwrap_or(0);
        (copy * self.sizes[0] + down) * self.sizes[1] + right
    }

    /// Copies what windows of the bands see from the planes of one image's group each. What lies between is zero and
    /// stays so.
    #[inline(always)]
    pub(super) fn pack<'a>(&self, bands: &[Band], planes: impl Fn(usize) -> &'a [f32], room: &mut [f32]) {
        let [band_step, channel_step] = self.steps(bands.len());
        let [height, width] = self.source;
        for (number, band) in bands.iter().enumerate() {
            let planes = planes(band.image);
            for (channel, plane) in planes.chunks_exact(height * width).enumerate() {
                let start = channel * channel_step + number * band_step;
                for (copy, [above, left]) in self.copies.iter().enumerate() {
                    let room = &mut room[start + copy * self.sizes[0] * self.sizes[1]..]
                        [..self.sizes[0] * self.sizes[1]];
                    let stride = self.stride[1];
                    // The first place that is in the source, its column, and how many there are.
                    let start = self.first[1] * stride as i64 + *left as i64;
                    let skipped = (-start).max(0) as usize;
                    let place = skipped.div_ceil(stride);
                    let column = (start + (place * stride) as i64) as usize;
                    let count = width.saturating_sub(column).div_ceil(stride);
                    let count = count.min(self.sizes[1].saturating_sub(place));
                    for (row, room) in room.chunks_exact_mut(self.sizes[1]).enumerate() {
                        let from = (band.row as i64 + row as i64 + self.first[0]) * self.stride[0] as i64
                            + *above as i64;
                        let inside = usize::try_from(from).ok().filter(|&from| from < height);
                        if count == 0 {
                            continue;
                        }
                        let target = &mut room[place..place + count];
                        match inside {
                            Some(from) => gather(target, &plane[from * width + column..], stride),
                            None => target.fill(0.0),
                        }
                    }
                }
            }
        }
    }
}

/// Every `stride`-th element of `source`.
#[inline(always)]
fn gather(target: &mut [f32], source: &[f32], stride: usize) {
    match stride {
        1 => {
            for (to, from) in target.iter_mut().zip(source) {
                *to = *from;
            }
        }
        2 => {
            let pairs = source.as_chunks::<2>().0;
            let whole = pairs.len().min(target.len());
            for (to, pair) in target[..whole].iter_mut().zip(pairs) {
                *to = pair[0];
            }
            if let (Some(to), Some(from)) = (target.get_mut(whole), source.get(2 * whole)) {
                *to = *from;
            }
        }
        _ => target.iter_mut().zip(source.iter().step_by(stride)).for_each(|(to, from)| *to = *from),
    }
}
