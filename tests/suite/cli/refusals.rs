//! Bad inputs: a message that says what and where, a hint, exit code 2, and no file left behind.

use std::fs;
use std::path::Path;

use safe_onnx::ir::{Model, Storage};
use safe_onnx::tensor::Random;

use super::{fixture, listing, run_in, write_images};

/// Runs the program and checks how it refuses.
#[track_caller]
fn refuses(folder: &Path, words: &[&str], reasons: &[&str]) {
    let before = listing(folder);
    let ran = run_in(folder, words).expect_code(2);
    let first = ran.stderr.lines().find(|line| !line.starts_with("note:")).unwrap_or_default();
    assert!(ran.stderr.lines().any(|line| line.starts_with("error: ")), "{words:?}: {first}");
    assert!(ran.stderr.lines().any(|line| line.starts_with("hint: ")), "{words:?}: {}", ran.stderr);
    for reason in reasons {
        assert!(ran.stderr.contains(reason), "{words:?}: `{reason}` is missing from {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("panicked"), "{words:?}: {}", ran.stderr);
    assert_eq!(ran.stdout, "", "{words:?}");
    assert_eq!(listing(folder), before, "{words:?}");
}

const PRUNE: [&str; 7] = ["-o", "{}/out.onnx", "--method", "magnitude", "--epochs", "0", "--quiet"];

fn prune<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["compress", model][..], &PRUNE, more].concat()
}

#[test]
fn damaged_models() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(fixture("resnet8.onnx")).unwrap();
    let mut random = Random::new(1);
    let noise: Vec<u8> = (0..4096).map(|_| random.below(256) as u8).collect();
    let half = &whole[..whole.len() / 2];
    for (name, bytes) in [("half.onnx", half), ("noise.onnx", &noise), ("empty.onnx", &[])] {
        fs::write(folder.path().join(name), bytes).unwrap();
        let path = format!("{{}}/{name}");
        for words in [
            vec!["inspect", path.as_str()],
            prune(&path, &[]),
            vec!["differentiate", &path, "-o", "{}/out.onnx", "--loss", "mse"],
            vec!["verify", &path, &path],
        ] {
            refuses(folder.path(), &words, &[name, "not a valid ONNX model"]);
        }
    }
    refuses(folder.path(), &["inspect", "{}/absent.onnx"], &["absent.onnx", "cannot read", "No such file"]);
}

#[test]
fn external_data_that_is_missing_short_or_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("m.onnx");
    let data = inner.join("m.onnx.data");
    let write =
        || Model::read(fixture("resnet8.onnx").as_ref()).unwrap().write(&path, Storage::External, true);
    write().unwrap();
    run_in(folder.path(), &["inspect", "{}/inner/m.onnx"]).expect_code(0);
    let whole = fs::read(&data).unwrap();
    fs::write(&data, &whole[..whole.len() / 2]).unwrap();
    refuses(folder.path(), &prune("{}/inner/m.onnx", &[]), &["m.onnx.data"]);
    fs::remove_file(&data).unwrap();
    refuses(folder.path(), &prune("{}/inner/m.onnx", &[]), &["m.onnx.data"]);
    // The data are there, but outside of the model's folder.
    fs::write(folder.path().join("nnx.data"), &whole).unwrap();
    let model = fs::read(&path).unwrap();
    let (old, new) = (b"m.onnx.data", b"../nnx.data");
    let mut moved = model.clone();
    for start in 0..moved.len() - old.len() {
        if &model[start..start + old.len()] == old {
            moved[start..start + old.len()].copy_from_slice(new);
        }
    }
    assert_ne!(moved, model);
    fs::write(&path, moved).unwrap();
    refuses(folder.path(), &prune("{}/inner/m.onnx", &[]), &["../nnx.data"]);
}

#[test]
fn outputs_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture("resnet8.onnx");
    fs::copy(&model, folder.path().join("m.onnx")).unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    let cases: [(&[&str], &[&str]); 6] = [
        (&["compress", &model, "-o", "{}/no/out.onnx"], &["no does not exist"]),
        (&["compress", &model, "-o", "{}/sub"], &["--force"]),
        (&["compress", &model, "-o", "{}/sub", "--force"], &["this is a folder"]),
        (&["compress", "{}/m.onnx", "-o", "{}/m.onnx"], &["the model that is read"]),
        (
            &["compress", &model, "-o", "{}/out.onnx", "--emit-masked", "{}/m.onnx"],
            &["m.onnx: the file exists"],
        ),
        (&["differentiate", &model, "-o", "{}/m.onnx", "--loss", "mse"], &["the model"]),
    ];
    for (words, reasons) in &cases[..5] {
        refuses(folder.path(), words, reasons);
    }
    refuses(folder.path(), cases[5].0, &["the file exists"]);
    assert_eq!(fs::read(folder.path().join("m.onnx")).unwrap(), fs::read(&model).unwrap());
}

#[test]
fn targets_that_cannot_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture("resnet8.onnx");
    refuses(
        folder.path(),
        &prune(&model, &["--target", "macs=0.0001"]),
        &["macs=0.0001 cannot be reached", "least"],
    );
    refuses(folder.path(), &prune(&model, &["--exclude", "."]), &["cannot be reached"]);
}

#[test]
fn data_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    write_images(folder.path(), 32, 5);
    let model = fixture("resnet8.onnx");
    let words =
        ["compress", &model, "-o", "{}/out.onnx", "--data", "{}/data.npz", "--epochs", "1", "--batch", "8"];
    refuses(folder.path(), &words, &["10", "label"]);
    refuses(folder.path(), &["eval", &model, "--data", "{}/data.npz"], &["label", "is 10", "0 to 9"]);
    refuses(folder.path(), &["eval", &model, "--data", "{}/none.npz"], &["none.npz", "cannot read"]);
    refuses(folder.path(), &["eval", &model, "--data", "{}/data.npz", "--loss", "mse"], &["shape"]);
    refuses(folder.path(), &["eval", &model, "--data", "{}/data.npz", "--crop", "8x8"], &["crop"]);
}

#[test]
fn shapes_and_devices_that_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture("resnet8.onnx");
    refuses(folder.path(), &["inspect", &model, "--shape", "image=1x1x28x28"], &["image", "its inputs are"]);
    refuses(folder.path(), &["inspect", &model, "--shape", "input=1x3x28x28"], &["the model declares"]);
    refuses(folder.path(), &["inspect", &model, "--device", "cuda:0"], &["cuda"]);
    refuses(folder.path(), &["inspect", &model, "--engine", "ort", "--ort-lib", "{}/no.so"], &["no.so"]);
    let words = ["differentiate", &model, "-o", "{}/g.onnx", "--loss", "cross-entropy", "--class-axis", "2"];
    refuses(folder.path(), &words, &["class axis 2"]);
}

#[test]
fn models_that_do_not_belong_together() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["differentiate", &fixture("resnet8.onnx"), "-o", "{}/g.onnx", "--loss", "cross-entropy"];
    run_in(folder.path(), &words).expect_code(0);
    refuses(
        folder.path(),
        &["verify", &fixture("resnet8.onnx"), "{}/g.onnx"],
        &["different inputs", "target"],
    );
}
