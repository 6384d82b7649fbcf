//! Training as an ONNX model: the forward graph, a loss, and its gradients, in standard operators.
//!
//! [`differentiate`] walks the graph backwards and lets each operator write its gradient. Always true here: the
//! result is an ordinary ONNX model of the same operator set whose free dimensions are still free. Which operators
//! there are is not known here.

mod classes;
mod loss;
mod terms;
mod trainable;

pub use loss::{Loss, Term, Weight, taught_input};
pub use trainable::trainable_initializers;

use std::collections::BTreeMap;

use thiserror::Error;

use crate::ir::{Facts, Graph, Model, NodeId, ValueId, Violation, drop_unused};
use crate::kernels;
use crate::ops::{self, Dropped, NodeView, RunningStatistic, Statistics, Tape, TapeStart};
use crate::tensor::DType;

/// Why there is no training graph.
#[derive(Debug, Error)]
pub enum AutodiffError {
    /// Gradients are needed through nodes that have none.
    #[error("no gradient through {}", .0.iter().map(|(node, reason)| format!("{node}: {reason}")).collect::<Vec<_>>().join("; "))]
    Unsupported(Vec<(String, String)>),
    /// The loss does not fit the model.
    #[error("the loss does not fit the model: {0}")]
    Loss(String),
    /// The weights are of a type that is not trained.
    #[error("weight `{name}` is {dtype}: training needs float or double weights; convert the model to float")]
    DType {
        /// The weight.
        name: String,
        /// Its element type.
        dtype: DType,
    },
    /// No weight influences the loss.
    #[error("no weight influences the loss")]
    NothingToTrain,
    /// The result breaks the rules of a graph: a defect of this program.
    #[error("the training graph is not valid, which is a defect of safe-onnx: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
}

/// What a training graph shall compute.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each stands for itself")]
pub struct Request {
    /// The loss.
    pub loss: Loss,
    /// The weights for which gradients are wanted.
    pub trainable: Vec<ValueId>,
    /// Whether normalisations use the batch's own statistics, and what is then returned.
    pub batch_statistics: Option<Statistics>,
    /// Whether elements are dropped out, by masks that are inputs of the training graph.
    pub dropout: bool,
    /// Whether normalisations over the batch are written in elementary operators, for engines that need it.
    pub elementary: bool,
    /// Whether the graph may hold operators of [`crate::kernels`], for an engine that has them.
    pub kernels: bool,
    /// Whether a node without gradient freezes what lies before it, instead of being an error.
    pub freeze_unsupported: bool,
}

impl Request {
    /// The gradients of `loss` for `trainable`, in standard operators, with normalisations as in use and nothing dropped
    /// out; a node without gradient is an error.
    pub fn new(loss: Loss, trainable: Vec<ValueId>) -> Self {
        Self {
            loss,
            trainable,
            batch_statistics: None,
            dropout: false,
            elementary: false,
            kernels: false,
            freeze_unsupported: false,
        }
    }
}

/// A training graph.
#[derive(Debug, Clone)]
pub struct TrainingGraph {
    /// The model. Its outputs are `loss`, then a gradient for each of `gradients`, then updated statistics.
    pub model: Model,
    /// Each trained weight and its gradient.
    pub gradients: Vec<(ValueId, ValueId)>,
    /// Running statistics and their values after the step.
    pub statistics: Vec<RunningStatistic>,
    /// The scalar loss.
    pub loss: ValueId,
    /// Nodes that stop the gradient although it was wanted, and why.
    pub frozen: Vec<(String, String)>,
    /// Inputs that the loss adds to those of the model.
    pub targets: Vec<ValueId>,
    /// What is dropped out, and the inputs that take the masks.
    pub dropped: Vec<Dropped>,
}

