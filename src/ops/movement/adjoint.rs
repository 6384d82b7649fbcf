//! Steps that gradients of movement share: other dimensions, and linear maps along one axis.

use crate::ir::{NodeSpec, ValueId};
use crate::ops::{NodeView, Operand, Tape, Unsupported};
use crate::tensor::Tensor;

/// A dimension to reshape to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// The same in every run.
    Is(usize),
    /// That of axis `.1` of a value.
    Of(ValueId, usize),
}

/// The size of axis `axis` of `operand`, whose value is `value`.
pub(super) fn size(operand: &Operand<'_>, value: ValueId, axis: usize) -> Size {
    if operand.varies(axis) { Size::Of(value, axis) } else { Size::Is(operand.dims()[axis]) }
}

/// `a` with the given dimensions.
pub(super) fn reshape(tape: &mut Tape<'_>, a: ValueId, sizes: &[Size]) -> ValueId {
    let free = sizes.iter().filter(|size| matches!(size, Size::Of(..))).count();
    if free <= 1 {
        let dims: Vec<i64> = sizes
            .iter()
            .map(|size| match size {
                Size::Is(size) => *size as i64,
                Size::Of(..) => -1,
            })
            .collect();
        return tape.reshape(a, &dims);
    }
    let shape = shape_vector(tape, sizes);
    tape.reshape_to(a, shape)
}

/// The sizes as an integer vector.
pub(super) fn shape_vector(tape: &mut Tape<'_>, sizes: &[Size]) -> ValueId {
    let mut parts = Vec::new();
    let mut known: Vec<i64> = Vec::new();
    for size in sizes {
        match *size {
            Size::Is(size) => known.push(size as i64),
            Size::Of(value, axis) => {
                if !known.is_empty() {
                    parts.push(tape.ints(&std::mem::take(&mut known)));
                }
                parts.push(dim_of(tape, value, axis));
            }
        }
    }
    if !known.is_empty() || parts.is_empty() {
        parts.push(tape.ints(&known));
    }
    tape.concat(&parts, 0)
}

/// The size of axis `axis` of `value` as an integer vector of one entry.
pub(in crate::ops) fn dim_of(tape: &mut Tape<'_>, value: ValueId, axis: usize) -> ValueId {
    let shape = tape.op("Shape", &[value]);
    tape.slice(shape, &[0], &[axis as i64], &[axis as i64 + 1], &[1])
}

/// `grad` with the dimensions of input `input`.
pub(super) fn reshape_like(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    grad: ValueId,
    input: usize,
) -> Result<ValueId, Unsupported> {
    let operand = node.x(input)?;
    let value = if operand.any_varies() { tape.x(input)? } else { grad };
    let sizes: Vec<Size> = (0..operand.rank()).map(|axis| size(operand, value, axis)).collect();
    if sizes.iter().filter(|size| matches!(size, Size::Of(..))).count() > 1 {
        let shape = tape.op("Shape", &[value]);
        return Ok(tape.reshape_to(grad, shape));
    }
    Ok(reshape(tape, grad, &sizes))
}

/// A matrix that maps the indices of one axis: `out[r] = sum over c of weights[r][c] * in[c]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AxisMap {
    /// Number of indices of the result.
    pub(super) rows: usize,
    /// Number of indices of the operand.
    pub(super) columns: usize,
    /// Entries in row-major order.
    pub(super) weights: Vec<f32>,
}

impl AxisMap {
    /// The most entries that a map may have to be worth writing down.
    pub(super) const MOST: usize = 1 << 22;

    /// The transposed map of taking `indices` out of an axis of `len`.
    pub(super) fn put_back(len: usize, indices: &[usize]) -> Self {
        let mut weights = vec![0.0; len * indices.len()];
        for (column, &index) in indices.iter().enumerate() {
            weights[index * indices.len() + column] += 1.0;
        }
        Self { rows: len, columns: indices.len(), weights }
    }

    /// The map of the other direction: rows and columns swapped.
    pub(super) fn transposed(&self) -> Self {
        let mut weights = Vec::with_capacity(self.weights.len());
        for column in 0..self.columns {
            weights.extend((0..self.rows).map(|row| self.weights[row * self.columns + column]));
        }
        Self { rows: self.columns, columns: self.rows, weights }
    }

    fn constant(&self, tape: &mut Tape<'_>) -> Result<ValueId, Unsupported> {
        let tensor = Tensor::new(vec![self.rows, self.columns], self.weights.clone())
            .map_err(|error| Unsupported(error.to_string()))?;
        Ok(tape.constant(&tensor.cast_float(tape.dtype())))
    }
}

