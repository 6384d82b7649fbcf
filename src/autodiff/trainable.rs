//! Which initializers are weights.

use rayon::prelude::*;

use crate::ir::{Facts, Graph, ValueId};
use crate::ops;
use crate::tensor::{DType, Values};

/// Constants that nodes hold become weights only when they are matrices of more elements than this.
const CONSTANT: usize = 64;
/// Larger values are not weights but stand for infinity, as in attention masks.
const HUGE: f64 = 1e4;

/// The initializers of `graph` that can be trained: float tensors with at least one dimension and finite values of
/// a usual size, that are no running statistics. Of those that are not `stored` in the file as initializers, but are
/// constants of nodes, only matrices: the others are numbers of formulas.
pub fn trainable_initializers(
    graph: &Graph,
    facts: &Facts,
    stored: impl Fn(ValueId) -> bool,
) -> Vec<ValueId> {
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
                && (stored(*id) || (tensor.dims().len() >= 2 && tensor.count() > CONSTANT))
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