/// Writes the training graph of `model`, of which `facts` were traced.
///
/// # Errors
/// When the loss does not fit, a node on the way has no gradient, or nothing is to be trained.
pub fn differentiate(
    model: &Model,
    facts: &Facts,
    request: &Request,
) -> Result<TrainingGraph, AutodiffError> {
    let mut model = model.clone();
    let mut facts = facts.clone();
    let opset = model.opset("").unwrap_or(0);
    for &id in &request.trainable {
        let value = model.graph.value(id);
        if let Some(dtype) = value.initializer().and_then(crate::ir::Initializer::dtype)
            && !matches!(dtype, DType::F32 | DType::F64)
        {
            return Err(AutodiffError::DType { name: value.name().to_owned(), dtype });
        }
    }
    let statistics = match request.batch_statistics {
        Some(wanted) => ops::use_batch_statistics(&mut model.graph, &mut facts, wanted),
        None => Vec::new(),
    };
    let mut dropped = ops::drop_elements(&mut model.graph, &mut facts, opset, request.dropout);
    let forward_graph = model.graph.clone();
    let forward: Vec<NodeId> = forward_graph.nodes().map(|(id, _)| id).collect();
    let active = active_values(&model.graph, &facts, &request.trainable);
    let seeds = loss::emit(&mut model.graph, &facts, opset, &request.loss)?;
    let mut backward = Backward {
        forward: &forward_graph,
        facts: &facts,
        active,
        grads: BTreeMap::new(),
        alike: Vec::new(),
        unsupported: Vec::new(),
        opset,
        kernels: request.kernels,
        domain_opsets: forward
            .iter()
            .map(|&id| model.opset(&model.graph.node(id).domain).unwrap_or(0))
            .collect(),
    };
    for (output, grad) in seeds.grads {
        backward.accumulate(output, grad);
    }
    backward.walk(&mut model.graph, &forward);
    let Backward { mut grads, alike, unsupported, .. } = backward;
    if !unsupported.is_empty() && !request.freeze_unsupported {
        return Err(AutodiffError::Unsupported(unsupported));
    }
    let mut gradients = Vec::new();
    // Weights may share one gradient value, which then gets its first name and aliases.
    let mut renamed: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for &id in &request.trainable {
        if let Some(parts) = grads.remove(&id) {
            let parts: Vec<ValueId> = parts.iter().map(|part| *renamed.get(part).unwrap_or(part)).collect();
            let mut sum = total(&mut model.graph, &parts);
            if renamed.values().any(|&named| named == sum) {
                sum = model.graph.add("gradient.alias", crate::ir::NodeSpec::new(ALIAS, &[sum]));
            }
            let name = model.graph.fresh_name(&format!("grad:{}", model.graph.value(id).name()));
            let named = model.graph.rename_output(sum, &name);
            renamed.insert(sum, named);
            gradients.push((id, named));
        }
    }
    if gradients.is_empty() {
        return Err(half_weight(&forward_graph).unwrap_or(AutodiffError::NothingToTrain));
    }
    let mut outputs = vec![seeds.loss];
    outputs.extend(gradients.iter().map(|&(_, grad)| grad));
    outputs.extend(statistics.iter().map(|statistic| statistic.updated));
    declare_outputs(&mut model.graph, &facts, seeds.loss, &gradients);
    model.graph.set_outputs(outputs);
    ops::spell_out_batch_normalization(&mut model.graph, &facts, opset, request.elementary);
    if request.kernels {
        ops::convolve_by_kernel(&mut model.graph, &facts, opset);
        model.import(kernels::DOMAIN, 1);
    }
    if !request.elementary {
        ops::convolve_images_together(&mut model.graph, &facts, opset);
    }
    drop_unused(&mut model.graph);
    if request.kernels {
        ops::fuse_for_kernels(&mut model.graph, &facts, &alike);
        drop_unused(&mut model.graph);
    }
    drop_unread_masks(&mut model.graph, &mut dropped);
    let violations = model.graph.check();
    if !violations.is_empty() {
        return Err(AutodiffError::Invalid(violations));
    }
    Ok(TrainingGraph {
        model,
        gradients,
        statistics,
        loss: seeds.loss,
        frozen: unsupported,
        targets: seeds.targets,
        dropped,
    })
}

/// Leaves out masks of what the loss does not depend on.
fn drop_unread_masks(graph: &mut Graph, dropped: &mut Vec<Dropped>) {
    let consumers = graph.consumers();
    let unread = |mask: ValueId| consumers[mask.index()].is_empty();
    let left: Vec<ValueId> = dropped.iter().map(|node| node.mask).filter(|&mask| unread(mask)).collect();
    dropped.retain(|node| !left.contains(&node.mask));
    let inputs = graph.inputs().iter().copied().filter(|input| !left.contains(input)).collect();
    graph.set_inputs(inputs);
}

/// Why nothing is trained, for a model whose weights are of half precision.
fn half_weight(graph: &Graph) -> Option<AutodiffError> {
    graph.initializers().find_map(|(id, tensor)| {
        let dtype = tensor.dtype().filter(|dtype| matches!(dtype, DType::F16 | DType::BF16))?;
        let name = graph.value(id).name().to_owned();
        (!tensor.dims().is_empty()).then_some(AutodiffError::DType { name, dtype })
    })
}

