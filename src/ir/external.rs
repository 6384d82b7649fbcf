//! External tensor data: files beside the model, mapped, never outside its folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use onnx_proto::TensorProto;

use super::initializer::EXTERNAL;
use super::{Graph, IrError};

/// The bytes of a file, mapped into memory where it is not empty.
#[allow(unsafe_code, reason = "mapping a file is unsafe because another process may change it meanwhile")]
pub(super) fn map(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder, not a file"));
    }
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is read-only and private to this process. A file that another process cuts short while
    // we read it would end this process with a signal; model files are taken as not being written meanwhile.
    let mapping = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Bytes::from_owner(mapping))
}

/// Where the data of one tensor stand.
struct Reference {
    location: String,
    offset: u64,
    length: Option<u64>,
}

fn reference(tensor: &TensorProto) -> Result<Reference, String> {
    let mut reference = Reference { location: String::new(), offset: 0, length: None };
    for entry in &tensor.external_data {
        let value = entry.value.as_deref().unwrap_or("");
        let number = || value.parse::<u64>().map_err(|_| format!("`{value}` is no number of bytes"));
        match entry.key.as_deref().unwrap_or("") {
            "location" => value.clone_into(&mut reference.location),
            "offset" => reference.offset = number()?,
            "length" => reference.length = Some(number()?),
            _ => {}
        }
    }
    if reference.location.is_empty() { Err("no location is given".to_owned()) } else { Ok(reference) }
}

/// The path of `location` inside `folder`, or why it is refused.
fn inside(folder: &Path, location: &str) -> Result<PathBuf, String> {
    let relative = Path::new(location);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain || location.contains('\\') {
        return Err("it leaves the folder of the model, which is not allowed".to_owned());
    }
    let whole =
        |path: &Path| path.canonicalize().map_err(|error| format!("cannot open {}: {error}", path.display()));
    let root = whole(folder)?;
    let path = whole(&folder.join(relative))?;
    if !path.starts_with(&root) {
        return Err("it is a link that leaves the folder of the model, which is not allowed".to_owned());
    }
    Ok(path)
}

#[derive(Default)]
struct Files {
    folder: PathBuf,
    mapped: BTreeMap<String, Bytes>,
}

impl Files {
    fn bytes(&mut self, tensor: &TensorProto) -> Result<Bytes, IrError> {
        let name = tensor.name.as_deref().unwrap_or("");
        let fail = |location: &str, reason: String| IrError::External {
            name: name.to_owned(),
            location: location.to_owned(),
            reason,
        };
        let reference = reference(tensor).map_err(|reason| fail("", reason))?;
        let location = reference.location.as_str();
        if !self.mapped.contains_key(location) {
            let path = inside(&self.folder, location).map_err(|reason| fail(location, reason))?;
            let bytes = map(&path).map_err(|error| fail(location, format!("cannot read it: {error}")))?;
            self.mapped.insert(location.to_owned(), bytes);
        }
        let bytes = &self.mapped[location];
        let size = bytes.len() as u64;
        let length = reference.length.unwrap_or_else(|| size.saturating_sub(reference.offset));
        match reference.offset.checked_add(length) {
            Some(end) if end <= size => Ok(bytes.slice(reference.offset as usize..end as usize)),
            _ => Err(fail(
                location,
                format!(
                    "bytes {} to {} are asked for, the file holds {size}",
                    reference.offset,
                    reference.offset.saturating_add(length)
                ),
            )),
        }
    }

    /// Puts external data of tensors inside attributes and subgraphs into their messages.
    fn embed(&mut self, tensor: &mut TensorProto) -> Result<(), IrError> {
        if tensor.data_location == Some(EXTERNAL) {
            tensor.raw_data = Some(self.bytes(tensor)?);
            tensor.data_location = None;
            tensor.external_data.clear();
        }
        Ok(())
    }

    fn embed_attributes(&mut self, attributes: &mut super::Attributes) -> Result<(), IrError> {
        for tensor in attributes.tensors_mut() {
            self.embed(tensor)?;
        }
        for graph in attributes.graphs_mut() {
            for tensor in &mut graph.initializer {
                self.embed(tensor)?;
            }
            for node in &mut graph.node {
                let mut inner = super::Attributes(std::mem::take(&mut node.attribute));
                let result = self.embed_attributes(&mut inner);
                node.attribute = inner.0;
                result?;
            }
        }
        Ok(())
    }
}

/// Finds the data of every external tensor of `graph`, read from `path`.
pub(super) fn resolve(graph: &mut Graph, path: &Path) -> Result<(), IrError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut files = Files { folder: folder.to_owned(), ..Files::default() };
    for value in &mut graph.values {
        if let Some(initializer) = value.initializer.as_mut().filter(|tensor| tensor.is_external()) {
            let bytes = files.bytes(initializer.proto())?;
            initializer.set_mapped(bytes);
        }
    }
    for node in &mut graph.nodes {
        files.embed_attributes(&mut node.attributes)?;
    }
    Ok(())
}
