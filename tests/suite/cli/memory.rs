//! The memory of training: predicted, measured, limited.

use serde_json::Value;

use super::{fixture, run_in, write_images};

/// Trains for one epoch on 256 images in batches of 128 without cutting anything; the report.
fn train(model: &str, words: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let data = write_images(folder.path(), 256, 0);
    let model = fixture(model);
    let first = ["compress", &model, "-o", "{}/small.onnx", "--data", data.to_str().unwrap()];
    let then = ["--target", "macs=1", "--method", "magnitude", "--epochs", "1", "--batch", "128", "--json"];
    let plain = ["--quiet", "--threads", "1", "--lr", "0.001", "--optimizer", "sgd"];
    run_in(folder.path(), &[&first[..], &then, &plain, words].concat()).expect_code(0).json()
}

fn bytes(report: &Value, name: &str) -> f64 {
    report["train"]["memory"][name].as_f64().unwrap_or_else(|| panic!("{name}: {}", report["train"]))
}

#[test]
#[cfg(target_os = "linux")]
fn the_prediction_is_near_the_peak_with_and_without_a_limit() {
    let free = train("resnet8.onnx", &[]);
    assert_eq!(bytes(&free, "micro_batch"), 128.0);
    assert_eq!(bytes(&free, "recomputed"), 0.0);
    let limit = (bytes(&free, "predicted") * 0.75) as u64;
    let limited = train("resnet8.onnx", &["--memory-limit", &limit.to_string()]);
    assert!(bytes(&limited, "recomputed") > 0.0);
    assert!(bytes(&limited, "measured") <= limit as f64, "{}", limited["train"]["memory"]);
    assert!(bytes(&limited, "measured") < bytes(&free, "measured"));
    for report in [free, limited] {
        let share = bytes(&report, "predicted") / bytes(&report, "measured");
        assert!((0.8..1.2).contains(&share), "{}", report["train"]["memory"]);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn micro_batches_are_one_large_batch() {
    let whole = train("vit_tiny.onnx", &[]);
    let limit = (bytes(&whole, "predicted") * 0.7) as u64;
    let parts = train("vit_tiny.onnx", &["--memory-limit", &limit.to_string()]);
    assert!(bytes(&parts, "micro_batch") < 128.0, "{}", parts["train"]["memory"]);
    let loss = |report: &Value| report["history"][0]["loss"].as_f64().unwrap();
    assert!((loss(&parts) - loss(&whole)).abs() < 1e-4 * loss(&whole), "{} {}", loss(&parts), loss(&whole));
    let notes = parts["notes"].to_string();
    assert!(notes.contains("micro-batches") && !notes.contains("batch normalisation saw"), "{notes}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_limit_that_cannot_be_held_is_an_error_with_the_least_that_is() {
    let folder = tempfile::tempdir().unwrap();
    let data = write_images(folder.path(), 64, 0);
    let model = fixture("resnet8.onnx");
    let words =
        ["compress", &model, "-o", "{}/a.onnx", "--data", data.to_str().unwrap(), "--memory-limit", "5MB"];
    let ran = run_in(folder.path(), &words).expect_code(2);
    assert!(ran.stderr.contains("5.00 MB") && ran.stderr.contains("least"), "{}", ran.stderr);
    assert!(ran.stderr.contains("raise --memory-limit"), "{}", ran.stderr);
    assert!(!folder.path().join("a.onnx").exists());
}
