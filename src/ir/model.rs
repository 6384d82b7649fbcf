//! A model file: its header and its graph.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use onnx_proto::Message as _;
use onnx_proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto};

use super::attributes::graphs_of;
use super::graph::Node;
use super::{Attributes, Graph, Initializer, IrError, NodeId, external};

/// The first IR version in which an initializer need not be a graph input too.
pub const IR_VERSION_WITHOUT_INPUT_INITIALIZERS: i64 = 4;

/// An ONNX model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The message without its graph.
    pub(super) header: ModelProto,
    /// The graph.
    pub graph: Graph,
    path: Option<PathBuf>,
}

impl Model {
    /// Reads a model file. The file is mapped, and weights are not copied; external data are mapped too, from
    /// inside the model's own folder only.
    ///
    /// # Errors
    /// When the file cannot be read, is no ONNX model, lacks data, or breaks the rules of [`Graph::check`].
    pub fn read(path: &Path) -> Result<Self, IrError> {
        let bytes = external::map(path).map_err(|error| IrError::io("read", path, error))?;
        let mut model = Self::decode(bytes, &path.display().to_string())?;
        external::resolve(&mut model.graph, path)?;
        model.path = Some(path.to_owned());
        model.validated(&path.display().to_string())
    }

    /// Reads a model from memory. External data cannot be found this way.
    ///
    /// # Errors
    /// When the bytes are no ONNX model, lack data, or break the rules of [`Graph::check`].
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self, IrError> {
        Self::decode(bytes.into(), "model in memory")?.validated("model in memory")
    }

    /// An empty model of the given opset of ONNX's own domain.
    pub fn empty(name: &str, opset: i64) -> Self {
        let header = ModelProto {
            ir_version: Some(8),
            producer_name: Some("safe-onnx".to_owned()),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
            ..ModelProto::default()
        };
        let rest = GraphProto { name: Some(name.to_owned()), ..GraphProto::default() };
        Self { header, graph: Graph { rest, ..Graph::default() }, path: None }
    }

    fn decode(bytes: Bytes, place: &str) -> Result<Self, IrError> {
        let invalid = |reason: String| IrError::Invalid { place: place.to_owned(), reason };
        if bytes.is_empty() {
            return Err(invalid("the file is empty".to_owned()));
        }
        let mut header = ModelProto::decode(bytes)
            .map_err(|error| invalid(format!("{error}; is the file whole, and is it ONNX?")))?;
        let Some(graph) = header.graph.take() else {
            return Err(invalid("it holds no graph".to_owned()));
        };
        if header.opset_import.is_empty() {
            return Err(invalid("it imports no operator set".to_owned()));
        }
        let mut graph = graph_from(graph);
        graph.sort_nodes();
        Ok(Self { graph, header, path: None })
    }

    fn validated(self, place: &str) -> Result<Self, IrError> {
        let violations = self.graph.check();
        if violations.is_empty() {
            Ok(self)
        } else {
            Err(IrError::Graph { place: place.to_owned(), violations })
        }
    }

    /// Where the model was read from.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Bytes of the file that the model was read from, and of its tensors if they are stored apart.
    pub fn file_bytes(&self) -> u64 {
        let file = self.path().and_then(|path| path.metadata().ok()).map_or(0, |file| file.len());
        let apart = self.graph.initializers().filter(|(_, tensor)| tensor.is_external());
        file + apart.map(|(_, tensor)| tensor.bytes()).sum::<u64>()
    }

    /// The version of the operator set that the model imports for `domain`; ONNX's own domain is the empty string.
    pub fn opset(&self, domain: &str) -> Option<i64> {
        let plain = |name: &str| if name == "ai.onnx" { String::new() } else { name.to_owned() };
        let wanted = plain(domain);
        self.header
            .opset_import
            .iter()
            .find(|import| plain(import.domain.as_deref().unwrap_or("")) == wanted)
            .and_then(|import| import.version)
    }

    /// Imports the operator set of `domain` in `version`, unless the model imports one of that domain already.
    pub fn import(&mut self, domain: &str, version: i64) {
        if self.opset(domain).is_none() {
            let import = OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) };
            self.header.opset_import.push(import);
        }
    }

    /// The version of the file format.
    pub fn ir_version(&self) -> i64 {
        self.header.ir_version.unwrap_or(0)
    }

    /// Raises the version of the file format to at least `version`.
    pub fn require_ir_version(&mut self, version: i64) {
        self.header.ir_version = Some(self.ir_version().max(version));
    }

    /// Whether the operator is a function that the model defines itself.
    pub fn has_function(&self, domain: &str, name: &str) -> bool {
        self.header.functions.iter().any(|function| {
            function.name.as_deref() == Some(name) && function.domain.as_deref().unwrap_or("") == domain
        })
    }

    /// Whether any initializer came from external data.
    pub fn uses_external_data(&self) -> bool {
        self.graph.initializers().any(|(_, tensor)| tensor.is_external())
    }

    /// Bytes of all initializers.
    pub fn weight_bytes(&self) -> u64 {
        self.graph.initializers().map(|(_, tensor)| tensor.bytes()).sum()
    }
}

