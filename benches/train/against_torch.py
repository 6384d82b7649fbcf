#!/usr/bin/env python3
"""Compares the milliseconds of one whole step of SAFE with PyTorch's, in float32 on the same processor.

For each of six models: PyTorch exports it with a free batch, `cargo bench --bench train` builds the program that
trains it as `compress` does, and rounds of a few steps alternate between that program and PyTorch's eager mode, so
that whatever else the machine does falls on both. The ratio is the median over the rounds of ours by PyTorch's:
above 1 means that safe-onnx is slower. A step is the gradient, the ascent of global radius, the gradient there, and
the descent with momentum, weight decay and penalty; normalisation over the batch uses the batch's own statistics.
Both start from the same weights on the same batch, and the losses of the first steps must agree. Memory is the most
that a process held which does nothing but train; PyTorch's is taken in a process of its own.

A number of threads that the machine does not have free falls harder on the one that spins: look at one thread too.
--threads 1,2 repeats all for each number of threads; --batches takes half and twice the batch too. Needs the packages
numpy, onnx, onnxruntime, torch and torchvision; nothing is downloaded.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RADIUS, PENALTY, MOMENTUM, DECAY, RATE = 0.05, 1e-3, 0.9, 1e-4, 1e-3
WARMUP = 2
# Of the losses of the first steps, relative. Fresh deep networks make much of rounding: after one step on the gradients
# of ResNet-50 at batch 8, PyTorch in float32 is 0.7 % from PyTorch in float64.
TOLERANCES = (1e-4, 0.02)


# The models


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(2))
        self.shortcut = nn.Sequential()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.norms[0](self.first(x)).relu()
        return (self.norms[1](self.second(y)) + self.shortcut(x)).relu()


class SmallResidual(nn.Sequential):
    """Three residual blocks for small grey images."""

    def __init__(self):
        blocks = [Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2)]
        stem = [nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        super().__init__(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class Layer(nn.Module):
    """A layer of a transformer that normalises first."""

    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.mixed, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        mixed = self.mixed(self.norms[0](x)).reshape(-1, length, 3, self.heads, width // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        x = x + self.joined(attended.transpose(1, 2).reshape(-1, length, width))
        return x + self.narrow(F.gelu(self.wide(self.norms[1](x))))


class VisionTransformer(nn.Module):
    def __init__(self, side=224, patch=16, width=192, layers=12, heads=3, classes=1000):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.places = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, width) * 0.02)
        self.layers = nn.Sequential(*(Layer(width, heads, False) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.norm(self.layers(x))[:, 0])


class Decoder(nn.Module):
    def __init__(self, width=384, layers=6, heads=6, vocabulary=8192, length=128):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.randn(length, width) * 0.02)
        self.layers = nn.Sequential(*(Layer(width, heads, True) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids):
        return self.head(self.norm(self.layers(self.tokens(ids) + self.places)))


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, the dimensions of one sample, its batch; and its vocabulary, if it is a language model."""

    build: Callable[[], nn.Module]
    sample: tuple[int, ...]
    batch: int
    classes: int
    language: bool = False


CASES = {
    "fmnist_resnet8": Case(SmallResidual, (1, 28, 28), 128, 10),
    "resnet18": Case(torchvision.models.resnet18, (3, 64, 64), 32, 1000),
    "resnet50": Case(torchvision.models.resnet50, (3, 96, 96), 16, 1000),
    "mobilenet_v2": Case(lambda: torchvision.models.mobilenet_v2(dropout=0.0), (3, 96, 96), 32, 1000),
    "vit_tiny": Case(VisionTransformer, (3, 224, 224), 32, 1000),
    "gpt": Case(Decoder, (128,), 8, 8192, language=True),
}


def built(case: Case) -> nn.Module:
    torch.manual_seed(0)
    model = case.build()
    with torch.no_grad():
        # Exporters store equal vectors once, and fresh ones are equal.
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.01 * torch.randn_like(tensor)).add_(1e-3 * torch.rand_like(tensor))
    return model


def batch_of(case: Case, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    if case.language:
        tokens = torch.randint(case.classes, (size, *case.sample), generator=random)
        return tokens, torch.cat([tokens[:, 1:], torch.full((size, 1), -100)], 1)
    pixels = torch.randn(size, *case.sample, generator=random)
    return pixels, torch.randint(case.classes, (size,), generator=random)


def export(case: Case, path: pathlib.Path) -> None:
    """Writes the model so that its normalisations stay what they are."""
    model = built(case).eval()
    normalised = any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    training = torch.onnx.TrainingMode.PRESERVE if normalised else torch.onnx.TrainingMode.EVAL
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (batch_of(case, 2)[0],), str(path), dynamo=False, opset_version=17, input_names=["x"],
            output_names=["y"], dynamic_axes={"x": {0: "N"}, "y": {0: "N"}}, training=training,
            do_constant_folding=not normalised,
        )


