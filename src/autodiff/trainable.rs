//! Which initializers are weights.

use crate::ir::{Facts, Graph, ValueId};
use crate::ops;
use crate::tensor::DType;

/// Larger values are not weights but stand for infinity, as in attention masks.
const HUGE: f64 = 1e4;

/// The initializers of `graph` that can be trained: float tensors with at least one dimension and finite values of
/// a usual size, that are no running statistics.
pub fn trainable_initializers(graph: &Graph, facts: &Facts) -> Vec<ValueId> {
    let statistics = ops::running_statistics(graph);
    graph
        .initializers()
        .filter(|(id, tensor)| {
            let float = matches!(tensor.dtype(), Some(DType::F32 | DType::F64));
            float
                && !tensor.dims().is_empty()
                && tensor.count() > 0
                && !statistics.contains(id)
                && facts.get(*id).is_some()
        })
        .filter(|(_, tensor)| {
            tensor
                .tensor()
                .ok()
                .and_then(|tensor| tensor.to_f64().ok())
                .is_some_and(|values| values.iter().all(|value| value.is_finite() && value.abs() < HUGE))
        })
        .map(|(id, _)| id)
        .collect()
}
