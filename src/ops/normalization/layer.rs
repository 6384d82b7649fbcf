//! `LayerNormalization` and `RMSNormalization`: every row over the axes from `axis` on.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__LayerNormalization.html> (since version 17) and
//! <https://onnx.ai/onnx/operators/onnx__RMSNormalization.html> (since version 23).

use super::Standardised;
use crate::ops::node::axis_index;
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};

struct LayerNormalization {
    spec: Spec,
    /// Whether the mean is taken out.
    with_mean: bool,
}

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &LayerNormalization {
        spec: Spec::onnx("LayerNormalization", 2..=3, &["axis", "epsilon", "stash_type"])
            .versions(17..=NEWEST_OPSET)
            .outputs(1..=3),
        with_mean: true,
    },
    &LayerNormalization {
        spec: Spec::onnx("RMSNormalization", 2..=2, &["axis", "epsilon", "stash_type"])
            .versions(23..=NEWEST_OPSET),
        with_mean: false,
    },
];

fn first_axis(node: &NodeView<'_>) -> Result<usize, Unsupported> {
    axis_index(node.int("axis", -1), node.x(0)?.rank())
}

impl Operator for LayerNormalization {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let first = first_axis(node)?;
        let rank = node.x(0)?.rank();
        let has_bias = node.input(2).is_some();
        for axis in 0..first {
            let own = slots.input(0, axis);
            slots.set(0, axis, own.with_zero(own.zero() && !has_bias));
            for output in 1..node.output_count() {
                slots.set(output, axis, own.with_zero(false));
            }
        }
        for axis in first..rank {
            let own = slots.input(0, axis);
            let mut coupled = own.clone();
            // Only where scale and bias both have the axis are masked elements zero.
            let mut zero = true;
            for input in 1..node.input_count() {
                let vector = node.x(input)?;
                let place = (axis + vector.rank()).checked_sub(rank);
                match place.filter(|&place| vector.dims()[place] == own.len()) {
                    Some(place) => {
                        let other = slots.input(input, place);
                        slots.tie(&own, &other);
                        zero &= other.zero();
                        if coupled.is_fixed() {
                            coupled = other;
                        }
                    }
                    None => zero = false,
                }
            }
            if !coupled.is_fixed() {
                slots.approximate(&coupled, "the statistics of a row are taken over the axis");
            }
            slots.set(0, axis, coupled.with_zero(zero));
        }
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        if tape.dy(1).is_some() || tape.dy(2).is_some() {
            return Err(Unsupported::new("the loss depends on the statistics"));
        }
        let dy = tape.dy0()?;
        if tape.wants(2) {
            tape.give_unbroadcast(node, 2, dy)?;
        }
        if !tape.wants(0) && !tape.wants(1) {
            return Ok(());
        }
        let standard = self.standardised(node, tape)?;
        let value = standard.value(tape);
        if tape.wants(1) {
            let product = tape.mul(dy, value);
            tape.give_unbroadcast(node, 1, product)?;
        }
        if tape.wants(0) {
            let scale = tape.x(1)?;
            let grad = tape.mul(dy, scale);
            let grad = standard.gradient(tape, value, grad, self.with_mean);
            tape.give(0, grad);
        }
        Ok(())
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let opset = *self.spec.versions.start();
        let case = || Example::new(self.spec.op_type).opset(opset);
        let mut examples = vec![
            case().computed(&[2, 3, 6]).weight(&[6]).prunable(0, 1),
            case().attribute("axis", 1).computed(&[2, 3, 4]).weight(&[3, 4]),
            case().attribute("axis", 1).computed(&[2, 3, 4]).weight(&[4]),
        ];
        if self.with_mean {
            examples.extend([
                case().computed(&[2, 3, 6]).weight(&[6]).weight(&[6]).prunable(0, 1),
                case()
                    .attribute("axis", -2)
                    .attribute("epsilon", 0.1)
                    .computed(&[2, 3, 4])
                    .weight(&[3, 4])
                    .weight(&[3, 4]),
                case().opset(18).computed(&[3, 6]).weight(&[6]).weight(&[6]).prunable(0, 0),
            ]);
        }
        examples
    }
}

impl LayerNormalization {
    fn standardised(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<Standardised, Unsupported> {
        let axes: Vec<usize> = (first_axis(node)?..node.x(0)?.rank()).collect();
        let (x, epsilon) = (tape.x(0)?, node.float("epsilon", 1e-5));
        Ok(if self.with_mean {
            Standardised::new(tape, x, axes, epsilon)
        } else {
            Standardised::of_centred(tape, x, axes, epsilon)
        })
    }
}
