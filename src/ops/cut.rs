//! What has left the operands of a node, and what changes at the node for it.

use std::collections::BTreeMap;

use crate::ir::Attribute;
use crate::tensor::Tensor;

/// For every axis of the operands of one node, the indices that stay.
#[derive(Debug, Clone, Default)]
pub struct Cut<'a> {
    /// By input and axis; nothing where all stay.
    pub inputs: Vec<Vec<Option<&'a [usize]>>>,
    /// By output and axis; nothing where all stay.
    pub outputs: Vec<Vec<Option<&'a [usize]>>>,
    /// Whether the averages of the node are to be those over all indices, of which those that left count as zeros.
    pub averages: bool,
}

impl Cut<'_> {
    /// The indices of an input axis that stay; nothing when all do.
    pub fn input(&self, input: usize, axis: usize) -> Option<&[usize]> {
        self.inputs.get(input)?.get(axis).copied().flatten()
    }

    /// The indices of an output axis that stay; nothing when all do.
    pub fn output(&self, output: usize, axis: usize) -> Option<&[usize]> {
        self.outputs.get(output)?.get(axis).copied().flatten()
    }

    /// The share of the indices of some axes of an input that stays, if averages over them are to be kept. `dims` are
    /// the dimensions of the input before the cut.
    pub fn averaged_share(
        &self,
        input: usize,
        dims: &[usize],
        axes: impl IntoIterator<Item = usize>,
    ) -> Option<f64> {
        let share = |axis: usize| self.input(input, axis).map(|kept| kept.len() as f64 / dims[axis] as f64);
        let shares: Vec<f64> = axes.into_iter().filter_map(share).collect();
        (self.averages && !shares.is_empty()).then(|| shares.iter().product())
    }

    /// Whether any axis of an output shrinks.
    pub fn shrinks_output(&self, output: usize) -> bool {
        self.outputs.get(output).is_some_and(|axes| axes.iter().any(Option::is_some))
    }

    /// Whether any axis of an input shrinks.
    pub fn shrinks_input(&self, input: usize) -> bool {
        self.inputs.get(input).is_some_and(|axes| axes.iter().any(Option::is_some))
    }
}

/// One entry of an integer input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// As the dense model computes it.
    Keep,
    /// This number.
    Set(i64),
}

/// What changes at a node.
#[derive(Debug, Clone, Default)]
pub struct NodeEdit {
    /// Attributes that get new values.
    pub attributes: BTreeMap<String, Attribute>,
    /// Integer inputs (1-D, or 0-D with one entry) that get new values.
    pub inputs: BTreeMap<usize, Vec<Entry>>,
    /// Inputs that become constants, of any dimensions.
    pub constants: BTreeMap<usize, Tensor>,
    /// Float inputs that are multiplied by a number.
    pub input_factors: BTreeMap<usize, f64>,
    /// Float outputs that are multiplied by a number.
    pub output_factors: BTreeMap<usize, f64>,
    /// Integer outputs (1-D or 0-D) of which entries get other values, so that they stay what they were.
    pub outputs: BTreeMap<usize, Vec<Entry>>,
    /// Another operator that takes the node's place.
    pub replacement: Option<Replacement>,
}

/// An operator that takes a node's place and makes its outputs.
#[derive(Debug, Clone)]
pub struct Replacement {
    /// Operator of ONNX's own domain.
    pub op_type: String,
    /// Its attributes.
    pub attributes: Vec<(String, Attribute)>,
    /// Inputs: of the old node, or constants.
    pub inputs: Vec<ReplacementInput>,
}

/// An input of a [`Replacement`].
#[derive(Debug, Clone)]
pub enum ReplacementInput {
    /// Input of the old node with this number.
    Old(usize),
    /// A constant vector.
    Ints(Vec<i64>),
}

impl NodeEdit {
    /// Sets an attribute.
    pub fn attribute(&mut self, name: &str, value: impl Into<Attribute>) {
        self.attributes.insert(name.to_owned(), value.into());
    }

    /// Sets entries of an integer input.
    pub fn input(&mut self, input: usize, entries: Vec<Entry>) {
        self.inputs.insert(input, entries);
    }

    /// Sets all entries of an integer input.
    pub fn input_ints(&mut self, input: usize, values: impl IntoIterator<Item = i64>) {
        self.input(input, values.into_iter().map(Entry::Set).collect());
    }
}
