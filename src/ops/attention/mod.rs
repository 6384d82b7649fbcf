//! Attention as one operator: `softmax(scale * q @ k^T + mask) @ v` for each head, and the rotation of positions.
//!
//! A head leaves from queries, keys, values and the result at once. Where several query heads share a head of keys and
//! values, either a head of keys leaves with all its query heads, or the query heads with the same place under each
//! head of keys. A place in the width of queries and keys ends in the product of the two; the scale is then written
//! out, because its default follows the width. Nothing here knows what the positions are: their axes are pinned.

mod gradient;
pub(super) mod grouped;
pub(super) mod multi_head;
pub(super) mod packed;
pub(super) mod rotary;
pub(super) mod standard;

use std::collections::BTreeSet;

use super::{Axis, Coupling, Cut, NodeEdit, NodeView, Operand, Unsupported};

const POSITIONS: &str = "an attention keeps its samples and positions";

/// How many heads there are, and how wide they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heads {
    /// Heads of keys and values.
    groups: usize,
    /// Query heads for each of them.
    shared: usize,
    /// Width of queries and keys in one head.
    width: usize,
    /// Width of values in one head.
    value_width: usize,
}

impl Heads {
    /// `queries` and `groups` heads for queries `[.., hidden]`, keys and values.
    fn new(
        queries: i64,
        groups: i64,
        hidden: usize,
        key_hidden: usize,
        value_hidden: usize,
    ) -> Result<Self, Unsupported> {
        let count = |heads: i64| usize::try_from(heads).ok().filter(|&heads| heads > 0);
        let wrong = || {
            Unsupported(format!(
                "{queries} query heads and {groups} heads of keys do not divide {hidden}, {key_hidden} and \
                 {value_hidden}"
            ))
        };
        let (queries, groups) = count(queries).zip(count(groups)).ok_or_else(wrong)?;
        let divides =
            queries % groups == 0 && hidden.is_multiple_of(queries) && value_hidden.is_multiple_of(groups);
        let heads = Self {
            groups,
            shared: queries / groups,
            width: hidden / queries,
            value_width: value_hidden / groups,
        };
        if divides && key_hidden == groups * heads.width { Ok(heads) } else { Err(wrong()) }
    }

    fn queries(&self) -> usize {
        self.groups * self.shared
    }
}

/// Multiply-accumulates of the products of an operator with queries `hidden` wide over all heads, for `keys` keys.
/// Masks change nothing. Counted by dimensions alone: those that are asked for may be smaller than the attributes say.
fn products(node: &NodeView<'_>, hidden: usize, keys: usize) -> u64 {
    let Some(y) = node.output(0) else { return 0 };
    let (samples, queries, result) = match *y.dims() {
        [samples, queries, hidden] => (samples, queries, hidden),
        [samples, heads, queries, width] => (samples, queries, heads * width),
        _ => return 0,
    };
    (samples * queries * keys * (hidden + result)) as u64
}

/// The same where queries and keys are inputs 0 and 1, and earlier keys come from the cache `past`.
fn products_of_operands(node: &NodeView<'_>, past: usize) -> u64 {
    match (node.input(0).and_then(extent), node.input(1).and_then(extent)) {
        (Some([hidden, _]), Some([_, keys])) => products(node, hidden, keys + cached(node, past)),
        _ => 0,
    }
}

/// The width of an operand `[B, S, heads * width]` or `[B, heads, S, width]` over all heads, and its positions.
fn extent(operand: &Operand<'_>) -> Option<[usize; 2]> {
    match *operand.dims() {
        [_, positions, hidden] => Some([hidden, positions]),
        [_, heads, positions, width] => Some([heads * width, positions]),
        _ => None,
    }
}

/// The positions of a cache `[B, heads, T, width]`; none where there is no cache.
fn cached(node: &NodeView<'_>, input: usize) -> usize {
    node.input(input).and_then(|cache| cache.dims().get(2).copied()).unwrap_or(0)
}

/// The axes of queries `[groups, shared, width]`, keys `[groups, width]` and values `[groups, value width]`.
struct Operands {
    query: [Axis; 3],
    key: [Axis; 2],
    value: [Axis; 2],
}

