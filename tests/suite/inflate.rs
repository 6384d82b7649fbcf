//! Model files whose large float tensors are stored without data.

use std::path::Path;

use onnx_proto::{Bytes, GraphProto, Message as _, ModelProto, NodeProto, TensorProto};
use safe_onnx::ir::Model;
use safe_onnx::tensor::{DType, Random, Tensor};

/// The model of a file whose large float tensors have no data, with random ones as their documentation says.
pub(crate) fn inflated(file: &Path, seed: u64) -> Result<Model, String> {
    let bytes = Bytes::from(std::fs::read(file).unwrap());
    let mut proto = ModelProto::decode(bytes).map_err(|error| error.to_string())?;
    let mut random = Random::fork(seed, "weights");
    if let Some(graph) = &mut proto.graph {
        fill_graph(graph, &mut random);
    }
    proto.functions.iter_mut().for_each(|function| fill_nodes(&mut function.node, &mut random));
    Model::from_bytes(proto.encode_to_vec()).map_err(|error| error.to_string())
}

fn fill_graph(graph: &mut GraphProto, random: &mut Random) {
    graph.initializer.iter_mut().for_each(|tensor| fill(tensor, random));
    fill_nodes(&mut graph.node, random);
}

fn fill_nodes(nodes: &mut [NodeProto], random: &mut Random) {
    for attribute in nodes.iter_mut().flat_map(|node| node.attribute.iter_mut()) {
        attribute.t.iter_mut().chain(&mut attribute.tensors).for_each(|tensor| fill(tensor, random));
        attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(|graph| fill_graph(graph, random));
    }
}

fn fill(tensor: &mut TensorProto, random: &mut Random) {
    let Some(spec) = tensor.doc_string.as_deref().and_then(|text| text.strip_prefix("synthetic:")) else {
        return;
    };
    let parts: Vec<&str> = spec.split(':').collect();
    let [kind, first, second] = parts[..] else { panic!("{spec}") };
    let (first, second): (f64, f64) = (first.parse().unwrap(), second.parse().unwrap());
    let dims: Vec<usize> = tensor.dims.iter().map(|&dim| dim as usize).collect();
    let mut draw = || {
        if kind == "normal" {
            first + second * random.normal()
        } else {
            first + (second - first) * random.unit()
        }
    };
    let values: Vec<f64> = (0..dims.iter().product()).map(|_| draw()).collect();
    let dtype = DType::from_onnx(tensor.data_type.unwrap()).unwrap();
    let values = Tensor::new(dims, values).unwrap().cast_float(dtype);
    let raw: Vec<u8> = match dtype {
        DType::F32 => {
            values.as_slice::<f32>().unwrap().iter().flat_map(|value| value.to_le_bytes()).collect()
        }
        DType::F16 => {
            values.as_slice::<half::f16>().unwrap().iter().flat_map(|value| value.to_le_bytes()).collect()
        }
        other => panic!("synthetic tensors of {other}"),
    };
    tensor.raw_data = Some(Bytes::from(raw));
    tensor.doc_string = None;
}
