//! The form of a graph on which the analysis works.

use super::edits;
use crate::ir::{Graph, IrError, Model, ValueId, constants_to_initializers, drop_unused};
use crate::ops::{separate_fillings, store_fillings};
use crate::tensor::DType;

/// A model in which all constants are initializers and every vector and every filled tensor has one reader, and how
/// to go back.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The model.
    pub model: Model,
    /// Vectors that were copied for each reader: the original and its copy.
    copies: Vec<(ValueId, ValueId)>,
    /// The same for tensors that nodes fill.
    filled: Vec<(ValueId, ValueId)>,
    /// Initializers that nodes held, or filled.
    hoisted: Vec<ValueId>,
}

/// Brings `model` into that form. Exporters merge vectors that happen to be equal, such as fresh biases; a cut may
/// treat each use differently, so each gets its own. Matrices are shared on purpose and stay shared.
pub fn prepare(mut model: Model) -> Prepared {
    let graph = &mut model.graph;
    let stored = graph.initializers().count();
    constants_to_initializers(graph);
    store_fillings(graph);
    // They come behind those that were there.
    let hoisted: Vec<ValueId> = graph.initializers().skip(stored).map(|(id, _)| id).collect();
    let consumers = graph.consumers();
    let shared: Vec<ValueId> = graph
        .initializers()
        .filter(|(id, tensor)| {
            let vector = tensor.dims().iter().filter(|&&dim| dim != 1).count() == 1;
            let plain = consumers[id.index()].iter().all(|(_, input)| input.is_some());
            // Vectors of 64-bit integers are shapes, axes and indices.
            let numbers = tensor.dtype().is_some_and(|dtype| dtype.is_float() || is_stored_number(dtype));
            vector && numbers && plain && consumers[id.index()].len() > 1 && !graph.outputs().contains(id)
        })
        .map(|(id, _)| id)
        .collect();
    let mut copies = Vec::new();
    for id in shared {
        for &(node, input) in &consumers[id.index()][1..] {
            if let (Some(copy), Some(input)) = (graph.copy_initializer(id), input) {
                graph.node_mut(node).inputs[input] = Some(copy);
                copies.push((id, copy));
            }
        }
    }
    let filled = separate_fillings(&mut model.graph);
    if model.graph.initializers().count() > stored {
        // Before this version every initializer had to be a graph input as well.
        model.require_ir_version(4);
    }
    Prepared { model, copies, filled, hoisted }
}

/// Whether the type is one in which quantised models store numbers.
fn is_stored_number(dtype: DType) -> bool {
    matches!(dtype, DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I32)
}

impl Prepared {
    /// The same of a model that was made from this one: values that both have bear the same ids.
    #[must_use]
    pub fn with_model(&self, model: Model) -> Self {
        let Self { copies, filled, hoisted, .. } = self;
        Self { model, copies: copies.clone(), filled: filled.clone(), hoisted: hoisted.clone() }
    }

    /// Whether the initializer, or what it is a copy of, was one in the file, and not a constant that a node held.
    pub fn is_stored(&self, id: ValueId) -> bool {
        !self.hoisted.contains(&self.original(id).unwrap_or(id))
    }

    /// What `id` is a copy of, if it is one.
    pub(super) fn original(&self, id: ValueId) -> Option<ValueId> {
        self.copies.iter().find(|(_, copy)| *copy == id).map(|(original, _)| *original)
    }

    /// The last thing to do to a small model: makes copies that are still equal to their original one tensor again,
    /// and multiplies constants by the factors that the cut put behind them.
    ///
    /// # Errors
    /// When a constant cannot be read.
    pub fn finish(&self, graph: &mut Graph) -> Result<(), IrError> {
        edits::fold_factors(graph)?;
        for &(original, copy) in &self.copies {
            let (first, second) = (graph.value(original).initializer(), graph.value(copy).initializer());
            let equal = match (first, second) {
                (Some(first), Some(second)) => first.same_values(second),
                _ => false,
            };
            if equal {
                graph.redirect(copy, original);
            }
        }
        let producers = graph.producers();
        let inputs_of = |value: ValueId| Some(&graph.node(producers[value.index()]?.0).inputs);
        let same = |(original, copy): &&(ValueId, ValueId)| {
            inputs_of(*original).is_some() && inputs_of(*original) == inputs_of(*copy)
        };
        let equal: Vec<(ValueId, ValueId)> = self.filled.iter().filter(same).copied().collect();
        for (original, copy) in equal {
            graph.redirect(copy, original);
        }
        drop_unused(graph);
        Ok(())
    }
}
