//! The loss of a run: what the model's outputs and the data suggest, or what was asked for.

use super::features::Features;
use super::tool::with_samples;
use super::{CompressError, LossPart, LossPlan, class_axis};
use crate::autodiff::{Loss, Term, Weight};
use crate::data::{Batch, IGNORED, InputSpec, TargetSpec};
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
    /// Where the labels come from, for language models.
    pub(super) next_token: Option<NextToken>,
    /// Whether the model has no axis of samples in that output, so that it is compared with one sample's targets alone.
    pub(super) alone: bool,
    /// Weight of the labels beside a teacher, at the first step and at the last.
    pub(super) labels: [f64; 2],
    /// In words.
    pub(super) text: String,
}

/// The next tokens of an input as labels.
#[derive(Debug, Clone)]
pub(super) struct NextToken {
    input: String,
    /// The token that is not learned.
    ignored: Option<i64>,
}

impl Objective {
    /// What the training graph takes for the targets of a batch whose inputs have these names.
    pub(super) fn given_target(&self, names: &[&str], batch: &Batch) -> Option<Tensor> {
        let target = self.target(names, batch)?;
        Some(if self.alone { target.without_first_axis() } else { target })
    }

    /// The labels or values of a batch whose inputs have these names, along an axis of samples.
    pub(super) fn target(&self, names: &[&str], batch: &Batch) -> Option<Tensor> {
        let Some(next) = &self.next_token else { return batch.target.clone() };
        let place = names.iter().position(|name| *name == next.input)?;
        next_tokens(batch.inputs.get(place)?, next.ignored)
    }

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
            InputSpec { name: name.clone(), dtype: tensor.dtype(), dims, batched: true }
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
pub(super) fn target_specs(graph: &Graph, trace: &Trace, loss: &LossPlan, batched: bool) -> Vec<TargetSpec> {
    let Some((_, _, dims)) = main_output(graph, trace) else { return Vec::new() };
    let dims = with_samples(&dims, batched);
    let labels = class_axis(dims.len(), None).ok().and_then(|axis| TargetSpec::labels(&dims, axis));
    let values = TargetSpec::values(&dims);
    let named = |parts: &[LossPart]| loss.parts.iter().any(|(part, _)| parts.contains(part));
    if named(&[LossPart::CrossEntropy]) {
        labels.into_iter().collect()
    } else if named(&[LossPart::BinaryCrossEntropy, LossPart::SquaredError, LossPart::SmoothL1]) {
        vec![values]
    } else if named(&[LossPart::NextToken]) {
        Vec::new()
    } else {
        labels.into_iter().chain([values]).collect()
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

/// Whether all values may be probabilities.
pub(super) fn lies_between_0_and_1(tensor: &Tensor) -> bool {
    tensor.to_f64().is_ok_and(|values| values.iter().all(|value| (0.0..=1.0).contains(value)))
}

/// What of the data matters to the loss.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    /// The type of the targets, if there are any.
    pub(super) target: Option<DType>,
    /// Samples of an epoch.
    pub(super) samples: usize,
    /// Whether the model takes several samples together.
    pub(super) batched: bool,
}

/// Chooses the loss. `outputs` is what the dense model gives; `features` are the values inside of the model that are
/// named to be compared.
pub(super) fn choose(
    graph: &Graph,
    trace: &Trace,
    plan: &LossPlan,
    about: About,
    outputs: &[Tensor],
    features: &Features,
) -> Result<Objective, CompressError> {
    let Some((output, _, dims)) = main_output(graph, trace) else {
        let alone = plan.parts.iter().all(|(part, _)| *part == LossPart::Features);
        if alone && !features.is_empty() {
            return Ok(features.objective());
        }
        let text = "the model has no float output; --distill-on names values inside of it to train on";
        return Err(CompressError::Loss(text.to_owned()));
    };
    let About { target, samples, batched } = about;
    // Axes that the targets have before those of the output.
    let more = with_samples(&dims, batched).len() - dims.len();
    let axis = class_axis(dims.len() + more, None)
        .ok()
        .and_then(|axis| axis.checked_sub(more))
        .filter(|&axis| dims[axis].is_some_and(|classes| classes > 1));
    let labels = target == Some(DType::I64);
    let share = if samples < MANY_SAMPLES { [LABELS[0]; 2] } else { LABELS };
    let probabilities =
        axis.is_some_and(|axis| outputs.get(output).is_some_and(|y| holds_probabilities(y, axis)));
    let alone = more > 0;
    let choice = Choice { plan, output, axis, dims: &dims, about, alone, probabilities, outputs, features };
    if !plan.parts.is_empty() {
        return choice.named(graph, trace, share);
    }
    let logits = if probabilities { " of probabilities" } else { "" };
    let given = |name: &str| Weight::Given(name.to_owned());
    let (mut terms, mut text) = match axis {
        Some(axis) if labels => {
            let terms = [choice.cross_entropy(axis)?, choice.distill(axis)];
            let text = format!(
                "cross-entropy{logits} with weight {} at first and {} at last, distillation from the dense model for \
                 the rest",
                share[0], share[1]
            );
            (WEIGHTS.into_iter().map(given).zip(terms).collect(), text)
        }
        _ if target.is_some_and(DType::is_float) => {
            (vec![(1.0.into(), Term::SquaredError { output })], "mean squared error".to_owned())
        }
        // What is named takes the place of the outputs.
        _ if !features.is_empty() => (Vec::new(), String::new()),
        _ => choice.distillation(),
    };
    if !features.is_empty() {
        terms.extend(features.terms());
        let plus = if text.is_empty() { "" } else { " + " };
        text = format!("{text}{plus}{}", features.text());
    }
    Ok(Objective {
        loss: Loss { terms },
        output,
        class_axis: axis.filter(|_| labels),
        alone,
        labels: share,
        next_token: None,
        text,
    })
}

/// What the parts of a loss are chosen by.
struct Choice<'a> {
    plan: &'a LossPlan,
    /// Number of the main output, the axis of its classes if it has one, its dimensions.
    output: usize,
    axis: Option<usize>,
    dims: &'a [Option<usize>],
    about: About,
    /// See [`Objective::alone`].
    alone: bool,
    probabilities: bool,
    /// What the dense model gives.
    outputs: &'a [Tensor],
    features: &'a Features,
}

impl Choice<'_> {
    fn cross_entropy(&self, axis: usize) -> Result<Term, CompressError> {
        let weights = &self.plan.class_weights;
        if let Some(classes) = self.dims[axis]
            && !weights.is_empty()
            && weights.len() != classes
        {
            let text = format!("{} --class-weights are given for {classes} classes", weights.len());
            return Err(CompressError::Loss(text));
        }
        Ok(Term::CrossEntropy {
            output: self.output,
            class_axis: axis,
            probabilities: self.probabilities,
            smoothing: self.plan.label_smoothing,
            class_weights: weights.clone(),
            ignore_index: (self.plan.ignore_index.is_some() || self.plan.foretells()).then_some(IGNORED),
        })
    }

