"""Tests of pager_ray.datasets.zuripano, and of datasets of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pager_ray.datasets import open_dataset
from pager_ray.datasets.rows import files_of_split
from pager_ray.errors import ConfigError, InputError
from tests.datasets.folders import (
    depth_png,
    image_bytes,
    parquet_bytes,
    picture_bytes,
    write_tree,
    zuripano_bytes,
    zuripano_rows,
)

NAME = "ZuriPano"


def write_rows(tmp_path: Path, rows: list[dict[str, Any]], name: str = "data/test-00000.parquet") -> str:
    write_tree(f"{tmp_path}/{NAME}", {name: zuripano_bytes(rows)})
    return str(tmp_path)


@pytest.mark.parametrize(
    "name", ["data/test-00000-of-00001.parquet", "test-00000.parquet", "test.parquet", "0000.parquet", "data/x.parquet"]
)
def test_files_may_lie_in_the_folder(tmp_path: Path, name: str) -> None:
    """Parquet files of the split are taken from data/ or the folder itself, under the Hub's names or any."""
    dataset = open_dataset(NAME, write_rows(tmp_path, zuripano_rows(), name))
    samples = dataset.samples()
    assert [(sample.id, sample.scene, sample.labels) for sample in samples] == [
        ("Place_0", "outdoor", {}),
        ("Place_1", "outdoor", {}),
    ]
    assert [sample.uri for sample in samples] == [f"{tmp_path}/{NAME}/{name}#{number}" for number in range(2)]


def test_other_splits_are_left_out(tmp_path: Path) -> None:
    """Where names tell of splits, only the split test counts."""
    assert files_of_split(["b.parquet", "a.parquet", "x.txt"], "test") == ["a.parquet", "b.parquet"]
    assert files_of_split(["data/train-0.parquet", "data/test-1.parquet", "data/test-0.parquet"], "test") == [
        "data/test-0.parquet",
        "data/test-1.parquet",
    ]
    assert files_of_split(["train-0.parquet", "more.parquet"], "test") == []
    write_rows(tmp_path, zuripano_rows(), "data/train-0.parquet")
    with pytest.raises(ConfigError, match=r"expected .*data/test-\*\.parquet"):
        open_dataset(NAME, str(tmp_path))


def test_rows_of_many_groups_and_files(tmp_path: Path) -> None:
    """Every row of every row group and file is found at its place, in order of ids, and reads its own picture."""
    rows = [
        row | {"id": f"{number:02d}", "rgb": picture_bytes(seed=number)} for number, row in enumerate(zuripano_rows(7))
    ]
    parts = {"data/test-0.parquet": rows[4:], "data/test-1.parquet": rows[:4]}
    for name, part in parts.items():
        write_tree(f"{tmp_path}/{NAME}", {name: zuripano_bytes(part, row_group_size=2)})
    dataset = open_dataset(NAME, str(tmp_path))
    samples = dataset.samples()
    assert [sample.id for sample in samples] == [f"{number:02d}" for number in range(7)]
    assert samples[3].source == {"file": "data/test-1.parquet", "group": "1", "row": "1"}
    assert samples[6].source == {"file": "data/test-0.parquet", "group": "1", "row": "0"}
    pictures = [dataset.cell(sample, "rgb", "bad_image") for sample in samples]
    assert pictures == [picture_bytes(seed=number) for number in range(7)]


def test_depth_and_mask(tmp_path: Path) -> None:
    """Steps are 200/65535 m; a pixel is valid where mask and range allow."""
    steps = np.array([[0, 1000, 24000, 65535]], np.uint16).repeat(2, axis=0)
    mask = np.array([[255], [0]], np.uint8).repeat(4, axis=1)
    row = zuripano_rows(1)[0] | {"depth": image_bytes(steps), "mask": image_bytes(mask)}
    dataset = open_dataset(NAME, write_rows(tmp_path, [row]))
    truth = dataset.read_ground_truth(dataset.samples()[0])
    columns = truth.depth[0, [0, 1024, 2048, 3072]]
    np.testing.assert_allclose(columns, [0.01, 1000 * 200 / 65535, 24000 * 200 / 65535, 75], rtol=1e-7)
    assert truth.mask[:1024, [0, 1024, 2048, 3072]].all(axis=0).tolist() == [False, True, True, False]
    assert not truth.mask[1024:].any()


