//! Writing model files.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use onnx_proto::Message as _;
use onnx_proto::{StringStringEntryProto, TensorProto};
use tempfile::NamedTempFile;

use super::initializer::EXTERNAL;
use super::{Initializer, IrError, Model};

/// Where weights are put when a model is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storage {
    /// External when the model came with external data, or would pass protobuf's limit; else embedded.
    #[default]
    Auto,
    /// In the model file.
    Embedded,
    /// In a file beside the model file, named like it with `.data` appended.
    External,
}

/// Largest message that protobuf allows, with room for what surrounds the weights.
const LIMIT: u64 = (1 << 31) - (1 << 20);
/// Tensors smaller than this stay in the model file, so that readers see shapes and indices at once.
const SMALL: u64 = 1024;
/// Alignment of tensors in a data file, in bytes; large ones start on a page so that they can be mapped.
const ALIGNMENT: [(u64, u64); 2] = [(1 << 20, 4096), (0, 64)];

impl Model {
    /// The whole model as one message, external data embedded.
    ///
    /// # Errors
    /// When the message would pass protobuf's limit of 2 GB.
    pub fn to_bytes(&self) -> Result<Vec<u8>, IrError> {
        let proto = self.to_proto(Initializer::embedded_proto);
        let bytes = proto.encoded_len() as u64;
        if bytes >= LIMIT { Err(IrError::TooLarge { bytes }) } else { Ok(proto.encode_to_vec()) }
    }

    /// Whether `storage` means external data for this model.
    pub fn stores_externally(&self, storage: Storage) -> bool {
        match storage {
            Storage::Embedded => false,
            Storage::External => true,
            Storage::Auto => self.uses_external_data() || self.weight_bytes() >= LIMIT,
        }
    }

    /// Writes the model to `path`; the files appear whole or not at all. Returns their bytes.
    ///
    /// # Errors
    /// When a file exists and `force` is not set, cannot be written, or the model does not fit into one message.
    pub fn write(&self, path: &Path, storage: Storage, force: bool) -> Result<u64, IrError> {
        if !self.stores_externally(storage) {
            let bytes = self.to_bytes()?;
            write_atomically(path, &bytes, force)?;
            return Ok(bytes.len() as u64);
        }
        let data_path = data_path(path);
        let location =
            data_path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for target in [path, &data_path] {
            refuse_existing(target, force)?;
        }
        let failed = |error| IrError::io("write", &data_path, error);
        let mut data = temporary(&data_path)?;
        let mut end = 0_u64;
        let mut result = Ok(());
        let proto = {
            let mut writer = BufWriter::new(data.as_file_mut());
            let proto = self.to_proto(|tensor| match tensor.raw().filter(|_| tensor.bytes() >= SMALL) {
                Some(raw) if result.is_ok() => {
                    let start = aligned(end, raw.len() as u64);
                    result = pad(&mut writer, start - end).and_then(|()| writer.write_all(raw));
                    tensor.release();
                    end = start + raw.len() as u64;
                    referring(tensor, &location, start, raw.len())
                }
                _ => tensor.embedded_proto(),
            });
            result.and_then(|()| writer.flush()).map_err(failed)?;
            proto
        };
        let bytes = proto.encoded_len() as u64;
        if bytes >= LIMIT {
            return Err(IrError::TooLarge { bytes });
        }
        let message = proto.encode_to_vec();
        let mut file = temporary(path)?;
        file.write_all(&message).map_err(|error| IrError::io("write", path, error))?;
        persist(data, &data_path, force)?;
        persist(file, path, force)?;
        Ok(bytes + end)
    }
}

/// The data file that belongs to the model file `path`.
fn data_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".data");
    PathBuf::from(name)
}

fn aligned(end: u64, length: u64) -> u64 {
    let step = ALIGNMENT.iter().find(|(least, _)| length >= *least).map_or(1, |(_, step)| *step);
    end.next_multiple_of(step)
}

fn pad(writer: &mut impl Write, count: u64) -> io::Result<()> {
    writer.write_all(&[0; 4096][..count as usize])
}

fn referring(tensor: &Initializer, location: &str, offset: u64, length: usize) -> TensorProto {
    let entry =
        |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
    let old = tensor.proto();
    TensorProto {
        name: old.name.clone(),
        dims: old.dims.clone(),
        data_type: old.data_type,
        doc_string: old.doc_string.clone(),
        metadata_props: old.metadata_props.clone(),
        external_data: vec![
            entry("location", location.to_owned()),
            entry("offset", offset.to_string()),
            entry("length", length.to_string()),
        ],
        data_location: Some(EXTERNAL),
        ..TensorProto::default()
    }
}

fn refuse_existing(path: &Path, force: bool) -> Result<(), IrError> {
    if !force && path.symlink_metadata().is_ok() {
        Err(IrError::Exists { path: path.to_owned() })
    } else {
        Ok(())
    }
}

/// Checks that a file could be written to `path` later on.
///
/// # Errors
/// When the file exists and `force` is not set, is a folder, or no file can be made in its folder.
pub fn check_writable(path: &Path, force: bool) -> Result<(), IrError> {
    refuse_existing(path, force)?;
    if path.is_dir() {
        let error = io::Error::new(io::ErrorKind::IsADirectory, "it is a folder");
        return Err(IrError::io("write", path, error));
    }
    temporary(path).map(drop)
}

fn temporary(path: &Path) -> Result<NamedTempFile, IrError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".safe-onnx-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As an ordinary new file; the system's mask still applies.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder).map_err(|error| IrError::io("create a file in the folder of", path, error))
}

fn persist(file: NamedTempFile, path: &Path, force: bool) -> Result<(), IrError> {
    if path.is_dir() {
        let error = io::Error::new(io::ErrorKind::IsADirectory, "it is a folder");
        return Err(IrError::io("write", path, error));
    }
    let result = if force { file.persist(path) } else { file.persist_noclobber(path) };
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            Err(IrError::Exists { path: path.to_owned() })
        }
        Err(error) => Err(IrError::io("write", path, error.error)),
    }
}

/// Writes `bytes` to `path`: the file appears whole or not at all.
///
/// # Errors
/// When the file exists and `force` is not set, or it cannot be written.
pub fn write_atomically(path: &Path, bytes: &[u8], force: bool) -> Result<(), IrError> {
    refuse_existing(path, force)?;
    let mut file = temporary(path)?;
    file.write_all(bytes).map_err(|error| IrError::io("write", path, error))?;
    persist(file, path, force)
}

/// A model file with its data in a folder of its own that is removed when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Scratch {
    /// The model file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Model {
    /// Writes the model, weights apart, into a temporary folder: for engines, when it is too large for one message.
    ///
    /// # Errors
    /// When the folder or the files cannot be written.
    pub fn write_scratch(&self) -> Result<Scratch, IrError> {
        let folder = tempfile::tempdir()
            .map_err(|error| IrError::io("create a temporary folder in", std::env::temp_dir(), error))?;
        let path = folder.path().join("model.onnx");
        self.write(&path, Storage::External, true)?;
        Ok(Scratch { _folder: folder, path })
    }
}
