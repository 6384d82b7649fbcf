//! Sums over taps and channels: from a source to a target.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::Target;
use super::line::Line;
use super::room::{Band, Room};
use super::tile::{self, DEPTH, Operand, SPREAD, Sizes, VECTORS, add_packed, add_spread};
use super::windows::{Run, Windows};
use crate::kernels::Threads;

/// Windows, and elements of the source, that a task takes at once, so that they stay in the cache of a processor core.
const WINDOWS: usize = 1024;
const SOURCE: usize = 96 * 1024;
/// Tasks, of which each packs its part once for all it does.
const TASKS: usize = 32;
/// Tasks by channels, of which each packs the whole source.
const TASKS_BY_TARGETS: usize = 8;
/// What moving a sum to another order costs, in products.
const MOVE: usize = 32;

/// Targets that see the same taps: along the rows, and along the columns.
#[derive(Debug, Clone)]
pub(super) struct Pass(pub(super) [Line; 2]);

impl Pass {
    fn lines(&self) -> [&Line; 2] {
        self.0.each_ref()
    }

    fn taps(&self) -> impl Iterator<Item = ([usize; 2], [i64; 2])> + '_ {
        let [rows, columns] = &self.0;
        rows.taps
            .iter()
            .flat_map(|down| columns.taps.iter().map(|right| ([down.0, right.0], [down.1, right.1])))
    }
}

/// How factors lie in the weight: the taps, and the steps from channel to channel of the source and the target.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) taps: [usize; 2],
    pub(super) source: usize,
    pub(super) target: usize,
}

#[derive(Debug)]
pub(super) struct Correlation {
    pub(super) images: usize,
    pub(super) groups: usize,
    /// Channels of a group.
    pub(super) sources: usize,
    pub(super) targets: usize,
    /// Rows and columns.
    pub(super) source: [usize; 2],
    pub(super) target: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) passes: Vec<Pass>,
    pub(super) taken: Taken,
}

/// How the inner loop does a pass.
#[derive(Debug)]
struct Way {
    /// Vectors are neighbouring windows, else neighbouring channels of the target.
    by_windows: bool,
    /// Channels of the target that the inner loop takes at once.
    width: usize,
    /// The factors of so many channels, step by step; then those of the next, for all groups.
    factors: Vec<f32>,
    /// Steps: channels of the source times taps.
    depth: usize,
}

impl Way {
    fn chunks(&self, targets: usize) -> usize {
        targets.div_ceil(self.width)
    }
}

/// Bands that a task takes at once, and channels of the target.
struct Task<'a> {
    whole: &'a Correlation,
    room: &'a Room,
    ways: &'a [Way],
    bands: &'a [Band],
    at_once: usize,
    chunks: Range<usize>,
    source: &'a [f32],
    bias: Option<&'a [f32]>,
    target: &'a Target,
}

impl Correlation {
    /// Writes the sums of all passes to `target`.
    pub(super) fn run(
        &self,
        source: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
        target: &mut [f32],
        threads: &dyn Threads,
    ) {
        let lines: Vec<[&Line; 2]> = self.passes.iter().map(Pass::lines).collect();
        let rows = lines.iter().map(|lines| lines[0].windows).max().unwrap_or(0);
        let columns = lines.iter().map(|lines| lines[1].windows).max().unwrap_or(0);
        if rows * columns == 0 {
            return;
        }
        let band = rows.div_ceil((rows * columns).div_ceil(WINDOWS));
        let room =
            Room::new([self.sources, self.sources * self.groups], self.source, self.stride, &lines, band);
        let bands: Vec<Band> = (0..self.images)
            .flat_map(|image| (0..rows).step_by(band).map(move |row| Band { image, row, rows: band }))
            .collect();
        let held = room.steps(1)[1] * self.sources;
        let at_once = (WINDOWS / (band * columns)).min(SOURCE / held.max(1)).clamp(1, bands.len());
        let arch = Arch::new();
        let sizes = arch.dispatch(Sizes);
        let ways: Vec<Way> = self
            .passes
            .iter()
            .map(|pass| self.way(pass, &room, &bands[..at_once], sizes, w, threads))
            .collect();
        // Each task reads all of the factors, or all of the source.
        let taps: usize = self.passes.iter().map(|pass| pass.taps().count()).sum();
        let by_targets = self.targets * taps > self.images * self.source[0] * self.source[1];
        let target = &Target::new(target);
        let task = |bands, chunks| Task {
            whole: self,
            room: &room,
            ways: &ways,
            bands,
            at_once,
            chunks,
            source,
            bias,
            target,
        };
        let width = ways.iter().map(|way| way.width).max().unwrap_or(1);
        let chunks = self.targets.div_ceil(width);
        // Passes that differ in the width have their channels in one task.
        let alike = ways.iter().all(|way| way.width == width);
        if by_targets && alike && chunks > 1 {
            let tasks = chunks.min(TASKS_BY_TARGETS);
            threads.each(tasks, &|number| {
                let part = chunks * number / tasks..chunks * (number + 1) / tasks;
                arch.dispatch(task(&bands, part));
            });
        } else {
            let rounds = bands.len().div_ceil(at_once);
            let tasks = rounds.min(TASKS);
            threads.each(tasks, &|number| {
                let [from, to] =
                    [number, number + 1].map(|number| (rounds * number / tasks * at_once).min(bands.len()));
                arch.dispatch(task(&bands[from..to], 0..usize::MAX));
            });
        }
    }

