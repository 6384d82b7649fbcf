//! Operators that behave differently while a model is trained: BatchNormalization.
//!
//! <https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>: since version 14 the attribute `training_mode`
//! makes the node use the batch's own mean and (biased) variance and return the updated running statistics
//! `momentum * running + (1 - momentum) * batch`.

use super::tape::{Tape, TapeStart};
use crate::ir::{Facts, Graph, Node, NodeId, ValueId};
use crate::tensor::DType;

/// A running statistic and what the batch says of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunningStatistic {
    /// The initializer, of one element for each channel.
    pub running: ValueId,
    /// The new value, of the same dimensions: the batch's own statistic, or the updated running one.
    pub updated: ValueId,
    /// How much of the old value stays when the running statistic follows the batch.
    pub momentum: f32,
}

const FIRST_WITH_TRAINING_MODE: i64 = 14;

fn nodes(graph: &Graph) -> impl Iterator<Item = (NodeId, [ValueId; 2])> + '_ {
    graph
        .nodes()
        .filter(|(_, node)| {
            node.op_type == "BatchNormalization" && matches!(node.domain.as_str(), "" | "ai.onnx")
        })
        .filter_map(|(id, node)| {
            let statistic = |input: usize| {
                let value = node.inputs.get(input).copied().flatten()?;
                graph.value(value).initializer().map(|_| value)
            };
            Some((id, [statistic(3)?, statistic(4)?]))
        })
}

/// Whether the node was made to use the batch's own statistics, or does so by itself since operator set 14.
fn uses_batch_statistics(node: &Node) -> bool {
    node.attributes.int("training_mode").unwrap_or(0) != 0
}

/// The initializers that hold running statistics: they follow the data and are not trained.
pub fn running_statistics(graph: &Graph) -> Vec<ValueId> {
    nodes(graph).flat_map(|(_, statistics)| statistics).collect()
}

/// What a training graph returns for running statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    /// The batch's own statistics, for a caller that lets the running ones follow: cheaper, because the gradient
    /// can use the same values.
    Own,
    /// The updated running statistics.
    Running,
}

/// Makes every normalisation over the batch use the batch's own statistics, and returns for each running statistic
/// the value that says what becomes of it. Operator sets before 14 have no word for it: there the graph must go
/// through [`spell_out_batch_normalization`] before it is used.
pub fn use_batch_statistics(
    graph: &mut Graph,
    facts: &mut Facts,
    wanted: Statistics,
) -> Vec<RunningStatistic> {
    let found: Vec<(NodeId, [ValueId; 2])> = nodes(graph).collect();
    let mut statistics = Vec::new();
    for (id, running) in found {
        let node = graph.node(id);
        let momentum = node.attributes.float("momentum").unwrap_or(0.9);
        if uses_batch_statistics(node) || node.outputs.iter().flatten().count() != 1 {
            continue;
        }
        graph.node_mut(id).attributes.set("training_mode", 1_i64);
        if wanted == Statistics::Own {
            graph.node_mut(id).attributes.set("momentum", 0.0_f32);
        }
        graph.node_mut(id).outputs.truncate(1);
        for running in running {
            let updated = graph.add_value(&format!("{}.updated", graph.value(running).name()));
            graph.node_mut(id).outputs.push(Some(updated));
            if let Some(seen) = facts.get(running).cloned() {
                facts.set(updated, seen);
            }
            statistics.push(RunningStatistic { running, updated, momentum });
        }
    }
    statistics
}

/// Writes normalisations over the batch in elementary operators: all of them for engines that have the operator only
/// with constant statistics (`all`), else those that use the batch's own in an operator set that does not know that.
/// Ensures the same values up to rounding.
pub fn spell_out_batch_normalization(graph: &mut Graph, facts: &Facts, opset: i64, all: bool) {
    if !all && opset >= FIRST_WITH_TRAINING_MODE {
        return;
    }
    let found: Vec<NodeId> = graph
        .nodes()
        .filter(|(_, node)| {
            node.op_type == "BatchNormalization" && matches!(node.domain.as_str(), "" | "ai.onnx")
        })
        .map(|(id, _)| id)
        .collect();
    for id in found {
        let node = graph.node(id).clone();
        let inputs: Option<Vec<ValueId>> = node.inputs.iter().copied().collect();
        let seen = node.inputs.first().copied().flatten().and_then(|x| facts.get(x));
        let (Some(inputs), Some(seen)) = (inputs, seen) else { continue };
        let &[x, scale, bias, mean, variance] = inputs.as_slice() else { continue };
        let (rank, dtype) = (seen.dims.len(), seen.dtype);
        let trains = uses_batch_statistics(&node);
        if !all && !trains {
            continue;
        }
        let epsilon = f64::from(node.attributes.float("epsilon").unwrap_or(1e-5));
        let momentum = f64::from(node.attributes.float("momentum").unwrap_or(0.9));
        graph.replace_node(id, |graph| {
            let mut pen = pen(graph, node.outputs.first().copied().flatten(), opset, dtype);
            let mut shape = vec![1_i64; rank];
            shape[1] = -1;
            let axes: Vec<usize> = (0..rank).filter(|&axis| axis != 1).collect();
            let (center, spread, updated) = if trains {
                let own_mean = pen.reduce_mean(x, &axes, true);
                let centred = pen.sub(x, own_mean);
                let square = pen.mul(centred, centred);
                let own_variance = pen.reduce_mean(square, &axes, true);
                let mut update = |own: ValueId, running: ValueId| {
                    let flat = pen.reshape(own, &[-1]);
                    if momentum == 0.0 {
                        return Some(flat);
                    }
                    let fresh = pen.scale(flat, 1.0 - momentum);
                    let kept = pen.scale(running, momentum);
                    Some(pen.add(kept, fresh))
                };
                let updated = [update(own_mean, mean), update(own_variance, variance)];
                (centred, own_variance, updated)
            } else {
                let mean = pen.reshape(mean, &shape);
                let variance = pen.reshape(variance, &shape);
                (pen.sub(x, mean), variance, [None, None])
            };
            let safe = pen.shift(spread, epsilon);
            let deviation = pen.op("Sqrt", &[safe]);
            let (scale, bias) = (pen.reshape(scale, &shape), pen.reshape(bias, &shape));
            let factor = pen.div(scale, deviation);
            let scaled = pen.mul(center, factor);
            let y = pen.add(scaled, bias);
            vec![Some(y), updated[0], updated[1]]
        });
    }
}

fn pen(graph: &mut Graph, output: Option<ValueId>, opset: i64, dtype: DType) -> Tape<'_> {
    let base = output.map_or_else(|| "normalized".to_owned(), |output| graph.value(output).name().to_owned());
    Tape::new(TapeStart {
        graph,
        base,
        opset,
        dtype,
        inputs: Vec::new(),
        outputs: Vec::new(),
        wanted: Vec::new(),
        output_grads: Vec::new(),
    })
}
