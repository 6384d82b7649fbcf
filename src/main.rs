//! safe-onnx
fn main() {}
