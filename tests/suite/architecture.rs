//! Who may import whom, and who may know what: the tables of ARCHITECTURE.md, enforced on the source.
//!
//! Unit tests inside `src` are left out: they may use what they need.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use safe_onnx::ops;
use syn::visit::{self, Visit};

/// What each module may import from the crate. `compress` may import everything above it.
const IMPORTS: &[(&str, &[&str])] = &[
    ("tensor", &[]),
    ("kernels", &[]),
    ("report", &[]),
    ("ir", &["tensor"]),
    ("data", &["tensor"]),
    ("ops", &["kernels", "tensor", "ir"]),
    ("engine", &["kernels", "tensor", "ir"]),
    ("trace", &["tensor", "ir", "engine"]),
    ("bench", &["tensor", "ir", "engine"]),
    ("memory", &["tensor", "ir", "engine", "trace"]),
    ("deps", &["tensor", "ir", "ops"]),
    ("cost", &["tensor", "ir", "ops", "deps"]),
    ("autodiff", &["kernels", "tensor", "ir", "ops"]),
    ("shrink", &["tensor", "ir", "ops", "deps"]),
    ("safe", &["tensor"]),
    ("verify", &["tensor", "ir", "engine", "report"]),
    (
        "compress",
        &[
            "tensor", "report", "ir", "data", "ops", "engine", "trace", "bench", "deps", "cost", "autodiff",
            "shrink", "safe", "verify", "memory",
        ],
    ),
    // The binary: the commands, their reports, and the types of their settings and errors.
    ("cli", &["compress", "report", "data", "engine", "ir", "safe", "trace", "verify"]),
];

/// Files that may import more than their module, and why.
const MORE_IMPORTS: &[(&str, &[&str], &str)] = &[(
    "safe/train.rs",
    &["ir", "engine", "autodiff", "deps", "data"],
    "joins the arithmetic to an engine that computes the gradients",
)];

/// Crates that only some files may name.
const CRATES: &[(&str, &[&str])] = &[
    ("onnx_proto", &["ir/"]),
    ("tract_onnx", &["engine/tract/"]),
    ("clap", &["cli/"]),
    ("ctrlc", &["cli/"]),
    ("indicatif", &["cli/"]),
    ("cudarc", &["engine/cuda.rs"]),
    ("image", &["data/"]),
    ("ort", &["engine/"]),
];

/// Modules that spell no operator's name.
const NAMELESS: &[&str] = &["autodiff", "deps", "cost", "shrink"];

/// Names that these modules may spell, because the operator is emitted there, never recognised.
const EMITTED: &[(&str, &str, &str)] = &[
    ("shrink/edits.rs", "Mul", "averages over fewer indices are multiplied by their share"),
    ("autodiff/mod.rs", "Add", "sums the gradients that reach one value"),
    ("autodiff/mod.rs", "Identity", "gives one gradient a second name"),
    ("autodiff/terms.rs", "Abs", "binary cross-entropy without overflow, smooth L1"),
    ("autodiff/terms.rs", "Exp", "binary cross-entropy of logits"),
    ("autodiff/terms.rs", "Log", "cross-entropies"),
    ("autodiff/terms.rs", "Max", "keeps a logarithm finite"),
    ("autodiff/terms.rs", "Min", "keeps a logarithm finite; where smooth L1 is bent"),
    ("autodiff/terms.rs", "Relu", "binary cross-entropy of logits"),
    ("autodiff/terms.rs", "Sigmoid", "probabilities of logits"),
    ("autodiff/terms.rs", "Sign", "slope of smooth L1"),
    ("autodiff/loss.rs", "Size", "the number of elements of a mean"),
    ("autodiff/classes.rs", "Max", "keeps a logarithm finite"),
    ("autodiff/classes.rs", "Reciprocal", "gradient of the logarithm"),
    ("autodiff/classes.rs", "Log", "logits of probabilities"),
    ("autodiff/classes.rs", "Exp", "probabilities of logits"),
    ("autodiff/classes.rs", "Equal", "one-hot labels"),
    ("autodiff/classes.rs", "LogSoftmax", "the loss of a classifier"),
    ("autodiff/classes.rs", "Softmax", "its gradient"),
    ("shrink/edits.rs", "Where", "puts the smaller dimensions into a computed shape"),
];

/// What one file names.
#[derive(Default)]
struct Names {
    /// Paths, segment by segment.
    paths: BTreeSet<Vec<String>>,
    /// String literals.
    texts: BTreeSet<String>,
}

