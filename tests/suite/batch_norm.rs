//! BatchNormalization in training: in every operator set, and for networks from which it was folded away.

use std::path::{Path, PathBuf};

use onnx_proto::{Bytes, Message as _, ModelProto};
use safe_onnx::autodiff::{Loss, Request, Term, differentiate, trainable_initializers};
use safe_onnx::engine::LoadOptions;
use safe_onnx::ir::{Model, constants_to_initializers};
use safe_onnx::ops::{
    ChannelStatistics, Statistics, fold_normalization, insert_normalization, normalizable_layers,
};
use safe_onnx::tensor::{Random, Tensor};
use safe_onnx::trace::{InputShapes, Trace, trace};

use crate::support::{engines, onnx_runtime, relative_error, run};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn traced(model: &mut Model) -> Trace {
    constants_to_initializers(&mut model.graph);
    trace(model, &*onnx_runtime(), &LoadOptions::default(), &InputShapes::default()).unwrap()
}

/// The network of a gradient case as if it had been exported in operator set `opset`: all that it does was the same
/// in all of them but for the name of an attribute.
fn in_opset(opset: i64) -> Model {
    let bytes = std::fs::read(fixture("gradients/cnn_bn_eval/model.onnx")).unwrap();
    let mut proto = ModelProto::decode(Bytes::from(bytes)).unwrap();
    for import in &mut proto.opset_import {
        import.version = Some(opset);
    }
    for node in proto.graph.iter_mut().flat_map(|graph| &mut graph.node) {
        node.attribute.retain(|attribute| opset >= 14 || attribute.name.as_deref() != Some("training_mode"));
    }
    Model::from_bytes(proto.encode_to_vec()).unwrap()
}

#[test]
fn statistics_of_the_batch_train_alike_in_old_operator_sets() {
    let mut failures = Vec::new();
    for engine in engines() {
        let outputs = |opset: i64, statistics: Option<Statistics>| -> Vec<Tensor> {
            let mut model = in_opset(opset);
            let traced = traced(&mut model);
            let (name, x) = &traced.inputs[0];
            let term = Term::CrossEntropy {
                output: 0,
                class_axis: 1,
                probabilities: false,
                smoothing: 0.0,
                class_weights: Vec::new(),
                ignore_index: None,
            };
            let request = Request {
                batch_statistics: statistics,
                elementary: !engine.normalizes_batches(),
                ..Request::new(
                    Loss { terms: vec![(1.0.into(), term)] },
                    trainable_initializers(&model.graph, &traced.facts, |_| true),
                )
            };
            let training = differentiate(&model, &traced.facts, &request).unwrap();
            let target = Tensor::vector(vec![1_i64; x.dims()[0]]);
            run(&*engine, &training.model, &[(name, x), ("target", &target)]).unwrap()
        };
        for statistics in [Statistics::Own, Statistics::Running] {
            let newest = outputs(17, Some(statistics));
            let frozen = outputs(17, None);
            assert!(newest.len() > frozen.len(), "no statistics come out");
            assert!(relative_error(&newest[0], &frozen[0]) > 1e-3, "the statistics make no difference");
            for opset in [11, 12, 13] {
                let old = outputs(opset, Some(statistics));
                assert_eq!(old.len(), newest.len());
                for (index, (old, newest)) in old.iter().zip(&newest).enumerate() {
                    // A bias before a normalisation has no gradient but for rounding.
                    let size =
                        newest.to_f64().unwrap().iter().fold(0.0_f64, |size, value| size.max(value.abs()));
                    let error = relative_error(newest, old);
                    if size > 1e-6 && error > 1e-4 {
                        failures.push(format!("{} opset {opset} output {index}: {error:.1e}", engine.name()));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_normalisation_put_in_changes_nothing_and_folds_away() {
    let mut model = Model::read(&fixture("fmnist/resnet8.folded.onnx")).unwrap();
    let traced = traced(&mut model);
    let original = model.clone();
    let layers = normalizable_layers(&model.graph, &traced.facts);
    let convolutions = model.graph.nodes().filter(|(_, node)| node.op_type == "Conv").count();
    assert_eq!(layers.len(), convolutions);
    let mut random = Random::new(7);
    let statistics: Vec<ChannelStatistics> = original
        .graph
        .nodes()
        .filter(|(_, node)| node.op_type == "Conv")
        .map(|(_, node)| traced.facts.get(node.outputs[0].unwrap()).unwrap().dims[1])
        .map(|channels| ChannelStatistics {
            mean: (0..channels).map(|_| random.normal()).collect(),
            variance: (0..channels).map(|_| random.unit() * 4.0).collect(),
        })
        .collect();
    insert_normalization(&mut model.graph, &layers, &statistics);
    assert!(model.graph.check().is_empty(), "{:?}", model.graph.check());
    assert_eq!(model.graph.nodes().len(), original.graph.nodes().len() + layers.len());
    let (name, x) = &traced.inputs[0];
    for engine in engines() {
        let outputs = |model: &Model| run(&*engine, model, &[(name, x)]).unwrap();
        let error = relative_error(&outputs(&original)[0], &outputs(&model)[0]);
        assert!(error < 1e-5, "{}: {error:.1e}", engine.name());
    }
    fold_normalization(&mut model.graph, &layers).unwrap();
    assert_eq!(model.graph.nodes().len(), original.graph.nodes().len());
    assert_eq!(model.graph.initializers().count(), original.graph.initializers().count());
    for (id, tensor) in original.graph.initializers() {
        let folded = model.graph.value(id).initializer().unwrap();
        assert_eq!(folded.name(), tensor.name());
        let (tensor, folded) = (tensor.tensor().unwrap(), folded.tensor().unwrap());
        assert!(relative_error(&tensor, &folded) < 1e-6, "{}", original.graph.value(id).name());
    }
}

#[test]
fn only_convolutional_networks_without_any_normalisation_get_one() {
    for (name, layers) in [("resnet8", 0), ("mbv2_tiny", 0), ("vit_tiny", 0), ("resnet8.folded", 9)] {
        let mut model = Model::read(&fixture(&format!("fmnist/{name}.onnx"))).unwrap();
        let traced = traced(&mut model);
        assert_eq!(normalizable_layers(&model.graph, &traced.facts).len(), layers, "{name}");
    }
}
