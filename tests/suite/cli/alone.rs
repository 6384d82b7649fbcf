//! Models that take one sample at a time: inputs without an axis of samples.

use std::fs::File;
use std::path::{Path, PathBuf};

use ndarray::{Array1, Array3, Array4};
use ndarray_npy::NpzWriter;
use safe_onnx::ir::{DeclaredDim, Model, NodeSpec, Storage, ValueId};
use safe_onnx::tensor::{DType, Random, Tensor};
use serde_json::Value;

use super::{Ran, run_in};
use crate::support::{onnx_runtime, run};

const SIDE: usize = 16;
const CLASSES: usize = 4;
/// Can be met to the channel: 12 of 20 stay.
const TARGET: &str = "channels=0.6";

/// Where a model has an axis of samples.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Axis {
    /// In input and output, of any length.
    Both,
    /// Nowhere: `[3, 16, 16]` to `[4]`.
    None,
    /// In the output, for the one sample: `[3, 16, 16]` to `[1, 4]`.
    Output,
}

fn drawn(random: &mut Random, dims: &[usize]) -> Tensor {
    let scale = (2.0 / dims[1..].iter().product::<usize>() as f64).sqrt();
    let values: Vec<f32> = (0..dims.iter().product()).map(|_| (scale * random.normal()) as f32).collect();
    Tensor::new(dims.to_vec(), values).unwrap()
}

/// Two convolutions and a classifier, or with `places` a class for each place.
fn network(axis: Axis, places: bool) -> Model {
    let mut random = Random::new(5);
    let mut model = Model::empty("alone", 17);
    let graph = &mut model.graph;
    let sides = [3, SIDE, SIDE].map(DeclaredDim::Fixed);
    let free = DeclaredDim::Named("batch".to_owned());
    let image = graph.add_value("image");
    let weight = |graph: &mut safe_onnx::ir::Graph, name: &str, random: &mut Random, dims: &[usize]| {
        graph.add_initializer(name, &drawn(random, dims))
    };
    let first = weight(graph, "first", &mut random, &[8, 3, 3, 3]);
    let second = weight(graph, "second", &mut random, &[12, 8, 3, 3]);
    let head = weight(graph, "head", &mut random, &[CLASSES, 12, 3, 3]);
    let zero = graph.add_initializer("zero", &Tensor::vector(vec![0_i64]));
    let mut x: ValueId = image;
    if axis == Axis::Both {
        graph.add_input(image, DType::F32, &[std::slice::from_ref(&free), &sides[..]].concat());
    } else {
        graph.add_input(image, DType::F32, &sides);
        x = graph.add("batched", NodeSpec::new("Unsqueeze", &[image, zero]));
    }
    for (name, kernel) in [("hidden", first), ("deep", second)] {
        let spec = NodeSpec::new("Conv", &[x, kernel]).attribute("pads", vec![1_i64; 4]);
        let made = graph.add(&format!("{name}.conv"), spec);
        x = graph.add(name, NodeSpec::new("Relu", &[made]));
    }
    x = graph.add("scores", NodeSpec::new("Conv", &[x, head]).attribute("pads", vec![1_i64; 4]));
    if !places {
        x = graph.add("pooled", NodeSpec::new("GlobalAveragePool", &[x]));
        x = graph.add("flat", NodeSpec::new("Flatten", &[x]));
    }
    let mut dims = vec![DeclaredDim::Fixed(CLASSES)];
    if places {
        dims.extend([SIDE; 2].map(DeclaredDim::Fixed));
    }
    match axis {
        Axis::Both => dims.insert(0, free),
        Axis::None => x = graph.add("y", NodeSpec::new("Squeeze", &[x, zero])),
        Axis::Output => dims.insert(0, DeclaredDim::Fixed(1)),
    }
    graph.declare(x, DType::F32, &dims);
    graph.add_output(x);
    model
}

fn written(folder: &Path, axis: Axis, places: bool) -> PathBuf {
    let path = folder.join(format!("{axis:?}{places}.onnx"));
    network(axis, places).write(&path, Storage::Embedded, true).unwrap();
    path
}

