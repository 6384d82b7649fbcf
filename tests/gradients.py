#!/usr/bin/env python3
"""Holds training graphs of whole models against PyTorch's gradients.

For each model: `safe-onnx differentiate` writes the training graph, ONNX Runtime computes the loss and all gradients
with it in float32, and PyTorch computes the same in float64 from the model itself, node by node, each ONNX operator
by PyTorch's own function and the gradients by its autograd. The table has, for each model, the relative difference of
the losses, the number of trained initializers, the worst of their gradients with its name, and the seconds taken.

The error of a gradient is its largest difference from PyTorch's over the largest value of PyTorch's. Gradients that
are truly zero, such as that of a bias ahead of a normalisation, are measured against a millionth of the largest
gradient of the model. Where the worst error is above 1e-4, PyTorch computes all once more in float32 (or in float16,
for a model of that type), and the worst error of that is given too; and the training graph is evaluated by PyTorch's
functions in float64, which leaves no rounding, so that no unit near a kink such as ReLU's falls on another side, and
what it still differs by is an error of the graph. A row passes if its worst error is at most 1e-4 or ten times
PyTorch's own, or if the graph in float64 differs by at most 1e-6, and if it has every gradient that is not zero. A row
already in the table is kept unless --again is given.

Outputs [N, C] get cross-entropy, others the mean squared error, unless --loss says something else. Free dimensions are
2 on the first axis and --free on the others. Needs the packages onnx, onnxruntime and torch.
"""

import argparse
import collections
import dataclasses
import functools
import gc
import math
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import torch
import torch.nn.functional as F

from coverage import ROOT, command, few, fill, inputs_of

HEAD = "| model | loss | weights | worst | torch in float32 | seconds | note |\n|---|---|---|---|---|---|---|\n"
TOLERANCE = 1e-4
EXACT = 1e-6
VANISHING = 1e-12
FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}


class NotInterpretedError(Exception):
    """An operator, or a use of one, that the oracle does not know."""


@dataclasses.dataclass
class Call:
    """What an operator needs to know besides its inputs."""

    name: str
    attributes: dict
    outputs: int
    opset: int
    dtype: torch.dtype
    body: Callable

    def get(self, name: str, default=None):
        return self.attributes.get(name, default)

    def axes(self, given: torch.Tensor | None, name: str = "axes") -> list[int] | None:
        """Axes, which older operator sets have as an attribute and newer ones as an input."""
        return given.reshape(-1).tolist() if given is not None else self.get(name)

    def without(self, what: str) -> NotInterpretedError:
        return NotInterpretedError(f"{self.name} with {what}")


OPERATORS: dict[str, Callable] = {}


def operator(*names: str):
    def register(function: Callable) -> Callable:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register


def plain(**functions: Callable) -> None:
    """Operators that are one function of their inputs."""
    for name, function in functions.items():
        OPERATORS[name] = lambda call, *values, function=function: function(*values)


plain(
    Abs=torch.abs, Add=torch.add, And=torch.logical_and, Acos=torch.acos, Asin=torch.asin, Atan=torch.atan,
    Ceil=torch.ceil, Cos=torch.cos, Cosh=torch.cosh, Equal=torch.eq, Erf=torch.erf, Exp=torch.exp, Floor=torch.floor,
    Greater=torch.gt, GreaterOrEqual=torch.ge, HardSwish=F.hardswish, Identity=lambda x: x, IsNaN=torch.isnan,
    Less=torch.lt, LessOrEqual=torch.le, Log=torch.log, MatMul=torch.matmul, Mish=F.mish, Mul=torch.mul,
    Neg=torch.neg, Not=torch.logical_not, Or=torch.logical_or, Reciprocal=torch.reciprocal, Relu=F.relu,
    Round=torch.round, Sigmoid=torch.sigmoid, Sign=torch.sign, Sin=torch.sin, Sinh=torch.sinh, Softplus=F.softplus,
    Softsign=F.softsign, Sqrt=torch.sqrt, Sub=torch.sub, Sum=lambda *x: functools.reduce(torch.add, x), Tan=torch.tan,
    Tanh=torch.tanh, Where=torch.where, Xor=torch.logical_xor, Max=lambda *x: functools.reduce(torch.maximum, x),
    Min=lambda *x: functools.reduce(torch.minimum, x), Dropout=lambda x, *_: x,
    Mean=lambda *x: functools.reduce(torch.add, x) / len(x), Size=lambda x: torch.tensor(x.numel()),
    Expand=lambda x, shape: x.expand(torch.broadcast_shapes(x.shape, shape.tolist())),
    Tile=lambda x, repeats: x.repeat(repeats.tolist()), NonZero=lambda x: x.nonzero().T,
    Range=lambda start, limit, delta: torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype),
    PRelu=lambda x, slope: torch.where(x < 0, x * slope, x), IsInf=torch.isinf,
    GlobalAveragePool=lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True),
    GlobalMaxPool=lambda x: x.flatten(2).max(2).values.reshape(*x.shape[:2], *[1] * (x.ndim - 2)),
    SequenceConstruct=lambda *x: list(x), SequenceAt=lambda x, at: x[at.item()],
    SequenceLength=lambda x: torch.tensor(len(x)),
)


