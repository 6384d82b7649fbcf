//! Milliseconds of whole steps of SAFE as `compress` runs them, and the memory of the process: gradient, ascent,
//! gradient at the perturbed point, descent with momentum, weight decay and the penalty.
//!
//! `cargo bench --bench train -- MODEL.onnx --batch 32` prints one line of JSON. With `--on-request` it runs a round
//! of `--steps` steps for each line on standard input, so that another program can time its own in between; see
//! against_torch.py, which compares with PyTorch.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program of its own for measuring"
)]

use std::io::BufRead as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use safe_onnx::autodiff::{Loss, Request, Term, TrainingGraph, differentiate, trainable_initializers};
use safe_onnx::compress::class_axis;
use safe_onnx::engine::{Discovery, Engine, LoadOptions, default_threads, discover};
use safe_onnx::ir::{Model, Storage};
use safe_onnx::memory::{self, Need, Shapes};
use safe_onnx::ops::{Statistics, is_better_folded};
use safe_onnx::safe::{Base, Keep, LearningRate, Options, Penalty, ProximalPoint, Safe, Trainer};
use safe_onnx::shrink::prepare;
use safe_onnx::tensor::{DType, Random, Tensor};
use safe_onnx::trace::{InputShapes, Trace, fold_constants, trace};
use serde_json::json;

