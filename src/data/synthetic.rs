//! Samples without data: random values of the shapes and types that a model takes. What looks like a batch of images
//! is drawn as textures, other numbers each on its own.

use std::ops::Range;

use super::{Batch, DataError, InputSpec, augment::mix, integers::integers, spec::show, texture};
use crate::tensor::{DType, Random, Tensor, TensorError, checked_count};

/// From what values are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticOptions {
    /// Mean of float values.
    pub mean: f64,
    /// Standard deviation of float values.
    pub std: f64,
    /// Range of integers. Booleans are drawn true and false alike.
    pub integers: Range<i64>,
    /// Length of free dimensions other than the batch axis.
    pub free_dim: Option<usize>,
    /// Seed.
    pub seed: u64,
}

impl Default for SyntheticOptions {
    /// Floats of mean 0 and standard deviation 1, integers 0 and 1, no length for free dimensions, seed 0.
    fn default() -> Self {
        Self { mean: 0.0, std: 1.0, integers: 0..2, free_dim: None, seed: 0 }
    }
}

/// The batch of that `number` of `samples` random samples for a model with the inputs `specs`. It depends on the
/// arguments alone; different numbers give different values. A fixed batch axis keeps its length.
///
/// # Errors
/// When a dimension is free and has no length, the range of integers is empty or does not fit the input's type, or
/// an input takes text.
pub fn batch(
    specs: &[InputSpec],
    samples: usize,
    number: u64,
    options: &SyntheticOptions,
) -> Result<Batch, DataError> {
    let seed = mix(options.seed, number);
    let inputs = specs
        .iter()
        .enumerate()
        .map(|(position, input)| draw(input, samples, options, &mut Random::new(mix(seed, position as u64))))
        .collect::<Result<Vec<Tensor>, _>>()?;
    let batched = specs.iter().all(|input| input.batched);
    Ok(Batch { inputs, target: None, indices: (0..samples).collect(), batched })
}

fn draw(
    input: &InputSpec,
    samples: usize,
    options: &SyntheticOptions,
    random: &mut Random,
) -> Result<Tensor, DataError> {
    let length = |(axis, dim): (usize, &Option<usize>)| match (dim, axis) {
        (Some(dim), _) => Ok(*dim),
        (None, 0) => Ok(samples),
        (None, _) => options.free_dim.ok_or_else(|| DataError::Options {
            problem: format!(
                "axis {axis} of the model input '{}' {} is free; give its length",
                input.name,
                show(&input.dims)
            ),
        }),
    };
    // The axis of samples comes first, whether the model has one or not.
    let given = if input.batched { &input.dims } else { &[&[None], &input.dims[..]].concat() };
    let dims: Vec<usize> = given.iter().enumerate().map(length).collect::<Result<_, _>>()?;
    let count = checked_count(&dims).ok_or_else(|| TensorError::TooLarge { dims: dims.clone() })?;
    match input.dtype {
        dtype if dtype.is_float() => {
            if let Some(layout) = texture::layout(&dims) {
                let values = texture::textures(&dims, layout, random).into_iter();
                let values = values.map(|value| (options.mean + options.std * value) as f32);
                return Ok(Tensor::new(dims, values.collect::<Vec<f32>>())?.cast_float(dtype));
            }
            let value = |_| (options.mean + options.std * random.normal()) as f32;
            Ok(Tensor::new(dims, (0..count).map(value).collect::<Vec<f32>>())?.cast_float(dtype))
        }
        DType::Bool => {
            Ok(Tensor::new(dims, (0..count).map(|_| random.below(2) == 1).collect::<Vec<bool>>())?)
        }
        DType::String => Err(DataError::Unsupported {
            file: format!("model input '{}'", input.name),
            what: "text".to_owned(),
            instead: "give a model that takes numbers",
        }),
        dtype => {
            let Range { start, end } = options.integers;
            let span = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
            if span == 0 {
                let problem =
                    format!("the range {start}..{end} holds no integer; let it end above its start");
                return Err(DataError::Options { problem });
            }
            let value = |_| start + random.below(span) as i64;
            let values: Vec<i64> = (0..count).map(value).collect();
            integers(Tensor::new(dims, values)?, input, "the range of integers", samples)
                .inspect(|tensor| debug_assert_eq!(tensor.dtype(), dtype))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(name: &str, dtype: DType, dims: &[Option<usize>]) -> InputSpec {
        InputSpec { name: name.to_owned(), dtype, dims: dims.to_vec(), batched: true }
    }

    #[test]
    fn values_are_of_the_kinds_asked_for_and_repeat() {
        let inputs = [
            input("x", DType::F32, &[None, Some(100), None]),
            input("h", DType::F16, &[None, Some(2)]),
            input("ids", DType::I64, &[None, None]),
            input("small", DType::U8, &[Some(1), Some(50)]),
            input("mask", DType::Bool, &[None, Some(50)]),
        ];
        let options = SyntheticOptions {
            mean: 3.0,
            std: 0.5,
            integers: 5..9,
            free_dim: Some(25),
            ..Default::default()
        };
        let first = batch(&inputs, 4, 0, &options).unwrap();
        assert_eq!(first, batch(&inputs, 4, 0, &options).unwrap());
        assert_ne!(first, batch(&inputs, 4, 1, &options).unwrap());
        assert_ne!(first, batch(&inputs, 4, 0, &SyntheticOptions { seed: 1, ..options.clone() }).unwrap());
        let dims: Vec<_> = first.inputs.iter().map(|tensor| tensor.dims().to_vec()).collect();
        assert_eq!(dims, [vec![4, 100, 25], vec![4, 2], vec![4, 25], vec![1, 50], vec![4, 50]]);
        for (tensor, input) in first.inputs.iter().zip(&inputs) {
            assert_eq!(tensor.dtype(), input.dtype);
        }
        let values = first.inputs[0].to_f64().unwrap();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(
            (mean - 3.0).abs() < 0.02 && (variance - 0.25).abs() < 0.02,
            "mean {mean}, variance {variance}"
        );
        let mut ids = first.inputs[2].to_i64().unwrap();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids, [5, 6, 7, 8]);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let free = input("x", DType::F32, &[None, None]);
        let byte = input("b", DType::U8, &[None]);
        let ranges = |integers| SyntheticOptions { integers, ..Default::default() };
        let cases = [
            (free, SyntheticOptions::default(), "axis 1 of the model input 'x' [?, ?]"),
            (byte.clone(), ranges(300..301), "300 does not fit into uint8"),
            (byte, ranges(3..3), "3..3 holds no integer"),
            (input("t", DType::String, &[None]), SyntheticOptions::default(), "text"),
        ];
        for (input, options, reason) in cases {
            let message = batch(&[input], 2, 0, &options).unwrap_err().to_string();
            assert!(message.contains(reason), "{reason}: {message}");
        }
    }
}
