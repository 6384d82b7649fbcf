//! Whole runs of `compress`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use safe_onnx::ir::Model;
use safe_onnx::ops::running_statistics;

use super::{Ran, command, fixture, listing, run_in, write_images};

#[test]
fn a_cut_by_magnitude_equals_its_masked_model_on_both_engines() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for model in ["resnet8", "resnet8.folded", "mbv2_tiny", "vit_tiny", "vit_tiny.splitqkv"] {
        let (small, masked) = (format!("{{}}/{model}.small.onnx"), format!("{{}}/{model}.masked.onnx"));
        let source = fixture(&format!("{model}.onnx"));
        let words = [
            "compress",
            &source,
            "-o",
            &small,
            "--emit-masked",
            &masked,
            "--method",
            "magnitude",
            "--epochs",
            "0",
            "--target",
            "macs=0.6",
            "--json",
            "--quiet",
        ];
        let ran = run_in(folder.path(), &words);
        if ran.code != Some(0) || !ran.stderr.is_empty() {
            wrong.push(format!("{model}: {:?} {}", ran.code, ran.stderr));
            continue;
        }
        let report = ran.json();
        let share = report["small"]["macs"].as_f64().unwrap() / report["dense"]["macs"].as_f64().unwrap();
        if !(0.58..=0.6).contains(&share) || report["verified"]["max_rel_error"].as_f64() > Some(1e-4) {
            wrong.push(format!("{model}: {share} of the MACs, {}", report["verified"]));
        }
        for engine in ["ort", "tract"] {
            let ran = run_in(folder.path(), &["verify", &masked, &small, "--engine", engine]);
            if ran.code != Some(0) {
                wrong.push(format!("{model} on {engine}: {}{}", ran.stdout, ran.stderr));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn both_engines_train() {
    let folder = tempfile::tempdir().unwrap();
    let data = write_images(folder.path(), 64, 0);
    let model = fixture("resnet8.onnx");
    for engine in ["ort", "tract"] {
        let output = format!("{{}}/{engine}.onnx");
        let words = [
            "compress",
            &model,
            "-o",
            &output,
            "--data",
            data.to_str().unwrap(),
            "--epochs",
            "2",
            "--batch",
            "16",
            "--engine",
            engine,
            "--json",
            "--quiet",
        ];
        let report = run_in(folder.path(), &words).expect_code(0).json();
        assert_eq!(report["train"]["steps"].as_u64(), Some(8), "{engine}: {report}");
        assert_eq!(report["target_met"].as_bool(), Some(true), "{engine}");
        assert!(report["verified"]["max_rel_error"].as_f64() < Some(1e-4), "{engine}");
        let losses: Vec<f64> = report["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|epoch| epoch["loss"].as_f64().unwrap())
            .collect();
        assert!(losses.len() == 2 && losses.iter().all(|loss| loss.is_finite()), "{engine}: {losses:?}");
    }
}

#[test]
fn training_reaches_the_target_and_repeats_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let data = write_images(folder.path(), 64, 0);
    let model = fixture("resnet8.onnx");
    let run = |output: &str, seed: &str| {
        let words = [
            "compress",
            &model,
            "-o",
            output,
            "--data",
            data.to_str().unwrap(),
            "--val-split",
            "0.25",
            "--epochs",
            "2",
            "--batch",
            "16",
            "--threads",
            "1",
            "--target",
            "params=0.5",
            "--json",
            "--quiet",
            "--seed",
            seed,
            "--report-json",
            &format!("{output}.json"),
        ];
        run_in(folder.path(), &words).expect_code(0).json()
    };
    let first = run("{}/a.onnx", "1");
    let share = first["small"]["params"].as_f64().unwrap() / first["dense"]["params"].as_f64().unwrap();
    assert!((0.49..=0.5).contains(&share), "{share}");
    assert_eq!(first["target_met"].as_bool(), Some(true));
    assert_eq!(first["history"].as_array().unwrap().len(), 2);
    assert_eq!(first["train"]["batch"].as_u64(), Some(16));
    assert!(first["small"]["accuracy"].is_number() && first["small"]["loss"].is_number(), "{first}");
    let written: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path().join("a.onnx.json")).unwrap()).unwrap();
    assert_eq!(written, first);
    // Vectors that were counted for each of their readers may be one again in the file.
    let (counted, reported) =
        (parameters(&folder.path().join("a.onnx")), first["small"]["params"].as_f64().unwrap());
    assert!(reported >= counted && reported < 1.01 * counted, "{reported} reported, {counted} in the file");
    run("{}/b.onnx", "1");
    run("{}/c.onnx", "2");
    let bytes = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert_eq!(bytes("a.onnx"), bytes("b.onnx"), "same seed");
    assert_ne!(bytes("a.onnx"), bytes("c.onnx"), "another seed");
}

#[test]
fn what_is_only_nearly_right_leaves_only_if_that_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture("vit_tiny.onnx");
    // The width over which the layers are normalised.
    let words = |output: &'static str| {
        let mut words = vec!["compress", &model, "-o", output, "--plan-out", "{}/plan.json", "--force"];
        words.extend(["--method", "magnitude", "--epochs", "0", "--target", "macs=0.7", "--json", "--quiet"]);
        words.extend(["--only", "^patch"]);
        words
    };
    let refused = run_in(folder.path(), &words("{}/small.onnx"));
    refused.expect_code(2);
    let mut allowed = words("{}/small.onnx");
    allowed.push("--allow-approximate");
    let report = run_in(folder.path(), &allowed).expect_code(0).json();
    let verified = &report["verified"];
    assert!(verified["approximate_groups"].as_u64() > Some(0), "{verified}");
    // Measured, not assumed: it is there, and it is no disaster.
    let error = verified["max_rel_error"].as_f64().unwrap();
    assert!(error > 1e-4 && error < 1.0, "{verified}");
    let notes = report["notes"].as_array().unwrap().iter();
    assert!(notes.filter_map(|note| note.as_str()).any(|note| note.contains("approximately right")));
    let apply = ["apply", &model, "{}/plan.json", "-o", "{}/again.onnx", "--json", "--quiet"];
    let refused = run_in(folder.path(), &apply).expect_code(2);
    assert!(refused.stderr.contains("--allow-approximate"), "{}", refused.stderr);
    run_in(folder.path(), &[&apply[..], &["--allow-approximate"]].concat()).expect_code(0);
    let bytes = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert_eq!(bytes("small.onnx"), bytes("again.onnx"));
}