# The two sides


class Torch:
    """Steps of SAFE in eager mode."""

    def __init__(self, case: Case, size: int):
        self.model, self.language = built(case).train(), case.language
        self.inputs, self.target = batch_of(case, size)
        self.x = list(self.model.parameters())
        self.matrices = [n for n, x in enumerate(self.x) if sum(dim > 1 for dim in x.shape) > 1]
        self.z = [self.x[n].detach().clone() for n in self.matrices]
        self.u = [torch.zeros_like(z) for z in self.z]
        self.momentum = [torch.zeros_like(x) for x in self.x]
        self.losses: list[float] = []

    def gradient(self) -> tuple[float, list[torch.Tensor]]:
        y = self.model(self.inputs)
        loss = F.cross_entropy(y.flatten(0, 1) if self.language else y, self.target.flatten())
        gradients = list(torch.autograd.grad(loss, self.x))
        return loss.item(), gradients

    def step(self) -> None:
        loss, gradients = self.gradient()
        with torch.no_grad():
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            ascent = torch._foreach_mul(gradients, RADIUS / (norm + 1e-12))
            torch._foreach_add_(self.x, ascent)
        del gradients
        _, direction = self.gradient()
        with torch.no_grad():
            torch._foreach_sub_(self.x, ascent)
            del ascent
            matrices, among = [self.x[n] for n in self.matrices], [direction[n] for n in self.matrices]
            pull = torch._foreach_sub(matrices, self.z)
            torch._foreach_add_(pull, self.u)
            torch._foreach_add_(among, pull, alpha=PENALTY)
            torch._foreach_add_(among, matrices, alpha=DECAY)
            torch._foreach_mul_(self.momentum, MOMENTUM)
            torch._foreach_add_(self.momentum, direction)
            torch._foreach_add_(self.x, self.momentum, alpha=-RATE)
        self.losses.append(loss)

    def round(self, steps: int) -> float:
        """Milliseconds of a step."""
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        return (time.perf_counter() - start) * 1e3 / steps


