//! Sums over windows: the gradient of the weight.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::Target;
use super::tile::{DEPTH, Operand, SPREAD, Sizes, add_spread};
use crate::kernels::Threads;
use crate::kernels::convolution::{Axis, Shape};

/// Elements of the source that are laid out at once.
const SOURCE: usize = 128 * 1024;
/// Tasks that images fall into, as many whatever the number of threads, so that it does not change the sums.
const TASKS: usize = 8;
/// Elements of a weight of which each task may have sums of its own.
const OWN: usize = 64 * 1024;

/// An axis of the room: of the source with its padding, every element that any window sees.
#[derive(Debug, Clone, Copy)]
struct Side {
    /// Elements of the source from one of the room to the next.
    every: usize,
    len: usize,
    /// Steps in the room from window to window and from tap to tap.
    stride: usize,
    dilation: usize,
}

impl Side {
    fn new(axis: &Axis) -> Self {
        let mut every = axis.stride;
        if axis.kernel > 1 {
            let mut rest = axis.dilation;
            while rest > 0 {
                (every, rest) = (rest, every % rest);
            }
        }
        let (stride, dilation) = (axis.stride / every, axis.dilation / every);
        let len = (axis.output - 1) * stride + (axis.kernel - 1) * dilation + 1;
        Self { every, len, stride, dilation }
    }
}

/// Taps whose channels lie side by side: the first of them, how many, and where they start.
struct Stretch {
    tap: usize,
    taps: usize,
    shift: usize,
}

struct Layout<'a> {
    shape: &'a Shape,
    sides: [Side; 2],
    stretches: Vec<Stretch>,
    lanes: usize,
    rows: usize,
}

/// Vectors of a stretch that the inner loop takes at once: where they are in the room and in a row of the sums.
struct Chunk {
    starts: Vec<usize>,
    place: usize,
}

impl<'a> Layout<'a> {
    fn new(shape: &'a Shape, [lanes, rows]: [usize; 2]) -> Self {
        let sides = shape.axes.map(|axis| Side::new(&axis));
        let [vertical, horizontal] = &shape.axes;
        let joined = sides[1].dilation == 1 || horizontal.kernel == 1;
        let taps = if joined { horizontal.kernel } else { 1 };
        let stretches = (0..shape.taps() / taps)
            .map(|number| {
                let tap = number * taps;
                let [down, right] = [tap / horizontal.kernel, tap % horizontal.kernel];
                debug_assert!(down < vertical.kernel, "taps of the window");
                let place = down * sides[0].dilation * sides[1].len + right * sides[1].dilation;
                Stretch { tap, taps, shift: place * shape.columns }
            })
            .collect();
        Self { shape, sides, stretches, lanes, rows }
    }

    /// Elements of an image in the room.
    fn image(&self) -> usize {
        self.sides[0].len * self.sides[1].len * self.shape.columns
    }

    /// Elements of a stretch in a row of the sums.
    fn stretch(&self) -> usize {
        let taps = self.stretches.first().map_or(1, |stretch| stretch.taps);
        (taps * self.shape.columns).next_multiple_of(self.lanes)
    }

    fn chunks(&self) -> Vec<Chunk> {
        let vectors = self.stretch() / self.lanes;
        let at_once = vectors.div_ceil(vectors.div_ceil(SPREAD));
        let of_stretch = |(number, stretch): (usize, &Stretch)| {
            let first = number * self.stretch();
            let shift = stretch.shift;
            (0..vectors)
                .step_by(at_once)
                .map(|vector| Chunk {
                    starts: (vector..(vector + at_once).min(vectors))
                        .map(|vector| shift + vector * self.lanes)
                        .collect(),
                    place: first + vector * self.lanes,
                })
                .collect::<Vec<_>>()
        };
        self.stretches.iter().enumerate().flat_map(of_stretch).collect()
    }

    /// Elements of a row of the sums.
    fn pitch(&self) -> usize {
        self.stretch() * self.stretches.len()
    }

