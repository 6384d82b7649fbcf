//! What each format holds comes back exactly.

use super::*;
use crate::data::{check, open_both};

fn scaled(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect()
}

#[test]
fn archives_of_every_element_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    let plain = [2.0_f32, 3.0, 4.0, 5.0];
    macro_rules! numbers {
        ($($type:ty),+) => {$({
            npz(&path, (&[2, 2], &[2 as $type, 3 as $type, 4 as $type, 5 as $type]), (&[2], &[1_u8, 0]));
            let data = open_plain(&path, &images(&[2]), Some(&labels(2))).unwrap();
            let (inputs, target) = all(&data);
            let expected = if stringify!($type) == "u8" { scaled(&[2, 3, 4, 5]) } else { plain.to_vec() };
            assert_eq!(floats(&inputs[0]), expected, stringify!($type));
            assert_eq!(target.unwrap(), Tensor::vector(vec![1_i64, 0]), stringify!($type));
            check(&data, 2).unwrap();
        })+};
    }
    numbers!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);
    npz(&path, (&[2, 2], &[true, false, false, true]), (&[2], &[1_i32, 0]));
    let (inputs, _) = all(&open_plain(&path, &images(&[2]), Some(&labels(2))).unwrap());
    assert_eq!(floats(&inputs[0]), [1.0, 0.0, 0.0, 1.0]);
}

#[test]
fn inputs_keep_the_models_types() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    npz(&path, (&[2, 3], &[1_i64, 2, 3, 4, 5, 255]), (&[2, 3], &[0_i64, 1, 2, 0, 1, 2]));
    let target = TargetSpec { dtype: DType::I64, dims: vec![None, None], classes: Some(3) };
    for dtype in [DType::I64, DType::I32, DType::U8, DType::F16, DType::F64] {
        let data = open_plain(&path, &[input("tokens", dtype, &[3])], Some(&target)).unwrap();
        let (inputs, labels) = all(&data);
        assert_eq!((inputs[0].dtype(), inputs[0].dims()), (dtype, &[2, 3][..]));
        assert_eq!(inputs[0].to_f64().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 255.0], "{dtype}");
        assert_eq!(labels.unwrap(), Tensor::new(vec![2, 3], vec![0_i64, 1, 2, 0, 1, 2]).unwrap());
        check(&data, 1).unwrap();
    }
}

#[test]
fn half_precision_arrays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inputs.npy");
    let mut bytes =
        b"\x93NUMPY\x01\x00\x3a\x00{'descr': '>f2', 'fortran_order': False, 'shape': (2,1,)}".to_vec();
    bytes.resize(10 + 0x3a, b' ');
    bytes.extend([1.5_f32, -2.0].iter().flat_map(|&value| half::f16::from_f32(value).to_be_bytes()));
    fs::write(&path, bytes).unwrap();
    let (inputs, target) = all(&open_plain(&path, &images(&[1]), None).unwrap());
    assert_eq!((floats(&inputs[0]), target), (&[1.5, -2.0][..], None));
}

#[test]
fn folders_of_arrays_and_their_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    npy(&path("x_train.npy"), &[3, 1], &[1.0_f32, 2.0, 3.0]);
    npy(&path("y_train.npy"), &[3], &[0.5_f64, 1.5, 2.5]);
    npy(&path("x_test.npy"), &[1, 1], &[9.0_f32]);
    npy(&path("y_test.npy"), &[1, 1], &[9.5_f32]);
    let target = TargetSpec { dtype: DType::F32, dims: vec![None, Some(1)], classes: None };
    let options = DataOptions::default();
    let (train, val) = open_both(folder.path(), None, &images(&[1]), Some(&target), &options).unwrap();
    let column = |values: &[f32]| Tensor::new(vec![values.len(), 1], values.to_vec()).unwrap();
    assert_eq!(all(&train), (vec![column(&[1.0, 2.0, 3.0])], Some(column(&[0.5, 1.5, 2.5]))));
    assert_eq!(all(&val.unwrap()), (vec![column(&[9.0])], Some(column(&[9.5]))));
}

#[test]
fn two_inputs_by_name() {
    let folder = tempfile::tempdir().unwrap();
    npy(&folder.path().join("a.npy"), &[2, 1], &[1_i64, 2]);
    npy(&folder.path().join("b.npy"), &[2, 1], &[3.0_f32, 4.0]);
    npy(&folder.path().join("label.npy"), &[2], &[0_i64, 1]);
    let inputs = [input("b", DType::F32, &[1]), input("a", DType::I64, &[1])];
    let (found, target) = all(&open_plain(folder.path(), &inputs, None).unwrap());
    assert_eq!(floats(&found[0]), [3.0, 4.0]);
    assert_eq!(found[1].to_i64().unwrap(), [1, 2]);
    assert_eq!(target, Some(Tensor::vector(vec![0_i64, 1])));
}

