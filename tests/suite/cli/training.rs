//! What controls training from the command line.

use std::fs::File;
use std::path::Path;

use ndarray::Array2;
use ndarray_npy::NpzWriter;
use safe_onnx::ir::{Attribute, DeclaredDim, Model, NodeSpec, Storage};
use safe_onnx::tensor::{DType, Random, Tensor};

use super::{Ran, fixture, run_in, write_images};

/// Trains for two epochs on 64 images without cutting anything.
fn train(folder: &Path, model: &str, output: &str, words: &[&str]) -> Ran {
    let data = write_images(folder, 64, 0);
    let model = fixture(model);
    let first = ["compress", &model, "-o", output, "--data", data.to_str().unwrap(), "--target", "macs=1"];
    let then = ["--method", "magnitude", "--epochs", "2", "--json", "--quiet", "--force"];
    run_in(folder, &[&first[..], &then[..], words].concat())
}

/// The names of the initializers that are not what they were, of those that are still there.
fn moved(folder: &Path, model: &str, output: &str) -> Vec<String> {
    let dense = Model::read(Path::new(&fixture(model))).unwrap();
    let trained = Model::read(&folder.join(output)).unwrap();
    let changed = |name: &str, own: &safe_onnx::ir::Initializer| {
        let other = trained.graph.find(name).and_then(|id| trained.graph.value(id).initializer());
        other.is_some_and(|other| other.tensor().unwrap() != own.tensor().unwrap())
    };
    let all = dense.graph.initializers();
    all.filter(|(_, own)| changed(own.name(), own)).map(|(_, own)| own.name().to_owned()).collect()
}

#[test]
fn only_what_is_named_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let frozen = ["--batch-norm", "frozen", "--batch", "16"];
    let layer = ["--train-only", "^layer3", "--freeze", "bn"];
    train(folder.path(), "resnet8.onnx", "{}/a.onnx", &[&frozen[..], &layer].concat()).expect_code(0);
    let names = moved(folder.path(), "resnet8.onnx", "a.onnx");
    assert!(!names.is_empty(), "nothing was trained");
    assert!(names.iter().all(|name| name.starts_with("layer3") && !name.contains("bn")), "{names:?}");
    let none = ["--train-only", "no such name"];
    let ran = train(folder.path(), "resnet8.onnx", "{}/b.onnx", &none).expect_code(2);
    assert!(ran.stderr.contains("--train-only") && !folder.path().join("b.onnx").exists(), "{}", ran.stderr);
}

#[test]
fn accumulated_batches_are_one_large_batch() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |output: &str, words: &[&str]| -> Vec<f64> {
        let plain = ["--lr", "0.001", "--optimizer", "sgd", "--threads", "1"];
        let ran = train(folder.path(), "vit_tiny.onnx", output, &[&plain[..], words].concat());
        let report = ran.expect_code(0).json();
        assert_eq!(report["train"]["batch"].as_u64(), Some(32));
        assert_eq!(report["train"]["steps"].as_u64(), Some(4));
        let history = report["history"].as_array().unwrap();
        history.iter().map(|epoch| epoch["loss"].as_f64().unwrap()).collect()
    };
    let whole = losses("{}/a.onnx", &["--batch", "32"]);
    let parts = losses("{}/b.onnx", &["--batch", "8", "--accumulate", "4"]);
    for (whole, parts) in whole.iter().zip(&parts) {
        assert!((whole - parts).abs() < 1e-4 * whole.abs(), "{whole} and {parts}");
    }
    let read = |name: &str| Model::read(&folder.path().join(name)).unwrap();
    let (a, b) = (read("a.onnx"), read("b.onnx"));
    for (_, own) in a.graph.initializers() {
        let other = b.graph.value(b.graph.find(own.name()).unwrap()).initializer().unwrap();
        if let (Ok(own), Ok(other)) = (own.tensor().unwrap().to_f64(), other.tensor().unwrap().to_f64()) {
            let worst = own.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-5, "{worst}");
        }
    }
}

