//! Conv: `x [N, C, D1, …]`, `w [M, C/g, K1, …]`, bias `[M]` give `y [N, M, E1, …]`.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__Conv.html>. No operator set version changed what it computes.

use super::{Form, dense_gradient, give_bias, kept, kernel, weight_gradient};
use crate::ops::window::{product, slides};
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};

struct Conv(Spec);

pub(super) static CONV: &dyn Operator = &Conv(
    Spec::onnx("Conv", 2..=3, &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"])
        .versions(1..=NEWEST_OPSET),
);

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[CONV];

pub(super) fn form(node: &NodeView<'_>) -> Result<Form, Unsupported> {
    let (x, w, y) = (node.x(0)?, node.x(1)?, node.y(0)?);
    if w.rank() < 3 || w.rank() != x.rank() || y.rank() != x.rank() {
        return Err(Unsupported(format!(
            "x of rank {} does not fit w [M, C/g, K1, …] of rank {}",
            x.rank(),
            w.rank()
        )));
    }
    let (c, m) = (x.dims()[1], w.dims()[0]);
    let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
    if groups == 0 || c != groups * w.dims()[1] || !m.is_multiple_of(groups) || y.dims()[1] != m {
        return Err(Unsupported(format!(
            "{groups} groups do not fit {c} input channels and w {:?}",
            w.dims()
        )));
    }
    Ok(Form { groups, c, m, slides: slides(node, &w.dims()[2..], x, y)? })
}

impl Operator for Conv {
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
        let mut zero = rows.zero();
        if form.groups == 1 {
            slots.contract(&channels, &columns);
        } else {
            let x = slots.split(&channels, &[form.groups, form.c / form.groups]);
            let w = slots.split(&rows, &[form.groups, form.m / form.groups]);
            slots.tie(&x[0], &w[0]);
            slots.contract(&x[1], &columns);
        }
        let batch = slots.input(0, 0);
        let bias = node.input(2).map(|_| slots.input(2, 0));
        if let Some(bias) = &bias {
            slots.tie(&rows, bias);
            zero &= bias.zero();
        }
        slots.set(0, 0, batch.with_zero(batch.zero() && bias.is_none()));
        slots.set(0, 1, rows.with_zero(zero));
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let form = form(node)?;
        let (x, w, dy) = (tape.x(0)?, tape.x(1)?, tape.dy0()?);
        give_bias(tape, form.rank(), dy);
        if kernel::give(tape, &form, [x, w, dy]) {
            return Ok(());
        }
        if tape.wants(0) {
            let dx = dense_gradient::emit(tape, &form, dy, w, x)?;
            tape.give(0, dx);
        }
        if tape.wants(1) {
            let dw = weight_gradient::emit(tape, &form, x, dy)?;
            tape.give(1, dw);
        }
        Ok(())
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        let (Some(w), Some(y)) = (node.input(1), node.output(0)) else { return 0 };
        product(y.dims().iter().copied()) * product(w.dims().iter().skip(1).copied())
    }

    fn resize(&self, node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
        let form = form(node)?;
        let c = kept(cut.input(0, 1), form.c);
        let columns = kept(cut.input(1, 1), form.c / form.groups);
        let m = kept(cut.input(1, 0), form.m);
        form.resize([c, columns, m], edit)
    }

    fn examples(&self) -> Vec<Example> {
        examples()
    }
}

fn conv(x: &[usize], w: &[usize]) -> Example {
    Example::new("Conv").computed(x).weight(w).range(-1.0, 1.0)
}

