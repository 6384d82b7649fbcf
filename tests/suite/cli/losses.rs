//! What a run of `compress` may be trained for.

use std::fs::File;
use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2, Array3};
use ndarray_npy::NpzWriter;

use super::{Ran, fixture, run_in, write_images};

fn train(folder: &Path, data: &Path, words: &[&str]) -> Ran {
    let first = ["compress", &fixture("resnet8.onnx"), "-o", "{}/a.onnx", "--data", data.to_str().unwrap()];
    let then = ["--batch", "16", "--json", "--quiet", "--force"];
    run_in(folder, &[&first[..], &then, words].concat())
}

/// Images with boxes in place of labels, three for each.
fn write_boxes(folder: &Path) -> PathBuf {
    let path = folder.join("boxes.npz");
    let mut archive = NpzWriter::new(File::create(&path).unwrap());
    let pixel = |(sample, row, column): (usize, usize, usize)| ((7 * sample + row * column) % 250) as u8;
    archive.add_array("x", &Array3::from_shape_fn((64, 28, 28), pixel)).unwrap();
    archive.add_array("y", &Array3::from_shape_fn((64, 3, 4), |(_, _, side)| side as f32)).unwrap();
    archive.finish().unwrap();
    path
}

#[test]
fn values_inside_of_the_model_are_held() {
    let folder = tempfile::tempdir().unwrap();
    let images = write_images(folder.path(), 64, 0);
    let inner = ["--loss", "features", "--distill-on", "^/layer2/Relu", "--batch-norm", "frozen"];
    let losses = |words: &[&str]| -> (String, Vec<f64>) {
        let report = train(folder.path(), &images, &[&inner[..], words].concat()).expect_code(0).json();
        let history = report["history"].as_array().unwrap();
        let losses = history.iter().map(|epoch| epoch["loss"].as_f64().unwrap()).collect();
        (report["train"]["loss"].as_str().unwrap().to_owned(), losses)
    };
    // Nothing leaves: the model agrees with itself.
    let (text, whole) =
        losses(&["--target", "macs=1", "--method", "magnitude", "--epochs", "1", "--lr", "1e-6"]);
    let named = "squared distance to the dense model's /layer2/Relu_output_0, /layer2/Relu_1_output_0";
    assert_eq!(text, named);
    assert!(whole[0] < 1e-4, "{whole:?}");
    // The first of eight steps is one of the dense model; the small one learns on the channels that it has left.
    let (_, cut) = losses(&["--epochs", "2", "--lr", "1e-2"]);
    assert!(cut[0] > 1e-2 && cut[1] < cut[0], "{cut:?}");
}

#[test]
fn targets_of_any_form_do_not_matter_to_a_loss_without_them() {
    let folder = tempfile::tempdir().unwrap();
    let boxes = write_boxes(folder.path());
    for words in [&["--loss", "features", "--distill-on", "Relu"][..], &["--loss", "distill"]] {
        let report =
            train(folder.path(), &boxes, &[words, &["--epochs", "1"]].concat()).expect_code(0).json();
        assert!(report["history"][0]["loss"].as_f64().is_some_and(f64::is_finite), "{report}");
        assert!(report["small"]["accuracy"].is_null() && report["small"]["loss"].is_null(), "{report}");
    }
    let ran = train(folder.path(), &boxes, &["--distill-on", "Relu", "--epochs", "1"]).expect_code(2);
    assert!(ran.stderr.contains("holds float, but the loss needs int64"), "{}", ran.stderr);
}

/// Images of which every fourth has the label 255.
fn write_partly_labelled(folder: &Path, samples: usize, all: bool) -> PathBuf {
    let path = folder.join(if all { "all.npz" } else { "labelled.npz" });
    let kept: Vec<usize> = (0..samples).filter(|sample| all || sample % 4 != 0).collect();
    let mut archive = NpzWriter::new(File::create(&path).unwrap());
    let pixel = |(place, row, column): (usize, usize, usize)| {
        let sample = kept[place];
        if (row + column) % 10 == sample % 10 { 255_u8 } else { (17 * sample % 64) as u8 }
    };
    archive.add_array("x", &Array3::from_shape_fn((kept.len(), 28, 28), pixel)).unwrap();
    let label = |place: usize| if kept[place].is_multiple_of(4) { 255 } else { (kept[place] % 10) as i64 };
    archive.add_array("y", &Array1::from_shape_fn(kept.len(), label)).unwrap();
    archive.finish().unwrap();
    path
}

