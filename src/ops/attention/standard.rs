//! `Attention` of ONNX: queries, keys and values `[B, heads, S, width]`, or `[B, S, heads * width]` with the numbers
//! of heads as attributes.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__Attention.html> (since version 23). Version 24 added the
//! number of keys that are no padding, version 25 windows.

use super::gradient::{Attention, Positions, apart, give_scores, later, together};
use super::{
    Heads, Operands, couple_caches, couple_scores, keep_scale, key_axes, left_of, pin_others,
    products_of_operands, query_axes, scale, set_result,
};
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};
use crate::tensor::{DType, Tensor};

struct Standard;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&Standard];

static SPEC: Spec = Spec::onnx(
    "Attention",
    3..=7,
    &[
        "is_causal",
        "kv_num_heads",
        "left_window_size",
        "q_num_heads",
        "qk_matmul_output_mode",
        "right_window_size",
        "scale",
        "softcap",
        "softmax_precision",
    ],
)
.versions(23..=NEWEST_OPSET)
.outputs(1..=4);

const MASK: usize = 3;
const PAST: [usize; 2] = [4, 5];

fn heads(node: &NodeView<'_>) -> Result<Heads, Unsupported> {
    if node.has("scale") && node.float("scale", 0.0) == 0.0 {
        return Err(Unsupported::new("the scale is zero"));
    }
    match [node.x(0)?.dims(), node.x(1)?.dims(), node.x(2)?.dims()] {
        [&[_, _, q], &[_, _, k], &[_, _, v]] => {
            Heads::new(node.int("q_num_heads", 0), node.int("kv_num_heads", 0), q, k, v)
        }
        [&[_, queries, _, width], &[_, groups, _, key_width], &[_, values, _, value_width]]
            if groups == values =>
        {
            let (q, k) = (queries * width, groups * key_width);
            Heads::new(queries as i64, groups as i64, q, k, groups * value_width)
        }
        _ => Err(Unsupported::new("queries, keys and values must all be [B, S, C] or [B, heads, S, width]")),
    }
}

impl Operator for Standard {
    fn spec(&self) -> &Spec {
        &SPEC
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let heads = heads(node)?;
        let mut operands = Operands {
            query: query_axes(node, slots, 0, heads)?,
            key: key_axes(node, slots, 1, [heads.groups, heads.width])?,
            value: key_axes(node, slots, 2, [heads.groups, heads.value_width])?,
        };
        pin_others(node, slots, 6, &[]);
        couple_caches(node, slots, &mut operands, PAST, [1, 2])?;
        couple_scores(node, slots, MASK, &operands)?;
        let result = operands.couple(slots);
        if node.output(3).is_some() {
            let scores = slots.merge(&[result[0].with_zero(false), result[1].clone()]);
            slots.set(3, 1, scores);
        }
        set_result(node, slots, result)
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let heads = heads(node)?;
        let other = (1..4).any(|output| tape.dy(output).is_some());
        if other || node.input(PAST[0]).is_some() || node.input(6).is_some() {
            return Err(Unsupported::new("caches and scores have no gradient here"));
        }
        let windows = ["left_window_size", "right_window_size"].iter().any(|name| node.int(name, -1) >= 0);
        if heads.shared > 1 || windows || node.float("softcap", 0.0) != 0.0 {
            return Err(Unsupported::new("shared heads, windows and softcap have no gradient here"));
        }
        let dy = tape.dy0()?;
        let apart_in_heads = node.x(0)?.rank() == 4;
        let pair = [heads.groups, heads.width];
        let blocks = [pair, pair, [heads.groups, heads.value_width]];
        let mut values = Vec::with_capacity(4);
        for (value, block) in
            [tape.x(0)?, tape.x(1)?, tape.x(2)?, dy].into_iter().zip(blocks.into_iter().chain([blocks[2]]))
        {
            values.push(if apart_in_heads { value } else { apart(tape, value, block) });
        }
        let mut terms = Vec::new();
        if let Some(mask) = node.input(MASK) {
            let key = node.x(1)?;
            let keys = key.rank() - 2;
            if mask.dims().last() != Some(&key.dims()[keys]) {
                return Err(Unsupported::new("a mask shorter than the keys has no gradient here"));
            }
            let mut value = tape.x(MASK)?;
            if mask.dtype() == DType::Bool {
                let hidden = tape.op("Not", &[value]);
                let hidden = tape.indicator(hidden);
                value = tape.scale(hidden, -1e9);
            }
            terms.push(value);
        }
        if node.int("is_causal", 0) != 0 {
            let (query, key) = (node.x(0)?, node.x(1)?);
            let axis = query.rank() - 2;
            if query.dims()[axis] != key.dims()[axis] {
                return Err(Unsupported::new("a causal mask that is not square has no gradient here"));
            }
            let value = tape.x(0)?;
            terms.push(later(tape, Positions { operand: query, value, axis })?);
        }
        let attention = Attention {
            query: values[0],
            key: values[1],
            value: values[2],
            scale: scale(node, heads),
            terms,
        };
        let grads = attention.gradients(tape, values[3]);
        if node.input(MASK).is_some_and(|mask| mask.dtype() != DType::Bool) {
            give_scores(node, tape, MASK, grads.scores, heads)?;
        }
        for (input, grad) in [grads.query, grads.key, grads.value].into_iter().enumerate() {
            if tape.wants(input) {
                let grad = if apart_in_heads { grad } else { together(tape, grad, blocks[input]) };
                tape.give(input, grad);
            }
        }
        Ok(())
    }

