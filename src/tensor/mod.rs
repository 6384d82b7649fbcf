//! Host tensors: element type, dimensions, values, and the seeded random numbers that fill them.
//!
//! Always true here: the number of values equals the product of the dimensions (a scalar has no dimensions and
//! one value), and values lie in row-major order. This module knows neither graphs, files nor runtimes.

mod dtype;
mod random;
mod values;

pub use dtype::DType;
pub use random::Random;
pub use values::{Element, Values};

use thiserror::Error;

/// What can be wrong with a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TensorError {
    /// The values do not fill the dimensions.
    #[error("{values} values do not fill dimensions {dims:?}")]
    Count {
        /// Number of values given.
        values: usize,
        /// Dimensions given.
        dims: Vec<usize>,
    },
    /// The product of the dimensions does not fit in memory.
    #[error("dimensions {dims:?} are too large")]
    TooLarge {
        /// Dimensions given.
        dims: Vec<usize>,
    },
    /// The tensor has another element type than asked for.
    #[error("expected a tensor of {expected}, found {found}")]
    Type {
        /// The element type asked for.
        expected: DType,
        /// The element type found.
        found: DType,
    },
}

/// A dense tensor in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    dims: Vec<usize>,
    values: Values,
}

/// The product of `dims`, or nothing when it overflows.
pub fn checked_count(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim))
}

impl Tensor {
    /// A tensor of `dims` over `values`.
    ///
    /// # Errors
    /// When the values do not fill the dimensions.
    pub fn new(dims: Vec<usize>, values: impl Into<Values>) -> Result<Self, TensorError> {
        let values = values.into();
        match checked_count(&dims) {
            None => Err(TensorError::TooLarge { dims }),
            Some(count) if count != values.len() => Err(TensorError::Count { values: values.len(), dims }),
            Some(_) => Ok(Self { dims, values }),
        }
    }

    /// A tensor of `dims` filled with zeros (false, or empty strings).
    ///
    /// # Errors
    /// When the product of the dimensions overflows.
    pub fn zeros(dtype: DType, dims: Vec<usize>) -> Result<Self, TensorError> {
        match checked_count(&dims) {
            None => Err(TensorError::TooLarge { dims }),
            Some(count) => Ok(Self { dims, values: Values::zeros(dtype, count) }),
        }
    }

    /// A scalar: no dimensions, one value.
    pub fn scalar<T: Element>(value: T) -> Self {
        Self { dims: Vec::new(), values: T::wrap(vec![value]) }
    }

    /// A tensor of one dimension over `values`.
    pub fn vector<T: Element>(values: Vec<T>) -> Self {
        Self { dims: vec![values.len()], values: T::wrap(values) }
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no value at all.
    pub fn is_empty(&self) -> bool {
        self.values.len() == 0
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.values.dtype()
    }

    /// The values in row-major order.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The values in row-major order, to be changed in place.
    pub fn values_mut(&mut self) -> &mut Values {
        &mut self.values
    }

    /// The dimensions, and the values to be changed in place.
    pub fn parts_mut(&mut self) -> (&[usize], &mut Values) {
        (&self.dims, &mut self.values)
    }

    /// Takes the values out, in row-major order.
    pub fn into_values(self) -> Values {
        self.values
    }

    /// The values as a slice of `T`.
    ///
    /// # Errors
    /// When the tensor holds another type.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        T::slice(&self.values).ok_or(TensorError::Type { expected: T::DTYPE, found: self.dtype() })
    }

