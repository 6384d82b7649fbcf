//! Watching every value of a graph while an engine runs it.
//!
//! Values are not handed out themselves, only their shapes (a `Shape` node each), so that a run needs no more
//! memory than it does for its own sake; integers and numbers computed from constants are small and handed out whole.
//! Large weights are inputs of these runs: loading is quick, and their bytes are in memory once. An engine that does
//! not take a model in this form gets it as it is, with values exposed part by part.

use std::collections::{BTreeMap, BTreeSet};

use super::{Probe, TraceError};
use crate::engine::{Arg, Engine, EngineError, LoadOptions, Port, Session, Slice, View, load_model};
use crate::ir::{DeclaredDim, Graph, Initializer, Model, NodeSpec, ValueId};
use crate::tensor::{DType, Tensor};

/// Values exposed in one run; more would keep too many activations alive at once.
const EXPOSED: usize = 512;
/// Integer tensors up to this many elements are remembered, and weights up to this many stay in the graph: they may
/// be the shapes and indices that a runtime wants to know when it loads a model.
pub(super) const SMALL: usize = 4096;

/// What a run told of one value.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) dtype: DType,
    pub(super) dims: Vec<usize>,
    /// The values of a small integer tensor.
    pub(super) ints: Option<Vec<i64>>,
    /// The values of a small float tensor that was asked for.
    pub(super) floats: Option<Tensor>,
}

impl Seen {
    pub(super) fn whole(tensor: &Tensor, constant: bool) -> Self {
        Self {
            dtype: tensor.dtype(),
            dims: tensor.dims().to_vec(),
            ints: (tensor.len() <= SMALL).then(|| tensor.to_i64().ok()).flatten(),
            floats: (constant && tensor.dtype().is_float()).then(|| tensor.clone()),
        }
    }
}

/// A graph whose values are watched.
pub(super) struct Watch<'a> {
    model: &'a Model,
    engine: &'a dyn Engine,
    options: LoadOptions,
    /// Float values that are wanted whole, by number.
    constants: Vec<bool>,
    shapes: Option<Shapes>,
}

/// The values of a large initializer.
enum Weight {
    /// Used where they are stored.
    Stored(Box<Initializer>, Vec<usize>),
    /// Decoded, since they are stored in a way that a runtime cannot read.
    Decoded(Tensor),
}

impl Weight {
    fn of(initializer: Initializer) -> Result<Self, EngineError> {
        initializer.check().map_err(|reason| initializer.fail(reason))?;
        let dims = initializer.dims();
        Ok(match stored(&initializer, &dims) {
            Some(_) => Self::Stored(Box::new(initializer), dims),
            None => Self::Decoded(initializer.tensor()?),
        })
    }

    fn arg(&self) -> Option<Arg<'_>> {
        Some(match self {
            Self::Stored(initializer, dims) => Arg::Host(stored(initializer, dims)?),
            Self::Decoded(tensor) => Arg::from(tensor),
        })
    }

    fn release(&self) {
        if let Self::Stored(initializer, _) = self {
            initializer.release();
        }
    }
}

/// The stored values, if they lie in memory as a runtime reads them.
fn stored<'a>(initializer: &'a Initializer, dims: &'a [usize]) -> Option<View<'a>> {
    let values = Slice::from_stored(initializer.dtype()?, initializer.raw()?)?;
    View::new(dims, values).ok()
}

/// A session that gives the shapes of all values.
struct Shapes {
    session: Box<dyn Session>,
    /// The value of each output, and its type where the output is its shape only.
    outputs: Vec<(ValueId, Option<DType>)>,
    weights: Vec<(String, Weight)>,
    /// Whether it ran once: if it fails then, the model does not take the inputs.
    ran: bool,
}

impl<'a> Watch<'a> {
    /// Values of `model` watched on `engine`. `constants` says which float values are wanted whole.
    pub(super) fn new(
        model: &'a Model,
        engine: &'a dyn Engine,
        options: LoadOptions,
        constants: Vec<bool>,
    ) -> Self {
        let mut watch = Self { model, engine, options, constants, shapes: None };
        watch.shapes = watch.shapes_session(&BTreeSet::new()).ok().flatten();
        watch
    }

