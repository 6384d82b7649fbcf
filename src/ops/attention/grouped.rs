//! `GroupQueryAttention` of ONNX Runtime's own domain: queries `[B, S, heads * width]` with keys and values
//! `[B, S, groups * width]`, or all three behind each other in one input, and caches of keys and values.
//!
//! Specification: <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>. One width serves queries,
//! keys and values, and runtimes want multiples of 8, so it stays. Quantised caches, norms of queries and keys and
//! scores as an output are not understood. There is no gradient: the operator is one of generation.

use super::{
    Heads, Operands, cached, couple_caches, couple_heads, couple_scores, extent, left_of, pin_others,
    products, query_axes, set_result, three, two,
};
use crate::ops::{Axis, Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};
use crate::tensor::Tensor;

struct Grouped;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&Grouped];

static SPEC: Spec = Spec::microsoft(
    "GroupQueryAttention",
    7..=12,
    &[
        "causal",
        "do_rotary",
        "kv_num_heads",
        "local_window_size",
        "num_heads",
        "rotary_interleaved",
        "scale",
        "smooth_softmax",
        "softcap",
    ],
)
.outputs(1..=3);

const PAST: [usize; 2] = [3, 4];
const SCORES: usize = 10;
const SINK: usize = 11;

fn counts(node: &NodeView<'_>) -> [i64; 2] {
    [node.int("num_heads", 0), node.int("kv_num_heads", 0)]
}

fn heads(node: &NodeView<'_>) -> Result<Heads, Unsupported> {
    let [queries, groups] = counts(node);
    let hidden = |input: usize| match *node.x(input)?.dims() {
        [_, _, hidden] => Ok(hidden),
        _ => Err(Unsupported::new("queries, keys and values must be [B, S, C]")),
    };
    if node.input(1).is_some() != node.input(2).is_some() {
        return Err(Unsupported::new("keys and values belong together"));
    }
    if node.input(1).is_some() {
        return Heads::new(queries, groups, hidden(0)?, hidden(1)?, hidden(2)?);
    }
    let rows = queries.checked_add(groups.saturating_mul(2)).and_then(|rows| usize::try_from(rows).ok());
    let width = rows
        .filter(|&rows| rows > 0 && groups > 0)
        .map(|rows| hidden(0).map(|all| all / rows))
        .transpose()?;
    let part = |heads: i64| usize::try_from(heads).ok()?.checked_mul(width?);
    match (part(queries), part(groups)) {
        (Some(q), Some(k)) if hidden(0)? == q + 2 * k => Heads::new(queries, groups, q, k, k),
        _ => Err(Unsupported::new("the packed queries, keys and values do not fit the heads")),
    }
}

/// The axes `[groups, shared, width]` of queries, `[groups, width]` of keys and of values.
fn operands(node: &NodeView<'_>, slots: &mut dyn Coupling, heads: Heads) -> Result<Operands, Unsupported> {
    let [k, q] = [heads.groups * heads.width, heads.queries() * heads.width];
    if node.input(1).is_some() {
        let pair = [heads.groups, heads.width];
        return Ok(Operands {
            query: query_axes(node, slots, 0, heads)?,
            key: super::key_axes(node, slots, 1, pair)?,
            value: super::key_axes(node, slots, 2, pair)?,
        });
    }
    pin_others(node, slots, 0, &[2]);
    let own: Axis = slots.input(0, 2);
    let pair = [heads.groups, heads.width];
    Ok(Operands {
        query: three(slots, &own.slice(0..q), [heads.groups, heads.shared, heads.width])?,
        key: two(slots, &own.slice(q..q + k), pair)?,
        value: two(slots, &own.slice(q + k..q + 2 * k), pair)?,
    })
}

impl Operator for Grouped {
    fn spec(&self) -> &Spec {
        &SPEC
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let heads = heads(node)?;
        let mut operands = operands(node, slots, heads)?;
        operands.pin_widths(slots, "queries, keys and values have one width, a multiple of 8");
        for input in 5..SCORES {
            pin_others(node, slots, input, &[]);
        }
        couple_caches(node, slots, &mut operands, PAST, [1, 2])?;
        couple_scores(node, slots, SCORES, &operands)?;
        if node.input(SINK).is_some() {
            couple_heads(slots, &operands, SINK, 0)?;
        }
        let result = operands.couple(slots);
        set_result(node, slots, result)
    }

    fn gradient(&self, _: &NodeView<'_>, _: &mut Tape<'_>) -> Result<(), Unsupported> {
        Err(Unsupported::new("the operator generates token by token and has no gradient here"))
    }

    /// The two products.
    fn macs(&self, node: &NodeView<'_>) -> u64 {
        let Some([hidden, positions]) = node.output(0).and_then(extent) else { return 0 };
        let present = node.output(1).and_then(|present| present.dims().get(2).copied());
        products(node, hidden, present.unwrap_or(positions + cached(node, PAST[0])))
    }

    fn resize(&self, node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
        let heads = heads(node)?;
        let (queries, groups) = if node.input(1).is_some() {
            let [queries, _] = left_of(node, cut, 0, [heads.queries(), heads.width])?;
            let [groups, _] = left_of(node, cut, 1, [heads.groups, heads.width])?;
            (queries, groups)
        } else {
            let Some(kept) = cut.input(0, 2) else { return Ok(()) };
            // The width stays, so what is left are whole heads.
            let before = kept.iter().filter(|&&index| index < heads.queries() * heads.width).count();
            (before / heads.width, (kept.len() - before) / heads.width / 2)
        };
        edit.attribute("num_heads", queries as i64);
        edit.attribute("kv_num_heads", groups as i64);
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let case = |queries: i64, groups: i64| {
            Example::microsoft("GroupQueryAttention")
                .attribute("num_heads", queries)
                .attribute("kv_num_heads", groups)
                .range(-1.0, 1.0)
                .no_gradient()
        };
        let lengths = |example: Example, past: usize| {
            let last = Tensor::new(vec![2], vec![2 + past as i32; 2]);
            let total = Tensor::scalar(3 + past as i32);
            last.into_iter().map(move |last| example.clone().constant(last).constant(total.clone()))
        };
        let three = |queries: usize, groups: usize| {
            case(queries as i64, groups as i64)
                .computed(&[2, 3, queries * 8])
                .computed(&[2, 3, groups * 8])
                .computed(&[2, 3, groups * 8])
        };
        // 2 * 3 * 3 * (8 + 8) for each query head.
        let mut examples: Vec<Example> = Vec::new();
        examples.extend(lengths(three(4, 2).prunable(0, 2).prunable(1, 2).absent().absent().outputs(3), 0));
        examples.extend(lengths(three(2, 2).prunable(0, 2).prunable(2, 2).absent().absent().outputs(3), 0));
        let packed = case(4, 2).computed(&[2, 3, 64]).prunable(0, 2);
        examples.extend(lengths(packed.absent().absent().absent().absent().outputs(3), 0));
        for example in &mut examples {
            example.macs = if example.attributes.int("num_heads") == Some(4) { 1152 } else { 576 };
        }
        examples
    }
}
