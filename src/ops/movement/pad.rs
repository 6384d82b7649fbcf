//! Pad.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__Pad.html>. Counts and value were attributes before version 11
//! (before version 2 the counts were named `paddings`; not declared here) and are inputs since; version 18 added the
//! axes they belong to, version 19 the mode `wrap`.

use super::adjoint::{AxisMap, map_axis, surround};
use super::{Movement, pin_inputs, set, survivors_before};
use crate::ir::ValueId;
use crate::ops::cut::Entry;
use crate::ops::node::axis_index;
use crate::ops::{
    Axis, Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};
use crate::tensor::Tensor;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Movement::new(
        Spec::onnx("Pad", 1..=1, &["mode", "pads", "value"]).versions(2..=10),
        couple,
        gradient,
        old_examples,
    )
    .resized_by(resize),
    &Movement::new(
        Spec::onnx("Pad", 2..=4, &["mode"]).versions(11..=NEWEST_OPSET),
        couple,
        gradient,
        examples,
    )
    .resized_by(resize),
];

/// The padding of one axis.
#[derive(Debug, Clone, Copy, Default)]
struct Padding {
    /// Place of the count before in the list of counts, and of the count behind.
    places: Option<(usize, usize)>,
    /// Indices put before and behind, or taken away where negative; nothing where they are computed.
    counts: Option<(i64, i64)>,
}

impl Padding {
    fn is_none(self) -> bool {
        matches!(self.counts, Some((0, 0)))
    }
}

/// By axis of the operand.
fn paddings(node: &NodeView<'_>) -> Result<Vec<Padding>, Unsupported> {
    let rank = node.x(0)?.rank();
    let axes: Vec<usize> = match node.input(3) {
        Some(axes) => {
            let axes = axes.steady_ints().ok_or_else(|| Unsupported::new("its axes are computed"))?;
            axes.iter().map(|&axis| axis_index(axis, rank)).collect::<Result<_, _>>()?
        }
        None => (0..rank).collect(),
    };
    let pads = match node.input(1) {
        Some(pads) => pads.ints().map(|pads| pads.to_vec()),
        None => node.ints("pads").map(<[i64]>::to_vec),
    };
    let pads = pads.ok_or_else(|| Unsupported::new("its counts are not known"))?;
    if pads.len() != 2 * axes.len() {
        return Err(Unsupported(format!("{} counts do not fit {} axes", pads.len(), axes.len())));
    }
    let mut paddings = vec![Padding { places: None, counts: Some((0, 0)) }; rank];
    let moving = |place: usize| node.input(1).is_some_and(|pads| pads.int_varies(place));
    for (first, &axis) in axes.iter().enumerate() {
        let last = first + axes.len();
        let counts = (!moving(first) && !moving(last)).then(|| (pads[first], pads[last]));
        paddings[axis] = Padding { places: Some((first, last)), counts };
    }
    Ok(paddings)
}

fn fills_zero(node: &NodeView<'_>) -> bool {
    let value = match node.input(2) {
        Some(value) => value.constant().and_then(|value| value.to_f64().ok()),
        None => Some(vec![f64::from(node.float("value", 0.0))]),
    };
    value.is_some_and(|value| value.iter().all(|&value| value == 0.0))
}

/// How many indices lie in front of the operand, between where the operand is cut off, and behind: the counts added
/// in front, the range of the operand's indices that stay, the counts added behind.
fn layout(counts: (i64, i64), len: usize) -> (usize, std::ops::Range<usize>, usize) {
    let added = |count: i64| count.max(0) as usize;
    let first = added(counts.0.saturating_neg()).min(len);
    let last = len.saturating_sub(added(counts.1.saturating_neg())).max(first);
    (added(counts.0), first..last, added(counts.1))
}

fn couple(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    pin_inputs(node, slots, 1, "counts of a Pad have one entry for each end of an axis");
    let paddings = paddings(node)?;
    let constant = node.string("mode", "constant") == "constant";
    let zero = fills_zero(node);
    let all_zero = !constant || zero || paddings.iter().all(|padding| padding.is_none());
    let x = node.x(0)?;
    for (axis, padding) in paddings.iter().enumerate() {
        let own = slots.input(0, axis);
        if own.is_fixed() {
            continue;
        }
        let own = own.with_zero(own.zero() && all_zero);
        if padding.is_none() {
            set(node, slots, 0, axis, own)?;
            continue;
        }
        let Some(counts) = padding.counts.filter(|_| constant && zero && !x.varies(axis)) else {
            slots.pin(&own, "it is padded by other than a known number of zeros");
            continue;
        };
        let (before, kept, behind) = layout(counts, own.len());
        if (kept.len() + before + behind) as u64 > MOST {
            slots.pin(&own, "it is padded beyond measure");
            continue;
        }
        let kept: Vec<usize> = kept.collect();
        super::part(slots, &own, &kept);
        // Two at least, because an axis of one index has no slots.
        let made = slots.fresh((before + behind).max(2), true);
        let places: Vec<usize> = (own.len()..own.len() + before)
            .chain(kept)
            .chain(own.len() + before..own.len() + before + behind)
            .collect();
        let padded = Axis::concat(&[own, made]).take(&places);
        set(node, slots, 0, axis, padded)?;
    }
    Ok(())
}

