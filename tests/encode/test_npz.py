"""Npz files in the released layout: what goes in comes out, and nothing hostile is unpacked."""

import io
import zipfile

import numpy as np
import pytest

from pager_ray.encode.npz import MAX_VALUES, decode_npz, encode_npz
from pager_ray.errors import ShapeError


@pytest.mark.parametrize(
    ("name", "shape", "stored"),
    [
        ("depth", (4, 8), (1, 4, 8)),
        ("normals", (4, 8, 3), (3, 4, 8)),
        ("sky", (6, 5, 5), (6, 1, 5, 5)),
        ("normals", (6, 5, 5, 3), (6, 3, 5, 5)),
    ],
)
def test_arrays_are_stored_as_released(name, shape, stored):
    """One array ``arr_0``, float32, channels first."""
    array = np.random.default_rng(0).random(shape, dtype=np.float32)
    content = encode_npz(name, array)
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        assert archive.files == ["arr_0"]
    decoded = decode_npz(content)
    assert decoded.shape == stored
    assert decoded.dtype == np.float32
    back = np.moveaxis(decoded, -3, -1) if name == "normals" else decoded.squeeze(-3)
    np.testing.assert_array_equal(back, array)


def archive_of(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def bomb():
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f4", "fortran_order": False, "shape": (1, MAX_VALUES // 1024, 1025)}
    )
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no readable npz file"),
        (b"words", "no readable npz file"),
        (encode_npz("depth", np.ones((40, 80), np.float32))[:-200], "no readable npz file"),
        (archive_of(other=npy(np.ones(3))), "holds other.npy, takes arr_0.npy alone"),
        (archive_of(arr_0=npy(np.ones(3)), arr_1=npy(np.ones(3))), "holds arr_0.npy, arr_1.npy"),
        (archive_of(arr_0=npy(np.ones(3, np.int32))), "holds int32"),
        (archive_of(arr_0=npy(np.array([{}], object), allow_pickle=True)), "holds object"),
        (archive_of(arr_0=bomb()), "takes up to"),
        (archive_of(arr_0=npy(np.ones((4, 8), np.float32))[:-8]), "no readable npz file"),
        (archive_of(arr_0=b"no array"), "no readable npz file .*; write it again"),
        (archive_of(arr_0=npy(np.ones(3), version=(3, 0))), r"npy array of format version \(3, 0\), takes 1.0 or 2.0"),
    ],
    ids=["empty", "text", "cut", "name", "two", "integers", "objects", "bomb", "short", "no-npy", "version"],
)
def test_other_files_are_refused(content, reason):
    """Damaged, foreign, hostile or oversized files are an error that says what they hold, before they are unpacked."""
    with pytest.raises(ShapeError, match=reason):
        decode_npz(content)
