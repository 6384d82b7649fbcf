//! ONNX Runtime: finding its library, loading it, and running models with it.
//!
//! Always true here: one library in a process, looked at by `probe` before the binding gets it, and sessions are
//! run by one thread at a time.

mod denormals;
mod find;
mod library;
mod operators;
mod probe;
mod session;
mod value;

use std::path::Path;

use ::ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

pub use find::Origin;
pub use library::{Candidate, Verdict};

use self::library::Library;
use super::{Device, Engine, EngineError, LoadOptions, Session, Source, cuda, default_threads};

/// The engine's name.
pub(super) const NAME: &str = "onnxruntime";

/// The runtime of this process.
pub(super) struct OnnxRuntime {
    library: Library,
}

/// The runtime, with every library that was looked at until it was found (with `all`, every one there is).
pub(super) fn find(named: Option<&Path>, all: bool) -> (Result<OnnxRuntime, EngineError>, Vec<Candidate>) {
    let (library, candidates) = library::library(named, all);
    (library.map(|library| OnnxRuntime { library }), candidates)
}

impl OnnxRuntime {
    /// The path of the library in use.
    pub(super) fn path(&self) -> &Path {
        &self.library.path
    }

    /// The execution providers of the library, by ONNX Runtime's names.
    #[allow(clippy::unused_self, reason = "asking needs a loaded library, which an OnnxRuntime proves")]
    pub(super) fn execution_providers(&self) -> Vec<String> {
        value::execution_providers().unwrap_or_default()
    }

    fn builder(&self, options: &LoadOptions) -> Result<SessionBuilder, ::ort::Error> {
        let level =
            if options.optimize { GraphOptimizationLevel::All } else { GraphOptimizationLevel::Disable };
        let threads = options.threads.unwrap_or_else(default_threads).max(1);
        let builder = SessionBuilder::new(&self.library.environment)?
            .with_optimization_level(level)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?
            .with_parallel_execution(false)?
            // Else the first run's memory would be kept beside a block for all later runs, twice as much in all.
            .with_memory_pattern(false)?
            .with_deterministic_compute(true)?
            .with_intra_op_spinning(true)?
            // Between runs the processor belongs to the caller, who may have threads of its own.
            .with_config_entry("session.force_spinning_stop", "1")?
            .with_operators(operators::domain(threads)?)?;
        let builder = if options.keep_repeated {
            builder.with_disabled_optimizers("CommonSubexpressionElimination")?
        } else {
            builder
        };
        Ok(if options.flush_denormals { builder.with_flush_to_zero()? } else { builder })
    }
}

impl Engine for OnnxRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn normalizes_batches(&self) -> bool {
        true
    }

    fn has_kernels(&self) -> bool {
        true
    }

    fn version(&self) -> String {
        self.library.version.clone()
    }

    fn load(&self, source: Source<'_>, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        if matches!(options.device, Device::Cuda(_)) {
            return Err(cuda::unsupported(NAME, options.device));
        }
        let failed = |message: String| EngineError::Load { engine: NAME, model: source.describe(), message };
        let mut builder = self.builder(options).map_err(|error| failed(error.to_string()))?;
        // The first session of a process sets the calling thread's treatment of denormals for good: undone here.
        let _guard = denormals::Guard::keep();
        let session = match source {
            Source::Bytes(bytes) => builder.commit_from_memory(bytes),
            Source::File(path) => builder.commit_from_file(path),
        };
        let session = session.map_err(|error| failed(error.to_string()))?;
        let session = session::OrtSession::new(session, options.flush_denormals).map_err(failed)?;
        Ok(Box::new(session))
    }
}
