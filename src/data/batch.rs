//! Batches.

use std::borrow::Cow;

use crate::tensor::Tensor;

/// Samples side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// One tensor for each model input, in the model's order: shape `[n, ...]`, in the input's element type.
    pub inputs: Vec<Tensor>,
    /// The targets, if the data have any: shape `[n, ...]`; class numbers as `int64`, other numbers as `float`.
    pub target: Option<Tensor>,
    /// Position of each sample in the data set.
    pub indices: Vec<usize>,
    /// Whether the model takes all of them together. Else it takes one at a time, and a batch that it is given holds
    /// only one.
    pub batched: bool,
}

impl Batch {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// The inputs as the model takes them: the only sample without axis of samples where the model has none.
    pub fn given(&self) -> Cow<'_, [Tensor]> {
        if self.batched {
            return Cow::Borrowed(&self.inputs);
        }
        Cow::Owned(self.inputs.iter().cloned().map(Tensor::without_first_axis).collect())
    }

    /// Some of the samples, by their places in the batch.
    #[must_use]
    pub fn part(&self, places: std::ops::Range<usize>) -> Self {
        let places: Vec<usize> = places.collect();
        Self {
            inputs: self.inputs.iter().map(|input| input.take(0, &places)).collect(),
            target: self.target.as_ref().map(|target| target.take(0, &places)),
            indices: places.iter().map(|&place| self.indices[place]).collect(),
            batched: self.batched,
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
