//! How planes lie in the room where taps are shifts.

use crate::kernels::convolution::{Axis, Shape};
use crate::kernels::vector::LANES;

/// Where taps find their elements.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) shape: Shape,
    /// Elements from row to row of the copies.
    pub(super) pitch: usize,
    /// Rows of a copy.
    height: usize,
    /// Elements that all windows take, gaps included, rounded up to whole vectors.
    pub(super) windows: usize,
    /// Elements of a copy, rounded up, and of one with room for every shift.
    pub(super) copy: usize,
    pub(super) roomy: usize,
    /// How many copies there are.
    pub(super) count: usize,
    /// The copies by remainder: all those of the columns for one of the rows, then for the next.
    copies: Vec<Option<usize>>,
    /// The taps by number: the copy and the shift.
    pub(super) taps: Vec<(usize, usize)>,
    /// The largest shift.
    pub(super) reach: usize,
    row_places: Vec<Option<(usize, usize)>>,
    column_places: Vec<(usize, usize, usize)>,
}

impl Layout {
    pub(super) fn new(shape: &Shape) -> Self {
        let shift = |axis: &Axis, tap: usize| (tap * axis.dilation) / axis.stride;
        let [rows, columns] = shape.axes.map(|axis| axis.output + shift(&axis, axis.kernel - 1));
        let [vertical, horizontal] = &shape.axes;
        let (mut copies, mut count) = (vec![None; vertical.stride * horizontal.stride], 0);
        let mut taps = Vec::with_capacity(shape.taps());
        for row in 0..vertical.kernel {
            for column in 0..horizontal.kernel {
                let phase = [
                    row * vertical.dilation % vertical.stride,
                    column * horizontal.dilation % horizontal.stride,
                ];
                let copy = copies[phase[0] * horizontal.stride + phase[1]].get_or_insert_with(|| {
                    count += 1;
                    count - 1
                });
                taps.push((*copy, shift(vertical, row) * columns + shift(horizontal, column)));
            }
        }
        let reach = taps.iter().map(|&(_, shift)| shift).max().unwrap_or(0);
        let windows = ((vertical.output - 1) * columns + horizontal.output).next_multiple_of(LANES);
        let copy = (rows * columns).next_multiple_of(LANES);
        let mut layout = Self {
            shape: *shape,
            pitch: columns,
            height: rows,
            windows,
            copy,
            roomy: (reach + windows.max(copy)).next_multiple_of(LANES),
            count,
            copies,
            taps,
            reach,
            row_places: Vec::new(),
            column_places: Vec::new(),
        };
        layout.row_places = layout.rows();
        layout.column_places = layout.columns();
        layout
    }

    /// For each row of `x`: the row of the copies that holds it, and where the copies by remainder of the columns are.
    fn rows(&self) -> Vec<Option<(usize, usize)>> {
        let [vertical, horizontal] = &self.shape.axes;
        let place = |row: usize| {
            let place = row + vertical.before;
            let first = place % vertical.stride * horizontal.stride;
            let held = self.copies[first..][..horizontal.stride].iter().any(Option::is_some);
            (held && place / vertical.stride < self.height).then_some((place / vertical.stride, first))
        };
        (0..vertical.input).map(place).collect()
    }

    /// For each remainder of the columns of `x`: the first place in a copy, its column, the number of columns.
    fn columns(&self) -> Vec<(usize, usize, usize)> {
        let axis = &self.shape.axes[1];
        let columns = |phase: usize| {
            let first = axis.before.saturating_sub(phase).div_ceil(axis.stride);
            let column = first * axis.stride + phase - axis.before;
            let count = axis.input.saturating_sub(column).div_ceil(axis.stride);
            (first, column, count.min(self.pitch.saturating_sub(first)))
        };
        (0..axis.stride).map(columns).collect()
    }

    /// Copies a plane of `x`. What lies between is zero and stays so.
    #[inline(always)]
    pub(super) fn pack(&self, plane: &[f32], room: &mut [f32]) {
        let axis = &self.shape.axes[1];
        for (source, place) in plane.chunks_exact(axis.input).zip(&self.row_places) {
            let Some((row, copies)) = *place else { continue };
            for (copy, &(first, column, count)) in self.copies[copies..].iter().zip(&self.column_places) {
                if let (Some(copy), 1..) = (copy, count) {
                    let target = &mut room[copy * self.roomy + row * self.pitch + first..][..count];
                    gather(target, &source[column..], axis.stride);
                }
            }
        }
    }

    /// The way back from copies to a plane; what no copy holds is zero.
    #[inline(always)]
    pub(super) fn unpack(&self, room: &[f32], plane: &mut [f32]) {
        let axis = &self.shape.axes[1];
        for (target, place) in plane.chunks_exact_mut(axis.input).zip(&self.row_places) {
            let Some((row, copies)) = *place else {
                target.fill(0.0);
                continue;
            };
            let source = |phase: usize| {
                let (first, column, count) = self.column_places[phase];
                let at = self.copies[copies + phase].map(|copy| copy * self.copy + row * self.pitch + first);
                (at.map_or(&[] as &[f32], |at| &room[at..][..count]), column)
            };
            match axis.stride {
                1 => {
                    let (source, column) = source(0);
                    target[..column].fill(0.0);
                    copy_row(&mut target[column..column + source.len()], source);
                    target[column + source.len()..].fill(0.0);
                }
                2 => {
                    let (mut even, mut odd) = (source(0), source(1));
                    if even.1 == 1 {
                        (even, odd) = (odd, even);
                    }
                    interleave(target, even.0, odd.0);
                }
                _ => {
                    target.fill(0.0);
                    for phase in 0..axis.stride {
                        let (source, column) = source(phase);
                        let columns = target.iter_mut().skip(column).step_by(axis.stride);
                        columns.zip(source).for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
    }

    /// Copies a plane of `y` into rows that lie as those of `x`, behind room for every shift.
    #[inline(always)]
    pub(super) fn pack_windows(&self, plane: &[f32], copy: &mut [f32]) {
        let width = self.shape.axes[1].output;
        for (row, source) in plane.chunks_exact(width).enumerate() {
            copy_row(&mut copy[self.reach + row * self.pitch..][..width], source);
        }
    }
}

#[inline(always)]
pub(super) fn copy_row(target: &mut [f32], source: &[f32]) {
    // A call costs more than a short row.
    if source.len() < LANES {
        for (to, from) in target.iter_mut().zip(source) {
            *to = *from;
        }
    } else {
        target.copy_from_slice(source);
    }
}

/// Every `stride`-th element of `source`.
#[inline(always)]
fn gather(target: &mut [f32], source: &[f32], stride: usize) {
    match stride {
        1 => copy_row(target, &source[..target.len()]),
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

/// The elements of `even` and `odd` in turn; zero where there are none.
#[inline(always)]
fn interleave(target: &mut [f32], even: &[f32], odd: &[f32]) {
    let (pairs, last) = target.as_chunks_mut::<2>();
    let both = even.len().min(odd.len()).min(pairs.len());
    for ((pair, even), odd) in pairs[..both].iter_mut().zip(&even[..both]).zip(&odd[..both]) {
        *pair = [*even, *odd];
    }
    let or_zero = |values: &[f32], place: usize| values.get(place).copied().unwrap_or(0.0);
    for (place, pair) in pairs.iter_mut().enumerate().skip(both) {
        *pair = [or_zero(even, place), or_zero(odd, place)];
    }
    if let Some(last) = last.first_mut() {
        *last = or_zero(even, pairs.len());
    }
}
