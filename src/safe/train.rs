//! SAFE on a model: joins the arithmetic to an engine that runs the training graph.

use rayon::prelude::*;
use thiserror::Error;

use super::{Options, Parameter, Projection, Safe, SafeError, Saved};
use crate::autodiff::TrainingGraph;
use crate::engine::{Arg, ArgMut, Engine, EngineError, LoadOptions, Session, ViewMut, load_model};
use crate::ir::{DeclaredDim, Graph, IrError, ValueId};
use crate::tensor::Tensor;

/// Why a step failed.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The arithmetic.
    #[error("{0}; a smaller learning rate (--lr) may help")]
    Safe(#[from] SafeError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The graph.
    #[error(transparent)]
    Ir(#[from] IrError),
    /// The loss is not finite.
    #[error("the loss is {loss} at step {step}: training diverged; give a smaller learning rate with --lr")]
    Diverged {
        /// The loss.
        loss: f64,
        /// The step, counted from 0.
        step: usize,
    },
}

/// A tensor that travels between the optimiser and the engine under a name.
#[derive(Debug)]
struct Port {
    value: ValueId,
    name: String,
    tensor: Tensor,
    /// Whether the training graph takes it.
    given: bool,
}

/// A training graph on an engine, and the state of SAFE.
pub struct Trainer {
    /// Nothing after [`Trainer::discard`].
    session: Option<Box<dyn Session>>,
    safe: Safe<f32>,
    weights: Vec<ValueId>,
    gradients: Vec<Port>,
    /// Running statistics, and those of the last batch.
    running: Vec<Port>,
    own: Vec<Port>,
    momenta: Vec<f32>,
    inputs: Vec<String>,
    loss: Tensor,
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Trainer").field("weights", &self.weights.len()).finish_non_exhaustive()
    }
}

impl Trainer {
    /// Loads `graph`, the training graph of `forward`. The tensors of the weights marked in `split`, given by their place in `graph.gradients`, are
    /// those that `projection` makes sparse; weights of one dimension do not decay.
    ///
    /// # Errors
    /// When the graph cannot be loaded or the options do not fit.
    pub fn new(
        graph: &TrainingGraph,
        forward: &Graph,
        engine: &dyn Engine,
        load: &LoadOptions,
        options: Options,
        split: &[bool],
        projection: &mut dyn Projection<f32>,
    ) -> Result<Self, TrainError> {
        let mut model = graph.model.clone();
        let mut parameters = Vec::new();
        let mut gradients = Vec::new();
        for (place, &(weight, grad)) in graph.gradients.iter().enumerate() {
            let tensor = open_input(&mut model.graph, weight)?;
            let decays = tensor.dims().iter().filter(|&&dim| dim > 1).count() > 1;
            let mut parameter = Parameter::from_tensor(model.graph.value(weight).name(), tensor.clone());
            if split.get(place).copied().unwrap_or(false) {
                parameter = parameter.split();
            }
            parameters.push(if decays { parameter } else { parameter.without_decay() });
            let name = model.graph.value(grad).name().to_owned();
            gradients.push(Port { value: grad, name, tensor, given: false });
        }
        let (mut running, mut own, mut momenta) = (Vec::new(), Vec::new(), Vec::new());
        for statistic in &graph.statistics {
            // A graph that returns the batch's own statistics need not read the running ones.
            let given = model.graph.value(statistic.running).initializer().is_some();
            let tensor = if given {
                open_input(&mut model.graph, statistic.running)?
            } else {
                held(forward, statistic.running)?
            };
            let port = |value: ValueId| Port {
                value,
                name: model.graph.value(value).name().to_owned(),
                tensor: tensor.clone(),
                given,
            };
            own.push(port(statistic.updated));
            running.push(port(statistic.running));
            momenta.push(statistic.momentum);
        }
        let known: Vec<ValueId> = graph
            .gradients
            .iter()
            .map(|&(weight, _)| weight)
            .chain(running.iter().map(|port| port.value))
            .collect();
        let inputs = model
            .graph
            .required_inputs()
            .filter(|id| !known.contains(id))
            .map(|id| model.graph.value(id).name().to_owned())
            .collect();
        let load = LoadOptions { optimize: true, flush_denormals: true, ..*load };
        let session = load_model(engine, &load, &model)?;
        let safe = Safe::new(parameters, options, projection)?;
        let weights = graph.gradients.iter().map(|&(weight, _)| weight).collect();
        let loss = Tensor::scalar(0.0_f32);
        Ok(Self { session: Some(session), safe, weights, gradients, running, own, momenta, inputs, loss })
    }

