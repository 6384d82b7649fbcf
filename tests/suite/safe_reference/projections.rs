//! Single calls of the published projections and sparsity schedules.

use safe_onnx::safe::{
    Importance, NOfM, Projection, Scalar, SparsitySchedule, Threshold, Unstructured, View,
};

use super::archive::{Archive, spec};
use super::replay::Report;

fn values<T: Scalar>(archive: &Archive, name: &str) -> Vec<T> {
    archive.f64(name).into_iter().map(T::from_f64).collect()
}

fn torch<T: Scalar>(report: &mut Report, exact: bool) {
    let (spec, cases) = (spec("projection_torch"), Archive::open("projection_torch/cases.npz"));
    for case in spec["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let mut w: Vec<T> = values(&cases, &format!("{name}/w"));
        let dims = cases.get(&format!("{name}/w")).shape().to_vec();
        let importance = case["importance"].as_bool().unwrap().then(|| {
            let key = format!("{name}/importance");
            Importance::new(cases.get(&key).shape(), &values::<T>(&cases, &key), &dims).unwrap()
        });
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let view = View { index: 0, dims: &dims, values: &mut w };
        if number("prune_n") > 0 {
            let rule = NOfM::new(number("prune_n"), number("prune_m"), &[(0, 1)]).unwrap();
            let mut rule = importance.into_iter().fold(rule, |rule, factor| rule.with_importance(0, factor));
            rule.project(&mut [view]).unwrap();
        } else {
            let sparsity = case["sparsity"].as_f64().unwrap();
            let rule = Unstructured::per_tensor(&[(0, sparsity)], Threshold::Removed).unwrap();
            let mut rule = importance.into_iter().fold(rule, |rule, factor| rule.with_importance(0, factor));
            rule.project(&mut [view]).unwrap();
        }
        let found: Vec<f64> = w.iter().map(|w| w.to_f64()).collect();
        let zeros = found.iter().filter(|w| **w == 0.0).count();
        report.compare(&format!("torch {name} zeros"), &[zeros as f64], &[number("zeros") as f64], 0.0);
        if !case["tie_order_unspecified"].as_bool().unwrap() {
            let tolerance = if exact { 0.0 } else { 1e-7 };
            report.compare(&format!("torch {name}"), &found, &cases.f64(&format!("{name}/z")), tolerance);
        }
    }
}

fn jax<T: Scalar>(report: &mut Report, exact: bool) {
    let (spec, cases) = (spec("projection_jax"), Archive::open("projection_jax/cases.npz"));
    for case in spec["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let count = case["tensors"].as_u64().unwrap() as usize;
        let mut rule = match &case["sparsity"] {
            serde_json::Value::Array(list) => {
                let own = list.iter().map(|sparsity| sparsity.as_f64().unwrap());
                Unstructured::per_tensor(&(0..count).zip(own).collect::<Vec<_>>(), Threshold::Kept)
            }
            sparsity => {
                Unstructured::global((0..count).collect(), sparsity.as_f64().unwrap(), Threshold::Kept)
            }
        }
        .unwrap();
        let keys: Vec<String> = (0..count).map(|index| format!("{name}/w{index}")).collect();
        let dims: Vec<Vec<usize>> = keys.iter().map(|key| cases.get(key).shape().to_vec()).collect();
        let mut tensors: Vec<Vec<T>> = keys.iter().map(|key| values(&cases, key)).collect();
        let views = tensors.iter_mut().zip(&dims).enumerate();
        let views = views.map(|(index, (values, dims))| View { index, dims, values });
        rule.project(&mut views.collect::<Vec<_>>()).unwrap();
        for (index, found) in tensors.iter().enumerate() {
            let found: Vec<f64> = found.iter().map(|w| w.to_f64()).collect();
            let tolerance = if exact { 0.0 } else { 1e-7 };
            let what = format!("jax {name} tensor {index}");
            report.compare(&what, &found, &cases.f64(&format!("{name}/z{index}")), tolerance);
            let zeros = found.iter().filter(|w| **w == 0.0).count() as f64;
            let expected = case["zeros"][index].as_f64().unwrap();
            report.compare(&format!("{what} zeros"), &[zeros], &[expected], 0.0);
        }
    }
}

#[test]
fn projections_agree() {
    let mut report = Report::default();
    torch::<f64>(&mut report, true);
    torch::<f32>(&mut report, false);
    jax::<f64>(&mut report, true);
    jax::<f32>(&mut report, false);
    report.finish();
}

#[test]
fn sparsity_schedules_agree() {
    let spec = spec("projection_jax");
    let counts = &spec["sparsity_schedule_counts"];
    let (target, total) = (counts["target"].as_f64().unwrap(), counts["total_steps"].as_u64().unwrap());
    let count = counts["numel"].as_f64().unwrap();
    let mut report = Report::default();
    for (name, schedule) in [
        ("cosine", SparsitySchedule::Cosine),
        ("linear", SparsitySchedule::Linear),
        ("cubic", SparsitySchedule::Cubic),
    ] {
        let expected = counts["counts"][name].as_array().unwrap().iter().map(|count| count.as_f64().unwrap());
        let expected: Vec<f64> = expected.collect();
        let at = |step| (schedule.at(step, total as usize, target) * count).floor();
        let found: Vec<f64> = (0..expected.len()).map(at).collect();
        report.compare(name, &found, &expected, 0.0);
    }
    report.finish();
}
