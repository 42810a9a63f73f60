"""The predictor: faces in, geometry out, each row as if it were alone, and no head asked that is not needed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pager_ray.errors import ConfigError, PagerError, ShapeError
from pager_ray.infer import InferenceSettings, Predictor
from pager_ray.infer.predictor import FacePrediction, _Watch
from pager_ray.postprocess import euclidean_depth, fill_sky
from pager_ray.prediction import QUALITY_COLUMNS
from pager_ray.ranges import DepthRange, SkySettings
from tests.infer.golden import CHECKPOINTS, FACE, assert_near, assert_near_numbers, faces, model

pytestmark = pytest.mark.usefixtures("networks_once")

SCENES = ["indoor", "outdoor"]


class FakeRouter:
    """Says what it is told to, and remembers what it was asked."""

    def __init__(self, *probabilities: float) -> None:
        self.answer = torch.tensor(probabilities)
        self.asked: list[torch.Tensor] = []

    def p_outdoor(self, faces: torch.Tensor) -> torch.Tensor:
        self.asked.append(faces)
        return self.answer


def normalised(pixels: np.ndarray) -> torch.Tensor:
    """uint8 (B, 6, S, S, 3) as the network takes it, in double precision on the way."""
    scaled = (pixels / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    return torch.from_numpy(np.moveaxis(scaled, -1, 2).astype(np.float32))


def raw_of(pixels: np.ndarray, name: str = "tiny_unified", scenes: list[str] | None = None) -> dict[str, torch.Tensor]:
    return model(name)(normalised(pixels), scene=scenes)


def run(
    pixels: np.ndarray,
    scenes: list[str | None],
    *,
    name: str = "tiny_unified",
    router: FakeRouter | None = None,
    **settings: object,
) -> list[FacePrediction]:
    return Predictor(model(name), InferenceSettings(**settings), router)(pixels, scenes)


@pytest.mark.parametrize("fill", [False, True])
def test_prediction_is_network_plus_postprocessing(fill: bool) -> None:
    """Depth, normals, sky and scale are the network's, through range, scale, ray length and, if asked, sky filling."""
    pixels = faces()
    raw = raw_of(pixels, scenes=SCENES)
    sky, depth_range = SkySettings(0.4, 0.1, 3), DepthRange(0.5, 1.5)
    depth = euclidean_depth(raw["depth"], raw["log_scale"], 90.0, depth_range)
    normals: torch.Tensor | None = raw["normals"]
    if fill:
        depth, normals = fill_sky(depth, normals, raw["sky"], raw["log_scale"], sky, depth_range)
    assert normals is not None
    rows = run(pixels, SCENES, fill=fill, sky=sky, depth_range=depth_range)
    assert [row.scene for row in rows] == SCENES
    for number, row in enumerate(rows):
        assert_near(row.depth, depth[number, :, 0].numpy())
        assert_near(row.normals, normals[number].permute(0, 2, 3, 1).numpy())
        assert_near(row.sky, raw["sky"][number, :, 0].sigmoid().numpy())
        assert row.log_scale == pytest.approx(raw["log_scale"][number, 0].item(), abs=1e-4)
        assert {array.dtype for array in (row.depth, row.normals, row.sky)} == {np.dtype(np.float32)}


def test_filling_changes_the_maps_but_neither_sky_nor_quality() -> None:
    """The stored sky and the numbers to filter by describe the prediction, filled or not."""
    pixels = faces()
    plain, filled = run(pixels, SCENES), run(pixels, SCENES, fill=True)
    for before, after in zip(plain, filled, strict=True):
        assert np.abs(after.depth - before.depth).max() > 1
        assert_near(after.sky, before.sky)
        assert_near_numbers(after.quality, before.quality)


@pytest.mark.parametrize(
    ("name", "given"), [("tiny_metric_depth", {"depth"}), ("tiny_normals", {"normals"}), ("tiny_unified", None)]
)
def test_heads_that_are_missing_give_none(name: str, given: set[str] | None) -> None:
    """What a checkpoint has no head for is None, in the maps, the scale and the quality numbers."""
    row = run(faces(name, 1), ["indoor"], name=name)[0]
    arrays = {key for key in ("depth", "normals", "sky") if getattr(row, key) is not None}
    assert arrays == (given or {"depth", "normals", "sky"})
    assert (row.log_scale is None) == (given is not None)
    assert set(row.quality) == set(QUALITY_COLUMNS)
    known = {key for key, value in row.quality.items() if value is not None}
    without = {"sky_fraction"} if name == "tiny_metric_depth" else set(QUALITY_COLUMNS)
    assert known == set(QUALITY_COLUMNS) - {"scale_disagreement"} - (set() if given is None else without)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_batch_gives_what_its_rows_give_alone(name: str) -> None:
    """Rows of a mixed batch do not touch each other: each is what it is alone, up to the order of sums."""
    pixels, scenes = faces(name, 3), ["outdoor", "indoor", "outdoor"]
    together = run(pixels, scenes, name=name, fill=True)
    for number, row in enumerate(together):
        alone = run(pixels[number : number + 1], [scenes[number]], name=name, fill=True)[0]
        assert row.scene == alone.scene
        assert row.log_scale == pytest.approx(alone.log_scale, abs=1e-4)
        assert_near_numbers(row.quality, alone.quality)
        for key in ("depth", "normals", "sky"):
            batched, single = getattr(row, key), getattr(alone, key)
            if single is None:
                assert batched is None
            else:
                assert_near(batched, single)


