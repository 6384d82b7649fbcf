//! A model's graph as a drawing: boxes from top to bottom, with the families of groups as colours.
//!
//! Always true here: the same picture gives the same text; boxes never overlap, and lines pass beside them. Nothing
//! here knows what a node is: boxes, lines and families come as plain data.

mod colours;
mod columns;
mod drawing;
mod labels;
mod layers;
mod layout;
mod legend;
mod order;
#[cfg(test)]
mod tests;
mod xml;

use super::FamilyFigures;

/// What a box stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoxKind {
    /// Nodes with weights.
    Layer,
    /// Nodes without weights.
    Step,
    /// An input or output of the graph.
    End,
}

/// The channels on one side of a layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    /// The families that they belong to, by number.
    pub families: Vec<usize>,
    /// Whether they may not shrink.
    pub pinned: bool,
}

/// A box: one node, or several that are drawn as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureBox {
    /// What it stands for.
    pub kind: BoxKind,
    /// The operators, in the order in which they run.
    pub operators: Vec<String>,
    /// Full names of the nodes, in the same order; the name of a graph input or output.
    pub names: Vec<String>,
    /// Dimensions of what leaves the box, on the traced run.
    pub output: Vec<usize>,
    /// Multiply-accumulates on one sample.
    pub macs: u64,
    /// Channels that its weights read.
    pub reads: Side,
    /// Channels that its weights make.
    pub makes: Side,
    /// Its weights' axes that lose slices, or stay for a reason, in words.
    pub axes: Vec<String>,
}

/// A line: a value that one box makes and another reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PictureLine {
    /// The box that makes it.
    pub from: usize,
    /// The families that stand on its axes, by number.
    pub families: Vec<usize>,
    /// The box that reads it; a later one than `from`.
    pub to: usize,
}

/// A graph to be drawn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picture {
    /// The headline.
    pub title: String,
    /// What stands below it.
    pub facts: Vec<String>,
    /// The boxes; each comes after those that it reads from.
    pub boxes: Vec<PictureBox>,
    /// The lines. Those that do not lead to a later box are not drawn.
    pub lines: Vec<PictureLine>,
    /// The families, by number.
    pub families: Vec<FamilyFigures>,
}

impl Picture {
    /// The drawing as the text of an SVG file.
    pub fn svg(&self) -> String {
        drawing::svg(self)
    }
}
