//! The rules of a graph.

use std::collections::BTreeSet;
use std::fmt;

use super::{Graph, ValueId};

/// A broken rule and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    place: String,
    rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.rule)
    }
}

impl Graph {
    /// Every violation of these rules:
    ///
    /// - a value has one source at most: one node output, or a graph input, or an initializer (an initializer may
    ///   also be a graph input);
    /// - a node reads only values that stand before it: inputs, initializers, outputs of earlier nodes;
    /// - graph outputs have a source;
    /// - the data of an initializer fills its dimensions.
    pub fn check(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut fail = |place: String, rule: String| violations.push(Violation { place, rule });
        let mut known: BTreeSet<ValueId> = BTreeSet::new();
        known.extend(&self.inputs);
        for &id in &self.initializers {
            known.insert(id);
            if let Some(Err(reason)) = self.value(id).initializer().map(super::Initializer::check) {
                fail(format!("initializer `{}`", self.value(id).name()), reason);
            }
        }
        for tensor in &self.rest.sparse_initializer {
            if let Some(id) = tensor.values.as_ref().and_then(|values| self.find(values.name.as_deref()?)) {
                known.insert(id);
            }
        }
        for (id, node) in self.nodes() {
            for &input in node.inputs.iter().flatten().chain(&node.captured) {
                if !known.contains(&input) {
                    let rule = format!("reads `{}`, which nothing before it makes", self.value(input).name());
                    fail(self.describe(id), rule);
                }
            }
            for &output in node.outputs.iter().flatten() {
                if !known.insert(output) {
                    let rule = format!("makes `{}` a second time", self.value(output).name());
                    fail(self.describe(id), rule);
                }
            }
        }
        for &output in &self.outputs {
            if !known.contains(&output) {
                fail(format!("graph output `{}`", self.value(output).name()), "nothing makes it".to_owned());
            }
        }
        violations
    }
}
