//! One trajectory: the optimiser from the words of `spec.json`, then every recorded number.

use safe_onnx::safe::{
    Base, Gradual, Importance, LambdaSchedule, LearningRate, NOfM, Options, Parameter, Penalty, Projection,
    Safe, SafeError, Scalar, SparsitySchedule, Threshold, Unstructured, View,
};
use serde_json::Value;

use super::archive::{Archive, spec};
use super::nets::{Evaluation, Gradients, Net, Target, mlp};

/// How exactly a replay must agree.
pub(crate) struct Precision {
    pub(crate) tolerance: f64,
    /// Whether to take learning rate and penalty as recorded; else from the closed forms, which the published
    /// code evaluated partly in single precision.
    pub(crate) recorded_schedules: bool,
}

/// Disagreements of all cases.
#[derive(Default)]
pub(crate) struct Report {
    compared: usize,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn compare(&mut self, what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
        self.compared += expected.len();
        if found.len() != expected.len() {
            self.failures.push(format!("{what}: {} values for {}", found.len(), expected.len()));
            return;
        }
        // Written so that NaN counts as a disagreement.
        let agree = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerance * b.abs().max(1.0);
        if !found.iter().zip(expected).all(agree) {
            let largest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            self.failures.push(format!("{what}: off by {largest:e}, allowed {tolerance:e}"));
        }
    }

    pub(crate) fn finish(self) {
        assert!(
            self.failures.is_empty(),
            "{} disagreements:\n{}",
            self.failures.len(),
            self.failures.join("\n")
        );
        assert!(self.compared > 0, "nothing was compared");
    }
}

/// The projection of a case; the baselines change its sparsity from step to step.
enum Rule<T> {
    Weights(Unstructured<T>),
    Blocks(NOfM<T>),
    Gradual(Gradual<T>),
}

impl<T: Scalar> Projection<T> for Rule<T> {
    fn project(&mut self, tensors: &mut [View<'_, T>]) -> Result<(), SafeError> {
        match self {
            Self::Weights(rule) => rule.project(tensors),
            Self::Blocks(rule) => rule.project(tensors),
            Self::Gradual(rule) => rule.project(tensors),
        }
    }
}

impl<T: Scalar> Rule<T> {
    fn new(spec: &Value, net: &Net, trace: &Archive) -> Self {
        let projected: Vec<&str> = words(&spec["projected_params"]);
        let at = |name: &str| net.parameters().iter().position(|own| *own == name).unwrap();
        let tensors: Vec<usize> = projected.iter().map(|name| at(name)).collect();
        let importance = projected.iter().filter_map(|name| {
            let factor = trace.find(&format!("importance/{name}"))?;
            let values: Vec<T> = factor.iter().map(|&value| T::from_f64(value)).collect();
            let dims = trace.get(&format!("init/x/{name}")).shape();
            Some((at(name), Importance::new(factor.shape(), &values, dims).unwrap()))
        });
        if spec["prune_n"].as_u64().is_some_and(|n| n > 0) {
            let axes: Vec<(usize, usize)> = tensors.iter().map(|&tensor| (tensor, 1)).collect();
            let rule = NOfM::new(index(&spec["prune_n"]), index(&spec["prune_m"]), &axes).unwrap();
            return Self::Blocks(
                importance.fold(rule, |rule, (at, factor)| rule.with_importance(at, factor)),
            );
        }
        let threshold = if is_torch(spec) { Threshold::Removed } else { Threshold::Kept };
        let rule = match (spec["scope"].as_str().unwrap(), &spec["sparsity"]) {
            ("global", sparsity) => Unstructured::global(tensors, sparsity.as_f64().unwrap(), threshold),
            (_, Value::Array(list)) => {
                let own = list.iter().map(|sparsity| sparsity.as_f64().unwrap());
                Unstructured::per_tensor(&tensors.into_iter().zip(own).collect::<Vec<_>>(), threshold)
            }
            (_, sparsity) => {
                let own = tensors.into_iter().map(|tensor| (tensor, sparsity.as_f64().unwrap()));
                Unstructured::per_tensor(&own.collect::<Vec<_>>(), threshold)
            }
        };
        let rule = importance.fold(rule.unwrap(), |rule, (at, factor)| rule.with_importance(at, factor));
        if spec["algorithm"] == "GMP" { Self::Gradual(Gradual::new(rule)) } else { Self::Weights(rule) }
    }

