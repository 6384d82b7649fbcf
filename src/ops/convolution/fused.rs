//! `FusedConv` of ONNX Runtime: `activation(Conv(x, w, bias) + z)`.
//!
//! Specification: <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>. Inputs 0 to 2 are those
//! of Conv, input 3 has the dimensions of the output.

use super::conv::CONV;
use crate::ops::renamed::Renamed;
use crate::ops::{Coupling, Cut, Example, NodeEdit, NodeView, Operator, Spec, Tape, Unsupported};

struct FusedConv(Spec);

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&FusedConv(Spec::microsoft(
    "FusedConv",
    2..=4,
    &["activation", "activation_params", "auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"],
))];

/// The input that is added.
const ADDED: usize = 3;

/// The convolution inside.
fn inner<'a>(node: &NodeView<'a>) -> NodeView<'a> {
    node.seen_as("Conv", &[0, 1, 2])
}

/// Whether the activation is zero at zero.
fn keeps_zero(node: &NodeView<'_>) -> Result<bool, Unsupported> {
    match node.string("activation", "") {
        "" | "Relu" | "LeakyRelu" | "Tanh" | "HardSwish" => Ok(true),
        "Sigmoid" | "HardSigmoid" => Ok(false),
        "Clip" => {
            let bounds = node.floats("activation_params").unwrap_or(&[]);
            Ok(bounds.len() == 2 && bounds[0] <= 0.0 && bounds[1] >= 0.0)
        }
        other => Err(Unsupported(format!("the activation {other} is not known"))),
    }
}

impl Operator for FusedConv {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let mut output = keeps_zero(node)?;
        let added = node.input(ADDED).map(|z| z.dims().to_vec());
        if let Some(dims) = &added {
            if dims != node.y(0)?.dims() {
                return Err(Unsupported::new("input 3 must have the dimensions of the output"));
            }
            output &= slots.input(ADDED, 1).zero();
        }
        let inputs = vec![(0, true), (1, true), (2, true)];
        CONV.couple(&inner(node), &mut Renamed { slots: &mut *slots, inputs, output })?;
        for axis in 0..added.map_or(0, |dims| dims.len()) {
            let own = slots.input(ADDED, axis);
            match axis {
                0 => slots.tie(&own, &slots.input(0, 0)),
                1 => slots.tie(&own, &slots.input(1, 0)),
                _ => slots.pin(&own, "a window slides along the axis"),
            }
        }
        Ok(())
    }

    fn gradient(&self, _: &NodeView<'_>, _: &mut Tape<'_>) -> Result<(), Unsupported> {
        Err(Unsupported::new("it is made for inference; train the model before ONNX Runtime optimised it"))
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        CONV.macs(&inner(node))
    }

    fn resize(&self, node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
        CONV.resize(&inner(node), cut, edit)
    }

    fn examples(&self) -> Vec<Example> {
        let case = |w: &[usize]| {
            Example::microsoft("FusedConv")
                .no_gradient()
                .computed(&[2, 4, 5, 5])
                .weight(w)
                .weight(&[w[0]])
                .prunable(0, 1)
        };
        let plain = || case(&[6, 4, 3, 3]).macs(2 * 6 * 9 * 36);
        vec![
            plain().attribute("activation", "Relu"),
            plain().attribute("activation", "Sigmoid"),
            plain().attribute("activation", "Relu").computed(&[2, 6, 3, 3]).prunable(3, 1),
            case(&[4, 1, 3, 3]).attribute("group", 4).attribute("activation", "Relu").macs(2 * 4 * 9 * 9),
        ]
    }
}
