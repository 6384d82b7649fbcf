//! A data set that fits a model.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Augment, Batch, Crop, DataError, DataOptions, Draw, InputSpec, Part, TargetSpec,
    input::{Input, Store},
    names,
    source::{self, Named, Source},
    target::Target,
};
use crate::tensor::{DType, Random, Tensor};

/// Samples that fit the inputs of a model, with targets if the data have any. Copies and parts share their storage.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub(super) shared: Arc<Shared>,
    /// Rows of the storage that belong to this part; nothing for all.
    rows: Option<Arc<[usize]>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) format: &'static str,
    pub(super) place: PathBuf,
    pub(super) specs: Vec<InputSpec>,
    pub(super) inputs: Vec<Input>,
    pub(super) target: Option<Target>,
    pub(super) augment: Augment,
    samples: usize,
}

/// Opens the `part` of the data at `path` for a model with these `inputs`; the format is found from the content.
/// With a `target`, the data must have targets that fit it; without, targets are kept if an array is named like
/// them.
///
/// # Errors
/// When the data cannot be read, or their names, counts, shapes or types do not fit the model.
pub fn open(
    path: &Path,
    part: Part,
    inputs: &[InputSpec],
    target: Option<&TargetSpec>,
    options: &DataOptions,
) -> Result<Dataset, DataError> {
    let source = source::locate(path, part)?;
    let mut shared = Shared {
        format: source.format(),
        place: source.place().to_owned(),
        specs: inputs.to_vec(),
        inputs: Vec::new(),
        target: None,
        augment: options.augment,
        samples: 0,
    };
    if let Source::Images(root) = &source {
        let [spec] = inputs else {
            let problem =
                format!("a folder of images serves one input, the model has {}; use arrays", inputs.len());
            return Err(DataError::Options { problem });
        };
        let input = Input::of_images(root, spec, options)?;
        if let Store::Images(images) = &input.store {
            let label = format!("class folders of {}", root.display());
            let labels = Named { label, tensor: Tensor::vector(images.labels.clone()) };
            shared.target = Some(Target::new(labels, target, None)?);
        }
        shared.inputs.push(input);
    } else {
        if options.resize.is_some() || options.crop.is_some() {
            let problem =
                format!("{} is no folder of images; leave the settings resize and crop out", path.display());
            return Err(DataError::Options { problem });
        }
        let names = source.names(part)?;
        let assignment = names::assign(&names, inputs, target.is_some(), source.place())?;
        let chosen: Vec<&str> =
            assignment.inputs.iter().chain(&assignment.target).map(|&array| names[array].as_str()).collect();
        let mut arrays = source.read(&chosen)?.into_iter();
        for (spec, array) in inputs.iter().zip(arrays.by_ref()) {
            shared.inputs.push(Input::in_memory(array, spec, options, inputs.len() == 1)?);
        }
        shared.target =
            arrays.next().map(|array| Target::new(array, target, options.ignore_index)).transpose()?;
    }
    shared.samples = shared.count_samples()?;
    shared.check_settings(options)?;
    Ok(Dataset { shared: Arc::new(shared), rows: None })
}

/// Opens training data at `data` and validation data: those at `val`, or else the share that `options` split off,
/// or else those that `data` bring along (the test part of MNIST or CIFAR, a folder `val` or `test`, arrays named
/// for it), or else none.
///
/// # Errors
/// As [`open`] and [`Dataset::split`]; also when both `val` and a share are given, or when the class folders of the
/// two parts differ.
pub fn open_both(
    data: &Path,
    val: Option<&Path>,
    inputs: &[InputSpec],
    target: Option<&TargetSpec>,
    options: &DataOptions,
) -> Result<(Dataset, Option<Dataset>), DataError> {
    let open = |path, part| open(path, part, inputs, target, options);
    let train = open(data, Part::Train)?;
    let val = match (val, options.val_split) {
        (Some(_), Some(_)) => {
            let problem =
                "validation data and a share for validation are both given; leave one out".to_owned();
            return Err(DataError::Options { problem });
        }
        (None, Some(share)) => {
            let (train, val) = train.split(share, options.seed)?;
            return Ok((train, Some(val)));
        }
        (Some(val), None) => open(val, Part::Val)?,
        (None, None) if source::has_validation(data)? => open(data, Part::Val)?,
        (None, None) => return Ok((train, None)),
    };
    if let (Some(first), Some(second)) = (train.class_names(), val.class_names())
        && let Some(class) =
            first.iter().chain(second).find(|class| !(first.contains(class) && second.contains(class)))
    {
        let problem = format!(
            "only one of {} and {} has the class folder '{class}'; make the class folders the same",
            train.shared.place.display(),
            val.shared.place.display()
        );
        return Err(DataError::Options { problem });
    }
    Ok((train, Some(val)))
}

impl Shared {
    /// The number of samples, which all arrays must share.
    fn count_samples(&self) -> Result<usize, DataError> {
        let inputs = self.inputs.iter().map(|input| (&input.label, input.len()));
        let target = self.target.iter().map(|target| (&target.label, target.tensor.dims()[0]));
        let mut counts = inputs.chain(target);
        let Some((first, first_count)) = counts.next() else { return Ok(0) };
        match counts.find(|(_, count)| *count != first_count) {
            None => Ok(first_count),
            Some((second, second_count)) => Err(DataError::Counts {
                first: first.clone(),
                first_count,
                second: second.clone(),
                second_count,
            }),
        }
    }

