//! The operator of every node that is not understood: nothing that reaches it may leave.

use super::{Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};

/// Understands every node and knows nothing of it.
pub(super) struct Opaque;

static SPEC: Spec = Spec::onnx("", 0..=usize::MAX, &[]);

impl Operator for Opaque {
    fn spec(&self) -> &Spec {
        &SPEC
    }

    fn couple(&self, node: &NodeView<'_>, _: &mut dyn Coupling) -> Result<(), Unsupported> {
        Err(Unsupported(reason(node)))
    }

    fn gradient(&self, node: &NodeView<'_>, _: &mut Tape<'_>) -> Result<(), Unsupported> {
        Err(Unsupported(reason(node)))
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, node: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Err(Unsupported(reason(node)))
    }

    fn examples(&self) -> Vec<Example> {
        Vec::new()
    }
}

fn reason(node: &NodeView<'_>) -> String {
    let domain = if node.domain().is_empty() { String::new() } else { format!("{}.", node.domain()) };
    format!("operator {domain}{} (opset {}) is not known in this form", node.op_type(), node.opset())
}
