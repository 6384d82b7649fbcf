//! The commands: plan, run, print.

use safe_onnx::compress;
use safe_onnx::ir::write_atomically;

use super::args::{
    ApplyArgs, Command, CompressArgs, DifferentiateArgs, DoctorArgs, EvalArgs, InspectArgs, VerifyArgs,
};
use super::failure::Failure;
use super::progress::Progress;
use super::{Outcome, doctor, output, plan, stop};

pub(super) fn run(command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Compress(args) => run_compress(&args),
        Command::Apply(args) => run_apply(&args),
        Command::Differentiate(args) => run_differentiate(&args),
        Command::Inspect(args) => run_inspect(&args),
        Command::Eval(args) => run_eval(&args),
        Command::Verify(args) => run_verify(&args),
        Command::Doctor(args) => run_doctor(args),
    }
}

fn run_compress(args: &CompressArgs) -> Result<Outcome, Failure> {
    let plan = plan::compress(args)?;
    let stop = stop::flag(args.quiet)?;
    let mut progress = Progress::new(args.quiet);
    let result = compress::compress(&plan, &mut progress, &stop);
    progress.finish();
    let report = result?;
    if let Some(path) = &args.report_json {
        write_atomically(path, output::json(&report)?.as_bytes(), args.force)?;
    }
    output::report(&report, args.json)?;
    Ok(if report.target_met { Outcome::Done } else { Outcome::Missed })
}

fn run_apply(args: &ApplyArgs) -> Result<Outcome, Failure> {
    let plan = plan::apply(args)?;
    let mut progress = Progress::new(args.quiet);
    let result = compress::apply(&plan, &mut progress);
    progress.finish();
    output::report(&result?, args.json)?;
    Ok(Outcome::Done)
}

fn run_differentiate(args: &DifferentiateArgs) -> Result<Outcome, Failure> {
    output::report(&compress::differentiate(&plan::differentiate(args)?)?, args.json)?;
    Ok(Outcome::Done)
}

fn run_inspect(args: &InspectArgs) -> Result<Outcome, Failure> {
    let plan = plan::inspect(args)?;
    let report = match &args.svg {
        None => compress::inspect(&plan)?,
        Some(path) => {
            let (report, picture) = compress::draw(&plan)?;
            write_atomically(path, picture.svg().as_bytes(), args.force)?;
            report
        }
    };
    output::report(&report, args.json)?;
    Ok(Outcome::Done)
}

fn run_eval(args: &EvalArgs) -> Result<Outcome, Failure> {
    output::report(&compress::eval(&plan::eval(args))?, args.json)?;
    Ok(Outcome::Done)
}

fn run_verify(args: &VerifyArgs) -> Result<Outcome, Failure> {
    let report = compress::verify(&plan::verify(args))?;
    output::report(&report, args.json)?;
    Ok(if report.holds { Outcome::Done } else { Outcome::Missed })
}

fn run_doctor(args: DoctorArgs) -> Result<Outcome, Failure> {
    output::report(&doctor::figures(args.ort_lib), args.json)?;
    Ok(Outcome::Done)
}
