//! What is known of each operator, one file for one operator or for operators that differ by a formula.
//!
//! An [`Operator`] sees one node ([`NodeView`]): its attributes, the shapes of its operands, constant inputs. It
//! never sees the graph. A node that no operator declares in its [`Spec`] is [`opaque`]: every axis that reaches
//! it is pinned and it has no gradient. This module must not know of groups, engines or files.

mod coupling;
mod cut;
mod dropout;
mod example;
mod node;
mod opaque;
mod renamed;
mod renormalize;
mod spec;
mod tape;
mod training;
mod window;

mod attention;
mod control;
mod convolution;
mod elementwise;
mod fusion;
mod movement;
mod normalization;
mod pooling;
mod product;
mod quantization;
mod recurrent;
mod reduction;
mod softmax;

pub use control::{contents, counted_axis, has_control_flow, unfold};
pub use convolution::kernel::convolve_by_kernel;
pub use convolution::together::convolve_images_together;
pub use coupling::{Axis, Coupling, Slot};
pub use cut::{Cut, Entry, NodeEdit, Replacement, ReplacementInput};
pub use dropout::{Dropped, drop_elements};
pub use example::{Example, ExampleInput};
pub use fusion::fuse_for_kernels;
pub use movement::source::{reads_lengths_alone, separate_fillings, store_fillings};
pub use node::{NodeView, Operand};
pub use quantization::{Quantization, quantized_initializers};
pub use renormalize::{
    ChannelStatistics, NormalizedLayer, fold_normalization, insert_normalization, normalizable_layers,
    observe_layers,
};
pub use spec::{MICROSOFT, NEWEST_OPSET, Spec};
pub use tape::{Tape, TapeStart};
pub use training::{
    RunningStatistic, Statistics, running_statistics, spell_out_batch_normalization, use_batch_statistics,
};

use thiserror::Error;

use crate::ir::Node;

/// Whether what the node makes of constants is better taken for a constant than followed: elements are picked by
/// index, statistics are taken, as where weights are standardised, or masked elements would not be finite.
pub fn is_better_folded(node: &Node) -> bool {
    movement::scatter::picks_by_index(node)
        || normalization::is_one(node)
        || reduction::is_one(node)
        || elementwise::unary::is_infinite_at_zero(node)
}

/// Why an operator cannot do what is asked of it at one node. The text completes "… because".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Unsupported(pub String);

impl Unsupported {
    /// The reason `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// All that the compiler knows of an operator.
pub trait Operator: Sync {
    /// Name, operator set versions, arity and attributes. Nodes outside are opaque.
    fn spec(&self) -> &Spec;

    /// Says how the axes of the operands leave together: gives every output axis its slots, ties and pins.
    ///
    /// # Errors
    /// The reason why this node is not understood; then every axis that reaches it is pinned.
    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported>;

    /// Emits the gradient of the loss with respect to the wanted inputs, given that of the outputs.
    ///
    /// # Errors
    /// The reason why there is no gradient at this node.
    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported>;

    /// Multiply-accumulates of the node on the traced shapes.
    fn macs(&self, node: &NodeView<'_>) -> u64;

    /// Says how attributes and integer inputs change when axes of the operands shrink. Float constants are cut
    /// by the caller.
    ///
    /// # Errors
    /// The reason why the node cannot be expressed on the smaller operands.
    fn resize(&self, node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported>;

    /// How the integers of an input stand for real numbers, where they do: then axes of an initializer there may
    /// leave as those of a float one may.
    fn quantization(&self, _: &NodeView<'_>, _input: usize) -> Option<Quantization> {
        None
    }

    /// Small cases over which the laws of operators are tested.
    fn examples(&self) -> Vec<Example>;
}

/// Every operator, one slice for a file.
static TABLES: &[&[&'static dyn Operator]] = &[
    elementwise::unary::OPERATORS,
    elementwise::binary::OPERATORS,
    elementwise::fused::OPERATORS,
    attention::grouped::OPERATORS,
    attention::multi_head::OPERATORS,
    attention::packed::OPERATORS,
    attention::rotary::OPERATORS,
    attention::standard::OPERATORS,
    movement::blocks::OPERATORS,
    movement::concat::OPERATORS,
    movement::copy::OPERATORS,
    movement::gather::OPERATORS,
    movement::order::OPERATORS,
    movement::pad::OPERATORS,
    movement::repeat::OPERATORS,
    movement::resample::OPERATORS,
    movement::reshape::OPERATORS,
    movement::sampled::OPERATORS,
    movement::scatter::OPERATORS,
    movement::slice::OPERATORS,
    movement::source::OPERATORS,
    movement::split::OPERATORS,
    movement::transpose::OPERATORS,
    normalization::batch::OPERATORS,
    normalization::embedding::OPERATORS,
    normalization::instance::OPERATORS,
    normalization::layer::OPERATORS,
    normalization::local::OPERATORS,
    normalization::lp::OPERATORS,
    normalization::mean_variance::OPERATORS,
    normalization::skip::OPERATORS,
    product::einsum::OPERATORS,
    product::gemm::OPERATORS,
    product::matmul::OPERATORS,
    quantization::dynamic::OPERATORS,
    quantization::linear::OPERATORS,
    quantization::wrapped::OPERATORS,
    recurrent::gru::OPERATORS,
    recurrent::lstm::OPERATORS,
    recurrent::rnn::OPERATORS,
    reduction::arg::OPERATORS,
    reduction::reduce::OPERATORS,
    softmax::OPERATORS,
    convolution::conv::OPERATORS,
    convolution::fused::OPERATORS,
    convolution::conv_transpose::OPERATORS,
    pooling::average::OPERATORS,
    pooling::global::OPERATORS,
    pooling::lp::OPERATORS,
    pooling::max::OPERATORS,
];

/// All operators.
pub fn all() -> impl Iterator<Item = &'static dyn Operator> {
    TABLES.iter().flat_map(|table| table.iter().copied())
}

/// The operator that understands the node, or [`opaque`].
pub fn find(node: &NodeView<'_>) -> &'static dyn Operator {
    index()
        .get(&(node.op_type(), node.domain()))
        .into_iter()
        .flatten()
        .copied()
        .find(|operator| operator.spec().admits(node))
        .unwrap_or_else(opaque)
}

/// The operator for everything that is not understood.
pub fn opaque() -> &'static dyn Operator {
    &opaque::Opaque
}

type Index = std::collections::HashMap<(&'static str, &'static str), Vec<&'static dyn Operator>>;

fn index() -> &'static Index {
    static INDEX: std::sync::OnceLock<Index> = std::sync::OnceLock::new();
    INDEX.get_or_init(|| {
        let mut index = Index::new();
        for operator in all() {
            index.entry((operator.spec().op_type, operator.spec().domain)).or_default().push(operator);
        }
        index
    })
}
