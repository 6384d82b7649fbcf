//! Data sets and seeded batches of them: `NumPy` files, IDX (MNIST), CIFAR, folders of images, or random samples.
//!
//! Always true here: a [`Dataset`] fits the model that it was opened for in names, shapes and element types; its
//! batches hold exactly the shapes and types of the model's inputs; and what a batch holds depends on data,
//! settings, seed and epoch alone, never on threads or time. Bytes stay bytes in memory until a batch needs them.
//! This module knows neither graphs, engines nor losses: a model is a list of [`InputSpec`] and a [`TargetSpec`].

mod augment;
mod batch;
mod bytes;
mod check;
mod checksum;
mod cifar;
mod dataset;
mod error;
mod files;
mod folder;
mod idx;
mod input;
mod integers;
mod layout;
mod loader;
mod names;
mod npy;
mod npz;
mod options;
mod pixels;
mod reading;
mod source;
mod spec;
pub mod synthetic;
mod target;
#[cfg(test)]
mod tests;
mod texture;

pub use augment::{Augment, Crop};
pub use batch::{Batch, Draw};
pub use check::check;
pub(crate) use checksum::hexadecimal;
pub use dataset::{Dataset, open, open_both};
pub use error::DataError;
pub use loader::{Batches, Loader, LoaderOptions};
pub use options::DataOptions;
pub use reading::read_as;
pub use spec::{InputSpec, TargetSpec};
pub use target::IGNORED;

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// For training.
    Train,
    /// For validation.
    Val,
}
