//! A node as its operator sees it.

use std::borrow::Cow;

use super::Unsupported;
use crate::ir::{Attributes, Facts, Graph, Initializer, Node, NodeId, ValueFacts, ValueId};
use crate::tensor::{DType, Tensor};

/// An input or output of a node.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    facts: &'a ValueFacts,
    initializer: Option<&'a Initializer>,
}

impl<'a> Operand<'a> {
    /// Dimensions in the traced run.
    pub fn dims(&self) -> &'a [usize] {
        &self.facts.dims
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.facts.dims.len()
    }

    /// Number of elements in the traced run.
    pub fn count(&self) -> usize {
        self.facts.dims.iter().product()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.facts.dtype
    }

    /// Whether dimension `axis` follows the batch or another free dimension of the inputs.
    pub fn varies(&self, axis: usize) -> bool {
        self.facts.varies.get(axis).copied().unwrap_or(true)
    }

    /// Whether any dimension follows a free dimension of the inputs.
    pub fn any_varies(&self) -> bool {
        self.facts.varies.contains(&true)
    }

    /// The initializer, if the operand is one directly.
    pub fn initializer(&self) -> Option<&'a Initializer> {
        self.initializer
    }

    /// The numbers, if the operand is an initializer or a small tensor that is computed from constants alone.
    pub fn constant(&self) -> Option<Tensor> {
        match self.initializer {
            Some(initializer) => initializer.tensor().ok(),
            None => self.facts.constant.clone(),
        }
    }

    /// The values of an integer operand in the traced run, constant or computed.
    pub fn ints(&self) -> Option<Cow<'a, [i64]>> {
        if let Some(ints) = &self.facts.ints {
            return Some(Cow::Borrowed(ints));
        }
        self.constant()?.to_i64().ok().map(Cow::Owned)
    }

    /// The values of an integer operand that are the same in every run; nothing when one of them is not.
    pub fn steady_ints(&self) -> Option<Cow<'a, [i64]>> {
        if self.initializer.is_none() && self.facts.ints_vary.contains(&true) { None } else { self.ints() }
    }

    /// Whether integer `index` of the operand differs from run to run.
    pub fn int_varies(&self, index: usize) -> bool {
        self.initializer.is_none() && self.facts.ints_vary.get(index).copied().unwrap_or(true)
    }
}

/// A node: attributes, operands, operator set version.
#[derive(Debug, Clone)]
pub struct NodeView<'a> {
    node: &'a Node,
    op_type: &'a str,
    domain: &'a str,
    opset: i64,
    inputs: Vec<Option<Operand<'a>>>,
    outputs: Vec<Option<Operand<'a>>>,
    seen: bool,
}

fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

impl<'a> NodeView<'a> {
    /// The view of node `id`, whose domain is imported in version `opset`.
    pub fn new(graph: &'a Graph, facts: &'a Facts, id: NodeId, opset: i64) -> Self {
        let node = graph.node(id);
        let operand = |&port: &Option<ValueId>| {
            let id = port?;
            let facts = facts.get(id)?;
            Some(Operand { facts, initializer: graph.value(id).initializer() })
        };
        let inputs: Vec<_> = node.inputs.iter().map(operand).collect();
        let outputs: Vec<_> = node.outputs.iter().map(operand).collect();
        let seen = |ports: &[Option<ValueId>], operands: &[Option<Operand<'_>>]| {
            ports.iter().zip(operands).all(|(port, operand)| port.is_some() == operand.is_some())
        };
        let seen = seen(&node.inputs, &inputs) && seen(&node.outputs, &outputs) && node.captured.is_empty();
        Self { node, op_type: &node.op_type, domain: domain(&node.domain), opset, inputs, outputs, seen }
    }

    /// The node as if its operator were `op_type` of ONNX's own domain, with its inputs of the numbers `inputs`.
    pub(super) fn seen_as(&self, op_type: &'static str, inputs: &[usize]) -> Self {
        let inputs = inputs.iter().map(|&input| self.input(input).copied()).collect();
        let opset = if self.domain.is_empty() { self.opset } else { super::NEWEST_OPSET };
        Self { op_type, domain: "", opset, inputs, ..self.clone() }
    }

    /// Operator name.
    pub fn op_type(&self) -> &'a str {
        self.op_type
    }

    /// Operator domain; empty for ONNX's own.
    pub fn domain(&self) -> &'a str {
        self.domain
    }

    /// Version of the domain's operator set.
    pub const fn opset(&self) -> i64 {
        self.opset
    }

    /// Whether shapes and types of all operands are known and nothing is read by subgraphs.
    pub const fn is_seen(&self) -> bool {
        self.seen
    }

    /// Number of inputs, left-out ones at the end not counted.
    pub fn input_count(&self) -> usize {
        self.inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }

    /// Number of outputs, left-out ones at the end not counted.
    pub fn output_count(&self) -> usize {
        self.node.outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }

    /// Input `index`, if it is there.
    pub fn input(&self, index: usize) -> Option<&Operand<'a>> {
        self.inputs.get(index)?.as_ref()
    }

    /// Output `index`, if it is there.
    pub fn output(&self, index: usize) -> Option<&Operand<'a>> {
        self.outputs.get(index)?.as_ref()
    }

    /// Input `index`, which the specification requires.
    ///
    /// # Errors
    /// When it is left out.
    pub fn x(&self, index: usize) -> Result<&Operand<'a>, Unsupported> {
        self.input(index).ok_or_else(|| Unsupported(format!("input {index} is left out")))
    }

    /// Output `index`, which the specification requires.
    ///
    /// # Errors
    /// When it is left out.
    pub fn y(&self, index: usize) -> Result<&Operand<'a>, Unsupported> {
        self.output(index).ok_or_else(|| Unsupported(format!("output {index} is left out")))
    }

    /// The names of the attributes that are set.
    pub fn attribute_names(&self) -> impl Iterator<Item = &'a str> {
        self.node.attributes.names()
    }

    /// Whether attribute `name` is set.
    pub fn has(&self, name: &str) -> bool {
        self.node.attributes.has(name)
    }

    /// Integer attribute `name`, or its default.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.node.attributes.int(name).unwrap_or(default)
    }

    /// Float attribute `name`, or its default.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.node.attributes.float(name).unwrap_or(default)
    }

    /// String attribute `name`, or its default.
    pub fn string(&self, name: &str, default: &'a str) -> &'a str {
        self.node.attributes.string(name).unwrap_or(default)
    }

    /// Integers attribute `name`.
    pub fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.node.attributes.ints(name)
    }

    /// Floats attribute `name`.
    pub fn floats(&self, name: &str) -> Option<&'a [f32]> {
        self.node.attributes.floats(name)
    }

    /// Strings attribute `name`; nothing when one of them is not UTF-8.
    pub fn strings(&self, name: &str) -> Option<Vec<&'a str>> {
        self.node.attributes.strings(name)
    }

    /// All attributes.
    pub fn attributes(&self) -> &'a Attributes {
        &self.node.attributes
    }

    /// Tensor attribute `name`.
    pub fn tensor(&self, name: &str) -> Option<Tensor> {
        self.node.attributes.tensor(name)?.tensor().ok()
    }
}

/// `axis` counted from the front, for a tensor of the given rank; negative axes count from the back.
///
/// # Errors
/// When there is no such axis.
pub(super) fn axis_index(axis: i64, rank: usize) -> Result<usize, Unsupported> {
    let index = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(index)
        .ok()
        .filter(|&index| index < rank)
        .ok_or_else(|| Unsupported(format!("axis {axis} is outside a tensor of rank {rank}")))
}
