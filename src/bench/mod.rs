//! Latency: the median time of one run, of two models in turn.
//!
//! Runs of the two alternate, so that whatever else the machine does falls on both. This module knows sessions
//! only.

use std::time::Instant;

use crate::engine::{Engine, EngineError, LoadOptions, load_model};
use crate::ir::Model;
use crate::tensor::Tensor;

/// Median milliseconds of one run of each model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// Of the first model.
    pub first_ms: f64,
    /// Of the second model.
    pub second_ms: f64,
}

/// Runs at most this long, in seconds.
const BUDGET: f64 = 3.0;
const LEAST: usize = 5;
const MOST: usize = 200;

/// Runs the two models in turn on the same inputs, optimised, and takes the medians.
///
/// # Errors
/// When one of them cannot be loaded or run.
pub fn paired_latency(
    engine: &dyn Engine,
    load: &LoadOptions,
    first: &Model,
    second: &Model,
    inputs: &[(String, Tensor)],
) -> Result<Latency, EngineError> {
    let load = LoadOptions { optimize: true, ..*load };
    let mut sessions = [load_model(engine, &load, first)?, load_model(engine, &load, second)?];
    let given: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    for session in &mut sessions {
        session.run(&given)?;
    }
    let mut times = [Vec::new(), Vec::new()];
    let start = Instant::now();
    while times[0].len() < LEAST || (times[0].len() < MOST && start.elapsed().as_secs_f64() < BUDGET) {
        for (session, times) in sessions.iter_mut().zip(&mut times) {
            let begin = Instant::now();
            session.run(&given)?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
    }
    let [first, second] = times.map(|times| median(times).unwrap_or(0.0));
    Ok(Latency { first_ms: first, second_ms: second })
}

/// The median, or nothing of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
