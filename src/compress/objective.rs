//! The loss of a run: what the model's outputs and the data suggest, or what was asked for.

use super::{CompressError, LossChoice, class_axis};
use crate::autodiff::{Loss, Term, Weight};
use crate::data::{InputSpec, TargetSpec};
use crate::ir::{DeclaredDim, Graph, ValueId};
use crate::tensor::{DType, Tensor};
use crate::trace::Trace;

/// Temperature of distillation.
const TEMPERATURE: f64 = 3.0;
/// Where there are both labels and a teacher, the weight of the labels at the first step and at the last; it changes
/// evenly in between. The teacher helps a model that has just been cut, and holds back one that has caught up with it
/// (Clark et al., arXiv 1907.04829, call it teacher annealing).
const LABELS: [f64; 2] = [0.5, 1.0];
/// With fewer samples than this the teacher, who may have seen more, keeps its weight.
const MANY_SAMPLES: usize = 20_000;
/// The inputs of a training graph that weigh the two.
const WEIGHTS: [&str; 2] = ["weight:labels", "weight:teacher"];

/// What is trained for, and how it is measured.
#[derive(Debug, Clone)]
pub(super) struct Objective {
    pub(super) loss: Loss,
    /// Number of the output that labels or targets belong to.
    pub(super) output: usize,
    /// The axis of the classes, for classifiers.
    pub(super) class_axis: Option<usize>,
    /// Whether the dense model's outputs are needed.
    pub(super) teacher: bool,
    /// Weight of the labels beside a teacher, at the first step and at the last.
    pub(super) labels: [f64; 2],
    /// In words.
    pub(super) text: String,
}

impl Objective {
    /// The value of the input `name` of a training graph if it is the weight of a term, once the share `done` of all
    /// steps is done.
    pub(super) fn term_weight(&self, name: &str, done: f64) -> Option<Tensor> {
        let [first, last] = self.labels;
        let labels = first + (last - first) * done;
        let place = WEIGHTS.iter().position(|weight| *weight == name)?;
        Some(Tensor::scalar([labels, 1.0 - labels][place] as f32))
    }
}

/// The inputs of a model as data must provide them.
pub(super) fn input_specs(graph: &Graph, trace: &Trace) -> Vec<InputSpec> {
    trace
        .inputs
        .iter()
        .map(|(name, tensor)| {
            let declared = graph
                .find(name)
                .and_then(|id| graph.value(id).declared())
                .and_then(|declared| declared.dims)
                .unwrap_or_default();
            let dims = tensor
                .dims()
                .iter()
                .enumerate()
                .map(|(axis, &dim)| match declared.get(axis) {
                    Some(DeclaredDim::Fixed(_)) => Some(dim),
                    // Only the batch is taken from the data; the sizes that were traced hold for the rest.
                    _ if axis == 0 => None,
                    _ => Some(dim),
                })
                .collect();
            InputSpec { name: name.clone(), dtype: tensor.dtype(), dims }
        })
        .collect()
}

/// The first float output, its dimensions and the axis of its classes.
fn main_output(graph: &Graph, trace: &Trace) -> Option<(usize, ValueId, Vec<Option<usize>>)> {
    graph.outputs().iter().enumerate().find_map(|(number, &id)| {
        let seen = trace.facts.get(id).filter(|seen| seen.dtype.is_float())?;
        let dims =
            seen.dims.iter().zip(&seen.varies).map(|(&dim, &varies)| (!varies).then_some(dim)).collect();
        Some((number, id, dims))
    })
}

/// What targets may look like: labels first, then values.
pub(super) fn target_specs(graph: &Graph, trace: &Trace, choice: LossChoice) -> Vec<TargetSpec> {
    let Some((_, _, dims)) = main_output(graph, trace) else { return Vec::new() };
    let labels = class_axis(dims.len(), None).ok().and_then(|axis| TargetSpec::labels(&dims, axis));
    let values = TargetSpec::values(&dims);
    match choice {
        LossChoice::SquaredError => vec![values],
        LossChoice::CrossEntropy => labels.into_iter().collect(),
        LossChoice::Auto | LossChoice::Distill => labels.into_iter().chain([values]).collect(),
    }
}

