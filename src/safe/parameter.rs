//! A trained tensor as it is handed to the optimiser.

use super::{SafeError, Scalar};
use crate::tensor::Tensor;

/// A trained tensor: its start values and which parts of the method apply to it.
#[derive(Debug, Clone)]
pub struct Parameter {
    pub(super) name: String,
    pub(super) tensor: Tensor,
    pub(super) split: bool,
    pub(super) decay: bool,
    pub(super) held: bool,
}

impl Parameter {
    /// A parameter that is trained with weight decay and has no split variable.
    ///
    /// # Errors
    /// When the values do not fill the dimensions.
    pub fn new<T: Scalar>(
        name: impl Into<String>,
        dims: Vec<usize>,
        values: Vec<T>,
    ) -> Result<Self, SafeError> {
        let name = name.into();
        match Tensor::new(dims, T::wrap(values)) {
            Ok(tensor) => Ok(Self::from_tensor(name, tensor)),
            Err(source) => Err(SafeError::Parameter { name, source }),
        }
    }

    /// As [`Parameter::new`], over a tensor. Its element type is checked by [`super::Safe::new`].
    pub fn from_tensor(name: impl Into<String>, tensor: Tensor) -> Self {
        Self { name: name.into(), tensor, split: false, decay: true, held: false }
    }

    /// Gives it a split variable, a dual and the penalty: for tensors under the sparsity constraint.
    #[must_use]
    pub fn split(mut self) -> Self {
        self.split = true;
        self
    }

    /// Leaves it out of weight decay.
    #[must_use]
    pub fn without_decay(mut self) -> Self {
        self.decay = false;
        self
    }

    /// Keeps `x` where it is, though its gradient counts in the norm, it is perturbed, and its moments run on.
    /// The published image code does this to all biases; nothing else should.
    #[must_use]
    pub fn held(mut self) -> Self {
        self.held = true;
        self
    }
}
