//! The command line of safe-onnx. `safe-onnx --help` lists its commands.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
