//! Losses, and their gradients with respect to the model's outputs.

use super::AutodiffError;
use super::terms::Shares;
use crate::ir::{DeclaredDim, Facts, Graph, ValueId};
use crate::ops::{Tape, TapeStart};
use crate::tensor::DType;

/// A weighted sum of terms.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loss {
    /// Weight and term.
    pub terms: Vec<(Weight, Term)>,
}

impl Loss {
    /// The values of `graph` of which the loss takes a teacher's version, each once.
    pub fn taught(&self, graph: &Graph) -> Vec<ValueId> {
        let taught = self.terms.iter().filter(|(_, term)| term.is_taught());
        let mut values: Vec<ValueId> =
            taught.filter_map(|(_, term)| term.place(graph.outputs()).ok()).collect();
        values.sort_unstable();
        values.dedup();
        values
    }
}

/// The weight of a term.
#[derive(Debug, Clone, PartialEq)]
pub enum Weight {
    /// This number.
    Fixed(f64),
    /// A scalar input of this name, so that it may differ from step to step.
    Given(String),
}

impl From<f64> for Weight {
    fn from(number: f64) -> Self {
        Self::Fixed(number)
    }
}

/// One term of a loss. Means are taken over all positions of the output.
#[derive(Debug, Clone, PartialEq)]
pub enum Term {
    /// `mean(-log softmax(output)[label])` with integer labels in the input `target`, of the output's dimensions
    /// without the class axis.
    CrossEntropy {
        /// Number of the graph output.
        output: usize,
        /// The axis of the classes.
        class_axis: usize,
        /// Whether the output holds probabilities instead of logits.
        probabilities: bool,
        /// The share `s` of the label that is spread evenly over all `C` classes (Szegedy et al., arXiv 1512.00567).
        smoothing: f64,
        /// A weight for each class: of its terms, and of the labels that the mean counts; none means 1.
        class_weights: Vec<f64>,
        /// The label that does not count, neither in the sum nor for the mean. Labels that are no class do not count
        /// either then; without it they must not occur.
        ignore_index: Option<i64>,
    },
    /// The cross-entropy of independent yes-or-no decisions, with the input `target` of the output's dimensions and
    /// values from 0 to 1: `mean(-target log p - (1 - target) log(1 - p))`, `p` the sigmoid of the output.
    BinaryCrossEntropy {
        /// Number of the graph output.
        output: usize,
        /// Whether the output holds `p` itself.
        probabilities: bool,
    },
    /// `mean(h(output - target))` with the input `target`, of the output's dimensions: `h(d)` is `d^2 / 2` for
    /// `|d| < 1`, else `|d| - 1/2` (Girshick, arXiv 1504.08083).
    SmoothL1 {
        /// Number of the graph output.
        output: usize,
    },
    /// `mean((output - target)^2)` with the input `target`, of the output's dimensions.
    SquaredError {
        /// Number of the graph output.
        output: usize,
    },
    /// `t^2 mean(KL(softmax(teacher / t) || softmax(output / t)))` with the teacher's output in an input named
    /// `teacher:` and the output's name (Hinton, Vinyals and Dean, arXiv 1503.02531).
    Distillation {
        /// Number of the graph output.
        output: usize,
        /// The axis of the classes.
        class_axis: usize,
        /// The temperature t.
        temperature: f64,
        /// Whether the output holds probabilities instead of logits.
        probabilities: bool,
    },
    /// `mean((output - teacher)^2)`, divided by the mean square of the teacher's output, so that outputs of
    /// different sizes weigh the same. The teacher's output is an input named as for distillation.
    SquaredDistillation {
        /// Number of the graph output.
        output: usize,
    },
    /// The same for any value of the graph, of which the teacher's is an input named by it.
    Features {
        /// The value, computed by a node.
        value: ValueId,
    },
}

