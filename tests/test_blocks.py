"""The model for pipelines of one's own: bytes, paths and arrays give the numbers of a run, rejects stay as rows."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import pager_ray
from pager_ray.config import load_config
from pager_ray.encode import get_codec
from pager_ray.encode.bilevel import decode_mask
from pager_ray.errors import ConfigError
from pager_ray.here import run_here
from pager_ray.infer import Predictor
from pager_ray.model import load_model, resolve_checkpoint
from pager_ray.read.cubemap import pack_faces
from pager_ray.stages.settings import inference_settings
from tests.read import cubes
from tests.read.packed import pack

pytestmark = pytest.mark.usefixtures("networks_once")

SETTINGS = {"scene_mode": "indoor", "output.codec": "exact"}


def picture(height: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, 2 * height, 3), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


ARRAYS = {"small": picture(32, 1), "large": picture(48, 2)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blocks")
    pack("files", folder, {name: png(array) for name, array in ARRAYS.items()})
    return folder


@pytest.fixture(scope="module")
def run(files: Path, tiny_unified: Path, tmp_path_factory: pytest.TempPathFactory) -> pager_ray.Run:
    """The same pictures by the job."""
    output = tmp_path_factory.mktemp("run") / "run"
    given = [f"input.uris={files}", f"output.uri={output}", f"checkpoint={tiny_unified}", "compute.gpus_per_worker=0"]
    config = load_config(None, [*given, *(f"{key}={value}" for key, value in SETTINGS.items())])
    run_here(
        config, resolve_checkpoint(config.checkpoint), Predictor(load_model(tiny_unified), inference_settings(config))
    )
    return pager_ray.open_run(output)


@pytest.fixture(scope="module")
def predictor(tiny_unified: Path) -> pager_ray.PanoramaPredictor:
    return pager_ray.PanoramaPredictor(tiny_unified, settings=SETTINGS, device="cpu")


@pytest.mark.parametrize("form", ["bytes", "paths", "arrays", "structs", "arrow"])
def test_numbers_are_those_of_a_run(
    form: str, files: Path, run: pager_ray.Run, predictor: pager_ray.PanoramaPredictor
) -> None:
    """Whatever form pictures of two sizes come in, maps and columns equal the run's to the bit."""
    names, contents = list(ARRAYS), [png(array) for array in ARRAYS.values()]
    batch = {
        "bytes": {"bytes": np.array(contents, object)},
        "paths": {"path": np.array([str(files / f"{name}.png") for name in names], object)},
        "arrays": {"image": [*ARRAYS.values()]},
        "structs": {"image": np.array([{"bytes": content, "path": None} for content in contents], object)},
        "arrow": pa.table({"bytes": contents}),
    }[form]
    if isinstance(batch, dict):
        batch |= {"id": np.array(names, object), "weight": np.array([1.5, 2.5])}
    found = predictor(batch)
    for number, name in enumerate(names):
        expected = run[name]
        assert found["error_class"][number] == ""
        for kind in ("depth", "normals", "sky"):
            np.testing.assert_array_equal(found[kind][number], getattr(expected, kind), err_msg=kind)
    table = {row["id"]: row for row in run.table().to_pylist()}
    if form != "arrow":
        assert found["id"].tolist() == names
        assert found["weight"].tolist() == [1.5, 2.5]
    for name in ("width", "log_scale", "depth_p50", "map_height"):
        assert found[name].tolist() == [table[row][name] for row in names], name
    assert ("bytes" in found, "image" in found, "path" in found) == (False, False, form == "paths")


def test_rejects_are_rows(predictor: pager_ray.PanoramaPredictor) -> None:
    """A picture that is none, one that is not there, no picture, and a row that came as a reject; types stay."""
    good = png(ARRAYS["small"])
    found = predictor(
        {
            "bytes": np.array([b"no picture", None, good, b""], object),
            "uri": np.array(["s3://b/a.png", "", "s3://b/c.png", "s3://b/d.png"], object),
            "error_class": np.array([None, None, None, "missing"], object),
            "message": np.array([None, None, None, "s3://b/d.png: does not exist"], object),
        }
    )
    assert found["error_class"].tolist() == ["not_an_image", "no_bytes", "", "missing"]
    assert found["message"][0].startswith("s3://b/a.png: ")
    assert found["message"][3] == "s3://b/d.png: does not exist"
    assert [array.shape for array in found["depth"]] == [(0, 0), (0, 0), (32, 64), (0, 0)]
    assert found["id"].tolist() == ["a", "1", "c", "d"]
    alone = predictor({"bytes": [good]})
    assert {name: column.dtype for name, column in alone.items()} == {
        name: found[name].dtype for name in alone
    }  # fmt: skip
    (missing,) = predictor({"path": ["/nowhere/x.png"]})["error_class"]
    assert missing == "missing"


def test_a_list_that_is_no_array_costs_its_own_row(predictor: pager_ray.PanoramaPredictor) -> None:
    """Rows of different lengths are a reject with what a picture may be given as; its neighbour is predicted."""
    found = predictor({"image": [[[1, 2], [3]], ARRAYS["small"]]})
    assert found["error_class"].tolist() == ["not_an_image", ""]
    assert "takes uint8 (H, W, 3), bytes of an image file, or a path" in found["message"][0]


