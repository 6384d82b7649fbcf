#!/usr/bin/env python3
"""Runs the training graphs of many models on ONNX Runtime and writes a table of what came out.

For each model, or for each model of a folder, smallest first: `safe-onnx differentiate` writes the training graph, and
ONNX Runtime, with its own defaults and two threads, computes the loss and all gradients once, with a batch of --batch.
Outputs [N, C] get cross-entropy, those of segmenters too, others the mean squared error against the model's own output
with noise as large as it spreads. Where weights are left that do not lead to the first output but to another one, the
next output takes its place, and so on; such a model is said to have as many losses.

A weight is a float initializer with a dimension that is no running statistic and has no value of 1e4 or more, which
stand for infinity, or a constant that the program takes for one. The table has the weights with a gradient among all
weights, those of which the gradient is finite, and those of which it is zero everywhere. *slope* is how much the loss
changes, from a step back along the gradient to a step forward, over what the gradient says; 1 if all is right and the
steps are small enough; where a model picks elements by their values, such as a detector its boxes, the steps keep what
it picked, and the regions that it reads. Weights with a gradient of zero are moved too, by a hundredth of their size; then the loss stays, as long as
comparisons come out the same. Seconds and peak memory are those of the command and of loading and running its graph,
each in a process of its own which may not have more than --memory. A row passes if each weight has a finite gradient of its own
shape, or does not lead to any float output but by what is picked, compared or counted, if not all are zero, if the slope, where there is one, is 1 up to a tenth,
and if the loss stays where it must. A row already in the table is kept unless --again is given.

A folder's MANIFEST.json may name the task and the inputs of its models; else free dimensions are --batch on the first
axis and --free on the others. Needs the packages onnx and onnxruntime.
"""

import argparse
import collections
import functools
import json
import math
import multiprocessing
import pathlib
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import onnx
import onnx.inliner

from coverage import ROOT, command, few, fill, inputs_of

SUMMARY = "| task | models | pass | refused | fail | weights with gradient / weights |\n|---|---|---|---|---|---|\n"
HEAD = (
    "| model | task | weights with gradient / weights | finite | all zero | slope | seconds | peak MB | note |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)
FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}
HALVES = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
HUGE = 1e4
# The outputs that say which elements a node picked.
CHOICES = {"NonZero": 0, "NonMaxSuppression": 0, "TopK": 1, "ArgMax": 0, "ArgMin": 0}
STEPS = (1e-3, 1e-2, 1e-4, 1e-5)
SLOPE = 0.1
COMPARISONS = dict.fromkeys(["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"], 0)
LENGTHS = dict.fromkeys(["Shape", "Size"], 0)
# How far weights of zero gradient are moved, and what that may change.
NUDGE = 1e-2
ROUNDING = 1e-6


