//! `Einsum`: products of any number of tensors, axes named by letters, summed over the letters that the result
//! does not have.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__Einsum.html> (since version 12). A letter that stands twice
//! in one operand (a diagonal) is not understood.

use std::collections::{BTreeMap, BTreeSet};

use crate::ir::{NodeSpec, ValueId};
use crate::ops::{
    Axis, Coupling, Cut, Example, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported,
};

struct Einsum;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&Einsum];

static SPEC: Spec = Spec::onnx("Einsum", 1..=usize::MAX, &["equation"]).versions(12..=NEWEST_OPSET);

/// The letters of every operand and of the result, an ellipsis spelt out in letters of its own.
struct Equation {
    inputs: Vec<Vec<char>>,
    output: Vec<char>,
    sizes: BTreeMap<char, usize>,
}

impl Equation {
    fn new(node: &NodeView<'_>) -> Result<Self, Unsupported> {
        let text: String = node.string("equation", "").chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text.as_str(), None),
        };
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != node.input_count() {
            return Err(Unsupported(format!("equation `{text}` has {} terms", terms.len())));
        }
        let free: Vec<char> = ('A'..='Z').chain('a'..='z').filter(|&c| !text.contains(c)).collect();
        let mut stretch = 0;
        for (input, term) in terms.iter().enumerate() {
            if term.contains("...") {
                let named = term.chars().filter(char::is_ascii_alphabetic).count();
                stretch = stretch.max(node.x(input)?.rank().saturating_sub(named));
            }
        }
        let spare = free.get(..stretch).ok_or_else(|| Unsupported::new("no letters are left for `...`"))?;
        let inputs = terms
            .iter()
            .enumerate()
            .map(|(input, term)| letters(term, spare, Some(node.x(input)?.rank())))
            .collect::<Result<Vec<_>, _>>()?;
        let output = match right {
            Some(right) => letters(right, spare, None)?,
            None => implicit(&inputs, spare),
        };
        if output.len() != node.y(0)?.rank() {
            return Err(Unsupported(format!("equation `{text}` does not fit the rank of the result")));
        }
        let mut sizes = BTreeMap::new();
        for (input, term) in inputs.iter().enumerate() {
            for (&letter, &dim) in term.iter().zip(node.x(input)?.dims()) {
                let size = sizes.entry(letter).or_insert(dim);
                *size = dim.max(*size);
            }
        }
        Ok(Self { inputs, output, sizes })
    }

    fn size(&self, letter: char) -> usize {
        self.sizes.get(&letter).copied().unwrap_or(1)
    }
}

/// The letters of one term; `...` stands for as many of `spare` as the rank asks for, the last ones.
fn letters(term: &str, spare: &[char], rank: Option<usize>) -> Result<Vec<char>, Unsupported> {
    let wrong = || Unsupported(format!("term `{term}` of the equation is not understood"));
    let found = match term.split_once("...") {
        None => term.chars().collect(),
        Some((before, behind)) => {
            let named = before.chars().count() + behind.chars().count();
            let count = rank.map_or(Some(spare.len()), |rank| rank.checked_sub(named)).ok_or_else(wrong)?;
            before
                .chars()
                .chain(spare[spare.len() - count..].iter().copied())
                .chain(behind.chars())
                .collect::<Vec<_>>()
        }
    };
    let distinct: BTreeSet<char> = found.iter().copied().collect();
    let fits = rank.is_none_or(|rank| rank == found.len());
    if !fits || distinct.len() != found.len() || !found.iter().all(char::is_ascii_alphabetic) {
        return Err(wrong());
    }
    Ok(found)
}

/// Without `->` the result has the ellipsis and then the letters that stand once, in alphabetical order.
fn implicit(inputs: &[Vec<char>], spare: &[char]) -> Vec<char> {
    let mut counts: BTreeMap<char, usize> = BTreeMap::new();
    for &letter in inputs.iter().flatten() {
        *counts.entry(letter).or_default() += 1;
    }
    let once = counts.iter().filter(|&(letter, &count)| count == 1 && !spare.contains(letter));
    spare.iter().copied().chain(once.map(|(&letter, _)| letter)).collect()
}

