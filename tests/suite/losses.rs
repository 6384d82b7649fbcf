//! Losses by their definitions, and their gradients by finite differences.

use safe_onnx::autodiff::{Loss, Request, Term, differentiate};
use safe_onnx::engine::LoadOptions;
use safe_onnx::ir::{DeclaredDim, Model, NodeSpec};
use safe_onnx::tensor::{DType, Random, Tensor};
use safe_onnx::trace::{InputShapes, trace};

use crate::support::{onnx_runtime, run};

const ROWS: usize = 5;
const CLASSES: usize = 4;

/// A loss by its definition, of logits and targets.
type Definition = fn(&[f64], &[f64]) -> f64;

fn log_softmax(row: &[f64]) -> Vec<f64> {
    let sum: f64 = row.iter().map(|value| value.exp()).sum();
    row.iter().map(|value| value - sum.ln()).collect()
}

fn cross_entropy(logits: &[f64], labels: &[f64], smoothing: f64, weights: &[f64]) -> f64 {
    ignoring(None, logits, labels, smoothing, weights)
}

fn ignoring(ignored: Option<usize>, logits: &[f64], labels: &[f64], smoothing: f64, weights: &[f64]) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for (row, &label) in logits.chunks(CLASSES).zip(labels) {
        let logs = log_softmax(row);
        let label = label as usize;
        if Some(label) == ignored {
            continue;
        }
        sum -= (1.0 - smoothing) * weights[label] * logs[label];
        let even: f64 = logs.iter().zip(weights).map(|(log, weight)| log * weight).sum();
        sum -= smoothing / CLASSES as f64 * even;
        count += weights[label];
    }
    sum / count
}

fn mean(outputs: &[f64], targets: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    outputs.iter().zip(targets).map(|(&y, &t)| term(y, t)).sum::<f64>() / outputs.len() as f64
}

fn sigmoid(value: f64) -> f64 {
    1.0 / (1.0 + (-value).exp())
}

fn entropy(p: f64, target: f64) -> f64 {
    -target * p.ln() - (1.0 - target) * (1.0 - p).ln()
}

const WEIGHTS: [f64; CLASSES] = [0.5, 1.0, 2.0, 3.0];

/// Name, term, definition, whether the output passes a sigmoid first, whether targets are labels.
fn cases() -> Vec<(&'static str, Term, Definition, bool, bool)> {
    let classes = |smoothing, class_weights: &[f64]| Term::CrossEntropy {
        output: 0,
        class_axis: 1,
        probabilities: false,
        smoothing,
        class_weights: class_weights.to_vec(),
        ignore_index: None,
    };
    let without = |class: i64, smoothing, class_weights: &[f64]| match classes(smoothing, class_weights) {
        Term::CrossEntropy { output, class_axis, probabilities, smoothing, class_weights, .. } => {
            let ignore_index = Some(class);
            Term::CrossEntropy { output, class_axis, probabilities, smoothing, class_weights, ignore_index }
        }
        other => other,
    };
    let binary = |probabilities| Term::BinaryCrossEntropy { output: 0, probabilities };
    vec![
        ("plain", classes(0.0, &[]), |y, t| cross_entropy(y, t, 0.0, &[1.0; CLASSES]), false, true),
        ("smoothed", classes(0.1, &[]), |y, t| cross_entropy(y, t, 0.1, &[1.0; CLASSES]), false, true),
        ("weighted", classes(0.0, &WEIGHTS), |y, t| cross_entropy(y, t, 0.0, &WEIGHTS), false, true),
        ("both", classes(0.2, &WEIGHTS), |y, t| cross_entropy(y, t, 0.2, &WEIGHTS), false, true),
        (
            "without 3",
            without(3, 0.0, &[]),
            |y, t| ignoring(Some(3), y, t, 0.0, &[1.0; CLASSES]),
            false,
            true,
        ),
        (
            "without 0, smoothed and weighted",
            without(0, 0.1, &WEIGHTS),
            |y, t| ignoring(Some(0), y, t, 0.1, &WEIGHTS),
            false,
            true,
        ),
        ("binary", binary(false), |y, t| mean(y, t, |y, t| entropy(sigmoid(y), t)), false, false),
        ("binary on p", binary(true), |y, t| mean(y, t, |y, t| entropy(sigmoid(y), t)), true, false),
        (
            "smooth L1",
            Term::SmoothL1 { output: 0 },
            |y, t| {
                mean(y, t, |y, t| {
                    let size = (y - t).abs();
                    if size < 1.0 { size * size / 2.0 } else { size - 0.5 }
                })
            },
            false,
            false,
        ),
    ]
}

/// `y = x + w`, or its sigmoid, in double precision.
fn model(weights: &Tensor, squashed: bool) -> Model {
    let mut model = Model::empty("loss", 17);
    let graph = &mut model.graph;
    let x = graph.add_value("x");
    graph.add_input(x, DType::F64, &[DeclaredDim::Free, DeclaredDim::Fixed(CLASSES)]);
    let w = graph.add_initializer("w", weights);
    let mut y = graph.add("y", NodeSpec::new("Add", &[x, w]));
    if squashed {
        y = graph.add("p", NodeSpec::new("Sigmoid", &[y]));
    }
    graph.declare(y, DType::F64, &[DeclaredDim::Free, DeclaredDim::Fixed(CLASSES)]);
    graph.add_output(y);
    model
}

