//! Replays the trajectories of the published implementations, `fixtures/safe`, number for number.

mod archive;
mod nets;
mod projections;
mod replay;
mod training_net;

use nets::Gradients;
use replay::{Precision, Report, by_hand};
use training_net::TrainingNet;

use crate::support::engines;

/// A trajectory, and its tolerance in single precision; why some are wider stands in `fixtures/safe/README.md`.
const CASES: &[(&str, f64)] = &[
    ("jax_cnn_admm_sp90", 2e-6),
    ("jax_cnn_admm_sp90_biasfix", 2e-6),
    ("jax_cnn_safe_sp50", 2e-6),
    ("jax_cnn_safe_sp50_biasfix", 2e-6),
    ("jax_cnn_safe_sp90", 2e-6),
    ("jax_cnn_safe_sp90_biasfix", 2e-6),
    ("jax_cnnbn_safe_sp90", 2e-6),
    ("jax_cnnbn_safe_sp90_biasfix", 2e-6),
    ("jax_mlp_admm_sp90", 2e-6),
    ("jax_mlp_admm_sp90_biasfix", 2e-6),
    ("jax_mlp_gmp_sp70_lr05", 2e-5),
    ("jax_mlp_gmp_sp90", 2e-6),
    ("jax_mlp_iht_sp70_lr05", 5e-6),
    ("jax_mlp_iht_sp90", 2e-6),
    ("jax_mlp_safe_layerwise", 2e-6),
    ("jax_mlp_safe_sp50", 2e-6),
    ("jax_mlp_safe_sp50_biasfix", 2e-6),
    ("jax_mlp_safe_sp90", 2e-6),
    ("jax_mlp_safe_sp90_biasfix", 2e-6),
    ("jax_mlp_safe_sp90_constant", 2e-6),
    ("jax_mlp_safe_sp90_linear", 2e-6),
    ("torch_cnn_2to4", 2e-6),
    ("torch_cnn_safe", 2e-6),
    ("torch_cnn_safe_plus", 2e-6),
    ("torch_mlp_2to4", 2e-6),
    ("torch_mlp_2to4_plus", 2e-6),
    ("torch_mlp_4to8", 2e-6),
    ("torch_mlp_4to8_plus", 2e-6),
    ("torch_mlp_recon_noisy_plus", 1e-4),
    ("torch_mlp_recon_warmup_plus", 1e-4),
    ("torch_mlp_safe", 2e-6),
    ("torch_mlp_safe_plus", 2e-6),
    ("torch_mlp_safe_sp80_rho02", 2e-6),
];

#[test]
fn trajectories_agree_in_double_precision() {
    let mut report = Report::default();
    for (case, _) in CASES {
        let precision = Precision { tolerance: 1e-10, recorded_schedules: true };
        replay::run::<f64>(case, &precision, &by_hand, &mut report);
    }
    report.finish();
}

#[test]
fn trajectories_agree_in_single_precision() {
    let mut report = Report::default();
    for (case, tolerance) in CASES {
        let precision = Precision { tolerance: *tolerance, recorded_schedules: false };
        replay::run::<f32>(case, &precision, &by_hand, &mut report);
    }
    report.finish();
}

#[test]
fn trajectories_agree_with_gradients_of_the_training_graph() {
    for engine in engines() {
        let source = |net: &str, squared: bool| -> Box<dyn Gradients<f32>> {
            Box::new(TrainingNet::load(net, squared, &*engine))
        };
        let mut report = Report::default();
        for (case, tolerance) in CASES {
            // Its first gradient is nothing but rounding, which is another for every way of computing the outputs.
            if *case == "torch_mlp_recon_warmup_plus" {
                continue;
            }
            let precision = Precision { tolerance: *tolerance, recorded_schedules: false };
            replay::run::<f32>(case, &precision, &source, &mut report);
        }
        report.finish();
    }
}

#[test]
fn every_trajectory_is_listed() {
    let folders = std::fs::read_dir(archive::fixture("")).unwrap().map(|entry| entry.unwrap());
    let traces = folders.filter(|folder| folder.path().join("trace.npz").exists());
    let mut found: Vec<String> = traces.map(|folder| folder.file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, CASES.iter().map(|(case, _)| *case).collect::<Vec<_>>());
}
