//! The laws of operators, over the examples that each operator gives: the gradient equals finite differences, the
//! masked model equals the shrunk one, the multiply-accumulates are those stated.

use safe_onnx::autodiff::{Loss, Request, Term, differentiate};
use safe_onnx::cost::CostModel;
use safe_onnx::deps::{Exactness, Groups, analyze};
use safe_onnx::engine::{Engine, LoadOptions};
use safe_onnx::ir::{DeclaredDim, Model, NodeSpec, ValueId};
use safe_onnx::ops::{self, Example, ExampleInput, MICROSOFT};
use safe_onnx::shrink::{mask, prepare, shrink};
use safe_onnx::tensor::{DType, Random, Tensor};
use safe_onnx::trace::{InputShapes, trace};

use crate::support::{engines, onnx_runtime, run};

fn uniform(dims: &[usize], low: f32, high: f32, random: &mut Random) -> Tensor {
    let count = dims.iter().product();
    let values: Vec<f32> = (0..count).map(|_| low + (high - low) * random.unit() as f32).collect();
    Tensor::new(dims.to_vec(), values).unwrap()
}

fn fixed(dims: &[usize]) -> Vec<DeclaredDim> {
    dims.iter().map(|&dim| DeclaredDim::Fixed(dim)).collect()
}

/// The node of an example alone: every float input an initializer. Returns the inputs that vary.
fn alone(example: &Example, random: &mut Random) -> (Model, Vec<ValueId>) {
    let mut model = Model::empty("example", example.opset);
    model.import(example.domain, 1);
    let mut varying = Vec::new();
    let inputs: Vec<Option<ValueId>> = example
        .inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let name = format!("x{index}");
            Some(match input {
                ExampleInput::Absent => return None,
                ExampleInput::Constant(tensor) => model.graph.add_initializer(&name, tensor),
                ExampleInput::Quantized(dims, _) => {
                    let values: Vec<u8> =
                        (0..dims.iter().product()).map(|_| random.below(256) as u8).collect();
                    model.graph.add_initializer(&name, &Tensor::new(dims.clone(), values).unwrap())
                }
                ExampleInput::Computed(dims) | ExampleInput::Weight(dims) => {
                    let tensor = uniform(dims, example.range.0, example.range.1, random);
                    let id = model.graph.add_initializer(&name, &tensor);
                    varying.push(id);
                    id
                }
                ExampleInput::Positive(dims) => {
                    let id = model.graph.add_initializer(&name, &uniform(dims, 0.5, 1.5, random));
                    varying.push(id);
                    id
                }
            })
        })
        .collect();
    let spec = NodeSpec::with_optional(example.op_type, &inputs)
        .domain(example.domain)
        .attributes(example.attributes.clone());
    let outputs = model.graph.add_node("y", spec, example.outputs);
    for output in outputs {
        model.graph.add_output(output);
    }
    (model, varying)
}

fn describe(example: &Example) -> String {
    let names: Vec<&str> = example.attributes.names().collect();
    let dot = if example.domain.is_empty() { "" } else { "." };
    let (domain, op_type) = (example.domain, example.op_type);
    format!("{domain}{dot}{op_type} opset {} {names:?} {:?}", example.opset, example.inputs)
}

fn all_examples() -> Vec<Example> {
    let only = std::env::var("SAFE_ONNX_OPERATOR").ok();
    ops::all()
        .flat_map(ops::Operator::examples)
        .filter(|example| {
            only.as_deref().is_none_or(|only| only.split(',').any(|only| only == example.op_type))
        })
        .collect()
}

