//! Every kind of bad data is refused with what, where and what to do.

use std::path::PathBuf;

use super::*;
use crate::data::{Augment, check, open_both};

/// Opens and checks, and gives the message of the error.
fn refusal(
    path: &Path,
    inputs: &[InputSpec],
    target: Option<&TargetSpec>,
    options: &DataOptions,
    batch: usize,
) -> String {
    match open(path, Part::Train, inputs, target, options).and_then(|data| check(&data, batch)) {
        Ok(()) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn values_and_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    let file = path.display().to_string();
    let check = |expected: &[&str], batch: usize| {
        let options = DataOptions::default();
        let message = refusal(&path, &images(&[2]), Some(&labels(3)), &options, batch);
        for part in expected.iter().chain(&[file.as_str()]) {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
    };
    let x = (&[3, 2][..], &[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0][..]);
    npz(&path, x, (&[3], &[0_i64, 2, 1]));
    assert_eq!(refusal(&path, &images(&[2]), Some(&labels(3)), &DataOptions::default(), 3), "accepted");
    check(&["3 samples", "batch of 4"], 4);
    npz(&path, x, (&[3], &[0_i64, 2, 3]));
    check(&["array 'y'", "sample 2", "label 3", "0..3"], 1);
    npz(&path, x, (&[3], &[0_i8, -1, 7]));
    check(&["array 'y'", "sample 1", "label -1", "0..3"], 1);
    npz(&path, x, (&[2], &[0_i64, 2]));
    check(&["array 'x'", "3 samples", "array 'y'", "has 2"], 1);
    npz(&path, x, (&[3], &[0.0_f32, 1.0, 2.0]));
    check(&["array 'y'", "holds float", "integers"], 1);
    npz(&path, x, (&[3, 3], &[0_u8; 9]));
    check(&["array 'y'", "[3]", "the loss", "one integer"], 1);
    npz(&path, (&[3, 2], &[1.0_f64, 2.0, 3.0, f64::NAN, 5.0, 6.0]), (&[3], &[0_i64, 2, 1]));
    check(&["array 'x'", "sample 1", "NaN", "not finite"], 1);
    npz(&path, (&[3, 2], &[1.0_f32, 2.0, 3.0, 4.0, f32::INFINITY, 6.0]), (&[3], &[0_i64, 2, 1]));
    check(&["array 'x'", "sample 2", "inf"], 1);
    npz(&path, (&[3, 1], &[1.0_f32, 2.0, 3.0]), (&[3], &[0_i64, 2, 1]));
    check(&["array 'x'", "shape [1]", "'input'", "[2]"], 1);
    npz::<f32, i64>(&path, (&[0, 2], &[]), (&[0], &[]));
    check(&["no samples"], 1);
    npz::<f32, i64>(&path, (&[1 << 40, 0], &[]), (&[3], &[0; 3]));
    check(&["array 'x'", "no samples"], 1);
    npz(&path, (&[], &[1.0_f32]), (&[3], &[0_i64; 3]));
    check(&["array 'x'", "single number"], 1);
}

#[test]
fn integers_for_the_models_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.npy");
    let message = |dtype| refusal(&path, &[input("ids", dtype, &[2])], None, &DataOptions::default(), 1);
    npy(&path, &[2, 2], &[1_i64, 2, 3, 1 << 40]);
    assert!(message(DType::I32).contains("sample 1: value 1099511627776 does not fit into int32"));
    assert_eq!(message(DType::I64), "accepted");
    assert!(message(DType::Bool).contains("needs bool"));
    npy(&path, &[1, 2], &[1.0_f32, 2.0]);
    assert!(message(DType::I64).contains("holds float, but the model input 'ids' needs int64"));
    npy(&path, &[1, 2], &[1_u64, u64::MAX]);
    assert!(message(DType::I64).contains("sample 0"));
}

#[test]
fn float_targets_and_fixed_batches() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    npz(&path, (&[2, 1], &[1.0_f32, 2.0]), (&[2], &[1.0_f32, f32::NEG_INFINITY]));
    let target = TargetSpec { dtype: DType::F32, dims: vec![None], classes: None };
    let message = refusal(&path, &images(&[1]), Some(&target), &DataOptions::default(), 1);
    assert!(
        message.contains("array 'y'") && message.contains("sample 1") && message.contains("-inf"),
        "{message}"
    );
    let fixed = InputSpec {
        name: "input".to_owned(),
        dtype: DType::F32,
        dims: vec![Some(1), Some(1)],
        batched: true,
    };
    let message = refusal(&path, &[fixed], None, &DataOptions::default(), 2);
    assert!(message.contains("fixed to batches of 1, not 2"), "{message}");
}