class Ours:
    """The program, which waits for each round."""

    def __init__(self, program: str, case: Case, model: pathlib.Path, size: int, threads: int, steps: int):
        data = model.with_suffix(".data")
        inputs, target = batch_of(case, size)
        given = [inputs] if case.language else [inputs, target]
        data.write_bytes(b"".join(tensor.numpy().tobytes() for tensor in given))
        options = {
            "batch": size, "threads": threads, "steps": steps, "warmup": WARMUP, "data": data, "radius": RADIUS,
            "penalty": PENALTY, "momentum": MOMENTUM, "weight-decay": DECAY, "learning-rate": RATE,
            "loss": "next-token" if case.language else "ce",
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        call = [program, str(model), "--on-request", *words]
        self.process = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the program ended with {self.process.wait()}")
        return json.loads(line)

    def round(self) -> float:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return statistics.fmean(self.answer()["ms"])

    def close(self) -> dict:
        self.process.stdin.close()
        report = self.answer()
        self.process.wait()
        return report


def peak_of_this_process() -> float:
    """Megabytes. What getrusage gives would count the parent's memory at the start."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return math.nan


def peak_of_torch(name: str, size: int, threads: int) -> tuple[float, float]:
    """Megabytes before there is a model, and with the training of one."""
    call = [sys.executable, __file__, "--peak-of", name, "--batch", str(size), "--threads", str(threads)]
    words = subprocess.run(call, check=True, capture_output=True, text=True).stdout.split()
    return float(words[0]), float(words[1])


def compare(name: str, model: pathlib.Path, size: int, threads: int, args: argparse.Namespace) -> dict:
    case = CASES[name]
    torch.set_num_threads(threads)
    theirs = Torch(case, size)
    ours = Ours(args.program, case, model, size, threads, args.steps)
    theirs.round(WARMUP)
    pairs = []
    ours.round(), theirs.round(args.steps)
    for number in range(args.rounds):
        if number % 2:
            after = theirs.round(args.steps)
            pairs.append((ours.round(), after))
        else:
            before = ours.round()
            pairs.append((before, theirs.round(args.steps)))
    report = ours.close()
    # A constant of one element may count as a weight.
    weights, count = sum(x.numel() for x in theirs.x), len(theirs.x)
    extra = report["tensors"] - count
    if extra < 0 or report["weights"] != weights + extra:
        found = f"{report['tensors']} tensors of {report['weights']} weights"
        raise SystemExit(f"{name}: {found}, not {count} of {weights}")
    apart = [abs(a - b) / abs(b) for a, b in zip(report["losses"], theirs.losses)][: len(TOLERANCES)]
    if any(a > tolerance for a, tolerance in zip(apart, TOLERANCES, strict=True)):
        raise SystemExit(f"{name}: the losses {report['losses'][:2]} are not {theirs.losses[:2]}")
    del theirs
    ours_mb = report["peak_bytes"] / 1e6 if report["peak_bytes"] else math.nan
    idle_mb, torch_mb = (math.nan, math.nan) if args.no_memory else peak_of_torch(name, size, threads)
    return {
        "model": name, "batch": size, "threads": threads, "ours_ms": statistics.median(a for a, _ in pairs),
        "torch_ms": statistics.median(b for _, b in pairs), "ratio": statistics.median(a / b for a, b in pairs),
        "ratios": [a / b for a, b in pairs], "ours_mb": ours_mb, "torch_mb": torch_mb,
        "torch_idle_mb": idle_mb, "load_ms": report["load_ms"], "losses_apart": apart,
        "differentiate_ms": report["differentiate_ms"], "extra_weights": extra, "engine": report["engine"],
        "torch": torch.__version__,
    }


# The program and the table


def built_program() -> str:
    call = ["cargo", "bench", "--bench", "train", "--no-run", "--message-format", "json", "--manifest-path"]
    done = subprocess.run([*call, str(ROOT / "Cargo.toml")], check=True, stdout=subprocess.PIPE, text=True)
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    named = [message["executable"] for message in messages if message.get("target", {}).get("name") == "train"]
    return next(path for path in reversed(named) if path)


@contextlib.contextmanager
def folder(given: pathlib.Path | None) -> Iterator[pathlib.Path]:
    if given is None:
        with tempfile.TemporaryDirectory() as made:
            yield pathlib.Path(made)
    else:
        given.mkdir(parents=True, exist_ok=True)
        yield given


HEAD = (
    "| model | batch | threads | ours ms | PyTorch ms | ratio | range | samples/s ours | PyTorch | ours MB | "
    "PyTorch MB |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def row(seen: dict) -> str:
    speed = [seen["batch"] / seen[side] * 1e3 for side in ("ours_ms", "torch_ms")]
    return (
        f"| {seen['model']} | {seen['batch']} | {seen['threads']} | {seen['ours_ms']:.1f} | {seen['torch_ms']:.1f} | "
        f"{seen['ratio']:.2f} | {min(seen['ratios']):.2f}-{max(seen['ratios']):.2f} | "
        f"{speed[0]:.1f} | {speed[1]:.1f} | {seen['ours_mb']:.0f} | {seen['torch_mb']:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(CASES), help="separated by commas")
    parser.add_argument("--threads", default=str(min(2, os.cpu_count() or 1)), help="separated by commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="of a round")
    parser.add_argument("--batches", action="store_true", help="half and twice the batch too")
    parser.add_argument("--no-memory", action="store_true", help="leaves PyTorch's memory out")
    parser.add_argument("--folder", type=pathlib.Path, help="keeps the exported models there")
    parser.add_argument("--program", help="the program, else cargo builds it")
    parser.add_argument("--json", type=pathlib.Path, help="writes all figures there")
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    threads = [int(word) for word in args.threads.split(",")]
    if args.peak_of:
        torch.set_num_threads(threads[0])
        idle = peak_of_this_process()
        Torch(CASES[args.peak_of], args.batch).round(args.steps)
        print(idle, peak_of_this_process())
        return
    args.program = args.program or built_program()
    rows = []
    print(HEAD, flush=True)
    with folder(args.folder) as kept:
        for name in args.models.split(","):
            case, model = CASES[name], kept / f"{name}.onnx"
            export(case, model)
            sizes = [case.batch // 2, case.batch, case.batch * 2] if args.batches else [case.batch]
            for size in sizes:
                for count in threads:
                    rows.append(compare(name, model, size, count, args))
                    print(row(rows[-1]), flush=True)
    for count in threads:
        ratios = [seen["ratio"] for seen in rows if seen["threads"] == count]
        print(f"geometric mean of the ratios on {count} threads: {statistics.geometric_mean(ratios):.3f}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
