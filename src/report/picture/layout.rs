//! Places of boxes and ways of lines.

use super::columns::centres;
use super::layers::{Layered, Link, layered};
use super::order::reorder;

/// Between boxes side by side.
const BESIDE: f64 = 28.0;
/// Between a line and a box, and between lines.
const LANE: f64 = 18.0;
/// Between layers, at least and at most.
const GAP: (f64, f64) = (34.0, 90.0);
/// Between the ends of lines at one box.
const PORT: f64 = 18.0;

/// A rectangle.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Area {
    pub(super) fn centre(&self) -> f64 {
        self.x + self.width / 2.0
    }

    pub(super) fn bottom(&self) -> f64 {
        self.y + self.height
    }
}

/// A stretch of a line: straight down from `start` to `bend`, then curved over to `(end.0, end.1)` and straight down
/// to `stop`. All of it lies beside boxes or between layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stretch {
    pub(super) start: (f64, f64),
    pub(super) bend: f64,
    pub(super) end: (f64, f64),
    pub(super) stop: f64,
    /// Whether it ends at a box.
    pub(super) arrives: bool,
}

/// A layout, its upper left corner at the origin.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) boxes: Vec<Area>,
    /// By trunk.
    pub(super) trunks: Vec<Vec<Stretch>>,
}

/// Lays out boxes of the given widths and heights.
pub(super) fn layout(sizes: &[(f64, f64)], links: &[Link]) -> Layout {
    let mut rows = layered(sizes.len(), links);
    reorder(&mut rows);
    let width = |vertex: usize| sizes.get(vertex).map_or(0.0, |size| size.0);
    let gap = |a: usize, b: usize| {
        let between = if rows.is_point(a) || rows.is_point(b) { LANE } else { BESIDE };
        f64::midpoint(width(a), width(b)) + between
    };
    let mut centre = centres(&rows, &gap);
    let left =
        (0..centre.len()).map(|vertex| centre[vertex] - width(vertex) / 2.0).fold(f64::INFINITY, f64::min);
    for x in &mut centre {
        *x -= left;
    }
    let bands = bands(&rows, sizes, &centre);
    let boxes: Vec<Area> = sizes
        .iter()
        .enumerate()
        .map(|(vertex, &(width, height))| {
            let (top, bottom) = bands[rows.layer[vertex]];
            Area {
                x: centre[vertex] - width / 2.0,
                y: f64::midpoint(top, bottom) - height / 2.0,
                width,
                height,
            }
        })
        .collect();
    let right = (0..centre.len()).map(|vertex| centre[vertex] + width(vertex) / 2.0).fold(0.0, f64::max);
    let trunks = Ways { rows: &rows, centre: &centre, bands: &bands, boxes: &boxes }.trunks(links);
    Layout { width: right, height: bands.last().map_or(0.0, |band| band.1), boxes, trunks }
}

/// Top and bottom of each layer. Where lines go far to the side, the layers are farther apart.
fn bands(rows: &Layered, sizes: &[(f64, f64)], centre: &[f64]) -> Vec<(f64, f64)> {
    let mut bands = Vec::with_capacity(rows.rows.len());
    let mut top = 0.0;
    for row in &rows.rows {
        let height =
            row.iter().filter_map(|&vertex| sizes.get(vertex)).map(|size| size.1).fold(0.0, f64::max);
        bands.push((top, top + height));
        let aside = row.iter().flat_map(|&upper| rows.below[upper].iter().map(move |&lower| (upper, lower)));
        let aside = aside.map(|(upper, lower)| (centre[upper] - centre[lower]).abs()).fold(0.0, f64::max);
        top += height + (GAP.0 + aside / 16.0).min(GAP.1);
    }
    bands
}

struct Ways<'a> {
    rows: &'a Layered,
    centre: &'a [f64],
    bands: &'a [(f64, f64)],
    boxes: &'a [Area],
}

