//! A model compiled for one set of input shapes and outputs.

use std::sync::Arc;

use tract_onnx::tract_hir::infer::{InferenceFact, InferenceModel, InferenceModelExt as _};
use tract_onnx::tract_hir::internal::{
    IntoRunnable as _, OutletId, TValue, TVec, Tensor as TractTensor, TractErrorContext as _, TractResult,
    TypedSimplePlan,
};
use tract_onnx::tract_hir::ops::konst::Const;

use super::values::{datum_type, to_tract};
use crate::engine::{Slice, View};
use crate::tensor::{DType, Values};

/// What the graph of a model gives to its plans.
#[derive(Debug)]
pub(super) struct Template {
    /// The graph, with every input that a caller may set as a source.
    pub(super) model: InferenceModel,
    /// The source of each input.
    pub(super) inputs: Vec<OutletId>,
    /// The default of each input, where it has one.
    pub(super) defaults: Vec<Option<Arc<TractTensor>>>,
    /// Whether plans are optimised.
    pub(super) optimize: bool,
}

/// What a plan is made for: its inputs, and its outputs by number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Signature {
    inputs: Vec<Given>,
    outputs: Vec<usize>,
}

/// An input that a plan is made for.
#[derive(Debug, Clone, PartialEq)]
struct Given {
    number: usize,
    dtype: DType,
    dims: Vec<usize>,
    /// Its value, when the plan is made for that too.
    frozen: Option<Values>,
}

/// The most elements of an input that may be a shape, or indices like one.
const SHAPE_LIKE: usize = 16;

/// Whether an input may be a shape, or indices like one.
pub(super) fn is_shape_like(view: &View<'_>) -> bool {
    matches!(view.values(), Slice::I64(values) if values.len() <= SHAPE_LIKE && view.dims().len() <= 1)
}

impl Signature {
    /// The signature of these inputs and outputs; with `freeze`, inputs that may be shapes are part of it by value,
    /// because the runtime must know shapes when it compiles.
    pub(super) fn new(inputs: &[(usize, View<'_>)], outputs: &[usize], freeze: bool) -> Self {
        let given = |&(number, view): &(usize, View<'_>)| Given {
            number,
            dtype: view.dtype(),
            dims: view.dims().to_vec(),
            frozen: (freeze && is_shape_like(&view)).then(|| view.values().into()),
        };
        Self { inputs: inputs.iter().map(given).collect(), outputs: outputs.to_vec() }
    }

    /// Whether it is the signature of these inputs and outputs.
    pub(super) fn fits(&self, inputs: &[(usize, View<'_>)], outputs: &[usize]) -> bool {
        self.outputs == outputs
            && self.inputs.len() == inputs.len()
            && self.inputs.iter().zip(inputs).all(|(given, (number, view))| {
                given.number == *number
                    && given.dtype == view.dtype()
                    && given.dims == view.dims()
                    && given.frozen.as_ref().is_none_or(|values| *values == Values::from(view.values()))
            })
    }
}

/// A compiled model.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) signature: Signature,
    runnable: Arc<TypedSimplePlan>,
}

impl Plan {
    /// Compiles the model for `signature`.
    pub(super) fn new(template: &Template, signature: Signature) -> TractResult<Self> {
        let mut model = template.model.clone();
        let mut constants = template.defaults.clone();
        let mut sources = Vec::with_capacity(signature.inputs.len());
        for Given { number, dtype, dims, frozen } in &signature.inputs {
            let outlet = template.inputs[*number];
            constants[*number] = None;
            if let Some(values) = frozen {
                let value =
                    to_tract(View::new(dims, values)?).with_context(|| format!("no tensors of {dtype}"))?;
                constants[*number] = Some(Arc::new(value?));
            } else {
                let datum = datum_type(*dtype).with_context(|| format!("no tensors of {dtype}"))?;
                model.set_outlet_fact(outlet, InferenceFact::dt_shape(datum, dims))?;
                sources.push(outlet);
            }
        }
        for (outlet, constant) in template.inputs.iter().zip(constants) {
            if let Some(tensor) = constant {
                model.set_outlet_fact(*outlet, InferenceFact::try_from(&tensor)?)?;
                model.node_mut(outlet.node).op = Box::new(Const::new(tensor)?);
            }
        }
        model.set_input_outlets(&sources)?;
        let outputs: Vec<OutletId> =
            signature.outputs.iter().map(|&number| template.model.outputs[number]).collect();
        model.select_output_outlets(&outputs)?;
        let typed = model.into_typed()?;
        let runnable = if template.optimize { typed.into_optimized()? } else { typed }.into_runnable()?;
        Ok(Self { signature, runnable })
    }

    /// Runs it on `inputs`, one for each of its signature in that order; gives the outputs in the signature's order.
    pub(super) fn run(&self, inputs: Vec<TractTensor>) -> TractResult<TVec<TValue>> {
        let given = self.signature.inputs.iter().zip(inputs);
        let free = given.filter(|(given, _)| given.frozen.is_none()).map(|(_, tensor)| TValue::from(tensor));
        self.runnable.run(free.collect())
    }
}
