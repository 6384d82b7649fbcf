//! Resize, Upsample.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__Resize.html>. Upsample took scales as an attribute in version
//! 7 and as an input in version 9, and became Resize in version 10; version 11 added sizes and coordinate
//! transformations, version 18 axes, antialiasing and the policy on aspect ratios. Before version 11 coordinates were
//! asymmetric.

use super::adjoint::{AxisMap, map_axis};
use super::interpolation::Interpolation;
use super::{Movement, pass, pin_inputs};
use crate::ir::{NodeSpec, ValueId};
use crate::ops::cut::Entry;
use crate::ops::node::axis_index;
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};
use crate::tensor::Tensor;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Movement::new(
        Spec::onnx("Upsample", 1..=1, &["mode", "scales"]).versions(7..=8),
        couple,
        gradient,
        upsample_examples,
    ),
    &Movement::new(Spec::onnx("Upsample", 2..=2, &["mode"]).versions(9..=9), couple, gradient, || {
        vec![scaled("Upsample", 9, &[1.0, 1.0, 2.0, 2.0])]
    }),
    &Movement::new(Spec::onnx("Resize", 2..=2, &["mode"]).versions(10..=10), couple, gradient, || {
        vec![scaled("Resize", 10, &[1.0, 1.0, 2.0, 2.0])]
    }),
    &Movement::new(
        Spec::onnx(
            "Resize",
            3..=4,
            &[
                "mode",
                "coordinate_transformation_mode",
                "nearest_mode",
                "cubic_coeff_a",
                "exclude_outside",
                "extrapolation_value",
            ],
        )
        .versions(11..=17),
        couple,
        gradient,
        examples,
    )
    .resized_by(resize),
    &Movement::new(
        Spec::onnx(
            "Resize",
            2..=4,
            &[
                "mode",
                "coordinate_transformation_mode",
                "nearest_mode",
                "cubic_coeff_a",
                "exclude_outside",
                "extrapolation_value",
                "antialias",
                "axes",
                "keep_aspect_ratio_policy",
            ],
        )
        .versions(18..=NEWEST_OPSET),
        couple,
        gradient,
        new_examples,
    )
    .resized_by(resize),
];

/// How one axis is scaled.
#[derive(Debug, Clone, Copy)]
struct Scaling {
    /// Place of the axis in scales or sizes; nothing where it stays as it is.
    place: Option<usize>,
    /// The factor; nothing where the model computes it.
    scale: Option<f32>,
}

/// By axis of the operand.
fn scalings(node: &NodeView<'_>) -> Result<Vec<Scaling>, Unsupported> {
    let (x, y) = (node.x(0)?, node.y(0)?);
    let axes: Vec<usize> = match node.ints("axes") {
        Some(axes) => axes.iter().map(|&axis| axis_index(axis, x.rank())).collect::<Result<_, _>>()?,
        None => (0..x.rank()).collect(),
    };
    let input = if node.opset() < 11 { 1 } else { 2 };
    let operand = node.input(input).filter(|scales| scales.count() > 0);
    let given = operand.is_some() || node.has("scales");
    let scales: Option<Vec<f32>> = match operand {
        Some(scales) => scales.constant().and_then(|scales| scales.to_f32().ok()),
        None => node.floats("scales").map(<[f32]>::to_vec),
    };
    let stretches = node.string("keep_aspect_ratio_policy", "stretch") == "stretch";
    let mut scalings = vec![Scaling { place: None, scale: Some(1.0) }; x.rank()];
    for (place, &axis) in axes.iter().enumerate() {
        let ratio = y.dims()[axis] as f32 / x.dims()[axis].max(1) as f32;
        let scale = if given {
            scales.as_ref().and_then(|scales| scales.get(place)).copied()
        } else if stretches && (ratio == 1.0 || (!x.varies(axis) && !y.varies(axis))) {
            Some(ratio)
        } else {
            None
        };
        scalings[axis] = Scaling { place: Some(place), scale };
    }
    Ok(scalings)
}

