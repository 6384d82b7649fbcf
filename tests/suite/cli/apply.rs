//! `compress --plan-out`, and `apply`.

use std::fs;
use std::path::Path;

use super::{Ran, fixture, listing, run_in};

fn compress(folder: &Path, model: &str) {
    let words =
        ["compress", model, "-o", "{}/small.onnx", "--plan-out", "{}/plan.json", "--force", "--quiet"];
    let how = ["--method", "magnitude", "--epochs", "0", "--target", "macs=0.5"];
    run_in(folder, &[&words[..], &how].concat()).expect_code(0);
}

fn apply(folder: &Path, model: &str, output: &str) -> Ran {
    run_in(folder, &["apply", model, "{}/plan.json", "-o", output, "--json", "--quiet", "--force"])
}

#[test]
fn the_same_bytes_come_out() {
    let folder = tempfile::tempdir().unwrap();
    for model in ["resnet8", "resnet8.folded", "mbv2_tiny", "vit_tiny", "vit_tiny.splitqkv"] {
        let model = fixture(&format!("{model}.onnx"));
        compress(folder.path(), &model);
        let report = apply(folder.path(), &model, "{}/again.onnx").expect_code(0).json();
        assert!(report["small"]["macs"].as_f64() <= Some(0.5 * report["dense"]["macs"].as_f64().unwrap()));
        assert!(report["verified"]["max_rel_error"].as_f64() <= Some(1e-4), "{report}");
        let [first, second] =
            ["small.onnx", "again.onnx"].map(|name| fs::read(folder.path().join(name)).unwrap());
        assert!(first == second, "{model}: other bytes");
    }
}

#[test]
fn a_plan_for_another_cut_or_structure_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture("resnet8.onnx");
    compress(folder.path(), &model);
    let path = folder.path().join("plan.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut plan: serde_json::Value = serde_json::from_str(&text).unwrap();
    let before = listing(folder.path());
    let refused = |content: &str, model: &str, reason: &str| {
        fs::write(&path, content).unwrap();
        let ran = apply(folder.path(), model, "{}/other.onnx").expect_code(2);
        assert!(ran.stderr.contains(reason), "{}", ran.stderr);
        assert_eq!(listing(folder.path()), before);
    };
    refused(&text, &fixture("vit_tiny.onnx"), "no such initializer");
    refused("{\"version\": 1}", &model, "plan.json");
    refused("not a plan", &model, "plan.json");
    refused(&text.replace("\"version\": 1", "\"version\": 9"), &model, "version 9");
    // A reader keeps a channel whose producer loses it.
    let cuts = plan["cuts"].as_array_mut().unwrap();
    let first = cuts.iter().position(|cut| cut["axis"] == 1).unwrap();
    let name = cuts[first]["initializer"].as_str().unwrap().to_owned();
    cuts.remove(first);
    refused(&plan.to_string(), &model, "cannot leave");
    let mut plan: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cut =
        plan["cuts"].as_array_mut().unwrap().iter_mut().find(|cut| cut["initializer"] == *name).unwrap();
    cut["leave"] = serde_json::json!([1000]);
    refused(&plan.to_string(), &model, "past the end");
}
