//! Handing a model to an engine.

use crate::engine::{Engine, EngineError, LoadOptions, Session, Source};
use crate::ir::{IrError, Model, Scratch};

/// A loaded model, and the files that it was loaded from if it was too large for one message.
pub struct Loaded {
    /// The session.
    pub session: Box<dyn Session>,
    _files: Option<Scratch>,
}

/// Loads `model`: from memory, or through a temporary folder when it passes protobuf's limit of 2 GB.
///
/// # Errors
/// The outer error when the model cannot be encoded or its files written, the inner one when the engine refuses it.
pub fn load_model(
    engine: &dyn Engine,
    options: &LoadOptions,
    model: &Model,
) -> Result<Result<Loaded, EngineError>, IrError> {
    match model.to_bytes() {
        Ok(bytes) => {
            let session = engine.load(Source::Bytes(&bytes), options);
            Ok(session.map(|session| Loaded { session, _files: None }))
        }
        Err(IrError::TooLarge { .. }) => {
            let files = model.write_scratch()?;
            let session = engine.load(Source::File(files.path()), options);
            Ok(session.map(|session| Loaded { session, _files: Some(files) }))
        }
        Err(error) => Err(error),
    }
}