fn interpolation<'a>(node: &NodeView<'a>) -> Interpolation<'a> {
    let old = node.opset() < 11;
    Interpolation {
        mode: node.string("mode", "nearest"),
        coordinates: if old {
            "asymmetric"
        } else {
            node.string("coordinate_transformation_mode", "half_pixel")
        },
        nearest: if old { "simple" } else { node.string("nearest_mode", "round_prefer_floor") },
        cubic: node.float("cubic_coeff_a", -0.75),
        exclude_outside: node.int("exclude_outside", 0) != 0,
    }
}

fn couple(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    pin_inputs(node, slots, 1, "scales and sizes have one entry for each axis");
    let scalings = scalings(node)?;
    // These two move even what is not scaled.
    let moves = ["tf_crop_and_resize", "tf_half_pixel_for_nn"].contains(&interpolation(node).coordinates);
    for (axis, scaling) in scalings.iter().enumerate() {
        let own = slots.input(0, axis);
        if own.is_fixed() {
            continue;
        }
        let outside = scaling.place.is_none();
        if outside || (scaling.scale == Some(1.0) && !moves) {
            pass(node, slots, axis, 0, axis)?;
        } else {
            slots.pin(&own, "the axis is resampled");
        }
    }
    Ok(())
}

fn resize(node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
    let Some(sizes) = node.input(3).filter(|sizes| sizes.count() > 0) else { return Ok(()) };
    let mut entries = vec![Entry::Keep; sizes.count()];
    for (axis, scaling) in scalings(node)?.iter().enumerate() {
        if let (Some(place), Some(kept)) = (scaling.place, cut.output(0, axis))
            && let Some(entry) = entries.get_mut(place)
        {
            *entry = Entry::Set(kept.len() as i64);
        }
    }
    if entries.iter().any(|entry| *entry != Entry::Keep) {
        edit.input(3, entries);
    }
    Ok(())
}

fn gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) else { return Ok(()) };
    if node.int("antialias", 0) != 0 {
        return Err(Unsupported::new("resampling with antialiasing has no gradient here"));
    }
    let interpolation = interpolation(node);
    let (x, y) = (node.x(0)?, node.y(0)?);
    let mut scaled: Vec<(usize, f32)> = Vec::new();
    for (axis, scaling) in scalings(node)?.iter().enumerate() {
        let scale = scaling.scale.ok_or_else(|| {
            Unsupported::new("the model computes its scales, or its sizes follow those of the inputs")
        })?;
        if scale != 1.0 || interpolation.coordinates.starts_with("tf_") {
            scaled.push((axis, scale));
        }
    }
    if let Some(grad) = pooled(tape, dy, x.rank(), &scaled, interpolation) {
        tape.give(0, grad);
        return Ok(());
    }
    let mut grad = dy;
    for (axis, scale) in scaled {
        if x.varies(axis) {
            return Err(Unsupported::new("it resamples an axis that varies, not by repeating elements"));
        }
        let map = interpolation.map(x.dims()[axis], y.dims()[axis], scale).ok_or_else(|| {
            Unsupported(format!(
                "mode `{}` with coordinates `{}` from {} to {} indices has no gradient here",
                interpolation.mode,
                interpolation.coordinates,
                x.dims()[axis],
                y.dims()[axis]
            ))
        })?;
        grad = map_axis(tape, grad, x.rank(), axis, &map.transposed())?;
    }
    tape.give(0, grad);
    Ok(())
}

