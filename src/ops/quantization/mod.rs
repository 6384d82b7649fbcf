//! Numbers stored as integers: `real = (stored - zero_point) * scale`, with one scale and zero point for a tensor or
//! for each index of an axis.

pub(super) mod dynamic;
pub(super) mod linear;
pub(super) mod wrapped;

use std::collections::BTreeMap;

use super::{NodeView, Tape, Unsupported, find};
use crate::ir::{Facts, Model, ValueId};
use crate::tensor::{Tensor, Values};

/// How a tensor of integers stands for real numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantization {
    /// The axis along which scale and zero point differ; nothing where they are the same everywhere.
    pub axis: Option<usize>,
    /// One scale, or one for each index of the axis.
    pub scale: Vec<f64>,
    /// One zero point, or one for each index of the axis.
    pub zero_point: Vec<i64>,
}

/// The gradient of a node that rounds: none.
fn rounds(node: &NodeView<'_>, tape: &Tape<'_>) -> Result<(), Unsupported> {
    let float = |input: usize| node.input(input).is_some_and(|operand| operand.dtype().is_float());
    if (0..node.input_count()).any(|input| tape.wants(input) && float(input)) {
        return Err(Unsupported::new("rounding to integers has no gradient"));
    }
    Ok(())
}

impl Quantization {
    /// By element of a tensor of dimensions `dims`, the place of its scale and zero point.
    fn place(&self, dims: &[usize]) -> impl Fn(usize) -> usize + use<> {
        let (inner, length) = match self.axis {
            Some(axis) => (dims[axis + 1..].iter().product::<usize>().max(1), dims[axis].max(1)),
            None => (1, 1),
        };
        move |element| (element / inner) % length
    }

    /// The real numbers that `stored` stands for; nothing where it holds no integers.
    pub fn real(&self, stored: &Tensor) -> Option<Tensor> {
        let place = self.place(stored.dims());
        let numbers = stored.values().to_i64()?;
        let real = |(element, number): (usize, i64)| {
            let own = place(element);
            ((number - self.zero_point[own]) as f64 * self.scale[own]) as f32
        };
        let values: Vec<f32> = numbers.into_iter().enumerate().map(real).collect();
        Tensor::new(stored.dims().to_vec(), values).ok()
    }

    /// Makes every marked element of `stored` one that stands for 0.
    pub fn clear(&self, stored: &mut Tensor, marked: &[bool]) {
        let place = self.place(stored.dims());
        let zeros = (0..marked.len()).filter(|&element| marked[element]);
        let zeros: Vec<(usize, i64)> =
            zeros.map(|element| (element, self.zero_point[place(element)])).collect();
        macro_rules! put {
            ($values:expr, $type:ty) => {
                zeros.iter().for_each(|&(element, zero)| $values[element] = zero as $type)
            };
        }
        // A zero point has the type of what it belongs to, so nothing is lost.
        match stored.values_mut() {
            Values::I8(values) => put!(values, i8),
            Values::U8(values) => put!(values, u8),
            Values::I16(values) => put!(values, i16),
            Values::U16(values) => put!(values, u16),
            Values::I32(values) => put!(values, i32),
            _ => {}
        }
    }
}

/// The integer initializers of `model` that stand for real numbers wherever they are read, in the same way.
pub fn quantized_initializers(model: &Model, facts: &Facts) -> BTreeMap<ValueId, Quantization> {
    let graph = &model.graph;
    let mut found: BTreeMap<ValueId, Option<Quantization>> = BTreeMap::new();
    for (id, node) in graph.nodes() {
        let stored = |value: &ValueId| {
            let initializer = graph.value(*value).initializer();
            initializer.and_then(crate::ir::Initializer::dtype).is_some_and(crate::tensor::DType::is_integer)
        };
        for value in &node.captured {
            found.insert(*value, None);
        }
        if !node.inputs.iter().flatten().any(stored) {
            continue;
        }
        let view = NodeView::new(graph, facts, id, model.opset(&node.domain).unwrap_or(0));
        let operator = find(&view);
        for (input, value) in node.inputs.iter().enumerate() {
            let Some(value) = value.filter(stored) else { continue };
            let quantization = operator.quantization(&view, input);
            let known = found.entry(value).or_insert_with(|| quantization.clone());
            if *known != quantization {
                *known = None;
            }
        }
    }
    for output in graph.outputs() {
        found.remove(output);
    }
    found.into_iter().filter_map(|(value, quantization)| Some((value, quantization?))).collect()
}
