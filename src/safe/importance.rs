//! The importance factor of SAFE+.

use super::{SafeError, Scalar};
use crate::tensor::checked_count;

/// A factor `a` for each element of a parameter: projections then compare `|w| * a` in place of `|w|`. The values
/// that stay are not scaled.
#[derive(Debug, Clone, PartialEq)]
pub struct Importance<T> {
    dims: Vec<usize>,
    values: Vec<T>,
}

impl<T: Scalar> Importance<T> {
    /// The factor of dimensions `factor` broadcast to a parameter of dimensions `dims`: aligned at the last
    /// dimension, each of its dimensions equal or 1.
    ///
    /// # Errors
    /// When the values do not fill `factor`, `factor` does not broadcast to `dims`, or a value is negative or NaN.
    pub fn new(factor: &[usize], values: &[T], dims: &[usize]) -> Result<Self, SafeError> {
        let refuse =
            |problem| SafeError::Importance { factor: factor.to_vec(), dims: dims.to_vec(), problem };
        if checked_count(factor) != Some(values.len()) {
            return Err(refuse("its values do not fill it"));
        }
        let count = checked_count(dims).ok_or_else(|| refuse("the parameter is too large"))?;
        let aligned = dims.len().checked_sub(factor.len()).ok_or_else(|| refuse("it has more dimensions"))?;
        if factor.iter().zip(&dims[aligned..]).any(|(&own, &dim)| own != dim && own != 1) {
            return Err(refuse("it does not broadcast"));
        }
        // Written so that NaN is refused too.
        if !values.iter().all(|&value| value >= T::ZERO) {
            return Err(refuse("a value is negative or NaN"));
        }
        let mut strides = vec![0; dims.len()];
        let mut stride = 1;
        for (axis, &own) in factor.iter().enumerate().rev() {
            strides[aligned + axis] = if own == 1 { 0 } else { stride };
            stride *= own;
        }
        let mut position = vec![0; dims.len()];
        let mut offset = 0;
        let mut broadcast = Vec::with_capacity(count);
        for _ in 0..count {
            broadcast.push(values[offset]);
            for axis in (0..dims.len()).rev() {
                position[axis] += 1;
                offset += strides[axis];
                if position[axis] < dims[axis] {
                    break;
                }
                offset -= strides[axis] * dims[axis];
                position[axis] = 0;
            }
        }
        Ok(Self { dims: dims.to_vec(), values: broadcast })
    }

    /// One factor for each element of a parameter of dimensions `dims`, or an error when they are not its.
    pub(super) fn over(&self, dims: &[usize]) -> Result<&[T], SafeError> {
        if self.dims == dims {
            return Ok(&self.values);
        }
        let problem = "it was made for other dimensions";
        Err(SafeError::Importance { factor: self.dims.clone(), dims: dims.to_vec(), problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_broadcast_as_onnx_does() {
        let spread = |factor: &[usize], dims: &[usize]| {
            let count: usize = factor.iter().product();
            let values: Vec<f64> = (0..count).map(|value| value as f64).collect();
            Importance::new(factor, &values, dims).map(|importance| importance.values)
        };
        assert_eq!(spread(&[1, 3], &[2, 3]), Ok(vec![0.0, 1.0, 2.0, 0.0, 1.0, 2.0]));
        assert_eq!(spread(&[2, 1], &[2, 3]), Ok(vec![0.0, 0.0, 0.0, 1.0, 1.0, 1.0]));
        assert_eq!(spread(&[2, 1], &[2, 2, 2]), Ok(vec![0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]));
        assert_eq!(spread(&[], &[2]), Ok(vec![0.0, 0.0]));
        assert!(spread(&[2], &[2, 3]).is_err());
        assert!(spread(&[1, 1, 3], &[2, 3]).is_err());
        assert!(Importance::new(&[2], &[1.0], &[2]).is_err());
        assert!(Importance::new(&[1], &[f32::NAN], &[2]).is_err());
        assert!(Importance::new(&[1], &[-1.0], &[2]).is_err());
    }
}
