"""Matrix products of the backbone in 8 bits: ``int8`` and ``fp8`` (e4m3).

Each row of both operands, a weight's output channel and a token, is divided by a step of its own, so that its largest
number becomes the largest of the 8-bit type. Weights are rounded once, while they are loaded; tokens at every product.
Sums are int32, which is exact, or float32; steps and bias are applied to them, and results are in the type that the
ordinary serving precision would give. Patch embedding, camera encoder, heads, normalisation, attention and residual
stream are those of the ordinary serving precision.

All products of all blocks are quantised: with untrained weights each kind costs about the same, so that none left out
buys much (``python -m benchmarks low_precision --parts``). What they cost with trained weights is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from pager_ray.errors import ConfigError
from pager_ray.model.layers import Linear

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Shaped
    from torch import Tensor

LOW_PRECISIONS = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}

QUANTISED_PREFIX = "model.backbone.pretrained.blocks."

_LARGEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}
_DEVICES = {
    "int8": "CPUs and CUDA devices",
    "fp8": "CPUs (slowly, to measure errors) and CUDA devices of compute capability 8.9 or higher",
}
_FP8_CAPABILITY = (8, 9)

# CUDA's fp8 products refuse sides that are no multiple of 16, int8 ones of 8, and 16 rows or fewer.
_MULTIPLE = 16
_FEWEST_ROWS = 32

# The largest number of a row counts as this at least: the inverse of a smaller one's step would overflow.
_SMALLEST = 1e-30

# A weight is rounded so many numbers at a time: what rounding takes inside stays small beside it.
_CHUNK_NUMBERS = 1 << 20


class QuantisedLinear(nn.Module):
    """A linear layer whose matrix product takes 8-bit numbers.

    Rows and columns of zeros fill the weight up to multiples of 16.

    Args:
        linear: the layer in a floating type, which results keep; nothing of it but the bias stays.
        dtype: of ``LOW_PRECISIONS``.
    """

    step: Tensor

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        outputs, inputs = linear.weight.shape
        self.in_features, self.out_features, self.out_dtype = inputs, outputs, linear.weight.dtype
        shape = (_filled(outputs), _filled(inputs))
        weight = torch.zeros(shape, dtype=dtype, device=linear.weight.device)
        step = torch.ones(shape[0], dtype=torch.float32, device=linear.weight.device)
        count = max(1, _CHUNK_NUMBERS // inputs)
        for begin in range(0, outputs, count):
            rows = slice(begin, min(begin + count, outputs))
            values, steps = quantise_rows(linear.weight.detach()[rows], dtype)
            weight[rows, :inputs] = values
            step[rows] = steps[:, 0]
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = linear.bias
        self.register_buffer("step", step)

    def forward(self, x: Float[Tensor, "*rows i"]) -> Float[Tensor, "*rows o"]:
        """Round every row, multiply, and scale the sums back."""
        rows = x.flatten(0, -2)
        count, inputs = rows.shape
        missing = (self.weight.shape[1] - inputs, max(0, _FEWEST_ROWS - count))
        if any(missing):
            rows = F.pad(rows, (0, missing[0], 0, missing[1]))
        values, steps = quantise_rows(rows, self.weight.dtype)
        if values.dtype == torch.int8:
            sums = torch._int_mm(values, self.weight.t())[:count, : self.out_features]
            result = sums * steps[:count]
            result *= self.step[: self.out_features]
        else:
            product = torch._scaled_mm(
                values, self.weight.t(), scale_a=steps, scale_b=self.step.unsqueeze(0), out_dtype=self.out_dtype
            )
            result = product[:count, : self.out_features]
        if self.bias is not None:
            result = result + self.bias
        return result.to(self.out_dtype).reshape(*x.shape[:-1], self.out_features)


def quantise_rows(
    rows: Float[Tensor, "r i"], dtype: torch.dtype
) -> tuple[Shaped[Tensor, "r i"], Float32[Tensor, "r 1"]]:
    """Round every row to 8 bits with a step of its own.

    Args:
        rows: any floating type.
        dtype: of ``LOW_PRECISIONS``.

    Returns:
        The rounded rows in ``dtype``, and the steps: a row is about its rounded one times its step. A row that is not
        all finite has a step that is not, so that no product hides it.
    """
    rows = rows.float()
    largest = rows.abs().amax(dim=1, keepdim=True).clamp_min(_SMALLEST)
    scaled = rows * (_LARGEST[dtype] / largest)
    return (scaled.round_() if dtype == torch.int8 else scaled).to(dtype), largest / _LARGEST[dtype]


def quantise_product(network: nn.Module, path: str, precision: str) -> None:
    """Put a quantised layer in the place of a loaded linear one; elsewhere nothing happens.

    Args:
        network: is changed.
        path: of a module; those under ``QUANTISED_PREFIX`` count that are linear and whose parameters are there.
        precision: of ``LOW_PRECISIONS``.
    """
    module = network.get_submodule(path)
    if not path.startswith(QUANTISED_PREFIX) or not isinstance(module, Linear):
        return
    if any(parameter.is_meta for parameter in module.parameters()):
        return
    network.set_submodule(path, QuantisedLinear(module, LOW_PRECISIONS[precision]))


@torch.no_grad()
def check_low_precision(precision: str, device: torch.device) -> None:
    """Try a product of the precision on the device.

    Raises:
        ConfigError: the device has none; names those that have.
    """
    problem = ""
    if precision == "fp8" and device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < _FP8_CAPABILITY:
            problem = f"compute capability {capability[0]}.{capability[1]}"
    if not problem:
        out_dtype = torch.float16 if device.type == "cuda" else torch.float32
        try:
            # Not initialised: drawing weights would move the caller's random numbers.
            layer = nn.utils.skip_init(Linear, _MULTIPLE, _MULTIPLE, device=device, dtype=out_dtype)
            QuantisedLinear(layer, LOW_PRECISIONS[precision])(torch.zeros(1, _MULTIPLE, device=device)).cpu()
        except (RuntimeError, ValueError) as error:
            # Some of torch's errors have no text.
            problem = (str(error).strip() or type(error).__name__).splitlines()[0]
    if problem:
        raise ConfigError(
            f"precision: {precision} does not run on {device} ({problem}); it takes {_DEVICES[precision]}; "
            "precision=auto runs everywhere"
        )


def _filled(size: int) -> int:
    return -(-size // _MULTIPLE) * _MULTIPLE