    /// All values that nodes and callers make, seen in one run on the inputs of `probe`.
    ///
    /// # Errors
    /// When the model does not run on these inputs.
    pub(super) fn run(&mut self, probe: &Probe) -> Result<Vec<(ValueId, Seen)>, TraceError> {
        let mut found: Vec<(ValueId, Seen)> = probe
            .tensors
            .iter()
            .filter_map(|(name, tensor)| Some((self.model.graph.find(name)?, Seen::whole(tensor, false))))
            .collect();
        let failed = |error: EngineError| match error {
            EngineError::Model(error) => TraceError::Ir(error),
            source => TraceError::Run { shapes: probe.describe(), source },
        };
        match self.run_shapes(probe) {
            Some(Ok(seen)) => {
                found.extend(seen);
                return Ok(found);
            }
            Some(Err(error)) if self.shapes.as_ref().is_some_and(|shapes| shapes.ran) => {
                return Err(failed(error));
            }
            Some(Err(_)) => self.shapes = None,
            None => {}
        }
        for part in made_values(&self.model.graph).chunks(EXPOSED) {
            let tensors = self.exposed(probe, part).map_err(failed)?;
            let seen =
                |(&id, tensor): (&ValueId, &Tensor)| (id, Seen::whole(tensor, self.constants[id.index()]));
            found.extend(part.iter().zip(&tensors).map(seen));
        }
        Ok(found)
    }

    /// Lets go of the memory that large weights take.
    pub(super) fn release(&self) {
        for (_, weight) in self.shapes.iter().flat_map(|shapes| &shapes.weights) {
            weight.release();
        }
    }

    /// The same, if the engine tells the types of values; else nothing.
    pub(super) fn run_shapes(&mut self, probe: &Probe) -> Option<Result<Vec<(ValueId, Seen)>, EngineError>> {
        let shapes = self.shapes.as_mut()?;
        let mut result = shapes.run(probe);
        if let (Ok(seen), false) = (&result, shapes.ran) {
            shapes.ran = true;
            let small = small_integers(seen);
            if !small.is_empty()
                && let Ok(Some(mut shapes)) = self.shapes_session(&small)
            {
                result = shapes.run(probe);
                shapes.ran = true;
                self.shapes = Some(shapes);
            }
        }
        Some(result)
    }

    /// A session that gives shapes, and the contents of integer tensors that are `small`, or of few elements by what
    /// the engine tells. Nothing when it does not tell the types of values.
    fn shapes_session(&self, small: &BTreeSet<ValueId>) -> Result<Option<Shapes>, EngineError> {
        let mut open = self.model.clone();
        let weights = take_weights(&mut open.graph)?;
        let made = made_values(&open.graph);
        show(&mut open.graph, made.clone());
        let types = load_model(self.engine, &self.options, &open)?;
        let ports: BTreeMap<&str, &Port> =
            types.outputs().iter().map(|port| (port.name.as_str(), port)).collect();
        if ports.values().all(|port| port.dtype.is_none()) {
            return Ok(None);
        }
        let mut outputs = Vec::new();
        let mut shown = Vec::new();
        // ONNX Runtime runs what nothing depends on from the last such node to the first. The shapes of early values
        // come last, so that these need not stay in memory until everything else was run.
        for id in made.into_iter().rev() {
            let name = open.graph.value(id).name().to_owned();
            // What is no tensor has no shape.
            let Some(&port) = ports.get(name.as_str()) else { continue };
            let Some(dtype) = port.dtype else { continue };
            let whole = if dtype.is_float() {
                self.constants[id.index()]
            } else {
                dtype != DType::String && (is_small(port) || small.contains(&id))
            };
            if whole {
                outputs.push((id, None));
                shown.push(id);
            } else {
                outputs.push((id, Some(dtype)));
                shown.push(open.graph.add(&format!("{name}/shape"), NodeSpec::new("Shape", &[id])));
            }
        }
        show(&mut open.graph, shown);
        let session = load_model(self.engine, &self.options, &open)?;
        let weights = weights
            .into_iter()
            .filter(|(name, _)| session.inputs().iter().any(|port| port.name == *name))
            .collect();
        Ok(Some(Shapes { session, outputs, weights, ran: false }))
    }

