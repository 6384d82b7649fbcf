//! The proof of a cut: two models run on the same inputs, and every output of one held against the other.
//!
//! Always true here: graph optimisation is off on both sides, so that a difference is the models' own; a value that
//! is not finite must be the same on both sides; and what could not be compared is an error, never a pass. This
//! module does not know how the small model was made.

mod decisions;
mod difference;
mod relax;

use std::collections::BTreeSet;

use thiserror::Error;

use crate::engine::{Engine, EngineError, LoadOptions, Session, load_model};
use crate::ir::{IrError, Model, in_single_precision};
use crate::report::{OutputDifference, Verified};
use crate::tensor::Tensor;
use difference::Difference;

/// The difference that is allowed, relative to the largest value of the output.
pub const TOLERANCE: f64 = 1e-4;

/// Why two models could not be compared.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// A model could not be encoded.
    #[error(transparent)]
    Ir(#[from] IrError),
    /// A model does not load or run.
    #[error("the {model} model does not run")]
    Run {
        /// `dense` or `small`.
        model: &'static str,
        /// The engine's reason.
        #[source]
        source: EngineError,
    },
    /// The models do not have the same inputs or outputs.
    #[error(
        "the models have different {side}s: only the dense one has {dense:?}, only the small one {small:?}"
    )]
    Names {
        /// `input` or `output`.
        side: &'static str,
        /// Names that only the dense model has.
        dense: Vec<String>,
        /// Names that only the small model has.
        small: Vec<String>,
    },
    /// An output has another shape or type.
    #[error("output `{output}`: the dense model gives {dense}, the small one {small}")]
    Shape {
        /// The output.
        output: String,
        /// Type and dimensions of the dense model's.
        dense: String,
        /// Type and dimensions of the small model's.
        small: String,
    },
    /// Nothing was compared.
    #[error("there is nothing to compare: {0}")]
    Nothing(&'static str),
}

/// Runs `dense` and `small` on the same `samples` and measures the difference of every output. Each of `samples` is
/// one run: input names and tensors. `real_data` says what they are, for the report.
///
/// Where a model decides (picks the best, counts what passes a threshold), a rounding error may tip a decision between
/// equals, and all that follows is another. If the outputs differ, models that decide are compared once more with the
/// small one given the decisions of the dense one: then the numbers that the decisions were made of are compared too.
/// In the same way, rounding to integers that are turned back at once is left out of both, and 16-bit floats become
/// single precision, where the outputs differ otherwise. Nodes that draw random numbers without a seed get one.
///
/// # Errors
/// When something cannot be run or compared. A difference that is too large is no error: see [`holds`].
pub fn compare(
    engine: &dyn Engine,
    load: &LoadOptions,
    dense: &Model,
    small: &Model,
    samples: &[Vec<(String, Tensor)>],
    real_data: bool,
) -> Result<Verified, VerifyError> {
    if samples.is_empty() {
        return Err(VerifyError::Nothing("no inputs were given"));
    }
    let options = LoadOptions { optimize: false, ..*load };
    let seeded = relax::seeded(dense).zip(relax::seeded(small));
    let (dense, small) = seeded.as_ref().map_or((dense, small), |(dense, small)| (dense, small));
    let plain = Comparison { engine, options, real_data, samples };
    let first = plain.measure(dense, small, &[]);
    match &first {
        Ok(verified) if holds(verified) => return first,
        Ok(_) | Err(VerifyError::Shape { .. } | VerifyError::Run { model: "small", .. }) => {}
        Err(_) => return first,
    }
    if let Some(relaxed) = plain.relaxed(dense, small)?
        && holds(&relaxed)
    {
        return Ok(relaxed);
    }
    match decisions::open(engine, &options, dense, small) {
        Some(opened) => plain.measure(&opened.dense, &opened.small, &opened.decisions).or(first),
        None => first,
    }
}

#[derive(Clone, Copy)]
struct Comparison<'a> {
    engine: &'a dyn Engine,
    options: LoadOptions,
    real_data: bool,
    samples: &'a [Vec<(String, Tensor)>],
}

