//! Errors, and what the machine is found to have.

use super::{fixture, floats, load, on_each, open, same};
use crate::engine::{
    Arg, ArgMut, Choice, Device, DeviceTensor, Discovery, EngineError, LoadOptions, Source, Verdict, ViewMut,
    discover, doctor,
};
use crate::tensor::{DType, Tensor};

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
        let mut doubles = [0.0_f64; 2];
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
        let mut rows = [-1.0_f32; 6];
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
