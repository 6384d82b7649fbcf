//! A model loaded into the runtime.

use std::sync::Arc;

use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto, tensor_shape_proto::dimension, type_proto};
use tract_onnx::prelude::{Framework as _, TValue, TVec};
use tract_onnx::tract_hir::infer::InferenceModel;
use tract_onnx::tract_hir::internal::OutletId;
use tract_onnx::tract_hir::ops::unimpl::UnimplementedOp;

use super::misread::misread;
use super::plan::{Plan, Signature, Template, is_shape_like};
use super::values::{from_tract, to_tract, with_values};
use super::{NAME, guarded};
use crate::engine::ports::Ports;
use crate::engine::{Arg, ArgMut, EngineError, Port, PortProblem, Session, Side, Source, View};
use crate::tensor::{DType, Tensor};

/// How many plans a session keeps: one for each set of shapes, such as full batches, last batches and evaluation.
const PLANS: usize = 4;

/// From this IR version on, an initializer that is a graph input too is its default; before, every initializer had
/// to be listed, and none could be changed.
const OVERRIDABLE_SINCE: i64 = 4;

pub(super) struct TractSession {
    template: Template,
    ports: Ports,
    // The last one used stands last.
    plans: Vec<Plan>,
}

fn failed(message: String) -> EngineError {
    EngineError::Run { engine: NAME, message }
}

fn port(info: &ValueInfoProto, optional: bool) -> Port {
    let tensor = info.r#type.as_ref().and_then(|kind| kind.value.as_ref()).map(|value| match value {
        type_proto::Value::TensorType(tensor) => tensor,
    });
    let dims = tensor.and_then(|tensor| tensor.shape.as_ref()).map(|shape| {
        let dim = |dim: &tract_onnx::pb::tensor_shape_proto::Dimension| match &dim.value {
            Some(dimension::Value::DimValue(value)) => usize::try_from(*value).ok(),
            Some(dimension::Value::DimParam(_)) | None => None,
        };
        shape.dim.iter().map(dim).collect()
    });
    let dtype = tensor.and_then(|tensor| DType::from_onnx(tensor.elem_type));
    Port { name: info.name.clone(), dtype, dims, optional }
}

/// Takes the initializers that are graph inputs too out of the graph.
fn take_defaults(graph: &mut GraphProto) -> Vec<tract_onnx::pb::TensorProto> {
    let inputs: std::collections::BTreeSet<&str> =
        graph.input.iter().map(|input| input.name.as_str()).collect();
    let (defaults, rest) = std::mem::take(&mut graph.initializer)
        .into_iter()
        .partition(|initializer| inputs.contains(initializer.name.as_str()));
    graph.initializer = rest;
    defaults
}

/// One `operator "node"` for each node whose operator the runtime does not have.
fn unknown_operators(model: &InferenceModel) -> Vec<String> {
    model
        .nodes()
        .iter()
        .filter_map(|node| {
            node.op_as::<UnimplementedOp>()?;
            // The operator calls itself `Unimplemented(Name)`.
            let name = node.op.name();
            let operator = name.strip_prefix("Unimplemented(").and_then(|name| name.strip_suffix(')'));
            Some(format!("{} \"{}\"", operator.unwrap_or(&name), node.name))
        })
        .collect()
}

impl TractSession {
    pub(super) fn load(source: Source<'_>, optimize: bool) -> Result<Self, EngineError> {
        let refused = |message: String| EngineError::Load { engine: NAME, model: source.describe(), message };
        // Declared shapes of inner values may name dimensions that a run fixes: they are inferred instead.
        let onnx = tract_onnx::onnx().with_ignore_value_info(true);
        let (proto, folder) = match source {
            Source::Bytes(mut bytes) => (onnx.proto_model_for_read(&mut bytes), None),
            Source::File(path) => (onnx.proto_model_for_path(path), path.parent()),
        };
        let mut proto: ModelProto = proto.map_err(|error| refused(format!("{error:#}")))?;
        let folder = folder.map(|folder| folder.to_string_lossy().into_owned());
        let ir_version = proto.ir_version;
        let graph = proto.graph.as_mut().ok_or_else(|| refused("it has no graph".to_owned()))?;
        let nodes = misread(graph);
        if !nodes.is_empty() {
            return Err(EngineError::Misread { engine: NAME, model: source.describe(), nodes });
        }
        let constant: Vec<String> = if ir_version < OVERRIDABLE_SINCE {
            graph.initializer.iter().map(|initializer| initializer.name.clone()).collect()
        } else {
            Vec::new()
        };
        let defaults = if ir_version < OVERRIDABLE_SINCE { Vec::new() } else { take_defaults(graph) };
        let parsed = onnx.parse(&proto, folder.as_deref()).map_err(|error| refused(format!("{error:#}")))?;
        if !parsed.unresolved_inputs.is_empty() {
            return Err(refused(format!(
                "these values have no producer: {}",
                parsed.unresolved_inputs.join(", ")
            )));
        }
        let nodes = unknown_operators(&parsed.model);
        if !nodes.is_empty() {
            return Err(EngineError::Operators { engine: NAME, model: source.describe(), nodes });
        }
        let graph = proto.graph.take().unwrap_or_default();
        let default = |name: &str| defaults.iter().find(|default| default.name == name);
        let is_port = |info: &&ValueInfoProto| !constant.contains(&info.name);
        let mut infos: Vec<&ValueInfoProto> =
            graph.input.iter().filter(is_port).filter(|info| default(&info.name).is_none()).collect();
        infos.extend(graph.input.iter().filter(is_port).filter(|info| default(&info.name).is_some()));
        let mut template =
            Template { model: parsed.model, inputs: Vec::new(), defaults: Vec::new(), optimize };
        let mut inputs = Vec::new();
        for info in infos {
            let outlet: OutletId = parsed
                .outlets_by_name
                .get(&info.name)
                .copied()
                .ok_or_else(|| refused(format!("input `{}` is lost", info.name)))?;
            let tensor = default(&info.name)
                .map(|proto| tract_onnx::tensor::load_tensor(&*onnx.provider, proto, folder.as_deref()))
                .transpose()
                .map_err(|error| refused(format!("initializer `{}`: {error:#}", info.name)))?;
            inputs.push(port(info, tensor.is_some()));
            template.inputs.push(outlet);
            template.defaults.push(tensor.map(Arc::new));
        }
        let outputs = graph.output.iter().map(|info| port(info, false)).collect();
        Ok(Self { template, ports: Ports::new(inputs, outputs), plans: Vec::new() })
    }

