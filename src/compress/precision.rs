//! Single precision for the time of training, for networks that compute with 16-bit floats.

use super::CompressError;
use super::structure::Structure;
use crate::engine::{Engine, LoadOptions};
use crate::ir::{Initializer, IrError, Model, ValueId, in_single_precision};
use crate::tensor::{DType, Tensor};

/// A network in single precision. Small steps and small gradients vanish in 16 bits, so the weights that are trained
/// are of 32 bits, and are rounded once, at the end.
pub(super) struct SinglePrecision {
    /// Its structure; the groups have the numbers that they have in 16 bits.
    pub(super) structure: Structure,
}

impl SinglePrecision {
    /// The model of `structure` in single precision; nothing where it computes in that already, or where it cannot be
    /// turned into it.
    pub(super) fn of(
        structure: &Structure,
        engine: &dyn Engine,
        load: &LoadOptions,
        shapes: &[(String, Vec<usize>)],
    ) -> Result<Option<Self>, CompressError> {
        let Some(model) = in_single_precision(structure.model())? else { return Ok(None) };
        let variant = structure.of_variant(model, engine, load, shapes)?;
        Ok(variant.map(|structure| Self { structure }))
    }
}

/// Gives `small`, which is cut from the original model, the weights of `trained`, which is cut from that in single precision,
/// rounded to the types that `small` has. Returns what is to be said of that.
///
/// # Errors
/// When a weight is too large for its type.
pub(super) fn round_into(trained: &Model, small: &mut Model) -> Result<String, CompressError> {
    let mut types: Vec<DType> = Vec::new();
    let kept: Vec<(ValueId, DType)> = small
        .graph
        .initializers()
        .filter_map(|(id, tensor)| Some((id, tensor.dtype().filter(|dtype| dtype.is_float())?)))
        .collect();
    for (id, dtype) in kept {
        let value = small.graph.value(id);
        let wide = trained.graph.find(value.name()).and_then(|id| trained.graph.value(id).initializer());
        let (Some(wide), Some(old)) = (wide, value.initializer()) else { continue };
        if wide.dims() != old.dims() {
            continue;
        }
        let wide = wide.tensor()?;
        let rounded = wide.clone().cast_float(dtype);
        if is_finite(&wide) && !is_finite(&rounded) {
            return Err(too_large(old, dtype).into());
        }
        if dtype != wide.dtype() && !types.contains(&dtype) {
            types.push(dtype);
        }
        small.graph.set_initializer(id, &rounded);
    }
    let names: Vec<String> = types.iter().map(ToString::to_string).collect();
    Ok(format!(
        "the model computes with 16-bit floats: it was trained in single precision, and its weights were rounded to {} at the end",
        names.join(" and ")
    ))
}

fn is_finite(tensor: &Tensor) -> bool {
    tensor.to_f64().is_ok_and(|values| values.iter().all(|value| value.is_finite()))
}

fn too_large(tensor: &Initializer, dtype: DType) -> IrError {
    IrError::Tensor {
        name: tensor.name().to_owned(),
        reason: format!(
            "training made values that {dtype} cannot hold: train with a smaller learning rate, or freeze it"
        ),
    }
}
