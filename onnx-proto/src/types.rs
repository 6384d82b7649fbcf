//! Types of values, and shapes.

use prost::{Message, Oneof};

/// The type of a value.
#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    /// The type itself.
    #[prost(oneof = "TypeValue", tags = "1, 4, 5, 7, 8, 9")]
    pub value: Option<TypeValue>,
    /// What the value means, in the words of the ONNX type denotations.
    #[prost(string, optional, tag = "6")]
    pub denotation: Option<String>,
}

/// The kinds of types.
#[derive(Clone, PartialEq, Oneof)]
pub enum TypeValue {
    /// A dense tensor.
    #[prost(message, tag = "1")]
    Tensor(TensorType),
    /// A sequence.
    #[prost(message, tag = "4")]
    Sequence(SequenceType),
    /// A map.
    #[prost(message, tag = "5")]
    Map(MapType),
    /// A type unknown to ONNX.
    #[prost(message, tag = "7")]
    Opaque(OpaqueType),
    /// A sparse tensor.
    #[prost(message, tag = "8")]
    SparseTensor(SparseTensorType),
    /// A value that may be missing.
    #[prost(message, tag = "9")]
    Optional(OptionalType),
}

/// The type of a dense tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorType {
    /// The type of the elements, a [`DataType`](crate::DataType).
    #[prost(int32, optional, tag = "1")]
    pub elem_type: Option<i32>,
    /// The shape; absent when even the rank is unknown.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// The type of a sequence.
#[derive(Clone, PartialEq, Message)]
pub struct SequenceType {
    /// The type of the elements.
    #[prost(message, optional, boxed, tag = "1")]
    pub elem_type: Option<Box<TypeProto>>,
}

/// The type of a map.
#[derive(Clone, PartialEq, Message)]
pub struct MapType {
    /// The type of the keys, a [`DataType`](crate::DataType): an integer or `STRING`.
    #[prost(int32, optional, tag = "1")]
    pub key_type: Option<i32>,
    /// The type of the values.
    #[prost(message, optional, boxed, tag = "2")]
    pub value_type: Option<Box<TypeProto>>,
}

/// The type of a value that may be missing.
#[derive(Clone, PartialEq, Message)]
pub struct OptionalType {
    /// The type when it is there.
    #[prost(message, optional, boxed, tag = "1")]
    pub elem_type: Option<Box<TypeProto>>,
}

/// The type of a sparse tensor.
#[derive(Clone, PartialEq, Message)]
pub struct SparseTensorType {
    /// The type of the elements, a [`DataType`](crate::DataType).
    #[prost(int32, optional, tag = "1")]
    pub elem_type: Option<i32>,
    /// The shape of the dense tensor; absent when even the rank is unknown.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// A type unknown to ONNX, known by name.
#[derive(Clone, PartialEq, Message)]
pub struct OpaqueType {
    /// The domain of the name.
    #[prost(string, optional, tag = "1")]
    pub domain: Option<String>,
    /// The name.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
}

/// The shape of a tensor; without dimensions, that of a scalar.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShapeProto {
    /// The dimensions, outermost first.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dimension>,
}

/// One dimension of a shape.
#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    /// The size; absent when unknown.
    #[prost(oneof = "DimensionValue", tags = "1, 2")]
    pub value: Option<DimensionValue>,
    /// What the dimension means, in the words of the ONNX dimension denotations.
    #[prost(string, optional, tag = "3")]
    pub denotation: Option<String>,
}

/// The size of a dimension.
#[derive(Clone, PartialEq, Oneof)]
pub enum DimensionValue {
    /// A number of elements.
    #[prost(int64, tag = "1")]
    DimValue(i64),
    /// A name: dimensions of one name have one size, known when the model runs.
    #[prost(string, tag = "2")]
    DimParam(String),
}
