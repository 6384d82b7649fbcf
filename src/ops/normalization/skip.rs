//! `SkipLayerNormalization` and `SkipSimplifiedLayerNormalization`: the sum of x `[.., S, C]`, a skip connection of the
//! same dimensions or fewer, and possibly a bias `[C]`, normalised along C, with the sum as another output.
//!
//! Specification: <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>. The outputs 1 and 2,
//! mean and inverse deviation, are not declared to be anything: nodes that use them are not understood.

use super::rows::Rows;
use crate::ir::ValueId;
use crate::ops::elementwise::broadcast_axes;
use crate::ops::{Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};

struct Skip {
    spec: Spec,
    /// Whether the mean is taken out; then input 3 is the normalisation's bias and input 4 that of the sum, else
    /// input 3 is that of the sum.
    with_mean: bool,
}

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Skip {
        spec: Spec::microsoft("SkipLayerNormalization", 3..=5, &["epsilon"]).outputs(1..=4),
        with_mean: true,
    },
    &Skip {
        spec: Spec::microsoft("SkipSimplifiedLayerNormalization", 3..=4, &["epsilon"]).outputs(1..=4),
        with_mean: false,
    },
];

/// The output that holds the sum.
const SUM: usize = 3;

impl Skip {
    fn rows(&self, node: &NodeView<'_>) -> Result<Rows, Unsupported> {
        if node.output(1).is_some() || node.output(2).is_some() {
            return Err(Unsupported::new("the statistics are used"));
        }
        let x = node.x(0)?;
        if x.rank() == 0 || x.dims() != node.y(0)?.dims() {
            return Err(Unsupported::new("x must have the dimensions of the result"));
        }
        Ok(Rows {
            first: x.rank() - 1,
            with_mean: self.with_mean,
            epsilon: node.float("epsilon", 1e-12),
            scale: 2,
            bias: (self.with_mean && node.input(3).is_some()).then_some(3),
        })
    }

    /// The inputs that are added up.
    fn terms(&self, node: &NodeView<'_>) -> Vec<usize> {
        let bias = if self.with_mean { 4 } else { 3 };
        [0, 1].into_iter().chain(node.input(bias).map(|_| bias)).collect()
    }

    fn sum(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<ValueId, Unsupported> {
        if node.output(SUM).is_some() {
            return tape.y(SUM);
        }
        let mut sum = tape.x(0)?;
        for &term in &self.terms(node)[1..] {
            let term = tape.x(term)?;
            sum = tape.add(sum, term);
        }
        Ok(sum)
    }
}

impl Operator for Skip {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let rows = self.rows(node)?;
        let own = broadcast_axes(node, slots, &self.terms(node), |zeros| zeros.iter().all(|&zero| zero))?;
        for (axis, own) in own.iter().enumerate() {
            slots.set(SUM, axis, own.clone());
        }
        rows.couple(node, slots, &own)
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let (rows, terms) = (self.rows(node)?, self.terms(node));
        let wanted: Vec<usize> = terms.into_iter().filter(|&term| tape.wants(term)).collect();
        let mut grad = tape.dy(SUM);
        if let Some(dy) = tape.dy(0) {
            let through = rows.gradient(node, tape, dy, |tape| self.sum(node, tape), !wanted.is_empty())?;
            grad = match (grad, through) {
                (Some(direct), Some(through)) => Some(tape.add(direct, through)),
                (direct, through) => direct.or(through),
            };
        }
        if let Some(grad) = grad {
            for input in wanted {
                tape.give_unbroadcast(node, input, grad)?;
            }
        }
        Ok(())
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
        self.rows(node)?.resize(node, cut, edit)
    }

    fn examples(&self) -> Vec<Example> {
        let plain = || Example::microsoft(self.spec.op_type);
        let case = || plain().attribute("epsilon", 1e-5);
        let pair = || case().computed(&[2, 3, 6]).computed(&[2, 3, 6]).weight(&[6]).prunable(0, 1);
        let mut examples = vec![
            plain().computed(&[2, 3, 6]).computed(&[2, 3, 6]).weight(&[6]).prunable(0, 1),
            pair(),
            pair().weight(&[6]).attribute("epsilon", 0.1),
        ];
        if self.with_mean {
            examples.extend([
                pair().weight(&[6]).weight(&[6]),
                pair().absent().weight(&[6]),
                case().computed(&[2, 3, 6]).weight(&[3, 6]).weight(&[6]).weight(&[6]).prunable(0, 1),
                case().computed(&[2, 3, 6]).weight(&[1, 3, 6]).weight(&[6]).weight(&[6]).prunable(0, 1),
            ]);
        } else {
            examples
                .push(case().computed(&[3, 6]).computed(&[3, 6]).weight(&[6]).prunable(0, 0).prunable(0, 1));
            examples.push(pair().weight(&[6]).attribute("epsilon", 0.5).prunable(0, 2));
        }
        examples
    }
}
