//! Graphs as text, for people and for snapshots.

use std::fmt;

use super::{DeclaredDim, Graph, ValueId};

fn port(graph: &Graph, id: Option<ValueId>) -> &str {
    id.map_or("_", |id| graph.value(id).name())
}

impl fmt::Display for Graph {
    /// One line a graph input, initializer, node and output. Numbers of tensors are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &id in self.inputs() {
            write!(formatter, "input {}", self.value(id).name())?;
            if let Some(dims) = self.value(id).declared().and_then(|declared| declared.dims) {
                let dims: Vec<String> = dims
                    .iter()
                    .map(|dim| match dim {
                        DeclaredDim::Fixed(size) => size.to_string(),
                        DeclaredDim::Named(name) => name.clone(),
                        DeclaredDim::Free => "?".to_owned(),
                    })
                    .collect();
                write!(formatter, " [{}]", dims.join(", "))?;
            }
            writeln!(formatter)?;
        }
        for (_, tensor) in self.initializers() {
            let dtype = tensor.dtype().map_or_else(|| "?".to_owned(), |dtype| dtype.to_string());
            writeln!(formatter, "initializer {} {dtype} {:?}", tensor.name(), tensor.dims())?;
        }
        for (_, node) in self.nodes() {
            let list = |ports: &[Option<ValueId>]| {
                ports.iter().map(|&id| port(self, id)).collect::<Vec<_>>().join(", ")
            };
            let names: Vec<&str> = node.attributes.names().collect();
            let attributes =
                if names.is_empty() { String::new() } else { format!(" {{{}}}", names.join(", ")) };
            writeln!(
                formatter,
                "{} = {}({}){attributes}",
                list(&node.outputs),
                node.op_type,
                list(&node.inputs)
            )?;
        }
        for &id in self.outputs() {
            writeln!(formatter, "output {}", self.value(id).name())?;
        }
        Ok(())
    }
}
