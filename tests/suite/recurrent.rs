//! Recurrent layers in graphs: initial states of any kind, and layers that take theirs from one tensor.

use safe_onnx::deps::{Exactness, Groups, analyze};
use safe_onnx::engine::LoadOptions;
use safe_onnx::ir::{Attribute, DeclaredDim, Initializer, Model, NodeSpec, ValueId};
use safe_onnx::shrink::{mask, prepare, shrink};
use safe_onnx::tensor::{DType, Random, Tensor};
use safe_onnx::trace::{InputShapes, trace};

use crate::support::{engines, onnx_runtime, relative_error, run};

const STEPS: usize = 5;
const FEATURES: usize = 6;
const HIDDEN: usize = 8;

struct Builder {
    model: Model,
    random: Random,
    /// `x [T, N, I]`.
    input: ValueId,
}

impl Builder {
    fn new(seed: u64) -> Self {
        let mut model = Model::empty("recurrent", 17);
        let input = model.graph.add_value("input");
        let dims =
            [DeclaredDim::Fixed(STEPS), DeclaredDim::Named("batch".to_owned()), DeclaredDim::Fixed(FEATURES)];
        model.graph.add_input(input, DType::F32, &dims);
        Self { model, random: Random::new(seed), input }
    }

    fn op(&mut self, spec: NodeSpec) -> ValueId {
        self.model.graph.add("value", spec)
    }

    fn weight(&mut self, dims: &[usize]) -> ValueId {
        let values: Vec<f32> =
            (0..dims.iter().product()).map(|_| 0.5 * self.random.normal() as f32).collect();
        self.model.graph.add_initializer("weight", &Tensor::new(dims.to_vec(), values).unwrap())
    }

    fn ints(&mut self, values: &[i64]) -> ValueId {
        self.model.graph.add_initializer("ints", &Tensor::vector(values.to_vec()))
    }

    /// Zeros `[layers, N, H]`, as exporters write them.
    fn zeros(&mut self, layers: i64) -> ValueId {
        let shape = self.op(NodeSpec::new("Shape", &[self.input]));
        let one = self.ints(&[1]);
        let batch = self.op(NodeSpec::new("Gather", &[shape, one]));
        let (first, last) = (self.ints(&[layers]), self.ints(&[HIDDEN as i64]));
        let dims = [first, batch, last];
        let dims = self.op(NodeSpec::new("Concat", &dims).attribute("axis", 0_i64));
        let zero = Initializer::from_tensor("", &Tensor::vector(vec![0.0_f32]));
        let zero = Attribute::Tensor(Box::new(zero));
        self.op(NodeSpec::new("ConstantOfShape", &[dims]).attribute("value", zero))
    }

    fn layers(&mut self, states: ValueId, first: i64, last: i64) -> ValueId {
        let inputs = [states, self.ints(&[first]), self.ints(&[last]), self.ints(&[0])];
        self.op(NodeSpec::new("Slice", &inputs))
    }

    /// A state `[1, N, H]` that is zero at no unit, even where all weights that make it are.
    fn computed_state(&mut self) -> ValueId {
        let last = self.model.graph.add_initializer("last", &Tensor::scalar(STEPS as i64 - 1));
        let features = self.op(NodeSpec::new("Gather", &[self.input, last]));
        let (weight, bias) = (self.weight(&[FEATURES, HIDDEN]), self.weight(&[HIDDEN]));
        let linear = self.op(NodeSpec::new("Gemm", &[features, weight, bias]));
        let state = self.op(NodeSpec::new("Sigmoid", &[linear]));
        let front = self.ints(&[0]);
        self.op(NodeSpec::new("Unsqueeze", &[state, front]))
    }

    /// A layer over `x [T, N, features]`; returns all of its outputs.
    fn layer(
        &mut self,
        op_type: &str,
        (x, features): (ValueId, usize),
        states: &[ValueId],
        directions: usize,
    ) -> Vec<ValueId> {
        let rows = HIDDEN * rows_of(op_type);
        let mut inputs = vec![
            Some(x),
            Some(self.weight(&[directions, rows, features])),
            Some(self.weight(&[directions, rows, HIDDEN])),
            Some(self.weight(&[directions, 2 * rows])),
            None,
        ];
        inputs.extend(states.iter().copied().map(Some));
        let direction = if directions == 2 { "bidirectional" } else { "forward" };
        let spec = NodeSpec::with_optional(op_type, &inputs)
            .attribute("hidden_size", HIDDEN as i64)
            .attribute("direction", direction);
        self.model.graph.add_node("layer", spec, if op_type == "LSTM" { 3 } else { 2 })
    }

    /// `y [T, 2, N, H]` as `[T, N, 2 * H]`.
    fn joined(&mut self, y: ValueId) -> ValueId {
        let perm = vec![0_i64, 2, 1, 3];
        let y = self.op(NodeSpec::new("Transpose", &[y]).attribute("perm", perm));
        let dims = self.ints(&[0, 0, -1]);
        self.op(NodeSpec::new("Reshape", &[y, dims]))
    }

    fn classified(mut self, y: ValueId, width: usize) -> Model {
        let weight = self.weight(&[width, 3]);
        let output = self.op(NodeSpec::new("MatMul", &[y, weight]));
        self.finished(output)
    }

    fn finished(mut self, output: ValueId) -> Model {
        self.model.graph.add_output(output);
        self.model
    }
}