/// The longest axis that is given fresh indices.
const MOST: u64 = 1 << 24;

fn resize(node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
    let paddings = paddings(node)?;
    let x = node.x(0)?;
    let count = paddings.iter().filter(|padding| padding.places.is_some()).count();
    let mut entries = vec![Entry::Keep; 2 * count];
    for (axis, padding) in paddings.iter().enumerate() {
        let (input, output) = (cut.input(0, axis), cut.output(0, axis));
        if padding.is_none() || (input.is_none() && output.is_none()) {
            continue;
        }
        let (Some(counts), Some((first, last))) = (padding.counts, padding.places) else {
            return Err(Unsupported::new("the counts of an axis that shrinks are computed"));
        };
        let len = x.dims()[axis];
        let (before, kept, behind) = layout(counts, len);
        let whole = |len: usize| (0..len).collect::<Vec<_>>();
        let outer = output.map_or_else(|| whole(before + kept.len() + behind), <[usize]>::to_vec);
        let inner = input.map_or_else(|| whole(len), <[usize]>::to_vec);
        let total = outer.len() as i64;
        let lost = |from: usize, to: usize| survivors_before(&inner, to) - survivors_before(&inner, from);
        let front = survivors_before(&outer, before) - lost(0, kept.start);
        let back = total - survivors_before(&outer, before + kept.len()) - lost(kept.end, len);
        entries[first] = Entry::Set(front);
        entries[last] = Entry::Set(back);
    }
    if entries.iter().all(|entry| *entry == Entry::Keep) {
        return Ok(());
    }
    if node.input(1).is_some() {
        edit.input(1, entries);
        return Ok(());
    }
    edit.attribute("pads", super::patched(&entries, node.ints("pads").unwrap_or_default()));
    Ok(())
}

/// For each index of a padded axis, the index of the operand that it repeats.
fn repeated(mode: &str, before: i64, len: usize, padded: usize) -> Option<Vec<usize>> {
    let len = len as i64;
    let source = |place: i64| {
        let index = place - before;
        match mode {
            "edge" => Some(index.clamp(0, len - 1)),
            "wrap" => Some(index.rem_euclid(len)),
            "reflect" if len == 1 => Some(0),
            "reflect" => {
                let period = 2 * (len - 1);
                let turned = index.rem_euclid(period);
                Some(turned.min(period - turned))
            }
            _ => None,
        }
    };
    (0..padded as i64).map(|place| source(place).map(|index| index as usize)).collect()
}

/// The gradient of a padding that repeats elements of its operand, none of them more than once at either end but
/// those at the edge: the middle, and what was put in front and behind added where it came from.
fn folded(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    dy: ValueId,
    axis: usize,
    (before, behind): (i64, i64),
) -> Result<ValueId, Unsupported> {
    const FIRST: i64 = i32::MIN as i64;
    let edge = |end: i64| if end == 0 { i64::MAX } else { end };
    let mut grad = tape.slice(dy, &[axis], &[before], &[edge(-behind)], &[1]);
    // What to take of dy, and the bounds of its place in x.
    let mode = node.string("mode", "constant");
    let (front, back) = match mode {
        "reflect" => ((1, before + 1), (-behind - 1, -1)),
        "edge" => ((0, 1), (-1, 0)),
        "wrap" => ((-before, 0), (0, behind)),
        _ => return Err(Unsupported(format!("the mode `{mode}` is not known"))),
    };
    for (count, in_front, place) in [(before, true, front), (behind, false, back)] {
        if count == 0 {
            continue;
        }
        let part = match (mode, in_front) {
            ("reflect", true) => tape.slice(dy, &[axis], &[before - 1], &[FIRST], &[-1]),
            ("reflect", false) => tape.slice(dy, &[axis], &[-1], &[-behind - 1], &[-1]),
            (_, true) => tape.slice(dy, &[axis], &[0], &[before], &[1]),
            (_, false) => tape.slice(dy, &[axis], &[-behind], &[i64::MAX], &[1]),
        };
        let part = if mode == "edge" { tape.reduce_sum(part, &[axis], true) } else { part };
        let placed = placed(node, tape, part, axis, place)?;
        grad = tape.add(grad, placed);
    }
    Ok(grad)
}

