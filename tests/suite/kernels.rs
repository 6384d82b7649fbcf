//! Kernels of our own against standard operators: the same training graphs, written in both ways.

use safe_onnx::autodiff::{Loss, Request, Term, TrainingGraph, differentiate, trainable_initializers};
use safe_onnx::engine::{Engine, LoadOptions, Source};
use safe_onnx::ir::{DeclaredDim, Model, NodeSpec};
use safe_onnx::kernels;
use safe_onnx::tensor::{DType, Random, Tensor};
use safe_onnx::trace::{InputShapes, trace};

use crate::support::{onnx_runtime, relative_error, run};

fn uniform(dims: &[usize], random: &mut Random) -> Tensor {
    let values: Vec<f32> = (0..dims.iter().product()).map(|_| random.unit() as f32 * 2.0 - 1.0).collect();
    Tensor::new(dims.to_vec(), values).unwrap()
}

/// The training graphs of a model for the squared error, in standard operators and with kernels.
fn both(model: &Model, engine: &dyn Engine) -> [TrainingGraph; 2] {
    let facts = trace(model, engine, &LoadOptions::default(), &InputShapes::default()).unwrap().facts;
    [false, true].map(|kernels| {
        let request = Request {
            kernels,
            ..Request::new(
                Loss { terms: vec![(1.0.into(), Term::SquaredError { output: 0 })] },
                trainable_initializers(&model.graph, &facts, |_| true),
            )
        };
        differentiate(model, &facts, &request).unwrap()
    })
}

fn has_kernels(graph: &TrainingGraph) -> bool {
    graph.model.graph.nodes().any(|(_, node)| node.domain == kernels::DOMAIN)
}

/// Two convolutions with random windows; one spatial axis where `rank` is 1. Those that are not depthwise have windows
/// enough for the kernel.
fn convolutions(rank: usize, depthwise: bool, random: &mut Random) -> (Model, Vec<usize>) {
    let mut model = Model::empty("convolutions", 17);
    let graph = &mut model.graph;
    let mut below = |limit: usize| (random.unit() * limit as f64) as usize;
    let (images, few) = (1 + below(3), 2 + below(5));
    let groups = if depthwise { few } else { 1 + below(2) };
    let mut channels = if depthwise { few } else { groups * few };
    let least = match (depthwise, rank) {
        (true, _) => 13,
        (false, 1) => 90,
        (false, _) => 20,
    };
    let sizes: Vec<usize> = (0..rank).map(|_| least + below(12)).collect();
    let x = graph.add_value("x");
    let fixed = |dims: &[usize]| dims.iter().map(|&dim| DeclaredDim::Fixed(dim)).collect::<Vec<_>>();
    let dims = [&[images, channels], sizes.as_slice()].concat();
    graph.add_input(x, DType::F32, &fixed(&dims));
    let mut y = x;
    for _ in 0..2 {
        let mut ints = |from: usize, limit: usize, count: usize| -> Vec<i64> {
            (0..count).map(|_| (from + below(limit)) as i64).collect()
        };
        let least = if depthwise { 1 } else { 2 };
        let kernel: Vec<usize> = ints(least, 3, rank).into_iter().map(|size| size as usize).collect();
        let rows = if depthwise { channels } else { groups * ints(1, 20, 1)[0] as usize };
        let (strides, pads) = (ints(1, 2, rank), ints(0, 3, 2 * rank));
        let dilations = ints(1, 2, rank);
        let mut random = Random::new(below(1000) as u64);
        let w = graph
            .add_initializer("w", &uniform(&[&[rows, channels / groups], &kernel[..]].concat(), &mut random));
        let bias = graph.add_initializer("b", &uniform(&[rows], &mut random));
        channels = rows;
        let node = NodeSpec::new("Conv", &[y, w, bias])
            .attribute("group", groups as i64)
            .attribute("strides", strides)
            .attribute("dilations", dilations)
            .attribute("pads", pads);
        y = graph.add("y", node);
    }
    graph.add_output(y);
    (model, dims)
}