def test_ids(tmp_path: Path) -> None:
    """Ids are stripped and get _ for spaces; whatever would leave a folder is encoded; none is an error."""
    ids = [" Zürich HB 1 ", "../../etc/passwd", "a  b"]
    rows = [row | {"id": id} for row, id in zip(zuripano_rows(3), ids, strict=True)]
    samples = open_dataset(NAME, write_rows(tmp_path, rows)).samples()
    assert [sample.id for sample in samples] == ["%2E.%2F..%2Fetc%2Fpasswd", "Zürich_HB_1", "a__b"]
    for id in (None, "  "):
        write_rows(tmp_path, [zuripano_rows(1)[0] | {"id": id}, zuripano_rows(1)[0]])
        with pytest.raises(ConfigError, match=r"test-.*\.parquet: row 0 has no id; fetch the file again"):
            open_dataset(NAME, str(tmp_path)).samples()


def test_same_ids_are_refused(tmp_path: Path) -> None:
    """Two rows whose ids become one are named."""
    rows = [row | {"id": id} for row, id in zip(zuripano_rows(2), ["a b", " a_b"], strict=True)]
    with pytest.raises(ConfigError, match=r"#0 and .*#1 both have the id 'a_b'"):
        open_dataset(NAME, write_rows(tmp_path, rows)).samples()


@pytest.mark.parametrize("column", ["rgb", "depth", "mask"])
@pytest.mark.parametrize("cell", [None, b"", b"garbage"])
def test_bad_cells_are_named(tmp_path: Path, column: str, cell: bytes | None) -> None:
    """A cell that is empty or damaged is an error of its row, which is named; the next row can be read."""
    rows = zuripano_rows(2)
    rows[0] |= {column: cell}
    dataset = open_dataset(NAME, write_rows(tmp_path, rows))
    bad, good = dataset.samples()
    read = dataset.read_rgb if column == "rgb" else dataset.read_ground_truth
    with pytest.raises(InputError, match=r"test-00000\.parquet") as caught:
        read(bad)
    if column != "rgb":
        assert caught.value.error_class == "bad_ground_truth"
    else:
        assert caught.value.error_class == {None: "bad_image", b"": "empty_file"}.get(cell, "not_an_image")
    read(good)


def test_plain_binary_columns(tmp_path: Path) -> None:
    """Images may be plain binary instead of structs."""
    write_tree(f"{tmp_path}/{NAME}", {"data/test-0.parquet": parquet_bytes(zuripano_rows())})
    dataset = open_dataset(NAME, str(tmp_path))
    sample = dataset.samples()[1]
    assert dataset.cell(sample, "rgb", "bad_image") == picture_bytes(seed=1)
    assert dataset.cell(sample, "depth", "bad_image") == depth_png()


def test_missing_columns_and_files(tmp_path: Path) -> None:
    """Files without the columns are a ConfigError; a file that is gone later is an error of its samples."""
    write_tree(f"{tmp_path}/{NAME}", {"data/test-0.parquet": parquet_bytes([{"id": "a", "rgb": b""}])})
    with pytest.raises(ConfigError, match=r"test-0\.parquet: has no column depth, mask; it has id, rgb"):
        open_dataset(NAME, str(tmp_path)).samples()
    dataset = open_dataset(NAME, write_rows(tmp_path, zuripano_rows(), "data/test-0.parquet"))
    sample = dataset.samples()[0]
    (tmp_path / NAME / "data/test-0.parquet").unlink()
    for read, error_class in ((dataset.read_rgb, "missing"), (dataset.read_ground_truth, "bad_ground_truth")):
        with pytest.raises(InputError, match=r"test-0\.parquet: does not exist") as caught:
            read(sample)
        assert caught.value.error_class == error_class
