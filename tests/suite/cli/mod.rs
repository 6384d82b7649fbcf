//! Whole commands, by running the program.

mod alone;
mod apply;
mod checkpoint;
mod compress;
mod control;
mod differentiate;
mod dropout;
mod losses;
mod memory;
mod precision;
mod refusals;
mod reports;
mod training;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ndarray::{Array1, Array3};
use ndarray_npy::NpzWriter;
use serde_json::Value;

/// What one run of the program did.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }

    /// Whether the run ended with this exit code; the messages are shown when not.
    #[track_caller]
    fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

fn command<S: AsRef<std::ffi::OsStr>>(words: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_safe-onnx"));
    command.args(words).stdin(Stdio::null());
    command
}

/// Runs the program. `{}` in a word stands for `folder`.
fn run_in(folder: &Path, words: &[&str]) -> Ran {
    let folder = folder.to_str().unwrap();
    let words: Vec<String> = words.iter().map(|word| word.replace("{}", folder)).collect();
    command(&words).output().unwrap().into()
}

fn run(words: &[&str]) -> Ran {
    command(words).output().unwrap().into()
}

/// A file of `fixtures/fmnist`.
fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fmnist").join(name);
    path.to_str().unwrap().to_owned()
}

/// The names in a folder, sorted.
fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Grey images with a pattern for each class, and labels that count from `first`.
fn write_images(folder: &Path, samples: usize, first: i64) -> PathBuf {
    let path = folder.join("data.npz");
    let mut archive = NpzWriter::new(File::create(&path).unwrap());
    let pixel = |(sample, row, column): (usize, usize, usize)| {
        if (row + column) % 10 == sample % 10 { 255_u8 } else { (17 * sample % 64) as u8 }
    };
    archive.add_array("x", &Array3::from_shape_fn((samples, 28, 28), pixel)).unwrap();
    let labels = Array1::from_shape_fn(samples, |sample| first + (sample % 10) as i64);
    archive.add_array("y", &labels).unwrap();
    archive.finish().unwrap();
    path
}