    fn set_sparsity(&mut self, sparsity: f64) {
        match self {
            Self::Weights(rule) => rule.set_sparsity(sparsity).unwrap(),
            Self::Gradual(rule) => rule.inner.set_sparsity(sparsity).unwrap(),
            Self::Blocks(_) => panic!("N:M has no sparsity to set"),
        }
    }
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

fn index(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn is_torch(spec: &Value) -> bool {
    spec["implementation"].as_str().unwrap().contains("PyTorch")
}

/// A baseline that has neither split variable nor penalty.
fn is_hard(spec: &Value) -> bool {
    spec["algorithm"] == "GMP" || spec["algorithm"] == "IHT"
}

fn options(spec: &Value) -> Options {
    let number = |key: &str| spec[key].as_f64().unwrap_or_default();
    let schedule = &spec["lr_schedule"];
    if is_torch(spec) {
        let optimizer = &spec["optimizer"];
        let peak = optimizer["lr"].as_f64().unwrap();
        let rate = if schedule == "constant" {
            LearningRate::Constant(peak)
        } else {
            let (warmup, total) = (index(&schedule["warmup_steps"]), index(&schedule["total_steps"]));
            LearningRate::LinearWarmupDecay { peak, warmup, total }
        };
        let interval = index(&spec["dual_interval"]);
        let mut options = Options::language_models(number("rho"), number("lambda_"), interval, rate);
        let beta = |at: usize| optimizer["betas"][at].as_f64().unwrap();
        let epsilon = optimizer["eps"].as_f64().unwrap();
        options.base = Base::Adam { beta1: beta(0), beta2: beta(1), epsilon, weight_decay: 0.0 };
        return options;
    }
    let rate = LearningRate::PublishedWarmupCosine {
        peak: number("lr"),
        warmup: index(&schedule["warmup_steps"]),
        decay_end: index(&schedule["decay_end_step"]),
    };
    let rise = &spec["lambda_schedule"];
    let kind = rise["kind"].as_str().or(rise.as_str()).unwrap_or("constant");
    let schedule = match kind {
        "cosine" => LambdaSchedule::Cosine { total: index(&rise["total_steps"]) },
        "linear" => LambdaSchedule::Linear { total: index(&rise["total_steps"]) },
        "constant" => LambdaSchedule::Constant,
        other => panic!("no penalty schedule is named {other}"),
    };
    let penalty = Penalty { lambda: number("lambda_"), schedule };
    let mut options = Options::images(number("rho"), penalty, 8, rate);
    options.dual_interval = spec["dual_interval"].as_u64().map(|interval| interval as usize);
    options
}

/// Compares the closed forms with the recorded schedules, and puts the recorded ones in their place if wanted.
fn check_schedules(
    case: &str,
    options: &mut Options,
    trace: &Archive,
    precision: &Precision,
    report: &mut Report,
) {
    let rates = trace.f64("series/lr");
    let own: Vec<f64> = (0..rates.len()).map(|step| options.learning_rate.at(step)).collect();
    report.compare(&format!("{case} series/lr"), &own, &rates, 1e-7);
    if let Some(penalties) = trace.find("series/lambda") {
        let penalties: Vec<f64> = penalties.iter().copied().collect();
        let own: Vec<f64> = (0..penalties.len()).map(|step| options.penalty.at(step)).collect();
        report.compare(&format!("{case} series/lambda"), &own, &penalties, 1e-7);
        if precision.recorded_schedules {
            options.penalty = Penalty { lambda: 1.0, schedule: LambdaSchedule::Table(penalties) };
        }
    }
    if precision.recorded_schedules {
        options.learning_rate = LearningRate::Table(rates);
    }
}

/// The parameters of a case with their parts in the method.
fn parameters<T: Scalar>(spec: &Value, net: &Net, trace: &Archive) -> Vec<Parameter> {
    let projected = words(&spec["projected_params"]);
    let biases_held = spec["bias_handling"].as_str().is_some_and(|text| text.starts_with("as published"));
    let scales_split = spec["norm_scale_handling"].is_string();
    let parameter = |name: &&str| {
        let values = trace.get(&format!("init/x/{name}"));
        let own = values.iter().map(|&value| T::from_f64(value)).collect();
        let mut parameter = Parameter::new::<T>(*name, values.shape().to_vec(), own).unwrap();
        if projected.contains(name) || (scales_split && name.starts_with("bn") && name.ends_with("weight")) {
            parameter = parameter.split();
        }
        if biases_held && name.ends_with("bias") { parameter.held() } else { parameter }
    };
    net.parameters().iter().map(parameter).collect()
}

fn wide<T: Scalar>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

struct Run<'a, T> {
    case: &'a str,
    trace: &'a Archive,
    net: &'a Net,
    gradients: &'a mut dyn Gradients<T>,
    torch: bool,
    tolerance: f64,
    /// Targets of each batch under the squared error; empty under cross-entropy.
    targets: Vec<Vec<f64>>,
    report: &'a mut Report,
}

/// The recorded targets. Where the recorded first gradient is exactly zero they are the outputs of the untrained
/// net, and are computed here too: any other rounding of a sum would be blown up to an ascent of length rho.
fn targets<T: Scalar>(case: &str, net: &Net, trace: &Archive, report: &mut Report) -> Vec<Vec<f64>> {
    if trace.find("batch/target").is_none() {
        return Vec::new();
    }
    let recorded: Vec<Vec<f64>> = (0..4).map(|batch| trace.row("batch/target", batch)).collect();
    if trace.f64("series/grad_norm")[0] > 0.0 {
        return recorded;
    }
    let narrow = |values: Vec<f64>| -> Vec<T> { values.into_iter().map(T::from_f64).collect() };
    let start = net.parameters().iter().map(|name| narrow(trace.f64(&format!("init/x/{name}"))));
    let start: Vec<Vec<T>> = start.collect();
    let start: Vec<&[T]> = start.iter().map(Vec::as_slice).collect();
    let outputs = |batch| wide(&mlp(&narrow(trace.row("batch/x", batch)), &start)[2]);
    let own: Vec<Vec<f64>> = (0..4).map(outputs).collect();
    for (own, recorded) in own.iter().zip(&recorded) {
        let tolerance = if T::KEY_BITS == 64 { 1e-14 } else { 1e-6 };
        report.compare(&format!("{case} batch/target"), own, recorded, tolerance);
    }
    own
}

impl<T: Scalar> Run<'_, T> {
    fn evaluate(&mut self, step: usize, parameters: &[&[T]]) -> Evaluation<T> {
        let batch = step % 4;
        let x = self.trace.row("batch/x", batch);
        if let Some(values) = self.targets.get(batch) {
            return self.gradients.evaluate(parameters, &x, &Target::Values(values));
        }
        let classes: Vec<usize> =
            self.trace.row("batch/y", batch).iter().map(|&class| class as usize).collect();
        self.gradients.evaluate(parameters, &x, &Target::Classes(&classes))
    }

