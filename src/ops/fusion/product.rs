//! Products of matrices with the transpositions of their operands and of their result.

use super::{Fusion, is_onnx};
use crate::ir::{Node, NodeId, NodeSpec, ValueId};
use crate::kernels::DOMAIN;
use crate::kernels::product;
use crate::tensor::DType;

/// A tensor whose axes are taken in this order.
struct View {
    value: ValueId,
    order: Vec<usize>,
}

fn is_whole(order: &[usize]) -> bool {
    order.iter().copied().eq(0..order.len())
}

/// The order in which a `Transpose` of so many axes takes them.
fn order_of(node: &Node, rank: usize) -> Option<Vec<usize>> {
    if !is_onnx(node) || node.op_type != "Transpose" {
        return None;
    }
    let Some(order) = node.attributes.ints("perm") else { return Some((0..rank).rev().collect()) };
    let order: Vec<usize> = order.iter().map(|&axis| usize::try_from(axis).ok()).collect::<Option<_>>()?;
    (order.len() == rank).then_some(order)
}

impl Fusion<'_> {
    /// The node as one that multiplies matrices where they lie, with what it reads: a product, or the transposition of
    /// one that nobody else reads.
    pub(super) fn product(&self, id: NodeId) -> Option<(Vec<ValueId>, NodeSpec)> {
        let node = self.graph.node(id);
        let output = node.outputs.first().copied().flatten()?;
        let input = node.inputs.first().copied().flatten()?;
        let rank = self.seen.dims(input)?.len();
        let Some(order) = order_of(node, rank) else { return self.multiplied(node, None) };
        let inner = self.producer(input)?;
        let alone = self.consumers[input.index()].len() == 1 && !self.graph.outputs().contains(&input);
        (alone && output != input).then(|| self.multiplied(self.graph.node(inner), Some(order))).flatten()
    }

    fn multiplied(&self, node: &Node, order: Option<Vec<usize>>) -> Option<(Vec<ValueId>, NodeSpec)> {
        let [Some(a), Some(b)] = node.inputs[..] else { return None };
        if !is_onnx(node) || node.outputs.len() != 1 {
            return None;
        }
        let (turned, factor) = match node.op_type.as_str() {
            "MatMul" => ([false; 2], 1.0),
            "Gemm" => {
                let is_set = |name| node.attributes.int(name).unwrap_or(0) != 0;
                ([is_set("transA"), is_set("transB")], node.attributes.float("alpha").unwrap_or(1.0))
            }
            _ => return None,
        };
        let views = [self.view(a, turned[0])?, self.view(b, turned[1])?];
        let inputs: Vec<ValueId> = views.iter().map(|view| view.value).collect();
        let mut spec = NodeSpec::new(product::OPERATOR, &inputs).domain(DOMAIN);
        let orders = views.into_iter().map(|view| view.order).chain(order);
        for (name, order) in product::ORDERS.into_iter().zip(orders).filter(|(_, order)| !is_whole(order)) {
            let order: Vec<i64> = order.into_iter().map(|axis| axis as i64).collect();
            spec = spec.attribute(name, order);
        }
        if factor != 1.0 {
            spec = spec.attribute(product::FACTOR, factor);
        }
        Some((inputs, spec))
    }

    /// An operand before it was transposed.
    fn view(&self, operand: ValueId, turned: bool) -> Option<View> {
        let rank = self.seen.dims(operand)?.len();
        if self.seen.dtype(operand) != Some(DType::F32) || rank < 2 {
            return None;
        }
        let mut order: Vec<usize> = (0..rank).collect();
        if turned {
            order.swap(rank - 2, rank - 1);
        }
        let mut value = operand;
        while let Some(node) = self.producer(value).map(|id| self.graph.node(id)) {
            let (Some(before), Some(source)) = (order_of(node, rank), node.inputs.first().copied().flatten())
            else {
                break;
            };
            for axis in &mut order {
                *axis = before[*axis];
            }
            value = source;
        }
        Some(View { value, order })
    }
}
