//! Slice.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__Slice.html>. Bounds were attributes before version 10 and are
//! inputs since, with steps of any sign.

use super::adjoint::{self, cut_out, surround};
use super::{Movement, new_places, pass, pin_inputs, set, survivors_before};
use crate::ir::{Attribute, ValueId};
use crate::ops::cut::{Entry, Replacement, ReplacementInput};
use crate::ops::node::axis_index;
use crate::ops::{
    Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Movement::new(
        Spec::onnx("Slice", 1..=1, &["axes", "starts", "ends"]).versions(1..=9),
        couple,
        gradient,
        old_examples,
    )
    .resized_by(resize),
    &Movement::new(Spec::onnx("Slice", 3..=5, &[]).versions(10..=NEWEST_OPSET), couple, gradient, examples)
        .resized_by(resize),
];

/// From here on, an end means that of the axis.
const FAR: i64 = i32::MAX as i64 - 1;

/// What is taken along one axis.
#[derive(Debug, Clone, Copy)]
struct Range {
    /// Place of the axis in the lists of bounds.
    place: usize,
    axis: usize,
    /// The bounds as they are given; nothing where they differ from run to run.
    bounds: Option<(i64, i64)>,
    step: i64,
}

impl Range {
    /// The indices taken out of `len`; nothing where they differ from run to run.
    fn indices(&self, len: usize) -> Option<Vec<usize>> {
        let (start, end) = self.bounds?;
        let len = len as i64;
        let wrap = |bound: i64| if bound < 0 { bound.saturating_add(len) } else { bound };
        let (low, high) = if self.step > 0 { (0, len) } else { (-1, len - 1) };
        let clamp = |bound: i64| wrap(bound).clamp(low, high);
        // A negative step starts at an index, not before the first.
        let start = if self.step > 0 { clamp(start) } else { wrap(start).clamp(0.min(high), high) };
        let end = clamp(end);
        let mut indices = Vec::new();
        let mut index = start;
        while if self.step > 0 { index < end } else { index > end } {
            indices.push(index as usize);
            index = index.saturating_add(self.step);
        }
        Some(indices)
    }

    /// Whether all of an axis is taken in order, however long it is.
    fn is_all(&self) -> bool {
        self.step == 1 && matches!(self.bounds, Some((0, end)) if end >= FAR)
    }
}

fn ranges(node: &NodeView<'_>) -> Result<Vec<Range>, Unsupported> {
    let rank = node.x(0)?.rank();
    let list = |name: &str, input: usize| -> (Option<Vec<i64>>, bool) {
        match node.input(input) {
            Some(operand) => (operand.ints().map(|ints| ints.to_vec()), true),
            None => (node.ints(name).map(<[i64]>::to_vec), false),
        }
    };
    let ((starts, _), (ends, _)) = (list("starts", 1), list("ends", 2));
    let (Some(starts), Some(ends)) = (starts, ends) else {
        return Err(Unsupported::new("its bounds are not known"));
    };
    let (axes, has_axes) = list("axes", 3);
    if has_axes && node.input(3).is_none_or(|axes| axes.steady_ints().is_none()) {
        return Err(Unsupported::new("its axes are computed"));
    }
    let (steps, has_steps) = list("", 4);
    if has_steps && node.input(4).is_none_or(|steps| steps.steady_ints().is_none()) {
        return Err(Unsupported::new("its steps are computed"));
    }
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.contains(&0) {
        return Err(Unsupported::new("its bounds, axes and steps do not fit together"));
    }
    let varies = |input: usize, place: usize| node.input(input).is_some_and(|bound| bound.int_varies(place));
    (0..starts.len())
        .map(|place| {
            let moving = varies(1, place) || varies(2, place);
            Ok(Range {
                place,
                axis: axis_index(axes[place], rank)?,
                bounds: (!moving).then_some((starts[place], ends[place])),
                step: steps[place],
            })
        })
        .collect()
}

fn couple(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    pin_inputs(node, slots, 1, "bounds of a Slice have one entry for each axis");
    let ranges = ranges(node)?;
    let x = node.x(0)?;
    for axis in 0..x.rank() {
        let mut mine = ranges.iter().filter(|range| range.axis == axis);
        let own = slots.input(0, axis);
        let Some(range) = mine.next() else {
            pass(node, slots, axis, 0, axis)?;
            continue;
        };
        if own.is_fixed() {
            continue;
        }
        if range.is_all() {
            pass(node, slots, axis, 0, axis)?;
            continue;
        }
        let indices = range.indices(own.len()).filter(|_| mine.next().is_none() && !x.varies(axis));
        let Some(indices) = indices else {
            slots.pin(&own, "what is taken of it is computed");
            continue;
        };
        if range.step.abs() != 1 && ranges.len() > 1 {
            slots.pin(&own, "it is taken in steps, together with another axis");
            continue;
        }
        let taken = super::part(slots, &own, &indices);
        set(node, slots, 0, axis, taken)?;
    }
    Ok(())
}

