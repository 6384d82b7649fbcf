//! Whether a model takes samples together or one at a time, found from the data.

use std::path::Path;

use super::{DataError, DataOptions, InputSpec, Part, folder, layout::resolve, names, source};
use crate::tensor::DType;

/// The `inputs` of a model as the `part` of the data at `path` shows them: their first dimension is the batch, unless
/// the samples fit only when it is one of their own. Where they fit in no way the inputs are as they were, and opening
/// the data tells why.
///
/// # Errors
/// When the data cannot be read, or they fit one input only with a batch and another only without.
pub fn read_as(
    path: &Path,
    part: Part,
    inputs: &[InputSpec],
    options: &DataOptions,
) -> Result<Vec<InputSpec>, DataError> {
    let all = |batched: bool| -> Vec<InputSpec> {
        inputs.iter().map(|spec| InputSpec { batched, ..spec.clone() }).collect()
    };
    let (together, alone) = (all(true), all(false));
    let source = source::locate(path, part)?;
    if let source::Source::Images(root) = &source {
        let takes = |specs: &[InputSpec]| {
            specs.iter().all(|spec| folder::input_size(root, spec, options.crop).is_ok())
        };
        return Ok(if !takes(&together) && takes(&alone) { alone } else { together });
    }
    let names = source.names(part)?;
    let assignment = names::assign(&names, inputs, false, source.place())?;
    let chosen: Vec<&str> = assignment.inputs.iter().map(|&array| names[array].as_str()).collect();
    let forms = source.forms(&chosen)?;
    let fits = |specs: &[InputSpec]| -> Vec<bool> {
        let fits = |(spec, (dims, dtype)): (&InputSpec, &(Vec<usize>, DType))| {
            let sample = dims.get(1..).unwrap_or(&[]);
            !dims.is_empty() && resolve(sample, spec.sample_dims(), *dtype == DType::U8).is_some()
        };
        specs.iter().zip(&forms).map(fits).collect()
    };
    let (with, without) = (fits(&together), fits(&alone));
    if with.iter().all(|&fits| fits) {
        return Ok(together);
    }
    if without.iter().all(|&fits| fits) {
        return Ok(alone);
    }
    let only =
        |these: &[bool], others: &[bool]| these.iter().zip(others).position(|(&fits, &other)| fits && !other);
    let known = with.iter().zip(&without).all(|(&with, &without)| with || without);
    match (only(&without, &with), only(&with, &without)) {
        (Some(single), Some(batched)) if known => Err(DataError::Mixed {
            first: format!("array '{}'", chosen[single]),
            single: inputs[single].name.clone(),
            second: format!("array '{}'", chosen[batched]),
            batched: inputs[batched].name.clone(),
        }),
        _ => Ok(together),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use ndarray::ArrayD;
    use ndarray_npy::NpzWriter;

    use super::*;

    /// Dimensions of an input, those of a sample, and whether samples are read together.
    type Case<'a> = (&'a [Option<usize>], &'a [usize], bool);

    /// How data with samples of these shapes are read for inputs of these dimensions: together, alone, or the refusal.
    fn read(inputs: &[&[Option<usize>]], samples: &[&[usize]]) -> Result<bool, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.npz");
        let mut archive = NpzWriter::new(File::create(&path).unwrap());
        for (place, dims) in samples.iter().enumerate() {
            let dims = [&[6], *dims].concat();
            archive.add_array(format!("in{place}"), &ArrayD::<f32>::zeros(dims)).unwrap();
        }
        archive.finish().unwrap();
        let spec = |(place, dims): (usize, &&[Option<usize>])| InputSpec {
            name: format!("in{place}"),
            dtype: DType::F32,
            dims: dims.to_vec(),
            batched: true,
        };
        let specs: Vec<InputSpec> = inputs.iter().enumerate().map(spec).collect();
        let read = read_as(&path, Part::Train, &specs, &DataOptions::default());
        let read = read.map_err(|error| error.to_string())?;
        assert!(read.iter().all(|spec| spec.batched == read[0].batched), "{read:?}");
        Ok(read[0].batched)
    }

    #[test]
    fn the_samples_tell_whether_there_is_an_axis_for_them() {
        let some = |dims: &[usize]| dims.iter().map(|&dim| Some(dim)).collect::<Vec<_>>();
        let image = some(&[3, 20, 24]);
        let cases: [Case<'_>; 7] = [
            (&image, &[3, 20, 24], false),
            (&image, &[20, 24, 3], false),
            (&image, &[20, 24], true),
            (&[Some(3), None, None], &[3, 20, 24], false),
            (&[None, Some(3), None, None], &[3, 20, 24], true),
            // Where both would do, the first axis is the batch.
            (&[Some(1), Some(28), Some(28)], &[28, 28], true),
            // Opening such data tells what is wrong.
            (&image, &[5], true),
        ];
        for (dims, sample, batched) in cases {
            assert_eq!(read(&[dims], &[sample]), Ok(batched), "{dims:?} {sample:?}");
        }
    }

    #[test]
    fn all_inputs_are_read_alike() {
        let (image, sizes) = ([Some(3), Some(8), Some(8)], [Some(2)]);
        assert_eq!(read(&[&image, &sizes], &[&[3, 8, 8], &[2]]), Ok(false));
        let batch = [None, Some(2)];
        let refusal = read(&[&image, &batch], &[&[3, 8, 8], &[2]]).unwrap_err();
        assert!(refusal.contains("'in0'") && refusal.contains("'in1' has an axis of samples"), "{refusal}");
    }
}
