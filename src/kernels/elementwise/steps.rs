//! One instruction on one block.

use super::Code;
use crate::kernels::math;
use crate::kernels::vector::LANES;

#[inline(always)]
pub(super) fn total(values: &[f32]) -> f32 {
    let (vectors, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for vector in vectors {
        for lane in 0..LANES {
            lanes[lane] += vector[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

#[inline(always)]
fn map(x: &[f32], target: &mut [f32], f: impl Fn(f32) -> f32) {
    target.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x));
}

#[inline(always)]
fn join(a: &[f32], b: &[f32], target: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    target.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = f(*a, *b));
}

#[inline(always)]
pub(super) fn step<'b, const FUSED: bool>(code: Code, operand: impl Fn(usize) -> &'b [f32], y: &mut [f32]) {
    let one = |truth: bool| if truth { 1.0 } else { 0.0 };
    let x = operand(0);
    match code {
        Code::Add => join(x, operand(1), y, |a, b| a + b),
        Code::Sub => join(x, operand(1), y, |a, b| a - b),
        Code::Mul => join(x, operand(1), y, |a, b| a * b),
        Code::Div => join(x, operand(1), y, |a, b| a / b),
        // What is no number stays none.
        Code::Max => join(x, operand(1), y, |a, b| if a > b || a.is_nan() { a } else { b }),
        Code::Min => join(x, operand(1), y, |a, b| if a < b || a.is_nan() { a } else { b }),
        Code::Greater => join(x, operand(1), y, |a, b| one(a > b)),
        Code::Less => join(x, operand(1), y, |a, b| one(a < b)),
        Code::Equal => join(x, operand(1), y, |a, b| one(a == b)),
        Code::Where => {
            let (a, b) = (operand(1), operand(2));
            for (((y, x), a), b) in y.iter_mut().zip(x).zip(a).zip(b) {
                *y = if *x == 0.0 { *b } else { *a };
            }
        }
        Code::Identity => y.copy_from_slice(x),
        Code::Neg => map(x, y, |x| -x),
        Code::Abs => map(x, y, f32::abs),
        Code::Sqrt => map(x, y, f32::sqrt),
        Code::Reciprocal => map(x, y, |x| 1.0 / x),
        Code::Relu => map(x, y, |x| if x < 0.0 { 0.0 } else { x }),
        Code::Not => map(x, y, |x| 1.0 - x),
        Code::Exp => map(x, y, math::exp::<FUSED>),
        Code::Tanh => map(x, y, math::tanh::<FUSED>),
        Code::Sigmoid => map(x, y, math::sigmoid::<FUSED>),
        Code::Erf => map(x, y, math::erf::<FUSED>),
    }
}
