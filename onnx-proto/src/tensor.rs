//! Tensors, dense and sparse.

use bytes::Bytes;
use prost::{Enumeration, Message};

use crate::StringStringEntryProto;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum DataType {
    /// Not said.
    Undefined = 0,
    /// IEEE 754, 32 bits.
    Float = 1,
    /// Unsigned integer, 8 bits.
    Uint8 = 2,
    /// Signed integer, 8 bits.
    Int8 = 3,
    /// Unsigned integer, 16 bits.
    Uint16 = 4,
    /// Signed integer, 16 bits.
    Int16 = 5,
    /// Signed integer, 32 bits.
    Int32 = 6,
    /// Signed integer, 64 bits.
    Int64 = 7,
    /// Text.
    String = 8,
    /// Truth value, one byte each in raw data.
    Bool = 9,
    /// IEEE 754, 16 bits.
    Float16 = 10,
    /// IEEE 754, 64 bits.
    Double = 11,
    /// Unsigned integer, 32 bits.
    Uint32 = 12,
    /// Unsigned integer, 64 bits.
    Uint64 = 13,
    /// Complex number: two of [`DataType::Float`].
    Complex64 = 14,
    /// Complex number: two of [`DataType::Double`].
    Complex128 = 15,
    /// The upper 16 bits of a [`DataType::Float`].
    Bfloat16 = 16,
    /// 4 bits exponent, 3 bits mantissa; no infinities.
    Float8E4M3Fn = 17,
    /// 4 bits exponent, 3 bits mantissa; no infinities, no negative zero.
    Float8E4M3Fnuz = 18,
    /// 5 bits exponent, 2 bits mantissa, with infinities.
    Float8E5M2 = 19,
    /// 5 bits exponent, 2 bits mantissa; no infinities, no negative zero.
    Float8E5M2Fnuz = 20,
    /// Unsigned integer, 4 bits.
    Uint4 = 21,
    /// Signed integer, 4 bits.
    Int4 = 22,
    /// 2 bits exponent, 1 bit mantissa.
    Float4E2M1 = 23,
    /// 8 bits exponent alone: a power of two.
    Float8E8M0 = 24,
    /// Unsigned integer, 2 bits.
    Uint2 = 25,
    /// Signed integer, 2 bits.
    Int2 = 26,
    /// 2 bits exponent, 3 bits mantissa.
    Float6E2M3 = 27,
    /// 3 bits exponent, 2 bits mantissa.
    Float6E3M2 = 28,
}

/// Where a tensor's elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum DataLocation {
    /// In the message.
    Default = 0,
    /// In the file that [`TensorProto::external_data`] names.
    External = 1,
}

/// A dense tensor, elements in row-major order.
///
/// The elements are in `raw_data`, in an external file, or in the `…_data` field of their type.
#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    /// The dimensions; none for a scalar.
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    /// The type of the elements, a [`DataType`].
    #[prost(int32, optional, tag = "2")]
    pub data_type: Option<i32>,
    /// Which part of a larger tensor this message holds.
    #[prost(message, optional, tag = "3")]
    pub segment: Option<Segment>,
    /// Elements of `FLOAT`; for `COMPLEX64` the real and the imaginary part in turn.
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    /// Elements of integers up to 32 bits (but not `UINT32`), of `BOOL`, and the bits of floats up to 16 bits.
    /// Types of 4 bits stand two to an entry, of 2 bits four to an entry, lowest bits first.
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    /// Elements of `STRING`.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub string_data: Vec<Bytes>,
    /// Elements of `INT64`.
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    /// The name.
    #[prost(string, optional, tag = "8")]
    pub name: Option<String>,
    /// Elements of any type but `STRING`, little-endian; types under 8 bits are packed, lowest bits first.
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub raw_data: Option<Bytes>,
    /// Elements of `DOUBLE`; for `COMPLEX128` the real and the imaginary part in turn.
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    /// Elements of `UINT32` and `UINT64`.
    #[prost(uint64, repeated, tag = "11")]
    pub uint64_data: Vec<u64>,
    /// Documentation for people.
    #[prost(string, optional, tag = "12")]
    pub doc_string: Option<String>,
    /// Where the elements are: keys `location` (a path relative to the model), `offset` and `length` (in bytes),
    /// `checksum` (SHA-1 of the file).
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringStringEntryProto>,
    /// Whether the elements are in this message or in an external file.
    #[prost(enumeration = "DataLocation", optional, tag = "14")]
    pub data_location: Option<i32>,
    /// Named metadata with distinct keys.
    #[prost(message, repeated, tag = "16")]
    pub metadata_props: Vec<StringStringEntryProto>,
}

/// A part of a larger tensor.
#[derive(Clone, PartialEq, Message)]
pub struct Segment {
    /// The first element.
    #[prost(int64, optional, tag = "1")]
    pub begin: Option<i64>,
    /// The end of the part.
    #[prost(int64, optional, tag = "2")]
    pub end: Option<i64>,
}

/// A sparse tensor in coordinates, `n` elements set, the others zero.
#[derive(Clone, PartialEq, Message)]
pub struct SparseTensorProto {
    /// The elements `[n]`. Their name is the name of the sparse tensor.
    #[prost(message, optional, tag = "1")]
    pub values: Option<TensorProto>,
    /// Where the elements stand, sorted and distinct: `[n]` row-major positions or `[n, rank]` coordinates, `INT64`.
    #[prost(message, optional, tag = "2")]
    pub indices: Option<TensorProto>,
    /// The dimensions of the dense tensor.
    #[prost(int64, repeated, packed = "false", tag = "3")]
    pub dims: Vec<i64>,
}
