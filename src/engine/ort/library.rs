//! Loads the ONNX Runtime library: once in a process, and only after a look at its version.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ::ort::environment::Environment;
use ::ort::logging::LogLevel;

use super::find::Origin;
use super::probe::{Probe, ProbeError, probe};
use crate::engine::EngineError;

/// The library in use.
#[derive(Debug, Clone)]
pub(super) struct Library {
    /// Its path.
    pub(super) path: PathBuf,
    /// Its version.
    pub(super) version: String,
    /// Its process-wide state, kept for as long as the process lives.
    pub(super) environment: Environment,
}

/// A library that was considered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Why it was considered.
    pub origin: Origin,
    /// Its path, or the name given to the system's loader; nothing when the origin has no library.
    pub path: Option<PathBuf>,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a library that was considered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is in use.
    Chosen {
        /// Its version.
        version: String,
    },
    /// It was tried and left, for this reason.
    Rejected(String),
    /// It was not tried, because an earlier one is in use.
    NotTried,
    /// There is none.
    Absent,
}

enum State {
    Unloaded,
    Loaded(Library),
    // The runtime's binding holds this library for good, although it did not start.
    Stuck { path: PathBuf, reason: String },
}

static STATE: Mutex<State> = Mutex::new(State::Unloaded);

/// The library of the process: the one loaded already, or the first that works. `named` is a path that the user
/// gave. The candidates are listed up to the one chosen, or all of them when `all` is set.
pub(super) fn library(named: Option<&Path>, all: bool) -> (Result<Library, EngineError>, Vec<Candidate>) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    search(&mut state, &|origin| origin.libraries(named), all)
}

fn search(
    state: &mut State,
    libraries: &dyn Fn(Origin) -> Vec<PathBuf>,
    all: bool,
) -> (Result<Library, EngineError>, Vec<Candidate>) {
    let mut candidates = Vec::new();
    let mut found = None;
    for origin in Origin::ALL {
        if found.is_some() && !all {
            break;
        }
        // Nothing that is merely found takes the place of the library in use: asking Python again is spared.
        if let State::Loaded(library) = &*state
            && !origin.is_named()
            && !all
        {
            found = Some(Ok(library.clone()));
            break;
        }
        let paths = libraries(origin);
        if paths.is_empty() {
            candidates.push(Candidate { origin, path: None, verdict: Verdict::Absent });
        }
        for path in paths {
            let verdict = if found.is_some() {
                Verdict::NotTried
            } else {
                match open(state, &path, origin) {
                    Ok(library) => {
                        let version = library.version.clone();
                        found = Some(Ok(library));
                        Verdict::Chosen { version }
                    }
                    Err(refusal) if refusal.absent && !origin.is_named() => Verdict::Absent,
                    Err(Refusal { error, .. }) => {
                        let reason = error.to_string();
                        if origin.is_named() {
                            found = Some(Err(error));
                        }
                        Verdict::Rejected(reason)
                    }
                }
            };
            candidates.push(Candidate { origin, path: Some(path), verdict });
        }
    }
    let result = found.unwrap_or_else(|| {
        let looked = candidates.iter().filter_map(describe).collect();
        Err(EngineError::NotFound { looked })
    });
    (result, candidates)
}

/// A rejected candidate in one sentence.
fn describe(candidate: &Candidate) -> Option<String> {
    match &candidate.verdict {
        Verdict::Rejected(reason) => Some(format!("{}: {reason}", candidate.origin)),
        Verdict::Chosen { .. } | Verdict::NotTried | Verdict::Absent => None,
    }
}

/// Why a library was not opened.
struct Refusal {
    /// There is no such library at all.
    absent: bool,
    error: EngineError,
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        Self { absent: false, error }
    }
}

fn refusal(path: &Path, problem: ProbeError) -> Refusal {
    let path = path.to_path_buf();
    match problem {
        ProbeError::Absent => {
            let reason = "there is no such file, and the system's loader knows no such name".to_owned();
            Refusal { absent: true, error: EngineError::Library { path, reason } }
        }
        ProbeError::Broken(reason) => EngineError::Library { path, reason }.into(),
        ProbeError::TooOld(found) => {
            let needed = format!("1.{}", ::ort::MINOR_VERSION);
            EngineError::TooOld { path, found, needed }.into()
        }
    }
}

fn open(state: &mut State, path: &Path, origin: Origin) -> Result<Library, Refusal> {
    match state {
        // Libraries that nobody named give way to the one in use.
        State::Loaded(library) if !origin.is_named() || same(&library.path, path) => Ok(library.clone()),
        State::Loaded(library) => {
            Err(EngineError::OtherLibrary { loaded: library.path.clone(), asked: path.to_path_buf() }.into())
        }
        State::Stuck { path, reason } => {
            Err(EngineError::Library { path: path.clone(), reason: reason.clone() }.into())
        }
        State::Unloaded => {
            let Probe { path, version } = probe(path).map_err(|problem| refusal(path, problem))?;
            match start(&path) {
                Ok(environment) => {
                    let library = Library { path, version, environment };
                    *state = State::Loaded(library.clone());
                    Ok(library)
                }
                Err(reason) => {
                    *state = State::Stuck { path: path.clone(), reason: reason.clone() };
                    Err(EngineError::Library { path, reason }.into())
                }
            }
        }
    }
}

fn same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// Hands the library to the binding and creates its environment: no telemetry, and no messages of its own, because
/// what matters comes back as errors.
fn start(path: &Path) -> Result<Environment, String> {
    let environment = ::ort::init_from(path)
        .map_err(|error| error.to_string())?
        .with_name("safe-onnx")
        .with_telemetry(false)
        .with_logger(Arc::new(|_, _, _, _, _| {}))
        .build()
        .map_err(|error| error.to_string())?;
    environment.set_log_level(LogLevel::Error);
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a process without a library, where one origin has files that are no libraries.
    fn search_junk(at: Origin) -> (Result<Library, EngineError>, Vec<Candidate>) {
        let folder = tempfile::tempdir().unwrap();
        let junk = folder.path().join("libonnxruntime.so");
        std::fs::write(&junk, "not a library").unwrap();
        let places = |origin| if origin == at { vec![junk.clone()] } else { Vec::new() };
        search(&mut State::Unloaded, &places, true)
    }

    #[test]
    fn a_broken_library_is_an_error_where_it_was_named() {
        for origin in [Origin::Option, Origin::Environment] {
            assert!(matches!(search_junk(origin).0, Err(EngineError::Library { .. })), "{origin}");
        }
    }

    #[test]
    fn a_broken_library_is_passed_over_where_it_was_found() {
        for origin in [Origin::Python, Origin::System] {
            let (found, candidates) = search_junk(origin);
            match found {
                Err(EngineError::NotFound { looked }) => assert_eq!(looked.len(), 1, "{looked:?}"),
                other => panic!("{origin}: {other:?}"),
            }
            assert_eq!(candidates.len(), Origin::ALL.len());
        }
    }
}
