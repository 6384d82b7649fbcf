//! The sums from which loss and accuracy come.

use super::eval::Evaluation;
use super::tool::ToolError;
use crate::data::IGNORED;
use crate::tensor::{Tensor, TensorError};

/// How far the sum of probabilities may be from 1.
const ROUNDING: f64 = 1e-3;
/// The least probability of which a logarithm is taken.
const LEAST: f64 = 1e-12;

/// Sums over positions. Whether outputs are probabilities is known when all were seen, so both losses are summed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum {
    positions: usize,
    right: usize,
    from_logits: f64,
    from_probabilities: f64,
    all_probabilities: bool,
    values: usize,
    squares: f64,
}

impl Default for Sum {
    fn default() -> Self {
        Self {
            positions: 0,
            right: 0,
            from_logits: 0.0,
            from_probabilities: 0.0,
            all_probabilities: true,
            values: 0,
            squares: 0.0,
        }
    }
}

impl Sum {
    pub(super) fn evaluation(&self, samples: usize) -> Evaluation {
        let over = |sum: f64, count: usize| (count > 0).then(|| sum / count as f64);
        let cross_entropy = if self.all_probabilities { self.from_probabilities } else { self.from_logits };
        Evaluation {
            loss: over(cross_entropy, self.positions).or(over(self.squares, self.values)),
            accuracy: over(self.right as f64, self.positions),
            samples,
        }
    }

    fn row(&mut self, row: &[f64], label: usize) {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = row.iter().map(|value| (value - largest).exp()).sum();
        self.positions += 1;
        self.from_logits += largest + total.ln() - row[label];
        self.from_probabilities -= row[label].max(LEAST).ln();
        self.all_probabilities &= row.iter().all(|value| (0.0..=1.0).contains(value))
            && (row.iter().sum::<f64>() - 1.0).abs() <= ROUNDING;
        // The first of several largest values counts, as with argmax.
        let best = row.iter().position(|&value| value == largest);
        self.right += usize::from(best == Some(label));
    }
}

fn unfit(values: &Tensor, target: &Tensor) -> ToolError {
    ToolError::Setting {
        place: format!("targets {:?}", target.dims()),
        problem: format!("they do not fit the output {:?}", values.dims()),
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>, ToolError> {
    tensor.to_f64().map_err(|error: TensorError| ToolError::Setting {
        place: "output".to_owned(),
        problem: error.to_string(),
    })
}

/// Adds the samples at `positions`, the first ones of the run; more rows are copies and do not count.
pub(super) fn add(
    sum: &mut Sum,
    values: &Tensor,
    target: &Tensor,
    class_axis: usize,
    positions: &[usize],
) -> Result<(), ToolError> {
    let outputs = numbers(values)?;
    let dims = values.dims();
    let rows = target.dims().first().copied().unwrap_or(0);
    if rows == 0 || dims.first() != Some(&rows) {
        return Err(unfit(values, target));
    }
    if target.dtype().is_float() {
        let wanted = numbers(target)?;
        if wanted.len() != outputs.len() {
            return Err(unfit(values, target));
        }
        let count = outputs.len() / rows * positions.len();
        sum.values += count;
        let pairs = outputs.iter().zip(&wanted).take(count);
        sum.squares += pairs.map(|(value, wanted)| (value - wanted).powi(2)).sum::<f64>();
        return Ok(());
    }
    let labels = target.to_i64().unwrap_or_default();
    let Some(&classes) = dims.get(class_axis).filter(|&&classes| classes > 0) else {
        return Err(unfit(values, target));
    };
    if labels.len() * classes != outputs.len() {
        return Err(unfit(values, target));
    }
    let inner: usize = dims[class_axis + 1..].iter().product();
    let per_sample = labels.len() / rows;
    let mut row = vec![0.0; classes];
    for (place, &label) in labels.iter().enumerate().take(per_sample * positions.len()) {
        if label == IGNORED {
            continue;
        }
        let sample = positions[place / per_sample];
        let Some(label) = usize::try_from(label).ok().filter(|&label| label < classes) else {
            return Err(ToolError::Label { sample, label, last: classes - 1 });
        };
        let start = place / inner * classes * inner + place % inner;
        for (class, value) in row.iter_mut().enumerate() {
            *value = outputs[start + class * inner];
        }
        sum.row(&row, label);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(
        values: Tensor,
        target: Tensor,
        axis: usize,
        positions: &[usize],
    ) -> Result<Evaluation, ToolError> {
        let mut sum = Sum::default();
        add(&mut sum, &values, &target, axis, positions)?;
        Ok(sum.evaluation(positions.len()))
    }

    fn tensor(dims: &[usize], values: &[f32]) -> Tensor {
        Tensor::new(dims.to_vec(), values.to_vec()).unwrap()
    }

    #[test]
    fn logits_large_enough_to_overflow_have_a_loss() {
        let found =
            scored(tensor(&[2, 2], &[1e4, 0.0, 0.0, 1e4]), Tensor::vector(vec![0_i64, 0]), 1, &[0, 1]);
        let found = found.unwrap();
        assert_eq!((found.loss, found.accuracy), (Some(5e3), Some(0.5)));
    }

    #[test]
    fn probabilities_are_told_from_logits() {
        let labels = || Tensor::vector(vec![1_i64]);
        let loss = |row: &[f32]| scored(tensor(&[1, 2], row), labels(), 1, &[0]).unwrap().loss.unwrap();
        assert!((loss(&[0.75, 0.25]) - 4_f64.ln()).abs() < 1e-6, "probabilities");
        assert!((loss(&[0.75, 0.75]) - 2_f64.ln()).abs() < 1e-6, "logits that do not sum to 1");
    }

    #[test]
    fn every_position_counts_along_any_class_axis() {
        // [N, C, W] = [1, 2, 3]: classes by position are 0, 1, 1.
        let values = tensor(&[1, 2, 3], &[5.0, 0.0, 0.0, 0.0, 5.0, 5.0]);
        let labels = Tensor::new(vec![1, 3], vec![0_i64, 1, 0]).unwrap();
        assert_eq!(scored(values, labels.clone(), 1, &[0]).unwrap().accuracy, Some(2.0 / 3.0));
        let last = tensor(&[1, 3, 2], &[5.0, 0.0, 0.0, 5.0, 0.0, 5.0]);
        assert_eq!(scored(last, labels, 2, &[0]).unwrap().accuracy, Some(2.0 / 3.0));
    }

    #[test]
    fn copies_at_the_end_do_not_count() {
        let values = tensor(&[2, 2], &[1.0, 0.0, 0.0, 1.0]);
        let found = scored(values.clone(), Tensor::vector(vec![0_i64, 0]), 1, &[7]).unwrap();
        assert_eq!((found.accuracy, found.samples), (Some(1.0), 1));
        let found = scored(values, tensor(&[2, 2], &[0.0, 0.0, 9.0, 9.0]), 0, &[7]).unwrap();
        assert_eq!((found.loss, found.accuracy), (Some(0.5), None));
    }

    #[test]
    fn labels_outside_of_the_classes_are_named() {
        for label in [-1, 2] {
            let error =
                scored(tensor(&[1, 2], &[0.0, 1.0]), Tensor::vector(vec![label]), 1, &[7]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the label of sample 7 is {label}, but the model has the classes 0 to 1")
            );
        }
    }
}
