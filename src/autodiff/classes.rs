//! Losses over classes: cross-entropy on labels, and distillation of a teacher's decision.

use super::loss::Writer;
use super::terms::Shares;
use crate::ir::ValueId;
use crate::tensor::Tensor;

/// What stands for a class in a comparison with labels that no label may be equal to.
const NO_LABEL: i64 = i64::MAX;

impl Writer<'_> {
    /// The axes with the class axis last, and the way back.
    fn class_last(rank: usize, class_axis: usize) -> (Vec<usize>, Vec<usize>) {
        let mut order: Vec<usize> = (0..rank).filter(|&axis| axis != class_axis).collect();
        order.push(class_axis);
        let mut back = vec![0; rank];
        for (place, &axis) in order.iter().enumerate() {
            back[axis] = place;
        }
        (order, back)
    }

    fn along_last(&mut self, op_type: &str, value: ValueId, rank: usize) -> ValueId {
        self.tape.node(crate::ir::NodeSpec::new(op_type, &[value]).attribute("axis", rank as i64 - 1))
    }

    /// Logits of an output whose last axis holds the classes, and for probabilities the factor that turns a
    /// gradient of the logits into one of the output.
    fn logits(&mut self, output: ValueId, probabilities: bool) -> (ValueId, Option<ValueId>) {
        if !probabilities {
            return (output, None);
        }
        let floor = self.tape.scalar(1e-7);
        let safe = self.tape.op("Max", &[output, floor]);
        let inverse = self.tape.op("Reciprocal", &[safe]);
        (self.tape.op("Log", &[safe]), Some(inverse))
    }

    fn finish(&mut self, grad: ValueId, factor: Option<ValueId>, back: &[usize]) -> ValueId {
        let grad = match factor {
            Some(factor) => self.tape.mul(grad, factor),
            None => grad,
        };
        self.tape.transpose(grad, back)
    }

    pub(super) fn cross_entropy(
        &mut self,
        output: ValueId,
        labels: ValueId,
        dims: &[usize],
        (class_axis, probabilities): (usize, bool),
        shares: &Shares<'_>,
    ) -> (ValueId, ValueId) {
        let rank = dims.len();
        let (order, back) = Self::class_last(rank, class_axis);
        let last = self.tape.transpose(output, &order);
        let (logits, factor) = self.logits(last, probabilities);
        // No label is equal to the entry of a class that does not count.
        let entry = |class| if Some(class) == shares.ignore_index { NO_LABEL } else { class };
        let classes: Vec<i64> = (0..dims[class_axis] as i64).map(entry).collect();
        let classes = self.tape.constant(&Tensor::vector(classes));
        let labels_column = self.tape.unsqueeze(labels, &[rank - 1]);
        let hit = self.tape.op("Equal", &[labels_column, classes]);
        let hit = self.tape.indicator(hit);
        let log_softmax = self.along_last("LogSoftmax", logits, rank);
        if !shares.is_plain() {
            let softmax = self.along_last("Softmax", logits, rank);
            let (value, grad) = self.spread(log_softmax, softmax, hit, rank, shares);
            return (value, self.finish(grad, factor, &back));
        }
        let picked = self.tape.mul(log_softmax, hit);
        let picked = self.tape.reduce_sum(picked, &[rank - 1], false);
        let mean = self.mean(picked, rank - 1);
        let value = self.tape.neg(mean);
        let softmax = self.along_last("Softmax", logits, rank);
        let difference = self.tape.sub(softmax, hit);
        let count = self.count(labels);
        let grad = self.tape.div(difference, count);
        (value, self.finish(grad, factor, &back))
    }

    pub(super) fn distillation(
        &mut self,
        output: ValueId,
        teacher: ValueId,
        dims: &[usize],
        class_axis: usize,
        temperature: f64,
        probabilities: bool,
    ) -> (ValueId, ValueId) {
        let rank = dims.len();
        let (order, back) = Self::class_last(rank, class_axis);
        let student = self.tape.transpose(output, &order);
        let teacher = self.tape.transpose(teacher, &order);
        let (student, factor) = self.logits(student, probabilities);
        let (teacher, _) = self.logits(teacher, probabilities);
        let student = self.tape.scale(student, 1.0 / temperature);
        let teacher = self.tape.scale(teacher, 1.0 / temperature);
        let log_p = self.along_last("LogSoftmax", student, rank);
        let log_q = self.along_last("LogSoftmax", teacher, rank);
        let q = self.tape.op("Exp", &[log_q]);
        let p = self.tape.op("Exp", &[log_p]);
        let gap = self.tape.sub(log_q, log_p);
        let gap = self.tape.mul(q, gap);
        let divergence = self.tape.reduce_sum(gap, &[rank - 1], false);
        let mean = self.mean(divergence, rank - 1);
        let value = self.tape.scale(mean, temperature * temperature);
        let difference = self.tape.sub(p, q);
        let count = self.count(divergence);
        let grad = self.tape.div(difference, count);
        let grad = self.tape.scale(grad, temperature);
        (value, self.finish(grad, factor, &back))
    }
}
