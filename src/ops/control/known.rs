//! Which integers and truth values are the same whatever a model is given.

use super::is;
use crate::ir::{Facts, Graph, Node, ValueId};

/// Operators whose output's shape depends on what their inputs hold.
const SHAPED_BY_VALUES: [&str; 6] =
    ["NonZero", "NonMaxSuppression", "Unique", "Compress", "SequenceMap", "Scan"];
/// Operators that give numbers of their own.
const RANDOM: [&str; 6] =
    ["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"];
/// Operators that read integers without taking them for sizes, positions or counts.
const SIZELESS: [&str; 24] = [
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Mod",
    "Min",
    "Max",
    "Equal",
    "Less",
    "LessOrEqual",
    "Greater",
    "GreaterOrEqual",
    "And",
    "Or",
    "Not",
    "Xor",
    "Where",
    "Concat",
    "Gather",
    "GatherElements",
    "GatherND",
    "ScatterElements",
    "ScatterND",
    "Identity",
];
/// Operators that hand on some elements of their first input.
const SELECTING: [&str; 7] = ["Gather", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Identity", "Cast"];

/// Along which axis the first output of a node has one entry for each element that the node found, if it counts some.
pub fn counted_axis(node: &Node) -> Option<usize> {
    if is(node, "NonZero") {
        Some(1)
    } else if is(node, "NonMaxSuppression") {
        Some(0)
    } else {
        None
    }
}

/// What is known of the integers of a graph: those that follow from initializers and from fixed dimensions.
pub(super) struct Known<'a> {
    facts: &'a Facts,
    loose: Vec<bool>,
    /// For each value, whether it is the same in all runs.
    fixed: Vec<bool>,
}

impl<'a> Known<'a> {
    pub(super) fn new(graph: &Graph, facts: &'a Facts) -> Self {
        let loose = loose_shapes(graph, facts);
        let varies = |id: ValueId| {
            facts.get(id).is_none_or(|seen| seen.ints.is_none() || seen.ints_vary.contains(&true))
        };
        let mut fixed = vec![false; graph.value_count()];
        // Dimensions, and what selects from them: some elements may vary, each is a dimension still.
        let mut selected = vec![false; graph.value_count()];
        let inputs = graph.inputs();
        for (id, _) in graph.initializers().filter(|(id, _)| !inputs.contains(id)) {
            fixed[id.index()] = true;
            selected[id.index()] = true;
        }
        for (_, node) in graph.nodes() {
            let mut given = node.inputs.iter().flatten();
            let all_fixed = |fixed: &[bool]| node.inputs.iter().flatten().all(|input| fixed[input.index()]);
            let plain = node.captured.is_empty()
                && !node.attributes.has_graph()
                && matches!(node.domain.as_str(), "" | "ai.onnx")
                && !RANDOM.contains(&node.op_type.as_str());
            let (chosen, same) = if is(node, "Shape") || is(node, "Size") {
                let known = given.next().is_some_and(|input| !loose[input.index()]);
                (known, known)
            } else if plain && SELECTING.contains(&node.op_type.as_str()) {
                let first = given.next().is_some_and(|input| selected[input.index()]);
                let known = first && given.all(|input| fixed[input.index()]);
                (known, known)
            } else {
                (false, plain && all_fixed(&fixed))
            };
            for output in node.outputs.iter().flatten() {
                selected[output.index()] = chosen || (same && !varies(*output));
                fixed[output.index()] = same && (all_fixed(&fixed) || !varies(*output));
            }
        }
        Self { facts, loose, fixed }
    }

    /// The integers of a value, if they are always the same.
    pub(super) fn integers(&self, id: ValueId) -> Option<&[i64]> {
        let seen = self.facts.get(id)?;
        let fixed = self.fixed.get(id.index()).copied().unwrap_or(false);
        (fixed && !seen.ints_vary.contains(&true)).then_some(seen.ints.as_deref()).flatten()
    }

