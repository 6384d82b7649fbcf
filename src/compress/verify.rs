//! Two model files held against each other.

use std::path::PathBuf;

use super::CompressError;
use super::tool::{Runtime, ToolError, input_specs};
use crate::data::synthetic::{self, SyntheticOptions};
use crate::data::{DataOptions, InputSpec, Part, open, read_as};
use crate::engine::{Engine, LoadOptions, discover};
use crate::ir::Model;
use crate::report::{Verified, VerifyReport};
use crate::tensor::Tensor;
use crate::trace::{InputShapes, Probe};
use crate::verify::{VerifyError, compare, holds};

/// What `verify` is asked to do.
#[derive(Debug, Clone)]
pub struct VerifyPlan {
    /// The model that is taken for right: the masked one.
    pub dense: PathBuf,
    /// The model that shall compute the same.
    pub small: PathBuf,
    /// Data to run both on; nothing for random inputs.
    pub data: Option<PathBuf>,
    /// How data are read.
    pub data_options: DataOptions,
    /// The difference that is allowed; nothing for [`crate::verify::TOLERANCE`].
    pub tolerance: Option<f64>,
    /// Shapes of inputs and sizes of named dimensions.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// The engine.
    pub runtime: Runtime,
}

/// Samples of the data that are compared.
const SAMPLES: usize = 64;
/// Samples that are compared of a model that takes one at a time.
const ALONE: usize = 16;
/// Samples in a run.
const BATCH: usize = 16;
/// Runs on random inputs, each from a seed of its own.
const SEEDS: u64 = 4;

type Inputs = Vec<(String, Tensor)>;

/// Holds a small model against the masked one it was cut from; a difference is an error, unless `approximate` groups
/// left that are only approximately right: then it is only measured.
pub(super) fn prove(
    engine: &dyn Engine,
    load: &LoadOptions,
    masked: &Model,
    small: &Model,
    samples: &[Inputs],
    real_data: bool,
    approximate: usize,
) -> Result<Verified, CompressError> {
    let mut verified = compare(engine, load, masked, small, samples, real_data)?;
    verified.approximate_groups = approximate;
    if holds(&verified) || (approximate > 0 && verified.max_rel_error.is_finite()) {
        Ok(verified)
    } else {
        Err(CompressError::Differs(verified))
    }
}

/// Runs `verify`. The report says whether the difference is within the tolerance.
///
/// # Errors
/// When a model or the data cannot be read, or the models cannot be compared.
pub fn verify(plan: &VerifyPlan) -> Result<VerifyReport, ToolError> {
    let dense = Model::read(&plan.dense)?;
    let small = Model::read(&plan.small)?;
    let engine = discover(&plan.runtime.discovery)?.engine;
    let run = |samples: &[Inputs]| {
        compare(&*engine, &plan.runtime.load, &dense, &small, samples, plan.data.is_some())
    };
    let mut verified = if let Some(path) = &plan.data {
        let inputs = read_as(path, Part::Val, &input_specs(&dense.graph)?, &plan.data_options)?;
        let data = open(path, Part::Val, &inputs, None, &plan.data_options)?;
        let samples = real(&inputs, &data)?;
        let mut verified = run(&samples)?;
        if !data.is_batched() {
            // Each run is one sample.
            verified.samples = samples.len();
        }
        verified
    } else {
        let shapes = InputShapes::new(&dense.graph, &plan.shapes)?;
        match run(&random(&dense, &shapes)?) {
            // Some files declare a free batch and then fix it inside.
            Err(VerifyError::Run { model, source }) => run(&random(&dense, &shapes.with_batch(1))?)
                .map_err(|_| VerifyError::Run { model, source })?,
            result => result?,
        }
    };
    verified.tolerance = plan.tolerance.unwrap_or(verified.tolerance);
    Ok(VerifyReport {
        dense: plan.dense.display().to_string(),
        small: plan.small.display().to_string(),
        holds: holds(&verified),
        verified,
    })
}

/// The first samples of the data, in full batches where the model's batch is fixed.
fn real(specs: &[InputSpec], data: &crate::data::Dataset) -> Result<Vec<Inputs>, ToolError> {
    let fixed = specs.iter().find_map(InputSpec::fixed_batch);
    let (batch, most) = if data.is_batched() { (fixed.unwrap_or(BATCH).max(1), SAMPLES) } else { (1, ALONE) };
    let positions: Vec<usize> = (0..data.len().min(most.max(batch))).collect();
    positions
        .chunks(batch)
        .filter(|chunk| fixed.is_none() || chunk.len() == batch)
        .map(|chunk| {
            let samples = data.batch(chunk, None)?;
            Ok(specs.iter().map(|spec| spec.name.clone()).zip(samples.given().into_owned()).collect())
        })
        .collect()
}

fn random(model: &Model, shapes: &InputShapes) -> Result<Vec<Inputs>, ToolError> {
    let probe = Probe::new(&model.graph, shapes, 0)?;
    let specs: Vec<InputSpec> = probe
        .tensors
        .iter()
        .map(|(name, tensor)| InputSpec {
            name: name.clone(),
            dtype: tensor.dtype(),
            dims: tensor.dims().iter().map(|&dim| Some(dim)).collect(),
            batched: true,
        })
        .collect();
    (0..SEEDS)
        .map(|number| {
            let samples = synthetic::batch(&specs, 1, number, &SyntheticOptions::default())?;
            Ok(specs.iter().map(|spec| spec.name.clone()).zip(samples.inputs).collect())
        })
        .collect()
}