impl Operator for Einsum {
    fn spec(&self) -> &Spec {
        &SPEC
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let equation = Equation::new(node)?;
        for (&letter, &size) in &equation.sizes {
            let mut axes: Vec<Axis> = Vec::new();
            for (input, term) in equation.inputs.iter().enumerate() {
                if let Some(axis) = term.iter().position(|&other| other == letter)
                    && node.x(input)?.dims()[axis] == size
                {
                    axes.push(slots.input(input, axis));
                }
            }
            axes.sort_by_key(|axis| !axis.zero());
            let Some((first, others)) = axes.split_first() else { continue };
            match equation.output.iter().position(|&other| other == letter) {
                Some(axis) => {
                    for other in others {
                        slots.tie(first, other);
                    }
                    let coupled = axes.iter().find(|axis| !axis.is_fixed()).unwrap_or(first);
                    slots.set(0, axis, coupled.with_zero(first.zero()));
                }
                None if others.is_empty() => {
                    if !first.zero() {
                        slots
                            .approximate(first, "it is summed over an axis that is not zero where it is cut");
                    }
                }
                None => {
                    for other in others {
                        slots.contract(first, other);
                    }
                }
            }
        }
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        let equation = Equation::new(node)?;
        let dy = tape.dy0()?;
        for (input, term) in equation.inputs.iter().enumerate() {
            for (axis, &letter) in term.iter().enumerate() {
                if node.x(input)?.dims()[axis] != equation.size(letter) {
                    return Err(Unsupported(format!("axis {axis} of input {input} is broadcast")));
                }
            }
        }
        for (input, term) in equation.inputs.iter().enumerate() {
            if tape.wants(input) {
                let grad = input_gradient(node, tape, &equation, dy, (input, term))?;
                tape.give(input, grad);
            }
        }
        Ok(())
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        let products = node.input_count().saturating_sub(1) as u64;
        Equation::new(node).map_or(0, |equation| {
            equation.sizes.values().fold(products, |macs, &size| macs.saturating_mul(size as u64))
        })
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let case = |equation: &str| Example::new("Einsum").attribute("equation", equation);
        vec![
            case("bij,jk->bik").computed(&[2, 3, 6]).weight(&[6, 4]).prunable(0, 2).macs(144),
            case("bhid, bhjd -> bhij")
                .computed(&[2, 4, 3, 5])
                .computed(&[2, 4, 2, 5])
                .prunable(0, 1)
                .prunable(0, 3)
                .macs(240),
            case("bhwc,hkc->bhwk").computed(&[2, 3, 2, 4]).weight(&[3, 5, 4]).prunable(0, 3).macs(240),
            case("...ij,...jk").computed(&[2, 3, 4]).computed(&[2, 4, 5]).prunable(0, 2).macs(120),
            case("ij->ji").computed(&[3, 6]).prunable(0, 1).prunable(0, 0),
            case("ij->i").computed(&[3, 6]).prunable(0, 0),
            case("i,j->ij").computed(&[3]).computed(&[6]).prunable(0, 0).prunable(1, 0).macs(18),
            case("ij,kj,lj->ikl").computed(&[2, 6]).weight(&[3, 6]).weight(&[4, 6]).prunable(0, 1).macs(288),
        ]
    }
}

/// The gradient of one operand: dy times all other operands, summed over what the operand does not have.
fn input_gradient(
    node: &NodeView<'_>,
    tape: &mut Tape<'_>,
    equation: &Equation,
    dy: ValueId,
    (input, term): (usize, &[char]),
) -> Result<ValueId, Unsupported> {
    let mut operands = vec![dy];
    let mut terms = vec![equation.output.clone()];
    for (other, letters) in equation.inputs.iter().enumerate() {
        if other != input {
            operands.push(tape.x(other)?);
            terms.push(letters.clone());
        }
    }
    let known: BTreeSet<char> = terms.iter().flatten().copied().collect();
    let reached: Vec<char> = term.iter().copied().filter(|letter| known.contains(letter)).collect();
    let left: Vec<String> = terms.iter().map(|term| term.iter().collect()).collect();
    let text = format!("{}->{}", left.join(","), reached.iter().collect::<String>());
    let spec = NodeSpec::new("Einsum", &operands).attribute("equation", text.as_str());
    let grad = tape.node(spec);
    if reached.len() == term.len() {
        return Ok(grad);
    }
    let missing: Vec<usize> = (0..term.len()).filter(|&axis| !known.contains(&term[axis])).collect();
    let grad = tape.unsqueeze(grad, &missing);
    let shape = tape.shape_of(node, input)?;
    Ok(tape.op("Expand", &[grad, shape]))
}
