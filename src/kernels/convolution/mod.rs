//! Convolution of one or two spatial axes, and its gradients.
//!
//! Letters: `x [N, g * C, H, W]`, `w [g * M, C, KH, KW]`, `y [N, g * M, EH, EW]` in `g` groups, as in ONNX, except that
//! `C` and `M` are counted within a group.

mod dense;
mod depthwise;

use super::{KernelError, Threads, expect_length};

/// The operator `x, w, bias? -> y`, with the attributes [`STRIDES`], [`DILATIONS`] and [`PADS`] as those of Conv. The
/// groups follow from the dimensions.
pub const FORWARD: &str = "Conv";
/// The operator `x, w, dy -> dx, dw`, with the same attributes.
pub const GRADIENT: &str = "ConvGradient";
/// Name of an attribute.
pub const STRIDES: &str = "strides";
/// Name of an attribute.
pub const DILATIONS: &str = "dilations";
/// Name of an attribute: padding before the axes, then behind them.
pub const PADS: &str = "pads";

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
    /// `g`.
    pub groups: usize,
    /// `C`.
    pub columns: usize,
    /// `M`.
    pub rows: usize,
    /// Rows of the images, then columns.
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
        self.images * self.groups * self.rows * self.output()
    }

    fn x_len(&self) -> usize {
        self.images * self.groups * self.columns * self.input()
    }

    fn w_len(&self) -> usize {
        self.groups * self.rows * self.columns * self.taps()
    }

    fn is_empty(&self) -> bool {
        self.y_len() == 0 || self.x_len() == 0 || self.w_len() == 0
    }

    /// Whether each channel is a group.
    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.columns == 1
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
    let rows = shape.groups * shape.rows;
    expect_length("bias", bias.map_or(rows, <[f32]>::len), rows)?;
    if shape.is_empty() {
        let fill = |(row, y): (usize, &mut [f32])| y.fill(bias.map_or(0.0, |bias| bias[row % rows]));
        y.chunks_mut(shape.output().max(1)).enumerate().for_each(fill);
    } else if shape.is_depthwise() {
        depthwise::forward(shape, x, w, bias, y, threads);
    } else {
        dense::forward(shape, x, w, bias, y, threads);
    }
    Ok(())
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
    } else if shape.is_depthwise() {
        depthwise::gradient(shape, [x, w, dy], dx, dw, threads);
    } else {
        if let Some(dx) = dx {
            dense::input_gradient(shape, w, dy, dx, threads);
        }
        if let Some(dw) = dw {
            dense::weight_gradient(shape, x, dy, dw, threads);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