    /// Lays out a group of an image: the channels of each element side by side.
    #[inline(always)]
    fn pack(&self, planes: &[f32], room: &mut [f32]) {
        let [vertical, horizontal] = &self.shape.axes;
        let channels = self.shape.columns;
        let [rows, columns] = &self.sides;
        // The first column that is in the source, and how many are.
        let first = horizontal.before.div_ceil(columns.every);
        let column = first * columns.every - horizontal.before;
        let count = horizontal.input.saturating_sub(column).div_ceil(columns.every);
        let count = count.min(columns.len.saturating_sub(first));
        for (row, room) in room.chunks_exact_mut(columns.len * channels).enumerate() {
            let from = (row * rows.every).checked_sub(vertical.before).filter(|&from| from < vertical.input);
            let (Some(from), 1..) = (from, count) else { continue };
            let room = &mut room[first * channels..][..count * channels];
            let plane = vertical.input * horizontal.input;
            let start = from * horizontal.input + column;
            turn(&planes[start..], plane, columns.every, room, channels);
        }
    }

    /// Where in the room the windows of an image start.
    fn windows(&self) -> Vec<usize> {
        let [vertical, horizontal] = &self.shape.axes;
        let [rows, columns] = &self.sides;
        let place = |row: usize, column: usize| {
            (row * rows.stride * columns.len + column * columns.stride) * self.shape.columns
        };
        (0..vertical.output)
            .flat_map(|row| (0..horizontal.output).map(move |column| place(row, column)))
            .collect()
    }

    /// Brings sums into the order of the weight.
    fn give(&self, sums: &[f32], rows: Range<usize>, dw: &mut [f32]) {
        let (channels, taps) = (self.shape.columns, self.shape.taps());
        let pitch = self.pitch();
        for (row, dw) in rows.zip(dw.chunks_exact_mut(channels * taps)) {
            let sums = &sums[row * pitch..][..pitch];
            for (stretch, sums) in self.stretches.iter().zip(sums.chunks_exact(self.stretch())) {
                for (tap, sums) in (stretch.tap..).zip(sums.chunks_exact(channels).take(stretch.taps)) {
                    dw.iter_mut().skip(tap).step_by(taps).zip(sums).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}

/// `room[place * channels + channel] = planes[channel * plane + place * every]`.
#[inline(always)]
fn turn(planes: &[f32], plane: usize, every: usize, room: &mut [f32], channels: usize) {
    const BLOCK: usize = 16;
    let count = room.len() / channels;
    for from in (0..count).step_by(BLOCK) {
        let to = (from + BLOCK).min(count);
        for first in (0..channels).step_by(BLOCK) {
            let last = (first + BLOCK).min(channels);
            for place in from..to {
                let targets = &mut room[place * channels + first..place * channels + last];
                let source = &planes[first * plane + place * every..];
                for (to, from) in targets.iter_mut().zip(source.iter().step_by(plane)) {
                    *to = *from;
                }
            }
        }
    }
}

/// Some images, and the rows of the sums that they are added to.
struct Task<'a> {
    layout: &'a Layout<'a>,
    chunks: &'a [Chunk],
    group: usize,
    images: Range<usize>,
    rows: Range<usize>,
    /// The images, laid out.
    room: &'a [f32],
    windows: &'a [usize],
    dy: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let layout = self.layout;
        let shape = layout.shape;
        let (output, pitch) = (shape.output(), layout.pitch());
        let image_step = shape.groups * shape.rows * output;
        let dy = &self.dy[(self.images.start * shape.groups + self.group) * shape.rows * output..];
        let mut scalar_steps = Vec::with_capacity(self.images.len() * output);
        let mut vector_steps = Vec::with_capacity(self.images.len() * output);
        for image in 0..self.images.len() {
            scalar_steps.extend((0..output).map(|window| image * image_step + window));
            vector_steps.extend(self.windows.iter().map(|window| image * layout.image() + window));
        }
        for (windows, places) in scalar_steps.chunks(DEPTH).zip(vector_steps.chunks(DEPTH)) {
            for chunk in self.chunks {
                for first in self.rows.clone().step_by(layout.rows) {
                    let last = (first + layout.rows).min(self.rows.end);
                    let starts: [usize; 8] = std::array::from_fn(|row| (first + row).min(last - 1) * output);
                    let scalars = Operand { data: dy, starts: &starts[..layout.rows], steps: windows };
                    let vectors = Operand { data: self.room, starts: &chunk.starts, steps: places };
                    let from = (first - self.rows.start) * pitch + chunk.place;
                    add_spread(simd, scalars, vectors, &mut self.sums[from..], pitch);
                }
            }
        }
    }
}

/// Lays out images.
struct Pack<'a> {
    layout: &'a Layout<'a>,
    group: usize,
    images: Range<usize>,
    x: &'a [f32],
    room: &'a mut [f32],
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let shape = self.layout.shape;
        let planes = shape.columns * shape.input();
        for (image, room) in self.images.zip(self.room.chunks_exact_mut(self.layout.image())) {
            self.layout.pack(&self.x[(image * shape.groups + self.group) * planes..][..planes], room);
        }
    }
}

