//! Checkpoints: the standing of a run as files, from which it goes on as if nothing had happened.
//!
//! A file gets its name once it is whole and on the disk. The last [`KEPT`] are kept; a damaged one is passed over.
//! What the files hold is [`super::course`]'s matter, not known here.

mod file;
mod fingerprint;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::file::{Array, Contents};
use self::fingerprint::Fingerprint;
use super::samples::Samples;
use super::{CheckpointPlan, CompressError, Event, Observer, Plan};
use crate::data::Dataset;
use crate::engine::Engine;
use crate::ir::{IrError, Model};

/// Checkpoints that are kept.
const KEPT: usize = 2;
/// Beginning and end of their names; the number of steps stands between, and that of the file.
const NAME: [&str; 2] = ["step-", ".safetensors"];
/// Those of files in the making.
const UNFINISHED: [&str; 2] = [".safe-onnx-", ".tmp"];

/// The text of a checkpoint.
#[derive(Serialize, Deserialize)]
struct Document<R> {
    fingerprint: Fingerprint,
    record: R,
}

/// The checkpoints of a run.
pub(super) struct Checkpoints<'a> {
    plan: Option<&'a CheckpointPlan>,
    fingerprint: Fingerprint,
    last: Instant,
}

/// A checkpoint that was read: the record, and the arrays.
#[derive(Debug)]
pub(super) struct Checkpoint<R> {
    pub(super) record: R,
    contents: Contents,
}

impl<R> Checkpoint<R> {
    /// The array of a kind and a name.
    pub(super) fn values(&self, kind: &str, name: &str) -> Option<Vec<f32>> {
        self.contents.values(&format!("{kind}/{name}"))
    }
}

/// Refuses, before any work is done, a folder that cannot be used: one with checkpoints of another run, unless it is
/// to go on or they are to be replaced.
pub(super) fn check(plan: &CheckpointPlan, force: bool) -> Result<(), CompressError> {
    let folder = &plan.folder;
    std::fs::create_dir_all(folder).map_err(|error| IrError::io("make the folder", folder, error))?;
    for entry in entries(folder)?.into_iter().filter(|entry| has_form(entry, UNFINISHED)) {
        remove(&entry)?;
    }
    let found = numbered(folder)?;
    match found.last() {
        Some(_) if plan.resume => Ok(()),
        Some((_, path)) if !force => Err(CompressError::OtherCheckpoints { path: path.clone() }),
        _ => {
            found.iter().try_for_each(|(_, path)| remove(path))?;
            Ok(crate::ir::check_writable(&folder.join("probe"), true)?)
        }
    }
}

impl<'a> Checkpoints<'a> {
    /// The checkpoints of a run of `plan` on these things.
    pub(super) fn new(
        plan: &'a Plan,
        model: &Model,
        engine: &dyn Engine,
        samples: &Samples,
        val: Option<&Dataset>,
    ) -> Self {
        let checkpoint = plan.checkpoint.as_ref();
        let fingerprint =
            checkpoint.map(|_| fingerprint::of(plan, model, engine, samples, val)).unwrap_or_default();
        Self { plan: checkpoint, fingerprint, last: Instant::now() }
    }

