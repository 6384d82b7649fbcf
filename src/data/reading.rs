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
