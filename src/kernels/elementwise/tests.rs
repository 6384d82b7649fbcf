use super::*;
use crate::kernels::OneThread;

fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|place| ((place * 7919 + seed * 104_729) % 2003) as f32 / 1000.0 - 1.0).collect()
}

/// `(a * b + c) * a`, of which the middle one is summed by hand.
fn program() -> Program {
    let one = |code, operands| Instruction { code, operands };
    Program::new(3, vec![one(Code::Mul, [0, 1, 0]), one(Code::Add, [3, 2, 0]), one(Code::Mul, [4, 0, 0])])
        .unwrap()
}

#[test]
fn programs_broadcast_and_sum_like_numpy() {
    let cases: &[(&[usize], &[usize], &[usize])] = &[
        (&[2, 3, 5, 7], &[3, 1, 1], &[]),
        (&[40, 6, 13, 11], &[6, 1, 1], &[40, 1, 13, 1]),
        (&[300, 257], &[257], &[300, 1]),
        (&[70_001], &[1], &[]),
        (&[1, 5], &[4, 1], &[1]),
        (&[], &[], &[]),
        (&[3, 0, 2], &[2], &[]),
        (&[5000, 3, 2], &[3, 1], &[5000, 1, 2]),
    ];
    let program = program();
    for (a, b, c) in cases {
        let dims = [*a, *b, *c];
        let inputs = [0, 1, 2].map(|seed| values(dims[seed].iter().product(), seed));
        let given = inputs.each_ref().map(Vec::as_slice);
        let plan = Plan::new(&program, &dims, None).unwrap();
        let full = plan.dims().to_vec();
        let rank = full.len();
        let at = |input: usize, mut place: usize| {
            let (mut offset, mut step) = (0, 1);
            for axis in (0..rank).rev() {
                let here = place % full[axis];
                place /= full[axis];
                if let Some(own) = (axis + dims[input].len()).checked_sub(rank) {
                    let size = dims[input][own];
                    offset += if size == 1 { 0 } else { here * step };
                    step *= size;
                }
            }
            f64::from(inputs[input][offset])
        };
        let expected: Vec<f64> = (0..full.iter().product())
            .map(|place| (at(0, place) * at(1, place) + at(2, place)) * at(0, place))
            .collect();
        let mut y = vec![f32::NAN; expected.len()];
        plan.run(&given, &mut y, &OneThread).unwrap();
        assert!(y.iter().zip(&expected).all(|(y, wanted)| (f64::from(*y) - wanted).abs() < 1e-5), "{dims:?}");
        for mask in 1..1_usize << rank {
            let axes: Vec<usize> = (0..rank).filter(|axis| mask >> axis & 1 == 1).collect();
            let reduction = Reduction { axes: axes.clone(), keep_dims: mask % 2 == 0, mean: mask % 3 == 0 };
            let plan = Plan::new(&program, &dims, Some(&reduction)).unwrap();
            let mut sums = vec![0.0; plan.dims().iter().product()];
            let count: usize = axes.iter().map(|&axis| full[axis]).product();
            let scale = if reduction.mean { 1.0 / count as f64 } else { 1.0 };
            for (place, value) in expected.iter().enumerate() {
                let (mut rest, mut offset, mut step) = (place, 0, 1);
                for axis in (0..rank).rev() {
                    if !axes.contains(&axis) {
                        offset += rest % full[axis] * step;
                        step *= full[axis];
                    }
                    rest /= full[axis];
                }
                sums[offset] += value * scale;
            }
            let mut y = vec![f32::NAN; sums.len()];
            plan.run(&given, &mut y, &OneThread).unwrap();
            let size = (count as f64).sqrt() * scale;
            for (y, wanted) in y.iter().zip(&sums) {
                let gap = (f64::from(*y) - wanted).abs();
                assert!(
                    gap <= 2e-5 * size.max(wanted.abs()) || count == 0,
                    "{dims:?} {axes:?}: {y} {wanted}"
                );
            }
        }
    }
}

#[test]
fn programs_survive_their_encoding() {
    let program = program();
    assert_eq!(Program::decode(3, &program.encode()), Ok(program.clone()));
    for (inputs, ints) in
        [(3, vec![0, 0, 3, 0]), (3, vec![99, 0, 0, 0]), (3, vec![0, 0]), (0, vec![]), (1, vec![0, -1, 0, 0])]
    {
        assert!(Program::decode(inputs, &ints).is_err(), "{ints:?}");
    }
    assert!(Plan::new(&program, &[&[2, 3], &[4], &[]], None).is_err());
    let plan = Plan::new(&program, &[&[4], &[4], &[]], None).unwrap();
    let mut y = [0.0; 4];
    assert!(plan.run(&[&[0.0; 4], &[0.0; 3], &[0.0]], &mut y, &OneThread).is_err());
}

#[test]
fn each_code_is_the_operator_of_its_name() {
    let inputs: [&[f32]; 3] = [&[-2.0, 0.0, 1.5], &[1.0, 0.0, -3.0], &[5.0, 6.0, 7.0]];
    let expected: &[(&str, [f32; 3])] = &[
        ("Add", [-1.0, 0.0, -1.5]),
        ("Sub", [-3.0, 0.0, 4.5]),
        ("Mul", [-2.0, 0.0, -4.5]),
        ("Div", [-2.0, f32::NAN, -0.5]),
        ("Max", [1.0, 0.0, 1.5]),
        ("Min", [-2.0, 0.0, -3.0]),
        ("Greater", [0.0, 0.0, 1.0]),
        ("Less", [1.0, 0.0, 0.0]),
        ("Equal", [0.0, 1.0, 0.0]),
        ("Where", [1.0, 6.0, -3.0]),
        ("Identity", [-2.0, 0.0, 1.5]),
        ("Neg", [2.0, -0.0, -1.5]),
        ("Abs", [2.0, 0.0, 1.5]),
        ("Sqrt", [f32::NAN, 0.0, 1.224_744_9]),
        ("Reciprocal", [-0.5, f32::INFINITY, 0.666_666_7]),
        ("Relu", [0.0, 0.0, 1.5]),
        ("Not", [3.0, 1.0, -0.5]),
        ("Exp", [0.135_335_28, 1.0, 4.481_689]),
        ("Tanh", [-0.964_027_6, 0.0, 0.905_148_25]),
        ("Sigmoid", [0.119_202_92, 0.5, 0.817_574_5]),
        ("Erf", [-0.995_322_3, 0.0, 0.966_105_1]),
    ];
    assert_eq!(expected.len(), Code::ALL.len());
    for ((name, expected), (code, own, _)) in expected.iter().zip(Code::ALL) {
        assert_eq!(*name, own);
        let program = Program::new(3, vec![Instruction { code, operands: [0, 1, 2] }]).unwrap();
        let mut y = [0.0; 3];
        let plan = Plan::new(&program, &[&[3][..]; 3], None).unwrap();
        plan.run(&inputs, &mut y, &OneThread).unwrap();
        for (y, wanted) in y.iter().zip(expected) {
            let alike = y == wanted || (y - wanted).abs() < 1e-6 || y.is_nan() && wanted.is_nan();
            assert!(alike, "{name} gives {y}, not {wanted}");
        }
    }
}
