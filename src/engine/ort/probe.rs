//! A look at a library before the runtime's binding gets it: the binding panics on some libraries that it cannot
//! use, keeps the first one for ever, and does not tell the version.

#[cfg(not(unix))]
use std::path::Path;
use std::path::PathBuf;

/// What a library says of itself.
pub(super) struct Probe {
    /// Its absolute path, where the system tells.
    pub(super) path: PathBuf,
    /// Its version.
    pub(super) version: String,
}

/// Why a library will not do.
#[derive(Debug)]
pub(super) enum ProbeError {
    /// The system's loader knows no library of that name.
    Absent,
    /// It cannot be loaded, or is no ONNX Runtime.
    Broken(String),
    /// It is older than the oldest interface that is used; with its version.
    TooOld(String),
}

/// Whether a version has the interface that is used.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(1), Some(minor)) => minor >= ::ort::MINOR_VERSION,
        (Some(major), Some(_)) => major > 1,
        _ => false,
    }
}

#[cfg(unix)]
pub(super) use unix::probe;

#[cfg(not(unix))]
pub(super) fn probe(path: &Path) -> Result<Probe, ProbeError> {
    if path.components().count() > 1 && !path.is_file() {
        return Err(ProbeError::Absent);
    }
    // The binding checks the version itself, without telling it.
    Ok(Probe { path: path.to_path_buf(), version: format!("1.{} or newer", ::ort::MINOR_VERSION) })
}

#[cfg(unix)]
mod unix {
    #![allow(unsafe_code, reason = "a library's version can only be read by loading it")]

    use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
    use std::io::ErrorKind;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};

    use super::{Probe, ProbeError, is_new_enough};

    const RTLD_NOW: c_int = 2;

    /// What `dladdr` tells of an address.
    #[repr(C)]
    struct Place {
        file: *const c_char,
        base: *mut c_void,
        symbol: *const c_char,
        address: *mut c_void,
    }

    unsafe extern "C" {
        fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void;
        fn dlsym(library: *mut c_void, symbol: *const c_char) -> *mut c_void;
        fn dlclose(library: *mut c_void) -> c_int;
        fn dladdr(address: *const c_void, place: *mut Place) -> c_int;
        fn dlerror() -> *const c_char;
    }

    /// An open library; closing it is the holder's choice.
    struct Handle(*mut c_void);

    impl Drop for Handle {
        fn drop(&mut self) {
            // SAFETY: the handle came from `dlopen` and is closed once; nothing read from it is kept.
            unsafe { dlclose(self.0) };
        }
    }

    fn last_error() -> String {
        // SAFETY: `dlerror` gives null or a text that lives until the next call of this thread.
        let text = unsafe { dlerror() };
        if text.is_null() {
            return "the system's loader gives no reason".to_owned();
        }
        // SAFETY: just checked; the text ends in a null byte.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    /// Loads the library at `path`, or with that name on the system's path, and asks for its version.
    pub(in crate::engine::ort) fn probe(path: &Path) -> Result<Probe, ProbeError> {
        let absolute = if path.components().count() > 1 {
            path.canonicalize().map_err(|error| match error.kind() {
                ErrorKind::NotFound => ProbeError::Absent,
                _ => ProbeError::Broken(error.to_string()),
            })?
        } else {
            path.to_path_buf()
        };
        let name = CString::new(absolute.as_os_str().as_bytes())
            .map_err(|_| ProbeError::Broken("the path holds a null byte".to_owned()))?;
        // SAFETY: the name is a text that ends in a null byte. Loading runs the library's initialisers: that is
        // what the user asks for by installing or naming it.
        let library = unsafe { dlopen(name.as_ptr(), RTLD_NOW) };
        if library.is_null() {
            let message = last_error();
            let bare = absolute.components().count() == 1;
            // The message about a library that another one needs starts with the name of that.
            let absent = bare
                && message.starts_with(&*absolute.to_string_lossy())
                && message.ends_with("No such file or directory");
            return Err(if absent { ProbeError::Absent } else { ProbeError::Broken(message) });
        }
        let library = Handle(library);
        // SAFETY: the handle is open and the symbol's name ends in a null byte.
        let entry = unsafe { dlsym(library.0, c"OrtGetApiBase".as_ptr()) };
        if entry.is_null() {
            return Err(ProbeError::Broken("it has no OrtGetApiBase".to_owned()));
        }
        // SAFETY: under this name ONNX Runtime exports this function since version 1.0.
        let get_base: unsafe extern "C" fn() -> *const ::ort::sys::OrtApiBase =
            unsafe { std::mem::transmute(entry) };
        // SAFETY: the function takes nothing and gives a static table, or null.
        let Some(base) = (unsafe { get_base().as_ref() }) else {
            return Err(ProbeError::Broken("OrtGetApiBase gives nothing".to_owned()));
        };
        // SAFETY: the table's function gives a static text.
        let version = unsafe { CStr::from_ptr((base.GetVersionString)()) }.to_string_lossy().into_owned();
        if !is_new_enough(&version) {
            return Err(ProbeError::TooOld(version));
        }
        // SAFETY: the table's function takes any number and gives null for one that it does not know.
        if unsafe { (base.GetApi)(::ort::sys::ORT_API_VERSION) }.is_null() {
            return Err(ProbeError::TooOld(version));
        }
        let mut place = Place {
            file: std::ptr::null(),
            base: std::ptr::null_mut(),
            symbol: std::ptr::null(),
            address: entry,
        };
        // SAFETY: `entry` is an address in a loaded library and `place` is writable.
        let told = unsafe { dladdr(entry, &raw mut place) };
        let path = if told == 0 || place.file.is_null() {
            absolute
        } else {
            // SAFETY: `dladdr` succeeded, so this is a text that lives as long as the library is loaded.
            let file = unsafe { CStr::from_ptr(place.file) };
            let file = PathBuf::from(OsStr::from_bytes(file.to_bytes()));
            file.canonicalize().unwrap_or(file)
        };
        // The library stays open: the binding opens it again, and closing it in between would run its exits.
        std::mem::forget(library);
        Ok(Probe { path, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_from_1_17_on_are_new_enough() {
        let cases = [
            ("1.17.0", true),
            ("1.32.0", true),
            ("1.16.3", false),
            ("2.0.0", true),
            ("0.5.0", false),
            ("x", false),
        ];
        for (version, expected) in cases {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }

    #[test]
    fn files_that_are_no_onnx_runtime_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("libonnxruntime.so");
        std::fs::write(&text, "not a library").unwrap();
        assert!(matches!(probe(&text), Err(ProbeError::Broken(_))));
        for missing in [folder.path().join("missing.so"), PathBuf::from("libno-such-library.so")] {
            assert!(matches!(probe(&missing), Err(ProbeError::Absent)), "{}", missing.display());
        }
    }
}
