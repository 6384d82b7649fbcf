//! Seconds and memory of whole `compress` runs by magnitude, without training and without verification: ResNet-50,
//! and a transformer with external data beside the time that copying its files takes.
//!
//! `cargo bench --bench compress -- --layers 24 --width 2048` (the default) needs 8 GB of disk space in the folder
//! for temporary files.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program of its own for measuring"
)]

#[path = "../../tests/suite/inflate.rs"]
mod inflate;
mod transformer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use safe_onnx::ir::Storage;

#[derive(Parser)]
struct Args {
    /// Layers of the transformer; 0 leaves it out
    #[arg(long, default_value_t = 24)]
    layers: usize,
    /// Its width
    #[arg(long, default_value_t = 2048)]
    width: usize,
    /// Its heads
    #[arg(long, default_value_t = 16)]
    heads: usize,
    /// Its vocabulary
    #[arg(long, default_value_t = 50_257)]
    vocabulary: usize,
    /// Where models are written, and kept; else they are removed
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Runs, of which the quickest counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// The quickest of several runs, and the most memory that any of them took.
struct Measured {
    seconds: f64,
    peak: u64,
}

/// How often the memory of the program is looked at; the system keeps the peak, so that only the end may be missed.
const INTERVAL: Duration = Duration::from_millis(2);

fn main() {
    let args = Args::parse();
    let scratch = tempfile::tempdir().unwrap();
    let folder = args.folder.as_deref().unwrap_or(scratch.path());
    println!("{:<14} {:>10} {:>10} {:>12} {:>10}", "model", "seconds", "copy", "peak MB", "files MB");
    let model = folder.join("resnet50.onnx");
    let stripped = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/zoo/resnet50.onnx");
    inflate::inflated(&stripped, 0).unwrap().write(&model, Storage::Embedded, true).unwrap();
    measure("resnet50", &model, &args);
    if args.layers > 0 {
        let model = folder.join("transformer.onnx");
        let sizes = transformer::Sizes {
            layers: args.layers,
            width: args.width,
            heads: args.heads,
            vocabulary: args.vocabulary,
            context: 1024,
        };
        let weights = transformer::write(&model, sizes).unwrap();
        measure(&format!("{:.2} G weights", weights as f64 / 1e9), &model, &args);
    }
}

fn measure(name: &str, model: &Path, args: &Args) {
    let files = [model.to_owned(), model.with_extension("onnx.data")];
    let files: Vec<_> = files.iter().filter(|path| path.exists()).collect();
    let bytes: u64 = files.iter().map(|path| path.metadata().unwrap().len()).sum();
    let (mut copy, mut best) = (f64::INFINITY, Measured { seconds: f64::INFINITY, peak: 0 });
    // Alternately, so that both see the same machine.
    for _ in 0..args.runs {
        let start = Instant::now();
        for file in &files {
            let target = file.with_extension("copy");
            io::copy(&mut File::open(file).unwrap(), &mut File::create(&target).unwrap()).unwrap();
            std::fs::remove_file(target).unwrap();
        }
        copy = copy.min(start.elapsed().as_secs_f64());
        let run = compress(model);
        best.seconds = best.seconds.min(run.seconds);
        best.peak = best.peak.max(run.peak);
    }
    let mega = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "{name:<14} {:>10.2} {copy:>10.2} {:>12.0} {:>10.0}",
        best.seconds,
        mega(best.peak),
        mega(bytes)
    );
}

fn compress(model: &Path) -> Measured {
    let output = model.with_file_name("small.onnx");
    let start = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_safe-onnx"))
        .arg("compress")
        .arg(model)
        .arg("-o")
        .arg(&output)
        .args("--method magnitude --epochs 0 --target macs=0.5 --no-verify --force --quiet".split(' '))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (peak, passed) = watched(child);
    let seconds = start.elapsed().as_secs_f64();
    assert!(passed, "safe-onnx failed on {}", model.display());
    Measured { seconds, peak }
}

/// Waits for the program; returns the most memory that it held, in bytes, and whether it succeeded.
fn watched(mut child: Child) -> (u64, bool) {
    let mut peak = 0;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|text| text.trim().split(' ').next()?.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) * 1024);
        if let Some(status) = child.try_wait().unwrap() {
            return (peak, status.success());
        }
        std::thread::sleep(INTERVAL);
    }
}