    /// The values as a slice of `T`, to be changed in place.
    ///
    /// # Errors
    /// When the tensor holds another type.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], TensorError> {
        let found = self.dtype();
        T::slice_mut(&mut self.values).ok_or(TensorError::Type { expected: T::DTYPE, found })
    }

    /// The same values under other dimensions of the same product.
    ///
    /// # Errors
    /// When the values do not fill the dimensions.
    pub fn reshaped(self, dims: Vec<usize>) -> Result<Self, TensorError> {
        Self::new(dims, self.values)
    }

    /// The only row along the first axis, of which it is rid; other tensors are returned as they are.
    #[must_use]
    pub fn without_first_axis(mut self) -> Self {
        if self.dims.first() == Some(&1) {
            self.dims.remove(0);
        }
        self
    }

    /// The tensor as the only row along a first axis of its own.
    #[must_use]
    pub fn with_first_axis(mut self) -> Self {
        self.dims.insert(0, 1);
        self
    }

    /// The values as `f32`: numbers are converted, booleans become 0 and 1.
    ///
    /// # Errors
    /// When the tensor holds strings.
    pub fn to_f32(&self) -> Result<Vec<f32>, TensorError> {
        match &self.values {
            Values::F32(values) => Ok(values.clone()),
            values => values
                .to_f64()
                .map(|values| values.into_iter().map(|value| value as f32).collect())
                .ok_or(TensorError::Type { expected: DType::F32, found: self.dtype() }),
        }
    }

    /// The values as `f64`: numbers are converted, booleans become 0 and 1.
    ///
    /// # Errors
    /// When the tensor holds strings.
    pub fn to_f64(&self) -> Result<Vec<f64>, TensorError> {
        self.values.to_f64().ok_or(TensorError::Type { expected: DType::F64, found: self.dtype() })
    }

    /// The values as `i64`, when the tensor holds integers or booleans.
    ///
    /// # Errors
    /// When the tensor holds floats or strings.
    pub fn to_i64(&self) -> Result<Vec<i64>, TensorError> {
        self.values.to_i64().ok_or(TensorError::Type { expected: DType::I64, found: self.dtype() })
    }

    /// The tensor with its float values converted to `dtype`; other tensors are returned as they are.
    #[must_use]
    pub fn cast_float(self, dtype: DType) -> Self {
        if self.dtype() == dtype || !self.dtype().is_float() {
            return self;
        }
        let values = self.values.cast_float(dtype);
        Self { dims: self.dims, values }
    }

    /// The sub-tensor that keeps, along `axis`, the given indices in the given order.
    ///
    /// # Panics
    /// When `axis` or an index is outside the dimensions: callers hold indices of this very tensor.
    #[must_use]
    pub fn take(&self, axis: usize, indices: &[usize]) -> Self {
        assert!(axis < self.dims.len(), "axis {axis} of a tensor with dimensions {:?}", self.dims);
        let inner: usize = self.dims[axis + 1..].iter().product();
        let outer: usize = self.dims[..axis].iter().product();
        let mut dims = self.dims.clone();
        dims[axis] = indices.len();
        let values = self.values.take_blocks(outer, self.dims[axis], inner, indices);
        Self { dims, values }
    }
}

impl Tensor {
    /// The tensor with `dim` indices along `axis` that holds this one at `indices` and zeros elsewhere: the inverse
    /// of [`Tensor::take`].
    ///
    /// # Panics
    /// When `axis` or an index is outside, or the number of indices is not that of the axis.
    #[must_use]
    pub fn spread(&self, axis: usize, dim: usize, indices: &[usize]) -> Self {
        assert_eq!(self.dims[axis], indices.len(), "indices of axis {axis}");
        // Reading place of each index; those without one read the zeros behind the end.
        let mut places = vec![indices.len(); dim];
        for (place, &index) in indices.iter().enumerate() {
            places[index] = place;
        }
        let inner: usize = self.dims[axis + 1..].iter().product();
        let outer: usize = self.dims[..axis].iter().product();
        let mut dims = self.dims.clone();
        dims[axis] = dim;
        let values = self.values.spread_blocks(outer, indices.len(), inner, &places);
        Self { dims, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_must_fill_the_dimensions() {
        assert!(Tensor::new(vec![2, 3], vec![0_f32; 6]).is_ok());
        assert!(matches!(Tensor::new(vec![2, 3], vec![0_f32; 5]), Err(TensorError::Count { values: 5, .. })));
        assert!(matches!(
            Tensor::new(vec![usize::MAX, 2], vec![0_f32; 5]),
            Err(TensorError::TooLarge { .. })
        ));
    }

    #[test]
    fn take_keeps_the_named_indices_in_order() {
        let tensor = Tensor::new(vec![2, 3], vec![1_i64, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(tensor.take(1, &[2, 0]), Tensor::new(vec![2, 2], vec![3_i64, 1, 6, 4]).unwrap());
        assert_eq!(tensor.take(0, &[1]), Tensor::new(vec![1, 3], vec![4_i64, 5, 6]).unwrap());
    }

    #[test]
    fn spread_is_the_inverse_of_take() {
        let tensor = Tensor::new(vec![2, 2], vec![1_i64, 2, 3, 4]).unwrap();
        let wide = tensor.spread(1, 4, &[1, 3]);
        assert_eq!(wide, Tensor::new(vec![2, 4], vec![0_i64, 1, 0, 2, 0, 3, 0, 4]).unwrap());
        assert_eq!(wide.take(1, &[1, 3]), tensor);
    }

    #[test]
    fn floats_convert_between_their_types() {
        let tensor = Tensor::vector(vec![1.5_f32, -2.0]);
        for dtype in [DType::F16, DType::BF16, DType::F64] {
            let cast = tensor.clone().cast_float(dtype);
            assert_eq!(cast.dtype(), dtype);
            assert_eq!(cast.cast_float(DType::F32), tensor);
        }
    }
}
