//! Data sets made in temporary folders, through all formats.

mod batches;
mod formats;
mod refusals;

use std::{fs, io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};
use ndarray::ArrayD;
use ndarray_npy::{NpzWriter, WritableElement, write_npy};

use super::{DataError, DataOptions, Dataset, InputSpec, Part, TargetSpec, open};
use crate::tensor::{DType, Tensor};

fn input(name: &str, dtype: DType, dims: &[usize]) -> InputSpec {
    let dims = [None].into_iter().chain(dims.iter().map(|&dim| Some(dim))).collect();
    InputSpec { name: name.to_owned(), dtype, dims, batched: true }
}

/// A float input of images `dims`.
fn images(dims: &[usize]) -> Vec<InputSpec> {
    vec![input("input", DType::F32, dims)]
}

/// Labels `[N]` of so many classes.
fn labels(classes: usize) -> TargetSpec {
    TargetSpec { dtype: DType::I64, dims: vec![None], classes: Some(classes) }
}

fn array<T: Clone>(dims: &[usize], values: &[T]) -> ArrayD<T> {
    ArrayD::from_shape_vec(dims, values.to_vec()).unwrap()
}

/// Writes a `.npy` file of `values`.
fn npy<T: WritableElement + Clone>(path: &Path, dims: &[usize], values: &[T]) {
    write_npy(path, &array(dims, values)).unwrap();
}

/// Writes a compressed archive of one `x` and one `y`.
fn npz<X, Y>(path: &Path, x: (&[usize], &[X]), y: (&[usize], &[Y]))
where
    X: WritableElement + Clone,
    Y: WritableElement + Clone,
{
    let mut writer = NpzWriter::new_compressed(fs::File::create(path).unwrap());
    writer.add_array("x", &array(x.0, x.1)).unwrap();
    writer.add_array("y", &array(y.0, y.1)).unwrap();
    writer.finish().unwrap();
}

/// Writes an IDX file of bytes, gzipped when its name says so.
fn idx(path: &Path, dims: &[u32], values: &[u8]) {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    bytes.extend(values);
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut encoder = GzEncoder::new(fs::File::create(path).unwrap(), Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap();
    } else {
        fs::write(path, bytes).unwrap();
    }
}

/// Writes `count` images `[H, W, 3]` into the class folder, all pixels of the image at `index` being `[first + index, 0, 255]`.
fn png_folder(folder: &Path, size: [u32; 2], first: u8, count: u8) {
    fs::create_dir_all(folder).unwrap();
    for index in 0..count {
        let pixel = image::Rgb([first + index, 0, 255]);
        let image = image::RgbImage::from_pixel(size[1], size[0], pixel);
        image.save(folder.join(format!("{index}.png"))).unwrap();
    }
}

fn open_plain(path: &Path, inputs: &[InputSpec], target: Option<&TargetSpec>) -> Result<Dataset, DataError> {
    open(path, Part::Train, inputs, target, &DataOptions::default())
}

/// All samples of `data`, without augmentation.
fn all(data: &Dataset) -> (Vec<Tensor>, Option<Tensor>) {
    let batch = data.batch(&(0..data.len()).collect::<Vec<_>>(), None).unwrap();
    (batch.inputs, batch.target)
}

fn floats(tensor: &Tensor) -> &[f32] {
    tensor.as_slice::<f32>().unwrap()
}
