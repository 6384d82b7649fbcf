//! The closing table of a run.

use std::fmt::{self, Display, Formatter};

use super::table::Table;
use super::units::{bytes, count, milliseconds, percent, seconds};
use super::{ApplyReport, CompressReport, MemoryFigures, ModelFigures, Verified};

/// A row of the table: its name, a figure of a model as a number, and that number in words.
type Row = (&'static str, fn(&ModelFigures) -> Option<f64>, fn(f64) -> String);

/// The rows, in order. A row that either model has no figure for is left out.
const ROWS: [Row; 6] = [
    ("MACs", |model| Some(model.macs as f64), |value| count(value as u64)),
    ("parameters", |model| Some(model.params as f64), |value| count(value as u64)),
    ("file", |model| Some(model.bytes as f64), |value| bytes(value as u64)),
    ("accuracy", |model| model.accuracy, percent),
    ("loss", |model| model.loss, |value| format!("{value:.4}")),
    ("latency", |model| model.latency_ms, milliseconds),
];

/// The figures of two models, in columns.
fn side_by_side(dense: &ModelFigures, small: &ModelFigures) -> Table {
    let mut table = Table::new(1, &["", "dense", "small", "small/dense"]);
    for (name, figure, words) in ROWS {
        if let (Some(dense), Some(small)) = (figure(dense), figure(small)) {
            let ratio = if dense == 0.0 { "-".to_owned() } else { format!("{:.3}", small / dense) };
            table.row(vec![name.to_owned(), words(dense), words(small), ratio]);
        }
    }
    table
}

fn write_verdict(formatter: &mut Formatter<'_>, verified: Option<&Verified>) -> fmt::Result {
    let Some(verified) = verified else { return writeln!(formatter, "verified  no (--no-verify)") };
    let verdict = match verified.approximate_groups {
        _ if verified.max_rel_error <= verified.tolerance => "equal",
        0 => "DIFFERENT",
        _ => "approximate",
    };
    writeln!(formatter, "verified  {verdict}: {verified}")
}

impl Display for ApplyReport {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} -> {}", self.model, self.output)?;
        writeln!(formatter)?;
        writeln!(formatter, "{}", side_by_side(&self.dense, &self.small))?;
        writeln!(
            formatter,
            "cut       {} of {} groups, as {} says",
            self.groups_removed, self.groups, self.plan
        )?;
        write_verdict(formatter, self.verified.as_ref())?;
        writeln!(formatter, "run       {}", seconds(self.seconds))
    }
}

fn write_memory(formatter: &mut Formatter<'_>, memory: &MemoryFigures) -> fmt::Result {
    let mut parts = Vec::new();
    parts.extend(memory.predicted.map(|predicted| format!("{} predicted", bytes(predicted))));
    parts.extend(memory.measured.map(|measured| format!("peak {}", bytes(measured))));
    if let Some(limit) = memory.limit {
        parts.push(format!("limit {}", bytes(limit)));
        parts.push(format!("{} samples at a time", memory.micro_batch));
    }
    if memory.recomputed > 0 {
        parts.push(format!("{} values computed again", memory.recomputed));
    }
    if parts.is_empty() { Ok(()) } else { writeln!(formatter, "memory    {}", parts.join(", ")) }
}

impl Display for CompressReport {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} -> {}", self.model, self.output)?;
        writeln!(formatter)?;
        writeln!(formatter, "{}", side_by_side(&self.dense, &self.small))?;
        writeln!(
            formatter,
            "target    {} of the {} kept, {} reached{}",
            percent(self.target.share),
            self.target.quantity,
            percent(self.reached),
            if self.target_met { "" } else { ": MISSED" }
        )?;
        writeln!(
            formatter,
            "cut       {} of {} groups, chosen by {}",
            self.groups_removed, self.groups, self.method
        )?;
        write_verdict(formatter, self.verified.as_ref())?;
        if let Some(train) = &self.train {
            let step =
                train.ms_per_step.map(|time| format!(", {} a step", milliseconds(time))).unwrap_or_default();
            writeln!(
                formatter,
                "training  {} steps of {} samples{step}; {}; {}",
                train.steps, train.batch, train.loss, train.optimizer
            )?;
            write_memory(formatter, &train.memory)?;
        }
        writeln!(formatter, "run       {} on {}, seed {}", seconds(self.seconds), self.engine, self.seed)?;
        for note in &self.notes {
            writeln!(formatter, "note: {note}")?;
        }
        Ok(())
    }
}
