//! Depthwise convolution of one or two spatial axes, and its gradients.
//!
//! Letters: `x [N, C, H, W]`, `w [C * k, 1, KH, KW]`, `y [N, C * k, EH, EW]`; output channel `m` sees channel `m / k`.
//! Every tap sees a plane of `x` shifted. A plane is copied into rows with the padding between them, one copy for each
//! remainder by the strides that a tap needs; then a tap is one shift of the whole plane, seen as one long row, and the
//! few sums over the gaps between the rows are dropped.

mod layout;
mod taps;

use self::layout::{Layout, copy_row};
use self::taps::{add_products, add_taps};
use super::vector::{LANES, Loop, widest};
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
    share(threads, tasks, widest);
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
    share(threads, tasks, widest);
    Ok(())
}

#[cfg(test)]
mod tests;