#[test]
fn positions_without_label_do_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let [all, labelled] = [true, false].map(|all| write_partly_labelled(folder.path(), 64, all));
    let measured = |data: &Path, words: &[&str]| {
        let first = ["eval", &fixture("resnet8.onnx"), "--data", data.to_str().unwrap(), "--json"];
        let report = run_in(folder.path(), &[&first[..], words].concat()).expect_code(0).json();
        ["loss", "accuracy"].map(|what| report[what].as_f64().unwrap())
    };
    let ignored = ["--ignore-index", "255"];
    let (found, expected) = (measured(&all, &ignored), measured(&labelled, &[]));
    for (found, expected) in found.into_iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5 * expected.abs(), "{found}, {expected}");
    }
    let report =
        train(folder.path(), &all, &[&ignored[..], &["--epochs", "1"]].concat()).expect_code(0).json();
    assert!((report["dense"]["accuracy"].as_f64().unwrap() - expected[1]).abs() < 1e-6, "{report}");
    assert!(report["history"][0]["loss"].as_f64().is_some_and(f64::is_finite), "{report}");
    let ran = train(folder.path(), &all, &["--epochs", "1"]).expect_code(2);
    let hints = ["label 255 is outside 0..10", "--ignore-index"];
    assert!(hints.iter().all(|hint| ran.stderr.contains(hint)), "{}", ran.stderr);
    let ran = train(folder.path(), &all, &["--loss", "distill", "--ignore-index", "255"]).expect_code(2);
    assert!(ran.stderr.contains("it has no classes"), "{}", ran.stderr);
}

#[test]
fn the_temperature_is_that_of_the_distillation() {
    let folder = tempfile::tempdir().unwrap();
    let images = write_images(folder.path(), 32, 0);
    let losses = ["1", "8"].map(|temperature| {
        let words = ["--loss", "distill", "--temperature", temperature, "--epochs", "1"];
        let report = train(folder.path(), &images, &words).expect_code(0).json();
        assert_eq!(report["train"]["loss"], format!("distillation, temperature {temperature}"));
        report["history"][0]["loss"].as_f64().unwrap()
    });
    assert!((losses[0] - losses[1]).abs() > 1e-3 * losses[0], "{losses:?}");
    let ran =
        train(folder.path(), &images, &["--loss", "cross-entropy", "--temperature", "2"]).expect_code(2);
    assert!(ran.stderr.contains("it has no distillation"), "{}", ran.stderr);
}

#[test]
fn features_are_one_more_part_or_the_whole_loss() {
    let folder = tempfile::tempdir().unwrap();
    let images = write_images(folder.path(), 32, 0);
    let alone = folder.path().join("alone.npz");
    let mut archive = NpzWriter::new(File::create(&alone).unwrap());
    let pixels = Array2::from_shape_fn((32, 784), |(sample, place)| ((sample * 31 + place * 7) % 50) as f32);
    archive.add_array("x", &pixels.into_shape_with_order((32, 1, 28, 28)).unwrap()).unwrap();
    archive.finish().unwrap();
    let distance = "squared distance to the dense model's /layer3/Relu_1_output_0";
    let own = ["--distill-on", "layer3/Relu_1", "--epochs", "1"];
    let cases: [(&Path, &[&str], String); 4] = [
        (
            &images,
            &[],
            format!(
                "cross-entropy with weight 0.5 at first and 0.5 at last, distillation from the dense model for the rest + {distance}"
            ),
        ),
        (&images, &["--loss", "cross-entropy"], format!("cross-entropy + {distance}")),
        (&images, &["--loss", "features:0.5,cross-entropy"], format!("0.5 x {distance} + cross-entropy")),
        (&alone, &[], distance.to_owned()),
    ];
    for (data, words, expected) in cases {
        let report = train(folder.path(), data, &[&own[..], words].concat()).expect_code(0).json();
        assert_eq!(report["train"]["loss"], expected, "{words:?}");
    }
    let wrong: [(&[&str], &str); 2] = [
        (&["--loss", "features"], "features of what?"),
        (
            &["--distill-on", "layer3/Rexx"],
            "near ones are `/layer3/Relu_output_0`, `/layer3/Relu_1_output_0`",
        ),
    ];
    for (words, reason) in wrong {
        let ran = train(folder.path(), &images, words);
        assert!(ran.code == Some(2) && ran.stderr.contains(reason), "{words:?}: {}", ran.stderr);
    }
}
