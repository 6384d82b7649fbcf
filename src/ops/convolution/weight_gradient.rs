//! The gradient of `w [M, C/g, K1, …]`, given `dense [N, C, D1, …]` and `sparse [N, M, E1, …]`.
//!
//! `dw[m, c, k] = sum over n, e of sparse[n, m, e] * dense[n, c, e * stride + k * dilation - before]` is a convolution
//! whose window is all of `sparse`, whose channels are the images, and where strides and dilations change places.
//! With the channels of `dense` laid into its last spatial axis, all `K * C/g` results of a row are neighbours, so
//! that the matrix product inside is wide.

use super::{Form, Geometry};
use crate::ir::ValueId;
use crate::ops::window::Slide;
use crate::ops::{Tape, Unsupported};

/// Up to so many windows an image, sums over the taps of a depthwise convolution cost more than a convolution.
const FEW_WINDOWS: usize = 16;

/// Emits the gradient of the weight.
///
/// # Errors
/// When padding follows a free dimension.
pub(super) fn emit(
    tape: &mut Tape<'_>,
    form: &Form,
    dense: ValueId,
    sparse: ValueId,
) -> Result<ValueId, Unsupported> {
    form.require_steady_pads()?;
    let (rows, columns) = (form.m / form.groups, form.c / form.groups);
    let unpadded = form.slides.iter().all(|slide| {
        slide.kernel == 1 && slide.before == 0 && slide.fitting() <= 0 && (slide.behind == 0 || !slide.varies)
    });
    Ok(if unpadded && rows * columns <= form.windows() * (rows + columns) {
        product_per_image(tape, form, dense, sparse)
    } else if unpadded && form.groups == 1 {
        one_product(tape, form, dense, sparse)
    } else if form.groups > 1 && rows == 1 && columns == 1 && form.windows() > FEW_WINDOWS && !form.varies() {
        depthwise(tape, form, dense, sparse)
    } else {
        as_convolution(tape, form, dense, sparse)
    })
}

