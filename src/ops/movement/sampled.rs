//! `RoiAlign`, `MaxRoiPool`, `GridSample`: every channel of `x [N, C, D1, …]` read at places that another input names.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__RoiAlign.html>,
//! <https://onnx.ai/onnx/operators/onnx__MaxRoiPool.html> and <https://onnx.ai/onnx/operators/onnx__GridSample.html>.
//! What is read of a channel of zeros is zero: samples are weighted means or maxima, and what lies outside counts as
//! zero or as an element of the channel.

use super::{Movement, pass, pin_inputs, sampling};
use crate::ops::{Coupling, Example, NEWEST_OPSET, NodeView, Operator, Spec, Tape, Unsupported};
use crate::tensor::Tensor;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Movement::new(
        Spec::onnx(
            "RoiAlign",
            3..=3,
            &[
                "coordinate_transformation_mode",
                "mode",
                "output_height",
                "output_width",
                "sampling_ratio",
                "spatial_scale",
            ],
        )
        .versions(10..=NEWEST_OPSET),
        couple,
        sampling::roi_align,
        roi_align_examples,
    ),
    &Movement::new(
        Spec::onnx("MaxRoiPool", 2..=2, &["pooled_shape", "spatial_scale"]),
        couple,
        gradient,
        || {
            let rois = Tensor::new(vec![1, 5], vec![0.0_f32, 0.0, 0.0, 4.0, 3.0]).into_iter();
            let case = |rois| {
                let case = Example::new("MaxRoiPool").attribute("pooled_shape", vec![2_i64, 2]).no_gradient();
                case.computed(&[1, 4, 5, 5]).constant(rois).prunable(0, 1)
            };
            rois.map(case).collect()
        },
    ),
    &Movement::new(
        Spec::onnx("GridSample", 2..=2, &["align_corners", "mode", "padding_mode"])
            .versions(16..=NEWEST_OPSET),
        couple,
        sampling::grid_sample,
        grid_sample_examples,
    ),
];

/// Channels pass on; everything else stays.
fn couple(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    let rank = node.x(0)?.rank();
    if rank < 3 || node.y(0)?.rank() < 2 {
        return Err(Unsupported(format!("x [N, C, ..] has rank {rank}")));
    }
    for axis in (0..rank).filter(|&axis| axis != 1) {
        let own = slots.input(0, axis);
        slots.pin(&own, "the places that are read are counted along the axis");
    }
    pin_inputs(node, slots, 1, "it names the places that are read");
    pass(node, slots, 1, 0, 1)
}

fn gradient(_: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    if tape.wants(0) || tape.wants(1) {
        return Err(Unsupported::new("reading at places that are computed has no gradient here"));
    }
    Ok(())
}

fn roi_align_examples() -> Vec<Example> {
    let rois = [
        Tensor::new(vec![2, 4], vec![0.5_f32, 0.0, 3.0, 4.0, 1.0, 1.5, 4.0, 4.5]),
        Tensor::new(vec![2, 4], vec![0.0_f32, 0.0, 4.0, 2.0, 2.0, 0.5, 4.5, 4.0]),
        Tensor::new(vec![2, 4], vec![-3.0_f32, -2.0, 9.0, 4.0, 3.5, 3.0, 3.9, 12.0]),
    ];
    let case = |rois: Tensor| {
        Example::new("RoiAlign")
            .attribute("output_height", 2)
            .attribute("output_width", 3)
            .attribute("sampling_ratio", 2)
            .computed(&[2, 4, 6, 5])
            .constant(rois)
            .ints(&[0, 1])
            .prunable(0, 1)
    };
    let [first, second, beyond] = rois;
    let plain = first.clone().into_iter().map(case);
    let shifted = plain.clone().map(|example| {
        example
            .attribute("coordinate_transformation_mode", "output_half_pixel")
            .attribute("spatial_scale", 0.5)
    });
    let old = beyond.clone().into_iter().map(case).map(|example| example.opset(10));
    let outside = beyond.into_iter().map(case);
    let without = |example: Example| example.no_gradient();
    let maximum = second.clone().into_iter().map(case).map(|example| example.attribute("mode", "max"));
    let adaptive = second.into_iter().map(case).map(|example| example.attribute("sampling_ratio", 0));
    let refused = maximum.chain(adaptive).map(without);
    plain.chain(shifted).chain(old).chain(outside).chain(refused).collect()
}

fn grid_sample_examples() -> Vec<Example> {
    let case = || {
        Example::new("GridSample")
            .computed(&[2, 4, 3, 5])
            .weight(&[2, 2, 3, 2])
            .range(-0.9, 0.9)
            .prunable(0, 1)
    };
    vec![
        case(),
        case().attribute("align_corners", 1).attribute("padding_mode", "border"),
        case().attribute("padding_mode", "border").range(-1.6, 1.6),
        case().attribute("align_corners", 1).range(-1.6, 1.6),
        case().opset(20).attribute("mode", "linear"),
        case().attribute("mode", "bicubic").no_gradient(),
        case().attribute("padding_mode", "reflection").no_gradient(),
    ]
}
