//! What `doctor` found, as a report.

use std::path::PathBuf;

use safe_onnx::engine::{Candidate, Origin, Verdict, doctor};
use safe_onnx::report::{CudaFigures, DoctorFigures, LibraryFigures};

pub(super) fn figures(ort_lib: Option<PathBuf>) -> DoctorFigures {
    let found = doctor(ort_lib);
    let (cuda, cuda_problem) = match found.cuda {
        Ok(devices) => (devices, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    let (engine, problem) = match found.auto {
        Ok((name, version)) => (Some(format!("{name} {version}")), None),
        Err(problem) => (None, Some(problem)),
    };
    DoctorFigures {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine,
        problem,
        ort_path: found.ort_path.map(|path| path.display().to_string()),
        ort_version: found.ort_version,
        execution_providers: found.execution_providers,
        libraries: found.libraries.iter().map(library).collect(),
        tract_version: found.tract_version,
        cuda: cuda
            .into_iter()
            .map(|device| CudaFigures { number: device.number, name: device.name, memory: device.memory })
            .collect(),
        cuda_problem,
        threads: found.default_threads,
        note: found.note,
    }
}

fn library(candidate: &Candidate) -> LibraryFigures {
    LibraryFigures {
        origin: match candidate.origin {
            Origin::Option => "--ort-lib",
            Origin::Environment => "ORT_DYLIB_PATH",
            Origin::Python => "python",
            Origin::System => "system",
        }
        .to_owned(),
        path: candidate.path.as_ref().map(|path| path.display().to_string()),
        verdict: match &candidate.verdict {
            Verdict::Chosen { version } => format!("chosen: {version}"),
            Verdict::Rejected(reason) => format!("rejected: {reason}"),
            Verdict::NotTried => "not tried".to_owned(),
            Verdict::Absent => "absent".to_owned(),
        },
    }
}
