//! Control flow, sequences and functions that exporters leave in their files: followed where they always come to the
//! same, left alone where they do not. The models are those of `fixtures/control`.

use std::path::Path;

use safe_onnx::ir::Model;

use super::{Ran, run_in};

fn halve(folder: &Path, name: &str) -> Ran {
    let model = format!("{}/fixtures/control/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
    let words = ["compress", &model, "-o", "{}/small.onnx", "--method", "magnitude", "--epochs", "0"];
    run_in(folder, &[&words[..], &["--target", "macs=0.5", "--quiet", "--force", "--json"]].concat())
}

/// The operators of a small model, and the channels that the first convolution has left of twelve.
fn small(folder: &Path) -> (Vec<String>, usize) {
    let model = Model::read(&folder.join("small.onnx")).unwrap();
    let operators = model.graph.nodes().map(|(_, node)| node.op_type.clone()).collect();
    let (_, first) = model.graph.nodes().find(|(_, node)| node.op_type == "Conv").unwrap();
    let weight = first.inputs[1].unwrap();
    (operators, model.graph.value(weight).initializer().unwrap().dims()[0])
}

#[test]
fn what_always_comes_to_the_same_is_written_out() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["rank", "sequence", "loop", "scan", "function", "scattered_bias", "standardised_weight"] {
        let report = halve(folder.path(), name).expect_code(0).json();
        assert_eq!(report["reached"], 0.5, "{name}");
        assert!(report["verified"]["max_rel_error"].as_f64() <= Some(1e-4), "{name}: {report}");
        let (operators, channels) = small(folder.path());
        assert_eq!(channels, 6, "{name}");
        for gone in ["If", "Loop", "Scan", "SequenceAt", "Block", "ScatterND", "BatchNormalization"] {
            assert!(!operators.iter().any(|operator| operator == gone), "{name}: {operators:?}");
        }
    }
}

#[test]
fn blocks_that_are_joined_with_the_batch_may_leave() {
    let folder = tempfile::tempdir().unwrap();
    let report = halve(folder.path(), "blocks_in_batch").expect_code(0).json();
    assert!(report["verified"]["max_rel_error"].as_f64() <= Some(1e-4), "{report}");
    let model = format!("{}/fixtures/control/blocks_in_batch.onnx", env!("CARGO_MANIFEST_DIR"));
    let groups: Vec<u64> = run_in(folder.path(), &["inspect", &model, "--json"]).json()["families"]
        .as_array()
        .unwrap()
        .iter()
        .map(|family| family["groups"].as_u64().unwrap())
        .collect();
    assert_eq!(groups, [4, 3], "channels of a block, and blocks");
}

#[test]
fn the_branch_that_is_taken_is_the_one_that_stays() {
    let folder = tempfile::tempdir().unwrap();
    halve(folder.path(), "rank").expect_code(0);
    let (operators, _) = small(folder.path());
    assert!(operators.iter().any(|operator| operator == "Relu"), "{operators:?}");
    assert!(!operators.iter().any(|operator| operator == "Neg"), "{operators:?}");
}

#[test]
fn conditions_on_free_dimensions_and_on_contents_stay() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["free_dimension", "contents"] {
        let ran = halve(folder.path(), name).expect_code(2);
        assert!(ran.stderr.contains("not understood: If `b`"), "{name}: {}", ran.stderr);
        assert!(!folder.path().join("small.onnx").exists(), "{name}");
    }
}

#[test]
fn an_axis_that_is_indexed_by_contents_keeps_its_length() {
    let folder = tempfile::tempdir().unwrap();
    halve(folder.path(), "picked").expect_code(0);
    let model = Model::read(&folder.path().join("small.onnx")).unwrap();
    let second = model.graph.value(model.graph.find("second").unwrap()).initializer().unwrap();
    assert_eq!(second.dims(), [6, 6, 3, 3]);
}
