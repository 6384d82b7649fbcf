//! `MultiHeadAttention` of ONNX Runtime's own domain: queries `[B, S, q]`, keys `[B, T, q]` and values `[B, T, v]`, or
//! keys and values `[B, heads, T, width]`, plus a bias `[q + q + v]`.
//!
//! Specification: <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>. Packed queries, keys and
//! values, shared cache buffers and scores as an output are not understood.

use super::gradient::{Attention, Positions, apart, give_scores, later, padding, together};
use super::{
    Heads, Operands, couple_caches, couple_scores, keep_scale, key_axes, left_of, pin_others,
    products_of_operands, query_axes, scale, set_result, three, two,
};
use crate::ir::ValueId;
use crate::ops::{Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};
use crate::tensor::Tensor;

struct MultiHead;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&MultiHead];

static SPEC: Spec = Spec::microsoft(
    "MultiHeadAttention",
    3..=8,
    &["mask_filter_value", "num_heads", "scale", "unidirectional"],
)
.outputs(1..=3);

const BIAS: usize = 3;
const MASK: usize = 4;
const SCORES: usize = 5;
const PAST: [usize; 2] = [6, 7];

/// The heads, and how many elements of the bias belong to queries, keys and values.
fn layout(node: &NodeView<'_>) -> Result<(Heads, [usize; 3]), Unsupported> {
    let (query, key, value) = (node.x(0)?, node.x(1)?, node.x(2)?);
    if query.rank() != 3 || key.rank() != value.rank() {
        return Err(Unsupported::new("queries, keys and values are packed"));
    }
    let count = node.int("num_heads", 0);
    let hidden = |operand: &crate::ops::Operand<'_>| match *operand.dims() {
        [_, _, hidden] => Ok(hidden),
        [_, heads, _, width] if i64::try_from(heads) == Ok(count) => Ok(heads * width),
        _ => Err(Unsupported::new("keys and values must be [B, T, C] or [B, heads, T, width]")),
    };
    let sizes = [hidden(query)?, hidden(key)?, hidden(value)?];
    if node.input(BIAS).is_some_and(|bias| bias.dims() != [sizes.iter().sum::<usize>()]) {
        return Err(Unsupported::new("the bias does not fit queries, keys and values"));
    }
    Ok((Heads::new(count, count, sizes[0], sizes[1], sizes[2])?, sizes))
}

impl Operator for MultiHead {
    fn spec(&self) -> &Spec {
        &SPEC
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let (heads, [q, k, _]) = layout(node)?;
        let mut operands = Operands {
            query: query_axes(node, slots, 0, heads)?,
            key: key_axes(node, slots, 1, [heads.groups, heads.width])?,
            value: key_axes(node, slots, 2, [heads.groups, heads.value_width])?,
        };
        if node.input(BIAS).is_some() {
            let bias = slots.input(BIAS, 0);
            let query = three(slots, &bias.slice(0..q), [heads.groups, 1, heads.width])?;
            let key = two(slots, &bias.slice(q..q + k), [heads.groups, heads.width])?;
            let value = two(slots, &bias.slice(q + k..bias.len()), [heads.groups, heads.value_width])?;
            let own = operands.query.iter_mut().chain(&mut operands.key).chain(&mut operands.value);
            for (own, other) in own.zip(query.iter().chain(&key).chain(&value)) {
                slots.tie(own, other);
                let zero = own.zero() && other.zero();
                *own = if own.is_fixed() { other.with_zero(zero) } else { own.with_zero(zero) };
            }
        }
        pin_others(node, slots, MASK, &[]);
        couple_caches(node, slots, &mut operands, PAST, [1, 2])?;
        if node.input(PAST[0]).is_some() || node.x(1)?.rank() == 4 {
            operands.pin_widths(slots, "keys and values of this form have one width");
        }
        couple_scores(node, slots, SCORES, &operands)?;
        let result = operands.couple(slots);
        set_result(node, slots, result)
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let (heads, sizes) = layout(node)?;
        if node.input(PAST[0]).is_some() || tape.dy(1).is_some() || tape.dy(2).is_some() {
            return Err(Unsupported::new("caches of keys and values have no gradient here"));
        }
        if node.input(BIAS).is_some() && node.x(1)?.rank() == 4 {
            return Err(Unsupported::new("a bias on keys and values apart in heads has no gradient here"));
        }
        let dy = tape.dy0()?;
        let blocks =
            [[heads.groups, heads.width], [heads.groups, heads.width], [heads.groups, heads.value_width]];
        let mut start = 0;
        let mut values: Vec<ValueId> = Vec::with_capacity(3);
        for place in 0..3 {
            let mut value = tape.x(place)?;
            if node.input(BIAS).is_some() {
                let (bias, end) = (tape.x(BIAS)?, start + sizes[place]);
                let part = tape.slice(bias, &[0], &[start as i64], &[end as i64], &[1]);
                value = tape.add(value, part);
                start = end;
            }
            values.push(if node.x(place)?.rank() == 3 { apart(tape, value, blocks[place]) } else { value });
        }
        let key = node.x(1)?;
        let keys = Positions { operand: key, value: tape.x(1)?, axis: key.rank() - 2 };
        let mut terms = Vec::new();
        if let Some(mask) = node.input(MASK) {
            let value = tape.x(MASK)?;
            terms.push(padding(tape, (mask, value), keys, node.float("mask_filter_value", -10_000.0))?);
        }
        if node.int("unidirectional", 0) != 0 {
            if node.x(0)?.dims()[1] != keys.operand.dims()[keys.axis] {
                return Err(Unsupported::new("a causal mask that is not square has no gradient here"));
            }
            terms.push(later(tape, keys)?);
        }
        if node.input(SCORES).is_some() {
            terms.push(tape.x(SCORES)?);
        }
        let attention = Attention {
            query: values[0],
            key: values[1],
            value: values[2],
            scale: scale(node, heads),
            terms,
        };
        let dy = apart(tape, dy, blocks[2]);
        let grads = attention.gradients(tape, dy);
        give_scores(node, tape, SCORES, grads.scores, heads)?;
        let mut biases = Vec::with_capacity(3);
        for (place, grad) in [grads.query, grads.key, grads.value].into_iter().enumerate() {
            let grad = if node.x(place)?.rank() == 3 { together(tape, grad, blocks[place]) } else { grad };
            if tape.wants(BIAS) {
                biases.push(tape.reduce_sum(grad, &[0, 1], false));
            }
            if tape.wants(place) {
                tape.give(place, grad);
            }
        }
        if tape.wants(BIAS) {
            let bias = tape.concat(&biases, 0);
            tape.give(BIAS, bias);
        }
        Ok(())
    }