    fn temperature(&self) -> f64 {
        self.plan.temperature.unwrap_or(TEMPERATURE)
    }

    fn distill(&self, axis: usize) -> Term {
        let (output, probabilities) = (self.output, self.probabilities);
        Term::Distillation { output, class_axis: axis, temperature: self.temperature(), probabilities }
    }

    /// Distillation of a classifier's decision, or of all outputs, and what it is in words.
    fn distillation(&self) -> (Vec<(Weight, Term)>, String) {
        let numbers = || (0..self.outputs.len()).filter(|&number| self.outputs[number].dtype().is_float());
        let count = numbers().count();
        let rank = self.dims.len() + usize::from(self.alone);
        if let (Some(axis), 2, 1) = (self.axis, rank, count) {
            let logits = if self.probabilities { " of probabilities" } else { "" };
            let text = format!("distillation{logits}, temperature {}", self.temperature());
            return (vec![(1.0.into(), self.distill(axis))], text);
        }
        let share = 1.0 / count.max(1) as f64;
        let terms = numbers().map(|output| (share.into(), Term::SquaredDistillation { output })).collect();
        (terms, "squared distance to the dense model's outputs".to_owned())
    }

    /// The sum of the parts that were asked for.
    fn named(&self, graph: &Graph, trace: &Trace, share: [f64; 2]) -> Result<Objective, CompressError> {
        let missing =
            |what: &str| CompressError::Loss(format!("it needs {what}, which the data do not hold"));
        let (output, labels) = (self.output, self.about.target == Some(DType::I64));
        let (mut terms, mut texts, mut next_token) = (Vec::new(), Vec::new(), None);
        let features = LossPart::Features;
        let unnamed = !self.features.is_empty() && self.plan.parts.iter().all(|(part, _)| *part != features);
        for &(part, weight) in self.plan.parts.iter().chain(unnamed.then_some(&(features, 1.0))) {
            let (parts, text) = match (part, self.axis) {
                (LossPart::CrossEntropy, Some(axis)) if labels => {
                    let logits = if self.probabilities { " of probabilities" } else { "" };
                    (vec![(1.0.into(), self.cross_entropy(axis)?)], format!("cross-entropy{logits}"))
                }
                (LossPart::CrossEntropy, _) => {
                    return Err(missing("integer labels for an output with a class axis"));
                }
                (LossPart::NextToken, _) if !self.about.batched => {
                    let text =
                        "next-token needs inputs and outputs with an axis of samples, [N, T] and [N, T, C]";
                    return Err(CompressError::Loss(text.to_owned()));
                }
                (LossPart::NextToken, _) => {
                    let last = self.dims.len() - 1;
                    let input = tokens(graph, trace, self.dims)?;
                    next_token = Some(NextToken { input, ignored: self.plan.ignore_index });
                    (vec![(1.0.into(), self.cross_entropy(last)?)], "next-token cross-entropy".to_owned())
                }
                (LossPart::Distill, _) => self.distillation(),
                (LossPart::Features, _) => (self.features.terms(), self.features.text()),
                _ if !self.about.target.is_some_and(DType::is_float) => return Err(missing("float targets")),
                (LossPart::BinaryCrossEntropy, _) => {
                    let probabilities = self.outputs.get(output).is_some_and(lies_between_0_and_1);
                    let of = if probabilities { "probabilities" } else { "logits" };
                    let term = Term::BinaryCrossEntropy { output, probabilities };
                    (vec![(1.0.into(), term)], format!("binary cross-entropy of {of}"))
                }
                (LossPart::SquaredError, _) => {
                    (vec![(1.0.into(), Term::SquaredError { output })], "mean squared error".to_owned())
                }
                (LossPart::SmoothL1, _) => {
                    (vec![(1.0.into(), Term::SmoothL1 { output })], "smooth L1".to_owned())
                }
            };
            let scaled = |(own, term)| match own {
                Weight::Fixed(own) => (Weight::Fixed(own * weight), term),
                Weight::Given(name) => (Weight::Given(name), term),
            };
            terms.extend(parts.into_iter().map(scaled));
            texts.push(if weight == 1.0 { text } else { format!("{weight} x {text}") });
        }
        Ok(Objective {
            loss: Loss { terms },
            output,
            class_axis: self.axis.filter(|_| labels || next_token.is_some()),
            alone: self.alone,
            labels: share,
            next_token,
            text: texts.join(" + "),
        })
    }
}

