//! What must be the same for a run to go on: whatever decides its result.

use sha2::{Digest, Sha256};

use crate::compress::Plan;
use crate::compress::samples::Samples;
use crate::data::{Dataset, hexadecimal};
use crate::engine::Engine;
use crate::ir::Model;

/// Names and texts; all must agree.
pub(super) type Fingerprint = Vec<(String, String)>;

/// The fingerprint of a run of `plan` on `model` as it was read.
pub(super) fn of(
    plan: &Plan,
    model: &Model,
    engine: &dyn Engine,
    samples: &Samples,
    val: Option<&Dataset>,
) -> Fingerprint {
    let threads =
        plan.load.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(0);
    let mut pairs: Vec<(&str, String)> = vec![
        ("the program's version", env!("CARGO_PKG_VERSION").to_owned()),
        ("the model", weights(model)),
        ("the training data", samples.checksum()),
        ("the validation data", val.map_or_else(|| "none".to_owned(), Dataset::checksum)),
        ("settings of the data", format!("{:?}", plan.data_options)),
        ("--target", format!("{:?}", plan.target)),
        ("--method", format!("{:?}", plan.method)),
        ("the loss", format!("{:?}", plan.loss)),
        ("limits of the layers", format!("{:?}", plan.limits)),
        ("--seed", plan.seed.to_string()),
        ("--shape", format!("{:?}", plan.shapes)),
        ("the engine", format!("{} {} on {:?}", engine.name(), engine.version(), plan.load.device)),
        ("the number of threads", threads.to_string()),
    ];
    pairs.extend(settings(plan));
    pairs.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
}

/// The settings of training, one by one.
fn settings(plan: &Plan) -> Vec<(&'static str, String)> {
    fn shown<T: std::fmt::Debug>(setting: Option<T>) -> String {
        setting.map_or_else(|| "not given".to_owned(), |setting| format!("{setting:?}"))
    }
    let training = &plan.training;
    vec![
        ("--epochs", shown(training.epochs)),
        ("--batch", shown(training.batch)),
        ("--optimizer", shown(training.optimizer)),
        ("--lr", shown(training.learning_rate)),
        ("--momentum", shown(training.momentum)),
        ("--weight-decay", shown(training.weight_decay)),
        ("--batch-norm", format!("{:?}", training.batch_norm)),
        ("--rho", shown(training.radius)),
        ("--lambda", shown(training.penalty)),
        ("--dual-interval", shown(training.dual_interval)),
        // All others, so that none can be forgotten.
        ("settings of training", format!("{training:?}")),
    ]
}

/// The first thing that differs: its name, what it was and what it is.
pub(super) fn difference(saved: &Fingerprint, now: &Fingerprint) -> Option<(String, String, String)> {
    let missing = || "nothing".to_owned();
    let of = |pairs: &Fingerprint, name: &str| {
        pairs.iter().find(|(other, _)| other == name).map_or_else(missing, |(_, text)| text.clone())
    };
    saved
        .iter()
        .chain(now)
        .map(|(name, _)| (name.clone(), of(saved, name), of(now, name)))
        .find(|(_, before, after)| before != after)
}

/// SHA-256 of the initializers of a model and of how its nodes are connected, in hexadecimal digits.
fn weights(model: &Model) -> String {
    let mut hash = Sha256::new();
    for (_, value) in model.graph.values() {
        hash.update(value.name().as_bytes());
        if let Some(initializer) = value.initializer() {
            hash.update(format!(" {:?} {:?}\n", initializer.dtype(), initializer.dims()).as_bytes());
            match initializer.raw() {
                Some(raw) => hash.update(raw),
                None => hash.update(format!("{:?}", initializer.tensor()).as_bytes()),
            }
            initializer.release();
        }
    }
    for (_, node) in model.graph.nodes() {
        hash.update(format!("{node:?}\n").as_bytes());
    }
    hexadecimal(hash.finalize().as_slice())
}
