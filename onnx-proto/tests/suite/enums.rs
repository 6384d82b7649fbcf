//! Every value of every enum.

use onnx_proto::Version;

use crate::codecs::ENUMS;
use crate::table::Table;
use crate::{Outcome, report};

/// The words of a name without their spelling: `FLOAT8E4M3FN` and `Float8E4M3Fn` are one.
fn letters(name: &str) -> String {
    name.chars().filter(|letter| *letter != '_').map(|letter| letter.to_ascii_uppercase()).collect()
}

#[test]
fn every_enum_has_the_values_of_onnx() -> Outcome {
    let table = Table::read()?;
    assert!(ENUMS.iter().map(|codec| codec.onnx).eq(table.enums.keys()), "the enums differ");
    let mut failures = Vec::new();
    for codec in ENUMS {
        for number in -1..=300 {
            let expected = table.enums[codec.onnx].get(&number).map(|name| letters(name));
            let found = (codec.variant)(number).map(|name| letters(&name));
            if found != expected {
                failures.push(format!("{} {number}: expected {expected:?}, found {found:?}", codec.onnx));
            }
        }
    }
    report(&failures);
    Ok(())
}

#[test]
fn the_newest_version_is_that_of_the_table() -> Outcome {
    assert_eq!(i64::from(Version::IrVersion as i32), Table::read()?.ir_version);
    Ok(())
}
