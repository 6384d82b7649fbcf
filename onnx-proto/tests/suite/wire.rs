//! The protobuf wire format, as far as the tests need it.

pub(crate) const VARINT: u32 = 0;
pub(crate) const EIGHT_BYTES: u32 = 1;
pub(crate) const DELIMITED: u32 = 2;
pub(crate) const GROUP: u32 = 3;
pub(crate) const FOUR_BYTES: u32 = 5;

/// Seven bits to a byte, lowest first; the top bit says that more follow.
pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// The key of a field.
pub(crate) fn key(number: u32, wire_type: u32) -> Vec<u8> {
    varint(u64::from(number << 3 | wire_type))
}

/// A length, then the bytes.
pub(crate) fn prefixed(payload: &[u8]) -> Vec<u8> {
    [&varint(payload.len() as u64), payload].concat()
}

/// A whole field of bytes, text or a message.
pub(crate) fn delimited(number: u32, payload: &[u8]) -> Vec<u8> {
    [key(number, DELIMITED), prefixed(payload)].concat()
}