fn rows_of(op_type: &str) -> usize {
    match op_type {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1,
    }
}

/// Removes exact groups at random, four times, and compares. Returns how many families of `HIDDEN` exact groups there
/// are.
fn families_of_units(model: Model, seed: u64) -> Result<usize, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let prepared = prepare(model);
    let model = &prepared.model;
    let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
    let traced = trace(model, &*onnx_runtime(), &options, &InputShapes::default()).map_err(|e| text(&e))?;
    let mut analysis = analyze(model, &traced.facts);
    if let Some((_, reason)) = analysis.unknown().first() {
        return Err(format!("not understood: {reason}"));
    }
    let groups = Groups::collect(&model.graph, &mut analysis);
    let exact: Vec<_> =
        groups.families().iter().filter(|family| family.exactness == Exactness::Exact).collect();
    let mut random = Random::fork(seed, "cut");
    let values: Vec<f32> = (0..STEPS * 3 * FEATURES).map(|_| random.normal() as f32).collect();
    let input = Tensor::new(vec![STEPS, 3, FEATURES], values).unwrap();
    for _ in 0..4 {
        let mut removed = vec![false; groups.len()];
        for family in &exact {
            let mut members = family.groups.clone();
            random.shuffle(&mut members);
            let leaving = random.below(members.len());
            members[..leaving].iter().for_each(|&group| removed[group] = true);
        }
        let survivors = groups.survivors(&analysis, &removed);
        let mut small = shrink(&prepared, &traced.facts, &survivors).map_err(|e| text(&e))?;
        prepared.finish(&mut small.graph).unwrap();
        let masked = mask(&prepared, &survivors).map_err(|e| text(&e))?;
        for engine in engines() {
            let place = |error: String| format!("{}: {error}", engine.name());
            let a = run(&*engine, &masked, &[("input", &input)]).map_err(place)?;
            let b = run(&*engine, &small, &[("input", &input)]).map_err(place)?;
            let error = relative_error(&a[0], &b[0]);
            if error > 1e-4 {
                return Err(place(format!("masked and shrunk differ by {error:.2e}\n{}", small.graph)));
            }
        }
    }
    Ok(exact.iter().filter(|family| family.groups.len() == HIDDEN).count())
}

/// Which initial states a case has, and what reads its result.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Zeros,
    Computed,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reader {
    /// A matrix: what it reads need not be zero.
    Matrix,
    /// A sum over the units: exact only if what leaves is zero.
    Sum,
}

#[test]
fn units_leave_whatever_the_initial_states_are() {
    let cases = [
        ("RNN", Kind::Zeros, Reader::Sum, 1),
        ("RNN", Kind::Computed, Reader::Matrix, 1),
        ("RNN", Kind::Computed, Reader::Sum, 1),
        ("GRU", Kind::Zeros, Reader::Sum, 1),
        ("GRU", Kind::Computed, Reader::Matrix, 1),
        ("GRU", Kind::Computed, Reader::Sum, 0),
        ("LSTM", Kind::Zeros, Reader::Sum, 1),
        ("LSTM", Kind::Computed, Reader::Matrix, 1),
        ("LSTM", Kind::Computed, Reader::Sum, 0),
    ];
    let mut failures = Vec::new();
    for (number, &(op_type, kind, reader, expected)) in cases.iter().enumerate() {
        let mut builder = Builder::new(number as u64);
        let count = if op_type == "LSTM" { 2 } else { 1 };
        let states: Vec<ValueId> = match kind {
            Kind::Zeros => vec![builder.zeros(1); count],
            Kind::Computed => (0..count).map(|_| builder.computed_state()).collect(),
        };
        let x = builder.input;
        let y = builder.layer(op_type, (x, FEATURES), &states, 1)[0];
        let model = match reader {
            Reader::Matrix => builder.classified(y, HIDDEN),
            Reader::Sum => {
                let axes = builder.ints(&[3]);
                let sum = builder.op(NodeSpec::new("ReduceSum", &[y, axes]));
                builder.finished(sum)
            }
        };
        match families_of_units(model, number as u64) {
            Ok(found) if found == expected => {}
            Ok(found) => failures
                .push(format!("{op_type}, {kind:?}, {reader:?}: {found} families instead of {expected}")),
            Err(error) => failures.push(format!("{op_type}, {kind:?}, {reader:?}: {error}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn layers_that_share_their_zeros_shrink_on_their_own() {
    let mut failures = Vec::new();
    for (number, op_type) in ["RNN", "GRU", "LSTM"].into_iter().enumerate() {
        let mut builder = Builder::new(number as u64);
        let zeros = builder.zeros(4);
        let count = if op_type == "LSTM" { 2 } else { 1 };
        let mut at = (builder.input, FEATURES);
        for layer in 0..2 {
            let states: Vec<ValueId> =
                (0..count).map(|_| builder.layers(zeros, 2 * layer, 2 * layer + 2)).collect();
            let y = builder.layer(op_type, at, &states, 2)[0];
            at = (builder.joined(y), 2 * HIDDEN);
        }
        match families_of_units(builder.classified(at.0, at.1), number as u64) {
            Ok(2) => {}
            Ok(found) => failures.push(format!("{op_type}: {found} families of units instead of 2")),
            Err(error) => failures.push(format!("{op_type}: {error}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
