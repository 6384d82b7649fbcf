//! Small cases over which the laws of operators are tested.

use super::MICROSOFT;
use crate::ir::{Attribute, Attributes};
use crate::tensor::{DType, Tensor};

/// One input of an example.
#[derive(Debug, Clone, PartialEq)]
pub enum ExampleInput {
    /// Left out.
    Absent,
    /// Random floats that other nodes compute, of these dimensions.
    Computed(Vec<usize>),
    /// Random floats as an initializer, of these dimensions.
    Weight(Vec<usize>),
    /// Random floats in `0.5..1.5`, as an initializer: variances and the like.
    Positive(Vec<usize>),
    /// A constant.
    Constant(Tensor),
    /// Bytes that other nodes compute, of these dimensions, with this zero point.
    Quantized(Vec<usize>, u8),
}

/// One node to test the laws on: gradient equals finite differences, masked equals shrunk, MACs as stated.
#[derive(Debug, Clone)]
pub struct Example {
    /// Operator.
    pub op_type: &'static str,
    /// Domain; empty for ONNX's own.
    pub domain: &'static str,
    /// Version of ONNX's own operator set; that of another domain is 1.
    pub opset: i64,
    /// Attributes.
    pub attributes: Attributes,
    /// Inputs.
    pub inputs: Vec<ExampleInput>,
    /// Number of outputs.
    pub outputs: usize,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Whether the operator has a gradient here; else it must say that it has none.
    pub differentiable: bool,
    /// The output whose gradient is tested.
    pub through: usize,
    /// Axes of the float inputs, as (input, axis), that must be prunable through the node.
    pub prunable: Vec<(usize, usize)>,
    /// What `Computed` floats are drawn from: uniform in this range.
    pub range: (f32, f32),
    /// Element type of the outputs.
    pub output_dtype: DType,
}

impl Example {
    /// One node of `op_type` with one output in opset 17, no MACs, and a gradient.
    pub fn new(op_type: &'static str) -> Self {
        Self {
            op_type,
            domain: "",
            opset: 17,
            attributes: Attributes::default(),
            inputs: Vec::new(),
            outputs: 1,
            macs: 0,
            differentiable: true,
            through: 0,
            prunable: Vec::new(),
            range: (-2.0, 2.0),
            output_dtype: DType::F32,
        }
    }

    /// The same for an operator of ONNX Runtime's own domain.
    pub fn microsoft(op_type: &'static str) -> Self {
        Self { domain: MICROSOFT, ..Self::new(op_type) }
    }

    /// In another operator set version.
    #[must_use]
    pub fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    /// With an attribute.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        self.attributes.set(name, value);
        self
    }

    fn input(mut self, input: ExampleInput) -> Self {
        self.inputs.push(input);
        self
    }

    /// With a computed float input next.
    #[must_use]
    pub fn computed(self, dims: &[usize]) -> Self {
        self.input(ExampleInput::Computed(dims.to_vec()))
    }

    /// With a computed input of bytes next, whose zero point is `zero_point`.
    #[must_use]
    pub fn quantized(self, dims: &[usize], zero_point: u8) -> Self {
        self.input(ExampleInput::Quantized(dims.to_vec(), zero_point))
    }

    /// With a weight next.
    #[must_use]
    pub fn weight(self, dims: &[usize]) -> Self {
        self.input(ExampleInput::Weight(dims.to_vec()))
    }

    /// With a positive weight next.
    #[must_use]
    pub fn positive(self, dims: &[usize]) -> Self {
        self.input(ExampleInput::Positive(dims.to_vec()))
    }

    /// With a constant integer vector next.
    #[must_use]
    pub fn ints(self, values: &[i64]) -> Self {
        self.input(ExampleInput::Constant(Tensor::vector(values.to_vec())))
    }

    /// With a constant next.
    #[must_use]
    pub fn constant(self, tensor: Tensor) -> Self {
        self.input(ExampleInput::Constant(tensor))
    }

    /// With an input left out next.
    #[must_use]
    pub fn absent(self) -> Self {
        self.input(ExampleInput::Absent)
    }

    /// With so many outputs.
    #[must_use]
    pub fn outputs(mut self, outputs: usize) -> Self {
        self.outputs = outputs;
        self
    }

    /// With so many multiply-accumulates.
    #[must_use]
    pub fn macs(mut self, macs: u64) -> Self {
        self.macs = macs;
        self
    }

    /// Without a gradient.
    #[must_use]
    pub fn no_gradient(mut self) -> Self {
        self.differentiable = false;
        self
    }

    /// The gradient is tested through output `output`.
    #[must_use]
    pub fn through(mut self, output: usize) -> Self {
        self.through = output;
        self
    }

    /// Axis `axis` of float input `input` must be prunable through the node.
    #[must_use]
    pub fn prunable(mut self, input: usize, axis: usize) -> Self {
        self.prunable.push((input, axis));
        self
    }

    /// Computed floats are drawn from `low..high`.
    #[must_use]
    pub fn range(mut self, low: f32, high: f32) -> Self {
        self.range = (low, high);
        self
    }

    /// The outputs have another element type than `float`.
    #[must_use]
    pub fn output_dtype(mut self, dtype: DType) -> Self {
        self.output_dtype = dtype;
        self
    }
}
