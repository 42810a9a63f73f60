"""From the released network input to the released maps: every step of the chain together.

Two inputs are used. The released cubemap was sampled in floating point, so from it on everything must be exact. Our
faces are 8-bit: half a grey level is up to 0.0088 in the network's normalised input, which the golden checkpoints'
random weights amplify to 2.9 % of a depth (0.4 % in the median) and 4° of a normal. Without that rounding the same
code is exact, which the first tests show.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pager_ray.geometry import cubemap_to_erp, normalise_normals
from pager_ray.infer import InferenceSettings
from pager_ray.postprocess import euclidean_depth, fill_sky
from pager_ray.single import predict
from tests.infer.golden import CHECKPOINTS, HEIGHT, WIDTH, away_from_corners, expected, map_of, model, panorama

SCENES = ("indoor", "outdoor")
# Vectors that nearly cancel in the interpolation, or fade in the sky, have no direction to compare.
CLEAR_LENGTH = 0.3


def stitched(faces: torch.Tensor) -> np.ndarray:
    """(1, 6, C, S, S) tensor → (H, W, C)."""
    return cubemap_to_erp(faces[0].permute(0, 2, 3, 1).contiguous().numpy(), HEIGHT, WIDTH)


def raw_outputs(name: str, scene: str | None) -> dict[str, torch.Tensor]:
    cubemap = torch.from_numpy(expected(name)["cubemap"][:1])
    return model(name)(cubemap, scene=[scene] if scene else None)


def assert_same_map(ours: np.ndarray, name: str, key: str, seen: np.ndarray | None = None) -> None:
    """Equal within 1e-4 of the released map's standard deviation, away from the corners of the cube."""
    target = map_of(name, key)
    kept = away_from_corners() if seen is None else away_from_corners() & seen
    assert kept.mean() > 0.2
    difference = np.abs(ours.reshape(target.shape) - target)[kept]
    assert difference.max() < 1e-4 * target.std(), key


@pytest.mark.parametrize("scene", SCENES)
def test_unified_checkpoint_gives_the_released_maps(scene: str) -> None:
    """Scale-invariant, metric and filled depth, raw and faded normals equal the released ones, with either scale."""
    raw = raw_outputs("tiny_unified", scene)
    depth = euclidean_depth(raw["depth"], raw["log_scale"])
    filled, faded = fill_sky(depth, raw["normals"], raw["sky"], raw["log_scale"])
    assert faded is not None
    assert_same_map(stitched(euclidean_depth(raw["depth"], None)), "tiny_unified", "erp_depth_si")
    assert_same_map(stitched(depth), "tiny_unified", f"erp_depth_nosky__scale_{scene}")
    assert_same_map(stitched(filled), "tiny_unified", f"erp_depth_sky__scale_{scene}")
    assert_same_map(normalise_normals(stitched(raw["normals"])), "tiny_unified", "erp_normals_nosky")
    seen = np.linalg.norm(stitched(faded), axis=-1) > CLEAR_LENGTH / 6
    assert_same_map(normalise_normals(stitched(faded)), "tiny_unified", "erp_normals_sky", seen)


def test_metric_checkpoint_gives_the_released_map() -> None:
    """A checkpoint with a depth head alone gives the released depth without any scale."""
    raw = raw_outputs("tiny_metric_depth", None)
    assert "log_scale" not in raw
    assert_same_map(stitched(euclidean_depth(raw["depth"], None)), "tiny_metric_depth", "erp_depth_nosky__noscale")


def test_normals_checkpoint_gives_the_released_map() -> None:
    """A checkpoint with a normals head alone gives the released normals."""
    normals = stitched(raw_outputs("tiny_normals", None)["normals"])
    seen = np.linalg.norm(normals, axis=-1) > CLEAR_LENGTH
    assert seen.mean() > 0.8
    assert_same_map(normalise_normals(normals), "tiny_normals", "erp_normals_nosky", seen)


def assert_near_depth(ours: np.ndarray, name: str, key: str, largest: float) -> None:
    error = np.abs(ours / map_of(name, key) - 1)[away_from_corners()]
    assert error.max() < largest
    assert np.median(error) < 0.01


def assert_near_normals(ours: np.ndarray, name: str, key: str, lengths: np.ndarray) -> None:
    seen = away_from_corners() & (lengths > CLEAR_LENGTH)
    assert seen.mean() > 0.05
    cosine = np.einsum("...c,...c->...", ours, map_of(name, key))[seen]
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 5


@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("scene", SCENES)
def test_prediction_from_bytes_is_the_released_one(scene: str, fill: bool) -> None:
    """``predict`` on the golden panorama gives the released maps, as predicted or with their sky filled."""
    prediction = predict(panorama(), model("tiny_unified"), scene=scene, settings=InferenceSettings(fill=fill))
    kind = "sky" if fill else "nosky"
    # Filling blends towards the far end of the range, so a probability that moves a little moves the depth more.
    assert_near_depth(prediction.depth, "tiny_unified", f"erp_depth_{kind}__scale_{scene}", 0.06 if fill else 0.04)
    if not fill:
        assert_near_depth(prediction.si_depth, "tiny_unified", "erp_depth_si", 0.04)
    released = {key: torch.from_numpy(expected("tiny_unified")[key][:1]) for key in ("depth", "normals", "sky")}
    _, faded = fill_sky(released["depth"].exp(), released["normals"], released["sky"], None)
    lengths = np.linalg.norm(stitched(faded if fill else released["normals"]), axis=-1)
    assert_near_normals(prediction.normals, "tiny_unified", f"erp_normals_{kind}", lengths)
    assert prediction.scene == scene
    assert prediction.log_scale == pytest.approx(expected("tiny_unified")[f"scale_{scene}__scale"][0, 0], abs=0.01)


def test_metric_prediction_from_bytes_is_the_released_one() -> None:
    """A depth-only checkpoint predicts depth from the panorama's bytes and nothing else."""
    prediction = predict(panorama("tiny_metric_depth"), model("tiny_metric_depth"))
    assert_near_depth(prediction.depth, "tiny_metric_depth", "erp_depth_nosky__noscale", 0.04)
    assert [prediction.si_depth, prediction.normals, prediction.sky, prediction.log_scale] == [None] * 4


def test_normals_prediction_from_bytes_is_the_released_one() -> None:
    """A normals-only checkpoint predicts normals from the panorama's bytes and nothing else."""
    prediction = predict(panorama("tiny_normals"), model("tiny_normals"))
    raw = torch.from_numpy(expected("tiny_normals")["normals"][:1])
    assert_near_normals(prediction.normals, "tiny_normals", "erp_normals_nosky", np.linalg.norm(stitched(raw), axis=-1))
    assert [prediction.depth, prediction.si_depth, prediction.sky, prediction.log_scale] == [None] * 4


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_maps_have_the_size_of_the_panorama(name: str) -> None:
    """Every map of every checkpoint is float32 at the panorama's own size, normals of unit length."""
    prediction = predict(panorama(name), model(name), scene="indoor")
    maps = {key: getattr(prediction, key) for key in ("depth", "normals", "sky")}
    given = {key: array for key, array in maps.items() if array is not None}
    assert set(given) == set(model(name).architecture.modalities) & set(maps)
    for key, array in given.items():
        assert array.dtype == np.float32
        assert array.shape == ((HEIGHT, WIDTH, 3) if key == "normals" else (HEIGHT, WIDTH))
    if "normals" in given:
        np.testing.assert_allclose(np.linalg.norm(given["normals"], axis=-1), 1, atol=1e-5)
