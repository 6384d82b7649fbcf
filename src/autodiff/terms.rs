//! Losses that compare position by position, and cross-entropy on labels that are spread or weighted.

use super::loss::Writer;
use crate::ir::ValueId;
use crate::tensor::Tensor;

/// What keeps a probability from 0 and 1.
const FLOOR: f64 = 1e-7;

/// How labels count in a cross-entropy.
pub(super) struct Shares<'a> {
    pub(super) smoothing: f64,
    pub(super) class_weights: &'a [f64],
    pub(super) ignore_index: Option<i64>,
}

impl Shares<'_> {
    /// Whether every label counts in full, and alike.
    pub(super) fn is_plain(&self) -> bool {
        self.smoothing == 0.0 && self.class_weights.is_empty() && self.ignore_index.is_none()
    }
}

impl Writer<'_> {
    /// Cross-entropy on labels of which a share is spread over all classes, and that count by the weight of their
    /// class. The classes are the last axis; `hit` is 1 at each label.
    pub(super) fn spread(
        &mut self,
        log_softmax: ValueId,
        softmax: ValueId,
        hit: ValueId,
        rank: usize,
        shares: &Shares<'_>,
    ) -> (ValueId, ValueId) {
        let &Shares { smoothing, class_weights, .. } = shares;
        let own = self.tape.scale(hit, 1.0 - smoothing);
        let classes = self.tape.reduce_sum(hit, &[rank - 1], true);
        let classes = self.spread_evenly(classes, hit, smoothing, rank);
        let target = self.tape.add(own, classes);
        let (target, counted) = if class_weights.is_empty() {
            (target, hit)
        } else {
            let weights = Tensor::vector(class_weights.to_vec()).cast_float(self.tape.dtype());
            let weights = self.tape.constant(&weights);
            (self.tape.mul(target, weights), self.tape.mul(hit, weights))
        };
        let axes: Vec<usize> = (0..rank).collect();
        let count = self.tape.reduce_sum(counted, &axes, false);
        // Where no label counts, the loss is zero.
        let least = self.tape.scalar(FLOOR);
        let count = self.tape.op("Max", &[count, least]);
        let terms = self.tape.mul(target, log_softmax);
        let sum = self.tape.reduce_sum(terms, &axes, false);
        let mean = self.tape.div(sum, count);
        let value = self.tape.neg(mean);
        let all = self.tape.reduce_sum(target, &[rank - 1], true);
        let expected = self.tape.mul(softmax, all);
        let difference = self.tape.sub(expected, target);
        (value, self.tape.div(difference, count))
    }

    /// The share of each class: `smoothing / C` where there is a label.
    fn spread_evenly(&mut self, labelled: ValueId, hit: ValueId, smoothing: f64, rank: usize) -> ValueId {
        let ones = self.tape.scale(hit, 0.0);
        let ones = self.tape.shift(ones, 1.0);
        let classes = self.tape.reduce_sum(ones, &[rank - 1], true);
        let share = self.tape.div(labelled, classes);
        self.tape.scale(share, smoothing)
    }

    /// The cross-entropy of yes-or-no decisions.
    pub(super) fn binary_cross_entropy(
        &mut self,
        output: ValueId,
        target: ValueId,
        rank: usize,
        probabilities: bool,
    ) -> (ValueId, ValueId) {
        let count = self.count(output);
        if probabilities {
            let floor = self.tape.scalar(FLOOR);
            let p = self.tape.op("Max", &[output, floor]);
            let ceiling = self.tape.scalar(1.0 - FLOOR);
            let p = self.tape.op("Min", &[p, ceiling]);
            let (no, against) = (self.complement(p), self.complement(target));
            let (log_p, log_no) = (self.tape.op("Log", &[p]), self.tape.op("Log", &[no]));
            let yes = self.tape.mul(target, log_p);
            let rest = self.tape.mul(against, log_no);
            let sum = self.tape.add(yes, rest);
            let mean = self.mean(sum, rank);
            let difference = self.tape.sub(p, target);
            let spread = self.tape.mul(p, no);
            let grad = self.tape.div(difference, spread);
            return (self.tape.neg(mean), self.tape.div(grad, count));
        }
        // max(x, 0) - x t + log(1 + exp(-|x|)), which neither overflows nor loses digits.
        let positive = self.tape.op("Relu", &[output]);
        let product = self.tape.mul(output, target);
        let linear = self.tape.sub(positive, product);
        let size = self.tape.op("Abs", &[output]);
        let size = self.tape.neg(size);
        let power = self.tape.op("Exp", &[size]);
        let power = self.tape.shift(power, 1.0);
        let bent = self.tape.op("Log", &[power]);
        let sum = self.tape.add(linear, bent);
        let p = self.tape.op("Sigmoid", &[output]);
        let difference = self.tape.sub(p, target);
        (self.mean(sum, rank), self.tape.div(difference, count))
    }

    /// The absolute difference, squared near zero: with `c = min(|d|, 1)`, `c (|d| - c / 2)`.
    pub(super) fn smooth_l1(&mut self, output: ValueId, target: ValueId, rank: usize) -> (ValueId, ValueId) {
        let difference = self.tape.sub(output, target);
        let size = self.tape.op("Abs", &[difference]);
        let one = self.tape.scalar(1.0);
        let near = self.tape.op("Min", &[size, one]);
        let half = self.tape.scale(near, 0.5);
        let rest = self.tape.sub(size, half);
        let product = self.tape.mul(near, rest);
        let value = self.mean(product, rank);
        let sign = self.tape.op("Sign", &[difference]);
        let slope = self.tape.mul(sign, near);
        let count = self.count(output);
        (value, self.tape.div(slope, count))
    }

    fn complement(&mut self, value: ValueId) -> ValueId {
        let negative = self.tape.neg(value);
        self.tape.shift(negative, 1.0)
    }
}
