//! Model files read and written again.

use std::path::{Path, PathBuf};

use onnx_proto::{Bytes, Message as _, ModelProto};
use safe_onnx::ir::{IrError, Model, Storage};

fn models(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            // Those graphs have no weights and are no whole models.
            if !path.ends_with("zoo") {
                models(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "onnx") {
            found.push(path);
        }
    }
}

fn fixtures() -> Vec<PathBuf> {
    let mut found = Vec::new();
    models(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"), &mut found);
    found
}

#[test]
fn files_read_and_written_hold_the_same_messages() {
    let mut cases = 0;
    for path in fixtures() {
        let bytes = Bytes::from(std::fs::read(&path).unwrap());
        let original = ModelProto::decode(bytes).unwrap();
        let Ok(model) = Model::read(&path) else { continue };
        if model.uses_external_data() {
            continue;
        }
        let written = ModelProto::decode(Bytes::from(model.to_bytes().unwrap())).unwrap();
        assert!(written == original, "{}", path.display());
        cases += 1;
    }
    assert!(cases >= 25, "only {cases} models were read");
}

#[test]
fn nodes_in_any_order_are_put_in_order_and_a_cycle_is_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fmnist/resnet8.onnx");
    let original = ModelProto::decode(Bytes::from(std::fs::read(&path).unwrap())).unwrap();
    let mut shuffled = original.clone();
    // As converters leave them that append nodes at the end.
    let nodes = &mut shuffled.graph.as_mut().unwrap().node;
    nodes.rotate_left(3);
    nodes.swap(0, 5);
    let read = Model::from_bytes(shuffled.encode_to_vec()).unwrap();
    assert_eq!(read.graph.nodes().len(), original.graph.as_ref().unwrap().node.len());
    assert!(read.graph.check().is_empty());
    let mut cyclic = original.clone();
    let nodes = &mut cyclic.graph.as_mut().unwrap().node;
    let last = nodes.last().unwrap().output[0].clone();
    nodes[0].input[0] = last;
    let error = Model::from_bytes(cyclic.encode_to_vec()).unwrap_err();
    assert!(matches!(error, IrError::Graph { .. }), "{error}");
}

#[test]
fn external_data_survive_and_stay_external() {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fmnist/resnet8.onnx");
    let embedded = Model::read(&source).unwrap();
    let first = folder.path().join("first.onnx");
    let bytes = embedded.write(&first, Storage::External, false).unwrap();
    let data = folder.path().join("first.onnx.data");
    assert_eq!(bytes, std::fs::metadata(&first).unwrap().len() + std::fs::metadata(&data).unwrap().len());
    let external = Model::read(&first).unwrap();
    assert!(external.uses_external_data());
    assert_eq!(external.to_bytes().unwrap(), embedded.to_bytes().unwrap(), "the same weights");
    // What came with external data is written with external data, and replaces nothing unasked.
    let second = folder.path().join("second.onnx");
    external.write(&second, Storage::Auto, false).unwrap();
    assert!(folder.path().join("second.onnx.data").is_file());
    assert!(matches!(external.write(&second, Storage::Auto, false), Err(IrError::Exists { .. })));
    assert_eq!(Model::read(&second).unwrap().to_bytes().unwrap(), embedded.to_bytes().unwrap());
    // Nothing else was left in the folder.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    std::fs::write(&data, b"short").unwrap();
    let error = Model::read(&first).unwrap_err().to_string();
    assert!(error.contains("first.onnx.data") && error.contains("the file holds 5"), "{error}");
}