    /// Chooses the way of a pass, and lays its factors out.
    fn way(
        &self,
        pass: &Pass,
        room: &Room,
        bands: &[Band],
        [lanes, rows]: [usize; 2],
        w: &[f32],
        threads: &dyn Threads,
    ) -> Way {
        let taps: Vec<usize> = pass.taps().map(|(tap, _)| tap[0] * self.taken.taps[1] + tap[1]).collect();
        let depth = self.sources * taps.len();
        let vectors = Windows::in_vectors(room, pass.lines(), bands, lanes).starts.len();
        let windows = Windows::one_by_one(room, pass.lines(), bands).starts.len();
        let by_windows = vectors * lanes * self.targets.next_multiple_of(rows) * depth;
        let by_targets = windows * (self.targets.next_multiple_of(lanes) * depth + self.targets * MOVE);
        let short = room.as_it_is && self.source[0] * self.source[1] < lanes;
        let by_windows = by_windows <= by_targets && !short;
        let width = if by_windows {
            rows
        } else {
            let vectors = self.targets.div_ceil(lanes);
            vectors.div_ceil(vectors.div_ceil(SPREAD)) * lanes
        };
        let chunks = self.targets.div_ceil(width);
        let mut factors = vec![0.0; self.groups * chunks * depth * width];
        let parts = Target::new(&mut factors);
        threads.each(self.groups * chunks, &|number| {
            let (group, first) = (number / chunks, number % chunks * width);
            let part = parts.part(number * depth * width, depth * width);
            let base = group * self.sources * self.targets * self.taken.taps.iter().product::<usize>();
            let count = width.min(self.targets - first);
            for (source, part) in part.chunks_exact_mut(taps.len() * width).enumerate() {
                for target in 0..count {
                    let from = &w[base + source * self.taken.source + (first + target) * self.taken.target..];
                    for (&tap, part) in taps.iter().zip(part.chunks_exact_mut(width)) {
                        part[target] = from[tap];
                    }
                }
            }
        });
        Way { by_windows, width, factors, depth }
    }
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let whole = self.whole;
        let plane = whole.source[0] * whole.source[1];
        let mut packed = if self.room.as_it_is {
            Vec::new()
        } else {
            vec![0.0; self.room.len(self.at_once.min(self.bands.len()), S::F32_LANES)]
        };
        let mut sums = Vec::new();
        for bands in self.bands.chunks(self.at_once) {
            let offsets: Vec<Vec<usize>> =
                whole.passes.iter().map(|pass| self.offsets(pass, bands.len())).collect();
            let windows: Vec<Windows> = whole
                .passes
                .iter()
                .zip(self.ways)
                .map(|(pass, way)| {
                    if way.by_windows {
                        Windows::in_vectors(self.room, pass.lines(), bands, S::F32_LANES)
                    } else {
                        Windows::one_by_one(self.room, pass.lines(), bands)
                    }
                })
                .collect();
            for group in 0..whole.groups {
                let planes =
                    |image: usize| &self.source[(image * whole.groups + group) * whole.sources * plane..];
                let room = if self.room.as_it_is {
                    planes(bands[0].image)
                } else {
                    let of_group = |image| &planes(image)[..whole.sources * plane];
                    self.room.pack(bands, of_group, &mut packed);
                    &packed
                };
                for (number, way) in self.ways.iter().enumerate() {
                    let (offsets, windows) = (&offsets[number], &windows[number]);
                    let lines = whole.passes[number].lines();
                    if way.by_windows {
                        self.by_windows(simd, way, group, room, offsets, windows, lines, &mut sums);
                    } else {
                        self.by_targets(simd, way, group, room, offsets, windows, lines, &mut sums);
                    }
                }
            }
        }
    }
}

