//! tract: the engine that is compiled in.
//!
//! Always true here: a model is compiled anew for every set of input shapes and outputs that it is run with, and
//! the last few of these plans are kept; a panic of the runtime becomes an error. One thread works.

mod misread;
mod plan;
mod session;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Device, Engine, EngineError, LoadOptions, Session, Source};

/// The engine's name.
pub(super) const NAME: &str = "tract";

/// The version of the crate that is compiled in; a test compares it with the lock file.
pub(super) const VERSION: &str = "0.23.9";

/// The compiled-in runtime.
pub(super) struct Tract;

impl Engine for Tract {
    fn name(&self) -> &'static str {
        NAME
    }

    fn normalizes_batches(&self) -> bool {
        false
    }

    fn has_kernels(&self) -> bool {
        false
    }

    fn version(&self) -> String {
        VERSION.to_owned()
    }

    fn load(&self, source: Source<'_>, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        if matches!(options.device, Device::Cuda(_)) {
            return Err(EngineError::UnsupportedDevice {
                engine: NAME,
                device: options.device,
                reason: "tract runs on the processor only; use --device cpu".to_owned(),
            });
        }
        let loaded =
            guarded(|| session::TractSession::load(source, options.optimize)).unwrap_or_else(|message| {
                Err(EngineError::Load { engine: NAME, model: source.describe(), message })
            })?;
        Ok(Box::new(loaded))
    }
}

/// Runs foreign code that may panic; a panic gives its message.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        format!("it panicked: {text}")
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_that_of_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        let entry = format!("name = \"tract-onnx\"\nversion = \"{}\"\n", super::VERSION);
        assert!(lock.contains(&entry), "set VERSION to the version of tract-onnx in Cargo.lock");
    }
}