def test_the_listing_decides_before_the_router() -> None:
    """Where every row knows its scene the router is never asked, and no probability is reported."""
    router = FakeRouter(0.9, 0.1)
    rows = run(faces(), ["indoor", "outdoor"], router=router)
    assert [row.scene for row in rows] == ["indoor", "outdoor"]
    assert [row.p_outdoor for row in rows] == [None, None]
    assert router.asked == []


def test_the_router_decides_rows_without_a_scene() -> None:
    """The router's answer and probability go to the rows that nobody labelled, and to no other."""
    router = FakeRouter(0.9, 0.25, 0.75)
    rows = run(faces(count=3), ["indoor", None, None], router=router)
    assert [row.scene for row in rows] == ["indoor", "indoor", "outdoor"]
    assert [row.p_outdoor for row in rows] == [None, 0.25, 0.75]
    assert len(router.asked) == 1
    assert (router.asked[0].dtype, router.asked[0].shape) == (torch.uint8, (3, 6, 3, FACE, FACE))
    np.testing.assert_array_equal(router.asked[0].permute(0, 1, 3, 4, 2).numpy(), faces(count=3))


def test_the_device_decides_like_the_host() -> None:
    """Where the router's answer stays on the device, rows get the same; those it decides also both scales' gap."""
    pixels, scenes = faces(count=3), ["outdoor", None, None]
    on_host = run(pixels, scenes, router=FakeRouter(0.1, 0.25, 0.5))
    predictor = Predictor(model("tiny_unified"), InferenceSettings(), FakeRouter(0.1, 0.25, 0.5))
    predictor._routes_on_device = True
    on_device = predictor(pixels, scenes)
    indoor, outdoor = (raw_of(pixels, scenes=[scene] * 3)["log_scale"][:, 0] for scene in ("indoor", "outdoor"))
    for number, (row, other) in enumerate(zip(on_device, on_host, strict=True)):
        assert (row.scene, row.p_outdoor) == (other.scene, other.p_outdoor)
        assert row.log_scale == pytest.approx(other.log_scale, abs=1e-4)
        assert_near(row.depth, other.depth)
        gap = abs(float(indoor[number] - outdoor[number])) if scenes[number] is None else None
        assert row.quality["scale_disagreement"] == pytest.approx(gap, abs=1e-4)
    assert [row.scene for row in on_device] == ["outdoor", "indoor", "outdoor"]


def test_batches_may_overlap() -> None:
    """A batch may be submitted before the one before it was asked for; results come in any order."""
    predictor, pixels = Predictor(model("tiny_unified"), InferenceSettings()), faces()
    first = predictor.submit(pixels[:1], ["indoor"])
    second = predictor.submit(pixels[1:], ["outdoor"])
    rows = [*second.result(), *first.result()]
    for row, number, scene in zip(rows, (1, 0), ("outdoor", "indoor"), strict=True):
        assert_near(row.depth, run(pixels[number : number + 1], [scene])[0].depth)
    assert first.seconds > 0


@pytest.mark.parametrize("scene", SCENES)
def test_a_forced_scene_holds_for_every_row(scene: str) -> None:
    """A forced mode beats the listing and the router, and its scale head is the one that ran."""
    router = FakeRouter(0.9, 0.9)
    pixels = faces()
    scales = raw_of(pixels, scenes=[scene] * 2)["log_scale"][:, 0].tolist()
    for listed in (["outdoor", None], ["outdoor", "indoor"], [None, None]):
        rows = run(pixels, listed, router=router, scene_mode=scene)
        assert [(row.scene, row.p_outdoor) for row in rows] == [(scene, None)] * 2
        assert [row.log_scale for row in rows] == pytest.approx(scales, abs=1e-4)
    assert router.asked == []


def test_scale_heads_differ() -> None:
    """The two heads of the golden checkpoint give different scales, so the tests of routing can tell them apart."""
    indoor, outdoor = raw_of(faces(count=1), scenes=["indoor"]), raw_of(faces(count=1), scenes=["outdoor"])
    assert abs(indoor["log_scale"] - outdoor["log_scale"]).item() > 0.5


