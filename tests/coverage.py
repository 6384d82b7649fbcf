#!/usr/bin/env python3
"""Compresses many models by magnitude alone and writes a table of what came out.

For each model: the share of the MACs that could be left at least, the share that was reached, the largest difference
between masked and small model on ONNX Runtime and, where tract runs the dense model, on tract, whether ONNX's checker
passes the small file, and the seconds that the command took. A row already in the table is kept unless --again is
given, so that a long run can be stopped and gone on with.

Needs the packages onnx and numpy. Weights that a file leaves out and describes by `synthetic:normal:MEAN:STD` or
`synthetic:uniform:LOW:HIGH` in their doc_string (see fixtures/zoo/README.md) are drawn from a generator that is seeded
by their name.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import zlib

import numpy as np
import onnx

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEAD = "| model | least | reached | ONNX Runtime | tract | checker | seconds | note |\n|---|---|---|---|---|---|---|---|\n"


def tensors(graph: onnx.GraphProto):
    """All tensors of a graph and its subgraphs that a file stores."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            for inner in [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs:
                yield from tensors(inner)


def fill(model: onnx.ModelProto) -> None:
    for tensor in tensors(model.graph):
        words = tensor.doc_string.split(":")
        if words[0] != "synthetic":
            continue
        random = np.random.default_rng(zlib.crc32(tensor.name.encode()))
        first, second = float(words[2]), float(words[3])
        draw = random.normal if words[1] == "normal" else random.uniform
        values = draw(first, second, tuple(tensor.dims)).astype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
        tensor.raw_data = values.tobytes()
        tensor.doc_string = ""


def inputs_of(graph: onnx.GraphProto, free: int, batch: int = 2) -> dict[str, np.ndarray]:
    """Random inputs: floats of the normal distribution, tokens below 10, other integers 0 or 1.

    A mask hides the end of its last row.
    """
    random = np.random.default_rng(0)
    constants = {initializer.name for initializer in graph.initializer}
    inputs, sizes = {}, {}
    for port in graph.input:
        if port.name in constants:
            continue
        tensor, dims = port.type.tensor_type, []
        for axis, dim in enumerate(tensor.shape.dim):
            size = dim.dim_value or sizes.get(dim.dim_param) or (free if axis else batch)
            if dim.dim_param:
                sizes[dim.dim_param] = size
            dims.append(size)
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if "mask" in port.name and len(dims) == 2:
            values = np.ones(dims)
            values[-1, dims[-1] * 3 // 4 :] = 0
        elif np.issubdtype(kind, np.floating):
            values = random.standard_normal(dims)
        else:
            values = random.integers(0, 10 if port.name == "input_ids" else 2, dims)
        inputs[port.name] = values.astype(kind)
    return inputs


def few(names: list[str]) -> str:
    return f"{len(names)}: " + ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def command(program: str, *words: object, limit: int) -> tuple[dict | None, str]:
    """The report of a command, or what it said instead."""
    call = [program, *map(str, words), "--json"]
    try:
        done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return None, f"more than {limit} s"
    errors = [line for line in done.stderr.splitlines() if line.startswith("error")]
    try:
        return json.loads(done.stdout), "; ".join(errors)
    except json.JSONDecodeError:
        return None, "; ".join(errors) or f"exit code {done.returncode}"


def row(program: str, source: pathlib.Path, target: str, limit: int) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        dense, small, masked = (folder / file for file in ("dense.onnx", "small.onnx", "masked.onnx"))
        model = onnx.load(source)
        fill(model)
        large = model.ByteSize() > 1_900_000_000
        onnx.save(model, dense, save_as_external_data=large, location="dense.data" if large else None)
        del model
        words = ["--method", "magnitude", "--epochs", 0, "--target", target, "--emit-masked", masked, "--quiet"]
        start = time.monotonic()
        report, problem = command(program, "compress", dense, "-o", small, *words, limit=limit)
        seconds = time.monotonic() - start
        if report is None:
            return f"| {source.stem} | | | | | | {seconds:.0f} | {problem} |"
        notes = list(report["notes"])[1:]
        inspected, _ = command(program, "inspect", dense, limit=limit)
        least = f"{inspected['smallest_macs_share']:.3f}" if inspected else ""
        tract, problem = command(program, "verify", masked, small, "--engine", "tract", limit=limit)
        on_tract = f"{tract['verified']['max_rel_error']:.1e}" if tract else "does not run"
        try:
            onnx.checker.check_model(str(small), full_check=True)
            checked = "passes"
        except Exception as error:  # Whatever is wrong is what the table shall say.
            try:
                onnx.checker.check_model(str(dense), full_check=True)
                checked = "FAILS"
            except Exception:
                checked = "dense fails too"
            notes.append(str(error).splitlines()[0])
        deviation = report["verified"]["max_rel_error"]
        note = "; ".join(notes).replace("|", "/").replace(str(folder), "")
        return (
            f"| {source.stem} | {least} | {report['reached']:.4f} | {deviation:.1e} | {on_tract} | {checked} "
            f"| {seconds:.0f} | {note} |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--table", type=pathlib.Path, default=ROOT / "docs/coverage.md")
    parser.add_argument("--program", default=str(ROOT / "target/release/safe-onnx"))
    parser.add_argument("--target", default="macs=0.5")
    parser.add_argument("--limit", type=int, default=1800, help="seconds that a command may take")
    parser.add_argument("--again", action="store_true", help="run models that the table has already")
    options = parser.parse_args()
    text = options.table.read_text() if options.table.exists() else ""
    front, _, body = text.partition(HEAD)
    rows = {line.split("|")[1].strip(): line for line in body.splitlines() if line.startswith("|")}
    for path in options.models:
        if path.stem in rows and not options.again:
            continue
        rows[path.stem] = row(options.program, path, options.target, options.limit)
        print(rows[path.stem], flush=True)
        options.table.parent.mkdir(exist_ok=True)
        options.table.write_text(front + HEAD + "\n".join(rows[name] for name in sorted(rows)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
