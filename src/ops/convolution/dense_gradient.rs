//! The gradient of `dense [N, C, D1, …]`, given that of `sparse [N, M, E1, …]` and `w [M, C/g, K1, …]`.
//!
//! Three forms. Where there are few windows an image, one `ConvTranspose` over all images at once, which stand along
//! a further spatial axis: the matrix products inside would else be narrow. Where the windows move by one element,
//! a Conv with turned weights, which runtimes spread better over threads. Else a `ConvTranspose`.

use super::{Form, Geometry};
use crate::ir::ValueId;
use crate::ops::{Tape, Unsupported};

/// Up to so many windows an image, all images are taken together.
const FEW_WINDOWS: usize = 64;

/// Emits the gradient of the dense side.
///
/// # Errors
/// When padding follows a free dimension.
pub(super) fn emit(
    tape: &mut Tape<'_>,
    form: &Form,
    sparse: ValueId,
    w: ValueId,
    dense: ValueId,
) -> Result<ValueId, Unsupported> {
    form.require_steady_pads()?;
    if form.slides.iter().any(|slide| slide.fitting_varies) {
        return transposed_to_size(tape, form, sparse, w, dense);
    }
    if form.windows() <= FEW_WINDOWS && form.rank() <= 2 {
        return Ok(all_images_at_once(tape, form, sparse, w));
    }
    let turnable = form.slides.iter().all(|slide| {
        let reach = slide.extent() as i64 - 1;
        slide.stride == 1 && slide.before as i64 <= reach && slide.fitting() <= reach
    });
    if turnable && tape.opset() >= 10 {
        return Ok(turned(tape, form, sparse, w));
    }
    Ok(Geometry::transposed(form.groups, &form.slides).emit(tape, "ConvTranspose", sparse, w))
}

fn all_images_at_once(tape: &mut Tape<'_>, form: &Form, sparse: ValueId, w: ValueId) -> ValueId {
    let rank = form.rank();
    let images_last: Vec<usize> = (1..rank + 2).chain([0]).collect();
    let images_first: Vec<usize> = [rank + 1].into_iter().chain(0..=rank).collect();
    let mut geometry = Geometry::transposed(form.groups, &form.slides);
    geometry.push(1, 1, 0, 0);
    geometry.output_padding.push(0);
    let y = tape.transpose(sparse, &images_last);
    let y = tape.unsqueeze(y, &[0]);
    let w = tape.unsqueeze(w, &[rank + 2]);
    let x = geometry.emit(tape, "ConvTranspose", y, w);
    let x = tape.squeeze(x, &[0]);
    tape.transpose(x, &images_first)
}

fn turned(tape: &mut Tape<'_>, form: &Form, sparse: ValueId, w: ValueId) -> ValueId {
    let (rank, g, rows, columns) = (form.rank(), form.groups, form.m / form.groups, form.c / form.groups);
    let mut w = w;
    let wide: Vec<usize> = (0..rank).filter(|&axis| form.slides[axis].kernel > 1).collect();
    if !wide.is_empty() {
        let axes: Vec<usize> = wide.iter().map(|axis| axis + 2).collect();
        let [starts, ends, steps] = [-1, i64::MIN + 1, -1].map(|value| vec![value; wide.len()]);
        w = tape.slice(w, &axes, &starts, &ends, &steps);
    }
    if g == 1 {
        let order: Vec<usize> = [1, 0].into_iter().chain(2..rank + 2).collect();
        w = tape.transpose(w, &order);
    } else if rows > 1 || columns > 1 {
        let kernel: Vec<i64> = form.slides.iter().map(|slide| slide.kernel as i64).collect();
        let split = [vec![g as i64, rows as i64, columns as i64], kernel.clone()].concat();
        let order: Vec<usize> = [0, 2, 1].into_iter().chain(3..rank + 3).collect();
        w = tape.reshape(w, &split);
        w = tape.transpose(w, &order);
        w = tape.reshape(w, &[vec![form.c as i64, rows as i64], kernel].concat());
    }
    let mut geometry = Geometry::new(g);
    for slide in &form.slides {
        let behind = slide.extent() as i64 - 1 - slide.fitting();
        geometry.push(1, slide.dilation, slide.extent() - 1 - slide.before, behind as usize);
    }
    geometry.emit(tape, "Conv", sparse, w)
}

/// As many elements as the input may have had, cut to those that it has.
fn transposed_to_size(
    tape: &mut Tape<'_>,
    form: &Form,
    sparse: ValueId,
    w: ValueId,
    dense: ValueId,
) -> Result<ValueId, Unsupported> {
    if tape.opset() < 10 {
        return Err(Unsupported::new(
            "the gradient of a strided convolution over a free size needs opset 10",
        ));
    }
    let mut geometry = Geometry::new(form.groups);
    for slide in &form.slides {
        let spare = slide.stride - 1;
        geometry.push(slide.stride, slide.dilation, slide.before, slide.behind.saturating_sub(spare));
        geometry.output_padding.push(spare.saturating_sub(slide.behind));
    }
    let x = geometry.emit(tape, "ConvTranspose", sparse, w);
    let rank = form.rank() as i64;
    let sizes = tape.op("Shape", &[dense]);
    let ends = tape.slice(sizes, &[0], &[2], &[i64::MAX], &[1]);
    let starts = tape.ints(&vec![0; form.rank()]);
    let axes = tape.ints(&(2..rank + 2).collect::<Vec<i64>>());
    Ok(tape.op("Slice", &[x, starts, ends, axes]))
}
