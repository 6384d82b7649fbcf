//! What can be known to be wrong before training starts.

use super::{DataError, Dataset, input::Store, target::Target};
use crate::tensor::Tensor;

/// Samples looked at in one go.
const CHUNK: usize = 256;

/// Checks that `data` can be trained on in batches of `batch` samples. Names, counts, shapes and types were
/// checked on opening; this looks at the values: labels are classes of the model, floats are finite, one image of
/// each class folder can be decoded, and there are samples enough for one batch.
///
/// # Errors
/// The first failure, with array, sample and value.
pub fn check(data: &Dataset, batch: usize) -> Result<(), DataError> {
    let place = || data.shared.place.clone();
    if data.is_empty() {
        return Err(DataError::Empty { place: place() });
    }
    if batch == 0 {
        return Err(DataError::Options {
            problem: "a batch of no samples; use a batch of at least 1".to_owned(),
        });
    }
    if data.len() < batch {
        return Err(DataError::TooFew { place: place(), samples: data.len(), batch });
    }
    for spec in &data.shared.specs {
        if let Some(fixed) = spec.fixed_batch().filter(|&fixed| fixed != batch) {
            return Err(DataError::FixedBatch { input: spec.name.clone(), fixed, batch });
        }
    }
    if let Some(target) = &data.shared.target {
        if target.float {
            finite(data, &target.tensor, &target.label)?;
        } else if let Some(classes) = target.classes {
            labels(data, target, classes)?;
        }
    }
    for input in &data.shared.inputs {
        match &input.store {
            Store::Memory(tensor) => finite(data, tensor, &input.label)?,
            Store::Images(images) => {
                let mut seen = None;
                for row in (0..data.len()).map(|position| data.row(position)) {
                    if seen.replace(images.labels[row]) != Some(images.labels[row]) {
                        images.decode(row, None, &mut crate::tensor::Random::new(0))?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Calls `look` with row and values of each sample of `tensor` that belongs to `data`.
fn each<T>(
    data: &Dataset,
    tensor: &Tensor,
    values: impl Fn(&Tensor) -> Result<Vec<T>, crate::tensor::TensorError>,
    mut look: impl FnMut(usize, &[T]) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let count = tensor.dims()[1..].iter().product::<usize>();
    if count == 0 {
        return Ok(());
    }
    let rows: Vec<usize> = (0..data.len()).map(|position| data.row(position)).collect();
    for rows in rows.chunks(CHUNK) {
        let values = values(&tensor.take(0, rows))?;
        rows.iter().zip(values.chunks(count)).try_for_each(|(&row, values)| look(row, values))?;
    }
    Ok(())
}

fn labels(data: &Dataset, target: &Target, classes: usize) -> Result<(), DataError> {
    let is_class = |label: i64| usize::try_from(label).is_ok_and(|label| label < classes);
    each(data, &target.tensor, Tensor::to_i64, |index, labels| {
        match labels.iter().find(|&&label| !is_class(label) && Some(label) != target.ignored) {
            None => Ok(()),
            Some(&value) => Err(DataError::Label { array: target.label.clone(), index, value, classes }),
        }
    })
}

fn finite(data: &Dataset, tensor: &Tensor, label: &str) -> Result<(), DataError> {
    if !tensor.dtype().is_float() {
        return Ok(());
    }
    each(data, tensor, Tensor::to_f64, |index, values| match values.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(&value) => Err(DataError::NotFinite { array: label.to_owned(), index, value }),
    })
}
