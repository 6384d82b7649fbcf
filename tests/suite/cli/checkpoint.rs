//! Runs that are cut off and go on.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::precision::half;
use super::{Ran, command, fixture, listing, write_images};

/// A short run with both phases: 160 samples in batches of 16, three epochs, 30 steps.
const SETTINGS: &str = "--mean 0.2860 --std 0.3530 --augment flip,shift=2 --batch 16 --seed 3 \
                        --target macs=0.6 --threads 2 --dual-interval 2 --quiet --force";

/// Puts the model and its data there.
fn prepare(folder: &Path) {
    std::fs::copy(fixture("resnet8.onnx"), folder.join("model.onnx")).unwrap();
    write_images(folder, 160, 0);
}

fn words(folder: &Path, output: &str, more: &str) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let epochs = if more.contains("--epochs") { "" } else { "--epochs 3" };
    let text = format!(
        "compress {folder}/model.onnx -o {folder}/{output} --data {folder}/data.npz --val {folder}/data.npz {SETTINGS} {epochs} {more}"
    );
    text.replace("{}", folder).split_whitespace().map(str::to_owned).collect()
}

fn run(folder: &Path, output: &str, more: &str) -> Ran {
    command(&words(folder, output, more)).output().unwrap().into()
}

fn bytes(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

/// The steps of the checkpoints in a folder.
fn steps(folder: &Path) -> Vec<usize> {
    let names = if folder.is_dir() { listing(folder) } else { Vec::new() };
    let number = |name: &String| name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok();
    names.iter().filter_map(number).collect()
}

fn last(folder: &Path) -> PathBuf {
    let name = listing(folder).into_iter().rfind(|name| name.starts_with("step-")).unwrap();
    folder.join(name)
}

fn begin(folder: &Path, more: &str) -> Child {
    command(&words(folder, "cut.onnx", more)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until a checkpoint of step `step` or later is there.
fn wait_for(folder: &Path, step: usize) {
    let start = Instant::now();
    while steps(folder).last().is_none_or(|&last| last < step) {
        assert!(start.elapsed() < Duration::from_mins(2), "no checkpoint of step {step}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Kills a run with the controls `control` several times, lets it end, and compares with one that was left alone.
/// The checkpoints are in a folder named `name`.
fn kill_and_go_on(place: &Path, name: &str, control: &str) {
    run(place, "whole.onnx", control).expect_code(0);
    let standing = place.join(name);
    let more = format!("{control} --checkpoint {} --checkpoint-every 0 --resume", standing.display());
    // In the first phase, around the cut, and in the second phase.
    for step in [1, 4, 9] {
        let mut child = begin(place, &more);
        wait_for(&standing, step);
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(!place.join("cut.onnx").exists());
    }
    let begun = steps(&standing).last().copied().unwrap();
    let ran = run(place, "again.onnx", &format!("{more} --json")).expect_code(0);
    assert!(begun > 0 && ran.json()["train"]["steps"].as_u64().unwrap() > begun as u64);
    assert!(bytes(place, "again.onnx") == bytes(place, "whole.onnx"), "{name}: {control}");
    let history = ran.json()["history"].as_array().unwrap().len();
    assert_eq!(history, 3, "{name}: {control}");
    assert_eq!(steps(&standing).len(), 2, "{name}: {control}: {:?}", listing(&standing));
    assert_eq!(listing(&standing).len(), 2, "nothing unfinished is left: {:?}", listing(&standing));
}

#[test]
fn a_run_that_is_killed_ends_with_the_bytes_of_an_undisturbed_one() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    prepare(place);
    kill_and_go_on(place, "plain", "");
    let controls = "--keep-best --evaluate-every 3 --average-decay 0.9 --accumulate 2 --clip-norm 1";
    kill_and_go_on(place, "controlled", controls);
    kill_and_go_on(place, "magnitude", "--method magnitude --optimizer adam");
    std::fs::write(place.join("model.onnx"), half(Path::new(&fixture("resnet8.onnx"))).to_bytes().unwrap())
        .unwrap();
    kill_and_go_on(place, "half", "");
}

#[test]
fn a_damaged_checkpoint_is_left_and_the_one_before_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    prepare(place);
    let more = "--checkpoint {}/standing --checkpoint-every 0";
    run(place, "whole.onnx", more).expect_code(0);
    let standing = place.join("standing");
    assert_eq!(steps(&standing), [28, 29], "the last step needs none");
    let newest = last(&standing);
    let mut damaged = std::fs::read(&newest).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&newest, &damaged).unwrap();
    let words = words(place, "again.onnx", &format!("{more} --resume"));
    let words: Vec<String> = words.into_iter().filter(|word| word != "--quiet").collect();
    let ran = Ran::from(command(&words).output().unwrap()).expect_code(0);
    assert!(ran.stderr.contains("step-000000029.safetensors is damaged and left"), "{}", ran.stderr);
    assert!(ran.stderr.contains("going on from the checkpoint"), "{}", ran.stderr);
    assert!(bytes(place, "again.onnx") == bytes(place, "whole.onnx"));
    for path in [last(&standing), standing.join("step-000000028.safetensors")] {
        std::fs::write(path, &damaged[..middle]).unwrap();
    }
    let ran = run(place, "never.onnx", &format!("{more} --resume")).expect_code(2);
    assert!(ran.stderr.contains("is damaged") && ran.stderr.contains("hint: "), "{}", ran.stderr);
    assert!(!place.join("never.onnx").exists());
}

#[test]
fn checkpoints_of_other_runs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    prepare(place);
    let more = "--checkpoint {}/standing --checkpoint-every 0";
    run(place, "whole.onnx", more).expect_code(0);
    let refused = |more: &str, expected: &str| {
        let ran = run(place, "no.onnx", more).expect_code(2);
        assert!(ran.stderr.contains(expected) && ran.stderr.contains("hint: "), "{more}: {}", ran.stderr);
        assert!(!place.join("no.onnx").exists());
    };
    let other = "belongs to another run: ";
    refused(&format!("{more} --resume --lr 0.01"), &format!("{other}--lr was not given, and is 0.01 now"));
    refused(&format!("{more} --resume --engine tract"), &format!("{other}the engine"));
    write_images(place, 161, 0);
    refused(&format!("{more} --resume"), &format!("{other}the training data"));
    assert!(run(place, "no.onnx", "--resume").expect_code(2).stderr.contains("--checkpoint <DIR>"));
    let unforced = |more: &str| {
        let words = words(place, "no.onnx", more).into_iter().filter(|word| word != "--force");
        Ran::from(command(&words.collect::<Vec<_>>()).output().unwrap())
    };
    let ran = unforced(more).expect_code(2);
    assert!(
        ran.stderr.contains("step-000000029.safetensors is a checkpoint of an earlier run"),
        "{}",
        ran.stderr
    );
    // With --force they make room, and a folder without any is no error.
    run(place, "new.onnx", &format!("{more} --epochs 1")).expect_code(0);
    assert_eq!(steps(&place.join("standing")), [8, 9]);
    run(place, "newer.onnx", "--checkpoint {}/empty --resume").expect_code(0);
    assert!(listing(&place.join("empty")).is_empty());
}

#[test]
fn an_interrupt_writes_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    prepare(place);
    let more = "--checkpoint {}/standing --checkpoint-every 1000";
    run(place, "whole.onnx", more).expect_code(0);
    let words = words(place, "cut.onnx", more).into_iter().filter(|word| word != "--quiet");
    let words: Vec<String> = words.collect();
    let mut child = command(&words).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("epoch 1 of")));
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("--resume goes on from the checkpoint in")), "{rest:?}");
    assert_eq!(steps(&place.join("standing")).len(), 1);
    run(place, "again.onnx", &format!("{more} --resume")).expect_code(0);
    assert!(bytes(place, "again.onnx") == bytes(place, "whole.onnx"));
}