/// The elements of `dense`, padded so that the windows fit, which tap `taps` of all windows sees.
fn seen(tape: &mut Tape<'_>, form: &Form, dense: ValueId, taps: &[usize]) -> ValueId {
    let pointwise = |slide: &Slide| slide.extent() == 1 && slide.stride == 1 && slide.fitting() == 0;
    if form.slides.iter().all(pointwise) {
        return dense;
    }
    let axes: Vec<usize> = (2..form.rank() + 2).collect();
    let (mut starts, mut ends, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    for (slide, tap) in form.slides.iter().zip(taps) {
        let start = tap * slide.dilation;
        starts.push(start as i64);
        steps.push(slide.stride as i64);
        ends.push(if slide.varies {
            i64::MAX
        } else {
            (start + (slide.output - 1) * slide.stride + 1) as i64
        });
    }
    tape.slice(dense, &axes, &starts, &ends, &steps)
}

fn weight_dims(form: &Form) -> Vec<i64> {
    let kernel = form.slides.iter().map(|slide| slide.kernel);
    [form.m, form.c / form.groups].into_iter().chain(kernel).map(|dim| dim as i64).collect()
}

/// A window of one tap: a matrix product for each image and group, summed up over the images.
fn product_per_image(tape: &mut Tape<'_>, form: &Form, dense: ValueId, sparse: ValueId) -> ValueId {
    let [g, rows, columns] =
        [form.groups, form.m / form.groups, form.c / form.groups].map(|size| size as i64);
    let x = seen(tape, form, dense, &vec![0; form.rank()]);
    let x = tape.reshape(x, &[0, g, columns, -1]);
    let x = tape.transpose(x, &[0, 1, 3, 2]);
    let y = tape.reshape(sparse, &[0, g, rows, -1]);
    let products = tape.matmul(y, x);
    let sum = tape.reduce_sum(products, &[0], false);
    tape.reshape(sum, &weight_dims(form))
}

/// A window of one tap: one matrix product over the windows of all images.
fn one_product(tape: &mut Tape<'_>, form: &Form, dense: ValueId, sparse: ValueId) -> ValueId {
    let x = seen(tape, form, dense, &vec![0; form.rank()]);
    let x = tape.transpose(x, &channels_last(form.rank()));
    let x = tape.reshape(x, &[-1, form.c as i64]);
    let y = tape.transpose(sparse, &channels_first(form.rank()));
    let y = tape.reshape(y, &[form.m as i64, -1]);
    let product = tape.matmul(y, x);
    tape.reshape(product, &weight_dims(form))
}

/// One channel a group: for each tap the products with the elements that it sees, summed up.
fn depthwise(tape: &mut Tape<'_>, form: &Form, dense: ValueId, sparse: ValueId) -> ValueId {
    let mut pads = vec![0; 2 * (form.rank() + 2)];
    for (axis, slide) in form.slides.iter().enumerate() {
        pads[axis + 2] = slide.before as i64;
        pads[axis + form.rank() + 4] = slide.fitting().max(0);
    }
    let padded = tape.pad(dense, &pads);
    let axes: Vec<usize> = (0..form.rank() + 2).filter(|&axis| axis != 1).collect();
    let count: usize = form.slides.iter().map(|slide| slide.kernel).product();
    let mut sums = Vec::with_capacity(count);
    for index in 0..count {
        let mut rest = index;
        let mut taps = vec![0; form.rank()];
        for (tap, slide) in taps.iter_mut().zip(&form.slides).rev() {
            (*tap, rest) = (rest % slide.kernel, rest / slide.kernel);
        }
        let x = seen(tape, form, padded, &taps);
        let products = tape.mul(x, sparse);
        let sum = tape.reduce_sum(products, &axes, false);
        sums.push(tape.reshape(sum, &[form.c as i64, 1]));
    }
    let joined = tape.concat(&sums, 1);
    tape.reshape(joined, &weight_dims(form))
}

fn as_convolution(tape: &mut Tape<'_>, form: &Form, dense: ValueId, sparse: ValueId) -> ValueId {
    let (rank, columns) = (form.rank(), form.c / form.groups);
    let x = channels_into_last_axis(tape, form, dense);
    let y = tape.transpose(sparse, &channels_first(rank));

    let mut geometry = Geometry::new(form.groups);
    for (axis, slide) in form.slides.iter().enumerate() {
        let behind = if slide.fitting_varies { slide.behind } else { slide.fitting().max(0) as usize };
        if axis + 1 == rank {
            geometry.push(1, slide.stride * columns, slide.before * columns, behind * columns);
        } else {
            geometry.push(slide.dilation, slide.stride, slide.before, behind);
        }
    }
    let mut sums = geometry.emit(tape, "Conv", x, y);

    let last = &form.slides[rank - 1];
    let kernel = form.slides.iter().map(|slide| slide.kernel as i64);
    let mut dims: Vec<i64> = [form.m as i64].into_iter().chain(kernel).collect();
    // The last axis holds every position from the first to the last tap.
    dims[rank] = last.extent() as i64;
    if form.slides.iter().any(|slide| slide.fitting_varies) {
        // Where the windows end before the input does, there are positions behind the last tap.
        let axes: Vec<usize> = (2..rank + 2).collect();
        let mut ends = dims[1..].to_vec();
        ends[rank - 1] *= columns as i64;
        sums = tape.slice(sums, &axes, &vec![0; rank], &ends, &vec![1; rank]);
    }
    dims.push(columns as i64);
    let mut taps = tape.reshape(sums, &dims);
    if last.dilation > 1 && last.kernel > 1 {
        taps = tape.slice(taps, &[rank], &[0], &[i64::MAX], &[last.dilation as i64]);
    }
    let order: Vec<usize> = [0, rank + 1].into_iter().chain(1..=rank).collect();
    tape.transpose(taps, &order)
}

/// `dense [N, C, D1, …, Dr]` as `[1, g * N, D1, …, Dr * C/g]`, without elements that no window sees.
fn channels_into_last_axis(tape: &mut Tape<'_>, form: &Form, dense: ValueId) -> ValueId {
    let (rank, g, columns) = (form.rank(), form.groups as i64, (form.c / form.groups) as i64);
    let unseen = |slide: &Slide| !slide.fitting_varies && slide.fitting() < 0;
    let axes: Vec<usize> = (0..rank).filter(|&axis| unseen(&form.slides[axis])).collect();
    let mut x = dense;
    if !axes.is_empty() {
        let ends: Vec<i64> = axes.iter().map(|&axis| form.slides[axis].fitting()).collect();
        let places: Vec<usize> = axes.iter().map(|axis| axis + 2).collect();
        x = tape.slice(x, &places, &vec![0; axes.len()], &ends, &vec![1; axes.len()]);
    }
    if g == 1 {
        x = tape.transpose(x, &channels_last(rank));
        x = tape.unsqueeze(x, &[0]);
        // Zeros keep the dimensions in front of the last two.
        return tape.reshape(x, &[vec![0; rank + 1], vec![-1]].concat());
    }
    let size = |slide: &Slide| (slide.input as i64) + slide.fitting().min(0);
    if form.varies() {
        let sizes = tape.op("Shape", &[x]);
        let [front, last] = [[2, rank as i64 + 1], [rank as i64 + 1, i64::MAX]]
            .map(|[start, end]| tape.slice(sizes, &[0], &[start], &[end], &[1]));
        let [split, merged, columns] =
            [[0, g, columns].as_slice(), &[1, -1], &[columns]].map(|ints| tape.ints(ints));
        let split = tape.concat(&[split, front, last], 0);
        let wide = tape.mul(last, columns);
        let merged = tape.concat(&[merged, front, wide], 0);
        return regroup(tape, rank, x, split, merged);
    }
    let sizes: Vec<i64> = form.slides.iter().map(size).collect();
    let split = tape.ints(&[vec![0, g, columns], sizes.clone()].concat());
    let merged = tape.ints(&[&[1, -1], &sizes[..rank - 1], &[sizes[rank - 1] * columns]].concat());
    regroup(tape, rank, x, split, merged)
}

/// From `split [N, g, C/g, D1, …]` over `[g, N, D1, …, C/g]` to `merged`.
fn regroup(tape: &mut Tape<'_>, rank: usize, x: ValueId, split: ValueId, merged: ValueId) -> ValueId {
    let x = tape.reshape_to(x, split);
    let order: Vec<usize> = [1, 0].into_iter().chain(3..rank + 3).chain([2]).collect();
    let x = tape.transpose(x, &order);
    tape.reshape_to(x, merged)
}

/// The order of axes that brings `[N, C, D1, …]` to `[N, D1, …, C]`.
fn channels_last(rank: usize) -> Vec<usize> {
    [0].into_iter().chain(2..rank + 2).chain([1]).collect()
}

/// The order of axes that brings `[N, C, D1, …]` to `[C, N, D1, …]`.
fn channels_first(rank: usize) -> Vec<usize> {
    [1, 0].into_iter().chain(2..rank + 2).collect()
}
