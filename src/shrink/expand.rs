//! The masked dense model that belongs to a small model whose weights were moved after the cut.

use super::mask::{clear, masked_elements};
use super::{Prepared, ShrinkError};
use crate::deps::Survivors;
use crate::ir::{Initializer, Model, ValueId};
use crate::tensor::Tensor;

/// The dense model with the weights of `small` where they came from, and zeros elsewhere. `small` was made from
/// `prepared` by the cut `survivors`.
///
/// # Errors
/// When a weight cannot be read, or does not have the dimensions that the cut left.
pub fn expand(prepared: &Prepared, survivors: &Survivors, small: &Model) -> Result<Model, ShrinkError> {
    let mut model = prepared.model.clone();
    for (id, tensor) in prepared.model.graph.initializers() {
        let Some(found) = initializer_of(prepared, small, id) else { continue };
        if !survivors.touches(id) && found.dims() == tensor.dims() {
            if found != tensor {
                model.graph.set_initializer(id, &found.tensor()?);
            }
            continue;
        }
        let values = found.tensor()?;
        let mut expanded =
            scatter(&values, &tensor.dims(), survivors, id).ok_or_else(|| ShrinkError::Node {
                node: format!("initializer `{}`", tensor.name()),
                reason: format!("it has dimensions {:?} after the cut", values.dims()),
            })?;
        if survivors.quantization(id).is_some() {
            let masked = masked_elements(expanded.dims(), survivors, id);
            clear(&mut expanded, &masked, survivors, id);
        }
        model.graph.set_initializer(id, &expanded);
    }
    Ok(model)
}

/// What the small model holds for `id`: for a copy that became one with its original again, the original.
fn initializer_of<'a>(prepared: &Prepared, small: &'a Model, id: ValueId) -> Option<&'a Initializer> {
    let at = |id: ValueId| small.graph.value(id).initializer();
    at(id).or_else(|| at(prepared.original(id)?))
}

/// `values` at the kept indices of a tensor of zeros of dimensions `dims`.
fn scatter(values: &Tensor, dims: &[usize], survivors: &Survivors, id: ValueId) -> Option<Tensor> {
    let mut result = values.clone();
    for (axis, &dim) in dims.iter().enumerate() {
        if let Some(kept) = survivors.axis(id, axis) {
            if result.dims()[axis] != kept.len() {
                return None;
            }
            result = result.spread(axis, dim, kept);
        }
    }
    (result.dims() == dims).then_some(result)
}