fn outputs(engine: &dyn Engine, graph: &TrainingGraph, inputs: &[(&str, &Tensor)]) -> Vec<Tensor> {
    run(engine, &graph.model, inputs).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn convolutions_train_alike() {
    let engine = onnx_runtime();
    let mut random = Random::new(5);
    for case in 0..80 {
        let (model, dims) = convolutions(1 + case % 2, case < 40, &mut random);
        let graphs = both(&model, &*engine);
        assert_eq!(graphs.each_ref().map(has_kernels), [false, true]);
        let x = uniform(&dims, &mut random);
        let y = run(&*engine, &model, &[("x", &x)]).unwrap();
        let target = uniform(y[0].dims(), &mut random);
        let given = [("x", &x), ("target", &target)];
        let [plain, own] = graphs.each_ref().map(|graph| outputs(&*engine, graph, &given));
        assert_eq!(plain.len(), 5);
        for (place, (plain, own)) in plain.iter().zip(&own).enumerate() {
            let error = relative_error(plain, own);
            assert!(error < 1e-5, "case {case}, output {place} is off by {error:.1e}");
        }
    }
}

#[test]
fn an_operand_that_does_not_fit_is_an_error() {
    let engine = onnx_runtime();
    let mut model = Model::empty("misfit", 17);
    model.import(kernels::DOMAIN, 1);
    let graph = &mut model.graph;
    let x = graph.add_value("x");
    graph.add_input(x, DType::F32, &[DeclaredDim::Free, DeclaredDim::Free, DeclaredDim::Free]);
    let w = graph.add_initializer("w", &Tensor::new(vec![3, 1, 2], vec![1.0_f32; 6]).unwrap());
    let node = NodeSpec::new(kernels::convolution::FORWARD, &[x, w])
        .domain(kernels::DOMAIN)
        .attribute(kernels::convolution::STRIDES, vec![1_i64])
        .attribute(kernels::convolution::DILATIONS, vec![1_i64])
        .attribute(kernels::convolution::PADS, vec![0_i64, 0]);
    let y = graph.add("y", node);
    graph.add_output(y);
    let bytes = model.to_bytes().unwrap();
    let mut session = engine.load(Source::Bytes(&bytes), &LoadOptions::default()).unwrap();
    let fitting = Tensor::new(vec![1, 3, 4], vec![1.0_f32; 12]).unwrap();
    assert_eq!(session.run(&[("x", &fitting)]).unwrap()[0].dims(), [1, 3, 3]);
    for dims in [[1, 2, 6], [1, 3, 1]] {
        let other = Tensor::new(dims.to_vec(), vec![1.0_f32; dims.iter().product()]).unwrap();
        let error = session.run(&[("x", &other)]).unwrap_err().to_string();
        assert!(error.contains("do not fit"), "{error}");
    }
}

/// `x @ w`, normalised along the last axis, through a gate, and its positive part capped at 6.
fn gated(random: &mut Random) -> Model {
    let mut model = Model::empty("gated", 17);
    let graph = &mut model.graph;
    let x = graph.add_value("x");
    graph.add_input(x, DType::F32, &[DeclaredDim::Named("N".to_owned()), DeclaredDim::Fixed(6)]);
    let weight = |graph: &mut safe_onnx::ir::Graph, dims: &[usize], random: &mut Random| {
        graph.add_initializer("w", &uniform(dims, random))
    };
    let (w, scale, bias) =
        (weight(graph, &[6, 8], random), weight(graph, &[8], random), weight(graph, &[8], random));
    let mut scalar = |value: f32| graph.add_initializer("s", &Tensor::scalar(value));
    let (half, root, one, zero, six) =
        (scalar(0.5), scalar(std::f32::consts::FRAC_1_SQRT_2), scalar(1.0), scalar(0.0), scalar(6.0));
    let product = graph.add("product", NodeSpec::new("MatMul", &[x, w]));
    let mut op = |name: &str, inputs: &[safe_onnx::ir::ValueId]| graph.add("y", NodeSpec::new(name, inputs));
    let normal = op("LayerNormalization", &[product, scale, bias]);
    let inner = op("Mul", &[normal, root]);
    let erf = op("Erf", &[inner]);
    let shifted = op("Add", &[erf, one]);
    let gate = op("Mul", &[normal, shifted]);
    let gate = op("Mul", &[gate, half]);
    let sum = op("Add", &[gate, product]);
    let sigmoid = op("Sigmoid", &[sum]);
    let swish = op("Mul", &[sum, sigmoid]);
    let positive = op("Relu", &[swish]);
    let y = op("Clip", &[positive, zero, six]);
    graph.add_output(y);
    model
}

#[test]
fn fused_elementwise_operators_train_alike() {
    let engine = onnx_runtime();
    let mut random = Random::new(11);
    let model = gated(&mut random);
    let graphs = both(&model, &*engine);
    let count = |graph: &TrainingGraph| graph.model.graph.nodes().len();
    let fused = |graph: &TrainingGraph| {
        graph.model.graph.nodes().filter(|(_, node)| node.op_type == kernels::elementwise::OPERATOR).count()
    };
    assert_eq!(fused(&graphs[0]), 0);
    assert!(fused(&graphs[1]) > 3 && count(&graphs[1]) < count(&graphs[0]) * 2 / 3, "{}", count(&graphs[1]));
    for images in [1, 7, 400] {
        let (x, target) = (uniform(&[images, 6], &mut random), uniform(&[images, 8], &mut random));
        let given = [("x", &x), ("target", &target)];
        let [plain, own] = graphs.each_ref().map(|graph| outputs(&*engine, graph, &given));
        for (place, (plain, own)) in plain.iter().zip(&own).enumerate() {
            let error = relative_error(plain, own);
            assert!(error < 1e-5, "{images} images, output {place} is off by {error:.1e}");
        }
    }
}

/// Attention with two heads: `x` to queries, keys and values, whose heads are moved forward and back.
fn attention(random: &mut Random) -> Model {
    let mut model = Model::empty("attention", 17);
    let graph = &mut model.graph;
    let x = graph.add_value("x");
    let dims = [DeclaredDim::Named("N".to_owned()), DeclaredDim::Fixed(5), DeclaredDim::Fixed(8)];
    graph.add_input(x, DType::F32, &dims);
    let heads = graph.add_initializer("heads", &Tensor::new(vec![4], vec![0_i64, 5, 2, 4]).unwrap());
    let whole = graph.add_initializer("whole", &Tensor::new(vec![3], vec![0_i64, 5, 8]).unwrap());
    let mut split = |graph: &mut safe_onnx::ir::Graph, order: [i64; 4]| {
        let w = graph.add_initializer("w", &uniform(&[8, 8], random));
        let y = graph.add("y", NodeSpec::new("MatMul", &[x, w]));
        let y = graph.add("y", NodeSpec::new("Reshape", &[y, heads]));
        graph.add("y", NodeSpec::new("Transpose", &[y]).attribute("perm", order.to_vec()))
    };
    let [q, k, v] = [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]].map(|order| split(graph, order));
    let scores = graph.add("scores", NodeSpec::new("MatMul", &[q, k]));
    let shares = graph.add("shares", NodeSpec::new("Softmax", &[scores]));
    let mixed = graph.add("mixed", NodeSpec::new("MatMul", &[shares, v]));
    let back = NodeSpec::new("Transpose", &[mixed]).attribute("perm", vec![0_i64, 2, 1, 3]);
    let back = graph.add("back", back);
    let joined = graph.add("joined", NodeSpec::new("Reshape", &[back, whole]));
    let w = graph.add_initializer("w", &uniform(&[8, 3], random));
    let y = graph.add("y", NodeSpec::new("MatMul", &[joined, w]));
    graph.add_output(y);
    model
}

#[test]
fn products_of_transposed_operands_train_alike() {
    let engine = onnx_runtime();
    let mut random = Random::new(23);
    let model = attention(&mut random);
    let graphs = both(&model, &*engine);
    let count = |graph: &TrainingGraph, name: &str| {
        graph.model.graph.nodes().filter(|(_, node)| node.op_type == name).count()
    };
    let standard = ["MatMul", "Gemm", "Transpose"];
    assert!(standard.iter().all(|name| count(&graphs[1], name) == 0), "a standard product or order is left");
    assert!(standard.iter().all(|name| count(&graphs[0], name) > 0));
    assert!(count(&graphs[1], kernels::product::OPERATOR) > 10);
    for images in [1, 3, 64] {
        let (x, target) = (uniform(&[images, 5, 8], &mut random), uniform(&[images, 5, 3], &mut random));
        let given = [("x", &x), ("target", &target)];
        let [plain, own] = graphs.each_ref().map(|graph| outputs(&*engine, graph, &given));
        assert_eq!(plain.len(), 5);
        for (place, (plain, own)) in plain.iter().zip(&own).enumerate() {
            let error = relative_error(plain, own);
            assert!(error < 1e-5, "{images} images, output {place} is off by {error:.1e}");
        }
    }
}