/// What a loss adds to a graph.
pub(super) struct Seeds {
    pub(super) loss: ValueId,
    pub(super) grads: Vec<(ValueId, ValueId)>,
    pub(super) targets: Vec<ValueId>,
}

/// What a term is multiplied by.
enum Factor {
    Number(f64),
    Value(ValueId),
}

pub(super) struct Writer<'a> {
    pub(super) tape: Tape<'a>,
}

/// Emits the loss at the end of `graph`.
pub(super) fn emit(
    graph: &mut Graph,
    facts: &Facts,
    opset: i64,
    loss: &Loss,
) -> Result<Seeds, AutodiffError> {
    let fail = |text: String| AutodiffError::Loss(text);
    let outputs = graph.outputs().to_vec();
    let mut sum: Option<(ValueId, DType)> = None;
    let mut grads = Vec::new();
    let mut targets: Vec<ValueId> = Vec::new();
    for (weight, term) in &loss.terms {
        let output = term.place(&outputs).map_err(|number| {
            fail(format!("there is no output {number}, the model has {}", outputs.len()))
        })?;
        let Some(seen) = facts.get(output).filter(|seen| seen.dtype.is_float()) else {
            return Err(fail(format!("`{}` is no float tensor", graph.value(output).name())));
        };
        let input = term_input(graph, term, output);
        if !targets.contains(&input) {
            targets.push(input);
        }
        let dims: Vec<DeclaredDim> = declared_dims(graph, output, &seen.dims, &seen.varies);
        match term {
            Term::CrossEntropy { class_axis, .. } => {
                if *class_axis >= dims.len() {
                    return Err(fail(format!("class axis {class_axis} is outside of {:?}", seen.dims)));
                }
                let mut labels = dims;
                labels.remove(*class_axis);
                graph.add_input(input, DType::I64, &labels);
            }
            _ => graph.add_input(input, seen.dtype, &dims),
        }
        let weight = match weight {
            Weight::Fixed(number) => Factor::Number(*number),
            Weight::Given(name) => {
                let known = graph.find(name).filter(|id| targets.contains(id));
                let id = known.unwrap_or_else(|| graph.add_value(name));
                if known.is_none() {
                    graph.add_input(id, seen.dtype, &[]);
                    targets.push(id);
                }
                Factor::Value(id)
            }
        };
        let mut writer = Writer {
            tape: Tape::new(TapeStart {
                graph,
                base: "loss.term".to_owned(),
                opset,
                dtype: seen.dtype,
                inputs: Vec::new(),
                outputs: Vec::new(),
                wanted: Vec::new(),
                output_grads: Vec::new(),
            }),
        };
        let (value, grad) = writer.term(term, output, input, &seen.dims);
        let value = writer.weighted(value, &weight);
        let grad = writer.weighted(grad, &weight);
        sum = Some(match sum {
            None => (value, seen.dtype),
            Some((sum, dtype)) => {
                let value = if dtype == seen.dtype { value } else { writer.tape.cast(value, dtype) };
                (writer.tape.add(sum, value), dtype)
            }
        });
        grads.push((output, grad));
    }
    let Some((sum, _)) = sum else { return Err(fail("it has no term".to_owned())) };
    let name = graph.fresh_name("loss");
    let loss = graph.rename_output(sum, &name);
    Ok(Seeds { loss, grads, targets })
}

impl Term {
    /// The value that the term is of, in a graph with these outputs; the number of an output that there is not.
    fn place(&self, outputs: &[ValueId]) -> Result<ValueId, usize> {
        let output = match self {
            Self::CrossEntropy { output, .. }
            | Self::BinaryCrossEntropy { output, .. }
            | Self::SmoothL1 { output }
            | Self::SquaredError { output }
            | Self::Distillation { output, .. }
            | Self::SquaredDistillation { output } => *output,
            Self::Features { value } => return Ok(*value),
        };
        outputs.get(output).copied().ok_or(output)
    }

    /// Whether the term compares with a teacher.
    fn is_taught(&self) -> bool {
        matches!(self, Self::Distillation { .. } | Self::SquaredDistillation { .. } | Self::Features { .. })
    }
}

