//! The file as a whole: model, functions, training, versions.

use prost::{Enumeration, Message};

use crate::{AttributeProto, DeviceConfigurationProto, GraphProto, NodeProto, ValueInfoProto};

/// The versions of the format, as found in [`ModelProto::ir_version`], by date of publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum Version {
    /// No version; never written.
    StartVersion = 0,
    /// The first published version.
    IrVersion2017_10_10 = 1,
    /// Attributes say their type.
    IrVersion2017_10_30 = 2,
    /// Operator sets have versions, nodes have domains.
    IrVersion2017_11_3 = 3,
    /// Initializers need not be graph inputs; bfloat16.
    IrVersion2019_1_22 = 4,
    /// Quantization annotations.
    IrVersion2019_3_18 = 5,
    /// Sparse tensors and sparse initializers.
    IrVersion2019_9_19 = 6,
    /// Training information.
    IrVersion2020_5_8 = 7,
    /// Functions of the model; optional and sparse tensor types.
    IrVersion2021_7_30 = 8,
    /// Default attributes of functions; 8-bit floats.
    IrVersion2023_5_5 = 9,
    /// 4-bit integers, overloads of functions, metadata on graphs, nodes and values.
    IrVersion2024_3_25 = 10,
    /// `FLOAT4E2M1`, several devices.
    IrVersion2025_05_12 = 11,
    /// `FLOAT8E8M0`.
    IrVersion2025_08_26 = 12,
    /// 2-bit integers.
    IrVersion2025_11_06 = 13,
    /// The newest version known here: 6-bit floats.
    IrVersion = 14,
}

/// Whether an operator may still change. No field of the current version holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum OperatorStatus {
    /// The operator may change.
    Experimental = 0,
    /// The operator is settled.
    Stable = 1,
}

/// A model: what an `.onnx` file holds.
#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    /// The version of the format, a [`Version`].
    #[prost(int64, optional, tag = "1")]
    pub ir_version: Option<i64>,
    /// The tool that wrote the model.
    #[prost(string, optional, tag = "2")]
    pub producer_name: Option<String>,
    /// The version of that tool.
    #[prost(string, optional, tag = "3")]
    pub producer_version: Option<String>,
    /// The namespace of the model, as a reversed domain name.
    #[prost(string, optional, tag = "4")]
    pub domain: Option<String>,
    /// The version of the model itself.
    #[prost(int64, optional, tag = "5")]
    pub model_version: Option<i64>,
    /// Documentation for people.
    #[prost(string, optional, tag = "6")]
    pub doc_string: Option<String>,
    /// The graph that is run.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    /// The operator sets in use, one per domain.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    /// Named metadata with distinct keys.
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntryProto>,
    /// How to train the model, one entry per step of the algorithm.
    #[prost(message, repeated, tag = "20")]
    pub training_info: Vec<TrainingInfoProto>,
    /// Functions that nodes of the model may call.
    #[prost(message, repeated, tag = "25")]
    pub functions: Vec<FunctionProto>,
    /// The device configurations that nodes refer to.
    #[prost(message, repeated, tag = "26")]
    pub configuration: Vec<DeviceConfigurationProto>,
}

/// An operator set: a domain at a version.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSetIdProto {
    /// The domain; empty or absent is the standard one, `ai.onnx`.
    #[prost(string, optional, tag = "1")]
    pub domain: Option<String>,
    /// The version of the operator set.
    #[prost(int64, optional, tag = "2")]
    pub version: Option<i64>,
}

/// A key and a value, both text.
#[derive(Clone, PartialEq, Message)]
pub struct StringStringEntryProto {
    /// The key.
    #[prost(string, optional, tag = "1")]
    pub key: Option<String>,
    /// The value.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

/// One step of a training algorithm, and how to start over.
#[derive(Clone, PartialEq, Message)]
pub struct TrainingInfoProto {
    /// The graph whose outputs are the starting values.
    #[prost(message, optional, tag = "1")]
    pub initialization: Option<GraphProto>,
    /// The graph of one training step. It may refer to the values of [`ModelProto::graph`].
    #[prost(message, optional, tag = "2")]
    pub algorithm: Option<GraphProto>,
    /// Which initializer (key) takes which output (value) of `initialization`.
    #[prost(message, repeated, tag = "3")]
    pub initialization_binding: Vec<StringStringEntryProto>,
    /// Which initializer (key) takes which output (value) of `algorithm` after each step.
    #[prost(message, repeated, tag = "4")]
    pub update_binding: Vec<StringStringEntryProto>,
}

/// A function of the model, known by domain, name and overload. Fields 2 and 3 are reserved.
#[derive(Clone, PartialEq, Message)]
pub struct FunctionProto {
    /// The name, which nodes give as their `op_type`.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Names of the inputs.
    #[prost(string, repeated, tag = "4")]
    pub input: Vec<String>,
    /// Names of the outputs.
    #[prost(string, repeated, tag = "5")]
    pub output: Vec<String>,
    /// Names of the attributes without a default.
    #[prost(string, repeated, tag = "6")]
    pub attribute: Vec<String>,
    /// The body, sorted so that each value is computed before its use.
    #[prost(message, repeated, tag = "7")]
    pub node: Vec<NodeProto>,
    /// Documentation for people.
    #[prost(string, optional, tag = "8")]
    pub doc_string: Option<String>,
    /// The operator sets that the body uses.
    #[prost(message, repeated, tag = "9")]
    pub opset_import: Vec<OperatorSetIdProto>,
    /// The domain.
    #[prost(string, optional, tag = "10")]
    pub domain: Option<String>,
    /// The attributes with a default, which they hold.
    #[prost(message, repeated, tag = "11")]
    pub attribute_proto: Vec<AttributeProto>,
    /// Types of values in the body.
    #[prost(message, repeated, tag = "12")]
    pub value_info: Vec<ValueInfoProto>,
    /// Tells functions of one domain and name apart.
    #[prost(string, optional, tag = "13")]
    pub overload: Option<String>,
    /// Named metadata with distinct keys.
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntryProto>,
}
