//! The masks of Dropout in training: what is dropped follows from the seed and the number of the batch alone, so that
//! both gradients of a step see the same, and a run that is resumed sees what it would have seen.

use rayon::prelude::*;

use super::CompressError;
use crate::autodiff::TrainingGraph;
use crate::engine::{Engine, LoadOptions};
use crate::ir::{Model, ValueId};
use crate::memory::Shapes;
use crate::tensor::{DType, Random, Tensor};

/// Elements that are drawn in one go.
const CHUNK: usize = 1 << 16;

/// All masks of a training graph.
#[derive(Debug, Default)]
pub(super) struct Masks {
    list: Vec<Mask>,
    /// The shapes of what is masked.
    shapes: Shapes,
    seed: u64,
}

#[derive(Debug)]
struct Mask {
    /// The input that takes it.
    input: String,
    dtype: DType,
    /// What is masked.
    source: ValueId,
    ratio: f64,
}

impl Masks {
    /// The masks of `graph`, the training graph of `model`. `runs` are inputs of one or two numbers of samples, from
    /// which the dimensions for all others follow.
    pub(super) fn of(
        graph: &TrainingGraph,
        model: &Model,
        engine: &dyn Engine,
        load: &LoadOptions,
        runs: Vec<(usize, Vec<(String, Tensor)>)>,
        seed: u64,
    ) -> Result<Self, CompressError> {
        let shapes = Shapes::of(model, engine, load, runs)?;
        let masks = graph.dropped.iter().map(|node| {
            let mask = graph.model.graph.value(node.mask);
            let dtype = mask.declared().and_then(|declared| declared.dtype).unwrap_or(DType::F32);
            Mask { input: mask.name().to_owned(), dtype, source: node.source, ratio: node.ratio }
        });
        Ok(Self { list: masks.collect(), shapes, seed })
    }

    /// The mask for the input `name` in the batch of this number, which has so many samples; one that drops nothing
    /// where there is no number.
    pub(super) fn draw(&self, name: &str, samples: usize, number: Option<usize>) -> Option<Tensor> {
        let mask = self.list.iter().find(|mask| mask.input == name)?;
        let dims = self.shapes.dims(mask.source, samples)?;
        let count = dims.iter().product();
        let values = match number {
            Some(number) => drawn(count, mask.ratio, self.seed, &format!("{name} {number}")),
            None => vec![1.0; count],
        };
        Tensor::new(dims, values).ok().map(|tensor| tensor.cast_float(mask.dtype))
    }
}

/// So many elements, zero with the probability `ratio` and else so large that their mean stays 1.
fn drawn(count: usize, ratio: f64, seed: u64, purpose: &str) -> Vec<f32> {
    let mut values = vec![0.0_f32; count];
    let kept = (1.0 / (1.0 - ratio)) as f32;
    // Ratio below 1: the product is below 2^32.
    let least = (ratio * 2.0_f64.powi(32)) as u32;
    values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
        let mut random = Random::fork(seed, &format!("{purpose} {chunk}"));
        for pair in values.chunks_mut(2) {
            let bits = random.bits();
            for (value, bits) in pair.iter_mut().zip([bits as u32, (bits >> 32) as u32]) {
                *value = if bits < least { 0.0 } else { kept };
            }
        }
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Choice, Device, Discovery, discover};
    use crate::ir::{DeclaredDim, NodeSpec};

    const COUNT: usize = 300 * 1001;

    #[test]
    fn the_ratio_is_dropped_and_the_mean_stays() {
        for ratio in [0.1, 0.5, 0.75] {
            let drawn = drawn(COUNT, ratio, 5, "dropout:y 3");
            let zeros = drawn.iter().filter(|&&value| value == 0.0).count() as f64 / drawn.len() as f64;
            let mean = drawn.iter().map(|&value| f64::from(value)).sum::<f64>() / drawn.len() as f64;
            assert!((zeros - ratio).abs() < 0.005 && (mean - 1.0).abs() < 0.02, "{ratio}: {zeros}, {mean}");
        }
    }

    #[test]
    fn a_mask_follows_from_seed_and_number() {
        let third = drawn(COUNT, 0.5, 5, "dropout:y 3");
        assert_eq!(third, drawn(COUNT, 0.5, 5, "dropout:y 3"));
        assert_ne!(third, drawn(COUNT, 0.5, 5, "dropout:y 4"));
        assert_ne!(third, drawn(COUNT, 0.5, 6, "dropout:y 3"));
        assert_eq!(Masks::default().draw("dropout:z", 300, Some(3)), None);
    }

    #[test]
    fn a_mask_has_the_shape_of_what_is_masked_and_drops_nothing_without_a_number() {
        let mut model = Model::empty("passing", 17);
        let graph = &mut model.graph;
        let x = graph.add_value("x");
        graph.add_input(x, DType::F32, &[DeclaredDim::Free, DeclaredDim::Fixed(3)]);
        let y = graph.add("y", NodeSpec::new("Relu", &[x]));
        graph.add_output(y);
        let discovery = Discovery { engine: Choice::Tract, ort_lib: None, device: Device::Cpu };
        let engine = discover(&discovery).unwrap().engine;
        let masked = |samples: usize| Tensor::new(vec![samples, 3], vec![0.5_f32; 3 * samples]).unwrap();
        let runs = [2, 3].map(|samples| (samples, vec![("x".to_owned(), masked(samples))]));
        let shapes = Shapes::of(&model, &*engine, &LoadOptions::default(), runs.to_vec()).unwrap();
        let mask = Mask { input: "dropout:y".to_owned(), dtype: DType::F32, source: y, ratio: 0.5 };
        let masks = Masks { list: vec![mask], shapes, seed: 5 };
        assert_eq!(masks.draw("dropout:y", 32, Some(1)).unwrap().dims(), [32, 3]);
        assert_eq!(masks.draw("dropout:y", 2, None).unwrap().to_f64().unwrap(), [1.0; 6]);
    }
}
