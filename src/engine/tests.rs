//! Every case runs on every engine. A missing ONNX Runtime fails them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use half::{bf16, f16};

use super::*;
use crate::tensor::{DType, Tensor, Values};

fn engines() -> Vec<Arc<dyn Engine>> {
    [Choice::Ort, Choice::Tract]
        .into_iter()
        .map(|engine| {
            discover(&Discovery { engine, ..Discovery::default() })
                .map(|selected| selected.engine)
                .unwrap_or_else(|error| panic!("the engine tests need ONNX Runtime: {error}"))
        })
        .collect()
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/engine").join(format!("{name}.onnx"))
}

fn load(engine: &dyn Engine, name: &str, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
    engine.load(Source::File(&fixture(name)), options)
}

fn open(engine: &dyn Engine, name: &str) -> Box<dyn Session> {
    load(engine, name, &LoadOptions::default()).unwrap_or_else(|error| panic!("{}: {error}", engine.name()))
}

fn floats(dims: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(dims.to_vec(), values.to_vec()).unwrap()
}

/// Runs `case` on each engine and reports all that fail.
fn on_each(case: impl Fn(&dyn Engine) -> Result<(), String>) {
    let failures: Vec<String> = engines()
        .iter()
        .filter_map(|engine| case(engine.as_ref()).err().map(|error| format!("{}: {error}", engine.name())))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: found {found:?}, expected {expected:?}")) }
}

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
                        failures.push(format!("{} works now: drop its exception", case.model))
                    }
                    (Err(error), Some(reason)) if error.to_lowercase().contains(reason) => {}
                    (Err(error), _) => failures.push(error),
                }
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
    });
}

#[test]
fn one_session_takes_batches_of_any_size() {
    on_each(|engine| {
        let mut session = open(engine, "free_batch");
        for batch in [1, 4, 2, 7, 3, 9, 4, 1] {
            let x = floats(&[batch, 3], &vec![1.0; batch * 3]);
            let y = session.run(&[("x", &x)]).map_err(|error| error.to_string())?;
            same("y", &y, &vec![floats(&[batch, 2], &[19.0, 32.0].repeat(batch))])?;
        }
        Ok(())
    });
}

#[test]
fn ports_are_described() {
    let port = |name: &str, dtype, dims: &[Option<usize>], optional| Port {
        name: name.to_owned(),
        dtype: Some(dtype),
        dims: Some(dims.to_vec()),
        optional,
    };
    on_each(|engine| {
        let session = open(engine, "overridable");
        let mut inputs = session.inputs().to_vec();
        same("first input", &inputs.remove(0), &port("x", DType::F32, &[Some(6)], false))?;
        let inputs: BTreeMap<String, Port> =
            inputs.into_iter().map(|port| (port.name.clone(), port)).collect();
        let expected: BTreeMap<String, Port> = [
            ("w".to_owned(), port("w", DType::F32, &[Some(6)], true)),
            ("shape".to_owned(), port("shape", DType::I64, &[Some(2)], true)),
        ]
        .into();
        same("optional inputs", &inputs, &expected)?;
        let outputs = [port("y", DType::F32, &[None, None], false)];
        same("outputs", &session.outputs().to_vec(), &outputs.to_vec())?;
        same("old inputs", &open(engine, "ir_version_3").inputs().len(), &1)
    });
}

#[test]
fn outputs_are_written_in_place_and_inputs_are_read_each_time() {
    on_each(|engine| {
        let mut session = open(engine, "product");
        let mut a = vec![1.0_f32, 2.0, 3.0];
        let b = [10.0_f32, 10.0, 10.0];
        let mut y = vec![0.0_f32; 3];
        let address = y.as_ptr();
        for factor in [1.0, 2.0, 5.0] {
            a.copy_from_slice(&[factor, 2.0 * factor, 3.0 * factor]);
            session
                .run_into(
                    &[
                        ("b", View::new(&[3], &b[..]).unwrap().into()),
                        ("a", View::new(&[3], &a[..]).unwrap().into()),
                    ],
                    &mut [("y", ViewMut::new(&[3], &mut y[..]).unwrap().into())],
                )
                .map_err(|error| error.to_string())?;
            same("y", &y, &vec![10.0 * factor, 20.0 * factor, 30.0 * factor])?;
        }
        same("address", &y.as_ptr(), &address)
    });
}

#[test]
fn device_tensors_are_inputs_and_outputs() {
    on_each(|engine| {
        let mut session = open(engine, "product");
        let a = floats(&[2], &[3.0, 4.0]);
        let a = DeviceTensor::upload(Device::Cpu, (&a).into()).map_err(|error| error.to_string())?;
        let mut y = DeviceTensor::alloc(Device::Cpu, DType::F32, &[2]).map_err(|error| error.to_string())?;
        session
            .run_into(&[("a", (&a).into()), ("b", (&a).into())], &mut [("y", (&mut y).into())])
            .map_err(|error| error.to_string())?;
        same("y", &y.download().map_err(|error| error.to_string())?, &floats(&[2], &[9.0, 16.0]))
    });
}

