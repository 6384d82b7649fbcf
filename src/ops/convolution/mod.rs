//! Convolutions: sums of products over sliding windows and over the channels of a group.
//!
//! Letters: the windows slide over `dense [N, C, D1, …]`, `sparse [N, M, E1, …]` has one element for each window,
//! `w [M, C/g, K1, …]` with `g` groups. Conv goes from dense to sparse, `ConvTranspose` from sparse to dense. Both
//! kinds of gradient are convolutions again.

pub(super) mod conv;
pub(super) mod conv_transpose;
mod dense_gradient;
pub(super) mod fused;
pub(super) mod kernel;
pub(super) mod together;
mod weight_gradient;

use super::window::Slide;
use super::{NodeEdit, Tape, Unsupported};
use crate::ir::{NodeSpec, ValueId};

/// A convolution whose operands fit each other.
struct Form {
    /// Number of groups `g`.
    groups: usize,
    /// Channels `C` on the dense side.
    c: usize,
    /// Channels `M` on the sparse side.
    m: usize,
    /// The windows along each spatial axis.
    slides: Vec<Slide>,
}

impl Form {
    /// Number of spatial axes.
    fn rank(&self) -> usize {
        self.slides.len()
    }

    /// Windows of one image in the traced run.
    fn windows(&self) -> usize {
        self.slides.iter().map(|slide| slide.output).product()
    }

    /// Whether dimensions of windows differ from run to run.
    fn varies(&self) -> bool {
        self.slides.iter().any(|slide| slide.varies)
    }

    /// Padding that differs from run to run cannot be written as attributes.
    fn require_steady_pads(&self) -> Result<(), Unsupported> {
        match self.slides.iter().position(|slide| slide.pads_vary) {
            Some(axis) => Err(Unsupported(format!(
                "its padding follows the free size of spatial axis {axis}; give a size with --shape"
            ))),
            None => Ok(()),
        }
    }

    /// What the node must say of its groups after the cut.
    fn resize(&self, kept: [usize; 3], edit: &mut NodeEdit) -> Result<(), Unsupported> {
        let [c, columns, m] = kept;
        let groups = c.checked_div(columns).unwrap_or(0);
        if groups == 0 || groups * columns != c || !m.is_multiple_of(groups) {
            return Err(Unsupported(format!("{c} and {m} channels do not fall into groups of {columns}")));
        }
        if groups != self.groups {
            edit.attribute("group", groups as i64);
        }
        Ok(())
    }
}

/// The number of indices of an axis that stay.
fn kept(cut: Option<&[usize]>, len: usize) -> usize {
    cut.map_or(len, <[usize]>::len)
}

/// The attributes of an emitted Conv or `ConvTranspose`, by spatial axis.
#[derive(Debug, Default)]
pub(super) struct Geometry {
    strides: Vec<usize>,
    dilations: Vec<usize>,
    before: Vec<usize>,
    behind: Vec<usize>,
    output_padding: Vec<usize>,
    groups: usize,
}

impl Geometry {
    fn new(groups: usize) -> Self {
        Self { groups, ..Self::default() }
    }

    /// The `ConvTranspose` that leads back from windows to elements.
    pub(super) fn transposed(groups: usize, slides: &[Slide]) -> Self {
        let mut geometry = Self::new(groups);
        for slide in slides {
            let fitting = slide.fitting();
            geometry.push(slide.stride, slide.dilation, slide.before, fitting.max(0) as usize);
            geometry.output_padding.push((-fitting).max(0) as usize);
        }
        geometry
    }

    fn push(&mut self, stride: usize, dilation: usize, before: usize, behind: usize) {
        self.strides.push(stride);
        self.dilations.push(dilation);
        self.before.push(before);
        self.behind.push(behind);
    }

    pub(super) fn emit(&self, tape: &mut Tape<'_>, op_type: &str, x: ValueId, w: ValueId) -> ValueId {
        self.emit_with(tape, op_type, &[x, w])
    }

    fn emit_with(&self, tape: &mut Tape<'_>, op_type: &str, inputs: &[ValueId]) -> ValueId {
        let ints = |values: &[usize]| values.iter().map(|&value| value as i64).collect::<Vec<_>>();
        let pads = [ints(&self.before), ints(&self.behind)].concat();
        let mut spec = NodeSpec::new(op_type, inputs)
            .attribute("strides", ints(&self.strides))
            .attribute("dilations", ints(&self.dilations))
            .attribute("pads", pads)
            .attribute("group", self.groups as i64);
        if self.output_padding.iter().any(|&extra| extra != 0) {
            spec = spec.attribute("output_padding", ints(&self.output_padding));
        }
        tape.node(spec)
    }
}

/// Gives the gradient of the bias, whose index is the channel of the output.
fn give_bias(tape: &mut Tape<'_>, rank: usize, dy: ValueId) {
    if tape.wants(2) {
        let axes: Vec<usize> = (0..rank + 2).filter(|&axis| axis != 1).collect();
        let bias = tape.reduce_sum(dy, &axes, false);
        tape.give(2, bias);
    }
}
