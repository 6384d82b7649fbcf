//! What lies at a path: the format, found by itself, and its arrays.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;

use super::{
    DataError, Part, cifar,
    files::{Listing, name, stem},
    idx, names, npy, npz,
};
use crate::tensor::{DType, Tensor};

/// Data in one of the known formats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Npz(PathBuf),
    Npy(PathBuf),
    NpyFolder(PathBuf),
    Idx(idx::Files),
    Cifar(PathBuf, cifar::Files),
    /// A folder with one folder of images for each class.
    Images(PathBuf),
}

/// An array, and what it is called in messages.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) label: String,
    pub(super) tensor: Tensor,
}

/// Finds the `part` of the data at `path`. A file is one part, whichever is asked for.
pub(super) fn locate(path: &Path, part: Part) -> Result<Source, DataError> {
    if !std::fs::metadata(path).map_err(DataError::io(path))?.is_dir() {
        return locate_file(path);
    }
    let listing = Listing::read(path)?;
    let folder = |part| names::path_of_part(&listing.folders, part);
    match (folder(Part::Train), folder(Part::Val), folder(part)) {
        (Some(_), Some(_), Some(folder)) => locate_in_folder(folder, part, &Listing::read(folder)?),
        (Some(only), None, chosen) | (None, Some(only), chosen) if listing.folders.len() == 1 => match chosen
        {
            Some(folder) => locate_in_folder(folder, part, &Listing::read(folder)?),
            None => Err(missing(path, part, format!("beside '{}', a folder for it was", name(only)))),
        },
        _ => locate_in_folder(path, part, &listing),
    }
}

/// Whether the data at `path` have a validation part of their own.
pub(super) fn has_validation(path: &Path) -> Result<bool, DataError> {
    Ok(match (locate(path, Part::Train), locate(path, Part::Val)) {
        (Ok(Source::Npz(train)), Ok(Source::Npz(val))) if train == val => {
            names::tell_parts(&npz::Archive::open(&train)?.names())
        }
        (Ok(Source::NpyFolder(train)), Ok(Source::NpyFolder(val))) if train == val => {
            names::tell_parts(&npy_names(&train)?)
        }
        (Ok(train), Ok(val)) => train != val,
        _ => false,
    })
}

fn missing(path: &Path, part: Part, missing: String) -> DataError {
    let part = match part {
        Part::Train => "training",
        Part::Val => "validation",
    };
    DataError::MissingPart { path: path.to_owned(), part, missing }
}

fn locate_file(path: &Path) -> Result<Source, DataError> {
    let start = |reader: &mut dyn Read| {
        let mut bytes = Vec::new();
        reader.take(8).read_to_end(&mut bytes).map(|_| bytes)
    };
    let open = || File::open(path).map_err(DataError::io(path));
    let mut bytes = start(&mut open()?).map_err(DataError::io(path))?;
    if bytes.starts_with(b"PK") {
        return Ok(Source::Npz(path.to_owned()));
    }
    if bytes.starts_with(npy::MAGIC) {
        return Ok(Source::Npy(path.to_owned()));
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        bytes = start(&mut GzDecoder::new(open()?))
            .map_err(|error| DataError::content(&path.display().to_string(), error))?;
    }
    if idx::is_magic(&bytes) {
        return Ok(Source::Idx(idx::beside(path)));
    }
    Err(DataError::Unrecognised {
        path: path.to_owned(),
        found: format!("a file that starts with {bytes:02x?}"),
    })
}

fn locate_in_folder(path: &Path, part: Part, listing: &Listing) -> Result<Source, DataError> {
    if idx::find(path, Part::Train).or_else(|| idx::find(path, Part::Val)).is_some() {
        return idx::find(path, part).map(Source::Idx).ok_or_else(|| missing(path, part, idx::wanted(part)));
    }
    if cifar::find(path, Part::Train).or_else(|| cifar::find(path, Part::Val)).is_some() {
        return cifar::find(path, part)
            .map(|files| Source::Cifar(path.to_owned(), files))
            .ok_or_else(|| missing(path, part, cifar::wanted(part).to_owned()));
    }
    let archives = listing.with_extension(&["npz"]);
    if let [archive] = &archives[..] {
        return Ok(Source::Npz(archive.clone()));
    }
    if let Some(archive) = names::path_of_part(&archives, part) {
        return Ok(Source::Npz(archive.clone()));
    }
    if !listing.with_extension(&["npy"]).is_empty() {
        return Ok(Source::NpyFolder(path.to_owned()));
    }
    if !listing.folders.is_empty() {
        return Ok(Source::Images(path.to_owned()));
    }
    let found = format!("a folder of {} files, none with a known name", listing.files.len());
    Err(DataError::Unrecognised { path: path.to_owned(), found })
}

