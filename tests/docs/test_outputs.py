"""docs/outputs.md holds: its recipes, as printed, decode what runs store, and its tables are those of the shards."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pager_ray
from pager_ray.encode import codec_names, get_codec
from pager_ray.geometry import erp_rays, level_rotation, turned_back
from pager_ray.geometry.faces import FACE_NAMES
from pager_ray.runs.shards import PREDICTION_COLUMNS
from pager_ray.validity import Validity
from tests.reader.runs import FACE, SmallRun, maps_of

PAGE = Path(__file__).parents[2] / "docs" / "outputs.md"
TEXT = PAGE.read_text(encoding="utf-8")
KINDS = ("depth", "normals", "sky")
PURPOSES = ("default", "small", "exact", "portable")


def recipes() -> str:
    """Every Python block of the part for those who do not have the package."""
    part = TEXT[TEXT.index("## Read it without this package") :]
    return "\n".join(re.findall(r"```python\n(.*?)```", part, re.DOTALL))


@pytest.fixture(scope="module")
def printed() -> dict:
    """What the recipes define."""
    names: dict = {}
    exec(compile(recipes(), str(PAGE), "exec"), names)
    return names


def test_recipes_need_no_package_of_ours() -> None:
    """The recipes run in an interpreter that cannot import pager_ray, torch or Ray."""
    blocked = "import sys\nfor name in ('pager_ray', 'torch', 'ray'): sys.modules[name] = None\n"
    subprocess.run([sys.executable, "-c", blocked + recipes()], check=True)


@pytest.mark.parametrize("projection", ["erp", "cubemap"])
@pytest.mark.parametrize("codec", PURPOSES)
def test_recipes_read_runs(tmp_path: Path, printed: dict, codec: str, projection: str) -> None:
    """Each row of a shard comes out as the reader gives it, for every codec and projection."""
    small = SmallRun(tmp_path / "run", projection=projection, codec=codec)
    small.write("s1", small.prediction("a"), small.prediction("b"))
    run = pager_ray.open_run(small.folder)
    for k, id in enumerate(run.ids()):
        read = printed["read_row"](run.files()[0], k)
        assert set(read) == set(KINDS)
        for name, array in read.items():
            assert array.dtype == np.float32
            stored = run[id].faces(name) if projection == "cubemap" else getattr(run[id], name)
            np.testing.assert_allclose(array, stored, rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in codec_names(kind)])  # type: ignore[arg-type]
def test_every_codec_has_a_recipe_that_knows_holes(printed: dict, kind: str, name: str) -> None:
    """No codec is without a recipe, and what is no depth or no direction comes back as it does from the package."""
    codec = get_codec(kind, name)  # type: ignore[arg-type]
    array = maps_of("x")[kind]
    if kind != "sky":
        array[::3, ::2] = 0
    blob = codec.encode(array)
    np.testing.assert_allclose(
        printed[f"{kind}_{name}"](blob, *array.shape[:2]), codec.decode(blob, array.shape), rtol=1e-6, atol=2e-7
    )
    assert f"`{name}`" in TEXT


def test_printed_rays_are_the_packages(printed: dict) -> None:
    """Points of a depth of one are the rays of the ERP."""
    rays = printed["erp_points"](np.ones((31, 62), np.float32))
    np.testing.assert_allclose(rays, erp_rays(31, 62), atol=1e-6)


def test_levelled_faces_are_turned_as_the_package_does(printed: dict) -> None:
    """The recipe's rotation is that of the reader, signs and order included."""
    normals = maps_of("x")["normals"]
    for tilt in ((20.0, -35.0), (-90.0, 180.0)):
        expected = turned_back(normals, level_rotation(*tilt))
        np.testing.assert_allclose(printed["turned_back"](normals, *tilt), expected, atol=1e-6)


@pytest.mark.parametrize(("height", "rows"), [(16, 7), (40, 7), (10, 3)])
def test_recipes_read_what_is_valid(tmp_path: Path, printed: dict, height: int, rows: int) -> None:
    """The recipe's pixels are the reader's, for crops, caps and masks, and maps of any size; all without a value."""
    mask = np.random.default_rng(rows).random((rows, 9)) < 0.5
    told = {"a": Validity(16, 32, 3, 2, 20, 11, 20.0, 35.0), "b": Validity(16, 32, 3, 2, 20, 11, mask=mask)}
    sizes = {"map_height": height, "map_width": 2 * height}
    maps = {"depth": get_codec("depth", "exact").encode(np.ones((height, 2 * height), np.float32))}
    small = SmallRun(tmp_path / "run", modalities=("depth",))
    values = [told["a"].to_row(), told["b"].to_row(), None]
    small.write(
        "s1", *(small.prediction(id, **sizes, **maps, valid=one) for id, one in zip("abc", values, strict=True))
    )
    run = pager_ray.open_run(small.folder)
    for k, id in enumerate("abc"):
        read = printed["read_valid"](run.files()[0], k)
        np.testing.assert_array_equal(read, run[id].valid)
        assert read.all() == (id == "c")


@pytest.mark.parametrize("fov", [90.0, 100.0])
def test_printed_face_rays_are_what_faces_show(printed: dict, fov: float) -> None:
    """A panorama of its own rays, projected to faces, shows in each pixel the ray that the recipe says."""
    rays = erp_rays(512, 1024).astype(np.float32)
    shown = pager_ray.geometry.erp_to_cubemap(rays, FACE, fov)
    shown /= np.linalg.norm(shown, axis=-1, keepdims=True)
    said = printed["face_points"](np.ones((6, FACE, FACE), np.float32), fov)
    assert np.degrees(np.arccos(np.clip((shown * said).sum(-1), -1, 1))).max() < 0.4


def test_tables_name_every_column_and_face() -> None:
    """The column table has the shards' columns and no other; the face table has the faces in their order."""
    table = TEXT[TEXT.index("## Columns") : TEXT.index("## Read it in Python")]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]
    assert set(named) == {*PREDICTION_COLUMNS, *KINDS, "valid"}
    assert len(named) == len(set(named))
    assert re.findall(r"^\| (\w+) \| [+−]", TEXT, re.MULTILINE) == list(FACE_NAMES)
