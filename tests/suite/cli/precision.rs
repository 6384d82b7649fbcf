//! Models that compute with 16-bit floats.

use std::path::Path;

use safe_onnx::ir::{DeclaredDim, Initializer, Model, Storage, ValueId};
use safe_onnx::tensor::{DType, Tensor};

use super::{fixture, run_in};
use crate::support::{engines, relative_error, run};

/// The floats of `model`.
fn floats(model: &Model) -> Vec<(ValueId, Tensor)> {
    let float = |tensor: &Initializer| tensor.dtype().is_some_and(DType::is_float);
    let all = model.graph.initializers().filter(|(_, tensor)| float(tensor));
    all.map(|(id, tensor)| (id, tensor.tensor().unwrap())).collect()
}

/// The model in the file with weights, inputs and outputs of `float16`. It casts nothing.
pub(super) fn half(path: &Path) -> Model {
    let mut model = Model::read(path).unwrap();
    for (id, tensor) in floats(&model) {
        model.graph.set_initializer(id, &tensor.cast_float(DType::F16));
    }
    let graph = &mut model.graph;
    let edges: Vec<ValueId> = graph.inputs().iter().chain(graph.outputs()).copied().collect();
    let values: Vec<ValueId> = graph.values().map(|(id, _)| id).collect();
    for id in values {
        let Some(declared) = graph.value(id).declared().filter(|seen| seen.dtype == Some(DType::F32)) else {
            continue;
        };
        if edges.contains(&id) {
            graph.declare(id, DType::F16, &declared.dims.unwrap());
        } else {
            graph.undeclare(id);
        }
    }
    model
}

#[test]
fn sixteen_bit_weights_are_trained_as_well_as_others() {
    let folder = tempfile::tempdir().unwrap();
    half(fixture("resnet8.onnx").as_ref())
        .write(&folder.path().join("half.onnx"), Storage::Auto, false)
        .unwrap();
    let accuracy = |model: &str, epochs: &str| {
        let (data, val) = (fixture("train.npz"), fixture("test.npz"));
        let words = [&["compress", model, "-o", "{}/small.onnx", "--data", &data, "--val", &val][..]];
        let then = ["--mean", "0.2860", "--std", "0.3530", "--target", "macs=0.5", "--force", "--json"];
        let report = run_in(folder.path(), &[words[0], &then, &["--epochs", epochs]].concat());
        let report = report.expect_code(0).json();
        assert!(report["verified"]["max_rel_error"].as_f64().unwrap() <= 1e-4, "{report}");
        report["small"]["accuracy"].as_f64().unwrap()
    };
    let plain = accuracy(&fixture("resnet8.onnx"), "1");
    let untrained = accuracy("{}/half.onnx", "0");
    let trained = accuracy("{}/half.onnx", "1");
    assert!(trained > untrained + 0.2 && (trained - plain).abs() < 0.02, "{untrained} {trained} {plain}");
    let small = Model::read(&folder.path().join("small.onnx")).unwrap();
    assert!(floats(&small).iter().all(|(_, tensor)| tensor.dtype() == DType::F16));
    let edges = small.graph.inputs().iter().chain(small.graph.outputs());
    let types = edges.map(|&id| small.graph.value(id).declared().unwrap().dtype);
    assert!(types.into_iter().all(|dtype| dtype == Some(DType::F16)));
}

#[test]
fn gradients_of_sixteen_bit_weights_are_those_in_single_precision() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let short = half(fixture("vit_tiny.onnx").as_ref());
    short.write(&place.join("half.onnx"), Storage::Auto, false).unwrap();
    let mut rounded = Model::read(fixture("vit_tiny.onnx").as_ref()).unwrap();
    for (id, tensor) in floats(&rounded) {
        rounded.graph.set_initializer(id, &tensor.cast_float(DType::F16).cast_float(DType::F32));
    }
    rounded.write(&place.join("rounded.onnx"), Storage::Auto, false).unwrap();
    let training = |name: &str| {
        let words = ["differentiate", &format!("{{}}/{name}.onnx"), "-o", "{}/g.onnx"].map(str::to_owned);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let loss = ["--loss", "cross-entropy", "--force"];
        run_in(place, &[&words[..], &loss].concat()).expect_code(0);
        Model::read(&place.join("g.onnx")).unwrap()
    };
    let (one, other) = (training("half"), training("rounded"));
    let names = |model: &Model| -> Vec<String> {
        model.graph.outputs().iter().map(|&id| model.graph.value(id).name().to_owned()).collect()
    };
    assert_eq!(names(&one), names(&other));
    assert!(names(&one).len() > 50);
    let pixels: Vec<f32> = (0..2 * 28 * 28).map(|index| (index % 32) as f32 / 16.0 - 1.0).collect();
    let images = Tensor::new(vec![2, 1, 28, 28], pixels).unwrap();
    let labels = Tensor::vector(vec![3_i64, 7]);
    for engine in engines() {
        let short = images.clone().cast_float(DType::F16);
        let found = run(&*engine, &one, &[("input", &short), ("target", &labels)]).unwrap();
        let wanted = run(&*engine, &other, &[("input", &images), ("target", &labels)]).unwrap();
        for ((name, found), wanted) in names(&one).iter().zip(&found).zip(&wanted) {
            let error = relative_error(wanted, found);
            assert!(found.dtype() == DType::F32 && error < 1e-6, "{}: {name}: {error}", engine.name());
        }
    }
    let declared = one.graph.value(one.graph.find("input").unwrap()).declared().unwrap();
    assert_eq!(declared.dtype, Some(DType::F16));
    assert!(declared.dims.is_some_and(|dims| dims[1] == DeclaredDim::Fixed(1)));
}
