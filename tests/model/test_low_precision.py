"""8-bit products: how far they may be from exact ones, and what of a model they touch."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from pager_ray.errors import ConfigError
from pager_ray.model import load_model, low_precision
from pager_ray.model.layers import Linear
from pager_ray.model.low_precision import (
    LOW_PRECISIONS,
    QUANTISED_PREFIX,
    QuantisedLinear,
    check_low_precision,
    quantise_product,
    quantise_rows,
)
from tests.model.conftest import random_faces

each_precision = pytest.mark.parametrize("precision", LOW_PRECISIONS)


def layer(inputs: int, outputs: int, *, bias: bool = True, dtype: torch.dtype = torch.float32) -> Linear:
    """Channels of sizes that differ a hundredfold."""
    generator = torch.Generator().manual_seed(inputs + outputs)
    result = Linear(inputs, outputs, bias=bias)
    for parameter in result.parameters():
        size = torch.rand(parameter.shape[0], *[1] * (parameter.ndim - 1), generator=generator).mul(4.6).exp()
        parameter.data = torch.randn(parameter.shape, generator=generator) * size
    return result.to(dtype).requires_grad_(False)


def tokens(*shape: int) -> torch.Tensor:
    """Rows of sizes that differ a hundredfold."""
    generator = torch.Generator().manual_seed(1)
    size = torch.rand(*shape[:-1], 1, generator=generator).mul(4.6).exp()
    return torch.randn(shape, generator=generator) * size


def rounding(rows: torch.Tensor, precision: str) -> torch.Tensor:
    """The most that each number of a row may move.

    int8: half a step, the row's largest number over 127. e4m3 has three digits after the first: a 16th of the number,
    or where it is below the smallest normal number, half of 2^-9 steps, the row's largest over 448.
    """
    largest = rows.abs().amax(-1, keepdim=True)
    if precision == "int8":
        return (largest / 127 / 2).expand_as(rows)
    return torch.maximum(rows.abs() / 16, largest / 448 * 2.0**-10)


@each_precision
@pytest.mark.parametrize(
    ("shape", "outputs", "bias"),
    [((64, 64), 32, True), ((2, 7, 85), 33, False), ((1, 16), 1, True), ((3, 1, 1), 20, False), ((17, 130), 176, True)],
)
def test_product_is_as_near_as_its_steps_say(precision: str, bias: bool, shape: tuple[int, ...], outputs: int):
    """Moving numbers x and w by at most dx and dw moves a sum of xw by at most the sum of |x|dw + |w|dx + dx dw."""
    linear, x = layer(shape[-1], outputs, bias=bias), tokens(*shape)
    result = QuantisedLinear(linear, LOW_PRECISIONS[precision])(x)
    assert result.shape == (*shape[:-1], outputs)
    x64, w64 = x.double(), linear.weight.double()
    dx, dw = rounding(x64, precision), rounding(w64, precision)
    exact = torch.nn.functional.linear(x64, w64, linear.bias.double() if bias else None)
    bound = x64.abs() @ dw.T + dx @ w64.abs().T + dx @ dw.T
    # What float32 adds by summing, scaling and the bias.
    slack = 1e-5 * (x64.abs() @ w64.abs().T + exact.abs() + (linear.bias.abs() if bias else 0))
    assert ((result.double() - exact).abs() <= bound + slack).all()


def test_whole_numbers_up_to_127_are_multiplied_exactly():
    """int8 rounds nothing where every row's step is 1: the sums are those of whole numbers."""
    generator = torch.Generator().manual_seed(2)
    linear = layer(300, 40, bias=False)
    linear.weight.data = torch.randint(-127, 128, (40, 300), generator=generator).float()
    x = torch.randint(-127, 128, (50, 300), generator=generator).float()
    linear.weight.data[:, 0] = x[:, 0] = 127
    assert torch.equal(QuantisedLinear(linear, torch.int8)(x).long(), x.long() @ linear.weight.long().T)


@each_precision
def test_largest_number_of_a_row_is_kept(precision: str):
    """A row times its step gives back its largest number; steps differ by row."""
    rows = tokens(9, 50)
    values, steps = quantise_rows(rows, LOW_PRECISIONS[precision])
    assert values.dtype == LOW_PRECISIONS[precision]
    assert steps.shape == (9, 1)
    torch.testing.assert_close((values.float() * steps).abs().amax(1), rows.abs().amax(1))


@each_precision
def test_a_row_does_not_depend_on_its_neighbours(precision: str):
    """One huge token, or one huge channel, costs the others nothing."""
    linear, x = layer(48, 24), tokens(40, 48)
    before = QuantisedLinear(linear, LOW_PRECISIONS[precision])(x)
    x[3] *= 1e4
    linear.weight.data[5] *= 1e4
    after = QuantisedLinear(linear, LOW_PRECISIONS[precision])(x)
    rows, channels = torch.arange(40) != 3, torch.arange(24) != 5
    torch.testing.assert_close(after[rows][:, channels], before[rows][:, channels], rtol=1e-5, atol=1e-4)


@each_precision
@pytest.mark.parametrize("value", [0.0, 1e-42, 1e-38])
def test_rows_of_nothing_give_the_bias(precision: str, value: float):
    """Tokens or channels of zeros, or of numbers that vanish beside the bias, give the bias and no NaN."""
    linear, x = layer(32, 16), tokens(20, 32)
    x[4] = value
    linear.weight.data[7] = value
    result = QuantisedLinear(linear, LOW_PRECISIONS[precision])(x)
    assert result.isfinite().all()
    torch.testing.assert_close(result[4], linear.bias, rtol=1e-6, atol=1e-30)
    torch.testing.assert_close(result[:, 7], linear.bias[7].expand(20), rtol=1e-6, atol=1e-30)