impl Task<'_> {
    /// What leads from a window to the elements that its steps see.
    fn offsets(&self, pass: &Pass, bands: usize) -> Vec<usize> {
        let channel_step = self.room.steps(bands)[1];
        let shifts: Vec<usize> = pass.taps().map(|(_, offsets)| self.room.shift(offsets)).collect();
        (0..self.whole.sources)
            .flat_map(|source| shifts.iter().map(move |shift| source * channel_step + shift))
            .collect()
    }

    fn chunks(&self, way: &Way) -> Range<usize> {
        self.chunks.start..self.chunks.end.min(way.chunks(self.whole.targets))
    }

    /// The factors of some channels, and the channels.
    fn factors<'a>(&self, way: &'a Way, group: usize, chunk: usize) -> (&'a [f32], Range<usize>) {
        let len = way.depth * way.width;
        let number = group * way.chunks(self.whole.targets) + chunk;
        let first = chunk * way.width;
        (&way.factors[number * len..][..len], first..(first + way.width).min(self.whole.targets))
    }

    fn bias(&self, group: usize, target: usize) -> f32 {
        self.bias.map_or(0.0, |bias| bias[group * self.whole.targets + target])
    }

    /// Where the sums of a run go, for a channel: so many elements, `step` apart.
    #[inline(always)]
    fn place(&self, lines: [&Line; 2], group: usize, target: usize, run: &Run) -> (&mut [f32], usize) {
        let [height, width] = self.whole.target;
        let plane = (run.image * self.whole.groups + group) * self.whole.targets + target;
        let row = run.row * lines[0].step + lines[0].first;
        let column = run.column * lines[1].step + lines[1].first;
        let from = (plane * height + row) * width + column;
        (self.target.part(from, (run.len - 1) * lines[1].step + 1), lines[1].step)
    }

    /// Vectors are windows; the sums of a channel are neighbours.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "what a task has laid out for a pass")]
    fn by_windows<S: Simd>(
        &self,
        simd: S,
        way: &Way,
        group: usize,
        room: &[f32],
        offsets: &[usize],
        windows: &Windows,
        lines: [&Line; 2],
        sums: &mut Vec<f32>,
    ) {
        let pitch = windows.starts.len() * S::F32_LANES;
        let chunks = self.chunks(way);
        sums.resize(chunks.len() * way.width * pitch, 0.0);
        for (row, sums) in sums.chunks_exact_mut(pitch).enumerate() {
            let target = chunks.start * way.width + row;
            sums.fill(if target < self.whole.targets { self.bias(group, target) } else { 0.0 });
        }
        for (round, offsets) in offsets.chunks(DEPTH).enumerate() {
            for (number, vectors) in windows.starts.chunks(VECTORS).enumerate() {
                for (place, chunk) in chunks.clone().enumerate() {
                    let factors = &self.factors(way, group, chunk).0[round * DEPTH * way.width..];
                    let seen = Operand { data: room, starts: vectors, steps: offsets };
                    let from = place * way.width * pitch + number * VECTORS * S::F32_LANES;
                    add_packed(simd, factors, seen, &mut sums[from..], pitch);
                }
            }
        }
        for (place, chunk) in chunks.enumerate() {
            for (row, target) in self.factors(way, group, chunk).1.enumerate() {
                let sums = &sums[(place * way.width + row) * pitch..][..pitch];
                for run in &windows.runs {
                    let (to, step) = self.place(lines, group, target, run);
                    let from = &sums[run.from..][..run.len];
                    if step == 1 {
                        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                    } else {
                        to.iter_mut().step_by(step).zip(from).for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
    }

    /// Vectors are channels of the target; the sums of a window are neighbours.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "what a task has laid out for a pass")]
    fn by_targets<S: Simd>(
        &self,
        simd: S,
        way: &Way,
        group: usize,
        room: &[f32],
        offsets: &[usize],
        windows: &Windows,
        lines: [&Line; 2],
        sums: &mut Vec<f32>,
    ) {
        let rows = tile::rows::<S>();
        let height = windows.starts.len().next_multiple_of(rows);
        let pitch = way.width;
        let starts: Vec<usize> = (0..way.width / S::F32_LANES).map(|vector| vector * S::F32_LANES).collect();
        let steps: Vec<usize> = (0..way.depth).map(|step| step * way.width).collect();
        sums.resize(height * pitch, 0.0);
        for chunk in self.chunks(way) {
            let (factors, targets) = self.factors(way, group, chunk);
            let vectors = targets.len().div_ceil(S::F32_LANES);
            for sums in sums.chunks_exact_mut(pitch) {
                for (sum, target) in sums.iter_mut().zip(targets.clone()) {
                    *sum = self.bias(group, target);
                }
            }
            for (offsets, steps) in offsets.chunks(DEPTH).zip(steps.chunks(DEPTH)) {
                for (number, windows) in windows.starts.chunks(rows).enumerate() {
                    let seen = Operand { data: room, starts: windows, steps: offsets };
                    let factors = Operand { data: factors, starts: &starts[..vectors], steps };
                    add_spread(simd, seen, factors, &mut sums[number * rows * pitch..], pitch);
                }
            }
            for run in &windows.runs {
                for (place, target) in targets.clone().enumerate() {
                    let (to, step) = self.place(lines, group, target, run);
                    let from = sums[run.from * pitch + place..].iter().step_by(pitch);
                    to.iter_mut().step_by(step).zip(from).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}
