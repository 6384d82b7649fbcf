//! Every case runs on every engine. A missing ONNX Runtime fails them.

mod cases;
mod errors;
mod sessions;

use std::path::PathBuf;
use std::sync::Arc;

use super::{Choice, Discovery, Engine, EngineError, LoadOptions, Session, Source, discover};
use crate::tensor::Tensor;

fn engines() -> Vec<Arc<dyn Engine>> {
    [Choice::Ort, Choice::Tract]
        .into_iter()
        .map(|engine| match discover(&Discovery { engine, ..Discovery::default() }) {
            Ok(selected) => selected.engine,
            Err(error) => panic!("the engine tests need ONNX Runtime: {error}"),
        })
        .collect()
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/engine").join(format!("{name}.onnx"))
}

fn load(engine: &dyn Engine, name: &str, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
    engine.load(Source::File(&fixture(name)), options)
}

fn open(engine: &dyn Engine, name: &str) -> Box<dyn Session> {
    load(engine, name, &LoadOptions::default()).unwrap_or_else(|error| panic!("{}: {error}", engine.name()))
}

fn floats(dims: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(dims.to_vec(), values.to_vec()).unwrap()
}

/// Runs `case` on each engine and reports all that fail.
fn on_each(case: impl Fn(&dyn Engine) -> Result<(), String>) {
    let failures: Vec<String> = engines()
        .iter()
        .filter_map(|engine| case(engine.as_ref()).err().map(|error| format!("{}: {error}", engine.name())))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: found {found:?}, expected {expected:?}")) }
}
