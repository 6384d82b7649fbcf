//! Node attributes.

use bytes::Bytes;
use onnx_proto::{AttributeProto, GraphProto, TensorProto};

use super::Initializer;

/// A new attribute value.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// `INT`.
    Int(i64),
    /// `FLOAT`.
    Float(f32),
    /// `STRING`.
    String(String),
    /// `INTS`.
    Ints(Vec<i64>),
    /// `FLOATS`.
    Floats(Vec<f32>),
    /// `STRINGS`.
    Strings(Vec<String>),
    /// `TENSOR`.
    Tensor(Box<Initializer>),
}

impl From<i64> for Attribute {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f32> for Attribute {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Attribute {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<Vec<i64>> for Attribute {
    fn from(value: Vec<i64>) -> Self {
        Self::Ints(value)
    }
}

impl From<&[&str]> for Attribute {
    fn from(values: &[&str]) -> Self {
        Self::Strings(values.iter().map(|&value| value.to_owned()).collect())
    }
}

/// The attributes of one node, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes(pub(super) Vec<AttributeProto>);

// The numbers of AttributeProto.AttributeType.
const FLOAT: i32 = 1;
const INT: i32 = 2;
const STRING: i32 = 3;
const TENSOR: i32 = 4;
const GRAPH: i32 = 5;
const FLOATS: i32 = 6;
const INTS: i32 = 7;
const STRINGS: i32 = 8;
const GRAPHS: i32 = 10;

impl Attributes {
    fn find(&self, name: &str) -> Option<&AttributeProto> {
        self.0.iter().find(|attribute| attribute.name.as_deref() == Some(name))
    }

    fn typed(&self, name: &str, kind: i32) -> Option<&AttributeProto> {
        // Files of IR version 1 carry no type: then the field itself must be there.
        self.find(name).filter(|attribute| attribute.r#type.is_none_or(|found| found == kind || found == 0))
    }

    /// The names of all attributes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|attribute| attribute.name.as_deref().unwrap_or(""))
    }

    /// Whether there is an attribute `name` of any type.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The integer `name`.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.typed(name, INT).map(|attribute| attribute.i.unwrap_or(0))
    }

    /// The float `name`.
    pub fn float(&self, name: &str) -> Option<f32> {
        self.typed(name, FLOAT).map(|attribute| attribute.f.unwrap_or(0.0))
    }

    /// The string `name`, if it is UTF-8.
    pub fn string(&self, name: &str) -> Option<&str> {
        let bytes = self.typed(name, STRING)?.s.as_ref()?;
        std::str::from_utf8(bytes).ok()
    }

    /// The integers `name`.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.typed(name, INTS).map(|attribute| attribute.ints.as_slice())
    }

    /// The floats `name`.
    pub fn floats(&self, name: &str) -> Option<&[f32]> {
        self.typed(name, FLOATS).map(|attribute| attribute.floats.as_slice())
    }

    /// The strings `name`, if all of them are UTF-8.
    pub fn strings(&self, name: &str) -> Option<Vec<&str>> {
        let strings = &self.typed(name, STRINGS)?.strings;
        strings.iter().map(|bytes| std::str::from_utf8(bytes).ok()).collect()
    }

    /// The tensor `name`.
    pub fn tensor(&self, name: &str) -> Option<Initializer> {
        self.typed(name, TENSOR)?.t.clone().map(Initializer::from_proto)
    }

    /// Whether any attribute holds a graph.
    pub fn has_graph(&self) -> bool {
        self.graphs().next().is_some()
    }

    /// The operators of the nodes in all graphs that attributes hold, and in the graphs of those.
    pub fn inner_operators(&self) -> Vec<&str> {
        let mut found = Vec::new();
        let mut open: Vec<&GraphProto> = self.graphs().collect();
        while let Some(graph) = open.pop() {
            for node in &graph.node {
                found.push(node.op_type.as_deref().unwrap_or(""));
                open.extend(graphs_of(&node.attribute));
            }
        }
        found
    }

    /// How many dimensions the graph in attribute `name` declares its inputs to have, where it does.
    pub fn body_input_ranks(&self, name: &str) -> Vec<Option<usize>> {
        let rank = |info: &onnx_proto::ValueInfoProto| match info.r#type.as_ref()?.value.as_ref()? {
            onnx_proto::TypeValue::Tensor(tensor) => Some(tensor.shape.as_ref()?.dim.len()),
            _ => None,
        };
        self.graph(name).map_or_else(Vec::new, |body| body.input.iter().map(rank).collect())
    }

    pub(super) fn graph(&self, name: &str) -> Option<&GraphProto> {
        self.typed(name, GRAPH)?.g.as_ref()
    }

    pub(super) fn graphs(&self) -> impl Iterator<Item = &GraphProto> {
        graphs_of(&self.0)
    }

    pub(super) fn tensors_mut(&mut self) -> impl Iterator<Item = &mut TensorProto> {
        self.0.iter_mut().flat_map(|attribute| attribute.t.iter_mut().chain(attribute.tensors.iter_mut()))
    }

    pub(super) fn graphs_mut(&mut self) -> impl Iterator<Item = &mut GraphProto> {
        self.0.iter_mut().flat_map(|attribute| attribute.g.iter_mut().chain(attribute.graphs.iter_mut()))
    }

    /// Sets attribute `name`, in its old place when there is one.
    pub fn set(&mut self, name: &str, value: impl Into<Attribute>) {
        let mut proto = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
        let kind = match value.into() {
            Attribute::Int(value) => {
                proto.i = Some(value);
                INT
            }
            Attribute::Float(value) => {
                proto.f = Some(value);
                FLOAT
            }
            Attribute::String(value) => {
                proto.s = Some(Bytes::from(value.into_bytes()));
                STRING
            }
            Attribute::Ints(values) => {
                proto.ints = values;
                INTS
            }
            Attribute::Floats(values) => {
                proto.floats = values;
                FLOATS
            }
            Attribute::Strings(values) => {
                proto.strings = values.into_iter().map(|value| Bytes::from(value.into_bytes())).collect();
                STRINGS
            }
            Attribute::Tensor(tensor) => {
                proto.t = Some(tensor.into_proto());
                TENSOR
            }
        };
        proto.r#type = Some(kind);
        match self.0.iter_mut().find(|attribute| attribute.name.as_deref() == Some(name)) {
            Some(old) => *old = proto,
            None => self.0.push(proto),
        }
    }

    /// Removes attribute `name`, if there is one.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|attribute| attribute.name.as_deref() != Some(name));
    }
}

/// The graphs that attributes hold.
pub(super) fn graphs_of(attributes: &[AttributeProto]) -> impl Iterator<Item = &GraphProto> {
    attributes.iter().flat_map(|attribute| {
        let one = attribute.g.iter().filter(|_| attribute.r#type.is_none_or(|kind| kind == GRAPH));
        let many = attribute.graphs.iter().filter(|_| attribute.r#type.is_none_or(|kind| kind == GRAPHS));
        one.chain(many)
    })
}
