//! The command line of safe-onnx. `safe-onnx --help` lists its commands.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
