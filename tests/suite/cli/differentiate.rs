//! Training graphs, run by both engines.

use safe_onnx::ir::Model;
use safe_onnx::tensor::Tensor;

use super::{fixture, run_in};
use crate::support::{engines, onnx_runtime, run};

#[test]
fn gradients_are_those_of_the_loss() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture("resnet8.onnx");
    let words = ["differentiate", &model, "-o", "{}/grad.onnx", "--loss", "cross-entropy", "--json"];
    let report = run_in(folder.path(), &words).expect_code(0).json();
    assert_eq!((&report["loss"], &report["targets"][0]), (&"loss".into(), &"target".into()));
    let training = Model::read(&folder.path().join("grad.onnx")).unwrap();
    let graph = &training.graph;
    let outputs: Vec<&str> = graph.outputs().iter().map(|&id| graph.value(id).name()).collect();
    let inputs: Vec<&str> = graph.inputs().iter().map(|&id| graph.value(id).name()).collect();
    for name in ["conv.weight", "bn.bias", "fc.weight", "fc.bias"] {
        assert!(inputs.contains(&name) && outputs.contains(&format!("grad:{name}").as_str()), "{name}");
    }
    assert!(!inputs.contains(&"bn.running_mean"), "running statistics are not trained");
    let place = outputs.iter().position(|&name| name == "grad:fc.bias").unwrap();
    let bias = graph.value(graph.find("fc.bias").unwrap()).initializer().unwrap().tensor().unwrap();
    let pixels: Vec<f32> = (0..3 * 28 * 28).map(|index| (index % 23) as f32 / 11.0 - 1.0).collect();
    let images = Tensor::new(vec![3, 1, 28, 28], pixels).unwrap();
    let labels = Tensor::vector(vec![0_i64, 3, 9]);
    for engine in engines() {
        let given = [("input", &images), ("target", &labels)];
        let found = run(&*engine, &training, &given).unwrap();
        let gradient = found[place].to_f64().unwrap();
        let loss = |step: f32| {
            let mut bias = bias.clone();
            bias.as_mut_slice::<f32>().unwrap()[3] += step;
            let given = [("input", &images), ("target", &labels), ("fc.bias", &bias)];
            run(&*engine, &training, &given).unwrap()[0].to_f64().unwrap()[0]
        };
        let expected = (loss(0.05) - loss(-0.05)) / 0.1;
        let gap = (gradient[3] - expected).abs();
        assert!(gap < 1e-3, "{}: {} by hand, {expected} by steps", engine.name(), gradient[3]);
        assert!(gradient.iter().sum::<f64>().abs() < 1e-5, "softmax minus one-hot sums to zero");
    }
}

#[test]
fn batch_statistics_come_out_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture("resnet8.onnx");
    let words = [
        "differentiate",
        &model,
        "-o",
        "{}/g.onnx",
        "--loss",
        "cross-entropy",
        "--batch-norm",
        "train",
        "--json",
    ];
    let report = run_in(folder.path(), &words).expect_code(0).json();
    let statistics = report["statistics"].as_array().unwrap();
    assert!(statistics.iter().any(|pair| pair[0] == "bn.running_mean"), "{report}");
    let training = Model::read(&folder.path().join("g.onnx")).unwrap();
    for pair in statistics {
        let id = training.graph.find(pair[1].as_str().unwrap()).unwrap();
        assert!(training.graph.outputs().contains(&id), "{pair}");
    }
}

#[test]
fn squared_errors_take_targets_of_the_outputs_shape() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["differentiate", &fixture("vit_tiny.onnx"), "-o", "{}/g.onnx", "--loss", "mse"];
    run_in(folder.path(), &words).expect_code(0);
    let training = Model::read(&folder.path().join("g.onnx")).unwrap();
    let images = Tensor::new(vec![2, 1, 28, 28], vec![0.5_f32; 2 * 28 * 28]).unwrap();
    let target = Tensor::new(vec![2, 10], vec![1.0_f32; 20]).unwrap();
    let original = Model::read(fixture("vit_tiny.onnx").as_ref()).unwrap();
    for engine in engines() {
        let logits = run(&*engine, &original, &[("input", &images)]).unwrap()[0].to_f64().unwrap();
        let expected = logits.iter().map(|value| (value - 1.0).powi(2)).sum::<f64>() / 20.0;
        let found = run(&*engine, &training, &[("input", &images), ("target", &target)]).unwrap();
        let found = found[0].to_f64().unwrap()[0];
        assert!(
            (found - expected).abs() < 1e-4 * expected.max(1.0),
            "{}: {found}, {expected}",
            engine.name()
        );
    }
}

/// The loss of a training graph of `resnet8.onnx` on three images.
fn loss_on(target: &Tensor, words: &[&str]) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let first = ["differentiate", &fixture("resnet8.onnx"), "-o", "{}/g.onnx", "--loss"];
    run_in(folder.path(), &[&first[..], words].concat()).expect_code(0);
    let training = Model::read(&folder.path().join("g.onnx")).unwrap();
    let rows = target.dims()[0];
    let given = [("input", &images(rows)), ("target", target)];
    run(&*onnx_runtime(), &training, &given).unwrap()[0].to_f64().unwrap()[0]
}

/// So many of three images.
fn images(rows: usize) -> Tensor {
    let pixels: Vec<f32> = (0..rows * 28 * 28).map(|index| (index % 23) as f32 / 11.0 - 1.0).collect();
    Tensor::new(vec![rows, 1, 28, 28], pixels).unwrap()
}