#[derive(Parser)]
struct Args {
    /// A model whose one required input starts with a free batch, and whose first output holds logits
    model: PathBuf,
    /// Samples of a step
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Threads; by default those of the machine
    #[arg(long)]
    threads: Option<usize>,
    /// Steps that are timed, or those of a round
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Steps before those
    #[arg(long, default_value_t = 2)]
    warmup: usize,
    /// The loss
    #[arg(long, value_enum, default_value = "ce")]
    loss: LossName,
    /// The input's values, then for ce the 64-bit labels, in little-endian order; else they are random
    #[arg(long)]
    data: Option<PathBuf>,
    #[arg(long, default_value_t = 0.05)]
    radius: f64,
    #[arg(long, default_value_t = 1e-3)]
    penalty: f64,
    #[arg(long, default_value_t = 0.9)]
    momentum: f64,
    #[arg(long, default_value_t = 1e-4)]
    weight_decay: f64,
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    /// Computes cheap values again in place of keeping them
    #[arg(long)]
    recompute: bool,
    /// Runs a round for each line on standard input
    #[arg(long)]
    on_request: bool,
    /// Writes the training graph there
    #[arg(long, hide = true)]
    keep_graph: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum LossName {
    Ce,
    NextToken,
}

fn main() {
    let args = Args::parse();
    let threads = args.threads.unwrap_or_else(default_threads);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    let engine = discover(&Discovery::default()).unwrap().engine;
    let load = LoadOptions { threads: Some(threads), ..LoadOptions::default() };

    let start = Instant::now();
    let (model, traced) = traced(&args, &*engine, &load);
    let mut graph = training_graph(&args, &*engine, &model, &traced);
    let differentiated_ms = milliseconds(start);
    if let Some(path) = &args.keep_graph {
        graph.model.write(path, Storage::Auto, true).unwrap();
    }
    let weights: Vec<usize> = graph
        .gradients
        .iter()
        .map(|&(weight, _)| model.graph.value(weight).initializer().unwrap().dims().iter().product())
        .collect();
    // The penalty is on what decays: vectors are left out.
    let split: Vec<bool> = graph
        .gradients
        .iter()
        .map(|&(weight, _)| {
            let dims = model.graph.value(weight).initializer().unwrap().dims();
            dims.iter().filter(|&&dim| dim > 1).count() > 1
        })
        .collect();
    let start = Instant::now();
    let load = LoadOptions { keep_repeated: args.recompute, ..load };
    let (predicted, recomputed) = predicted(&args, &model, &traced, &mut graph, &split, &*engine, &load);
    let mut trainer =
        Trainer::new(&graph, &model.graph, &*engine, &load, options(&args), &split, &mut Keep).unwrap();
    let load_ms = milliseconds(start);
    drop(graph);

    let given = batch(args.batch, &args, &model, &traced, trainer.inputs());
    let given = [given.iter().collect::<Vec<_>>()];
    let mut losses = Vec::new();
    let mut timed = |steps: usize| -> Vec<f64> {
        let step = |_| {
            let start = Instant::now();
            losses.push(trainer.step(&given, &mut Keep).unwrap());
            milliseconds(start)
        };
        (0..steps).map(step).collect()
    };
    timed(args.warmup);
    let mut times = Vec::new();
    if args.on_request {
        for line in std::io::stdin().lock().lines() {
            line.unwrap();
            let round = timed(args.steps);
            println!("{}", json!({ "ms": round }));
            times.extend(round);
        }
    } else {
        times = timed(args.steps);
    }
    let least = times.iter().copied().reduce(f64::min);
    let report = json!({
        "model": args.model,
        "engine": format!("{} {}", engine.name(), engine.version()),
        "batch": args.batch,
        "threads": threads,
        "steps": times.len(),
        "median_ms": safe_onnx::bench::median(times),
        "least_ms": least,
        "differentiate_ms": differentiated_ms,
        "load_ms": load_ms,
        "peak_bytes": memory::peak(),
        "predicted_bytes": predicted.total(),
        "recomputed": recomputed,
        "predicted": format!("{predicted:?}"),
        "tensors": weights.len(),
        "weights": weights.iter().sum::<usize>(),
        "losses": losses,
    });
    println!("{report}");
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// The model as `compress` trains it.
fn traced(args: &Args, engine: &dyn Engine, load: &LoadOptions) -> (Model, Trace) {
    let mut model = Model::read(&args.model).unwrap();
    model.inline_functions();
    let shapes = InputShapes::new(&model.graph, &[]).unwrap();
    let mut model = prepare(model).model;
    fold_constants(&mut model, engine, load, is_better_folded);
    let traced = trace(&model, engine, load, &shapes).unwrap();
    (model, traced)
}

fn training_graph(args: &Args, engine: &dyn Engine, model: &Model, traced: &Trace) -> TrainingGraph {
    let rank = traced.facts.get(model.graph.outputs()[0]).unwrap().dims.len();
    let next_token = args.loss == LossName::NextToken;
    let term = Term::CrossEntropy {
        output: 0,
        class_axis: if next_token { rank - 1 } else { class_axis(rank, None).unwrap() },
        probabilities: false,
        smoothing: 0.0,
        class_weights: Vec::new(),
        ignore_index: next_token.then_some(-1),
    };
    let request = Request {
        batch_statistics: Some(Statistics::Own),
        kernels: engine.has_kernels(),
        ..Request::new(
            Loss { terms: vec![(1.0.into(), term)] },
            trainable_initializers(&model.graph, &traced.facts, |_| true),
        )
    };
    differentiate(model, &traced.facts, &request).unwrap()
}

/// The memory that the steps will need.
fn predicted(
    args: &Args,
    model: &Model,
    traced: &Trace,
    graph: &mut TrainingGraph,
    split: &[bool],
    engine: &dyn Engine,
    load: &LoadOptions,
) -> (Need, usize) {
    let inputs = graph.model.graph.required_inputs();
    let names: Vec<String> = inputs.map(|id| graph.model.graph.value(id).name().to_owned()).collect();
    let run = |samples: usize| {
        let tensors = batch(samples, args, model, traced, &names);
        (samples, names.iter().cloned().zip(tensors).collect())
    };
    let mut shapes = Shapes::of(&graph.model, engine, load, vec![run(2), run(3)]).unwrap();
    let mut recomputed = 0;
    if args.recompute {
        recomputed = memory::recompute(&mut graph.model.graph, &mut shapes, graph.loss, args.batch);
    }
    let elements = |id| model.graph.value(id).initializer().unwrap().count();
    let counts: Vec<usize> = graph.gradients.iter().map(|&(weight, _)| elements(weight)).collect();
    let state = Safe::<f32>::state_bytes(&options(args), counts.iter().copied().zip(split.iter().copied()));
    let need = Need {
        base: memory::base(&model.graph).unwrap_or(0),
        state: state + counts.iter().sum::<usize>() as u64 * 4,
        graphs: memory::graph_bytes(&graph.model.graph),
        values: memory::values_peak(&graph.model.graph, &shapes, args.batch),
        samples: names
            .iter()
            .filter_map(|name| graph.model.graph.find(name))
            .map(|id| shapes.bytes(id, args.batch))
            .sum(),
        others: 0,
    };
    (need, recomputed)
}

fn options(args: &Args) -> Options {
    Options {
        radius: args.radius,
        penalty: Penalty::constant(args.penalty),
        proximal_point: ProximalPoint::Iterate,
        dual_interval: None,
        base: Base::Sgd { momentum: args.momentum, nesterov: false, weight_decay: args.weight_decay },
        learning_rate: LearningRate::Constant(args.learning_rate),
        clip_norm: None,
        average_decay: None,
    }
}

/// The tensors of a step by the names that the trainer asks for.
fn batch(samples: usize, args: &Args, model: &Model, traced: &Trace, names: &[String]) -> Vec<Tensor> {
    let [(name, probe)] = traced.inputs.as_slice() else { panic!("the model must have one input") };
    let mut dims = probe.dims().to_vec();
    dims[0] = samples;
    let count: usize = dims.iter().product();
    let output = &traced.facts.get(model.graph.outputs()[0]).unwrap().dims;
    let next_token = args.loss == LossName::NextToken;
    let classes = output[if next_token { output.len() - 1 } else { class_axis(output.len(), None).unwrap() }];
    let mut random = Random::fork(0, "batch");
    let bytes = args.data.as_ref().map(|path| std::fs::read(path).unwrap());
    let mut bytes = bytes.as_deref();
    let mut integers = |bytes: &mut Option<&[u8]>, count: usize| -> Vec<i64> {
        match bytes {
            None => (0..count).map(|_| random.below(classes) as i64).collect(),
            Some(bytes) => take(bytes, count).map(i64::from_le_bytes).collect(),
        }
    };
    let (input, target) = if next_token {
        assert_eq!(probe.dtype(), DType::I64, "the tokens of {name}");
        let tokens = integers(&mut bytes, count);
        let last = dims[1] - 1;
        let next = |at: usize| if at % dims[1] == last { -1 } else { tokens[at + 1] };
        let target: Vec<i64> = (0..count).map(next).collect();
        (Tensor::new(dims.clone(), tokens).unwrap(), Tensor::new(dims.clone(), target).unwrap())
    } else {
        let mut random = Random::fork(0, "pixels");
        let pixels: Vec<f32> = match &mut bytes {
            None => (0..count).map(|_| random.normal() as f32).collect(),
            Some(bytes) => take(bytes, count).map(f32::from_le_bytes).collect(),
        };
        (Tensor::new(dims, pixels).unwrap(), Tensor::vector(integers(&mut bytes, samples)))
    };
    let known = [(name.as_str(), input), ("target", target)];
    let find = |wanted: &String| known.iter().find(|(name, _)| name == wanted).unwrap().1.clone();
    names.iter().map(find).collect()
}

/// The next `count` words, which leave `bytes`.
fn take<'a, const N: usize>(
    bytes: &mut &'a [u8],
    count: usize,
) -> impl Iterator<Item = [u8; N]> + use<'a, N> {
    let (taken, left) = bytes.split_at(count * N);
    *bytes = left;
    taken.chunks_exact(N).map(|word| word.try_into().unwrap())
}
