//! One model input's data: where they are, and how they become a batch.

use std::path::Path;

use rayon::prelude::*;

use super::{
    Augment, DataError, DataOptions, InputSpec,
    augment::sample_random,
    batch::Draw,
    folder::Images,
    integers::{integers, mismatch},
    layout::resolve,
    pixels::{Geometry, Motion, Order},
    source::Named,
    spec::show,
};
use crate::tensor::{DType, Element, Random, Tensor, Values};

/// Batches of more values than this are filled by several threads.
const PARALLEL: usize = 1 << 18;

#[derive(Debug)]
pub(super) enum Store {
    /// All samples, as they were stored.
    Memory(Tensor),
    Images(Images),
}

/// How stored values become those of a batch.
#[derive(Debug)]
enum Conversion {
    Same,
    /// Bytes to floats: for each channel the float of each byte.
    Table(Vec<[f32; 256]>),
    /// Numbers to floats: mean and standard deviation of each channel.
    Affine(Vec<(f32, f32)>),
}

#[derive(Debug)]
pub(super) struct Input {
    /// Its name in messages.
    pub(super) label: String,
    pub(super) store: Store,
    pub(super) geometry: Geometry,
    /// Shape of one sample in a batch.
    pub(super) dims: Vec<usize>,
    dtype: DType,
    conversion: Conversion,
}

impl Input {
    /// Data in memory for the input `spec`. `alone` says that the model has no other input.
    pub(super) fn in_memory(
        array: Named,
        spec: &InputSpec,
        options: &DataOptions,
        alone: bool,
    ) -> Result<Self, DataError> {
        let Named { label, tensor } = array;
        let Some((&samples, stored)) = tensor.dims().split_first() else {
            return Err(DataError::Scalar { array: label });
        };
        // An empty sample lets a header claim any number of them.
        if stored.contains(&0) {
            return Err(DataError::Empty { place: label.into() });
        }
        let found = tensor.dtype();
        let Some((dims, mut geometry)) = resolve(stored, spec.sample_dims(), found == DType::U8) else {
            return Err(DataError::Shape {
                array: label,
                found: format!("{stored:?}"),
                wanted_by: format!("the model input '{}'", spec.name),
                wanted: wanted(spec),
                hint: "resize or reshape the data, or name the arrays after the model's inputs",
            });
        };
        let tensor = if spec.dtype.is_float() { tensor } else { integers(tensor, spec, &label, samples)? };
        let normalised = spec.dtype.is_float() && options.normalises() && (alone || geometry.image);
        if let (true, false, &[features]) =
            (options.mean.len().max(options.std.len()) > 1, geometry.image, &dims[..])
        {
            geometry = Geometry { channels: features, width: 1, ..geometry };
        }
        let conversion = if tensor.dtype() == spec.dtype && !normalised {
            Conversion::Same
        } else {
            let none = DataOptions::default();
            let channels = if normalised { options } else { &none }.channels(geometry.channels)?;
            if found == DType::U8 {
                Conversion::Table(tables(&channels))
            } else {
                Conversion::Affine(channels)
            }
        };
        Ok(Self { label, store: Store::Memory(tensor), geometry, dims, dtype: spec.dtype, conversion })
    }

    /// Images to be decoded for the input `spec`.
    pub(super) fn of_images(root: &Path, spec: &InputSpec, options: &DataOptions) -> Result<Self, DataError> {
        let label = format!("images of {}", root.display());
        let (images, order) = Images::open(root, spec, options)?;
        let geometry = images.geometry(order);
        let dims = match order {
            Order::ChannelsFirst => vec![geometry.channels, geometry.height, geometry.width],
            Order::ChannelsLast => vec![geometry.height, geometry.width, geometry.channels],
        };
        let conversion = match spec.dtype {
            DType::U8 => Conversion::Same,
            dtype if dtype.is_float() => Conversion::Table(tables(&options.channels(geometry.channels)?)),
            dtype => return Err(mismatch(&label, DType::U8, spec, dtype)),
        };
        Ok(Self { label, store: Store::Images(images), geometry, dims, dtype: spec.dtype, conversion })
    }

    /// Number of samples.
    pub(super) fn len(&self) -> usize {
        match &self.store {
            Store::Memory(tensor) => tensor.dims().first().copied().unwrap_or(0),
            Store::Images(images) => images.files.len(),
        }
    }

    /// Whether mean and standard deviation act on these values.
    pub(super) fn is_normalised(&self) -> bool {
        !matches!(self.conversion, Conversion::Same)
    }