    /// The two products.
    fn macs(&self, node: &NodeView<'_>) -> u64 {
        products_of_operands(node, PAST[0])
    }

    fn resize(&self, node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
        let heads = heads(node)?;
        let [queries, width] = left_of(node, cut, 0, [heads.queries(), heads.width])?;
        let [groups, key_width] = left_of(node, cut, 1, [heads.groups, heads.width])?;
        let [values, _] = left_of(node, cut, 2, [heads.groups, heads.value_width])?;
        if key_width != width || values != groups {
            return Err(Unsupported::new("queries, keys and values would have different heads"));
        }
        for (name, count) in [("q_num_heads", queries), ("kv_num_heads", groups)] {
            if node.has(name) {
                edit.attribute(name, count as i64);
            }
        }
        keep_scale(node, heads, width, edit);
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let case = || Example::new("Attention").opset(23).range(-1.0, 1.0);
        let flat = |queries: usize, groups: usize| {
            case()
                .attribute("q_num_heads", queries as i64)
                .attribute("kv_num_heads", groups as i64)
                .computed(&[2, 3, queries * 4])
                .computed(&[2, 5, groups * 4])
                .computed(&[2, 5, groups * 3])
                .prunable(0, 2)
                .prunable(1, 2)
                .prunable(2, 2)
                .macs(queries as u64 * 210)
        };
        let heads = |queries: usize, groups: usize| {
            case()
                .computed(&[2, queries, 3, 4])
                .computed(&[2, groups, 3, 4])
                .computed(&[2, groups, 3, 5])
                .prunable(0, 1)
                .prunable(0, 3)
                .prunable(1, 1)
                .prunable(2, 3)
                .macs(queries as u64 * 162)
        };
        let mut examples = vec![
            flat(2, 2),
            flat(2, 2).opset(24).attribute("scale", 0.3).weight(&[3, 5]),
            flat(4, 2).weight(&[4, 3, 5]).no_gradient(),
            heads(2, 2).attribute("is_causal", 1),
            heads(2, 2).weight(&[2, 1, 3, 3]),
            heads(2, 2).weight(&[2, 2, 3, 3]),
            heads(4, 2).attribute("softcap", 2.0).no_gradient(),
            heads(2, 2)
                .absent()
                .computed(&[2, 2, 2, 4])
                .computed(&[2, 2, 2, 5])
                .outputs(4)
                .prunable(4, 1)
                .prunable(5, 3)
                .macs(540)
                .no_gradient(),
        ];
        let mask = Tensor::new(vec![3, 5], (0..15).map(|index| index % 4 != 1).collect::<Vec<bool>>());
        examples.extend(mask.into_iter().map(|mask| flat(2, 2).constant(mask)));
        examples
    }
}
