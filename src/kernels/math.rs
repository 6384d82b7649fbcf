//! Exponential and error functions in forms that vectorise: no branches and no tables, within a few units of the last
//! place. What rounds to zero or overflows does as in the standard library.

use super::vector::multiply_add;

/// `c[0] + c[1] x + c[2] x^2 + …`
#[inline(always)]
fn polynomial<const FUSED: bool>(coefficients: &[f32], x: f32) -> f32 {
    coefficients.iter().rev().fold(0.0, |sum, &c| multiply_add::<FUSED>(sum, x, c))
}

/// `e^x`.
#[inline(always)]
pub(super) fn exp<const FUSED: bool>(x: f32) -> f32 {
    // e^x = 2^n e^r with |r| up to ln 2 / 2, which a polynomial approximates.
    const LIMITS: (f32, f32) = (-104.0, 89.0);
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    const SMALL: [f32; 7] = [1.0, 1.0, 0.5, 0.166_664_15, 0.041_666_217, 0.008_375_135, 0.001_394_859];
    // Adding and taking away this number rounds to the next integer.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < LIMITS.0 { LIMITS.0 } else { x };
    let x = if x > LIMITS.1 { LIMITS.1 } else { x };
    let shifted = multiply_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add::<FUSED>(n, -LN_2.0, x);
    let r = multiply_add::<FUSED>(n, -LN_2.1, r);
    let small = polynomial::<FUSED>(&SMALL, r);
    // In two steps, since 2^n alone may not be a number.
    let whole = shifted.to_bits().cast_signed().wrapping_sub(ROUND.to_bits().cast_signed());
    let half = whole >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) << 23).cast_unsigned());
    small * power(half) * power(whole.wrapping_sub(half))
}

/// The hyperbolic tangent.
#[inline(always)]
pub(super) fn tanh<const FUSED: bool>(x: f32) -> f32 {
    const SMALL: [f32; 6] = [1.0, -0.333_332_63, 0.133_311_63, -0.053_723_7, 0.020_599_045, -0.005_668_607];
    let size = x.abs();
    let near = x * polynomial::<FUSED>(&SMALL, x * x);
    let far = 1.0 - 2.0 / (exp::<FUSED>(2.0 * size) + 1.0);
    if size < 0.625 { near } else { far.copysign(x) }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid<const FUSED: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FUSED>(-x))
}

/// The error function.
#[inline(always)]
pub(super) fn erf<const FUSED: bool>(x: f32) -> f32 {
    // Polynomials of x^2 whose quotient is erf(x) / x, fitted to its relative error by least squares with weights that
    // grow where the error is largest. From END on the result is 1.
    const ABOVE: [f32; 6] = [
        std::f32::consts::FRAC_2_SQRT_PI,
        0.190_584_54,
        0.052_767_895,
        0.003_772_106,
        2.848_256e-4,
        2.045_994_3e-6,
    ];
    const BELOW: [f32; 6] = [1.0, 0.502_233_86, 0.114_178_75, 0.014_982_312, 0.001_163_735_4, 3.804_649e-5];
    const END: f32 = 3.925;
    let x = if x > END { END } else { x };
    let x = if x < -END { -END } else { x };
    let square = x * x;
    let value = x * polynomial::<FUSED>(&ABOVE, square) / polynomial::<FUSED>(&BELOW, square);
    let value = if value > 1.0 { 1.0 } else { value };
    if value < -1.0 { -1.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_within_a_few_units_of_the_last_place() {
        type Case = (&'static str, fn(f32) -> f32, fn(f64) -> f64);
        let cases: [Case; 3] = [
            ("exp", exp::<true>, f64::exp),
            ("tanh", tanh::<false>, f64::tanh),
            ("sigmoid", sigmoid::<true>, |x| 1.0 / (1.0 + (-x).exp())),
        ];
        for (name, own, exact) in cases {
            for place in -80_000..80_000 {
                let x = place as f32 * 1e-3;
                let (found, expected) = (f64::from(own(x)), exact(f64::from(x)));
                assert!((found - expected).abs() <= 6e-7 * expected.abs() + 1e-38, "{name}({x}) = {found}");
            }
        }
        assert_eq!(exp::<true>(100.0), f32::INFINITY);
        assert_eq!(exp::<true>(-200.0), 0.0);
        assert!(
            exp::<true>(f32::NAN).is_nan()
                && tanh::<true>(f32::NAN).is_nan()
                && erf::<true>(f32::NAN).is_nan()
        );
        assert_eq!(
            [tanh::<true>(50.0), tanh::<true>(-50.0), erf::<true>(9.0), erf::<true>(-9.0)],
            [1.0, -1.0, 1.0, -1.0]
        );
    }

    #[test]
    fn the_error_function_follows_its_series() {
        for place in -4200..4200 {
            let x = place as f32 * 1e-3;
            let y = f64::from(x);
            // 2 / sqrt(pi) * sum of (-1)^n x^(2n + 1) / (n! (2n + 1)).
            let (mut term, mut sum) = (y, y);
            for n in 1..120 {
                term *= -y * y / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            let expected = sum * std::f64::consts::FRAC_2_SQRT_PI;
            for own in [erf::<true>, erf::<false>] {
                assert!((f64::from(own(x)) - expected).abs() <= 5e-7 * expected.abs(), "erf({x})");
            }
        }
    }
}