#[test]
fn idx_files_in_all_spellings() {
    let spellings = [
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte"),
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz", "t10k-images.idx3-ubyte.gz"),
    ];
    for (train, train_labels, test) in spellings {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let bytes: Vec<u8> = (0..12).collect();
        idx(&path(train), &[2, 2, 3], &bytes);
        idx(&path(train_labels), &[2], &[7, 3]);
        idx(&path(test), &[1, 2, 3], &[255; 6]);
        idx(&path(&test.replace("images", "labels").replace("idx3", "idx1")), &[1], &[9]);
        let whole = |data: &Dataset| {
            let (inputs, target) = all(data);
            (inputs[0].dims().to_vec(), floats(&inputs[0]).to_vec(), target.unwrap().to_i64().unwrap())
        };
        let (inputs, target, options) = (images(&[1, 2, 3]), labels(10), DataOptions::default());
        let (data, val) = open_both(folder.path(), None, &inputs, Some(&target), &options).unwrap();
        let expected = (vec![2, 1, 2, 3], scaled(&bytes), vec![7, 3]);
        assert_eq!(whole(&data), expected, "{train}");
        let last = (vec![1, 1, 2, 3], vec![1.0; 6], vec![9]);
        assert_eq!(whole(&val.unwrap()), last, "{train}");
        let (_, val) =
            open_both(folder.path(), Some(folder.path()), &inputs, Some(&target), &options).unwrap();
        assert_eq!(whole(&val.unwrap()), last, "{train}");
        assert_eq!(whole(&open_plain(&path(train), &inputs, Some(&target)).unwrap()), expected, "{train}");
        let line = data.describe();
        assert!(
            line.contains("IDX") && line.contains("2 samples") && line.contains("2 classes (3 to 7)"),
            "{line}"
        );
    }
}

