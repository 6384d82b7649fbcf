//! A model loaded into the runtime.
#![allow(
    unsafe_code,
    reason = "only the runtime's C interface writes outputs into memory that the caller owns"
)]

use std::ffi::{CString, c_char};
use std::ptr;

use ::ort::session::Session as Loaded;
use ::ort::value::{TensorElementType, ValueType};
use ::ort::{AsPointer, api};

use super::value::{Host, Value, check, settle};
use super::{NAME, denormals};
use crate::engine::ports::Ports;
use crate::engine::{Arg, ArgMut, EngineError, Port, Session, View};
use crate::tensor::{DType, Tensor};

pub(super) struct OrtSession {
    loaded: Loaded,
    ports: Ports,
    input_names: Vec<CString>,
    output_names: Vec<CString>,
    host: Host,
    flush_denormals: bool,
}

fn failed(message: String) -> EngineError {
    EngineError::Run { engine: NAME, message }
}

fn dtype(element: TensorElementType) -> Option<DType> {
    Some(match element {
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Float64 => DType::F64,
        TensorElementType::Float16 => DType::F16,
        TensorElementType::Bfloat16 => DType::BF16,
        TensorElementType::Int8 => DType::I8,
        TensorElementType::Int16 => DType::I16,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::Uint8 => DType::U8,
        TensorElementType::Uint16 => DType::U16,
        TensorElementType::Uint32 => DType::U32,
        TensorElementType::Uint64 => DType::U64,
        TensorElementType::Bool => DType::Bool,
        TensorElementType::String => DType::String,
        _ => return None,
    })
}

fn port(name: &str, value: &ValueType, optional: bool) -> Port {
    let (dtype, dims) = match value {
        ValueType::Tensor { ty, shape, .. } => {
            let dims: Vec<_> = shape.iter().map(|&dim| usize::try_from(dim).ok()).collect();
            (dtype(*ty), (!dims.is_empty()).then_some(dims))
        }
        _ => (None, None),
    };
    Port { name: name.to_owned(), dtype, dims, optional }
}

fn c_names(ports: &[Port]) -> Result<Vec<CString>, String> {
    ports
        .iter()
        .map(|port| {
            CString::new(port.name.as_str())
                .map_err(|_| format!("the name {:?} has a null character", port.name))
        })
        .collect()
}

impl OrtSession {
    pub(super) fn new(loaded: Loaded, flush_denormals: bool) -> Result<Self, String> {
        let mut inputs: Vec<Port> =
            loaded.inputs().iter().map(|input| port(input.name(), input.dtype(), false)).collect();
        inputs.extend(
            loaded.overridable_initializers().iter().map(|input| port(input.name(), input.dtype(), true)),
        );
        let outputs: Vec<Port> =
            loaded.outputs().iter().map(|output| port(output.name(), output.dtype(), false)).collect();
        let (input_names, output_names) = (c_names(&inputs)?, c_names(&outputs)?);
        let ports = Ports::new(inputs, outputs);
        Ok(Self { loaded, ports, input_names, output_names, host: Host::new()?, flush_denormals })
    }

    /// Runs on `inputs` and computes the outputs with the numbers `wanted`. `given` holds for each of them the
    /// memory that it is to be written to, or nothing, and then the runtime's new value.
    fn call(
        &mut self,
        inputs: &[(usize, View<'_>)],
        wanted: &[usize],
        given: &mut [Option<Value>],
    ) -> Result<(), EngineError> {
        let mut values = Vec::with_capacity(inputs.len());
        for (_, view) in inputs {
            values.push(self.host.input(*view).map_err(failed)?);
        }
        let value_pointers: Vec<_> = values.iter().map(|value| value.as_ptr().cast_const()).collect();
        let input_names: Vec<*const c_char> =
            inputs.iter().map(|&(number, _)| self.input_names[number].as_ptr()).collect();
        let output_names: Vec<*const c_char> =
            wanted.iter().map(|&number| self.output_names[number].as_ptr()).collect();
        let mut results: Vec<_> =
            given.iter().map(|value| value.as_ref().map_or(ptr::null_mut(), Value::as_ptr)).collect();
        let guard = denormals::Guard::set(self.flush_denormals);
        // SAFETY: every array has the length given; the values lie over memory that the callers' views borrow for
        // longer than this call, inputs shared and outputs exclusively. The session is borrowed exclusively: the
        // runtime must not run it twice at a time.
        let status = unsafe {
            (api().Run)(
                self.loaded.ptr().cast_mut(),
                ptr::null(),
                input_names.as_ptr(),
                value_pointers.as_ptr(),
                value_pointers.len(),
                output_names.as_ptr(),
                output_names.len(),
                results.as_mut_ptr(),
            )
        };
        drop(guard);
        let checked = check(status);
        for (slot, result) in given.iter_mut().zip(results) {
            if slot.is_none() {
                // SAFETY: the runtime made this value in the call above and leaves it to us.
                *slot = unsafe { Value::from_run(result) };
            }
        }
        checked.map_err(failed)
    }

    fn read(&self, number: usize, value: Option<&Value>) -> Result<Tensor, EngineError> {
        let about =
            |message: String| failed(format!("output `{}`: {message}", self.ports.outputs[number].name));
        value.ok_or_else(|| about("it gave no value".to_owned()))?.to_tensor().map_err(about)
    }
}

impl Session for OrtSession {
    fn inputs(&self) -> &[Port] {
        &self.ports.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.ports.outputs
    }

    fn run_on(&mut self, inputs: &[(&str, Arg<'_>)]) -> Result<Vec<Tensor>, EngineError> {
        let inputs = self.ports.bind_inputs(NAME, inputs)?;
        let wanted: Vec<usize> = (0..self.ports.outputs.len()).collect();
        let mut values: Vec<Option<Value>> = wanted.iter().map(|_| None).collect();
        self.call(&inputs, &wanted, &mut values)?;
        wanted.iter().zip(&values).map(|(&number, value)| self.read(number, value.as_ref())).collect()
    }

    fn run_into(
        &mut self,
        inputs: &[(&str, Arg<'_>)],
        outputs: &mut [(&str, ArgMut<'_>)],
    ) -> Result<(), EngineError> {
        let inputs = self.ports.bind_inputs(NAME, inputs)?;
        let mut outputs = self.ports.bind_outputs(NAME, outputs)?;
        if outputs.is_empty() {
            return Ok(());
        }
        let wanted: Vec<usize> = outputs.iter().map(|&(number, _)| number).collect();
        let mut values = Vec::with_capacity(outputs.len());
        for (_, view) in &mut outputs {
            values.push(self.host.output(view).map_err(failed)?);
        }
        let result = self.call(&inputs, &wanted, &mut values);
        for (_, view) in &mut outputs {
            settle(view);
        }
        result?;
        for ((number, view), value) in outputs.iter_mut().zip(&values) {
            if view.dtype() == DType::String {
                let tensor = self.read(*number, value.as_ref())?;
                self.ports.fill(*number, view, tensor.dims(), tensor.values().into())?;
            }
        }
        Ok(())
    }
}
