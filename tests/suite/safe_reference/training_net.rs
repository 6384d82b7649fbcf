//! The nets' own files, with loss and gradients from the training graph that the product derives.

use safe_onnx::autodiff::{Loss, Request, Term, differentiate, trainable_initializers};
use safe_onnx::engine::{Engine, LoadOptions, Session, Source};
use safe_onnx::ir::{DeclaredDim, Model};
use safe_onnx::tensor::Tensor;
use safe_onnx::trace::{InputShapes, trace};

use super::archive::fixture;
use super::nets::{Evaluation, Gradients, Net, Target};

/// A training graph on an engine.
pub(crate) struct TrainingNet {
    session: Box<dyn Session>,
    /// Name and dimensions of each parameter, in the order of [`Net::parameters`].
    parameters: Vec<(String, Vec<usize>)>,
    /// For each parameter, the place of its gradient among the outputs.
    places: Vec<usize>,
    /// Dimensions of one sample.
    sample: Vec<usize>,
}

impl TrainingNet {
    /// The training graph of `nets/{name}.onnx` for the squared error or cross-entropy.
    pub(crate) fn load(name: &str, squared: bool, engine: &dyn Engine) -> Self {
        let model = Model::read(&fixture(&format!("nets/{name}.onnx"))).unwrap();
        let facts = trace(&model, engine, &LoadOptions::default(), &InputShapes::default()).unwrap().facts;
        let term = if squared {
            Term::SquaredError { output: 0 }
        } else {
            Term::CrossEntropy {
                output: 0,
                class_axis: 1,
                probabilities: false,
                smoothing: 0.0,
                class_weights: Vec::new(),
                ignore_index: None,
            }
        };
        let request = Request {
            elementary: !engine.normalizes_batches(),
            ..Request::new(
                Loss { terms: vec![(1.0.into(), term)] },
                trainable_initializers(&model.graph, &facts, |_| true),
            )
        };
        let mut training = differentiate(&model, &facts, &request).unwrap();
        let graph = &mut training.model.graph;
        let mut own = Vec::new();
        for &(weight, _) in &training.gradients {
            let tensor = graph.value(weight).initializer().unwrap().tensor().unwrap();
            let dims = tensor.dims().to_vec();
            graph.remove_initializer(weight);
            let declared: Vec<DeclaredDim> = dims.iter().map(|&dim| DeclaredDim::Fixed(dim)).collect();
            graph.add_input(weight, tensor.dtype(), &declared);
            own.push((graph.value(weight).name().to_owned(), dims));
        }
        // The loss comes first.
        let wanted = Net::named_parameters(name);
        let at = |name: &str| own.iter().position(|(own, _)| own == name).unwrap();
        let places: Vec<usize> = wanted.iter().map(|name| 1 + at(name)).collect();
        let parameters = wanted.iter().map(|name| own[at(name)].clone()).collect();
        let sample = if name == "mlp" { vec![8] } else { vec![1, 8, 8] };
        let bytes = training.model.to_bytes().unwrap();
        let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
        let session = engine.load(Source::Bytes(&bytes), &options).unwrap();
        Self { session, parameters, places, sample }
    }
}

impl Gradients<f32> for TrainingNet {
    fn evaluate(&mut self, p: &[&[f32]], x: &[f64], target: &Target<'_>) -> Evaluation<f32> {
        let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<f32>>();
        let samples = x.len() / self.sample.iter().product::<usize>();
        let x = Tensor::new([&[samples], self.sample.as_slice()].concat(), narrow(x)).unwrap();
        let target = match target {
            Target::Classes(classes) => {
                let labels: Vec<i64> = classes.iter().map(|&class| class as i64).collect();
                Tensor::new(vec![samples], labels).unwrap()
            }
            Target::Values(values) => {
                Tensor::new(vec![samples, values.len() / samples], narrow(values)).unwrap()
            }
        };
        let weights: Vec<Tensor> = self
            .parameters
            .iter()
            .zip(p)
            .map(|((_, dims), values)| Tensor::new(dims.clone(), values.to_vec()).unwrap())
            .collect();
        let mut given = vec![("x", &x), ("target", &target)];
        given.extend(self.parameters.iter().zip(&weights).map(|((name, _), tensor)| (name.as_str(), tensor)));
        let outputs = self.session.run(&given).unwrap();
        let values = |at: usize| outputs[at].as_slice::<f32>().unwrap().to_vec();
        (f64::from(values(0)[0]), self.places.iter().map(|&at| values(at)).collect())
    }
}
