//! Handing a model to an engine.

use super::{Arg, ArgMut, Engine, EngineError, LoadOptions, Port, Session, Source};
use crate::ir::{IrError, Model, Scratch};
use crate::tensor::Tensor;

/// Loads `model`: from memory, or through a temporary folder when it passes protobuf's limit of 2 GB.
///
/// # Errors
/// When the model cannot be encoded or its files written, and when the engine refuses it.
pub fn load_model(
    engine: &dyn Engine,
    options: &LoadOptions,
    model: &Model,
) -> Result<Box<dyn Session>, EngineError> {
    match model.to_bytes() {
        Ok(bytes) => engine.load(Source::Bytes(&bytes), options),
        Err(IrError::TooLarge { .. }) => load_from_files(engine, options, model),
        Err(error) => Err(error.into()),
    }
}

fn load_from_files(
    engine: &dyn Engine,
    options: &LoadOptions,
    model: &Model,
) -> Result<Box<dyn Session>, EngineError> {
    let files = model.write_scratch()?;
    let session = engine.load(Source::File(files.path()), options)?;
    Ok(Box::new(FromFiles { session, _files: files }))
}

/// A session over files that are removed with it.
struct FromFiles {
    session: Box<dyn Session>,
    _files: Scratch,
}

impl Session for FromFiles {
    fn inputs(&self) -> &[Port] {
        self.session.inputs()
    }

    fn outputs(&self) -> &[Port] {
        self.session.outputs()
    }

    fn run_on(&mut self, inputs: &[(&str, Arg<'_>)]) -> Result<Vec<Tensor>, EngineError> {
        self.session.run_on(inputs)
    }

    fn run_into(
        &mut self,
        inputs: &[(&str, Arg<'_>)],
        outputs: &mut [(&str, ArgMut<'_>)],
    ) -> Result<(), EngineError> {
        self.session.run_into(inputs, outputs)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::{Choice, Discovery, discover};

    #[test]
    fn a_model_runs_the_same_from_files_and_from_memory() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fmnist/vit_tiny.onnx");
        let model = Model::read(&path).unwrap();
        let options = LoadOptions::default();
        let x = Tensor::new(vec![1, 1, 28, 28], vec![0.5_f32; 784]).unwrap();
        for choice in [Choice::Ort, Choice::Tract] {
            let engine = discover(&Discovery { engine: choice, ..Discovery::default() }).unwrap().engine;
            let mut sessions = [
                load_model(&*engine, &options, &model).unwrap(),
                load_from_files(&*engine, &options, &model).unwrap(),
            ];
            let name = sessions[0].inputs()[0].name.clone();
            assert_eq!(sessions[1].inputs().len(), sessions[0].inputs().len());
            let [first, second] = sessions.each_mut().map(|session| session.run(&[(&name, &x)]).unwrap());
            assert_eq!(first, second);
        }
    }
}
