//! Batches for training: from data, or made up when there are none.

use super::CompressError;
use crate::data::{Batch, DataError, Dataset, InputSpec, Loader, LoaderOptions, synthetic};

/// Batches of one epoch of made-up samples.
const SYNTHETIC_BATCHES: usize = 64;

/// Where samples come from.
#[derive(Debug)]
pub(super) enum Samples {
    /// Real data.
    Data(Dataset),
    /// Random values of the model's input types.
    Synthetic {
        /// The inputs.
        inputs: Vec<InputSpec>,
        /// What they are drawn from.
        options: synthetic::SyntheticOptions,
    },
}

impl Samples {
    /// Samples of an epoch, in batches of about `batch`.
    pub(super) fn per_epoch(&self, batch: usize) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Synthetic { .. } => SYNTHETIC_BATCHES * batch,
        }
    }

    pub(super) fn is_real(&self) -> bool {
        matches!(self, Self::Data(_))
    }

    /// The batches of one epoch, shuffled and augmented for training, or plain.
    pub(super) fn epoch(
        &self,
        batch: usize,
        epoch: usize,
        seed: u64,
        training: bool,
    ) -> Box<dyn Iterator<Item = Result<Batch, DataError>> + '_> {
        match self {
            Self::Data(data) => {
                let mut options = LoaderOptions::training(batch, seed);
                options.augment = training;
                Box::new(Loader::new(data.clone(), options).epoch(epoch as u64))
            }
            Self::Synthetic { inputs, options } => {
                let first = (epoch * SYNTHETIC_BATCHES) as u64;
                Box::new(
                    (first..first + SYNTHETIC_BATCHES as u64)
                        .map(move |number| synthetic::batch(inputs, batch, number, options)),
                )
            }
        }
    }

    /// Some plain batches, the same ones every time: for statistics and for verification.
    pub(super) fn plain(&self, batch: usize, count: usize, seed: u64) -> Result<Vec<Batch>, CompressError> {
        let batches: Result<Vec<Batch>, DataError> = self.epoch(batch, 0, seed, false).take(count).collect();
        Ok(batches?)
    }
}
