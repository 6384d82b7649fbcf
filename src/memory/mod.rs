//! What training needs of memory: predicted before it starts, and measured while it runs.
//!
//! The largest part are the values of the training graph that are in memory at the same time. They follow from the
//! order in which ONNX Runtime runs the nodes (`order`), from their shapes, which two runs on few samples tell for any
//! number of samples ([`Shapes`]), and from what shares memory with what ([`values_peak`]), and
//! from where the runtime puts them (`arena`). This
//! module does not know what the graph computes; of operators it knows which ones copy nothing and which ones need
//! memory of their own.

mod arena;
mod live;
mod order;
mod process;
mod recompute;
mod shapes;

pub use live::values_peak;
pub use order::{run_late, runtime_order};
pub use process::{peak, resident};
pub use recompute::recompute;
pub use shapes::Shapes;

use crate::ir::Graph;

/// What a runtime keeps of a node of a loaded graph, in bytes: measured on graphs of 400 to 2800 nodes.
const NODE: u64 = 16_000;
/// Copies of the weights that a runtime holds while it loads a model with weights inside: the file, and its own.
const LOADED: u64 = 2;

/// The parts of a prediction, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    /// What the process holds before.
    pub base: u64,
    /// Weights, gradients and the state of the optimiser.
    pub state: u64,
    /// Loaded graphs.
    pub graphs: u64,
    /// Values of the training graph that are in memory at the same time.
    pub values: u64,
    /// Samples that are ready or in use.
    pub samples: u64,
    /// Other models that run meanwhile: the teacher, and the one that is evaluated.
    pub others: u64,
}

impl Need {
    /// All together.
    pub fn total(&self) -> u64 {
        self.base + self.state + self.graphs + self.values + self.samples + self.others
    }
}

/// What the process holds now in bytes, where the system tells, once what nothing uses was given back: free pages of the
/// heap, and those of the model's file.
pub fn base(graph: &Graph) -> Option<u64> {
    graph.initializers().for_each(|(_, tensor)| tensor.release());
    crate::engine::give_back_free_memory();
    resident()
}

/// What a runtime keeps of a loaded graph whose weights are inputs.
pub fn graph_bytes(graph: &Graph) -> u64 {
    graph.nodes().len() as u64 * NODE
}

/// What a model with `weights` bytes of weights needs that is loaded with them and run on `samples` samples.
pub fn model_bytes(graph: &Graph, shapes: &Shapes, samples: usize, weights: u64) -> u64 {
    let runs = values_peak(graph, shapes, samples) + weights;
    graph_bytes(graph) + runs.max(LOADED * weights)
}