fn report(failures: Vec<String>, cases: usize) {
    assert!(cases > 0, "no case was tried");
    assert!(failures.is_empty(), "{} of {cases} failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn gradients_equal_finite_differences() {
    let (mut failures, mut cases) = (Vec::new(), 0);
    for (number, example) in all_examples().iter().enumerate() {
        cases += 1;
        let mut random = Random::new(number as u64);
        if let Err(reason) = check_gradient(example, &mut random) {
            failures.push(format!("{}: {reason}", describe(example)));
        }
    }
    report(failures, cases);
}

type Applies = fn(&Example) -> bool;

/// Examples that tract does not run, or computes otherwise than ONNX defines them: operator, which of its examples,
/// and what tract does.
const TRACT_EXCEPTIONS: &[(&str, Applies, &str)] = &[
    ("Attention", |example| example.domain == MICROSOFT, "ONNX's operator of that name is taken for it"),
    ("Attention", |example| example.attributes.has("softcap"), "it is refused"),
    ("Attention", |example| example.outputs > 3, "the scores are no output"),
    ("Attention", takes_booleans, "a mask of booleans gives another result"),
    ("BatchNormalization", |example| example.outputs > 1, "there is no training mode"),
    ("Celu", |_| true, "alpha is not taken out of the exponent"),
    ("Einsum", |example| equation(example).contains('.'), "`...` is understood otherwise"),
    ("EmbedLayerNormalization", |_| true, "the operator is not there"),
    ("FusedConv", |_| true, "the operator is not there"),
    ("FusedMatMul", |_| true, "the operator is not there"),
    ("GlobalLpPool", |_| true, "the sum is divided by the number of elements"),
    ("GroupQueryAttention", |example| example.inputs[1] == ExampleInput::Absent, "packed inputs are refused"),
    ("LpPool", |_| true, "the operator is not there"),
    ("MatMul", |example| example.inputs.iter().all(is_vector), "a product of two vectors is refused"),
    (
        "MultiHeadAttention",
        |_| true,
        "biases, masks, keys apart in heads and values of another width are refused",
    ),
    ("Pad", |example| example.attributes.string("mode") == Some("wrap"), "the mode is refused"),
    ("Pad", takes_negative_ints, "negative counts panic"),
    ("MaxRoiPool", |_| true, "the operator is not there"),
    ("ReverseSequence", |_| true, "the operator is not there"),
    ("SkipLayerNormalization", has_default_epsilon, "another epsilon is taken where none is given"),
    ("SkipSimplifiedLayerNormalization", has_default_epsilon, "another epsilon is taken where none is given"),
    ("SkipLayerNormalization", |example| example.inputs.contains(&ExampleInput::Absent), "it panics"),
    ("SkipSimplifiedLayerNormalization", |example| example.inputs.len() > 3, "the bias is left out"),
    ("RoiAlign", |_| true, "the operator is not there"),
    ("DynamicQuantizeMatMul", |_| true, "the operator is not there"),
    ("MatMulIntegerToFloat", |_| true, "the operator is not there"),
    ("QGemm", |_| true, "the operator is not there"),
    ("QLinearAdd", |_| true, "the operator is not there"),
    ("QLinearAveragePool", |_| true, "the operator is not there"),
    ("QLinearConcat", |_| true, "the operator is not there"),
    ("QLinearGlobalAveragePool", |_| true, "the operator is not there"),
    ("QLinearLeakyRelu", |_| true, "the operator is not there"),
    ("QLinearMul", |_| true, "the operator is not there"),
    ("QLinearSigmoid", |_| true, "the operator is not there"),
    ("Squeeze", |example| example.opset < 13 && !example.attributes.has("axes"), "the axes are demanded"),
    ("Upsample", |_| true, "the operator is not there"),
    ("GRU", is_special, "the attributes are not read"),
    ("GRU", runs_backwards, "the direction is not read"),
    ("GRU", has_sequence_lens, "sequences of different lengths are refused"),
    ("LSTM", is_special, "the attributes are not read"),
    ("LSTM", runs_backwards, "the direction is not read"),
    ("LSTM", has_sequence_lens, "sequences of different lengths are refused"),
    ("RNN", is_special, "the attributes are not read"),
    ("RNN", runs_backwards, "the direction is not read"),
    ("RNN", has_sequence_lens, "sequences of different lengths are refused"),
];

/// Operators that ONNX Runtime does not run.
const RUNTIME_EXCEPTIONS: &[(&str, Applies, &str)] = &[
    ("GRU", is_batchwise, "the batch may not come first"),
    ("LSTM", is_batchwise, "the batch may not come first"),
    ("RNN", is_batchwise, "the batch may not come first"),
];

fn equation(example: &Example) -> &str {
    example.attributes.string("equation").unwrap_or("")
}

fn is_vector(input: &ExampleInput) -> bool {
    matches!(input, ExampleInput::Computed(dims) | ExampleInput::Weight(dims) if dims.len() == 1)
}

fn takes_booleans(example: &Example) -> bool {
    let boolean = |input: &ExampleInput| matches!(input, ExampleInput::Constant(tensor) if tensor.dtype() == DType::Bool);
    example.inputs.iter().any(boolean)
}

fn takes_negative_ints(example: &Example) -> bool {
    let negative = |tensor: &Tensor| tensor.to_i64().is_ok_and(|ints| ints.iter().any(|&int| int < 0));
    example.inputs.iter().any(|input| matches!(input, ExampleInput::Constant(tensor) if negative(tensor)))
}

fn is_batchwise(example: &Example) -> bool {
    example.attributes.int("layout") == Some(1)
}

fn is_special(example: &Example) -> bool {
    ["activations", "clip", "input_forget"].iter().any(|name| example.attributes.has(name))
}

fn has_default_epsilon(example: &Example) -> bool {
    !example.attributes.has("epsilon")
}

fn runs_backwards(example: &Example) -> bool {
    example.attributes.string("direction") == Some("reverse")
}

fn has_sequence_lens(example: &Example) -> bool {
    matches!(example.inputs.get(4), Some(ExampleInput::Constant(_)))
}

/// The engines that run an example as ONNX defines it.
fn engines_for(example: &Example) -> impl Iterator<Item = std::sync::Arc<dyn Engine>> {
    let excepted = |list: &[(&str, Applies, &str)]| {
        list.iter().any(|(op_type, applies, _)| *op_type == example.op_type && applies(example))
    };
    let without_tract = excepted(TRACT_EXCEPTIONS);
    let without_runtime = excepted(RUNTIME_EXCEPTIONS);
    engines()
        .into_iter()
        .filter(move |engine| if engine.name() == "tract" { !without_tract } else { !without_runtime })
}

/// The engine whose word counts for an example: ONNX Runtime, where it runs it.
fn reference(example: &Example) -> std::sync::Arc<dyn Engine> {
    let runtime = onnx_runtime();
    let mut able = engines_for(example);
    if RUNTIME_EXCEPTIONS.iter().any(|(op_type, applies, _)| *op_type == example.op_type && applies(example))
    {
        able.next().unwrap()
    } else {
        runtime
    }
}

#[allow(clippy::too_many_lines, reason = "one law, told from its premise to its conclusion")]
fn check_gradient(example: &Example, random: &mut Random) -> Result<(), String> {
    let (model, varying) = alone(example, random);
    let engine = reference(example);
    let traced = trace(&model, &*engine, &LoadOptions::default(), &InputShapes::default())
        .map_err(|error| error.to_string())?;
    // Every output has its own target, so only one of several is differentiated at a time.
    let is_float = |output: &usize| {
        traced.facts.get(model.graph.outputs()[*output]).is_some_and(|seen| seen.dtype == DType::F32)
    };
    let through = (example.through..example.outputs).find(is_float);
    let terms = through.iter().map(|&output| (1.0.into(), Term::SquaredError { output })).collect();
    let request = Request::new(Loss { terms }, varying.clone());
    let result = differentiate(&model, &traced.facts, &request);
    if !example.differentiable {
        return match result {
            Ok(graph) => Err(format!("a gradient was given for {} inputs", graph.gradients.len())),
            Err(_) => Ok(()),
        };
    }
    let training = result.map_err(|error| error.to_string())?;
    let request = Request { kernels: true, ..request };
    let by_kernels = differentiate(&model, &traced.facts, &request).map_err(|error| error.to_string())?;
    let through = through.ok_or("no output is a float")?;
    let dense = run(&*engine, &model, &[])?;
    let output = &dense[through];
    let target = uniform(output.dims(), -1.0, 1.0, random);
    // The same graph with its constants as inputs, to be run at other points.
    let mut open = model.clone();
    let mut point: Vec<(String, Tensor)> = Vec::new();
    for &id in &varying {
        let tensor = open.graph.remove_initializer(id).unwrap().tensor().unwrap();
        open.graph.add_input(id, DType::F32, &fixed(tensor.dims()));
        point.push((model.graph.value(id).name().to_owned(), tensor));
    }
    let bytes = open.to_bytes().unwrap();
    let options = LoadOptions { optimize: false, threads: Some(1), ..LoadOptions::default() };
    let mut session =
        engine.load(safe_onnx::engine::Source::Bytes(&bytes), &options).map_err(|error| error.to_string())?;
    let goal = target.to_f64().unwrap();
    let mut loss = |point: &[(String, Tensor)]| -> f64 {
        let given: Vec<(&str, &Tensor)> =
            point.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let y = session.run(&given).unwrap()[through].to_f64().unwrap();
        y.iter().zip(&goal).map(|(y, goal)| (y - goal) * (y - goal)).sum::<f64>() / goal.len() as f64
    };
    let with_kernels = engines_for(example).filter(|engine| engine.has_kernels());
    let with_kernels = with_kernels.map(|engine| (engine, &by_kernels));
    for (engine, training) in engines_for(example).map(|engine| (engine, &training)).chain(with_kernels) {
        let outputs = run(&*engine, &training.model, &[("target", &target)])
            .map_err(|error| format!("{}: {error}", engine.name()))?;
        let expected = loss(&point);
        let found = outputs[0].to_f64().unwrap()[0];
        if (expected - found).abs() > 1e-4 * expected.abs().max(1.0) {
            return Err(format!("{}: loss {found} instead of {expected}", engine.name()));
        }
        // By a longer and by a shorter step.
        let mut differences: Vec<Vec<(f64, f64)>> = Vec::new();
        for index in 0..point.len() {
            let mut slopes = Vec::new();
            for element in 0..point[index].1.len() {
                let original = point[index].1.as_slice::<f32>().unwrap()[element];
                let mut at = |value: f32| {
                    point[index].1.as_mut_slice::<f32>().unwrap()[element] = value;
                    loss(&point)
                };
                let mut slope =
                    |step: f32| (at(original + step) - at(original - step)) / (2.0 * f64::from(step));
                slopes.push((slope(1e-2), slope(2.5e-3)));
                at(original);
            }
            differences.push(slopes);
        }
        let scale = differences.iter().flatten().fold(1e-3_f64, |largest, (_, fine)| largest.max(fine.abs()));
        // Where a shorter step tells another slope, the function has a kink next to the point.
        let smooth = |(coarse, fine): &(f64, f64)| (coarse - fine).abs() < 2e-3 * scale;
        let kinks = differences.iter().flatten().filter(|slopes| !smooth(slopes)).count();
        if kinks * 4 > differences.iter().map(Vec::len).sum::<usize>() {
            return Err(format!("the example has {kinks} kinks"));
        }
        for (index, slopes) in differences.iter().enumerate() {
            let place = training.gradients.iter().position(|&(weight, _)| weight == varying[index]);
            let grads = match place {
                Some(place) => {
                    if outputs[1 + place].dims() != point[index].1.dims() {
                        return Err(format!(
                            "the gradient of x{index} has dimensions {:?}",
                            outputs[1 + place].dims()
                        ));
                    }
                    outputs[1 + place].to_f64().unwrap()
                }
                None => vec![0.0; slopes.len()],
            };
            let gap = grads
                .iter()
                .zip(slopes)
                .filter(|(_, slopes)| smooth(slopes))
                .fold(0.0_f64, |gap, (grad, (_, fine))| gap.max((grad - fine).abs()));
            if gap > 4e-3 * scale {
                return Err(format!(
                    "{}: gradient of {} differs by {gap:.2e} of {scale:.2e}: {grads:.4?} instead of {slopes:.4?}",
                    engine.name(),
                    point[index].0
                ));
            }
        }
    }
    Ok(())
}

/// The node of an example between nodes that give every axis of its computed inputs slots, and take the outputs.
/// Returns the float inputs that nodes compute or that are weights.
fn sandwiched(example: &Example, random: &mut Random) -> (Model, Vec<Option<ValueId>>) {
    let mut model = Model::empty("example", example.opset);
    model.import(example.domain, 1);
    let graph = &mut model.graph;
    let mut computed = Vec::new();
    let inputs: Vec<Option<ValueId>> = example
        .inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let mut source = None;
            let value = match input {
                ExampleInput::Absent => None,
                ExampleInput::Constant(tensor) => Some(graph.add_initializer(&format!("c{index}"), tensor)),
                ExampleInput::Weight(dims) => {
                    let tensor = uniform(dims, example.range.0, example.range.1, random);
                    source = Some(graph.add_initializer(&format!("w{index}"), &tensor));
                    source
                }
                ExampleInput::Positive(dims) => {
                    source =
                        Some(graph.add_initializer(&format!("w{index}"), &uniform(dims, 0.5, 1.5, random)));
                    source
                }
                ExampleInput::Computed(dims) | ExampleInput::Quantized(dims, _) => {
                    let factor = graph.add_value(&format!("g{index}"));
                    graph.add_input(factor, DType::F32, &vec![DeclaredDim::Fixed(1); dims.len()]);
                    let tensor = uniform(dims, example.range.0, example.range.1, random);
                    let weight = graph.add_initializer(&format!("p{index}"), &tensor);
                    let value = graph.add(&format!("x{index}"), NodeSpec::new("Mul", &[weight, factor]));
                    source = Some(value);
                    match input {
                        ExampleInput::Quantized(_, zero) => {
                            let scale =
                                graph.add_initializer(&format!("s{index}"), &Tensor::scalar(0.05_f32));
                            let zero = graph.add_initializer(&format!("z{index}"), &Tensor::scalar(*zero));
                            let spec = NodeSpec::new("QuantizeLinear", &[value, scale, zero]);
                            Some(graph.add(&format!("q{index}"), spec))
                        }
                        _ => Some(value),
                    }
                }
            };
            computed.push(source);
            value
        })
        .collect();
    let spec = NodeSpec::with_optional(example.op_type, &inputs)
        .domain(example.domain)
        .attributes(example.attributes.clone());
    let outputs = graph.add_node("y", spec, example.outputs);
    for output in outputs {
        graph.add_output(output);
    }
    (model, computed)
}

