//! The command line: what was typed becomes a validated plan, the library runs it, and its report is printed.
//!
//! Always true here: data go to stdout, messages to stderr; with `--json` stdout holds one JSON document and nothing
//! else; exit codes are 0 for done, 1 for a target that was missed or models that differ, 2 for an error, and 130
//! for a run that was stopped. This module must not compute anything that a report does not hold.

mod args;
mod commands;
mod doctor;
mod failure;
mod output;
mod plan;
mod progress;
mod stop;
#[cfg(test)]
mod tests;
mod training_args;
mod values;

use std::process::ExitCode;

use clap::Parser;

use failure::Failure;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Everything is as asked.
    Done,
    /// It ran, but the target was missed, or models differ.
    Missed,
}

/// Reads the command line and runs it.
pub(crate) fn run() -> ExitCode {
    match commands::run(args::Cli::parse().command) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Missed) => ExitCode::from(1),
        Err(Failure::Stopped(text)) => {
            output::message(&text);
            ExitCode::from(130)
        }
        Err(failure) => {
            output::message(&failure.text());
            ExitCode::from(if failure.is_refuted() { 1 } else { 2 })
        }
    }
}
