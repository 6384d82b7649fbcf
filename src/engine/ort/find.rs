//! The places where an ONNX Runtime library may lie, in the order in which they are tried. Nothing is loaded here.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Why a place is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The user named the library on the command line.
    Option,
    /// The user named the library in `ORT_DYLIB_PATH`.
    Environment,
    /// The `onnxruntime` package of the active Python.
    Python,
    /// The system's library path.
    System,
}

impl Origin {
    /// All origins, first tried first.
    pub(super) const ALL: [Self; 4] = [Self::Option, Self::Environment, Self::Python, Self::System];

    /// Whether the user named the very library: then no other may take its place.
    pub(super) fn is_named(self) -> bool {
        matches!(self, Self::Option | Self::Environment)
    }

    /// The libraries of this origin, best first.
    pub(super) fn libraries(self, named: Option<&Path>) -> Vec<PathBuf> {
        match self {
            Self::Option => named.map(file_first).into_iter().collect(),
            Self::Environment => {
                let path = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
                path.map(|path| file_first(Path::new(&path))).into_iter().collect()
            }
            Self::Python => python(),
            Self::System => SYSTEM.iter().map(PathBuf::from).collect(),
        }
    }
}

/// A path that the user gave: the file that it names from here if there is one, and else a name for the loader.
fn file_first(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Option => "--ort-lib",
            Self::Environment => "ORT_DYLIB_PATH",
            Self::Python => "Python package onnxruntime",
            Self::System => "system library path",
        })
    }
}

/// Names that the system's loader resolves by itself, through `LD_LIBRARY_PATH` and its cache.
const SYSTEM: &[&str] = if cfg!(windows) {
    &["onnxruntime.dll"]
} else if cfg!(target_os = "macos") {
    &["libonnxruntime.dylib"]
} else {
    &["libonnxruntime.so", "libonnxruntime.so.1"]
};

/// Whether a file is called like the runtime's library, and not like one of its providers.
fn is_library(name: &str) -> bool {
    let plain = name.strip_prefix("lib").unwrap_or(name);
    let Some(rest) = plain.strip_prefix("onnxruntime") else { return false };
    rest == ".dll"
        || (rest.starts_with(".so") && name.starts_with("lib"))
        || (rest.starts_with('.') && Path::new(rest).extension() == Some(OsStr::new("dylib")))
        || rest == ".dylib"
}

/// The libraries in the folder of a Python package.
pub(super) fn in_package(package: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(package.join("capi")) else { return Vec::new() };
    let mut libraries: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_library))
        .map(|entry| entry.path())
        .collect();
    libraries.sort();
    libraries
}

/// The libraries in the site-packages of a Python environment's folder.
pub(super) fn in_prefix(prefix: &Path) -> Vec<PathBuf> {
    let mut sites = vec![prefix.join("Lib").join("site-packages")];
    for lib in ["lib", "lib64"] {
        if let Ok(entries) = fs::read_dir(prefix.join(lib)) {
            let mut versions: Vec<PathBuf> = entries
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
                .map(|entry| entry.path().join("site-packages"))
                .collect();
            versions.sort();
            sites.extend(versions);
        }
    }
    sites.iter().flat_map(|site| in_package(&site.join("onnxruntime"))).collect()
}

fn python() -> Vec<PathBuf> {
    let prefixes = ["VIRTUAL_ENV", "CONDA_PREFIX"];
    let mut libraries: Vec<PathBuf> = prefixes
        .iter()
        .filter_map(env::var_os)
        .filter(|prefix| !prefix.is_empty())
        .flat_map(|prefix| in_prefix(Path::new(&prefix)))
        .collect();
    if libraries.is_empty() {
        libraries = ["python3", "python"]
            .iter()
            .find_map(|interpreter| ask(interpreter, Duration::from_secs(5)))
            .map(|package| in_package(&package))
            .unwrap_or_default();
    }
    libraries
}

/// Prints the folder of the package without importing it. The current folder is taken out of the search, because
/// no library may be loaded just for lying there.
const QUESTION: &str = "import sys, importlib.util
sys.path = [folder for folder in sys.path if folder]
spec = importlib.util.find_spec('onnxruntime')
print(list(spec.submodule_search_locations)[0] if spec and spec.submodule_search_locations else '')";

/// The folder of the package according to an interpreter; nothing when it is not there, fails, or takes too long.
fn ask(interpreter: &str, limit: Duration) -> Option<PathBuf> {
    let mut child = Command::new(interpreter)
        .args(["-c", QUESTION])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break,
            Ok(None) if start.elapsed() < limit => std::thread::sleep(Duration::from_millis(5)),
            Ok(Some(_)) => return None,
            Ok(None) | Err(_) => {
                // Failing to stop it leaves nothing else to do: the answer is not waited for.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
    let mut answer = String::new();
    child.stdout.take()?.read_to_string(&mut answer).ok()?;
    let package = answer.trim();
    (!package.is_empty()).then(|| PathBuf::from(package))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_told_from_their_neighbours() {
        let cases = [
            ("libonnxruntime.so", true),
            ("libonnxruntime.so.1.32.0", true),
            ("libonnxruntime.1.20.1.dylib", true),
            ("libonnxruntime.dylib", true),
            ("onnxruntime.dll", true),
            ("libonnxruntime_providers_shared.so", false),
            ("libonnxruntime_providers_cuda.so", false),
            ("onnxruntime_providers_shared.dll", false),
            ("onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so", false),
            ("onnxruntime_validation.py", false),
        ];
        for (name, expected) in cases {
            assert_eq!(is_library(name), expected, "{name}");
        }
    }

    #[test]
    fn a_virtual_environment_is_searched() {
        let prefix = tempfile::tempdir().unwrap();
        let capi = prefix.path().join("lib/python3.11/site-packages/onnxruntime/capi");
        fs::create_dir_all(&capi).unwrap();
        for name in ["libonnxruntime.so.1.20.1", "libonnxruntime_providers_shared.so", "notes.txt"] {
            fs::write(capi.join(name), "").unwrap();
        }
        assert_eq!(in_prefix(prefix.path()), [capi.join("libonnxruntime.so.1.20.1")]);
    }

    #[test]
    fn an_interpreter_that_is_not_there_or_hangs_gives_nothing() {
        assert_eq!(ask("no-such-interpreter", Duration::from_secs(1)), None);
        // `yes -c …` fails at once or prints for ever; either way it ends here within the limit.
        let start = Instant::now();
        assert_eq!(ask("yes", Duration::from_millis(50)), None);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