def test_checkpoints_without_two_scales_ignore_the_mode() -> None:
    """Without two scale heads rows keep the listing's scene, labelled or not, and nobody is asked."""
    router = FakeRouter(0.9, 0.9)
    rows = run(faces("tiny_metric_depth"), ["outdoor", None], name="tiny_metric_depth", router=router)
    assert [(row.scene, row.p_outdoor) for row in rows] == [("outdoor", None), (None, None)]
    assert router.asked == []


def test_a_router_that_is_needed_and_missing_is_an_error() -> None:
    """A row that nobody can label stops the batch with the two ways out, instead of taking some head."""
    with pytest.raises(PagerError, match=r"scene_mode.*scene"):
        run(faces(), ["indoor", None])


def test_quality_numbers_equal_their_definitions() -> None:
    """Sky share, quantiles, range share and confidence equal NumPy's over the same face pixels."""
    pixels, sky, depth_range = faces(), SkySettings(threshold=0.6), DepthRange(0.8, 1.3)
    raw = {key: value.numpy() for key, value in raw_of(pixels, scenes=SCENES).items()}
    rows = run(pixels, SCENES, sky=sky, depth_range=depth_range)
    for number, row in enumerate(rows):
        z = np.exp(raw["depth"][number, :, 0].astype(np.float64))
        probability = 1 / (1 + np.exp(-raw["sky"][number, :, 0].astype(np.float64)))
        assert row.quality["sky_fraction"] == pytest.approx((probability > 0.6).mean(), abs=1e-3)
        outside = ((z <= 0.8) | (z >= 1.3)).mean()
        assert 0.05 < outside < 0.95
        assert row.quality["range_limit_fraction"] == pytest.approx(outside, abs=1e-3)
        for percent in (1, 5, 50, 95, 99):
            quantile = np.quantile(row.depth[:, ::4, ::4], percent / 100)
            assert row.quality[f"depth_p{percent:02}"] == pytest.approx(quantile, rel=1e-5)
        confidence = np.sort(raw["depth_conf"][number, :, 0, ::4, ::4], axis=None)
        assert row.quality["median_confidence"] == pytest.approx(confidence[(len(confidence) - 1) // 2], rel=1e-4)


def test_log_scale_is_the_logarithm_of_the_ratio() -> None:
    """Depth with a scale is exp(log_scale) times the depth without one."""
    pixels = faces(count=1)
    row = run(pixels, ["indoor"])[0]
    unscaled = euclidean_depth(raw_of(pixels, scenes=["indoor"])["depth"], None)[0, :, 0]
    assert row.log_scale is not None
    assert_near(row.depth, (unscaled * math.exp(row.log_scale)).numpy())


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 6, FACE, FACE, 3), np.float32),
        np.zeros((6, FACE, FACE, 3), np.uint8),
        np.zeros((1, 6, FACE, FACE + 14, 3), np.uint8),
        np.zeros((1, 6, 3, FACE, FACE), np.uint8),
        np.zeros((1, 5, FACE, FACE, 3), np.uint8),
    ],
    ids=["floats", "no batch", "not square", "channels first", "five faces"],
)
def test_other_faces_are_refused(wrong: np.ndarray) -> None:
    """Faces of another dtype or shape are refused with what came and what is taken."""
    with pytest.raises(ShapeError, match=rf"faces: got {wrong.dtype}.*takes uint8 \(B, 6, {FACE}, {FACE}, 3\)"):
        run(wrong, ["indoor"])


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("scenes", [[], ["indoor"], ["indoor"] * 3])
def test_every_row_has_one_scene(name: str, scenes: list[str | None]) -> None:
    """Scenes that are fewer or more than the rows are refused: none would silently go without a prediction."""
    with pytest.raises(ShapeError, match=rf"scenes: got {len(scenes)} for 2 rows"):
        run(faces(name), scenes, name=name)


def test_unknown_scene_modes_are_refused() -> None:
    """A scene mode that no model has is refused with the modes there are, when the settings are made."""
    with pytest.raises(ConfigError, match="scene_mode: got 'forest', takes auto, indoor, outdoor"):
        InferenceSettings(scene_mode="forest")


def circle(size: int = FACE) -> np.ndarray:
    """(6, S, S) bool: a disc on each face, of another size each."""
    y, x = np.mgrid[:size, :size] - size / 2
    return np.stack([np.hypot(x, y) < size * (k + 2) / 12 for k in range(6)])


