//! Masked equals shrunk on real exporters' graphs of convolutional networks.

use std::path::{Path, PathBuf};

use safe_onnx::deps::{Exactness, Groups, analyze};
use safe_onnx::engine::LoadOptions;
use safe_onnx::shrink::{mask, prepare, shrink};
use safe_onnx::tensor::{Random, Tensor};
use safe_onnx::trace::{InputShapes, trace};

use crate::inflate::inflated;
use crate::support::{engines, onnx_runtime, relative_error, run};

/// Models that tract does not run, and why.
const NOT_ON_TRACT: &[(&str, &str)] = &[("resnet18.fp16.onnx", "Gemm of float16 is refused")];

#[test]
fn cuts_of_exported_networks_are_exact() {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/zoo"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "onnx"))
            .collect();
    files.sort();
    assert!(files.len() >= 50, "only {} models are there", files.len());
    let only = std::env::var("SAFE_ONNX_MODEL").ok();
    let mut failures = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if only.as_deref().is_some_and(|only| !name.starts_with(only)) {
            continue;
        }
        if let Err(reason) = check(file, &name, number as u64) {
            failures.push(format!("{name}: {reason}"));
        }
    }
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), files.len(), failures.join("\n"));
}

fn check(file: &Path, name: &str, seed: u64) -> Result<(), String> {
    let engine = onnx_runtime();
    let prepared = prepare(inflated(file, seed)?);
    let model = &prepared.model;
    let options = LoadOptions::default();
    let traced =
        trace(model, &*engine, &options, &InputShapes::default()).map_err(|error| error.to_string())?;
    let mut analysis = analyze(model, &traced.facts);
    if let Some((node, reason)) = analysis.unknown().first() {
        return Err(format!("{} is not understood: {reason}", model.graph.describe(*node)));
    }
    let groups = Groups::collect(&model.graph, &mut analysis);
    let mut random = Random::fork(seed, "cut");
    let mut removed = vec![false; groups.len()];
    for family in groups.families().iter().filter(|family| family.exactness == Exactness::Exact) {
        let mut members = family.groups.clone();
        random.shuffle(&mut members);
        let leaving = random.below(members.len() / 2 + 1);
        members[..leaving].iter().for_each(|&group| removed[group] = true);
    }
    let gone = removed.iter().filter(|&&removed| removed).count();
    if gone * 8 < groups.len() {
        return Err(format!("only {gone} of {} groups can leave", groups.len()));
    }
    let survivors = groups.survivors(&analysis, &removed);
    let small = shrink(&prepared, &traced.facts, &survivors).map_err(|error| error.to_string())?;
    let masked = mask(&prepared, &survivors).map_err(|error| error.to_string())?;
    let inputs: Vec<(&str, &Tensor)> =
        traced.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    for engine in engines() {
        if engine.name() == "tract" && NOT_ON_TRACT.iter().any(|(model, _)| *model == name) {
            continue;
        }
        let place = |error: String| format!("{}: {error}", engine.name());
        let a = run(&*engine, &masked, &inputs).map_err(place)?;
        let b = run(&*engine, &small, &inputs).map_err(place)?;
        let error = relative_error(&a[0], &b[0]);
        if error > 1e-4 {
            return Err(place(format!("masked and shrunk differ by {error:.2e}")));
        }
    }
    Ok(())
}
