//! Shapes by running: what every value of a model is, read off runs with its values exposed.
//!
//! Two runs that differ in the free dimensions and in the contents of the inputs tell which dimensions and which
//! integers are fixed and which follow. Graph optimisation is off. This module knows no operator.

mod fold;
mod inputs;
mod recount;
mod watch;

use watch::{SMALL, Seen, Watch};

pub use fold::fold_constants;
pub use inputs::{InputShapes, Probe, ShapeError, parse_shape};

use thiserror::Error;

use crate::engine::{Engine, EngineError, LoadOptions};
use crate::ir::{DeclaredDim, Facts, IrError, Model, ValueFacts, ValueId};
use crate::tensor::{DType, Random, Tensor};

/// Why a model could not be traced.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The model could not be encoded.
    #[error(transparent)]
    Ir(#[from] IrError),
    /// The inputs have no shapes that could be used.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The model does not run.
    #[error(
        "the model does not run on {shapes}: {source}; give input shapes that it takes with --shape NAME=DIMS"
    )]
    Run {
        /// The input shapes.
        shapes: String,
        /// The engine's reason.
        #[source]
        source: EngineError,
    },
}

/// What the runs told.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Facts of all values.
    pub facts: Facts,
    /// The inputs of the first run.
    pub inputs: Vec<(String, Tensor)>,
    /// Samples in the first run: its batch size where the batch is free, else 1.
    pub samples: usize,
    /// Whether the batch is free.
    pub free_batch: bool,
    activations: usize,
}

/// Float tensors up to this many elements that are computed from constants are remembered.
const FEW: usize = 16;

/// Runs `model` and collects the facts of its values. `shapes` says what the free dimensions are.
///
/// # Errors
/// When an input has no usable type or the model does not run.
pub fn trace(
    model: &Model,
    engine: &dyn Engine,
    options: &LoadOptions,
    shapes: &InputShapes,
) -> Result<Trace, TraceError> {
    let options = LoadOptions { optimize: false, ..*options };
    let mut watch = Watch::new(model, engine, options, computed_constants(&model.graph));
    let first = Probe::new(&model.graph, shapes, 0)?;
    let (base, first) = match watch.run(&first) {
        Ok(base) => (base, first),
        Err(error) => {
            // Some files declare a free batch and then fix it inside.
            let single = Probe::new(&model.graph, &shapes.with_batch(1), 0)?;
            if single.same_shapes(&first) {
                return Err(error);
            }
            match watch.run(&single) {
                Ok(base) => (base, single),
                Err(_) => return Err(error),
            }
        }
    };
    let mut facts = Facts::empty(&model.graph);
    let mut activations = 0;
    for (id, seen) in base {
        activations += if seen.dtype.is_float() { seen.dims.iter().product() } else { 0 };
        facts.set(id, observed(seen));
    }
    for (id, tensor) in model.graph.initializers() {
        if let Some(dtype) = tensor.dtype() {
            let dims = tensor.dims();
            let whole = dtype.is_integer() || dtype == DType::Bool;
            let small = whole && tensor.count() <= SMALL;
            let ints = small.then(|| tensor.tensor().ok()?.to_i64().ok()).flatten();
            let vary = vec![false; ints.as_ref().map_or(0, Vec::len)];
            let varies = vec![false; dims.len()];
            facts.set(id, ValueFacts { dtype, varies, dims, ints, ints_vary: vary, constant: None });
        }
    }
    for variant in 1..=Probe::VARIANTS {
        let other = Probe::new(&model.graph, &shapes.fixed_like(&first), variant)?;
        if let Ok(run) = watch.run(&other) {
            for (id, seen) in &run {
                compare(&mut facts, *id, seen);
            }
            if variant == Probe::ALL_FREE {
                break;
            }
        }
    }
    watch.release();
    Ok(Trace {
        samples: first.batch.unwrap_or(1),
        free_batch: first.batch.is_some(),
        inputs: first.tensors,
        facts,
        activations,
    })
}

/// The type and dimensions of every value that callers and nodes make, in a run on each of `inputs`.
///
/// # Errors
/// When the model does not run.
pub fn shapes(
    model: &Model,
    engine: &dyn Engine,
    options: &LoadOptions,
    inputs: Vec<Vec<(String, Tensor)>>,
) -> Result<Vec<Vec<ShapeOf>>, TraceError> {
    let options = LoadOptions { optimize: false, ..*options };
    let mut watch = Watch::new(model, engine, options, vec![false; model.graph.value_count()]);
    let run = |tensors| {
        let seen = watch.run(&Probe { tensors, batch: None })?;
        Ok(seen.into_iter().map(|(id, seen)| (id, seen.dtype, seen.dims)).collect())
    };
    let found = inputs.into_iter().map(run).collect();
    watch.release();
    found
}

