//! Operators that compute on integers what another one computes on real numbers: `QLinearConv`, `QLinearMatMul`,
//! `ConvInteger`, `MatMulInteger` of ONNX, and of ONNX Runtime's domain `QLinearAdd`, `QLinearMul`, `QLinearConcat`,
//! `QLinearAveragePool`, `QLinearGlobalAveragePool`, `QLinearSigmoid`, `QLinearLeakyRelu`, `QGemm`,
//! `MatMulIntegerToFloat` and `DynamicQuantizeMatMul`.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__QLinearConv.html> and its neighbours,
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>. Axes leave together as they do for the
//! operator on real numbers; scales and zero points that differ along an axis leave with it.

use super::{Quantization, rounds};
use crate::ops::renamed::Renamed;
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};
use crate::tensor::{DType, Tensor};

/// An operand of the operator on real numbers.
#[derive(Clone, Copy)]
struct Part {
    /// The input that holds the numbers.
    input: usize,
    /// The input that holds the scale or scales.
    scale: Option<usize>,
    /// The input that holds the zero point or points.
    zero_point: Option<usize>,
    /// The axis along which they differ if there are several, counted from the front, or from the back if negative.
    axis: i64,
}

const fn part(input: usize, scale: usize, zero_point: usize, axis: i64) -> Part {
    Part { input, scale: Some(scale), zero_point: Some(zero_point), axis }
}

/// Numbers whose scale is the product of those of other parts, with zero point 0.
const fn sum(input: usize) -> Part {
    Part { input, scale: None, zero_point: None, axis: 0 }
}

struct Wrapped {
    spec: Spec,
    /// The operator on real numbers.
    float: &'static str,
    /// Its operands.
    parts: fn(&NodeView<'_>) -> Vec<Part>,
    /// The input that holds the zero point of the output.
    output_zero: Option<usize>,
    /// A vector along the last axis that is added to the output.
    bias: Option<usize>,
    /// Input 0 holds real numbers, which are quantised by their own range.
    dynamic: bool,
    examples: fn() -> Vec<Example>,
}

const WINDOW: &[&str] = &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"];

impl Wrapped {
    const fn new(
        spec: Spec,
        float: &'static str,
        parts: fn(&NodeView<'_>) -> Vec<Part>,
        examples: fn() -> Vec<Example>,
    ) -> Self {
        Self { spec, float, parts, output_zero: None, bias: None, dynamic: false, examples }
    }

    /// The operator on real numbers.
    fn float(&self) -> Result<&'static dyn Operator, Unsupported> {
        crate::ops::all()
            .find(|operator| operator.spec().op_type == self.float && operator.spec().domain.is_empty())
            .ok_or_else(|| Unsupported(format!("{} is not known", self.float)))
    }

    /// The node as that operator sees it, and the parts by its inputs.
    fn inner<'a>(&self, node: &NodeView<'a>) -> Result<(NodeView<'a>, Vec<Part>), Unsupported> {
        if node.int("channels_last", 0) != 0 {
            return Err(Unsupported::new("channels that come last are not understood"));
        }
        let parts = (self.parts)(node);
        let inputs: Vec<usize> = parts.iter().map(|part| part.input).collect();
        Ok((node.seen_as(self.float, &inputs), parts))
    }

    /// The vectors of a part that differ along its axis.
    fn vectors(node: &NodeView<'_>, part: Part) -> Result<Option<(usize, Vec<usize>)>, Unsupported> {
        let inputs = [part.scale, part.zero_point].into_iter().flatten();
        let several: Vec<usize> =
            inputs.filter(|&input| node.input(input).is_some_and(|vector| vector.count() > 1)).collect();
        let Some(&first) = several.first() else { return Ok(None) };
        let (x, vector) = (node.x(part.input)?, node.x(first)?);
        let axis = crate::ops::node::axis_index(part.axis, x.rank())?;
        if vector.count() != x.dims()[axis] {
            return Err(Unsupported(format!("{:?} scales do not fit {:?}", vector.dims(), x.dims())));
        }
        Ok(Some((axis, several)))
    }
}

