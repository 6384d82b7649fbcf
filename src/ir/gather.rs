//! Slices of stored tensors, without decoding them.

use rayon::prelude::*;

/// Blocks from this many bytes on are copied one by one; the elements of smaller ones are gathered along rows.
const BLOCK: usize = 64;
/// Bytes of a job.
const JOB: usize = 1 << 20;

/// Of a row-major tensor of dimensions `dims` whose elements take `size` bytes, the elements at the indices that
/// `kept` names for each axis; all indices where it names none.
pub(super) fn gather(raw: &[u8], dims: &[usize], size: usize, kept: &[Option<&[usize]>]) -> Vec<u8> {
    let Some(last) = kept.iter().rposition(Option::is_some) else { return raw.to_vec() };
    let inner = dims[last + 1..].iter().product::<usize>() * size;
    let by_block = inner >= BLOCK;
    let axes = if by_block { last + 1 } else { last };
    let starts = starts(&dims[..axes], dims[axes..].iter().product::<usize>() * size, &kept[..axes]);
    let columns = kept[last].unwrap_or_default();
    let row = if by_block { inner } else { columns.len() * inner };
    let mut taken = vec![0; starts.len() * row];
    if taken.is_empty() {
        return taken;
    }
    let rows = (JOB / row).max(1);
    taken.par_chunks_mut(rows * row).zip(starts.par_chunks(rows)).for_each(|(taken, starts)| {
        for (taken, &start) in taken.chunks_exact_mut(row).zip(starts) {
            if by_block {
                taken.copy_from_slice(&raw[start..start + inner]);
            } else {
                columns_of(&raw[start..start + dims[last] * inner], columns, inner, taken);
            }
        }
    });
    taken
}

/// The blocks of `inner` bytes with the numbers `columns`.
fn columns_of(row: &[u8], columns: &[usize], inner: usize, taken: &mut [u8]) {
    fn fixed<const N: usize>(row: &[u8], columns: &[usize], taken: &mut [u8]) {
        let row = row.as_chunks::<N>().0;
        for (to, &column) in taken.as_chunks_mut::<N>().0.iter_mut().zip(columns) {
            *to = row[column];
        }
    }
    match inner {
        1 => fixed::<1>(row, columns, taken),
        2 => fixed::<2>(row, columns, taken),
        4 => fixed::<4>(row, columns, taken),
        8 => fixed::<8>(row, columns, taken),
        36 => fixed::<36>(row, columns, taken),
        _ => {
            for (to, &column) in taken.chunks_exact_mut(inner).zip(columns) {
                to.copy_from_slice(&row[column * inner..(column + 1) * inner]);
            }
        }
    }
}

/// Where each kept combination of indices of the axes `dims` begins, in bytes, in row-major order; behind the last
/// axis lie `inner` bytes.
fn starts(dims: &[usize], inner: usize, kept: &[Option<&[usize]>]) -> Vec<usize> {
    let mut starts = vec![0];
    for (axis, &dim) in dims.iter().enumerate() {
        let step = dims[axis + 1..].iter().product::<usize>() * inner;
        starts = match kept[axis] {
            Some(kept) => {
                starts.iter().flat_map(|start| kept.iter().map(move |index| start + index * step)).collect()
            }
            None => starts.iter().flat_map(|start| (0..dim).map(move |index| start + index * step)).collect(),
        };
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    #[test]
    fn the_same_is_taken_as_axis_by_axis() {
        let shapes: [&[usize]; 5] = [&[7], &[5, 6], &[4, 3, 3, 3], &[3, 40], &[2, 0, 3]];
        for dims in shapes {
            let count: usize = dims.iter().product();
            let tensor = Tensor::new(dims.to_vec(), (0..count as i64).collect::<Vec<i64>>()).unwrap();
            let raw: Vec<u8> = (0..count as i64).flat_map(i64::to_le_bytes).collect();
            for cut in 0..1_usize << dims.len() {
                let kept: Vec<Option<Vec<usize>>> = dims
                    .iter()
                    .enumerate()
                    .map(|(axis, &dim)| (cut >> axis & 1 == 1).then(|| (0..dim).rev().step_by(2).collect()))
                    .collect();
                let mut expected = tensor.clone();
                for (axis, kept) in kept.iter().enumerate() {
                    if let Some(kept) = kept {
                        expected = expected.take(axis, kept);
                    }
                }
                let kept: Vec<Option<&[usize]>> = kept.iter().map(Option::as_deref).collect();
                let found = gather(&raw, dims, 8, &kept);
                let expected: Vec<u8> =
                    expected.to_i64().unwrap().into_iter().flat_map(i64::to_le_bytes).collect();
                assert_eq!(found, expected, "{dims:?} {kept:?}");
            }
        }
    }
}
