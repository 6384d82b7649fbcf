//! The state of the optimiser.

use std::collections::BTreeSet;

use super::{Options, Parameter, Projection, SafeError, Scalar, View};
use crate::tensor::Tensor;

/// All that belongs to one parameter. Buffers that the settings do not need are empty.
#[derive(Debug, Clone)]
pub(super) struct Slot<T> {
    pub(super) name: String,
    pub(super) decay: bool,
    pub(super) held: bool,
    pub(super) x: Tensor,
    pub(super) perturbed: Option<Tensor>,
    pub(super) split: Option<Split<T>>,
    pub(super) momentum: Vec<T>,
    pub(super) second_moment: Vec<T>,
    pub(super) average: Option<Tensor>,
}

/// The split variable and the scaled dual.
#[derive(Debug, Clone)]
pub(super) struct Split<T> {
    pub(super) z: Vec<T>,
    pub(super) u: Vec<T>,
}

/// The optimiser: parameters `x`, perturbed points, split variables `z`, scaled duals `u`, and moments.
///
/// Parameters are addressed by their position in the list given to [`Safe::new`]; a position past its end panics. `x`, the perturbed points and
/// the averages are kept as tensors, so that an engine can read them in place.
#[derive(Debug, Clone)]
pub struct Safe<T> {
    pub(super) options: Options,
    pub(super) slots: Vec<Slot<T>>,
    /// Steps done.
    pub(super) step: usize,
    pub(super) ascended: bool,
}

/// The values of a tensor that [`Safe::new`] has checked to be of type `T`.
pub(super) fn values<T: Scalar>(tensor: &Tensor) -> &[T] {
    T::slice(tensor.values()).unwrap_or_else(|| unreachable!("the constructor checks element types"))
}

/// As [`values`], to be changed in place.
pub(super) fn values_mut<T: Scalar>(tensor: &mut Tensor) -> &mut [T] {
    T::slice_mut(tensor.values_mut()).unwrap_or_else(|| unreachable!("the constructor checks element types"))
}

impl<T: Scalar> Safe<T> {
    /// The state before the first step: `z = P(x)`, `u = 0`.
    ///
    /// # Errors
    /// When an option is outside its range, a tensor is not of type `T`, two parameters have the same name, or the
    /// projection fails.
    pub fn new(
        parameters: Vec<Parameter>,
        options: Options,
        projection: &mut dyn Projection<T>,
    ) -> Result<Self, SafeError> {
        options.check()?;
        let mut names = BTreeSet::new();
        for parameter in &parameters {
            if let Err(source) = parameter.tensor.as_slice::<T>() {
                return Err(SafeError::Parameter { name: parameter.name.clone(), source });
            }
            if !names.insert(parameter.name.as_str()) {
                return Err(SafeError::DuplicateName { name: parameter.name.clone() });
            }
        }
        let slots = parameters.into_iter().map(|parameter| Slot::new(parameter, &options)).collect();
        let mut safe = Self { options, slots, step: 0, ascended: false };
        projection.project(&mut safe.split_views())?;
        Ok(safe)
    }

    /// Lets go of all parameters.
    pub(super) fn discard(&mut self) {
        self.slots = Vec::new();
    }

    /// Bytes of the state of parameters, of which each has a number of elements and may be split.
    pub fn state_bytes(options: &Options, parameters: impl IntoIterator<Item = (usize, bool)>) -> u64 {
        let moments = match options.base {
            super::Base::Adam { .. } => 2,
            super::Base::Sgd { .. } => usize::from(options.base.has_momentum()),
        };
        let whole =
            1 + usize::from(options.radius > 0.0) + moments + usize::from(options.average_decay.is_some());
        let arrays = |split: bool| whole + if split { 2 } else { 0 };
        let elements =
            parameters.into_iter().map(|(elements, split)| elements * arrays(split)).sum::<usize>();
        (elements * size_of::<T>()) as u64
    }

    /// The settings.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Steps done.
    pub fn steps_done(&self) -> usize {
        self.step
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        self.options.learning_rate.at(self.step)
    }

    /// The penalty of the next step.
    pub fn penalty(&self) -> f64 {
        self.options.penalty.at(self.step)
    }

    /// The name of a parameter.
    pub fn name(&self, index: usize) -> &str {
        &self.slots[index].name
    }

    /// `x`, row-major.
    pub fn x(&self, index: usize) -> &[T] {
        values(&self.slots[index].x)
    }

    /// `x`, to be bound to an engine.
    pub fn x_tensor(&self, index: usize) -> &Tensor {
        &self.slots[index].x
    }

    /// The point at which the gradient for [`Safe::descend`] must be taken: `x + rho * g / (||g|| + 1e-12)` since
    /// the last [`Safe::ascend`]; `x` itself when the radius is 0.
    pub fn perturbed(&self, index: usize) -> &[T] {
        values(self.perturbed_tensor(index))
    }

    /// The perturbed point, to be bound to an engine.
    pub fn perturbed_tensor(&self, index: usize) -> &Tensor {
        let slot = &self.slots[index];
        slot.perturbed.as_ref().unwrap_or(&slot.x)
    }

    /// The split variable `z`, if the parameter has one.
    pub fn split(&self, index: usize) -> Option<&[T]> {
        self.slots[index].split.as_ref().map(|split| split.z.as_slice())
    }

    /// The scaled dual `u`, if the parameter has one.
    pub fn dual(&self, index: usize) -> Option<&[T]> {
        self.slots[index].split.as_ref().map(|split| split.u.as_slice())
    }

    /// The momentum of SGD or the first moment of Adam; empty for SGD without momentum.
    pub fn momentum(&self, index: usize) -> &[T] {
        &self.slots[index].momentum
    }

    /// The second moment of Adam; empty for SGD.
    pub fn second_moment(&self, index: usize) -> &[T] {
        &self.slots[index].second_moment
    }

    /// The running average of `x`, if one is kept.
    pub fn average_tensor(&self, index: usize) -> Option<&Tensor> {
        self.slots[index].average.as_ref()
    }

    /// All parameters at `x`, in order.
    pub fn into_tensors(self) -> Vec<(String, Tensor)> {
        self.slots.into_iter().map(|slot| (slot.name, slot.x)).collect()
    }

    /// Views of the split variables.
    pub(super) fn split_views(&mut self) -> Vec<View<'_, T>> {
        let views = self.slots.iter_mut().enumerate().filter_map(|(index, slot)| {
            let split = slot.split.as_mut()?;
            Some(View { index, dims: slot.x.dims(), values: &mut split.z })
        });
        views.collect()
    }
}

impl<T: Scalar> Slot<T> {
    fn new(parameter: Parameter, options: &Options) -> Self {
        let Parameter { name, tensor: x, split, decay, held } = parameter;
        let zeros = |wanted: bool| vec![T::ZERO; if wanted { x.len() } else { 0 }];
        Self {
            name,
            decay,
            held,
            perturbed: (options.radius > 0.0).then(|| x.clone()),
            split: split.then(|| Split { z: values(&x).to_vec(), u: zeros(true) }),
            momentum: zeros(options.base.has_momentum()),
            second_moment: zeros(matches!(options.base, super::Base::Adam { .. })),
            average: options.average_decay.map(|_| x.clone()),
            x,
        }
    }
}
