//! The float types that the optimiser computes in.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Sub, SubAssign};

use crate::tensor::Element;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `f32` or `f64`: the type of parameters, gradients and state. Norms and schedules are always `f64`.
pub trait Scalar:
    sealed::Sealed
    + Element
    + Copy
    + Debug
    + Default
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + SubAssign
{
    /// Zero.
    const ZERO: Self;
    /// How many low bits of [`Scalar::magnitude_key`] carry information.
    const KEY_BITS: u32;
    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;
    /// The value in double precision.
    fn to_f64(self) -> f64;
    /// The absolute value.
    #[must_use]
    fn magnitude(self) -> Self;
    /// The square root.
    #[must_use]
    fn root(self) -> Self;
    /// A number that orders magnitudes as the values themselves do; NaN lies above infinity.
    fn magnitude_key(self) -> u64;
}

macro_rules! scalar {
    ($type:ty, $bits:literal) => {
        impl Scalar for $type {
            const ZERO: Self = 0.0;
            const KEY_BITS: u32 = $bits;
            #[inline]
            fn from_f64(value: f64) -> Self {
                value as $type
            }
            #[inline]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline]
            fn magnitude(self) -> Self {
                self.abs()
            }
            #[inline]
            fn root(self) -> Self {
                self.sqrt()
            }
            #[inline]
            fn magnitude_key(self) -> u64 {
                u64::from(self.abs().to_bits())
            }
        }
    };
}

scalar!(f32, 32);
scalar!(f64, 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_magnitudes() {
        let rising =
            [0.0_f32, f32::MIN_POSITIVE / 4.0, 1e-30, 0.5, 1.0, 1.5, f32::MAX, f32::INFINITY, f32::NAN];
        for pair in rising.windows(2) {
            assert!(pair[0].magnitude_key() < (-pair[1]).magnitude_key(), "{pair:?}");
            assert!(f64::from(pair[0]).magnitude_key() < f64::from(pair[1]).magnitude_key(), "{pair:?}");
        }
        assert_eq!((-0.0_f64).magnitude_key(), 0);
    }
}
