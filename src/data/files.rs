//! Looking into folders.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::DataError;

/// The first of `names` that is a file in `folder`.
pub(super) fn existing(folder: &Path, names: &[String]) -> Option<PathBuf> {
    names.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// Files and folders in `folder`, each sorted by name; hidden ones are left out.
pub(super) struct Listing {
    pub(super) files: Vec<PathBuf>,
    pub(super) folders: Vec<PathBuf>,
}

impl Listing {
    pub(super) fn read(folder: &Path) -> Result<Self, DataError> {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
            let path = entry.map_err(DataError::io(folder))?.path();
            if name(&path).starts_with('.') {
                continue;
            }
            if path.is_dir() { &mut folders } else { &mut files }.push(path);
        }
        files.sort();
        folders.sort();
        Ok(Self { files, folders })
    }

    /// The files whose extension is one of `extensions`, in lower case.
    pub(super) fn with_extension(&self, extensions: &[&str]) -> Vec<PathBuf> {
        let wanted = |path: &&PathBuf| {
            let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
            extensions.contains(&extension.as_str())
        };
        self.files.iter().filter(wanted).cloned().collect()
    }
}

/// The last part of a path.
pub(super) fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The last part of a path without its extension.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