impl Ways<'_> {
    fn trunks(&self, links: &[Link]) -> Vec<Vec<Stretch>> {
        let leaving = self.leaving(links);
        let mut trunks: Vec<Vec<Stretch>> = vec![Vec::new(); self.rows.trunks.len()];
        let mut arriving = vec![Vec::new(); self.boxes.len()];
        for &link in links {
            arriving[link.to].push(link);
        }
        let mut begun = vec![false; trunks.len()];
        for &Link { from, trunk, .. } in links {
            if !std::mem::replace(&mut begun[trunk], true) {
                let mut last = from;
                for &point in &self.rows.trunks[trunk] {
                    let end = (self.centre[point], self.bands[self.rows.layer[point]]);
                    trunks[trunk].push(self.stretch(last, leaving[trunk], (end.0, end.1.0), None));
                    last = point;
                }
            }
        }
        for (to, links) in arriving.iter().enumerate() {
            for (link, end) in self.ports(to, links) {
                let stretch = self.stretch(
                    self.rows.last_before(link),
                    leaving[link.trunk],
                    (end, self.bands[self.rows.layer[to]].0),
                    Some(self.boxes[to].y),
                );
                trunks[link.trunk].push(stretch);
            }
        }
        trunks
    }

    fn stretch(&self, upper: usize, leaving: f64, end: (f64, f64), stop: Option<f64>) -> Stretch {
        let (top, bend) = self.bands[self.rows.layer[upper]];
        let start = match self.boxes.get(upper) {
            Some(area) => (leaving, area.bottom()),
            None => (self.centre[upper], top),
        };
        Stretch { start, bend, end, stop: stop.unwrap_or(end.1), arrives: stop.is_some() }
    }

    /// By trunk, where it leaves its box: those that go to the left on the left.
    fn leaving(&self, links: &[Link]) -> Vec<f64> {
        let mut leaving = vec![0.0; self.rows.trunks.len()];
        let mut aims: Vec<Vec<(f64, usize)>> = vec![Vec::new(); self.boxes.len()];
        let mut sums = vec![(0.0, 0_usize, 0_usize); self.rows.trunks.len()];
        for &link in links {
            let point = self.rows.trunks[link.trunk].first();
            let sum = &mut sums[link.trunk];
            *sum = (sum.0 + self.centre[*point.unwrap_or(&link.to)], sum.1 + 1, link.from);
        }
        for (trunk, &(sum, count, from)) in sums.iter().enumerate().filter(|(_, sum)| sum.1 > 0) {
            aims[from].push((sum / count as f64, trunk));
        }
        for (from, mut aims) in aims.into_iter().enumerate() {
            aims.sort_by(|a, b| a.0.total_cmp(&b.0));
            let places = spread(&self.boxes[from], aims.len(), (aims.len() as f64 - 1.0) / 2.0);
            for (&(_, trunk), x) in aims.iter().zip(places) {
                leaving[trunk] = x;
            }
        }
        leaving
    }

    /// Where lines arrive: one from above in the middle, the others on the side they come from.
    fn ports(&self, to: usize, links: &[Link]) -> Vec<(Link, f64)> {
        let area = &self.boxes[to];
        let start = |link: &Link| self.centre[self.rows.last_before(*link)];
        let mut links = links.to_vec();
        links.sort_by(|a, b| start(a).total_cmp(&start(b)));
        let count = links.len();
        let straight = links.iter().position(|link| (start(link) - area.centre()).abs() < 1.0);
        let middle = match straight {
            Some(index) => index as f64,
            None => (count as f64 - 1.0) / 2.0,
        };
        let places = spread(area, count, middle);
        links.into_iter().zip(places).collect()
    }
}

/// `count` places on the edge of a box, of which number `middle` is its middle.
fn spread(area: &Area, count: usize, middle: f64) -> Vec<f64> {
    let farthest = middle.max(count as f64 - 1.0 - middle).max(1.0);
    let step = PORT.min((area.width / 2.0 - 12.0).max(0.0) / farthest);
    (0..count).map(|index| area.centre() + (index as f64 - middle) * step).collect()
}