    /// The samples at `rows` of the store: shape `[rows, ...]`, in the model's element type.
    pub(super) fn batch(
        &self,
        rows: &[usize],
        augment: &Augment,
        draw: Option<Draw>,
    ) -> Result<Tensor, DataError> {
        let motion = |row: usize| match draw {
            Some(draw) if self.geometry.image => {
                let mut random = sample_random(draw.seed, draw.epoch, row);
                let motion = augment.motion(&mut random);
                (motion, random)
            }
            _ => (Motion::default(), Random::new(0)),
        };
        let values = match &self.store {
            Store::Memory(tensor) => self.gather(tensor.values(), rows, &|row| motion(row).0),
            Store::Images(images) => {
                let decode = |&row: &usize| {
                    let (motion, mut random) = motion(row);
                    let crop = draw.and(augment.crop);
                    Ok((motion, Values::U8(images.decode(row, crop, &mut random)?)))
                };
                let decoded: Vec<Result<(Motion, Values), DataError>> = rows.par_iter().map(decode).collect();
                let mut bytes = Vec::with_capacity(rows.len() * self.geometry.count());
                let mut motions = Vec::with_capacity(rows.len());
                for sample in decoded {
                    let (motion, sample) = sample?;
                    motions.push(motion);
                    bytes.extend_from_slice(u8::slice(&sample).unwrap_or_default());
                }
                let places: Vec<usize> = (0..rows.len()).collect();
                self.gather(&Values::U8(bytes), &places, &|place| motions[place])
            }
        };
        let dims = [&[rows.len()], &self.dims[..]].concat();
        Ok(Tensor::new(dims, values)?.cast_float(self.dtype))
    }

    fn gather(&self, values: &Values, rows: &[usize], motion: &(dyn Fn(usize) -> Motion + Sync)) -> Values {
        macro_rules! numbers {
            ($values:expr, $float:expr, $zero:expr) => {
                match &self.conversion {
                    Conversion::Affine(channels) => {
                        let convert = |channel: usize, value| {
                            let (mean, std) = channels[channel];
                            ($float(value) - mean) / std
                        };
                        self.fill($values, rows, motion, 0.0_f32, convert, |channel| {
                            let (mean, std) = channels[channel];
                            (0.0 - mean) / std
                        })
                        .into()
                    }
                    _ => self.fill($values, rows, motion, $zero, |_, value| value, |_| $zero).into(),
                }
            };
        }
        match (values, &self.conversion) {
            (Values::U8(bytes), Conversion::Table(tables)) => {
                let convert = |channel: usize, byte: u8| tables[channel][usize::from(byte)];
                self.fill(bytes, rows, motion, 0.0_f32, convert, |channel| tables[channel][0]).into()
            }
            (Values::F32(values), _) => numbers!(values, |value: f32| value, 0.0),
            (Values::F64(values), _) => numbers!(values, |value: f64| value as f32, 0.0),
            (Values::F16(values), _) => numbers!(values, |value: half::f16| value.to_f32(), half::f16::ZERO),
            (Values::BF16(values), _) => {
                numbers!(values, |value: half::bf16| value.to_f32(), half::bf16::ZERO)
            }
            (Values::I8(values), _) => numbers!(values, |value: i8| f32::from(value), 0),
            (Values::I16(values), _) => numbers!(values, |value: i16| f32::from(value), 0),
            (Values::I32(values), _) => numbers!(values, |value: i32| value as f32, 0),
            (Values::I64(values), _) => numbers!(values, |value: i64| value as f32, 0),
            (Values::U8(values), _) => numbers!(values, |value: u8| f32::from(value), 0),
            (Values::U16(values), _) => numbers!(values, |value: u16| f32::from(value), 0),
            (Values::U32(values), _) => numbers!(values, |value: u32| value as f32, 0),
            (Values::U64(values), _) => numbers!(values, |value: u64| value as f32, 0),
            (Values::Bool(values), _) => numbers!(values, |value: bool| f32::from(u8::from(value)), false),
            // No reader makes text.
            (Values::String(_), _) => Values::zeros(self.dtype, rows.len() * self.geometry.count()),
        }
    }

    fn fill<T: Copy + Sync, U: Copy + Send + Sync>(
        &self,
        source: &[T],
        rows: &[usize],
        motion: &(dyn Fn(usize) -> Motion + Sync),
        zero: U,
        convert: impl Fn(usize, T) -> U + Sync,
        fill: impl Fn(usize) -> U + Sync,
    ) -> Vec<U> {
        let count = self.geometry.count();
        let mut batch = vec![zero; rows.len() * count];
        if count == 0 {
            return batch;
        }
        let draw = |(sample, &row): (&mut [U], &usize)| {
            let source = &source[row * count..(row + 1) * count];
            self.geometry.draw(motion(row), source, sample, &convert, &fill);
        };
        if batch.len() > PARALLEL {
            batch.par_chunks_mut(count).zip(rows).for_each(draw);
        } else {
            batch.chunks_mut(count).zip(rows).for_each(draw);
        }
        batch
    }
}

/// The shape of a sample that fits, for messages.
fn wanted(spec: &InputSpec) -> String {
    match spec.fixed_batch() {
        Some(_) => format!("{} (or {} for one alone)", show(spec.sample_dims()), show(&spec.dims)),
        None => show(spec.sample_dims()),
    }
}

/// For each channel the normalised float of each byte, which counts as a share of 255.
fn tables(channels: &[(f32, f32)]) -> Vec<[f32; 256]> {
    let table = |&(mean, std): &(f32, f32)| std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std);
    channels.iter().map(table).collect()
}
