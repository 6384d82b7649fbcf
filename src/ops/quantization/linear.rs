//! `QuantizeLinear`: `y = saturate(round(x / y_scale) + y_zero_point)`; `DequantizeLinear`:
//! `y = (x - x_zero_point) * x_scale`.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html> and
//! <https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html>. Scale and zero point are scalars, or vectors along
//! `axis` since version 13; blocks along an axis (version 21) are not understood.

use super::{Quantization, rounds};
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};
use crate::tensor::Tensor;

struct Linear {
    spec: Spec,
    quantizes: bool,
}

static QUANTIZE: Linear = Linear {
    spec: Spec::onnx(
        "QuantizeLinear",
        2..=3,
        &["axis", "saturate", "output_dtype", "precision", "block_size"],
    )
    .versions(10..=NEWEST_OPSET),
    quantizes: true,
};
static DEQUANTIZE: Linear = Linear {
    spec: Spec::onnx("DequantizeLinear", 2..=3, &["axis", "output_dtype", "block_size"])
        .versions(10..=NEWEST_OPSET),
    quantizes: false,
};

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&QUANTIZE, &DEQUANTIZE];

/// The axis of the scales; nothing where there is one scale.
fn scale_axis(node: &NodeView<'_>) -> Result<Option<usize>, Unsupported> {
    let (x, scale) = (node.x(0)?, node.x(1)?);
    if node.int("block_size", 0) != 0 {
        return Err(Unsupported::new("scales belong to blocks along an axis"));
    }
    if scale.count() == 1 {
        return Ok(None);
    }
    let axis = node.int("axis", 1);
    let counted = if axis < 0 { axis + x.rank() as i64 } else { axis };
    let fits = |&axis: &usize| scale.rank() == 1 && x.dims().get(axis) == Some(&scale.dims()[0]);
    let axis = usize::try_from(counted).ok().filter(fits);
    axis.map(Some).ok_or_else(|| {
        Unsupported(format!("scales {:?} do not fit axis {axis:?} of {:?}", scale.dims(), x.dims()))
    })
}

impl Operator for Linear {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let along = scale_axis(node)?;
        // Masked weights hold their zero point. A computed tensor that is zero holds integers other than 0 if the
        // zero point is.
        let plain = node.input(2).is_none_or(|zero| {
            zero.constant()
                .and_then(|zero| zero.to_i64().ok())
                .is_some_and(|zero| zero.iter().all(|&z| z == 0))
        });
        let zero = plain || (!self.quantizes && node.x(0)?.initializer().is_some());
        for axis in 0..node.x(0)?.rank() {
            let own = slots.input(0, axis);
            if along == Some(axis) {
                for other in (1..node.input_count()).filter(|&input| node.input(input).is_some()) {
                    let other = slots.input(other, 0);
                    slots.tie(&own, &other);
                }
            }
            slots.set(0, axis, own.with_zero(own.zero() && zero));
        }
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        rounds(node, tape)
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn quantization(&self, node: &NodeView<'_>, input: usize) -> Option<Quantization> {
        let axis = scale_axis(node).ok()?;
        let scale = node.input(1)?.constant()?.to_f64().ok()?;
        let zero_point = match node.input(2) {
            Some(operand) => operand.constant()?.to_i64().ok()?,
            None => vec![0; scale.len()],
        };
        if zero_point.len() != scale.len() {
            return None;
        }
        match input {
            0 if !self.quantizes => Some(Quantization { axis, scale, zero_point }),
            // The zero points themselves leave with their scales; where one is masked its value does not matter.
            2 => Some(Quantization { axis: axis.map(|_| 0), scale: vec![0.0; scale.len()], zero_point }),
            _ => None,
        }
    }

    fn examples(&self) -> Vec<Example> {
        if self.quantizes { quantize_examples() } else { dequantize_examples() }
    }
}

fn quantize_examples() -> Vec<Example> {
    let case = || Example::new("QuantizeLinear").computed(&[2, 6, 3]).no_gradient().prunable(0, 1);
    let zero_points = Tensor::vector(vec![3_i8, -2, 0, 1, 7, -9]);
    vec![
        case()
            .constant(Tensor::scalar(0.05_f32))
            .constant(Tensor::scalar(128_u8))
            .output_dtype(crate::tensor::DType::U8),
        case().constant(Tensor::scalar(0.05_f32)).output_dtype(crate::tensor::DType::U8),
        case().positive(&[6]).constant(zero_points).output_dtype(crate::tensor::DType::I8),
    ]
}

fn dequantize_examples() -> Vec<Example> {
    let stored = |count: i32| {
        let values: Vec<i8> = (0..count).map(|value| (value * 37 % 251 - 125) as i8).collect();
        Tensor::new(vec![6, count as usize / 6], values)
    };
    let Ok(stored) = stored(24) else { return Vec::new() };
    let case = || Example::new("DequantizeLinear").constant(stored.clone()).no_gradient();
    vec![
        case().positive(&[1]).constant(Tensor::vector(vec![-4_i8])),
        case().attribute("axis", 0).positive(&[6]).constant(Tensor::vector(vec![3_i8, -2, 0, 1, 7, -9])),
        case().attribute("axis", -1).positive(&[4]),
    ]
}
