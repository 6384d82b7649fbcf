//! Products of matrices.

use ::ort::Error;
use ::ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ::ort::value::TensorElementType::Float32;

use super::{NodeThreads, failed, floats, required, with_output};
use crate::kernels::product::{self, Plan};

pub(super) struct Product {
    pub(super) threads: usize,
}

pub(super) struct ProductKernel {
    orders: [Option<Vec<usize>>; 3],
    factor: f32,
    threads: usize,
}

impl Operator for Product {
    type Kernel<'attr> = ProductKernel;

    fn name(&self) -> &str {
        product::OPERATOR
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [0; 2].map(|_| OperatorInput::required(Float32))
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>, Error> {
        let axis = |axis: i64| usize::try_from(axis).unwrap_or(usize::MAX);
        let order = |name| Some(context.get::<Vec<i64>>(name)?.into_iter().map(axis).collect());
        let factor = context.get::<f32>(product::FACTOR).unwrap_or(1.0);
        Ok(ProductKernel { orders: product::ORDERS.map(order), factor, threads: self.threads })
    }
}

impl Kernel for ProductKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<(), Error> {
        let [a, b] = [required(context, 0)?, required(context, 1)?];
        let ((a_dims, a), (b_dims, b)) = (floats(&a)?, floats(&b)?);
        let orders = self.orders.each_ref().map(Option::as_deref);
        let plan = Plan::new(&a_dims, &b_dims, orders, self.factor).map_err(failed)?;
        with_output(context, 0, plan.y_dims(), |y| {
            let Some(y) = y else { return Ok(()) };
            plan.run(a, b, y, self.threads, &NodeThreads(context)).map_err(failed)
        })
    }
}
