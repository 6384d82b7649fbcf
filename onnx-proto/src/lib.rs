//! The ONNX messages as [`prost`] types, written by hand from the format's field numbers.
//!
//! Every message, field and enum value of ONNX IR version 14 is here. The names are those of ONNX; messages
//! that ONNX nests in others stand at the root of this crate as well:
//!
//! | ONNX | here |
//! |---|---|
//! | `AttributeProto.AttributeType` | [`AttributeType`] |
//! | `TensorProto.DataType`, `.DataLocation`, `.Segment` | [`DataType`], [`DataLocation`], [`Segment`] |
//! | `TensorShapeProto.Dimension`, its oneof `value` | [`Dimension`], [`DimensionValue`] |
//! | `TypeProto.Tensor`, `.Sequence`, `.Map` | [`TensorType`], [`SequenceType`], [`MapType`] |
//! | `TypeProto.Optional`, `.SparseTensor`, `.Opaque` | [`OptionalType`], [`SparseTensorType`], [`OpaqueType`] |
//! | `TypeProto`'s oneof `value` | [`TypeValue`] |
//! | `SimpleShardedDimProto`'s oneof `dim` | [`ShardedDimValue`] |
//!
//! # What holds for every message
//!
//! - A field that is not repeated is an `Option`: set to its default value and absent are two things, and both
//!   survive reading and writing. The method of the field's name returns the value, or the default when absent.
//! - An enum field holds an `i32`, so that values of a later version survive; the enum's `TryFrom<i32>` checks it.
//!   The method of the field's name returns the first variant for a value it does not know.
//! - Byte fields are [`Bytes`]. Read from a [`Bytes`], they share its memory; read from a slice, they are copied.
//! - Fields are written in the order of their numbers (a oneof at its lowest), repeated numbers packed only where
//!   ONNX declares them so. Both spellings are read.
//!
//! # What is lost or refused
//!
//! - Fields with unknown numbers are dropped when read: `prost` does not keep them.
//! - Text fields (`String`) that are not UTF-8 are refused.
//! - Nesting deeper than 100 messages is refused: 50 nested sequence types, or 33 nested graphs.
//!
//! ```
//! use onnx_proto::{Bytes, GraphProto, Message, ModelProto, NodeProto};
//!
//! let node = NodeProto { op_type: Some("Relu".into()), ..NodeProto::default() };
//! let graph = GraphProto { node: vec![node], ..GraphProto::default() };
//! let model = ModelProto { ir_version: Some(10), graph: Some(graph), ..ModelProto::default() };
//!
//! let file = Bytes::from(model.encode_to_vec());
//! assert_eq!(ModelProto::decode(file)?, model);
//! # Ok::<(), onnx_proto::DecodeError>(())
//! ```

mod attribute;
mod device;
mod graph;
mod model;
mod tensor;
mod types;

pub use attribute::{AttributeProto, AttributeType};
pub use bytes::Bytes;
pub use device::{
    DeviceConfigurationProto, IntIntListEntryProto, NodeDeviceConfigurationProto, ShardedDimProto,
    ShardedDimValue, ShardingSpecProto, SimpleShardedDimProto,
};
pub use graph::{GraphProto, NodeProto, TensorAnnotation, ValueInfoProto};
pub use model::{
    FunctionProto, ModelProto, OperatorSetIdProto, OperatorStatus, StringStringEntryProto, TrainingInfoProto,
    Version,
};
pub use prost::{DecodeError, Message, UnknownEnumValue};
pub use tensor::{DataLocation, DataType, Segment, SparseTensorProto, TensorProto};
pub use types::{
    Dimension, DimensionValue, MapType, OpaqueType, OptionalType, SequenceType, SparseTensorType,
    TensorShapeProto, TensorType, TypeProto, TypeValue,
};