impl Names {
    fn uses(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.uses(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => drop(self.paths.insert(with(&name.ident))),
            syn::UseTree::Rename(rename) => drop(self.paths.insert(with(&rename.ident))),
            syn::UseTree::Glob(_) => drop(self.paths.insert(before.to_vec())),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.uses(before, tree)),
        }
    }

    /// Paths and literals among the tokens of a macro, which has no syntax of its own.
    fn tokens(&mut self, text: &str) {
        let plain = text.replace(" :: ", "::").replace(":: ", "::").replace(" ::", "::");
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        for path in plain.split(|c| !word(c)).filter(|path| path.contains("::")) {
            self.paths.insert(path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect());
        }
        self.texts.extend(plain.split('"').skip(1).step_by(2).map(str::to_owned));
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let list = attribute.meta.require_list();
        attribute.path().is_ident("cfg") && list.is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.uses(&[], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.paths.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.texts.insert(text.value());
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(&item.tokens.to_string());
        visit::visit_macro(self, item);
    }
}

fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every file of `src` that is no unit test, by its path from there.
fn sources() -> BTreeMap<String, (String, Names)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&root, &mut files);
    let mut sources = BTreeMap::new();
    for path in files {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        if name.ends_with("/tests.rs") || name.contains("/tests/") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut names = Names::default();
        names.visit_file(&syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}")));
        sources.insert(name, (text, names));
    }
    assert!(sources.len() > 100, "only {} files were found", sources.len());
    sources
}

/// The module of the crate that a file belongs to; nothing for `lib.rs` and `main.rs`.
fn module(file: &str) -> Option<&str> {
    file.split_once('/').map(|(module, _)| module)
}

/// The module of the crate that a path leads to.
fn imported<'a>(file: &str, path: &'a [String]) -> Option<&'a str> {
    let (first, second) = (path.first()?.as_str(), path.get(1)?.as_str());
    // From `module/mod.rs`, `super` is the crate. The binary's modules reach the library by its name.
    let from_root = first == "super" && file.ends_with("/mod.rs") && file.matches('/').count() == 1;
    let leads_out = match module(file) {
        Some("cli") => first == "safe_onnx",
        _ => first == "crate" || from_root,
    };
    leads_out.then_some(second)
}

#[test]
fn imports_point_downward() {
    let table: BTreeMap<&str, &[&str]> = IMPORTS.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut needed = BTreeSet::new();
    for (file, (_, names)) in &sources() {
        let Some(module) = module(file) else { continue };
        let Some(allowed) = table.get(module) else {
            wrong.push(format!("{file}: the module {module} is not in the table"));
            continue;
        };
        let more = MORE_IMPORTS.iter().find(|(name, ..)| name == file);
        for import in names.paths.iter().filter_map(|path| imported(file, path)) {
            if import == module || !table.contains_key(import) || allowed.contains(&import) {
                continue;
            }
            match more {
                Some((name, extra, _)) if extra.contains(&import) => drop(needed.insert(*name)),
                _ => wrong.push(format!("{file} imports {import}")),
            }
        }
    }
    for (file, ..) in MORE_IMPORTS.iter().filter(|(file, ..)| !needed.contains(file)) {
        wrong.push(format!("{file} needs its exception no longer"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_cycle() {
    for (place, (module, imports)) in IMPORTS.iter().enumerate() {
        for import in *imports {
            let above = IMPORTS.iter().position(|(other, _)| other == import);
            assert!(
                above.is_some_and(|above| above < place),
                "{module} imports {import}, which stands below it"
            );
        }
    }
}

#[test]
fn crates_are_named_where_they_belong() {
    let mut wrong = Vec::new();
    for (file, (_, names)) in &sources() {
        for (name, places) in CRATES {
            let named = names.paths.iter().any(|path| path.len() > 1 && path[0] == *name);
            if named && !places.iter().any(|place| file.starts_with(place)) {
                wrong.push(format!("{file} names {name}, which belongs to {}", places.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nobody_reaches_past_the_module_above() {
    let reaches = |path: &Vec<String>| path.windows(2).any(|pair| pair == ["super", "super"]);
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(_, (text, names))| names.paths.iter().any(reaches) || text.contains("super::super"))
        .map(|(file, _)| file)
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn operators_are_known_in_their_files_alone() {
    let operators: BTreeSet<&str> = ops::all().map(|operator| operator.spec().op_type).collect();
    assert!(operators.len() > 50, "only {} operators were found", operators.len());
    let mut wrong = Vec::new();
    let mut needed = BTreeSet::new();
    for (file, (_, names)) in &sources() {
        if !module(file).is_some_and(|module| NAMELESS.contains(&module)) {
            continue;
        }
        for name in names.texts.iter().filter(|text| operators.contains(text.as_str())) {
            match EMITTED.iter().find(|(place, emitted, _)| place == file && emitted == name) {
                Some(exception) => drop(needed.insert(exception)),
                None => wrong.push(format!("{file} spells {name}")),
            }
        }
    }
    for (file, name, _) in EMITTED.iter().filter(|exception| !needed.contains(exception)) {
        wrong.push(format!("{file} does not spell {name}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for() {
    for (file, (text, _)) in sources().iter().filter(|(file, _)| file.ends_with("mod.rs")) {
        assert!(text.starts_with("//! "), "{file}");
    }
}