/// A value, its element type and its dimensions.
pub type ShapeOf = (ValueId, DType, Vec<usize>);

fn observed(seen: Seen) -> ValueFacts {
    ValueFacts {
        dtype: seen.dtype,
        varies: vec![false; seen.dims.len()],
        dims: seen.dims,
        ints_vary: vec![false; seen.ints.as_ref().map_or(0, Vec::len)],
        ints: seen.ints,
        constant: seen.floats.filter(|floats| floats.len() <= FEW),
    }
}

/// Values that are computed from initializers of a few elements alone: scales, bounds and the like.
fn computed_constants(graph: &crate::ir::Graph) -> Vec<bool> {
    let mut constant = vec![false; graph.value_count()];
    for (id, tensor) in graph.initializers() {
        constant[id.index()] = tensor.count() <= FEW;
    }
    for (_, node) in graph.nodes() {
        let inputs = !node.inputs.is_empty() && node.captured.is_empty();
        if inputs && node.inputs.iter().flatten().all(|input| constant[input.index()]) {
            for output in node.outputs.iter().flatten() {
                constant[output.index()] = true;
            }
        }
    }
    constant
}

/// Notes where another run was different.
fn compare(facts: &mut Facts, id: ValueId, other: &Seen) {
    let Some(known) = facts.get(id) else { return };
    let mut known = known.clone();
    if known.dims.len() == other.dims.len() {
        for (axis, dim) in other.dims.iter().enumerate() {
            known.varies[axis] |= known.dims[axis] != *dim;
        }
        match (&known.ints, &other.ints) {
            (Some(ints), Some(others)) if ints.len() == others.len() => {
                for (index, (int, other)) in ints.iter().zip(others).enumerate() {
                    known.ints_vary[index] |= int != other;
                }
            }
            _ => known.ints_vary.fill(true),
        }
    } else {
        known.varies.fill(true);
        known.ints_vary.fill(true);
    }
    facts.set(id, known);
}

/// Whether the graph has a free dimension called like this, for messages and defaults.
pub(crate) fn is_free(dim: &DeclaredDim) -> bool {
    !matches!(dim, DeclaredDim::Fixed(_))
}

/// Random values of the given type: floats of the standard normal distribution, integers 0 or 1.
pub(crate) fn random_tensor(dtype: DType, dims: &[usize], random: &mut Random) -> Option<Tensor> {
    let count = crate::tensor::checked_count(dims)?;
    let floats = |random: &mut Random| (0..count).map(|_| random.normal() as f32).collect::<Vec<f32>>();
    let ints = |random: &mut Random| (0..count).map(|_| random.below(2)).collect::<Vec<usize>>();
    let tensor = match dtype {
        DType::F32 | DType::F64 | DType::F16 | DType::BF16 => {
            Tensor::new(dims.to_vec(), floats(random)).ok()?.cast_float(dtype)
        }
        DType::I64 => {
            Tensor::new(dims.to_vec(), ints(random).iter().map(|&v| v as i64).collect::<Vec<_>>()).ok()?
        }
        DType::I32 => {
            Tensor::new(dims.to_vec(), ints(random).iter().map(|&v| v as i32).collect::<Vec<_>>()).ok()?
        }
        DType::I16 => {
            Tensor::new(dims.to_vec(), ints(random).iter().map(|&v| v as i16).collect::<Vec<_>>()).ok()?
        }
        DType::I8 => {
            Tensor::new(dims.to_vec(), ints(random).iter().map(|&v| v as i8).collect::<Vec<_>>()).ok()?
        }
        DType::U8 => {
            let bytes = (0..count).map(|_| random.below(256) as u8).collect::<Vec<_>>();
            Tensor::new(dims.to_vec(), bytes).ok()?
        }
        DType::U16 => {
            Tensor::new(dims.to_vec(), ints(random).iter().map(|&v| v as u16).collect::<Vec<_>>()).ok()?
        }
        DType::U32 => {
            Tensor::new(dims.to_vec(), ints(random).iter().map(|&v| v as u32).collect::<Vec<_>>()).ok()?
        }
        DType::U64 => {
            Tensor::new(dims.to_vec(), ints(random).iter().map(|&v| v as u64).collect::<Vec<_>>()).ok()?
        }
        DType::Bool => Tensor::new(dims.to_vec(), vec![true; count]).ok()?,
        DType::String => return None,
    };
    Some(tensor)
}

impl Trace {
    /// Elements of all float values that nodes make in the first run.
    pub fn activation_elements(&self) -> usize {
        self.activations
    }
}
