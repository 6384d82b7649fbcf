//! Depthwise convolution of one or two spatial axes, and its gradients.
//!
//! Letters: `x [N, C, H, W]`, `w [C * k, 1, KH, KW]`, `y [N, C * k, EH, EW]`; output channel `m` sees channel `m / k`.
//! Every tap sees a plane of `x` shifted. A plane is copied into rows with the padding between them, one copy for each
//! remainder by the strides that a tap needs; then a tap is one shift of the whole plane, seen as one long row, and the
//! few sums over the gaps between the rows are dropped.

use super::vector::{LANES, Loop, multiply_add, widest};
use super::{KernelError, Threads, expect_length, share};

/// The operator `x, w, bias? -> y`, with the attributes [`STRIDES`], [`DILATIONS`] and [`PADS`] as those of Conv.
pub const FORWARD: &str = "DepthwiseConv";
/// The operator `x, w, dy -> dx, dw`, with the same attributes.
pub const GRADIENT: &str = "DepthwiseConvGradient";
/// Name of an attribute.
pub const STRIDES: &str = "strides";
/// Name of an attribute.
pub const DILATIONS: &str = "dilations";
/// Name of an attribute: padding before the axes, then behind them.
pub const PADS: &str = "pads";

/// Elements of a task: enough to hide what it costs to hand it out.
const TASK: usize = 32 * 1024;

/// The windows along a spatial axis: window `e` sees the inputs `e * stride + tap * dilation - before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Taps of a window.
    pub kernel: usize,
    /// Step from window to window.
    pub stride: usize,
    /// Step from tap to tap.
    pub dilation: usize,
    /// Zeros before the first element.
    pub before: usize,
    /// Elements of the input.
    pub input: usize,
    /// Windows.
    pub output: usize,
}

impl Axis {
    /// An axis that is not there.
    pub const NONE: Self = Self { kernel: 1, stride: 1, dilation: 1, before: 0, input: 1, output: 1 };
}

/// The dimensions of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// `N`.
    pub images: usize,
    /// `C`.
    pub channels: usize,
    /// `k`.
    pub multiplier: usize,
    /// Rows, then columns.
    pub axes: [Axis; 2],
}

impl Shape {
    fn taps(&self) -> usize {
        self.axes[0].kernel * self.axes[1].kernel
    }

    fn input(&self) -> usize {
        self.axes[0].input * self.axes[1].input
    }

    fn output(&self) -> usize {
        self.axes[0].output * self.axes[1].output
    }

    /// Elements of `y`.
    pub fn y_len(&self) -> usize {
        self.images * self.channels * self.multiplier * self.output()
    }

    fn x_len(&self) -> usize {
        self.images * self.channels * self.input()
    }

    fn w_len(&self) -> usize {
        self.channels * self.multiplier * self.taps()
    }

    fn is_empty(&self) -> bool {
        self.y_len() == 0 || self.x_len() == 0 || self.w_len() == 0
    }

    /// Planes of `elements` that make up a task.
    fn planes_of_a_task(elements: usize) -> usize {
        (TASK / elements.max(1)).max(1)
    }
}

/// Where taps find their elements.
#[derive(Debug)]
struct Layout {
    shape: Shape,
    /// Elements from row to row of the copies.
    pitch: usize,
    /// Rows of a copy.
    height: usize,
    /// Elements that all windows take, gaps included, rounded up to whole vectors.
    windows: usize,
    /// Elements of a copy, rounded up, and of one with room for every shift.
    copy: usize,
    roomy: usize,
    /// How many copies there are.
    count: usize,
    /// The copies by remainder: all those of the columns for one of the rows, then for the next.
    copies: Vec<Option<usize>>,
    /// The taps by number: the copy and the shift.
    taps: Vec<(usize, usize)>,
    /// The largest shift.
    reach: usize,
    row_places: Vec<Option<(usize, usize)>>,
    column_places: Vec<(usize, usize, usize)>,
}

