//! `RotaryEmbedding` of ONNX and of ONNX Runtime's own domain: pairs of elements of every head are rotated by angles
//! that follow the position. x is `[B, heads, S, width]` or `[B, S, heads * width]`, sines and cosines `[.., pairs]`.
//!
//! Specification: <https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html> (since version 23) and
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>. A pair leaves with its sine and cosine.
//! Ragged batches and a scale are not understood. Sines and cosines are taken as given, not as weights to train.

use super::{left, pin_others};
use crate::ir::NodeSpec;
use crate::ops::{
    Axis, Coupling, Cut, Example, MICROSOFT, NEWEST_OPSET, NodeEdit, NodeView, Operator, Spec, Tape,
    Unsupported,
};
use crate::tensor::Tensor;

struct Rotary {
    spec: Spec,
    cos: usize,
    sin: usize,
    positions: usize,
}

pub(in crate::ops) static OPERATORS: &[&dyn Operator] = &[
    &Rotary {
        spec: Spec::onnx("RotaryEmbedding", 3..=4, &["interleaved", "num_heads", "rotary_embedding_dim"])
            .versions(23..=NEWEST_OPSET),
        cos: 1,
        sin: 2,
        positions: 3,
    },
    &Rotary {
        spec: Spec::microsoft(
            "RotaryEmbedding",
            4..=4,
            &["interleaved", "is_packed_batching", "num_heads", "rotary_embedding_dim", "scale"],
        ),
        cos: 2,
        sin: 3,
        positions: 1,
    },
];

struct Layout {
    heads: usize,
    width: usize,
    /// The first so many elements of a head are rotated.
    rotated: usize,
}

impl Rotary {
    fn layout(&self, node: &NodeView<'_>) -> Result<Layout, Unsupported> {
        if node.int("is_packed_batching", 0) != 0 || node.float("scale", 1.0) != 1.0 {
            return Err(Unsupported::new("ragged batches and scales are not understood"));
        }
        let pairs = node.x(self.cos)?.dims().last().copied().unwrap_or(0);
        let count = usize::try_from(node.int("num_heads", 0)).unwrap_or(0);
        let (heads, width) = match *node.x(0)?.dims() {
            [_, heads, _, width] => (heads, width),
            [_, _, hidden] if count > 0 && hidden % count == 0 => (count, hidden / count),
            [_, _, hidden] if count == 0 && pairs > 0 && hidden % (2 * pairs) == 0 => {
                (hidden / (2 * pairs), 2 * pairs)
            }
            _ => return Err(Unsupported::new("x must be [B, heads, S, width] or [B, S, heads * width]")),
        };
        let rotated = match node.int("rotary_embedding_dim", 0) {
            0 => width,
            rotated => usize::try_from(rotated).unwrap_or(0),
        };
        if rotated == 0
            || rotated > width
            || rotated != 2 * pairs
            || node.x(self.sin)?.dims().last() != Some(&pairs)
        {
            return Err(Unsupported(format!("{pairs} sines and cosines do not fit heads of {width}")));
        }
        Ok(Layout { heads, width, rotated })
    }

    /// The width of a head, whose pairs leave with their sines and cosines.
    fn couple_width(
        &self,
        node: &NodeView<'_>,
        slots: &mut dyn Coupling,
        width: &Axis,
        rotated: usize,
    ) -> Result<Axis, Unsupported> {
        let interleaved = node.int("interleaved", 0) != 0;
        let pairs = rotated / 2;
        let sizes = if interleaved { [pairs, 2] } else { [2, pairs] };
        let mut parts = super::two(slots, &width.slice(0..rotated), sizes)?;
        let (half, pair) = (usize::from(interleaved), usize::from(!interleaved));
        slots.pin(&parts[half], "the two elements of a pair stay together");
        for table in [self.cos, self.sin] {
            let last = node.x(table)?.rank() - 1;
            pin_others(node, slots, table, &[last]);
            let own = slots.input(table, last);
            slots.tie(&parts[pair], &own);
        }
        parts[half] = Axis::fixed(2);
        let rotated_part = slots.merge(&parts);
        Ok(Axis::concat(&[rotated_part, width.slice(rotated..width.len())]))
    }
}

