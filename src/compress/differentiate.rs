//! The training graph as a file, for people with a training loop of their own.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::objective::holds_probabilities;
use super::structure::{traced, unfolded};
use super::tool::{ModelPlan, ToolError, class_axis};
use crate::autodiff::{self, Loss, Request, Term};
use crate::engine::{discover, load_model};
use crate::ir::{DeclaredDim, Model, Storage, ValueId, constants_to_initializers};
use crate::report::DifferentiateReport;
use crate::tensor::Tensor;
use crate::trace::InputShapes;

/// What `differentiate` is asked to do.
#[derive(Debug, Clone)]
pub struct DifferentiatePlan {
    /// The model, and how it is run to learn its shapes.
    pub model: ModelPlan,
    /// The file to write.
    pub output: PathBuf,
    /// The loss.
    pub loss: TargetLoss,
    /// The axis of the classes; a negative one counts from the back. Nothing: see [`class_axis`].
    pub class_axis: Option<i64>,
    /// Whether batch normalisation uses the batch's own statistics.
    pub batch_statistics: bool,
    /// Whether an existing file is replaced.
    pub force: bool,
}

/// A loss against targets that the data bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetLoss {
    /// Cross-entropy on integer labels.
    CrossEntropy,
    /// Mean squared error.
    SquaredError,
}

/// Constants of a node become weights only when they are larger than this, in elements.
const CONSTANT: usize = 64;

/// Runs `differentiate`: writes a model whose inputs are those of the model, `target`, and the trained initializers,
/// which keep their values as defaults; and whose outputs are `loss`, `grad:NAME` for each of them, and with batch
/// statistics the updated running ones. The loss is that of the model's first output; for cross-entropy, one that
/// holds probabilities on random inputs is taken for such, others for logits.
///
/// # Errors
/// When the model cannot be read or traced, has no gradient, or the file cannot be written.
pub fn differentiate(plan: &DifferentiatePlan) -> Result<DifferentiateReport, ToolError> {
    let mut model = Model::read(&plan.model.model)?;
    let own: BTreeSet<ValueId> = model.graph.initializers().map(|(id, _)| id).collect();
    let engine = discover(&plan.model.runtime.discovery)?;
    let shapes = InputShapes::new(&model.graph, &plan.model.shapes)?;
    model = unfolded(model, &*engine.engine, &plan.model.runtime.load, &shapes)?;
    constants_to_initializers(&mut model.graph);
    let trace = traced(&model, &*engine.engine, &plan.model.runtime.load, &shapes)?;
    let output = model.graph.outputs().first().and_then(|&id| trace.facts.get(id));
    let rank = output.map_or(0, |seen| seen.dims.len());
    let term = match plan.loss {
        TargetLoss::SquaredError => Term::SquaredError { output: 0 },
        TargetLoss::CrossEntropy => {
            let class_axis = class_axis(rank, plan.class_axis)?;
            let mut session = load_model(&*engine.engine, &plan.model.runtime.load, &model)?;
            let inputs: Vec<(&str, &Tensor)> =
                trace.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
            let outputs = session.run(&inputs)?;
            let probabilities = outputs.first().is_some_and(|values| holds_probabilities(values, class_axis));
            Term::CrossEntropy {
                output: 0,
                class_axis,
                probabilities,
                smoothing: 0.0,
                class_weights: Vec::new(),
                sparse: false,
            }
        }
    };
    let trainable = autodiff::trainable_initializers(&model.graph, &trace.facts)
        .into_iter()
        .filter(|id| own.contains(id) || is_weight_like(&model, *id))
        .collect();
    let request = Request {
        loss: Loss { terms: vec![(1.0.into(), term)] },
        trainable,
        batch_statistics: plan.batch_statistics.then_some(crate::ops::Statistics::Running),
        elementary: false,
        freeze_unsupported: false,
    };
    let mut training = autodiff::differentiate(&model, &trace.facts, &request)?;
    if plan.batch_statistics
        && training.statistics.is_empty()
        && !crate::ops::running_statistics(&model.graph).is_empty()
    {
        return Err(ToolError::Setting {
            place: "--batch-norm train".to_owned(),
            problem: format!(
                "operator set {} cannot say it, 14 can; convert the model, or use --batch-norm frozen",
                model.opset("").unwrap_or(0)
            ),
        });
    }
    let graph = &mut training.model.graph;
    for &(weight, _) in &training.gradients {
        let Some(tensor) = graph.value(weight).initializer() else { continue };
        let (dtype, dims) = (tensor.dtype(), tensor.dims());
        let dims: Vec<DeclaredDim> = dims.into_iter().map(DeclaredDim::Fixed).collect();
        if let Some(dtype) = dtype {
            graph.add_input(weight, dtype, &dims);
        }
    }
    let bytes = training.model.write(&plan.output, Storage::Auto, plan.force)?;
    let graph = &training.model.graph;
    let name = |id: ValueId| graph.value(id).name().to_owned();
    Ok(DifferentiateReport {
        model: plan.model.model.display().to_string(),
        output: plan.output.display().to_string(),
        bytes,
        targets: training.targets.iter().map(|&id| name(id)).collect(),
        loss: name(training.loss),
        gradients: training.gradients.iter().map(|&(weight, grad)| (name(weight), name(grad))).collect(),
        statistics: training.statistics.iter().map(|seen| (name(seen.running), name(seen.updated))).collect(),
    })
}

fn is_weight_like(model: &Model, id: ValueId) -> bool {
    let tensor = model.graph.value(id).initializer();
    tensor.is_some_and(|tensor| tensor.dims().len() >= 2 && tensor.count() > CONSTANT)
}
