//! A model compiled for one set of input shapes and outputs.

use std::sync::Arc;

use tract_onnx::tract_hir::infer::{InferenceFact, InferenceModel, InferenceModelExt as _};
use tract_onnx::tract_hir::internal::{
    IntoRunnable as _, OutletId, TValue, TVec, Tensor as TractTensor, TractErrorContext as _, TractResult,
    TypedSimplePlan,
};
use tract_onnx::tract_hir::ops::konst::Const;

use super::values::datum_type;
use crate::engine::View;
use crate::tensor::DType;

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

/// The inputs that a plan is made for, by number, with their element types and dimensions, and its outputs by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    inputs: Vec<(usize, DType, Vec<usize>)>,
    outputs: Vec<usize>,
}

impl Signature {
    pub(super) fn new(inputs: &[(usize, View<'_>)], outputs: &[usize]) -> Self {
        let inputs =
            inputs.iter().map(|(number, view)| (*number, view.dtype(), view.dims().to_vec())).collect();
        Self { inputs, outputs: outputs.to_vec() }
    }

    /// Whether it is the signature of these inputs and outputs.
    pub(super) fn fits(&self, inputs: &[(usize, View<'_>)], outputs: &[usize]) -> bool {
        self.outputs == outputs
            && self.inputs.len() == inputs.len()
            && self.inputs.iter().zip(inputs).all(|((number, dtype, dims), (other, view))| {
                number == other && *dtype == view.dtype() && dims == view.dims()
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
        let mut given = vec![false; template.inputs.len()];
        let mut sources = Vec::with_capacity(signature.inputs.len());
        for (number, dtype, dims) in &signature.inputs {
            let datum = datum_type(*dtype).with_context(|| format!("no tensors of {dtype}"))?;
            let outlet = template.inputs[*number];
            model.set_outlet_fact(outlet, InferenceFact::dt_shape(datum, dims))?;
            given[*number] = true;
            sources.push(outlet);
        }
        // An input that is left out becomes the constant of its default.
        for ((outlet, default), given) in template.inputs.iter().zip(&template.defaults).zip(given) {
            if let Some(tensor) = default
                && !given
            {
                model.node_mut(outlet.node).op = Box::new(Const::new(Arc::clone(tensor))?);
                model.set_outlet_fact(*outlet, InferenceFact::try_from(tensor)?)?;
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

    /// Runs it on the inputs of its signature, in that order; gives the outputs in the signature's order.
    pub(super) fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.runnable.run(inputs)
    }
}