    /// Lets go of the memory of session and state. Only [`Trainer::inputs`] works after that.
    pub fn discard(&mut self) {
        self.session = None;
        self.safe.discard();
        for port in self.gradients.drain(..).chain(self.running.drain(..)).chain(self.own.drain(..)) {
            drop(port);
        }
        self.weights.clear();
    }

    /// The names of the inputs that [`Trainer::step`] takes, in order: those of the model, then the loss's.
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// The state of SAFE.
    pub fn safe(&self) -> &Safe<f32> {
        &self.safe
    }

    /// One whole step on batches, whose gradients are averaged: the gradient at x, the ascent, the gradient at the
    /// perturbed point, the descent, and the dual update where it is due. Returns the mean loss at x. Running
    /// statistics follow the first gradient.
    ///
    /// # Errors
    /// When the engine fails, or the loss or a gradient is not finite.
    pub fn step(
        &mut self,
        batches: &[Vec<&Tensor>],
        projection: &mut dyn Projection<f32>,
    ) -> Result<f64, TrainError> {
        let loss = self.gradient(batches, false)?;
        if self.safe.options().radius > 0.0 {
            self.safe.ascend(&slices(&self.gradients))?;
            self.gradient(batches, true)?;
        }
        self.safe.descend(&slices(&self.gradients))?;
        if self.safe.dual_is_due() {
            self.safe.dual_update(projection)?;
        }
        Ok(loss)
    }

    /// The mean gradient over batches, left in the ports, and the mean loss at x; running statistics follow then.
    fn gradient(&mut self, batches: &[Vec<&Tensor>], perturbed: bool) -> Result<f64, TrainError> {
        let mut losses = 0.0;
        let mut sums: Vec<Vec<f32>> = Vec::new();
        for (number, batch) in batches.iter().enumerate() {
            self.run(batch, perturbed)?;
            if !perturbed {
                losses += self.follow()?;
            }
            if batches.len() == 1 {
                break;
            }
            if number == 0 {
                sums = slices(&self.gradients).into_iter().map(<[f32]>::to_vec).collect();
                continue;
            }
            for (sum, gradient) in sums.iter_mut().zip(slices(&self.gradients)) {
                sum.par_iter_mut().zip(gradient).for_each(|(sum, gradient)| *sum += gradient);
            }
        }
        let count = batches.len().max(1) as f32;
        for (port, sum) in self.gradients.iter_mut().zip(sums) {
            if let Ok(values) = port.tensor.as_mut_slice::<f32>() {
                values.par_iter_mut().zip(sum).for_each(|(value, sum)| *value = sum / count);
            }
        }
        Ok(losses / f64::from(count))
    }

    /// The loss of the last run; running statistics follow those of its batch.
    fn follow(&mut self) -> Result<f64, TrainError> {
        let loss = f64::from(
            self.loss.as_slice::<f32>().ok().and_then(|values| values.first().copied()).unwrap_or(0.0),
        );
        if !loss.is_finite() {
            return Err(TrainError::Diverged { loss, step: self.safe.steps_done() });
        }
        for (place, running) in self.running.iter_mut().enumerate() {
            let momentum = self.momenta[place];
            let own = numbers(&self.own[place].tensor);
            if let Ok(values) = running.tensor.as_mut_slice::<f32>() {
                for (value, own) in values.iter_mut().zip(own) {
                    *value = momentum * *value + (1.0 - momentum) * own;
                }
            }
        }
        Ok(loss)
    }

