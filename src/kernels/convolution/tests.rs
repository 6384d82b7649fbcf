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
        let (image, row) = (plane / (shape.groups * shape.rows), plane % (shape.groups * shape.rows));
        let group = row / shape.rows;
        for (channel, tap) in (0..shape.columns).flat_map(|c| (0..shape.taps()).map(move |tap| (c, tap))) {
            let above = seen(vertical, window / horizontal.output, tap / horizontal.kernel);
            let left = seen(horizontal, window % horizontal.output, tap % horizontal.kernel);
            if let (Some(above), Some(left)) = (above, left) {
                let from = (image * shape.groups + group) * shape.columns + channel;
                let from = from * shape.input() + above * horizontal.input + left;
                let factor = (row * shape.columns + channel) * shape.taps() + tap;
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

/// Both directions for random windows, with threads that take tasks in any order.
fn check(shape: &Shape, numbers: &mut Numbers) {
    let [x, w, dy] = [shape.x_len(), shape.w_len(), shape.y_len()].map(|count| numbers.floats(count));
    let bias = numbers.floats(shape.groups * shape.rows);
    let [y, dx, dw] = plain(shape, &x, &w, &dy);
    let mut found = vec![f32::NAN; y.len()];
    forward(shape, &x, &w, None, &mut found, &OneThread).unwrap();
    assert!(close(&found, &y), "y {shape:?}");
    let mut shifted = vec![f32::NAN; y.len()];
    forward(shape, &x, &w, Some(&bias), &mut shifted, &Backwards).unwrap();
    for (place, (shifted, y)) in shifted.iter().zip(&found).enumerate() {
        assert!((shifted - y - bias[place / shape.output() % bias.len()]).abs() < 2e-5, "bias {shape:?}");
    }
    let (mut found_dx, mut found_dw) = (vec![f32::NAN; dx.len()], vec![f32::NAN; dw.len()]);
    gradient(shape, [&x, &w, &dy], Some(&mut found_dx), Some(&mut found_dw), &OneThread).unwrap();
    assert!(close(&found_dx, &dx), "dx {shape:?}");
    assert!(close(&found_dw, &dw), "dw {shape:?}");
    let mut alone = vec![f32::NAN; dw.len()];
    gradient(shape, [&x, &w, &dy], None, Some(&mut alone), &Backwards).unwrap();
    assert_eq!(alone, found_dw, "{shape:?}");
    let mut alone = vec![f32::NAN; dx.len()];
    gradient(shape, [&x, &w, &dy], Some(&mut alone), None, &Backwards).unwrap();
    assert_eq!(alone, found_dx, "{shape:?}");
}

struct Backwards;

impl Threads for Backwards {
    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        (0..count).rev().for_each(work);
    }
}

#[test]
fn all_windows_strides_dilations_and_pads_of_depthwise_convolutions() {
    let mut numbers = Numbers(7);
    for case in 0..400 {
        let axes =
            if case % 5 == 0 { [Axis::NONE, numbers.axis()] } else { [numbers.axis(), numbers.axis()] };
        let (images, groups) = (1 + numbers.below(3), 1 + numbers.below(6));
        check(&Shape { images, groups, columns: 1, rows: 1 + case % 4 / 3, axes }, &mut numbers);
    }
}

#[test]
fn all_windows_strides_dilations_and_pads_of_dense_convolutions() {
    let mut numbers = Numbers(9);
    for case in 0..400 {
        let mut axes =
            if case % 5 == 0 { [Axis::NONE, numbers.axis()] } else { [numbers.axis(), numbers.axis()] };
        if case % 7 == 0 {
            // One tap, which sees everything.
            axes = axes.map(|axis| Axis { output: axis.input, input: axis.input, ..Axis::NONE });
        }
        let images = 1 + numbers.below(5);
        let groups = 1 + case % 3 / 2;
        let (columns, rows) = (1 + numbers.below(20), 1 + numbers.below(70));
        check(&Shape { images, groups, columns, rows, axes }, &mut numbers);
    }
}

#[test]
fn large_images_and_large_weights() {
    let mut numbers = Numbers(11);
    let axis = |kernel: usize, stride: usize, input: usize| {
        let before = kernel / 2;
        Axis {
            kernel,
            stride,
            dilation: 1,
            before,
            input,
            output: (input + 2 * before - kernel) / stride + 1,
        }
    };
    let shape = |images, columns, rows, axes| Shape { images, groups: 1, columns, rows, axes };
    check(&shape(1, 3, 10, [axis(3, 1, 67), axis(3, 2, 71)]), &mut numbers);
    check(&shape(2, 3, 5, [axis(1, 1, 61), axis(1, 1, 53)]), &mut numbers);
    check(&shape(3, 150, 130, [axis(3, 1, 3), axis(3, 1, 2)]), &mut numbers);
    check(&shape(9, 40, 33, [axis(3, 2, 9), axis(3, 2, 9)]), &mut numbers);
    check(&shape(70, 17, 16, [axis(3, 1, 8), axis(1, 1, 8)]), &mut numbers);
    check(&shape(3, 260, 3, [axis(1, 1, 3), axis(1, 1, 3)]), &mut numbers);
    check(&shape(2, 8, 300, [axis(1, 2, 9), axis(1, 2, 8)]), &mut numbers);
}

#[test]
fn operands_that_do_not_fit_are_told() {
    let axis = Axis { kernel: 3, stride: 1, dilation: 1, before: 1, input: 4, output: 4 };
    let shape = Shape { images: 1, groups: 2, columns: 1, rows: 1, axes: [axis; 2] };
    let mut y = vec![0.0; 32];
    let short = forward(&shape, &[0.0; 31], &[0.0; 18], None, &mut y, &OneThread);
    assert_eq!(short, Err(KernelError::Length { operand: "x", found: 31, expected: 32 }));
    let bias = forward(&shape, &[0.0; 32], &[0.0; 18], Some(&[0.0]), &mut y, &OneThread);
    assert_eq!(bias, Err(KernelError::Length { operand: "bias", found: 1, expected: 2 }));
}