/// The dimensions of an output as a caller must give them for its target.
fn declared_dims(graph: &Graph, output: ValueId, dims: &[usize], varies: &[bool]) -> Vec<DeclaredDim> {
    let known = graph.value(output).declared().and_then(|declared| declared.dims).unwrap_or_default();
    dims.iter()
        .enumerate()
        .map(|(axis, &dim)| match (known.get(axis), varies.get(axis)) {
            (Some(DeclaredDim::Named(name)), Some(true)) => DeclaredDim::Named(name.clone()),
            (_, Some(true)) => DeclaredDim::Free,
            _ => DeclaredDim::Fixed(dim),
        })
        .collect()
}

/// The name of the input that takes the teacher's version of `value`.
pub fn taught_input(graph: &Graph, value: ValueId) -> String {
    format!("teacher:{}", graph.value(value).name())
}

fn term_input(graph: &mut Graph, term: &Term, output: ValueId) -> ValueId {
    let name = if term.is_taught() { taught_input(graph, output) } else { "target".to_owned() };
    let known = graph.find(&name).filter(|id| graph.inputs().contains(id));
    known.unwrap_or_else(|| graph.add_value(&name))
}

impl Writer<'_> {
    fn weighted(&mut self, value: ValueId, weight: &Factor) -> ValueId {
        match *weight {
            Factor::Number(1.0) => value,
            Factor::Number(weight) => self.tape.scale(value, weight),
            Factor::Value(weight) => self.tape.mul(value, weight),
        }
    }

    /// The value of a term and its gradient with respect to the output.
    fn term(&mut self, term: &Term, output: ValueId, input: ValueId, dims: &[usize]) -> (ValueId, ValueId) {
        match term {
            Term::CrossEntropy {
                class_axis, probabilities, smoothing, class_weights, ignore_index, ..
            } => {
                let shares = Shares { smoothing: *smoothing, class_weights, ignore_index: *ignore_index };
                self.cross_entropy(output, input, dims, (*class_axis, *probabilities), &shares)
            }
            Term::BinaryCrossEntropy { probabilities, .. } => {
                self.binary_cross_entropy(output, input, dims.len(), *probabilities)
            }
            Term::SmoothL1 { .. } => self.smooth_l1(output, input, dims.len()),
            Term::SquaredError { .. } => {
                let difference = self.tape.sub(output, input);
                let square = self.tape.mul(difference, difference);
                let value = self.mean(square, dims.len());
                let count = self.count(output);
                let twice = self.tape.scale(difference, 2.0);
                (value, self.tape.div(twice, count))
            }
            Term::Distillation { class_axis, temperature, probabilities, .. } => {
                self.distillation(output, input, dims, *class_axis, *temperature, *probabilities)
            }
            Term::SquaredDistillation { .. } | Term::Features { .. } => {
                let difference = self.tape.sub(output, input);
                let square = self.tape.mul(difference, difference);
                let error = self.mean(square, dims.len());
                let square = self.tape.mul(input, input);
                let size = self.mean(square, dims.len());
                let size = self.tape.shift(size, 1e-12);
                let count = self.count(output);
                let scale = self.tape.mul(size, count);
                let twice = self.tape.scale(difference, 2.0);
                (self.tape.div(error, size), self.tape.div(twice, scale))
            }
        }
    }

    /// The mean over all elements, as a scalar.
    pub(super) fn mean(&mut self, value: ValueId, rank: usize) -> ValueId {
        let axes: Vec<usize> = (0..rank).collect();
        self.tape.reduce_mean(value, &axes, false)
    }

    /// The number of elements, as a float scalar.
    pub(super) fn count(&mut self, value: ValueId) -> ValueId {
        let size = self.tape.op("Size", &[value]);
        let dtype = self.tape.dtype();
        self.tape.cast(size, dtype)
    }
}
