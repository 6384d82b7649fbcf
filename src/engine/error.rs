//! What can go wrong between a caller and a runtime.

use std::path::PathBuf;

use thiserror::Error;

use super::Device;
use crate::ir::IrError;
use crate::tensor::DType;

/// Why an engine could not be found, loaded, given a model, or run.
#[derive(Debug, Error)]
pub enum EngineError {
    /// No ONNX Runtime library was found, or none of those found could be used.
    #[error(
        "no usable ONNX Runtime library: {}; install one (`pip install onnxruntime`), or name one with --ort-lib \
         or ORT_DYLIB_PATH",
        if looked.is_empty() { "none was found".to_owned() } else { looked.join("; ") }
    )]
    NotFound {
        /// Every place looked at, with the reason why it was left.
        looked: Vec<String>,
    },
    /// The library named is older than the oldest one that is understood.
    #[error("{path} is ONNX Runtime {found}; {needed} or newer is needed", path = path.display())]
    TooOld {
        /// The library.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The oldest version that works.
        needed: String,
    },
    /// The library named cannot be loaded, or is no ONNX Runtime.
    #[error("{path} cannot be used as ONNX Runtime: {reason}", path = path.display())]
    Library {
        /// The library.
        path: PathBuf,
        /// What the loader or the library said.
        reason: String,
    },
    /// A process can hold one ONNX Runtime only, and holds another one already.
    #[error(
        "this process already uses ONNX Runtime from {}, so {} cannot be loaded as well; start a new process for it",
        loaded.display(), asked.display()
    )]
    OtherLibrary {
        /// The library in use.
        loaded: PathBuf,
        /// The library asked for.
        asked: PathBuf,
    },
    /// The model cannot be encoded, or not be written for the runtime to read.
    #[error(transparent)]
    Model(#[from] IrError),
    /// The runtime refused the model.
    #[error("{engine} cannot load {model}: {message}")]
    Load {
        /// The engine's name.
        engine: &'static str,
        /// The model's path, or `the model` when it was given as bytes.
        model: String,
        /// What the runtime said.
        message: String,
    },
    /// The model has nodes whose operators the runtime does not have.
    #[error("{engine} does not have the operators of these nodes of {model}: {}", nodes.join(", "))]
    Operators {
        /// The engine's name.
        engine: &'static str,
        /// The model's path, or `the model` when it was given as bytes.
        model: String,
        /// One `operator "node"` for each.
        nodes: Vec<String>,
    },
    /// The model has nodes that the runtime is known to compute otherwise than ONNX defines them.
    #[error("{engine} computes these nodes of {model} otherwise than ONNX defines them: {}", nodes.join(", "))]
    Misread {
        /// The engine's name.
        engine: &'static str,
        /// The model's path, or `the model` when it was given as bytes.
        model: String,
        /// One `operator "node" (what is misread)` for each.
        nodes: Vec<String>,
    },
    /// The runtime failed while running the model.
    #[error("{engine} failed to run the model: {message}")]
    Run {
        /// The engine's name.
        engine: &'static str,
        /// What the runtime said.
        message: String,
    },
    /// A named input or output does not fit the model.
    #[error("{side} `{name}`: {problem}")]
    Port {
        /// Whether it is an input or an output.
        side: Side,
        /// The name of the port.
        name: String,
        /// What is wrong with it.
        problem: PortProblem,
    },
    /// The device is not there, or this engine or build cannot use it.
    #[error("{engine} cannot run on {device}: {reason}")]
    UnsupportedDevice {
        /// The engine's name.
        engine: &'static str,
        /// The device asked for.
        device: Device,
        /// Why not, and what to do.
        reason: String,
    },
}

/// Which end of a model a port is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A graph input.
    Input,
    /// A graph output.
    Output,
}

impl std::fmt::Display for Side {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Input => "input",
            Self::Output => "output",
        })
    }
}

/// What is wrong with a named input or output.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PortProblem {
    /// The model has no such port.
    #[error("the model has no such name; it has {}", known.join(", "))]
    Unknown {
        /// The names that it has, of the same side.
        known: Vec<String>,
    },
    /// The model needs it and it was not given.
    #[error("no value was given, and the model has no default for it")]
    Missing,
    /// It was given more than once.
    #[error("given twice")]
    Twice,
    /// The element types differ.
    #[error("expected {expected}, found {found}")]
    DType {
        /// What the model declares or computes.
        expected: DType,
        /// What was given.
        found: DType,
    },
    /// The engine has no such element type.
    #[error("this engine has no tensors of {found}")]
    NoDType {
        /// What was given or computed.
        found: DType,
    },
    /// The dimensions differ.
    #[error("expected dimensions [{}], found {found:?}", dims_text(expected))]
    Dims {
        /// What the model declares or computes; a free dimension is `None`.
        expected: Vec<Option<usize>>,
        /// What was given.
        found: Vec<usize>,
    },
}

fn dims_text(dims: &[Option<usize>]) -> String {
    let dims: Vec<String> =
        dims.iter().map(|dim| dim.map_or_else(|| "?".to_owned(), |dim| dim.to_string())).collect();
    dims.join(", ")
}
