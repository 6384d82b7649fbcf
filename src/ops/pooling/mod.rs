//! Pools: one number for each window of `x [N, C, D1, …]`, each channel on its own.

pub(super) mod average;
pub(super) mod global;
pub(super) mod lp;
pub(super) mod max;

use super::convolution::Geometry;
use super::window::{Slide, kernel_shape, slides};
use super::{Coupling, NodeView, Tape, Unsupported};
use crate::ir::ValueId;
use crate::tensor::Tensor;

/// The windows of a pool along each spatial axis.
fn windows(node: &NodeView<'_>) -> Result<Vec<Slide>, Unsupported> {
    slides(node, &kernel_shape(node)?, node.x(0)?, node.y(0)?)
}

/// Couples the channels of a pool; `zero` says whether a channel of zeros gives zeros.
fn couple(node: &NodeView<'_>, slots: &mut dyn Coupling, zero: bool) -> Result<(), Unsupported> {
    for axis in 0..node.x(0)?.rank() {
        let own = slots.input(0, axis);
        if axis < 2 {
            slots.set(0, axis, own.with_zero(own.zero() && zero));
        } else {
            slots.pin(&own, "a window slides along the axis");
        }
    }
    Ok(())
}

/// The largest constant matrix, in elements, that [`spread`] writes.
const LARGEST_MATRIX: usize = 1 << 18;

/// The sum over all windows that see an element, of the window's number in `dy [N, C, E1, …]` times its weight along
/// each spatial axis.
///
/// # Errors
/// When a spatial axis has no fixed size.
fn spread(
    tape: &mut Tape<'_>,
    windows: &[Slide],
    weights: &[Vec<f64>],
    dy: ValueId,
) -> Result<ValueId, Unsupported> {
    if let Some(axis) = windows.iter().position(|slide| slide.varies) {
        return Err(Unsupported(format!("spatial axis {axis} has no fixed size; give one with --shape")));
    }
    if windows.iter().all(|slide| slide.output * slide.input <= LARGEST_MATRIX) {
        spread_by_matrices(tape, windows, weights, dy)
    } else {
        spread_by_convolution(tape, windows, weights, dy)
    }
}

fn constant(tape: &mut Tape<'_>, dims: Vec<usize>, values: Vec<f64>) -> Result<ValueId, Unsupported> {
    let tensor = Tensor::new(dims, values).map_err(|error| Unsupported(error.to_string()))?;
    Ok(tape.constant(&tensor.cast_float(tape.dtype())))
}

/// All axes are alike and independent: one product with a constant matrix for each.
fn spread_by_matrices(
    tape: &mut Tape<'_>,
    windows: &[Slide],
    weights: &[Vec<f64>],
    dy: ValueId,
) -> Result<ValueId, Unsupported> {
    let rank = windows.len();
    let mut grad = dy;
    for (axis, (slide, weights)) in windows.iter().zip(weights).enumerate().rev() {
        let last = axis + 1 == rank;
        let [row, column] = if last { [slide.input, 1] } else { [1, slide.output] };
        let mut matrix = vec![0.0; slide.output * slide.input];
        for (output, weight) in weights.iter().enumerate() {
            for element in (0..slide.kernel).filter_map(|tap| slide.element(output, tap)) {
                matrix[output * row + element * column] += weight;
            }
        }
        if last {
            let matrix = constant(tape, vec![slide.output, slide.input], matrix)?;
            grad = tape.matmul(grad, matrix);
            continue;
        }
        let matrix = constant(tape, vec![slide.input, slide.output], matrix)?;
        if axis + 2 < rank {
            let behind: usize = windows[axis + 1..].iter().map(|slide| slide.input).product();
            let outputs = windows[..=axis].iter().map(|slide| slide.output);
            grad = tape.reshape(grad, &spatial_dims([0, 0], outputs.chain([behind])));
        }
        grad = tape.matmul(matrix, grad);
    }
    if rank > 2 {
        grad = tape.reshape(grad, &spatial_dims([0, 0], windows.iter().map(|slide| slide.input)));
    }
    Ok(grad)
}

/// A transposed convolution with ones, each channel an image.
fn spread_by_convolution(
    tape: &mut Tape<'_>,
    windows: &[Slide],
    weights: &[Vec<f64>],
    dy: ValueId,
) -> Result<ValueId, Unsupported> {
    let rank = windows.len();
    let mut grad = dy;
    for (axis, weights) in weights.iter().enumerate() {
        let mut dims = vec![1; rank - axis];
        dims[0] = weights.len();
        let weights = constant(tape, dims, weights.clone())?;
        grad = tape.mul(grad, weights);
    }
    let channels = tape.op("Shape", &[dy]);
    let channels = tape.slice(channels, &[0], &[0], &[2], &[1]);
    let inputs: Vec<i64> = windows.iter().map(|slide| slide.input as i64).collect();
    let inputs = tape.ints(&inputs);
    let shape = tape.concat(&[channels, inputs], 0);
    grad = tape.reshape(grad, &spatial_dims([-1, 1], windows.iter().map(|slide| slide.output)));
    let kernel: Vec<usize> = [1, 1].into_iter().chain(windows.iter().map(|slide| slide.kernel)).collect();
    let ones = vec![1.0; kernel.iter().product()];
    let kernel = constant(tape, kernel, ones)?;
    grad = Geometry::transposed(1, windows).emit(tape, "ConvTranspose", grad, kernel);
    Ok(tape.reshape_to(grad, shape))
}

fn spatial_dims(lead: [i64; 2], dims: impl Iterator<Item = usize>) -> Vec<i64> {
    lead.into_iter().chain(dims.map(|dim| dim as i64)).collect()
}