    /// Settings must act on something, and on nothing that they would spoil.
    fn check_settings(&self, options: &DataOptions) -> Result<(), DataError> {
        if options.normalises() && !self.inputs.iter().any(Input::is_normalised) {
            let problem = "no model input takes normalised images; leave them out".to_owned();
            return Err(DataError::Normalise { problem });
        }
        if self.augment.is_none() {
            return Ok(());
        }
        let problem = if !self.inputs.iter().any(|input| input.geometry.image) {
            let shapes: Vec<_> =
                self.inputs.iter().map(|input| format!("{} {:?}", input.label, input.dims)).collect();
            format!(
                "no input is an image [N, C, H, W] or [N, H, W, C] of 1 to 4 channels: {}",
                shapes.join(", ")
            )
        } else if self.target.as_ref().is_some_and(|target| target.dims.len() >= 2) {
            "moved images would no longer match targets for each position".to_owned()
        } else if self.augment.crop == Some(Crop::Resized)
            && self.inputs.iter().any(|input| matches!(input.store, Store::Memory(_)))
        {
            "crop without a number is for folders of images; write crop=4, or".to_owned()
        } else {
            return Ok(());
        };
        Err(DataError::Augment { problem })
    }
}

impl Dataset {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.rows.as_ref().map_or(self.shared.samples, |rows| rows.len())
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the data have targets.
    pub fn has_target(&self) -> bool {
        self.shared.target.is_some()
    }

    /// Whether the model takes several samples together; else it takes them one at a time.
    pub fn is_batched(&self) -> bool {
        self.shared.specs.iter().all(|spec| spec.batched)
    }

    /// Element type of the targets in batches: `int64` for class numbers, else `float`.
    pub fn target_dtype(&self) -> Option<DType> {
        self.shared.target.as_ref().map(|target| if target.float { DType::F32 } else { DType::I64 })
    }

    /// Names of the classes in order, for a folder of images.
    pub fn class_names(&self) -> Option<&[String]> {
        self.shared.inputs.iter().find_map(|input| match &input.store {
            Store::Images(images) => Some(&images.classes[..]),
            Store::Memory(_) => None,
        })
    }

    /// Row of the storage of the sample at `position`, which is below [`Dataset::len`].
    pub(super) fn row(&self, position: usize) -> usize {
        self.rows.as_ref().map_or(position, |rows| rows[position])
    }

    /// The samples at `positions`, in their order. With a `draw` they are augmented as the settings say, each
    /// sample by what the draw and its place in the data decide, whatever else is in the batch.
    ///
    /// # Errors
    /// When a position is outside the data set, or an image cannot be decoded.
    pub fn batch(&self, positions: &[usize], draw: Option<Draw>) -> Result<Batch, DataError> {
        let samples = self.len();
        if let Some(&index) = positions.iter().find(|&&position| position >= samples) {
            return Err(DataError::Index { index, samples });
        }
        let rows: Vec<usize> = positions.iter().map(|&position| self.row(position)).collect();
        let draw = draw.filter(|_| !self.shared.augment.is_none());
        let input = |input: &Input| input.batch(&rows, &self.shared.augment, draw);
        Ok(Batch {
            inputs: self.shared.inputs.iter().map(input).collect::<Result<_, _>>()?,
            target: self.shared.target.as_ref().map(|target| target.batch(&rows)).transpose()?,
            indices: positions.to_vec(),
            batched: self.is_batched(),
        })
    }

    /// Splits `share` of the samples off: the rest, and those, both in the order of the data. Which samples go is
    /// drawn from `seed`.
    ///
    /// # Errors
    /// When one of the parts would be empty.
    pub fn split(&self, share: f64, seed: u64) -> Result<(Self, Self), DataError> {
        let samples = self.len();
        let validation = (samples as f64 * share).round() as usize;
        if !(share > 0.0 && share < 1.0) || validation == 0 || validation >= samples {
            return Err(DataError::Split { share, validation: validation.min(samples), samples });
        }
        let mut rows: Vec<usize> = (0..samples).map(|position| self.row(position)).collect();
        Random::fork(seed, "split").shuffle(&mut rows);
        let (val, train) = rows.split_at_mut(validation);
        let part = |rows: &mut [usize]| {
            rows.sort_unstable();
            Self { shared: Arc::clone(&self.shared), rows: Some(Arc::from(&*rows)) }
        };
        Ok((part(train), part(val)))
    }

    /// One line for people: format, place, samples, inputs, targets and classes found.
    pub fn describe(&self) -> String {
        let inputs = self.shared.inputs.iter().zip(&self.shared.specs).map(|(input, spec)| {
            let stored = match &input.store {
                Store::Memory(tensor) => format!("{} {:?}", tensor.dtype(), &tensor.dims()[1..]),
                Store::Images(_) => "PNG and JPEG files".to_owned(),
            };
            format!("{stored} as {} {:?} for '{}'", spec.dtype, input.dims, spec.name)
        });
        let targets = match (&self.shared.target, self.class_names()) {
            (None, _) => "no targets".to_owned(),
            (Some(_), Some(classes)) => format!("{} classes", classes.len()),
            (Some(target), None) if target.float => format!("float targets {:?}", target.dims),
            (Some(target), None) => {
                let labels = target.found((0..self.len()).map(|position| self.row(position)));
                let range = labels.first().zip(labels.last());
                let range = range.map(|(first, last)| format!(" ({first} to {last})")).unwrap_or_default();
                let each = if target.dims.is_empty() { String::new() } else { format!(" {:?}", target.dims) };
                format!("labels{each} of {} classes{range}", labels.len())
            }
        };
        let alone = "one sample at a time, as the model's inputs have no axis for more";
        let parts: Vec<String> =
            inputs.chain([targets]).chain((!self.is_batched()).then(|| alone.to_owned())).collect();
        let Shared { format, place, .. } = &*self.shared;
        format!("{format} {}: {} samples, {}", place.display(), self.len(), parts.join(", "))
    }
}