    fn make_plan(
        &self,
        inputs: &[(usize, View<'_>)],
        wanted: &[usize],
        freeze: bool,
    ) -> Result<Plan, EngineError> {
        let signature = Signature::new(inputs, wanted, freeze);
        let made = guarded(|| Plan::new(&self.template, signature)).map_err(failed)?;
        made.map_err(|error| failed(format!("{error:#}")))
    }

    /// The plan for these inputs and outputs, made now or before.
    fn plan(&mut self, inputs: &[(usize, View<'_>)], wanted: &[usize]) -> Result<&Plan, EngineError> {
        let plan = match self.plans.iter().position(|plan| plan.signature.fits(inputs, wanted)) {
            Some(position) => self.plans.remove(position),
            None => match self.make_plan(inputs, wanted, false) {
                Err(_) if inputs.iter().any(|(_, view)| is_shape_like(view)) => {
                    self.make_plan(inputs, wanted, true)?
                }
                made => made?,
            },
        };
        if self.plans.len() == PLANS {
            self.plans.remove(0);
        }
        self.plans.push(plan);
        self.plans.last().ok_or_else(|| failed("its plan is lost".to_owned()))
    }

    fn call(&mut self, inputs: &[(usize, View<'_>)], wanted: &[usize]) -> Result<TVec<TValue>, EngineError> {
        let mut values = Vec::with_capacity(inputs.len());
        for (number, view) in inputs {
            let tensor = to_tract(*view).ok_or_else(|| EngineError::Port {
                side: Side::Input,
                name: self.ports.inputs[*number].name.clone(),
                problem: PortProblem::NoDType { found: view.dtype() },
            })?;
            values.push(tensor.map_err(|error| failed(format!("{error:#}")))?);
        }
        let plan = self.plan(inputs, wanted)?;
        let results = guarded(|| plan.run(values)).map_err(failed)?;
        let results = results.map_err(|error| failed(format!("{error:#}")))?;
        if results.len() == wanted.len() {
            Ok(results)
        } else {
            Err(failed(format!("it gave {} outputs of {}", results.len(), wanted.len())))
        }
    }

    fn about(&self, number: usize, message: &str) -> EngineError {
        failed(format!("output `{}`: {message}", self.ports.outputs[number].name))
    }
}

impl Session for TractSession {
    fn inputs(&self) -> &[Port] {
        &self.ports.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.ports.outputs
    }

    fn run_on(&mut self, inputs: &[(&str, Arg<'_>)]) -> Result<Vec<Tensor>, EngineError> {
        let inputs = self.ports.bind_inputs(NAME, inputs)?;
        let wanted: Vec<usize> = (0..self.ports.outputs.len()).collect();
        let results = self.call(&inputs, &wanted)?;
        wanted
            .iter()
            .zip(&results)
            .map(|(&number, result)| {
                let tensor =
                    guarded(|| from_tract(result)).map_err(|message| self.about(number, &message))?;
                let tensor = tensor.map_err(|error| self.about(number, &format!("{error:#}")))?;
                // The runtime is known to compute another type now and then, as for a ConstantOfShape without value.
                self.ports.check_output(number, &tensor)?;
                Ok(tensor)
            })
            .collect()
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
        let results = self.call(&inputs, &wanted)?;
        for ((number, view), result) in outputs.iter_mut().zip(&results) {
            let filled = guarded(|| {
                with_values(result, |values| self.ports.fill(*number, view, result.shape(), values))
            });
            filled
                .map_err(|message| self.about(*number, &message))?
                .map_err(|error| self.about(*number, &format!("{error:#}")))??;
        }
        Ok(())
    }
}
