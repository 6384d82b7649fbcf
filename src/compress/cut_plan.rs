//! A cut as a file: which indices of which initializer and axis leave.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::CompressError;
use super::structure::Structure;
use crate::ir::{IrError, ValueId};

/// The version of the layout.
const VERSION: u32 = 1;

/// A cut, as `compress --plan-out` writes it and `apply` reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutPlan {
    /// The version of the layout: 1.
    pub version: u32,
    /// The model that the cut was made for. For people; any model of the same structure will do.
    pub model: String,
    /// Every initializer axis that loses indices, in the order of the model.
    pub cuts: Vec<AxisCut>,
}

/// The indices that leave one axis of one initializer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AxisCut {
    /// The initializer, or the output of the Constant node. Where a vector that several nodes read is cut differently
    /// for each, all but the first have the name of the copy that they get.
    pub initializer: String,
    /// The axis.
    pub axis: usize,
    /// Its length before the cut.
    pub size: usize,
    /// The indices that leave, rising.
    pub leave: Vec<usize>,
}

impl CutPlan {
    /// The plan that removes the groups marked in `removed`.
    pub(super) fn of(structure: &Structure, removed: &[bool], model: &Path) -> Self {
        let survivors = structure.groups.survivors(&structure.analysis, removed);
        let mut cuts = Vec::new();
        for (id, tensor) in structure.model().graph.initializers() {
            for (axis, size) in tensor.dims().into_iter().enumerate() {
                let Some(kept) = survivors.axis(id, axis) else { continue };
                let leave = (0..size).filter(|index| kept.binary_search(index).is_err()).collect();
                cuts.push(AxisCut { initializer: tensor.name().to_owned(), axis, size, leave });
            }
        }
        Self { version: VERSION, model: model.display().to_string(), cuts }
    }

    /// The content of the file.
    pub(super) fn to_json(&self) -> String {
        // One line a cut: lists of indices are long. Text and numbers alone: nothing that could fail.
        let cuts: Vec<String> = self.cuts.iter().map(|cut| format!("    {}", json(cut))).collect();
        format!(
            "{{\n  \"version\": {},\n  \"model\": {},\n  \"cuts\": [\n{}\n  ]\n}}\n",
            self.version,
            json(&self.model),
            cuts.join(",\n")
        )
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// When the file cannot be read, or is no plan of a version that is known.
    pub fn read(path: &Path) -> Result<Self, CompressError> {
        let text = std::fs::read_to_string(path).map_err(|error| IrError::io("read", path, error))?;
        let fail = |problem: String| CompressError::CutPlan { place: path.display().to_string(), problem };
        let plan: Self = serde_json::from_str(&text).map_err(|error| fail(error.to_string()))?;
        if plan.version != VERSION {
            return Err(fail(format!("it has version {}; this program knows {VERSION}", plan.version)));
        }
        Ok(plan)
    }

    /// The groups that leave `structure` by this plan.
    pub(super) fn removed(&self, structure: &Structure) -> Result<Vec<bool>, CompressError> {
        let wanted = self.wanted(structure)?;
        let leaves =
            |axis: (ValueId, usize), index: usize| wanted.get(&axis).is_some_and(|set| set.contains(&index));
        // A group leaves if no index that it takes along stays.
        let groups = &structure.groups;
        let mut removed = vec![true; groups.len()];
        for axis in groups.axes() {
            for (index, own) in axis.groups.iter().enumerate() {
                if !leaves((axis.member.value, axis.member.axis), index) {
                    for &group in own {
                        removed[group as usize] = false;
                    }
                }
            }
        }
        let found = Self::of(structure, &removed, Path::new(""));
        self.compare(&found)?;
        Ok(removed)
    }

    /// By initializer and axis, the indices that leave.
    fn wanted(
        &self,
        structure: &Structure,
    ) -> Result<BTreeMap<(ValueId, usize), BTreeSet<usize>>, CompressError> {
        let graph = &structure.model().graph;
        let mut wanted: BTreeMap<(ValueId, usize), BTreeSet<usize>> = BTreeMap::new();
        for cut in &self.cuts {
            let fail = |problem: String| Err(CompressError::CutPlan { place: cut.place(), problem });
            let found =
                graph.find(&cut.initializer).and_then(|id| Some((id, graph.value(id).initializer()?)));
            let Some((id, tensor)) = found else {
                return fail("the model has no such initializer".to_owned());
            };
            let dims = tensor.dims();
            if dims.get(cut.axis) != Some(&cut.size) {
                return fail(format!("the plan has {} indices there, the model's tensor {dims:?}", cut.size));
            }
            if let Some(index) = cut.leave.iter().find(|&&index| index >= cut.size) {
                return fail(format!("index {index} is past the end"));
            }
            wanted.entry((id, cut.axis)).or_default().extend(&cut.leave);
        }
        Ok(wanted)
    }

    /// Whether `found`, the cut that the groups of a model allow, is the one that is wanted.
    fn compare(&self, found: &Self) -> Result<(), CompressError> {
        let sets = |plan: &Self| -> BTreeMap<(String, usize), BTreeSet<usize>> {
            let cuts = plan.cuts.iter().filter(|cut| !cut.leave.is_empty());
            cuts.map(|cut| ((cut.initializer.clone(), cut.axis), cut.leave.iter().copied().collect()))
                .collect()
        };
        let (wanted, found) = (sets(self), sets(found));
        let none = BTreeSet::new();
        for cut in &self.cuts {
            let key = (cut.initializer.clone(), cut.axis);
            let (wanted, found) = (wanted.get(&key).unwrap_or(&none), found.get(&key).unwrap_or(&none));
            if let Some(index) = wanted.difference(found).next() {
                let problem = format!(
                    "index {index} cannot leave: other indices that leave with it are not in the plan, or the axis \
                     is pinned in this model"
                );
                return Err(CompressError::CutPlan { place: cut.place(), problem });
            }
        }
        if let Some(((initializer, axis), _)) = found.iter().find(|(key, _)| !wanted.contains_key(*key)) {
            let place = format!("initializer `{initializer}`, axis {axis}");
            let problem = "indices would leave here that the plan does not name".to_owned();
            return Err(CompressError::CutPlan { place, problem });
        }
        Ok(())
    }
}

impl AxisCut {
    fn place(&self) -> String {
        format!("initializer `{}`, axis {}", self.initializer, self.axis)
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
