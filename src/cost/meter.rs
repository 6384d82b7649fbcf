//! The cost of many cuts of one graph, one after the other.

use std::collections::BTreeMap;

use super::{Cost, CostModel};
use crate::deps::{Analysis, Groups};
use crate::ir::{Facts, NodeId, ValueId};
use crate::ops::{Operator, Slot};

/// An axis on which something that costs stands: for each index, the groups with any of which it leaves.
#[derive(Debug)]
struct MeteredAxis {
    groups: Vec<Box<[u32]>>,
    kept: usize,
}

/// A node that costs multiply-accumulates.
struct MeteredNode {
    id: NodeId,
    operator: &'static dyn Operator,
    /// Its operands and, by axis, the number of a metered axis.
    operands: Vec<(ValueId, Vec<Option<usize>>)>,
    macs: u64,
}

/// A weight: the number of a metered axis or the length, by axis.
#[derive(Debug)]
struct MeteredWeight {
    axes: Vec<Result<usize, u64>>,
    params: u64,
}

/// Follows the cost of a graph while groups leave and come back. Only what a change touches is computed again.
pub struct Meter<'a> {
    model: &'a CostModel<'a>,
    axes: Vec<MeteredAxis>,
    nodes: Vec<MeteredNode>,
    weights: Vec<MeteredWeight>,
    /// By group, the axes on which it stands.
    axes_of_group: Vec<Vec<usize>>,
    /// By axis, the nodes and weights on it.
    nodes_of_axis: Vec<Vec<usize>>,
    weights_of_axis: Vec<Vec<usize>>,
    removed: Vec<bool>,
    facts: Facts,
}

impl std::fmt::Debug for Meter<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Meter").field("axes", &self.axes.len()).finish_non_exhaustive()
    }
}

impl<'a> Meter<'a> {
    /// A meter at the whole graph.
    pub fn new(model: &'a CostModel<'a>, analysis: &Analysis, groups: &Groups) -> Self {
        let mut axes: Vec<MeteredAxis> = Vec::new();
        let mut known: BTreeMap<*const Slot, Option<usize>> = BTreeMap::new();
        let mut metered = |value: ValueId, axis: usize| {
            let slots = analysis.axis(value, axis)?.slots()?;
            *known.entry(slots.as_ptr()).or_insert_with(|| {
                let of_index: Vec<Box<[u32]>> =
                    slots.iter().map(|&slot| groups.of_slot(slot).into()).collect();
                of_index.iter().any(|groups| !groups.is_empty()).then(|| {
                    axes.push(MeteredAxis { kept: of_index.len(), groups: of_index });
                    axes.len() - 1
                })
            })
        };
        let graph = &model.model.graph;
        let nodes: Vec<MeteredNode> = model
            .nodes
            .iter()
            .map(|&(id, operator)| {
                let node = graph.node(id);
                let operands = node.inputs.iter().chain(&node.outputs).flatten().map(|&value| {
                    let rank = model.facts.get(value).map_or(0, |seen| seen.dims.len());
                    (value, (0..rank).map(|axis| metered(value, axis)).collect())
                });
                MeteredNode { id, operator, operands: operands.collect(), macs: 0 }
            })
            .collect();
        let weights: Vec<MeteredWeight> = model
            .weights
            .iter()
            .map(|&id| {
                let dims =
                    graph.value(id).initializer().map(crate::ir::Initializer::dims).unwrap_or_default();
                let axes = dims.iter().enumerate().map(|(axis, &dim)| metered(id, axis).ok_or(dim as u64));
                MeteredWeight { axes: axes.collect(), params: 0 }
            })
            .collect();
        let mut meter = Self {
            model,
            axes_of_group: vec![Vec::new(); groups.len()],
            nodes_of_axis: vec![Vec::new(); axes.len()],
            weights_of_axis: vec![Vec::new(); axes.len()],
            axes,
            nodes,
            weights,
            removed: vec![false; groups.len()],
            facts: model.facts.clone(),
        };
        meter.index();
        meter.set(&vec![false; groups.len()]);
        meter
    }

    fn index(&mut self) {
        for (number, axis) in self.axes.iter().enumerate() {
            for &group in axis.groups.iter().flat_map(|groups| groups.iter()) {
                let list = &mut self.axes_of_group[group as usize];
                if list.last() != Some(&number) {
                    list.push(number);
                }
            }
        }
        for (number, node) in self.nodes.iter().enumerate() {
            for &axis in node.operands.iter().flat_map(|(_, axes)| axes.iter().flatten()) {
                if self.nodes_of_axis[axis].last() != Some(&number) {
                    self.nodes_of_axis[axis].push(number);
                }
            }
        }
        for (number, weight) in self.weights.iter().enumerate() {
            for &axis in weight.axes.iter().filter_map(|axis| axis.as_ref().ok()) {
                if self.weights_of_axis[axis].last() != Some(&number) {
                    self.weights_of_axis[axis].push(number);
                }
            }
        }
    }

    /// The cost as it stands.
    pub fn cost(&self) -> Cost {
        Cost {
            macs: self.nodes.iter().map(|node| node.macs).sum(),
            params: self.weights.iter().map(|weight| weight.params).sum(),
        }
    }

    /// Removes exactly the groups marked in `removed`.
    pub fn set(&mut self, removed: &[bool]) {
        self.removed.copy_from_slice(removed);
        for axis in 0..self.axes.len() {
            self.count(axis);
        }
        for node in 0..self.nodes.len() {
            self.weigh_node(node);
        }
        for weight in 0..self.weights.len() {
            self.weigh_weight(weight);
        }
    }

    /// Removes one group, or puts it back.
    pub fn change(&mut self, group: usize, removed: bool) {
        self.removed[group] = removed;
        for axis in self.axes_of_group[group].clone() {
            self.count(axis);
            for node in self.nodes_of_axis[axis].clone() {
                self.weigh_node(node);
            }
            for weight in self.weights_of_axis[axis].clone() {
                self.weigh_weight(weight);
            }
        }
    }

    fn count(&mut self, axis: usize) {
        let axis = &mut self.axes[axis];
        let gone = |group: u32| self.removed[group as usize];
        axis.kept = axis.groups.iter().filter(|groups| !groups.iter().any(|&group| gone(group))).count();
    }

    fn weigh_node(&mut self, number: usize) {
        let node = &self.nodes[number];
        for (value, axes) in &node.operands {
            if let Some(seen) = self.model.facts.get(*value) {
                let mut seen = seen.clone();
                for (dim, axis) in seen.dims.iter_mut().zip(axes) {
                    *dim = axis.map_or(*dim, |axis| self.axes[axis].kept);
                }
                self.facts.set(*value, seen);
            }
        }
        let macs = self.model.node_macs(node.id, node.operator, &self.facts);
        self.nodes[number].macs = macs;
    }

    fn weigh_weight(&mut self, number: usize) {
        let axes = &self.axes;
        let weight = &mut self.weights[number];
        let length = |axis: &Result<usize, u64>| axis.map_or_else(|dim| dim, |axis| axes[axis].kept as u64);
        weight.params = weight.axes.iter().map(length).product();
    }
}
