//! The pen with which an operator writes its gradient: standard ONNX operators, in the model's own operator set
//! version, at the end of the training graph.

use super::{NodeView, Unsupported};
use crate::ir::{Graph, NodeSpec, ValueId};
use crate::tensor::{DType, Tensor};

/// One node of the forward graph, and the end of the training graph to write behind.
///
/// Gradients have the type and dimensions of what they belong to. Everything that is written must hold for any
/// size of the dimensions that vary ([`Operand::varies`](super::Operand::varies)).
#[derive(Debug)]
pub struct Tape<'a> {
    graph: &'a mut Graph,
    base: String,
    opset: i64,
    dtype: DType,
    inputs: Vec<Option<ValueId>>,
    outputs: Vec<Option<ValueId>>,
    wanted: Vec<bool>,
    output_grads: Vec<Option<ValueId>>,
    input_grads: Vec<Option<ValueId>>,
    kernels: bool,
}

/// What a [`Tape`] starts from.
#[derive(Debug)]
pub struct TapeStart<'a> {
    /// The training graph.
    pub graph: &'a mut Graph,
    /// What fresh names start with.
    pub base: String,
    /// Version of ONNX's own operator set.
    pub opset: i64,
    /// Element type of the computation.
    pub dtype: DType,
    /// The node's inputs.
    pub inputs: Vec<Option<ValueId>>,
    /// The node's outputs.
    pub outputs: Vec<Option<ValueId>>,
    /// For which inputs a gradient is wanted.
    pub wanted: Vec<bool>,
    /// The gradients of the outputs; nothing where the loss does not depend on one.
    pub output_grads: Vec<Option<ValueId>>,
}

impl<'a> Tape<'a> {
    /// A tape for one node.
    pub fn new(start: TapeStart<'a>) -> Self {
        let count = start.inputs.len();
        Self {
            graph: start.graph,
            base: start.base,
            opset: start.opset,
            dtype: start.dtype,
            inputs: start.inputs,
            outputs: start.outputs,
            wanted: start.wanted,
            output_grads: start.output_grads,
            input_grads: vec![None; count],
            kernels: false,
        }
    }

    /// The same, for an engine that has the operators of [`crate::kernels`], or has not.
    #[must_use]
    pub fn with_kernels(self, kernels: bool) -> Self {
        Self { kernels, ..self }
    }

    /// Whether operators of [`crate::kernels`] may be written.
    pub const fn kernels(&self) -> bool {
        self.kernels
    }

    /// The gradients that were given, by input.
    pub fn into_grads(self) -> Vec<Option<ValueId>> {
        self.input_grads
    }

    /// Version of ONNX's own operator set.
    pub const fn opset(&self) -> i64 {
        self.opset
    }

    /// Element type of the computation.
    pub const fn dtype(&self) -> DType {
        self.dtype
    }

    /// Whether the gradient of input `input` is wanted.
    pub fn wants(&self, input: usize) -> bool {
        self.wanted.get(input).copied().unwrap_or(false)
    }

    /// The value of input `input`.
    ///
    /// # Errors
    /// When it is left out.
    pub fn x(&self, input: usize) -> Result<ValueId, Unsupported> {
        self.inputs
            .get(input)
            .copied()
            .flatten()
            .ok_or_else(|| Unsupported(format!("input {input} is left out")))
    }

    /// The value of output `output`.
    ///
    /// # Errors
    /// When it is left out.
    pub fn y(&self, output: usize) -> Result<ValueId, Unsupported> {
        self.outputs
            .get(output)
            .copied()
            .flatten()
            .ok_or_else(|| Unsupported(format!("output {output} is left out")))
    }

    /// The gradient of output `output`, if the loss depends on it.
    pub fn dy(&self, output: usize) -> Option<ValueId> {
        self.output_grads.get(output).copied().flatten()
    }

    /// The gradient of the one output that a gradient is asked for.
    ///
    /// # Errors
    /// When there is none, which the caller rules out.
    pub fn dy0(&self) -> Result<ValueId, Unsupported> {
        self.dy(0).ok_or_else(|| Unsupported::new("only another output than the first has a gradient"))
    }

    /// Gives the gradient of input `input`.
    pub fn give(&mut self, input: usize, grad: ValueId) {
        self.input_grads[input] = Some(grad);
    }

    /// Adds a node; returns its one output.
    pub fn node(&mut self, spec: NodeSpec) -> ValueId {
        self.graph.add(&self.base, spec)
    }

    /// Adds a node with several outputs.
    pub fn nodes(&mut self, spec: NodeSpec, outputs: usize) -> Vec<ValueId> {
        self.graph.add_node(&self.base, spec, outputs)
    }

    /// Adds a node that has one output for each input, its gradient; gives those that are wanted and leaves out the
    /// others, so that nobody computes them.
    pub fn give_by(&mut self, spec: NodeSpec, inputs: usize) {
        let grads = self.nodes(spec, inputs);
        let node = self.graph.nodes().next_back().map(|(id, _)| id);
        for (input, grad) in grads.into_iter().enumerate() {
            if self.wants(input) {
                self.give(input, grad);
            } else if let Some(node) = node {
                self.graph.node_mut(node).outputs[input] = None;
            }
        }
    }

