//! Types and dimensions of the values of a training graph, as far as they follow from those of the traced model. They
//! decide what is gathered, not what is computed: a program goes by the dimensions that its inputs turn out to have.

use super::{is_onnx, steps};
use crate::ir::{Facts, Graph, Node, ValueId};
use crate::tensor::DType;

/// What is known of each value.
pub(super) struct Seen {
    dtypes: Vec<Option<DType>>,
    dims: Vec<Option<Vec<usize>>>,
}

/// Operators whose result has the type of their first input.
const SAME_TYPE: &[&str] = &[
    "AveragePool",
    "BatchNormalization",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Expand",
    "Flatten",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "LayerNormalization",
    "LogSoftmax",
    "MatMul",
    "MaxPool",
    "Pad",
    "ReduceMean",
    "ReduceSum",
    "Reshape",
    "Slice",
    "Softmax",
    "Split",
    "Squeeze",
    "Sum",
    "Transpose",
    "Unsqueeze",
];

/// The axes that the node names as its second input or as an attribute, counted from the front; all where it names none.
pub(super) fn axes_of(graph: &Graph, node: &Node, rank: usize) -> Option<Vec<usize>> {
    let given: Option<Vec<i64>> = match node.inputs.get(1).copied().flatten() {
        Some(axes) => Some(graph.value(axes).initializer()?.tensor().ok()?.to_i64().ok()?),
        None => node.attributes.ints("axes").map(<[i64]>::to_vec),
    };
    let Some(given) = given.filter(|axes| !axes.is_empty()) else {
        let all = node.attributes.int("noop_with_empty_axes").unwrap_or(0) == 0;
        return all.then(|| (0..rank).collect());
    };
    let from_front = |axis: i64| {
        let axis = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(axis).ok().filter(|&axis| axis < rank)
    };
    let mut axes: Vec<usize> = given.into_iter().map(from_front).collect::<Option<_>>()?;
    axes.sort_unstable();
    Some(axes)
}

