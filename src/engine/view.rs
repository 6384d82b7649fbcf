//! Borrowed tensors: dimensions over a slice that somebody else owns.

use half::{bf16, f16};

use crate::tensor::{DType, Tensor, TensorError, Values, checked_count};

macro_rules! slices {
    ($($variant:ident($type:ty)),+ $(,)?) => {
        /// Borrowed values, one variant for each element type.
        #[derive(Debug, Clone, Copy)]
        pub enum Slice<'a> {
            $(#[doc = concat!("Values of `", stringify!($type), "`.")] $variant(&'a [$type]),)+
        }

        /// Mutably borrowed values, one variant for each element type.
        #[derive(Debug)]
        pub enum SliceMut<'a> {
            $(#[doc = concat!("Values of `", stringify!($type), "`.")] $variant(&'a mut [$type]),)+
        }

        impl Slice<'_> {
            /// The number of values.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(values) => values.len(),)+ }
            }

            /// The element type.
            pub fn dtype(&self) -> DType {
                match self { $(Self::$variant(_) => DType::$variant,)+ }
            }

            /// The address of the first value and the size of all in bytes.
            pub(super) fn raw(&self) -> (*const u8, usize) {
                match self { $(Self::$variant(values) => (values.as_ptr().cast(), size_of_val(*values)),)+ }
            }
        }

        impl<'a> SliceMut<'a> {
            /// The values, to be read.
            pub fn as_slice(&self) -> Slice<'_> {
                match self { $(Self::$variant(values) => Slice::$variant(values),)+ }
            }

            /// The same values, borrowed for a shorter time.
            pub fn reborrow(&mut self) -> SliceMut<'_> {
                match self { $(Self::$variant(values) => SliceMut::$variant(values),)+ }
            }

            /// The address of the first value and the size of all in bytes.
            pub(super) fn raw(&mut self) -> (*mut u8, usize) {
                match self { $(Self::$variant(values) => (values.as_mut_ptr().cast(), size_of_val(*values)),)+ }
            }

            /// Copies `values` in; false when their type or number is another.
            pub(super) fn fill(&mut self, values: Slice<'_>) -> bool {
                match (self, values) {
                    $((Self::$variant(to), Slice::$variant(from)) if to.len() == from.len() => {
                        to.clone_from_slice(from);
                        true
                    })+
                    _ => false,
                }
            }
        }

        impl<'a> From<&'a Values> for Slice<'a> {
            fn from(values: &'a Values) -> Self {
                match values { $(Values::$variant(values) => Self::$variant(values),)+ }
            }
        }

        impl<'a> From<&'a mut Values> for SliceMut<'a> {
            fn from(values: &'a mut Values) -> Self {
                match values { $(Values::$variant(values) => Self::$variant(values),)+ }
            }
        }

        impl From<Slice<'_>> for Values {
            fn from(values: Slice<'_>) -> Self {
                match values { $(Slice::$variant(values) => Self::$variant(values.to_vec()),)+ }
            }
        }

        $(impl<'a> From<&'a [$type]> for Slice<'a> {
            fn from(values: &'a [$type]) -> Self {
                Self::$variant(values)
            }
        }

        impl<'a> From<&'a mut [$type]> for SliceMut<'a> {
            fn from(values: &'a mut [$type]) -> Self {
                Self::$variant(values)
            }
        })+
    };
}

slices! {
    F32(f32), F64(f64), F16(f16), BF16(bf16),
    I8(i8), I16(i16), I32(i32), I64(i64),
    U8(u8), U16(u16), U32(u32), U64(u64),
    Bool(bool), String(String),
}

impl<'a> Slice<'a> {
    /// Real numbers over little-endian bytes where they lie; nothing for other types, where the bytes are not aligned
    /// to the type, or where the machine reads numbers the other way round.
    pub fn from_stored(dtype: DType, bytes: &'a [u8]) -> Option<Self> {
        if cfg!(target_endian = "big") {
            return None;
        }
        match dtype {
            DType::F32 => bytemuck::try_cast_slice(bytes).ok().map(Slice::F32),
            DType::F64 => bytemuck::try_cast_slice(bytes).ok().map(Slice::F64),
            DType::F16 => bytemuck::try_cast_slice(bytes).ok().map(Slice::F16),
            DType::BF16 => bytemuck::try_cast_slice(bytes).ok().map(Slice::BF16),
            _ => None,
        }
    }

    /// Whether there is no value at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn check(dims: &[usize], values: usize) -> Result<(), TensorError> {
    match checked_count(dims) {
        None => Err(TensorError::TooLarge { dims: dims.to_vec() }),
        Some(count) if count != values => Err(TensorError::Count { values, dims: dims.to_vec() }),
        Some(_) => Ok(()),
    }
}

/// A borrowed tensor. The values fill the dimensions, in row-major order.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    dims: &'a [usize],
    values: Slice<'a>,
}

impl<'a> View<'a> {
    /// A view of `dims` over `values`.
    ///
    /// # Errors
    /// When the values do not fill the dimensions.
    pub fn new(dims: &'a [usize], values: impl Into<Slice<'a>>) -> Result<Self, TensorError> {
        let values = values.into();
        check(dims, values.len())?;
        Ok(Self { dims, values })
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &'a [usize] {
        self.dims
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.values.dtype()
    }

    /// The values in row-major order.
    pub fn values(&self) -> Slice<'a> {
        self.values
    }
}

impl<'a> From<&'a Tensor> for View<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self { dims: tensor.dims(), values: tensor.values().into() }
    }
}

/// A mutably borrowed tensor. The values fill the dimensions, in row-major order.
#[derive(Debug)]
pub struct ViewMut<'a> {
    dims: &'a [usize],
    values: SliceMut<'a>,
}

impl<'a> ViewMut<'a> {
    /// A view of `dims` over `values`.
    ///
    /// # Errors
    /// When the values do not fill the dimensions.
    pub fn new(dims: &'a [usize], values: impl Into<SliceMut<'a>>) -> Result<Self, TensorError> {
        let values = values.into();
        check(dims, values.as_slice().len())?;
        Ok(Self { dims, values })
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &'a [usize] {
        self.dims
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.values.as_slice().dtype()
    }

    /// The values in row-major order, to be changed.
    pub fn values_mut(&mut self) -> &mut SliceMut<'a> {
        &mut self.values
    }

    /// The same view, borrowed for a shorter time.
    pub fn reborrow(&mut self) -> ViewMut<'_> {
        ViewMut { dims: self.dims, values: self.values.reborrow() }
    }
}

impl<'a> From<&'a mut Tensor> for ViewMut<'a> {
    fn from(tensor: &'a mut Tensor) -> Self {
        let (dims, values) = tensor.parts_mut();
        Self { dims, values: values.into() }
    }
}
