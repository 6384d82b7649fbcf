//! `LayerNormalization`, `RMSNormalization` and `SimplifiedLayerNormalization`: every row over the axes from `axis` on.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__LayerNormalization.html> (since version 17) and
//! <https://onnx.ai/onnx/operators/onnx__RMSNormalization.html> (since version 23). The last is RMSNormalization as
//! ONNX Runtime adds it to ONNX's own domain, in every version.

use super::rows::Rows;
use crate::ops::node::axis_index;
use crate::ops::{
    Axis, Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
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
    &LayerNormalization {
        spec: Spec::onnx("SimplifiedLayerNormalization", 2..=2, &["axis", "epsilon", "stash_type"])
            .outputs(1..=2),
        with_mean: false,
    },
];

impl Operator for LayerNormalization {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let rows = self.rows(node)?;
        let own: Vec<Axis> = (0..node.x(0)?.rank()).map(|axis| slots.input(0, axis)).collect();
        for (axis, own) in own.iter().enumerate().take(rows.first) {
            for output in 1..node.output_count() {
                slots.set(output, axis, own.with_zero(false));
            }
        }
        rows.couple(node, slots, &own)
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        if tape.dy(1).is_some() || tape.dy(2).is_some() {
            return Err(Unsupported::new("the loss depends on the statistics"));
        }
        let (dy, wanted) = (tape.dy0()?, tape.wants(0));
        if let Some(grad) = self.rows(node)?.gradient(node, tape, dy, |tape| tape.x(0), wanted)? {
            tape.give(0, grad);
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
        let opset = (*self.spec.versions.start()).max(17);
        let case = || Example::new(self.spec.op_type).opset(opset);
        let mut examples = vec![
            case().computed(&[2, 3, 6]).weight(&[6]).prunable(0, 1),
            case().attribute("axis", 1).computed(&[2, 3, 4]).weight(&[3, 4]),
            case().attribute("axis", 1).computed(&[2, 3, 4]).weight(&[4]),
        ];
        if !self.with_mean {
            examples.extend([
                case().computed(&[2, 3, 6]).weight(&[6]).prunable(0, 2),
                case()
                    .attribute("axis", 1)
                    .attribute("epsilon", 0.5)
                    .computed(&[2, 3, 4])
                    .weight(&[3, 4])
                    .prunable(0, 1)
                    .prunable(0, 2),
            ]);
        }
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
    fn rows(&self, node: &NodeView<'_>) -> Result<Rows, Unsupported> {
        Ok(Rows {
            first: axis_index(node.int("axis", -1), node.x(0)?.rank())?,
            with_mean: self.with_mean,
            epsilon: node.float("epsilon", 1e-5),
            scale: 1,
            bias: node.input(2).map(|_| 2),
        })
    }
}
