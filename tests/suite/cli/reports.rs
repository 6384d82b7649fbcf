//! `doctor`, `inspect`, `eval`, `verify`: what they print.

use super::{fixture, run, run_in};

const NORMALISED: [&str; 4] = ["--mean", "0.2860", "--std", "0.3530"];

#[test]
fn doctor_finds_both_engines() {
    let report = run(&["doctor", "--json"]).expect_code(0).json();
    assert!(report["engine"].as_str().unwrap().starts_with("onnxruntime "), "{report}");
    assert!(report["ort_path"].is_string() && report["ort_version"].is_string(), "{report}");
    assert!(report["tract_version"].is_string() && report["threads"].as_u64().unwrap() >= 1, "{report}");
    let providers = report["execution_providers"].as_array().unwrap();
    assert!(providers.iter().any(|provider| provider == "CPUExecutionProvider"), "{report}");
    let text = run(&["doctor"]).expect_code(0).stdout;
    assert!(text.contains("ONNX Runtime") && text.contains("tract") && text.contains("CUDA"), "{text}");
}

#[test]
fn inspect_counts_what_the_models_hold() {
    // Multiply-accumulates of convolutions and linear layers, as counted where the models were made; those of the
    // attention products are added for the transformers.
    let cases = [
        ("resnet8.onnx", 9_345_920_u64),
        ("resnet8.folded.onnx", 9_345_920),
        ("mbv2_tiny.onnx", 4_462_240),
        ("vit_tiny.onnx", 6_473_344 + 1_229_312),
        ("vit_tiny.splitqkv.onnx", 6_473_344 + 1_229_312),
    ];
    let mut wrong = Vec::new();
    for (model, macs) in cases {
        let report = run(&["inspect", &fixture(model), "--json"]).expect_code(0).json();
        let layers: u64 =
            report["layers"].as_array().unwrap().iter().map(|layer| layer["macs"].as_u64().unwrap()).sum();
        let groups: u64 = report["families"]
            .as_array()
            .unwrap()
            .iter()
            .map(|family| family["groups"].as_u64().unwrap())
            .sum();
        let understood = report["unknown"].as_array().unwrap().is_empty();
        let smallest = report["smallest_macs_share"].as_f64().unwrap();
        if (report["macs"].as_u64(), layers) != (Some(macs), macs)
            || report["groups"].as_u64() != Some(groups)
            || groups == 0
            || !understood
            || !(0.0..0.8).contains(&smallest)
        {
            wrong.push(format!(
                "{model}: {} MACs, {layers} in layers, {groups} groups, {smallest}",
                report["macs"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn inspect_says_why_an_axis_stays() {
    let text = run(&["inspect", &fixture("resnet8.onnx")]).expect_code(0).stdout;
    assert!(text.contains("graph output `logits`"), "{text}");
    let json = run(&["inspect", &fixture("resnet8.onnx"), "--json"]).json();
    let head = json["pinned"].as_array().unwrap().iter().find(|axis| axis["tensor"] == "fc.weight").unwrap();
    assert_eq!((head["axis"].as_u64(), head["size"].as_u64()), (Some(0), Some(10)));
    let members =
        json["families"].as_array().unwrap().iter().flat_map(|family| family["members"].as_array().unwrap());
    for member in members.filter(|member| member["tensor"].as_str().unwrap().ends_with("conv1.weight")) {
        let role = if member["axis"] == 0 { "producer" } else { "consumer" };
        assert_eq!(member["role"], role, "{member}");
    }
}

#[test]
fn eval_measures_the_accuracy_that_is_known() {
    for engine in ["ort", "tract"] {
        let (model, data) = (fixture("resnet8.onnx"), fixture("test.npz"));
        let words =
            [&["eval", &model, "--data", &data, "--json", "--engine", engine][..], &NORMALISED].concat();
        let report = run(&words).expect_code(0).json();
        assert_eq!(report["samples"].as_u64(), Some(2000), "{engine}");
        let accuracy = report["accuracy"].as_f64().unwrap();
        assert!((accuracy - 0.926).abs() < 1e-9, "{engine}: {accuracy}");
        let loss = report["loss"].as_f64().unwrap();
        assert!((0.20..0.22).contains(&loss), "{engine}: {loss}");
    }
}

#[test]
fn verify_tells_equal_from_different_models() {
    let folder = tempfile::tempdir().unwrap();
    let (one, folded, other) =
        (fixture("resnet8.onnx"), fixture("resnet8.folded.onnx"), fixture("mbv2_tiny.onnx"));
    for engine in ["ort", "tract"] {
        let report = run(&["verify", &one, &one, "--engine", engine, "--json"]).expect_code(0).json();
        assert_eq!(report["verified"]["max_rel_error"].as_f64(), Some(0.0), "{engine}");
        run(&["verify", &one, &folded, "--engine", engine]).expect_code(0);
        let report = run(&["verify", &one, &other, "--engine", engine, "--json"]).expect_code(1).json();
        assert_eq!(report["holds"].as_bool(), Some(false), "{engine}");
    }
    let data = fixture("test.npz");
    let words = [&["verify", &one, &folded, "--data", &data, "--json"][..], &NORMALISED].concat();
    let report = run(&words).expect_code(0).json();
    assert_eq!(report["verified"]["real_data"].as_bool(), Some(true));
    run_in(folder.path(), &["verify", &one, &folded, "--tolerance", "0"]).expect_code(1);
}
