//! Gather.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__Gather.html>. Indices may be negative since version 11;
//! runtimes accept them before, too.

use std::collections::BTreeSet;

use super::adjoint::{AxisMap, Size, dim_of, reshape, scatter_add, size, surround};
use super::{Movement, new_places, part, pin_inputs, set};
use crate::ir::{NodeSpec, ValueId};
use crate::ops::node::axis_index;
use crate::ops::{Coupling, Cut, Example, NodeEdit, NodeView, Operand, Operator, Spec, Tape, Unsupported};
use crate::tensor::{DType, Tensor};

pub(in crate::ops) static OPERATORS: &[&dyn Operator] =
    &[&Movement::new(Spec::onnx("Gather", 2..=2, &["axis"]), couple, gradient, examples).resized_by(resize)];

fn gathered(node: &NodeView<'_>) -> Result<usize, Unsupported> {
    axis_index(node.int("axis", 0), node.x(0)?.rank())
}

/// The indices, counted from the front, if they are the same in every run.
fn constant_indices(node: &NodeView<'_>, axis: usize) -> Option<Vec<usize>> {
    let (x, indices) = (node.input(0)?, node.input(1)?);
    if x.varies(axis) || indices.any_varies() {
        return None;
    }
    let len = x.dims()[axis];
    let taken: Vec<usize> = indices
        .steady_ints()?
        .iter()
        .map(|&index| usize::try_from(if index < 0 { index + len as i64 } else { index }).ok())
        .collect::<Option<_>>()?;
    (taken.len() == indices.count() && taken.iter().all(|&index| index < len)).then_some(taken)
}

fn couple(node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
    pin_inputs(node, slots, 1, "it holds indices");
    let axis = gathered(node)?;
    let (x, indices) = (node.x(0)?, node.x(1)?);
    for from in (0..x.rank()).filter(|&from| from != axis) {
        let to = if from < axis { from } else { from + indices.rank() - 1 };
        super::pass(node, slots, from, 0, to)?;
    }
    let own = slots.input(0, axis);
    if own.is_fixed() {
        return Ok(());
    }
    let Some(taken) = constant_indices(node, axis) else {
        slots.pin(&own, "the model computes the indices that are taken of it");
        return Ok(());
    };
    let taken = part(slots, &own, &taken);
    match indices.dims() {
        [] => Ok(()),
        [_] => set(node, slots, 0, axis, taken),
        dims => {
            let parts = slots.split(&taken, dims);
            parts
                .into_iter()
                .enumerate()
                .try_for_each(|(place, part)| set(node, slots, 0, axis + place, part))
        }
    }
}

fn resize(node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
    let axis = gathered(node)?;
    let (x, indices) = (node.x(0)?, node.x(1)?);
    let touched = cut.input(0, axis).is_some()
        || (axis..axis + indices.rank()).any(|output| cut.output(0, output).is_some());
    if !touched {
        return Ok(());
    }
    let taken = constant_indices(node, axis)
        .ok_or_else(|| Unsupported::new("the model computes the indices that are taken of the axis"))?;
    let places = new_places(cut.input(0, axis), x.dims()[axis]);
    let mut tensor =
        Tensor::new(indices.dims().to_vec(), taken.iter().map(|&at| at as i64).collect::<Vec<_>>())
            .map_err(|error| Unsupported(error.to_string()))?;
    for inner in 0..indices.rank() {
        if let Some(kept) = cut.output(0, axis + inner) {
            tensor = tensor.take(inner, kept);
        }
    }
    let old = tensor.to_i64().map_err(|error| Unsupported(error.to_string()))?;
    let new: Vec<i64> = old
        .iter()
        .map(|&at| places[at as usize].map(|place| place as i64))
        .collect::<Option<_>>()
        .ok_or_else(|| Unsupported::new("an index that is taken has left"))?;
    let constant =
        Tensor::new(tensor.dims().to_vec(), new).map_err(|error| Unsupported(error.to_string()))?;
    edit.constants.insert(1, constant);
    Ok(())
}

fn gradient(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
    let (true, Some(dy)) = (tape.wants(0), tape.dy(0)) else { return Ok(()) };
    let axis = gathered(node)?;
    let x = node.x(0)?;
    let len = x.dims()[axis];
    // Only indices that are taken twice need a matrix.
    let fits = |taken: &Vec<usize>| {
        let distinct: BTreeSet<usize> = taken.iter().copied().collect();
        distinct.len() == taken.len() || taken.len().saturating_mul(len) <= AxisMap::MOST
    };
    let steady = constant_indices(node, axis).filter(fits);
    let grad = match steady {
        Some(taken) => put_back(node, tape, dy, axis, &taken)?,
        None => match run_of(node) {
            Some((first, last)) if x.varies(axis) && tape.opset() >= 10 => {
                let part = if node.x(1)?.rank() == 0 { tape.unsqueeze(dy, &[axis]) } else { dy };
                let start = (first != 0).then(|| tape.ints(&[first]));
                let end = (last != -1).then(|| tape.ints(&[last + 1]));
                let whole = tape.x(0)?;
                surround(tape, whole, part, axis, [start, end])
            }
            _ => {
                let (value, taken) = (tape.x(0)?, tape.x(1)?);
                add_rows(tape, &Gathered { table: x, value, indices: node.x(1)?, taken }, dy, axis)?
            }
        },
    };
    tape.give(0, grad);
    Ok(())
}

