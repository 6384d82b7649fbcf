//! Convolution and its gradients.

use ::ort::Error;
use ::ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ::ort::value::TensorElementType::Float32;

use super::{NodeThreads, failed, floats, input, required, with_output};
use crate::kernels::convolution::{self, Axis, Shape};

/// The attributes of a node, of one or two spatial axes.
struct Attributes {
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pads: Vec<usize>,
}

impl Attributes {
    fn of(context: &KernelContext<'_>) -> Result<Self, Error> {
        let read = |name: &str| -> Option<Vec<usize>> {
            let numbers: Vec<i64> = context.get(name)?;
            numbers.into_iter().map(|number| usize::try_from(number).ok()).collect()
        };
        let [strides, dilations, pads] = [convolution::STRIDES, convolution::DILATIONS, convolution::PADS]
            .map(|name| read(name).unwrap_or_default());
        let rank = strides.len();
        let fits = matches!(rank, 1 | 2) && dilations.len() == rank && pads.len() == 2 * rank;
        if !fits || strides.contains(&0) || dilations.contains(&0) {
            return Err(Error::new(format!(
                "strides {strides:?}, dilations {dilations:?} and pads {pads:?} do not fit one or two spatial axes"
            )));
        }
        Ok(Self { strides, dilations, pads })
    }

    fn shape(&self, x: &[usize], w: &[usize]) -> Result<Shape, Error> {
        let misfit = || Error::new(format!("x {x:?} and w {w:?} do not fit a convolution"));
        let rank = self.strides.len();
        if x.len() != rank + 2 || w.len() != rank + 2 || w[1] == 0 || !x[1].is_multiple_of(w[1]) {
            return Err(misfit());
        }
        let groups = x[1] / w[1];
        if groups == 0 || !w[0].is_multiple_of(groups) {
            return Err(misfit());
        }
        let mut axes = [Axis::NONE; 2];
        for (axis, target) in axes[2 - rank..].iter_mut().enumerate() {
            let (kernel, input) = (w[axis + 2], x[axis + 2]);
            let (stride, dilation, before) = (self.strides[axis], self.dilations[axis], self.pads[axis]);
            let extent = kernel.checked_sub(1).ok_or_else(misfit)? * dilation + 1;
            let room = (before + input + self.pads[axis + rank]).checked_sub(extent).ok_or_else(misfit)?;
            *target = Axis { kernel, stride, dilation, before, input, output: room / stride + 1 };
        }
        Ok(Shape { images: x[0], groups, columns: w[1], rows: w[0] / groups, axes })
    }

    fn y_dims(&self, shape: &Shape) -> Vec<usize> {
        let sizes = shape.axes[2 - self.strides.len()..].iter().map(|axis| axis.output);
        [shape.images, shape.groups * shape.rows].into_iter().chain(sizes).collect()
    }
}

pub(super) struct Forward;
pub(super) struct ForwardKernel(Attributes);

impl Operator for Forward {
    type Kernel<'attr> = ForwardKernel;

    fn name(&self) -> &str {
        convolution::FORWARD
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32), OperatorInput::required(Float32), OperatorInput::optional(Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>, Error> {
        Attributes::of(context).map(ForwardKernel)
    }
}

impl Kernel for ForwardKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<(), Error> {
        let (x, w, bias) = (required(context, 0)?, required(context, 1)?, input(context, 2)?);
        let ((x_dims, x), (w_dims, w)) = (floats(&x)?, floats(&w)?);
        let bias = bias.as_ref().map(floats).transpose()?.map(|(_, bias)| bias);
        let shape = self.0.shape(&x_dims, &w_dims)?;
        with_output(context, 0, &self.0.y_dims(&shape), |y| {
            let Some(y) = y else { return Ok(()) };
            convolution::forward(&shape, x, w, bias, y, &NodeThreads(context)).map_err(failed)
        })
    }
}

pub(super) struct Gradient;
pub(super) struct GradientKernel(Attributes);

impl Operator for Gradient {
    type Kernel<'attr> = GradientKernel;

    fn name(&self) -> &str {
        convolution::GRADIENT
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [0; 3].map(|_| OperatorInput::required(Float32))
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [0; 2].map(|_| OperatorOutput::optional(Float32))
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>, Error> {
        Attributes::of(context).map(GradientKernel)
    }
}

impl Kernel for GradientKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<(), Error> {
        let [x, w, dy] = [required(context, 0)?, required(context, 1)?, required(context, 2)?];
        let ((x_dims, x), (w_dims, w), (dy_dims, dy)) = (floats(&x)?, floats(&w)?, floats(&dy)?);
        let shape = self.0.shape(&x_dims, &w_dims)?;
        if dy_dims != self.0.y_dims(&shape) {
            return Err(Error::new(format!("dy is {dy_dims:?}, expected {:?}", self.0.y_dims(&shape))));
        }
        with_output(context, 0, &x_dims, |dx| {
            with_output(context, 1, &w_dims, |dw| {
                convolution::gradient(&shape, [x, w, dy], dx, dw, &NodeThreads(context)).map_err(failed)
            })
        })
    }
}
