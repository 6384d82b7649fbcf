//! Changes of a graph.

use std::collections::BTreeSet;

use onnx_proto::{
    Dimension, DimensionValue, NodeProto, TensorShapeProto, TensorType, TypeProto, TypeValue, ValueInfoProto,
};

use super::graph::Node;
use super::{Attribute, Attributes, DeclaredDim, Graph, Initializer, NodeId, ValueId};
use crate::tensor::{DType, Tensor};

/// A node to be added.
#[derive(Debug, Clone, Default)]
pub struct NodeSpec {
    op_type: String,
    domain: String,
    inputs: Vec<Option<ValueId>>,
    attributes: Attributes,
}

impl NodeSpec {
    /// An operator of ONNX's own domain over `inputs`.
    pub fn new(op_type: &str, inputs: &[ValueId]) -> Self {
        Self {
            op_type: op_type.to_owned(),
            inputs: inputs.iter().copied().map(Some).collect(),
            ..Self::default()
        }
    }

    /// The same with inputs that may be left out.
    pub fn with_optional(op_type: &str, inputs: &[Option<ValueId>]) -> Self {
        Self { op_type: op_type.to_owned(), inputs: inputs.to_vec(), ..Self::default() }
    }

    /// In another operator domain.
    #[must_use]
    pub fn domain(mut self, domain: &str) -> Self {
        domain.clone_into(&mut self.domain);
        self
    }

    /// With an attribute.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        self.attributes.set(name, value);
        self
    }

    /// With all of these attributes.
    #[must_use]
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }
}

impl Graph {
    /// An unused name that starts with `base`.
    pub fn fresh_name(&mut self, base: &str) -> String {
        if !base.is_empty() && !self.by_name.contains_key(base) {
            return base.to_owned();
        }
        loop {
            self.fresh += 1;
            let name = format!("{base}.{}", self.fresh);
            if !self.by_name.contains_key(&name) {
                return name;
            }
        }
    }

    /// A new value without producer, named like `base`.
    pub fn add_value(&mut self, base: &str) -> ValueId {
        let name = self.fresh_name(base);
        self.intern(&name)
    }

    /// A new initializer with the values of `tensor`, named like `base`.
    pub fn add_initializer(&mut self, base: &str, tensor: &Tensor) -> ValueId {
        let name = self.fresh_name(base);
        let initializer = Initializer::from_tensor(&name, tensor);
        self.add_named_initializer(initializer)
    }

    /// A copy of initializer `id` under a new name.
    pub fn copy_initializer(&mut self, id: ValueId) -> Option<ValueId> {
        let mut copy = self.value(id).initializer()?.clone();
        let name = self.fresh_name(&format!("{}.copy", self.value(id).name()));
        copy.set_name(&name);
        Some(self.add_named_initializer(copy))
    }

    fn add_named_initializer(&mut self, initializer: Initializer) -> ValueId {
        let id = self.intern(initializer.name());
        self.values[id.index()].initializer = Some(initializer);
        self.initializers.push(id);
        id
    }

    /// Gives initializer `id` other values, of any dimensions; its declared type follows. A value that is no
    /// initializer becomes one.
    pub fn set_initializer(&mut self, id: ValueId, tensor: &Tensor) {
        let value = &self.values[id.index()];
        let initializer = match &value.initializer {
            Some(old) => old.with_tensor(tensor),
            None => Initializer::from_tensor(&value.name, tensor),
        };
        self.replace_initializer(id, initializer);
    }

    /// Makes `initializer`, which has the name of the value, the constant of `id`; its declared type follows.
    pub(crate) fn replace_initializer(&mut self, id: ValueId, initializer: Initializer) {
        let value = &mut self.values[id.index()];
        let (dtype, dims) = (initializer.dtype(), initializer.dims());
        let known = value.initializer.replace(initializer).is_some();
        if let (true, Some(dtype)) = (value.declared.is_some(), dtype) {
            let dims: Vec<_> = dims.into_iter().map(DeclaredDim::Fixed).collect();
            self.declare(id, dtype, &dims);
        }
        if !known {
            self.initializers.push(id);
        }
    }

    /// Takes the constant away from value `id`, so that it can become a plain input; returns it.
    pub fn remove_initializer(&mut self, id: ValueId) -> Option<Initializer> {
        self.initializers.retain(|&other| other != id);
        self.values[id.index()].initializer.take()
    }

    /// Adds a node with `outputs` new values at the end, named like `base`; returns its outputs.
    pub fn add_node(&mut self, base: &str, spec: NodeSpec, outputs: usize) -> Vec<ValueId> {
        let (id, values) = self.make_node(base, spec, outputs);
        self.order.push(id);
        values
    }

    /// Adds a node with one new output at the end; returns the output.
    pub fn add(&mut self, base: &str, spec: NodeSpec) -> ValueId {
        self.add_node(base, spec, 1)[0]
    }

    /// Adds nodes in front of node `before`. The outputs are values that exist already or were just added.
    pub fn insert_before(&mut self, before: NodeId, base: &str, spec: NodeSpec) -> ValueId {
        self.insert_node_before(before, base, spec, 1)[0]
    }