impl Operands {
    /// Couples them; returns the axes `[groups, shared, value width]` of the result.
    fn couple(&self, slots: &mut dyn Coupling) -> [Axis; 3] {
        slots.tie(&self.query[0], &self.value[0]);
        slots.tie(&self.key[0], &self.value[0]);
        slots.contract(&self.query[2], &self.key[1]);
        // Queries of zeros weigh all values alike: only where the values are zero is the result.
        [self.value[0].clone(), self.query[1].with_zero(false), self.value[1].clone()]
    }

    /// The widths may not shrink.
    fn pin_widths(&self, slots: &mut dyn Coupling, reason: &str) {
        for axis in [&self.query[2], &self.key[1], &self.value[1]] {
            slots.pin(axis, reason);
        }
    }
}

fn three(slots: &mut dyn Coupling, axis: &Axis, sizes: [usize; 3]) -> Result<[Axis; 3], Unsupported> {
    slots.split(axis, &sizes).try_into().map_err(|_| Unsupported::new("the axis cannot be seen as heads"))
}

fn two(slots: &mut dyn Coupling, axis: &Axis, sizes: [usize; 2]) -> Result<[Axis; 2], Unsupported> {
    slots.split(axis, &sizes).try_into().map_err(|_| Unsupported::new("the axis cannot be seen as heads"))
}

/// Pins the axes of an input but for those in `free`.
fn pin_others(node: &NodeView<'_>, slots: &mut dyn Coupling, input: usize, free: &[usize]) {
    let rank = node.input(input).map_or(0, Operand::rank);
    for axis in (0..rank).filter(|axis| !free.contains(axis)) {
        let own = slots.input(input, axis);
        slots.pin(&own, POSITIONS);
    }
}

/// The axes `[heads.., width]` of an input `[B, S, heads * width]` or `[B, heads, S, width]`.
fn query_axes(
    node: &NodeView<'_>,
    slots: &mut dyn Coupling,
    input: usize,
    heads: Heads,
) -> Result<[Axis; 3], Unsupported> {
    let sizes = [heads.groups, heads.shared, heads.width];
    if node.x(input)?.rank() == 3 {
        pin_others(node, slots, input, &[2]);
        let own = slots.input(input, 2);
        return three(slots, &own, sizes);
    }
    pin_others(node, slots, input, &[1, 3]);
    let own = slots.input(input, 1);
    let [groups, shared] = two(slots, &own, [heads.groups, heads.shared])?;
    Ok([groups, shared, slots.input(input, 3)])
}

/// The same for an input of keys or values.
fn key_axes(
    node: &NodeView<'_>,
    slots: &mut dyn Coupling,
    input: usize,
    sizes: [usize; 2],
) -> Result<[Axis; 2], Unsupported> {
    if node.x(input)?.rank() == 3 {
        pin_others(node, slots, input, &[2]);
        let own = slots.input(input, 2);
        return two(slots, &own, sizes);
    }
    pin_others(node, slots, input, &[1, 3]);
    Ok([slots.input(input, 1), slots.input(input, 3)])
}

/// Sets the result `[B, S, heads * width]` or `[B, heads, S, width]`.
fn set_result(node: &NodeView<'_>, slots: &mut dyn Coupling, result: [Axis; 3]) -> Result<(), Unsupported> {
    if node.y(0)?.rank() == 3 {
        let whole = slots.merge(&result);
        slots.set(0, 2, whole);
        return Ok(());
    }
    let [groups, shared, width] = result;
    let heads = slots.merge(&[groups, shared]);
    slots.set(0, 1, heads);
    slots.set(0, 3, width);
    Ok(())
}

/// Couples an input that is broadcast to the scores `[B, heads, S, T]`, axes counted from the back.
fn couple_scores(
    node: &NodeView<'_>,
    slots: &mut dyn Coupling,
    input: usize,
    operands: &Operands,
) -> Result<(), Unsupported> {
    let Some(scores) = node.input(input) else { return Ok(()) };
    if scores.rank() > 4 {
        return Err(Unsupported(format!("input {input} has more than 4 axes")));
    }
    let heads = scores.rank().checked_sub(3).filter(|&axis| scores.dims()[axis] > 1);
    pin_others(node, slots, input, heads.as_slice());
    if let Some(axis) = heads {
        couple_heads(slots, operands, input, axis)?;
    }
    Ok(())
}

