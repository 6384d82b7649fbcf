//! The masks of Dropout in training: what is dropped follows from the seed and the number of the batch alone, so that
//! both gradients of a step see the same, and a run that is resumed sees what it would have seen.

use rayon::prelude::*;

use super::CompressError;
use crate::autodiff::TrainingGraph;
use crate::engine::{Engine, LoadOptions, load_model};
use crate::ir::{Model, ValueId, drop_unused};
use crate::tensor::{DType, Random, Tensor};

/// Elements that are drawn in one go.
const CHUNK: usize = 1 << 16;

/// All masks of a training graph.
#[derive(Debug, Default)]
pub(super) struct Masks {
    masks: Vec<Mask>,
    seed: u64,
}

#[derive(Debug)]
struct Mask {
    /// The input that takes it.
    input: String,
    dtype: DType,
    /// The dimensions for some numbers of samples.
    dims: Vec<(usize, Vec<usize>)>,
    ratio: f64,
}

impl Mask {
    /// The dimensions for so many samples: every dimension grows evenly with them.
    fn dims(&self, samples: usize) -> Option<Vec<usize>> {
        let (first, dims) = self.dims.first()?;
        let Some((second, others)) = self.dims.get(1).filter(|_| samples != *first) else {
            return Some(dims.clone());
        };
        let (first, second, samples) = (*first as i64, *second as i64, samples as i64);
        dims.iter()
            .zip(others)
            .map(|(&dim, &other)| {
                let growth = (other as i64 - dim as i64) / (second - first);
                usize::try_from(dim as i64 + growth * (samples - first)).ok()
            })
            .collect()
    }
}

impl Masks {
    /// The masks of `graph`, the training graph of `model`. `runs` are inputs of one or two numbers of samples, from
    /// which the dimensions for all others follow.
    pub(super) fn of(
        graph: &TrainingGraph,
        model: &Model,
        engine: &dyn Engine,
        load: &LoadOptions,
        runs: &[(usize, Vec<(String, Tensor)>)],
        seed: u64,
    ) -> Result<Self, CompressError> {
        let name = |id: ValueId| graph.model.graph.value(id).name();
        let is_given =
            |id: ValueId| runs.iter().any(|(_, run)| run.iter().any(|(input, _)| input == name(id)));
        let mut asked: Vec<ValueId> =
            graph.dropped.iter().map(|node| node.source).filter(|&id| !is_given(id)).collect();
        asked.sort_unstable();
        asked.dedup();
        let mut forms: Vec<(usize, Vec<Tensor>)> = Vec::new();
        if !asked.is_empty() {
            let mut model = model.clone();
            model.graph.set_outputs(asked.clone());
            drop_unused(&mut model.graph);
            let mut session = load_model(engine, load, &model)?;
            for (size, run) in runs {
                let wanted = |input: &str| session.inputs().iter().any(|port| port.name == input);
                let needed: Vec<(&str, &Tensor)> = run
                    .iter()
                    .filter(|(input, _)| wanted(input))
                    .map(|(input, tensor)| (input.as_str(), tensor))
                    .collect();
                forms.push((*size, session.run(&needed)?));
            }
        }
        let form = |id: ValueId, run: usize| match asked.iter().position(|&other| other == id) {
            Some(place) => forms.get(run).map(|(_, forms)| &forms[place]),
            None => runs[run].1.iter().find(|(input, _)| input == name(id)).map(|(_, tensor)| tensor),
        };
        let masks = graph.dropped.iter().filter_map(|node| {
            let seen: Vec<(usize, &Tensor)> =
                (0..runs.len()).filter_map(|run| Some((runs[run].0, form(node.source, run)?))).collect();
            let dtype = seen.first()?.1.dtype();
            let dims = seen.iter().map(|(size, tensor)| (*size, tensor.dims().to_vec())).collect();
            Some(Mask { input: name(node.mask).to_owned(), dtype, dims, ratio: node.ratio })
        });
        Ok(Self { masks: masks.collect(), seed })
    }

    /// The mask for the input `name` in the batch of this number, which has so many samples; one that drops nothing
    /// where there is no number.
    pub(super) fn draw(&self, name: &str, samples: usize, number: Option<usize>) -> Option<Tensor> {
        let mask = self.masks.iter().find(|mask| mask.input == name)?;
        let dims = mask.dims(samples)?;
        let mut values = vec![1.0_f32; dims.iter().product()];
        if let Some(number) = number {
            let kept = (1.0 / (1.0 - mask.ratio)) as f32;
            // Ratio below 1: the product is below 2^32.
            let least = (mask.ratio * 2.0_f64.powi(32)) as u32;
            values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
                let mut random = Random::fork(self.seed, &format!("{name} {number} {chunk}"));
                for pair in values.chunks_mut(2) {
                    let bits = random.bits();
                    for (value, bits) in pair.iter_mut().zip([bits as u32, (bits >> 32) as u32]) {
                        *value = if bits < least { 0.0 } else { kept };
                    }
                }
            });
        }
        Tensor::new(dims, values).ok().map(|tensor| tensor.cast_float(mask.dtype))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(ratio: f64) -> Masks {
        let mask = Mask {
            input: "dropout:y".to_owned(),
            dtype: DType::F32,
            dims: vec![(1, vec![1, 1001]), (3, vec![3, 1001])],
            ratio,
        };
        Masks { masks: vec![mask], seed: 5 }
    }

    fn numbers(masks: &Masks, number: Option<usize>) -> Vec<f64> {
        masks.draw("dropout:y", 300, number).unwrap().to_f64().unwrap()
    }

    #[test]
    fn the_ratio_is_dropped_and_the_mean_stays() {
        for ratio in [0.1, 0.5, 0.75] {
            let drawn = numbers(&masks(ratio), Some(3));
            let zeros = drawn.iter().filter(|&&value| value == 0.0).count() as f64 / drawn.len() as f64;
            let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
            assert!((zeros - ratio).abs() < 0.005 && (mean - 1.0).abs() < 0.02, "{ratio}: {zeros}, {mean}");
        }
    }

    #[test]
    fn a_mask_follows_from_seed_and_number() {
        let masks = masks(0.5);
        assert_eq!(numbers(&masks, Some(3)), numbers(&masks, Some(3)));
        assert_ne!(numbers(&masks, Some(3)), numbers(&masks, Some(4)));
        let other = Masks { seed: 6, ..self::masks(0.5) };
        assert_ne!(numbers(&masks, Some(3)), numbers(&other, Some(3)));
        assert!(numbers(&masks, None).iter().all(|&value| value == 1.0));
        assert_eq!(masks.draw("dropout:z", 300, Some(3)), None);
    }
}
