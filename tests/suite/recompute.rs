//! Values that are computed again for the gradients: the same results from less memory.

use std::path::Path;

use safe_onnx::autodiff::{Loss, Request, Term, differentiate, trainable_initializers};
use safe_onnx::engine::{LoadOptions, load_model};
use safe_onnx::ir::{Model, constants_to_initializers};
use safe_onnx::memory::{Shapes, recompute, values_peak};
use safe_onnx::ops::Statistics;
use safe_onnx::tensor::{Random, Tensor};
use safe_onnx::trace::{InputShapes, trace};

use crate::support::{onnx_runtime, relative_error};

const SAMPLES: usize = 64;

#[test]
fn gradients_are_the_same_from_less_memory() {
    let engine = onnx_runtime();
    let load = LoadOptions::default();
    for (name, least) in [("resnet8.onnx", 0.9), ("mbv2_tiny.onnx", 0.7), ("vit_tiny.onnx", 0.7)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fmnist").join(name);
        let mut model = Model::read(&path).unwrap();
        constants_to_initializers(&mut model.graph);
        let traced = trace(&model, &*engine, &load, &InputShapes::default()).unwrap();
        let term = Term::CrossEntropy {
            output: 0,
            class_axis: 1,
            probabilities: false,
            smoothing: 0.0,
            class_weights: Vec::new(),
            ignore_index: None,
        };
        let request = Request {
            batch_statistics: Some(Statistics::Own),
            ..Request::new(
                Loss { terms: vec![(1.0.into(), term)] },
                trainable_initializers(&model.graph, &traced.facts, |_| true),
            )
        };
        let plain = differentiate(&model, &traced.facts, &request).unwrap();
        let (input, _) = &traced.inputs[0];
        let given = |samples: usize| {
            let mut random = Random::new(7);
            let pixels: Vec<f32> = (0..samples * 784).map(|_| random.normal() as f32).collect();
            let labels: Vec<i64> = (0..samples as i64).map(|sample| sample % 10).collect();
            let x = Tensor::new(vec![samples, 1, 28, 28], pixels).unwrap();
            vec![(input.clone(), x), ("target".to_owned(), Tensor::vector(labels))]
        };
        let runs = vec![(2, given(2)), (3, given(3))];
        let mut shapes = Shapes::of(&plain.model, &*engine, &load, runs).unwrap();
        let mut again = plain.clone();
        let before = values_peak(&plain.model.graph, &shapes, SAMPLES);
        let count = recompute(&mut again.model.graph, &mut shapes, again.loss, SAMPLES);
        let after = values_peak(&again.model.graph, &shapes, SAMPLES);
        assert!(count > 0, "{name}: nothing is computed again");
        assert_eq!(again.model.graph.check(), [], "{name}");
        assert!((after as f64) < before as f64 * least, "{name}: {before} bytes became {after}");
        let outputs = |model: &Model, keep_repeated: bool| {
            let load = LoadOptions { keep_repeated, ..load };
            let mut session = load_model(&*engine, &load, model).unwrap();
            let given = given(SAMPLES);
            let inputs: Vec<(&str, &Tensor)> = given.iter().map(|(name, x)| (name.as_str(), x)).collect();
            session.run(&inputs).unwrap()
        };
        let (first, second) = (outputs(&plain.model, false), outputs(&again.model, true));
        assert_eq!(first.len(), second.len());
        let largest = |tensor: &Tensor| tensor.to_f64().unwrap().iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        let scale = first.iter().skip(1).map(largest).fold(0.0, f64::max);
        for (first, second) in first.iter().zip(&second) {
            // Some gradients are nothing but rounding.
            let error = relative_error(first, second) * largest(first) / largest(first).max(1e-3 * scale);
            assert!(error < 1e-4, "{name}: {error}");
        }
    }
}