fn npy_names(folder: &Path) -> Result<Vec<String>, DataError> {
    Ok(Listing::read(folder)?.with_extension(&["npy"]).iter().map(|path| stem(path)).collect())
}

fn npy_form(path: &Path) -> Result<(Vec<usize>, DType), DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    npy::read_form(&mut std::io::BufReader::new(file), &path.display().to_string())
}

fn read_npy(path: &Path) -> Result<Named, DataError> {
    let label = path.display().to_string();
    let file = File::open(path).map_err(DataError::io(path))?;
    let size = file.metadata().map_err(DataError::io(path))?.len();
    let tensor = npy::read(&mut std::io::BufReader::with_capacity(1 << 16, file), size, &label)?;
    Ok(Named { label, tensor })
}

impl Source {
    /// Name of the format.
    pub(super) fn format(&self) -> &'static str {
        match self {
            Self::Npz(_) => "NumPy archive",
            Self::Npy(_) => "NumPy array",
            Self::NpyFolder(_) => "folder of NumPy arrays",
            Self::Idx(_) => "IDX",
            Self::Cifar(_, files) => files.name(),
            Self::Images(_) => "folder of images",
        }
    }

    /// The file or folder that holds the data.
    pub(super) fn place(&self) -> &Path {
        match self {
            Self::Npz(path)
            | Self::Npy(path)
            | Self::NpyFolder(path)
            | Self::Cifar(path, _)
            | Self::Images(path) => path,
            Self::Idx(files) => &files.images,
        }
    }

    /// Names of the arrays that belong to `part`, in their order; none for a folder of images.
    pub(super) fn names(&self, part: Part) -> Result<Vec<String>, DataError> {
        Ok(match self {
            Self::Npz(path) => names::of_part(&npz::Archive::open(path)?.names(), part),
            Self::Npy(_) => vec!["inputs".to_owned()],
            Self::NpyFolder(path) => names::of_part(&npy_names(path)?, part),
            Self::Idx(idx::Files { labels: None, .. }) => vec!["images".to_owned()],
            Self::Idx(_) | Self::Cifar(..) => vec!["images".to_owned(), "labels".to_owned()],
            Self::Images(_) => Vec::new(),
        })
    }

    /// Dimensions and element types of the arrays with these names, in this order.
    pub(super) fn forms(&self, names: &[&str]) -> Result<Vec<(Vec<usize>, DType)>, DataError> {
        match self {
            Self::Npz(path) => {
                let archive = npz::Archive::open(path)?;
                let form = |name: &&str| archive.form(name, &format!("array '{name}' of {}", path.display()));
                names.iter().map(form).collect()
            }
            Self::Npy(path) => names.iter().map(|_| npy_form(path)).collect(),
            Self::NpyFolder(path) => {
                names.iter().map(|name| npy_form(&path.join(format!("{name}.npy")))).collect()
            }
            Self::Idx(_) | Self::Cifar(..) | Self::Images(_) => {
                let form = |array: Named| (array.tensor.dims().to_vec(), array.tensor.dtype());
                Ok(self.read(names)?.into_iter().map(form).collect())
            }
        }
    }

    /// Reads the arrays with these names, in this order.
    pub(super) fn read(&self, names: &[&str]) -> Result<Vec<Named>, DataError> {
        let each =
            |read: &dyn Fn(&str) -> Result<Named, DataError>| names.iter().map(|name| read(name)).collect();
        match self {
            Self::Npz(path) => {
                let archive = npz::Archive::open(path)?;
                each(&|name| {
                    let label = format!("array '{name}' of {}", path.display());
                    Ok(Named { tensor: archive.read(name, &label)?, label })
                })
            }
            Self::Npy(path) => each(&|_| read_npy(path)),
            Self::NpyFolder(path) => each(&|name| read_npy(&path.join(format!("{name}.npy")))),
            Self::Idx(files) => each(&|name| {
                let path = files.labels.as_ref().filter(|_| name == "labels").unwrap_or(&files.images);
                Ok(Named { label: path.display().to_string(), tensor: idx::read(path)? })
            }),
            Self::Cifar(path, files) => {
                let (images, labels) = cifar::read(files)?;
                let part: Vec<_> = files.paths().iter().map(|path| name(path)).collect();
                let label = |what| format!("{what} of {} ({})", path.display(), part.join(", "));
                let (mut images, mut labels) = (Some(images), Some(labels));
                let mut take = |name: &&str| match *name {
                    "labels" => Some(Named { label: label("labels"), tensor: labels.take()? }),
                    _ => Some(Named { label: label("images"), tensor: images.take()? }),
                };
                Ok(names.iter().filter_map(&mut take).collect())
            }
            Self::Images(_) => Ok(Vec::new()),
        }
    }
}
