//! The gradients of training graphs against those of PyTorch autograd in float64.

use std::fs::File;
use std::path::Path;

use ndarray::ArrayD;
use ndarray_npy::NpzReader;
use safe_onnx::autodiff::{Loss, Request, Term, differentiate, trainable_initializers};
use safe_onnx::engine::LoadOptions;
use safe_onnx::ir::{Model, constants_to_initializers};
use safe_onnx::tensor::Tensor;
use safe_onnx::trace::{InputShapes, trace};

use crate::support::{engines, onnx_runtime, run};

/// Largest norm of the difference over the norm of the reference, for one parameter.
const TOLERANCE: f64 = 1e-4;
/// Largest absolute value of a gradient that is exactly zero.
const ZERO: f64 = 1e-6;

type Archive = NpzReader<File>;

fn array<T>(archive: &mut Archive, name: &str) -> Option<Tensor>
where
    T: ndarray_npy::ReadableElement + safe_onnx::tensor::Element,
{
    let array: ArrayD<T> = archive.by_name(name).ok()?;
    let dims = array.shape().to_vec();
    Tensor::new(dims, T::wrap(array.into_iter().collect())).ok()
}

fn any(archive: &mut Archive, name: &str) -> Tensor {
    array::<f32>(archive, name).or_else(|| array::<i64>(archive, name)).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn gradients_agree_with_autograd_in_double_precision() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gradients");
    let mut cases: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("model.onnx").is_file())
        .collect();
    cases.sort();
    assert!(cases.len() >= 17, "only {} cases are there", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        if let Err(reason) = check(case) {
            failures.push(format!("{}: {reason}", case.file_name().unwrap().to_string_lossy()));
        }
    }
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn check(case: &Path) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let spec: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(case.join("spec.json")).unwrap()).unwrap();
    let mut archive = NpzReader::new(File::open(case.join("data.npz")).unwrap()).unwrap();
    let mut model = Model::read(&case.join("model.onnx")).map_err(|error| text(&error))?;
    constants_to_initializers(&mut model.graph);
    let engine = onnx_runtime();
    let traced = trace(&model, &*engine, &LoadOptions::default(), &InputShapes::default())
        .map_err(|error| text(&error))?;
    let term = if spec["loss"]["kind"] == "mse" {
        Term::SquaredError { output: 0 }
    } else {
        let rank = spec["output_shape"].as_array().unwrap().len() as i64;
        let axis = spec["loss"]["class_axis"].as_i64().unwrap();
        let class_axis = if axis < 0 { axis + rank } else { axis } as usize;
        Term::CrossEntropy {
            output: 0,
            class_axis,
            probabilities: false,
            smoothing: 0.0,
            class_weights: Vec::new(),
            ignore_index: None,
        }
    };
    let mut inputs: Vec<(String, Tensor)> = model
        .graph
        .required_inputs()
        .map(|id| model.graph.value(id).name().to_owned())
        .map(|name| (name.clone(), any(&mut archive, &format!("input/{name}"))))
        .collect();
    inputs.push(("target".to_owned(), any(&mut archive, "target")));
    let given: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let with_kernels =
        engines().into_iter().filter(|engine| engine.has_kernels()).map(|engine| (engine, true));
    for (engine, kernels) in engines().into_iter().map(|engine| (engine, false)).chain(with_kernels) {
        let request = Request {
            elementary: !engine.normalizes_batches(),
            kernels,
            ..Request::new(
                Loss { terms: vec![(1.0.into(), term.clone())] },
                trainable_initializers(&model.graph, &traced.facts, |_| true),
            )
        };
        let training = differentiate(&model, &traced.facts, &request).map_err(|error| text(&error))?;
        let place = |reason: String| format!("{} (kernels: {kernels}): {reason}", engine.name());
        let outputs = run(&*engine, &training.model, &given).map_err(place)?;
        let loss = outputs[0].to_f64().unwrap()[0];
        let expected: ndarray::Array0<f64> = archive.by_name("loss").unwrap();
        let expected = expected.into_scalar();
        if (loss - expected).abs() > TOLERANCE * expected.abs() {
            return Err(place(format!("loss {loss} instead of {expected}")));
        }
        let mut worst: Vec<String> = Vec::new();
        for (name, about) in spec["initializers"].as_object().unwrap() {
            if about["kind"] != "parameter" {
                continue;
            }
            let reference = any(&mut archive, &format!("grad/{name}")).to_f64().unwrap();
            let found = training
                .gradients
                .iter()
                .position(|&(weight, _)| model.graph.value(weight).name() == name)
                .map(|index| outputs[1 + index].to_f64().unwrap());
            let zero = about["zero_gradient"] == true;
            let Some(found) = found else {
                if !zero {
                    worst.push(format!("{name} has no gradient"));
                }
                continue;
            };
            let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
            let gap: Vec<f64> = found.iter().zip(&reference).map(|(found, wanted)| found - wanted).collect();
            let size = gap.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
            let wrong = if zero { size > ZERO } else { norm(&gap) > TOLERANCE * norm(&reference) };
            if wrong || found.len() != reference.len() || !norm(&gap).is_finite() {
                worst.push(format!("{name} is off by {:.1e} of {:.1e}", norm(&gap), norm(&reference)));
            }
        }
        if !worst.is_empty() {
            return Err(place(worst.join(", ")));
        }
    }
    Ok(())
}
