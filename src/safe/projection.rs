//! What a projection is.

use super::{SafeError, Scalar};
use crate::tensor::{TensorError, checked_count};

/// The values of one split parameter that a projection changes in place.
#[derive(Debug)]
pub struct View<'a, T> {
    /// Position of the parameter in the list given to [`super::Safe::new`].
    pub index: usize,
    /// Its dimensions, outermost first.
    pub dims: &'a [usize],
    /// Its values, row-major: `x + u` before a dual update, `x` at the start and at the end.
    pub values: &'a mut [T],
}

/// `P`: sets to zero what must leave and leaves the rest as it is.
pub trait Projection<T: Scalar> {
    /// Projects in place. `tensors` are all parameters that have a split variable, in rising order of `index`;
    /// those that the projection does not know stay as they are.
    ///
    /// # Errors
    /// When the projection names a tensor that is not among them, or does not fit one.
    fn project(&mut self, tensors: &mut [View<'_, T>]) -> Result<(), SafeError>;
}

/// The projection that changes nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keep;

impl<T: Scalar> Projection<T> for Keep {
    fn project(&mut self, _tensors: &mut [View<'_, T>]) -> Result<(), SafeError> {
        Ok(())
    }
}

/// Every closure of the same form is a projection.
impl<T: Scalar, F: FnMut(&mut [View<'_, T>]) -> Result<(), SafeError>> Projection<T> for F {
    fn project(&mut self, tensors: &mut [View<'_, T>]) -> Result<(), SafeError> {
        self(tensors)
    }
}

/// Where the parameter `tensor` stands in `tensors`, whose values are checked to fill its dimensions.
pub(super) fn position<T>(tensors: &[View<'_, T>], tensor: usize) -> Result<usize, SafeError> {
    let at = tensors.iter().position(|view| view.index == tensor).ok_or(SafeError::NotSplit { tensor })?;
    let View { dims, values, .. } = &tensors[at];
    if checked_count(dims) == Some(values.len()) {
        return Ok(at);
    }
    let source = TensorError::Count { values: values.len(), dims: dims.to_vec() };
    Err(SafeError::Parameter { name: format!("number {tensor}"), source })
}
