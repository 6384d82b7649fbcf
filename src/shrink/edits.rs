//! What an operator wants changed at its node, put into the graph.

use std::collections::BTreeSet;

use crate::ir::{Facts, Graph, Initializer, IrError, NodeId, NodeSpec, ValueId};
use crate::ops::{Entry, NodeEdit, ReplacementInput};
use crate::tensor::{DType, Tensor};

/// Applies `edit` to node `id` of `graph`.
pub(super) fn apply(graph: &mut Graph, facts: &Facts, id: NodeId, edit: NodeEdit) {
    for (name, value) in edit.attributes {
        graph.node_mut(id).attributes.set(&name, value);
    }
    for (index, entries) in edit.inputs {
        let old = graph.node(id).inputs.get(index).copied().flatten();
        let fresh = patched(graph, facts, old, &entries, Place::Before(id));
        let inputs = &mut graph.node_mut(id).inputs;
        if inputs.len() <= index {
            inputs.resize(index + 1, None);
        }
        inputs[index] = Some(fresh);
    }
    for (index, factor) in edit.input_factors {
        if let Some(old) = graph.node(id).inputs.get(index).copied().flatten() {
            let factor = scalar(graph, facts, old, factor);
            let base = format!("{}.scaled", graph.value(old).name());
            let scaled = graph.insert_before(id, &base, NodeSpec::new(SCALE, &[old, factor]));
            graph.node_mut(id).inputs[index] = Some(scaled);
        }
    }
    for (index, factor) in edit.output_factors {
        if let Some(old) = graph.node(id).outputs.get(index).copied().flatten() {
            let factor = scalar(graph, facts, old, factor);
            let raw = graph.add_value(&format!("{}.unscaled", graph.value(old).name()));
            graph.node_mut(id).outputs[index] = Some(raw);
            let base = format!("{}.scaled", graph.value(old).name());
            let scaled = graph.insert_after(id, &base, NodeSpec::new(SCALE, &[raw, factor]));
            graph.rename_produced(scaled, old);
        }
    }
    for (index, tensor) in edit.constants {
        let name = fresh_base(graph, id);
        let fresh = graph.add_initializer(&name, &tensor);
        if let Some(input) = graph.node_mut(id).inputs.get_mut(index) {
            *input = Some(fresh);
        }
    }
    for (index, entries) in edit.outputs {
        if let Some(old) = graph.node(id).outputs.get(index).copied().flatten() {
            // Readers are sent to the patched value first, so that the patch itself still reads the old one.
            let raw = graph.add_value(&format!("{}.small", graph.value(old).name().to_owned()));
            graph.node_mut(id).outputs[index] = Some(raw);
            let fresh = patched_from(graph, facts, old, Some(raw), &entries, Place::After(id));
            graph.redirect(old, fresh);
        }
    }
    if let Some(replacement) = edit.replacement {
        let inputs = replacement
            .inputs
            .into_iter()
            .map(|input| match input {
                ReplacementInput::Old(index) => graph.node(id).inputs.get(index).copied().flatten(),
                ReplacementInput::Ints(values) => {
                    let name = fresh_base(graph, id);
                    Some(graph.add_initializer(&name, &Tensor::vector(values)))
                }
            })
            .collect();
        let node = graph.node_mut(id);
        node.op_type = replacement.op_type;
        node.domain = String::new();
        node.inputs = inputs;
        for name in node.attributes.names().map(str::to_owned).collect::<Vec<_>>() {
            node.attributes.remove(&name);
        }
        for (name, value) in replacement.attributes {
            node.attributes.set(&name, value);
        }
    }
}

/// The operator that factors are put in with, and how the names of the factors end.
const SCALE: &str = "Mul";
const FACTOR: &str = ".factor";