impl Operator for Rotary {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn couple(&self, node: &NodeView<'_>, slots: &mut dyn Coupling) -> Result<(), Unsupported> {
        let Layout { heads, width, rotated } = self.layout(node)?;
        pin_others(node, slots, self.positions, &[]);
        if node.x(0)?.rank() == 3 {
            pin_others(node, slots, 0, &[2]);
            let own = slots.input(0, 2);
            let [heads, width] = super::two(slots, &own, [heads, width])?;
            let width = self.couple_width(node, slots, &width, rotated)?;
            let whole = slots.merge(&[heads, width]);
            slots.set(0, 2, whole);
            return Ok(());
        }
        pin_others(node, slots, 0, &[1, 3]);
        let (heads, width) = (slots.input(0, 1), slots.input(0, 3));
        let width = self.couple_width(node, slots, &width, rotated)?;
        slots.set(0, 1, heads);
        slots.set(0, 3, width);
        Ok(())
    }

    fn gradient(&self, node: &NodeView<'_>, tape: &mut Tape<'_>) -> Result<(), Unsupported> {
        if !tape.wants(0) {
            return Ok(());
        }
        // The gradient is rotated back: the same operator with the sines negated.
        let (dy, sin) = (tape.dy0()?, tape.x(self.sin)?);
        let mut inputs = vec![dy; node.input_count()];
        for (input, place) in inputs.iter_mut().enumerate().skip(1) {
            *place = tape.x(input)?;
        }
        inputs[self.sin] = tape.neg(sin);
        let mut spec = NodeSpec::new(self.spec.op_type, &inputs).domain(self.spec.domain);
        for name in ["interleaved", "num_heads", "rotary_embedding_dim"] {
            if node.has(name) {
                spec = spec.attribute(name, node.int(name, 0));
            }
        }
        let grad = tape.node(spec);
        tape.give(0, grad);
        Ok(())
    }

    fn macs(&self, _: &NodeView<'_>) -> u64 {
        0
    }

    fn resize(&self, node: &NodeView<'_>, cut: &Cut<'_>, edit: &mut NodeEdit) -> Result<(), Unsupported> {
        let Layout { heads, width, rotated } = self.layout(node)?;
        let count = if node.x(0)?.rank() == 3 {
            left(cut.input(0, 2), heads, width)?[0]
        } else {
            cut.input(0, 1).map_or(heads, <[usize]>::len)
        };
        if node.int("num_heads", 0) != 0 {
            edit.attribute("num_heads", count as i64);
        }
        if node.int("rotary_embedding_dim", 0) != 0 {
            let last = node.x(self.cos)?.rank() - 1;
            let pairs = cut.input(self.cos, last).map_or(rotated / 2, <[usize]>::len);
            edit.attribute("rotary_embedding_dim", 2 * pairs as i64);
        }
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let microsoft = self.spec.domain == MICROSOFT;
        let case = |dims: &[usize]| {
            let base = if microsoft {
                Example::microsoft("RotaryEmbedding")
            } else {
                Example::new("RotaryEmbedding").opset(23)
            };
            base.computed(dims)
        };
        let table = |pairs: usize, phase: f32| {
            let angles = (0..4 * pairs).map(|index| (0.37 * index as f32 + phase).sin());
            Tensor::new(vec![4, pairs], angles.collect::<Vec<f32>>()).ok()
        };
        let positions = Tensor::new(vec![2, 3], vec![0_i64, 1, 2, 1, 3, 0]).ok();
        let with_tables = |example: Example, pairs: usize| {
            let (cos, sin) = (table(pairs, 1.3)?, table(pairs, 0.2)?);
            Some(if microsoft {
                example.constant(positions.clone()?).constant(cos).constant(sin)
            } else {
                example.constant(cos).constant(sin).constant(positions.clone()?)
            })
        };
        let flat = || case(&[2, 3, 12]).attribute("num_heads", 2).prunable(0, 2);
        let heads = || case(&[2, 2, 3, 6]).prunable(0, 1);
        [
            with_tables(flat(), 3),
            with_tables(flat().attribute("interleaved", 1), 3),
            with_tables(flat().attribute("rotary_embedding_dim", 4), 2),
            with_tables(heads().prunable(0, 3), 3),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