/// Whether the zero points are constants and all 0, so that what is zero is stored as 0.
fn stored_as_zero(node: &NodeView<'_>, zero_point: Option<usize>) -> bool {
    let Some(input) = zero_point else { return true };
    node.input(input).is_none_or(|operand| {
        let values = operand.constant().and_then(|zero| zero.to_i64().ok());
        values.is_some_and(|values| values.iter().all(|&value| value == 0))
    })
}

impl Operator for Wrapped {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let (inner, parts) = self.inner(node)?;
        let mut output = stored_as_zero(node, self.output_zero);
        if let Some(bias) = self.bias.filter(|&bias| node.input(bias).is_some()) {
            output &= slots.input(bias, 0).zero();
        }
        if self.dynamic {
            for axis in 0..node.x(0)?.rank() {
                let own = slots.input(0, axis);
                if !own.is_fixed() && !own.zero() {
                    slots.approximate(&own, "numbers are quantised by the range of all of them");
                }
            }
        }
        let inputs = parts
            .iter()
            .map(|part| {
                // Masked weights hold their zero point.
                let stored = node.input(part.input).is_some_and(|operand| operand.initializer().is_some());
                (part.input, stored || stored_as_zero(node, part.zero_point))
            })
            .collect();
        self.float()?.couple(&inner, &mut Renamed { slots: &mut *slots, inputs, output })?;
        for &part in &parts {
            if node.input(part.input).is_none() {
                continue;
            }
            if let Some((axis, vectors)) = Self::vectors(node, part)? {
                let own = slots.input(part.input, axis);
                for vector in vectors {
                    let other = slots.input(vector, 0);
                    slots.tie(&own, &other);
                }
            }
        }
        if let Some(bias) = self.bias.filter(|&bias| node.input(bias).is_some()) {
            let weights = node.x(parts[1].input)?.rank() - 1;
            let (columns, bias) = (slots.input(parts[1].input, weights), slots.input(bias, 0));
            slots.tie(&columns, &bias);
        }
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        rounds(node, tape)
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        match (self.inner(node), self.float()) {
            (Ok((inner, _)), Ok(float)) => float.macs(&inner),
            _ => 0,
        }
    }

    fn resize(&self, node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
        let (inner, parts) = self.inner(node)?;
        let inputs = parts.iter().map(|part| cut.inputs.get(part.input).cloned().unwrap_or_default());
        let cut = Cut { inputs: inputs.collect(), outputs: cut.outputs.clone(), averages: false };
        let mut made = NodeEdit::default();
        self.float()?.resize(&inner, &cut, &mut made)?;
        let attributes = std::mem::take(&mut made.attributes);
        if made.replacement.is_some() || !made.inputs.is_empty() || !made.constants.is_empty() {
            return Err(Unsupported::new("its operands cannot be rewritten"));
        }
        edit.attributes = attributes;
        Ok(())
    }

    fn quantization(&self, node: &NodeView<'_>, input: usize) -> Option<Quantization> {
        let numbers =
            |input: Option<usize>| -> Option<Vec<f64>> { node.input(input?)?.constant()?.to_f64().ok() };
        let parts = (self.parts)(node);
        let found = parts.iter().find(|part| part.input == input || part.zero_point == Some(input))?;
        if found.scale.is_none() && found.zero_point.is_none() {
            let scales: Vec<Vec<f64>> = parts.iter().filter_map(|part| numbers(part.scale)).collect();
            let length = scales.iter().map(Vec::len).max().unwrap_or(1);
            let scale: Vec<f64> =
                (0..length).map(|index| scales.iter().map(|own| own[index % own.len()]).product()).collect();
            let axis = (length > 1).then_some(0);
            return Some(Quantization { axis, zero_point: vec![0; length], scale });
        }
        let zero_point = match found.zero_point.and_then(|zero| node.input(zero)) {
            Some(operand) => operand.constant()?.to_i64().ok()?,
            None => vec![0],
        };
        let scale = numbers(found.scale).unwrap_or_else(|| vec![1.0]);
        let length = scale.len().max(zero_point.len());
        let axis = Self::vectors(node, *found).ok()?.map(|(axis, _)| axis);
        if length > 1 && axis.is_none() {
            return None;
        }
        let zero_point: Vec<i64> = (0..length).map(|index| zero_point[index % zero_point.len()]).collect();
        if input == found.input {
            let scale = (0..length).map(|index| scale[index % scale.len()]).collect();
            return Some(Quantization { axis, scale, zero_point });
        }
        // The zero points leave with their scales; where one is masked its value does not matter.
        Some(Quantization { axis: axis.map(|_| 0), scale: vec![0.0; length], zero_point })
    }

    fn examples(&self) -> Vec<Example> {
        (self.examples)()
    }
}

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Wrapped {
        output_zero: Some(7),
        ..Wrapped::new(
            Spec::onnx("QLinearConv", 8..=9, WINDOW).versions(10..=NEWEST_OPSET),
            "Conv",
            |_| vec![part(0, 1, 2, 0), part(3, 4, 5, 0), sum(8)],
            convolutions,
        )
    },
    &Wrapped::new(
        Spec::onnx("ConvInteger", 2..=4, WINDOW).versions(10..=NEWEST_OPSET),
        "Conv",
        |_| vec![unscaled(0, 2, 0), unscaled(1, 3, 0)],
        integer_convolutions,
    ),
    &Wrapped {
        output_zero: Some(7),
        ..Wrapped::new(
            Spec::onnx("QLinearMatMul", 8..=8, &[]).versions(10..=NEWEST_OPSET),
            "MatMul",
            |_| vec![part(0, 1, 2, -2), part(3, 4, 5, -1)],
            products,
        )
    },
    &Wrapped::new(
        Spec::onnx("MatMulInteger", 2..=4, &[]).versions(10..=NEWEST_OPSET),
        "MatMul",
        |_| vec![unscaled(0, 2, -2), unscaled(1, 3, -1)],
        integer_products,
    ),
    &Wrapped {
        bias: Some(6),
        ..Wrapped::new(
            Spec::microsoft("MatMulIntegerToFloat", 4..=7, &[]),
            "MatMul",
            |_| vec![part(0, 2, 4, -2), part(1, 3, 5, -1)],
            products_to_float,
        )
    },
    &Wrapped {
        bias: Some(4),
        dynamic: true,
        ..Wrapped::new(
            Spec::microsoft("DynamicQuantizeMatMul", 3..=5, &[]),
            "MatMul",
            |_| vec![sum(0), part(1, 2, 3, -1)],
            dynamic_products,
        )
    },
    &Wrapped {
        output_zero: Some(8),
        ..Wrapped::new(
            Spec::microsoft("QGemm", 6..=9, &["alpha", "transA", "transB"]),
            "Gemm",
            |node| {
                let columns = i64::from(node.int("transB", 0) == 0);
                vec![part(0, 1, 2, 0), part(3, 4, 5, columns), sum(6)]
            },
            gemms,
        )
    },
    &Wrapped {
        output_zero: Some(7),
        ..Wrapped::new(Spec::microsoft("QLinearAdd", 7..=8, &[]), "Add", pair, sums)
    },
    &Wrapped {
        output_zero: Some(7),
        ..Wrapped::new(Spec::microsoft("QLinearMul", 7..=8, &[]), "Mul", pair, factors)
    },
    &Wrapped {
        output_zero: Some(1),
        ..Wrapped::new(
            Spec::microsoft("QLinearConcat", 5..=usize::MAX, &["axis"]),
            "Concat",
            |node| {
                (2..node.input_count()).step_by(3).map(|input| part(input, input + 1, input + 2, 0)).collect()
            },
            joined,
        )
    },
    &Wrapped {
        output_zero: Some(4),
        ..Wrapped::new(
            Spec::microsoft(
                "QLinearAveragePool",
                4..=5,
                &[
                    "auto_pad",
                    "ceil_mode",
                    "channels_last",
                    "count_include_pad",
                    "kernel_shape",
                    "pads",
                    "strides",
                ],
            ),
            "AveragePool",
            single,
            pools,
        )
    },
    &Wrapped {
        output_zero: Some(4),
        ..Wrapped::new(
            Spec::microsoft("QLinearGlobalAveragePool", 5..=5, &["channels_last"]),
            "GlobalAveragePool",
            single,
            global_pools,
        )
    },
    &Wrapped {
        output_zero: Some(4),
        ..Wrapped::new(Spec::microsoft("QLinearSigmoid", 4..=5, &[]), "Sigmoid", single, sigmoids)
    },
    &Wrapped {
        output_zero: Some(4),
        ..Wrapped::new(
            Spec::microsoft("QLinearLeakyRelu", 4..=5, &["alpha"]),
            "LeakyRelu",
            single,
            rectifiers,
        )
    },
];

