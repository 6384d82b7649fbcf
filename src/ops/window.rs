//! How the windows of convolutions and pools slide over the spatial axes of `x [N, C, D1, D2, …]`.

use super::{NodeView, Operand, Unsupported};

/// The windows along one spatial axis: output `o` sees the inputs `o * stride + tap * dilation - before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slide {
    /// Taps of a window.
    pub kernel: usize,
    /// Step from one window to the next.
    pub stride: usize,
    /// Step from one tap to the next.
    pub dilation: usize,
    /// Padding before the first element.
    pub before: usize,
    /// Padding behind the last element that the node asks for; windows may hang over it or end before it.
    pub behind: usize,
    /// Elements of the denser side: the input of a convolution or pool.
    pub input: usize,
    /// Windows.
    pub output: usize,
    /// Whether `input` or `output` follows a free dimension.
    pub varies: bool,
    /// Whether the padding follows it too.
    pub pads_vary: bool,
    /// Whether [`Self::fitting`] follows it too.
    pub fitting_varies: bool,
}

impl Slide {
    /// Elements from the first to the last tap of a window.
    pub(super) fn extent(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    /// Elements that the windows reach over, padding included.
    pub(super) fn reach(&self) -> usize {
        self.output.saturating_sub(1) * self.stride + self.extent()
    }

    /// Padding behind that lets the last window just fit; negative where elements at the end are never seen.
    pub(super) fn fitting(&self) -> i64 {
        self.reach() as i64 - (self.before + self.input) as i64
    }

    /// The input element at `tap` of window `output`, unless it is padding.
    pub(super) fn element(&self, output: usize, tap: usize) -> Option<usize> {
        (output * self.stride + tap * self.dilation).checked_sub(self.before).filter(|&at| at < self.input)
    }

    /// For every window, the number of taps that are no padding.
    pub(super) fn counts(&self) -> Vec<usize> {
        (0..self.output)
            .map(|output| (0..self.kernel).filter(|&tap| self.element(output, tap).is_some()).count())
            .collect()
    }
}

/// The windows of `kernel` along each spatial axis between `dense [N, C, …]` and `sparse [N, M, …]`.
///
/// # Errors
/// When ranks differ, attributes have other lengths than there are spatial axes, or numbers are out of range.
pub(super) fn slides(
    node: &NodeView<'_>,
    kernel: &[usize],
    dense: &Operand<'_>,
    sparse: &Operand<'_>,
) -> Result<Vec<Slide>, Unsupported> {
    let rank = kernel.len();
    if rank == 0 || dense.rank() != rank + 2 || sparse.rank() != rank + 2 {
        return Err(Unsupported(format!(
            "operands of rank {} and {} do not fit a window of rank {rank}",
            dense.rank(),
            sparse.rank()
        )));
    }
    if kernel.contains(&0) {
        return Err(Unsupported::new("the window is empty"));
    }
    let strides = numbers(node, "strides", rank, 1)?;
    let dilations = numbers(node, "dilations", rank, 1)?;
    let pads = numbers(node, "pads", 2 * rank, 0)?;
    if strides.contains(&0) || dilations.contains(&0) {
        return Err(Unsupported::new("strides and dilations must be positive"));
    }
    let auto_pad = node.string("auto_pad", "NOTSET");
    let mut slides = Vec::with_capacity(rank);
    for axis in 0..rank {
        let varies = dense.varies(axis + 2) || sparse.varies(axis + 2);
        let mut slide = Slide {
            kernel: kernel[axis],
            stride: strides[axis],
            dilation: dilations[axis],
            before: 0,
            behind: 0,
            input: dense.dims()[axis + 2],
            output: sparse.dims()[axis + 2],
            varies,
            pads_vary: false,
            fitting_varies: varies && strides[axis] > 1,
        };
        match auto_pad {
            "" | "NOTSET" => (slide.before, slide.behind) = (pads[axis], pads[axis + rank]),
            "VALID" => {}
            "SAME_UPPER" | "SAME_LOWER" => {
                let total = slide.reach().saturating_sub(slide.input);
                slide.before = if auto_pad == "SAME_UPPER" { total / 2 } else { total.div_ceil(2) };
                slide.behind = total - slide.before;
                slide.pads_vary = slide.varies && slide.stride > 1;
            }
            other => return Err(Unsupported(format!("auto_pad is `{other}`"))),
        }
        slides.push(slide);
    }
    Ok(slides)
}

/// The kernel dimensions of attribute `kernel_shape`.
///
/// # Errors
/// When it is missing or does not fit `x`.
pub(super) fn kernel_shape(node: &NodeView<'_>) -> Result<Vec<usize>, Unsupported> {
    let Some(rank) = node.x(0)?.rank().checked_sub(2).filter(|&rank| rank > 0) else {
        return Err(Unsupported::new("x has no spatial axes"));
    };
    if !node.has("kernel_shape") {
        return Err(Unsupported::new("attribute kernel_shape is missing"));
    }
    numbers(node, "kernel_shape", rank, 1)
}

/// Integers attribute `name` of length `count`, or as many times the default.
///
/// # Errors
/// When it has another length or holds negative numbers.
pub(super) fn numbers(
    node: &NodeView<'_>,
    name: &str,
    count: usize,
    default: usize,
) -> Result<Vec<usize>, Unsupported> {
    let Some(values) = node.ints(name) else { return Ok(vec![default; count]) };
    let numbers: Vec<usize> = values.iter().filter_map(|&value| usize::try_from(value).ok()).collect();
    if values.len() != count || numbers.len() != count {
        return Err(Unsupported(format!("attribute {name} is {values:?}; expected {count} numbers from 0")));
    }
    Ok(numbers)
}

/// The product of the dimensions.
pub(super) fn product(dims: impl IntoIterator<Item = usize>) -> u64 {
    dims.into_iter().map(|dim| dim as u64).product()
}
