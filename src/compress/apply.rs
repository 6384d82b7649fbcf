//! A cut made again: by a plan file, on the same model or one with other weights.

use std::path::PathBuf;
use std::time::Instant;

use super::structure::Structure;
use super::verify::prove;
use super::{CompressError, CutPlan, Event, ModelPlan, Observer};
use crate::cost::CostModel;
use crate::engine::discover;
use crate::ir::{Model, Storage};
use crate::report::{ApplyReport, ModelFigures};
use crate::shrink::{mask, shrink};

/// What `apply` is asked to do.
#[derive(Debug, Clone)]
pub struct ApplyPlan {
    /// The model.
    pub model: ModelPlan,
    /// The plan file.
    pub cut: PathBuf,
    /// The file to write.
    pub output: PathBuf,
    /// Whether the result is verified before it is written.
    pub verify: bool,
    /// Whether the plan may name groups that are only approximately right.
    pub allow_approximate: bool,
    /// Whether an existing file is replaced.
    pub force: bool,
}

/// Runs `apply`: the same file comes out, byte for byte, as from the run that wrote the plan, if the weights are the
/// same.
///
/// # Errors
/// When the plan does not fit the model; see [`CompressError`] for the rest. No file is left behind then.
pub fn apply(plan: &ApplyPlan, observer: &mut dyn Observer) -> Result<ApplyReport, CompressError> {
    let start = Instant::now();
    crate::ir::check_writable(&plan.output, plan.force)?;
    let cut = CutPlan::read(&plan.cut)?;
    observer.event(Event::Stage("reading the model"));
    let model = Model::read(&plan.model.model)?;
    let runtime = &plan.model.runtime;
    let found = discover(&runtime.discovery)?;
    let engine = &*found.engine;
    if let Some(note) = found.note {
        observer.event(Event::Note(note));
    }
    observer.event(Event::Stage("tracing shapes and finding groups"));
    let structure = Structure::of(model, engine, &runtime.load, &plan.model.shapes)?;
    let removed = cut.removed(&structure)?;
    let approximate = structure.approximate_groups(&removed);
    if approximate > 0 && !plan.allow_approximate {
        return Err(CompressError::CutPlan {
            place: plan.cut.display().to_string(),
            problem: format!(
                "{approximate} of its groups are only approximately right in this model; --allow-approximate lets them leave"
            ),
        });
    }
    let survivors = structure.groups.survivors(&structure.analysis, &removed);
    let facts = &structure.trace.facts;
    let mut small = shrink(&structure.prepared, facts, &survivors)?;
    structure.prepared.finish(&mut small.graph)?;
    let verified = if plan.verify {
        observer.event(Event::Stage("verifying: masked dense model against small model"));
        let masked = mask(&structure.prepared, &survivors)?;
        let inputs = [structure.trace.inputs.clone()];
        Some(prove(engine, &runtime.load, &masked, &small, &inputs, false, approximate)?)
    } else {
        None
    };
    let cost = CostModel::new(structure.model(), facts, structure.trace.samples);
    let figures = |cost: crate::cost::Cost, bytes| ModelFigures {
        macs: cost.macs,
        params: cost.params,
        bytes,
        ..ModelFigures::default()
    };
    let bytes = small.write(&plan.output, Storage::Auto, plan.force)?;
    Ok(ApplyReport {
        model: plan.model.model.display().to_string(),
        plan: plan.cut.display().to_string(),
        output: plan.output.display().to_string(),
        dense: figures(cost.dense(), structure.model().file_bytes()),
        small: figures(cost.after(&survivors), bytes),
        groups: structure.groups.len(),
        groups_removed: removed.iter().filter(|removed| **removed).count(),
        verified,
        seconds: start.elapsed().as_secs_f64(),
    })
}