impl Layout {
    fn new(shape: &Shape) -> Self {
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
    fn pack(&self, plane: &[f32], room: &mut [f32]) {
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
    fn unpack(&self, room: &[f32], plane: &mut [f32]) {
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
    fn pack_windows(&self, plane: &[f32], copy: &mut [f32]) {
        let width = self.shape.axes[1].output;
        for (row, source) in plane.chunks_exact(width).enumerate() {
            copy_row(&mut copy[self.reach + row * self.pitch..][..width], source);
        }
    }
}

#[inline(always)]
fn copy_row(target: &mut [f32], source: &[f32]) {
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

/// Adds `factors[t] * source` shifted by `shifts[t]` to `sums`, for every `t`.
#[inline(always)]
fn add_taps<const FUSED: bool>(sums: &mut [f32], source: &[f32], shifts: &[usize], factors: &[f32]) {
    let mut done = 0;
    while done < shifts.len() {
        let (shifts, factors) = (&shifts[done..], &factors[done..]);
        done += match shifts.len() {
            9.. => add_some::<FUSED, 9>(sums, source, shifts, factors),
            4.. => add_some::<FUSED, 4>(sums, source, shifts, factors),
            2.. => add_some::<FUSED, 2>(sums, source, shifts, factors),
            _ => add_some::<FUSED, 1>(sums, source, shifts, factors),
        };
    }
}

#[inline(always)]
fn add_some<const FUSED: bool, const T: usize>(
    sums: &mut [f32],
    source: &[f32],
    shifts: &[usize],
    factors: &[f32],
) -> usize {
    let sums = sums.as_chunks_mut::<LANES>().0;
    let (mut shifted, mut own): ([&[[f32; LANES]]; T], [f32; T]) = ([&[]; T], [0.0; T]);
    for tap in 0..T {
        shifted[tap] = &source[shifts[tap]..].as_chunks::<LANES>().0[..sums.len()];
        own[tap] = factors[tap];
    }
    for (place, sums) in sums.iter_mut().enumerate() {
        let mut total = *sums;
        for tap in 0..T {
            let row = &shifted[tap][place];
            for lane in 0..LANES {
                total[lane] = multiply_add::<FUSED>(row[lane], own[tap], total[lane]);
            }
        }
        *sums = total;
    }
    T
}

/// Adds the products of `windows` with `source` shifted by `shifts[t]` to `sums[t]`, lane by lane.
#[inline(always)]
fn add_products<const FUSED: bool>(
    sums: &mut [[f32; LANES]],
    source: &[f32],
    shifts: &[(usize, usize)],
    stretch: usize,
    windows: &[f32],
) {
    let mut done = 0;
    while done < shifts.len() {
        let (sums, shifts) = (&mut sums[done..], &shifts[done..]);
        done += match shifts.len() {
            9.. => add_some_products::<FUSED, 9>(sums, source, shifts, stretch, windows),
            5.. => add_some_products::<FUSED, 5>(sums, source, shifts, stretch, windows),
            3.. => add_some_products::<FUSED, 3>(sums, source, shifts, stretch, windows),
            _ => add_some_products::<FUSED, 1>(sums, source, shifts, stretch, windows),
        };
    }
}

#[inline(always)]
fn add_some_products<const FUSED: bool, const T: usize>(
    sums: &mut [[f32; LANES]],
    source: &[f32],
    shifts: &[(usize, usize)],
    stretch: usize,
    windows: &[f32],
) -> usize {
    let windows = windows.as_chunks::<LANES>().0;
    let (mut shifted, mut totals): ([&[[f32; LANES]]; T], _) = ([&[]; T], [[0.0; LANES]; T]);
    for tap in 0..T {
        let (copy, shift) = shifts[tap];
        shifted[tap] = &source[copy * stretch + shift..].as_chunks::<LANES>().0[..windows.len()];
        totals[tap] = sums[tap];
    }
    for (place, window) in windows.iter().enumerate() {
        for tap in 0..T {
            let row = &shifted[tap][place];
            for lane in 0..LANES {
                totals[tap][lane] = multiply_add::<FUSED>(row[lane], window[lane], totals[tap][lane]);
            }
        }
    }
    sums[..T].copy_from_slice(&totals);
    T
}

/// The taps of each copy: their shifts, and their places in the weight.
fn taps_by_copy(layout: &Layout) -> Vec<(Vec<usize>, Vec<usize>)> {
    (0..layout.count)
        .map(|copy| {
            let own = layout.taps.iter().enumerate().filter(|(_, tap)| tap.0 == copy);
            own.map(|(number, tap)| (tap.1, number)).unzip()
        })
        .collect()
}

/// Planes of `x` from number `first` on, and those of `y` that see them.
struct Forward<'a> {
    layout: &'a Layout,
    by_copy: &'a [(Vec<usize>, Vec<usize>)],
    first: usize,
    x: &'a [f32],
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Loop for Forward<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { layout, by_copy, first, x, w, bias, y } = self;
        let shape = &layout.shape;
        let (taps, width) = (shape.taps(), shape.axes[1].output);
        let mut copies = vec![0.0; layout.roomy * layout.count];
        let mut sums = vec![0.0; layout.windows];
        let mut factors = vec![0.0; taps];
        let planes = x.chunks_exact(shape.input()).zip(y.chunks_exact_mut(shape.output() * shape.multiplier));
        for (number, (x, y)) in planes.enumerate() {
            layout.pack(x, &mut copies);
            let channel = (first + number) % shape.channels;
            for (index, y) in y.chunks_exact_mut(shape.output()).enumerate() {
                let row = channel * shape.multiplier + index;
                let w = &w[row * taps..][..taps];
                sums.fill(bias.map_or(0.0, |bias| bias[row]));
                for ((shifts, numbers), copy) in by_copy.iter().zip(copies.chunks_exact(layout.roomy)) {
                    for (factor, &number) in factors.iter_mut().zip(numbers) {
                        *factor = w[number];
                    }
                    add_taps::<FUSED>(&mut sums, copy, shifts, &factors[..shifts.len()]);
                }
                for (row, target) in y.chunks_exact_mut(width).enumerate() {
                    copy_row(target, &sums[row * layout.pitch..][..width]);
                }
            }
        }
    }
}

/// Computes `y`.
///
/// # Errors
/// When an operand has another length than `shape` says.
pub fn forward(
    shape: &Shape,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
    threads: &dyn Threads,
) -> Result<(), KernelError> {
    expect_length("x", x.len(), shape.x_len())?;
    expect_length("w", w.len(), shape.w_len())?;
    expect_length("y", y.len(), shape.y_len())?;
    let rows = shape.channels * shape.multiplier;
    expect_length("bias", bias.map_or(rows, <[f32]>::len), rows)?;
    if shape.is_empty() {
        let fill = |(row, y): (usize, &mut [f32])| y.fill(bias.map_or(0.0, |bias| bias[row % rows]));
        y.chunks_mut(shape.output().max(1)).enumerate().for_each(fill);
        return Ok(());
    }
    let layout = Layout::new(shape);
    let by_copy = taps_by_copy(&layout);
    let planes = Shape::planes_of_a_task(shape.input() + shape.output() * shape.multiplier);
    let tasks = x
        .chunks(planes * shape.input())
        .zip(y.chunks_mut(planes * shape.output() * shape.multiplier))
        .enumerate()
        .map(|(task, (x, y))| Forward {
            layout: &layout,
            by_copy: &by_copy,
            first: task * planes,
            x,
            w,
            bias,
            y,
        })
        .collect();
    share(threads, tasks, |task| widest(task));
    Ok(())
}

/// The channels from `first` on in all images.
struct Gradient<'a> {
    layout: &'a Layout,
    by_copy: &'a [(Vec<usize>, Vec<usize>)],
    first: usize,
    x: &'a [f32],
    w: &'a [f32],
    dy: &'a [f32],
    /// By image, where it is wanted.
    dx: Vec<&'a mut [f32]>,
    dw: Option<&'a mut [f32]>,
    channels: usize,
}

impl Loop for Gradient<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { layout, by_copy, first, x, w, dy, mut dx, dw, channels } = self;
        let shape = &layout.shape;
        let (taps, k) = (shape.taps(), shape.multiplier);
        let mut copies = vec![0.0; layout.roomy * layout.count];
        let mut grads = vec![0.0; layout.copy * layout.count];
        let mut windows = vec![0.0; layout.roomy];
        let mut sums = vec![[0.0; LANES]; channels * k * taps];
        let mut factors = vec![0.0; taps];
        let backward: Vec<Vec<usize>> = by_copy
            .iter()
            .map(|(shifts, _)| shifts.iter().map(|shift| layout.reach - shift).collect())
            .collect();
        for image in 0..shape.images {
            for channel in 0..channels {
                let plane = image * shape.channels + first + channel;
                if dw.is_some() {
                    layout.pack(&x[plane * shape.input()..][..shape.input()], &mut copies);
                }
                grads.fill(0.0);
                for index in 0..k {
                    let dy = &dy[(plane * k + index) * shape.output()..][..shape.output()];
                    layout.pack_windows(dy, &mut windows);
                    if dw.is_some() {
                        let sums = &mut sums[(channel * k + index) * taps..][..taps];
                        let windows = &windows[layout.reach..][..layout.windows];
                        add_products::<FUSED>(sums, &copies, &layout.taps, layout.roomy, windows);
                    }
                    if !dx.is_empty() {
                        let w = &w[((first + channel) * k + index) * taps..][..taps];
                        for (copy, (_, numbers)) in by_copy.iter().enumerate() {
                            for (factor, &number) in factors.iter_mut().zip(numbers) {
                                *factor = w[number];
                            }
                            let grads = &mut grads[copy * layout.copy..][..layout.copy];
                            add_taps::<FUSED>(grads, &windows, &backward[copy], &factors[..numbers.len()]);
                        }
                    }
                }
                if let Some(dx) = dx.get_mut(image) {
                    layout.unpack(&grads, &mut dx[channel * shape.input()..][..shape.input()]);
                }
            }
        }
        if let Some(dw) = dw {
            for (dw, lanes) in dw.iter_mut().zip(&sums) {
                *dw = lanes.iter().sum();
            }
        }
    }
}

