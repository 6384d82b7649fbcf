//! Gradients of reading between the elements of a channel: `RoiAlign` and `GridSample`.
//!
//! A weight of linear interpolation is `max(0, 1 - |place - index|)`. For a region the places are a lattice, so the
//! weights are a product of those of the two axes, and the gradient is a product of two matrices; for a grid each place
//! stands alone, and its four neighbours are added to one by one.

use super::adjoint::{Size, dim_of, reshape, size};
use crate::ir::{NodeSpec, ValueId};
use crate::ops::{NodeView, Tape, Unsupported};
use crate::tensor::{DType, Tensor};

/// Regions have had their half-pixel shift by default since this version.
const SHIFTED_REGIONS: i64 = 16;

/// `RoiAlign` of `x [N, C, H, W]` by means. Regions get no gradient, nor do they where detectors are trained.
pub(super) fn roi_align(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) else { return Ok(()) };
    let (images, _) = (node.x(0)?, node.x(1)?);
    if node.string("mode", "avg") != "avg" || images.rank() != 4 || images.varies(1) {
        return Err(Unsupported::new("only means over regions of [N, C, H, W] have a gradient here"));
    }
    let samples = node.int("sampling_ratio", 0);
    if samples <= 0 {
        let reason = "the number of samples in a region follows from its size (sampling_ratio 0)";
        return Err(Unsupported::new(reason));
    }
    let (x, rois) = (tape.x(0)?, tape.x(1)?);
    let channels = images.dims()[1];
    let (height, width) = (node.int("output_height", 1), node.int("output_width", 1));
    let rows = weights_in_regions(node, tape, rois, 0, height, samples)?;
    let columns = weights_in_regions(node, tape, rois, 1, width, samples)?;
    // [R, C, h, w] to [R, h C, w], times [R, w, W]. R may be 0, so no other dimension is left to be computed.
    let turned = tape.transpose(dy, &[0, 2, 1, 3]);
    let turned = tape.reshape(turned, &[-1, height * channels as i64, width]);
    let spread = tape.matmul(turned, columns);
    let spread = tape.reshape(spread, &[-1, channels as i64, 0]);
    let spread = flattened(tape, spread, 1);
    // [R, h, H] to [R h, N H], zero for other images than the region's.
    let numbers = counted(node, tape, 0, DType::I64)?;
    let images_of = tape.x(2)?;
    let images_of = tape.cast(images_of, DType::I64);
    let images_of = tape.unsqueeze(images_of, &[1]);
    let own = tape.op("Equal", &[images_of, numbers]);
    let own = tape.indicator(own);
    let own = tape.unsqueeze(own, &[1, 3]);
    let rows = tape.unsqueeze(rows, &[2]);
    let rows = tape.mul(rows, own);
    let rows = flattened(tape, rows, 2);
    let rows = tape.transpose(rows, &[1, 0]);
    let sum = tape.matmul(rows, spread);
    let sizes = [0, 2, 1, 3].map(|axis| size(images, x, axis));
    let sum = reshape(tape, sum, &sizes);
    let grad = tape.transpose(sum, &[0, 2, 1, 3]);
    tape.give(0, grad);
    Ok(())
}

fn flattened(tape: &mut Tape<'_>, value: ValueId, axis: i64) -> ValueId {
    tape.node(NodeSpec::new("Flatten", &[value]).attribute("axis", axis))
}

/// The numbers from 0 to below the size of axis `axis` of input 0.
fn counted(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    axis: usize,
    dtype: DType,
) -> Result<ValueId, Unsupported> {
    let x = node.x(0)?;
    if !x.varies(axis) {
        let numbers = if dtype == DType::I64 {
            Tensor::vector((0..x.dims()[axis] as i64).collect::<Vec<i64>>())
        } else {
            Tensor::vector((0..x.dims()[axis]).map(|number| number as f64).collect::<Vec<f64>>())
                .cast_float(dtype)
        };
        return Ok(tape.constant(&numbers));
    }
    let value = tape.x(0)?;
    let size = dim_of(tape, value, axis);
    let size = tape.squeeze(size, &[0]);
    let [first, step] = [0, 1].map(|number| tape.constant(&Tensor::scalar(number as i64)));
    let numbers = tape.op("Range", &[first, size, step]);
    Ok(if dtype == DType::I64 { numbers } else { tape.cast(numbers, dtype) })
}