impl Comparison<'_> {
    /// The comparison without what rounds: integers that are turned back at once, and 16-bit floats. Nothing where
    /// neither is there, or where the models do not run so.
    fn relaxed(&self, dense: &Model, small: &Model) -> Result<Option<Verified>, VerifyError> {
        let unrounded = relax::without_rounding(dense).zip(relax::without_rounding(small));
        let rounded = unrounded.as_ref().map_or(0, |((_, pairs), _)| *pairs);
        let (dense, small) =
            unrounded.as_ref().map_or((dense, small), |((dense, _), (small, _))| (dense, small));
        let widened = in_single_precision(dense)?.zip(in_single_precision(small)?);
        if rounded == 0 && widened.is_none() {
            return Ok(None);
        }
        let (dense, small) = widened.as_ref().map_or((dense, small), |(dense, small)| (dense, small));
        let measured = self.measure(dense, small, &[]);
        let single_precision = widened.is_some();
        Ok(measured.ok().map(|verified| Verified { unrounded: rounded, single_precision, ..verified }))
    }

    /// `handed` are outputs of `dense` that are inputs of `small`.
    fn measure(&self, dense: &Model, small: &Model, handed: &[String]) -> Result<Verified, VerifyError> {
        let mut dense = Side::load("dense", self.engine, &self.options, dense)?;
        let mut small = Side::load("small", self.engine, &self.options, small)?;
        small.required.retain(|name| !handed.contains(name));
        same_names("input", &dense.required, &small.required)?;
        let compared: Vec<usize> =
            (0..dense.outputs.len()).filter(|&place| !handed.contains(&dense.outputs[place])).collect();
        let names: Vec<String> = compared.iter().map(|&place| dense.outputs[place].clone()).collect();
        same_names("output", &names, &small.outputs)?;
        let mut differences: Vec<Difference> = vec![Difference::default(); names.len()];
        let mut count = 0;
        for inputs in self.samples {
            let a = dense.run(inputs)?;
            let mut given = inputs.clone();
            given.extend(
                dense
                    .outputs
                    .iter()
                    .zip(&a)
                    .filter(|(name, _)| handed.contains(name))
                    .map(|(name, tensor)| (name.clone(), tensor.clone())),
            );
            let b = small.run(&given)?;
            for ((&place, name), difference) in compared.iter().zip(&names).zip(&mut differences) {
                let a = &a[place];
                let Some(b) = small.outputs.iter().position(|other| other == name).map(|place| &b[place])
                else {
                    continue;
                };
                if a.dims() != b.dims() || a.dtype() != b.dtype() {
                    let describe = |tensor: &Tensor| format!("{} {:?}", tensor.dtype(), tensor.dims());
                    return Err(VerifyError::Shape {
                        output: name.clone(),
                        dense: describe(a),
                        small: describe(b),
                    });
                }
                difference.add(a, b);
            }
            count += inputs.first().and_then(|(_, tensor)| tensor.dims().first().copied()).unwrap_or(1);
        }
        if differences.iter().all(Difference::is_empty) {
            return Err(VerifyError::Nothing("the outputs hold no value"));
        }
        if differences.iter().all(|difference| difference.finite == 0) {
            return Err(VerifyError::Nothing("no value of any output is finite; give real data"));
        }
        let outputs: Vec<OutputDifference> = names
            .iter()
            .zip(&differences)
            .map(|(name, difference)| OutputDifference {
                name: name.clone(),
                max_abs_error: difference.gap,
                max_abs_value: difference.scale,
                rel_error: difference.relative(),
            })
            .collect();
        Ok(Verified {
            max_rel_error: outputs.iter().map(|output| output.rel_error).fold(0.0, f64::max),
            tolerance: TOLERANCE,
            engine: format!("{} {}", self.engine.name(), self.engine.version()),
            samples: count,
            real_data: self.real_data,
            decisions: handed.len(),
            approximate_groups: 0,
            unrounded: 0,
            single_precision: false,
            outputs,
        })
    }
}

/// Whether the difference is within the tolerance.
pub fn holds(verified: &Verified) -> bool {
    verified.max_rel_error <= verified.tolerance
}

