//! What is typed, and what becomes of it.

use clap::{CommandFactory, Parser};
use safe_onnx::compress::{Method, Quantity};
use safe_onnx::engine::Device;

use super::args::{Cli, Command};
use super::plan;

fn parse(words: &[&str]) -> Result<Command, String> {
    let words = ["safe-onnx"].into_iter().chain(words.iter().copied());
    Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| error.to_string())
}

fn compress(words: &[&str]) -> Result<safe_onnx::compress::Plan, String> {
    let words: Vec<&str> = ["compress", "in.onnx", "-o", "out.onnx"].iter().chain(words).copied().collect();
    match parse(&words)? {
        Command::Compress(args) => plan::compress(&args).map_err(|failure| failure.text()),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_examples() {
    for command in Cli::command().get_subcommands().filter(|command| command.get_name() != "help") {
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines = examples.lines().filter(|line| line.trim_start().starts_with("safe-onnx ")).count();
        assert!(lines >= 2, "{}: {lines} examples", command.get_name());
    }
}

#[test]
fn sizes_of_memory_have_units() {
    let limit = |text: &str| compress(&["--memory-limit", text]).map(|plan| plan.training.memory_limit);
    assert_eq!(limit("2GB"), Ok(Some(2_000_000_000)));
    assert_eq!(limit("1.5 GiB"), Ok(Some(1_610_612_736)));
    assert_eq!(limit("800mb"), Ok(Some(800_000_000)));
    assert_eq!(limit("4096"), Ok(Some(4096)));
    for wrong in ["much", "2 XB", "0", "-1GB"] {
        assert!(limit(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn defaults_keep_half_of_the_macs() {
    let plan = compress(&[]).unwrap();
    assert_eq!((plan.target.quantity, plan.target.share), (Quantity::Macs, 0.5));
    assert_eq!((plan.method, plan.limits.round_to, plan.verify, plan.force), (Method::Safe, 1, true, false));
    assert_eq!((plan.seed, plan.load.device, plan.training.epochs), (0, Device::Cpu, None));
}

#[test]
fn options_reach_the_plan() {
    let plan = compress(&[
        "--data=d",
        "--val-split=0.1",
        "--mean=0.5,-1",
        "--std=0.25",
        "--augment=flip,shift=2",
        "--target=params=0.3",
        "--method=magnitude",
        "--epochs=0",
        "--lr=1e-3",
        "--rho=0",
        "--seed=7",
        "--exclude=^head",
        "--exclude=stem",
        "--shape=x=1x3x8x8",
        "--threads=2",
        "--crop=8x9",
        "--no-verify",
    ])
    .unwrap();
    assert_eq!((plan.target.quantity, plan.target.share), (Quantity::Params, 0.3));
    assert_eq!(
        (plan.data_options.mean.clone(), plan.data_options.std.clone()),
        (vec![0.5, -1.0], vec![0.25])
    );
    assert_eq!((plan.data_options.val_split, plan.data_options.seed, plan.seed), (Some(0.1), 7, 7));
    assert_eq!((plan.data_options.augment.shift, plan.data_options.crop), (2, Some([8, 9])));
    assert_eq!((plan.training.epochs, plan.training.learning_rate), (Some(0), Some(1e-3)));
    assert_eq!((plan.training.radius, plan.load.threads, plan.verify), (Some(0.0), Some(2), false));
    assert_eq!((plan.limits.exclude.len(), plan.shapes), (2, vec![("x".to_owned(), vec![1, 3, 8, 8])]));
}

#[test]
fn impossible_values_are_refused_with_a_reason() {
    let cases: [(&[&str], &str); 19] = [
        (&["--target=macs=0"], "above 0 and at most 1"),
        (&["--target=macs=1.5"], "above 0 and at most 1"),
        (&["--target=macs=nan"], "above 0 and at most 1"),
        (&["--target=latency=0.5"], "macs=X, params=X or channels=X"),
        (&["--target=0.5"], "macs=X, params=X or channels=X"),
        (&["--data=d", "--val-split=1"], "above 0 and below 1"),
        (&["--data=d", "--val=v", "--val-split=0.1"], "cannot be used with"),
        (&["--val=v"], "need training data"),
        (&["--lr=0"], "above 0"),
        (&["--lr=fast"], "no number"),
        (&["--momentum=1"], "below 1"),
        (&["--rho=-1"], "0 or above"),
        (&["--batch=0"], "1 or above"),
        (&["--exclude=("], "unclosed group"),
        (&["--augment=rotate"], "none of flip, shift and crop"),
        (&["--std=0.2,0"], "above 0"),
        (&["--shape=x"], "is no shape"),
        (&["--device=gpu"], "auto, cpu, cuda"),
        (&["--emit-masked=out.onnx"], "name the same file"),
    ];
    for (words, reason) in cases {
        let message = compress(words).err().unwrap_or_default();
        assert!(message.contains(reason), "{words:?}: {message}");
    }
}

#[test]
fn devices_have_numbers() {
    for (text, expected) in [("cpu", Device::Cpu), ("cuda", Device::Cuda(0)), ("cuda:3", Device::Cuda(3))] {
        assert_eq!(compress(&["--device", text]).unwrap().load.device, expected, "{text}");
    }
    for text in ["cuda:", "cuda:x", "cpu:1", "auto:0", ""] {
        assert!(compress(&["--device", text]).is_err(), "{text}");
    }
}
