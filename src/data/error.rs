//! What can be wrong with a data set.

use std::path::PathBuf;

use thiserror::Error;

use crate::tensor::{DType, TensorError};

/// Why data could not be read, do not fit the model, or cannot be trained on.
#[derive(Debug, Error)]
pub enum DataError {
    /// The operating system refused to read.
    #[error("cannot read {file}; check that the path exists and may be read")]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// The refusal.
        source: std::io::Error,
    },
    /// The path holds none of the known formats.
    #[error(
        "{path}: {found}; give a .npz or .npy file, a folder of .npy files, a folder of IDX or CIFAR binary files, \
         or a folder with one folder of PNG or JPEG images for each class"
    )]
    Unrecognised {
        /// The path given.
        path: PathBuf,
        /// What was found there.
        found: String,
    },
    /// The format is known, the part of the data set asked for is missing.
    #[error("{path} has no {part} part: {missing} not found; name the file itself, or another folder")]
    MissingPart {
        /// The folder searched.
        path: PathBuf,
        /// `training` or `validation`.
        part: &'static str,
        /// The names searched for.
        missing: String,
    },
    /// A file breaks its own format.
    #[error("{file} is damaged: {problem}; write or download the file again")]
    Damaged {
        /// The file, or the array in it.
        file: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// A file is valid, but uses what this program does not read.
    #[error("{file}: {what} cannot be read; {instead}")]
    Unsupported {
        /// The file, or the array in it.
        file: String,
        /// The feature.
        what: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// An image could not be decoded.
    #[error("cannot decode the image {file}; replace or remove the file")]
    Image {
        /// The image file.
        file: PathBuf,
        /// The decoder's reason.
        source: image::ImageError,
    },
    /// No array is left for a model input.
    #[error(
        "no array for the model input '{input}' in {place}, which holds {found}; name an array '{input}', or store one \
         array for each input in the model's order"
    )]
    MissingInput {
        /// The model input.
        input: String,
        /// The file or folder.
        place: PathBuf,
        /// The arrays found.
        found: String,
    },
    /// The targets are missing.
    #[error(
        "no targets in {place}, which holds {found}; add an array named 'y' or 'labels' beside the inputs"
    )]
    MissingTarget {
        /// The file or folder.
        place: PathBuf,
        /// The arrays found.
        found: String,
    },
    /// Two arrays have different numbers of samples.
    #[error(
        "{first} has {first_count} samples, but {second} has {second_count}; store one row for each sample in both"
    )]
    Counts {
        /// One array.
        first: String,
        /// Its number of samples.
        first_count: usize,
        /// The other array.
        second: String,
        /// Its number of samples.
        second_count: usize,
    },
    /// An array has no sample axis.
    #[error("{array} is a single number; its first axis must run over the samples")]
    Scalar {
        /// The array.
        array: String,
    },
    /// Samples do not have the shape that the model takes.
    #[error("samples of {array} have shape {found}, but {wanted_by} needs {wanted}; {hint}")]
    Shape {
        /// The array.
        array: String,
        /// Shape of one sample.
        found: String,
        /// The model input, or the target.
        wanted_by: String,
        /// Shape wanted of one sample, `?` for a free dimension.
        wanted: String,
        /// What to do.
        hint: &'static str,
    },
    /// An array has an element type that does not go into its place.
    #[error("{array} holds {found}, but {wanted_by} needs {wanted}; {hint}")]
    Type {
        /// The array.
        array: String,
        /// Element type of the array.
        found: DType,
        /// The model input, or the target.
        wanted_by: String,
        /// Element type wanted.
        wanted: DType,
        /// What to do.
        hint: &'static str,
    },
    /// An integer does not fit into the element type of the model input.
    #[error("{array}, sample {index}: value {value} does not fit into {wanted}; correct the data")]
    Range {
        /// The array.
        array: String,
        /// The first sample in error, counted from zero.
        index: usize,
        /// The value.
        value: i64,
        /// Element type of the model input.
        wanted: DType,
    },
    /// A label is no class of the model.
    #[error(
        "{array}, sample {index}: label {value} is outside 0..{classes}, the classes that the model tells apart; \
         correct the labels (the first class is 0), name the one that does not count with --ignore-index, or use the \
         model that was made for them"
    )]
    Label {
        /// The array of labels.
        array: String,
        /// The first sample in error, counted from zero.
        index: usize,
        /// The label found.
        value: i64,
        /// Number of classes of the model.
        classes: usize,
    },
    /// A number is infinite or not a number.
    #[error("{array}, sample {index}: value {value} is not finite; remove the sample or correct the value")]
    NotFinite {
        /// The array.
        array: String,
        /// The first sample in error, counted from zero.
        index: usize,
        /// The value.
        value: f64,
    },
    /// There is no sample at all.
    #[error("{place} holds no samples; give data with at least one batch")]
    Empty {
        /// The file or folder.
        place: PathBuf,
    },
    /// There are fewer samples than one batch takes.
    #[error(
        "{place} holds {samples} samples, fewer than one batch of {batch}; use a batch of at most {samples}"
    )]
    TooFew {
        /// The file or folder.
        place: PathBuf,
        /// Number of samples.
        samples: usize,
        /// Samples in a batch.
        batch: usize,
    },
    /// Samples go into one input as they are, and into another only together.
    #[error(
        "samples of {first} are what the model input '{single}' takes alone, but '{batched}' has an axis of samples \
         before those of {second}; give all inputs of the model that axis, or none"
    )]
    Mixed {
        /// The array of the input without axis of samples.
        first: String,
        /// That input.
        single: String,
        /// The array of the other input.
        second: String,
        /// The other input.
        batched: String,
    },
    /// The model takes one batch size only.
    #[error("the model input '{input}' is fixed to batches of {fixed}, not {batch}; use a batch of {fixed}")]
    FixedBatch {
        /// The model input.
        input: String,
        /// The batch size of the model.
        fixed: usize,
        /// The batch size asked for.
        batch: usize,
    },
    /// Mean or standard deviation do not fit.
    #[error("mean and standard deviation: {problem}; give one value each, or one for each channel")]
    Normalise {
        /// What is wrong.
        problem: String,
    },
    /// The text of an augmentation list is wrong.
    #[error("augmentation '{item}': {problem}; write a list such as flip,shift=2,crop=4")]
    AugmentText {
        /// The item in error.
        item: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The data cannot be augmented in this way.
    #[error("augmentation cannot be used: {problem}; leave it out")]
    Augment {
        /// Why not.
        problem: String,
    },
    /// The share of the samples for validation is not between none and all.
    #[error(
        "a share of {share} leaves {validation} of {samples} samples for validation; both parts need samples"
    )]
    Split {
        /// The share asked for.
        share: f64,
        /// Samples that validation would get.
        validation: usize,
        /// All samples.
        samples: usize,
    },
    /// Settings that contradict each other or the data.
    #[error("{problem}")]
    Options {
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A sample was asked for that the data set does not have.
    #[error("sample {index} was asked for, but the data set has {samples}")]
    Index {
        /// The position asked for.
        index: usize,
        /// Number of samples.
        samples: usize,
    },
    /// A tensor could not be made: a fault of this program.
    #[error("a batch could not be formed")]
    Tensor(#[from] TensorError),
    /// The thread that prepares batches could not start, or died: a fault of this program or the machine.
    #[error("the thread that prepares batches stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

impl DataError {
    pub(super) fn io(file: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let file = file.into();
        move |source| Self::Io { file, source }
    }

    /// A failure inside the content of `file`: an early end is damage, all else is the system's.
    pub(super) fn content(file: &str, source: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match source.kind() {
            ErrorKind::UnexpectedEof => {
                Self::Damaged { file: file.to_owned(), problem: "it ends before its last value".to_owned() }
            }
            ErrorKind::InvalidData | ErrorKind::InvalidInput => {
                Self::Damaged { file: file.to_owned(), problem: source.to_string() }
            }
            _ => Self::Io { file: file.into(), source },
        }
    }

    pub(super) fn damaged(file: &str, problem: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), problem: problem.into() }
    }
}