#[test]
fn every_loss_on_targets_can_be_written() {
    let model = Model::read(fixture("resnet8.onnx").as_ref()).unwrap();
    let logits = run(&*onnx_runtime(), &model, &[("input", &images(3))]).unwrap()[0].to_f64().unwrap();
    let near = |found: f64, expected: f64| {
        assert!((found - expected).abs() < 1e-4 * expected.abs(), "{found}, not {expected}");
    };
    let target: Vec<f32> = (0..30).map(|place| (place % 3) as f32 / 2.0).collect();
    let mean = |term: &dyn Fn(f64, f64) -> f64| {
        logits.iter().zip(&target).map(|(&y, &t)| term(y, f64::from(t))).sum::<f64>() / 30.0
    };
    let floats = Tensor::new(vec![3, 10], target.clone()).unwrap();
    near(loss_on(&floats, &["bce"]), mean(&|y, t| y.max(0.0) - y * t + (1.0 + (-y.abs()).exp()).ln()));
    let huber = |size: f64| if size < 1.0 { size * size / 2.0 } else { size - 0.5 };
    near(loss_on(&floats, &["smooth-l1"]), mean(&|y, t| huber((y - t).abs())));
    // Without the last image the first two are left.
    let few = loss_on(&Tensor::vector(vec![0_i64, 3]), &["cross-entropy"]);
    let labels = Tensor::vector(vec![0_i64, 3, 9]);
    near(loss_on(&labels, &["cross-entropy", "--ignore-index", "9"]), few);
    let all = loss_on(&labels, &["cross-entropy"]);
    assert!((loss_on(&labels, &["cross-entropy", "--label-smoothing", "0.2"]) - all).abs() > 1e-3);
    let weights = "3,1,1,1,1,1,1,1,1,1";
    assert!((loss_on(&labels, &["cross-entropy", "--class-weights", weights]) - all).abs() > 1e-3);
}

#[test]
fn settings_of_classes_need_classes() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |words: &[&str], reason: &str| {
        let first = ["differentiate", &fixture("resnet8.onnx"), "-o", "{}/g.onnx", "--loss"];
        let ran = run_in(folder.path(), &[&first[..], words].concat()).expect_code(2);
        assert!(ran.stderr.contains(reason), "{}", ran.stderr);
    };
    refused(&["mse", "--class-axis", "1"], "--class-axis: --loss mse has no classes");
    refused(&["smooth-l1", "--ignore-index", "1"], "--ignore-index: --loss smooth-l1 has no classes");
    refused(&["cross-entropy", "--class-weights", "1,2"], "2 are given for 10 classes");
}

#[test]
fn gradients_go_through_control_flow_or_say_where_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let differentiate = |name: &str| {
        let model = format!("{}/fixtures/control/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
        let words = ["differentiate", &model, "-o", "{}/g.onnx", "--loss", "mse", "--json", "--force"];
        run_in(folder.path(), &words)
    };
    for name in ["rank", "sequence", "loop", "scan", "function", "blocks_in_batch"] {
        let report = differentiate(name).expect_code(0).json();
        let trained: Vec<&str> =
            report["gradients"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap()).collect();
        assert!(trained.contains(&"first") && trained.contains(&"second"), "{name}: {trained:?}");
    }
    for name in ["free_dimension", "contents"] {
        let ran = differentiate(name).expect_code(2);
        assert!(ran.stderr.contains("no gradient through If `b`"), "{name}: {}", ran.stderr);
    }
}

#[test]
fn as_many_places_may_be_found_as_the_inputs_say() {
    let folder = tempfile::tempdir().unwrap();
    let model = format!("{}/fixtures/control/counted.onnx", env!("CARGO_MANIFEST_DIR"));
    let words = ["differentiate", &model, "-o", "{}/g.onnx", "--loss", "mse", "--json"];
    let report = run_in(folder.path(), &words).expect_code(0).json();
    let names: Vec<&str> =
        report["gradients"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap()).collect();
    let place = 1 + names.iter().position(|&name| name == "first").unwrap();
    let training = Model::read(&folder.path().join("g.onnx")).unwrap();
    let first = training.graph.value(training.graph.find("first").unwrap()).initializer().unwrap();
    let target = Tensor::new(vec![1, 3, 6], vec![0.5_f32; 18]).unwrap();
    // Of 64 places, 24 are left.
    let pixel = |index: usize| if index % 8 < 5 { -101.0 } else { (index % 23) as f32 / 11.0 - 1.0 };
    let image = Tensor::new(vec![1, 3, 8, 8], (0..192).map(pixel).collect::<Vec<f32>>()).unwrap();
    let evaluate = |step: f32| {
        let mut weight = first.tensor().unwrap();
        weight.as_mut_slice::<f32>().unwrap()[4] += step;
        let given = [("input", &image), ("target", &target), ("first", &weight)];
        run(&*onnx_runtime(), &training, &given).unwrap()
    };
    let gradient = evaluate(0.0)[place].to_f64().unwrap()[4];
    let loss = |step| evaluate(step)[0].to_f64().unwrap()[0];
    let expected = (loss(0.01) - loss(-0.01)) / 0.02;
    assert!((gradient - expected).abs() < 1e-3 * expected.abs(), "{gradient}, {expected} by steps");
    assert!(expected.abs() > 1.0, "{expected}");
}
