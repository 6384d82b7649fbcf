//! `EmbedLayerNormalization`: rows of embedding tables for words, positions and possibly segments, added up and
//! normalised along the hidden axis.
//!
//! Specification: <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>. Without
//! `position_ids` the positions are 0, 1, .. in every sample. Output 1 counts the mask and output 2 is the sum.

use super::rows::Rows;
use crate::ir::ValueId;
use crate::ops::movement::adjoint::{cut_out, dim_of, surround};
use crate::ops::movement::gather::{Gathered, add_rows};
use crate::ops::{
    Axis, Coupling, Cut, Example, NodeEdit, NodeView, Operand, Operator, Spec, Tape, Unsupported,
};
use crate::tensor::Tensor;

struct Embedding;

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[&Embedding];

static SPEC: Spec =
    Spec::microsoft("EmbedLayerNormalization", 7..=9, &["epsilon", "mask_index_type"]).outputs(1..=3);

const POSITIONS: usize = 8;
/// The output that holds the sum.
const SUM: usize = 2;

/// The tables and the inputs that hold the indices of their rows.
const TABLES: [(usize, usize); 3] = [(2, 0), (3, POSITIONS), (4, 1)];

fn rows(node: &NodeView<'_>) -> Rows {
    Rows { first: 2, with_mean: true, epsilon: node.float("epsilon", 1e-12), scale: 5, bias: Some(6) }
}

impl Operator for Embedding {
    fn spec(&self) -> &Spec {
        &SPEC
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let dims = node.y(0)?.dims();
        if dims.len() != 3 || node.x(0)?.rank() != 2 {
            return Err(Unsupported::new("input_ids [B, S] must have rank 2"));
        }
        if node.input(1).is_some() != node.input(4).is_some() {
            return Err(Unsupported::new("segment_ids and segment_embedding belong together"));
        }
        for input in [0, 1, 7, POSITIONS] {
            for axis in 0..node.input(input).map_or(0, Operand::rank) {
                let own = slots.input(input, axis);
                slots.pin(&own, "it holds indices");
            }
        }
        let (mut hidden, mut zero) = (Axis::fixed(dims[2]), true);
        for (table, _) in TABLES.into_iter().filter(|&(table, _)| node.input(table).is_some()) {
            if node.x(table)?.dims().get(1) != Some(&dims[2]) {
                return Err(Unsupported(format!("table {table} must have {} columns", dims[2])));
            }
            let entries = slots.input(table, 0);
            slots.pin(&entries, "the model looks rows up by their number");
            let own = slots.input(table, 1);
            slots.tie(&hidden, &own);
            zero &= own.zero();
            if hidden.is_fixed() {
                hidden = own;
            }
        }
        let hidden = hidden.with_zero(zero);
        slots.set(SUM, 2, hidden.clone());
        rows(node).couple(node, slots, &[Axis::fixed(dims[0]), Axis::fixed(dims[1]), hidden])
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        if tape.opset() < 10 {
            return Err(Unsupported::new("the rows of the first positions need opset 10"));
        }
        let wanted: Vec<(usize, usize)> =
            TABLES.into_iter().filter(|&(table, _)| tape.wants(table)).collect();
        let mut grad = tape.dy(SUM);
        if let Some(dy) = tape.dy(0) {
            let through = rows(node).gradient(node, tape, dy, |tape| sum(node, tape), !wanted.is_empty())?;
            grad = match (grad, through) {
                (Some(direct), Some(through)) => Some(tape.add(direct, through)),
                (direct, through) => direct.or(through),
            };
        }
        let Some(grad) = grad else { return Ok(()) };
        for (table, indices) in wanted {
            let value = tape.x(table)?;
            let part = if indices == POSITIONS && !gives_positions(node)? {
                let part = tape.reduce_sum(grad, &[0], false);
                let end = dim_of(tape, part, 0);
                surround(tape, value, part, 0, [None, Some(end)])
            } else {
                let taken = tape.x(indices)?;
                let mut part = grad;
                if node.x(indices)?.dims()[0] != node.y(0)?.dims()[0] {
                    part = tape.reduce_sum(part, &[0], true);
                }
                add_rows(
                    tape,
                    &Gathered { table: node.x(table)?, value, indices: node.x(indices)?, taken },
                    part,
                    0,
                )?
            };
            tape.give(table, part);
        }
        Ok(())
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, _: &NodeView<'_>, _: &Cut<'_>, _: &mut NodeEdit) -> Result<(), Unsupported> {
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let ids = |dims: &[usize], ids: &[i32]| Tensor::new(dims.to_vec(), ids.to_vec());
        let (Ok(words), Ok(segments), Ok(positions), Ok(shared)) = (
            ids(&[2, 3], &[4, 0, 2, 2, 1, 4]),
            ids(&[2, 3], &[0, 0, 1, 0, 1, 1]),
            ids(&[2, 3], &[0, 1, 2, 3, 0, 1]),
            ids(&[1, 3], &[3, 1, 2]),
        ) else {
            return Vec::new();
        };
        let case = || {
            Example::microsoft("EmbedLayerNormalization")
                .attribute("epsilon", 0.1)
                .attribute("mask_index_type", 0)
        };
        let full = || {
            case()
                .constant(words.clone())
                .constant(segments.clone())
                .weight(&[5, 6])
                .weight(&[4, 6])
                .weight(&[2, 6])
                .weight(&[6])
                .weight(&[6])
        };
        vec![
            full(),
            full().constant(segments.clone()).outputs(3),
            full().absent().constant(positions),
            full().absent().constant(shared),
            case()
                .constant(words)
                .absent()
                .weight(&[5, 6])
                .weight(&[4, 6])
                .absent()
                .weight(&[6])
                .weight(&[6]),
        ]
    }
}

/// Whether the node says which positions its words have.
fn gives_positions(node: &NodeView<'_>) -> Result<bool, Unsupported> {
    let Some(positions) = node.input(POSITIONS) else { return Ok(false) };
    let (batch, given) = (node.y(0)?, positions);
    if given.rank() != 2 || (given.dims()[0] != batch.dims()[0] && given.dims()[0] != 1) {
        return Err(Unsupported::new("position_ids must be [B, S] or [1, S]"));
    }
    Ok(true)
}

fn sum(node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<ValueId, Unsupported> {
    if node.output(SUM).is_some() {
        return tape.y(SUM);
    }
    let mut sum: Option<ValueId> = None;
    for (table, indices) in TABLES.into_iter().filter(|&(table, _)| node.input(table).is_some()) {
        let value = tape.x(table)?;
        let rows = if indices == POSITIONS && !gives_positions(node)? {
            let ids = tape.x(0)?;
            let zero = tape.ints(&[0]);
            let len = dim_of(tape, ids, 1);
            cut_out(tape, value, 0, zero, len)
        } else {
            let indices = tape.x(indices)?;
            tape.op("Gather", &[value, indices])
        };
        sum = Some(match sum {
            Some(sum) => tape.add(sum, rows),
            None => rows,
        });
    }
    sum.ok_or_else(|| Unsupported::new("there is no table"))
}