# Element by element


@operator("Div")
def divide(call: Call, x, y):
    return torch.div(x, y) if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


@operator("Mod")
def modulo(call: Call, x, y):
    return torch.fmod(x, y) if call.get("fmod", 0) else torch.remainder(x, y)


@operator("Pow")
def power(call: Call, x, y):
    return torch.pow(x, y).to(x.dtype)


@operator("Clip")
def clip(call: Call, x, low=None, high=None):
    low = call.get("min") if low is None else low
    high = call.get("max") if high is None else high
    return x if low is None and high is None else torch.clamp(x, low, high)


@operator("Gelu")
def gelu(call: Call, x):
    return F.gelu(x, approximate=call.get("approximate", "none"))


@operator("HardSigmoid")
def hard_sigmoid(call: Call, x):
    return torch.clamp(x * call.get("alpha", 0.2) + call.get("beta", 0.5), 0, 1)


@operator("Elu", "LeakyRelu", "Celu")
def with_alpha(call: Call, x):
    function = {"Elu": F.elu, "LeakyRelu": F.leaky_relu, "Celu": F.celu}[call.name]
    return function(x, call.get("alpha", 0.01 if call.name == "LeakyRelu" else 1.0))


@operator("Softmax", "LogSoftmax")
def softmax(call: Call, x):
    function = F.softmax if call.name == "Softmax" else F.log_softmax
    if call.opset >= 13:
        return function(x, call.get("axis", -1))
    axis = call.get("axis", 1) % x.ndim
    return function(x.flatten(axis), -1).reshape(x.shape)


@operator("Cast")
def cast(call: Call, x):
    kind = call.get("to")
    return x.to(call.dtype if kind in FLOATS else torch_type(kind))


@operator("CastLike")
def cast_like(call: Call, x, like):
    return x.to(like.dtype)


# Shapes


@operator("Constant")
def constant(call: Call):
    for name, value in call.attributes.items():
        if name == "value":
            return tensor_of(value, call.dtype)
        if name in ("value_int", "value_ints"):
            return torch.tensor(value)
        if name in ("value_float", "value_floats"):
            return torch.tensor(value, dtype=call.dtype)
    raise call.without("a value of this kind")


@operator("ConstantOfShape")
def constant_of_shape(call: Call, shape):
    value = call.get("value")
    value = torch.zeros(1, dtype=call.dtype) if value is None else tensor_of(value, call.dtype)
    return torch.full(shape.tolist(), value.item(), dtype=value.dtype)


@operator("Shape")
def shape_of(call: Call, x):
    return torch.tensor(x.shape[slice(call.get("start", 0), call.get("end"))], dtype=torch.int64)


@operator("Reshape")
def reshape(call: Call, x, shape):
    keeps = not call.get("allowzero", 0)
    return x.reshape([x.shape[axis] if size == 0 and keeps else size for axis, size in enumerate(shape.tolist())])


@operator("Flatten")
def flatten(call: Call, x):
    axis = call.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Squeeze")
def squeeze(call: Call, x, axes=None):
    axes = call.axes(axes)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@operator("Unsqueeze")
def unsqueeze(call: Call, x, axes=None):
    axes = call.axes(axes)
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Transpose")
def transpose(call: Call, x):
    return x.permute(call.get("perm", list(range(x.ndim))[::-1]))


@operator("Concat")
def concat(call: Call, *values):
    return torch.cat(values, call.get("axis"))