def apart(memory: int, function: Callable, *values: object) -> tuple[object, int]:
    """What a function gives in a process of its own with so many bytes of memory, and its peak in MB."""
    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        try:
            result = function(*values)
        except Exception as error:  # Whatever is wrong is what the table shall say.
            result = RuntimeError(f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}")
        called = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        there.send((result, (called or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) // 1024))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    there.close()
    try:
        result, peak = here.recv()
    except EOFError:
        process.join()
        result, peak = RuntimeError(f"the process ended with {process.exitcode}"), 0
    process.join()
    if isinstance(result, Exception):
        raise result
    return result, peak


# The model


def given_inputs(graph: onnx.GraphProto, known: dict, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Inputs as the manifest describes them, or of usual ranges."""
    inputs = inputs_of(graph, options.free, options.batch)
    for port in known.get("inputs", []):
        value = inputs.get(port["name"])
        if value is None:
            continue
        random = np.random.default_rng(0)
        dims = [value.shape[0] if isinstance(port["symbolic"][0], str) else port["shape"][0], *port["shape"][1:]]
        if "dist" in port:
            kind, first, second = port["dist"].split(":")
            draw = random.normal if kind == "normal" else random.uniform
            inputs[port["name"]] = draw(float(first), float(second), dims).astype(value.dtype)
        elif "low" in port:
            inputs[port["name"]] = random.integers(port["low"], port["high"] + 1, dims).astype(value.dtype)
    return inputs


def inner_graphs(node: onnx.NodeProto):
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def reads(node: onnx.NodeProto):
    """The values that a node and its bodies read."""
    yield from node.input
    for graph in inner_graphs(node):
        yield from (port.name for port in graph.output)
        for inner in graph.node:
            yield from reads(inner)


def statistics(graph: onnx.GraphProto):
    """The running statistics of batch normalisations."""
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            yield from node.input[3:5]
        for inner in inner_graphs(node):
            yield from statistics(inner)


def weights_of(graph: onnx.GraphProto) -> dict[str, str]:
    """The weights, and the type of those of half precision."""
    moving = set(statistics(graph))
    found = {}
    for tensor in graph.initializer:
        if tensor.data_type not in FLOATS | HALVES or not tensor.dims or tensor.name in moving:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if values.size and np.abs(values.astype(np.float32)).max() < HUGE:
            kind = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
            found[tensor.name] = kind if tensor.data_type in HALVES else ""
    return found


def leading_to(graph: onnx.GraphProto, output: str, choices: dict[str, int] = {}) -> set[str]:  # noqa: B006
    """The values that an output is computed from; not those that only say what is picked, where `choices` name them."""
    makers = {name: node for node in graph.node for name in node.output}
    seen, open_names = {output}, [output]
    while open_names:
        name = open_names.pop()
        node = makers.get(name)
        # A loop may carry numbers beside what it picks.
        if node is not None and node.op_type != "Loop" and name in chosen(node, choices):
            continue
        fresh = set(reads(node)) - seen if node is not None else set()
        seen |= fresh
        open_names.extend(fresh)
    return seen


def short(problem: str) -> str:
    """A reason that names nodes, without all but the first of those that have the same."""
    parts = problem.removeprefix("error: ").split("; ")
    seen = collections.Counter(re.sub(r"`[^`]*`", "", part.removeprefix("no gradient through ")) for part in parts)
    kept = []
    for part in parts:
        kind = re.sub(r"`[^`]*`", "", part.removeprefix("no gradient through "))
        if count := seen.pop(kind, 0):
            kept.append(part + (f" ({count} such)" if count > 1 else ""))
    return "; ".join(kept)


def loss_of(output: np.ndarray, task: str) -> str:
    """The loss of an output."""
    ranks = {"segmentation": 4, "classification": 2, "video": 2, "": 2}
    classes = output.ndim == ranks.get(task)
    return "cross-entropy" if classes and output.shape[1] > 1 else "mse"


def target_of(output: np.ndarray, loss: str) -> np.ndarray:
    random = np.random.default_rng(1)
    if loss == "cross-entropy":
        return random.integers(0, output.shape[1], np.delete(output.shape, 1))
    spread = float(output.std()) if output.size else 0.0
    noise = random.standard_normal(output.shape)
    return (output + (spread or 1.0) * noise).astype(output.dtype)


def prepared(source: pathlib.Path, folder: pathlib.Path, known: dict, options: argparse.Namespace) -> dict:
    """Writes the model, one variant of it for each float output, and inputs and targets; says what is in them."""
    model = onnx.load(source)
    fill(model)
    onnx.save(model, folder / "dense0.onnx")
    inputs = given_inputs(model.graph, known, options)
    np.savez(folder / "inputs.npz", **inputs)
    session = load(folder / "dense0.onnx", optimized=False)
    ports = {port.name for port in session.get_inputs()}
    values = session.run(None, {name: value for name, value in inputs.items() if name in ports})
    del session
    flat = onnx.inliner.inline_local_functions(model) if model.functions else model
    weights = weights_of(flat.graph)
    readers = collections.defaultdict(set)
    for node in flat.graph.node:
        for name in set(reads(node)) & weights.keys():
            readers[name].add(node.op_type)
    outputs = []
    ports = list(model.graph.output)
    for port, value in zip(ports, values, strict=True):
        if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64, np.float16):
            continue
        number = len(outputs)
        loss = loss_of(value, known.get("task", ""))
        np.save(folder / f"target{number}.npy", target_of(value, loss))
        leads = leading_to(flat.graph, port.name, CHOICES | COMPARISONS | LENGTHS) & weights.keys()
        outputs.append({"name": port.name, "loss": loss, "leads": leads, "size": value.size})
        if port is not ports[0]:
            del model.graph.output[:]
            model.graph.output.extend([port, *(other for other in ports if other is not port)])
            onnx.save(model, folder / f"dense{number}.onnx")
    # A free dimension that is no batch would be traced with a size that the model may not take.
    shapes = []
    for port in model.graph.input:
        dims = port.type.tensor_type.shape.dim
        if port.name in inputs and any(not dim.dim_value for dim in dims[1:]):
            shapes += ["--shape", f"{port.name}={'x'.join(map(str, inputs[port.name].shape))}"]
    return {"weights": weights, "outputs": outputs, "readers": dict(readers), "shapes": shapes}


# The training graph


def load(path: pathlib.Path, *, optimized: bool):
    import onnxruntime  # Only in processes of their own: it would count to the memory of each.

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def chosen(node: onnx.NodeProto, choices: dict[str, int]) -> list[str]:
    """The outputs of a node that may say which elements it picked."""
    if node.op_type in choices and not node.domain:
        return [node.output[choices[node.op_type]]]
    inner = [other for graph in inner_graphs(node) for other in graph.node]
    return [name for name in node.output if name] if any(chosen(other, choices) for other in inner) else []


def held(trained: pathlib.Path, feeds: dict, loss: str, choices: dict[str, int]) -> tuple[pathlib.Path, dict] | None:
    """The training graph with what it picks for the loss as inputs, and what it picks on these inputs."""
    model = onnx.load(trained)
    graph = model.graph
    needed = leading_to(graph, loss)
    names = [name for node in graph.node for name in chosen(node, choices) if name in needed]
    # Regions have no gradient, as in the training code of detectors, but are computed with weights.
    regions = {node.input[1] for node in graph.node if node.op_type == "RoiAlign" and node.output[0] in needed}
    regions -= {port.name for port in graph.input} | {tensor.name for tensor in graph.initializer}
    if not names and not regions:
        return None
    outputs = list(graph.output)
    graph.output.extend(map(onnx.helper.make_empty_tensor_value_info, sorted(regions)))
    graph.output.extend(map(onnx.helper.make_empty_tensor_value_info, names))
    path = trained.with_name("held.onnx")
    onnx.save(model, path)
    session = load(path, optimized=False)
    kinds = {"tensor(int64)": onnx.TensorProto.INT64, "tensor(bool)": onnx.TensorProto.BOOL}
    types = {port.name: kinds.get(port.type) for port in session.get_outputs()}
    names = [name for name in names if types[name]]
    ordered = sorted(regions)
    values = session.run(names + ordered, feeds)
    picked = dict(zip(names + [f"{name}.held" for name in ordered], values, strict=True))
    del graph.output[:]
    graph.output.extend(outputs)
    types |= {f"{name}.held": onnx.TensorProto.FLOAT for name in ordered}
    graph.input.extend(onnx.helper.make_tensor_value_info(name, types[name], None) for name in picked)
    for node in graph.node:
        if node.op_type == "RoiAlign" and node.input[1] in regions:
            node.input[1] = f"{node.input[1]}.held"
        if node.op_type == "TopK" and node.output[0] and node.output[1] in picked:
            axis = next((entry.i for entry in node.attribute if entry.name == "axis"), -1)
            inputs, values = [node.input[0], node.output[1]], [node.output[0]]
            node.CopyFrom(onnx.helper.make_node("GatherElements", inputs, values, axis=axis))
        for at, name in enumerate(node.output):
            if name in picked:
                node.output[at] = f"{name}.free"
    onnx.save(model, path)
    return path, picked


class Moved:
    """The loss of a training graph after its weights have moved."""

    def __init__(self, session, feeds: dict, report: dict, trained: pathlib.Path):
        import onnxruntime

        known = {port.name for port in session.get_inputs()}
        self.feeds = {name: value for name, value in feeds.items() if name in known}
        self.session, self.loss = session, report["loss"]
        self.options = onnxruntime.RunOptions()
        self.options.only_execute_path_to_fetches = True
        wanted = dict(report["gradients"])
        self.weights = {
            tensor.name: onnx.numpy_helper.to_array(tensor, str(trained.parent))
            for tensor in onnx.load(trained).graph.initializer
            if tensor.name in wanted
        }

    def __call__(self, step: float, moves: dict) -> float:
        moved = {
            name: self.weights[name] + (step * move).astype(self.weights[name].dtype) for name, move in moves.items()
        }
        return float(self.session.run([self.loss], self.feeds | moved, self.options)[0])

    def slope(self, loss: float, gradients: dict) -> float | str:
        """The change of the loss between two points along the gradient, over what the gradient says.

        Of several lengths of the step, the one whose result is nearest to 1 counts: a long one meets the bends of the
        loss, and a short one its rounding.
        """
        norm = math.sqrt(sum(float(np.square(value, dtype=np.float64).sum()) for value in gradients.values()))
        if norm == 0 or loss == 0:
            return ""
        best = math.inf
        for share in STEPS:
            step = share * abs(loss) / norm**2
            found = (self(step, gradients) - self(-step, gradients)) / (2 * step * norm**2)
            best = min(best, found, key=lambda value: abs(value - 1) if math.isfinite(value) else math.inf)
            if abs(best - 1) < SLOPE / 10:
                break
        return best

    def feels(self, names: set[str]) -> bool:
        """Whether weights that are moved a little, each by another number, change the loss."""
        random = np.random.default_rng(2)
        moves = {}
        for name in sorted(names):
            weight = self.weights[name]
            size = float(np.abs(weight).mean()) or 1.0
            moves[name] = size * random.standard_normal(weight.shape)
        before, after = self(0.0, moves), self(NUDGE, moves)
        return abs(after - before) > ROUNDING * abs(before)


def measured(folder: pathlib.Path, number: int, report: dict) -> dict:
    """Runs a training graph."""
    trained = folder / f"training{number}.onnx"
    start = time.monotonic()
    inputs = dict(np.load(folder / "inputs.npz")) | {report["targets"][0]: np.load(folder / f"target{number}.npy")}
    notes = []
    names, ports = map(list, zip(*report["gradients"], strict=True))

    def once(*, optimized: bool):
        session = load(trained, optimized=optimized)
        known = {port.name for port in session.get_inputs()}
        feeds = {name: value for name, value in inputs.items() if name in known}
        return session, feeds, session.run([report["loss"], *ports], feeds)

    try:
        session, feeds, (loss, *values) = once(optimized=True)
    except Exception as error:  # Whatever ONNX Runtime raises.
        if "alloc" in str(error):
            raise
        notes.append(f"ONNX Runtime only without its optimizations: {str(error).splitlines()[0][:200]}")
        session, feeds, (loss, *values) = once(optimized=False)
    seconds = time.monotonic() - start
    gradients = dict(zip(names, values, strict=True))
    graph = onnx.load(trained, load_external_data=False).graph
    dims = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    result = {
        "loss": float(loss),
        "endless": {name for name, value in gradients.items() if not np.isfinite(value).all()},
        "zero": {name for name, value in gradients.items() if not value.any()},
        "misshapen": {name for name, value in gradients.items() if value.shape != dims[name]},
        "weights": set(names),
        "seconds": seconds,
        "slope": "",
        "felt": False,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    if math.isfinite(result["loss"]) and not result["endless"] and not result["misshapen"]:
        try:
            fixed = held(trained, feeds, report["loss"], CHOICES)
            if fixed is not None:
                notes.append(f"slope with {len(fixed[1])} choices held")
                session, feeds = load(fixed[0], optimized=False), feeds | fixed[1]
            moved = Moved(session, feeds, report, trained)
            result["slope"] = moved.slope(result["loss"], gradients)
            result["felt"] = bool(result["zero"]) and moved.feels(result["zero"])
            if result["felt"] and (fixed := held(trained, feeds, report["loss"], CHOICES | COMPARISONS)) is not None:
                session = load(fixed[0], optimized=False)
                result["felt"] = Moved(session, feeds | fixed[1], report, trained).feels(result["zero"])
                if not result["felt"]:
                    notes.append("of those with zero gradient, some are compared only")
        except Exception as error:  # Whatever ONNX Runtime raises.
            notes.append(f"no slope: {str(error).splitlines()[0][:160]}")
    return result | {"notes": notes}


def columns(source: pathlib.Path, folder: pathlib.Path, known: dict, options: argparse.Namespace) -> list[str]:
    """The columns from the weights to the note."""
    facts, _ = apart(options.memory, prepared, source, folder, known, options)
    weights, outputs = facts["weights"], facts["outputs"]
    notes, slopes, seconds, peaks = [], [], [0.0, 0.0], [0, 0]
    got, zero, endless, faults, used = set(), set(), set(), [], []
    loss_names, refused = [], {}
    for number, output in enumerate(outputs):
        if number and not (output["leads"] - got):
            continue
        if not output["size"]:
            notes.append(f"{output['name']} is empty")
            continue
        trained = folder / f"training{number}.onnx"
        words = ["-o", trained, "--loss", output["loss"], *facts["shapes"]]
        words = [options.program, "differentiate", folder / f"dense{number}.onnx", *words]
        start = time.monotonic()
        (report, problem), peak = apart(options.memory, functools.partial(command, limit=options.limit), *words)
        seconds[0] += time.monotonic() - start
        peaks[0] = max(peaks[0], peak)
        if report is None:
            kind = re.sub(r" `[^`]*`| \(\d+ such\)", "", short(problem))
            refused.setdefault(kind, (output["name"], short(problem)))
            continue
        try:
            run, _ = apart(options.memory, measured, folder, number, report)
        except RuntimeError as error:
            faults.append(f"{output['name']}: {error}" if number else str(error))
            continue
        finally:
            for file in folder.glob(f"training{number}.*"):
                file.unlink()
        used.append(output["name"])
        loss_names.append(output["loss"])
        seconds[1] += run["seconds"]
        peaks[1] = max(peaks[1], run["peak"])
        # A weight is zero only if it is so for each loss.
        zero = (zero & run["zero"]) | (run["zero"] - got) | (zero - run["weights"])
        got |= run["weights"]
        endless |= run["endless"]
        notes += [note for note in run["notes"] if note not in notes]
        if run["slope"] != "":
            slopes.append(run["slope"])
        if not math.isfinite(run["loss"]):
            faults.append(f"the loss is {run['loss']}")
        if run["felt"]:
            faults.append(f"the loss of {output['name']} changes with weights whose gradient is zero")
        if run["misshapen"]:
            faults.append(f"another shape than the weight: {few(sorted(run['misshapen']))}")
    total = weights.keys() | got
    leads = set().union(*(output["leads"] for output in outputs)) if outputs else set()
    missing = total - got
    if used and not refused:
        aside, halves = missing - leads, {name for name in missing & leads if weights[name]}
        if aside:
            notes.append(f"leads to no float output: {few(sorted(aside))}")
        if halves:
            notes.append(f"{weights[min(halves)]} is not trained: {few(sorted(halves))}")
        if stopped := missing - aside - halves:
            kinds = sorted({kind for name in stopped for kind in facts["readers"][name]})
            faults.append(f"no gradient for {few(sorted(stopped))}, read by {', '.join(kinds)}")
    if endless:
        faults.append(f"not finite: {few(sorted(endless))}")
    if zero:
        notes.append(f"zero: {few(sorted(zero))}")
    if got and zero >= got:
        faults.append("all gradients are zero")
    worst = max(slopes, key=lambda value: abs(value - 1) if math.isfinite(value) else math.inf, default="")
    if worst != "" and not abs(worst - 1) <= SLOPE:
        faults.append("the loss does not follow the gradient")
    if len(used) > 1:
        notes.insert(0, f"{len(used)} losses: {', '.join(used)}")
    # The reasons of a second output are said if it is the only one to have them.
    first = outputs[0]["name"] if outputs else ""
    reasons = [reason if name == first else f"{name}: {reason}" for name, reason in refused.values()]
    verdict = "FAILS: " if faults else "REFUSED: " if refused else "passes"
    verdict += "; ".join(faults + reasons)
    note = "; ".join([verdict, *dict.fromkeys(loss_names), *notes])
    finite = str(len(got - endless)) if used else ""
    slope_text = f"{worst:.4f}" if worst != "" else ""
    times = f"{seconds[0]:.1f} + {seconds[1]:.1f}"
    zeros = str(len(zero)) if used else ""
    return [f"{len(got)} / {len(total)}", finite, zeros, slope_text, times, f"{peaks[0]} + {peaks[1]}", note]


def row(source: pathlib.Path, known: dict, options: argparse.Namespace) -> str:
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        try:
            cells = columns(source, pathlib.Path(name), known, options)
        except RuntimeError as error:
            cells = [""] * 6 + [f"FAILS: {error}"]
        cells[-1] = cells[-1].replace("|", "/").replace(name, "").replace("\n", " ")
    return f"| {source.stem} | {known.get('task', options.task)} | {' | '.join(cells)} |"


def sources(paths: list[pathlib.Path]):
    """The models of files and folders, with what a manifest says of them; those of a folder by size."""
    for path in paths:
        folder = path if path.is_dir() else path.parent
        manifest = folder / "MANIFEST.json"
        known = json.loads(manifest.read_text())["models"] if manifest.exists() else {}
        files = [path] if path.is_file() else path.glob("*.onnx")
        size = {file: known.get(file.stem, {}).get("onnx_bytes", file.stat().st_size) for file in files}
        for file in sorted(size, key=lambda file: (size[file], file.name)):
            yield file, known.get(file.stem, {})


def summary(rows: dict[str, str]) -> str:
    """A line for each task."""
    tasks = collections.defaultdict(list)
    for line in rows.values():
        cells = [cell.strip() for cell in line.split("|")]
        tasks[cells[2]].append(cells)
    lines = []
    for task, models in sorted(tasks.items()):
        verdicts = [sum(cells[9].startswith(word) for cells in models) for word in ("passes", "REFUSED", "FAILS")]
        counts = [tuple(map(int, cells[3].split("/"))) for cells in models if cells[3]]
        got, total = map(sum, zip(*counts, strict=True)) if counts else (0, 0)
        lines.append(f"| {task} | {len(models)} | {' | '.join(map(str, verdicts))} | {got} / {total} |")
    return SUMMARY + "\n".join(lines) + "\n\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path, help="models, or folders of models")
    parser.add_argument("--table", type=pathlib.Path, default=ROOT / "docs/training.md")
    parser.add_argument("--program", default=str(ROOT / "target/release/safe-onnx"))
    parser.add_argument("--task", default="other", help="the task of models that no manifest tells it of")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--free", type=int, default=16, help="size of free dimensions that are not the first axis")
    parser.add_argument("--memory", type=lambda text: int(float(text) * 1e9), default=14_000_000_000, help="in GB")
    parser.add_argument("--scratch", type=pathlib.Path, help="folder for temporary files")
    parser.add_argument("--limit", type=int, default=1800, help="seconds that a command may take")
    parser.add_argument("--again", action="store_true", help="run models that the table has already")
    options = parser.parse_args()
    text = options.table.read_text() if options.table.exists() else ""
    front, _, body = text.partition(HEAD)
    front = front.partition(SUMMARY)[0]
    rows = {line.split("|")[1].strip(): line for line in body.splitlines() if line.startswith("|")}
    for path, known in sources(options.models):
        if path.stem in rows and not options.again:
            continue
        rows[path.stem] = row(path, known, options)
        print(rows[path.stem], flush=True)
        options.table.parent.mkdir(exist_ok=True)
        table = "\n".join(rows[name] for name in sorted(rows))
        options.table.write_text(f"{front}{summary(rows)}{HEAD}{table}\n")
    return 1 if any("FAILS" in line for line in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
