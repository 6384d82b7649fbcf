//! Which initializers are weights.

use rayon::prelude::*;

use crate::ir::{Facts, Graph, ValueId};
use crate::ops;
use crate::tensor::{DType, Values};

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
            let usual = tensor.tensor().is_ok_and(|tensor| match tensor.values() {
                Values::F32(values) => values.par_iter().all(|&value| f64::from(value).abs() < HUGE),
                Values::F64(values) => values.par_iter().all(|&value| value.abs() < HUGE),
                _ => false,
            });
            tensor.release();
            usual
        })
        .map(|(id, _)| id)
        .collect()
}