/// Computes the gradients `dx` of `x` and `dw` of `w`, those that are wanted, from the gradient `dy` of `y`.
///
/// # Errors
/// When an operand has another length than `shape` says.
pub fn gradient(
    shape: &Shape,
    [x, w, dy]: [&[f32]; 3],
    dx: Option<&mut [f32]>,
    dw: Option<&mut [f32]>,
    threads: &dyn Threads,
) -> Result<(), KernelError> {
    expect_length("x", x.len(), shape.x_len())?;
    expect_length("w", w.len(), shape.w_len())?;
    expect_length("dy", dy.len(), shape.y_len())?;
    expect_length("dx", dx.as_ref().map_or(x.len(), |dx| dx.len()), x.len())?;
    expect_length("dw", dw.as_ref().map_or(w.len(), |dw| dw.len()), w.len())?;
    if shape.is_empty() {
        dx.into_iter().chain(dw).for_each(|grad| grad.fill(0.0));
        return Ok(());
    }
    let layout = Layout::new(shape);
    let by_copy = taps_by_copy(&layout);
    let elements = (shape.input() + shape.output() * shape.multiplier) * shape.images;
    let own = Shape::planes_of_a_task(elements).min(shape.channels);
    let count = shape.channels.div_ceil(own);
    let mut dx_of: Vec<Vec<&mut [f32]>> = (0..count).map(|_| Vec::new()).collect();
    for image in dx.into_iter().flat_map(|dx| dx.chunks_exact_mut(shape.channels * shape.input())) {
        for (task, part) in dx_of.iter_mut().zip(image.chunks_mut(own * shape.input())) {
            task.push(part);
        }
    }
    let mut dw_of = dw.map(|dw| dw.chunks_mut(own * shape.multiplier * shape.taps()));
    let tasks = dx_of
        .into_iter()
        .enumerate()
        .map(|(task, dx)| Gradient {
            layout: &layout,
            by_copy: &by_copy,
            first: task * own,
            x,
            w,
            dy,
            dx,
            dw: dw_of.as_mut().and_then(Iterator::next),
            channels: own.min(shape.channels - task * own),
        })
        .collect();
    share(threads, tasks, |task| widest(task));
    Ok(())
}

#[cfg(test)]
mod tests;