fn declare_outputs(graph: &mut Graph, facts: &Facts, loss: ValueId, gradients: &[(ValueId, ValueId)]) {
    use crate::ir::DeclaredDim;
    let mut dtype = DType::F32;
    for &(weight, grad) in gradients {
        if let Some(seen) = facts.get(weight) {
            let dims: Vec<DeclaredDim> = seen.dims.iter().map(|&dim| DeclaredDim::Fixed(dim)).collect();
            dtype = seen.dtype;
            graph.declare(grad, dtype, &dims);
        }
    }
    graph.declare(loss, dtype, &[]);
}

/// Float values that depend on a trained weight.
fn active_values(graph: &Graph, facts: &Facts, trainable: &[ValueId]) -> Vec<bool> {
    let mut active = vec![false; graph.value_count()];
    for id in trainable {
        active[id.index()] = true;
    }
    for (_, node) in graph.nodes() {
        if node.inputs.iter().flatten().chain(&node.captured).any(|input| active[input.index()]) {
            for output in node.outputs.iter().flatten() {
                // What is no tensor, such as a sequence, may hold some.
                active[output.index()] = facts.get(*output).is_none_or(|seen| seen.dtype.is_float());
            }
        }
    }
    active
}

fn total(graph: &mut Graph, parts: &[ValueId]) -> ValueId {
    parts[1..]
        .iter()
        .fold(parts[0], |sum, &part| graph.add("gradient.sum", crate::ir::NodeSpec::new(SUM, &[sum, part])))
}

// The two operators that any graph is joined with, whatever its operators are.
const SUM: &str = "Add";
const ALIAS: &str = "Identity";

struct Backward<'a> {
    /// The forward graph; the tape writes to a copy of it.
    forward: &'a Graph,
    facts: &'a Facts,
    active: Vec<bool>,
    grads: BTreeMap<ValueId, Vec<ValueId>>,
    /// Gradients, and what they belong to.
    alike: Vec<(ValueId, ValueId)>,
    unsupported: Vec<(String, String)>,
    opset: i64,
    domain_opsets: Vec<i64>,
    kernels: bool,
}

impl Backward<'_> {
    fn accumulate(&mut self, value: ValueId, grad: ValueId) {
        self.alike.push((grad, value));
        self.grads.entry(value).or_default().push(grad);
    }

    fn walk(&mut self, graph: &mut Graph, forward: &[NodeId]) {
        for (place, &id) in forward.iter().enumerate().rev() {
            let node = graph.node(id).clone();
            let wanted: Vec<bool> = node
                .inputs
                .iter()
                .map(|input| input.is_some_and(|input| self.active[input.index()]))
                .collect();
            let reached = node.outputs.iter().flatten().any(|output| self.grads.contains_key(output));
            let captured = node.captured.iter().any(|value| self.active[value.index()]);
            if !reached || !(captured || wanted.contains(&true)) {
                continue;
            }
            let output_grads: Vec<Option<ValueId>> = node
                .outputs
                .iter()
                .map(|output| {
                    let parts = self.grads.remove(&(*output)?)?;
                    Some(total(graph, &parts))
                })
                .collect();
            let dtype = node
                .outputs
                .iter()
                .flatten()
                .find_map(|output| {
                    self.facts.get(*output).map(|seen| seen.dtype).filter(|dtype| dtype.is_float())
                })
                .unwrap_or(DType::F32);
            let place_name = graph.describe(id);
            let view = NodeView::new(self.forward, self.facts, id, self.domain_opsets[place]);
            let base = node
                .outputs
                .iter()
                .flatten()
                .next()
                .map_or_else(String::new, |&output| format!("grad.{}", graph.value(output).name()));
            let mut tape = Tape::new(TapeStart {
                graph,
                base,
                opset: self.opset,
                dtype,
                inputs: node.inputs.clone(),
                outputs: node.outputs.clone(),
                wanted,
                output_grads,
            })
            .with_kernels(self.kernels);
            match ops::find(&view).gradient(&view, &mut tape) {
                Ok(()) => {
                    let grads = tape.into_grads();
                    for (input, grad) in node.inputs.iter().zip(grads) {
                        if let (Some(input), Some(grad)) = (input, grad) {
                            self.accumulate(*input, grad);
                        }
                    }
                }
                Err(reason) => self.unsupported.push((place_name, reason.to_string())),
            }
        }
    }
}
