//! The state of the optimiser as named arrays, to be written down and taken up again.
//!
//! Perturbed points are left out: a state is taken between two steps, and each step makes them anew.

use super::state::{Slot, values, values_mut};
use super::{Safe, SafeError, Scalar};

/// An array of the state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Saved<'a, T> {
    /// What it is of its parameter: `x`, `z`, `u`, `momentum`, `second_moment` or `average`.
    pub kind: &'static str,
    /// The parameter.
    pub parameter: &'a str,
    /// The dimensions of the parameter.
    pub dims: &'a [usize],
    /// The values, row-major.
    pub values: &'a [T],
}

impl<T: Scalar> Slot<T> {
    /// The arrays that there are, by kind; those that the settings do not need are empty.
    fn kinds(&self) -> [(&'static str, &[T]); 6] {
        let (z, u) = self.split.as_ref().map_or((&[][..], &[][..]), |split| (&split.z, &split.u));
        [
            ("x", values(&self.x)),
            ("z", z),
            ("u", u),
            ("momentum", &self.momentum),
            ("second_moment", &self.second_moment),
            ("average", self.average.as_ref().map(values).unwrap_or_default()),
        ]
    }

    fn kinds_mut(&mut self) -> [(&'static str, &mut [T]); 6] {
        let (z, u) = match &mut self.split {
            Some(split) => (&mut split.z[..], &mut split.u[..]),
            None => (&mut [][..], &mut [][..]),
        };
        [
            ("x", values_mut(&mut self.x)),
            ("z", z),
            ("u", u),
            ("momentum", &mut self.momentum),
            ("second_moment", &mut self.second_moment),
            ("average", self.average.as_mut().map(values_mut).unwrap_or_default()),
        ]
    }
}

impl<T: Scalar> Safe<T> {
    /// All arrays of the state between two steps, parameter by parameter.
    pub fn saved(&self) -> Vec<Saved<'_, T>> {
        self.slots
            .iter()
            .flat_map(|slot| {
                slot.kinds()
                    .into_iter()
                    .filter(|(_, values)| !values.is_empty())
                    .map(|(kind, values)| Saved { kind, parameter: &slot.name, dims: slot.x.dims(), values })
            })
            .collect()
    }

    /// Takes a state up after `step` steps. `find` gives the array of a kind and a parameter.
    ///
    /// # Errors
    /// When an array is missing or of the wrong length; the state is then spoilt.
    pub fn restore(
        &mut self,
        step: usize,
        mut find: impl FnMut(&str, &str) -> Option<Vec<T>>,
    ) -> Result<(), SafeError> {
        for slot in &mut self.slots {
            let name = slot.name.clone();
            for (kind, place) in slot.kinds_mut().into_iter().filter(|(_, place)| !place.is_empty()) {
                let found = find(kind, &name).filter(|found| found.len() == place.len());
                let found = found.ok_or_else(|| SafeError::NotSaved { kind, name: name.clone() })?;
                place.copy_from_slice(&found);
            }
        }
        (self.step, self.ascended) = (step, false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::safe::{Base, LearningRate, Options, Parameter, Penalty, Threshold, Unstructured};

    fn options(base: Base) -> Options {
        let options = Options::images(0.1, Penalty::constant(0.5), 3, LearningRate::Constant(0.1));
        Options { base, average_decay: Some(0.9), clip_norm: Some(2.0), ..options }
    }

    fn start(base: Base) -> (Safe<f64>, Unstructured<f64>) {
        let mut projection = Unstructured::global(vec![0], 0.5, Threshold::Kept).unwrap();
        let parameters = vec![
            Parameter::new("a", vec![2, 2], vec![1.0, -2.0, 3.0, -4.0]).unwrap().split(),
            Parameter::new("b", vec![2], vec![0.5, 0.25]).unwrap(),
        ];
        (Safe::new(parameters, options(base), &mut projection).unwrap(), projection)
    }

    fn go_on(safe: &mut Safe<f64>, projection: &mut Unstructured<f64>, steps: usize) {
        for _ in 0..steps {
            let gradient = |values: &[f64]| values.iter().map(|x| x * x - 1.0).collect::<Vec<f64>>();
            safe.ascend(&[gradient(safe.x(0)), gradient(safe.x(1))]).unwrap();
            safe.descend(&[gradient(safe.perturbed(0)), gradient(safe.perturbed(1))]).unwrap();
            if safe.dual_is_due() {
                safe.dual_update(projection).unwrap();
            }
        }
    }

    #[test]
    fn a_restored_state_goes_on_as_the_old_one() {
        let adam = Base::Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.01 };
        for base in [Base::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.01 }, adam] {
            let (mut safe, mut projection) = start(base);
            go_on(&mut safe, &mut projection, 4);
            let saved: BTreeMap<(String, String), Vec<f64>> = safe
                .saved()
                .iter()
                .map(|saved| ((saved.kind.to_owned(), saved.parameter.to_owned()), saved.values.to_vec()))
                .collect();
            let find = |kind: &str, name: &str| saved.get(&(kind.to_owned(), name.to_owned())).cloned();
            let (mut again, mut other) = start(base);
            again.restore(4, find).unwrap();
            go_on(&mut safe, &mut projection, 5);
            go_on(&mut again, &mut other, 5);
            assert_eq!(safe.saved(), again.saved());
            assert_eq!(safe.steps_done(), again.steps_done());
        }
    }

    #[test]
    fn what_is_missing_or_does_not_fit_is_named() {
        let (mut safe, _) = start(Base::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 });
        let missing = safe.restore(1, |kind, name| (kind != "u" || name != "a").then(|| vec![0.0; 4]));
        assert_eq!(
            missing.unwrap_err().to_string(),
            "the saved state has no array u of parameter a that fits"
        );
    }
}
