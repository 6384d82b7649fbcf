//! Values to put into fields.

use onnx_proto::Bytes;

use crate::codecs::{rust_name, variant_name};
use crate::table::{Field, Kind, Table};
use crate::wire;

/// One value: its bytes without the key, and how the message that holds it shows it (or begins to).
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) payload: Vec<u8>,
    pub(crate) shown: String,
}

impl Sample {
    fn new(payload: Vec<u8>, shown: String) -> Self {
        Self { payload, shown }
    }

    fn int(value: i64) -> Self {
        Self::new(wire::varint(value as u64), value.to_string())
    }

    fn uint(value: u64) -> Self {
        Self::new(wire::varint(value), value.to_string())
    }

    fn float(value: f32) -> Self {
        Self::new(value.to_le_bytes().to_vec(), format!("{value:?}"))
    }

    fn double(value: f64) -> Self {
        Self::new(value.to_le_bytes().to_vec(), format!("{value:?}"))
    }

    fn text(value: &str) -> Self {
        Self::new(wire::prefixed(value.as_bytes()), format!("{value:?}"))
    }

    fn bytes(value: Vec<u8>) -> Self {
        Self::new(wire::prefixed(&value), format!("{:?}", Bytes::from(value)))
    }

    fn value_of(of: &str, number: i32) -> Self {
        Self::new(wire::varint(number as u64), variant_name(of, number))
    }

    fn message(of: &str, content: &[u8]) -> Self {
        Self::new(wire::prefixed(content), format!("{} {{", rust_name(of)))
    }
}

/// The default of the field's type.
pub(crate) fn zero(field: &Field) -> Sample {
    match field.kind {
        Kind::Int32 | Kind::Int64 => Sample::int(0),
        Kind::Uint64 => Sample::uint(0),
        Kind::Float => Sample::float(0.0),
        Kind::Double => Sample::double(0.0),
        Kind::Text => Sample::text(""),
        Kind::Bytes => Sample::bytes(Vec::new()),
        Kind::Enum => Sample::value_of(&field.of, 0),
        Kind::Message => Sample::message(&field.of, &[]),
    }
}

/// Two values that no other field and no other type of number shows alike. Messages within have all their
/// fields set, down to `depth` more levels.
pub(crate) fn pair(table: &Table, field: &Field, depth: u32) -> [Sample; 2] {
    let number = i64::from(field.number);
    match field.kind {
        Kind::Int32 => [Sample::int(-2 - number), Sample::int(i64::from(i32::MAX) - number)],
        Kind::Int64 => [Sample::int(-2 - number), Sample::int((1 << 40) + number)],
        Kind::Uint64 => [Sample::uint(u64::MAX - number as u64), Sample::uint(300 + number as u64)],
        Kind::Float => [Sample::float(0.1 + number as f32), Sample::float(f32::MIN_POSITIVE)],
        Kind::Double => [Sample::double(0.1 + number as f64), Sample::double(f64::MIN_POSITIVE)],
        Kind::Text => [Sample::text(&field.name), Sample::text(&format!("{} ü", field.name))],
        Kind::Bytes => [Sample::bytes(vec![field.number as u8, 0xff, 0]), Sample::bytes(vec![0xc3])],
        Kind::Enum => [Sample::value_of(&field.of, 1), Sample::value_of(&field.of, 12_345)],
        Kind::Message => {
            let content = filled(table, &field.of, depth).concat();
            [Sample::message(&field.of, &content), Sample::message(&field.of, &[])]
        }
    }
}

/// A message with every field set (of a oneof, the first), one entry per field, in the order they are written.
/// Messages within are filled down to `depth` levels and empty below.
pub(crate) fn filled(table: &Table, message: &str, depth: u32) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    let mut written = Vec::new();
    for field in table.messages.get(message).into_iter().flatten() {
        if field.oneof.is_some() {
            if seen.contains(&&field.oneof) {
                continue;
            }
            seen.push(&field.oneof);
        }
        let values = match depth.checked_sub(1) {
            Some(depth) => pair(table, field, depth),
            None => [zero(field), zero(field)],
        };
        let values = if field.repeated { &values[..] } else { &values[..1] };
        written.push(list(field, values, field.packed));
    }
    written
}

/// The field with all of `values`, packed or one by one.
pub(crate) fn list(field: &Field, values: &[Sample], packed: bool) -> Vec<u8> {
    if packed {
        let payloads: Vec<&[u8]> = values.iter().map(|value| &value.payload[..]).collect();
        return wire::delimited(field.number, &payloads.concat());
    }
    let key = wire::key(field.number, field.kind.wire_type());
    values.iter().flat_map(|value| [&key[..], &value.payload]).collect::<Vec<_>>().concat()
}
