#!/usr/bin/env python3
"""Holds small models against runtimes that safe-onnx is not built with.

For each model: compress it by magnitude, put the result through ONNX's checker with full shape inference, and run the
masked dense and the small model in ONNX Runtime, tract (through `safe-onnx verify`) and OpenVINO. Every output of the
small model must agree with the masked one's in the same runtime, and with the small one's in ONNX Runtime.

Needs the packages onnx, onnxruntime and openvino. Models given on the command line take the place of those in
fixtures/fmnist; free dimensions become 2, the first one of each input 3.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import openvino

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4
TYPES = {
    onnx.TensorProto.FLOAT: np.float32,
    onnx.TensorProto.DOUBLE: np.float64,
    onnx.TensorProto.FLOAT16: np.float16,
    onnx.TensorProto.INT64: np.int64,
    onnx.TensorProto.INT32: np.int32,
    onnx.TensorProto.BOOL: np.bool_,
}


def inputs_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Random inputs of a model: floats of the normal distribution, integers 0 or 1."""
    random = np.random.default_rng(0)
    constants = {initializer.name for initializer in model.graph.initializer}
    inputs = {}
    for port in model.graph.input:
        if port.name in constants:
            continue
        tensor = port.type.tensor_type
        dims = [d.dim_value or (3 if axis == 0 else 2) for axis, d in enumerate(tensor.shape.dim)]
        kind = TYPES[tensor.elem_type]
        values = random.standard_normal(dims) if np.issubdtype(kind, np.floating) else random.integers(0, 2, dims)
        inputs[port.name] = values.astype(kind)
    return inputs


def run_onnxruntime(path: pathlib.Path, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def run_openvino(path: pathlib.Path, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result = compiled(inputs)
    return [np.asarray(result[port]) for port in compiled.outputs]


def error(expected: list[np.ndarray], found: list[np.ndarray]) -> float:
    """The largest difference over the largest value, of the worst output; infinite where shapes differ."""
    worst = 0.0
    for a, b in zip(expected, found, strict=True):
        if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
            return float("inf")
        a, b = a.astype(np.float64), b.astype(np.float64)
        worst = max(worst, float(np.abs(a - b).max(initial=0) / max(np.abs(a).max(initial=0), 1e-6)))
    return worst


def safe_onnx(program: str, *arguments: object) -> dict:
    command = [program, *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def check(program: str, path: pathlib.Path, target: str, folder: pathlib.Path) -> dict[str, float]:
    masked, small = folder / "masked.onnx", folder / "small.onnx"
    arguments = ["--method", "magnitude", "--epochs", 0, "--target", target, "--emit-masked", masked, "--force"]
    report = safe_onnx(program, "compress", path, "-o", small, *arguments)
    onnx.checker.check_model(str(small), full_check=True)
    inputs = inputs_of(onnx.load(small))
    reference = run_onnxruntime(small, inputs)
    openvino_small = run_openvino(small, inputs)
    tract = safe_onnx(program, "verify", masked, small, "--engine", "tract")
    return {
        "left": report["reached"],
        "onnxruntime": error(run_onnxruntime(masked, inputs), reference),
        "tract": tract["verified"]["max_rel_error"],
        "openvino": error(run_openvino(masked, inputs), openvino_small),
        "openvino to onnxruntime": error(reference, openvino_small),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    parser.add_argument("--program", default=str(ROOT / "target/release/safe-onnx"))
    parser.add_argument("--target", default="macs=0.5")
    options = parser.parse_args()
    models = options.models or sorted((ROOT / "fixtures/fmnist").glob("*.onnx"))
    if not models:
        parser.error("there are no models")
    failed = 0
    for path in models:
        try:
            with tempfile.TemporaryDirectory() as folder:
                figures = check(options.program, path, options.target, pathlib.Path(folder))
            right = all(value <= TOLERANCE for name, value in figures.items() if name != "left")
            text = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
        except Exception as problem:  # A fault in one model must not hide the others.
            right, text = False, f"{type(problem).__name__}: {problem}"
        failed += not right
        print(f"{'ok' if right else 'FAILED'}  {path.name}: {text}", flush=True)
    print(f"{len(models) - failed} of {len(models)} models agree within {TOLERANCE:g}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