fn graph_from(mut proto: GraphProto) -> Graph {
    let mut graph = Graph::default();
    for tensor in std::mem::take(&mut proto.initializer) {
        let initializer = Initializer::from_proto(tensor);
        let id = graph.intern(initializer.name());
        graph.values[id.index()].initializer = Some(initializer);
        graph.initializers.push(id);
    }
    for (infos, list) in [(std::mem::take(&mut proto.input), 0), (std::mem::take(&mut proto.output), 1)] {
        for info in infos {
            let id = graph.intern(info.name.as_deref().unwrap_or(""));
            graph.values[id.index()].declared = Some(info);
            if list == 0 { &mut graph.inputs } else { &mut graph.outputs }.push(id);
        }
    }
    for info in std::mem::take(&mut proto.value_info) {
        let id = graph.intern(info.name.as_deref().unwrap_or(""));
        if graph.values[id.index()].declared.is_none() {
            graph.values[id.index()].declared = Some(info);
            graph.declarations.push(id);
        }
    }
    let nodes = std::mem::take(&mut proto.node);
    let ids: Vec<NodeId> = nodes.into_iter().map(|node| graph.push_message(node)).collect();
    for &id in &ids {
        graph.find_captured(id);
    }
    graph.order = ids;
    graph.rest = proto;
    graph
}

impl Graph {
    /// Takes the node of a message in; it has no place in the order yet.
    pub(super) fn push_message(&mut self, mut node: NodeProto) -> NodeId {
        let mut port = |name: &String| if name.is_empty() { None } else { Some(self.intern(name)) };
        let inputs = node.input.iter().map(&mut port).collect();
        let outputs = node.output.iter().map(&mut port).collect();
        node.input.clear();
        node.output.clear();
        self.push_node(Node {
            name: node.name.clone().unwrap_or_default(),
            op_type: node.op_type.clone().unwrap_or_default(),
            domain: node.domain.clone().unwrap_or_default(),
            inputs,
            outputs,
            attributes: Attributes(std::mem::take(&mut node.attribute)),
            captured: Vec::new(),
            rest: node,
        })
    }

    /// Notes which values of this graph the subgraphs of a node read.
    pub(super) fn find_captured(&mut self, id: NodeId) {
        let mut names = Vec::new();
        for body in self.node(id).attributes.graphs() {
            free_names(body, &mut names);
        }
        names.sort_unstable();
        names.dedup();
        let captured = names.iter().filter_map(|name| self.find(name)).collect();
        self.node_mut(id).captured = captured;
    }
}

/// Names that a subgraph reads and does not define.
fn free_names(graph: &GraphProto, free: &mut Vec<String>) {
    let mut inner = Vec::new();
    for node in &graph.node {
        inner.extend(node.input.iter().cloned());
        for body in graphs_of(&node.attribute) {
            free_names(body, &mut inner);
        }
    }
    inner.extend(graph.output.iter().filter_map(|output| output.name.clone()));
    let mut defined: Vec<&str> =
        graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str)).collect();
    defined.extend(graph.input.iter().filter_map(|input| input.name.as_deref()));
    defined.extend(graph.initializer.iter().filter_map(|tensor| tensor.name.as_deref()));
    defined.sort_unstable();
    free.extend(
        inner.into_iter().filter(|name| !name.is_empty() && defined.binary_search(&name.as_str()).is_err()),
    );
}

impl Model {
    /// The graph as a message; `tensor` says how each initializer is written.
    pub(super) fn to_proto(
        &self,
        mut tensor: impl FnMut(&Initializer) -> onnx_proto::TensorProto,
    ) -> ModelProto {
        let graph = &self.graph;
        let mut proto = graph.rest.clone();
        let info = |&id: &super::ValueId| {
            let value = graph.value(id);
            value.declared.clone().unwrap_or_else(|| onnx_proto::ValueInfoProto {
                name: Some(value.name.clone()),
                ..Default::default()
            })
        };
        proto.input = graph.inputs.iter().map(info).collect();
        proto.output = graph.outputs.iter().map(info).collect();
        let edges: std::collections::BTreeSet<_> = graph.inputs.iter().chain(&graph.outputs).collect();
        proto.value_info = graph
            .declarations
            .iter()
            .filter(|id| !edges.contains(id))
            .filter_map(|&id| graph.value(id).declared.clone())
            .collect();
        proto.initializer = graph.initializers().map(|(_, initializer)| tensor(initializer)).collect();
        proto.node = graph.nodes().map(|(_, node)| node_proto(graph, node)).collect();
        ModelProto { graph: Some(proto), ..self.header.clone() }
    }
}

fn node_proto(graph: &Graph, node: &Node) -> NodeProto {
    let name =
        |port: &Option<super::ValueId>| port.map_or_else(String::new, |id| graph.value(id).name.clone());
    // A field that was not changed keeps its presence too.
    let text = |text: &str, old: &Option<String>| {
        if old.as_deref().unwrap_or("") == text { old.clone() } else { Some(text.to_owned()) }
    };
    NodeProto {
        input: node.inputs.iter().map(name).collect(),
        output: node.outputs.iter().map(name).collect(),
        name: text(&node.name, &node.rest.name),
        op_type: text(&node.op_type, &node.rest.op_type),
        domain: text(&node.domain, &node.rest.domain),
        attribute: node.attributes.0.clone(),
        ..node.rest.clone()
    }
}
