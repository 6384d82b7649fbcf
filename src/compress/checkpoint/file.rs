//! A checkpoint as a file: arrays in the safetensors format, with a document of text and checksums of all of it in
//! the header.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use crate::data::hexadecimal;
use crate::ir::IrError;

/// Keys of the header: the document, and the checksum of everything.
const DOCUMENT: &str = "safe-onnx";
const CHECKSUM: &str = "sha256";

/// An array to be written.
pub(super) struct Array<'a> {
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
    pub(super) values: &'a [f32],
}

/// Writes arrays and a document to `path`, and waits until they are on the disk.
pub(super) fn write(path: &Path, document: &str, arrays: &[Array<'_>]) -> Result<(), IrError> {
    let failed = |error: std::io::Error| IrError::io("write", path, error);
    let views = arrays
        .iter()
        .map(|array| {
            TensorView::new(Dtype::F32, array.dims.clone(), bytemuck::cast_slice(array.values))
                .map(|view| (array.name.as_str(), view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(std::io::Error::other(error)))?;
    let checksum = checksum(document, &views);
    let header = HashMap::from([(DOCUMENT.to_owned(), document.to_owned()), (CHECKSUM.to_owned(), checksum)]);
    safetensors::serialize_to_file(views, Some(header), path)
        .map_err(|error| failed(std::io::Error::other(error)))?;
    File::open(path).and_then(|file| file.sync_all()).map_err(failed)
}

/// A whole checkpoint.
#[derive(Debug)]
pub(super) struct Contents {
    mapped: Mmap,
    pub(super) document: String,
}

impl Contents {
    /// Opens a file and checks all of it. What is wrong with a damaged one is the inner error.
    #[allow(unsafe_code, reason = "a file is mapped")]
    pub(super) fn open(path: &Path) -> Result<Result<Self, String>, IrError> {
        let file = File::open(path).map_err(|error| IrError::io("read", path, error))?;
        // SAFETY: nobody else writes to a checkpoint once it has its name; the content is checked before it is used.
        let mapped = unsafe { Mmap::map(&file) }.map_err(|error| IrError::io("read", path, error))?;
        Ok(Self::check(mapped))
    }

    fn check(mapped: Mmap) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(&mapped).map_err(|error| error.to_string())?;
        let entry = |key: &str| {
            let found = header.metadata().as_ref().and_then(|entries| entries.get(key));
            found.cloned().ok_or_else(|| format!("its header has no entry `{key}`"))
        };
        let (document, expected) = (entry(DOCUMENT)?, entry(CHECKSUM)?);
        let arrays = SafeTensors::deserialize(&mapped).map_err(|error| error.to_string())?;
        if checksum(&document, &arrays.tensors()) != expected {
            return Err("its content does not have the checksum that its header names".to_owned());
        }
        drop(arrays);
        Ok(Self { mapped, document })
    }

    /// The values of an array.
    pub(super) fn values(&self, name: &str) -> Option<Vec<f32>> {
        let arrays = SafeTensors::deserialize(&self.mapped).ok()?;
        let array = arrays.tensor(name).ok().filter(|array| array.dtype() == Dtype::F32)?;
        Some(bytemuck::pod_collect_to_vec(array.data()))
    }
}

/// Over the document, and the names, dimensions and values of the arrays by their names.
fn checksum<N: AsRef<str> + Sync>(document: &str, arrays: &[(N, TensorView<'_>)]) -> String {
    let mut lines: Vec<String> = arrays
        .par_iter()
        .map(|(name, array)| {
            let digest = hexadecimal(Sha256::digest(array.data()).as_slice());
            format!("{} {:?} {:?} {digest}\n", name.as_ref(), array.dtype(), array.shape())
        })
        .collect();
    lines.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(document.as_bytes());
    for line in &lines {
        hash.update(line.as_bytes());
    }
    hexadecimal(hash.finalize().as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path) -> Vec<u8> {
        let path = folder.join("file");
        let values = [1.0_f32, -2.5, 3.25, 0.0];
        let arrays = [
            Array { name: "x/w".to_owned(), dims: vec![2, 2], values: &values },
            Array { name: "u/w".to_owned(), dims: vec![3], values: &values[..3] },
        ];
        write(&path, "{\"step\":3}", &arrays).unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path());
        let contents = Contents::open(&folder.path().join("file")).unwrap().unwrap();
        assert_eq!(contents.document, "{\"step\":3}");
        assert_eq!(contents.values("x/w"), Some(vec![1.0, -2.5, 3.25, 0.0]));
        assert_eq!(contents.values("u/w"), Some(vec![1.0, -2.5, 3.25]));
        assert_eq!(contents.values("z/w"), None);
    }

    #[test]
    fn any_change_of_a_bit_and_any_missing_end_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = written(folder.path());
        let path = folder.path().join("other");
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1 << (place % 8);
            std::fs::write(&path, &changed).unwrap();
            // Spaces that fill up the header carry nothing.
            let read = Contents::open(&path).unwrap();
            assert!(read.is_err() || bytes[place] == b' ', "byte {place} of {}", bytes.len());
            std::fs::write(&path, &bytes[..place]).unwrap();
            assert!(!matches!(Contents::open(&path), Ok(Ok(_))), "{place} bytes of {}", bytes.len());
        }
    }
}
