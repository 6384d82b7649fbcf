//! The ONNX messages.
