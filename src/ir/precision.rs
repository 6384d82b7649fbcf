//! Models in another precision.

use std::collections::BTreeSet;

use onnx_proto::{GraphProto, TypeValue, ValueInfoProto};

use super::{
    Attribute, Attributes, DeclaredDim, Graph, Initializer, IrError, Model, NodeId, NodeSpec, ValueId,
    constants_to_initializers,
};
use crate::tensor::DType;

/// The attributes of standard operators that name an element type.
const TYPES: [&str; 7] =
    ["to", "dtype", "output_dtype", "output_datatype", "stash_type", "softmax_precision", "precision"];
/// The number of `float`.
const FLOAT: i64 = 1;
/// From this version on, `Cast` names the type by its number.
const NUMBERED_CAST: i64 = 6;

/// `model` in single precision where it computes with 16-bit floats (`float16`, `bfloat16`): weights, constants and
/// the results of all nodes are `float`. Its inputs stay what they are and are cast; outputs become `float`. Values of
/// the one have the same ids in the other. Nothing if the model computes with none, or if it cannot be said: before
/// operator set 6, and where a body reads a 16-bit graph input.
///
/// # Errors
/// When a constant cannot be read.
pub fn in_single_precision(model: &Model) -> Result<Option<Model>, IrError> {
    let graph = &model.graph;
    let inputs: Vec<ValueId> = graph.required_inputs().filter(|&id| is_short_value(graph, id)).collect();
    let captured = |id: &ValueId| graph.nodes().any(|(_, node)| node.captured.contains(id));
    let sayable = model.opset("").is_some_and(|opset| opset >= NUMBERED_CAST);
    if !computes_short(graph) || !sayable || inputs.iter().any(captured) {
        return Ok(None);
    }
    let mut model = model.clone();
    let graph = &mut model.graph;
    constants_to_initializers(graph);
    let stored: Vec<ValueId> =
        graph.initializers().filter(|(_, tensor)| is_short(tensor.dtype())).map(|(id, _)| id).collect();
    for id in stored {
        if let Some(tensor) = graph.value(id).initializer() {
            let wide = tensor.tensor()?.cast_float(DType::F32);
            tensor.release();
            graph.set_initializer(id, &wide);
        }
    }
    let nodes: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    for &id in &nodes {
        widen_attributes(&mut graph.node_mut(id).attributes)?;
    }
    let edges: BTreeSet<ValueId> = graph.inputs().iter().chain(graph.outputs()).copied().collect();
    let values: Vec<ValueId> = graph
        .values()
        .map(|(id, _)| id)
        .filter(|&id| is_short_value(graph, id) && !inputs.contains(&id))
        .collect();
    for id in values {
        redeclare(graph, id, edges.contains(&id));
    }
    for id in inputs {
        let Some(&first) = nodes.first() else { break };
        let readers = graph.consumers().swap_remove(id.index());
        let name = graph.value(id).name().to_owned();
        let wide = graph.insert_before(first, &name, NodeSpec::new("Cast", &[id]).attribute("to", FLOAT));
        for (node, place) in readers {
            if let Some(input) = place.and_then(|place| graph.node_mut(node).inputs.get_mut(place)) {
                *input = Some(wide);
            }
        }
    }
    Ok(Some(model))
}

fn is_short(dtype: Option<DType>) -> bool {
    matches!(dtype, Some(DType::F16 | DType::BF16))
}

fn is_short_value(graph: &Graph, id: ValueId) -> bool {
    graph.value(id).declared().is_some_and(|declared| is_short(declared.dtype))
}

fn is_short_number(number: i64) -> bool {
    i32::try_from(number).is_ok_and(|number| is_short(DType::from_onnx(number)))
}

/// Whether anything in the graph is, or is made to be, a 16-bit float; bodies are not looked into.
fn computes_short(graph: &Graph) -> bool {
    let stored = graph.values().any(|(id, value)| {
        is_short(value.initializer().and_then(Initializer::dtype)) || is_short_value(graph, id)
    });
    let made = |attributes: &Attributes| {
        TYPES.iter().any(|name| attributes.int(name).is_some_and(is_short_number))
            || attributes.tensor("value").is_some_and(|tensor| is_short(tensor.dtype()))
    };
    stored || graph.nodes().any(|(_, node)| made(&node.attributes))
}