/// The weights `[R, parts, S]` with which the elements of axis 2 + `axis` of input 0, of size `S`, make up the means
/// over the `parts` of each region.
fn weights_in_regions(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    rois: ValueId,
    axis: usize,
    parts: i64,
    samples: i64,
) -> Result<ValueId, Unsupported> {
    let shifted = match node.string("coordinate_transformation_mode", "") {
        "half_pixel" => true,
        "output_half_pixel" => false,
        _ => tape.opset() >= SHIFTED_REGIONS,
    };
    let scale = f64::from(node.float("spatial_scale", 1.0));
    // A region is x1, y1, x2, y2.
    let first = 1 - axis as i64;
    let [start, end] = [first, first + 2].map(|place| {
        let side = tape.slice(rois, &[1], &[place], &[place + 1], &[1]);
        tape.scale(side, scale)
    });
    let mut length = tape.sub(end, start);
    let mut start = start;
    if shifted {
        start = tape.shift(start, -0.5);
    } else {
        let one = tape.scalar(1.0);
        length = tape.op("Max", &[length, one]);
    }
    let shares: Vec<f64> =
        (0..parts * samples).map(|place| (place as f64 + 0.5) / (parts * samples) as f64).collect();
    let shares = tape.constant(&Tensor::vector(shares).cast_float(tape.dtype()));
    let along = tape.mul(length, shares);
    let places = tape.add(start, along);
    let size = tape.count_over(node, 0, &[2 + axis])?;
    // What lies more than one element outside counts as zero.
    let least = tape.scalar(-1.0);
    let below = tape.op("Less", &[places, least]);
    let above = tape.op("Greater", &[places, size]);
    let outside = tape.op("Or", &[below, above]);
    let inside = tape.op("Not", &[outside]);
    let inside = tape.indicator(inside);
    let zero = tape.scalar(0.0);
    let last = tape.shift(size, -1.0);
    let places = tape.op("Max", &[places, zero]);
    let places = tape.op("Min", &[places, last]);
    let indices = counted(node, tape, 2 + axis, tape.dtype())?;
    let places = tape.unsqueeze(places, &[2]);
    let distance = tape.sub(places, indices);
    let distance = tape.op("Abs", &[distance]);
    let near = tape.neg(distance);
    let near = tape.shift(near, 1.0);
    let near = tape.op("Relu", &[near]);
    let inside = tape.unsqueeze(inside, &[2]);
    let weights = tape.mul(near, inside);
    // [R, parts samples, S] to [R parts, samples, S].
    let weights = tape.reshape(weights, &[-1, samples, 0]);
    let means = tape.reduce_mean(weights, &[1], false);
    let size = if node.x(0)?.varies(2 + axis) { -1 } else { node.x(0)?.dims()[2 + axis] as i64 };
    if size >= 0 {
        return Ok(tape.reshape(means, &[-1, parts, size]));
    }
    // Axis 1 is the axis that varies.
    let value = tape.x(0)?;
    let regions = node.x(1)?;
    let sizes = [self::size(regions, rois, 0), Size::Is(parts as usize), Size::Of(value, 2 + axis)];
    Ok(reshape(tape, means, &sizes))
}

/// How a grid is read.
struct Reading {
    align_corners: bool,
    /// Whether places outside are moved to the border; else they count as zero.
    clamped: bool,
}

/// One axis of the places of a grid, all `[N, P]`.
struct Places {
    /// The elements before and behind, as integers within the axis.
    near: [ValueId; 2],
    /// Whether they are there: 1, or 0.
    there: [ValueId; 2],
    /// Their weights.
    weights: [ValueId; 2],
    /// The slope of the place by the number in the grid.
    slope: ValueId,
}

