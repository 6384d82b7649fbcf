//! Operators that behave differently while a model is trained: BatchNormalization.
//!
//! <https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>: since version 14 the attribute `training_mode`
//! makes the node use the batch's own mean and (biased) variance and return the updated running statistics
//! `momentum * running + (1 - momentum) * batch`.

use crate::ir::{Facts, Graph, NodeId, ValueId};

/// A running statistic and its value after a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunningStatistic {
    /// The initializer, of one element for each channel.
    pub running: ValueId,
    /// The updated value, of the same dimensions.
    pub updated: ValueId,
    /// How much of the old value stays.
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

/// The initializers that hold running statistics: they follow the data and are not trained.
pub fn running_statistics(graph: &Graph) -> Vec<ValueId> {
    nodes(graph).flat_map(|(_, statistics)| statistics).collect()
}

/// Makes every normalisation over the batch use the batch's own statistics, and returns what each running statistic
/// becomes. Nothing changes in operator sets that cannot say so.
pub fn use_batch_statistics(graph: &mut Graph, facts: &mut Facts, opset: i64) -> Vec<RunningStatistic> {
    if opset < FIRST_WITH_TRAINING_MODE {
        return Vec::new();
    }
    let found: Vec<(NodeId, [ValueId; 2])> = nodes(graph).collect();
    let mut statistics = Vec::new();
    for (id, running) in found {
        let node = graph.node(id);
        let momentum = node.attributes.float("momentum").unwrap_or(0.9);
        if node.attributes.int("training_mode").unwrap_or(0) != 0
            || node.outputs.iter().flatten().count() != 1
        {
            continue;
        }
        graph.node_mut(id).attributes.set("training_mode", 1_i64);
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