#[test]
fn the_learning_rate_follows_its_schedule() {
    let folder = tempfile::tempdir().unwrap();
    // Eight steps; an epoch reports the rate of the step that comes next, the last one the last.
    let cases = [("constant", [0.01, 0.01]), ("step", [0.001, 0.0001])];
    for (schedule, expected) in cases {
        let words = ["--lr", "0.01", "--lr-schedule", schedule, "--warmup", "0", "--batch", "16"];
        let report = train(folder.path(), "resnet8.onnx", "{}/a.onnx", &words).expect_code(0).json();
        let history = report["history"].as_array().unwrap();
        let rates: Vec<f64> = history.iter().map(|epoch| epoch["learning_rate"].as_f64().unwrap()).collect();
        let near = |(found, expected): (&f64, f64)| (found - expected).abs() < 1e-9;
        assert!(rates.iter().zip(expected).all(near), "{schedule}: {rates:?}");
    }
}

#[test]
fn the_average_and_the_best_are_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["--val-split", "0.25", "--batch", "16", "--batch-norm", "frozen", "--lr", "0.001"];
    let weights = |output: &str, more: &[&str]| {
        let ran =
            train(folder.path(), "resnet8.onnx", &format!("{{}}/{output}"), &[&words[..], more].concat());
        (ran.expect_code(0).json(), Model::read(&folder.path().join(output)).unwrap())
    };
    let (_, last) = weights("last.onnx", &[]);
    let (_, average) = weights("average.onnx", &["--average-decay", "0.9"]);
    let (report, best) = weights("best.onnx", &["--keep-best", "--patience", "1", "--evaluate-every", "1"]);
    let notes = report["notes"].to_string();
    assert!(notes.contains("the best evaluation"), "{notes}");
    let of = |model: &Model| {
        let id = model.graph.find("layer3.conv2.weight").unwrap();
        model.graph.value(id).initializer().unwrap().tensor().unwrap()
    };
    let dense = of(&Model::read(Path::new(&fixture("resnet8.onnx"))).unwrap());
    let distance = |model: &Model| {
        let (own, dense) = (of(model).to_f64().unwrap(), dense.to_f64().unwrap());
        own.iter().zip(&dense).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
    };
    // An average that begins at the start lags behind.
    assert!(distance(&average) > 0.0 && distance(&average) < distance(&last));
    assert!(distance(&best) > 0.0 && distance(&best) < distance(&last));
}

#[test]
fn training_without_data_ends_well_and_cannot_tell_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let first = ["compress", &fixture("resnet8.onnx"), "-o", "{}/a.onnx", "--epochs", "1", "--quiet"];
    let report = run_in(folder.path(), &[&first[..], &["--json"]].concat()).expect_code(0).json();
    assert!(report["history"][0]["loss"].as_f64() < Some(10.0), "{report}");
    assert!(report["notes"].to_string().contains("accuracy is not measured"), "{report}");
    let ran = run_in(folder.path(), &[&first[..], &["--keep-best", "--force"]].concat()).expect_code(2);
    assert!(ran.stderr.contains("--keep-best") && ran.stderr.contains("--val"), "{}", ran.stderr);
}

const TOKENS: usize = 7;
const LENGTH: usize = 12;

/// A table of tokens, a hidden layer and scores for the next token: what comes next hangs on the last token alone.
fn language_model(path: &Path) {
    let mut random = Random::new(4);
    let mut draw = |dims: [usize; 2]| {
        let values = (0..dims[0] * dims[1]).map(|_| 0.3 * random.normal() as f32).collect::<Vec<f32>>();
        Tensor::new(dims.to_vec(), values).unwrap()
    };
    let (table, up, down) = (draw([TOKENS, 32]), draw([32, 128]), draw([128, TOKENS]));
    let mut model = Model::empty("language", 17);
    let graph = &mut model.graph;
    let ids = graph.add_value("ids");
    graph.add_input(ids, DType::I64, &[DeclaredDim::Named("batch".to_owned()), DeclaredDim::Fixed(LENGTH)]);
    let [table, up, down] = [("table", table), ("up", up), ("down", down)]
        .map(|(name, tensor)| graph.add_initializer(name, &tensor));
    let embedded = graph.add("embedded", NodeSpec::new("Gather", &[table, ids]));
    let hidden = graph.add("hidden", NodeSpec::new("MatMul", &[embedded, up]));
    let hidden = graph.add("relu", NodeSpec::new("Relu", &[hidden]));
    let scores = graph.add("scores", NodeSpec::new("MatMul", &[hidden, down]));
    let sizes =
        [DeclaredDim::Named("batch".to_owned()), DeclaredDim::Fixed(LENGTH), DeclaredDim::Fixed(TOKENS)];
    graph.declare(scores, DType::F32, &sizes);
    graph.add_output(scores);
    model.write(path, Storage::Embedded, true).unwrap();
}

