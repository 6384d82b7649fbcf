//! `Attention` of ONNX Runtime's own domain: x `[B, S, K]` times weights `[K, q + k + v]` plus a bias gives queries,
//! keys and values of `num_heads` heads.
//!
//! Specification: <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>. Heads and widths stay
//! where keys and values of the past are handed in or on, and with rotation inside the operator.

use super::gradient::{Attention, Positions, apart, give_scores, later, padding, together};
use super::{
    Heads, Operands, couple_scores, keep_scale, left, pin_others, products, scale, set_result, three, two,
};
use crate::ops::product::matmul::flat_gradient;
use crate::ops::{Axis, Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};
use crate::tensor::Tensor;

struct Packed;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&Packed];

static SPEC: Spec = Spec::microsoft(
    "Attention",
    2..=7,
    &[
        "do_rotary",
        "mask_filter_value",
        "num_heads",
        "past_present_share_buffer",
        "qkv_hidden_sizes",
        "rotary_embedding_dim",
        "scale",
        "unidirectional",
    ],
)
.outputs(1..=2);

const MASK: usize = 3;
const PAST: usize = 4;
const SCORES: usize = 5;

/// The heads, and how many columns of the weights make queries, keys and values.
fn layout(node: &NodeView<'_>) -> Result<(Heads, [usize; 3]), Unsupported> {
    let (x, weights) = (node.x(0)?, node.x(1)?);
    if x.rank() != 3 || weights.rank() != 2 || weights.dims()[0] != x.dims()[2] {
        return Err(Unsupported::new("x [B, S, K] and weights [K, q + k + v] do not fit"));
    }
    let all = weights.dims()[1];
    let sizes = match node.ints("qkv_hidden_sizes") {
        Some(sizes) => sizes.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect(),
        None => vec![all / 3; 3],
    };
    let sizes: [usize; 3] = sizes
        .try_into()
        .ok()
        .filter(|sizes: &[usize; 3]| {
            sizes.iter().try_fold(0_usize, |sum, &size| sum.checked_add(size)) == Some(all)
        })
        .ok_or_else(|| Unsupported(format!("{all} columns are no queries, keys and values")))?;
    if node.input(2).is_some_and(|bias| bias.dims() != [all]) {
        return Err(Unsupported(format!("the bias must have {all} elements")));
    }
    let heads = node.int("num_heads", 0);
    Ok((Heads::new(heads, heads, sizes[0], sizes[1], sizes[2])?, sizes))
}

/// Whether keys and values of the past are handed in or on.
fn has_cache(node: &NodeView<'_>) -> bool {
    node.input(PAST).is_some() || node.input(6).is_some() || node.output(1).is_some()
}

impl Operator for Packed {
    fn spec(&self) -> &Spec {
        &SPEC
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let (heads, [q, k, _]) = layout(node)?;
        pin_others(node, slots, 0, &[2]);
        for input in [MASK, PAST, 6] {
            pin_others(node, slots, input, &[]);
        }
        let (inner, rows) = (slots.input(0, 2), slots.input(1, 0));
        slots.contract(&inner, &rows);
        let mut columns = slots.input(1, 1);
        if node.input(2).is_some() {
            let bias = slots.input(2, 0);
            slots.tie(&columns, &bias);
            columns = columns.with_zero(columns.zero() && bias.zero());
        }
        if has_cache(node) || node.int("do_rotary", 0) != 0 {
            pin_others(node, slots, SCORES, &[]);
            slots.pin(&columns, "keys and values of the past, and rotations, have a fixed shape");
            return Ok(());
        }
        let value = columns.slice(q + k..columns.len());
        let operands = Operands {
            query: three(slots, &columns.slice(0..q), [heads.groups, 1, heads.width])?,
            key: two(slots, &columns.slice(q..q + k), [heads.groups, heads.width])?,
            value: two(slots, &value, [heads.groups, heads.value_width])?,
        };
        couple_scores(node, slots, SCORES, &operands)?;
        let result: [Axis; 3] = operands.couple(slots);
        set_result(node, slots, result)
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let (heads, sizes) = layout(node)?;
        if has_cache(node) || node.int("do_rotary", 0) != 0 {
            return Err(Unsupported::new(
                "keys and values of the past, and rotations, have no gradient here",
            ));
        }
        let (x, weights, dy) = (tape.x(0)?, tape.x(1)?, tape.dy0()?);
        let mut rows = tape.matmul(x, weights);
        if node.input(2).is_some() {
            let bias = tape.x(2)?;
            rows = tape.add(rows, bias);
        }
        let blocks =
            [[heads.groups, heads.width], [heads.groups, heads.width], [heads.groups, heads.value_width]];
        let mut start = 0;
        let [query, key, value] = [0, 1, 2].map(|place| {
            let end = start + sizes[place];
            let part = tape.slice(rows, &[2], &[start as i64], &[end as i64], &[1]);
            start = end;
            apart(tape, part, blocks[place])
        });
        let positions = Positions { operand: node.x(0)?, value: x, axis: 1 };
        let mut terms = Vec::new();
        if let Some(mask) = node.input(MASK) {
            let value = tape.x(MASK)?;
            terms.push(padding(tape, (mask, value), positions, node.float("mask_filter_value", -10_000.0))?);
        }
        if node.int("unidirectional", 0) != 0 {
            terms.push(later(tape, positions)?);
        }
        if node.input(SCORES).is_some() {
            terms.push(tape.x(SCORES)?);
        }
        let attention = Attention { query, key, value, scale: scale(node, heads), terms };
        let dy = apart(tape, dy, blocks[2]);
        let grads = attention.gradients(tape, dy);
        give_scores(node, tape, SCORES, grads.scores, heads)?;
        let parts = [grads.query, grads.key, grads.value];
        let parts: Vec<_> =
            parts.into_iter().zip(blocks).map(|(part, block)| together(tape, part, block)).collect();
        let rows = tape.concat(&parts, 2);
        if tape.wants(2) {
            let bias = tape.reduce_sum(rows, &[0, 1], false);
            tape.give(2, bias);
        }
        let wanted = [tape.wants(0), tape.wants(1)];
        let dims = [node.x(1)?.dims()[0], node.x(1)?.dims()[1]];
        let given = flat_gradient(tape, wanted, (x, 3), (weights, dims), rows);
        for (input, grad) in given.into_iter().enumerate() {
            if let Some(grad) = grad {
                tape.give(input, grad);
            }
        }
        Ok(())
    }