/// The dimensions of operands that are broadcast together, the unknown ones left out.
fn broadcast<'a>(operands: impl Iterator<Item = &'a [usize]>) -> Option<Vec<usize>> {
    operands.map(<[usize]>::to_vec).reduce(|a, b| {
        let (mut long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
        let lead = long.len() - short.len();
        for (long, short) in long[lead..].iter_mut().zip(short) {
            *long = if *long == 1 { short } else { *long };
        }
        long
    })
}

impl Seen {
    pub(super) fn of(graph: &Graph, facts: &Facts, alike: &[(ValueId, ValueId)]) -> Self {
        let count = graph.value_count();
        let mut seen = Self { dtypes: vec![None; count], dims: vec![None; count] };
        for (id, value) in graph.values() {
            if let Some(known) = facts.get(id) {
                seen.note(id, Some(known.dtype), Some(known.dims.clone()));
            } else if let Some(initializer) = value.initializer() {
                seen.note(id, initializer.dtype(), Some(initializer.dims()));
            } else if let Some(declared) = value.declared() {
                seen.note(id, declared.dtype, None);
            }
        }
        for &(value, other) in alike {
            if let (None, Some(known)) = (facts.get(value), facts.get(other)) {
                seen.note(value, Some(known.dtype), Some(known.dims.clone()));
            }
        }
        for (_, node) in graph.nodes() {
            seen.follow(graph, node);
        }
        seen
    }

    pub(super) fn dtype(&self, value: ValueId) -> Option<DType> {
        self.dtypes.get(value.index()).copied().flatten()
    }

    pub(super) fn dims(&self, value: ValueId) -> Option<&[usize]> {
        self.dims.get(value.index())?.as_deref()
    }

    /// Notes what was not known yet.
    fn note(&mut self, value: ValueId, dtype: Option<DType>, dims: Option<Vec<usize>>) {
        let place = value.index();
        self.dtypes[place] = self.dtypes[place].or(dtype);
        if self.dims[place].is_none() {
            self.dims[place] = dims;
        }
    }

    fn follow(&mut self, graph: &Graph, node: &Node) {
        let inputs: Vec<ValueId> = node.inputs.iter().flatten().copied().collect();
        let (Some(&first), Some(output)) = (inputs.first(), node.outputs.first().copied().flatten()) else {
            return;
        };
        let name = node.op_type.as_str();
        if let Some(steps) = steps(graph, node) {
            let dtype = match name {
                "Cast" => Some(DType::F32),
                "And" => Some(DType::Bool),
                "Where" => inputs[1..].iter().find_map(|&input| self.dtype(input)),
                _ if steps.iter().any(|(code, _)| code.is_test()) => Some(DType::Bool),
                _ => inputs.iter().find_map(|&input| self.dtype(input)),
            };
            let dims = broadcast(inputs.iter().filter_map(|&input| self.dims(input)));
            self.note(output, dtype, dims);
            return;
        }
        if is_onnx(node) && name == "Cast" {
            let dtype = node.attributes.int("to").and_then(|to| DType::from_onnx(to as i32));
            self.note(output, dtype, self.dims(first).map(<[usize]>::to_vec));
            return;
        }
        if !is_onnx(node) || !SAME_TYPE.contains(&name) {
            return;
        }
        let dims = self.dims(first).and_then(|dims| self.moved(graph, node, dims, &inputs));
        let dtype = self.dtype(first);
        for (place, &output) in node.outputs.iter().enumerate() {
            if let Some(output) = output {
                self.note(output, dtype, if place == 0 { dims.clone() } else { None });
            }
        }
    }

    /// The dimensions of the first output of an operator that is not elementwise.
    fn moved(&self, graph: &Graph, node: &Node, dims: &[usize], inputs: &[ValueId]) -> Option<Vec<usize>> {
        let axes = |rank: usize| axes_of(graph, node, rank);
        match node.op_type.as_str() {
            "ReduceSum" | "ReduceMean" => {
                let (axes, keep) = (axes(dims.len())?, node.attributes.int("keepdims").unwrap_or(1) != 0);
                let size = |axis: usize| match (axes.contains(&axis), keep) {
                    (false, _) => Some(dims[axis]),
                    (true, keep) => keep.then_some(1),
                };
                Some((0..dims.len()).filter_map(size).collect())
            }
            "Transpose" => {
                let order = node.attributes.ints("perm")?;
                order.iter().map(|&axis| dims.get(usize::try_from(axis).ok()?).copied()).collect()
            }
            "Unsqueeze" => {
                let given = node.inputs.get(1).copied().flatten();
                let count = match given {
                    Some(axes) => graph.value(axes).initializer()?.count(),
                    None => node.attributes.ints("axes")?.len(),
                };
                let axes = axes(dims.len() + count)?;
                let mut rest = dims.iter().copied();
                (0..dims.len() + count)
                    .map(|axis| if axes.contains(&axis) { Some(1) } else { rest.next() })
                    .collect()
            }
            "Squeeze" => {
                let axes = axes(dims.len())?;
                Some((0..dims.len()).filter(|axis| !axes.contains(axis)).map(|axis| dims[axis]).collect())
            }
            "Reshape" => {
                let shape = graph.value(*inputs.get(1)?).initializer()?.tensor().ok()?.to_i64().ok()?;
                let mut to: Vec<usize> = Vec::new();
                for (axis, &size) in shape.iter().enumerate() {
                    to.push(match size {
                        0 => *dims.get(axis)?,
                        -1 => 0,
                        size => usize::try_from(size).ok()?,
                    });
                }
                let known: usize = to.iter().filter(|&&size| size != 0).product();
                let whole: usize = dims.iter().product();
                to.iter_mut().filter(|size| **size == 0).for_each(|size| *size = whole / known.max(1));
                (to.iter().product::<usize>() == whole).then_some(to)
            }
            "MatMul" => {
                let other = self.dims(*inputs.get(1)?)?;
                let (rows, columns) = (*dims.len().checked_sub(2).map(|axis| &dims[axis])?, *other.last()?);
                if other.len() < 2 {
                    return None;
                }
                let lead = broadcast([&dims[..dims.len() - 2], &other[..other.len() - 2]].into_iter())?;
                Some([lead, vec![rows, columns]].concat())
            }
            "Softmax" | "LogSoftmax" | "BatchNormalization" | "LayerNormalization" => Some(dims.to_vec()),
            _ => None,
        }
    }
}
