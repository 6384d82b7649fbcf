//! Batches.

use crate::tensor::Tensor;

/// Samples side by side, ready for a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// One tensor for each model input, in the model's order: shape `[n, ...]`, in the input's element type.
    pub inputs: Vec<Tensor>,
    /// The targets, if the data have any: shape `[n, ...]`; class numbers as `int64`, other numbers as `float`.
    pub target: Option<Tensor>,
    /// Position of each sample in the data set.
    pub indices: Vec<usize>,
}

impl Batch {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Some of the samples, by their places in the batch.
    #[must_use]
    pub fn part(&self, places: std::ops::Range<usize>) -> Self {
        let places: Vec<usize> = places.collect();
        Self {
            inputs: self.inputs.iter().map(|input| input.take(0, &places)).collect(),
            target: self.target.as_ref().map(|target| target.take(0, &places)),
            indices: places.iter().map(|&place| self.indices[place]).collect(),
        }
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// From what random augmentation is drawn: each sample gets what seed, epoch and its place in the data decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Seed of the whole run.
    pub seed: u64,
    /// Number of the epoch.
    pub epoch: u64,
}