    /// One run of the training graph; gradients are written in place.
    fn run(&mut self, given: &[&Tensor], perturbed: bool) -> Result<(), EngineError> {
        let safe = &self.safe;
        let mut inputs: Vec<(&str, Arg<'_>)> =
            self.inputs.iter().zip(given).map(|(name, tensor)| (name.as_str(), Arg::from(*tensor))).collect();
        for index in 0..self.weights.len() {
            let point = if perturbed { safe.perturbed_tensor(index) } else { safe.x_tensor(index) };
            inputs.push((safe.name(index), Arg::from(point)));
        }
        let statistics = self.running.iter().filter(|port| port.given);
        inputs.extend(statistics.map(|port| (port.name.as_str(), Arg::from(&port.tensor))));
        let mut outputs: Vec<(&str, ArgMut<'_>)> = Vec::new();
        for port in &mut self.gradients {
            outputs.push((port.name.as_str(), ViewMut::from(&mut port.tensor).into()));
        }
        if !perturbed {
            outputs.push(("loss", ViewMut::from(&mut self.loss).into()));
            for port in &mut self.own {
                outputs.push((port.name.as_str(), ViewMut::from(&mut port.tensor).into()));
            }
        }
        match &mut self.session {
            Some(session) => session.run_into(&inputs, &mut outputs),
            None => Ok(()),
        }
    }

    /// The weights become their projection.
    ///
    /// # Errors
    /// When the projection fails.
    pub fn project(&mut self, projection: &mut dyn Projection<f32>) -> Result<(), TrainError> {
        Ok(self.safe.project(projection)?)
    }

    /// Runs the training graph on `batches` without moving weights, and sets the running statistics to the mean of
    /// the batches' own. Does nothing for a graph without such statistics.
    ///
    /// # Errors
    /// When a batch is an error, or the engine fails.
    pub fn reestimate_statistics<E: From<EngineError>>(
        &mut self,
        batches: impl Iterator<Item = Result<Vec<Tensor>, E>>,
    ) -> Result<(), E> {
        if self.running.is_empty() {
            return Ok(());
        }
        let mut sums: Vec<Vec<f64>> = self.running.iter().map(|port| vec![0.0; port.tensor.len()]).collect();
        let mut count = 0.0;
        for batch in batches {
            self.run(&batch?.iter().collect::<Vec<_>>(), false)?;
            count += 1.0;
            for (place, sum) in sums.iter_mut().enumerate() {
                for (sum, own) in sum.iter_mut().zip(numbers(&self.own[place].tensor)) {
                    *sum += f64::from(*own);
                }
            }
        }
        for (port, sum) in self.running.iter_mut().zip(&sums).filter(|_| count > 0.0) {
            if let Ok(values) = port.tensor.as_mut_slice::<f32>() {
                for (value, sum) in values.iter_mut().zip(sum) {
                    *value = (sum / count) as f32;
                }
            }
        }
        Ok(())
    }

    /// The state between two steps: that of SAFE, and the running statistics, of the kind `running`.
    pub fn saved(&self) -> Vec<Saved<'_, f32>> {
        let running = self.running.iter().map(|port| Saved {
            kind: "running",
            parameter: &port.name,
            dims: port.tensor.dims(),
            values: numbers(&port.tensor),
        });
        self.safe.saved().into_iter().chain(running).collect()
    }

    /// Takes a state up after `step` steps. `find` gives the array of a kind and a name.
    ///
    /// # Errors
    /// When an array is missing or of the wrong length; the state is then spoilt.
    pub fn restore(
        &mut self,
        step: usize,
        mut find: impl FnMut(&str, &str) -> Option<Vec<f32>>,
    ) -> Result<(), TrainError> {
        for port in &mut self.running {
            let found = find("running", &port.name).filter(|found| found.len() == port.tensor.len());
            let (Some(found), Ok(values)) = (found, port.tensor.as_mut_slice::<f32>()) else {
                return Err(SafeError::NotSaved { kind: "running", name: port.name.clone() }.into());
            };
            values.copy_from_slice(&found);
        }
        Ok(self.safe.restore(step, find)?)
    }

    /// Writes the weights and running statistics into `graph`, whose values have the ids of the training graph.
    pub fn store(&self, graph: &mut Graph) {
        self.store_by(graph, |index| self.safe.x_tensor(index));
    }

    /// As [`Trainer::store`], with the running average of the weights where one is kept.
    pub fn store_average(&self, graph: &mut Graph) {
        self.store_by(graph, |index| {
            self.safe.average_tensor(index).unwrap_or_else(|| self.safe.x_tensor(index))
        });
    }

    /// The weights become their running average, where one is kept.
    pub fn adopt_average(&mut self) {
        self.safe.adopt_average();
    }

    fn store_by<'t>(&'t self, graph: &mut Graph, tensor: impl Fn(usize) -> &'t Tensor) {
        for (index, &id) in self.weights.iter().enumerate() {
            graph.set_initializer(id, tensor(index));
        }
        for port in &self.running {
            graph.set_initializer(port.value, &port.tensor);
        }
    }
}

fn numbers(tensor: &Tensor) -> &[f32] {
    tensor.as_slice::<f32>().unwrap_or_default()
}

fn slices(ports: &[Port]) -> Vec<&[f32]> {
    ports.iter().map(|port| numbers(&port.tensor)).collect()
}

/// What an initializer holds.
fn held(graph: &Graph, id: ValueId) -> Result<Tensor, IrError> {
    let value = graph.value(id);
    let missing =
        || IrError::Tensor { name: value.name().to_owned(), reason: "it is no initializer".to_owned() };
    value.initializer().ok_or_else(missing)?.tensor()
}

/// Makes an initializer an input without default, and returns what it held.
fn open_input(graph: &mut Graph, id: ValueId) -> Result<Tensor, IrError> {
    let tensor = held(graph, id)?;
    graph.remove_initializer(id);
    let dims: Vec<DeclaredDim> = tensor.dims().iter().map(|&dim| DeclaredDim::Fixed(dim)).collect();
    graph.add_input(id, tensor.dtype(), &dims);
    Ok(tensor)
}
