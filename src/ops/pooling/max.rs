//! `MaxPool`: the largest element of each window of `x [N, C, D1, …]`, and where it lies.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__MaxPool.html>. The output of indices came with version 8,
//! `ceil_mode` and `dilations` with 10.

use super::{couple, windows};
use crate::ir::{NodeSpec, ValueId};
use crate::ops::window::Slide;
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};

struct MaxPool(Spec);

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&MaxPool(
    Spec::onnx(
        "MaxPool",
        1..=1,
        &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"],
    )
    .versions(1..=NEWEST_OPSET)
    .outputs(1..=2),
)];

/// Where the largest element of each window lies, counted through all of `x` in row-major order.
fn places(node: &NodeView<'_>, tape: &mut Tape<'_>, x: ValueId) -> ValueId {
    let mut spec = NodeSpec::new("MaxPool", &[x]);
    for name in ["kernel_shape", "strides", "dilations", "pads"] {
        if let Some(values) = node.ints(name) {
            spec = spec.attribute(name, values.to_vec());
        }
    }
    if node.has("auto_pad") {
        spec = spec.attribute("auto_pad", node.string("auto_pad", "NOTSET"));
    }
    if node.has("ceil_mode") {
        spec = spec.attribute("ceil_mode", node.int("ceil_mode", 0));
    }
    tape.nodes(spec, 2)[1]
}

fn scatter(tape: &mut Tape<'_>, zeros: ValueId, places: ValueId, dy: ValueId, add: bool) -> ValueId {
    let places = tape.reshape(places, &[-1]);
    let dy = tape.reshape(dy, &[-1]);
    let mut spec = NodeSpec::new("ScatterElements", &[zeros, places, dy]).attribute("axis", 0);
    if add {
        spec = spec.attribute("reduction", "add");
    }
    tape.node(spec)
}

/// Scatters windows that do not overlap together, and sums up: no place then gets two numbers at once.
fn scatter_apart(
    tape: &mut Tape<'_>,
    windows: &[Slide],
    zeros: ValueId,
    places: ValueId,
    dy: ValueId,
) -> ValueId {
    let steps: Vec<usize> = windows.iter().map(|slide| slide.extent().div_ceil(slide.stride)).collect();
    let axes: Vec<usize> = (2..windows.len() + 2).collect();
    let ends = vec![i64::MAX; windows.len()];
    let mut sum: Option<ValueId> = None;
    for index in 0..steps.iter().product::<usize>() {
        let mut rest = index;
        let mut starts = vec![0; steps.len()];
        for (start, step) in starts.iter_mut().zip(&steps) {
            (*start, rest) = ((rest % step) as i64, rest / step);
        }
        if starts.iter().zip(windows).any(|(&start, slide)| !slide.varies && start >= slide.output as i64) {
            continue;
        }
        let (mut places, mut dy) = (places, dy);
        if steps.iter().any(|&step| step > 1) {
            let steps: Vec<i64> = steps.iter().map(|&step| step as i64).collect();
            places = tape.slice(places, &axes, &starts, &ends, &steps);
            dy = tape.slice(dy, &axes, &starts, &ends, &steps);
        }
        let part = scatter(tape, zeros, places, dy, false);
        sum = Some(sum.map_or(part, |sum| tape.add(sum, part)));
    }
    sum.unwrap_or(zeros)
}

impl Operator for MaxPool {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        if node.output(1).is_some() {
            return Err(Unsupported::new("its output of indices counts through all channels"));
        }
        // The maximum over a window of nothing but padding is no number that a sum may contain.
        let full = windows(node)?.iter().all(|slide| !slide.counts().contains(&0));
        couple(node, slots, full)
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        if !tape.wants(0) {
            return Ok(());
        }
        if tape.opset() < 11 {
            return Err(Unsupported::new("its gradient needs opset 11"));
        }
        let windows = windows(node)?;
        let (x, dy) = (tape.x(0)?, tape.dy0()?);
        let places = places(node, tape, x);
        let shape = tape.op("Shape", &[x]);
        let zero = tape.scalar(0.0);
        let zeros = tape.op("Expand", &[zero, shape]);
        let zeros = tape.reshape(zeros, &[-1]);
        let grad = if tape.opset() >= 16 && windows.iter().any(|slide| slide.extent() > slide.stride) {
            scatter(tape, zeros, places, dy, true)
        } else {
            scatter_apart(tape, &windows, zeros, places, dy)
        };
        let dx = tape.reshape_to(grad, shape);
        tape.give(0, dx);
        Ok(())
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let pool = |dims: &[usize], kernel: &[i64]| {
            Example::new("MaxPool")
                .computed(dims)
                .attribute("kernel_shape", kernel.to_vec())
                .prunable(0, 1)
                .range(-20.0, 20.0)
        };
        let ints = |values: &[i64]| values.to_vec();
        vec![
            pool(&[2, 3, 4, 6], &[2, 3]).attribute("strides", ints(&[2, 3])),
            pool(&[2, 3, 5, 5], &[2, 2]).attribute("strides", ints(&[2, 2])),
            pool(&[2, 3, 5, 6], &[3, 2]),
            pool(&[2, 3, 7, 6], &[3, 3])
                .attribute("strides", ints(&[2, 2]))
                .attribute("pads", ints(&[1, 1, 1, 1])),
            pool(&[2, 3, 7, 6], &[3, 3])
                .attribute("strides", ints(&[2, 2]))
                .attribute("ceil_mode", 1)
                .opset(11),
            pool(&[2, 3, 7, 6], &[2, 2])
                .attribute("dilations", ints(&[2, 3]))
                .attribute("strides", ints(&[2, 1]))
                .opset(12),
            pool(&[2, 3, 5, 6], &[3, 2])
                .attribute("strides", ints(&[2, 1]))
                .attribute("auto_pad", "SAME_LOWER"),
            pool(&[2, 3, 7], &[3]).attribute("strides", ints(&[2])).attribute("storage_order", 1),
            pool(&[1, 3, 4, 3, 5], &[2, 2, 2]).attribute("strides", ints(&[2, 1, 2])),
        ]
    }
}
