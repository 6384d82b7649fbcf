//! What a run of the model told of its values.

use super::{Graph, ValueId};
use crate::tensor::{DType, Tensor};

/// What is known of one value after the model was run.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueFacts {
    /// Element type.
    pub dtype: DType,
    /// Dimensions in the run.
    pub dims: Vec<usize>,
    /// Which dimensions were other ones when the free dimensions of the inputs were.
    pub varies: Vec<bool>,
    /// The values of a small integer tensor.
    pub ints: Option<Vec<i64>>,
    /// Which of `ints` were others when the free dimensions or the contents of the inputs were.
    pub ints_vary: Vec<bool>,
    /// The values of a small float tensor that the model computes from constants alone.
    pub constant: Option<Tensor>,
}

/// Facts for every value of one graph that a run could see.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts(Vec<Option<ValueFacts>>);

impl Facts {
    /// No facts yet, for the values of `graph`.
    pub fn empty(graph: &Graph) -> Self {
        Self(vec![None; graph.value_count()])
    }

    /// The facts of a value, if it was seen.
    pub fn get(&self, id: ValueId) -> Option<&ValueFacts> {
        self.0.get(id.index())?.as_ref()
    }

    /// Notes that the integers of a value may be others, whatever was seen.
    pub fn distrust_integers(&mut self, id: ValueId) {
        if let Some(Some(known)) = self.0.get_mut(id.index()) {
            known.ints_vary.fill(true);
        }
    }

    /// Notes the facts of a value.
    pub fn set(&mut self, id: ValueId, facts: ValueFacts) {
        if self.0.len() <= id.index() {
            self.0.resize(id.index() + 1, None);
        }
        self.0[id.index()] = Some(facts);
    }
}
