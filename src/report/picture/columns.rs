//! Where the vertices of ordered layers stand from left to right.
//!
//! The method of Brandes and Köpf, "Fast and Simple Horizontal Coordinate Assignment" (2001): vertices are tied into
//! straight columns four times, leaning up or down and left or right, each time packed as closely as widths allow;
//! the middle of the four is taken. Here the packing is a longest path over the columns, and a box is tied to boxes
//! rather than to the points of passing lines, so that the main path of a network is straight.

use std::collections::BTreeSet;

use super::layers::Layered;

/// The centre of each vertex. Neighbours in a row are at least `gap` of the two apart, centre to centre.
pub(super) fn centres(layered: &Layered, gap: &dyn Fn(usize, usize) -> f64) -> Vec<f64> {
    let crossing = crossing_segments(layered);
    let mut layouts = Vec::new();
    for upward in [false, true] {
        for mirrored in [false, true] {
            let mut rows = layered.rows.clone();
            if upward {
                rows.reverse();
            }
            if mirrored {
                for row in &mut rows {
                    row.reverse();
                }
            }
            let (near, back) =
                if upward { (&layered.below, &layered.above) } else { (&layered.above, &layered.below) };
            let root = columns(layered, &rows, [near, back], &crossing);
            let mut centre = packed(&rows, &root, gap);
            if mirrored {
                for x in &mut centre {
                    *x = -*x;
                }
            }
            layouts.push((mirrored, centre));
        }
    }
    middle(layouts)
}

fn range(centres: &[f64]) -> (f64, f64) {
    let ends = (f64::INFINITY, f64::NEG_INFINITY);
    centres.iter().fold(ends, |(low, high), &x| (low.min(x), high.max(x)))
}

/// Aligns the layouts with the narrowest, and takes the mean of the middle two for each vertex.
fn middle(mut layouts: Vec<(bool, Vec<f64>)>) -> Vec<f64> {
    let narrowest =
        layouts.iter().map(|(_, centres)| range(centres)).fold(None, |best: Option<(f64, f64)>, next| {
            match best {
                Some(best) if best.1 - best.0 <= next.1 - next.0 => Some(best),
                _ => Some(next),
            }
        });
    let Some((low, high)) = narrowest else { return Vec::new() };
    for (mirrored, centres) in &mut layouts {
        let own = range(centres);
        let shift = if *mirrored { high - own.1 } else { low - own.0 };
        for x in centres {
            *x += shift;
        }
    }
    let count = layouts.first().map_or(0, |(_, centres)| centres.len());
    (0..count)
        .map(|vertex| {
            let mut found: Vec<f64> = layouts.iter().map(|(_, centres)| centres[vertex]).collect();
            found.sort_by(f64::total_cmp);
            f64::midpoint(found[1], found[2])
        })
        .collect()
}

fn key(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

/// Segments that cross one within a trunk, which shall stay straight.
fn crossing_segments(layered: &Layered) -> BTreeSet<(usize, usize)> {
    let mut place = vec![0; layered.layer.len()];
    for row in &layered.rows {
        for (index, &vertex) in row.iter().enumerate() {
            place[vertex] = index;
        }
    }
    let within = |upper: usize, lower: usize| layered.is_point(upper) && layered.is_point(lower);
    let mut found = BTreeSet::new();
    for rows in layered.rows.windows(2) {
        let (mut from, mut left) = (0, 0);
        for (index, &vertex) in rows[1].iter().enumerate() {
            let straight = layered.above[vertex].iter().copied().find(|&upper| within(upper, vertex));
            if straight.is_none() && index + 1 < rows[1].len() {
                continue;
            }
            let right = straight.map_or(rows[0].len(), |upper| place[upper]);
            for &lower in &rows[1][from..=index] {
                for &upper in &layered.above[lower] {
                    if !within(upper, lower) && (place[upper] < left || place[upper] > right) {
                        found.insert(key(upper, lower));
                    }
                }
            }
            from = index + 1;
            left = right;
        }
    }
    found
}

/// Ties vertices into columns: by vertex, the first of its column.
fn columns(
    layered: &Layered,
    rows: &[Vec<usize>],
    [near, back]: [&[Vec<usize>]; 2],
    crossing: &BTreeSet<(usize, usize)>,
) -> Vec<usize> {
    let mut place = vec![0; layered.layer.len()];
    let mut root: Vec<usize> = (0..layered.layer.len()).collect();
    for row in rows {
        for (index, &vertex) in row.iter().enumerate() {
            place[vertex] = index;
        }
        // Ties may not cross: the first place that is still free.
        let mut free = 0;
        for &vertex in row {
            let alike = |other: &&usize| layered.is_point(**other) == layered.is_point(vertex);
            let mut candidates: Vec<usize> = near[vertex].iter().filter(alike).copied().collect();
            if candidates.is_empty() {
                // A box that has a box on this side is left to it.
                let open = |other: &&usize| {
                    layered.is_point(**other) || back[**other].iter().all(|&next| layered.is_point(next))
                };
                candidates.extend(near[vertex].iter().filter(open));
            }
            candidates.sort_by_key(|&other| place[other]);
            let Some(last) = candidates.len().checked_sub(1) else { continue };
            for &other in &candidates[last / 2..=last.div_ceil(2)] {
                if place[other] >= free && !crossing.contains(&key(other, vertex)) {
                    root[vertex] = root[other];
                    free = place[other] + 1;
                    break;
                }
            }
        }
    }
    root
}

/// Packs the columns to the left, then lets each move right as far as those on its right leave room, so that columns
/// stand near what they are next to.
fn packed(rows: &[Vec<usize>], root: &[usize], gap: &dyn Fn(usize, usize) -> f64) -> Vec<f64> {
    let mut right: Vec<Vec<(usize, f64)>> = vec![Vec::new(); root.len()];
    let mut waits = vec![0_usize; root.len()];
    for row in rows {
        for pair in row.windows(2) {
            right[root[pair[0]]].push((root[pair[1]], gap(pair[0], pair[1])));
            waits[root[pair[1]]] += 1;
        }
    }
    let mut order: Vec<usize> = (0..root.len()).filter(|&v| root[v] == v && waits[v] == 0).collect();
    let mut centre = vec![0.0_f64; root.len()];
    let mut next = 0;
    while next < order.len() {
        let column = order[next];
        next += 1;
        for &(other, distance) in &right[column] {
            centre[other] = centre[other].max(centre[column] + distance);
            waits[other] -= 1;
            if waits[other] == 0 {
                order.push(other);
            }
        }
    }
    for &column in order.iter().rev() {
        let room = right[column].iter().map(|&(other, distance)| centre[other] - distance);
        let room = room.fold(f64::INFINITY, f64::min);
        if room.is_finite() {
            centre[column] = centre[column].max(room);
        }
    }
    (0..root.len()).map(|vertex| centre[root[vertex]]).collect()
}