#[test]
fn cifar_of_10_and_100_classes() {
    let image: Vec<u8> = (0..3072_u32).map(|value| (value % 251) as u8).collect();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, labels: &[u8]| {
        fs::write(folder.path().join(name), [labels, &image].concat()).unwrap();
    };
    write("data_batch_1.bin", &[4]);
    write("data_batch_2.bin", &[5]);
    write("test_batch.bin", &[6]);
    let options = DataOptions::default();
    let whole = |classes| {
        open_both(folder.path(), None, &images(&[3, 32, 32]), Some(&labels(classes)), &options).map(
            |(train, val)| {
                assert_eq!(floats(&all(&val.clone().unwrap()).0[0]), scaled(&image));
                [train, val.unwrap()].map(|data| all(&data).1.unwrap().to_i64().unwrap())
            },
        )
    };
    assert_eq!(whole(10).unwrap(), [vec![4, 5], vec![6]]);
    for name in ["data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    write("train.bin", &[1, 77]);
    write("test.bin", &[2, 99]);
    assert_eq!(whole(100).unwrap(), [vec![77], vec![99]]);
    // The same images for a model that takes the channels last.
    let data = open_plain(folder.path(), &images(&[32, 32, 3]), Some(&labels(100))).unwrap();
    let last = all(&data).0;
    for (pixel, channel) in [(0, 0), (1, 0), (33, 1), (1023, 2)] {
        assert_eq!(floats(&last[0])[3 * pixel + channel], f32::from(image[1024 * channel + pixel]) / 255.0);
    }
}

#[test]
fn folders_of_images() {
    let folder = tempfile::tempdir().unwrap();
    for (part, class, first, count) in
        [("train", "dog", 20, 2), ("train", "cat", 10, 1), ("val", "cat", 30, 1), ("val", "dog", 40, 1)]
    {
        png_folder(&folder.path().join(part).join(class), [4, 6], first, count);
    }
    let options = DataOptions::default();
    let target = labels(2);
    let (train, val) = open_both(folder.path(), None, &images(&[3, 2, 2]), Some(&target), &options).unwrap();
    assert_eq!(train.class_names().unwrap(), ["cat", "dog"]);
    check(&train, 3).unwrap();
    let (inputs, target) = all(&train);
    assert_eq!(target.unwrap().to_i64().unwrap(), [0, 1, 1]);
    let expected: Vec<f32> =
        [10, 20, 21].iter().flat_map(|&red| scaled(&[[red; 4], [0; 4], [255; 4]].concat())).collect();
    assert_eq!(floats(&inputs[0]), expected);
    assert_eq!(all(&val.unwrap()).1.unwrap().to_i64().unwrap(), [0, 1]);
    // One grey channel, last; a class folder that is given itself.
    let grey = open_plain(&folder.path().join("train"), &images(&[4, 4, 1]), None).unwrap();
    let luma =
        image::DynamicImage::from(image::RgbImage::from_pixel(1, 1, image::Rgb([10, 0, 255]))).into_luma8();
    let (inputs, _) = all(&grey);
    assert_eq!(inputs[0].dims(), [3, 4, 4, 1]);
    assert_eq!(floats(&inputs[0])[..16], scaled(&[luma.as_raw()[0]; 16]));
}

#[test]
fn images_are_scaled_and_the_centre_is_cut_out() {
    let folder = tempfile::tempdir().unwrap();
    let class = folder.path().join("only");
    fs::create_dir(&class).unwrap();
    // Columns 0 to 7 have the values 0, 10 .. 70; the image is 4 high.
    image::GrayImage::from_fn(8, 4, |column, _| image::Luma([10 * column as u8]))
        .save(class.join("a.png"))
        .unwrap();
    let cut = |size: usize, resize| {
        let options = DataOptions { resize, ..DataOptions::default() };
        let data = open(folder.path(), Part::Train, &images(&[1, size, size]), None, &options).unwrap();
        let (inputs, _) = all(&data);
        floats(&inputs[0])[..size].iter().map(|value| (value * 255.0).round() as u8).collect::<Vec<_>>()
    };
    assert_eq!(cut(4, None), [20, 30, 40, 50]);
    assert_eq!(cut(2, Some(4)), [30, 40]);
    let halved = cut(2, None);
    assert!(halved[0].abs_diff(25) <= 2 && halved[1].abs_diff(45) <= 2, "{halved:?}");
}

#[test]
fn grey_images_flatten_and_normalise() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    npz(&path, (&[1, 2, 2], &[0_u8, 51, 102, 255]), (&[1, 1], &[3_u8]));
    let options = DataOptions { mean: vec![0.5], std: vec![0.25], ..DataOptions::default() };
    for dims in [&[1, 2, 2][..], &[2, 2, 1], &[2, 2], &[4]] {
        let data = open(&path, Part::Train, &images(dims), Some(&labels(10)), &options).unwrap();
        let (inputs, target) = all(&data);
        assert_eq!(inputs[0].dims()[1..], *dims);
        let expected: Vec<f32> =
            [0.0_f32, 51.0, 102.0, 255.0].iter().map(|byte| (byte / 255.0 - 0.5) / 0.25).collect();
        assert_eq!(floats(&inputs[0]), expected, "{dims:?}");
        assert_eq!(target, Some(Tensor::vector(vec![3_i64])));
    }
    // Floats are normalised as they are, with one value for each channel.
    npz(&path, (&[1, 1, 2, 2], &[1.0_f32, 2.0, 3.0, 4.0]), (&[1], &[0_u8]));
    let options = DataOptions { mean: vec![1.0, 2.0], std: vec![0.5, 2.0], ..DataOptions::default() };
    let data = open(&path, Part::Train, &images(&[2, 1, 2]), None, &options).unwrap();
    assert_eq!(floats(&all(&data).0[0]), [0.0, 4.0, 0.0, 1.0]);
}

#[test]
fn jpeg_images_of_other_sizes_and_channels() {
    let folder = tempfile::tempdir().unwrap();
    let class = folder.path().join("only");
    fs::create_dir(&class).unwrap();
    image::RgbImage::from_pixel(17, 9, image::Rgb([200, 100, 50])).save(class.join("a.JPG")).unwrap();
    image::GrayImage::from_pixel(5, 33, image::Luma([120])).save(class.join("b.jpeg")).unwrap();
    fs::write(class.join("notes.txt"), "no image").unwrap();
    let (inputs, target) = all(&open_plain(folder.path(), &images(&[3, 8, 8]), Some(&labels(1))).unwrap());
    assert_eq!(target.unwrap().len(), 2);
    for (plane, expected) in floats(&inputs[0]).chunks(64).zip([200.0_f32, 100.0, 50.0, 120.0, 120.0, 120.0])
    {
        assert!(plane.iter().all(|value| (value * 255.0 - expected).abs() < 4.0), "{expected}: {plane:?}");
    }
}
