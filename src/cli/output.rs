//! The two streams.

use std::io::{self, Write};

use serde::Serialize;

use super::failure::Failure;

/// Prints a document to stdout. A reader that went away, as with `| head`, is no error.
pub(super) fn data(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush());
}

/// Prints a line to stderr.
pub(super) fn message(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "{text}");
}

/// The report as JSON, one field a line.
pub(super) fn json(report: &impl Serialize) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(report)?)
}

/// Prints a report, as JSON or as text.
pub(super) fn report<R: Serialize + std::fmt::Display>(report: &R, as_json: bool) -> Result<(), Failure> {
    data(&if as_json { json(report)? } else { report.to_string().trim_end().to_owned() });
    Ok(())
}