    /// The projections and the two products.
    fn macs(&self, node: &NodeView<'_>) -> u64 {
        let (Some(x), Some(weights), Some(y)) = (node.input(0), node.input(1), node.output(0)) else {
            return 0;
        };
        let ([samples, positions, _], [_, all], [_, _, values]) = (x.dims(), weights.dims(), y.dims()) else {
            return 0;
        };
        let past = node.input(PAST).and_then(|past| past.dims().get(3).copied()).unwrap_or(0);
        let projections = (samples * positions * weights.count()) as u64;
        projections + products(node, all.saturating_sub(*values) / 2, positions + past)
    }

    fn resize(&self, node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
        let (heads, sizes) = layout(node)?;
        let Some(kept) = cut.input(1, 1) else { return Ok(()) };
        let widths = [heads.width, heads.width, heads.value_width];
        let mut start = 0;
        let mut blocks = Vec::with_capacity(3);
        for (size, width) in sizes.into_iter().zip(widths) {
            let part: Vec<usize> = kept
                .iter()
                .filter(|&&index| (start..start + size).contains(&index))
                .map(|index| index - start)
                .collect();
            blocks.push(left(Some(&part), heads.groups, width)?);
            start += size;
        }
        if blocks.iter().any(|block| block[0] != blocks[0][0]) || blocks[0] != blocks[1] {
            return Err(Unsupported::new("queries, keys and values would have different heads"));
        }
        edit.attribute("num_heads", blocks[0][0] as i64);
        let sizes: Vec<i64> = blocks.iter().map(|[heads, width]| (heads * width) as i64).collect();
        edit.attribute("qkv_hidden_sizes", sizes);
        keep_scale(node, heads, blocks[0][1], edit);
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let case =
            |heads: i64| Example::microsoft("Attention").attribute("num_heads", heads).range(-1.0, 1.0);
        // Weights [6, 24] on [2, 3, 6]: 864 for the projections, 2 * 3 * 3 * 16 for the products.
        let plain = || case(2).computed(&[2, 3, 6]).weight(&[6, 24]).prunable(0, 2).macs(1152);
        let mask = Tensor::new(vec![2, 3], vec![1_i32, 1, 0, 1, 0, 0]);
        let mut examples = vec![
            plain().weight(&[24]),
            plain().attribute("scale", 0.3).attribute("unidirectional", 1).weight(&[24]),
            plain().weight(&[24]).absent().absent().weight(&[1, 2, 3, 3]),
            plain().weight(&[24]).absent().absent().weight(&[2, 1, 3, 3]),
            case(3)
                .attribute("qkv_hidden_sizes", vec![6, 6, 12])
                .computed(&[2, 3, 4])
                .computed(&[4, 24])
                .prunable(0, 2)
                .prunable(1, 1)
                .macs(576 + 324),
            plain().weight(&[24]).outputs(2).no_gradient(),
        ];
        if let Ok(lengths) = Tensor::new(vec![2], vec![2_i32, 3]) {
            examples.push(plain().weight(&[24]).constant(lengths));
        }
        examples.extend(mask.into_iter().map(|mask| plain().weight(&[24]).constant(mask)));
        examples
    }
}