    /// The length of a value along `axis`, if it is always the same.
    pub(super) fn length(&self, id: ValueId, axis: i64) -> Option<usize> {
        let seen = self.facts.get(id).filter(|_| self.loose.get(id.index()) == Some(&false))?;
        let axis = usize::try_from(if axis < 0 { axis + seen.dims.len() as i64 } else { axis }).ok()?;
        (seen.varies.get(axis) == Some(&false)).then(|| seen.dims[axis])
    }

    /// The one integer of a value, if it is always the same.
    pub(super) fn integer(&self, id: ValueId) -> Option<i64> {
        match self.integers(id)? {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// The one truth value of a value, if it is always the same.
    pub(super) fn truth(&self, id: ValueId) -> Option<bool> {
        self.integer(id).map(|number| number != 0)
    }
}

/// The values that depend on what the graph's inputs hold, beyond how many elements there are.
pub fn contents(graph: &Graph) -> Vec<ValueId> {
    let mut computed = vec![false; graph.value_count()];
    for id in graph.required_inputs() {
        computed[id.index()] = true;
    }
    for (_, node) in graph.nodes().filter(|(_, node)| !is(node, "Shape") && !is(node, "Size")) {
        let mut read = node.inputs.iter().flatten().chain(&node.captured);
        if RANDOM.contains(&node.op_type.as_str()) || read.any(|input| computed[input.index()]) {
            for output in node.outputs.iter().flatten() {
                computed[output.index()] = true;
            }
        }
    }
    graph.values().map(|(id, _)| id).filter(|id| computed[id.index()]).collect()
}

/// For each value, whether its shape depends on what the graph's inputs hold, as far as one cannot exclude it.
fn loose_shapes(graph: &Graph, facts: &Facts) -> Vec<bool> {
    let count = graph.value_count();
    let (mut loose, mut computed) = (vec![false; count], vec![false; count]);
    for &id in graph.inputs() {
        computed[id.index()] = true;
    }
    let whole = |id: &ValueId| facts.get(*id).is_none_or(|seen| seen.dtype.is_integer());
    for (_, node) in graph.nodes() {
        let read = || node.inputs.iter().flatten().chain(&node.captured);
        let name = node.op_type.as_str();
        let standard = matches!(node.domain.as_str(), "" | "ai.onnx");
        // What an operator takes for a size stands behind its first input, with few exceptions.
        let sizes = match name {
            "Range" | "ConstantOfShape" => 0,
            _ => 1,
        };
        let sized = !SIZELESS.contains(&name)
            && node.inputs.iter().skip(sizes).flatten().any(|input| computed[input.index()] && whole(input));
        // In a body, every integer that comes from outside may become a size, and every condition may choose.
        let inside = node.attributes.inner_operators();
        let body_sized = !inside.is_empty()
            && (read().any(|input| computed[input.index()] && !is_float(facts, *input))
                || inside.iter().any(|name| SHAPED_BY_VALUES.contains(name) || RANDOM.contains(name)));
        let by_values = SHAPED_BY_VALUES.contains(&name)
            || body_sized
            || (!standard && node.outputs.iter().flatten().any(|output| facts.get(*output).is_none()));
        let shape = if is(node, "Shape") || is(node, "Size") {
            false
        } else {
            sized || by_values || read().any(|input| loose[input.index()])
        };
        let value = if is(node, "Shape") || is(node, "Size") {
            read().any(|input| loose[input.index()])
        } else {
            RANDOM.contains(&name) || read().any(|input| computed[input.index()] || loose[input.index()])
        };
        for output in node.outputs.iter().flatten() {
            loose[output.index()] = shape;
            computed[output.index()] = value;
        }
    }
    loose
}

fn is_float(facts: &Facts, id: ValueId) -> bool {
    facts.get(id).is_some_and(|seen| seen.dtype.is_float())
}
