"""Every registered codec holds what its metadata say, is readable by its recipe alone, and refuses what it is not."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator

import blosc2
import numpy as np
import PIL.Image
import pytest

from pager_ray.encode import PURPOSES, Codec, Kind, codec_from_metadata, codec_names, get_codec
from pager_ray.errors import ConfigError, ShapeError, StorageError

KINDS: tuple[Kind, ...] = ("depth", "normals", "sky")


def all_codecs() -> Iterator[Codec]:
    for kind in KINDS:
        for name in codec_names(kind):
            yield get_codec(kind, name)


CODECS = pytest.mark.parametrize("codec", list(all_codecs()), ids=lambda codec: f"{codec.kind}-{codec.name}")
GRIDS = pytest.mark.parametrize("grid", [(97, 190), (6, 33, 33), (1, 1)], ids=["erp", "faces", "pixel"])


def sample(kind: Kind, grid: tuple[int, ...]) -> np.ndarray:
    """A map with structure, noise and, where the kind knows them, holes."""
    rng = np.random.default_rng(3)
    if kind == "sky":
        return rng.random(grid, dtype=np.float32)
    if kind == "depth":
        depth = rng.lognormal(1, 1, grid).astype(np.float32)
        depth.reshape(-1)[1::7] = 0
        return depth
    normals = rng.standard_normal((*grid, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals.reshape(-1, 3)[1::7] = 0
    return normals


def error_of(codec: Codec, array: np.ndarray, back: np.ndarray) -> float:
    array, back = array.astype(np.float64), back.astype(np.float64)
    if codec.error_unit == "relative":
        known = array != 0
        return float(np.max(np.abs(back - array)[known] / array[known], initial=0))
    if codec.error_unit == "degree":
        chord = np.linalg.norm(back - array, axis=-1)
        return float(np.degrees(2 * np.arcsin(chord / 2)).max())
    return float(np.abs(back - array).max())


@CODECS
@GRIDS
def test_round_trip_within_the_stated_error(codec: Codec, grid: tuple[int, ...]) -> None:
    """Shape and dtype come back, holes stay holes, every value keeps the bound in the metadata."""
    array = sample(codec.kind, grid)
    back = codec.decode(codec.encode(array), array.shape)
    assert back.shape == array.shape
    assert back.dtype == np.float32
    assert error_of(codec, array, back) <= codec.max_error
    if codec.kind != "sky":
        components = array.shape[len(grid) :]
        holes, back_holes = (~a.reshape(*grid, *(components or (1,))).any(axis=-1) for a in (array, back))
        assert np.array_equal(holes, back_holes)


@CODECS
@GRIDS
def test_recipe_alone_decodes(codec: Codec, grid: tuple[int, ...]) -> None:
    """The metadata's statements, with NumPy and blosc2 or Pillow, give what decode gives."""
    array = sample(codec.kind, grid)
    blob = codec.encode(array)
    metadata = codec.metadata()
    rows, width = (grid[0], grid[1]) if len(grid) == 2 else (grid[0] * grid[1], grid[2])
    names = {"np": np, "blosc2": blosc2, "PIL": PIL, "io": io, "blob": blob, "shape": array.shape}
    names |= {"planes": int(metadata["planes"]), "rows": rows, "width": width}
    exec(metadata["decode"], names)
    assert names["array"].dtype == np.float32
    np.testing.assert_allclose(names["array"], codec.decode(blob, array.shape), rtol=1e-6, atol=2e-7)


@CODECS
def test_metadata_are_plain_and_find_the_codec_again(codec: Codec) -> None:
    """Strings only, non-empty, and enough to get the same codec back; an unknown version is refused."""
    metadata = codec.metadata()
    assert all(isinstance(key, str) and isinstance(value, str) and value for key, value in metadata.items())
    assert codec_from_metadata(codec.kind, metadata) == codec
    with pytest.raises(StorageError, match="version '0'"):
        codec_from_metadata(codec.kind, metadata | {"codec_version": "0"})
    with pytest.raises(StorageError, match="None"):
        codec_from_metadata(codec.kind, {})


@CODECS
def test_stated_error_in_metadata_is_not_rounded_down(codec: Codec) -> None:
    """What a reader parses from max_error is no smaller than the bound that is tested."""
    stated = codec.metadata()["max_error"]
    assert stated == "exact" if codec.max_error == 0 else float(stated.split()[0]) >= codec.max_error


@CODECS
def test_bytes_do_not_depend_on_layout_or_process(codec: Codec) -> None:
    """A strided or read-only view encodes to the same bytes, and so does an unpickled codec."""
    array = sample(codec.kind, (50, 80))
    blob = codec.encode(array)
    strided = np.repeat(array, 2, axis=1)[:, ::2]
    strided.flags.writeable = False
    assert codec.encode(strided) == blob
    assert pickle.loads(pickle.dumps(codec)).encode(array) == blob  # noqa: S301 - our own object


@CODECS
def test_blob_of_another_codec_or_shape_is_refused(codec: Codec) -> None:
    """Reading with the wrong codec, or transposed sizes, is a storage error and never an array."""
    array = sample(codec.kind, (24, 36))
    blob = codec.encode(array)
    with pytest.raises(StorageError, match="holds"):
        codec.decode(blob, (36, 24, *array.shape[2:]))
    for other in all_codecs():
        if other != codec:
            shape = (24, 36, 3) if other.kind == "normals" else (24, 36)
            with pytest.raises(StorageError):
                other.decode(blob, shape)


@CODECS
def test_shapes_that_are_no_panorama_are_refused(codec: Codec) -> None:
    """Empty maps, five faces and faces that are not square are shape errors both ways."""
    for grid in ((0, 5), (5,), (5, 8, 8), (6, 8, 9), (2, 3, 4, 5), ()):
        shape = (*grid, 3) if codec.kind == "normals" else grid
        with pytest.raises(ShapeError, match=codec.kind):
            codec.encode(np.zeros(shape, dtype=np.float32))
        with pytest.raises(ShapeError, match=codec.kind):
            codec.decode(b"", shape)


def test_other_dtypes_are_refused() -> None:
    """A float64 map would be truncated silently: it is a shape error instead."""
    with pytest.raises(ShapeError, match="float64"):
        get_codec("depth").encode(np.ones((4, 8)))


@pytest.mark.parametrize("kind", KINDS)
def test_purposes_resolve_for_every_kind(kind: Kind) -> None:
    """Each purpose names one codec per kind, default is the default, and exact means exact."""
    for purpose, names in PURPOSES.items():
        assert get_codec(kind, purpose).name == names[kind]
    assert get_codec(kind) == get_codec(kind, "default")
    assert get_codec(kind, "exact").max_error == 0


def test_unknown_names_list_what_there_is() -> None:
    """A typo is a configuration error that names the alternatives."""
    with pytest.raises(ConfigError, match="ufloat16, png16"):
        get_codec("depth", "jpeg")
    with pytest.raises(ConfigError, match="oct12"):
        get_codec("normals", "ufloat16")
    with pytest.raises(ConfigError, match="depth, normals, sky"):
        get_codec("colour", "default")  # type: ignore[arg-type]
