//! The best evaluation on the validation data, and when to give up waiting for a better one.

use super::course::SavedBest;
use super::{CompressError, Training};
use crate::ir::Model;

/// What was best so far.
pub(super) struct Best {
    keep: bool,
    patience: Option<usize>,
    /// The higher, the better.
    figure: Option<f64>,
    step: usize,
    model: Option<Model>,
    /// Evaluations since.
    since: usize,
}

impl Best {
    pub(super) fn new(training: &Training) -> Self {
        let (keep, patience) = (training.keep_best, training.patience);
        Self { keep, patience, figure: None, step: 0, model: None, since: 0 }
    }

    /// Takes in an evaluation after `step` steps: loss and accuracy. Gives whether training is to go on.
    ///
    /// # Errors
    /// When nothing was measured though it is asked for.
    pub(super) fn see(
        &mut self,
        step: usize,
        (loss, accuracy): (Option<f64>, Option<f64>),
        model: &Model,
    ) -> Result<bool, CompressError> {
        if !self.keep && self.patience.is_none() {
            return Ok(true);
        }
        let Some(figure) = accuracy.or(loss.map(|loss| -loss)) else {
            return Err(CompressError::Loss(
                "--keep-best and --patience need validation data with targets, which --data or --val give"
                    .to_owned(),
            ));
        };
        if self.figure.is_none_or(|best| figure > best) {
            (self.figure, self.step, self.since) = (Some(figure), step, 0);
            self.model = self.keep.then(|| model.clone());
        } else {
            self.since += 1;
        }
        Ok(self.patience.is_none_or(|patience| self.since < patience))
    }

    /// The model of the best evaluation, if it is kept.
    pub(super) fn model(&self) -> Option<&Model> {
        self.model.as_ref()
    }

    /// What of it a checkpoint holds in text, beside the initializers `kept` of its model.
    pub(super) fn saved(&self, kept: Vec<String>) -> SavedBest {
        SavedBest { figure: self.figure, step: self.step, since: self.since, kept }
    }

    /// Takes up what a checkpoint holds.
    pub(super) fn restore(&mut self, saved: &SavedBest, model: Option<Model>) {
        (self.figure, self.step, self.since) = (saved.figure, saved.step, saved.since);
        self.model = model;
    }

    /// What ended training, if it ended early after `step` steps.
    pub(super) fn note(&self, step: usize) -> String {
        format!(
            "training ended after {step} steps: {} evaluations were no better than that of step {}",
            self.since, self.step
        )
    }

    /// The best model and its step, if it was to be kept.
    pub(super) fn into_model(self) -> Option<(Model, usize)> {
        self.model.map(|model| (model, self.step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_stays_and_patience_ends() {
        let training = Training { patience: Some(2), keep_best: true, ..Training::default() };
        let mut best = Best::new(&training);
        let model = |opset| Model::empty("m", opset);
        let seen = [(0.5, true), (0.7, true), (0.6, true), (0.7, false)];
        for (step, (accuracy, goes_on)) in seen.into_iter().enumerate() {
            let measured = (Some(1.0), Some(accuracy));
            assert_eq!(best.see(step, measured, &model(step as i64)).unwrap(), goes_on, "{step}");
        }
        assert!(best.note(3).contains("that of step 1"));
        let (model, step) = best.into_model().unwrap();
        assert_eq!((model.opset(""), step), (Some(1), 1));
        let mut by_loss = Best::new(&training);
        assert!(by_loss.see(0, (Some(2.0), None), &Model::empty("m", 1)).unwrap());
        assert!(by_loss.see(1, (Some(1.0), None), &Model::empty("m", 2)).unwrap());
        assert_eq!(by_loss.into_model().unwrap().1, 1);
        assert!(Best::new(&training).see(0, (None, None), &Model::empty("m", 1)).is_err());
        assert!(Best::new(&Training::default()).see(0, (None, None), &Model::empty("m", 1)).unwrap());
    }
}
