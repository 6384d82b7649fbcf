//! Which layer each box stands in, and the points by which lines pass the layers between.

use std::collections::BTreeMap;

/// A line to be laid out: from box, to box, and the trunk it shares with others from the same box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) trunk: usize,
}

/// Boxes and points in layers. Vertices below `boxes` are boxes, the others points of trunks.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Layered {
    pub(super) boxes: usize,
    /// By vertex.
    pub(super) layer: Vec<usize>,
    /// By layer, vertices from left to right.
    pub(super) rows: Vec<Vec<usize>>,
    /// By vertex, vertices of the layer above that lead to it.
    pub(super) above: Vec<Vec<usize>>,
    /// By vertex, vertices of the layer below that it leads to.
    pub(super) below: Vec<Vec<usize>>,
    /// By trunk: its points from top to bottom.
    pub(super) trunks: Vec<Vec<usize>>,
}

impl Layered {
    pub(super) fn is_point(&self, vertex: usize) -> bool {
        vertex >= self.boxes
    }

    /// The vertex of the layer above `link.to` by which the link reaches it.
    pub(super) fn last_before(&self, link: Link) -> usize {
        match self.layer[link.to] - self.layer[link.from] {
            1 => link.from,
            span => self.trunks[link.trunk][span - 2],
        }
    }
}

/// Layers such that every link leads downward. Links lead from lower to higher numbers, and those of one trunk start
/// at the same box.
pub(super) fn layered(boxes: usize, links: &[Link]) -> Layered {
    let layer = assign(boxes, links);
    let trunk_count = links.iter().map(|link| link.trunk + 1).max().unwrap_or(0);
    let mut result = Layered {
        boxes,
        above: vec![Vec::new(); boxes],
        below: vec![Vec::new(); boxes],
        trunks: vec![Vec::new(); trunk_count],
        rows: vec![Vec::new(); layer.iter().max().map_or(0, |last| last + 1)],
        layer,
    };
    let mut reach: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for link in links {
        let end = reach.entry(link.trunk).or_insert((link.from, 0));
        end.1 = end.1.max(result.layer[link.to]);
    }
    for (trunk, (from, end)) in reach {
        let mut last = from;
        for layer in result.layer[from] + 1..end {
            let point = result.layer.len();
            result.layer.push(layer);
            result.above.push(vec![last]);
            result.below.push(Vec::new());
            result.below[last].push(point);
            result.trunks[trunk].push(point);
            last = point;
        }
    }
    for &link in links {
        let last = result.last_before(link);
        result.above[link.to].push(last);
        result.below[last].push(link.to);
    }
    for lists in [&mut result.above, &mut result.below] {
        for list in lists.iter_mut() {
            list.sort_unstable();
            list.dedup();
        }
    }
    result.fill_rows();
    result
}

impl Layered {
    /// Puts the vertices into their rows in the order in which a walk from the top meets them, so that what belongs
    /// together starts side by side.
    fn fill_rows(&mut self) {
        let mut met = vec![false; self.layer.len()];
        for start in (0..self.boxes).filter(|&start| self.above[start].is_empty()) {
            let mut stack = vec![start];
            while let Some(vertex) = stack.pop() {
                if std::mem::replace(&mut met[vertex], true) {
                    continue;
                }
                self.rows[self.layer[vertex]].push(vertex);
                stack.extend(self.below[vertex].iter().rev().filter(|&&next| !met[next]));
            }
        }
    }
}

/// The longest path from the top; boxes with more readers than sources then move down as far as they can, which
/// shortens lines.
fn assign(boxes: usize, links: &[Link]) -> Vec<usize> {
    let mut sources: Vec<Vec<usize>> = vec![Vec::new(); boxes];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); boxes];
    for link in links {
        sources[link.to].push(link.from);
        readers[link.from].push(link.to);
    }
    let mut layer = vec![0; boxes];
    for vertex in 0..boxes {
        layer[vertex] = sources[vertex].iter().map(|&source| layer[source] + 1).max().unwrap_or(0);
    }
    for vertex in (0..boxes).rev() {
        if let Some(first) = readers[vertex].iter().map(|&reader| layer[reader]).min()
            && readers[vertex].len() > sources[vertex].len()
        {
            layer[vertex] = first - 1;
        }
    }
    layer
}