/// The integer input whose tokens the output `[N, T, C]` foretells.
fn tokens(graph: &Graph, trace: &Trace, dims: &[Option<usize>]) -> Result<String, CompressError> {
    let fail = |text: String| CompressError::Loss(text);
    if dims.len() != 3 {
        return Err(fail(format!(
            "next-token needs an output [N, T, C], this one has {} dimensions",
            dims.len()
        )));
    }
    let main =
        graph.outputs().iter().filter_map(|&id| trace.facts.get(id)).find(|seen| seen.dtype.is_float());
    let fits = |tensor: &Tensor| {
        let whole = matches!(tensor.dtype(), DType::I32 | DType::I64);
        whole && main.is_some_and(|seen| seen.dims.get(..2) == Some(tensor.dims()))
    };
    let found = trace.inputs.iter().find(|(_, tensor)| fits(tensor));
    let name = found.map(|(name, _)| name.clone());
    name.ok_or_else(|| {
        fail("next-token needs an integer input [N, T] of tokens, the model has none".to_owned())
    })
}

/// The labels of a language model: for each position of `ids` `[N, T]` the next token; none for the last, and where the
/// next one is `ignored`.
fn next_tokens(ids: &Tensor, ignored: Option<i64>) -> Option<Tensor> {
    let values = ids.to_i64().ok()?;
    let length = *ids.dims().get(1)?;
    let last = |at: usize| (at + 1).is_multiple_of(length);
    let next = |at: usize| if last(at) || Some(values[at + 1]) == ignored { IGNORED } else { values[at + 1] };
    Tensor::new(ids.dims().to_vec(), (0..values.len()).map(next).collect::<Vec<i64>>()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_token_has_no_next_one() {
        let ids = Tensor::new(vec![2, 3], vec![1_i32, 2, 3, 4, 5, 6]).unwrap();
        let expected = Tensor::new(vec![2, 3], vec![2_i64, 3, IGNORED, IGNORED, 6, IGNORED]).unwrap();
        assert_eq!(next_tokens(&ids, Some(5)), Some(expected));
    }
}
