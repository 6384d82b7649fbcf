//! `ConvTranspose`: `x [N, C, D1, …]`, `w [C, M/g, K1, …]`, bias `[M]` give `y [N, M, E1, …]`.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__ConvTranspose.html>. No operator set version changed what it
//! computes. Seen backwards it is a convolution whose windows slide over `y`.

use super::{Form, Geometry, give_bias, kept, weight_gradient};
use crate::ir::ValueId;
use crate::ops::window::{Slide, numbers, product, slides};
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};

struct ConvTranspose(Spec);

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&ConvTranspose(
    Spec::onnx(
        "ConvTranspose",
        2..=3,
        &[
            "auto_pad",
            "dilations",
            "group",
            "kernel_shape",
            "output_padding",
            "output_shape",
            "pads",
            "strides",
        ],
    )
    .versions(1..=NEWEST_OPSET),
)];

fn form(node: &NodeView<'_>) -> Result<Form, Unsupported> {
    let (x, w, y) = (node.x(0)?, node.x(1)?, node.y(0)?);
    if w.rank() < 3 || w.rank() != x.rank() || y.rank() != x.rank() {
        return Err(Unsupported(format!(
            "x of rank {} does not fit w [C, M/g, K1, …] of rank {}",
            x.rank(),
            w.rank()
        )));
    }
    let (m, c) = (x.dims()[1], y.dims()[1]);
    let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
    if groups == 0 || m != w.dims()[0] || !m.is_multiple_of(groups) || c != groups * w.dims()[1] {
        return Err(Unsupported(format!(
            "{groups} groups do not fit {m} input channels and w {:?}",
            w.dims()
        )));
    }
    Ok(Form { groups, c, m, slides: transposed_slides(node)? })
}

/// The windows over `y`: what `output_shape` and `auto_pad` ask for is met by padding.
fn transposed_slides(node: &NodeView<'_>) -> Result<Vec<Slide>, Unsupported> {
    let (x, w, y) = (node.x(0)?, node.x(1)?, node.y(0)?);
    let kernel = &w.dims()[2..];
    let extra = numbers(node, "output_padding", kernel.len(), 0)?;
    let auto_pad = node.string("auto_pad", "NOTSET");
    let mut slides = slides(node, kernel, y, x)?;
    for slide in &mut slides {
        // How many elements the windows leave over is said by the attributes, whatever the size.
        (slide.pads_vary, slide.fitting_varies) = (false, false);
    }
    if node.has("output_shape") || auto_pad.starts_with("SAME") {
        for (slide, extra) in slides.iter_mut().zip(extra) {
            slide.pads_vary = slide.varies;
            let Some(total) = (slide.reach() + extra).checked_sub(slide.input) else {
                return Err(Unsupported::new("output_shape is larger than the windows reach"));
            };
            slide.before = if auto_pad == "SAME_UPPER" { total / 2 } else { total - total / 2 };
            slide.behind = total - slide.before;
        }
    }
    Ok(slides)
}

/// The convolution that leads from elements of `y` to windows.
fn convolved(tape: &mut Tape<'_>, form: &Form, dy: ValueId, w: ValueId) -> ValueId {
    let mut geometry = Geometry::new(form.groups);
    let mut dy = dy;
    for (axis, slide) in form.slides.iter().enumerate() {
        let fitting = slide.fitting();
        geometry.push(slide.stride, slide.dilation, slide.before, fitting.max(0) as usize);
        // A whole step of elements that no window sees would make room for one more window.
        if -fitting >= slide.stride as i64 {
            dy = tape.slice(dy, &[axis + 2], &[0], &[fitting], &[1]);
        }
    }
    geometry.emit(tape, "Conv", dy, w)
}