/// Puts `sum(output * weight)` behind every output, so that no axis reaches a graph output.
fn closed(mut model: Model, dims: &[(Vec<usize>, DType)], random: &mut Random) -> Model {
    let graph = &mut model.graph;
    let outputs = graph.outputs().to_vec();
    let mut sums = Vec::new();
    for (&output, (dims, dtype)) in outputs.iter().zip(dims) {
        let value = if *dtype == DType::F32 {
            output
        } else {
            graph.add("cast", NodeSpec::new("Cast", &[output]).attribute("to", 1_i64))
        };
        let weight = graph.add_initializer("v", &uniform(dims, 0.5, 1.5, random));
        let product = graph.add("product", NodeSpec::new("Mul", &[value, weight]));
        let spec = NodeSpec::new("ReduceSum", &[product]);
        sums.push(graph.add("sum", spec.attribute("keepdims", 0_i64)));
    }
    graph.set_outputs(sums);
    model
}

/// The relative difference of two sums. Their terms are about 1, so where they cancel out, what is left is rounding.
fn error_of_sums(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.to_f64().unwrap()[0], b.to_f64().unwrap()[0]);
    let error = (a - b).abs() / a.abs().max(0.1);
    if error.is_finite() { error } else { f64::INFINITY }
}

#[test]
fn masked_equals_shrunk() {
    let (mut failures, mut cases) = (Vec::new(), 0);
    for (number, example) in all_examples().iter().enumerate() {
        cases += 1;
        if let Err(reason) = check_cut(example, number as u64) {
            failures.push(format!("{}: {reason}", describe(example)));
        }
    }
    report(failures, cases);
}