/// The gradient where every pixel is repeated a whole number of times: sums over blocks, for any size.
fn pooled(
    tape: &mut Tape<'_>,
    dy: ValueId,
    rank: usize,
    scaled: &[(usize, f32)],
    interpolation: Interpolation<'_>,
) -> Option<ValueId> {
    const PROBE: usize = 5;
    if !(3..=5).contains(&rank) || scaled.is_empty() || interpolation.mode != "nearest" {
        return None;
    }
    let mut kernel = vec![1_i64; rank - 2];
    for &(axis, scale) in scaled {
        if axis < 2 || scale.fract() != 0.0 || !(1.0..=64.0).contains(&scale) {
            return None;
        }
        let factor = scale as usize;
        let repeats: Vec<usize> = (0..PROBE * factor).map(|place| place / factor).collect();
        let expected = AxisMap::put_back(PROBE, &repeats).transposed();
        if interpolation.coordinates == "align_corners"
            || interpolation.map(PROBE, PROBE * factor, scale).as_ref() != Some(&expected)
        {
            return None;
        }
        kernel[axis - 2] = factor as i64;
    }
    let count: i64 = kernel.iter().product();
    let pool = NodeSpec::new("AveragePool", &[dy]);
    let pool = pool.attribute("kernel_shape", kernel.clone()).attribute("strides", kernel);
    let mean = tape.node(pool);
    Some(tape.scale(mean, count as f64))
}

fn floats(values: &[f32]) -> Tensor {
    Tensor::vector(values.to_vec())
}

fn scaled(op_type: &'static str, opset: i64, scales: &[f32]) -> Example {
    Example::new(op_type).opset(opset).computed(&[2, 6, 2, 3]).constant(floats(scales)).prunable(0, 1)
}

fn upsample_examples() -> Vec<Example> {
    let scales = crate::ir::Attribute::Floats(vec![1.0, 1.0, 2.0, 2.0]);
    let upsample = || {
        Example::new("Upsample")
            .opset(7)
            .attribute("scales", scales.clone())
            .computed(&[2, 6, 2, 3])
            .prunable(0, 1)
    };
    vec![upsample(), upsample().attribute("mode", "linear")]
}

fn examples() -> Vec<Example> {
    let by_scales = |mode: &str, coordinates: &str, scales: &[f32]| {
        Example::new("Resize")
            .attribute("mode", mode)
            .attribute("coordinate_transformation_mode", coordinates)
            .computed(&[2, 6, 3, 4])
            .absent()
            .constant(floats(scales))
            .prunable(0, 1)
    };
    let by_sizes = |mode: &str, coordinates: &str, sizes: &[i64]| {
        Example::new("Resize")
            .attribute("mode", mode)
            .attribute("coordinate_transformation_mode", coordinates)
            .computed(&[2, 6, 3, 4])
            .absent()
            .absent()
            .ints(sizes)
            .prunable(0, 1)
    };
    vec![
        by_scales("nearest", "asymmetric", &[1.0, 1.0, 2.0, 2.0]).attribute("nearest_mode", "floor"),
        by_scales("nearest", "half_pixel", &[1.0, 1.0, 2.0, 3.0]),
        by_scales("nearest", "half_pixel", &[1.0, 1.0, 1.7, 0.5])
            .attribute("nearest_mode", "round_prefer_ceil"),
        by_scales("linear", "half_pixel", &[1.0, 1.0, 2.0, 2.0]),
        by_scales("linear", "asymmetric", &[1.0, 1.0, 2.0, 1.5]),
        by_scales("cubic", "half_pixel", &[1.0, 1.0, 2.0, 2.0]),
        by_sizes("linear", "align_corners", &[2, 6, 5, 7]),
        by_sizes("linear", "pytorch_half_pixel", &[2, 6, 1, 9]),
        by_sizes("nearest", "align_corners", &[2, 6, 5, 2]).attribute("nearest_mode", "ceil"),
        by_sizes("cubic", "align_corners", &[2, 6, 5, 7]),
    ]
}

fn new_examples() -> Vec<Example> {
    let resize = || {
        Example::new("Resize").opset(19).attribute("axes", vec![2, 3]).computed(&[2, 6, 3, 4]).prunable(0, 1)
    };
    vec![
        resize().attribute("mode", "linear").absent().absent().ints(&[6, 6]),
        resize().absent().constant(floats(&[2.0, 2.0])),
        resize()
            .attribute("mode", "linear")
            .attribute("coordinate_transformation_mode", "half_pixel_symmetric")
            .absent()
            .constant(floats(&[1.4, 2.3])),
    ]
}
