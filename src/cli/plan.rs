//! What was typed as validated plans.

use std::fs;
use std::path::Path;

use safe_onnx::compress::{
    ApplyPlan, DifferentiatePlan, EvalPlan, Heads, Limits, LossChoice, LossPart, LossPlan, Method, ModelPlan,
    Plan, Runtime, TargetLoss, VerifyPlan,
};
use safe_onnx::data::DataOptions;
use safe_onnx::engine::{Choice, Device, Discovery, LoadOptions};

use super::args::{
    ApplyArgs, BatchNormArg, CompressArgs, DifferentiateArgs, EngineArg, EngineArgs, EvalArgs, EvalLossArg,
    HeadsArg, InspectArgs, LimitArgs, LossArg, MethodArg, PixelArgs, TargetLossArg, VerifyArgs,
};
use super::failure::Failure;
use super::values::DeviceChoice;

pub(super) fn compress(args: &CompressArgs) -> Result<Plan, Failure> {
    let outputs = [
        ("-o", Some(&args.output)),
        ("--emit-masked", args.emit_masked.as_ref()),
        ("--plan-out", args.plan_out.as_ref()),
        ("--report-json", args.report_json.as_ref()),
    ];
    let outputs: Vec<(&str, &Path)> =
        outputs.into_iter().filter_map(|(option, path)| Some((option, path?.as_path()))).collect();
    for (place, &(option, path)) in outputs.iter().enumerate() {
        writable(option, path, &args.model, args.force)?;
        if let Some((other, _)) = outputs[..place].iter().find(|(_, other)| *other == path) {
            return Err(Failure::usage(
                format!("{other} and {option} name the same file {}", path.display()),
                "name two files",
            ));
        }
    }
    let runtime = runtime(&args.engine);
    let mut data_options = pixels(&args.pixels);
    data_options.augment = args.augment.unwrap_or_default();
    data_options.val_split = args.val_split;
    data_options.seed = args.training.seed;
    if args.data.is_none() && (args.val.is_some() || args.val_split.is_some()) {
        return Err(Failure::usage(
            "--val and --val-split need training data".to_owned(),
            "name the training data with --data",
        ));
    }
    Ok(Plan {
        model: args.model.clone(),
        output: args.output.clone(),
        data: args.data.clone(),
        val: args.val.clone(),
        data_options,
        target: args.target,
        method: match args.method {
            MethodArg::Safe => Method::Safe,
            MethodArg::Magnitude => Method::Magnitude,
        },
        training: args.training.plan(),
        loss: loss(args)?,
        limits: limits(&args.limits),
        seed: args.training.seed,
        discovery: runtime.discovery,
        load: runtime.load,
        shapes: args.shapes.shape.clone(),
        emit_masked: args.emit_masked.clone(),
        plan_out: args.plan_out.clone(),
        checkpoint: args.checkpoint.plan(),
        verify: !args.no_verify,
        force: args.force,
    })
}

pub(super) fn apply(args: &ApplyArgs) -> Result<ApplyPlan, Failure> {
    writable("-o", &args.output, &args.model, args.force)?;
    Ok(ApplyPlan {
        model: model(&args.model, &args.shapes.shape, &args.engine),
        cut: args.plan.clone(),
        output: args.output.clone(),
        verify: !args.no_verify,
        allow_approximate: args.allow_approximate,
        force: args.force,
    })
}

fn limits(args: &LimitArgs) -> Limits {
    Limits {
        exclude: args.exclude.clone(),
        only: args.only.clone(),
        keep: args.keep.clone(),
        min_width: args.min_width,
        round_to: args.round_to,
        heads: match args.heads {
            HeadsArg::Auto => Heads::Auto,
            HeadsArg::Whole => Heads::Whole,
            HeadsArg::Width => Heads::Width,
        },
        allow_approximate: args.allow_approximate,
    }
}

fn loss(args: &CompressArgs) -> Result<LossPlan, Failure> {
    let part = |name: LossArg| match name {
        LossArg::Auto => None,
        LossArg::CrossEntropy => Some(LossPart::CrossEntropy),
        LossArg::NextToken => Some(LossPart::NextToken),
        LossArg::Bce => Some(LossPart::BinaryCrossEntropy),
        LossArg::Mse => Some(LossPart::SquaredError),
        LossArg::SmoothL1 => Some(LossPart::SmoothL1),
        LossArg::Distill => Some(LossPart::Distill),
        LossArg::Features => Some(LossPart::Features),
    };
    let parts: Vec<(LossPart, f64)> =
        args.loss.iter().filter_map(|&(name, weight)| Some((part(name)?, weight))).collect();
    let wrong = |what: &str, hint: &'static str| Err(Failure::usage(format!("--loss: {what}"), hint));
    if !parts.is_empty() && parts.len() < args.loss.len() {
        return wrong("auto stands alone", "name the parts of the sum instead");
    }
    let labels = |part: &(LossPart, f64)| matches!(part.0, LossPart::CrossEntropy | LossPart::NextToken);
    let targets = parts.iter().filter(|(part, _)| part.takes_targets());
    if targets.count() > 1 {
        return wrong(
            "the data have one target",
            "name one loss on it, with or without distill and features",
        );
    }
    if args.distill_on.is_empty() && parts.iter().any(|(part, _)| *part == LossPart::Features) {
        return wrong("features of what?", "name values inside of the model with --distill-on");
    }
    let spread = args.label_smoothing > 0.0 || !args.class_weights.is_empty() || args.ignore_index.is_some();
    if spread && !parts.is_empty() && !parts.iter().any(labels) {
        return wrong("it has no classes", "leave --label-smoothing, --class-weights and --ignore-index out");
    }
    let distils = |(part, _): &(LossPart, f64)| *part == LossPart::Distill;
    if args.temperature.is_some() && !parts.is_empty() && !parts.iter().any(distils) {
        return wrong("it has no distillation", "leave --temperature out, or add distill");
    }
    Ok(LossPlan {
        parts,
        label_smoothing: args.label_smoothing,
        class_weights: args.class_weights.clone(),
        ignore_index: args.ignore_index,
        temperature: args.temperature,
        distill_on: args.distill_on.clone(),
    })
}

