//! Moving one sample's values into their place in a batch.

/// Which axis of an image holds the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// `[C, H, W]`
    ChannelsFirst,
    /// `[H, W, C]`
    ChannelsLast,
}

/// How the values of a sample lie in storage, and how they must lie in a batch. What is no image is one channel of
/// one row, or one channel for each value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) stored: Order,
    pub(super) wanted: Order,
    /// Whether this is an image with an axis of 1 to 4 channels.
    pub(super) image: bool,
}

/// How an image is moved: mirrored first, then down and right by so many pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Motion {
    pub(super) flip: bool,
    pub(super) down: isize,
    pub(super) right: isize,
}

impl Geometry {
    /// `count` values that are no image.
    pub(super) fn flat(count: usize) -> Self {
        Self {
            channels: 1,
            height: 1,
            width: count,
            stored: Order::ChannelsFirst,
            wanted: Order::ChannelsFirst,
            image: false,
        }
    }

    /// Number of values.
    pub(super) fn count(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Steps of channel, row and column.
    fn strides(&self, order: Order) -> [usize; 3] {
        match order {
            Order::ChannelsFirst => [self.height * self.width, self.width, 1],
            Order::ChannelsLast => [1, self.width * self.channels, self.channels],
        }
    }

    /// Writes `sample` from `source`, each value converted for its channel, moved by `motion`; what becomes free
    /// gets the channel's `fill`. Both slices hold [`Geometry::count`] values.
    pub(super) fn draw<T: Copy, U: Copy>(
        &self,
        motion: Motion,
        source: &[T],
        sample: &mut [U],
        convert: impl Fn(usize, T) -> U,
        fill: impl Fn(usize) -> U,
    ) {
        assert!(source.len() == self.count() && sample.len() == self.count(), "slices of one sample");
        let (from, into) = (self.strides(self.stored), self.strides(self.wanted));
        let limit = |position: isize, length: usize| position.clamp(0, length as isize) as usize;
        let (start, end) =
            (limit(motion.right, self.width), limit(motion.right + self.width as isize, self.width));
        // Column of the source from which column `start` comes; columns then go on to the left when mirrored.
        let skipped = limit(-motion.right, self.width);
        for channel in 0..self.channels {
            let empty = fill(channel);
            for row in 0..self.height {
                let target = channel * into[0] + row * into[1];
                let above = row as isize - motion.down;
                if above < 0 || above >= self.height as isize || start >= end {
                    (0..self.width).for_each(|column| sample[target + column * into[2]] = empty);
                    continue;
                }
                (0..start).for_each(|column| sample[target + column * into[2]] = empty);
                (end..self.width).for_each(|column| sample[target + column * into[2]] = empty);
                let origin = channel * from[0] + above as usize * from[1];
                let count = end - start;
                let first = if motion.flip { self.width - skipped - count } else { skipped };
                let source = &source[origin + first * from[2]..=origin + (first + count - 1) * from[2]];
                let target = &mut sample[target + start * into[2]..=target + (end - 1) * into[2]];
                let write = |(value, place): (&T, &mut U)| *place = convert(channel, *value);
                match (from[2] == 1 && into[2] == 1, motion.flip) {
                    (true, false) => source.iter().zip(target).for_each(write),
                    (true, true) => source.iter().rev().zip(target).for_each(write),
                    (false, false) => {
                        source
                            .iter()
                            .step_by(from[2])
                            .zip(target.iter_mut().step_by(into[2]))
                            .for_each(write);
                    }
                    (false, true) => source
                        .iter()
                        .rev()
                        .step_by(from[2])
                        .zip(target.iter_mut().step_by(into[2]))
                        .for_each(write),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREY: Geometry = Geometry {
        channels: 1,
        height: 2,
        width: 3,
        stored: Order::ChannelsFirst,
        wanted: Order::ChannelsFirst,
        image: true,
    };

    #[test]
    fn images_move_and_what_becomes_free_is_filled() {
        let cases = [
            (Motion::default(), [1, 2, 3, 4, 5, 6]),
            (Motion { flip: true, ..Motion::default() }, [3, 2, 1, 6, 5, 4]),
            (Motion { flip: false, down: 0, right: 1 }, [9, 1, 2, 9, 4, 5]),
            (Motion { flip: false, down: 0, right: -1 }, [2, 3, 9, 5, 6, 9]),
            (Motion { flip: true, down: 0, right: 1 }, [9, 3, 2, 9, 6, 5]),
            (Motion { flip: true, down: 0, right: -1 }, [2, 1, 9, 5, 4, 9]),
            (Motion { flip: false, down: 1, right: 0 }, [9, 9, 9, 1, 2, 3]),
            (Motion { flip: false, down: -1, right: 2 }, [9, 9, 4, 9, 9, 9]),
            (Motion { flip: false, down: 2, right: 0 }, [9; 6]),
            (Motion { flip: true, down: 0, right: -40 }, [9; 6]),
            (Motion { flip: true, down: 0, right: 3 }, [9; 6]),
        ];
        for (motion, expected) in cases {
            let mut sample = [0; 6];
            GREY.draw(motion, &[1, 2, 3, 4, 5, 6], &mut sample, |_, value| value, |_| 9);
            assert_eq!(sample, expected, "{motion:?}");
        }
    }

    #[test]
    fn channels_change_their_place() {
        // Value 100 c + 10 y + x, in both orders.
        let value = |channel: usize, row: usize, column: usize| 100 * channel + 10 * row + column;
        let mut first = Vec::new();
        let mut last = Vec::new();
        for channel in 0..2 {
            (0..2).for_each(|row| (0..3).for_each(|column| first.push(value(channel, row, column))));
        }
        for row in 0..2 {
            (0..3).for_each(|column| (0..2).for_each(|channel| last.push(value(channel, row, column))));
        }
        let of = |order| if order == Order::ChannelsFirst { &first } else { &last };
        let orders = [Order::ChannelsFirst, Order::ChannelsLast];
        for (stored, wanted) in orders.into_iter().flat_map(|order| orders.map(|other| (order, other))) {
            let geometry = Geometry { channels: 2, stored, wanted, ..GREY };
            let mut sample = vec![0; 12];
            geometry.draw(Motion::default(), of(stored), &mut sample, |_, value| value, |_| 0);
            assert_eq!(&sample, of(wanted), "{stored:?} to {wanted:?}");
            // Mirroring twice is no change.
            let flip = Motion { flip: true, down: 0, right: 0 };
            let mut once = vec![0; 12];
            geometry.draw(flip, of(stored), &mut once, |_, value| value, |_| 0);
            let back = Geometry { stored: wanted, ..geometry };
            back.draw(flip, &once, &mut sample, |_, value| value, |_| 0);
            assert_eq!(&sample, of(wanted), "{stored:?} to {wanted:?}, mirrored twice");
        }
    }
}