    fn compare(&mut self, key: &str, found: &[f64]) {
        if let Some(expected) = self.trace.find(key) {
            let expected: Vec<f64> = expected.iter().copied().collect();
            self.report.compare(&format!("{} {key}", self.case), found, &expected, self.tolerance);
        }
    }

    fn compare_entry(&mut self, key: &str, step: usize, found: f64) {
        if let Some(expected) = self.trace.find(key) {
            let what = format!("{} {key}[{step}]", self.case);
            self.report.compare(&what, &[found], &[expected[step]], self.tolerance);
        }
    }

    fn compare_gradients(&mut self, key: &str, step: usize, gradients: &[Vec<T>]) {
        for (name, gradient) in self.net.parameters().iter().zip(gradients) {
            self.compare(&format!("step{:03}/{key}/{name}", step + 1), &wide(gradient));
        }
    }

    fn compare_state(&mut self, prefix: &str, safe: &Safe<T>) {
        for (at, name) in self.net.parameters().iter().enumerate() {
            self.compare(&format!("{prefix}/x/{name}"), &wide(safe.x(at)));
            // The image code keeps z = u = 0 for parameters that the method does not split.
            let zeros = vec![0.0; safe.x(at).len()];
            let part = |values: Option<&[T]>| values.map_or(zeros.clone(), wide);
            self.compare(&format!("{prefix}/z/{name}"), &part(safe.split(at)));
            self.compare(&format!("{prefix}/u/{name}"), &part(safe.dual(at)));
            let first = if self.torch { "adam_m" } else { "momentum" };
            self.compare(&format!("{prefix}/{first}/{name}"), &wide(safe.momentum(at)));
            self.compare(&format!("{prefix}/adam_v/{name}"), &wide(safe.second_moment(at)));
        }
    }
}

/// Whose gradients: of the net with the given name, under the squared error or under cross-entropy.
pub(crate) type Source<'a, T> = &'a dyn Fn(&str, bool) -> Box<dyn Gradients<T>>;

/// The gradients written out by hand.
pub(crate) fn by_hand<T: Scalar>(net: &str, _squared: bool) -> Box<dyn Gradients<T>> {
    Box::new(named(net))
}

fn named(net: &str) -> Net {
    Net::named(net, &Archive::open("nets/cnnbn_running.npz"))
}

/// Replays `case` with gradients from `source` and adds its disagreements to `report`.
pub(crate) fn run<T: Scalar>(case: &str, precision: &Precision, source: Source<'_, T>, report: &mut Report) {
    let spec = spec(case);
    let trace = Archive::open(&format!("{case}/trace.npz"));
    let net = named(spec["net"].as_str().unwrap());
    let mut gradients = source(spec["net"].as_str().unwrap(), trace.find("batch/target").is_some());
    let mut options = options(&spec);
    check_schedules(case, &mut options, &trace, precision, report);
    let hard = is_hard(&spec);
    let steps = index(&spec["steps"]);
    let sparsity = |step: usize| SparsitySchedule::Cubic.at(step, steps, spec["sparsity"].as_f64().unwrap());
    let mut rule = Rule::<T>::new(&spec, &net, &trace);
    if hard {
        rule.set_sparsity(sparsity(0));
    }
    let mut safe = Safe::new(parameters::<T>(&spec, &net, &trace), options, &mut rule).unwrap();
    let torch = is_torch(&spec);
    let targets = targets::<T>(case, &net, &trace, report);
    let tolerance = precision.tolerance;
    let gradients = &mut *gradients;
    let mut run = Run { case, trace: &trace, net: &net, gradients, torch, tolerance, targets, report };
    if !hard {
        run.compare_state("init", &safe);
    }
    let all = 0..safe.len();
    for step in 0..steps {
        let (loss, gradients) = run.evaluate(step, &all.clone().map(|at| safe.x(at)).collect::<Vec<_>>());
        run.compare_entry("series/loss_x", step, loss);
        run.compare_gradients("g", step, &gradients);
        let norm = safe.ascend(&gradients).unwrap();
        run.compare_entry("series/grad_norm", step, norm);
        let (loss, gradients) =
            run.evaluate(step, &all.clone().map(|at| safe.perturbed(at)).collect::<Vec<_>>());
        run.compare_entry("series/loss_pert", step, loss);
        run.compare_gradients("g_pert", step, &gradients);
        let descent = safe.descend(&gradients).unwrap();
        run.compare_entry("series/lr", step, descent.learning_rate);
        run.compare_entry("series/lambda", step, descent.penalty);
        if hard {
            rule.set_sparsity(sparsity(step));
            safe.project(&mut rule).unwrap();
        } else if safe.dual_is_due() {
            safe.dual_update(&mut rule).unwrap();
        }
        run.compare_state(&format!("step{:03}", step + 1), &safe);
    }
    if hard {
        rule = Rule::new(&spec, &net, &trace);
    }
    let tensors = safe.projected(&mut rule).unwrap();
    let last: Vec<&[T]> = tensors.iter().map(|tensor| tensor.as_slice().unwrap()).collect();
    for (name, values) in net.parameters().iter().zip(&last) {
        run.compare(&format!("final/x/{name}"), &wide(values));
        let zeros = |values: &[f64]| values.iter().filter(|value| **value == 0.0).count() as f64;
        let expected = zeros(&trace.f64(&format!("final/x/{name}")));
        run.report.compare(&format!("{case} zeros of {name}"), &[zeros(&wide(values))], &[expected], 0.0);
    }
    for batch in 0..4 {
        let (loss, _) = run.evaluate(batch, &last);
        run.compare_entry("series/loss_final_projected", batch, loss);
    }
}
