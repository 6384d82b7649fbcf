//! Which engine to use on this machine.

use std::path::PathBuf;
use std::sync::Arc;

use super::tract::Tract;
use super::{Device, Engine, EngineError, cuda, ort};

/// Which engine the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// ONNX Runtime where there is one, else tract.
    #[default]
    Auto,
    /// ONNX Runtime or an error.
    Ort,
    /// tract.
    Tract,
}

/// What to look for.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    /// The engine.
    pub engine: Choice,
    /// The ONNX Runtime library, when the user names it.
    pub ort_lib: Option<PathBuf>,
    /// The device that the sessions will run on.
    pub device: Device,
}

/// The engine found.
pub struct Selected {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// One line for the user when this is not the engine that `auto` prefers: why, and how to get the faster one.
    pub note: Option<String>,
}

/// Finds the engine. A library that the user named, by option or `ORT_DYLIB_PATH`, is used or is an error, unless
/// tract is asked for; one found in other places that does not work is passed over.
///
/// # Errors
/// When the engine asked for is not usable, or cannot use the device.
pub fn discover(options: &Discovery) -> Result<Selected, EngineError> {
    if let Device::Cuda(_) = options.device {
        return Err(cuda::unsupported("safe-onnx", options.device));
    }
    if options.engine == Choice::Tract {
        return Ok(Selected { engine: Arc::new(Tract), note: None });
    }
    match ort::find(options.ort_lib.as_deref(), false).0 {
        Ok(engine) => Ok(Selected { engine: Arc::new(engine), note: None }),
        Err(EngineError::NotFound { looked }) if options.engine == Choice::Auto => {
            Ok(Selected { engine: Arc::new(Tract), note: Some(fallback(&looked)) })
        }
        Err(error) => Err(error),
    }
}

fn fallback(looked: &[String]) -> String {
    let why = if looked.is_empty() { "none was found".to_owned() } else { looked.join("; ") };
    format!(
        "running on tract, one thread: no usable ONNX Runtime ({why}); for a faster engine `pip install onnxruntime`, \
         or name its library with --ort-lib or ORT_DYLIB_PATH"
    )
}
