//! What this machine has to run models with.

use std::path::PathBuf;

use super::ort::{self, Candidate};
use super::{Choice, CudaDevice, Device, Discovery, cuda_devices, default_threads, discover, tract};

/// What this machine has to run models with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoctorReport {
    /// Every ONNX Runtime library that was looked at, in the order in which they are tried.
    pub libraries: Vec<Candidate>,
    /// The ONNX Runtime library in use.
    pub ort_path: Option<PathBuf>,
    /// Its version.
    pub ort_version: Option<String>,
    /// Its execution providers, by ONNX Runtime's names.
    pub execution_providers: Vec<String>,
    /// The CUDA devices, or one sentence why there are none.
    pub cuda: Result<Vec<CudaDevice>, String>,
    /// The version of tract that is compiled in.
    pub tract_version: String,
    /// The threads that sessions use unless told otherwise.
    pub default_threads: usize,
    /// The name and version of the engine that `auto` takes, or the error that it gives.
    pub auto: Result<(String, String), String>,
    /// The line that `auto` prints when it takes the slower engine.
    pub note: Option<String>,
}

/// Looks at everything that a run would use. `ort_lib` is the library that the user named, if any.
pub fn doctor(ort_lib: Option<PathBuf>) -> DoctorReport {
    let (runtime, libraries) = ort::find(ort_lib.as_deref(), true);
    let runtime = runtime.ok();
    let auto = discover(&Discovery { engine: Choice::Auto, ort_lib, device: Device::Cpu });
    let execution_providers = runtime.as_ref().map(ort::OnnxRuntime::execution_providers).unwrap_or_default();
    let note = auto.as_ref().ok().and_then(|selected| selected.note.clone());
    DoctorReport {
        libraries,
        ort_path: runtime.as_ref().map(|runtime| runtime.path().to_path_buf()),
        ort_version: runtime.as_ref().map(super::Engine::version),
        execution_providers,
        cuda: cuda_devices(),
        tract_version: tract::VERSION.to_owned(),
        default_threads: default_threads(),
        auto: auto
            .map(|selected| (selected.engine.name().to_owned(), selected.engine.version()))
            .map_err(|error| error.to_string()),
        note,
    }
}
