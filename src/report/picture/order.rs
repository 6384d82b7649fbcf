//! The order of the vertices in their layers, with few crossings.

use super::layers::Layered;

const ROUNDS: usize = 24;
/// Rounds without a better order after which the search ends.
const PATIENCE: usize = 6;

/// Reorders the rows: each vertex goes to the mean place of its neighbours, downward and upward in turn. The order
/// with the fewest crossings stays.
pub(super) fn reorder(layered: &mut Layered) {
    let mut best = (crossings(layered), layered.rows.clone());
    let mut worse = 0;
    for round in 0..ROUNDS {
        if best.0 == 0 || worse == PATIENCE {
            break;
        }
        sweep(layered, round % 2 == 0, round % 4 >= 2);
        let found = crossings(layered);
        if found < best.0 {
            best = (found, layered.rows.clone());
            worse = 0;
        } else {
            worse += 1;
        }
    }
    layered.rows = best.1;
}

fn places(layered: &Layered) -> Vec<usize> {
    let mut place = vec![0; layered.layer.len()];
    for row in &layered.rows {
        for (index, &vertex) in row.iter().enumerate() {
            place[vertex] = index;
        }
    }
    place
}

fn sweep(layered: &mut Layered, downward: bool, rightmost: bool) {
    let mut place = places(layered);
    let count = layered.rows.len();
    for step in 1..count {
        let (number, neighbours) =
            if downward { (step, &layered.above) } else { (count - 1 - step, &layered.below) };
        let row = &mut layered.rows[number];
        if rightmost {
            // Among equals, the other order is tried.
            row.reverse();
        }
        let mut keyed: Vec<(f64, usize)> = row
            .iter()
            .map(|&vertex| {
                let near = &neighbours[vertex];
                let sum: usize = near.iter().map(|&other| place[other]).sum();
                let mean =
                    if near.is_empty() { place[vertex] as f64 } else { sum as f64 / near.len() as f64 };
                (mean, vertex)
            })
            .collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (index, &(_, vertex)) in keyed.iter().enumerate() {
            row[index] = vertex;
            place[vertex] = index;
        }
    }
}

/// Pairs of segments between neighbouring rows that cross.
pub(super) fn crossings(layered: &Layered) -> u64 {
    let place = places(layered);
    let mut total = 0;
    for row in 1..layered.rows.len() {
        // Counts, by place in this row and in a binary indexed tree, the ends met so far.
        let mut tree = vec![0_u64; layered.rows[row].len() + 1];
        let mut met = 0;
        for &upper in &layered.rows[row - 1] {
            let mut ends: Vec<usize> = layered.below[upper].iter().map(|&lower| place[lower]).collect();
            ends.sort_unstable();
            for &end in &ends {
                let mut index = end + 1;
                let mut not_right = 0;
                while index > 0 {
                    not_right += tree[index];
                    index &= index - 1;
                }
                total += met - not_right;
            }
            for &end in &ends {
                let mut index = end + 1;
                while index < tree.len() {
                    tree[index] += 1;
                    index += index & index.wrapping_neg();
                }
                met += 1;
            }
        }
    }
    total
}