fn examples() -> Vec<Example> {
    let ints = |values: &[i64]| values.to_vec();
    vec![
        conv(&[2, 4, 5, 6], &[6, 4, 3, 3]).attribute("pads", ints(&[1, 1, 1, 1])).prunable(0, 1).macs(12960),
        conv(&[2, 4, 5, 6], &[6, 4, 3, 3]).weight(&[6]).opset(11).prunable(0, 1).macs(5184),
        conv(&[2, 4, 7, 6], &[6, 4, 3, 2])
            .weight(&[6])
            .attribute("kernel_shape", ints(&[3, 2]))
            .attribute("strides", ints(&[2, 3]))
            .attribute("pads", ints(&[2, 0, 1, 3]))
            .attribute("dilations", ints(&[1, 2]))
            .prunable(0, 1)
            .macs(3456),
        conv(&[2, 4, 8, 7], &[3, 4, 3, 3])
            .attribute("strides", ints(&[2, 2]))
            .attribute("auto_pad", "SAME_UPPER")
            .prunable(0, 1)
            .macs(3456),
        conv(&[2, 4, 8, 7], &[3, 4, 2, 2]).attribute("auto_pad", "SAME_LOWER").prunable(0, 1).macs(5376),
        conv(&[1, 3, 6], &[4, 3, 3]).attribute("auto_pad", "VALID").attribute("strides", ints(&[2])).macs(72),
        conv(&[2, 4, 4, 5], &[6, 4, 1, 1]).weight(&[6]).prunable(0, 1).macs(960),
        conv(&[2, 4, 5, 6], &[6, 4, 1, 1]).attribute("strides", ints(&[2, 2])).prunable(0, 1).macs(432),
        conv(&[1, 3, 9, 9], &[4, 3, 5, 5])
            .attribute("strides", ints(&[2, 2]))
            .attribute("pads", ints(&[2, 2, 2, 2]))
            .macs(7500),
        conv(&[2, 6, 5, 5], &[6, 1, 3, 3])
            .weight(&[6])
            .attribute("group", 6)
            .attribute("pads", ints(&[1, 1, 1, 1]))
            .prunable(0, 1)
            .macs(2700),
        conv(&[2, 4, 6, 5], &[8, 1, 3, 3])
            .attribute("group", 4)
            .attribute("strides", ints(&[2, 2]))
            .attribute("pads", ints(&[1, 1, 1, 1]))
            .prunable(0, 1)
            .macs(1296),
        conv(&[2, 6, 5, 5], &[9, 2, 3, 3]).weight(&[9]).attribute("group", 3).prunable(0, 1).macs(2916),
        conv(&[2, 8, 5, 6], &[4, 4, 2, 3])
            .attribute("group", 2)
            .attribute("strides", ints(&[1, 2]))
            .attribute("pads", ints(&[0, 1, 1, 0]))
            .prunable(0, 1)
            .macs(2880),
        conv(&[2, 4, 7], &[6, 2, 3])
            .attribute("group", 2)
            .attribute("dilations", ints(&[2]))
            .prunable(0, 1)
            .macs(216),
        conv(&[1, 4, 4, 3, 5], &[4, 4, 2, 2, 3])
            .weight(&[4])
            .attribute("strides", ints(&[2, 1, 2]))
            .attribute("pads", ints(&[0, 1, 1, 1, 0, 1]))
            .prunable(0, 1)
            .macs(3456),
        // More windows than are taken together with those of other images.
        conv(&[1, 2, 9, 10], &[3, 2, 3, 2]).attribute("pads", ints(&[2, 0, 1, 1])).prunable(0, 1).macs(3600),
        conv(&[1, 4, 10, 9], &[6, 2, 3, 3])
            .attribute("group", 2)
            .attribute("dilations", ints(&[1, 2]))
            .attribute("pads", ints(&[1, 2, 1, 2]))
            .prunable(0, 1)
            .macs(9720),
        conv(&[1, 3, 9, 8], &[3, 1, 3, 3])
            .attribute("group", 3)
            .attribute("pads", ints(&[1, 1, 1, 1]))
            .prunable(0, 1)
            .macs(1944),
        conv(&[2, 3, 5, 4], &[3, 1, 3, 3])
            .attribute("group", 3)
            .attribute("strides", ints(&[2, 2]))
            .attribute("pads", ints(&[1, 1, 1, 1]))
            .prunable(0, 1)
            .macs(324),
        conv(&[1, 2, 18, 17], &[3, 2, 3, 3])
            .attribute("strides", ints(&[2, 2]))
            .attribute("pads", ints(&[1, 0, 1, 1]))
            .prunable(0, 1)
            .macs(3888),
        conv(&[1, 2, 9, 9], &[3, 2, 1, 1]).attribute("pads", ints(&[1, 0, 0, 2])).prunable(0, 1).macs(660),
        // Fewer windows than channels.
        conv(&[2, 4, 1, 2], &[6, 4, 1, 1]).prunable(0, 1).macs(96),
        conv(&[2, 4, 4, 3], &[6, 2, 1, 1]).attribute("group", 2).prunable(0, 1).macs(288),
        Example::new("Conv")
            .computed(&[1, 4, 4, 4])
            .computed(&[4, 4, 2, 2])
            .prunable(0, 1)
            .prunable(1, 0)
            .prunable(1, 1)
            .range(-1.0, 1.0)
            .macs(576),
    ]
}