/// Applies `map` along axis `axis` of `a`, a tensor of rank `rank`.
pub(super) fn map_axis(
    tape: &mut Tape<'_>,
    a: ValueId,
    rank: usize,
    axis: usize,
    map: &AxisMap,
) -> Result<ValueId, Unsupported> {
    if map.weights.len() > AxisMap::MOST {
        return Err(Unsupported(format!(
            "a map of {} to {} indices is too large to be written down",
            map.columns, map.rows
        )));
    }
    if axis + 2 == rank {
        let matrix = map.constant(tape)?;
        return Ok(tape.matmul(matrix, a));
    }
    let matrix = map.transposed().constant(tape)?;
    let mut swap: Vec<usize> = (0..rank).collect();
    swap.swap(axis, rank - 1);
    let last = tape.transpose(a, &swap);
    let mapped = tape.matmul(last, matrix);
    Ok(tape.transpose(mapped, &swap))
}

/// Puts `part`, which was taken at the constant `indices` of an axis of `len`, back in its place, with zeros where
/// nothing was taken and sums where something was taken twice. `rank` is that of `part`.
pub(super) fn put_back(
    tape: &mut Tape<'_>,
    part: ValueId,
    rank: usize,
    axis: usize,
    (len, indices): (usize, &[usize]),
) -> Result<ValueId, Unsupported> {
    let mut pads = vec![0; 2 * rank];
    let in_a_row = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
    if let (Some(&first), true) = (indices.first(), in_a_row) {
        pads[axis] = first as i64;
        pads[axis + rank] = (len - first - indices.len()) as i64;
        return Ok(tape.pad(part, &pads));
    }
    // Where each index of the axis lies in `part`; what was not taken reads a zero put behind it.
    let nowhere = indices.len() as i64;
    let mut places = vec![nowhere; len];
    for (place, &index) in indices.iter().enumerate() {
        if places[index] != nowhere {
            return map_axis(tape, part, rank, axis, &AxisMap::put_back(len, indices));
        }
        places[index] = place as i64;
    }
    pads[axis + rank] = i64::from(places.contains(&nowhere));
    let padded = tape.pad(part, &pads);
    let places = tape.ints(&places);
    Ok(tape.node(NodeSpec::new("Gather", &[padded, places]).attribute("axis", axis as i64)))
}

/// The indices of `x` from `start` to `end`, each a vector of one entry, along axis `axis`.
pub(in crate::ops) fn cut_out(
    tape: &mut Tape<'_>,
    x: ValueId,
    axis: usize,
    start: ValueId,
    end: ValueId,
) -> ValueId {
    let axes = tape.ints(&[axis as i64]);
    tape.node(NodeSpec::new("Slice", &[x, start, end, axes]))
}

/// Puts zeros around `part` along axis `axis`: as many as `x` has indices in front of `around[0]` and from
/// `around[1]` on. Nothing where `part` begins or ends with `x`. Needs version 10.
pub(in crate::ops) fn surround(
    tape: &mut Tape<'_>,
    x: ValueId,
    part: ValueId,
    axis: usize,
    around: [Option<ValueId>; 2],
) -> ValueId {
    let mut parts = Vec::new();
    if let Some(start) = around[0] {
        let zero = tape.ints(&[0]);
        let before = cut_out(tape, x, axis, zero, start);
        parts.push(zeros_like(tape, before));
    }
    parts.push(part);
    if let Some(end) = around[1] {
        let most = tape.ints(&[i64::MAX]);
        let behind = cut_out(tape, x, axis, end, most);
        parts.push(zeros_like(tape, behind));
    }
    tape.concat(&parts, axis)
}

/// Zeros of the type and dimensions of `like`, whose values are finite.
pub(super) fn zeros_like(tape: &mut Tape<'_>, like: ValueId) -> ValueId {
    tape.sub(like, like)
}

/// Zeros of the given dimensions, in the computation's element type.
pub(super) fn zeros(tape: &mut Tape<'_>, sizes: &[Size]) -> ValueId {
    let shape = shape_vector(tape, sizes);
    let zero = tape.scalar(0.0);
    tape.op("Expand", &[zero, shape])
}

/// Adds `updates` into zeros of dimensions `sizes` at `indices` (see `ScatterND`).
pub(super) fn scatter_add(
    tape: &mut Tape<'_>,
    sizes: &[Size],
    indices: ValueId,
    updates: ValueId,
) -> Result<ValueId, Unsupported> {
    if tape.opset() < 16 {
        return Err(Unsupported::new("adding into indices that the model computes needs opset 16"));
    }
    let base = zeros(tape, sizes);
    let spec = NodeSpec::new("ScatterND", &[base, indices, updates]);
    Ok(tape.node(spec.attribute("reduction", "add")))
}