@operator("Slice")
def slice_of(call: Call, x, starts=None, ends=None, axes=None, steps=None):
    starts, ends = call.axes(starts, "starts"), call.axes(ends, "ends")
    axes, steps = call.axes(axes) or range(len(starts)), call.axes(steps, "steps") or [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = x.shape[axis]
        kept = slice(start, None if step < 0 and end < -size else end, step).indices(size)
        if step == 1:
            x = x.narrow(axis, kept[0], max(kept[1] - kept[0], 0))
        else:
            x = x.index_select(axis, torch.tensor(list(range(*kept)), dtype=torch.int64))
    return x


@operator("Split")
def split(call: Call, x, sizes=None):
    axis = call.get("axis", 0)
    sizes = call.axes(sizes, "split")
    return x.split(sizes if sizes is not None else math.ceil(x.shape[axis] / call.outputs), axis)


@operator("Pad")
def pad(call: Call, x, pads=None, value=None, axes=None):
    pads = call.axes(pads, "pads")
    axes = axes.tolist() if axes is not None else range(x.ndim)
    widths = [(0, 0)] * x.ndim
    for at, axis in enumerate(axes):
        widths[axis] = (pads[at], pads[at + len(pads) // 2])
    mode = {"edge": "replicate"}.get(call.get("mode", "constant"), call.get("mode", "constant"))
    if mode == "constant":
        value = call.get("value", 0.0) if value is None else value.item()
        return F.pad(x, [width for pair in widths[::-1] for width in pair], value=value)
    padded = [axis for axis in range(x.ndim) if any(widths[axis])]
    if not padded:
        return x
    # PyTorch wants a batch, the channels, and then the padded axes.
    others = [axis for axis in range(x.ndim) if axis not in padded]
    order = others + padded
    moved = x.permute(order)
    flat = moved.reshape(1, -1, *moved.shape[len(others) :])
    flat = F.pad(flat, [width for axis in padded[::-1] for width in widths[axis]], mode=mode)
    return flat.reshape(*moved.shape[: len(others)], *flat.shape[2:]).permute(np.argsort(order).tolist())


# Picking and scattering


def counted(at: torch.Tensor, size: int) -> torch.Tensor:
    """Indices, of which negative ones count from the back."""
    return torch.where(at < 0, at + size, at).long()


@operator("Gather")
def gather(call: Call, x, at):
    axis = call.get("axis", 0) % x.ndim
    picked = x.index_select(axis, counted(at, x.shape[axis]).reshape(-1))
    return picked.reshape([*x.shape[:axis], *at.shape, *x.shape[axis + 1 :]])


@operator("GatherElements")
def gather_elements(call: Call, x, at):
    axis = call.get("axis", 0)
    return torch.gather(x, axis, counted(at, x.shape[axis]))


def coordinates(x: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(counted(at[..., axis], x.shape[axis]) for axis in range(at.shape[-1]))


@operator("GatherND")
def gather_nd(call: Call, x, at):
    batch = call.get("batch_dims", 0)
    if batch == 0:
        return x[coordinates(x, at)]
    rows, places = x.reshape(-1, *x.shape[batch:]), at.reshape(-1, *at.shape[batch:])
    picked = torch.stack([row[coordinates(row, place)] for row, place in zip(rows, places, strict=True)])
    return picked.reshape([*x.shape[:batch], *picked.shape[1:]])


@operator("ScatterND")
def scatter_nd(call: Call, x, at, updates):
    reduction = call.get("reduction", "none")
    if reduction not in ("none", "add"):
        raise call.without(f"reduction {reduction}")
    return x.index_put(coordinates(x, at), updates, accumulate=reduction == "add")


@operator("ScatterElements")
def scatter_elements(call: Call, x, at, updates):
    axis, reduction = call.get("axis", 0), call.get("reduction", "none")
    if reduction not in ("none", "add"):
        raise call.without(f"reduction {reduction}")
    return (x.scatter if reduction == "none" else x.scatter_add)(axis, counted(at, x.shape[axis]), updates)


@operator("OneHot")
def one_hot(call: Call, at, depth, values):
    size, axis = int(depth.item()), call.get("axis", -1)
    hot = F.one_hot(counted(at, size), size).movedim(-1, axis)
    return torch.where(hot.bool(), values[1], values[0])


@operator("Trilu")
def triangle(call: Call, x, k=None):
    k = 0 if k is None else k.item()
    return torch.triu(x, k) if call.get("upper", 1) else torch.tril(x, k)


@operator("EyeLike")
def eye_like(call: Call, x):
    kind = call.get("dtype")
    dtype = x.dtype if kind is None else call.dtype if kind in FLOATS else torch_type(kind)
    return torch.ones(x.shape, dtype=dtype).tril(call.get("k", 0)).triu(call.get("k", 0))


@operator("TopK")
def top_k(call: Call, x, k):
    return tuple(torch.topk(x, k.item(), call.get("axis", -1), bool(call.get("largest", 1))))


@operator("ArgMax", "ArgMin")
def arg(call: Call, x):
    function = torch.argmax if call.name == "ArgMax" else torch.argmin
    return function(x, call.get("axis", 0), keepdim=bool(call.get("keepdims", 1)))


@operator("CumSum")
def cumulative(call: Call, x, axis):
    if call.get("exclusive", 0) or call.get("reverse", 0):
        raise call.without("exclusive or reverse")
    return x.cumsum(axis.item(), dtype=x.dtype)


# Reductions


REDUCTIONS = {
    "ReduceMean": torch.mean,
    "ReduceSum": torch.sum,
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceL1": functools.partial(torch.linalg.vector_norm, ord=1),
    "ReduceL2": torch.linalg.vector_norm,
    "ReduceSumSquare": lambda x, dim, keepdim: x.square().sum(dim, keepdim=keepdim),
    "ReduceLogSumExp": torch.logsumexp,
}


@operator(*REDUCTIONS)
def reduce(call: Call, x, axes=None):
    axes = call.axes(axes)
    if not axes:
        if call.get("noop_with_empty_axes", 0):
            return x
        axes = range(x.ndim)
    return REDUCTIONS[call.name](x, dim=tuple(axes), keepdim=bool(call.get("keepdims", 1)))


@operator("ReduceProd")
def product(call: Call, x, axes=None):
    axes, keep = call.axes(axes), bool(call.get("keepdims", 1))
    for axis in sorted((axis % x.ndim for axis in (axes or range(x.ndim))), reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


# Layers


@operator("Gemm")
def gemm(call: Call, a, b, c=None):
    y = call.get("alpha", 1.0) * ((a.T if call.get("transA", 0) else a) @ (b.T if call.get("transB", 0) else b))
    return y if c is None else y + call.get("beta", 1.0) * c


@operator("Einsum")
def einsum(call: Call, *values):
    return torch.einsum(call.get("equation").replace(" ", ""), *values)


def windows(call: Call, x: torch.Tensor, kernel: list[int]) -> tuple[list, list, list, list]:
    """Strides, dilations, and the pads ahead and behind of a convolution or a pool."""
    rank = len(kernel)
    strides, dilations = call.get("strides", [1] * rank), call.get("dilations", [1] * rank)
    pads, kind = call.get("pads", [0] * 2 * rank), call.get("auto_pad", "NOTSET")
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        sizes = zip(x.shape[2:], kernel, strides, dilations, strict=True)
        total = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in sizes]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = less + more if kind == "SAME_UPPER" else more + less
    elif kind == "VALID":
        pads = [0] * 2 * rank
    return strides, dilations, pads[:rank], pads[rank:]


def padded(x: torch.Tensor, ahead: list[int], behind: list[int], value: float = 0.0) -> torch.Tensor:
    return F.pad(x, [width for pair in zip(ahead[::-1], behind[::-1], strict=True) for width in pair], value=value)


@operator("Conv")
def convolution(call: Call, x, weight, bias=None):
    strides, dilations, ahead, behind = windows(call, x, list(weight.shape[2:]))
    function = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.ndim]
    if ahead != behind:
        x, ahead = padded(x, ahead, behind), [0] * len(ahead)
    return function(x, weight, bias, strides, ahead, dilations, call.get("group", 1))


@operator("ConvTranspose")
def transposed_convolution(call: Call, x, weight, bias=None):
    if "output_shape" in call.attributes or call.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise call.without("output_shape or auto_pad")
    strides, dilations, ahead, behind = windows(call, x, list(weight.shape[2:]))
    function = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}[x.ndim]
    more = call.get("output_padding", [0] * len(strides))
    if ahead == behind:
        return function(x, weight, bias, strides, ahead, more, call.get("group", 1), dilations)
    y = function(x, weight, bias, strides, 0, more, call.get("group", 1), dilations)
    return padded(y, [-width for width in ahead], [-width for width in behind])


@operator("MaxPool")
def max_pool(call: Call, x):
    kernel = call.get("kernel_shape")
    strides, dilations, ahead, behind = windows(call, x, kernel)
    x_shape, shift = x.shape, [0] * len(ahead)
    if ahead != behind or any(2 * width > size for width, size in zip(ahead, kernel, strict=True)):
        x, shift, ahead = padded(x, ahead, behind, -math.inf), ahead, [0] * len(ahead)
    function = {3: F.max_pool1d, 4: F.max_pool2d, 5: F.max_pool3d}[x.ndim]
    ceiled, picks = bool(call.get("ceil_mode", 0)), call.outputs > 1
    pooled = function(x, kernel, strides, ahead, dilations, ceiled, picks)
    if not picks:
        return pooled
    if call.get("storage_order", 0):
        raise call.without("storage_order")
    # PyTorch counts within a channel, padding included; ONNX counts within the whole unpadded tensor.
    values, flat = pooled
    places = [at - by for at, by in zip(torch.unravel_index(flat, x.shape[2:]), shift, strict=True)]
    at = torch.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * len(kernel))
    for size, place in zip(x_shape[2:], places, strict=True):
        at = at * size + place
    return values, at


@operator("AveragePool")
def average_pool(call: Call, x):
    kernel = call.get("kernel_shape")
    strides, dilations, ahead, behind = windows(call, x, kernel)
    if any(dilation != 1 for dilation in dilations):
        raise call.without("dilations")
    function = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}[x.ndim]
    ceiled, counts = bool(call.get("ceil_mode", 0)), bool(call.get("count_include_pad", 0))
    if ahead == behind:
        return function(x, kernel, strides, ahead, ceiled, counts)
    pooled = function(padded(x, ahead, behind), kernel, strides, 0, ceiled)
    if counts:
        return pooled
    return pooled / function(padded(torch.ones_like(x), ahead, behind), kernel, strides, 0, ceiled)


