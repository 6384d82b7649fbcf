//! Bodies of nodes and of functions, copied into the graph that uses them.

use std::collections::HashMap;

use onnx_proto::{AttributeProto, GraphProto, NodeProto};

use super::{Graph, Initializer, Model, NodeId, ValueId};

impl Graph {
    /// Copies the nodes of the graph in `attribute` of node `id` to the end of this one, with `arguments` in place of
    /// the body's inputs. Gives the values in place of its outputs; nothing, and no change, when there is no such
    /// body or it takes another number of inputs.
    pub fn inline_body(
        &mut self,
        id: NodeId,
        attribute: &str,
        arguments: &[ValueId],
    ) -> Option<Vec<ValueId>> {
        let body = self.node(id).attributes.graph(attribute)?.clone();
        if body.input.len() != arguments.len() || !body.sparse_initializer.is_empty() {
            return None;
        }
        let formals = body.input.iter().map(|input| input.name.clone().unwrap_or_default());
        let names = formals.zip(arguments.iter().map(|&value| self.value(value).name().to_owned())).collect();
        Some(self.copy_in(body, names))
    }

    /// A new name for a value, for results that may be arguments as well.
    pub fn alias(&mut self, value: ValueId) -> ValueId {
        let name = self.value(value).name().to_owned();
        self.add(&name, super::NodeSpec::new("Identity", &[value]))
    }

    /// `names` says what the inputs of `body` are called here; what it defines gets fresh names.
    fn copy_in(&mut self, mut body: GraphProto, mut names: HashMap<String, String>) -> Vec<ValueId> {
        let defined = body
            .initializer
            .iter()
            .filter_map(|tensor| tensor.name.clone())
            .chain(body.node.iter().flat_map(|node| node.output.iter().cloned()));
        for name in defined.filter(|name| !name.is_empty()).collect::<Vec<_>>() {
            let fresh = self.add_value(&name);
            names.insert(name, self.value(fresh).name().to_owned());
        }
        rename(&mut body, &names);
        for tensor in body.initializer {
            let initializer = Initializer::from_proto(tensor);
            let id = self.intern(initializer.name());
            self.values[id.index()].initializer = Some(initializer);
            self.initializers.push(id);
        }
        for node in body.node {
            let id = self.push_message(node);
            self.find_captured(id);
            self.order.push(id);
        }
        body.output.iter().map(|output| self.intern(output.name.as_deref().unwrap_or(""))).collect()
    }
}

/// Gives values other names, in nested bodies too. Names are unique over a graph and all its bodies.
fn rename(graph: &mut GraphProto, names: &HashMap<String, String>) {
    let other = |name: &mut String| {
        if let Some(new) = names.get(name.as_str()) {
            name.clone_from(new);
        }
    };
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).for_each(other);
        for attribute in &mut node.attribute {
            for body in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                rename(body, names);
            }
        }
    }
    graph.initializer.iter_mut().filter_map(|tensor| tensor.name.as_mut()).for_each(other);
    graph.output.iter_mut().filter_map(|output| output.name.as_mut()).for_each(other);
}

/// How deep functions may use functions; deeper ones stay as they are.
const DEPTH: usize = 64;

impl Model {
    /// Replaces the nodes that use a function of the model itself by what the function is made of. A function that
    /// imports another version of an operator set than the model does stays, and so does a use inside of a body of
    /// another node. Ensures that no value changes.
    pub fn inline_functions(&mut self) {
        for _ in 0..DEPTH {
            let uses: Vec<(NodeId, usize)> = self
                .graph
                .nodes()
                .filter_map(|(id, node)| {
                    let function = self.header.functions.iter().position(|function| {
                        function.name.as_deref() == Some(node.op_type.as_str())
                            && function.domain.as_deref().unwrap_or("") == node.domain
                            && function.overload.as_deref().unwrap_or("")
                                == node.rest.overload.as_deref().unwrap_or("")
                    })?;
                    (self.same_imports(function)
                        && node.inputs.len() <= self.header.functions[function].input.len())
                    .then_some((id, function))
                })
                .collect();
            if uses.is_empty() {
                break;
            }
            for (id, function) in uses {
                self.inline_function(id, function);
            }
        }
        let used = |name: &str, domain: &str| {
            self.graph.nodes().any(|(_, node)| {
                (node.op_type == name && node.domain == domain) || node.attributes.has_graph()
            })
        };
        // A function may use others: all stay if one does.
        let any = self.header.functions.iter().any(|function| {
            used(function.name.as_deref().unwrap_or(""), function.domain.as_deref().unwrap_or(""))
        });
        if !any {
            self.header.functions.clear();
        }
    }

    fn same_imports(&self, function: usize) -> bool {
        self.header.functions[function].opset_import.iter().all(|import| {
            let here = self.opset(import.domain.as_deref().unwrap_or(""));
            here.is_none() || here == import.version
        })
    }

    fn inline_function(&mut self, id: NodeId, function: usize) {
        let function = self.header.functions[function].clone();
        for import in &function.opset_import {
            self.import(import.domain.as_deref().unwrap_or(""), import.version.unwrap_or(1));
        }
        let node = self.graph.node(id).clone();
        let names = function
            .input
            .iter()
            .enumerate()
            .map(|(place, formal)| {
                // An input that is left out has no name.
                let given = node.inputs.get(place).copied().flatten();
                let name = given.map_or_else(String::new, |value| self.graph.value(value).name().to_owned());
                (formal.clone(), name)
            })
            .collect();
        let given = |name: &str| {
            let own = node.attributes.0.iter().find(|attribute| attribute.name.as_deref() == Some(name));
            own.or_else(|| {
                function.attribute_proto.iter().find(|attribute| attribute.name.as_deref() == Some(name))
            })
            .cloned()
        };
        let mut body = GraphProto {
            node: function.node.clone(),
            output: function
                .output
                .iter()
                .map(|name| onnx_proto::ValueInfoProto { name: Some(name.clone()), ..Default::default() })
                .collect(),
            ..GraphProto::default()
        };
        for inner in &mut body.node {
            bind(inner, &given);
        }
        self.graph.replace_node(id, |graph| {
            let results = graph.copy_in(body, names);
            results.into_iter().map(|value| Some(graph.alias(value))).collect()
        });
    }
}

/// Gives attributes that refer to one of the function's own its value; what was not given is left out.
fn bind(node: &mut NodeProto, given: &impl Fn(&str) -> Option<AttributeProto>) {
    node.attribute.retain_mut(|attribute| {
        let Some(reference) = attribute.ref_attr_name.take().filter(|name| !name.is_empty()) else {
            for body in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                body.node.iter_mut().for_each(|inner| bind(inner, given));
            }
            return true;
        };
        match given(&reference) {
            Some(value) => {
                *attribute = AttributeProto { name: attribute.name.take(), ..value };
                true
            }
            None => false,
        }
    });
}
