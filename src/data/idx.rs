//! IDX files, the format of MNIST: a magic number that names type and rank, big-endian dimensions, values; gzipped
//! or not.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::bufread::GzDecoder;

use super::{
    DataError, Part,
    bytes::{inflated_limit, read_values},
    files::existing,
};
use crate::tensor::{DType, Tensor, checked_count};

/// The images and labels files of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) images: PathBuf,
    pub(super) labels: Option<PathBuf>,
}

/// Spellings of a file's name: `-` or `.` before the kind, gzipped or not.
fn spellings(stem: &str, kind: &str) -> Vec<String> {
    [".gz", ""]
        .iter()
        .flat_map(|end| ["-", "."].map(|joint| format!("{stem}{joint}{kind}-ubyte{end}")))
        .collect()
}

fn stem(part: Part) -> &'static str {
    match part {
        Part::Train => "train",
        Part::Val => "t10k",
    }
}

/// The names under which the images of `part` are sought, for messages.
pub(super) fn wanted(part: Part) -> String {
    format!("{}-images-idx3-ubyte[.gz]", stem(part))
}

/// The files of `part` in `folder`, if its images are there.
pub(super) fn find(folder: &Path, part: Part) -> Option<Files> {
    let find = |what: &str, kind: &str| existing(folder, &spellings(&format!("{}-{what}", stem(part)), kind));
    Some(Files { images: find("images", "idx3")?, labels: find("labels", "idx1") })
}

/// The labels file that stands beside a file of images.
pub(super) fn beside(images: &Path) -> Files {
    let labels = || {
        let name = images.file_name()?.to_str()?;
        let bare = name.strip_suffix(".gz").unwrap_or(name);
        let name = bare.replace("images", "labels").replace("idx3", "idx1");
        let names = [name.clone(), format!("{name}.gz")];
        (name != bare).then(|| existing(images.parent().unwrap_or(Path::new("")), &names))?
    };
    Files { images: images.to_owned(), labels: labels() }
}

/// Whether these bytes, of the file or within its gzip wrapping, start an IDX file.
pub(super) fn is_magic(start: &[u8]) -> bool {
    matches!(start, [0, 0, kind, 1..=8, ..] if element_type(*kind).is_some())
}

fn element_type(kind: u8) -> Option<DType> {
    Some(match kind {
        0x08 => DType::U8,
        0x09 => DType::I8,
        0x0b => DType::I16,
        0x0c => DType::I32,
        0x0d => DType::F32,
        0x0e => DType::F64,
        _ => return None,
    })
}

/// Reads a whole file.
pub(super) fn read(path: &Path) -> Result<Tensor, DataError> {
    let label = path.display().to_string();
    let file = File::open(path).map_err(DataError::io(path))?;
    let size = file.metadata().map_err(DataError::io(path))?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let zipped =
        std::io::BufRead::fill_buf(&mut reader).map_err(DataError::io(path))?.starts_with(&[0x1f, 0x8b]);
    if zipped {
        decode(&mut GzDecoder::new(reader), inflated_limit(size), &label)
    } else {
        decode(&mut reader, size, &label)
    }
}

fn decode(reader: &mut impl Read, limit: u64, label: &str) -> Result<Tensor, DataError> {
    let fail = |error| DataError::content(label, error);
    let mut magic = [0; 4];
    reader.read_exact(&mut magic).map_err(fail)?;
    let dtype = element_type(magic[2]).filter(|_| is_magic(&magic)).ok_or_else(|| {
        DataError::damaged(label, format!("{magic:02x?} is no magic number of an IDX file"))
    })?;
    let mut dims = Vec::new();
    for _ in 0..magic[3] {
        let mut dim = [0; 4];
        reader.read_exact(&mut dim).map_err(fail)?;
        dims.push(u32::from_be_bytes(dim) as usize);
    }
    let count = checked_count(&dims)
        .ok_or_else(|| DataError::damaged(label, format!("dimensions {dims:?} are too large")))?;
    let values = read_values(reader, dtype, true, count, limit).map_err(fail)?;
    if reader.read(&mut [0]).map_err(fail)? != 0 {
        return Err(DataError::damaged(label, format!("it goes on after the values of dimensions {dims:?}")));
    }
    Ok(Tensor::new(dims, values)?)
}