#[test]
fn a_language_model_learns_what_token_comes_next() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("language.onnx");
    language_model(&model);
    let data = folder.path().join("text.npz");
    let mut archive = NpzWriter::new(File::create(&data).unwrap());
    // Each token is followed by the one three places on.
    let token = |(text, place): (usize, usize)| ((text + 3 * place) % TOKENS) as i64;
    archive.add_array("ids", &Array2::from_shape_fn((256, LENGTH), token)).unwrap();
    archive.finish().unwrap();
    let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
    let first = ["compress", model, "-o", "{}/small.onnx", "--data", data, "--loss", "next-token"];
    let then = ["--epochs", "30", "--batch", "32", "--lr", "0.01", "--json", "--quiet"];
    let report = run_in(folder.path(), &[&first[..], &then].concat()).expect_code(0).json();
    assert!(report["train"]["loss"] == "next-token cross-entropy", "{report}");
    let history = report["history"].as_array().unwrap();
    let loss = |epoch: usize| history[epoch]["loss"].as_f64().unwrap();
    // Seven tokens are equally likely at first; in the end, the next one is certain.
    assert!((loss(0) - (TOKENS as f64).ln()).abs() < 0.5, "{}", loss(0));
    assert!(loss(29) < 0.05, "{}", loss(29));
    let measured = |model: &str, what: &str| report[model][what].as_f64().unwrap();
    assert!(measured("dense", "accuracy") < 0.5 && measured("small", "accuracy") > 0.99, "{report}");
    assert!(measured("small", "loss") < 0.05, "{report}");
    // What is not to be learned is not measured either.
    let words = ["--ignore-index", "3", "--epochs", "2", "--batch", "32", "--json", "--quiet", "--force"];
    let other = run_in(folder.path(), &[&first[..], &words].concat()).expect_code(0).json();
    assert_ne!(other["dense"]["loss"], report["dense"]["loss"]);
    assert!(report["reached"].as_f64() <= Some(0.5), "{report}");
}

#[test]
fn numbers_of_formulas_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(6);
    let mut draw = |dims: [usize; 2]| {
        let values = (0..dims[0] * dims[1]).map(|_| 0.05 * random.normal() as f32).collect::<Vec<f32>>();
        Tensor::new(dims.to_vec(), values).unwrap()
    };
    let mut model = Model::empty("formula", 17);
    let graph = &mut model.graph;
    let x = graph.add_value("x");
    let dims = [DeclaredDim::Named("batch".to_owned())].into_iter();
    graph.add_input(x, DType::F32, &dims.chain([1, 28, 28].map(DeclaredDim::Fixed)).collect::<Vec<_>>());
    let [up, down] =
        [("up", [784, 32]), ("down", [32, 10])].map(|(name, dims)| graph.add_initializer(name, &draw(dims)));
    // Both are vectors of one number; the first is part of a formula, the second a weight.
    let half = graph
        .add("half", NodeSpec::new("Constant", &[]).attribute("value_floats", Attribute::Floats(vec![0.5])));
    let scale = graph.add_initializer("scale", &Tensor::vector(vec![0.5_f32]));
    let flat = graph.add("flat", NodeSpec::new("Flatten", &[x]));
    let hidden = graph.add("hidden", NodeSpec::new("MatMul", &[flat, up]));
    let hidden = graph.add("relu", NodeSpec::new("Relu", &[hidden]));
    let hidden = graph.add("halved", NodeSpec::new("Mul", &[hidden, half]));
    let hidden = graph.add("scaled", NodeSpec::new("Mul", &[hidden, scale]));
    let y = graph.add("y", NodeSpec::new("MatMul", &[hidden, down]));
    graph.declare(y, DType::F32, &[DeclaredDim::Named("batch".to_owned()), DeclaredDim::Fixed(10)]);
    graph.add_output(y);
    let path = folder.path().join("formula.onnx");
    model.write(&path, Storage::Embedded, true).unwrap();
    let data = write_images(folder.path(), 64, 0);
    let (model, data) = (path.to_str().unwrap(), data.to_str().unwrap());
    let first = ["compress", model, "-o", "{}/small.onnx", "--data", data, "--epochs", "2"];
    run_in(folder.path(), &[&first[..], &["--batch", "16", "--lr", "0.1", "--quiet"]].concat())
        .expect_code(0);
    let small = Model::read(&folder.path().join("small.onnx")).unwrap();
    let number = |name: &str| {
        let id = small.graph.find(name).unwrap();
        small.graph.value(id).initializer().unwrap().tensor().unwrap().to_f64().unwrap()[0]
    };
    assert_eq!(number("half"), 0.5);
    assert_ne!(number("scale"), 0.5);
}

