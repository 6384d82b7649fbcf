//! The named inputs and outputs of a session, and the checks of what callers hand in.

use std::collections::BTreeMap;

use super::{Arg, ArgMut, EngineError, PortProblem, Side, Slice, View, ViewMut};
use crate::tensor::{DType, Tensor};

/// A named input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The name.
    pub name: String,
    /// The element type; nothing when it is no tensor, or a tensor of another type than [`DType`] has.
    pub dtype: Option<DType>,
    /// The dimensions, free ones as `None`; nothing when the number of dimensions is unknown. ONNX Runtime does
    /// not tell a scalar from an unknown number of dimensions: it gives nothing for both.
    pub dims: Option<Vec<Option<usize>>>,
    /// An input that may be left out, because an initializer gives its default. Outputs are never optional.
    pub optional: bool,
}

impl Port {
    /// Whether a tensor of `dtype` and `dims` fits.
    fn check(&self, dtype: DType, dims: &[usize]) -> Result<(), PortProblem> {
        if let Some(expected) = self.dtype
            && expected != dtype
        {
            return Err(PortProblem::DType { expected, found: dtype });
        }
        match &self.dims {
            Some(expected)
                if expected.len() != dims.len()
                    || expected
                        .iter()
                        .zip(dims)
                        .any(|(want, have)| want.is_some_and(|want| want != *have)) =>
            {
                Err(PortProblem::Dims { expected: expected.clone(), found: dims.to_vec() })
            }
            _ => Ok(()),
        }
    }
}

/// All ports of a session, with their names looked up fast.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    input_index: BTreeMap<String, usize>,
    output_index: BTreeMap<String, usize>,
}

fn index(ports: &[Port]) -> BTreeMap<String, usize> {
    ports.iter().enumerate().map(|(index, port)| (port.name.clone(), index)).collect()
}

fn wrong(side: Side, name: &str, problem: PortProblem) -> EngineError {
    EngineError::Port { side, name: name.to_owned(), problem }
}

/// The port called `name`: callers mostly keep the model's order, so the port at `hint` is tried first.
fn find(
    side: Side,
    ports: &[Port],
    index: &BTreeMap<String, usize>,
    hint: usize,
    name: &str,
) -> Result<usize, EngineError> {
    if ports.get(hint).is_some_and(|port| port.name == name) {
        return Ok(hint);
    }
    index.get(name).copied().ok_or_else(|| {
        wrong(
            side,
            name,
            PortProblem::Unknown { known: ports.iter().map(|port| port.name.clone()).collect() },
        )
    })
}

impl Ports {
    pub(super) fn new(inputs: Vec<Port>, outputs: Vec<Port>) -> Self {
        Self { input_index: index(&inputs), output_index: index(&outputs), inputs, outputs }
    }

    /// Whether a computed tensor is what the output with the number `port` declares.
    pub(super) fn check_output(&self, port: usize, tensor: &Tensor) -> Result<(), EngineError> {
        let port = &self.outputs[port];
        port.check(tensor.dtype(), tensor.dims()).map_err(|problem| wrong(Side::Output, &port.name, problem))
    }

    /// Copies computed values into the output with the number `port`, when they fit.
    pub(super) fn fill(
        &self,
        port: usize,
        view: &mut ViewMut<'_>,
        dims: &[usize],
        values: Slice<'_>,
    ) -> Result<(), EngineError> {
        let problem = if dims != view.dims() {
            let expected = dims.iter().map(|&dim| Some(dim)).collect();
            PortProblem::Dims { expected, found: view.dims().to_vec() }
        } else if view.values_mut().fill(values) {
            return Ok(());
        } else {
            PortProblem::DType { expected: values.dtype(), found: view.dtype() }
        };
        Err(wrong(Side::Output, &self.outputs[port].name, problem))
    }

    /// The inputs as views in the order given, each with its port's number.
    pub(super) fn bind_inputs<'v>(
        &self,
        engine: &'static str,
        given: &[(&str, Arg<'v>)],
    ) -> Result<Vec<(usize, View<'v>)>, EngineError> {
        let mut seen = vec![false; self.inputs.len()];
        let mut bound = Vec::with_capacity(given.len());
        for (hint, (name, arg)) in given.iter().enumerate() {
            let number = find(Side::Input, &self.inputs, &self.input_index, hint, name)?;
            let view = arg.on_host(engine)?;
            self.inputs[number]
                .check(view.dtype(), view.dims())
                .map_err(|problem| wrong(Side::Input, name, problem))?;
            if std::mem::replace(&mut seen[number], true) {
                return Err(wrong(Side::Input, name, PortProblem::Twice));
            }
            bound.push((number, view));
        }
        match self.inputs.iter().zip(&seen).find(|(port, seen)| !port.optional && !**seen) {
            Some((port, _)) => Err(wrong(Side::Input, &port.name, PortProblem::Missing)),
            None => Ok(bound),
        }
    }

    /// The outputs as views in the order given, each with its port's number.
    pub(super) fn bind_outputs<'v>(
        &self,
        engine: &'static str,
        given: &'v mut [(&str, ArgMut<'_>)],
    ) -> Result<Vec<(usize, ViewMut<'v>)>, EngineError> {
        let mut seen = vec![false; self.outputs.len()];
        let mut bound = Vec::with_capacity(given.len());
        for (hint, (name, arg)) in given.iter_mut().enumerate() {
            let number = find(Side::Output, &self.outputs, &self.output_index, hint, name)?;
            let view = arg.on_host(engine)?;
            self.outputs[number]
                .check(view.dtype(), view.dims())
                .map_err(|problem| wrong(Side::Output, name, problem))?;
            if std::mem::replace(&mut seen[number], true) {
                return Err(wrong(Side::Output, name, PortProblem::Twice));
            }
            bound.push((number, view));
        }
        Ok(bound)
    }
}
