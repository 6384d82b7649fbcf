//! `AveragePool`: the mean of each window of `x [N, C, D1, …]`.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__AveragePool.html>. `count_include_pad` came with version 7,
//! `ceil_mode` with 10, `dilations` with 19.

use super::{couple, spread, windows};
use crate::ops::window::Slide;
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};

struct AveragePool(Spec);

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&AveragePool(
    Spec::onnx(
        "AveragePool",
        1..=1,
        &["auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides"],
    )
    .versions(1..=NEWEST_OPSET),
)];

/// For every window, the share of an element in its mean along this axis. Padding may count, but not what hangs over
/// it.
fn shares(slide: &Slide, include_pad: bool) -> Vec<f64> {
    let end = slide.before + slide.input + slide.behind;
    let padded = |output: usize| {
        (0..slide.kernel).filter(|tap| output * slide.stride + tap * slide.dilation < end).count()
    };
    let counts = if include_pad { (0..slide.output).map(padded).collect() } else { slide.counts() };
    counts.into_iter().map(|count| 1.0 / count.max(1) as f64).collect()
}

impl Operator for AveragePool {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        // The mean over a window of nothing but padding is not a number.
        let full = windows(node)?.iter().all(|slide| !slide.counts().contains(&0));
        couple(node, slots, full)
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        if !tape.wants(0) {
            return Ok(());
        }
        let windows = windows(node)?;
        let include_pad = node.int("count_include_pad", 0) != 0;
        let weights: Vec<Vec<f64>> = windows.iter().map(|slide| shares(slide, include_pad)).collect();
        let dy = tape.dy0()?;
        let dx = spread(tape, &windows, &weights, dy)?;
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
            Example::new("AveragePool")
                .computed(dims)
                .attribute("kernel_shape", kernel.to_vec())
                .prunable(0, 1)
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
                .attribute("pads", ints(&[1, 0, 1, 1]))
                .attribute("count_include_pad", 1),
            pool(&[2, 3, 7, 6], &[3, 3])
                .attribute("strides", ints(&[2, 2]))
                .attribute("ceil_mode", 1)
                .opset(11),
            pool(&[2, 3, 6, 6], &[3, 3])
                .attribute("strides", ints(&[2, 2]))
                .attribute("pads", ints(&[1, 1, 1, 1]))
                .attribute("ceil_mode", 1)
                .attribute("count_include_pad", 1)
                .opset(19),
            pool(&[2, 3, 7, 6], &[2, 2]).attribute("dilations", ints(&[2, 3])).opset(19),
            pool(&[2, 3, 5, 6], &[3, 2])
                .attribute("strides", ints(&[2, 1]))
                .attribute("auto_pad", "SAME_UPPER"),
            pool(&[2, 3, 7], &[3]).attribute("strides", ints(&[2])).opset(7),
            pool(&[1, 3, 4, 3, 5], &[2, 2, 2]).attribute("strides", ints(&[2, 1, 2])),
        ]
    }
}
