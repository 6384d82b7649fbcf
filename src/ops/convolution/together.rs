//! Convolutions over all images at once, for training graphs.
//!
//! Runtimes prepare weights that are constant for small images; those of a training graph are inputs, and each image
//! then gets matrix products as narrow as it has windows. With the images along one more spatial axis behind the
//! others, the products are as wide as there are images.

use super::{Geometry, conv};
use crate::ir::{Facts, Graph, NodeId, ValueId};
use crate::ops::NodeView;
use crate::ops::tape::{Tape, TapeStart};
use crate::tensor::DType;

/// Up to so many windows an image, ordinary convolutions of several taps and stride 1 are faster so.
const WINDOWS: usize = 256;
/// The same for other strides, and for depthwise convolutions, which take a transposition for little work.
const FEW_WINDOWS: usize = 16;

/// A convolution that is to be written anew.
struct Found {
    x: ValueId,
    w: ValueId,
    bias: Option<ValueId>,
    output: ValueId,
    rank: usize,
    geometry: Geometry,
    dtype: DType,
}

/// Writes every Conv with few windows an image as one whose images stand along a further spatial axis. Ensures the
/// same values up to rounding.
pub fn convolve_images_together(graph: &mut Graph, facts: &Facts, opset: i64) {
    let nodes: Vec<NodeId> =
        graph.nodes().filter(|(_, node)| conv::CONV.spec().names(node)).map(|(id, _)| id).collect();
    for id in nodes {
        let Some(found) = look(graph, facts, id, opset) else { continue };
        graph.replace_node(id, |graph| {
            let base = graph.value(found.output).name().to_owned();
            let mut pen = Tape::new(TapeStart {
                graph,
                base,
                opset,
                dtype: found.dtype,
                inputs: Vec::new(),
                outputs: Vec::new(),
                wanted: Vec::new(),
                output_grads: Vec::new(),
            });
            vec![Some(write(&mut pen, &found))]
        });
    }
}

/// The convolution of a node that gains by it.
fn look(graph: &Graph, facts: &Facts, node: NodeId, opset: i64) -> Option<Found> {
    let view = NodeView::new(graph, facts, node, opset);
    if !conv::CONV.spec().admits(&view) {
        return None;
    }
    let form = conv::form(&view).ok()?;
    form.require_steady_pads().ok()?;
    let taps: usize = form.slides.iter().map(|slide| slide.kernel).product();
    let steps_by_one = form.slides.iter().all(|slide| slide.stride == 1);
    let few = if form.groups == 1 && steps_by_one { WINDOWS } else { FEW_WINDOWS };
    let alone = form.groups == 1 || (form.groups == form.c && form.c == form.m);
    if taps == 1 || form.rank() > 2 || form.windows() > few || !alone {
        return None;
    }
    let mut geometry = Geometry::new(form.groups);
    for slide in &form.slides {
        geometry.push(slide.stride, slide.dilation, slide.before, slide.behind);
    }
    geometry.push(1, 1, 0, 0);
    let given = &graph.node(node).inputs;
    Some(Found {
        x: given.first().copied().flatten()?,
        w: given.get(1).copied().flatten()?,
        bias: given.get(2).copied().flatten(),
        output: graph.node(node).outputs.first().copied().flatten()?,
        rank: form.rank(),
        geometry,
        dtype: view.x(0).ok()?.dtype(),
    })
}

fn write(pen: &mut Tape<'_>, found: &Found) -> ValueId {
    let rank = found.rank;
    let images_last: Vec<usize> = (1..rank + 2).chain([0]).collect();
    let images_first: Vec<usize> = [rank + 1].into_iter().chain(0..=rank).collect();
    let x = pen.transpose(found.x, &images_last);
    let x = pen.unsqueeze(x, &[0]);
    let w = pen.unsqueeze(found.w, &[rank + 2]);
    let y = found.geometry.emit_with(pen, "Conv", &[&[x, w], found.bias.as_slice()].concat());
    let y = pen.squeeze(y, &[0]);
    pen.transpose(y, &images_first)
}