#[test]
fn a_folded_network_is_normalised_while_it_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let data = write_images(folder.path(), 64, 0);
    let model = fixture("resnet8.folded.onnx");
    for (mode, notes) in [("auto", 1), ("train", 0), ("frozen", 0)] {
        let words = [
            "compress",
            &model,
            "-o",
            "{}/small.onnx",
            "--data",
            data.to_str().unwrap(),
            "--epochs",
            "2",
            "--batch",
            "16",
            "--batch-norm",
            mode,
            "--plan-out",
            "{}/plan.json",
            "--json",
            "--quiet",
            "--force",
        ];
        let report = run_in(folder.path(), &words).expect_code(0).json();
        let told = report["notes"].as_array().unwrap().iter();
        let told = told.filter(|note| note.as_str().unwrap().contains("batch normalisation")).count();
        assert_eq!(told, notes, "{mode}: {report}");
        assert!(report["verified"]["max_rel_error"].as_f64() < Some(1e-4), "{mode}");
        // The file has the form of the original, and the plan fits it.
        let operators = |path: &Path| -> Vec<String> {
            Model::read(path).unwrap().graph.nodes().map(|(_, node)| node.op_type.clone()).collect()
        };
        assert_eq!(operators(&folder.path().join("small.onnx")), operators(Path::new(&model)), "{mode}");
        let words = ["apply", &model, "{}/plan.json", "-o", "{}/again.onnx", "--force", "--json", "--quiet"];
        run_in(folder.path(), &words).expect_code(0);
    }
}

/// Elements of float initializers, running statistics left out.
fn parameters(path: &Path) -> f64 {
    let graph = Model::read(path).unwrap().graph;
    let statistics = running_statistics(&graph);
    let trained = graph.initializers().filter(|(id, tensor)| {
        tensor.dtype().is_some_and(safe_onnx::tensor::DType::is_float) && !statistics.contains(id)
    });
    trained.map(|(_, tensor)| tensor.count() as f64).sum()
}

#[test]
fn excluded_layers_keep_their_channels() {
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "compress",
        &fixture("resnet8.onnx"),
        "-o",
        "{}/s.onnx",
        "--method",
        "magnitude",
        "--epochs",
        "0",
        "--exclude",
        r"^layer3\.conv1\.weight$",
        "--target",
        "params=0.6",
        "--round-to",
        "4",
        "--quiet",
    ];
    run_in(folder.path(), &words).expect_code(0);
    let small = Model::read(&folder.path().join("s.onnx")).unwrap();
    let dims = |name: &str| small.graph.value(small.graph.find(name).unwrap()).initializer().unwrap().dims();
    assert_eq!(dims("layer3.conv1.weight")[0], 64);
    for name in ["conv.weight", "layer1.conv1.weight", "layer2.conv1.weight", "layer3.conv2.weight"] {
        assert_eq!(dims(name)[0] % 4, 0, "{name}: {:?}", dims(name));
    }
}