const fn unscaled(input: usize, zero_point: usize, axis: i64) -> Part {
    Part { input, scale: None, zero_point: Some(zero_point), axis }
}

fn pair(_: &NodeView<'_>) -> Vec<Part> {
    vec![part(0, 1, 2, 0), part(3, 4, 5, 0)]
}

fn single(_: &NodeView<'_>) -> Vec<Part> {
    vec![part(0, 1, 2, 0)]
}

/// Small integers without pattern.
fn stored(dims: &[usize]) -> Tensor {
    let count = dims.iter().product::<usize>() as i32;
    let values: Vec<i8> = (0..count).map(|value| (value * 37 % 251 - 125) as i8).collect();
    Tensor::new(dims.to_vec(), values).unwrap_or_else(|_| Tensor::vector(Vec::<i8>::new()))
}

trait Stored: Sized {
    /// With a scale and a zero point next.
    fn scaled(self, scale: f32, zero_point: u8) -> Self;
}

impl Stored for Example {
    fn scaled(self, scale: f32, zero_point: u8) -> Self {
        self.constant(Tensor::scalar(scale)).constant(Tensor::scalar(zero_point))
    }
}

fn numbers(example: Example) -> Example {
    example.no_gradient().output_dtype(DType::U8)
}

fn convolutions() -> Vec<Example> {
    let case = |x: &[usize], w: &[usize]| {
        let rows = w[0];
        let zeros = Tensor::vector(vec![0_i8; rows]);
        numbers(Example::new("QLinearConv"))
            .quantized(x, 7)
            .scaled(0.05, 7)
            .constant(stored(w))
            .positive(&[rows])
            .constant(zeros)
            .scaled(4.0, 100)
    };
    let biased = |example: Example, rows: i32| {
        example.constant(Tensor::vector((0..rows).map(|row| row * 31 - 50).collect::<Vec<i32>>()))
    };
    vec![
        case(&[2, 4, 5, 5], &[6, 4, 3, 3]).macs(2 * 6 * 9 * 36).prunable(0, 1),
        biased(case(&[2, 4, 5, 5], &[6, 4, 3, 3]), 6)
            .attribute("pads", vec![1, 1, 1, 1])
            .macs(2 * 6 * 25 * 36)
            .prunable(0, 1),
        biased(case(&[1, 4, 5, 5], &[4, 1, 3, 3]), 4).attribute("group", 4).macs(4 * 9 * 9).prunable(0, 1),
    ]
}

