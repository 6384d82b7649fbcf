//! Errors for people: what happened, why, and what to do next.

use std::error::Error;

use safe_onnx::compress::{CompressError, ToolError};
use safe_onnx::data::DataError;
use safe_onnx::engine::EngineError;
use safe_onnx::ir::IrError;
use safe_onnx::safe::TrainError;
use safe_onnx::trace::TraceError;
use safe_onnx::verify::VerifyError;
use thiserror::Error as ThisError;

/// Why a command ended without a result.
#[derive(Debug, ThisError)]
pub(super) enum Failure {
    /// The user stopped it.
    #[error("{0}")]
    Stopped(String),
    /// Options that do not fit each other or the file system.
    #[error("{problem}")]
    Usage { problem: String, hint: &'static str },
    /// `compress` failed.
    #[error("{0}")]
    Compress(#[source] CompressError),
    /// Another command failed.
    #[error("{0}")]
    Tool(#[from] ToolError),
    /// A report could not be written.
    #[error("{0}")]
    Report(#[from] IrError),
    /// A report could not be put in words.
    #[error("the report cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// Ctrl-C cannot be caught.
    #[error("the handler for Ctrl-C cannot be set")]
    Handler(#[from] ctrlc::Error),
}

impl From<CompressError> for Failure {
    fn from(error: CompressError) -> Self {
        match error {
            CompressError::Stopped | CompressError::Paused { .. } => Self::Stopped(error.to_string()),
            other => Self::Compress(other),
        }
    }
}

impl Failure {
    pub(super) fn usage(problem: String, hint: &'static str) -> Self {
        Self::Usage { problem, hint }
    }

    /// Whether the command ran, but its result failed verification.
    pub(super) fn is_refuted(&self) -> bool {
        matches!(self, Self::Compress(CompressError::Differs(_)))
    }

    /// The whole message: the error, its causes, and a hint.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![format!("error: {self}")];
        let mut last = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // An enum over other errors says what they say; a message may name its cause already.
            if !last.ends_with(&text) {
                lines.push(format!("  caused by: {text}"));
            }
            last = text;
            next = cause.source();
        }
        lines.push(format!("hint: {}", self.hint()));
        lines.join("\n")
    }

    fn hint(&self) -> &'static str {
        if let Self::Usage { hint, .. } = self {
            return hint;
        }
        let mut next: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = next {
            if let Some(hint) = hint_of(error) {
                return hint;
            }
            next = error.source();
        }
        "`safe-onnx COMMAND --help` says what the command takes"
    }
}

fn hint_of(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<IrError>() {
        return Some(match error {
            IrError::Io { action: "read", .. } => "check that the path exists and may be read",
            IrError::Io { .. } => "check that the folder exists, may be written to, and has space",
            IrError::Invalid { .. } => "export or download the model again",
            IrError::Tensor { .. } => "the file is incomplete or damaged: export or download the model again",
            IrError::External { .. } => {
                "put the data file in the model's folder, under the name that the model gives it"
            }
            IrError::Graph { .. } => "check the model with onnx.checker, and export it again",
            IrError::TooLarge { .. } => "save the model with external data",
            IrError::Exists { .. } => "name another file, or give --force to replace it",
        });
    }
    if let Some(error) = error.downcast_ref::<EngineError>() {
        return Some(match error {
            EngineError::NotFound { .. } => {
                "`safe-onnx doctor` shows where was looked; --engine tract needs no library"
            }
            EngineError::TooOld { .. } | EngineError::Library { .. } | EngineError::OtherLibrary { .. } => {
                "`safe-onnx doctor` shows what was found; --engine tract needs no library"
            }
            EngineError::Model(error) => return hint_of(error),
            EngineError::UnsupportedDevice { .. } => "use --device cpu",
            EngineError::Load { .. } | EngineError::Operators { .. } | EngineError::Misread { .. } => {
                "try the other engine (--engine ort or --engine tract)"
            }
            EngineError::Run { .. } | EngineError::Port { .. } => {
                "give input shapes with --shape NAME=DIMS, or data that fit the model"
            }
        });
    }
    if let Some(error) = error.downcast_ref::<TraceError>() {
        return matches!(error, TraceError::Run { .. }).then_some(
            "give input shapes with --shape NAME=DIMS, or try the other engine (--engine ort or tract)",
        );
    }
    if let Some(error) = error.downcast_ref::<VerifyError>() {
        return match error {
            VerifyError::Names { .. } | VerifyError::Shape { .. } => Some(
                "give the model that `compress --emit-masked` wrote, and the small model of the same run",
            ),
            VerifyError::Nothing(_) => Some("give real data with --data"),
            _ => None,
        };
    }
    if let Some(error) = error.downcast_ref::<CompressError>() {
        return hint_of_run(error);
    }
    if error.is::<DataError>() {
        return Some(
            "README.md, section Data, says how data are laid out; --mean and --std are those of training",
        );
    }
    match error.downcast_ref::<ToolError>() {
        Some(ToolError::Label { .. }) => Some("check that the labels count from 0 and belong to this model"),
        Some(ToolError::Autodiff(_)) => {
            Some("`safe-onnx inspect` names the operators that are not understood")
        }
        Some(ToolError::Shape(_)) => Some("give input shapes with --shape NAME=DIMS"),
        _ => None,
    }
}

/// Transparent errors have no cause of their own, so that these are looked into by name.
fn hint_of_run(error: &CompressError) -> Option<&'static str> {
    match error {
        CompressError::Stopped | CompressError::Paused { .. } => None,
        CompressError::OtherCheckpoints { .. } => Some(
            "--resume goes on with that run; else name another folder, or give --force to remove its checkpoints",
        ),
        CompressError::OtherRun { .. } => {
            Some("give the same model, data, settings, engine and threads, or begin anew without --resume")
        }
        CompressError::DamagedCheckpoint { .. } => {
            Some("begin anew: leave --resume out, and name another folder or give --force")
        }
        CompressError::Ir(error) => hint_of(error),
        CompressError::Engine(error) | CompressError::Train(TrainError::Engine(error)) => hint_of(error),
        CompressError::Trace(error) => hint_of(error),
        CompressError::Data(error) => hint_of(error),
        CompressError::Verify(error) => hint_of(error),
        CompressError::Eval(error) => error.source().and_then(hint_of).or_else(|| hint_of(error)),
        CompressError::Autodiff(_) => Some(
            "`safe-onnx inspect` names what is not understood; --method magnitude --epochs 0 needs no gradient",
        ),
        CompressError::Train(_) => Some("a smaller --lr may help; --epochs 0 cuts without training"),
        CompressError::Loss(_) => Some("name another loss with --loss, or leave it out"),
        CompressError::Unnamed { .. } => {
            Some("write names of outputs of nodes, as any viewer of ONNX files shows them, or parts of them")
        }
        CompressError::Memory { .. } => Some(
            "raise --memory-limit, train fewer weights with --freeze or --train-only, or prune without training: --method magnitude --epochs 0",
        ),
        CompressError::NoMemoryFigures => Some("leave --memory-limit out, and choose a smaller --batch"),
        CompressError::CutPlan { .. } => Some(
            "plans fit models of the structure that they were made for; `compress --plan-out` writes a new one",
        ),
        CompressError::Unreachable { .. } => {
            Some("ask for a larger share with --target; `safe-onnx inspect` shows what can be cut")
        }
        CompressError::Shrink(_) | CompressError::Differs(_) => Some(
            "this is a defect of safe-onnx: please report it with the model; --exclude REGEX leaves layers alone",
        ),
    }
}