@operator("BatchNormalization")
def batch_norm(call: Call, x, scale, bias, mean, variance):
    return F.batch_norm(x, mean.detach(), variance.detach(), scale, bias, training=False, eps=call.get("epsilon", 1e-5))


@operator("InstanceNormalization")
def instance_norm(call: Call, x, scale, bias):
    return F.instance_norm(x, weight=scale, bias=bias, eps=call.get("epsilon", 1e-5))


@operator("GroupNormalization")
def group_norm(call: Call, x, scale, bias):
    if call.opset < 21:
        repeat = x.shape[1] // scale.shape[0]
        scale, bias = scale.repeat_interleave(repeat), bias.repeat_interleave(repeat)
    return F.group_norm(x, call.get("num_groups"), scale, bias, call.get("epsilon", 1e-5))


@operator("LayerNormalization", "RMSNormalization")
def layer_norm(call: Call, x, scale, bias=None):
    shape, epsilon = x.shape[call.get("axis", -1) :], call.get("epsilon", 1e-5)
    if call.name == "RMSNormalization":
        return F.rms_norm(x, shape, eps=epsilon) * scale
    if scale.shape == shape and (bias is None or bias.shape == shape):
        return F.layer_norm(x, shape, scale, bias, epsilon)
    y = F.layer_norm(x, shape, eps=epsilon) * scale
    return y if bias is None else y + bias