    /// The two products.
    fn macs(&self, node: &NodeView<'_>) -> u64 {
        products_of_operands(node, PAST[0])
    }

    fn resize(&self, node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
        let (heads, _) = layout(node)?;
        let [count, width] = left_of(node, cut, 0, [heads.groups, heads.width])?;
        let key = left_of(node, cut, 1, [heads.groups, heads.width])?;
        let [values, _] = left_of(node, cut, 2, [heads.groups, heads.value_width])?;
        if key != [count, width] || values != count {
            return Err(Unsupported::new("queries, keys and values would have different heads"));
        }
        edit.attribute("num_heads", count as i64);
        keep_scale(node, heads, width, edit);
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let case = || {
            Example::microsoft("MultiHeadAttention")
                .attribute("num_heads", 2)
                .range(-1.0, 1.0)
                .computed(&[2, 3, 8])
                .prunable(0, 2)
        };
        // 2 * 3 * 5 * (8 + 6)
        let wide =
            || case().computed(&[2, 5, 8]).computed(&[2, 5, 6]).prunable(1, 2).prunable(2, 2).macs(420);
        // 2 * 3 * 3 * (8 + 8)
        let own = || case().computed(&[2, 3, 8]).computed(&[2, 3, 8]).prunable(1, 2).prunable(2, 2).macs(288);
        let mask = Tensor::new(vec![2, 5], vec![1_i32, 1, 0, 1, 0, 0, 1, 1, 1, 1]);
        let mut examples = vec![
            wide(),
            wide().attribute("scale", 0.3).weight(&[22]),
            own().attribute("unidirectional", 1).weight(&[24]),
            wide().absent().absent().weight(&[2, 2, 3, 5]),
            wide().absent().absent().weight(&[1, 1, 3, 5]),
            own().outputs(3),
            case().computed(&[2, 2, 5, 4]).computed(&[2, 2, 5, 4]).prunable(1, 1).prunable(2, 1).macs(480),
            case()
                .computed(&[2, 3, 8])
                .computed(&[2, 3, 8])
                .absent()
                .absent()
                .absent()
                .computed(&[2, 2, 4, 4])
                .computed(&[2, 2, 4, 4])
                .prunable(1, 2)
                .prunable(6, 1)
                .outputs(3)
                .no_gradient()
                .macs(672),
        ];
        if let Ok(lengths) = Tensor::new(vec![2], vec![2_i32, 5]) {
            examples.push(wide().absent().constant(lengths));
        }
        examples.extend(mask.into_iter().map(|mask| wide().absent().constant(mask)));
        examples
    }
}
