//! Dimensions that depend on what the inputs hold.
//!
//! How many elements are not zero and how many boxes survive may come out the same in every run on made-up inputs. So
//! the model runs again with another number of them, and what is different then was no constant.

use super::watch::{Watch, given, show};
use super::{Probe, Trace, compare};
use crate::engine::{Engine, EngineError, LoadOptions, load_model};
use crate::ir::{DeclaredDim, Model, Node, ValueId, drop_unused};
use crate::tensor::Tensor;

/// A value whose number of elements is a matter of what the inputs hold, and the same with another number.
struct Counted {
    id: ValueId,
    other: Tensor,
}

impl Trace {
    /// Notes in the facts which dimensions and integers follow from the counts that the nodes picked by `counts` make:
    /// their first output has one entry for each element found, along its last or its first axis, whichever `counts`
    /// says. An engine that does not tell the types of values notes nothing.
    pub fn vary_counts(
        &mut self,
        model: &Model,
        engine: &dyn Engine,
        options: &LoadOptions,
        counts: impl Fn(&Node) -> Option<usize>,
    ) {
        let options = LoadOptions { optimize: false, ..*options };
        let picked: Vec<(ValueId, usize)> = model
            .graph
            .nodes()
            .filter_map(|(_, node)| Some((node.outputs.first().copied().flatten()?, counts(node)?)))
            .collect();
        if picked.is_empty() {
            return;
        }
        let Ok(values) = self.values_of(model, engine, &options, &picked) else { return };
        let counted: Vec<Counted> = picked
            .iter()
            .zip(values)
            .filter_map(|(&(id, axis), value)| {
                let count = *value.dims().get(axis)?;
                let mut dims = value.dims().to_vec();
                dims[axis] = 1;
                let other = match count {
                    // The first element of what was searched.
                    0 => Tensor::zeros(value.dtype(), dims).ok()?,
                    1 => value.take(axis, &[0, 0]),
                    _ => value.take(axis, &(0..count.div_ceil(2)).collect::<Vec<usize>>()),
                };
                Some(Counted { id, other })
            })
            .collect();
        self.vary(model, engine, &options, &counted);
    }

    fn values_of(
        &self,
        model: &Model,
        engine: &dyn Engine,
        options: &LoadOptions,
        picked: &[(ValueId, usize)],
    ) -> Result<Vec<Tensor>, EngineError> {
        let mut open = model.clone();
        show(&mut open.graph, picked.iter().map(|&(id, _)| id).collect());
        let mut session = load_model(engine, options, &open)?;
        let given = given(&*session, &self.inputs);
        session.run(&given)
    }

    /// All at once where that runs; where later counts point into what earlier ones left out, in halves.
    fn vary(&mut self, model: &Model, engine: &dyn Engine, options: &LoadOptions, counted: &[Counted]) {
        if counted.is_empty() {
            return;
        }
        let mut altered = model.clone();
        let mut probe = Probe { tensors: self.inputs.clone(), batch: None };
        let ids: Vec<ValueId> = counted.iter().map(|count| count.id).collect();
        altered.graph.retain_nodes(|_, node| {
            node.outputs.first().copied().flatten().is_none_or(|output| !ids.contains(&output))
        });
        for Counted { id, other } in counted {
            let free = vec![DeclaredDim::Free; other.dims().len()];
            altered.graph.add_input(*id, other.dtype(), &free);
            probe.tensors.push((altered.graph.value(*id).name().to_owned(), other.clone()));
        }
        drop_unused(&mut altered.graph);
        let none = vec![false; altered.graph.value_count()];
        match Watch::new(&altered, engine, *options, none).run_shapes(&probe) {
            Some(Ok(run)) => {
                for (id, seen) in &run {
                    compare(&mut self.facts, *id, seen);
                }
                for Counted { id, other } in counted {
                    compare(&mut self.facts, *id, &super::Seen::whole(other, false));
                }
            }
            Some(Err(_)) if counted.len() > 1 => {
                let (first, second) = counted.split_at(counted.len() / 2);
                self.vary(model, engine, options, first);
                self.vary(model, engine, options, second);
            }
            Some(Err(_)) | None => {}
        }
    }
}