fn integer_convolutions() -> Vec<Example> {
    let case =
        || Example::new("ConvInteger").no_gradient().output_dtype(DType::I32).quantized(&[2, 4, 5, 5], 7);
    vec![
        case()
            .constant(stored(&[6, 4, 3, 3]))
            .constant(Tensor::scalar(7_u8))
            .macs(2 * 6 * 9 * 36)
            .prunable(0, 1),
        case()
            .constant(stored(&[6, 4, 1, 1]))
            .constant(Tensor::scalar(7_u8))
            .constant(Tensor::scalar(0_i8))
            .macs(2 * 6 * 25 * 4)
            .prunable(0, 1),
    ]
}

fn products() -> Vec<Example> {
    let case = || numbers(Example::new("QLinearMatMul")).quantized(&[2, 3, 4], 7).scaled(0.05, 7);
    vec![
        case()
            .constant(stored(&[4, 6]))
            .constant(Tensor::scalar(0.1_f32))
            .constant(Tensor::scalar(0_i8))
            .scaled(3.0, 128)
            .macs(2 * 3 * 4 * 6)
            .prunable(0, 2),
    ]
}

fn integer_products() -> Vec<Example> {
    let case =
        || Example::new("MatMulInteger").no_gradient().output_dtype(DType::I32).quantized(&[2, 3, 4], 7);
    vec![
        case().constant(stored(&[4, 6])).constant(Tensor::scalar(7_u8)).macs(2 * 3 * 4 * 6).prunable(0, 2),
        case()
            .constant(stored(&[4, 6]))
            .constant(Tensor::scalar(7_u8))
            .constant(Tensor::vector(vec![0_i8, 3, -2, 0, 9, 1]))
            .macs(2 * 3 * 4 * 6)
            .prunable(0, 2),
    ]
}

