//! The graph: nodes and values with typed ids over the ONNX messages, read from and written to files.
//!
//! Always true here, and tested by [`Graph::check`]: nodes stand in topological order, every value has one
//! producer at most, names are unique. What this module does not understand of a file (messages it never looks
//! into, operators, metadata) is carried along and written back unchanged. Weights stay in the mapped file until
//! somebody asks for their numbers. This module must not know what any operator means.

mod attributes;
mod check;
mod constant;
mod edit;
mod external;
mod facts;
mod gather;
mod graph;
mod initializer;
mod inline;
mod model;
mod precision;
mod text;
mod write;

pub use attributes::{Attribute, Attributes};
pub use check::Violation;
pub use constant::constants_to_initializers;
pub use edit::{NodeSpec, drop_unused};
pub use facts::{Facts, ValueFacts};
pub use graph::{DeclaredDim, DeclaredType, Graph, Node, NodeId, Value, ValueId};
pub use initializer::Initializer;
pub use model::{IR_VERSION_WITHOUT_INPUT_INITIALIZERS, Model};
pub use precision::in_single_precision;
pub use write::{Scratch, Storage, check_writable, write_atomically};

use std::path::PathBuf;

use thiserror::Error;

use crate::tensor::TensorError;

/// What can go wrong with a model file or with a graph.
#[derive(Debug, Error)]
pub enum IrError {
    /// A file could not be read or written.
    #[error("{path}: cannot {action}")]
    Io {
        /// What was tried: "read", "write", "create", …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The bytes are no ONNX model.
    #[error("{place}: not a valid ONNX model: {reason}")]
    Invalid {
        /// The file, or what the bytes were.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor of the file is missing its data or contradicts itself.
    #[error("tensor `{name}`: {reason}")]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// External data that may not or cannot be read.
    #[error("tensor `{name}`: external data `{location}`: {reason}")]
    External {
        /// Name of the tensor.
        name: String,
        /// The location that the model names.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The graph breaks rules of ONNX.
    #[error("{place}: the graph is not valid: {}", list(violations))]
    Graph {
        /// The file, or what the graph came from.
        place: String,
        /// Every rule that is broken.
        violations: Vec<Violation>,
    },
    /// A message would be larger than protobuf allows.
    #[error("{bytes} bytes do not fit into one protobuf message of 2 GB: write the weights as external data")]
    TooLarge {
        /// Size of the encoded model.
        bytes: u64,
    },
    /// The output file exists.
    #[error("{path}: the file exists; give --force to replace it, or name another output")]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

fn list(violations: &[Violation]) -> String {
    const SHOWN: usize = 8;
    let mut parts: Vec<String> = violations.iter().take(SHOWN).map(ToString::to_string).collect();
    if violations.len() > SHOWN {
        parts.push(format!("and {} more", violations.len() - SHOWN));
    }
    parts.join("; ")
}

impl IrError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }

    pub(crate) fn tensor(name: &str, error: &TensorError) -> Self {
        Self::Tensor { name: name.to_owned(), reason: error.to_string() }
    }
}