fn widen_attributes(attributes: &mut Attributes) -> Result<(), IrError> {
    for name in TYPES {
        if attributes.int(name).is_some_and(is_short_number) {
            attributes.set(name, FLOAT);
        }
    }
    if let Some(filling) = attributes.tensor("value").filter(|tensor| is_short(tensor.dtype())) {
        let wide = filling.tensor()?.cast_float(DType::F32);
        attributes.set("value", Attribute::Tensor(Box::new(Initializer::from_tensor("value", &wide))));
    }
    attributes.graphs_mut().try_for_each(widen_body)
}

/// The same for the graph of an attribute, whose inputs get what the widened graph around it gives them.
fn widen_body(body: &mut GraphProto) -> Result<(), IrError> {
    for tensor in &mut body.initializer {
        let initializer = Initializer::from_proto(std::mem::take(tensor));
        *tensor = if is_short(initializer.dtype()) {
            let wide = initializer.tensor()?.cast_float(DType::F32);
            Initializer::from_tensor(initializer.name(), &wide).into_proto()
        } else {
            initializer.into_proto()
        };
    }
    for node in &mut body.node {
        let mut attributes = Attributes(std::mem::take(&mut node.attribute));
        widen_attributes(&mut attributes)?;
        node.attribute = attributes.0;
    }
    body.input.iter_mut().chain(&mut body.output).chain(&mut body.value_info).for_each(widen_type);
    Ok(())
}

fn widen_type(info: &mut ValueInfoProto) {
    let kind = info.r#type.as_mut().and_then(|kind| kind.value.as_mut());
    if let Some(TypeValue::Tensor(tensor)) = kind
        && is_short(tensor.elem_type.and_then(DType::from_onnx))
    {
        tensor.elem_type = Some(DType::F32.onnx());
    }
}

fn redeclare(graph: &mut Graph, id: ValueId, edge: bool) {
    let dims: Option<Vec<DeclaredDim>> = graph.value(id).declared().and_then(|declared| declared.dims);
    match dims.filter(|_| edge) {
        Some(dims) => graph.declare(id, DType::F32, &dims),
        None => graph.undeclare(id),
    }
}

#[cfg(test)]
mod tests {
    use onnx_proto::{AttributeProto, NodeProto, TensorProto, TensorType, TypeProto};

    use super::*;
    use crate::tensor::Tensor;

    const F16: i32 = 10;

    fn short(values: Vec<f32>) -> Tensor {
        Tensor::vector(values).cast_float(DType::F16)
    }

    /// A body that makes a constant of 16 bits and casts it to 16 bits.
    fn body() -> GraphProto {
        let mut cast = Attributes::default();
        cast.set("to", i64::from(F16));
        let node = NodeProto {
            op_type: Some("Cast".to_owned()),
            input: vec!["inner".to_owned()],
            output: vec!["given".to_owned()],
            attribute: cast.0,
            ..NodeProto::default()
        };
        let tensor = TypeValue::Tensor(TensorType { elem_type: Some(F16), shape: None });
        let output = ValueInfoProto {
            name: Some("given".to_owned()),
            r#type: Some(TypeProto { value: Some(tensor), ..TypeProto::default() }),
            ..ValueInfoProto::default()
        };
        GraphProto {
            node: vec![node],
            initializer: vec![Initializer::from_tensor("inner", &short(vec![0.5, 2.0])).into_proto()],
            output: vec![output],
            ..GraphProto::default()
        }
    }

