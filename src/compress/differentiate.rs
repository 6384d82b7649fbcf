//! The training graph as a file, for people with a training loop of their own.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::objective::{holds_probabilities, lies_between_0_and_1};
use super::structure::{traced, unfolded};
use super::tool::{ModelPlan, ToolError, class_axis};
use crate::autodiff::{self, Loss, Request, Term};
use crate::engine::{discover, load_model};
use crate::ir::{DeclaredDim, Model, Storage, ValueId, constants_to_initializers, in_single_precision};
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
    /// Whether batch normalisation uses the batch's own statistics.
    pub batch_statistics: bool,
    /// Whether an existing file is replaced.
    pub force: bool,
}

/// A loss against targets that the data bring.
#[derive(Debug, Clone, PartialEq)]
pub enum TargetLoss {
    /// Cross-entropy on integer labels; see [`Term::CrossEntropy`].
    CrossEntropy {
        /// The axis of the classes; a negative one counts from the back. Nothing: see [`class_axis`].
        class_axis: Option<i64>,
        /// The share of each label that is spread evenly over all classes.
        smoothing: f64,
        /// A weight for each class; none means 1.
        class_weights: Vec<f64>,
        /// The label that does not count.
        ignore_index: Option<i64>,
    },
    /// Cross-entropy of independent yes-or-no decisions.
    BinaryCrossEntropy,
    /// Mean squared error.
    SquaredError,
    /// The absolute difference, squared near zero.
    SmoothL1,
}

/// Runs `differentiate`: writes a model whose inputs are those of the model, `target`, and the trained initializers,
/// which keep their values as defaults; and whose outputs are `loss`, `grad:NAME` for each of them, and with batch
/// statistics the updated running ones. The loss is that of the model's first output; for cross-entropies, one that
/// holds probabilities on random inputs is taken for such, others for logits. A model that computes with 16-bit floats
/// is written in single precision: its weights, its gradients and the loss are `float`.
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
    if let Some(single) = in_single_precision(&model)? {
        model = single;
    }
    let trace = traced(&model, &*engine.engine, &plan.model.runtime.load, &shapes)?;
    let output = model.graph.outputs().first().and_then(|&id| trace.facts.get(id));
    let rank = output.map_or(0, |seen| seen.dims.len());
    let first = || -> Result<Option<Tensor>, ToolError> {
        let mut session = load_model(&*engine.engine, &plan.model.runtime.load, &model)?;
        let inputs: Vec<(&str, &Tensor)> =
            trace.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        Ok(session.run(&inputs)?.into_iter().next())
    };
    let term = match &plan.loss {
        TargetLoss::SquaredError => Term::SquaredError { output: 0 },
        TargetLoss::SmoothL1 => Term::SmoothL1 { output: 0 },
        TargetLoss::BinaryCrossEntropy => {
            let probabilities = first()?.is_some_and(|values| lies_between_0_and_1(&values));
            Term::BinaryCrossEntropy { output: 0, probabilities }
        }
        TargetLoss::CrossEntropy { class_axis: axis, smoothing, class_weights, ignore_index } => {
            // Without a batch, all axes are the sample's.
            let alone = output.is_some_and(|seen| seen.varies.first() == Some(&false));
            let class_axis = match axis {
                Some(0) if alone => 0,
                None if alone && rank == 1 => 0,
                _ => class_axis(rank, *axis)?,
            };
            let classes = output.filter(|seen| !seen.varies[class_axis]).map(|seen| seen.dims[class_axis]);
            if let Some(classes) = classes.filter(|&count| ![0, count].contains(&class_weights.len())) {
                return Err(ToolError::Setting {
                    place: "--class-weights".to_owned(),
                    problem: format!("{} are given for {classes} classes", class_weights.len()),
                });
            }
            Term::CrossEntropy {
                output: 0,
                class_axis,
                probabilities: first()?.is_some_and(|values| holds_probabilities(&values, class_axis)),
                smoothing: *smoothing,
                class_weights: class_weights.clone(),
                ignore_index: *ignore_index,
            }
        }
    };
    let trainable = autodiff::trainable_initializers(&model.graph, &trace.facts, |id| own.contains(&id));
    let request = Request {
        batch_statistics: plan.batch_statistics.then_some(crate::ops::Statistics::Running),
        ..Request::new(Loss { terms: vec![(1.0.into(), term)] }, trainable)
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