    /// Adds a node with `outputs` new values in front of node `before`; returns its outputs.
    pub fn insert_node_before(
        &mut self,
        before: NodeId,
        base: &str,
        spec: NodeSpec,
        outputs: usize,
    ) -> Vec<ValueId> {
        let (id, values) = self.make_node(base, spec, outputs);
        let place = self.order.iter().position(|&other| other == before).unwrap_or(self.order.len());
        self.order.insert(place, id);
        values
    }

    /// Adds a node behind node `after`; returns its one output.
    pub fn insert_after(&mut self, after: NodeId, base: &str, spec: NodeSpec) -> ValueId {
        let (id, values) = self.make_node(base, spec, 1);
        let place =
            self.order.iter().position(|&other| other == after).map_or(self.order.len(), |place| place + 1);
        self.order.insert(place, id);
        values[0]
    }

    fn make_node(&mut self, base: &str, spec: NodeSpec, outputs: usize) -> (NodeId, Vec<ValueId>) {
        let values: Vec<ValueId> = (0..outputs).map(|_| self.add_value(base)).collect();
        let name = values.first().map_or_else(String::new, |&value| self.value(value).name().to_owned());
        let id = self.push_node(Node {
            name,
            op_type: spec.op_type,
            domain: spec.domain,
            inputs: spec.inputs,
            outputs: values.iter().copied().map(Some).collect(),
            attributes: spec.attributes,
            captured: Vec::new(),
            rest: NodeProto::default(),
        });
        (id, values)
    }

    /// Makes value `id` a graph input of the given type.
    pub fn add_input(&mut self, id: ValueId, dtype: DType, dims: &[DeclaredDim]) {
        self.declare(id, dtype, dims);
        if !self.inputs.contains(&id) {
            self.inputs.push(id);
        }
    }

    /// Makes value `id` a graph input of which only the element type is declared.
    pub fn add_input_of_any_shape(&mut self, id: ValueId, dtype: DType) {
        self.add_input(id, dtype, &[]);
        let declared = self.values[id.index()].declared.as_mut().and_then(|info| info.r#type.as_mut());
        if let Some(TypeValue::Tensor(tensor)) = declared.and_then(|kind| kind.value.as_mut()) {
            tensor.shape = None;
        }
    }

    /// Makes value `id` a graph output; its type is left to the runtime unless it was declared.
    pub fn add_output(&mut self, id: ValueId) {
        if !self.outputs.contains(&id) {
            self.outputs.push(id);
        }
    }

    /// Replaces the list of graph outputs.
    pub fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        self.outputs = outputs;
    }

    /// Replaces the list of graph inputs.
    pub fn set_inputs(&mut self, inputs: Vec<ValueId>) {
        self.inputs = inputs;
    }

    /// Declares the type of value `id`.
    pub fn declare(&mut self, id: ValueId, dtype: DType, dims: &[DeclaredDim]) {
        let dim = dims
            .iter()
            .map(|dim| Dimension {
                value: match dim {
                    DeclaredDim::Fixed(size) => Some(DimensionValue::DimValue(*size as i64)),
                    DeclaredDim::Named(name) => Some(DimensionValue::DimParam(name.clone())),
                    DeclaredDim::Free => None,
                },
                ..Default::default()
            })
            .collect();
        let tensor = TensorType { elem_type: Some(dtype.onnx()), shape: Some(TensorShapeProto { dim }) };
        let value = &mut self.values[id.index()];
        let old = value.declared.take().unwrap_or_default();
        value.declared = Some(ValueInfoProto {
            name: Some(value.name.clone()),
            r#type: Some(TypeProto {
                value: Some(TypeValue::Tensor(tensor)),
                ..old.r#type.clone().unwrap_or_default()
            }),
            ..old
        });
    }

    /// Forgets the declared type of value `id`.
    pub fn undeclare(&mut self, id: ValueId) {
        self.values[id.index()].declared = None;
    }

    /// Makes every reader of `old`, graph outputs excepted, read `new` instead.
    pub fn redirect(&mut self, old: ValueId, new: ValueId) {
        for node in &mut self.nodes {
            for input in node.inputs.iter_mut().flatten() {
                if *input == old {
                    *input = new;
                }
            }
        }
    }

    /// Makes the node that makes `output` make `value` instead, which nobody makes.
    pub fn rename_produced(&mut self, output: ValueId, value: ValueId) {
        for node in &mut self.nodes {
            for made in node.outputs.iter_mut().flatten().filter(|made| **made == output) {
                *made = value;
            }
        }
    }

    /// Puts nodes that stand before what they read behind it, as some converters leave them. Nothing changes where all
    /// stand right already; nodes in a cycle stay where they are.
    pub fn sort_nodes(&mut self) {
        let producers = self.producers();
        let mut waiting: Vec<usize> = vec![0; self.nodes.len()];
        let mut place: Vec<usize> = vec![usize::MAX; self.nodes.len()];
        for (position, id) in self.order.iter().enumerate() {
            place[id.index()] = position;
        }
        let mut readers: Vec<Vec<NodeId>> = vec![Vec::new(); self.nodes.len()];
        let mut sorted = true;
        for (id, node) in self.nodes() {
            for input in node.inputs.iter().flatten().chain(&node.captured) {
                if let Some((before, _)) = producers[input.index()] {
                    readers[before.index()].push(id);
                    waiting[id.index()] += 1;
                    sorted &= place[before.index()] < place[id.index()];
                }
            }
        }
        if sorted {
            return;
        }
        // Of the nodes that may come next, the first of the file.
        let ready = self.order.iter().filter(|id| waiting[id.index()] == 0);
        let mut ready: BTreeSet<(usize, NodeId)> = ready.map(|id| (place[id.index()], *id)).collect();
        let mut order = Vec::with_capacity(self.order.len());
        while let Some((_, id)) = ready.pop_first() {
            order.push(id);
            for &reader in &readers[id.index()] {
                waiting[reader.index()] -= 1;
                if waiting[reader.index()] == 0 {
                    ready.insert((place[reader.index()], reader));
                }
            }
        }
        if order.len() == self.order.len() {
            self.order = order;
        }
    }

    /// Puts the nodes in another order, in which none may stand before what it reads. `order` holds each node once.
    pub fn reorder(&mut self, order: Vec<NodeId>) {
        debug_assert_eq!(order.len(), self.order.len(), "each node has one place");
        self.order = order;
    }

    /// Removes the nodes that `keep` refuses.
    pub fn retain_nodes(&mut self, mut keep: impl FnMut(NodeId, &Node) -> bool) {
        let nodes = &self.nodes;
        self.order.retain(|&id| keep(id, &nodes[id.index()]));
    }
}

