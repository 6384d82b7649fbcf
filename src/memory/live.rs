//! Which values are in memory at the same time.

use std::collections::BTreeSet;

use super::Shapes;
use super::arena::{Arena, Piece};
use super::order::runtime_order;
use crate::ir::{Graph, Node, NodeId, ValueId};

/// Operators whose result lies where their first input does.
pub(super) const VIEWS: &[&str] = &["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"];
/// Operators that read a swapped matrix as it lies.
pub(super) const PRODUCTS: &[&str] = &["MatMul", "FusedMatMul"];
/// Bytes in which a convolution writes windows out, part by part.
const CONVOLVED: u64 = 1 << 20;
/// Runs of the graph: in the second one, free pieces of the first are used again, in another way.
const RUNS: usize = 2;

/// Memory that values share.
#[derive(Clone, Copy)]
struct Block {
    piece: Piece,
    /// Values that still need it.
    values: usize,
}

/// What lies in memory while a graph is run node by node.
struct Memory {
    /// The block of each value that the run makes.
    blocks: Vec<Option<usize>>,
    list: Vec<Block>,
    /// Reads of each value that are to come.
    reads: Vec<usize>,
    arena: Arena,
}

impl Memory {
    fn place(&mut self, value: ValueId, block: usize) {
        self.blocks[value.index()] = Some(block);
        self.list[block].values += 1;
    }

    fn allocate(&mut self, bytes: u64) -> usize {
        let piece = self.arena.allocate(bytes);
        self.list.push(Block { piece, values: 0 });
        self.list.len() - 1
    }

    /// Frees the block of a value that nobody reads any more.
    fn drop_unread(&mut self, value: ValueId) {
        if self.reads[value.index()] > 0 {
            return;
        }
        if let Some(block) = self.blocks[value.index()].take() {
            self.list[block].values -= 1;
            if self.list[block].values == 0 {
                self.arena.free(self.list[block].piece);
            }
        }
    }
}

/// The bytes that the values which the nodes of `graph` make take in the end, for `samples` samples. Inputs and outputs
/// do not count: they lie in memory of the caller's.
pub fn values_peak(graph: &Graph, shapes: &Shapes, samples: usize) -> u64 {
    let order = runtime_order(graph);
    let mut arena = Arena::new();
    for _ in 0..RUNS {
        arena = run(graph, &order, shapes, samples, arena);
    }
    arena.written()
}

/// One run of the nodes in this order.
fn run(graph: &Graph, order: &[NodeId], shapes: &Shapes, samples: usize, arena: Arena) -> Arena {
    let outputs: BTreeSet<ValueId> = graph.outputs().iter().copied().collect();
    let mut reads = vec![0; graph.value_count()];
    for &id in order {
        inputs(graph.node(id)).for_each(|input| reads[input.index()] += 1);
    }
    let swapped = swapped_for_products(graph);
    let mut memory = Memory { blocks: vec![None; graph.value_count()], list: Vec::new(), reads, arena };
    for &id in order {
        let node = graph.node(id);
        let is_view = VIEWS.contains(&node.op_type.as_str()) || swapped[id.index()];
        for (number, output) in node.outputs.iter().enumerate() {
            let Some(output) = *output else { continue };
            if outputs.contains(&output) {
                continue;
            }
            if is_view && number == 0 {
                let source = node.inputs.first().copied().flatten();
                if let Some(block) = source.and_then(|source| memory.blocks[source.index()]) {
                    memory.place(output, block);
                }
                continue;
            }
            let block = memory.allocate(shapes.bytes(output, samples));
            memory.place(output, block);
        }
        let scratch = own(node, shapes, samples);
        if scratch > 0 {
            let piece = memory.arena.allocate(scratch);
            memory.arena.free(piece);
        }
        for input in inputs(node) {
            memory.reads[input.index()] -= 1;
            memory.drop_unread(input);
        }
        node.outputs.iter().flatten().for_each(|&output| memory.drop_unread(output));
    }
    memory.arena
}

fn inputs(node: &Node) -> impl Iterator<Item = ValueId> + '_ {
    node.inputs.iter().flatten().chain(&node.captured).copied()
}

/// The nodes that swap the last two axes for matrix products alone, which then read the matrices as they lie.
fn swapped_for_products(graph: &Graph) -> Vec<bool> {
    let consumers = graph.consumers();
    let mut swapped = vec![false; graph.nodes().map(|(id, _)| id.index() + 1).max().unwrap_or(0)];
    for (id, node) in graph.nodes().filter(|(_, node)| node.op_type == "Transpose") {
        let Some(&[Some(output)]) = node.outputs.get(..1).and_then(|some| some.first_chunk()) else {
            continue;
        };
        let swaps = node.attributes.ints("perm").is_none_or(|perm| {
            let rank = perm.len() as i64;
            rank >= 2
                && perm.iter().enumerate().all(|(axis, &from)| match rank - axis as i64 {
                    2 => from == rank - 1,
                    1 => from == rank - 2,
                    _ => from == axis as i64,
                })
        });
        let readers = &consumers[output.index()];
        let is_product = |reader: NodeId| PRODUCTS.contains(&graph.node(reader).op_type.as_str());
        swapped[id.index()] =
            swaps && !readers.is_empty() && readers.iter().all(|&(reader, _)| is_product(reader));
    }
    swapped
}

/// Bytes that a node needs for itself while it runs: convolutions write out the windows of an image.
fn own(node: &Node, shapes: &Shapes, samples: usize) -> u64 {
    let dims = |value: Option<&Option<ValueId>>| shapes.dims((*value?)?, samples);
    let spatial = |dims: &[usize]| dims.iter().skip(2).map(|&dim| dim as u64).product::<u64>();
    let (Some(x), Some(w), Some(y)) =
        (dims(node.inputs.first()), dims(node.inputs.get(1)), dims(node.outputs.first()))
    else {
        return 0;
    };
    let row = w.get(1).map_or(0, |&channels| channels as u64) * spatial(&w);
    match node.op_type.as_str() {
        // Few windows are written out whole, many in parts.
        "Conv" if w.first().is_some_and(|&filters| filters as u64 > spatial(&y)) => row * spatial(&y) * 4,
        "Conv" => CONVOLVED,
        "ConvTranspose" => row * spatial(&x) * 4,
        _ => 0,
    }
}