/// Whether the rows of an output along the class axis are probabilities.
pub(super) fn holds_probabilities(tensor: &Tensor, axis: usize) -> bool {
    let Ok(values) = tensor.to_f64() else { return false };
    let dims = tensor.dims();
    let inner: usize = dims[axis + 1..].iter().product();
    let rows = values.len() / dims[axis].max(1);
    !values.is_empty()
        && values.iter().all(|value| (0.0..=1.0).contains(value))
        && (0..rows).all(|row| {
            let start = row / inner * inner * dims[axis] + row % inner;
            let sum: f64 = (0..dims[axis]).map(|class| values[start + class * inner]).sum();
            (sum - 1.0).abs() < 1e-3
        })
}

/// Chooses the loss. `target` is the type of the data's targets, of which there are so many `samples`; `outputs` is
/// what the dense model gives.
pub(super) fn choose(
    graph: &Graph,
    trace: &Trace,
    choice: LossChoice,
    target: Option<DType>,
    samples: usize,
    outputs: &[Tensor],
) -> Result<Objective, CompressError> {
    let Some((output, _, dims)) = main_output(graph, trace) else {
        return Err(CompressError::Loss("the model has no float output".to_owned()));
    };
    let axis =
        class_axis(dims.len(), None).ok().filter(|&axis| dims[axis].is_some_and(|classes| classes > 1));
    let labels = target == Some(DType::I64);
    let share = if samples < MANY_SAMPLES { [LABELS[0]; 2] } else { LABELS };
    let missing = |what: &str| CompressError::Loss(format!("it needs {what}, which the data do not hold"));
    let probabilities =
        axis.is_some_and(|axis| outputs.get(output).is_some_and(|y| holds_probabilities(y, axis)));
    let logits = if probabilities { " of probabilities" } else { "" };
    let cross_entropy = |axis| Term::CrossEntropy { output, class_axis: axis, probabilities };
    let distill =
        |axis| Term::Distillation { output, class_axis: axis, temperature: TEMPERATURE, probabilities };
    let all_squared = || {
        let share = outputs.iter().filter(|y| y.dtype().is_float()).count().max(1) as f64;
        (0..outputs.len())
            .filter(|&number| outputs[number].dtype().is_float())
            .map(|number| ((1.0 / share).into(), Term::SquaredDistillation { output: number }))
            .collect::<Vec<_>>()
    };
    let given = |name: &str| Weight::Given(name.to_owned());
    let classifier = dims.len() == 2 && outputs.iter().filter(|y| y.dtype().is_float()).count() == 1;
    let (terms, teacher, text) = match (choice, axis) {
        (LossChoice::CrossEntropy, Some(axis)) if labels => {
            (vec![(1.0.into(), cross_entropy(axis))], false, format!("cross-entropy{logits}"))
        }
        (LossChoice::CrossEntropy, _) => {
            return Err(missing("integer labels for an output with a class axis"));
        }
        (LossChoice::SquaredError, _) if target.is_some_and(DType::is_float) => {
            (vec![(1.0.into(), Term::SquaredError { output })], false, "mean squared error".to_owned())
        }
        (LossChoice::SquaredError, _) => return Err(missing("float targets")),
        (LossChoice::Auto, Some(axis)) if labels => (
            WEIGHTS.into_iter().map(given).zip([cross_entropy(axis), distill(axis)]).collect(),
            true,
            format!(
                "cross-entropy{logits} with weight {} at first and {} at last, distillation from the dense model for \
                 the rest",
                share[0], share[1]
            ),
        ),
        (LossChoice::Auto, _) if target.is_some_and(DType::is_float) => {
            (vec![(1.0.into(), Term::SquaredError { output })], false, "mean squared error".to_owned())
        }
        (LossChoice::Auto | LossChoice::Distill, Some(axis)) if classifier => (
            vec![(1.0.into(), distill(axis))],
            true,
            format!("distillation{logits}, temperature {TEMPERATURE}"),
        ),
        (LossChoice::Auto | LossChoice::Distill, _) => {
            (all_squared(), true, "squared distance to the dense model's outputs".to_owned())
        }
    };
    Ok(Objective {
        loss: Loss { terms },
        output,
        class_axis: axis.filter(|_| labels),
        teacher,
        labels: share,
        text,
    })
}
