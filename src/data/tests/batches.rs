//! Order, augmentation, splitting, and the thread that prepares batches.

use std::collections::BTreeSet;

use super::*;
use crate::data::{Augment, Batch, Draw, Loader, LoaderOptions};

/// `samples` grey images of 6 x 6 bytes; the sample at `n` has the label `n` and the values `n + 1 ..`.
fn grey(samples: usize, augment: &str) -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    let bytes: Vec<u8> =
        (0..samples).flat_map(|sample| (1..=36).map(move |pixel| (sample + pixel) as u8)).collect();
    let labels: Vec<i64> = (0..samples as i64).collect();
    npz(&path, (&[samples, 6, 6], &bytes), (&[samples], &labels));
    let options = DataOptions {
        augment: augment.parse::<Augment>().unwrap(),
        mean: vec![0.5],
        std: vec![0.5],
        ..DataOptions::default()
    };
    open(&path, Part::Train, &images(&[1, 6, 6]), None, &options).unwrap()
}

fn seen(batches: &[Batch]) -> Vec<usize> {
    batches.iter().flat_map(|batch| batch.indices.clone()).collect()
}

fn run(data: &Dataset, options: LoaderOptions, epoch: u64) -> Vec<Batch> {
    Loader::new(data.clone(), options).epoch(epoch).collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let data = grey(50, "flip,shift=2,crop=1");
    let options = LoaderOptions::training(8, 3);
    let first = run(&data, options, 0);
    assert_eq!(first.len(), 6);
    assert_eq!(first, run(&data, options, 0));
    assert_ne!(seen(&first), seen(&run(&data, options, 1)));
    assert_ne!(seen(&first), seen(&run(&data, LoaderOptions { seed: 4, ..options }, 0)));
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let draw = Some(Draw { seed: 3, epoch: 0 });
    for batch in &first {
        assert_eq!(*batch, one_thread.install(|| data.batch(&batch.indices, draw)).unwrap());
        assert_eq!(
            batch.target.as_ref().unwrap().to_i64().unwrap(),
            batch.indices.iter().map(|&index| index as i64).collect::<Vec<_>>()
        );
    }
    // A sample is augmented alike in whatever company.
    let sample = first[2].indices[5];
    let alone = data.batch(&[sample], draw).unwrap();
    assert_eq!(floats(&alone.inputs[0]), &floats(&first[2].inputs[0])[5 * 36..6 * 36]);
}

#[test]
fn large_batches_do_not_depend_on_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let bytes: Vec<u8> = (0..300 * 1024).map(|value: usize| (value * 7 % 253) as u8).collect();
    npy(&path, &[300, 32, 32], &bytes);
    let options = DataOptions { augment: "flip,crop=4".parse().unwrap(), ..DataOptions::default() };
    let data = open(&path, Part::Train, &images(&[1, 32, 32]), None, &options).unwrap();
    let positions: Vec<usize> = (0..300).rev().collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| data.batch(&positions, Some(Draw { seed: 1, epoch: 2 }))).unwrap()
    };
    let first = run(1);
    assert_eq!(first, run(4));
    let halves = positions.chunks(150).flat_map(|half| {
        floats(&data.batch(half, Some(Draw { seed: 1, epoch: 2 })).unwrap().inputs[0]).to_vec()
    });
    assert_eq!(floats(&first.inputs[0]), halves.collect::<Vec<_>>());
}

#[test]
fn epochs_hold_every_sample_once() {
    let data = grey(50, "");
    let whole = LoaderOptions { drop_last: false, ..LoaderOptions::training(8, 1) };
    let batches = run(&data, whole, 5);
    assert_eq!(batches.len(), Loader::new(data.clone(), whole).batches_per_epoch());
    assert_eq!(batches.last().unwrap().len(), 2);
    let mut positions = seen(&batches);
    positions.sort_unstable();
    assert_eq!(positions, (0..50).collect::<Vec<_>>());
    let plain = run(&data, LoaderOptions::evaluation(8), 0);
    assert_eq!(seen(&plain), (0..50).collect::<Vec<_>>());
    let two: Vec<_> = Loader::new(data.clone(), whole).epochs(5..7).collect::<Result<_, _>>().unwrap();
    assert_eq!(two, [batches, run(&data, whole, 6)].concat());
}

