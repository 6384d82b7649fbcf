//! Shapes of all values of a graph for any number of samples.

use crate::engine::{Engine, LoadOptions};
use crate::ir::{Model, ValueId};
use crate::tensor::{DType, Tensor};
use crate::trace::{TraceError, shapes};

/// The type of a value, and its dimensions in the runs.
#[derive(Debug, Clone)]
struct Seen {
    dtype: DType,
    dims: Vec<Vec<usize>>,
}

/// Shapes of the values of one graph. Dimensions are taken to grow by the same number with each sample.
#[derive(Debug, Clone, Default)]
pub struct Shapes {
    /// Samples in the runs.
    samples: Vec<usize>,
    values: Vec<Option<Seen>>,
}

impl Shapes {
    /// Runs `model` on the named inputs of `runs`, of which each has the number of its samples.
    ///
    /// # Errors
    /// When the model does not run.
    pub fn of(
        model: &Model,
        engine: &dyn Engine,
        load: &LoadOptions,
        runs: Vec<(usize, Vec<(String, Tensor)>)>,
    ) -> Result<Self, TraceError> {
        let (samples, inputs): (Vec<usize>, Vec<_>) = runs.into_iter().unzip();
        let mut values: Vec<Option<Seen>> = vec![None; model.graph.value_count()];
        for (number, run) in shapes(model, engine, load, inputs)?.into_iter().enumerate() {
            for (id, dtype, dims) in run {
                let value = &mut values[id.index()];
                match value {
                    Some(seen) if seen.dims.len() == number => seen.dims.push(dims),
                    Some(_) => {}
                    None => *value = Some(Seen { dtype, dims: vec![dims] }),
                }
            }
        }
        Ok(Self { samples, values })
    }

    /// The dimensions of a value for `samples` samples, if it was seen.
    pub fn dims(&self, id: ValueId, samples: usize) -> Option<Vec<usize>> {
        let seen = self.values.get(id.index())?.as_ref()?;
        let (first, last) = (seen.dims.first()?, seen.dims.last()?);
        let (from, to) = (*self.samples.first()?, *self.samples.get(seen.dims.len() - 1)?);
        if from == to || first.len() != last.len() {
            return Some(last.clone());
        }
        let at = |(&first, &last): (&usize, &usize)| {
            let slope = (last as f64 - first as f64) / (to as f64 - from as f64);
            (first as f64 + slope * (samples as f64 - from as f64)).round().max(0.0) as usize
        };
        Some(first.iter().zip(last).map(at).collect())
    }

    /// The bytes of a value for `samples` samples; 0 for one that was not seen.
    pub fn bytes(&self, id: ValueId, samples: usize) -> u64 {
        let Some(dims) = self.dims(id, samples) else { return 0 };
        let width = self.values[id.index()].as_ref().map_or(0, |seen| width(seen.dtype));
        dims.iter().map(|&dim| dim as u64).product::<u64>() * width
    }

    /// Notes that `copy` has the shapes of `of`.
    pub(super) fn copy(&mut self, of: ValueId, copy: ValueId) {
        let seen = self.values.get(of.index()).cloned().flatten();
        if self.values.len() <= copy.index() {
            self.values.resize(copy.index() + 1, None);
        }
        self.values[copy.index()] = seen;
    }
}

/// Bytes of an element.
const fn width(dtype: DType) -> u64 {
    match dtype {
        DType::I8 | DType::U8 | DType::Bool => 1,
        DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 2,
        DType::F32 | DType::I32 | DType::U32 => 4,
        DType::F64 | DType::I64 | DType::U64 => 8,
        DType::String => 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Model;

    #[test]
    fn dimensions_follow_the_samples() {
        let mut model = Model::empty("m", 17);
        let id = model.graph.add_value("x");
        let dims = vec![vec![2, 3, 20], vec![3, 3, 30]];
        let shapes = Shapes {
            samples: vec![2, 3],
            values: vec![Some(Seen { dtype: DType::F32, dims }); id.index() + 1],
        };
        assert_eq!(shapes.dims(id, 32), Some(vec![32, 3, 320]));
        assert_eq!(shapes.bytes(id, 32), 32 * 3 * 320 * 4);
        let fixed = Shapes { samples: vec![4], values: shapes.values.clone() };
        assert_eq!(fixed.dims(model.graph.add_value("y"), 1), None);
    }
}