#[test]
fn wrong_inputs_and_outputs_are_told() {
    let good = floats(&[1, 3], &[1.0; 3]);
    let wide = floats(&[1, 4], &[1.0; 4]);
    let flat = floats(&[3], &[1.0; 3]);
    let whole = Tensor::new(vec![1, 3], vec![1_i64; 3]).unwrap();
    let inputs: [(&str, Vec<(&str, &Tensor)>); 6] = [
        ("input `z`: the model has no such name; it has x", vec![("z", &good)]),
        ("input `x`: no value was given, and the model has no default for it", vec![]),
        ("input `x`: given twice", vec![("x", &good), ("x", &good)]),
        ("input `x`: expected float, found int64", vec![("x", &whole)]),
        ("input `x`: expected dimensions [?, 3], found [1, 4]", vec![("x", &wide)]),
        ("input `x`: expected dimensions [?, 3], found [3]", vec![("x", &flat)]),
    ];
    on_each(|engine| {
        let mut session = open(engine, "free_batch");
        for (expected, inputs) in &inputs {
            let Err(error) = session.run(inputs) else { return Err(format!("no error: {expected}")) };
            same("message", &error.to_string(), &(*expected).to_owned())?;
        }
        let x = [("x", Arg::from(&good))];
        let (mut row, mut column) = (vec![0.0_f32; 2], vec![0.0_f32; 2]);
        let mut doubles = vec![0.0_f64; 2];
        let outputs: [(&str, &str, ArgMut<'_>); 3] = [
            (
                "output `q`: the model has no such name; it has y",
                "q",
                ViewMut::new(&[1, 2], &mut row[..]).unwrap().into(),
            ),
            (
                "output `y`: expected float, found double",
                "y",
                ViewMut::new(&[1, 2], &mut doubles[..]).unwrap().into(),
            ),
            (
                "output `y`: expected dimensions [?, 2], found [2, 1]",
                "y",
                ViewMut::new(&[2, 1], &mut column[..]).unwrap().into(),
            ),
        ];
        for (expected, name, arg) in outputs {
            let Err(error) = session.run_into(&x, &mut [(name, arg)]) else {
                return Err(format!("no error: {expected}"));
            };
            same("message", &error.to_string(), &expected.to_owned())?;
        }
        // The declared output has a free batch: only the run finds that three rows are not one.
        let mut rows = vec![-1.0_f32; 6];
        let mut output = [("y", ViewMut::new(&[3, 2], &mut rows[..]).unwrap().into())];
        if session.run_into(&x, &mut output).is_ok() {
            return Err("an output of another batch size was taken".to_owned());
        }
        // And the session still works.
        let y = session.run(&[("x", &good)]).map_err(|error| error.to_string())?;
        same("y", &y, &vec![floats(&[1, 2], &[19.0, 32.0])])
    });
}

#[test]
fn files_that_are_no_models_are_errors() {
    let noise: Vec<u8> =
        (0..997_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let whole = std::fs::read(fixture("network")).unwrap();
    let missing = fixture("missing");
    // The data is there and has the right size, but above the model's folder.
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("models/model.onnx");
    std::fs::create_dir(folder.path().join("models")).unwrap();
    std::fs::copy(fixture("external_outside"), &outside).unwrap();
    std::fs::copy(fixture("external").with_file_name("external.bin"), folder.path().join("external.bin"))
        .unwrap();
    let sources = [
        ("noise", Source::Bytes(&noise)),
        ("nothing", Source::Bytes(&[])),
        ("half a file", Source::Bytes(&whole[..whole.len() / 2])),
        ("a missing file", Source::File(&missing)),
        ("external data elsewhere", Source::File(&outside)),
    ];
    on_each(|engine| {
        for (name, source) in sources {
            match engine.load(source, &LoadOptions::default()) {
                Err(EngineError::Load { .. }) => {}
                Err(other) => return Err(format!("{name}: {other}")),
                Ok(_) => return Err(format!("{name} was loaded")),
            }
        }
        Ok(())
    });
}

#[test]
fn an_unknown_operator_is_named() {
    on_each(|engine| match load(engine, "unknown_operator", &LoadOptions::default()) {
        Ok(_) => Err("it was loaded".to_owned()),
        Err(error) if error.to_string().contains("Mystery") => Ok(()),
        Err(error) => Err(error.to_string()),
    });
}

#[test]
fn a_hundred_ports_keep_apart() {
    on_each(|engine| {
        let mut session = open(engine, "many");
        let inputs: Vec<(String, Tensor)> = (0..100)
            .map(|number| (format!("x{number}"), floats(&[1000], &vec![number as f32; 1000])))
            .collect();
        // Given in another order than the model's.
        let inputs: Vec<(&str, &Tensor)> =
            inputs.iter().rev().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let outputs = session.run(&inputs).map_err(|error| error.to_string())?;
        for (number, output) in outputs.iter().enumerate() {
            let sum = (number + (number + 1) % 100) as f32;
            same("output", output, &floats(&[1000], &vec![sum; 1000]))?;
        }
        Ok(())
    });
}

#[test]
fn a_session_may_move_to_another_thread() {
    on_each(|engine| {
        let mut session = open(engine, "product");
        let a = floats(&[2], &[3.0, 4.0]);
        let run = move || session.run(&[("a", &a), ("b", &a)]).map_err(|error| error.to_string());
        let y = std::thread::spawn(run).join().map_err(|_| "the thread panicked".to_owned())??;
        same("y", &y, &vec![floats(&[2], &[9.0, 16.0])])
    });
}

#[test]
fn optimisation_and_engine_change_nothing_but_the_last_digits() {
    let x: Vec<f32> = (0..3 * 2 * 64).map(|number| (number as f32 * 0.37).sin()).collect();
    let x = floats(&[3, 2, 8, 8], &x);
    let mut results = Vec::new();
    for engine in engines() {
        for optimize in [true, false] {
            for threads in [Some(1), Some(2), None] {
                let options = LoadOptions { optimize, threads, ..LoadOptions::default() };
                let mut session = load(engine.as_ref(), "network", &options).unwrap();
                results.push(session.run(&[("x", &x)]).unwrap().remove(0).to_f64().unwrap());
            }
        }
    }
    let scale = results[0].iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    assert!(scale > 0.1, "{results:?}");
    for result in &results {
        let difference = results[0].iter().zip(result).fold(0.0_f64, |most, (a, b)| most.max((a - b).abs()));
        assert!(difference <= 1e-5 * scale, "{difference} of {scale}");
    }
}

#[test]
fn denormals_become_zero_on_the_calling_thread_only_when_asked() {
    let [engine, _] = engines().try_into().unwrap_or_else(|_| panic!("two engines"));
    // Large enough for the runtime to share the work between its threads.
    let a = floats(&[1 << 20], &vec![1e-30; 1 << 20]);
    let b = floats(&[1 << 20], &vec![1e-10; 1 << 20]);
    for flush_denormals in [true, false, true, false] {
        let options = LoadOptions { flush_denormals, threads: Some(2), ..LoadOptions::default() };
        let mut session = load(engine.as_ref(), "product", &options).unwrap();
        let y = session.run(&[("a", &a), ("b", &b)]).unwrap().remove(0);
        let zeros = y.as_slice::<f32>().unwrap().iter().filter(|value| **value == 0.0).count();
        assert_eq!(zeros, if flush_denormals { 1 << 20 } else { 0 });
        // Our own arithmetic keeps its denormals.
        let product = std::hint::black_box(1e-30_f32) * std::hint::black_box(1e-10_f32);
        assert!(product > 0.0);
    }
}

#[test]
fn cuda_is_refused_clearly() {
    on_each(|engine| {
        let options = LoadOptions { device: Device::Cuda(1), ..LoadOptions::default() };
        match load(engine, "product", &options) {
            Err(error @ EngineError::UnsupportedDevice { .. }) => {
                same("names the device", &error.to_string().contains("cuda:1"), &true)
            }
            Err(error) => Err(error.to_string()),
            Ok(_) => Err("it was loaded".to_owned()),
        }
    });
    assert!(DeviceTensor::alloc(Device::Cuda(0), DType::F32, &[1]).is_err());
}

#[test]
fn a_library_named_in_vain_is_an_error_and_not_passed_over() {
    // Loads a good one first, so that the order of tests does not matter.
    let report = doctor(None);
    let loaded = report.ort_path.clone().expect("ONNX Runtime");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so");
    std::fs::write(&path, "not a library").unwrap();
    for engine in [Choice::Auto, Choice::Ort] {
        let options = Discovery { engine, ort_lib: Some(path.clone()), device: Device::Cpu };
        match discover(&options) {
            Err(EngineError::OtherLibrary { loaded: other, asked }) => {
                assert_eq!((other, asked), (loaded.clone(), path.clone()));
            }
            Err(error) => panic!("{error}"),
            Ok(selected) => panic!("{} was taken", selected.engine.name()),
        }
    }
    // The one in use may be named.
    let options = Discovery { engine: Choice::Ort, ort_lib: Some(loaded), device: Device::Cpu };
    assert_eq!(discover(&options).unwrap().engine.name(), "onnxruntime");
}

#[test]
fn the_doctor_tells_what_there_is() {
    let report = doctor(None);
    let chosen =
        report.libraries.iter().filter(|candidate| matches!(candidate.verdict, Verdict::Chosen { .. }));
    assert_eq!(chosen.count(), 1, "{report:?}");
    assert!(report.ort_version.as_deref().is_some_and(|version| version.starts_with("1.")), "{report:?}");
    assert!(report.execution_providers.contains(&"CPUExecutionProvider".to_owned()), "{report:?}");
    assert_eq!(report.auto.as_ref().map(|(name, _)| name.as_str()), Ok("onnxruntime"));
    assert_eq!(report.note, None);
    assert!(report.default_threads >= 1);
}