    /// The folder, where there are checkpoints at all.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.plan.map(|plan| plan.folder.as_path())
    }

    /// Whether it is time for the next one.
    pub(super) fn due(&self) -> bool {
        self.plan.is_some_and(|plan| self.last.elapsed() >= Duration::from_secs_f64(plan.minutes * 60.0))
    }

    /// The last whole checkpoint, if the run is to go on from one and there is one.
    ///
    /// # Errors
    /// When there are only damaged ones, or it belongs to another run.
    pub(super) fn read<R: for<'d> Deserialize<'d>>(
        &self,
        observer: &mut dyn Observer,
    ) -> Result<Option<Checkpoint<R>>, CompressError> {
        let Some(plan) = self.plan.filter(|plan| plan.resume) else { return Ok(None) };
        let found = numbered(&plan.folder)?;
        let mut damage = None;
        for (_, path) in found.iter().rev() {
            let read = Contents::open(path)?.and_then(|contents| {
                let document: Document<R> =
                    serde_json::from_str(&contents.document).map_err(|error| error.to_string())?;
                Ok((document, contents))
            });
            match read {
                Ok((Document { fingerprint, record }, contents)) => {
                    if let Some((what, before, now)) =
                        fingerprint::difference(&fingerprint, &self.fingerprint)
                    {
                        return Err(CompressError::OtherRun { path: path.clone(), what, before, now });
                    }
                    let text = format!("going on from the checkpoint {}", path.display());
                    observer.event(Event::Note(text));
                    return Ok(Some(Checkpoint { record, contents }));
                }
                Err(problem) => {
                    let text = format!("the checkpoint {} is damaged and left: {problem}", path.display());
                    observer.event(Event::Note(text));
                    damage = damage.or(Some((path.clone(), problem)));
                }
            }
        }
        match damage {
            Some((path, problem)) => Err(CompressError::DamagedCheckpoint { path, problem }),
            None => {
                let text = format!("no checkpoint in {} yet: training starts anew", plan.folder.display());
                observer.event(Event::Note(text));
                Ok(None)
            }
        }
    }

    /// Writes a checkpoint after `step` steps, of arrays by kind and name, and removes those that are too many.
    /// Does nothing in a run without checkpoints.
    pub(super) fn write<R: Serialize>(
        &mut self,
        step: usize,
        record: &R,
        arrays: Vec<(&str, &str, Vec<usize>, &[f32])>,
    ) -> Result<(), CompressError> {
        let Some(plan) = self.plan else { return Ok(()) };
        let document = Document { fingerprint: self.fingerprint.clone(), record };
        let path = plan.folder.join(format!("{}{step:09}{}", NAME[0], NAME[1]));
        let failed = |error: std::io::Error| IrError::io("write", &path, error);
        let document = serde_json::to_string(&document).map_err(|error| failed(error.into()))?;
        let arrays: Vec<Array<'_>> = arrays
            .into_iter()
            .map(|(kind, name, dims, values)| Array { name: format!("{kind}/{name}"), dims, values })
            .collect();
        let unfinished = tempfile::Builder::new()
            .prefix(UNFINISHED[0])
            .suffix(UNFINISHED[1])
            .tempfile_in(&plan.folder)
            .map_err(failed)?
            .into_temp_path();
        file::write(&unfinished, &document, &arrays)?;
        unfinished.persist(&path).map_err(|error| failed(error.error))?;
        // The name must be on the disk before older files go.
        #[cfg(unix)]
        std::fs::File::open(&plan.folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        let found = numbered(&plan.folder)?;
        let older = found.iter().filter(|(number, _)| *number <= step).rev().skip(KEPT);
        older.map(|(_, path)| path).try_for_each(|path| remove(path))?;
        self.last = Instant::now();
        Ok(())
    }

    /// Puts the next checkpoint off, after one that failed.
    pub(super) fn put_off(&mut self) {
        self.last = Instant::now();
    }
}

fn has_form(path: &Path, [start, end]: [&str; 2]) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with(start) && name.ends_with(end))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, CompressError> {
    let failed = |error| IrError::io("read", folder, error);
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(failed)?)
}

/// The checkpoints of a folder by their steps, the last one last.
fn numbered(folder: &Path) -> Result<Vec<(usize, PathBuf)>, CompressError> {
    let number = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix(NAME[0])?.strip_suffix(NAME[1])?.parse().ok()
    };
    let mut found: Vec<(usize, PathBuf)> =
        entries(folder)?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
    found.sort();
    Ok(found)
}

fn remove(path: &Path) -> Result<(), CompressError> {
    Ok(std::fs::remove_file(path).map_err(|error| IrError::io("remove", path, error))?)
}