    /// Adds a node without attributes.
    pub fn op(&mut self, op_type: &str, inputs: &[ValueId]) -> ValueId {
        self.node(NodeSpec::new(op_type, inputs))
    }

    /// A constant of any kind.
    pub fn constant(&mut self, tensor: &Tensor) -> ValueId {
        self.graph.add_initializer(&format!("{}.constant", self.base), tensor)
    }

    /// A float scalar of the computation's element type.
    pub fn scalar(&mut self, value: f64) -> ValueId {
        let tensor = Tensor::scalar(value).cast_float(self.dtype);
        self.constant(&tensor)
    }

    /// An integer vector.
    pub fn ints(&mut self, values: &[i64]) -> ValueId {
        self.constant(&Tensor::vector(values.to_vec()))
    }

    /// `a + b`, broadcasting.
    pub fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.op("Add", &[a, b])
    }

    /// `a - b`, broadcasting.
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.op("Sub", &[a, b])
    }

    /// `a * b`, broadcasting.
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.op("Mul", &[a, b])
    }

    /// `a / b`, broadcasting.
    pub fn div(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.op("Div", &[a, b])
    }

    /// `-a`.
    pub fn neg(&mut self, a: ValueId) -> ValueId {
        self.op("Neg", &[a])
    }

    /// `a * factor`.
    pub fn scale(&mut self, a: ValueId, factor: f64) -> ValueId {
        let factor = self.scalar(factor);
        self.mul(a, factor)
    }

    /// `a + term`.
    pub fn shift(&mut self, a: ValueId, term: f64) -> ValueId {
        let term = self.scalar(term);
        self.add(a, term)
    }

    /// The matrix product `a @ b`.
    pub fn matmul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.op("MatMul", &[a, b])
    }

    /// `a` with its axes in the order `permutation`.
    pub fn transpose(&mut self, a: ValueId, permutation: &[usize]) -> ValueId {
        if permutation.iter().enumerate().all(|(place, &axis)| place == axis) {
            return a;
        }
        let permutation: Vec<i64> = permutation.iter().map(|&axis| axis as i64).collect();
        self.node(NodeSpec::new("Transpose", &[a]).attribute("perm", permutation))
    }

    /// `a` with other dimensions; 0 keeps the dimension at that place, one -1 is computed.
    pub fn reshape(&mut self, a: ValueId, dims: &[i64]) -> ValueId {
        let shape = self.ints(dims);
        self.op("Reshape", &[a, shape])
    }

    /// `a` with the dimensions that the integer vector `shape` holds.
    pub fn reshape_to(&mut self, a: ValueId, shape: ValueId) -> ValueId {
        self.op("Reshape", &[a, shape])
    }

    /// The dimensions of input `input` as an integer vector: a constant where none of them varies.
    ///
    /// # Errors
    /// When the input is left out.
    pub fn shape_of(&mut self, node: &NodeView<'_>, input: usize) -> Result<ValueId, Unsupported> {
        let operand = node.x(input)?;
        if operand.any_varies() {
            let x = self.x(input)?;
            return Ok(self.op("Shape", &[x]));
        }
        let dims: Vec<i64> = operand.dims().iter().map(|&dim| dim as i64).collect();
        Ok(self.ints(&dims))
    }

    /// The sum of `a` over `axes` (counted from the front).
    pub fn reduce_sum(&mut self, a: ValueId, axes: &[usize], keep_dims: bool) -> ValueId {
        if axes.is_empty() {
            return a;
        }
        self.reduce("ReduceSum", a, axes, keep_dims, 13)
    }

    /// The mean of `a` over `axes` (counted from the front).
    pub fn reduce_mean(&mut self, a: ValueId, axes: &[usize], keep_dims: bool) -> ValueId {
        if axes.is_empty() {
            return a;
        }
        self.reduce("ReduceMean", a, axes, keep_dims, 18)
    }

    /// A reduction of `a` over `axes` (counted from the front), which became an input in operator set `since`.
    pub fn reduce(
        &mut self,
        op_type: &str,
        a: ValueId,
        axes: &[usize],
        keep_dims: bool,
        since: i64,
    ) -> ValueId {
        let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        let spec = if self.opset >= since {
            let axes = self.ints(&axes);
            NodeSpec::new(op_type, &[a, axes])
        } else {
            NodeSpec::new(op_type, &[a]).attribute("axes", axes)
        };
        self.node(spec.attribute("keepdims", i64::from(keep_dims)))
    }

    /// How many elements input `input` has over `axes` (counted from the front), as a float scalar: a constant
    /// where none of the dimensions varies.
    ///
    /// # Errors
    /// When the input is left out.
    pub fn count_over(
        &mut self,
        node: &NodeView<'_>,
        input: usize,
        axes: &[usize],
    ) -> Result<ValueId, Unsupported> {
        let operand = node.x(input)?;
        let fixed: usize =
            axes.iter().filter(|&&axis| !operand.varies(axis)).map(|&axis| operand.dims()[axis]).product();
        let varying: Vec<i64> =
            axes.iter().filter(|&&axis| operand.varies(axis)).map(|&axis| axis as i64).collect();
        if varying.is_empty() {
            return Ok(self.scalar(fixed as f64));
        }
        let x = self.x(input)?;
        let shape = self.op("Shape", &[x]);
        let shape = self.cast(shape, self.dtype);
        let varying = self.ints(&varying);
        let dims = self.op("Gather", &[shape, varying]);
        let count = self.node(NodeSpec::new("ReduceProd", &[dims]).attribute("keepdims", 0));
        Ok(self.scale(count, fixed as f64))
    }

    fn with_axes(&mut self, op_type: &str, a: ValueId, axes: &[usize]) -> ValueId {
        if axes.is_empty() {
            return a;
        }
        let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        let spec = if self.opset >= 13 {
            let axes = self.ints(&axes);
            NodeSpec::new(op_type, &[a, axes])
        } else {
            NodeSpec::new(op_type, &[a]).attribute("axes", axes)
        };
        self.node(spec)
    }

    /// `a` with axes of size 1 put in, at places counted in the result.
    pub fn unsqueeze(&mut self, a: ValueId, axes: &[usize]) -> ValueId {
        self.with_axes("Unsqueeze", a, axes)
    }

    /// `a` without the given axes of size 1.
    pub fn squeeze(&mut self, a: ValueId, axes: &[usize]) -> ValueId {
        self.with_axes("Squeeze", a, axes)
    }

    /// `a` from `starts` to `ends` along `axes` with `steps`.
    pub fn slice(
        &mut self,
        a: ValueId,
        axes: &[usize],
        starts: &[i64],
        ends: &[i64],
        steps: &[i64],
    ) -> ValueId {
        let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        if self.opset < 10 {
            let spec = NodeSpec::new("Slice", &[a])
                .attribute("axes", axes)
                .attribute("starts", starts.to_vec())
                .attribute("ends", ends.to_vec());
            return self.node(spec);
        }
        let inputs = [starts, ends, &axes, steps].map(|values| self.ints(values));
        self.op("Slice", &[a, inputs[0], inputs[1], inputs[2], inputs[3]])
    }

    /// `a` with zeros around it: `pads` holds the counts before each axis, then those behind each axis.
    pub fn pad(&mut self, a: ValueId, pads: &[i64]) -> ValueId {
        if pads.iter().all(|&pad| pad == 0) {
            return a;
        }
        if self.opset < 11 {
            return self.node(NodeSpec::new("Pad", &[a]).attribute("pads", pads.to_vec()));
        }
        let pads = self.ints(pads);
        self.op("Pad", &[a, pads])
    }

    /// The parts, one behind the other along `axis`.
    pub fn concat(&mut self, parts: &[ValueId], axis: usize) -> ValueId {
        if let [part] = parts {
            return *part;
        }
        self.node(NodeSpec::new("Concat", parts).attribute("axis", axis as i64))
    }

    /// `a` in another element type.
    pub fn cast(&mut self, a: ValueId, dtype: DType) -> ValueId {
        self.node(NodeSpec::new("Cast", &[a]).attribute("to", i64::from(dtype.onnx())))
    }

    /// `a` where `condition` holds, else `b`; broadcasting.
    pub fn select(&mut self, condition: ValueId, a: ValueId, b: ValueId) -> ValueId {
        self.op("Where", &[condition, a, b])
    }

    /// 1 where the boolean `condition` holds, else 0, in the computation's element type.
    pub fn indicator(&mut self, condition: ValueId) -> ValueId {
        self.cast(condition, self.dtype)
    }

    /// Sums `grad`, which has the dimensions of output `output`, over what input `input` was broadcast along, and
    /// gives the result as the input's gradient.
    ///
    /// # Errors
    /// When an operand is left out.
    pub fn give_unbroadcast(
        &mut self,
        node: &NodeView<'_>,
        input: usize,
        grad: ValueId,
    ) -> Result<(), Unsupported> {
        let from = node.y(0)?.dims();
        let to = node.x(input)?;
        let lead = from.len() - to.rank();
        let axes: Vec<usize> = (0..from.len())
            .filter(|&axis| {
                axis < lead || (to.dims()[axis - lead] == 1 && !to.varies(axis - lead) && from[axis] != 1)
            })
            .collect();
        let mut sum = grad;
        if !axes.is_empty() {
            sum = self.reduce_sum(sum, &axes, true);
        }
        if lead > 0 {
            let leading: Vec<usize> = (0..lead).collect();
            sum = self.squeeze(sum, &leading);
        }
        self.give(input, sum);
        Ok(())
    }
}
