//! Which nodes an operator understands.

use std::ops::RangeInclusive;

use super::NodeView;
use crate::ir::Node;

/// The newest version of ONNX's operator set whose changes are accounted for here.
pub const NEWEST_OPSET: i64 = 26;

/// The domain of the operators that ONNX Runtime adds to those of ONNX.
pub const MICROSOFT: &str = "com.microsoft";

/// The nodes that an operator understands.
#[derive(Debug)]
pub struct Spec {
    /// Name of the operator.
    pub op_type: &'static str,
    /// Domain; empty for ONNX's own.
    pub domain: &'static str,
    /// Versions of the domain's operator set.
    pub versions: RangeInclusive<i64>,
    /// Number of inputs, left-out ones at the end not counted.
    pub inputs: RangeInclusive<usize>,
    /// Number of outputs that are used.
    pub outputs: RangeInclusive<usize>,
    /// Attributes that are understood; a node with another one is not.
    pub attributes: &'static [&'static str],
}

impl Spec {
    /// An operator of ONNX's own domain with one output and the given numbers of inputs, in all versions.
    pub const fn onnx(
        op_type: &'static str,
        inputs: RangeInclusive<usize>,
        attributes: &'static [&'static str],
    ) -> Self {
        Self { op_type, domain: "", versions: 1..=NEWEST_OPSET, inputs, outputs: 1..=1, attributes }
    }

    /// An operator of ONNX Runtime's own domain, which has one version, with one output.
    pub const fn microsoft(
        op_type: &'static str,
        inputs: RangeInclusive<usize>,
        attributes: &'static [&'static str],
    ) -> Self {
        Self { op_type, domain: MICROSOFT, versions: 1..=1, inputs, outputs: 1..=1, attributes }
    }

    /// The same for a range of operator set versions.
    #[must_use]
    pub const fn versions(self, versions: RangeInclusive<i64>) -> Self {
        Self { versions, ..self }
    }

    /// The same with another number of outputs.
    #[must_use]
    pub const fn outputs(self, outputs: RangeInclusive<usize>) -> Self {
        Self { outputs, ..self }
    }

    /// Whether the node is of this operator, in any form.
    pub fn names(&self, node: &Node) -> bool {
        let domain = if node.domain == "ai.onnx" { "" } else { &node.domain };
        self.op_type == node.op_type && self.domain == domain
    }

    /// Whether the node is inside.
    pub fn admits(&self, node: &NodeView<'_>) -> bool {
        self.op_type == node.op_type()
            && self.domain == node.domain()
            && self.versions.contains(&node.opset())
            && self.inputs.contains(&node.input_count())
            && self.outputs.contains(&node.output_count())
            && node.attribute_names().all(|name| self.attributes.contains(&name))
            && node.is_seen()
    }
}
