//! The messages of this crate against the table of the ONNX format in `fields.json`.
//!
//! The table is read from ONNX itself (`fields.py`), and bytes are built from it without `prost`.

mod codecs;
mod enums;
mod fields;
mod malformed;
mod sample;
mod shared_memory;
mod table;
mod wire;

use std::error::Error;

/// What a test returns: nothing, or why it could not be carried out.
type Outcome = Result<(), Box<dyn Error>>;

/// Fails with every entry of `failures`, if there is one.
fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