/// The first and last index where the indices are the same in every run and lie side by side, as they are given.
fn run_of(node: &NodeView<'_>) -> Option<(i64, i64)> {
    let indices = node.input(1).filter(|indices| indices.rank() <= 1)?.steady_ints()?;
    let (&first, &last) = (indices.first()?, indices.last()?);
    let side_by_side = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
    (side_by_side && (first < 0) == (last < 0)).then_some((first, last))
}

/// The gradient for constant indices.
fn put_back(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    dy: ValueId,
    axis: usize,
    taken: &[usize],
) -> Result<ValueId, Unsupported> {
    let (x, value) = (node.x(0)?, tape.x(0)?);
    let mut sizes: Vec<Size> = (0..x.rank()).map(|from| size(x, value, from)).collect();
    sizes[axis] = Size::Is(taken.len());
    let flat = match node.x(1)?.rank() {
        0 => tape.unsqueeze(dy, &[axis]),
        1 => dy,
        _ => reshape(tape, dy, &sizes),
    };
    super::adjoint::put_back(tape, flat, x.rank(), axis, (x.dims()[axis], taken))
}

/// From how many elements on a one-hot matrix is more work than adding rows.
const MOST_ONE_HOT: usize = 1 << 20;

/// What indices were taken of.
pub(in crate::ops) struct Gathered<'a> {
    /// The table.
    pub(in crate::ops) table: &'a Operand<'a>,
    /// Its value.
    pub(in crate::ops) value: ValueId,
    /// The indices.
    pub(in crate::ops) indices: &'a Operand<'a>,
    /// Their value.
    pub(in crate::ops) taken: ValueId,
}

/// The gradient for indices that the model computes: rows of `dy` are added up by index.
pub(in crate::ops) fn add_rows(
    tape: &mut Tape<'_>,
    gathered: &Gathered<'_>,
    dy: ValueId,
    axis: usize,
) -> Result<ValueId, Unsupported> {
    let &Gathered { table: x, value, indices, taken } = gathered;
    let width = indices.rank();
    // Bring what belongs to the indices to the front, and the gathered axis of x likewise.
    let front: Vec<usize> =
        (axis..axis + width).chain(0..axis).chain(axis + width..x.rank() - 1 + width).collect();
    let rows = tape.transpose(dy, &front);
    let order: Vec<usize> = std::iter::once(axis).chain((0..x.rank()).filter(|&from| from != axis)).collect();
    let sizes: Vec<Size> = order.iter().map(|&from| size(x, value, from)).collect();
    let small = !x.any_varies() && indices.count().saturating_mul(x.dims()[axis]) <= MOST_ONE_HOT;
    // Runtimes want one type for indices and sizes, and ids are often 32 bits wide.
    let taken = if indices.dtype() == DType::I64 { taken } else { tape.cast(taken, DType::I64) };
    let table = if small || tape.opset() < 16 {
        let rows = tape.node(NodeSpec::new("Flatten", &[rows]).attribute("axis", width as i64));
        let flat = tape.reshape(taken, &[-1]);
        let depth = if x.varies(axis) {
            dim_of(tape, value, axis)
        } else {
            tape.constant(&Tensor::scalar(x.dims()[axis] as i64))
        };
        let off_on = tape.constant(&Tensor::vector(vec![0.0_f64, 1.0]).cast_float(tape.dtype()));
        let hits = tape.node(NodeSpec::new("OneHot", &[flat, depth, off_on]).attribute("axis", 0));
        let sums = tape.matmul(hits, rows);
        reshape(tape, sums, &sizes)
    } else {
        let column = tape.unsqueeze(taken, &[width]);
        scatter_add(tape, &sizes, column, rows)?
    };
    let mut back = vec![0; x.rank()];
    for (to, &from) in order.iter().enumerate() {
        back[from] = to;
    }
    Ok(tape.transpose(table, &back))
}

fn examples() -> Vec<Example> {
    let index = |at: i64| Tensor::scalar(at);
    let gather = |axis: i64| Example::new("Gather").attribute("axis", axis).computed(&[2, 6, 4]);
    let mut examples = vec![
        gather(1).ints(&[0, 3, -1, 3]).prunable(0, 1).prunable(0, 2),
        gather(-1).ints(&[2, 1]).prunable(0, 1).prunable(0, 2),
        gather(1).constant(index(2)).prunable(0, 1).prunable(0, 2),
        gather(1).constant(index(-1)).opset(12).prunable(0, 2),
        gather(1).ints(&[1, 2, 3]).prunable(0, 1),
    ];
    if let Ok(block) = Tensor::new(vec![2, 3], vec![0_i64, 2, 4, 1, 3, 5]) {
        examples.push(gather(1).constant(block.clone()).prunable(0, 1).prunable(0, 2));
        examples.push(Example::new("Gather").weight(&[6, 4]).constant(block));
    }
    examples
}