/// Multiplies constants by the factors that [`apply`] put behind them.
///
/// # Errors
/// When a constant cannot be read.
pub(super) fn fold_factors(graph: &mut Graph) -> Result<(), IrError> {
    let scaled: Vec<(NodeId, ValueId, ValueId, ValueId)> = graph
        .nodes()
        .filter(|(_, node)| node.op_type == SCALE)
        .filter_map(|(id, node)| {
            let (&[Some(constant), Some(factor)], &[Some(output)]) = (&node.inputs[..], &node.outputs[..])
            else {
                return None;
            };
            let put_in =
                graph.value(factor).name().contains(FACTOR) && graph.value(factor).initializer().is_some();
            (put_in && graph.value(constant).initializer().is_some())
                .then_some((id, constant, factor, output))
        })
        .collect();
    let mut folded = BTreeSet::new();
    for (id, constant, factor, output) in scaled {
        let read = |id: ValueId| graph.value(id).initializer().map(Initializer::tensor).transpose();
        let (Some(tensor), Some(factor)) = (read(constant)?, read(factor)?) else { continue };
        let (Ok(values), Ok(factor)) = (tensor.to_f64(), factor.to_f64()) else { continue };
        let product: Vec<f64> = values.iter().map(|value| value * factor[0]).collect();
        let Ok(product) = Tensor::new(tensor.dims().to_vec(), product) else { continue };
        let product = product.cast_float(tensor.dtype());
        let alone = graph.consumers()[constant.index()].len() == 1 && !graph.outputs().contains(&constant);
        let result = if alone {
            graph.set_initializer(constant, &product);
            constant
        } else {
            let name = graph.value(output).name().to_owned();
            graph.add_initializer(&name, &product)
        };
        graph.redirect(output, result);
        folded.insert(id);
    }
    graph.retain_nodes(|id, _| !folded.contains(&id));
    Ok(())
}

/// `factor` in the type of the value `like`.
fn scalar(graph: &mut Graph, facts: &Facts, like: ValueId, factor: f64) -> ValueId {
    let dtype = facts.get(like).map_or(DType::F32, |seen| seen.dtype);
    let base = format!("{}{FACTOR}", graph.value(like).name());
    graph.add_initializer(&base, &Tensor::scalar(factor).cast_float(dtype))
}

fn fresh_base(graph: &Graph, id: NodeId) -> String {
    let output = graph.node(id).outputs.iter().flatten().next();
    format!("{}.ints", output.map_or("node", |&value| graph.value(value).name()))
}

#[derive(Clone, Copy)]
enum Place {
    Before(NodeId),
    After(NodeId),
}

fn patched(
    graph: &mut Graph,
    facts: &Facts,
    old: Option<ValueId>,
    entries: &[Entry],
    place: Place,
) -> ValueId {
    match old {
        Some(known) => patched_from(graph, facts, known, old, entries, place),
        None => {
            let values =
                entries.iter().map(|entry| if let Entry::Set(value) = entry { *value } else { 0 }).collect();
            let (Place::Before(id) | Place::After(id)) = place;
            let name = fresh_base(graph, id);
            graph.add_initializer(&name, &Tensor::vector(values))
        }
    }
}

/// A value that holds what `known` held in the dense model, with the entries that are set replaced. `raw` computes
/// the entries that follow the inputs.
fn patched_from(
    graph: &mut Graph,
    facts: &Facts,
    known: ValueId,
    raw: Option<ValueId>,
    entries: &[Entry],
    place: Place,
) -> ValueId {
    let seen = facts.get(known);
    let base = format!("{}.small", graph.value(known).name());
    let dims = seen.map_or_else(|| vec![entries.len()], |seen| seen.dims.clone());
    let dtype = seen.map_or(DType::I64, |seen| seen.dtype);
    let ints = |values: Vec<i64>, dtype: DType| {
        let tensor = if dtype == DType::I32 {
            Tensor::new(dims.clone(), values.into_iter().map(|value| value as i32).collect::<Vec<_>>())
        } else {
            Tensor::new(dims.clone(), values)
        };
        tensor.unwrap_or_else(|_| Tensor::vector(Vec::<i64>::new()))
    };
    let steady: Option<Vec<i64>> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| match entry {
            Entry::Set(value) => Some(*value),
            Entry::Keep => {
                let seen = seen?;
                let varies = seen.ints_vary.get(index).copied().unwrap_or(true);
                seen.ints.as_ref().filter(|_| !varies)?.get(index).copied()
            }
        })
        .collect();
    if let Some(values) = steady {
        return graph.add_initializer(&base, &ints(values, dtype));
    }
    let Some(raw) = raw else { return known };
    let set: Vec<bool> = entries.iter().map(|entry| matches!(entry, Entry::Set(_))).collect();
    let values = entries.iter().map(|entry| if let Entry::Set(value) = entry { *value } else { 0 }).collect();
    let condition = Tensor::new(dims.clone(), set).unwrap_or_else(|_| Tensor::scalar(true));
    let condition = graph.add_initializer(&format!("{base}.set"), &condition);
    let numbers = graph.add_initializer(&format!("{base}.numbers"), &ints(values, dtype));
    let spec = NodeSpec::new("Where", &[condition, numbers, raw]);
    match place {
        Place::Before(id) => graph.insert_before(id, &base, spec),
        Place::After(id) => graph.insert_after(id, &base, spec),
    }
}