@each_precision
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_token_that_is_not_finite_stays_so(precision: str, value: float):
    """Rounding hides no NaN and no infinity, and other tokens are not touched by them."""
    quantised, x = QuantisedLinear(layer(32, 16), LOW_PRECISIONS[precision]), tokens(20, 32)
    x[4, 9] = value
    finite = quantised(x).isfinite().all(1)
    assert finite.tolist() == [row != 4 for row in range(20)]


@each_precision
def test_no_tokens_give_no_tokens(precision: str):
    """An empty batch gives an empty result of the right width."""
    assert QuantisedLinear(layer(40, 24), LOW_PRECISIONS[precision])(torch.zeros(0, 5, 40)).shape == (0, 5, 24)


@each_precision
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_results_have_the_type_of_the_layer(precision: str, dtype: torch.dtype):
    """Results are in the type that the layer's weight had, close to what it gave; tokens may come in another."""
    linear, x = layer(64, 48, dtype=dtype), torch.randn(3, 30, 64, generator=torch.Generator().manual_seed(3))
    for given in (x, x.half()):
        result = QuantisedLinear(linear, LOW_PRECISIONS[precision])(given)
        assert result.dtype == dtype
        expected = linear.float()(x)
        assert (result.float() - expected).norm() < 0.05 * expected.norm()
        linear.to(dtype)


@each_precision
def test_model_is_close_to_float32(tiny_folder: Path, precision: str):
    """A model serves under its precision's name; outputs are finite, float32, and near those of float32."""
    model, exact = (load_model(tiny_folder, device="cpu", precision=name) for name in (precision, "float32"))
    assert model.precision == precision
    faces = random_faces(2)
    raw, expected = (each(faces, ["indoor", "outdoor"]) for each in (model, exact))
    assert raw.keys() == expected.keys()
    tolerance = 0.03 if precision == "int8" else 0.1
    for name, values in raw.items():
        assert values.dtype == torch.float32
        assert values.isfinite().all(), name
    for name in ("depth", "normals", "sky", "scale_log_metric_field"):
        error = (raw[name] - expected[name]).pow(2).mean().sqrt() / expected[name].std()
        assert 0 < error < tolerance, name


@each_precision
def test_only_the_products_of_the_blocks_are_quantised(tiny_folder: Path, precision: str):
    """Four products per block hold one byte per number; every other parameter and buffer is that of float32."""
    model, exact = (load_model(tiny_folder, device="cpu", precision=name) for name in (precision, "float32"))
    ours, theirs = (dict(each.network.named_parameters()) for each in (model, exact))
    assert ours.keys() == theirs.keys()
    product = re.compile(rf"{re.escape(QUANTISED_PREFIX)}\d+\.(attn\.(qkv|proj)|mlp\.(w12|w3))\.weight")
    quantised = {name for name, value in ours.items() if value.dtype == LOW_PRECISIONS[precision]}
    assert quantised == {name for name in ours if product.fullmatch(name)}
    assert len(quantised) == 4 * model.architecture.backbone.depth
    for name in ours.keys() - quantised:
        assert torch.equal(ours[name], theirs[name]), name
    buffers = dict(model.network.named_buffers())
    for name, value in exact.network.named_buffers():
        assert torch.equal(buffers[name], value), name


@each_precision
def test_loading_quantises_what_quantising_later_gives(tiny_folder: Path, precision: str):
    """Rounded while it is loaded, a network is that which is rounded once it is whole."""
    loaded, later = (load_model(tiny_folder, device="cpu", precision=name).network for name in (precision, "float32"))
    for path, _ in list(later.named_modules()):
        quantise_product(later, path, precision)
    expected = later.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, value in loaded.state_dict().items():
        assert value.dtype == expected[name].dtype, name
        assert torch.equal(value.float(), expected[name].float()), name


@each_precision
def test_a_device_without_the_product_is_told(precision: str):
    """Where the trial product fails, the error names precision, device, what failed and which devices have it."""
    with pytest.raises(ConfigError) as caught:
        check_low_precision(precision, torch.device("meta"))
    takes = "CPUs and CUDA devices" if precision == "int8" else "compute capability 8.9 or higher"
    assert re.match(rf"precision: {precision} does not run on meta \(.+\); it takes .*{takes}", str(caught.value))
    assert "\n" not in str(caught.value)
    check_low_precision(precision, torch.device("cpu"))


def test_a_refusal_without_words_is_told_by_its_kind(monkeypatch: pytest.MonkeyPatch):
    """Some of torch's errors have no text; the line still says what was met."""

    def refuse(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(low_precision.QuantisedLinear, "forward", refuse)
    with pytest.raises(ConfigError, match=r"^precision: int8 does not run on cpu \(NotImplementedError\); it takes "):
        check_low_precision("int8", torch.device("cpu"))


def test_older_gpus_have_no_fp8(monkeypatch: pytest.MonkeyPatch):
    """A GPU below compute capability 8.9 is told so before anything runs on it."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    with pytest.raises(ConfigError, match=r"fp8 does not run on cuda:1 \(compute capability 8\.6\).* 8\.9 or higher"):
        check_low_precision("fp8", torch.device("cuda:1"))


def test_trying_a_device_leaves_random_numbers_alone(tiny_folder: Path):
    """Loading draws no random numbers: what a caller draws afterwards is what it would have drawn before."""
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    load_model(tiny_folder, device="cpu", precision="int8")
    assert torch.equal(torch.rand(3), expected)
