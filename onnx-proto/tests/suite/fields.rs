//! Every field of every message: number, name, type, label, packing.

use onnx_proto::Bytes;

use crate::codecs::{MESSAGES, MessageCodec};
use crate::sample::{Sample, filled, list, pair, zero};
use crate::table::{Field, Kind, Table};
use crate::{Outcome, report, wire};

/// Bytes to read, the bytes they must be written as, and a part of what the message must show.
struct Case {
    read: Vec<u8>,
    written: Vec<u8>,
    shown: String,
}

impl Case {
    fn failure(&self, codec: &MessageCodec) -> Option<String> {
        match (codec.decode)(Bytes::from(self.read.clone())) {
            Ok(decoded) if decoded.written != self.written => {
                Some(format!("{}: written as {:?}, expected {:?}", self.shown, decoded.written, self.written))
            }
            Ok(decoded) if !decoded.shown.contains(&self.shown) => {
                Some(format!("{} is not in {}", self.shown, decoded.shown))
            }
            Ok(_) => None,
            Err(error) => Some(format!("{}: {error}", self.shown)),
        }
    }
}

/// The variant of a oneof that holds a field: `dim_value` is `DimValue`, `tensor_type` is `Tensor`.
fn variant(field: &str) -> String {
    let words = field.trim_end_matches("_type").split('_');
    words.map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect()
}

/// What a message shows when the field holds a value that begins like `value`. The leading space keeps a name
/// from being found at the end of a longer one.
fn shown(field: &Field, value: &str) -> String {
    let name = if field.name == "type" { "r#type" } else { &field.name };
    match &field.oneof {
        Some(oneof) => format!(" {oneof}: Some({}({value}", variant(&field.name)),
        None if field.repeated => format!(" {name}: [{value}"),
        None => format!(" {name}: Some({value}"),
    }
}

fn cases(table: &Table, field: &Field) -> Vec<Case> {
    let values = pair(table, field, 1);
    let mut cases = if field.repeated { lists(field, &values) } else { singles(field, &values) };
    if matches!(field.kind, Kind::Int32 | Kind::Enum) {
        // Only a field of 32 bits drops what is above them.
        let wide = Sample { payload: wire::varint(1 << 32), shown: String::new() };
        let zero = zero(field);
        let written = list(field, std::slice::from_ref(&zero), field.packed);
        cases.push(Case { read: list(field, &[wide], false), written, shown: shown(field, &zero.shown) });
    }
    cases
}

/// Each value, and the default: set to the default is not the same as absent.
fn singles(field: &Field, values: &[Sample]) -> Vec<Case> {
    let end = if field.kind == Kind::Message { "" } else { ")" };
    let case = |value: &Sample| {
        let bytes = list(field, std::slice::from_ref(value), false);
        Case { read: bytes.clone(), written: bytes, shown: shown(field, &value.shown) + end }
    };
    values.iter().chain([&zero(field)]).map(case).collect()
}

/// Both values, in each spelling that is read.
fn lists(field: &Field, values: &[Sample; 2]) -> Vec<Case> {
    let [first, second] = values;
    let shown = match field.kind {
        Kind::Message => shown(field, &first.shown),
        _ => shown(field, &format!("{}, {}]", first.shown, second.shown)),
    };
    let packable = field.kind.wire_type() != wire::DELIMITED;
    let spellings = if packable { &[false, true][..] } else { &[false] };
    let case = |&packed: &bool| Case {
        read: list(field, values, packed),
        written: list(field, values, field.packed),
        shown: shown.clone(),
    };
    spellings.iter().map(case).collect()
}

#[test]
fn every_message_of_onnx_is_here() -> Outcome {
    let table = Table::read()?;
    assert!(MESSAGES.iter().map(|codec| codec.onnx).eq(table.messages.keys()), "the messages differ");
    Ok(())
}

#[test]
fn every_field_alone_survives_under_its_name() -> Outcome {
    let table = Table::read()?;
    let mut failures = Vec::new();
    for codec in MESSAGES {
        for field in &table.messages[codec.onnx] {
            let failed = cases(&table, field).into_iter().filter_map(|case| case.failure(codec));
            failures.extend(failed.map(|why| format!("{}.{}: {why}", codec.onnx, field.name)));
        }
    }
    report(&failures);
    Ok(())
}

#[test]
fn all_fields_together_survive_in_order() -> Outcome {
    let table = Table::read()?;
    let mut failures = Vec::new();
    for codec in MESSAGES {
        let bytes = filled(&table, codec.onnx, 4).concat();
        match (codec.decode)(Bytes::from(bytes.clone())) {
            Ok(decoded) if decoded.written == bytes => {}
            Ok(_) => failures.push(format!("{}: written otherwise than read", codec.onnx)),
            Err(error) => failures.push(format!("{}: {error}", codec.onnx)),
        }
    }
    report(&failures);
    Ok(())
}

/// A field of this crate that ONNX does not have would survive. That unknown fields do not is a limit of `prost`
/// which the documentation of the crate states.
#[test]
fn unknown_fields_are_skipped_and_dropped() -> Outcome {
    let table = Table::read()?;
    let values = [
        (wire::VARINT, vec![1]),
        (wire::EIGHT_BYTES, vec![1; 8]),
        (wire::DELIMITED, vec![1, b'1']),
        (wire::FOUR_BYTES, vec![1; 4]),
    ];
    let mut failures = Vec::new();
    for codec in MESSAGES {
        let fields = &table.messages[codec.onnx];
        for number in (1..=100).chain([1000, 536_870_911]) {
            if fields.iter().any(|field| field.number == number) {
                continue;
            }
            for (wire_type, payload) in &values {
                let bytes = [wire::key(number, *wire_type), payload.clone()].concat();
                let written = (codec.decode)(Bytes::from(bytes)).map(|decoded| decoded.written);
                if written != Ok(Vec::new()) {
                    failures.push(format!("{}, field {number}: {written:?}", codec.onnx));
                }
            }
        }
    }
    report(&failures);
    Ok(())
}