/// Images of one bright colour or none, and which one it is; with `places` for each place.
fn data(folder: &Path, samples: usize, places: bool) -> PathBuf {
    let path = folder.join(format!("data{places}.npz"));
    let mut archive = NpzWriter::new(File::create(&path).unwrap());
    let pixel = |(sample, colour, row, column): (usize, usize, usize, usize)| {
        let grain = ((sample * 7 + colour * 5 + row * 3 + column) % 11) as f32 / 11.0;
        grain + if sample % CLASSES == colour { 1.5 } else { 0.0 }
    };
    archive.add_array("x", &Array4::from_shape_fn((samples, 3, SIDE, SIDE), pixel)).unwrap();
    let label = |sample: usize| (sample % CLASSES) as i64;
    if places {
        let labels = Array3::from_shape_fn((samples, SIDE, SIDE), |(sample, _, _)| label(sample));
        archive.add_array("y", &labels).unwrap();
    } else {
        archive.add_array("y", &Array1::from_shape_fn(samples, label)).unwrap();
    }
    archive.finish().unwrap();
    path
}

fn compress(folder: &Path, model: &Path, data: &Path, words: &[&str]) -> Ran {
    let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
    let first = ["compress", model, "-o", "{}/small.onnx", "--data", data, "--val", data, "--batch", "8"];
    let then = ["--target", TARGET, "--json", "--quiet", "--force"];
    run_in(folder, &[&first[..], &then, words].concat())
}

fn losses(report: &Value) -> Vec<f64> {
    report["history"].as_array().unwrap().iter().map(|epoch| epoch["loss"].as_f64().unwrap()).collect()
}

/// Batches of one sample each, whose gradients are averaged, are batches of several samples.
#[test]
fn they_learn_what_the_same_network_with_an_axis_of_samples_learns() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    for places in [false, true] {
        let images = data(place, 48, places);
        let train = |axis: Axis, engine: &str| {
            let words = ["--epochs", "4", "--lr", "1e-2", "--engine", engine];
            compress(place, &written(place, axis, places), &images, &words).expect_code(0).json()
        };
        let together = train(Axis::Both, "ort");
        assert!(losses(&together)[3] < losses(&together)[0], "{together}");
        for (axis, engine) in [(Axis::None, "ort"), (Axis::Output, "ort"), (Axis::None, "tract")] {
            let alone = train(axis, engine);
            for (one, other) in losses(&alone).iter().zip(losses(&together)) {
                assert!((one - other).abs() < 1e-3 * other.abs(), "{axis:?} {engine}: {alone} {together}");
            }
            for model in ["dense", "small"] {
                let [one, other] = [&alone, &together].map(|report| report[model]["loss"].as_f64().unwrap());
                assert!((one - other).abs() < 1e-3 * other, "{axis:?} {model}: {one} {other}");
                assert_eq!(alone[model]["macs"], together[model]["macs"], "{axis:?} {model}");
            }
            assert_eq!(alone["train"]["batch"], 8);
            assert_eq!(alone["train"]["steps"], 24);
            assert_eq!(alone["train"]["memory"]["micro_batch"], 1);
            assert!(alone["train"]["memory"]["predicted"].as_u64().is_some_and(|bytes| bytes > 0));
            // The made-up input of the trace, and four of the data.
            assert_eq!(alone["verified"]["samples"], 5, "{axis:?} {engine}");
            assert!(alone["notes"].to_string().contains("one by one; the gradients of 8"), "{alone}");
            let evaluated = ["eval", "{}/small.onnx", "--data", images.to_str().unwrap(), "--json"];
            let evaluated = run_in(place, &evaluated).expect_code(0).json();
            let loss = alone["small"]["loss"].as_f64().unwrap();
            assert!((evaluated["loss"].as_f64().unwrap() - loss).abs() < 1e-4, "{evaluated} {loss}");
            assert_eq!(evaluated["samples"], 48);
        }
    }
}

