//! What sessions promise beyond right values.

use std::collections::BTreeMap;

use super::{engines, floats, load, on_each, open, same};
use crate::engine::{Device, DeviceTensor, LoadOptions, Port, View, ViewMut};
use crate::tensor::{DType, Tensor};

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
        let mut a = [1.0_f32, 2.0, 3.0];
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
                let options = LoadOptions { threads, optimize, ..LoadOptions::default() };
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
