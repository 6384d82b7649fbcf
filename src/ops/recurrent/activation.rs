//! The activations of recurrent operators.
//!
//! Those of one direction follow those of the other; names do not depend on case. `Affine`, `HardSigmoid`, `Sigmoid`
//! and `Softplus` make another number of zero.

use crate::ops::{NodeView, Unsupported};

/// Activations `f` with `f(0) = 0`, whatever their parameters are.
const ZERO_AT_ZERO: &[&str] =
    &["Elu", "LeakyRelu", "Relu", "ScaledTanh", "Softsign", "Tanh", "ThresholdedRelu"];

/// The activations of all directions, one direction after the other. `kinds` holds the default of each kind first.
///
/// # Errors
/// When there is not one activation of each kind for each direction.
pub(super) fn names<'a>(
    node: &NodeView<'a>,
    kinds: &'static [&'static [&'static str]],
) -> Result<Vec<&'a str>, Unsupported> {
    let directions = node.x(super::W)?.dims().first().copied().unwrap_or(1);
    if !node.has("activations") {
        let defaults = kinds.iter().filter_map(|kind| kind.first().copied());
        return Ok((0..directions).flat_map(|_| defaults.clone()).collect());
    }
    node.strings("activations")
        .filter(|names| names.len() == directions * kinds.len())
        .ok_or_else(|| Unsupported(format!("activations must be {} for each direction", kinds.len())))
}

/// For each kind of activation, whether it makes zero of zero in every direction.
///
/// # Errors
/// When there is not one activation of each kind for each direction.
pub(super) fn keeps_zero(
    node: &NodeView<'_>,
    kinds: &'static [&'static [&'static str]],
) -> Result<Vec<bool>, Unsupported> {
    let names = names(node, kinds)?;
    let zero = |name: &&str| ZERO_AT_ZERO.iter().any(|known| known.eq_ignore_ascii_case(name));
    Ok((0..kinds.len()).map(|kind| names.iter().skip(kind).step_by(kinds.len()).all(zero)).collect())
}
