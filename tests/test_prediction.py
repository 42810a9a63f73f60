"""A prediction: maps on demand, whatever lies behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from pager_ray.errors import ConfigError
from pager_ray.geometry import cubemap_to_erp, normalise_normals
from pager_ray.prediction import Prediction
from pager_ray.validity import Validity

HEIGHT, WIDTH, FACE = 32, 64, 16


def erp_maps() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    normals = random.normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    return {
        "depth": random.uniform(1, 9, (HEIGHT, WIDTH)).astype(np.float32),
        "normals": normalise_normals(normals),
        "sky": random.uniform(0, 1, (HEIGHT, WIDTH)).astype(np.float32),
    }


def face_maps() -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    return {
        "depth": random.uniform(1, 9, (6, FACE, FACE)).astype(np.float32),
        "normals": random.normal(size=(6, FACE, FACE, 3)).astype(np.float32),
        "sky": random.uniform(0, 1, (6, FACE, FACE)).astype(np.float32),
    }


class Loads:
    """Loaders that count how often each map is asked for."""

    def __init__(self, maps: dict[str, np.ndarray]) -> None:
        self.counts: Counter[str] = Counter()
        self.loaders: dict[str, Callable[[], np.ndarray]] = {name: self._loader(name, maps[name]) for name in maps}

    def _loader(self, name: str, array: np.ndarray) -> Callable[[], np.ndarray]:
        def load() -> np.ndarray:
            self.counts[name] += 1
            return array

        return load


def prediction_of(loads: Loads, fov: float = 90.0, **values: object) -> Prediction:
    return Prediction(
        id="room", uri="/in/room.jpg", height=HEIGHT, width=WIDTH, fov=fov, loaders=loads.loaders, **values
    )


@pytest.mark.parametrize("maps", [erp_maps(), face_maps()], ids=["erp", "cubemap"])
def test_maps_are_loaded_once_and_when_asked_for(maps: dict[str, np.ndarray]) -> None:
    """Nothing is loaded until a map is used; a map is loaded once, and asking for one loads no other."""
    loads = Loads(maps)
    prediction = prediction_of(loads, log_scale=0.5)
    assert repr(prediction) == "Prediction(id='room', 32x64, depth, normals, sky)"
    assert loads.counts == {}
    first = prediction.depth
    assert prediction.depth is first
    assert prediction.si_depth is prediction.si_depth
    assert loads.counts == {"depth": 1}
    assert prediction.sky is prediction.sky
    assert prediction.normals is prediction.normals
    assert loads.counts == {"depth": 1, "sky": 1, "normals": 1}


def test_erp_maps_are_given_as_they_are() -> None:
    """Stored ERP maps come back bit by bit, and there are no faces."""
    maps = erp_maps()
    prediction = prediction_of(Loads(maps))
    for name, array in maps.items():
        assert getattr(prediction, name) is array
        assert prediction.faces(name) is None


@pytest.mark.parametrize("fov", [90.0, 95.0])
def test_stored_faces_are_stitched(fov: float) -> None:
    """Faces are stitched at the maps' size and with the faces' field of view; normals come out as unit vectors."""
    maps = face_maps()
    prediction = prediction_of(Loads(maps), fov=fov)
    for name in ("depth", "sky"):
        stitched = cubemap_to_erp(maps[name][..., None], HEIGHT, WIDTH, fov)[..., 0]
        np.testing.assert_array_equal(getattr(prediction, name), stitched)
        np.testing.assert_array_equal(prediction.faces(name), maps[name])
    expected = normalise_normals(cubemap_to_erp(maps["normals"], HEIGHT, WIDTH, fov))
    np.testing.assert_array_equal(prediction.normals, expected)
    np.testing.assert_array_equal(prediction.faces("normals"), maps["normals"])
    assert prediction.normals is not None
    np.testing.assert_allclose(np.linalg.norm(prediction.normals, axis=-1), 1, atol=1e-5)


def test_half_precision_faces_are_stitched_in_single_precision() -> None:
    """Faces kept as float16 give float32 maps, stitched in float32."""
    maps = face_maps()
    halves = {name: array.astype(np.float16) for name, array in maps.items()}
    prediction = prediction_of(Loads(halves))
    for name in maps:
        got = getattr(prediction, name)
        assert got.dtype == np.float32
    widened = halves["depth"].astype(np.float32)[..., None]
    np.testing.assert_array_equal(prediction.depth, cubemap_to_erp(widened, HEIGHT, WIDTH)[..., 0])


def test_what_is_missing_is_none() -> None:
    """Maps and numbers that the checkpoint does not give are None, also what follows from them."""
    prediction = prediction_of(Loads({}))
    assert [prediction.depth, prediction.si_depth, prediction.normals, prediction.sky] == [None] * 4
    assert [prediction.scene, prediction.p_outdoor, prediction.log_scale] == [None] * 3
    assert [prediction.faces(name) for name in ("depth", "normals", "sky")] == [None] * 3
    assert repr(prediction) == "Prediction(id='room', 32x64, no maps)"


@pytest.mark.parametrize("maps", [erp_maps(), face_maps()], ids=["erp", "cubemap"])
def test_scale_invariant_depth_is_depth_without_its_scale(maps: dict[str, np.ndarray]) -> None:
    """si_depth times exp(log_scale) is depth, in float32; without a scale, or without depth, there is none."""
    prediction = prediction_of(Loads(maps), log_scale=-1.25)
    assert prediction.si_depth is not None
    assert prediction.si_depth.dtype == np.float32
    assert prediction.depth is not None
    np.testing.assert_allclose(prediction.si_depth * np.exp(-1.25), prediction.depth, rtol=1e-6)
    assert prediction_of(Loads(maps)).si_depth is None
    assert prediction_of(Loads({"sky": maps["sky"]}), log_scale=-1.25).si_depth is None


def test_a_scale_of_one_is_a_scale() -> None:
    """log_scale 0 is a scale like any other, not a missing one."""
    prediction = prediction_of(Loads(erp_maps()), log_scale=0.0)
    np.testing.assert_array_equal(prediction.si_depth, prediction.depth)


@pytest.mark.parametrize("maps", [{}, erp_maps(), face_maps()], ids=["none", "erp", "cubemap"])
def test_unknown_maps_have_no_faces(maps: dict[str, np.ndarray]) -> None:
    """A name that is no map's is an error with the names that are, not a missing head."""
    with pytest.raises(ConfigError, match="faces: 'dpeth' unknown; takes depth, normals, sky"):
        prediction_of(Loads(maps)).faces("dpeth")


def test_without_a_word_all_is_valid() -> None:
    """Of maps that nobody said anything of, and of a whole panorama, every pixel is valid, and nothing is None."""
    for validity in (None, lambda: None, lambda: Validity.whole(100, 200)):
        prediction = prediction_of(Loads(face_maps()), validity=validity)
        assert prediction.valid.shape == (HEIGHT, WIDTH)
        assert prediction.valid.dtype == np.bool_
        assert prediction.valid.all()
        assert prediction.faces("valid").shape == (6, FACE, FACE)
        assert prediction.faces("valid").all()
    assert prediction_of(Loads(erp_maps())).faces("valid") is None


def test_valid_is_told_for_the_maps_and_for_stored_faces() -> None:
    """Whatever the source's size, pixel by pixel of the map, and of the faces where those are stored."""
    found = Validity(100, 200, 20, 10, 90, 70, 25.0)
    prediction = prediction_of(Loads(face_maps()), fov=95.0, validity=lambda: found)
    np.testing.assert_array_equal(prediction.valid, found.erp(HEIGHT, WIDTH))
    np.testing.assert_array_equal(prediction.faces("valid"), found.faces(FACE, 95.0))
