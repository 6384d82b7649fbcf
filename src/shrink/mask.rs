//! The masked dense model: of the shape of the dense one, with zeros where the small one has nothing.

use super::{Prepared, ShrinkError};
use crate::deps::Survivors;
use crate::ir::{Model, ValueId};
use crate::tensor::{Tensor, Values};

/// For each element of a tensor of the given dimensions, whether it leaves.
pub fn masked_elements(dims: &[usize], survivors: &Survivors, id: ValueId) -> Vec<bool> {
    let count: usize = dims.iter().product();
    let mut masked = vec![false; count];
    let mut inner = count;
    for (axis, &dim) in dims.iter().enumerate() {
        inner /= dim.max(1);
        let Some(kept) = survivors.axis(id, axis) else { continue };
        let mut leaves = vec![true; dim];
        for &index in kept {
            leaves[index] = false;
        }
        for (index, masked) in masked.iter_mut().enumerate() {
            *masked |= leaves[(index / inner) % dim];
        }
    }
    masked
}

/// The dense model with every slice that leaves by `survivors` set to zero.
///
/// # Errors
/// When a weight cannot be read.
pub fn mask(prepared: &Prepared, survivors: &Survivors) -> Result<Model, ShrinkError> {
    let mut model = prepared.model.clone();
    for (id, tensor) in prepared.model.graph.initializers() {
        if !survivors.touches(id) {
            continue;
        }
        let mut values = tensor.tensor()?;
        let masked = masked_elements(values.dims(), survivors, id);
        clear(&mut values, &masked, survivors, id);
        model.graph.set_initializer(id, &values);
    }
    Ok(model)
}

/// Makes every marked element one that stands for 0.
pub(super) fn clear(tensor: &mut Tensor, masked: &[bool], survivors: &Survivors, id: ValueId) {
    match survivors.quantization(id) {
        Some(quantization) => quantization.clear(tensor, masked),
        None => zero(tensor, masked),
    }
}

fn zero(tensor: &mut Tensor, masked: &[bool]) {
    fn clear<T: Copy>(values: &mut [T], masked: &[bool], zero: T) {
        for (value, _) in values.iter_mut().zip(masked).filter(|(_, masked)| **masked) {
            *value = zero;
        }
    }
    match tensor.values_mut() {
        Values::F32(values) => clear(values, masked, 0.0),
        Values::F64(values) => clear(values, masked, 0.0),
        Values::F16(values) => clear(values, masked, half::f16::ZERO),
        Values::BF16(values) => clear(values, masked, half::bf16::ZERO),
        // Integers have slots where they stand for real numbers, which are cleared above.
        _ => {}
    }
}