/// Removes nodes whose outputs nobody reads, initializers that nobody reads, and declarations of values that are
/// no more. Ensures that every node left reaches a graph output. Graph inputs stay, read or not.
pub fn drop_unused(graph: &mut Graph) {
    let mut used: BTreeSet<ValueId> = graph.outputs.iter().copied().collect();
    let mut kept: BTreeSet<NodeId> = BTreeSet::new();
    for (id, node) in graph.nodes().rev() {
        if node.outputs.iter().flatten().any(|output| used.contains(output)) {
            kept.insert(id);
            used.extend(node.inputs.iter().flatten().chain(&node.captured));
        }
    }
    graph.order.retain(|id| kept.contains(id));
    let dead: Vec<ValueId> = graph.initializers.iter().copied().filter(|id| !used.contains(id)).collect();
    for &id in &dead {
        graph.values[id.index()].initializer = None;
    }
    graph.initializers.retain(|id| used.contains(id));
    graph.inputs.retain(|id| !dead.contains(id));
    let made: BTreeSet<ValueId> =
        graph.nodes().flat_map(|(_, node)| node.outputs.iter().flatten().copied()).collect();
    let known: BTreeSet<ValueId> = graph.initializers.iter().chain(&graph.inputs).copied().collect();
    graph.declarations.retain(|id| made.contains(id) || known.contains(id));
}

impl Graph {
    /// Gives the output `value` of a node the name `name`: through a new node if the value is no node's output or
    /// is read elsewhere under its name. Returns the value called `name`.
    pub fn rename_output(&mut self, value: ValueId, name: &str) -> ValueId {
        let renamed = self.intern(name);
        let producer = self
            .order
            .iter()
            .copied()
            .find(|id| self.nodes[id.index()].outputs.iter().flatten().any(|&output| output == value));
        let edge = self.inputs.contains(&value) || self.outputs.contains(&value);
        match producer.filter(|_| !edge) {
            Some(producer) => {
                for output in self.nodes[producer.index()].outputs.iter_mut().flatten() {
                    if *output == value {
                        *output = renamed;
                    }
                }
                self.redirect(value, renamed);
            }
            None => {
                let alias = self.add(name, NodeSpec::new("Identity", &[value]));
                if alias != renamed
                    && let Some(&last) = self.order.last()
                {
                    self.nodes[last.index()].outputs = vec![Some(renamed)];
                }
            }
        }
        renamed
    }
}

impl Graph {
    /// Replaces node `id` by the nodes that `write` adds. `write` returns, for each output of the node, the value
    /// that takes its place; the output keeps its name.
    pub fn replace_node(&mut self, id: NodeId, write: impl FnOnce(&mut Self) -> Vec<Option<ValueId>>) {
        let mark = self.order.len();
        let outputs = self.node(id).outputs.clone();
        let fresh = write(self);
        let added: Vec<NodeId> = self.order.drain(mark..).collect();
        if let Some(place) = self.order.iter().position(|&other| other == id) {
            self.order.splice(place..=place, added);
        }
        for (old, new) in outputs.into_iter().zip(fresh) {
            if let (Some(old), Some(new)) = (old, new) {
                for node in &mut self.nodes {
                    for output in node.outputs.iter_mut().flatten().filter(|output| **output == new) {
                        *output = old;
                    }
                }
                self.redirect(new, old);
            }
        }
    }
}