impl Operator for ConvTranspose {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let form = form(node)?;
        let (channels, rows, columns) = (slots.input(0, 1), slots.input(1, 0), slots.input(1, 1));
        for axis in 2..form.slides.len() + 2 {
            slots.pin(&slots.input(0, axis), "a window slides along the axis");
            slots.pin(&slots.input(1, axis), "the axis is a side of the window");
        }
        let (mut out, mut zero) = (columns.clone(), columns.zero());
        if form.groups == 1 {
            slots.contract(&channels, &rows);
        } else {
            let sizes = [form.groups, form.m / form.groups];
            let (x, w) = (slots.split(&channels, &sizes), slots.split(&rows, &sizes));
            slots.tie(&x[0], &w[0]);
            slots.contract(&x[1], &w[1]);
            out = slots.merge(&[w[0].clone(), columns.clone()]);
            zero = (w[0].is_fixed() || rows.zero()) && (columns.is_fixed() || columns.zero());
        }
        let batch = slots.input(0, 0);
        let bias = node.input(2).map(|_| slots.input(2, 0));
        if let Some(bias) = &bias {
            slots.tie(&out, bias);
            zero &= bias.zero();
        }
        slots.set(0, 0, batch.with_zero(batch.zero() && bias.is_none()));
        slots.set(0, 1, out.with_zero(zero));
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let form = form(node)?;
        let (x, w, dy) = (tape.x(0)?, tape.x(1)?, tape.dy0()?);
        form.require_steady_pads()?;
        if tape.wants(0) {
            let dx = convolved(tape, &form, dy, w);
            tape.give(0, dx);
        }
        if tape.wants(1) {
            let dw = weight_gradient::emit(tape, &form, dy, x)?;
            tape.give(1, dw);
        }
        give_bias(tape, form.rank(), dy);
        Ok(())
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        let (Some(x), Some(w)) = (node.input(0), node.input(1)) else { return 0 };
        product(x.dims().iter().copied()) * product(w.dims().iter().skip(1).copied())
    }

    fn resize(&self, node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
        let form = form(node)?;
        let c = kept(cut.output(0, 1), form.c);
        let columns = kept(cut.input(1, 1), form.c / form.groups);
        let m = kept(cut.input(1, 0), form.m);
        form.resize([c, columns, m], edit)
    }

    fn examples(&self) -> Vec<Example> {
        examples()
    }
}

fn transposed(x: &[usize], w: &[usize]) -> Example {
    Example::new("ConvTranspose").computed(x).weight(w).range(-1.0, 1.0)
}

fn examples() -> Vec<Example> {
    let ints = |values: &[i64]| values.to_vec();
    vec![
        transposed(&[2, 4, 3, 3], &[4, 6, 3, 3]).weight(&[6]).prunable(0, 1).macs(3888),
        transposed(&[2, 4, 3, 4], &[4, 6, 3, 2])
            .attribute("strides", ints(&[2, 3]))
            .attribute("pads", ints(&[1, 0, 0, 1]))
            .attribute("output_padding", ints(&[1, 2]))
            .prunable(0, 1)
            .macs(3456),
        transposed(&[2, 6, 3, 3], &[6, 3, 3, 3])
            .weight(&[6])
            .attribute("group", 2)
            .attribute("strides", ints(&[2, 2]))
            .attribute("pads", ints(&[1, 1, 1, 1]))
            .attribute("output_padding", ints(&[1, 1]))
            .prunable(0, 1)
            .macs(2916),
        transposed(&[2, 4, 3, 3], &[4, 1, 2, 2])
            .attribute("group", 4)
            .attribute("strides", ints(&[2, 2]))
            .prunable(0, 1)
            .macs(288),
        transposed(&[2, 4, 4, 3], &[4, 2, 3, 3])
            .weight(&[2])
            .attribute("dilations", ints(&[2, 1]))
            .attribute("pads", ints(&[1, 2, 1, 0]))
            .opset(11)
            .prunable(0, 1)
            .macs(1728),
        transposed(&[1, 4, 3, 3], &[4, 2, 3, 3])
            .attribute("strides", ints(&[2, 2]))
            .attribute("output_shape", ints(&[7, 7]))
            .prunable(0, 1)
            .macs(648),
        transposed(&[1, 4, 3, 3], &[4, 2, 3, 3])
            .attribute("strides", ints(&[2, 2]))
            .attribute("auto_pad", "SAME_UPPER")
            .prunable(0, 1)
            .macs(648),
        transposed(&[2, 4, 4], &[4, 3, 3]).attribute("strides", ints(&[2])).prunable(0, 1).macs(288),
        transposed(&[1, 4, 2, 3, 2], &[4, 2, 2, 2, 2])
            .attribute("strides", ints(&[2, 1, 2]))
            .prunable(0, 1)
            .macs(768),
    ]
}
