//! Convolutions as kernels of this program, for training graphs that run on an engine that has them, where standard
//! operators are slower.

use super::{Form, conv};
use crate::ir::{Facts, Graph, NodeId, NodeSpec, ValueId};
use crate::kernels::{DOMAIN, convolution};
use crate::ops::{NodeView, Tape};
use crate::tensor::DType;

/// Up to so many windows an image, and for one tap, standard operators over all channels of a group are as fast: their
/// products of matrices are large enough.
const FEW_WINDOWS: usize = 36;

/// Whether the kernel can do the convolution, and is the faster one: one or two spatial axes, known padding.
fn fits(form: &Form, dtype: DType) -> bool {
    let taps: usize = form.slides.iter().map(|slide| slide.kernel).product();
    dtype == DType::F32
        && ((form.groups > 1 && form.groups == form.c) || (taps > 1 && form.windows() > FEW_WINDOWS))
        && matches!(form.rank(), 1 | 2)
        && form.require_steady_pads().is_ok()
}

fn spec(op_type: &str, form: &Form, inputs: &[ValueId]) -> NodeSpec {
    let ints = |of: fn(&super::Slide) -> usize| form.slides.iter().map(move |slide| of(slide) as i64);
    NodeSpec::new(op_type, inputs)
        .domain(DOMAIN)
        .attribute(convolution::STRIDES, ints(|slide| slide.stride).collect::<Vec<_>>())
        .attribute(convolution::DILATIONS, ints(|slide| slide.dilation).collect::<Vec<_>>())
        .attribute(
            convolution::PADS,
            ints(|slide| slide.before).chain(ints(|slide| slide.behind)).collect::<Vec<_>>(),
        )
}

/// Gives the gradients of `x` and `w` if the kernel can compute them; says whether it did.
pub(super) fn give(tape: &mut Tape<'_>, form: &Form, [x, w, dy]: [ValueId; 3]) -> bool {
    if !tape.kernels() || !fits(form, tape.dtype()) {
        return false;
    }
    tape.give_by(spec(convolution::GRADIENT, form, &[x, w, dy]), 2);
    true
}

/// Makes every convolution that the kernel can do one of the kernel's. Ensures the same values up to rounding.
pub fn convolve_by_kernel(graph: &mut Graph, facts: &Facts, opset: i64) {
    let nodes: Vec<NodeId> =
        graph.nodes().filter(|(_, node)| conv::CONV.spec().names(node)).map(|(id, _)| id).collect();
    for id in nodes {
        let Some(spec) = forward(graph, facts, id, opset) else { continue };
        graph.replace_node(id, |graph| vec![Some(graph.add("convolved", spec))]);
    }
}

fn forward(graph: &Graph, facts: &Facts, node: NodeId, opset: i64) -> Option<NodeSpec> {
    let view = NodeView::new(graph, facts, node, opset);
    if !conv::CONV.spec().admits(&view) {
        return None;
    }
    let form = conv::form(&view).ok()?;
    let inputs: Vec<ValueId> = graph.node(node).inputs.iter().flatten().copied().collect();
    fits(&form, view.x(0).ok()?.dtype()).then(|| spec(convolution::FORWARD, &form, &inputs))
}
