//! Inputs to run a model on, made from its declared input types.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{is_free, random_tensor};
use crate::ir::{DeclaredDim, Graph};
use crate::tensor::{Random, Tensor};

/// Why no input could be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShapeError {
    /// The input is no tensor of a known type and rank.
    #[error("input `{name}`: {reason}; declare it in the model, or give --shape {name}=DIMS")]
    Input {
        /// Name of the input.
        name: String,
        /// What is missing.
        reason: String,
    },
    /// A shape on the command line does not fit the model.
    #[error("--shape {name}={dims:?}: {reason}")]
    Given {
        /// Name of the input.
        name: String,
        /// The dimensions given.
        dims: Vec<usize>,
        /// Why they do not fit.
        reason: String,
    },
    /// A shape on the command line cannot be read.
    #[error(
        "`{text}` is no shape: write NAME=DIMS with dimensions like 1x3x224x224, or NAME=SIZE for a named dimension"
    )]
    Syntax {
        /// What was given.
        text: String,
    },
}

/// What is said of the sizes of free dimensions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputShapes {
    /// All dimensions of an input, by its name.
    inputs: BTreeMap<String, Vec<usize>>,
    /// The size of a named dimension.
    dims: BTreeMap<String, usize>,
    batch: Option<usize>,
}

/// Reads `NAME=1x3x224x224` (or with commas), or `NAME=8` for a named dimension or a 1-D input.
///
/// # Errors
/// When the text has another form.
pub fn parse_shape(text: &str) -> Result<(String, Vec<usize>), ShapeError> {
    let fail = || ShapeError::Syntax { text: text.to_owned() };
    let (name, dims) = text.rsplit_once('=').ok_or_else(fail)?;
    let dims = dims
        .split(['x', ','])
        .map(|dim| dim.trim().parse::<usize>().ok().filter(|&dim| dim > 0))
        .collect::<Option<Vec<usize>>>()
        .ok_or_else(fail)?;
    if name.is_empty() { Err(fail()) } else { Ok((name.to_owned(), dims)) }
}

impl InputShapes {
    /// The shapes that the user gave, each for an input or a named dimension of `graph`.
    ///
    /// # Errors
    /// When a name is neither, or the dimensions contradict the model's.
    pub fn new(graph: &Graph, given: &[(String, Vec<usize>)]) -> Result<Self, ShapeError> {
        let mut shapes = Self::default();
        for (name, dims) in given {
            let fail = |reason: String| ShapeError::Given { name: name.clone(), dims: dims.clone(), reason };
            let input = graph.required_inputs().find(|&id| graph.value(id).name() == name);
            if let Some(id) = input {
                let declared =
                    graph.value(id).declared().and_then(|declared| declared.dims).unwrap_or_default();
                let fits = declared.is_empty()
                    || (declared.len() == dims.len()
                        && declared
                            .iter()
                            .zip(dims)
                            .all(|(want, have)| !matches!(want, DeclaredDim::Fixed(size) if size != have)));
                if !fits {
                    return Err(fail(format!("the model declares {declared:?}")));
                }
                shapes.inputs.insert(name.clone(), dims.clone());
            } else if let ([size], true) = (dims.as_slice(), names_dim(graph, name)) {
                shapes.dims.insert(name.clone(), *size);
            } else {
                let known: Vec<&str> = graph.required_inputs().map(|id| graph.value(id).name()).collect();
                return Err(fail(format!(
                    "the model has no such input or named dimension; its inputs are {known:?}"
                )));
            }
        }
        Ok(shapes)
    }

    /// The same with a batch size.
    #[must_use]
    pub fn with_batch(&self, batch: usize) -> Self {
        Self { batch: Some(batch), ..self.clone() }
    }

    /// The same with the batch size of a probe.
    pub(super) fn fixed_like(&self, probe: &Probe) -> Self {
        Self { batch: probe.batch, ..self.clone() }
    }
}

fn names_dim(graph: &Graph, name: &str) -> bool {
    graph.required_inputs().any(|id| {
        let dims = graph.value(id).declared().and_then(|declared| declared.dims).unwrap_or_default();
        dims.contains(&DeclaredDim::Named(name.to_owned()))
    })
}

/// One set of inputs.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The inputs by name, in the order of the model.
    pub tensors: Vec<(String, Tensor)>,
    /// The batch size, where the first dimension of the inputs is free.
    pub batch: Option<usize>,
}

impl Probe {
    /// The variant in which every free dimension differs from variant 0.
    pub const ALL_FREE: usize = 1;
    /// The last variant: only the batch and the contents differ. For models that do not take every size.
    pub const VARIANTS: usize = 2;

    /// Inputs for `graph`. Variant 0 is the base; the others differ in contents and in free dimensions.
    ///
    /// # Errors
    /// When an input has no known type or rank.
    pub fn new(graph: &Graph, shapes: &InputShapes, variant: usize) -> Result<Self, ShapeError> {
        let mut random = Random::fork(variant as u64, "probe");
        let mut tensors = Vec::new();
        let mut batch = None;
        for id in graph.required_inputs() {
            let value = graph.value(id);
            let fail =
                |reason: &str| ShapeError::Input { name: value.name().to_owned(), reason: reason.to_owned() };
            let declared = value.declared().ok_or_else(|| fail("it is not declared as a tensor"))?;
            let dtype = declared.dtype.ok_or_else(|| fail("its element type is not supported"))?;
            let dims = match (shapes.inputs.get(value.name()), declared.dims) {
                (given, Some(declared)) => {
                    if declared.first().is_some_and(is_free) {
                        let base = given.map(|dims| dims[0]).or(shapes.batch).unwrap_or(2);
                        batch = Some(base);
                    }
                    declared
                        .iter()
                        .enumerate()
                        .map(|(axis, dim)| {
                            let given = given.and_then(|dims| dims.get(axis)).copied();
                            size(dim, axis, declared.len(), given, shapes, variant)
                        })
                        .collect()
                }
                (Some(given), None) => given.clone(),
                (None, None) => return Err(fail("its rank is not known")),
            };
            let tensor = random_tensor(dtype, &dims, &mut random)
                .ok_or_else(|| fail("no values of its type can be made up"))?;
            tensors.push((value.name().to_owned(), tensor));
        }
        Ok(Self { tensors, batch })
    }

    pub(super) fn same_shapes(&self, other: &Self) -> bool {
        self.tensors.iter().zip(&other.tensors).all(|((_, a), (_, b))| a.dims() == b.dims())
    }

    /// The shapes in words.
    pub fn describe(&self) -> String {
        let one =
            |(name, tensor): &(String, Tensor)| format!("{name} {} {:?}", tensor.dtype(), tensor.dims());
        self.tensors.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

fn size(
    dim: &DeclaredDim,
    axis: usize,
    rank: usize,
    given: Option<usize>,
    shapes: &InputShapes,
    variant: usize,
) -> usize {
    let name = match dim {
        DeclaredDim::Fixed(size) => return *size,
        DeclaredDim::Named(name) => name.as_str(),
        DeclaredDim::Free => "",
    };
    let known = given.or_else(|| shapes.dims.get(name).copied());
    if axis == 0 {
        let base = known.or(shapes.batch).unwrap_or(2);
        return if variant == 0 { base } else { base + 1 };
    }
    let base = known.unwrap_or(if rank >= 4 { 64 } else { 16 });
    // Image sides keep a factor of 32, which strides of the usual networks need.
    let step = if rank >= 4 { 32 } else { 1 };
    if variant == Probe::ALL_FREE { base + step } else { base }
}
