//! Batches in seeded order, prepared by a thread of their own ahead of use.

use std::{
    ops::Range,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{Builder, JoinHandle},
};

use super::{Batch, DataError, Dataset, Draw, augment::mix};
use crate::tensor::Random;

/// Batches that wait prepared; one more is in the making.
const AHEAD: usize = 2;

/// How a data set is gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Samples in a batch; zero counts as one.
    pub batch_size: usize,
    /// Whether each epoch has an order of its own; else the order of the data.
    pub shuffle: bool,
    /// Whether samples are augmented as the data set's settings say.
    pub augment: bool,
    /// Whether the samples that do not fill the last batch of an epoch are left out.
    pub drop_last: bool,
    /// Seed of order and augmentation.
    pub seed: u64,
}

impl LoaderOptions {
    /// For training: shuffled, augmented, full batches only.
    pub fn training(batch_size: usize, seed: u64) -> Self {
        Self { batch_size, shuffle: true, augment: true, drop_last: true, seed }
    }

    /// For evaluation: every sample once as it is, in the order of the data.
    pub fn evaluation(batch_size: usize) -> Self {
        Self { batch_size, shuffle: false, augment: false, drop_last: false, seed: 0 }
    }
}

/// Goes through a data set in batches. What an epoch holds depends on data, settings, seed and the epoch's number
/// alone.
#[derive(Debug, Clone)]
pub struct Loader {
    data: Dataset,
    options: LoaderOptions,
}

impl Loader {
    /// A loader of `data`.
    pub fn new(data: Dataset, options: LoaderOptions) -> Self {
        Self { data, options: LoaderOptions { batch_size: options.batch_size.max(1), ..options } }
    }

    /// The data set.
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// Number of batches in an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        if self.options.drop_last {
            self.data.len() / self.options.batch_size
        } else {
            self.data.len().div_ceil(self.options.batch_size)
        }
    }

    /// Positions of the samples in the order of an epoch.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.data.len()).collect();
        if self.options.shuffle {
            Random::fork(mix(self.options.seed, epoch), "shuffle").shuffle(&mut order);
        }
        order
    }

    /// The batches of one epoch.
    pub fn epoch(&self, epoch: u64) -> Batches {
        self.epoch_from(epoch, 0)
    }

    /// The batches of one epoch from number `first` on; those before are not prepared.
    pub fn epoch_from(&self, epoch: u64, first: usize) -> Batches {
        self.batches(epoch..epoch.saturating_add(1), first)
    }

    /// The batches of several epochs, one after the other without a pause between.
    pub fn epochs(&self, epochs: Range<u64>) -> Batches {
        self.batches(epochs, 0)
    }

    /// The batches of several epochs without the first ones of each.
    fn batches(&self, epochs: Range<u64>, first: usize) -> Batches {
        let (sender, receiver) = sync_channel(AHEAD);
        let loader = self.clone();
        match Builder::new().name("batches".to_owned()).spawn(move || loader.prepare(epochs, first, &sender))
        {
            Ok(thread) => Batches { receiver: Some(receiver), thread: Some(thread), failed: None },
            Err(error) => {
                let failed = Some(DataError::Stopped { reason: error.to_string() });
                Batches { receiver: None, thread: None, failed }
            }
        }
    }

    fn prepare(&self, epochs: Range<u64>, first: usize, sender: &SyncSender<Result<Batch, DataError>>) {
        let Self { options, data } = self;
        for epoch in epochs {
            let draw = options.augment.then_some(Draw { seed: options.seed, epoch });
            let order = self.order(epoch);
            for positions in order.chunks(options.batch_size).take(self.batches_per_epoch()).skip(first) {
                let batch = data.batch(positions, draw);
                let failed = batch.is_err();
                // Sending fails when nobody waits any more.
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        }
    }
}

/// Batches as they become ready; the first error is the last item. Dropping it ends the thread that prepares them,
/// after the batch that is in the making.
#[derive(Debug)]
pub struct Batches {
    receiver: Option<Receiver<Result<Batch, DataError>>>,
    thread: Option<JoinHandle<()>>,
    failed: Option<DataError>,
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(Ok(batch)) = self.receiver.as_ref().map(Receiver::recv) {
            return Some(batch);
        }
        let panicked = self.thread.take().is_some_and(|thread| thread.join().is_err());
        let panicked = panicked.then(|| DataError::Stopped { reason: "it panicked".to_owned() });
        panicked.or_else(|| self.failed.take()).map(Err)
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // The thread waits in `send` until its receiver is gone.
        drop(self.receiver.take());
        if let Some(thread) = self.thread.take() {
            // A panic was reported to whoever still listened.
            let _ = thread.join();
        }
    }
}
