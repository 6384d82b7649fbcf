//! Losses, and their gradients with respect to the model's outputs.

use super::AutodiffError;
use crate::ir::{DeclaredDim, Facts, Graph, ValueId};
use crate::ops::{Tape, TapeStart};
use crate::tensor::{DType, Tensor};

/// A weighted sum of terms.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loss {
    /// Weight and term.
    pub terms: Vec<(Weight, Term)>,
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
        /// Whether labels that are no class are left out, of the mean too. Else they must not occur.
        sparse: bool,
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
    let mut sum: Option<ValueId> = None;
    let mut grads = Vec::new();
    let mut targets: Vec<ValueId> = Vec::new();
    for (weight, term) in &loss.terms {
        let number = term.output();
        let Some(&output) = outputs.get(number) else {
            return Err(fail(format!("there is no output {number}, the model has {}", outputs.len())));
        };
        let Some(seen) = facts.get(output).filter(|seen| seen.dtype.is_float()) else {
            return Err(fail(format!("output `{}` is no float tensor", graph.value(output).name())));
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
                let id = graph.add_value(name);
                graph.add_input(id, seen.dtype, &[]);
                targets.push(id);
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
            None => value,
            Some(sum) => writer.tape.add(sum, value),
        });
        grads.push((output, grad));
    }
    let Some(sum) = sum else { return Err(fail("it has no term".to_owned())) };
    let name = graph.fresh_name("loss");
    let loss = graph.rename_output(sum, &name);
    Ok(Seeds { loss, grads, targets })
}

impl Term {
    fn output(&self) -> usize {
        match self {
            Self::CrossEntropy { output, .. }
            | Self::BinaryCrossEntropy { output, .. }
            | Self::SmoothL1 { output }
            | Self::SquaredError { output }
            | Self::Distillation { output, .. }
            | Self::SquaredDistillation { output } => *output,
        }
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

fn term_input(graph: &mut Graph, term: &Term, output: ValueId) -> ValueId {
    let name = match term {
        Term::CrossEntropy { .. }
        | Term::BinaryCrossEntropy { .. }
        | Term::SmoothL1 { .. }
        | Term::SquaredError { .. } => "target".to_owned(),
        Term::Distillation { .. } | Term::SquaredDistillation { .. } => {
            format!("teacher:{}", graph.value(output).name())
        }
    };
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
            Term::CrossEntropy { class_axis, probabilities, smoothing, class_weights, sparse, .. } => {
                let plain = *smoothing == 0.0 && class_weights.is_empty() && !sparse;
                let shares = (!plain).then_some((*smoothing, class_weights.as_slice()));
                self.cross_entropy(output, input, dims, (*class_axis, *probabilities), shares)
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
            Term::SquaredDistillation { .. } => {
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

    /// The axes with the class axis last, and the way back.
    fn class_last(rank: usize, class_axis: usize) -> (Vec<usize>, Vec<usize>) {
        let mut order: Vec<usize> = (0..rank).filter(|&axis| axis != class_axis).collect();
        order.push(class_axis);
        let mut back = vec![0; rank];
        for (place, &axis) in order.iter().enumerate() {
            back[axis] = place;
        }
        (order, back)
    }

    fn along_last(&mut self, op_type: &str, value: ValueId, rank: usize) -> ValueId {
        self.tape.node(crate::ir::NodeSpec::new(op_type, &[value]).attribute("axis", rank as i64 - 1))
    }

    /// Logits of an output whose last axis holds the classes, and for probabilities the factor that turns a
    /// gradient of the logits into one of the output.
    fn logits(&mut self, output: ValueId, probabilities: bool) -> (ValueId, Option<ValueId>) {
        if !probabilities {
            return (output, None);
        }
        let floor = self.tape.scalar(1e-7);
        let safe = self.tape.op("Max", &[output, floor]);
        let inverse = self.tape.op("Reciprocal", &[safe]);
        (self.tape.op("Log", &[safe]), Some(inverse))
    }

    fn finish(&mut self, grad: ValueId, factor: Option<ValueId>, back: &[usize]) -> ValueId {
        let grad = match factor {
            Some(factor) => self.tape.mul(grad, factor),
            None => grad,
        };
        self.tape.transpose(grad, back)
    }

    fn cross_entropy(
        &mut self,
        output: ValueId,
        labels: ValueId,
        dims: &[usize],
        (class_axis, probabilities): (usize, bool),
        shares: Option<(f64, &[f64])>,
    ) -> (ValueId, ValueId) {
        let rank = dims.len();
        let (order, back) = Self::class_last(rank, class_axis);
        let last = self.tape.transpose(output, &order);
        let (logits, factor) = self.logits(last, probabilities);
        let classes: Vec<i64> = (0..dims[class_axis] as i64).collect();
        let classes = self.tape.constant(&Tensor::vector(classes));
        let labels_column = self.tape.unsqueeze(labels, &[rank - 1]);
        let hit = self.tape.op("Equal", &[labels_column, classes]);
        let hit = self.tape.indicator(hit);
        let log_softmax = self.along_last("LogSoftmax", logits, rank);
        if let Some((smoothing, weights)) = shares {
            let softmax = self.along_last("Softmax", logits, rank);
            let (value, grad) = self.spread(log_softmax, softmax, hit, rank, smoothing, weights);
            return (value, self.finish(grad, factor, &back));
        }
        let picked = self.tape.mul(log_softmax, hit);
        let picked = self.tape.reduce_sum(picked, &[rank - 1], false);
        let mean = self.mean(picked, rank - 1);
        let value = self.tape.neg(mean);
        let softmax = self.along_last("Softmax", logits, rank);
        let difference = self.tape.sub(softmax, hit);
        let count = self.count(labels);
        let grad = self.tape.div(difference, count);
        (value, self.finish(grad, factor, &back))
    }

    fn distillation(
        &mut self,
        output: ValueId,
        teacher: ValueId,
        dims: &[usize],
        class_axis: usize,
        temperature: f64,
        probabilities: bool,
    ) -> (ValueId, ValueId) {
        let rank = dims.len();
        let (order, back) = Self::class_last(rank, class_axis);
        let student = self.tape.transpose(output, &order);
        let teacher = self.tape.transpose(teacher, &order);
        let (student, factor) = self.logits(student, probabilities);
        let (teacher, _) = self.logits(teacher, probabilities);
        let student = self.tape.scale(student, 1.0 / temperature);
        let teacher = self.tape.scale(teacher, 1.0 / temperature);
        let log_p = self.along_last("LogSoftmax", student, rank);
        let log_q = self.along_last("LogSoftmax", teacher, rank);
        let q = self.tape.op("Exp", &[log_q]);
        let p = self.tape.op("Exp", &[log_p]);
        let gap = self.tape.sub(log_q, log_p);
        let gap = self.tape.mul(q, gap);
        let divergence = self.tape.reduce_sum(gap, &[rank - 1], false);
        let mean = self.mean(divergence, rank - 1);
        let value = self.tape.scale(mean, temperature * temperature);
        let difference = self.tape.sub(p, q);
        let count = self.count(divergence);
        let grad = self.tape.div(difference, count);
        let grad = self.tape.scale(grad, temperature);
        (value, self.finish(grad, factor, &back))
    }
}
