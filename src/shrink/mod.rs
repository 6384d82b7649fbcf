//! Applies a cut to a graph: gathers the slices that stay, and rewrites what the operators say must change.
//!
//! [`prepare`] brings a graph into the form that the analysis works on; [`shrink`] and [`mask`] take that form.
//! Always true here: integer values of the small model are those of the dense one, except where an operator's
//! `resize` says otherwise; so shapes that a model computes from shapes come out right whatever it does with them.
//! This module knows no operator by name.

mod edits;
mod expand;
mod mask;
mod prepare;

pub use expand::expand;
pub use mask::{mask, masked_elements};
pub use prepare::{Prepared, prepare};

use thiserror::Error;

use crate::deps::Survivors;
use crate::ir::{Facts, IrError, Model, NodeId, Violation, drop_unused};
use crate::ops::{self, Cut, NodeView};

/// Why a cut could not be applied.
#[derive(Debug, Error)]
pub enum ShrinkError {
    /// An operator cannot be expressed on the smaller operands.
    #[error("{node}: cannot be made smaller: {reason}")]
    Node {
        /// Operator and name.
        node: String,
        /// The operator's reason.
        reason: String,
    },
    /// A weight could not be read.
    #[error(transparent)]
    Ir(#[from] IrError),
    /// The cut would leave an axis without any index.
    #[error("tensor `{tensor}`, axis {axis}: the cut would remove every index")]
    Empty {
        /// The tensor.
        tensor: String,
        /// Its axis.
        axis: usize,
    },
    /// The result breaks the rules of a graph: a defect of this program.
    #[error("the smaller graph is not valid, which is a defect of safe-onnx: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
}

/// The small model: what leaves by `survivors` is gone.
///
/// # Errors
/// When an operator cannot be expressed on what is left, or an axis would be empty.
pub fn shrink(prepared: &Prepared, facts: &Facts, survivors: &Survivors) -> Result<Model, ShrinkError> {
    let dense = &prepared.model;
    let mut small = dense.clone();
    let nodes: Vec<NodeId> = dense.graph.nodes().map(|(id, _)| id).collect();
    for id in nodes {
        let node = dense.graph.node(id);
        let touched =
            node.inputs.iter().chain(&node.outputs).flatten().any(|&value| survivors.touches(value));
        if !touched {
            continue;
        }
        let view = NodeView::new(&dense.graph, facts, id, dense.opset(&node.domain).unwrap_or(0));
        let cut = cut_of(dense, facts, survivors, id);
        let mut edit = ops::NodeEdit::default();
        ops::find(&view).resize(&view, &cut, &mut edit).map_err(|reason| ShrinkError::Node {
            node: dense.graph.describe(id),
            reason: reason.to_string(),
        })?;
        edits::apply(&mut small.graph, facts, id, edit);
    }
    for (id, tensor) in dense.graph.initializers() {
        if !survivors.touches(id) {
            continue;
        }
        let kept: Vec<Option<&[usize]>> =
            (0..tensor.dims().len()).map(|axis| survivors.axis(id, axis)).collect();
        if let Some(axis) = kept.iter().position(|kept| kept.is_some_and(<[usize]>::is_empty)) {
            return Err(ShrinkError::Empty { tensor: tensor.name().to_owned(), axis });
        }
        small.graph.replace_initializer(id, tensor.take(&kept)?);
        tensor.release();
    }
    for (id, value) in dense.graph.values() {
        if value.initializer().is_none() && survivors.touches(id) {
            small.graph.undeclare(id);
        }
    }
    drop_unused(&mut small.graph);
    let violations = small.graph.check();
    if violations.is_empty() { Ok(small) } else { Err(ShrinkError::Invalid(violations)) }
}

fn cut_of<'a>(model: &Model, facts: &Facts, survivors: &'a Survivors, id: NodeId) -> Cut<'a> {
    let node = model.graph.node(id);
    let operand = |port: &Option<crate::ir::ValueId>| {
        let Some(value) = *port else { return Vec::new() };
        let rank = facts.get(value).map_or(0, |seen| seen.dims.len());
        (0..rank).map(|axis| survivors.axis(value, axis)).collect()
    };
    Cut {
        inputs: node.inputs.iter().map(operand).collect(),
        outputs: node.outputs.iter().map(operand).collect(),
        averages: survivors.averages(id),
    }
}
