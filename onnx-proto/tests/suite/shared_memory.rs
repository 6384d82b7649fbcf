//! Byte fields share the memory of the file they were read from.

use onnx_proto::{AttributeProto, Bytes, GraphProto, Message, ModelProto, NodeProto, TensorProto};

use crate::Outcome;

fn model() -> ModelProto {
    let text = |value: &'static str| Bytes::from_static(value.as_bytes());
    let raw = TensorProto { raw_data: Some(vec![7; 4096].into()), ..TensorProto::default() };
    let texts = TensorProto { string_data: vec![text("one"), text("two")], ..TensorProto::default() };
    let attribute = AttributeProto {
        s: Some(text("NOTSET")),
        strings: vec![text("three"), text("four")],
        t: Some(TensorProto { raw_data: Some(text("constant")), ..TensorProto::default() }),
        ..AttributeProto::default()
    };
    let node = NodeProto { attribute: vec![attribute], ..NodeProto::default() };
    let graph = GraphProto { node: vec![node], initializer: vec![raw, texts], ..GraphProto::default() };
    ModelProto { graph: Some(graph), ..ModelProto::default() }
}

/// Every byte field of the model.
fn byte_fields(model: &ModelProto) -> Vec<&Bytes> {
    let graph = model.graph.iter();
    let attributes = graph.clone().flat_map(|graph| &graph.node).flat_map(|node| &node.attribute);
    let tensors = graph.flat_map(|graph| &graph.initializer);
    let constants = attributes.clone().filter_map(|attribute| attribute.t.as_ref());
    let of_tensors =
        tensors.chain(constants).flat_map(|tensor| tensor.raw_data.iter().chain(&tensor.string_data));
    let of_attributes = attributes.flat_map(|attribute| attribute.s.iter().chain(&attribute.strings));
    of_tensors.chain(of_attributes).collect()
}

/// How many of the byte fields lie in the memory of `file`.
fn shared(model: &ModelProto, file: &[u8]) -> usize {
    let memory = file.as_ptr_range();
    let lies_within = |field: &Bytes| {
        let part = field.as_ptr_range();
        memory.start <= part.start && part.end <= memory.end
    };
    byte_fields(model).into_iter().filter(|field| lies_within(field)).count()
}

#[test]
fn bytes_are_shared_and_slices_are_copied() -> Outcome {
    let file = Bytes::from(model().encode_to_vec());

    let from_bytes = ModelProto::decode(file.clone())?;
    assert_eq!(from_bytes, model());
    assert_eq!(byte_fields(&from_bytes).len(), 7);
    assert_eq!(shared(&from_bytes, &file), 7);

    let from_slice = ModelProto::decode(&file[..])?;
    assert_eq!(from_slice, from_bytes);
    assert_eq!(shared(&from_slice, &file), 0);
    Ok(())
}