#[test]
fn losses_and_their_gradients_are_those_of_their_definitions() {
    let engine = onnx_runtime();
    let mut random = Random::new(9);
    let mut draw =
        |scale: f64| -> Vec<f64> { (0..ROWS * CLASSES).map(|_| scale * random.normal()).collect() };
    let (x, w, noise) = (draw(2.0), draw(1.0), draw(1.0));
    let logits: Vec<f64> = x.iter().zip(&w).map(|(x, w)| x + w).collect();
    let mut wrong = Vec::new();
    for (name, term, definition, squashed, labelled) in cases() {
        let targets: Vec<f64> = if labelled {
            vec![0.0, 3.0, 1.0, 2.0, 3.0]
        } else if matches!(term, Term::SmoothL1 { .. }) {
            noise.clone()
        } else {
            noise.iter().map(|&value| sigmoid(3.0 * value)).collect()
        };
        let model = model(&Tensor::new(vec![ROWS, CLASSES], w.clone()).unwrap(), squashed);
        let traced = trace(
            &model,
            &*engine,
            &LoadOptions::default(),
            &InputShapes::new(&model.graph, &[("x".to_owned(), vec![ROWS, CLASSES])]).unwrap(),
        );
        let request =
            Request::new(Loss { terms: vec![(1.0.into(), term)] }, vec![model.graph.find("w").unwrap()]);
        let graph = differentiate(&model, &traced.unwrap().facts, &request).unwrap();
        let x = Tensor::new(vec![ROWS, CLASSES], x.clone()).unwrap();
        let target = if labelled {
            Tensor::vector(targets.iter().map(|&label| label as i64).collect::<Vec<i64>>())
        } else {
            Tensor::new(vec![ROWS, CLASSES], targets.clone()).unwrap()
        };
        let results = run(&*engine, &graph.model, &[("x", &x), ("target", &target)]).unwrap();
        let expected = definition(&logits, &targets);
        let found = results[0].to_f64().unwrap()[0];
        if (found - expected).abs() > 1e-9 {
            wrong.push(format!("{name}: {found}, not {expected}"));
        }
        for (index, found) in results[1].to_f64().unwrap().into_iter().enumerate() {
            let moved = |by: f64| {
                let mut logits = logits.clone();
                logits[index] += by;
                definition(&logits, &targets)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            if (found - slope).abs() > 1e-8 {
                wrong.push(format!("{name}: slope {index} is {found}, not {slope}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn features_are_compared_where_they_are_computed() {
    let engine = onnx_runtime();
    let mut random = Random::new(3);
    let mut draw = || {
        Tensor::new(vec![ROWS, CLASSES], (0..ROWS * CLASSES).map(|_| random.normal()).collect::<Vec<f64>>())
            .unwrap()
    };
    let (x, w, taught) = (draw(), draw(), draw());
    // The output is the sigmoid of the value that is compared.
    let model = model(&w, true);
    let shapes = InputShapes::new(&model.graph, &[("x".to_owned(), vec![ROWS, CLASSES])]).unwrap();
    let traced = trace(&model, &*engine, &LoadOptions::default(), &shapes).unwrap();
    let inner = model.graph.find("y").unwrap();
    let loss = Loss {
        terms: vec![
            (2.0.into(), Term::Features { value: inner }),
            (1.0.into(), Term::SquaredError { output: 0 }),
        ],
    };
    assert_eq!(loss.taught(&model.graph), [inner]);
    let request = Request::new(loss, vec![model.graph.find("w").unwrap()]);
    let graph = differentiate(&model, &traced.facts, &request).unwrap();
    let given = [("x", &x), ("teacher:y", &taught), ("target", &taught)];
    let results = run(&*engine, &graph.model, &given).unwrap();
    let numbers = |tensor: &Tensor| tensor.to_f64().unwrap();
    let (w, taught) = (numbers(&w), numbers(&taught));
    let size = mean(&taught, &taught, |y, _| y * y);
    let defined = |w: &[f64]| {
        let y: Vec<f64> = numbers(&x).iter().zip(w).map(|(x, w)| x + w).collect();
        let outputs: Vec<f64> = y.iter().map(|&y| sigmoid(y)).collect();
        2.0 * mean(&y, &taught, |y, t| (y - t).powi(2)) / size
            + mean(&outputs, &taught, |y, t| (y - t).powi(2))
    };
    let (found, gradient) = (numbers(&results[0])[0], numbers(&results[1]));
    assert!((found - defined(&w)).abs() < 1e-9, "{found}, not {}", defined(&w));
    for (index, found) in gradient.into_iter().enumerate() {
        let moved = |by: f64| {
            let mut w = w.clone();
            w[index] += by;
            defined(&w)
        };
        let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        assert!((found - slope).abs() < 1e-8, "slope {index} is {found}, not {slope}");
    }
}

#[test]
fn a_batch_without_labels_that_count_has_no_loss() {
    let engine = onnx_runtime();
    let w =
        Tensor::new(vec![ROWS, CLASSES], (0..ROWS * CLASSES).map(|at| at as f64 / 7.0).collect::<Vec<f64>>())
            .unwrap();
    let model = model(&w, false);
    let shapes = InputShapes::new(&model.graph, &[("x".to_owned(), vec![ROWS, CLASSES])]).unwrap();
    let traced = trace(&model, &*engine, &LoadOptions::default(), &shapes).unwrap();
    let term = Term::CrossEntropy {
        output: 0,
        class_axis: 1,
        probabilities: false,
        smoothing: 0.1,
        class_weights: Vec::new(),
        ignore_index: Some(255),
    };
    let request =
        Request::new(Loss { terms: vec![(1.0.into(), term)] }, vec![model.graph.find("w").unwrap()]);
    let graph = differentiate(&model, &traced.facts, &request).unwrap();
    let target = Tensor::vector(vec![255_i64; ROWS]);
    let results = run(&*engine, &graph.model, &[("x", &w), ("target", &target)]).unwrap();
    for result in results {
        assert!(result.to_f64().unwrap().iter().all(|&value| value == 0.0), "{result:?}");
    }
}
