//! Programs of elementwise operators.

use ::ort::Error;
use ::ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ::ort::value::TensorElementType::Float32;

use super::{NodeThreads, failed, floats, required, with_output};
use crate::kernels::elementwise::{self, Plan, Program, Reduction};

pub(super) struct Elementwise;
pub(super) struct ElementwiseKernel {
    program: Program,
    reduction: Option<Reduction>,
}

impl Operator for Elementwise {
    type Kernel<'attr> = ElementwiseKernel;

    fn name(&self) -> &str {
        elementwise::OPERATOR
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::variadic(1).homogenous(Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>, Error> {
        let inputs = context.inputs()?.len();
        let ints: Vec<i64> = context.get(elementwise::PROGRAM).unwrap_or_default();
        let flag = |name: &str| context.get::<i64>(name).unwrap_or(0) != 0;
        let reduction = context.get::<Vec<i64>>(elementwise::AXES).map(|axes| Reduction {
            axes: axes.into_iter().map(|axis| usize::try_from(axis).unwrap_or(usize::MAX)).collect(),
            keep_dims: flag(elementwise::KEEP_DIMS),
            mean: flag(elementwise::MEAN),
        });
        Ok(ElementwiseKernel { program: Program::decode(inputs, &ints).map_err(failed)?, reduction })
    }
}

impl Kernel for ElementwiseKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<(), Error> {
        let count = context.num_inputs()?;
        let values = (0..count).map(|index| required(context, index)).collect::<Result<Vec<_>, _>>()?;
        let inputs = values.iter().map(floats).collect::<Result<Vec<_>, _>>()?;
        let dims: Vec<&[usize]> = inputs.iter().map(|(dims, _)| dims.as_slice()).collect();
        let data: Vec<&[f32]> = inputs.iter().map(|(_, data)| *data).collect();
        let plan = Plan::new(&self.program, &dims, self.reduction.as_ref()).map_err(failed)?;
        with_output(context, 0, plan.dims(), |y| {
            let Some(y) = y else { return Ok(()) };
            plan.run(&data, y, &NodeThreads(context)).map_err(failed)
        })
    }
}
