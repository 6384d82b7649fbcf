//! Loss and accuracy of a model on data, computed on the host in `f64` from the model's outputs.

use std::path::PathBuf;
use std::time::Instant;

use super::tool::{Runtime, ToolError, class_axis, input_specs, with_samples};
use super::{LossChoice, score};
use crate::data::{Batch, DataOptions, Dataset, InputSpec, Part, TargetSpec, open, read_as};
use crate::engine::{Session, discover, load_model};
use crate::ir::{DeclaredDim, Model};
use crate::report::EvalReport;
use crate::tensor::Tensor;

/// What `eval` is asked to do.
#[derive(Debug, Clone)]
pub struct EvalPlan {
    /// The model to read.
    pub model: PathBuf,
    /// The data.
    pub data: PathBuf,
    /// How data are read.
    pub data_options: DataOptions,
    /// The loss.
    pub loss: LossChoice,
    /// Samples in a run; nothing means [`BATCH`]. A model with a fixed batch takes its own.
    pub batch: Option<usize>,
    /// The engine.
    pub runtime: Runtime,
}

/// Samples in a run unless told otherwise.
pub const BATCH: usize = 64;

/// Loss and accuracy over a data set.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Evaluation {
    /// Mean loss over all positions: cross-entropy for class numbers, squared error for float targets. Nothing
    /// without targets.
    pub loss: Option<f64>,
    /// Share of positions whose class has the largest output. Nothing without class numbers.
    pub accuracy: Option<f64>,
    /// Samples.
    pub samples: usize,
}

/// The output that is compared with targets.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    /// Its number.
    pub output: usize,
    /// The axis of its classes; without meaning for float targets.
    pub class_axis: usize,
    /// Whether it has no axis of samples, as with models that take one sample at a time.
    pub alone: bool,
}

/// Runs the model on every sample of `data` as it is and compares an output with the targets, in runs of `batch`
/// samples, or of one where the model takes no more. `target` gives the targets of a batch whose inputs have these names. Outputs whose rows all are probabilities are taken for such, others for logits. Where the
/// model's batch is fixed, it takes the place of `batch`, and the last run is filled up with copies that do not
/// count.
///
/// # Errors
/// When the model does not run, data cannot be read, or a target does not fit the output.
pub fn evaluate(
    session: &mut dyn Session,
    data: &Dataset,
    compared: Compared,
    batch: usize,
    target: &dyn Fn(&[&str], &Batch) -> Option<Tensor>,
) -> Result<Evaluation, ToolError> {
    let inputs: Vec<String> =
        session.inputs().iter().filter(|port| !port.optional).map(|port| port.name.clone()).collect();
    let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let fixed = session
        .inputs()
        .iter()
        .filter(|port| !port.optional && data.is_batched())
        .find_map(|port| port.dims.as_ref().and_then(|dims| dims.first().copied().flatten()));
    let batch = if data.is_batched() { fixed.unwrap_or(batch).max(1) } else { 1 };
    let mut sum = score::Sum::default();
    let positions: Vec<usize> = (0..data.len()).collect();
    for chunk in positions.chunks(batch) {
        let mut padded = chunk.to_vec();
        if let (Some(fixed), Some(&last)) = (fixed, chunk.last()) {
            padded.resize(fixed, last);
        }
        let samples = data.batch(&padded, None)?;
        let inputs = samples.given();
        let given: Vec<(&str, &Tensor)> = names.iter().copied().zip(&*inputs).collect();
        let outputs = session.run(&given)?;
        let target = target(&names, &samples);
        let (Some(target), Some(values)) = (target, outputs.into_iter().nth(compared.output)) else {
            continue;
        };
        let class_axis = compared.class_axis + usize::from(compared.alone);
        let values = if compared.alone { values.with_first_axis() } else { values };
        score::add(&mut sum, &values, &target, class_axis, chunk)?;
    }
    Ok(sum.evaluation(data.len()))
}

/// Runs `eval`.
///
/// # Errors
/// When the model or the data cannot be read, or do not fit each other.
pub fn eval(plan: &EvalPlan) -> Result<EvalReport, ToolError> {
    let start = Instant::now();
    let model = Model::read(&plan.model)?;
    let engine = discover(&plan.runtime.discovery)?;
    let mut session = load_model(&*engine.engine, &plan.runtime.load, &model)?;
    let inputs = read_as(&plan.data, Part::Val, &input_specs(&model.graph)?, &plan.data_options)?;
    let (output, dims) = scored_output(&model, &*session)?;
    let rank = dims.len();
    let dims = with_samples(&dims, inputs.iter().all(|input| input.batched));
    let axis = class_axis(dims.len(), None);
    let spec = target_spec(plan, &inputs, &dims, axis.as_ref().ok().copied())?;
    let data = open(&plan.data, Part::Val, &inputs, Some(&spec), &plan.data_options)?;
    let alone = dims.len() > rank;
    let class_axis = if spec.dtype.is_float() { 0 } else { axis? - usize::from(alone) };
    let found = {
        let target = |_: &[&str], batch: &Batch| batch.target.clone();
        evaluate(
            &mut *session,
            &data,
            Compared { output, class_axis, alone },
            plan.batch.unwrap_or(BATCH),
            &target,
        )?
    };
    Ok(EvalReport {
        model: plan.model.display().to_string(),
        data: data.describe(),
        samples: found.samples,
        loss: found.loss,
        accuracy: found.accuracy,
        seconds: start.elapsed().as_secs_f64(),
        engine: format!("{} {}", engine.engine.name(), engine.engine.version()),
    })
}

/// The number of the first float output, and its dimensions.
fn scored_output(model: &Model, session: &dyn Session) -> Result<(usize, Vec<Option<usize>>), ToolError> {
    let fail = |problem: &str| ToolError::Setting { place: "model".to_owned(), problem: problem.to_owned() };
    let mut outputs = session.outputs().iter().enumerate();
    let (number, port) = outputs
        .find(|(_, port)| port.dtype.is_some_and(crate::tensor::DType::is_float))
        .ok_or_else(|| fail("it has no float output to compare with targets"))?;
    let declared = || {
        let dims = model.graph.value(model.graph.find(&port.name)?).declared()?.dims?;
        let size = |dim: DeclaredDim| match dim {
            DeclaredDim::Fixed(size) => Some(size),
            DeclaredDim::Named(_) | DeclaredDim::Free => None,
        };
        Some(dims.into_iter().map(size).collect())
    };
    let dims = port.dims.clone().or_else(declared);
    dims.map(|dims| (number, dims)).ok_or_else(|| {
        fail(&format!("the number of dimensions of its output `{}` is not declared", port.name))
    })
}

/// What the targets must be, by the loss that was asked for or else by the data.
fn target_spec(
    plan: &EvalPlan,
    inputs: &[InputSpec],
    dims: &[Option<usize>],
    axis: Option<usize>,
) -> Result<TargetSpec, ToolError> {
    let classes = match plan.loss {
        LossChoice::CrossEntropy => true,
        LossChoice::SquaredError => false,
        LossChoice::Auto => {
            let data = open(&plan.data, Part::Val, inputs, None, &plan.data_options)?;
            data.target_dtype().is_none_or(|dtype| !dtype.is_float())
        }
    };
    let labels = axis.and_then(|axis| TargetSpec::labels(dims, axis));
    if !classes {
        return Ok(TargetSpec::values(dims));
    }
    labels.ok_or_else(|| ToolError::Setting {
        place: "class numbers".to_owned(),
        problem: format!("the output has {} dimensions and no class axis", dims.len()),
    })
}
