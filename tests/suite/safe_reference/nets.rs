//! The three tiny nets of the reference, with gradients written out by hand.

use safe_onnx::safe::Scalar;

use super::archive::Archive;

/// A net by its shape; parameters come in the order of [`Net::parameters`].
pub(crate) enum Net {
    /// Linear 8-16-16-4 with `ReLU`.
    Mlp,
    /// Two convolutions, global average, linear; with frozen running statistics in place of biases if given.
    Cnn(Option<[Running; 2]>),
}

/// Mean and variance of a frozen `BatchNormalization`.
pub(crate) struct Running {
    mean: Vec<f64>,
    variance: Vec<f64>,
}

/// What the loss compares with.
pub(crate) enum Target<'a> {
    /// Cross-entropy against classes.
    Classes(&'a [usize]),
    /// Mean squared error against values.
    Values(&'a [f64]),
}

/// Loss, and the gradient of each parameter.
pub(crate) type Evaluation<T> = (f64, Vec<Vec<T>>);

/// What gives the loss, and its gradient by each parameter in the order of [`Net::parameters`].
pub(crate) trait Gradients<T> {
    /// At the parameters `p`, over the samples `x`.
    fn evaluate(&mut self, p: &[&[T]], x: &[f64], target: &Target<'_>) -> Evaluation<T>;
}

impl Net {
    /// The parameters of the net `name`.
    pub(crate) fn named_parameters(name: &str) -> &'static [&'static str] {
        match name {
            "mlp" => &["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "fc3.weight", "fc3.bias"],
            "cnn" => &["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc.weight", "fc.bias"],
            "cnnbn" => &[
                "conv1.weight",
                "bn1.weight",
                "bn1.bias",
                "conv2.weight",
                "bn2.weight",
                "bn2.bias",
                "fc.weight",
                "fc.bias",
            ],
            other => panic!("no net is named {other}"),
        }
    }

    pub(crate) fn named(name: &str, nets: &Archive) -> Self {
        let running = |layer: &str| Running {
            mean: nets.f64(&format!("{layer}.running_mean")),
            variance: nets.f64(&format!("{layer}.running_var")),
        };
        match name {
            "mlp" => Self::Mlp,
            "cnn" => Self::Cnn(None),
            "cnnbn" => Self::Cnn(Some([running("bn1"), running("bn2")])),
            other => panic!("no net is named {other}"),
        }
    }

    pub(crate) fn parameters(&self) -> &'static [&'static str] {
        Self::named_parameters(match self {
            Self::Mlp => "mlp",
            Self::Cnn(None) => "cnn",
            Self::Cnn(Some(_)) => "cnnbn",
        })
    }
}

impl<T: Scalar> Gradients<T> for Net {
    fn evaluate(&mut self, p: &[&[T]], x: &[f64], target: &Target<'_>) -> Evaluation<T> {
        let x: Vec<T> = x.iter().map(|&x| T::from_f64(x)).collect();
        match self {
            Self::Mlp => {
                let [a, b, logits] = mlp(&x, p);
                let (loss, out) = loss(&logits, p[5].len(), target);
                let (gw3, gb3, gb) = linear_backward(&b, p[4], &out, p[5].len());
                let gb = relu_backward(gb, &b);
                let (gw2, gb2, ga) = linear_backward(&a, p[2], &gb, p[3].len());
                let ga = relu_backward(ga, &a);
                let (gw1, gb1, _) = linear_backward(&x, p[0], &ga, p[1].len());
                (loss, vec![gw1, gb1, gw2, gb2, gw3, gb3])
            }
            Self::Cnn(running) => {
                let images = x.len() / 64;
                let first = Conv { images, channels: 1, out: 4, size: 8, stride: 1 };
                let second = Conv { images, channels: 4, out: 8, size: 8, stride: 2 };
                let own = if running.is_some() { 3 } else { 2 };
                let norms = [0, 1].map(|layer| running.as_ref().map(|running| &running[layer]));
                let (w1, w2, fc) = (p[0], p[own], &p[2 * own..]);
                let conv1 = first.forward(&x, w1);
                let a = relu(affine(&conv1, &p[1..own], norms[0], 64));
                let conv2 = second.forward(&a, w2);
                let b = relu(affine(&conv2, &p[own + 1..2 * own], norms[1], 16));
                let pooled: Vec<T> =
                    b.chunks(16).map(|c| sum(c.iter().copied()) / T::from_f64(16.0)).collect();
                let (loss, out) = loss(&linear(&pooled, fc[0], fc[1]), 4, target);
                let (gfc, gfcb, gpooled) = linear_backward(&pooled, fc[0], &out, 4);
                let spread = gpooled.iter().flat_map(|&g| [g / T::from_f64(16.0); 16]).collect();
                let (gc2, mut gn2) =
                    affine_backward(relu_backward(spread, &b), &conv2, &p[own + 1..2 * own], norms[1], 16);
                let (gw2, ga) = second.backward(&a, w2, &gc2);
                let (gc1, mut gn1) = affine_backward(relu_backward(ga, &a), &conv1, &p[1..own], norms[0], 64);
                let (gw1, _) = first.backward(&x, w1, &gc1);
                let mut grads = vec![gw1];
                grads.append(&mut gn1);
                grads.push(gw2);
                grads.append(&mut gn2);
                grads.extend([gfc, gfcb]);
                (loss, grads)
            }
        }
    }
}

/// The two hidden layers and the output of the linear net.
pub(crate) fn mlp<T: Scalar>(x: &[T], p: &[&[T]]) -> [Vec<T>; 3] {
    let a = relu(linear(x, p[0], p[1]));
    let b = relu(linear(&a, p[2], p[3]));
    let logits = linear(&b, p[4], p[5]);
    [a, b, logits]
}

fn sum<T: Scalar>(values: impl Iterator<Item = T>) -> T {
    values.fold(T::ZERO, |sum, value| sum + value)
}

fn relu<T: Scalar>(mut values: Vec<T>) -> Vec<T> {
    values.iter_mut().filter(|value| **value < T::ZERO).for_each(|value| *value = T::ZERO);
    values
}

fn relu_backward<T: Scalar>(mut grad: Vec<T>, result: &[T]) -> Vec<T> {
    grad.iter_mut()
        .zip(result)
        .filter(|(_, result)| **result <= T::ZERO)
        .for_each(|(grad, _)| *grad = T::ZERO);
    grad
}

/// `x [N, I]`, `w [O, I]`, `b [O]` to `[N, O]`.
fn linear<T: Scalar>(x: &[T], w: &[T], b: &[T]) -> Vec<T> {
    let inputs = w.len() / b.len();
    let rows = x.chunks(inputs);
    let row = |x: &[T]| -> Vec<T> {
        let dot = |w: &[T]| sum(x.iter().zip(w).map(|(&x, &w)| x * w));
        w.chunks(inputs).zip(b).map(|(w, &b)| dot(w) + b).collect()
    };
    rows.flat_map(row).collect()
}

/// Gradients of `w`, `b` and `x`. Sums over the batch run in double precision, so that single precision sees the
/// rounding of the optimiser and not that of a naive sum.
fn linear_backward<T: Scalar>(x: &[T], w: &[T], grad: &[T], outputs: usize) -> (Vec<T>, Vec<T>, Vec<T>) {
    let inputs = w.len() / outputs;
    let (mut gw, mut gb, mut gx) = (vec![0.0; w.len()], vec![0.0; outputs], vec![0.0; x.len()]);
    for (n, grad) in grad.chunks(outputs).enumerate() {
        for (o, g) in grad.iter().map(|g| g.to_f64()).enumerate() {
            gb[o] += g;
            for i in 0..inputs {
                gw[o * inputs + i] += g * x[n * inputs + i].to_f64();
                gx[n * inputs + i] += g * w[o * inputs + i].to_f64();
            }
        }
    }
    let narrow = |sums: Vec<f64>| sums.into_iter().map(T::from_f64).collect();
    (narrow(gw), narrow(gb), narrow(gx))
}

/// Adds the bias `p = [b]`, or normalises with frozen statistics, `p = [scale, shift]`; each channel has `plane`
/// values.
fn affine<T: Scalar>(x: &[T], p: &[&[T]], running: Option<&Running>, plane: usize) -> Vec<T> {
    let channels = p[0].len();
    let at = |(index, &x): (usize, &T)| {
        let c = index / plane % channels;
        match running {
            None => x + p[0][c],
            Some(running) => normal(x, running, c) * p[0][c] + p[1][c],
        }
    };
    x.iter().enumerate().map(at).collect()
}

fn deviation<T: Scalar>(running: &Running, c: usize) -> T {
    (T::from_f64(running.variance[c]) + T::from_f64(1e-5)).root()
}

fn normal<T: Scalar>(x: T, running: &Running, c: usize) -> T {
    (x - T::from_f64(running.mean[c])) / deviation(running, c)
}

fn affine_backward<T: Scalar>(
    mut grad: Vec<T>,
    x: &[T],
    p: &[&[T]],
    running: Option<&Running>,
    plane: usize,
) -> (Vec<T>, Vec<Vec<T>>) {
    let channels = p[0].len();
    let mut own = vec![vec![T::ZERO; channels]; p.len()];
    for (index, (g, &x)) in grad.iter_mut().zip(x).enumerate() {
        let c = index / plane % channels;
        match running {
            None => own[0][c] += *g,
            Some(running) => {
                own[0][c] += *g * normal(x, running, c);
                own[1][c] += *g;
                *g = *g * p[0][c] / deviation(running, c);
            }
        }
    }
    (grad, own)
}

/// A 3x3 convolution with padding 1 over square images.
struct Conv {
    images: usize,
    channels: usize,
    out: usize,
    size: usize,
    stride: usize,
}

impl Conv {
    /// Calls `visit(index of x, index of w, index of y)` for every product.
    fn each(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let (size, side) = (self.size, self.size / self.stride);
        for y in 0..self.images * self.out * side * side {
            let (column, row) = (y % side, y / side % side);
            let (o, n) = (y / (side * side) % self.out, y / (side * side * self.out));
            for tap in 0..self.channels * 9 {
                let (kx, ky, c) = (tap % 3, tap / 3 % 3, tap / 9);
                let (ix, iy) = (column * self.stride + kx, row * self.stride + ky);
                if (1..=size).contains(&ix) && (1..=size).contains(&iy) {
                    let x = ((n * self.channels + c) * size + iy - 1) * size + ix - 1;
                    visit(x, o * self.channels * 9 + tap, y);
                }
            }
        }
    }

    fn forward<T: Scalar>(&self, x: &[T], w: &[T]) -> Vec<T> {
        let side = self.size / self.stride;
        let mut result = vec![T::ZERO; self.images * self.out * side * side];
        self.each(|at, tap, y| result[y] += x[at] * w[tap]);
        result
    }

    fn backward<T: Scalar>(&self, x: &[T], w: &[T], grad: &[T]) -> (Vec<T>, Vec<T>) {
        let (mut gw, mut gx) = (vec![T::ZERO; w.len()], vec![T::ZERO; x.len()]);
        self.each(|at, tap, y| {
            gw[tap] += grad[y] * x[at];
            gx[at] += grad[y] * w[tap];
        });
        (gw, gx)
    }
}

/// The loss and its gradient over `logits [N, classes]`.
fn loss<T: Scalar>(logits: &[T], classes: usize, target: &Target<'_>) -> (f64, Vec<T>) {
    match target {
        Target::Values(values) => {
            let count = T::from_f64(logits.len() as f64);
            let errors: Vec<T> = logits.iter().zip(*values).map(|(&x, &y)| x - T::from_f64(y)).collect();
            let loss = sum(errors.iter().map(|&error| error * error)) / count;
            let grad = errors.iter().map(|&error| T::from_f64(2.0) * error / count).collect();
            (loss.to_f64(), grad)
        }
        Target::Classes(labels) => {
            let count = T::from_f64(labels.len() as f64);
            let mut total = T::ZERO;
            let mut grad = Vec::with_capacity(logits.len());
            for (row, &label) in logits.chunks(classes).zip(*labels) {
                let top = row.iter().copied().fold(row[0], |top, x| if x > top { x } else { top });
                let powers: Vec<T> = row.iter().map(|&x| T::from_f64((x - top).to_f64().exp())).collect();
                let all = sum(powers.iter().copied());
                total += top - row[label] + T::from_f64(all.to_f64().ln());
                let hot = |class| if class == label { T::from_f64(1.0) } else { T::ZERO };
                grad.extend(powers.iter().enumerate().map(|(class, &e)| (e / all - hot(class)) / count));
            }
            ((total / count).to_f64(), grad)
        }
    }
}
