//! Bytes that are no message are refused without a panic.

use onnx_proto::{Bytes, GraphProto, Message, ModelProto, TypeProto};

use crate::codecs::{Decoded, MESSAGES};
use crate::sample::filled;
use crate::table::Table;
use crate::{Outcome, report, wire};

/// A short generator of numbers (splitmix64), so that every run reads the same bytes.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// A file cut off within a field of the model is refused; cut off between two, it is a shorter model.
#[test]
fn truncated_models_are_refused() -> Outcome {
    let fields = filled(&Table::read()?, "ModelProto", 2);
    let file = Bytes::from(fields.concat());
    let mut whole = vec![0];
    for field in &fields {
        whole.push(whole[whole.len() - 1] + field.len());
    }
    let mut failures = Vec::new();
    let mut refused = 0;
    for end in 0..=file.len() {
        match ModelProto::decode(file.slice(..end)) {
            Ok(model) if model.encoded_len() != end => failures.push(format!("{end}: read in part")),
            Ok(_) => {}
            Err(error) if whole.contains(&end) => failures.push(format!("{end}: {error}")),
            Err(_) => refused += 1,
        }
    }
    report(&failures);
    assert!(refused > file.len() * 9 / 10, "only {refused} of {} cuts were refused", file.len());
    Ok(())
}

/// What can be read is written so that it reads the same again.
#[test]
fn random_bytes_never_panic() -> Outcome {
    let table = Table::read()?;
    let mut numbers = Numbers(14);
    let mut failures = Vec::new();
    let (mut read, mut refused) = (0, 0);
    for codec in MESSAGES {
        let valid = filled(&table, codec.onnx, 2).concat();
        for round in 0..400 {
            let mut bytes = valid.clone();
            if round % 2 == 0 {
                bytes = (0..numbers.below(64)).map(|_| numbers.next() as u8).collect();
            } else {
                for _ in 0..=numbers.below(3) {
                    let place = numbers.below(bytes.len());
                    bytes[place] = numbers.next() as u8;
                }
            }
            let Ok(Decoded { shown, written }) = (codec.decode)(Bytes::from(bytes)) else {
                refused += 1;
                continue;
            };
            read += 1;
            if (codec.decode)(Bytes::from(written.clone())) != Ok(Decoded { shown, written }) {
                failures.push(format!("{}, round {round}: reads otherwise when written", codec.onnx));
            }
        }
    }
    report(&failures);
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
    Ok(())
}

#[test]
fn broken_fields_are_refused() {
    let cases: [(&str, Vec<u8>); 7] = [
        ("field number 0", vec![0, 1]),
        ("a number of more than 64 bits", [wire::key(1, wire::VARINT), vec![0xff; 11]].concat()),
        ("text that is not UTF-8", wire::delimited(2, &[0xff])),
        ("text as a number", [wire::key(2, wire::VARINT), vec![1]].concat()),
        ("a length beyond the end", [wire::key(7, wire::DELIMITED), wire::varint(5)].concat()),
        ("a length beyond memory", [wire::key(7, wire::DELIMITED), wire::varint(u64::MAX)].concat()),
        ("groups without end", wire::key(99, wire::GROUP).repeat(100_000)),
    ];
    let accepted = cases.iter().filter(|(_, bytes)| ModelProto::decode(&bytes[..]).is_ok());
    report(&accepted.map(|(name, _)| format!("accepted: {name}")).collect::<Vec<_>>());
}

/// A type within sequence types (4: sequence, 1: element).
fn nested_type(levels: usize) -> Vec<u8> {
    (0..levels).fold(Vec::new(), |inner, _| wire::delimited(4, &wire::delimited(1, &inner)))
}

/// A graph within graphs (1: node, 5: attribute, 6: graph).
fn nested_graph(levels: usize) -> Vec<u8> {
    (0..levels)
        .fold(Vec::new(), |inner, _| wire::delimited(1, &wire::delimited(5, &wire::delimited(6, &inner))))
}

#[test]
fn nesting_has_a_limit() -> Outcome {
    assert_eq!(TypeProto::decode(&nested_type(50)[..])?.encode_to_vec(), nested_type(50));
    assert_eq!(GraphProto::decode(&nested_graph(33)[..])?.encode_to_vec(), nested_graph(33));
    for levels in [51, 3000] {
        assert!(TypeProto::decode(&nested_type(levels)[..]).is_err(), "{levels} sequence types");
    }
    for levels in [34, 3000] {
        assert!(GraphProto::decode(&nested_graph(levels)[..]).is_err(), "{levels} graphs");
    }
    Ok(())
}
