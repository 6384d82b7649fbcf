//! Progress on stderr: a bar on a terminal, plain lines elsewhere, nothing when quiet.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use safe_onnx::compress::{Event, Observer};
use safe_onnx::report::Epoch;

use super::output;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Quiet,
    Lines,
    Bars,
}

/// Tells the user what goes on.
pub(super) struct Progress {
    mode: Mode,
    bar: Option<ProgressBar>,
}

/// How often a bar moves by itself, so that the time goes on while a step is long.
const TICK: Duration = Duration::from_millis(200);

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let mode = match (quiet, io::stderr().is_terminal()) {
            (true, _) => Mode::Quiet,
            (false, true) => Mode::Bars,
            (false, false) => Mode::Lines,
        };
        Self { mode, bar: None }
    }

    /// Clears the bar.
    pub(super) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A line that stays, above the bar if there is one.
    fn line(&self, text: &str) {
        match (&self.bar, self.mode) {
            (_, Mode::Quiet) => {}
            (Some(bar), _) => bar.suspend(|| output::message(text)),
            (None, _) => output::message(text),
        }
    }

    fn begin(&mut self, template: &str, steps: Option<usize>, text: String) {
        self.finish();
        if self.mode != Mode::Bars {
            return;
        }
        let bar = match steps {
            Some(steps) => ProgressBar::new(steps as u64),
            None => ProgressBar::new_spinner(),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(text);
        bar.enable_steady_tick(TICK);
        self.bar = Some(bar);
    }
}

impl Observer for Progress {
    fn event(&mut self, event: Event) {
        match event {
            Event::Note(text) => self.line(&format!("note: {text}")),
            Event::Stage(text) => {
                if self.mode == Mode::Lines {
                    self.line(text);
                }
                self.begin("{spinner} {prefix} {elapsed}", None, text.to_owned());
            }
            Event::Begin(text, steps) => {
                if self.mode == Mode::Lines {
                    self.line(&format!("{text}: {steps} steps"));
                }
                self.begin("{prefix} [{bar:24}] {pos}/{len} {eta} left  {msg}", Some(steps), text);
            }
            Event::Step(done, figures) => {
                if let Some(bar) = &self.bar {
                    bar.inc(done as u64);
                    bar.set_message(figures);
                }
            }
            Event::End => self.finish(),
            Event::Epoch(epoch) => self.line(&epoch_line(&epoch)),
        }
    }
}

/// One line of figures for an epoch.
pub(super) fn epoch_line(epoch: &Epoch) -> String {
    let accuracy =
        epoch.accuracy.map(|share| format!("  accuracy {:.2} %", 100.0 * share)).unwrap_or_default();
    let residual = if epoch.phase == "sparsify" {
        format!("  penalty {:.2e}  to go {:.2} %", epoch.penalty, 100.0 * epoch.residual)
    } else {
        String::new()
    };
    format!(
        "epoch {:>3}  {:<8}  loss {:.4}{accuracy}  rate {:.2e}{residual}  {:.1} s",
        epoch.epoch, epoch.phase, epoch.loss, epoch.learning_rate, epoch.seconds
    )
}