@operator("Resize")
def resize(call: Call, x, region=None, scales=None, sizes=None):
    mode, place = call.get("mode", "nearest"), call.get("coordinate_transformation_mode", "half_pixel")
    if x.ndim < 3 or call.get("exclude_outside", 0) or "axes" in call.attributes:
        raise call.without("rank below 3, exclude_outside or axes")
    if sizes is not None and sizes.numel():
        if sizes.tolist()[:2] != list(x.shape[:2]):
            raise call.without("the first two axes")
        goal = {"size": sizes.tolist()[2:]}
    elif scales.tolist()[:2] == [1.0, 1.0]:
        goal = {"scale_factor": scales.tolist()[2:], "recompute_scale_factor": False}
    else:
        raise call.without("the first two axes")
    if mode == "nearest":
        rounding = call.get("nearest_mode", "round_prefer_floor")
        if place == "asymmetric" and rounding == "floor":
            return F.interpolate(x, mode="nearest", **goal)
        if place == "half_pixel" and rounding == "round_prefer_ceil":
            return F.interpolate(x, mode="nearest-exact", **goal)
        raise call.without(f"nearest, {place}, {rounding}")
    if place not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        raise call.without(f"{mode}, {place}")
    kind = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}[x.ndim], "cubic": "bicubic"}[mode]
    if mode == "cubic" and call.get("cubic_coeff_a", -0.75) != -0.75:
        raise call.without("another cubic_coeff_a")
    smooth = bool(call.get("antialias", 0))
    return F.interpolate(x, mode=kind, align_corners=place == "align_corners", antialias=smooth, **goal)


@operator("GridSample")
def grid_sample(call: Call, x, grid):
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(call.get("mode", "bilinear"), call.get("mode", "bilinear"))
    edge = call.get("padding_mode", "zeros")
    return F.grid_sample(x, grid, mode, edge, bool(call.get("align_corners", 0)))


