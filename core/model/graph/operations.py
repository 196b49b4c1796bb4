"""What the operations of a graph are called, and kinds of them. A name is that of ATen, without its overload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx


def names(text: str) -> frozenset[str]:
    """Of operations, with spaces between."""
    return frozenset(text.split())


POINTWISE = names(
    """
    add sub mul div rsub pow exp log sqrt rsqrt reciprocal neg abs clamp clamp_min clamp_max maximum minimum
    relu relu6 leaky_relu elu selu celu gelu silu mish sigmoid tanh softplus hardtanh hardswish hardsigmoid
    prelu where to erf sin cos floor round square alias clone contiguous detach dropout feature_dropout
    lift_fresh_copy _to_copy type_as floor_divide lerp addcmul threshold
    """
)
"""Each output follows from the values at its own place, of one or several operands that broadcast."""
SAME_PLACE = names(
    """
    batch_norm native_batch_norm _native_batch_norm_legit_no_training layer_norm native_layer_norm rms_norm
    group_norm native_group_norm instance_norm softmax _softmax log_softmax cumsum normalize local_response_norm
    channel_shuffle
    """
)
"""Outputs are of the places of their inputs, whatever else they depend on."""
BATCH_NORMS = ("batch_norm", "_native_batch_norm_legit_no_training")


def operation(node: fx.Node) -> str:
    """`conv2d`, `add`, `getitem`; "" of what is no call."""
    if node.op != "call_function":
        return ""
    schema = getattr(node.target, "_schema", None)
    if schema is not None:
        return str(schema.name).split("::")[1]
    return str(getattr(node.target, "__name__", node.target))


def is_dependent(node: fx.Node) -> bool:
    """Whether its value depends on what is on the image."""
    return bool(node.meta.get("depends", False))


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Of a tensor, the batch as -1. Raises KeyError for what is none."""
    shape: tuple[int, ...] = node.meta["shape"]
    return shape


def of_one(node: fx.Node) -> tuple[int, ...]:
    """As `shape_of`, for one image."""
    shape: tuple[int, ...] = node.meta["shape of one"]
    return shape


def arguments(node: fx.Node) -> dict[str, Any]:
    """Of a call of ATen, by the names of its parameters: those that are said."""
    target: Any = node.target
    names = [parameter.name for parameter in target._schema.arguments]
    return dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def options_on(device: torch.device, node: fx.Node) -> dict[str, Any]:
    """The named arguments of a call, for values on a device: a graph is captured on one and runs on any."""
    return {name: device if name == "device" else value for name, value in node.kwargs.items()}


def pair(value: Any, default: int) -> tuple[int, int]:
    """A number for rows and one for columns, of an argument that may be one number, a list, empty or not said."""
    if value is None or value == []:
        return default, default
    if isinstance(value, int):
        return value, value
    values = [int(part) for part in value]
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


@dataclass(frozen=True)
class Sliding:
    """How a convolution or a pool slides along one axis, in positions of its input."""

    taps: int
    stride: int
    before: int
    """Padding before the first position."""
    after: int
    dilation: int

    @property
    def extent(self) -> int:
        """From the first to the last position that it reads."""
        return self.dilation * (self.taps - 1) + 1


def sliding(node: fx.Node) -> tuple[Sliding, Sliding]:
    """Along rows and along columns, of a conv2d, max_pool2d or avg_pool2d."""
    said = arguments(node)
    is_convolution = operation(node) == "conv2d"
    kernel = shape_of(said["weight"])[2:] if is_convolution else pair(said["kernel_size"], 1)
    # A pool's windows lie side by side where it is not told how far apart.
    strides = pair(said.get("stride"), 1 if is_convolution else 0)
    found = []
    for axis in (0, 1):
        dilation, padding = pair(said.get("dilation"), 1)[axis], said.get("padding")
        if padding == "same":
            total = dilation * (kernel[axis] - 1)
            before, after = total // 2, total - total // 2
        else:
            before = after = 0 if padding == "valid" else pair(padding, 0)[axis]
        found.append(Sliding(kernel[axis], strides[axis] or kernel[axis], before, after, dilation))
    return found[0], found[1]


def border(node: fx.Node) -> list[int]:
    """Of an operation that pads: how much before and after the last axis, the one before it, and so on."""
    said = arguments(node)
    return [int(amount) for amount in said.get("pad", said.get("padding", []))]