/// One of the two models, loaded.
struct Side {
    model: &'static str,
    session: Box<dyn Session>,
    required: Vec<String>,
    outputs: Vec<String>,
}

impl Side {
    fn load(
        name: &'static str,
        engine: &dyn Engine,
        options: &LoadOptions,
        model: &Model,
    ) -> Result<Self, VerifyError> {
        let session = load_model(engine, options, model).map_err(|source| run_error(name, source))?;
        let inputs = session.inputs().iter().filter(|port| !port.optional);
        let required = inputs.map(|port| port.name.clone()).collect();
        let outputs = session.outputs().iter().map(|port| port.name.clone()).collect();
        Ok(Self { model: name, session, required, outputs })
    }

    fn run(&mut self, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>, VerifyError> {
        let given: Vec<(&str, &Tensor)> =
            inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        self.session.run(&given).map_err(|source| run_error(self.model, source))
    }
}

fn run_error(model: &'static str, source: EngineError) -> VerifyError {
    VerifyError::Run { model, source }
}

fn same_names(side: &'static str, dense: &[String], small: &[String]) -> Result<(), VerifyError> {
    let (first, second): (BTreeSet<&String>, BTreeSet<&String>) =
        (dense.iter().collect(), small.iter().collect());
    if first == second {
        return Ok(());
    }
    let only =
        |a: &BTreeSet<&String>, b: &BTreeSet<&String>| a.difference(b).map(|&name| name.clone()).collect();
    Err(VerifyError::Names { side, dense: only(&first, &second), small: only(&second, &first) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Choice, Discovery, discover};
    use crate::ir::{DeclaredDim, NodeSpec};
    use crate::tensor::DType;

    /// `y = op(x)` and `z = x * factor`, on `x` of two values.
    fn model(op_type: &str, factor: f32, output: &str) -> Model {
        let mut model = Model::empty("test", 17);
        let graph = &mut model.graph;
        let x = graph.add_value("x");
        graph.add_input(x, DType::F32, &[DeclaredDim::Free, DeclaredDim::Fixed(2)]);
        let by = graph.add_initializer("by", &Tensor::scalar(factor));
        for (name, spec) in [("y", NodeSpec::new(op_type, &[x])), (output, NodeSpec::new("Mul", &[x, by]))] {
            let value = graph.add(name, spec);
            graph.declare(value, DType::F32, &[DeclaredDim::Free, DeclaredDim::Fixed(2)]);
            graph.add_output(value);
        }
        model
    }

    fn compared(a: &Model, b: &Model, x: Vec<f32>) -> Result<Verified, VerifyError> {
        let engine = discover(&Discovery { engine: Choice::Tract, ..Discovery::default() }).unwrap().engine;
        let x = Tensor::new(vec![x.len() / 2, 2], x).unwrap();
        let samples = [vec![("x".to_owned(), x)]];
        compare(&*engine, &LoadOptions::default(), a, b, &samples, true)
    }

    #[test]
    fn differences_are_measured_for_each_output() {
        let verified =
            compared(&model("Sqrt", 1.0, "z"), &model("Sqrt", 1.001, "z"), vec![1.0, 4.0, 2.0, 3.0]);
        let verified = verified.unwrap();
        assert!(!holds(&verified));
        assert_eq!(verified.samples, 2);
        let found: Vec<_> =
            verified.outputs.iter().map(|output| (output.name.as_str(), output.rel_error)).collect();
        assert_eq!((found[0].0, found[0].1, found[1].0), ("y", 0.0, "z"));
        assert!((found[1].1 - 1e-3).abs() < 1e-6, "{}", found[1].1);
        let near = compared(&model("Sqrt", 1.0, "z"), &model("Sqrt", 1.000_01, "z"), vec![1.0, 4.0]).unwrap();
        assert!(near.max_rel_error > 0.0 && holds(&near), "{}", near.max_rel_error);
    }

    #[test]
    fn values_that_are_not_finite_must_be_the_same() {
        let x = vec![-1.0, 4.0];
        let same = compared(&model("Sqrt", 1.0, "z"), &model("Sqrt", 1.0, "z"), x.clone()).unwrap();
        assert_eq!(same.max_rel_error, 0.0, "NaN on both sides");
        let other = compared(&model("Sqrt", 1.0, "z"), &model("Abs", 1.0, "z"), x).unwrap();
        assert_eq!(other.outputs[0].rel_error, f64::INFINITY);
        assert!(!holds(&other));
        let nothing =
            compared(&model("Sqrt", f32::NAN, "z"), &model("Sqrt", f32::NAN, "z"), vec![-1.0, -4.0]);
        assert!(matches!(nothing, Err(VerifyError::Nothing(_))));
    }

    #[test]
    fn names_must_be_the_same() {
        let error = compared(&model("Sqrt", 1.0, "z"), &model("Sqrt", 1.0, "w"), vec![1.0, 4.0]).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("different outputs") && message.contains("\"w\""), "{message}");
    }

    /// `sum = x + by` and what `table` holds at the place of its largest element.
    fn choice(by: [f32; 2], factor: f32) -> Model {
        let mut model = Model::empty("test", 17);
        let graph = &mut model.graph;
        let x = graph.add_value("x");
        graph.add_input(x, DType::F32, &[DeclaredDim::Free, DeclaredDim::Fixed(2)]);
        let by = graph.add_initializer("by", &Tensor::vector(by.to_vec()));
        let factor = graph.add_initializer("factor", &Tensor::scalar(factor));
        let table = graph.add_initializer("table", &Tensor::vector(vec![1.0_f32, -1.0]));
        let sum = graph.add("sum", NodeSpec::new("Add", &[x, by]));
        let scaled = graph.add("scaled", NodeSpec::new("Mul", &[sum, factor]));
        let place = graph.add("place", NodeSpec::new("ArgMax", &[scaled]).attribute("axis", 1_i64));
        let y = graph.add("y", NodeSpec::new("Gather", &[table, place]));
        graph.add_output(y);
        model
    }

    #[test]
    fn a_tie_that_rounding_tips_is_no_difference_and_another_number_is() {
        let ort = discover(&Discovery { engine: Choice::Ort, ..Discovery::default() }).unwrap().engine;
        let samples = vec![vec![("x".to_owned(), Tensor::new(vec![1, 2], vec![1.0_f32, 1.0]).unwrap())]];
        let load = LoadOptions::default();
        let run =
            |dense: &Model, small: &Model| compare(&*ort, &load, dense, small, &samples, false).unwrap();
        let (left, right) = (choice([2e-7, 0.0], 1.0), choice([0.0, 2e-7], 1.0));
        let tipped = run(&left, &right);
        assert!(holds(&tipped), "{tipped:?}");
        assert_eq!(tipped.decisions, 1);
        assert!(tipped.max_rel_error > 0.0, "the numbers before the decision are compared");
        assert!(!holds(&run(&left, &choice([0.0, 2e-7], 2.0))));
        assert!(!holds(&run(&left, &choice([0.0, 2e-2], 1.0))));
        assert_eq!(run(&left, &left).decisions, 0);
    }

    fn on_both(models: [&Model; 2], x: &Tensor) -> Vec<Verified> {
        let samples = vec![vec![("x".to_owned(), x.clone())]];
        let run = |choice: Choice| {
            let engine = discover(&Discovery { engine: choice, ..Discovery::default() }).unwrap().engine;
            compare(&*engine, &LoadOptions::default(), models[0], models[1], &samples, false).unwrap()
        };
        vec![run(Choice::Ort), run(Choice::Tract)]
    }

    /// `y = DequantizeLinear(QuantizeLinear(x * factor))` with scale 1.
    fn rounding(factor: f32) -> Model {
        let mut model = Model::empty("test", 17);
        let graph = &mut model.graph;
        let x = graph.add_value("x");
        graph.add_input(x, DType::F32, &[DeclaredDim::Free, DeclaredDim::Fixed(2)]);
        let factor = graph.add_initializer("factor", &Tensor::scalar(factor));
        let scale = graph.add_initializer("scale", &Tensor::scalar(1.0_f32));
        let zero = graph.add_initializer("zero", &Tensor::scalar(3_u8));
        let product = graph.add("product", NodeSpec::new("Mul", &[x, factor]));
        let stored = graph.add("stored", NodeSpec::new("QuantizeLinear", &[product, scale, zero]));
        let y = graph.add("y", NodeSpec::new("DequantizeLinear", &[stored, scale, zero]));
        let z = graph.add("z", NodeSpec::new("Neg", &[y]));
        graph.add_output(z);
        model
    }

    #[test]
    fn a_number_that_is_rounded_the_other_way_is_no_difference_and_another_number_is() {
        // 0.5 is rounded to 0, the next larger number to 1.
        let x = Tensor::new(vec![1, 2], vec![0.5_f32, 4.0]).unwrap();
        for tipped in on_both([&rounding(1.0), &rounding(1.000_000_3)], &x) {
            assert!(holds(&tipped) && tipped.unrounded == 1, "{tipped:?}");
        }
        for same in on_both([&rounding(1.0), &rounding(1.0)], &x) {
            assert!(holds(&same) && same.unrounded == 0, "{same:?}");
        }
        for other in on_both([&rounding(1.0), &rounding(1.2)], &x) {
            assert!(!holds(&other), "{other:?}");
        }
    }

    /// `y = x + first + second` in 16-bit floats.
    fn sum(first: f64, second: f64) -> Model {
        let mut model = Model::empty("test", 17);
        let graph = &mut model.graph;
        let x = graph.add_value("x");
        graph.add_input(x, DType::F16, &[DeclaredDim::Free, DeclaredDim::Fixed(1)]);
        let mut value = x;
        for (name, term) in [("first", first), ("second", second)] {
            let term = graph.add_initializer(name, &Tensor::vector(vec![term]).cast_float(DType::F16));
            value = graph.add(&format!("after_{name}"), NodeSpec::new("Add", &[value, term]));
        }
        let y = graph.add("y", NodeSpec::new("Identity", &[value]));
        graph.declare(y, DType::F16, &[DeclaredDim::Free, DeclaredDim::Fixed(1)]);
        graph.add_output(y);
        model
    }

    #[test]
    fn sums_in_another_order_are_the_same_in_single_precision() {
        // From 2048 on, 16-bit floats are two apart.
        let x = Tensor::new(vec![1, 1], vec![1.0_f64]).unwrap().cast_float(DType::F16);
        let ort = discover(&Discovery { engine: Choice::Ort, ..Discovery::default() }).unwrap().engine;
        let run = |dense: &Model, small: &Model| {
            let samples = vec![vec![("x".to_owned(), x.clone())]];
            compare(&*ort, &LoadOptions::default(), dense, small, &samples, false).unwrap()
        };
        let (one, other) = (sum(2048.0, 1.0), sum(1.0, 2048.0));
        let verified = run(&one, &other);
        assert!(holds(&verified), "{verified:?}");
        assert!(!holds(&run(&one, &sum(1.0, 1024.0))));
    }

    /// `y = x + factor * noise`.
    fn noise(factor: f32) -> Model {
        let mut model = Model::empty("test", 17);
        let graph = &mut model.graph;
        let x = graph.add_value("x");
        graph.add_input(x, DType::F32, &[DeclaredDim::Free, DeclaredDim::Fixed(2)]);
        let factor = graph.add_initializer("factor", &Tensor::scalar(factor));
        let noise = graph.add("noise", NodeSpec::new("RandomNormalLike", &[x]));
        let noise = graph.add("scaled", NodeSpec::new("Mul", &[noise, factor]));
        let y = graph.add("y", NodeSpec::new("Add", &[x, noise]));
        graph.add_output(y);
        model
    }

    #[test]
    fn both_models_draw_the_same_random_numbers() {
        let ort = discover(&Discovery { engine: Choice::Ort, ..Discovery::default() }).unwrap().engine;
        let samples = vec![vec![("x".to_owned(), Tensor::new(vec![1, 2], vec![1.0_f32, 2.0]).unwrap())]];
        let run = |small: &Model| {
            compare(&*ort, &LoadOptions::default(), &noise(1.0), small, &samples, false).unwrap()
        };
        assert!(holds(&run(&noise(1.0))));
        assert!(!holds(&run(&noise(1.1))));
    }
}