/// Ties an axis that has one index for each query head.
fn couple_heads(
    slots: &mut dyn Coupling,
    operands: &Operands,
    input: usize,
    axis: usize,
) -> Result<(), Unsupported> {
    let own = slots.input(input, axis);
    let [groups, shared, _] = &operands.query;
    if own.len() != groups.len() * shared.len() {
        return Err(Unsupported(format!("axis {axis} of input {input} is not one of heads")));
    }
    let parts = two(slots, &own, [groups.len(), shared.len()])?;
    slots.tie(&parts[0], groups);
    slots.tie(&parts[0], &operands.value[0]);
    slots.tie(&parts[1], shared);
    Ok(())
}

/// Couples caches `[B, groups, T, width]` of keys and of values: those of the past and those that are handed on. The
/// axes of keys and values become those of past and present together.
fn couple_caches(
    node: &NodeView<'_>,
    slots: &mut dyn Coupling,
    operands: &mut Operands,
    past: [usize; 2],
    present: [usize; 2],
) -> Result<(), Unsupported> {
    if node.input(past[0]).is_some() != node.input(past[1]).is_some() {
        return Err(Unsupported::new("the caches of keys and values belong together"));
    }
    for (place, own) in [&mut operands.key, &mut operands.value].into_iter().enumerate() {
        if let Some(cache) = node.input(past[place]) {
            if cache.rank() != 4 || [cache.dims()[1], cache.dims()[3]] != [own[0].len(), own[1].len()] {
                return Err(Unsupported(format!("input {} is no cache of these heads", past[place])));
            }
            pin_others(node, slots, past[place], &[1, 3]);
            for (own, axis) in own.iter_mut().zip([1, 3]) {
                let cached = slots.input(past[place], axis);
                slots.tie(own, &cached);
                *own = own.with_zero(own.zero() && cached.zero());
            }
        }
        for (own, axis) in own.iter().zip([1, 3]) {
            slots.set(present[place], axis, own.clone());
        }
    }
    Ok(())
}

/// What is left of an axis `[heads, width]`.
fn left(kept: Option<&[usize]>, heads: usize, width: usize) -> Result<[usize; 2], Unsupported> {
    let Some(kept) = kept else { return Ok([heads, width]) };
    let rows: BTreeSet<usize> = kept.iter().map(|&index| index / width).collect();
    let columns: BTreeSet<usize> = kept.iter().map(|&index| index % width).collect();
    if rows.len() * columns.len() == kept.len() {
        Ok([rows.len(), columns.len()])
    } else {
        Err(Unsupported::new("what is left are no heads of one width"))
    }
}

/// What is left of an input `[B, S, heads * width]` or `[B, heads, S, width]`.
fn left_of(
    node: &NodeView<'_>,
    cut: &Cut<'_>,
    input: usize,
    [heads, width]: [usize; 2],
) -> Result<[usize; 2], Unsupported> {
    if node.x(input)?.rank() == 3 {
        return left(cut.input(input, 2), heads, width);
    }
    let len = |axis: usize, whole: usize| cut.input(input, axis).map_or(whole, <[usize]>::len);
    Ok([len(1, heads), len(3, width)])
}

/// The factor of the scores: the attribute, or what the width says.
fn scale(node: &NodeView<'_>, heads: Heads) -> f64 {
    match node.float("scale", 0.0) {
        0.0 => 1.0 / (heads.width as f64).sqrt(),
        scale => f64::from(scale),
    }
}

/// Writes the scale out where its default would follow the width.
fn keep_scale(node: &NodeView<'_>, heads: Heads, width: usize, edit: &mut NodeEdit) {
    if width != heads.width && node.float("scale", 0.0) == 0.0 {
        edit.attribute("scale", scale(node, heads) as f32);
    }
}