@operator("DepthToSpace", "SpaceToDepth")
def depth_and_space(call: Call, x):
    block = call.get("blocksize")
    n, c, h, w = x.shape
    if call.name == "SpaceToDepth":
        parts = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
        return parts.reshape(n, c * block * block, h // block, w // block)
    if call.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    parts = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // block**2, h * block, w * block)


@operator("LSTM", "GRU")
def recurrent(call: Call, x, weight, recurrence, bias=None, lengths=None, hidden=None, cell=None, peepholes=None):
    """PyTorch has the gates in another order: i, f, c, o where ONNX has i, o, f, c, and r, z, n for z, r, n."""
    gru, both = call.name == "GRU", call.get("direction", "forward") == "bidirectional"
    known = {"hidden_size", "direction", "linear_before_reset", "layout"}
    if lengths is not None and (lengths < x.shape[0]).any() or peepholes is not None or call.get("layout", 0):
        raise call.without("sequence_lens, peepholes or layout")
    if set(call.attributes) - known or call.get("direction", "forward") == "reverse":
        raise call.without("reverse direction or other activations")
    if gru and not call.get("linear_before_reset", 0):
        raise call.without("linear_before_reset = 0")
    order = [1, 0, 2] if gru else [0, 2, 3, 1]
    directions, size = recurrence.shape[0], recurrence.shape[-1]

    def sort(gates: torch.Tensor) -> torch.Tensor:
        parts = gates.split(size)
        return torch.cat([parts[at] for at in order])

    bias = bias if bias is not None else x.new_zeros(directions, 2 * len(order) * size)
    flat = []
    for at in range(directions):
        first, second = bias[at].chunk(2)
        flat += [sort(weight[at]), sort(recurrence[at]), sort(first), sort(second)]
    start = hidden if hidden is not None else x.new_zeros(directions, x.shape[1], size)
    if gru:
        y, last = torch.gru(x, start, flat, True, 1, 0.0, False, both, False)
        rest = (last,)
    else:
        cell = cell if cell is not None else torch.zeros_like(start)
        y, *rest = torch.lstm(x, (start, cell), flat, True, 1, 0.0, False, both, False)
    return (y.reshape(*y.shape[:2], directions, size).transpose(1, 2), *rest)


# Sequences and control flow


@operator("SequenceEmpty")
def sequence_empty(call: Call):
    return []


@operator("SequenceInsert")
def sequence_insert(call: Call, values, value, at=None):
    at = len(values) if at is None else at.item()
    return [*values[:at], value, *values[at:]]


@operator("ConcatFromSequence")
def concat_from_sequence(call: Call, values):
    return (torch.stack if call.get("new_axis", 0) else torch.cat)(values, call.get("axis"))


@operator("SplitToSequence")
def split_to_sequence(call: Call, x, sizes=None):
    axis = call.get("axis", 0)
    if sizes is None:
        parts = x.split(1, axis)
        return list(parts) if call.get("keepdims", 1) else [part.squeeze(axis) for part in parts]
    return list(x.split(sizes.tolist() if sizes.ndim else sizes.item(), axis))


@operator("If")
def branch(call: Call, condition):
    return tuple(call.body(call.get("then_branch" if condition.item() else "else_branch"), []))


@operator("Loop")
def loop(call: Call, trips=None, condition=None, *state):
    body, state, scanned = call.get("body"), list(state), []
    count = math.inf if trips is None else trips.item()
    going, trip = True if condition is None else condition.item(), 0
    while going and trip < count:
        again, *results = call.body(body, [torch.tensor(trip), torch.tensor(going), *state])
        going, trip = again.item(), trip + 1
        state = results[: len(state)]
        scanned.append(results[len(state) :])
    if not scanned and len(body.output) > 1 + len(state):
        raise call.without("no trips but stacked outputs")
    return (*state, *(torch.stack(values) for values in zip(*scanned, strict=True)))


# The oracle


def torch_type(kind: int) -> torch.dtype:
    return torch.from_numpy(np.zeros(1, onnx.helper.tensor_dtype_to_np_dtype(kind))).dtype


def tensor_of(tensor: onnx.TensorProto, dtype: torch.dtype) -> torch.Tensor:
    values = onnx.numpy_helper.to_array(tensor)
    if tensor.data_type in FLOATS:
        return torch.from_numpy(np.array(values, dtype=np.float64)).to(dtype)
    return torch.from_numpy(np.array(values))


def names_read(node: onnx.NodeProto):
    """The values that a node and its subgraphs read."""
    yield from node.input
    for attribute in node.attribute:
        for graph in [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs:
            yield from (port.name for port in graph.output)
            for inner in graph.node:
                yield from names_read(inner)


class Oracle:
    """A model that PyTorch evaluates node by node, with all floats in one type."""

    def __init__(self, model: onnx.ModelProto, dtype: torch.dtype):
        self.graph, self.dtype = model.graph, dtype
        self.opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        statistics = {n for node in model.graph.node if node.op_type == "BatchNormalization" for n in node.input[3:5]}
        self.constants = {tensor.name: tensor_of(tensor, dtype) for tensor in model.graph.initializer}
        self.leaves = {
            name: value.requires_grad_()
            for name, value in self.constants.items()
            if value.is_floating_point() and value.ndim >= 1 and name not in statistics
        }

    def evaluate(self, graph: onnx.GraphProto, outer: dict, values: list) -> list:
        known = dict(outer)
        known.update((tensor.name, tensor_of(tensor, self.dtype)) for tensor in graph.initializer)
        known.update((port.name, value) for port, value in zip(graph.input, values, strict=True))
        self.run(graph, known)
        return [known[port.name] for port in graph.output]

    def run(self, graph: onnx.GraphProto, known: dict) -> None:
        """Adds the outputs to the known values, and forgets values that nothing needs any more."""
        last = {name: at for at, node in enumerate(graph.node) for name in names_read(node)}
        ends = collections.defaultdict(list)
        for name in last.keys() - {port.name for port in graph.output}:
            ends[last[name]].append(name)
        for at, node in enumerate(graph.node):
            if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
                raise NotInterpretedError(f"{node.domain}.{node.op_type}".lstrip("."))
            attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
            attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
            body = functools.partial(lambda inner, values: self.evaluate(inner, known, values))
            outputs = sum(map(bool, node.output))
            call = Call(node.op_type, attributes, outputs, self.opset, self.dtype, body)
            try:
                results = OPERATORS[node.op_type](call, *(known[name] if name else None for name in node.input))
            except (RuntimeError, TypeError, IndexError, ValueError) as error:
                raise RuntimeError(f"oracle at {node.op_type} {node.output[0]}: {error}") from error
            results = results if isinstance(results, tuple) else (results,)
            known.update((name, value) for name, value in zip(node.output, results) if name)
            del results
            for name in ends[at]:
                known.pop(name, None)

    def outputs(self, inputs: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        known = dict(self.constants)
        for name, value in inputs.items():
            value = torch.from_numpy(value)
            known[name] = value.to(self.dtype) if value.is_floating_point() else value
        self.run(self.graph, known)
        return {port.name: known[port.name] for port in self.graph.output}

    def gradients(self, inputs: dict, target: np.ndarray, loss: str) -> tuple[float, dict[str, np.ndarray]]:
        output, wanted = self.outputs(inputs)[self.graph.output[0].name], torch.from_numpy(target)
        if loss == "mse":
            result = F.mse_loss(output, wanted.to(self.dtype))
        else:
            result = F.cross_entropy(output.movedim(-1, 1) if output.ndim == 3 else output, wanted)
        found = torch.autograd.grad(result, list(self.leaves.values()), allow_unused=True)
        pairs = zip(self.leaves, found, strict=True)
        return result.item(), {name: value.double().numpy() for name, value in pairs if value is not None}


# The comparison


def run(path: pathlib.Path, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    ports = {port.name for port in session.get_inputs()}
    return session.run(names, {name: value for name, value in inputs.items() if name in ports})


def worst(true: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> tuple[float, str]:
    """The largest error of the gradients found, and whose it is; a gradient that PyTorch lacks is zero."""
    sizes = {name: float(np.abs(value).max(initial=0)) for name, value in true.items()}
    floor = max(1e-6 * max(sizes.values(), default=0), sys.float_info.min)
    errors = collections.defaultdict(float)
    for name, value in found.items():
        if name in true and true[name].shape != value.shape:
            errors[name] = math.inf
            continue
        difference = float(np.abs(value - true.get(name, 0.0)).max(initial=0))
        errors[name] = difference / max(sizes.get(name, 0.0), floor)
    name = max(errors, key=errors.__getitem__)
    return errors[name], name


def compare(program: str, model: onnx.ModelProto, dense: pathlib.Path, options: argparse.Namespace) -> list[str]:
    """The columns from the loss to PyTorch in float32, and the note."""
    inputs, trained = inputs_of(model.graph, options.free), dense.with_name("training.onnx")
    # Memory is short with the largest models, so that outputs are let go of as soon as they are read.
    output = run(dense, [model.graph.output[0].name], inputs)[0]
    loss = options.loss or ("cross-entropy" if output.ndim == 2 else "mse")
    random = np.random.default_rng(1)
    if loss == "mse":
        target = random.standard_normal(output.shape).astype(output.dtype)
    else:
        axis = -1 if output.ndim == 3 else 1
        target = random.integers(0, output.shape[axis], np.delete(output.shape, axis))
    report, problem = command(program, "differentiate", dense, "-o", trained, "--loss", loss, limit=options.limit)
    if report is None:
        return ["", "", "", "", problem]
    names, gradients = map(list, zip(*report["gradients"], strict=True))
    value, *values = run(trained, [report["loss"], *gradients], inputs | {report["targets"][0]: target})
    found = dict(zip(names, values, strict=True))
    endless = [name for name, gradient in found.items() if not np.isfinite(gradient).all()]
    if endless or not np.isfinite(value):
        return ["", str(len(found)), "not finite", "", f"FAILS: not finite in {few(endless)}"]
    kinds = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 1}
    half = onnx.TensorProto.FLOAT16 in kinds
    model = onnx.inliner.inline_local_functions(model) if model.functions else model
    result, true = Oracle(model, torch.float64).gradients(inputs, target, loss)
    gc.collect()
    if not any(np.abs(gradient).max(initial=0) > VANISHING for gradient in true.values()):
        return ["", str(len(found)), "", "", f"not compared, {loss}: all gradients are zero"]
    error, name = worst(true, found)
    notes, own, exact = [], 0.0, math.inf
    if error > TOLERANCE:
        _, rounded = Oracle(model, torch.float16 if half else torch.float32).gradients(inputs, target, loss)
        own, where = worst(true, {name: rounded[name] for name in names if name in rounded})
        notes.append(f"PyTorch's worst at {where}" + (" (in float16)" if half else ""))
        try:
            feeds = inputs | {report["targets"][0]: target}
            with torch.no_grad():
                values = Oracle(onnx.load(trained), torch.float64).outputs(feeds)
            exact, where = worst(true, {name: values[port].numpy() for name, port in report["gradients"]})
            notes.append(f"{exact:.1e} with the training graph in float64, at {where}")
        except (NotInterpretedError, RuntimeError) as problem:  # The latter where memory does not suffice.
            notes.append(f"the training graph not evaluated in float64: {problem}")
    missing = [name for name, gradient in true.items() if name not in found and np.abs(gradient).max(initial=0) > 0]
    if missing:
        notes.append(f"no gradient for {few(missing)}")
    extra = [name for name in names if name not in true]
    if extra:
        notes.append(f"PyTorch has no gradient for {few(extra)}")
    passes = not missing and (error <= max(TOLERANCE, 10 * own) or exact <= EXACT)
    difference = abs(float(value) - result) / max(abs(result), sys.float_info.min)
    notes.insert(0, f"{'passes' if passes else 'FAILS'}, {loss}")
    shown = f"{own:.1e}" if own else ""
    return [f"{difference:.1e}", str(len(found)), f"{error:.1e} {name}", shown, "; ".join(notes)]


def row(source: pathlib.Path, options: argparse.Namespace) -> str:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        dense = pathlib.Path(name) / "dense.onnx"
        model = onnx.load(source)
        fill(model)
        onnx.save(model, dense)
        try:
            *columns, note = compare(options.program, model, dense, options)
        except NotInterpretedError as error:
            columns, note = [""] * 4, f"not interpreted: {error}"
        except Exception as error:  # Whatever is wrong is what the table shall say.
            columns, note = [""] * 4, f"{type(error).__name__}: {str(error).splitlines()[0]}"
        note = note.replace("|", "/").replace(name, "")
    return f"| {source.stem} | {' | '.join(columns)} | {time.monotonic() - start:.0f} | {note} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--table", type=pathlib.Path, default=ROOT / "docs/gradients.md")
    parser.add_argument("--program", default=str(ROOT / "target/release/safe-onnx"))
    parser.add_argument("--loss", choices=["cross-entropy", "mse"], help="the loss; by default by the first output")
    parser.add_argument("--free", type=int, default=16, help="size of free dimensions that are not the first axis")
    parser.add_argument("--limit", type=int, default=1800, help="seconds that a command may take")
    parser.add_argument("--again", action="store_true", help="run models that the table has already")
    options = parser.parse_args()
    text = options.table.read_text() if options.table.exists() else ""
    front, _, body = text.partition(HEAD)
    rows = {line.split("|")[1].strip(): line for line in body.splitlines() if line.startswith("|")}
    for path in options.models:
        if path.stem in rows and not options.again:
            continue
        rows[path.stem] = row(path, options)
        print(rows[path.stem], flush=True)
        options.table.parent.mkdir(exist_ok=True)
        options.table.write_text(front + HEAD + "\n".join(rows[name] for name in sorted(rows)) + "\n")
    failed = [name for name, line in rows.items() if "FAILS" in line]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
