//! `doctor`, `inspect`, `eval`, `verify`: what they print.

use super::{fixture, run, run_in};

const NORMALISED: [&str; 4] = ["--mean", "0.2860", "--std", "0.3530"];

#[test]
fn doctor_finds_both_engines() {
    let report = run(&["doctor", "--json"]).expect_code(0).json();
    assert!(report["engine"].as_str().unwrap().starts_with("onnxruntime "), "{report}");
    assert!(report["ort_path"].is_string() && report["ort_version"].is_string(), "{report}");
    assert!(report["tract_version"].is_string() && report["threads"].as_u64().unwrap() >= 1, "{report}");
    let providers = report["execution_providers"].as_array().unwrap();
    assert!(providers.iter().any(|provider| provider == "CPUExecutionProvider"), "{report}");
    let text = run(&["doctor"]).expect_code(0).stdout;
    assert!(text.contains("ONNX Runtime") && text.contains("tract") && text.contains("CUDA"), "{text}");
}

#[test]
fn inspect_counts_what_the_models_hold() {
    // Multiply-accumulates of convolutions and linear layers, as counted where the models were made; those of the
    // attention products are added for the transformers.
    let cases = [
        ("resnet8.onnx", 9_345_920_u64),
        ("resnet8.folded.onnx", 9_345_920),
        ("mbv2_tiny.onnx", 4_462_240),
        ("vit_tiny.onnx", 6_473_344 + 1_229_312),
        ("vit_tiny.splitqkv.onnx", 6_473_344 + 1_229_312),
    ];
    let mut wrong = Vec::new();
    for (model, macs) in cases {
        let report = run(&["inspect", &fixture(model), "--json"]).expect_code(0).json();
        let layers: u64 =
            report["layers"].as_array().unwrap().iter().map(|layer| layer["macs"].as_u64().unwrap()).sum();
        let groups: u64 = report["families"]
            .as_array()
            .unwrap()
            .iter()
            .map(|family| family["groups"].as_u64().unwrap())
            .sum();
        let understood = report["unknown"].as_array().unwrap().is_empty();
        let smallest = report["smallest_macs_share"].as_f64().unwrap();
        if (report["macs"].as_u64(), layers) != (Some(macs), macs)
            || report["groups"].as_u64() != Some(groups)
            || groups == 0
            || !understood
            || !(0.0..0.8).contains(&smallest)
        {
            wrong.push(format!(
                "{model}: {} MACs, {layers} in layers, {groups} groups, {smallest}",
                report["macs"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn inspect_says_why_an_axis_stays() {
    let text = run(&["inspect", &fixture("resnet8.onnx")]).expect_code(0).stdout;
    assert!(text.contains("graph output `logits`"), "{text}");
    let json = run(&["inspect", &fixture("resnet8.onnx"), "--json"]).json();
    let head = json["pinned"].as_array().unwrap().iter().find(|axis| axis["tensor"] == "fc.weight").unwrap();
    assert_eq!((head["axis"].as_u64(), head["size"].as_u64()), (Some(0), Some(10)));
    // Of ten classes one would stay; of a window's three rows, one.
    let layers = json["layers"].as_array().unwrap();
    let macs = |output: &str| {
        layers.iter().find(|layer| layer["name"].as_str().unwrap().contains(output)).unwrap()["macs"].as_u64()
    };
    assert_eq!(head["macs"].as_u64(), macs("fc").map(|macs| macs * 9 / 10));
    let side = |axis: &&serde_json::Value| axis["tensor"] == "conv.weight" && axis["axis"] == 2;
    let window = json["pinned"].as_array().unwrap().iter().find(side).unwrap();
    assert_eq!(window["macs"].as_u64(), macs("/conv/").map(|macs| macs * 2 / 3));
    let members =
        json["families"].as_array().unwrap().iter().flat_map(|family| family["members"].as_array().unwrap());
    for member in members.filter(|member| member["tensor"].as_str().unwrap().ends_with("conv1.weight")) {
        let role = if member["axis"] == 0 { "producer" } else { "consumer" };
        assert_eq!(member["role"], role, "{member}");
    }
}

/// The groups of an SVG file with a class and a title: class, first line of the title, all of the title. Every
/// element must be closed by its own tag, and every mark escaped.
fn titled_groups(svg: &str) -> Vec<(String, String)> {
    let plain = |text: &str| {
        for reference in text.split('&').skip(1) {
            assert!(["amp;", "lt;", "gt;", "quot;"].iter().any(|name| reference.starts_with(name)), "{text}");
        }
        let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
        text.replace("&amp;", "&")
    };
    let mut open: Vec<(String, String)> = Vec::new();
    let mut found = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        assert!(!text.contains('>') && (!open.is_empty() || text.trim().is_empty()), "{text}");
        let end = start + rest[start..].find('>').unwrap();
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            let (opened, _) = open.pop().unwrap();
            assert_eq!(opened, name);
            if let ("title", Some((group, class))) = (name, open.last())
                && group == "g"
            {
                found.push((class.clone(), plain(text)));
            }
        } else if !tag.ends_with('/') {
            let class = tag.split("class=\"").nth(1).and_then(|class| class.split('"').next());
            open.push((tag.split(' ').next().unwrap().to_owned(), class.unwrap_or_default().to_owned()));
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    found
}

#[test]
fn inspect_draws_layers_and_families() {
    let folder = tempfile::tempdir().unwrap();
    // By model, nodes whose weights pass other nodes before they are used.
    let cases: [(&str, &[&str]); 2] =
        [("resnet8.onnx", &[]), ("vit_tiny.onnx", &["/attn/qkv/MatMul", "/attn/proj/MatMul", "/fc1/MatMul"])];
    for (model, behind) in cases {
        let words = ["inspect", &fixture(model), "--json", "--svg", "{}/groups.svg", "--force"];
        let report = run_in(folder.path(), &words).expect_code(0).json();
        let svg = std::fs::read_to_string(folder.path().join("groups.svg")).unwrap();
        assert!(svg.starts_with("<svg ") && svg.contains(" viewBox=\"0 0 "), "{model}");
        let groups = titled_groups(&svg);
        let holds = |class: &str, line: &str| {
            groups.iter().any(|(own, title)| own == class && title.lines().any(|own| own == line))
        };
        let mut missing = Vec::new();
        for layer in report["layers"].as_array().unwrap() {
            let (name, operator) = (layer["name"].as_str().unwrap(), layer["operator"].as_str().unwrap());
            let weighs =
                layer["params"].as_u64().unwrap() > 0 || behind.iter().any(|part| name.ends_with(part));
            let line = format!("{operator} {name}");
            if !(holds("layer", &line) || !weighs && holds("step", &line)) {
                missing.push(line);
            }
        }
        for (number, family) in report["families"].as_array().unwrap().iter().enumerate() {
            let title = format!("Family {number}");
            let entry = groups.iter().find(|(class, own)| class == "family" && own.starts_with(&title));
            let members = family["members"].as_array().unwrap();
            if entry.is_none_or(|(_, own)| own.lines().count() != 1 + members.len()) {
                missing.push(title);
            }
        }
        assert!(missing.is_empty(), "{model}: {missing:?}");
        let hatched = report["families"].as_array().unwrap().iter().any(|family| family["exact"] == false);
        assert_eq!(svg.contains("<pattern "), hatched, "{model}");
        // Lines arrive at every box but the inputs.
        let boxes = groups.iter().filter(|(class, _)| ["layer", "step", "end"].contains(&class.as_str()));
        let arrows = svg.matches("h8z").count();
        assert!(arrows + 1 >= boxes.count(), "{model}: {arrows} arrows");
        run_in(folder.path(), &words).expect_code(0);
        assert_eq!(svg, std::fs::read_to_string(folder.path().join("groups.svg")).unwrap(), "{model}");
    }
    let words = ["inspect", &fixture("resnet8.onnx"), "--svg", "{}/groups.svg"];
    let ran = run_in(folder.path(), &words).expect_code(2);
    assert!(ran.stderr.contains("the file exists") && ran.stdout.is_empty(), "{}", ran.stderr);
    assert_eq!(super::listing(folder.path()), ["groups.svg"]);
}

#[test]
fn eval_measures_the_accuracy_that_is_known() {
    for engine in ["ort", "tract"] {
        let (model, data) = (fixture("resnet8.onnx"), fixture("test.npz"));
        let words =
            [&["eval", &model, "--data", &data, "--json", "--engine", engine][..], &NORMALISED].concat();
        let report = run(&words).expect_code(0).json();
        assert_eq!(report["samples"].as_u64(), Some(2000), "{engine}");
        let accuracy = report["accuracy"].as_f64().unwrap();
        assert!((accuracy - 0.926).abs() < 1e-9, "{engine}: {accuracy}");
        let loss = report["loss"].as_f64().unwrap();
        assert!((0.20..0.22).contains(&loss), "{engine}: {loss}");
    }
}

#[test]
fn verify_tells_equal_from_different_models() {
    let folder = tempfile::tempdir().unwrap();
    let (one, folded, other) =
        (fixture("resnet8.onnx"), fixture("resnet8.folded.onnx"), fixture("mbv2_tiny.onnx"));
    for engine in ["ort", "tract"] {
        let report = run(&["verify", &one, &one, "--engine", engine, "--json"]).expect_code(0).json();
        assert_eq!(report["verified"]["max_rel_error"].as_f64(), Some(0.0), "{engine}");
        run(&["verify", &one, &folded, "--engine", engine]).expect_code(0);
        let report = run(&["verify", &one, &other, "--engine", engine, "--json"]).expect_code(1).json();
        assert_eq!(report["holds"].as_bool(), Some(false), "{engine}");
    }
    let data = fixture("test.npz");
    let words = [&["verify", &one, &folded, "--data", &data, "--json"][..], &NORMALISED].concat();
    let report = run(&words).expect_code(0).json();
    assert_eq!(report["verified"]["real_data"].as_bool(), Some(true));
    run_in(folder.path(), &["verify", &one, &folded, "--tolerance", "0"]).expect_code(1);
}