fn check_cut(example: &Example, seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let engine = reference(example);
    let (open, computed) = sandwiched(example, &mut random);
    let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
    let shapes = InputShapes::default();
    let text = |error: &dyn std::error::Error| error.to_string();
    let first = trace(&open, &*engine, &options, &shapes).map_err(|error| text(&error))?;
    let dims: Vec<(Vec<usize>, DType)> = open
        .graph
        .outputs()
        .iter()
        .map(|&id| first.facts.get(id).map(|seen| (seen.dims.clone(), seen.dtype)).unwrap())
        .collect();
    let prepared = prepare(closed(open, &dims, &mut random));
    let model = &prepared.model;
    let traced = trace(model, &*engine, &options, &shapes).map_err(|error| text(&error))?;
    let mut analysis = analyze(model, &traced.facts);
    if let Some((_, reason)) = analysis.unknown().first() {
        return Err(format!("not understood: {reason}"));
    }
    let groups = Groups::collect(&model.graph, &mut analysis);
    for &(input, axis) in &example.prunable {
        let value = computed[input].unwrap();
        let dim = traced.facts.get(value).unwrap().dims[axis];
        let exact: Vec<bool> = groups
            .groups()
            .iter()
            .map(|group| groups.families()[group.family].exactness == Exactness::Exact)
            .collect();
        let survivors = groups.survivors(&analysis, &exact);
        if survivors.axis(value, axis).is_none_or(|kept| kept.len() == dim) {
            return Err(format!("axis {axis} of input {input} cannot be pruned"));
        }
    }
    let inputs: Vec<(&str, &Tensor)> =
        traced.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    for round in 0..4 {
        let mut removed = vec![false; groups.len()];
        for family in groups.families() {
            if family.exactness != Exactness::Exact {
                continue;
            }
            let mut members = family.groups.clone();
            random.shuffle(&mut members);
            let count = random.below(members.len());
            for &group in &members[..count] {
                removed[group] = true;
            }
        }
        let survivors = groups.survivors(&analysis, &removed);
        if survivors.empties_an_axis() {
            return Err("a family was kept and still an axis is empty".to_owned());
        }
        let small = shrink(&prepared, &traced.facts, &survivors).map_err(|error| text(&error))?;
        let masked = mask(&prepared, &survivors).map_err(|error| text(&error))?;
        for engine in engines_for(example) {
            let place = |error: String| format!("round {round}, {}: {error}", engine.name());
            let a = run(&*engine, &masked, &inputs).map_err(place)?;
            let b = run(&*engine, &small, &inputs).map_err(place)?;
            for (a, b) in a.iter().zip(&b) {
                let error = error_of_sums(a, b);
                if error > 1e-4 {
                    return Err(place(format!("masked and shrunk differ by {error:.2e}\n{}", small.graph)));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn multiply_accumulates_are_those_stated() {
    let (mut failures, mut cases) = (Vec::new(), 0);
    for example in &all_examples() {
        cases += 1;
        let engine = reference(example);
        let (model, _) = alone(example, &mut Random::new(1));
        match trace(&model, &*engine, &LoadOptions::default(), &InputShapes::default()) {
            Err(error) => failures.push(format!("{}: {error}", describe(example))),
            Ok(traced) => {
                let macs = CostModel::new(&model, &traced.facts, traced.samples).dense().macs;
                if macs != example.macs {
                    failures.push(format!("{}: {macs} instead of {}", describe(example), example.macs));
                }
            }
        }
    }
    report(failures, cases);
}
