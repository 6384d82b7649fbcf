//! Every message and enum of the crate, by its name in ONNX.

use std::fmt::Debug;

use onnx_proto::{
    AttributeProto, AttributeType, Bytes, DataLocation, DataType, DecodeError, DeviceConfigurationProto,
    Dimension, FunctionProto, GraphProto, IntIntListEntryProto, MapType, Message, ModelProto,
    NodeDeviceConfigurationProto, NodeProto, OpaqueType, OperatorSetIdProto, OperatorStatus, OptionalType,
    Segment, SequenceType, ShardedDimProto, ShardingSpecProto, SimpleShardedDimProto, SparseTensorProto,
    SparseTensorType, StringStringEntryProto, TensorAnnotation, TensorProto, TensorShapeProto, TensorType,
    TrainingInfoProto, TypeProto, ValueInfoProto, Version,
};

/// A message that was read: what it looks like, and what it is written as.
#[derive(Debug, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) shown: String,
    pub(crate) written: Vec<u8>,
}

pub(crate) struct MessageCodec {
    pub(crate) onnx: &'static str,
    pub(crate) rust: &'static str,
    pub(crate) decode: fn(Bytes) -> Result<Decoded, DecodeError>,
}

pub(crate) struct EnumCodec {
    pub(crate) onnx: &'static str,
    /// The name of a value's variant, if there is one.
    pub(crate) variant: fn(i32) -> Option<String>,
}

fn decode<M: Message + Default + Debug>(bytes: Bytes) -> Result<Decoded, DecodeError> {
    let message = M::decode(bytes)?;
    let written = message.encode_to_vec();
    assert_eq!(written.len(), message.encoded_len());
    Ok(Decoded { shown: format!("{message:?}"), written })
}

fn variant<E: TryFrom<i32> + Debug>(number: i32) -> Option<String> {
    E::try_from(number).ok().map(|value| format!("{value:?}"))
}

macro_rules! messages {
    ($($onnx:literal $rust:ident,)*) => {
        &[$(MessageCodec { onnx: $onnx, rust: stringify!($rust), decode: decode::<$rust> }),*]
    };
}

pub(crate) const MESSAGES: &[MessageCodec] = messages! {
    "AttributeProto" AttributeProto,
    "DeviceConfigurationProto" DeviceConfigurationProto,
    "FunctionProto" FunctionProto,
    "GraphProto" GraphProto,
    "IntIntListEntryProto" IntIntListEntryProto,
    "ModelProto" ModelProto,
    "NodeDeviceConfigurationProto" NodeDeviceConfigurationProto,
    "NodeProto" NodeProto,
    "OperatorSetIdProto" OperatorSetIdProto,
    "ShardedDimProto" ShardedDimProto,
    "ShardingSpecProto" ShardingSpecProto,
    "SimpleShardedDimProto" SimpleShardedDimProto,
    "SparseTensorProto" SparseTensorProto,
    "StringStringEntryProto" StringStringEntryProto,
    "TensorAnnotation" TensorAnnotation,
    "TensorProto" TensorProto,
    "TensorProto.Segment" Segment,
    "TensorShapeProto" TensorShapeProto,
    "TensorShapeProto.Dimension" Dimension,
    "TrainingInfoProto" TrainingInfoProto,
    "TypeProto" TypeProto,
    "TypeProto.Map" MapType,
    "TypeProto.Opaque" OpaqueType,
    "TypeProto.Optional" OptionalType,
    "TypeProto.Sequence" SequenceType,
    "TypeProto.SparseTensor" SparseTensorType,
    "TypeProto.Tensor" TensorType,
    "ValueInfoProto" ValueInfoProto,
};

pub(crate) const ENUMS: &[EnumCodec] = &[
    EnumCodec { onnx: "AttributeProto.AttributeType", variant: variant::<AttributeType> },
    EnumCodec { onnx: "OperatorStatus", variant: variant::<OperatorStatus> },
    EnumCodec { onnx: "TensorProto.DataLocation", variant: variant::<DataLocation> },
    EnumCodec { onnx: "TensorProto.DataType", variant: variant::<DataType> },
    EnumCodec { onnx: "Version", variant: variant::<Version> },
];

/// The type that stands for an ONNX message here; empty when there is none.
pub(crate) fn rust_name(onnx: &str) -> &'static str {
    MESSAGES.iter().find(|codec| codec.onnx == onnx).map_or("", |codec| codec.rust)
}

/// The variant that stands for a value of an ONNX enum here, or the number when there is none.
pub(crate) fn variant_name(onnx: &str, number: i32) -> String {
    let codec = ENUMS.iter().find(|codec| codec.onnx == onnx);
    codec.and_then(|codec| (codec.variant)(number)).unwrap_or_else(|| number.to_string())
}
