//! Runs ONNX models for whoever asks: one trait, two runtimes.
//!
//! Always true here: a session runs one model on one device, its ports do not change, and what callers hand in is
//! checked against the ports before a runtime sees it. A runtime's panic or failure becomes an [`EngineError`].
//! This module does not know what models are for, and nothing outside of it names a runtime: ONNX Runtime is
//! `ort`, a library found and loaded while running; tract is `tract`, compiled in; `cuda` finds CUDA devices.

mod cuda;
mod device;
mod discover;
mod doctor;
mod error;
mod heap;
mod load;
mod ort;
mod ports;
#[cfg(test)]
mod tests;
mod tract;
mod view;

use std::path::Path;

pub use cuda::{CudaDevice, devices as cuda_devices};
pub use device::{Arg, ArgMut, Device, DeviceError, DeviceTensor};
pub use discover::{Choice, Discovery, Selected, discover};
pub use doctor::{DoctorReport, doctor};
pub use error::{EngineError, PortProblem, Side};
pub use heap::give_back_free_memory;
pub use load::load_model;
pub use ort::{Candidate, Origin, Verdict};
pub use ports::Port;
pub use view::{Slice, SliceMut, View, ViewMut};

use crate::tensor::Tensor;

/// A serialized ONNX model.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// The bytes of the file, with all tensor data inside.
    Bytes(&'a [u8]),
    /// The file; external tensor data lies in its folder.
    File(&'a Path),
}

impl Source<'_> {
    /// The model in an error message.
    fn describe(self) -> String {
        match self {
            Source::Bytes(_) => "the model".to_owned(),
            Source::File(path) => path.display().to_string(),
        }
    }
}

/// How a model is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOptions {
    /// Threads within one operator; nothing means [`default_threads`]. tract uses one whatever this says.
    pub threads: Option<usize>,
    /// Whether the runtime may rewrite the graph. Off where its rewriting must not be mistaken for the model.
    pub optimize: bool,
    /// Where to run.
    pub device: Device,
    /// Whether numbers too small for the normal float format become zero: faster where they abound, as in training.
    /// tract ignores this.
    pub flush_denormals: bool,
    /// Whether nodes that compute the same from the same values are all run, not only the first: for graphs in which
    /// values are computed again in place of being kept. tract ignores this.
    pub keep_repeated: bool,
}

impl Default for LoadOptions {
    /// Optimised, on the processor, with all threads, with denormal numbers.
    fn default() -> Self {
        Self {
            threads: None,
            optimize: true,
            device: Device::Cpu,
            flush_denormals: false,
            keep_repeated: false,
        }
    }
}

/// The number of threads that sessions use unless told otherwise: those that the system lets this process use.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A runtime.
pub trait Engine: Send + Sync {
    /// `onnxruntime` or `tract`.
    fn name(&self) -> &'static str;

    /// The version of the runtime, as it gives it.
    fn version(&self) -> String;

    /// Whether `BatchNormalization` runs with statistics and factors that are no constants, and with those of the
    /// batch.
    fn normalizes_batches(&self) -> bool;

    /// Whether nodes of [`crate::kernels`] run.
    fn has_kernels(&self) -> bool;

    /// Loads a model.
    ///
    /// # Errors
    /// When the model cannot be read or run by this engine, or the device is not usable.
    fn load(&self, source: Source<'_>, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError>;
}

/// A loaded model.
pub trait Session: Send {
    /// The inputs in the model's order, those with a default last.
    fn inputs(&self) -> &[Port];

    /// The outputs in the model's order.
    fn outputs(&self) -> &[Port];

    /// Runs the model on named inputs and returns all outputs in the model's order.
    ///
    /// # Errors
    /// When an input does not fit, or the runtime fails.
    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>, EngineError> {
        let inputs: Vec<_> = inputs.iter().map(|&(name, tensor)| (name, Arg::from(tensor))).collect();
        self.run_on(&inputs)
    }

    /// As [`Session::run`], on inputs that need not be tensors of their own.
    ///
    /// # Errors
    /// When an input does not fit, or the runtime fails.
    fn run_on(&mut self, inputs: &[(&str, Arg<'_>)]) -> Result<Vec<Tensor>, EngineError>;

    /// Runs the model on named inputs and writes the named outputs into the memory given. Outputs that are not
    /// named are not computed where the runtime can leave them out, and dropped where it cannot.
    ///
    /// ONNX Runtime reads and writes the memory in place (except strings); tract copies.
    ///
    /// # Errors
    /// When an input or output does not fit, or the runtime fails; the outputs then hold anything.
    fn run_into(
        &mut self,
        inputs: &[(&str, Arg<'_>)],
        outputs: &mut [(&str, ArgMut<'_>)],
    ) -> Result<(), EngineError>;
}