fn resize(node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
    let ranges = ranges(node)?;
    let x = node.x(0)?;
    let mut starts = vec![Entry::Keep; ranges.len()];
    let mut ends = starts.clone();
    for range in ranges.iter().filter(|range| !range.is_all()) {
        let Some(kept) = cut.input(0, range.axis) else { continue };
        let len = x.dims()[range.axis];
        let indices =
            range.indices(len).ok_or_else(|| Unsupported::new("what is taken of the axis is computed"))?;
        let places = new_places(Some(kept), len);
        let taken: Vec<i64> =
            indices.iter().filter_map(|&index| places[index]).map(|place| place as i64).collect();
        let (start, end) = match (range.step, taken.as_slice()) {
            (1, _) => {
                let first = indices.first().copied().unwrap_or(0);
                let start = survivors_before(kept, first);
                (start, start + taken.len() as i64)
            }
            // Behind the last index comes one that a negative step must not read as counted from the back.
            (-1, &[first, .., last]) => (first, if last == 0 { i64::from(i32::MIN) } else { last - 1 }),
            (-1, &[only]) => (only, if only == 0 { i64::from(i32::MIN) } else { only - 1 }),
            _ if ranges.len() == 1 => {
                edit.replacement = Some(Replacement {
                    op_type: "Gather".to_owned(),
                    attributes: vec![("axis".to_owned(), Attribute::Int(range.axis as i64))],
                    inputs: vec![ReplacementInput::Old(0), ReplacementInput::Ints(taken)],
                });
                return Ok(());
            }
            _ => return Err(Unsupported::new("an axis that shrinks is taken in steps, with other axes")),
        };
        starts[range.place] = Entry::Set(start);
        ends[range.place] = Entry::Set(end);
    }
    if starts.iter().all(|entry| *entry == Entry::Keep) {
        return Ok(());
    }
    if node.opset() < 10 {
        for (name, entries) in [("starts", starts), ("ends", ends)] {
            edit.attribute(name, super::patched(&entries, node.ints(name).unwrap_or_default()));
        }
    } else {
        edit.input(1, starts);
        edit.input(2, ends);
    }
    Ok(())
}

fn gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) else { return Ok(()) };
    let ranges = ranges(node)?;
    let x = node.x(0)?;
    let mut grad = dy;
    let mut pads = vec![0; 2 * x.rank()];
    let mut moving = Vec::new();
    for range in ranges.iter().filter(|range| !range.is_all()) {
        let len = x.dims()[range.axis];
        match range.indices(len).filter(|_| !x.varies(range.axis)) {
            Some(indices) if range.step == 1 => {
                let first = indices.first().copied().unwrap_or(0);
                pads[range.axis] = first as i64;
                pads[range.axis + x.rank()] = (len - first - indices.len()) as i64;
            }
            Some(indices) => {
                grad = adjoint::put_back(tape, grad, x.rank(), range.axis, (len, &indices))?;
            }
            None if range.step == 1 => moving.push(*range),
            None => return Err(Unsupported::new("it takes steps along an axis that varies")),
        }
    }
    grad = tape.pad(grad, &pads);
    for (place, range) in moving.iter().enumerate() {
        grad = put_back(node, tape, grad, range, &moving[place + 1..])?;
    }
    tape.give(0, grad);
    Ok(())
}

/// What is taken along an axis that varies, put back in its place. Along the axes of `later`, the result has the size
/// of what was taken.
fn put_back(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    grad: ValueId,
    range: &Range,
    later: &[Range],
) -> Result<ValueId, Unsupported> {
    let mut x = tape.x(0)?;
    for other in later {
        let [start, end] = bounds(node, tape, other)?;
        x = cut_out(tape, x, other.axis, start, end);
    }
    let [start, end] = bounds(node, tape, range)?;
    let starts_inside = range.bounds.is_none_or(|(start, _)| start != 0);
    let ends_inside = range.bounds.is_none_or(|(_, end)| end < FAR);
    let around = [starts_inside.then_some(start), ends_inside.then_some(end)];
    Ok(surround(tape, x, grad, range.axis, around))
}

/// Start and end of a range, each as a vector of one entry.
fn bounds(node: &NodeView<'_>, tape: &mut Tape<'_>, range: &Range) -> Result<[ValueId; 2], Unsupported> {
    if node.opset() < 10 {
        return Err(Unsupported::new("a gradient along an axis that varies needs opset 10"));
    }
    if let Some((start, end)) = range.bounds {
        return Ok([tape.ints(&[start]), tape.ints(&[end])]);
    }
    let mut entry = |input: usize| {
        let all = tape.x(input)?;
        let all = tape.cast(all, crate::tensor::DType::I64);
        Ok(tape.slice(all, &[0], &[range.place as i64], &[range.place as i64 + 1], &[1]))
    };
    Ok([entry(1)?, entry(2)?])
}

fn old_examples() -> Vec<Example> {
    let slice = |starts: &[i64], ends: &[i64]| {
        Example::new("Slice")
            .opset(9)
            .attribute("starts", starts.to_vec())
            .attribute("ends", ends.to_vec())
            .computed(&[2, 6, 4])
            .prunable(0, 1)
            .prunable(0, 2)
    };
    vec![slice(&[1], &[5]).attribute("axes", vec![1]), slice(&[0, -4, 0], &[2, i64::from(i32::MAX), 3])]
}

fn examples() -> Vec<Example> {
    let slice = |starts: &[i64], ends: &[i64]| {
        Example::new("Slice").computed(&[2, 6, 4]).ints(starts).ints(ends).prunable(0, 1).prunable(0, 2)
    };
    vec![
        slice(&[0, 2], &[2, -1]),
        slice(&[-5], &[i64::MAX]).ints(&[1]),
        slice(&[0, 1], &[3, 4]).ints(&[1, -1]).ints(&[1, 1]),
        slice(&[1], &[6]).ints(&[1]).ints(&[2]),
        slice(&[-1], &[i64::MIN]).ints(&[1]).ints(&[-1]),
        slice(&[4], &[0]).ints(&[1]).ints(&[-1]).opset(11),
        slice(&[5], &[0]).ints(&[1]).ints(&[-2]),
    ]
}