#[test]
fn augmented_images_are_moved_images_on_black() {
    let data = grey(1, "flip,shift=1");
    let black = (0.0 - 0.5) / 0.5;
    let plain = data.batch(&[0], None).unwrap();
    let at = |down: isize, right: isize, flip: bool| {
        let pixel = |row: isize, column: isize| {
            let (row, column) = (row - down, column - right);
            let inside = (0..6).contains(&row) && (0..6).contains(&column);
            let column = if flip { 5 - column } else { column };
            if inside { floats(&plain.inputs[0])[(row * 6 + column) as usize] } else { black }
        };
        (0..6)
            .flat_map(|row| (0..6).map(move |column| (row, column)))
            .map(|(row, column)| pixel(row, column))
            .collect::<Vec<_>>()
    };
    let mut places = BTreeSet::new();
    for epoch in 0..400 {
        let moved = data.batch(&[0], Some(Draw { seed: 9, epoch })).unwrap();
        let all = (-1..=1)
            .flat_map(|down| (-1..=1).flat_map(move |right| [(down, right, false), (down, right, true)]));
        let place =
            all.into_iter().find(|&(down, right, flip)| at(down, right, flip) == floats(&moved.inputs[0]));
        places.insert(place.expect("an image that was moved by one pixel at most"));
    }
    assert_eq!(places.len(), 18);
}

#[test]
fn random_parts_of_images_are_cut_out_and_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let class = folder.path().join("only");
    fs::create_dir(&class).unwrap();
    image::GrayImage::from_fn(40, 30, |column, row| image::Luma([(5 * column + row) as u8]))
        .save(class.join("a.png"))
        .unwrap();
    let options = DataOptions { augment: "crop".parse().unwrap(), ..DataOptions::default() };
    let data = open(folder.path(), Part::Train, &images(&[1, 8, 8]), None, &options).unwrap();
    let epoch = |epoch| data.batch(&[0], Some(Draw { seed: 0, epoch })).unwrap();
    assert_eq!(epoch(0), epoch(0));
    let spread = |batch: &Batch| floats(&batch.inputs[0])[7] - floats(&batch.inputs[0])[0];
    let spreads: Vec<f32> = (0..20).map(|number| spread(&epoch(number))).collect();
    assert!(
        spreads.iter().any(|spread| *spread < 0.3) && spreads.iter().any(|spread| *spread > 0.45),
        "{spreads:?}"
    );
}

#[test]
fn parts_share_the_samples_between_them() {
    let data = grey(50, "");
    let (train, val) = data.split(0.2, 7).unwrap();
    let labels = |data: &Dataset| all(data).1.unwrap().to_i64().unwrap();
    assert_eq!((train.len(), val.len()), (40, 10));
    let mut both = [labels(&train), labels(&val)].concat();
    assert_ne!(both, (0..50).collect::<Vec<_>>());
    both.sort_unstable();
    assert_eq!(both, (0..50).collect::<Vec<_>>());
    assert_eq!(labels(&data.split(0.2, 7).unwrap().1), labels(&val));
    assert_ne!(labels(&data.split(0.2, 8).unwrap().1), labels(&val));
    let (_, inner) = val.split(0.5, 0).unwrap();
    assert!(labels(&inner).iter().all(|label| labels(&val).contains(label)));
    assert!(matches!(val.batch(&[10], None), Err(DataError::Index { index: 10, samples: 10 })));
}

#[test]
fn a_loader_may_be_dropped_while_its_thread_is_busy() {
    let data = grey(200, "flip,shift=1");
    let loader = Loader::new(data, LoaderOptions::training(4, 0));
    for taken in [0, 1, 3] {
        let mut batches = loader.epochs(0..u64::MAX);
        for _ in 0..taken {
            batches.next().unwrap().unwrap();
        }
        drop(batches);
    }
    let mut once = loader.epoch(0);
    assert_eq!(once.by_ref().count(), 50);
    assert!(once.next().is_none());
}

#[test]
fn an_image_that_fails_ends_the_batches_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    png_folder(&folder.path().join("a"), [4, 4], 0, 6);
    fs::write(folder.path().join("a/4.png"), b"\x89PNG\r\n\x1a\ncut").unwrap();
    let data = open_plain(folder.path(), &images(&[3, 4, 4]), None).unwrap();
    let batches: Vec<_> = Loader::new(data, LoaderOptions::evaluation(2)).epoch(0).collect();
    assert_eq!(batches.len(), 3);
    assert!(batches[..2].iter().all(Result::is_ok));
    let message = batches[2].as_ref().unwrap_err().to_string();
    assert!(message.contains("4.png"), "{message}");
}
