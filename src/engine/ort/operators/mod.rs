//! The kernels of [`crate::kernels`] as operators of ONNX Runtime, in its own operator domain.
//!
//! Always true here: operands are checked before a kernel gets them, and a kernel works on the runtime's own threads,
//! so that no second pool competes with it.

mod convolution;
mod elementwise;
mod product;

use std::sync::Arc;

use ::ort::Error;
use ::ort::operator::{ComputeContext, OperatorDomain};
use ::ort::value::ValueRef;

use crate::kernels::{DOMAIN, KernelError, Threads};

/// The domain of all kernels, for sessions with so many threads.
#[allow(clippy::arc_with_non_send_sync, reason = "the binding asks for it; sessions keep the domain alive")]
pub(super) fn domain(threads: usize) -> Result<Arc<OperatorDomain>, Error> {
    let domain = OperatorDomain::new(DOMAIN)?;
    let domain =
        domain.add(convolution::Forward)?.add(convolution::Gradient)?.add(elementwise::Elementwise)?;
    Ok(Arc::new(domain.add(product::Product { threads })?))
}

/// The threads that run a node.
struct NodeThreads<'a>(&'a ComputeContext);

impl Threads for NodeThreads<'_> {
    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        if count < 2 || self.0.par_for(count, 0, work).is_err() {
            // Work that was done is not done again: each part is taken by whoever comes first.
            (0..count).for_each(work);
        }
    }
}

fn failed(error: KernelError) -> Error {
    Error::new(error.to_string())
}

/// The dimensions and elements of a tensor of floats.
fn floats<'a>(value: &'a ValueRef<'_>) -> Result<(Vec<usize>, &'a [f32]), Error> {
    let dims: Vec<usize> = value.shape().iter().map(|&dim| usize::try_from(dim).unwrap_or(0)).collect();
    // A tensor without elements need not have memory.
    if dims.contains(&0) {
        return Ok((dims, &[]));
    }
    Ok((dims, value.try_extract_tensor::<f32>()?.1))
}

fn input(context: &ComputeContext, index: usize) -> Result<Option<ValueRef<'_>>, Error> {
    if index < context.num_inputs()? { context.input(index) } else { Ok(None) }
}

fn required(context: &ComputeContext, index: usize) -> Result<ValueRef<'_>, Error> {
    input(context, index)?.ok_or_else(|| Error::new(format!("input {index} is left out")))
}

/// Makes output `index` and fills it; nothing happens where it is left out.
fn with_output<R>(
    context: &ComputeContext,
    index: usize,
    dims: &[usize],
    fill: impl FnOnce(Option<&mut [f32]>) -> Result<R, Error>,
) -> Result<R, Error> {
    if index >= context.num_outputs()? {
        return fill(None);
    }
    let shape: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
    match context.output(index, shape)? {
        None => fill(None),
        Some(_) if dims.contains(&0) => fill(Some(&mut [])),
        Some(mut value) => fill(Some(value.try_extract_tensor_mut::<f32>()?.1)),
    }
}
