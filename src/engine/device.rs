//! Where tensors live, and tensors that stay there.

use std::fmt;

use super::{EngineError, View, ViewMut, cuda};
use crate::tensor::{DType, Tensor, TensorError, Values, checked_count};

/// A place that computes and holds tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor and host memory.
    #[default]
    Cpu,
    /// The CUDA device with this number.
    Cuda(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
        }
    }
}

/// A tensor in the memory of a device. Sessions on that device read and write it without moving it.
#[derive(Debug, Clone)]
pub struct DeviceTensor {
    device: Device,
    dims: Vec<usize>,
    // The one storage that this build has: host memory, for Device::Cpu.
    values: Values,
}

fn host_only(device: Device) -> Result<(), EngineError> {
    match device {
        Device::Cpu => Ok(()),
        Device::Cuda(_) => Err(cuda::unsupported("safe-onnx", device)),
    }
}

impl DeviceTensor {
    /// A tensor of zeros on `device`.
    ///
    /// # Errors
    /// When the device cannot hold tensors, or the product of `dims` overflows.
    pub fn alloc(device: Device, dtype: DType, dims: &[usize]) -> Result<Self, DeviceError> {
        host_only(device)?;
        let count = checked_count(dims).ok_or_else(|| TensorError::TooLarge { dims: dims.to_vec() })?;
        Ok(Self { device, dims: dims.to_vec(), values: Values::zeros(dtype, count) })
    }

    /// A copy of `view` on `device`.
    ///
    /// # Errors
    /// When the device cannot hold tensors.
    pub fn upload(device: Device, view: View<'_>) -> Result<Self, DeviceError> {
        host_only(device)?;
        Ok(Self { device, dims: view.dims().to_vec(), values: view.values().into() })
    }

    /// A copy in host memory.
    ///
    /// # Errors
    /// When the device fails to deliver it.
    pub fn download(&self) -> Result<Tensor, DeviceError> {
        Ok(Tensor::new(self.dims.clone(), self.values.clone())?)
    }

    /// The device that holds the tensor.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.values.dtype()
    }

    /// The tensor where it lies, when that is host memory.
    pub fn host(&self) -> Option<View<'_>> {
        View::new(&self.dims, &self.values).ok()
    }

    /// The tensor where it lies, to be changed, when that is host memory.
    pub fn host_mut(&mut self) -> Option<ViewMut<'_>> {
        ViewMut::new(&self.dims, &mut self.values).ok()
    }
}

/// Why a tensor could not be placed on a device or read from it.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The device is not usable.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The dimensions or values are not a tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// An input of a run.
#[derive(Debug, Clone, Copy)]
pub enum Arg<'a> {
    /// Host memory.
    Host(View<'a>),
    /// A tensor on the session's device.
    Device(&'a DeviceTensor),
}

/// An output of a run, written in place.
#[derive(Debug)]
pub enum ArgMut<'a> {
    /// Host memory.
    Host(ViewMut<'a>),
    /// A tensor on the session's device.
    Device(&'a mut DeviceTensor),
}

impl<'a> Arg<'a> {
    /// The argument for an engine that computes in host memory.
    pub(super) fn on_host(self, engine: &'static str) -> Result<View<'a>, EngineError> {
        match self {
            Self::Host(view) => Ok(view),
            Self::Device(tensor) => tensor.host().ok_or_else(|| cuda::unsupported(engine, tensor.device())),
        }
    }
}

impl ArgMut<'_> {
    /// The argument for an engine that computes in host memory.
    pub(super) fn on_host(&mut self, engine: &'static str) -> Result<ViewMut<'_>, EngineError> {
        match self {
            Self::Host(view) => Ok(view.reborrow()),
            Self::Device(tensor) => {
                let device = tensor.device();
                tensor.host_mut().ok_or_else(|| cuda::unsupported(engine, device))
            }
        }
    }
}

impl<'a> From<View<'a>> for Arg<'a> {
    fn from(view: View<'a>) -> Self {
        Self::Host(view)
    }
}

impl<'a> From<&'a Tensor> for Arg<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::Host(tensor.into())
    }
}

impl<'a> From<&'a DeviceTensor> for Arg<'a> {
    fn from(tensor: &'a DeviceTensor) -> Self {
        Self::Device(tensor)
    }
}

impl<'a> From<ViewMut<'a>> for ArgMut<'a> {
    fn from(view: ViewMut<'a>) -> Self {
        Self::Host(view)
    }
}

impl<'a> From<&'a mut DeviceTensor> for ArgMut<'a> {
    fn from(tensor: &'a mut DeviceTensor) -> Self {
        Self::Device(tensor)
    }
}
