//! Dropout while a model is trained.

use std::path::{Path, PathBuf};

use safe_onnx::autodiff::{Loss, Request, Term, differentiate};
use safe_onnx::engine::LoadOptions;
use safe_onnx::ir::{DeclaredDim, Model, NodeSpec, Storage};
use safe_onnx::tensor::{DType, Random, Tensor};
use safe_onnx::trace::{InputShapes, trace};
use serde_json::Value;

use super::{run_in, write_images};
use crate::support::{engines, onnx_runtime, run};

fn drawn(random: &mut Random, dims: [usize; 2]) -> Tensor {
    let scale = (2.0 / dims[0] as f64).sqrt();
    let values = (0..dims[0] * dims[1]).map(|_| (scale * random.normal()) as f32).collect::<Vec<f32>>();
    Tensor::new(dims.to_vec(), values).unwrap()
}

/// A classifier of grey images with one hidden layer, half of which is dropped out.
fn classifier(opset: i64, training_mode: bool) -> Model {
    let mut random = Random::new(2);
    let mut model = Model::empty("dropping", opset);
    let graph = &mut model.graph;
    let x = graph.add_value("x");
    let pixels = [DeclaredDim::Named("batch".to_owned())].into_iter();
    let pixels: Vec<DeclaredDim> = pixels.chain([1, 28, 28].map(DeclaredDim::Fixed)).collect();
    graph.add_input(x, DType::F32, &pixels);
    let [first, second] = [("first", [784, 32]), ("second", [32, 10])]
        .map(|(name, dims)| graph.add_initializer(name, &drawn(&mut random, dims)));
    let flat = graph.add("flat", NodeSpec::new("Flatten", &[x]));
    let hidden = graph.add("hidden", NodeSpec::new("MatMul", &[flat, first]));
    let hidden = graph.add("relu", NodeSpec::new("Relu", &[hidden]));
    let hidden = if opset < 12 {
        graph.add("dropped", NodeSpec::new("Dropout", &[hidden]).attribute("ratio", 0.5_f32))
    } else {
        let ratio = graph.add_initializer("ratio", &Tensor::scalar(0.5_f32));
        let mode = graph.add_initializer("mode", &Tensor::scalar(training_mode));
        graph.add("dropped", NodeSpec::new("Dropout", &[hidden, ratio, mode]))
    };
    let y = graph.add("y", NodeSpec::new("MatMul", &[hidden, second]));
    graph.declare(y, DType::F32, &[DeclaredDim::Named("batch".to_owned()), DeclaredDim::Fixed(10)]);
    graph.add_output(y);
    model
}

fn written(folder: &Path, opset: i64) -> PathBuf {
    let path = folder.join(format!("dropping{opset}.onnx"));
    classifier(opset, false).write(&path, Storage::Embedded, true).unwrap();
    path
}

fn trained(folder: &Path, model: &Path, words: &[&str]) -> Value {
    let data = write_images(folder, 64, 0);
    let first =
        ["compress", model.to_str().unwrap(), "-o", "{}/small.onnx", "--data", data.to_str().unwrap()];
    let then = ["--epochs", "2", "--batch", "16", "--json", "--quiet", "--force"];
    run_in(folder, &[&first[..], &then, words].concat()).expect_code(0).json()
}

fn losses(report: &Value) -> Vec<f64> {
    report["history"].as_array().unwrap().iter().map(|epoch| epoch["loss"].as_f64().unwrap()).collect()
}

