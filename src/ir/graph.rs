//! Nodes and values.

use std::collections::HashMap;

use onnx_proto::{DimensionValue, GraphProto, NodeProto, TypeValue, ValueInfoProto};

use super::{Attributes, Initializer};
use crate::tensor::DType;

/// Names a value of one graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(u32);

/// Names a node of one graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl ValueId {
    /// Position in side tables of length [`Graph::value_count`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    /// Position in side tables of length [`Graph::node_count`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A tensor that flows through the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    pub(super) name: String,
    pub(super) initializer: Option<Initializer>,
    pub(super) declared: Option<ValueInfoProto>,
}

impl Value {
    /// The name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The constant that the value holds, if it is an initializer.
    pub fn initializer(&self) -> Option<&Initializer> {
        self.initializer.as_ref()
    }

    /// The tensor type that the file declares for the value, if any.
    pub fn declared(&self) -> Option<DeclaredType> {
        let kind = self.declared.as_ref()?.r#type.as_ref()?.value.as_ref()?;
        let TypeValue::Tensor(tensor) = kind else { return None };
        let dims = tensor.shape.as_ref().map(|shape| {
            shape
                .dim
                .iter()
                .map(|dim| match &dim.value {
                    Some(DimensionValue::DimValue(size)) if *size >= 0 => DeclaredDim::Fixed(*size as usize),
                    Some(DimensionValue::DimParam(name)) if !name.is_empty() => {
                        DeclaredDim::Named(name.clone())
                    }
                    _ => DeclaredDim::Free,
                })
                .collect()
        });
        Some(DeclaredType { dtype: tensor.elem_type.and_then(DType::from_onnx), dims })
    }
}

/// A declared dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclaredDim {
    /// A number.
    Fixed(usize),
    /// A name that stands for a number known at run time.
    Named(String),
    /// Nothing is said.
    Free,
}

/// A declared tensor type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredType {
    /// Element type, if it is declared and known here.
    pub dtype: Option<DType>,
    /// Dimensions, if the rank is declared.
    pub dims: Option<Vec<DeclaredDim>>,
}

/// An application of an operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Name in the file; may be empty.
    pub name: String,
    /// Operator.
    pub op_type: String,
    /// Domain of the operator; empty for ONNX's own.
    pub domain: String,
    /// Inputs; nothing where an optional input is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Outputs; nothing where an optional output is left out.
    pub outputs: Vec<Option<ValueId>>,
    /// Attributes.
    pub attributes: Attributes,
    /// Values of this graph that the node's subgraphs read.
    pub captured: Vec<ValueId>,
    /// What else the message held.
    pub(super) rest: NodeProto,
}

/// A graph of nodes and values.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) order: Vec<NodeId>,
    pub(super) values: Vec<Value>,
    pub(super) by_name: HashMap<String, ValueId>,
    pub(super) inputs: Vec<ValueId>,
    pub(super) outputs: Vec<ValueId>,
    /// The initializers in the order of the file.
    pub(super) initializers: Vec<ValueId>,
    /// Values that `value_info` declares, in the order of the file.
    pub(super) declarations: Vec<ValueId>,
    /// What else the message held.
    pub(super) rest: GraphProto,
    /// Numbers for fresh names.
    pub(super) fresh: u32,
}

impl Graph {
    /// The name in the file.
    pub fn name(&self) -> &str {
        self.rest.name.as_deref().unwrap_or("")
    }

    /// One more than the largest index of a value.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// One more than the largest index of a node.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The nodes in topological order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.order.iter().map(|&id| (id, &self.nodes[id.index()]))
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// A node, to be changed in place.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    /// All values in the order of their ids.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values.iter().enumerate().map(|(index, value)| (ValueId(index as u32), value))
    }

    /// A value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The value called `name`.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.by_name.get(name).copied()
    }

    /// The graph inputs, initializers that may be overridden among them.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The graph inputs that a caller must give: those that are no initializers.
    pub fn required_inputs(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.inputs.iter().copied().filter(|&id| self.value(id).initializer.is_none())
    }

    /// The graph outputs.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// The initializers in the order of the file.
    pub fn initializers(&self) -> impl Iterator<Item = (ValueId, &Initializer)> {
        self.initializers
            .iter()
            .filter_map(|&id| self.value(id).initializer.as_ref().map(|tensor| (id, tensor)))
    }

    /// For every value, the node and output that make it.
    pub fn producers(&self) -> Vec<Option<(NodeId, usize)>> {
        let mut producers = vec![None; self.values.len()];
        for (id, node) in self.nodes() {
            for (index, output) in node.outputs.iter().enumerate() {
                if let Some(value) = output {
                    producers[value.index()] = Some((id, index));
                }
            }
        }
        producers
    }

    /// For every value, the nodes and inputs that read it. Reads from subgraphs have no input number.
    pub fn consumers(&self) -> Vec<Vec<(NodeId, Option<usize>)>> {
        let mut consumers = vec![Vec::new(); self.values.len()];
        for (id, node) in self.nodes() {
            for (index, input) in node.inputs.iter().enumerate() {
                if let Some(value) = input {
                    consumers[value.index()].push((id, Some(index)));
                }
            }
            for value in &node.captured {
                consumers[value.index()].push((id, None));
            }
        }
        consumers
    }

    pub(super) fn intern(&mut self, name: &str) -> ValueId {
        if let Some(&id) = self.by_name.get(name) {
            return id;
        }
        let id = ValueId(self.values.len() as u32);
        self.values.push(Value { name: name.to_owned(), initializer: None, declared: None });
        self.by_name.insert(name.to_owned(), id);
        id
    }

    pub(super) fn push_node(&mut self, node: Node) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node);
        id
    }

    /// The place of a node for messages: its operator and its name, or the name of its first output.
    pub fn describe(&self, id: NodeId) -> String {
        let node = self.node(id);
        let name = if node.name.is_empty() {
            node.outputs.iter().flatten().next().map_or("", |&value| self.value(value).name())
        } else {
            &node.name
        };
        format!("{} `{name}`", node.op_type)
    }
}
