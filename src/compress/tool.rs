//! What the smaller commands have in common: their error, and the inputs that a model takes.

use std::path::PathBuf;

use thiserror::Error;

use crate::autodiff::AutodiffError;
use crate::data::{DataError, InputSpec};
use crate::engine::{Discovery, EngineError, LoadOptions};
use crate::ir::{DeclaredDim, Graph, IrError};
use crate::trace::{ShapeError, TraceError};
use crate::verify::VerifyError;

/// Why `inspect`, `eval`, `differentiate` or `verify` ended without a result.
#[derive(Debug, Error)]
pub enum ToolError {
    /// A model could not be read or written.
    #[error("{0}")]
    Ir(#[from] IrError),
    /// There is no engine, or it refuses the model.
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// The model could not be traced.
    #[error("{0}")]
    Trace(#[from] TraceError),
    /// No inputs could be made for the model.
    #[error("{0}")]
    Shape(#[from] ShapeError),
    /// The data cannot be used.
    #[error("{0}")]
    Data(#[from] DataError),
    /// There is no training graph.
    #[error("{0}")]
    Autodiff(#[from] AutodiffError),
    /// Two models could not be compared.
    #[error("{0}")]
    Verify(#[from] VerifyError),
    /// A setting does not fit the model.
    #[error("{place}: {problem}")]
    Setting {
        /// The option, and what it meets.
        place: String,
        /// Why they do not fit.
        problem: String,
    },
    /// The label of a sample is no class of the model.
    #[error("the label of sample {sample} is {label}, but the model has the classes 0 to {last}")]
    Label {
        /// Position of the sample in the data.
        sample: usize,
        /// Its label.
        label: i64,
        /// The last class.
        last: usize,
    },
}

/// The engine and how it loads models: what every command that runs a model is asked.
#[derive(Debug, Clone, Default)]
pub struct Runtime {
    /// Which engine.
    pub discovery: Discovery,
    /// How models are loaded.
    pub load: LoadOptions,
}

/// A model file, and the shapes of its inputs.
#[derive(Debug, Clone, Default)]
pub struct ModelPlan {
    /// The model to read.
    pub model: PathBuf,
    /// Shapes of inputs and sizes of named dimensions.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// The engine.
    pub runtime: Runtime,
}

/// What the graph takes from data, in its own order.
///
/// # Errors
/// When an input has no declared type, or no known number of dimensions.
pub fn input_specs(graph: &Graph) -> Result<Vec<InputSpec>, ToolError> {
    graph
        .required_inputs()
        .map(|id| {
            let value = graph.value(id);
            let fail = |problem: &str| ToolError::Setting {
                place: format!("model input `{}`", value.name()),
                problem: problem.to_owned(),
            };
            let declared = value.declared().ok_or_else(|| fail("it is not declared as a tensor"))?;
            let dtype = declared.dtype.ok_or_else(|| fail("its element type is not supported"))?;
            let dims = declared.dims.ok_or_else(|| fail("its number of dimensions is not declared"))?;
            let size = |dim: DeclaredDim| match dim {
                DeclaredDim::Fixed(size) => Some(size),
                DeclaredDim::Named(_) | DeclaredDim::Free => None,
            };
            Ok(InputSpec {
                name: value.name().to_owned(),
                dtype,
                dims: dims.into_iter().map(size).collect(),
                batched: true,
            })
        })
        .collect()
}

/// The class axis of an output of `rank` dimensions: `given`, counted from the back when it is negative; else the
/// last one of `[N, C]` and `[N, T, C]`, and axis 1 of `[N, C, H, W]` and larger ones.
///
/// # Errors
/// When the output has no such axis besides the batch.
pub fn class_axis(rank: usize, given: Option<i64>) -> Result<usize, ToolError> {
    let fail = |axis: i64| ToolError::Setting {
        place: format!("class axis {axis}"),
        problem: format!("the output has {rank} dimensions, the first of which is the batch"),
    };
    let axis = given.unwrap_or(if rank >= 4 { 1 } else { -1 });
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(counted).ok().filter(|&counted| counted >= 1 && counted < rank).ok_or_else(|| fail(axis))
}

/// The dimensions of a model's output with the axis of samples before them that targets have: `dims` where the model
/// is `batched`, or where they begin with an axis for the one sample that it takes; else with one more.
pub(super) fn with_samples(dims: &[Option<usize>], batched: bool) -> Vec<Option<usize>> {
    if batched || dims.first() == Some(&Some(1)) { dims.to_vec() } else { [&[None], dims].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_axis_follows_the_rank() {
        let cases = [
            (2, None, Some(1)),
            (3, None, Some(2)),
            (4, None, Some(1)),
            (5, None, Some(1)),
            (4, Some(-1), Some(3)),
            (3, Some(1), Some(1)),
            (1, None, None),
            (2, Some(0), None),
            (2, Some(2), None),
            (2, Some(-3), None),
        ];
        for (rank, given, expected) in cases {
            assert_eq!(class_axis(rank, given).ok(), expected, "rank {rank}, {given:?}");
        }
    }
}