    /// `y = x * w + (condition ? body : body)`, all of 16 bits, opset `opset`.
    fn mixed(opset: i64) -> Model {
        let mut model = Model::empty("test", opset);
        let graph = &mut model.graph;
        let x = graph.add_value("x");
        graph.add_input(x, DType::F16, &[DeclaredDim::Free, DeclaredDim::Fixed(2)]);
        let condition = graph.add_initializer("condition", &Tensor::scalar(true));
        let w = graph.add_initializer("w", &short(vec![1.0, -3.0]));
        let product = graph.add("product", NodeSpec::new("Mul", &[x, w]));
        graph.declare(product, DType::F16, &[DeclaredDim::Free, DeclaredDim::Fixed(2)]);
        let chosen = graph.add("chosen", NodeSpec::new("If", &[condition]));
        let chooses = graph.nodes().last().map(|(id, _)| id).unwrap();
        graph.node_mut(chooses).attributes.0 = ["then_branch", "else_branch"]
            .map(|name| AttributeProto {
                name: Some(name.to_owned()),
                g: Some(body()),
                r#type: Some(5),
                ..AttributeProto::default()
            })
            .to_vec();
        let y = graph.add("y", NodeSpec::new("Add", &[product, chosen]));
        graph.declare(y, DType::F16, &[DeclaredDim::Free, DeclaredDim::Fixed(2)]);
        graph.add_output(y);
        model
    }

    fn is_short_tensor(tensor: &TensorProto) -> bool {
        is_short(tensor.data_type.and_then(DType::from_onnx))
    }

    #[test]
    fn everything_but_the_inputs_becomes_single_precision() {
        let model = mixed(17);
        let wide = in_single_precision(&model).unwrap().unwrap();
        let (old, graph) = (&model.graph, &wide.graph);
        assert!(graph.check().is_empty());
        for (id, value) in old.values() {
            assert_eq!(value.name(), graph.value(id).name());
        }
        let (x, y, w) = (old.find("x").unwrap(), old.find("y").unwrap(), old.find("w").unwrap());
        let dtype = |id| graph.value(id).declared().and_then(|declared| declared.dtype);
        assert_eq!((dtype(x), dtype(y)), (Some(DType::F16), Some(DType::F32)));
        assert_eq!((dtype(old.find("product").unwrap()), graph.inputs()), (None, &[x][..]));
        let tensor = graph.value(w).initializer().unwrap().tensor().unwrap();
        assert_eq!(tensor.as_slice::<f32>().unwrap(), [1.0, -3.0]);
        let (_, cast) = graph.nodes().next().unwrap();
        assert_eq!((cast.op_type.as_str(), cast.attributes.int("to")), ("Cast", Some(FLOAT)));
        let readers = graph.consumers();
        assert_eq!((readers[x.index()].len(), readers[cast.outputs[0].unwrap().index()].len()), (1, 1));
        let chooses = graph.nodes().find(|(_, node)| node.op_type == "If").unwrap().1;
        for body in chooses.attributes.graphs() {
            assert!(!body.initializer.iter().any(is_short_tensor));
            assert_eq!(body.node[0].attribute[0].i, Some(FLOAT));
            let Some(TypeValue::Tensor(tensor)) = &body.output[0].r#type.as_ref().unwrap().value else {
                panic!("the output is no tensor")
            };
            assert_eq!(tensor.elem_type, Some(DType::F32.onnx()));
        }
    }

    #[test]
    fn models_of_other_types_and_inputs_of_bodies_stay() {
        let mut plain = Model::empty("test", 17);
        let x = plain.graph.add_value("x");
        plain.graph.add_input(x, DType::F32, &[DeclaredDim::Fixed(2)]);
        let y = plain.graph.add("y", NodeSpec::new("Relu", &[x]));
        plain.graph.add_output(y);
        assert!(in_single_precision(&plain).unwrap().is_none());
        assert!(in_single_precision(&mixed(5)).unwrap().is_none());
        let mut captures = mixed(17);
        let x = captures.graph.find("x").unwrap();
        let chooses = captures.graph.nodes().find(|(_, node)| node.op_type == "If").unwrap().0;
        captures.graph.node_mut(chooses).captured.push(x);
        assert!(in_single_precision(&captures).unwrap().is_none());
    }
}
