//! Depthwise convolution and its gradients: every group has one channel of `x`, and one or more of `y`.
//!
//! Every tap sees a plane of `x` shifted. A plane is copied into rows with the padding between them, one copy for each
//! remainder by the strides that a tap needs; then a tap is one shift of the whole plane, seen as one long row, and the
//! few sums over the gaps between the rows are dropped.

mod layout;
mod taps;

use self::layout::{Layout, copy_row};
use self::taps::{add_products, add_taps};
use super::Shape;
use crate::kernels::vector::{LANES, Loop, widest};
use crate::kernels::{Threads, share};

/// Elements of a task: enough to hide what it costs to hand it out.
const TASK: usize = 32 * 1024;

/// Planes of `elements` that make up a task.
fn planes_of_a_task(elements: usize) -> usize {
    (TASK / elements.max(1)).max(1)
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
        let planes = x.chunks_exact(shape.input()).zip(y.chunks_exact_mut(shape.output() * shape.rows));
        for (number, (x, y)) in planes.enumerate() {
            layout.pack(x, &mut copies);
            let channel = (first + number) % shape.groups;
            for (index, y) in y.chunks_exact_mut(shape.output()).enumerate() {
                let row = channel * shape.rows + index;
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
pub(super) fn forward(
    shape: &Shape,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
    threads: &dyn Threads,
) {
    let layout = Layout::new(shape);
    let by_copy = taps_by_copy(&layout);
    let planes = planes_of_a_task(shape.input() + shape.output() * shape.rows);
    let tasks = x
        .chunks(planes * shape.input())
        .zip(y.chunks_mut(planes * shape.output() * shape.rows))
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
    share(threads, tasks, widest);
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
        let (taps, k) = (shape.taps(), shape.rows);
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
                let plane = image * shape.groups + first + channel;
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

/// Computes those gradients that are wanted.
pub(super) fn gradient(
    shape: &Shape,
    [x, w, dy]: [&[f32]; 3],
    dx: Option<&mut [f32]>,
    dw: Option<&mut [f32]>,
    threads: &dyn Threads,
) {
    let layout = Layout::new(shape);
    let by_copy = taps_by_copy(&layout);
    let elements = (shape.input() + shape.output() * shape.rows) * shape.images;
    let own = planes_of_a_task(elements).min(shape.groups);
    let count = shape.groups.div_ceil(own);
    let mut dx_of: Vec<Vec<&mut [f32]>> = (0..count).map(|_| Vec::new()).collect();
    for image in dx.into_iter().flat_map(|dx| dx.chunks_exact_mut(shape.groups * shape.input())) {
        for (task, part) in dx_of.iter_mut().zip(image.chunks_mut(own * shape.input())) {
            task.push(part);
        }
    }
    let mut dw_of = dw.map(|dw| dw.chunks_mut(own * shape.rows * shape.taps()));
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
            channels: own.min(shape.groups - task * own),
        })
        .collect();
    share(threads, tasks, widest);
}