fn products_to_float() -> Vec<Example> {
    let case = || Example::microsoft("MatMulIntegerToFloat").no_gradient().quantized(&[2, 3, 4], 7);
    let wide = || case().constant(stored(&[4, 6])).constant(Tensor::scalar(0.05_f32)).positive(&[6]);
    vec![
        wide().constant(Tensor::scalar(7_u8)).macs(2 * 3 * 4 * 6).prunable(0, 2),
        wide()
            .constant(Tensor::scalar(7_u8))
            .constant(Tensor::vector(vec![0_i8, 3, -2, 0, 9, 1]))
            .weight(&[6])
            .macs(2 * 3 * 4 * 6)
            .prunable(0, 2),
    ]
}

fn dynamic_products() -> Vec<Example> {
    let case = || Example::microsoft("DynamicQuantizeMatMul").no_gradient().computed(&[2, 3, 4]);
    vec![
        case().constant(stored(&[4, 6])).constant(Tensor::scalar(0.1_f32)).macs(2 * 3 * 4 * 6).prunable(0, 2),
        case()
            .constant(stored(&[4, 6]))
            .positive(&[6])
            .constant(Tensor::vector(vec![0_i8; 6]))
            .weight(&[6])
            .macs(2 * 3 * 4 * 6)
            .prunable(0, 2),
    ]
}

fn gemms() -> Vec<Example> {
    let case = |w: &[usize]| {
        numbers(Example::microsoft("QGemm"))
            .quantized(&[3, 4], 7)
            .scaled(0.05, 7)
            .constant(stored(w))
            .constant(Tensor::scalar(0.1_f32))
            .constant(Tensor::scalar(0_i8))
            .macs(3 * 4 * 6)
            .prunable(0, 1)
    };
    let bias = || Tensor::vector(vec![10_i32, -30, 0, 77, 5, 1]);
    vec![
        case(&[4, 6]).constant(bias()).scaled(3.0, 128),
        case(&[6, 4]).attribute("transB", 1).constant(bias()).scaled(3.0, 128),
        case(&[4, 6]).absent().scaled(3.0, 128),
    ]
}

fn pairs(op_type: &'static str) -> Vec<Example> {
    let case = |second: &[usize]| {
        numbers(Example::microsoft(op_type))
            .quantized(&[2, 6, 3], 7)
            .scaled(0.05, 7)
            .quantized(second, 0)
            .scaled(0.1, 0)
            .scaled(0.1, 100)
    };
    vec![case(&[2, 6, 3]).prunable(0, 1).prunable(3, 1), case(&[6, 1]).prunable(0, 1)]
}

fn sums() -> Vec<Example> {
    pairs("QLinearAdd")
}

fn factors() -> Vec<Example> {
    pairs("QLinearMul")
}

fn joined() -> Vec<Example> {
    vec![
        numbers(Example::microsoft("QLinearConcat"))
            .attribute("axis", 1)
            .scaled(0.1, 100)
            .quantized(&[2, 6, 3], 7)
            .scaled(0.05, 7)
            .quantized(&[2, 4, 3], 0)
            .scaled(0.1, 0)
            .prunable(2, 1)
            .prunable(5, 1),
    ]
}

fn maps(op_type: &'static str, dims: &[usize]) -> Example {
    numbers(Example::microsoft(op_type)).quantized(dims, 7).scaled(0.05, 7).scaled(0.05, 100).prunable(0, 1)
}

fn pools() -> Vec<Example> {
    let case = || maps("QLinearAveragePool", &[2, 4, 5, 5]).attribute("kernel_shape", vec![2, 2]);
    vec![case(), case().attribute("strides", vec![2, 2]).attribute("channels_last", 0)]
}

fn global_pools() -> Vec<Example> {
    vec![maps("QLinearGlobalAveragePool", &[2, 4, 5, 5])]
}

fn sigmoids() -> Vec<Example> {
    vec![maps("QLinearSigmoid", &[2, 4, 5])]
}

fn rectifiers() -> Vec<Example> {
    vec![maps("QLinearLeakyRelu", &[2, 4, 5]).attribute("alpha", 0.1)]
}
