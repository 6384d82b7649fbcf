//! Nodes that tract runs otherwise than ONNX defines them, without a word.
//!
//! The laws of operators, run on both engines, showed them; a wrong result is worse than none.

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

/// One `operator "node" (what is misread)` for each such node of `graph` and of the bodies in it.
pub(super) fn misread(graph: &GraphProto) -> Vec<String> {
    let mut found = Vec::new();
    for node in &graph.node {
        if let Some(what) = misreading(node) {
            found.push(format!("{} \"{}\" ({what})", node.op_type, node.name));
        }
        for body in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            found.extend(misread(body));
        }
    }
    found
}

fn misreading(node: &NodeProto) -> Option<&'static str> {
    let standard = matches!(node.domain.as_str(), "" | "ai.onnx");
    let find = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
    let says = |name: &str, text: &str| find(name).is_some_and(|attribute| attribute.s == text.as_bytes());
    match node.op_type.as_str() {
        "LSTM" | "GRU" | "RNN" if standard && says("direction", "reverse") => {
            Some("the direction is not read")
        }
        "LSTM" | "GRU" | "RNN"
            if standard
                && ["activations", "clip", "input_forget"]
                    .iter()
                    .any(|name| find(name).is_some_and(|attribute| matters(&node.op_type, attribute))) =>
        {
            Some("activations, clip and input_forget are not read")
        }
        "Celu" if standard && find("alpha").is_some_and(|alpha| alpha.f.to_bits() != 1.0_f32.to_bits()) => {
            Some("alpha is not taken out of the exponent")
        }
        "GlobalLpPool" if standard => Some("the sum is divided by the number of elements"),
        "Einsum" if standard && find("equation").is_some_and(|equation| equation.s.contains(&b'.')) => {
            Some("`...` is understood otherwise")
        }
        "Attention" if node.domain == "com.microsoft" => Some("it is taken for ONNX's operator of that name"),
        "SkipSimplifiedLayerNormalization"
            if node.domain == "com.microsoft"
                && node.input.iter().filter(|input| !input.is_empty()).count() > 3 =>
        {
            Some("the bias is left out")
        }
        "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization"
            if node.domain == "com.microsoft" && find("epsilon").is_none() =>
        {
            Some("its epsilon is taken for 1e-5, and is 1e-12 where none is given")
        }
        _ => None,
    }
}

/// Whether an attribute of a recurrent node asks for something else than the operator does without it.
fn matters(op_type: &str, attribute: &AttributeProto) -> bool {
    match attribute.name.as_str() {
        "input_forget" => attribute.i != 0,
        "clip" => true,
        _ => {
            let usual: &[&str] = match op_type {
                "LSTM" => &["Sigmoid", "Tanh", "Tanh"],
                "GRU" => &["Sigmoid", "Tanh"],
                _ => &["Tanh"],
            };
            // Once for each direction.
            attribute
                .strings
                .iter()
                .zip(usual.iter().cycle())
                .any(|(name, usual)| name[..] != *usual.as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::{Choice, Discovery, LoadOptions, discover, load_model};
    use crate::ir::{DeclaredDim, Model, NodeSpec};
    use crate::tensor::{DType, Tensor};

    #[test]
    fn what_would_be_misread_is_refused_and_named() {
        let tract = discover(&Discovery { engine: Choice::Tract, ..Discovery::default() }).unwrap().engine;
        let load = |direction: &str| {
            let mut model = Model::empty("test", 17);
            let graph = &mut model.graph;
            let x = graph.add_value("x");
            graph.add_input(x, DType::F32, &[3, 1, 2].map(DeclaredDim::Fixed));
            let mut weight = |dims: [usize; 3]| {
                let values = vec![0.5_f32; dims.iter().product()];
                graph.add_initializer("weight", &Tensor::new(dims.to_vec(), values).unwrap())
            };
            let (w, r) = (weight([1, 2, 2]), weight([1, 2, 2]));
            let spec = NodeSpec::new("RNN", &[x, w, r]).attribute("hidden_size", 2_i64);
            let y = graph.add("y", spec.attribute("direction", direction));
            graph.add_output(y);
            load_model(&*tract, &LoadOptions::default(), &model)
                .map(|_| ())
                .map_err(|error| error.to_string())
        };
        assert_eq!(load("forward"), Ok(()));
        let message = load("reverse").unwrap_err();
        assert!(message.contains("RNN \"y\" (the direction is not read)"), "{message}");
    }
}