#[test]
fn elements_are_dropped_in_training_alone() {
    let folder = tempfile::tempdir().unwrap();
    for opset in [10, 17] {
        let model = written(folder.path(), opset);
        let note = "1 Dropout node is active in training";
        let on = trained(folder.path(), &model, &[]);
        let again = trained(folder.path(), &model, &["--dropout", "on"]);
        let off = trained(folder.path(), &model, &["--dropout", "off"]);
        assert_eq!(losses(&on), losses(&again), "what is dropped follows from the seed");
        let other = trained(folder.path(), &model, &["--seed", "1"]);
        assert_ne!(losses(&on), losses(&other));
        assert!(losses(&on).iter().zip(losses(&off)).all(|(on, off)| on > &off), "{on} {off}");
        assert!(on["notes"].to_string().contains(note) && !off["notes"].to_string().contains(note), "{on}");
        let small = Model::read(&folder.path().join("small.onnx")).unwrap();
        assert!(small.graph.nodes().any(|(_, node)| node.op_type == "Dropout"), "the node stays");
    }
}

#[test]
fn a_mask_is_an_input_of_the_training_graph() {
    for (mode, dropout) in [(false, true), (true, true), (true, false), (false, false)] {
        let model = classifier(17, mode);
        let engine = onnx_runtime();
        let shapes = InputShapes::new(&model.graph, &[("x".to_owned(), vec![2, 1, 28, 28])]).unwrap();
        let traced = trace(&model, &*engine, &LoadOptions::default(), &shapes).unwrap();
        let request = Request {
            dropout,
            ..Request::new(
                Loss { terms: vec![(1.0.into(), Term::SquaredError { output: 0 })] },
                ["first", "second"].map(|name| model.graph.find(name).unwrap()).to_vec(),
            )
        };
        let graph = differentiate(&model, &traced.facts, &request).unwrap();
        let target = Tensor::new(vec![2, 10], vec![0.25_f32; 20]).unwrap();
        let pixels: Vec<f32> = (0..2 * 784).map(|index| (index % 23) as f32 / 11.0 - 1.0).collect();
        let x = Tensor::new(vec![2, 1, 28, 28], pixels.clone()).unwrap();
        let mask: Vec<f32> = (0..64).map(|place| if place % 3 == 0 { 0.0 } else { 2.0 }).collect();
        let mask_tensor = Tensor::new(vec![2, 32], mask.clone()).unwrap();
        let mut given = vec![("x", &x), ("target", &target)];
        if dropout {
            assert_eq!(graph.dropped.len(), 1);
            given.push(("dropout:dropped", &mask_tensor));
        }
        let weights = ["first", "second"].map(|name| {
            let id = model.graph.find(name).unwrap();
            model.graph.value(id).initializer().unwrap().tensor().unwrap().to_f64().unwrap()
        });
        let loss = |first: &[f64]| {
            let mut sum = 0.0;
            for row in 0..2 {
                let hidden: Vec<f64> = (0..32)
                    .map(|unit| {
                        let pixel = |place: usize| f64::from(pixels[row * 784 + place]);
                        let value: f64 = (0..784).map(|place| pixel(place) * first[place * 32 + unit]).sum();
                        let kept = if dropout { f64::from(mask[row * 32 + unit]) } else { 1.0 };
                        value.max(0.0) * kept
                    })
                    .collect();
                for class in 0..10 {
                    let y: f64 = (0..32).map(|unit| hidden[unit] * weights[1][unit * 10 + class]).sum();
                    sum += (y - 0.25).powi(2);
                }
            }
            sum / 20.0
        };
        for engine in engines() {
            let results = run(&*engine, &graph.model, &given).unwrap();
            let (found, expected) = (results[0].to_f64().unwrap()[0], loss(&weights[0]));
            assert!((found - expected).abs() < 1e-4 * expected, "{}: {found}, {expected}", engine.name());
            let gradient = results[1].to_f64().unwrap();
            for at in [0, 1, 777, 25_087] {
                let moved = |by: f64| {
                    let mut first = weights[0].clone();
                    first[at] += by;
                    loss(&first)
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                let gap = (gradient[at] - slope).abs();
                assert!(gap < 1e-4 * slope.abs().max(0.1), "{}: {}, {slope}", engine.name(), gradient[at]);
            }
        }
    }
}
