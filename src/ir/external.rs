//! External tensor data: files beside the model, mapped, never outside its folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;
use onnx_proto::TensorProto;

use super::initializer::EXTERNAL;
use super::{Graph, IrError};

/// Bytes of a file that is mapped into memory.
#[derive(Debug, Clone)]
pub(super) struct Mapped {
    bytes: Bytes,
    /// Nothing for an empty file.
    file: Option<Arc<Mmap>>,
}

impl Mapped {
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn slice(&self, start: u64, end: u64) -> Self {
        Self { bytes: self.bytes.slice(start as usize..end as usize), file: self.file.clone() }
    }

    /// Lets the system take the memory back that holds these bytes; they are read from the file again where needed.
    #[allow(
        unsafe_code,
        reason = "the system is told to drop pages, which would lose them were they not a file's"
    )]
    pub(super) fn release(&self) {
        #[cfg(unix)]
        if let Some(file) = &self.file
            && !self.bytes.is_empty()
        {
            let start = self.bytes.as_ptr().addr() - file.as_ptr().addr();
            // SAFETY: the mapping is of a file and read-only, so that pages hold nothing that the file does not.
            let advised = unsafe {
                file.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, self.bytes.len())
            };
            // Memory is all that is lost when the system does not listen.
            drop(advised);
        }
    }
}

struct Owner(Arc<Mmap>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes of a file, mapped into memory where it is not empty.
#[allow(unsafe_code, reason = "mapping a file is unsafe because another process may change it meanwhile")]
fn map_file(path: &Path) -> io::Result<Mapped> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder, not a file"));
    }
    if file.metadata()?.len() == 0 {
        return Ok(Mapped { bytes: Bytes::new(), file: None });
    }
    // SAFETY: the mapping is read-only and private to this process. A file that another process cuts short while
    // we read it would end this process with a signal; model files are taken as not being written meanwhile.
    let mapping = Arc::new(unsafe { Mmap::map(&file)? });
    Ok(Mapped { bytes: Bytes::from_owner(Owner(Arc::clone(&mapping))), file: Some(mapping) })
}

/// The bytes of a file, mapped into memory where it is not empty.
pub(super) fn map(path: &Path) -> io::Result<Bytes> {
    Ok(map_file(path)?.bytes)
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
    mapped: BTreeMap<String, Mapped>,
}

impl Files {
    fn mapped(&mut self, tensor: &TensorProto) -> Result<Mapped, IrError> {
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
            let file = map_file(&path).map_err(|error| fail(location, format!("cannot read it: {error}")))?;
            self.mapped.insert(location.to_owned(), file);
        }
        let file = &self.mapped[location];
        let size = file.bytes.len() as u64;
        let length = reference.length.unwrap_or_else(|| size.saturating_sub(reference.offset));
        match reference.offset.checked_add(length) {
            Some(end) if end <= size => Ok(file.slice(reference.offset, end)),
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
            tensor.raw_data = Some(self.mapped(tensor)?.bytes);
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
            let mapped = files.mapped(initializer.proto())?;
            initializer.set_mapped(mapped);
        }
    }
    for node in &mut graph.nodes {
        files.embed_attributes(&mut node.attributes)?;
    }
    Ok(())
}