@pytest.mark.parametrize("form", ["numpy", "lists", "arrow"])
def test_columns_of_texts_are_so_in_every_batch(form: str, predictor: pager_ray.PanoramaPredictor) -> None:
    """Also where a batch has none of them, so that batches can be rows of one table; numbers and bytes stay."""
    given = {"town": [None, "Bern"], "none": [None, None], "weight": [1.5, None], "raw": [b"x", None]}
    batch: dict[str, object] = {"bytes": [png(ARRAYS["small"])] * 2, **given}
    found = predictor(
        {
            "numpy": {name: np.array(values, object) for name, values in batch.items()},
            "lists": batch,
            "arrow": pa.table(batch),
        }[form]
    )
    assert list(found["town"]) == ["", "Bern"]
    assert list(found["none"]) == ["", ""]
    assert [list(found[name]) for name in ("weight", "raw")] == [given["weight"], given["raw"]]
    if form == "arrow":
        table = pa.table({"bytes": [b""], "size": pa.array([None], pa.int32()), "note": pa.array([None], pa.string())})
        found = predictor(table)
        assert (list(found["size"]), list(found["note"])) == ([None], [""])


def test_codecs_bytes_and_sizes(tiny_unified: Path, predictor: pager_ray.PanoramaPredictor) -> None:
    """With ``encode`` the bytes decode to the arrays; sizes and projections are as asked."""
    batch = {"image": [ARRAYS["small"]]}
    plain = predictor(batch)
    encoded = pager_ray.PanoramaPredictor(tiny_unified, settings=SETTINGS, encode=True, device="cpu")(batch)
    decoded = get_codec("depth", "exact").decode(encoded["depth"][0], (32, 64))
    np.testing.assert_array_equal(decoded, plain["depth"][0])
    settings = SETTINGS | {"output.projection": "cubemap"}
    faces = pager_ray.PanoramaPredictor(tiny_unified, settings=settings, device="cpu")(
        {"bytes": [b"", png(ARRAYS["small"])]}
    )
    assert [array.ndim for array in faces["normals"]] == [4, 4]
    assert faces["depth"][1].shape == (6, 56, 56)


def test_what_cannot_be_done_is_said(tiny_unified: Path, predictor: pager_ray.PanoramaPredictor) -> None:
    """Unknown keys, devices and batches without pictures."""
    with pytest.raises(ConfigError, match="column: the batch has x; takes one of bytes, image, content"):
        predictor({"x": [1]})
    with pytest.raises(ConfigError, match="device: got 'tpu'"):
        pager_ray.PanoramaPredictor(tiny_unified, device="tpu")
    with pytest.raises(ConfigError, match=r"sky\.colour"):
        pager_ray.PanoramaPredictor(tiny_unified, settings={"sky.colour": "blue"})


def test_cubemaps_come_packed_or_by_name(tmp_path: Path, predictor: pager_ray.PanoramaPredictor) -> None:
    """Six files in one cell, as the dataset of panoramas packs them, and six names in braces are one row each."""
    pictures = cubes.pictures("words", 32)
    cubes.write(tmp_path, pictures)
    packed = pack_faces([pictures[f"{face}.png"] for face in cubes.FACES])
    by_bytes = predictor({"bytes": np.array([packed], object)})
    by_name = predictor({"uri": np.array([f"{tmp_path}/{{front,right,back,left,up,down}}.png"])})
    assert by_bytes["error_class"].tolist() == by_name["error_class"].tolist() == [""]
    assert by_name["id"].tolist() == [tmp_path.name]
    assert by_bytes["digest"].tolist() == by_name["digest"].tolist()
    assert np.array_equal(by_bytes["depth"][0], by_name["depth"][0])
    assert by_name["depth"][0].shape == (64, 128)


@pytest.mark.parametrize("more", [{}, {"output.projection": "cubemap"}])
@pytest.mark.parametrize("encode", [False, True])
def test_valid_pixels_come_along(tiny_unified: Path, more: dict[str, str], encode: bool) -> None:
    """In a column of their own, for rows with and without a mask, and of nothing for rejects."""
    masked = np.dstack([ARRAYS["small"], np.full((32, 64), 255, np.uint8)])
    masked[:10, :, 3] = 0
    predictor = pager_ray.PanoramaPredictor(tiny_unified, settings=SETTINGS | more, encode=encode)
    batch = predictor({"bytes": [png(masked), png(ARRAYS["small"]), b"no picture"]})
    assert batch["valid_fraction"][:2] == pytest.approx([22 / 32, 1])
    first, second, third = batch["valid"]
    assert len(third) == 0
    if encode:
        first, second = decode_mask(first), decode_mask(second)
    assert first.dtype == second.dtype == np.bool_
    assert second.all()
    if more and not encode:
        assert first.shape == batch["depth"][0].shape
        assert not first[4].any()
        assert first[5].all()
    else:
        np.testing.assert_array_equal(first, masked[..., 3] > 0)


def test_tilted_panoramas_are_levelled(tiny_unified: Path) -> None:
    """By columns of the batch: a missing number is no tilt, a wrong one a reject; without the columns nobody knows."""
    levelling = pager_ray.PanoramaPredictor(
        tiny_unified, settings=SETTINGS | {"input.upright": "columns"}, device="cpu"
    )
    image = np.stack([ARRAYS["small"]] * 4)
    batch = {"image": image, "pitch_degrees": np.array([30.0, 0.0, np.nan, 400.0])}
    found = levelling(batch)
    np.testing.assert_array_equal(found["level_pitch"], [30, 0, np.nan, np.nan])
    assert [*found["error_class"]] == ["", "", "", "bad_pose"]
    np.testing.assert_array_equal(found["depth"][1], found["depth"][2])
    assert not np.allclose(found["depth"][0], found["depth"][1], rtol=1e-3)
    with pytest.raises(
        ConfigError, match=r"input\.upright: columns takes pitch_degrees or roll_degrees, and the batch has"
    ):
        levelling({"image": image})
