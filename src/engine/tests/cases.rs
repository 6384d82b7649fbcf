//! Models with the outputs that they must compute.

use half::{bf16, f16};

use super::{floats, load, on_each, same};
use crate::engine::{Arg, ArgMut, Engine, EngineError, LoadOptions, ViewMut};
use crate::tensor::{Tensor, Values};

/// A model, its inputs, and its outputs in order.
struct Case {
    model: &'static str,
    inputs: Vec<(&'static str, Tensor)>,
    outputs: Vec<Tensor>,
}

fn cases() -> Vec<Case> {
    let bits = [0x0001_u16, 0x3c00, 0x8000].map(f16::from_bits).to_vec();
    vec![
        Case {
            model: "free_batch",
            inputs: vec![("x", floats(&[1, 3], &[1.0, 1.0, 1.0]))],
            outputs: vec![floats(&[1, 2], &[19.0, 32.0])],
        },
        Case {
            model: "types",
            inputs: vec![
                ("i", Tensor::vector(vec![i64::MAX / 2, -3])),
                ("b", Tensor::vector(vec![true, false])),
                ("h", Tensor::vector(vec![f16::from_f32(1.5), f16::from_f32(-0.25)])),
                ("d", Tensor::vector(vec![1e-200_f64, 3.0])),
            ],
            outputs: vec![
                Tensor::vector(vec![i64::MAX - 1, -6]),
                Tensor::vector(vec![false, true]),
                Tensor::vector(vec![f16::from_f32(2.25), f16::from_f32(0.0625)]),
                Tensor::vector(vec![0.0_f64, 9.0]),
            ],
        },
        Case {
            model: "overridable",
            inputs: vec![("x", floats(&[6], &[1.0; 6]))],
            outputs: vec![floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])],
        },
        Case {
            model: "overridable",
            inputs: vec![
                ("w", floats(&[6], &[2.0; 6])),
                ("x", floats(&[6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
            ],
            outputs: vec![floats(&[2, 3], &[2.0, 4.0, 6.0, 8.0, 10.0, 12.0])],
        },
        Case {
            model: "overridable",
            inputs: vec![("shape", Tensor::vector(vec![3_i64, 2])), ("x", floats(&[6], &[1.0; 6]))],
            outputs: vec![floats(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])],
        },
        Case {
            model: "ir_version_3",
            inputs: vec![("x", floats(&[6], &[1.0; 6]))],
            outputs: vec![floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])],
        },
        Case {
            model: "aliases",
            inputs: vec![("x", floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))],
            outputs: vec![
                floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
                floats(&[2], &[7.0, 8.0]),
                floats(&[6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            ],
        },
        Case {
            model: "external",
            inputs: vec![("x", floats(&[4], &[10.0; 4]))],
            outputs: vec![floats(&[4], &[11.0, 12.0, 13.0, 14.0])],
        },
        passed("float", vec![1.0_f32, f32::INFINITY, -0.0]),
        passed("double", vec![1.0_f64, -2.0]),
        passed("float16", bits),
        passed("int8", vec![-128_i8, 127]),
        passed("int16", vec![i16::MIN, i16::MAX]),
        passed("int32", vec![i32::MIN, i32::MAX]),
        passed("int64", vec![i64::MIN, i64::MAX]),
        passed("uint8", vec![0_u8, 255]),
        passed("uint16", vec![0_u16, u16::MAX]),
        passed("uint32", vec![0_u32, u32::MAX]),
        passed("uint64", vec![0_u64, u64::MAX]),
        passed("bool", vec![true, false, true]),
        passed("float", Vec::<f32>::new()),
        passed("bfloat16", vec![bf16::from_f32(1.5), bf16::from_f32(-3.0)]),
        passed("string", vec!["a".to_owned(), String::new(), "grün".to_owned()]),
    ]
}

fn passed(name: &str, values: impl Into<Values>) -> Case {
    let values = values.into();
    let count = values.len();
    let model = match name {
        "float" => "pass_float",
        "double" => "pass_double",
        "float16" => "pass_float16",
        "int8" => "pass_int8",
        "int16" => "pass_int16",
        "int32" => "pass_int32",
        "int64" => "pass_int64",
        "uint8" => "pass_uint8",
        "uint16" => "pass_uint16",
        "uint32" => "pass_uint32",
        "uint64" => "pass_uint64",
        "bool" => "pass_bool",
        "bfloat16" => "pass_bfloat16",
        _ => "pass_string",
    };
    Case {
        model,
        inputs: vec![("x", Tensor::new(vec![count], values.clone()).unwrap())],
        outputs: vec![Tensor::new(vec![1, count], values).unwrap()],
    }
}

/// Cases that an engine cannot do, and a word of the reason that it must give.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    // tract has no bfloat16 at all, and strings are not taken by its Reshape.
    ("tract", "pass_bfloat16", "bfloat16"),
    ("tract", "pass_string", "string"),
];

fn check_case(engine: &dyn Engine, case: &Case, options: &LoadOptions) -> Result<(), String> {
    let at = format!("{} {options:?}", case.model);
    let text = |error: EngineError| format!("{at}: {error}");
    let mut session = load(engine, case.model, options).map_err(text)?;
    let inputs: Vec<(&str, &Tensor)> = case.inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
    same(&at, &session.run(&inputs).map_err(text)?, &case.outputs)?;
    // The same through run_into, in two calls: the outputs of even number first, then the others.
    let names: Vec<String> = session.outputs().iter().map(|port| port.name.clone()).collect();
    let args: Vec<(&str, Arg<'_>)> =
        case.inputs.iter().map(|(name, tensor)| (*name, tensor.into())).collect();
    for parity in 0..2 {
        let mut written: Vec<(usize, Vec<usize>, Values)> = case
            .outputs
            .iter()
            .enumerate()
            .filter(|(number, _)| number % 2 == parity)
            .map(|(number, tensor)| {
                (number, tensor.dims().to_vec(), Values::zeros(tensor.dtype(), tensor.len()))
            })
            .collect();
        let mut outputs: Vec<(&str, ArgMut<'_>)> = written
            .iter_mut()
            .map(|(number, dims, values)| {
                (names[*number].as_str(), ViewMut::new(dims, values).unwrap().into())
            })
            .collect();
        session.run_into(&args, &mut outputs).map_err(text)?;
        for (number, dims, values) in written {
            same(&at, &Tensor::new(dims, values).unwrap(), &case.outputs[number])?;
        }
    }
    Ok(())
}

#[test]
fn models_compute_what_they_say() {
    on_each(|engine| {
        let mut failures = Vec::new();
        for case in &cases() {
            for optimize in [true, false] {
                let result = check_case(engine, case, &LoadOptions { optimize, ..LoadOptions::default() });
                let exception = EXCEPTIONS
                    .iter()
                    .find(|(name, model, _)| *name == engine.name() && *model == case.model)
                    .map(|(_, _, reason)| *reason);
                match (result, exception) {
                    (Ok(()), None) => {}
                    (Ok(()), Some(_)) => {
                        failures.push(format!("{} works now: drop its exception", case.model));
                    }
                    (Err(error), Some(reason)) if error.to_lowercase().contains(reason) => {}
                    (Err(error), _) => failures.push(error),
                }
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
    });
}
