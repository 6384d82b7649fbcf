//! The binary version of CIFAR-10 and CIFAR-100: records of label bytes and a 3 x 32 x 32 image.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::{DataError, Part, files::existing};
use crate::tensor::Tensor;

const IMAGE: usize = 3 * 32 * 32;

/// The files of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    files: Vec<PathBuf>,
    /// Bytes of labels before each image; the last is the class (CIFAR-100: coarse, then fine).
    labels: usize,
}

impl Files {
    /// Name of the format.
    pub(super) fn name(&self) -> &'static str {
        if self.labels == 1 { "CIFAR-10" } else { "CIFAR-100" }
    }

    /// The files in the order in which they are read.
    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.files
    }
}

/// The names under which `part` is sought, for messages.
pub(super) fn wanted(part: Part) -> &'static str {
    match part {
        Part::Train => "data_batch_1.bin or train.bin",
        Part::Val => "test_batch.bin or test.bin",
    }
}

/// The files of `part` in `folder`, if there are any.
pub(super) fn find(folder: &Path, part: Part) -> Option<Files> {
    let file = |name: &str| existing(folder, &[name.to_owned()]);
    let (ten, hundred): (Vec<_>, _) = match part {
        Part::Train => {
            ((1..=5).filter_map(|batch| file(&format!("data_batch_{batch}.bin"))).collect(), "train.bin")
        }
        Part::Val => (file("test_batch.bin").into_iter().collect(), "test.bin"),
    };
    if !ten.is_empty() {
        return Some(Files { files: ten, labels: 1 });
    }
    file(hundred).map(|file| Files { files: vec![file], labels: 2 })
}

/// Reads images `[N, 3, 32, 32]` of `uint8` and labels `[N]` of `int64`.
pub(super) fn read(files: &Files) -> Result<(Tensor, Tensor), DataError> {
    let record = files.labels + IMAGE;
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for path in &files.files {
        let label = path.display().to_string();
        let mut bytes = Vec::new();
        File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(DataError::io(path))?;
        if bytes.len() % record != 0 {
            let problem = format!("{} bytes are no whole number of records of {record} bytes", bytes.len());
            return Err(DataError::damaged(&label, problem));
        }
        images.reserve_exact(bytes.len() / record * IMAGE);
        for record in bytes.chunks_exact(record) {
            labels.push(i64::from(record[files.labels - 1]));
            images.extend_from_slice(&record[files.labels..]);
        }
    }
    Ok((Tensor::new(vec![labels.len(), 3, 32, 32], images)?, Tensor::vector(labels)))
}
