use super::*;
use crate::kernels::OneThread;

/// What the specification says, tap by tap.
fn plain(shape: &Shape, x: &[f32], w: &[f32], dy: &[f32]) -> [Vec<f64>; 3] {
    let [vertical, horizontal] = &shape.axes;
    let mut y = vec![0.0; shape.y_len()];
    let mut dx = vec![0.0; x.len()];
    let mut dw = vec![0.0; w.len()];
    let seen = |axis: &Axis, window: usize, tap: usize| {
        (window * axis.stride + tap * axis.dilation).checked_sub(axis.before).filter(|&at| at < axis.input)
    };
    for (place, y) in y.iter_mut().enumerate() {
        let (plane, window) = (place / shape.output(), place % shape.output());
        let row = plane % (shape.channels * shape.multiplier);
        for tap in 0..shape.taps() {
            let above = seen(vertical, window / horizontal.output, tap / horizontal.kernel);
            let left = seen(horizontal, window % horizontal.output, tap % horizontal.kernel);
            if let (Some(above), Some(left)) = (above, left) {
                let from = plane / shape.multiplier * shape.input() + above * horizontal.input + left;
                let factor = row * shape.taps() + tap;
                *y += f64::from(x[from]) * f64::from(w[factor]);
                dx[from] += f64::from(dy[place]) * f64::from(w[factor]);
                dw[factor] += f64::from(dy[place]) * f64::from(x[from]);
            }
        }
    }
    [y, dx, dw]
}

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.below(2001) as f32 / 1000.0 - 1.0).collect()
    }

    fn axis(&mut self) -> Axis {
        loop {
            let (kernel, stride, dilation) = (1 + self.below(5), 1 + self.below(3), 1 + self.below(2));
            let (before, behind, input) = (self.below(4), self.below(4), 1 + self.below(20));
            let extent = (kernel - 1) * dilation + 1;
            if let Some(room) = (before + input + behind).checked_sub(extent) {
                return Axis { kernel, stride, dilation, before, input, output: room / stride + 1 };
            }
        }
    }
}

fn close(found: &[f32], expected: &[f64]) -> bool {
    let scale = expected.iter().fold(1.0_f64, |scale, value| scale.max(value.abs()));
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() <= 1e-5 * scale)
}

#[test]
fn all_windows_strides_dilations_and_pads() {
    let mut numbers = Numbers(7);
    for case in 0..400 {
        let axes =
            if case % 5 == 0 { [Axis::NONE, numbers.axis()] } else { [numbers.axis(), numbers.axis()] };
        let shape = Shape {
            images: 1 + numbers.below(3),
            channels: 1 + numbers.below(6),
            multiplier: 1 + case % 4 / 3,
            axes,
        };
        let [x, w, dy] = [shape.x_len(), shape.w_len(), shape.y_len()].map(|count| numbers.floats(count));
        let bias = numbers.floats(shape.channels * shape.multiplier);
        let [y, dx, dw] = plain(&shape, &x, &w, &dy);
        let mut found = vec![f32::NAN; y.len()];
        forward(&shape, &x, &w, None, &mut found, &OneThread).unwrap();
        assert!(close(&found, &y), "{shape:?}");
        let mut shifted = vec![f32::NAN; y.len()];
        forward(&shape, &x, &w, Some(&bias), &mut shifted, &OneThread).unwrap();
        for (place, (shifted, y)) in shifted.iter().zip(&found).enumerate() {
            assert!((shifted - y - bias[place / shape.output() % bias.len()]).abs() < 1e-5, "{shape:?}");
        }
        let (mut found_dx, mut found_dw) = (vec![f32::NAN; dx.len()], vec![f32::NAN; dw.len()]);
        gradient(&shape, [&x, &w, &dy], Some(&mut found_dx), Some(&mut found_dw), &OneThread).unwrap();
        assert!(close(&found_dx, &dx) && close(&found_dw, &dw), "{shape:?}");
        let mut alone = vec![f32::NAN; dw.len()];
        gradient(&shape, [&x, &w, &dy], None, Some(&mut alone), &OneThread).unwrap();
        assert_eq!(alone, found_dw, "{shape:?}");
        let mut alone = vec![f32::NAN; dx.len()];
        gradient(&shape, [&x, &w, &dy], Some(&mut alone), None, &OneThread).unwrap();
        assert_eq!(alone, found_dx, "{shape:?}");
    }
}

#[test]
fn operands_that_do_not_fit_are_told() {
    let axis = Axis { kernel: 3, stride: 1, dilation: 1, before: 1, input: 4, output: 4 };
    let shape = Shape { images: 1, channels: 2, multiplier: 1, axes: [axis; 2] };
    let mut y = vec![0.0; 32];
    let short = forward(&shape, &[0.0; 31], &[0.0; 18], None, &mut y, &OneThread);
    assert_eq!(short, Err(KernelError::Length { operand: "x", found: 31, expected: 32 }));
    let bias = forward(&shape, &[0.0; 32], &[0.0; 18], Some(&[0.0]), &mut y, &OneThread);
    assert_eq!(bias, Err(KernelError::Length { operand: "bias", found: 1, expected: 2 }));
}
