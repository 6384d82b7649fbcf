//! Values that are computed from initializers alone, turned into initializers.

use super::watch::show;
use crate::engine::{Engine, EngineError, LoadOptions, load_model};
use crate::ir::{Graph, Model, Node, ValueId, drop_unused};
use crate::tensor::{DType, Tensor};

/// Operators with inputs that give another result each time.
const RANDOM: [&str; 4] = ["Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike"];

/// Replaces what the nodes that `picked` names, and the nodes behind them, make of initializers alone by initializers
/// of the same names, as far as the initializers it is made of are read by nobody else and no larger tensor comes of it. Ensures that no value
/// changes. A part that the engine does not run stays as it is. Gives how many there were.
pub fn fold_constants(
    model: &mut Model,
    engine: &dyn Engine,
    options: &LoadOptions,
    picked: impl Fn(&Node) -> bool,
) -> usize {
    let sources = constant_sources(&model.graph);
    let candidates = candidates(&model.graph, &sources, picked);
    if candidates.is_empty() {
        return 0;
    }
    let options = LoadOptions { optimize: false, ..*options };
    let Ok(values) = compute(model, engine, &options, &candidates) else { return 0 };
    let weights = |graph: &Graph, id: ValueId| -> usize {
        let initializer = graph.value(id).initializer();
        initializer
            .filter(|tensor| tensor.dtype().is_some_and(DType::is_float))
            .map_or(0, crate::ir::Initializer::count)
    };
    let mut chosen: Vec<(ValueId, Tensor)> = candidates
        .into_iter()
        .zip(values)
        .filter(|(id, value)| {
            let from = sources[id.index()].iter().flatten();
            value.dtype().is_float()
                && value.len() <= from.map(|&source| weights(&model.graph, source)).max().unwrap_or(0)
        })
        .collect();
    let mut folded = with_initializers(&model.graph, &chosen);
    let free = |graph: &Graph, id: ValueId, value: &Tensor| {
        // A vector costs nothing, and a scalar or two may well be shared.
        if value.dims().iter().filter(|&&dim| dim != 1).count() < 2 {
            return true;
        }
        let mut from = sources[id.index()].iter().flatten();
        from.all(|&source| weights(graph, source) <= super::FEW)
    };
    let count = chosen.len();
    chosen.retain(|(id, value)| free(&folded, *id, value));
    if chosen.len() < count {
        folded = with_initializers(&model.graph, &chosen);
    }
    if !chosen.is_empty() {
        model.graph = folded;
        model.require_ir_version(4);
    }
    chosen.len()
}

/// The constant values that depend on a node that is picked.
fn candidates(
    graph: &Graph,
    sources: &[Option<Vec<ValueId>>],
    picked: impl Fn(&Node) -> bool,
) -> Vec<ValueId> {
    let consumers = graph.consumers();
    let mut behind = vec![false; graph.value_count()];
    let mut found = Vec::new();
    for (_, node) in graph.nodes() {
        if !picked(node) && !node.inputs.iter().flatten().any(|input| behind[input.index()]) {
            continue;
        }
        // Statistics that a normalisation could give out as well are read by nobody here.
        let Some((Some(first), others)) = node.outputs.split_first() else { continue };
        let unread = |id: &ValueId| consumers[id.index()].is_empty() && !graph.outputs().contains(id);
        if sources[first.index()].is_some() && others.iter().flatten().all(unread) {
            behind[first.index()] = true;
            found.push(*first);
        }
    }
    found
}

/// For each value that is computed from initializers alone, these.
fn constant_sources(graph: &Graph) -> Vec<Option<Vec<ValueId>>> {
    let mut sources: Vec<Option<Vec<ValueId>>> = vec![None; graph.value_count()];
    let inputs = graph.inputs();
    for (id, _) in graph.initializers().filter(|(id, _)| !inputs.contains(id)) {
        sources[id.index()] = Some(vec![id]);
    }
    for (_, node) in graph.nodes() {
        let fixed = node.captured.is_empty()
            && !node.attributes.has_graph()
            && !RANDOM.contains(&node.op_type.as_str());
        let from: Option<Vec<ValueId>> = node
            .inputs
            .iter()
            .flatten()
            .map(|input| sources[input.index()].as_deref())
            .collect::<Option<Vec<&[ValueId]>>>()
            .map(|lists| lists.concat());
        if let (true, Some(mut from)) = (fixed && !node.inputs.is_empty(), from) {
            from.sort_unstable();
            from.dedup();
            for output in node.outputs.iter().flatten() {
                sources[output.index()] = Some(from.clone());
            }
        }
    }
    sources
}

fn compute(
    model: &Model,
    engine: &dyn Engine,
    options: &LoadOptions,
    values: &[ValueId],
) -> Result<Vec<Tensor>, EngineError> {
    let mut part = model.clone();
    part.graph.set_inputs(Vec::new());
    show(&mut part.graph, values.to_vec());
    load_model(engine, options, &part)?.run(&[])
}

fn with_initializers(graph: &Graph, values: &[(ValueId, Tensor)]) -> Graph {
    let mut graph = graph.clone();
    let made: Vec<ValueId> = values.iter().map(|(id, _)| *id).collect();
    graph.retain_nodes(|_, node| !node.outputs.iter().flatten().any(|output| made.contains(output)));
    for (id, tensor) in values {
        graph.set_initializer(*id, tensor);
    }
    drop_unused(&mut graph);
    graph
}