/// `GridSample` of `x [N, C, H, W]` with linear interpolation.
pub(super) fn grid_sample(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let Some(dy) = tape.dy(0).filter(|_| tape.wants(0) || tape.wants(1)) else { return Ok(()) };
    let images = node.x(0)?;
    let linear = matches!(node.string("mode", "linear"), "linear" | "bilinear");
    let padding = node.string("padding_mode", "zeros");
    if images.rank() != 4 || !linear || !matches!(padding, "zeros" | "border") {
        let reason = "only linear interpolation in [N, C, H, W], of zeros or the border, has a gradient here";
        return Err(Unsupported::new(reason));
    }
    let reading = Reading { align_corners: node.int("align_corners", 0) != 0, clamped: padding == "border" };
    let (x, grid) = (tape.x(0)?, tape.x(1)?);
    let flat = tape.reshape(grid, &[0, -1, 2]);
    let across = places(node, tape, &reading, flat, 0)?;
    let down = places(node, tape, &reading, flat, 1)?;
    let dy = flat_images(node, tape, dy, node.y(0)?)?;
    let width = if images.varies(3) {
        let width = dim_of(tape, x, 3);
        tape.squeeze(width, &[0])
    } else {
        tape.constant(&Tensor::scalar(images.dims()[3] as i64))
    };
    let mut corners = Vec::new();
    for row in 0..2 {
        for column in 0..2 {
            let before = tape.mul(down.near[row], width);
            let index = tape.add(before, across.near[column]);
            let index = tape.unsqueeze(index, &[1]);
            let shape = tape.op("Shape", &[dy]);
            let index = tape.op("Expand", &[index, shape]);
            let there = tape.mul(down.there[row], across.there[column]);
            corners.push((row, column, index, tape.unsqueeze(there, &[1])));
        }
    }
    if tape.wants(0) {
        let mut parts = Vec::new();
        for &(row, column, _, there) in &corners {
            let weight = tape.mul(down.weights[row], across.weights[column]);
            let weight = tape.unsqueeze(weight, &[1]);
            let weight = tape.mul(weight, there);
            parts.push(tape.mul(dy, weight));
        }
        let parts = tape.concat(&parts, 2);
        let indices: Vec<ValueId> = corners.iter().map(|&(_, _, index, _)| index).collect();
        let indices = tape.concat(&indices, 2);
        let channels = flat_images(node, tape, x, images)?;
        let zeros = tape.scale(channels, 0.0);
        let scatter = NodeSpec::new("ScatterElements", &[zeros, indices, parts]).attribute("axis", 2);
        let sum = tape.node(scatter.attribute("reduction", "add"));
        let sizes: Vec<Size> = (0..4).map(|axis| size(images, x, axis)).collect();
        let grad = reshape(tape, sum, &sizes);
        tape.give(0, grad);
    }
    if tape.wants(1) {
        let channels = flat_images(node, tape, x, images)?;
        let values: Vec<ValueId> = corners
            .iter()
            .map(|&(_, _, index, there)| {
                let gather = NodeSpec::new("GatherElements", &[channels, index]).attribute("axis", 2);
                let value = tape.node(gather);
                let value = tape.mul(value, there);
                // The sum over the channels of what the corner gives to the loss.
                let product = tape.mul(value, dy);
                tape.reduce_sum(product, &[1], false)
            })
            .collect();
        let slopes = [
            (&across, [values[1], values[0]], [values[3], values[2]], &down),
            (&down, [values[2], values[0]], [values[3], values[1]], &across),
        ]
        .map(|(own, first, second, other)| {
            let first = tape.sub(first[0], first[1]);
            let first = tape.mul(first, other.weights[0]);
            let second = tape.sub(second[0], second[1]);
            let second = tape.mul(second, other.weights[1]);
            let sum = tape.add(first, second);
            let slope = tape.mul(sum, own.slope);
            tape.unsqueeze(slope, &[2])
        });
        let flat = tape.concat(&slopes, 2);
        let places = node.x(1)?;
        let sizes: Vec<Size> = (0..4).map(|axis| size(places, grid, axis)).collect();
        let grad = reshape(tape, flat, &sizes);
        tape.give(1, grad);
    }
    Ok(())
}

/// `[N, C, H, W]` as `[N, C, H W]`.
fn flat_images(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    value: ValueId,
    seen: &crate::ops::Operand<'_>,
) -> Result<ValueId, Unsupported> {
    if seen.rank() != 4 || node.x(0)?.rank() != 4 {
        return Err(Unsupported::new("its operands have no four dimensions"));
    }
    Ok(tape.reshape(value, &[0, 0, -1]))
}

/// Column `column` of a grid `[N, P, 2]` as places on axis 3 - `column` of input 0.
fn places(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    reading: &Reading,
    grid: ValueId,
    column: usize,
) -> Result<Places, Unsupported> {
    let first = column as i64;
    let number = tape.slice(grid, &[2], &[first], &[first + 1], &[1]);
    let number = tape.squeeze(number, &[2]);
    let size = tape.count_over(node, 0, &[3 - column])?;
    let last = tape.shift(size, -1.0);
    let range = if reading.align_corners { last } else { size };
    let half = tape.scale(range, 0.5);
    let place = tape.shift(number, 1.0);
    let place = tape.mul(place, half);
    let place = if reading.align_corners { place } else { tape.shift(place, -0.5) };
    let zero = tape.scalar(0.0);
    let within = |tape: &mut Tape<'_>, place: ValueId| {
        let low = tape.op("Max", &[place, zero]);
        tape.op("Min", &[low, last])
    };
    let (place, slope) = if reading.clamped {
        let held = within(tape, place);
        let moves = tape.op("Equal", &[held, place]);
        let moves = tape.indicator(moves);
        (held, tape.mul(moves, half))
    } else {
        (place, half)
    };
    let before = tape.op("Floor", &[place]);
    let behind = tape.shift(before, 1.0);
    let share = tape.sub(place, before);
    let rest = tape.neg(share);
    let rest = tape.shift(rest, 1.0);
    let mut there = Vec::new();
    let mut near = Vec::new();
    for neighbour in [before, behind] {
        let held = within(tape, neighbour);
        let same = tape.op("Equal", &[held, neighbour]);
        there.push(tape.indicator(same));
        near.push(tape.cast(held, DType::I64));
    }
    Ok(Places { near: [near[0], near[1]], there: [there[0], there[1]], weights: [rest, share], slope })
}
