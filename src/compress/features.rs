//! Values inside of a model that are to stay close to those of the dense model, chosen by their names.

use std::collections::BTreeSet;

use regex::Regex;

use super::CompressError;
use super::objective::Objective;
use crate::autodiff::{Loss, Term, Weight};
use crate::ir::{Graph, ValueId};
use crate::tensor::DType;
use crate::trace::Trace;

/// Names that messages list at most.
const LISTED: usize = 3;
const NEAR: usize = 5;
/// Letters that two names have in common at least, to be near.
const COMMON: usize = 3;

/// The chosen values and their names.
#[derive(Debug, Clone, Default)]
pub(super) struct Features(Vec<(ValueId, String)>);

impl Features {
    /// The values of `graph` whose names match one of `patterns`: real numbers that nodes compute from the inputs.
    ///
    /// # Errors
    /// When a pattern matches none.
    pub(super) fn named(graph: &Graph, trace: &Trace, patterns: &[Regex]) -> Result<Self, CompressError> {
        if patterns.is_empty() {
            return Ok(Self::default());
        }
        let candidates = candidates(graph, trace);
        for pattern in patterns {
            if !candidates.iter().any(|(_, name)| pattern.is_match(name)) {
                let (pattern, problem) = (pattern.to_string(), others(pattern, &candidates));
                return Err(CompressError::Unnamed { pattern, problem });
            }
        }
        let chosen = |(_, name): &(ValueId, String)| patterns.iter().any(|pattern| pattern.is_match(name));
        Ok(Self(candidates.into_iter().filter(chosen).collect()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// They alone as what is trained for.
    pub(super) fn objective(&self) -> Objective {
        Objective {
            loss: Loss { terms: self.terms() },
            output: 0,
            class_axis: None,
            alone: false,
            next_token: None,
            labels: [1.0; 2],
            text: self.text(),
        }
    }

    /// The terms, which weigh 1 together.
    pub(super) fn terms(&self) -> Vec<(Weight, Term)> {
        let share = 1.0 / self.0.len().max(1) as f64;
        self.0.iter().map(|(value, _)| (share.into(), Term::Features { value: *value })).collect()
    }

    /// What they are in words.
    pub(super) fn text(&self) -> String {
        let listed: Vec<&str> = self.0.iter().take(LISTED).map(|(_, name)| name.as_str()).collect();
        let more = match self.0.len() - listed.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("squared distance to the dense model's {}{more}", listed.join(", "))
    }
}

/// What can be compared: single or double precision, computed by a node, and from an input of the model.
fn candidates(graph: &Graph, trace: &Trace) -> Vec<(ValueId, String)> {
    let mut moves: BTreeSet<ValueId> = graph.required_inputs().collect();
    let mut found = Vec::new();
    for (_, node) in graph.nodes() {
        if !node.inputs.iter().flatten().chain(&node.captured).any(|input| moves.contains(input)) {
            continue;
        }
        for &output in node.outputs.iter().flatten() {
            moves.insert(output);
            let real = |dtype| matches!(dtype, DType::F32 | DType::F64);
            if trace.facts.get(output).is_some_and(|seen| real(seen.dtype)) {
                found.push((output, graph.value(output).name().to_owned()));
            }
        }
    }
    found
}

/// What else there is, for a pattern that matches none of the names.
fn others(pattern: &Regex, candidates: &[(ValueId, String)]) -> String {
    let mut near: Vec<(usize, &str)> =
        candidates.iter().map(|(_, name)| (common(pattern.as_str(), name), name.as_str())).collect();
    // The sort is stable: of equally near ones, the first in the graph come first.
    near.sort_by_key(|(common, _)| std::cmp::Reverse(*common));
    let alike = near.first().is_some_and(|(common, _)| *common >= COMMON);
    let names: Vec<String> = near.iter().take(NEAR).map(|(_, name)| format!("`{name}`")).collect();
    let which = if alike { "near ones are" } else { "some are" };
    let names = names.join(", ");
    format!("the model computes {} float values; {which} {names}", candidates.len())
}

/// Length of the longest run of characters that both have.
fn common(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase().into_bytes(), b.to_lowercase().into_bytes());
    let mut row = vec![0; b.len() + 1];
    let mut longest = 0;
    for first in a {
        for place in (0..b.len()).rev() {
            row[place + 1] = if b[place] == first { row[place] + 1 } else { 0 };
            longest = longest.max(row[place + 1]);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_common_run_tells_what_is_near() {
        let cases = [
            ("layer3", "/layer3/conv/Conv_output_0", 6),
            ("abc", "xyz", 0),
            ("", "x", 0),
            ("Relu", "relu", 4),
        ];
        for (a, b, expected) in cases {
            assert_eq!(common(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_text_names_the_first_few() {
        let names = ["a", "b", "c", "d", "e"];
        let graph = &mut crate::ir::Model::empty("m", 17).graph;
        let features = Features(names.map(|name| (graph.add_value(name), name.to_owned())).to_vec());
        assert_eq!(features.text(), "squared distance to the dense model's a, b, c and 2 more");
        let total: f64 = features
            .terms()
            .iter()
            .map(|(weight, _)| if let Weight::Fixed(weight) = weight { *weight } else { 0.0 })
            .sum();
        assert!((total - 1.0).abs() < 1e-12, "{total}");
    }
}
