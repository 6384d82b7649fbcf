//! What can go wrong in the optimiser.

use thiserror::Error;

use crate::tensor::TensorError;

/// Why a step, a projection or their construction was refused.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SafeError {
    /// The values of a parameter do not fill its dimensions.
    #[error("parameter `{name}`: {source}")]
    Parameter {
        /// Name of the parameter.
        name: String,
        /// What does not fit.
        source: TensorError,
    },
    /// Two parameters have the same name.
    #[error("two parameters are named `{name}`; give each its own name")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// An option is outside its range.
    #[error("option `{option}` is {value}; it must be {expected}")]
    Option {
        /// The option as it is spelt in [`super::Options`].
        option: &'static str,
        /// The value given.
        value: f64,
        /// The values allowed.
        expected: &'static str,
    },
    /// There is not one gradient for each parameter.
    #[error("{found} gradients for {expected} parameters; pass one for each, in the order of the parameters")]
    GradientCount {
        /// Number of parameters.
        expected: usize,
        /// Number of gradients given.
        found: usize,
    },
    /// A gradient has another length than its parameter.
    #[error("the gradient of `{name}` has {found} elements, the parameter has {expected}")]
    GradientLength {
        /// Name of the parameter.
        name: String,
        /// Elements of the parameter.
        expected: usize,
        /// Elements of the gradient.
        found: usize,
    },
    /// A descent without the ascent before it.
    #[error(
        "step {step}: descend was called without ascend; the gradient must be taken at the perturbed point"
    )]
    NoAscent {
        /// The step, counted from 0.
        step: usize,
    },
    /// A gradient holds infinity or NaN.
    #[error(
        "step {step}: the norm of {what} is {norm}; lower the learning rate, clip the gradient, or check the data"
    )]
    NotFinite {
        /// Which vector.
        what: &'static str,
        /// The step, counted from 0.
        step: usize,
        /// The norm found.
        norm: f64,
    },
    /// A saved state lacks an array, or holds one of another length.
    #[error("the saved state has no array {kind} of parameter {name} that fits")]
    NotSaved {
        /// What it is of the parameter.
        kind: &'static str,
        /// The parameter.
        name: String,
    },
    /// A projection names a parameter that has no split variable.
    #[error("a projection names parameter {tensor}, which is not marked as split")]
    NotSplit {
        /// Index of the parameter.
        tensor: usize,
    },
    /// A projection names the same parameter twice.
    #[error("a projection names parameter {tensor} twice")]
    NamedTwice {
        /// Index of the parameter.
        tensor: usize,
    },
    /// A sparsity is outside its range, or leaves no entry at all where one is needed as the threshold.
    #[error("sparsity {sparsity} of {count} entries; it must be {expected}")]
    Sparsity {
        /// The sparsity asked for.
        sparsity: f64,
        /// Entries it applies to.
        count: usize,
        /// The values allowed.
        expected: &'static str,
    },
    /// An axis does not exist, or is not a multiple of M.
    #[error("parameter {tensor} with dimensions {dims:?}: axis {axis} cannot be cut into blocks of {block}")]
    Blocks {
        /// Index of the parameter.
        tensor: usize,
        /// Its dimensions.
        dims: Vec<usize>,
        /// The axis asked for.
        axis: usize,
        /// M, the length of a block.
        block: usize,
    },
    /// N exceeds M.
    #[error("{remove} of every {block} entries cannot be zero")]
    BlockCount {
        /// N, the zeros in a block.
        remove: usize,
        /// M, the length of a block.
        block: usize,
    },
    /// An importance factor does not broadcast to its parameter, or holds a negative value or NaN.
    #[error("an importance factor of dimensions {factor:?} over dimensions {dims:?}: {problem}")]
    Importance {
        /// Dimensions of the factor.
        factor: Vec<usize>,
        /// Dimensions of the parameter.
        dims: Vec<usize>,
        /// What is wrong.
        problem: &'static str,
    },
    /// The groups of an axis do not cover the axis.
    #[error("parameter {tensor}: axis {axis} has length {expected:?}, the groups list {found} indices")]
    GroupAxis {
        /// Index of the parameter.
        tensor: usize,
        /// The axis.
        axis: usize,
        /// Length of the axis; none when the axis does not exist.
        expected: Option<usize>,
        /// Indices listed.
        found: usize,
    },
    /// A group number is outside the count of groups.
    #[error("parameter {tensor}, axis {axis}, index {index} names group {group}, there are {count}")]
    GroupNumber {
        /// Index of the parameter.
        tensor: usize,
        /// The axis.
        axis: usize,
        /// The index on the axis.
        index: usize,
        /// The group named.
        group: u32,
        /// Number of groups.
        count: usize,
    },
    /// A selection did not say for each group whether it leaves.
    #[error("a selection answered for {found} groups of {expected}")]
    Selection {
        /// Number of groups.
        expected: usize,
        /// Answers given.
        found: usize,
    },
    /// Groups that the selection removed are unknown, because no projection has run yet.
    #[error("no projection of {groups} groups has run yet")]
    NotProjected {
        /// Number of groups.
        groups: usize,
    },
}