/// One group of a weight, and what its gradient follows from.
struct Gradient<'a> {
    arch: Arch,
    layout: &'a Layout<'a>,
    chunks: Vec<Chunk>,
    windows: Vec<usize>,
    /// Images that are laid out at once.
    at_once: usize,
    group: usize,
    x: &'a [f32],
    dy: &'a [f32],
}

impl Gradient<'_> {
    fn pack(&self, images: Range<usize>, room: &mut [f32]) {
        self.arch.dispatch(Pack { layout: self.layout, group: self.group, images, x: self.x, room });
    }

    fn add(&self, images: Range<usize>, rows: Range<usize>, room: &[f32], sums: &mut [f32]) {
        let Self { layout, group, dy, .. } = *self;
        let (chunks, windows) = (&self.chunks, &self.windows);
        self.arch.dispatch(Task { layout, chunks, group, images, rows, room, windows, dy, sums });
    }

    /// Elements that hold so many images; vectors may reach over the end.
    fn room(&self, images: usize) -> Vec<f32> {
        vec![0.0; images * self.layout.image() + self.layout.lanes]
    }

    fn groups(&self, images: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let (end, at_once) = (images.end, self.at_once);
        images.step_by(at_once).map(move |first| first..(first + at_once).min(end))
    }

    /// Each task sums over images of its own; then the sums are added up.
    fn by_images(&self, sums: &mut [f32], threads: &dyn Threads) {
        let Shape { images, rows, .. } = *self.layout.shape;
        let tasks = images.min(TASKS);
        let mut parts = vec![0.0; tasks * sums.len()];
        let all = Target::new(&mut parts);
        threads.each(tasks, &|number| {
            let sums = all.part(number * sums.len(), sums.len());
            let own = images * number / tasks..images * (number + 1) / tasks;
            let mut room = self.room(self.at_once.min(own.len()));
            for images in self.groups(own) {
                self.pack(images.clone(), &mut room);
                self.add(images, 0..rows, &room, sums);
            }
        });
        for part in parts.chunks_exact(sums.len()) {
            sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
    }

    /// All tasks lay images out; then each sums over all of them for rows of its own.
    fn by_rows(&self, sums: &mut [f32], threads: &dyn Threads) {
        let Shape { images, rows, .. } = *self.layout.shape;
        let mut room = self.room(self.at_once);
        let (step, pitch) = (self.layout.image(), self.layout.pitch());
        let tiles = rows.div_ceil(self.layout.rows);
        let tasks = tiles.min(TASKS);
        let all = Target::new(sums);
        for images in self.groups(0..images) {
            let laid_out = Target::new(&mut room);
            threads.each(images.len(), &|number| {
                let image = images.start + number;
                self.pack(image..image + 1, laid_out.part(number * step, step));
            });
            threads.each(tasks, &|number| {
                let [from, to] = [number, number + 1].map(|number| tiles * number / tasks * self.layout.rows);
                let sums = all.part(from * pitch, (to - from) * pitch);
                self.add(images.clone(), from..to.min(rows), &room, sums);
            });
        }
    }
}

/// Computes the gradient of `w`.
pub(in crate::kernels::convolution) fn weight_gradient(
    shape: &Shape,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    threads: &dyn Threads,
) {
    let arch = Arch::new();
    let layout = Layout::new(shape, arch.dispatch(Sizes));
    let of_group = shape.rows * shape.columns * shape.taps();
    let mut gradient = Gradient {
        arch,
        layout: &layout,
        chunks: layout.chunks(),
        windows: layout.windows(),
        at_once: (SOURCE / layout.image()).clamp(1, shape.images),
        group: 0,
        x,
        dy,
    };
    let mut sums = vec![0.0; shape.rows.next_multiple_of(layout.rows) * layout.pitch()];
    for (group, dw) in dw.chunks_exact_mut(of_group).enumerate() {
        gradient.group = group;
        sums.fill(0.0);
        if sums.len() <= OWN {
            gradient.by_images(&mut sums, threads);
        } else {
            gradient.by_rows(&mut sums, threads);
        }
        layout.give(&sums, 0..shape.rows, dw);
    }
}