#[test]
fn values_are_held_and_models_are_compared_without_labels() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let (images, model) = (data(place, 24, true), written(place, Axis::None, false));
    let words = ["--loss", "features", "--distill-on", "^deep$", "--epochs", "4", "--lr", "1e-2"];
    let masked = ["--emit-masked", "{}/masked.onnx"];
    let report = compress(place, &model, &images, &[&words[..], &masked].concat()).expect_code(0).json();
    let fallen = losses(&report);
    assert!(fallen[3] < fallen[1], "{fallen:?}");
    for engine in ["ort", "tract"] {
        let words = ["verify", "{}/masked.onnx", "{}/small.onnx", "--json", "--engine", engine];
        let words = [&words[..], &["--data", images.to_str().unwrap()]].concat();
        let report = run_in(place, &words).expect_code(0).json();
        assert_eq!(
            (&report["holds"], &report["verified"]["samples"]),
            (&true.into(), &16.into()),
            "{report}"
        );
    }
}

#[test]
fn without_data_an_image_is_made_up_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let model = written(place, Axis::None, false);
    let words = ["compress", model.to_str().unwrap(), "-o", "{}/small.onnx", "--epochs", "1", "--batch", "4"];
    let report = run_in(place, &[&words[..], &["--target", TARGET, "--json", "--quiet"]].concat())
        .expect_code(0)
        .json();
    assert!(losses(&report)[0].is_finite(), "{report}");
    assert_eq!(
        (&report["train"]["batch"], &report["train"]["memory"]["micro_batch"]),
        (&4.into(), &1.into())
    );
}

#[test]
fn a_run_goes_on_from_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let (images, model) = (data(place, 24, false), written(place, Axis::None, false));
    let words = ["--epochs", "3", "--checkpoint", "{}/standing", "--checkpoint-every", "0"];
    compress(place, &model, &images, &words).expect_code(0);
    let whole = std::fs::read(place.join("small.onnx")).unwrap();
    let standing = place.join("standing");
    let last = super::listing(&standing).pop().unwrap();
    std::fs::remove_file(standing.join(last)).unwrap();
    compress(place, &model, &images, &[&words[..], &["--resume"]].concat()).expect_code(0);
    assert!(std::fs::read(place.join("small.onnx")).unwrap() == whole, "other bytes");
}

#[test]
fn training_graphs_take_the_label_of_the_one_sample() {
    let folder = tempfile::tempdir().unwrap();
    let model = written(folder.path(), Axis::None, false);
    let words = ["differentiate", model.to_str().unwrap(), "-o", "{}/grad.onnx", "--loss", "cross-entropy"];
    run_in(folder.path(), &words).expect_code(0);
    let image = Tensor::new(vec![3, SIDE, SIDE], vec![0.5_f32; 3 * SIDE * SIDE]).unwrap();
    let dense = run(&*onnx_runtime(), &network(Axis::None, false), &[("image", &image)]).unwrap();
    let scores = dense[0].to_f64().unwrap();
    let total: f64 = scores.iter().map(|score| score.exp()).sum();
    let graph = Model::read(&folder.path().join("grad.onnx")).unwrap();
    let label = Tensor::scalar(2_i64);
    let loss = run(&*onnx_runtime(), &graph, &[("image", &image), ("target", &label)]).unwrap();
    let loss = loss[0].to_f64().unwrap()[0];
    assert!((loss - (total.ln() - scores[2])).abs() < 1e-5, "{loss} {scores:?}");
}

#[test]
fn data_that_fit_in_neither_way_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let model = written(place, Axis::None, false);
    let path = place.join("flat.npz");
    let mut archive = NpzWriter::new(File::create(&path).unwrap());
    archive.add_array("x", &Array3::<f32>::zeros((6, SIDE, 9))).unwrap();
    archive.finish().unwrap();
    let ran = compress(place, &model, &path, &[]).expect_code(2);
    let reason =
        "have shape [16, 9], but the model input 'image' needs [16, 16] (or [3, 16, 16] for one alone)";
    assert!(ran.stderr.contains(reason), "{}", ran.stderr);
    let images = data(place, 24, false);
    let ran = compress(place, &model, &images, &["--loss", "next-token"]).expect_code(2);
    assert!(
        ran.stderr.contains("next-token needs inputs and outputs with an axis of samples"),
        "{}",
        ran.stderr
    );
}