    fn exposed(&self, probe: &Probe, ids: &[ValueId]) -> Result<Vec<Tensor>, EngineError> {
        let mut open = self.model.clone();
        show(&mut open.graph, ids.to_vec());
        let mut session = load_model(self.engine, &self.options, &open)?;
        let given = given(&*session, &probe.tensors);
        session.run(&given)
    }
}

impl Shapes {
    fn run(&mut self, probe: &Probe) -> Result<Vec<(ValueId, Seen)>, EngineError> {
        let given = given(&*self.session, &probe.tensors);
        let mut args: Vec<(&str, Arg<'_>)> =
            given.into_iter().map(|(name, tensor)| (name, Arg::from(tensor))).collect();
        args.extend(self.weights.iter().filter_map(|(name, weight)| Some((name.as_str(), weight.arg()?))));
        let tensors = self.session.run_on(&args)?;
        let seen = |(&(id, dtype), tensor): (&(ValueId, Option<DType>), &Tensor)| match dtype {
            None => Some((id, Seen::whole(tensor, true))),
            Some(dtype) => {
                let dims: Option<Vec<usize>> =
                    tensor.to_i64().ok()?.into_iter().map(|dim| usize::try_from(dim).ok()).collect();
                Some((id, Seen { dtype, dims: dims?, ints: None, floats: None }))
            }
        };
        Ok(self.outputs.iter().zip(&tensors).filter_map(seen).collect())
    }
}

/// Whether an engine knows of a tensor that it has few elements, or no more than one axis.
fn is_small(port: &Port) -> bool {
    let Some(dims) = &port.dims else { return true };
    dims.len() < 2
        || dims
            .iter()
            .try_fold(1, |count: usize, dim| Some(count.saturating_mul((*dim)?)))
            .is_some_and(|count| count <= SMALL)
}

/// Tensors of few integers whose contents were not given.
fn small_integers(seen: &[(ValueId, Seen)]) -> BTreeSet<ValueId> {
    let counted = seen.iter().filter(|(_, seen)| {
        let whole = seen.dtype.is_integer() || seen.dtype == DType::Bool;
        whole && seen.ints.is_none() && seen.dims.iter().product::<usize>() <= SMALL
    });
    counted.map(|(id, _)| *id).collect()
}

fn made_values(graph: &Graph) -> Vec<ValueId> {
    graph.nodes().flat_map(|(_, node)| node.outputs.iter().flatten().copied()).collect()
}

/// Makes `ids` the outputs, without their declared types: these may be wrong, the runtime finds the true ones.
pub(super) fn show(graph: &mut Graph, ids: Vec<ValueId>) {
    for &id in &ids {
        graph.undeclare(id);
    }
    graph.set_outputs(ids);
    crate::ir::drop_unused(graph);
}

pub(super) fn given<'p>(
    session: &dyn Session,
    tensors: &'p [(String, Tensor)],
) -> Vec<(&'p str, &'p Tensor)> {
    let known = |name: &str| session.inputs().iter().any(|port| port.name == name);
    tensors.iter().filter(|(name, _)| known(name)).map(|(name, tensor)| (name.as_str(), tensor)).collect()
}

/// Turns the large initializers of a graph into inputs and returns their values.
fn take_weights(graph: &mut Graph) -> Result<Vec<(String, Weight)>, EngineError> {
    let large: Vec<ValueId> = graph
        .initializers()
        .filter(|(_, weight)| weight.count() > SMALL && weight.dtype().is_some_and(DType::is_float))
        .map(|(id, _)| id)
        .collect();
    let mut weights = Vec::with_capacity(large.len());
    for id in large {
        let Some(weight) = graph.remove_initializer(id) else { continue };
        let Some(dtype) = weight.dtype() else { continue };
        let dims: Vec<DeclaredDim> = weight.dims().iter().map(|&dim| DeclaredDim::Fixed(dim)).collect();
        graph.add_input(id, dtype, &dims);
        weights.push((graph.value(id).name().to_owned(), Weight::of(weight)?));
    }
    Ok(weights)
}