pub(super) fn differentiate(args: &DifferentiateArgs) -> Result<DifferentiatePlan, Failure> {
    writable("-o", &args.output, &args.model, args.force)?;
    let (loss, name) = match args.loss {
        TargetLossArg::CrossEntropy => (
            TargetLoss::CrossEntropy {
                class_axis: args.class_axis,
                smoothing: args.label_smoothing,
                class_weights: args.class_weights.clone(),
                ignore_index: args.ignore_index,
            },
            "cross-entropy",
        ),
        TargetLossArg::Bce => (TargetLoss::BinaryCrossEntropy, "bce"),
        TargetLossArg::Mse => (TargetLoss::SquaredError, "mse"),
        TargetLossArg::SmoothL1 => (TargetLoss::SmoothL1, "smooth-l1"),
    };
    let of_classes = [
        ("--class-axis", args.class_axis.is_some()),
        ("--label-smoothing", args.label_smoothing > 0.0),
        ("--class-weights", !args.class_weights.is_empty()),
        ("--ignore-index", args.ignore_index.is_some()),
    ];
    if let (false, Some((option, _))) =
        (args.loss == TargetLossArg::CrossEntropy, of_classes.iter().find(|(_, given)| *given))
    {
        let hint = "leave it out, or take --loss cross-entropy";
        return Err(Failure::usage(format!("{option}: --loss {name} has no classes"), hint));
    }
    Ok(DifferentiatePlan {
        model: model(&args.model, &args.shapes.shape, &args.engine),
        output: args.output.clone(),
        loss,
        batch_statistics: args.batch_norm == BatchNormArg::Train,
        force: args.force,
    })
}

pub(super) fn inspect(args: &InspectArgs) -> Result<ModelPlan, Failure> {
    if let Some(path) = &args.svg {
        writable("--svg", path, &args.model, args.force)?;
    }
    Ok(model(&args.model, &args.shapes.shape, &args.engine))
}

pub(super) fn eval(args: &EvalArgs) -> EvalPlan {
    EvalPlan {
        model: args.model.clone(),
        data: args.data.clone(),
        data_options: DataOptions { ignore_index: args.ignore_index, ..pixels(&args.pixels) },
        loss: match args.loss {
            EvalLossArg::Auto => LossChoice::Auto,
            EvalLossArg::CrossEntropy => LossChoice::CrossEntropy,
            EvalLossArg::Mse => LossChoice::SquaredError,
        },
        batch: args.batch,
        runtime: runtime(&args.engine),
    }
}

pub(super) fn verify(args: &VerifyArgs) -> VerifyPlan {
    VerifyPlan {
        dense: args.dense.clone(),
        small: args.small.clone(),
        data: args.data.clone(),
        data_options: pixels(&args.pixels),
        tolerance: args.tolerance,
        shapes: args.shapes.shape.clone(),
        runtime: runtime(&args.engine),
    }
}

fn model(path: &Path, shapes: &[(String, Vec<usize>)], engine: &EngineArgs) -> ModelPlan {
    ModelPlan { model: path.to_owned(), shapes: shapes.to_vec(), runtime: runtime(engine) }
}

fn pixels(args: &PixelArgs) -> DataOptions {
    DataOptions {
        mean: args.mean.clone(),
        std: args.std.clone(),
        resize: args.resize,
        crop: args.crop,
        ..DataOptions::default()
    }
}

fn runtime(args: &EngineArgs) -> Runtime {
    let device = match args.device {
        DeviceChoice::Auto => Device::Cpu,
        DeviceChoice::Named(device) => device,
    };
    let engine = match args.engine {
        EngineArg::Auto => Choice::Auto,
        EngineArg::Ort => Choice::Ort,
        EngineArg::Tract => Choice::Tract,
    };
    Runtime {
        discovery: Discovery { engine, ort_lib: args.ort_lib.clone(), device },
        load: LoadOptions { threads: args.threads, device, ..LoadOptions::default() },
    }
}

/// Refuses, before any work is done, outputs that could not be written or would replace something.
fn writable(option: &str, path: &Path, input: &Path, force: bool) -> Result<(), Failure> {
    let fail =
        |problem: String, hint| Err(Failure::usage(format!("{option} {}: {problem}", path.display()), hint));
    if !force {
        if let (Ok(first), Ok(second)) = (fs::canonicalize(path), fs::canonicalize(input))
            && first == second
        {
            return fail("this is the model that is read".to_owned(), "name another file, or give --force");
        }
        if path.exists() {
            return fail("the file exists".to_owned(), "name another file, or give --force to replace it");
        }
    }
    if path.is_dir() {
        return fail("this is a folder".to_owned(), "name a file in it");
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let problem = format!("the folder {} does not exist", folder.display());
        return fail(problem, "make the folder first, or name a file in another one");
    }
    Ok(())
}