/// `part` with zeros around it, such that it lies from `start` to `end` of the operand's axis. Negative bounds and
/// an end of 0 count from the back.
fn placed(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    part: ValueId,
    axis: usize,
    (start, end): (i64, i64),
) -> Result<ValueId, Unsupported> {
    let x = node.x(0)?;
    if x.varies(axis) {
        let from = (start != 0).then(|| tape.ints(&[start]));
        let to = (end != 0).then(|| tape.ints(&[end]));
        let whole = tape.x(0)?;
        return Ok(surround(tape, whole, part, axis, [from, to]));
    }
    let len = x.dims()[axis] as i64;
    let mut pads = vec![0; 2 * x.rank()];
    pads[axis] = if start < 0 { start + len } else { start };
    pads[axis + x.rank()] = if end <= 0 { -end } else { len - end };
    Ok(tape.pad(part, &pads))
}

fn gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    if tape.wants(2) {
        return Err(Unsupported::new("the value that is padded with is trainable"));
    }
    let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) else { return Ok(()) };
    let (paddings, mode) = (paddings(node)?, node.string("mode", "constant"));
    let (x, y) = (node.x(0)?, node.y(0)?);
    let mut grad = dy;
    let (mut axes, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    let mut cut_off = vec![0; 2 * x.rank()];
    for (axis, padding) in paddings.iter().enumerate().filter(|(_, padding)| !padding.is_none()) {
        let (before, behind) =
            padding.counts.ok_or_else(|| Unsupported::new("the counts of the padding are computed"))?;
        if mode == "constant" {
            axes.push(axis);
            starts.push(before.max(0));
            ends.push(if behind > 0 { -behind } else { i64::MAX });
            cut_off[axis] = (-before).max(0);
            cut_off[axis + x.rank()] = (-behind).max(0);
            continue;
        }
        let once = before >= 0 && behind >= 0 && before.max(behind) < x.dims()[axis] as i64;
        if once && tape.opset() >= 10 {
            grad = folded(node, tape, grad, axis, (before, behind))?;
            continue;
        }
        if x.varies(axis) {
            return Err(Unsupported(format!(
                "the mode `{mode}` along an axis that varies, with counts {before} and {behind}, has no gradient here"
            )));
        }
        let len = x.dims()[axis];
        let indices = repeated(mode, before, len, y.dims()[axis])
            .ok_or_else(|| Unsupported(format!("the mode `{mode}` is not known")))?;
        grad = map_axis(tape, grad, x.rank(), axis, &AxisMap::put_back(len, &indices))?;
    }
    if !axes.is_empty() {
        let steps = vec![1; axes.len()];
        grad = tape.slice(grad, &axes, &starts, &ends, &steps);
        grad = tape.pad(grad, &cut_off);
    }
    tape.give(0, grad);
    Ok(())
}

fn old_examples() -> Vec<Example> {
    let pad = |pads: &[i64]| {
        Example::new("Pad").opset(10).attribute("pads", pads.to_vec()).computed(&[2, 6, 3]).prunable(0, 1)
    };
    vec![
        pad(&[0, 0, 1, 0, 0, 2]),
        pad(&[0, 2, 0, 0, 3, 0]),
        pad(&[0, 0, 1, 0, 0, 1]).attribute("mode", "edge"),
    ]
}

fn examples() -> Vec<Example> {
    let pad = |pads: &[i64]| Example::new("Pad").computed(&[2, 6, 3]).ints(pads).prunable(0, 1);
    let pad_mode = |mode: &str, pads: &[i64]| pad(pads).attribute("mode", mode);
    vec![
        pad(&[0, 0, 1, 0, 0, 2]).prunable(0, 1),
        pad(&[0, 2, 0, 0, 3, 0]).prunable(0, 2),
        pad(&[0, 1, 0, 0, 0, 0]),
        pad(&[0, -2, 1, 0, 3, 0]),
        pad(&[0, 0, 1, 0, 0, 0]).constant(Tensor::scalar(0.5_f32)),
        pad(&[1, 2]).opset(18).absent().ints(&[1]).prunable(0, 2),
        pad(&[1, 2]).opset(18).constant(Tensor::scalar(0.0_f32)).ints(&[-1]),
        pad_mode("reflect", &[0, 0, 2, 0, 0, 1]),
        pad_mode("edge", &[0, 0, 2, 0, 0, 1]),
        pad_mode("reflect", &[0, 0, 2, 0, 0, 2]).opset(11),
        pad_mode("edge", &[0, 0, 4, 0, 0, 0]),
        pad_mode("wrap", &[0, 0, 2, 0, 0, 1]).opset(19),
    ]
}
