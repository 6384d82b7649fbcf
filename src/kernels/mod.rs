//! What standard operators are slow at on the processor, computed over plain slices.
//!
//! Always true here: a kernel checks the lengths of its operands before it starts, and its result does not depend on
//! how many threads share the work. It knows neither graphs nor runtimes: an engine that has kernels of its own gives
//! them operands and threads, and whoever writes a graph for it takes names and attributes from here.

#![allow(
    clippy::inline_always,
    reason = "inner loops are compiled for the instructions of their caller, which must not be left to chance"
)]

pub mod convolution;
pub mod elementwise;
mod math;
pub mod product;
mod vector;

use std::sync::Mutex;

use thiserror::Error;

/// The operator domain of the kernels. Only graphs that an engine with kernels runs hold nodes of it; they are never
/// written to files.
pub const DOMAIN: &str = "safe_onnx.kernels";

/// Why a kernel did not run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KernelError {
    /// An operand has another number of elements than the others ask for.
    #[error("{operand} has {found} elements, expected {expected}")]
    Length {
        /// The operand.
        operand: &'static str,
        /// Its elements.
        found: usize,
        /// What the others ask for.
        expected: usize,
    },
    /// The attributes of the node are none that the kernel knows.
    #[error("the attributes do not fit: {0}")]
    Attributes(String),
}

/// The threads of whoever calls a kernel.
pub trait Threads {
    /// Calls `work` with every number below `count`, in any order and on any thread, and returns when all are done.
    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync));
}

/// The calling thread alone.
#[derive(Debug, Clone, Copy)]
pub struct OneThread;

impl Threads for OneThread {
    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        (0..count).for_each(work);
    }
}

fn expect_length(operand: &'static str, found: usize, expected: usize) -> Result<(), KernelError> {
    if found == expected { Ok(()) } else { Err(KernelError::Length { operand, found, expected }) }
}

/// Hands each of the tasks, which may own parts of the results, to `work` once.
fn share<T: Send>(threads: &dyn Threads, tasks: Vec<T>, work: impl Fn(T) + Sync) {
    let tasks: Vec<Mutex<Option<T>>> = tasks.into_iter().map(|task| Mutex::new(Some(task))).collect();
    threads.each(tasks.len(), &|number| {
        let task = tasks.get(number).and_then(|task| task.lock().ok()?.take());
        if let Some(task) = task {
            work(task);
        }
    });
}