def test_numbers_are_of_valid_pixels_alone() -> None:
    """Shares, quantiles, confidence and scale of a masked panorama are those of its valid pixels, by another way."""
    pixels, valid = faces(count=1), circle()
    raw = raw_of(pixels, scenes=["indoor"])
    (row,) = Predictor(model("tiny_unified"), InferenceSettings())(pixels, ["indoor"], [valid])
    sampled = valid[:, ::4, ::4]
    assert row.depth is not None
    assert row.sky is not None
    for share in (1, 5, 50, 95, 99):
        expected = np.quantile(row.depth[:, ::4, ::4][sampled], share / 100)
        assert row.quality[f"depth_p{share:02}"] == pytest.approx(expected, rel=1e-4)
    assert row.quality["sky_fraction"] == pytest.approx((row.sky > 0.3)[valid].mean(), abs=1e-6)
    confidence = np.sort(raw["depth_conf"][0, :, 0, ::4, ::4].numpy()[sampled])
    assert row.quality["median_confidence"] == pytest.approx(confidence[(len(confidence) - 1) // 2], rel=1e-4)
    metric = raw["scale_log_metric_field"][0, :, 0].numpy()
    cell = FACE // metric.shape[-1]
    blocks = (6, metric.shape[-1], cell, metric.shape[-1], cell)
    pooled = raw["depth"][0, :, 0].numpy().reshape(blocks).mean((2, 4))
    apart = np.sort((metric - pooled)[valid.reshape(blocks).all((2, 4))])
    assert row.log_scale == pytest.approx(apart[(len(apart) - 1) // 2], abs=1e-4)
    assert row.log_scale != pytest.approx(raw["log_scale"].item(), abs=1e-4)


def test_what_lies_under_a_mask_is_in_no_number() -> None:
    """Two networks' answers that differ where nothing is valid alone give the same numbers and scale."""
    pixels, valid = faces(count=1), circle()
    predictor = Predictor(model("tiny_unified"), InferenceSettings())
    real = predictor.model

    class Elsewhere:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def __call__(self, *args: object, **options: object) -> dict[str, torch.Tensor]:
            raw = dict(real(*args, **options))
            nowhere = torch.from_numpy(~valid)[None, :, None]
            for name in ("depth", "depth_conf", "sky"):
                raw[name] = torch.where(nowhere, 5 * raw[name] + 3, raw[name])
            return raw

    (before,) = predictor(pixels, ["indoor"], [valid])
    predictor.model = Elsewhere()  # type: ignore[assignment]
    (after,) = predictor(pixels, ["indoor"], [valid])
    assert before.depth is not None
    assert after.depth is not None
    assert before.quality == after.quality
    assert before.log_scale == after.log_scale
    np.testing.assert_array_equal(before.depth[valid], after.depth[valid])
    assert not np.allclose(before.depth[~valid], after.depth[~valid])


def test_a_masked_neighbour_changes_nothing() -> None:
    """A row of which all is valid has the numbers that it has alone, whoever is in its batch, to the bit."""
    pixels = faces()
    predictor = Predictor(model("tiny_unified"), InferenceSettings(fill=True))
    plain = predictor(pixels, SCENES)
    mixed = predictor(pixels, SCENES, [circle(), None])
    assert mixed[1].quality == plain[1].quality
    assert mixed[1].log_scale == plain[1].log_scale
    np.testing.assert_array_equal(mixed[1].depth, plain[1].depth)
    assert mixed[0].quality != plain[0].quality


def test_faces_without_a_valid_pixel_have_no_numbers() -> None:
    """Where all that is valid lies between the faces' pixels, numbers are missing, and the maps are there."""
    nothing = np.zeros((6, FACE, FACE), bool)
    (row,) = Predictor(model("tiny_unified"), InferenceSettings(fill=True))(faces(count=1), ["indoor"], [nothing])
    assert row.is_finite
    assert set(row.quality.values()) == {None}
    assert row.log_scale is not None
    assert row.depth is not None
    assert np.isfinite(row.depth).all()


@pytest.mark.parametrize(
    "valid", [[], [None, None], [np.ones((6, FACE, 3), bool)], [np.ones((6, FACE, FACE), np.uint8)]]
)
def test_masks_of_another_shape_are_refused(valid: list[np.ndarray | None]) -> None:
    """Too few, too many, of another size or type: an error that says what is taken."""
    with pytest.raises(ShapeError, match="valid: got"):
        Predictor(model("tiny_unified"), InferenceSettings())(faces(count=1), ["indoor"], valid)


def test_the_time_of_a_batch_is_that_of_the_models_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with several GPUs both moments are the model's device's, whichever is the current one."""
    noted: list[object] = []

    class Moment:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: object = "of the current device") -> None:
            noted.append(stream)

    monkeypatch.setattr(torch.cuda, "Event", Moment)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: f"of {device}")
    _Watch(torch.device("cuda:1")).stop()
    assert noted == ["of cuda:1"] * 2
