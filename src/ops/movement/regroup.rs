//! Which dimensions of a tensor become which when its elements are read under other dimensions.

/// One dimension of a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dim {
    /// Size in the traced run.
    pub(super) size: usize,
    /// Whether it follows a free dimension of the graph inputs.
    pub(super) varies: bool,
}

/// A factor that lies whole in one dimension of either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Atom {
    /// Size in the traced run.
    pub(super) size: usize,
    /// Whether it follows a free dimension.
    pub(super) varies: bool,
    /// Its dimension before, as a place in [`Group::inputs`].
    pub(super) input: usize,
    /// Its dimension after, as a place in [`Group::outputs`].
    pub(super) output: usize,
}

/// The smallest run of dimensions before and of dimensions after that hold the same elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// Dimensions before, outermost first.
    pub(super) inputs: Vec<usize>,
    /// Dimensions after, outermost first.
    pub(super) outputs: Vec<usize>,
    /// The common factors of both sides, outermost first; nothing where the boundaries cross.
    pub(super) atoms: Option<Vec<Atom>>,
}

/// Matches the dimensions of the two sides. Dimensions of size 1 belong to no group. Nothing when the sides hold
/// different numbers of elements, or none.
pub(super) fn groups(inputs: &[Dim], outputs: &[Dim]) -> Option<Vec<Group>> {
    if inputs.iter().chain(outputs).any(|dim| dim.size == 0) {
        return None;
    }
    let real = |dims: &[Dim]| (0..dims.len()).filter(|&dim| dims[dim].size != 1).collect::<Vec<_>>();
    let (left, right) = (real(inputs), real(outputs));
    let (mut i, mut o) = (0, 0);
    let mut groups = Vec::new();
    while i < left.len() || o < right.len() {
        let (first, second) = (i, o);
        let (mut before, mut after) = (inputs[*left.get(i)?].size, outputs[*right.get(o)?].size);
        (i, o) = (i + 1, o + 1);
        while before != after {
            if before < after {
                before = before.checked_mul(inputs[*left.get(i)?].size)?;
                i += 1;
            } else {
                after = after.checked_mul(outputs[*right.get(o)?].size)?;
                o += 1;
            }
        }
        let (own, other) = (left[first..i].to_vec(), right[second..o].to_vec());
        let atoms = atoms(&pick(inputs, &own), &pick(outputs, &other));
        groups.push(Group { inputs: own, outputs: other, atoms });
    }
    Some(groups)
}

fn pick(dims: &[Dim], places: &[usize]) -> Vec<Dim> {
    places.iter().map(|&place| dims[place]).collect()
}

/// The numbers of elements behind which a dimension begins or ends.
fn bounds(dims: &[Dim]) -> Vec<usize> {
    dims.iter()
        .scan(1_usize, |product, dim| {
            *product *= dim.size;
            Some(*product)
        })
        .collect()
}

/// The common refinement of two sides of the same product.
fn atoms(inputs: &[Dim], outputs: &[Dim]) -> Option<Vec<Atom>> {
    let (before, after) = (bounds(inputs), bounds(outputs));
    let mut all: Vec<usize> = before.iter().chain(&after).copied().collect();
    all.sort_unstable();
    all.dedup();
    let mut atoms = Vec::with_capacity(all.len());
    let mut last = 1;
    for bound in all {
        if bound % last != 0 {
            return None;
        }
        let holder = |bounds: &[usize]| bounds.iter().position(|&end| bound <= end);
        let (input, output) = (holder(&before)?, holder(&after)?);
        atoms.push(Atom { size: bound / last, varies: false, input, output });
        last = bound;
    }
    mark_varying(&mut atoms, inputs, outputs).then_some(atoms)
}

/// Finds the atoms that follow the free dimensions; fails where that is not clear.
fn mark_varying(atoms: &mut [Atom], inputs: &[Dim], outputs: &[Dim]) -> bool {
    let candidate = |atom: &Atom| inputs[atom.input].varies && outputs[atom.output].varies;
    let candidates: Vec<Atom> = atoms.iter().copied().filter(candidate).collect();
    let covered = |varies: bool, mine: &dyn Fn(&Atom) -> bool| !varies || candidates.iter().any(mine);
    let explained = (0..inputs.len()).all(|dim| covered(inputs[dim].varies, &|atom| atom.input == dim))
        && (0..outputs.len()).all(|dim| covered(outputs[dim].varies, &|atom| atom.output == dim));
    // Two candidates that share both dimensions cannot occur; one that shares each of its dimensions with others
    // need not vary.
    let alone = |atom: &Atom| {
        candidates.iter().filter(|other| other.input == atom.input).count() == 1
            || candidates.iter().filter(|other| other.output == atom.output).count() == 1
    };
    if !explained || !candidates.iter().all(alone) {
        return false;
    }
    for atom in atoms.iter_mut() {
        atom.varies = inputs[atom.input].varies && outputs[atom.output].varies;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(sizes: &[i64]) -> Vec<Dim> {
        sizes.iter().map(|&size| Dim { size: size.unsigned_abs() as usize, varies: size < 0 }).collect()
    }

    /// The groups as text: dimensions before, dimensions after, sizes of atoms, negative where they vary.
    fn matched(inputs: &[i64], outputs: &[i64]) -> Option<String> {
        let signed = |atom: &Atom| if atom.varies { -(atom.size as i64) } else { atom.size as i64 };
        let text = |group: Group| {
            let atoms = group.atoms.map(|atoms| atoms.iter().map(signed).collect::<Vec<_>>());
            format!("{:?}->{:?} {atoms:?}", group.inputs, group.outputs)
        };
        let groups = groups(&dims(inputs), &dims(outputs))?;
        Some(groups.into_iter().map(text).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn dimensions_are_matched_in_the_smallest_groups() {
        let cases: &[(&[i64], &[i64], &str)] = &[
            (&[-2, 12], &[-2, 3, 4], "[0]->[0] Some([-2]); [1]->[1, 2] Some([3, 4])"),
            (&[-2, 3, 4], &[-2, 12], "[0]->[0] Some([-2]); [1, 2]->[1] Some([3, 4])"),
            (&[6, 4], &[2, 12], "[0, 1]->[0, 1] Some([2, 3, 4])"),
            (&[4, 6], &[6, 4], "[0, 1]->[0, 1] None"),
            (&[1, 6, 1], &[6], "[1]->[0] Some([6])"),
            (&[5, -2, 12], &[5, -8, 3], "[0]->[0] Some([5]); [1, 2]->[1, 2] Some([-2, 4, 3])"),
            (&[-3, -8, 4], &[-6, 16], "[0, 1, 2]->[0, 1] Some([-3, -2, 4, 4])"),
            (&[-2, 6], &[4, 3], "[0, 1]->[0, 1] None"),
        ];
        for (inputs, outputs, expected) in cases {
            assert_eq!(matched(inputs, outputs).as_deref(), Some(*expected), "{inputs:?} -> {outputs:?}");
        }
        assert_eq!(matched(&[2, 3], &[5]), None);
        assert_eq!(matched(&[2, 0], &[0]), None);
    }
}
