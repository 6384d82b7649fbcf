//! What several tests need: engines, and graphs built in the test.

use std::sync::Arc;

use safe_onnx::engine::{Choice, Discovery, Engine, LoadOptions, Source, discover};
use safe_onnx::ir::Model;
use safe_onnx::tensor::Tensor;

/// Both engines. A missing ONNX Runtime fails the test: the README says how to set it up.
pub(crate) fn engines() -> Vec<Arc<dyn Engine>> {
    vec![onnx_runtime(), engine(Choice::Tract)]
}

/// ONNX Runtime.
pub(crate) fn onnx_runtime() -> Arc<dyn Engine> {
    engine(Choice::Ort)
}

fn engine(choice: Choice) -> Arc<dyn Engine> {
    let found = discover(&Discovery { engine: choice, ..Discovery::default() });
    found.unwrap_or_else(|error| panic!("{error}: run tests/setup.sh, or set ORT_DYLIB_PATH")).engine
}

/// Runs a model with graph optimisation off.
pub(crate) fn run(
    engine: &dyn Engine,
    model: &Model,
    inputs: &[(&str, &Tensor)],
) -> Result<Vec<Tensor>, String> {
    let bytes = model.to_bytes().map_err(|error| error.to_string())?;
    let options = LoadOptions { optimize: false, threads: Some(1), ..LoadOptions::default() };
    let mut session = engine.load(Source::Bytes(&bytes), &options).map_err(|error| error.to_string())?;
    session.run(inputs).map_err(|error| error.to_string())
}

/// The largest difference of two tensors over the largest value of the first.
pub(crate) fn relative_error(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (a.to_f64().unwrap(), b.to_f64().unwrap());
    let scale = a.iter().fold(0.0_f64, |largest, value| largest.max(value.abs())).max(1e-6);
    let gap = a.iter().zip(&b).fold(0.0_f64, |largest, (a, b)| largest.max((a - b).abs()));
    let wrong = a.iter().chain(&b).any(|value| !value.is_finite());
    if wrong { f64::INFINITY } else { gap / scale }
}