/// Indices that leave axis `axis` of `name` by the plan in `folder`.
fn leaving(folder: &Path, name: &str, axis: u64) -> Vec<usize> {
    let plan: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("plan.json")).unwrap()).unwrap();
    let cuts = plan["cuts"].as_array().unwrap();
    let cut = cuts.iter().find(|cut| cut["initializer"] == name && cut["axis"].as_u64() == Some(axis));
    let list =
        |cut: &serde_json::Value| -> Vec<usize> { serde_json::from_value(cut["leave"].clone()).unwrap() };
    cut.map(list).unwrap_or_default()
}

#[test]
fn limits_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture("vit_tiny.splitqkv.onnx");
    let run = |more: &[&str]| {
        let words =
            ["compress", &model, "-o", "{}/s.onnx", "--plan-out", "{}/plan.json", "--force", "--quiet"];
        let how = ["--method", "magnitude", "--epochs", "0"];
        run_in(folder.path(), &[&words[..], &how, more].concat()).expect_code(0);
    };
    let blocks = 0..4;
    let attention = |part: &str| {
        let name = |block: usize| format!("blocks.{block}.attn.{part}.weight");
        blocks.clone().map(|block| leaving(folder.path(), &name(block), 0)).collect::<Vec<_>>()
    };
    let hidden = |folder: &Path| {
        blocks
            .clone()
            .map(|block| leaving(folder, &format!("blocks.{block}.fc1.weight"), 0))
            .collect::<Vec<_>>()
    };
    // Four heads of 16.
    run(&["--heads", "whole", "--only", "attn", "--target", "macs=0.83"]);
    let cut = attention("q");
    assert!(cut.iter().any(|own| !own.is_empty()), "{cut:?}");
    for own in cut {
        let whole = (0..4).flat_map(|head| {
            let own = own.clone();
            (own.contains(&(16 * head))).then(|| 16 * head..16 * head + 16).into_iter().flatten()
        });
        assert_eq!(whole.collect::<Vec<_>>(), own);
    }
    assert!(hidden(folder.path()).iter().all(Vec::is_empty));
    run(&["--heads", "width", "--only", "attn", "--target", "macs=0.85"]);
    for part in ["q", "v"] {
        let cut = attention(part);
        assert!(cut.iter().any(|own| !own.is_empty()), "{part}: {cut:?}");
        for own in cut {
            let within: Vec<usize> = own.iter().filter(|&&index| index < 16).copied().collect();
            let every: Vec<usize> =
                (0..4).flat_map(|head| within.iter().map(move |i| 16 * head + i)).collect();
            assert_eq!(every, own, "{part}");
        }
    }
    run(&["--exclude", "attn", "--keep", r"blocks\.1.*=0.75", "--min-width", "40", "--target", "macs=0.8"]);
    assert!(attention("q").iter().all(Vec::is_empty));
    let cut = hidden(folder.path());
    assert!(cut[1].len() <= 32 && cut.iter().all(|own| own.len() <= 88), "{cut:?}");
    assert!(cut.iter().map(Vec::len).sum::<usize>() > 60, "{cut:?}");
}

#[test]
fn progress_goes_to_stderr_and_the_table_to_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let words =
        ["compress", &fixture("resnet8.onnx"), "-o", "{}/s.onnx", "--method", "magnitude", "--epochs", "0"];
    let ran = run_in(folder.path(), &words).expect_code(0);
    assert!(
        ran.stderr.contains("reading the model") && !ran.stdout.contains("reading the model"),
        "{}",
        ran.stderr
    );
    for word in ["MACs", "parameters", "file", "latency", "target", "verified  equal"] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_stops_the_run_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = write_images(folder.path(), 64, 0);
    let output = folder.path().join("s.onnx");
    let words = [
        "compress",
        &fixture("resnet8.onnx"),
        "-o",
        output.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
        "--epochs",
        "10000",
        "--batch",
        "16",
    ];
    let mut child = command(&words).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let started = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("epoch 1 of"));
    assert!(started, "the run ended before its first epoch");
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let ran = Ran::from(child.wait_with_output().unwrap()).expect_code(130);
    assert!(rest.iter().any(|line| line == "stopped; nothing was written"), "{rest:?}");
    assert_eq!(ran.stdout, "");
    assert_eq!(listing(folder.path()), ["data.npz"]);
}
