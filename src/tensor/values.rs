//! Typed values in row-major order.

use half::{bf16, f16};

use super::DType;

/// A type that a tensor can hold.
pub trait Element: Clone + 'static {
    /// The element type.
    const DTYPE: DType;
    /// Puts values into the sum type.
    fn wrap(values: Vec<Self>) -> Values;
    /// The values, if they are of this type.
    fn slice(values: &Values) -> Option<&[Self]>;
    /// The values, to be changed in place, if they are of this type.
    fn slice_mut(values: &mut Values) -> Option<&mut [Self]>;
}

macro_rules! values {
    ($($variant:ident($type:ty) = $zero:expr),+ $(,)?) => {
        /// The values of a tensor, one variant for each element type.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Values {
            $(#[doc = concat!("Values of type `", stringify!($type), "`.")] $variant(Vec<$type>),)+
        }

        impl Values {
            /// `count` zeros (false, or empty strings).
            pub fn zeros(dtype: DType, count: usize) -> Self {
                match dtype { $(DType::$variant => Self::$variant(vec![$zero; count]),)+ }
            }

            /// The number of values.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(values) => values.len(),)+ }
            }

            /// Whether there is no value.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The element type.
            pub fn dtype(&self) -> DType {
                match self { $(Self::$variant(_) => DType::$variant,)+ }
            }

            /// Of `outer` runs of `count` blocks of `inner` values, the blocks at `indices` of each run.
            pub(super) fn take_blocks(&self, outer: usize, count: usize, inner: usize, indices: &[usize]) -> Self {
                match self { $(Self::$variant(values) => {
                    let mut taken = Vec::with_capacity(outer * indices.len() * inner);
                    for run in 0..outer {
                        for &index in indices {
                            let start = (run * count + index) * inner;
                            taken.extend_from_slice(&values[start..start + inner]);
                        }
                    }
                    Self::$variant(taken)
                })+ }
            }
        }

        impl Values {
            /// Of `outer` runs of `count` blocks of `inner` values, the blocks at `places` of each run; zeros for
            /// the place `count`.
            pub(super) fn spread_blocks(&self, outer: usize, count: usize, inner: usize, places: &[usize]) -> Self {
                match self { $(Self::$variant(values) => {
                    let mut spread: Vec<$type> = Vec::with_capacity(outer * places.len() * inner);
                    for run in 0..outer {
                        for &place in places {
                            if place == count {
                                spread.extend(std::iter::repeat_n($zero, inner));
                            } else {
                                let start = (run * count + place) * inner;
                                spread.extend_from_slice(&values[start..start + inner]);
                            }
                        }
                    }
                    Self::$variant(spread)
                })+ }
            }
        }

        $(impl Element for $type {
            const DTYPE: DType = DType::$variant;
            fn wrap(values: Vec<Self>) -> Values {
                Values::$variant(values)
            }
            fn slice(values: &Values) -> Option<&[Self]> {
                match values { Values::$variant(values) => Some(values), _ => None }
            }
            fn slice_mut(values: &mut Values) -> Option<&mut [Self]> {
                match values { Values::$variant(values) => Some(values), _ => None }
            }
        }

        impl From<Vec<$type>> for Values {
            fn from(values: Vec<$type>) -> Self {
                Self::$variant(values)
            }
        })+
    };
}

values! {
    F32(f32) = 0.0,
    F64(f64) = 0.0,
    F16(f16) = f16::ZERO,
    BF16(bf16) = bf16::ZERO,
    I8(i8) = 0,
    I16(i16) = 0,
    I32(i32) = 0,
    I64(i64) = 0,
    U8(u8) = 0,
    U16(u16) = 0,
    U32(u32) = 0,
    U64(u64) = 0,
    Bool(bool) = false,
    String(String) = String::new(),
}

fn collect<T: Copy, U>(values: &[T], convert: impl Fn(T) -> U) -> Vec<U> {
    values.iter().copied().map(convert).collect()
}

impl Values {
    /// The values as `f64`, unless they are strings.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        Some(match self {
            Self::F32(values) => collect(values, f64::from),
            Self::F64(values) => values.clone(),
            Self::F16(values) => collect(values, f64::from),
            Self::BF16(values) => collect(values, f64::from),
            Self::I8(values) => collect(values, f64::from),
            Self::I16(values) => collect(values, f64::from),
            Self::I32(values) => collect(values, f64::from),
            Self::I64(values) => collect(values, |value| value as f64),
            Self::U8(values) => collect(values, f64::from),
            Self::U16(values) => collect(values, f64::from),
            Self::U32(values) => collect(values, f64::from),
            Self::U64(values) => collect(values, |value| value as f64),
            Self::Bool(values) => collect(values, f64::from),
            Self::String(_) => return None,
        })
    }

    /// The values as they lie in memory, unless they are strings.
    pub fn bytes(&self) -> Option<&[u8]> {
        Some(match self {
            Self::F32(values) => bytemuck::cast_slice(values),
            Self::F64(values) => bytemuck::cast_slice(values),
            Self::F16(values) => bytemuck::cast_slice(values),
            Self::BF16(values) => bytemuck::cast_slice(values),
            Self::I8(values) => bytemuck::cast_slice(values),
            Self::I16(values) => bytemuck::cast_slice(values),
            Self::I32(values) => bytemuck::cast_slice(values),
            Self::I64(values) => bytemuck::cast_slice(values),
            Self::U8(values) => values,
            Self::U16(values) => bytemuck::cast_slice(values),
            Self::U32(values) => bytemuck::cast_slice(values),
            Self::U64(values) => bytemuck::cast_slice(values),
            Self::Bool(values) => bytemuck::cast_slice(values),
            Self::String(_) => return None,
        })
    }

    /// The values as `i64`, if they are integers or booleans. Unsigned values past `i64::MAX` wrap.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        Some(match self {
            Self::I8(values) => collect(values, i64::from),
            Self::I16(values) => collect(values, i64::from),
            Self::I32(values) => collect(values, i64::from),
            Self::I64(values) => values.clone(),
            Self::U8(values) => collect(values, i64::from),
            Self::U16(values) => collect(values, i64::from),
            Self::U32(values) => collect(values, i64::from),
            Self::U64(values) => collect(values, |value| value as i64),
            Self::Bool(values) => collect(values, i64::from),
            Self::F32(_) | Self::F64(_) | Self::F16(_) | Self::BF16(_) | Self::String(_) => return None,
        })
    }

    /// Float values converted to the float type `dtype`; other values as they are.
    pub(super) fn cast_float(self, dtype: DType) -> Self {
        let wide = match &self {
            Self::F32(_) | Self::F64(_) | Self::F16(_) | Self::BF16(_) => self.to_f64(),
            _ => None,
        };
        match (wide, dtype) {
            (Some(wide), DType::F32) => Self::F32(wide.into_iter().map(|value| value as f32).collect()),
            (Some(wide), DType::F64) => Self::F64(wide),
            (Some(wide), DType::F16) => Self::F16(wide.into_iter().map(f16::from_f64).collect()),
            (Some(wide), DType::BF16) => Self::BF16(wide.into_iter().map(bf16::from_f64).collect()),
            _ => self,
        }
    }
}