#[test]
fn losses_are_named_and_added() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("values.npz");
    let mut archive = NpzWriter::new(File::create(&data).unwrap());
    let pixel = |(sample, place): (usize, usize)| ((sample * 31 + place * 7) % 50) as f32 / 50.0;
    let images = Array2::from_shape_fn((32, 784), pixel).into_shape_with_order((32, 1, 28, 28)).unwrap();
    archive.add_array("x", &images).unwrap();
    archive
        .add_array(
            "y",
            &Array2::from_shape_fn((32, 10), |(sample, class)| f32::from(u8::from(sample % 10 == class))),
        )
        .unwrap();
    archive.finish().unwrap();
    let train = |data: &Path, words: &[&str]| {
        let first =
            ["compress", &fixture("vit_tiny.onnx"), "-o", "{}/a.onnx", "--data", data.to_str().unwrap()];
        let then = ["--epochs", "1", "--batch", "16", "--json", "--quiet", "--force"];
        run_in(folder.path(), &[&first[..], &then, words].concat())
    };
    let named = [
        ("bce", "binary cross-entropy of logits"),
        ("smooth-l1", "smooth L1"),
        ("mse:0.5", "0.5 x mean squared error"),
        (
            "bce:0.25,distill:0.75",
            "0.25 x binary cross-entropy of logits + 0.75 x distillation, temperature 3",
        ),
    ];
    for (name, text) in named {
        let report = train(&data, &["--loss", name]).expect_code(0).json();
        assert_eq!(report["train"]["loss"], text, "{name}");
        assert!(report["history"][0]["loss"].is_number(), "{name}: {report}");
    }
    let images = write_images(folder.path(), 32, 0);
    let loss = |words: &[&str]| {
        let report = train(&images, words).expect_code(0).json();
        report["history"][0]["loss"].as_f64().unwrap()
    };
    let plain = loss(&["--loss", "cross-entropy"]);
    let weights = ["--class-weights", "1,2,1,2,1,2,1,2,1,2"];
    assert_ne!(plain, loss(&["--loss", "cross-entropy", "--label-smoothing", "0.1"]));
    assert_ne!(plain, loss(&[&["--loss", "cross-entropy"][..], &weights].concat()));
    let wrong: [(&[&str], &str); 4] = [
        (
            &["--loss", "cross-entropy", "--class-weights", "1,2"],
            "2 --class-weights are given for 10 classes",
        ),
        (&["--loss", "auto,distill"], "auto stands alone"),
        (&["--loss", "hinge"], "there is no loss `hinge`"),
        (&["--loss", "bce"], "the loss needs [10]"),
    ];
    for (words, reason) in wrong {
        let ran = train(&images, words);
        assert!(ran.code == Some(2) && ran.stderr.contains(reason), "{words:?}: {}", ran.stderr);
    }
}
