//! CUDA devices: which there are. A machine without the driver is an ordinary answer here, never a panic.

use std::panic::catch_unwind;

use cudarc::driver::{CudaContext, DriverError, result, sys};

use super::{Device, EngineError};

/// A CUDA device as its driver describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CudaDevice {
    /// Its number, as in `cuda:0`.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its memory in bytes.
    pub memory: usize,
}

/// The CUDA devices of this machine, or why there are none.
///
/// # Errors
/// One sentence: no driver, a driver that fails, or no device.
pub fn devices() -> Result<Vec<CudaDevice>, String> {
    #[allow(unsafe_code, reason = "the driver library can only be looked for by loading it")]
    // SAFETY: loads the system's CUDA driver library, which is made to be loaded by any process.
    let present = unsafe { sys::is_culib_present() };
    if !present {
        return Err("the CUDA driver library (libcuda) is not installed".to_owned());
    }
    // A driver too old to have a symbol makes the binding panic.
    match catch_unwind(list) {
        Ok(Ok(devices)) if devices.is_empty() => Err("the CUDA driver knows no device".to_owned()),
        Ok(Ok(devices)) => Ok(devices),
        Ok(Err(error)) => Err(format!("the CUDA driver fails: {error}")),
        Err(_) => Err("the CUDA driver is too old or broken".to_owned()),
    }
}

fn list() -> Result<Vec<CudaDevice>, DriverError> {
    let count = CudaContext::device_count()?;
    let mut devices = Vec::new();
    for ordinal in 0..count {
        let device = result::device::get(ordinal)?;
        let name = result::device::get_name(device)?;
        #[allow(unsafe_code, reason = "the size can only be read through the driver")]
        // SAFETY: `device` is a handle that the driver just gave.
        let memory = unsafe { result::device::total_mem(device)? };
        devices.push(CudaDevice { number: ordinal.unsigned_abs(), name, memory });
    }
    Ok(devices)
}

/// The error for a CUDA device that this build cannot use.
pub(super) fn unsupported(engine: &'static str, device: Device) -> EngineError {
    EngineError::UnsupportedDevice {
        engine,
        device,
        reason: "CUDA is not in this build yet; use --device cpu".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_machine_without_cuda_is_an_answer() {
        match super::devices() {
            Ok(devices) => assert!(!devices.is_empty()),
            Err(reason) => assert!(reason.contains("CUDA"), "{reason}"),
        }
    }
}