#[test]
fn paths_and_formats() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let (no_labels, only_test, odd, no_images, broken) =
        (make("no_labels"), make("only_test"), make("odd"), make("no_images"), make("broken"));
    idx(&no_labels.join("train-images-idx3-ubyte"), &[1, 2, 2], &[0; 4]);
    idx(&only_test.join("t10k-images-idx3-ubyte"), &[1, 2, 2], &[0; 4]);
    fs::write(odd.join("data_batch_1.bin"), [0; 3000]).unwrap();
    fs::create_dir(no_images.join("cat")).unwrap();
    fs::create_dir(broken.join("cat")).unwrap();
    fs::write(broken.join("cat/a.png"), b"\x89PNG\r\n\x1a\nnothing").unwrap();
    let cut = file("train-images-idx3-ubyte", &[0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0, 2, 1]);
    let long = file("a-idx1", &[0, 0, 8, 1, 0, 0, 0, 1, 1, 1]);
    let huge = file("b-idx2", &[0, 0, 8, 2, 255, 255, 255, 255, 255, 255, 255, 255]);
    let cases: Vec<(PathBuf, &[&str])> = vec![
        (folder.path().join("nowhere"), &["cannot read", "nowhere"]),
        (file("text.txt", b"hello"), &["text.txt", "starts with [68"]),
        (make("empty"), &["empty", "0 files", "IDX"]),
        (no_labels, &["no targets", "train-images-idx3-ubyte", "'images'"]),
        (only_test, &["only_test", "no training part", "train-images-idx3-ubyte"]),
        (odd, &["data_batch_1.bin", "3000 bytes", "3073"]),
        (no_images, &["cat", "without a PNG"]),
        (broken, &["cannot decode", "a.png"]),
        (cut, &["train-images-idx3-ubyte", "ends before"]),
        (long, &["a-idx1", "goes on after"]),
        (huge, &["b-idx2", "ends before"]),
    ];
    for (path, expected) in cases {
        let target = labels(1);
        let target = Some(&target).filter(|_| path.is_dir());
        let message = refusal(&path, &images(&[3, 2, 2]), target, &DataOptions::default(), 1);
        for part in expected {
            assert!(message.contains(part), "{}: {part:?} is not in: {message}", path.display());
        }
    }
}

/// File, inputs, target, settings, and a part of the message.
type Case<'a> = (&'a str, Vec<InputSpec>, &'a TargetSpec, DataOptions, &'a str);

#[test]
fn settings_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let root = |name: &str| folder.path().join(name);
    npz(&root("flat.npz"), (&[4, 2], &[0.5_f32; 8]), (&[4], &[0_u8; 4]));
    npz(&root("grey.npz"), (&[4, 8, 8], &[1_u8; 256]), (&[4, 8, 8], &[0_u8; 256]));
    png_folder(&root("png/a"), [8, 8], 0, 2);
    let plain = DataOptions::default;
    let augment = |text: &str| DataOptions { augment: text.parse::<Augment>().unwrap(), ..plain() };
    let positions = TargetSpec { dtype: DType::I64, dims: vec![None, None, None], classes: Some(2) };
    let classes = labels(2);
    let free = [InputSpec {
        name: "input".to_owned(),
        dtype: DType::F32,
        dims: vec![None, Some(3), None, None],
        batched: true,
    }];
    let cases: Vec<Case> = vec![
        ("flat.npz", images(&[2]), &classes, augment("flip"), "no input is an image"),
        ("grey.npz", images(&[1, 8, 8]), &positions, augment("shift=1"), "targets for each position"),
        ("grey.npz", images(&[3, 8, 8]), &positions, plain(), "needs [3, 8, 8]"),
        (
            "grey.npz",
            images(&[1, 8, 8]),
            &positions,
            DataOptions { mean: vec![0.1; 3], ..plain() },
            "3 values of the mean for 1",
        ),
        (
            "grey.npz",
            images(&[1, 8, 8]),
            &positions,
            DataOptions { std: vec![0.0], ..plain() },
            "not a positive number",
        ),
        (
            "grey.npz",
            images(&[1, 8, 8]),
            &positions,
            DataOptions { resize: Some(8), ..plain() },
            "no folder of images",
        ),
        (
            "png",
            images(&[3, 8, 8]),
            &classes,
            DataOptions { resize: Some(4), ..plain() },
            "less than the crop",
        ),
        (
            "png",
            images(&[3, 8, 8]),
            &classes,
            DataOptions { crop: Some([4, 4]), ..plain() },
            "does not fit the model's input size",
        ),
        ("png", free.to_vec(), &classes, plain(), "give the size of the crop"),
        ("png", images(&[5, 8, 8]), &classes, plain(), "1 or 3 channels"),
        ("png", [images(&[3, 8, 8]), images(&[1])].concat(), &classes, plain(), "the model has 2"),
    ];
    for (name, inputs, target, options, expected) in cases {
        let message = refusal(&root(name), &inputs, Some(target), &options, 1);
        assert!(message.contains(expected), "{name}: {expected:?} is not in: {message}");
    }
    npz(&root("images.npz"), (&[4, 8, 8], &[1_u8; 256]), (&[4], &[0_u8; 4]));
    let message = refusal(&root("images.npz"), &images(&[1, 8, 8]), Some(&classes), &augment("crop"), 1);
    assert!(message.contains("crop=4"), "{message}");
}

#[test]
fn parts_that_contradict_each_other() {
    let folder = tempfile::tempdir().unwrap();
    for (part, class) in [("train", "a"), ("train", "b"), ("val", "a"), ("val", "c")] {
        png_folder(&folder.path().join(part).join(class), [2, 2], 0, 1);
    }
    let both = |val: Option<&Path>, val_split| {
        let options = DataOptions { val_split, ..DataOptions::default() };
        open_both(folder.path(), val, &images(&[3, 2, 2]), None, &options)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(both(None, None).contains("class folder 'b'"));
    assert!(both(Some(folder.path()), Some(0.5)).contains("leave one out"));
    for share in [0.0, 1.0, -1.0, f64::NAN, 0.1] {
        assert!(both(None, Some(share)).contains("both parts need samples"), "{share}");
    }
}

#[test]
fn images_of_odd_proportions_take_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("cat")).unwrap();
    image::GrayImage::new(1, 40_000).save(folder.path().join("cat/a.png")).unwrap();
    let message = refusal(folder.path(), &images(&[3, 64, 64]), None, &DataOptions::default(), 1);
    assert!(message.contains("a.png") && message.contains("1 x 40000"), "{message}");
}
