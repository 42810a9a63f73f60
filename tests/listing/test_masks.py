"""Masks are found by name in folders and containers of any kind, and whatever cannot be decided is told in one line."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pager_ray.errors import ConfigError
from pager_ray.listing import Listed, Listing, grown, list_inputs, listing_digest
from pager_ray.listing.containers import SourceOptions
from pager_ray.listing.ids import FOUND_SCHEMA, found_table
from pager_ray.listing.masks import MaskSources, place_of, with_masks
from pager_ray.listing.parts import Parts
from pager_ray.read.containers import IndexSettings, Place
from pager_ray.read.fetch import fetch
from tests.read.packed import FORMS, pack, write_tar

PNG = b"\x89PNG picture of "


def files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG + name.encode())
    return folder


def masks_of(inputs: Path | str | list[str], *masks: Path | str, **options: str) -> dict[str, str | None]:
    """By id, the URI of each input's mask."""
    uris = inputs if isinstance(inputs, list) else [str(inputs)]
    found = list_inputs(uris, masks=MaskSources([str(one) for one in masks], **options))  # type: ignore[arg-type]
    return {row.id: place_of(row.mask).uri if row.mask else None for row in found}


@pytest.mark.parametrize("masks", [("a.png", "deep/a.png", "b.png"), ("a.jpg.png", "deep/a.jpg.png", "b.PNG.png")])
def test_folders(tmp_path: Path, masks: tuple[str, ...]) -> None:
    """Same path below the folder, with another suffix in place of the picture's or behind it; others have none."""
    inputs = files(tmp_path / "in", "a.jpg", "deep/a.jpg", "b.PNG", "c.jpg")
    folder = files(tmp_path / "masks", *masks, "other.png")
    assert masks_of(inputs, folder) == {
        "a": str(folder / masks[0]),
        "deep/a": str(folder / masks[1]),
        "b": str(folder / masks[2]),
        "c": None,
    }


def test_a_name_with_its_suffix_comes_before_one_without(tmp_path: Path) -> None:
    """Of two pictures that differ in their suffix alone each has its own."""
    inputs = files(tmp_path / "in", "a.jpg", "a.webp")
    folder = files(tmp_path / "masks", "a.jpg.png", "a.webp.png")
    assert masks_of(inputs, folder) == {"a.jpg": str(folder / "a.jpg.png"), "a.webp": str(folder / "a.webp.png")}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mask_form", ["files", "tar", "zip", "parquet"])
def test_containers_of_any_kind(tmp_path: Path, form: str, mask_form: str) -> None:
    """The names inside containers count, however pictures and masks are packed; the place told is the mask's own."""
    names = [f"room-{number}" for number in range(5)]
    pack(form, tmp_path / "in", dict.fromkeys(names, PNG + b"input"))
    pack(mask_form, tmp_path / "masks", {name: PNG + name.encode() for name in names[:4]}, shards=1)
    found = list_inputs([str(tmp_path / "in")], masks=MaskSources([str(tmp_path / "masks")]))
    told = {row.id.rpartition("/")[2]: row.mask for row in found}
    assert [name for name in names if told[name] is None] == names[4:]
    for name in names[:4]:
        place = place_of(told[name] or "")
        assert not place.is_shared
        assert (
            fetch(place.uri, place=Place(*(place.others[one] for one in ("offset", "size", "row_group", "row"))))
            == PNG + name.encode()
        )


def test_shards_of_the_same_names(tmp_path: Path) -> None:
    """Keys that count anew in each shard belong to the shard of that name."""
    for folder in ("in", "masks"):
        for shard in ("000", "001"):
            (tmp_path / folder).mkdir(exist_ok=True)
            suffix = "jpg" if folder == "in" else "png"
            write_tar(tmp_path / folder / f"{shard}.tar", [(f"0.{suffix}", PNG + f"{folder}{shard}".encode())])
    found = masks_of(tmp_path / "in", tmp_path / "masks")
    assert {id: uri.rpartition("/")[2] for id, uri in found.items() if uri} == {"000/0": "000.tar", "001/0": "001.tar"}


def test_components_and_columns_of_the_pictures_own_containers(tmp_path: Path) -> None:
    """A sample's or row's own mask is found in the same container, and is no input of its own."""
    tar = write_tar(tmp_path / "a.tar", [("x.jpg", PNG + b"x"), ("x.mask.png", PNG + b"mask"), ("y.jpg", PNG + b"y")])
    found = masks_of(tar, tar, column="mask.png")
    assert found == {"x": f"tar://x.mask.png::file://{tar}", "y": None}
    table = {"id": ["p", "q"], "image": [PNG + b"p", PNG + b"q"], "mask": [PNG + b"1", PNG + b"2"]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    source = [str(tmp_path / "t.parquet")]
    options = SourceOptions(settings=IndexSettings(image_column="image"))
    rows = list_inputs(source, options=options, masks=MaskSources(source, column="mask"))
    assert [(row.id, fetch(place_of(row.mask).uri)) for row in rows if row.mask] == [
        ("p", PNG + b"1"),
        ("q", PNG + b"2"),
    ]


def test_a_single_picture_is_the_mask_of_all(tmp_path: Path) -> None:
    """Given by itself; a folder that holds one has the mask of the one that is called so."""
    inputs = files(tmp_path / "in", "a.jpg", "b.jpg")
    mask = files(tmp_path / "masks", "a.png") / "a.png"
    found = list_inputs([str(inputs)], masks=MaskSources([str(mask)]))
    assert [(place_of(row.mask).uri, place_of(row.mask).is_shared) for row in found if row.mask] == [
        (str(mask), True)
    ] * 2
    assert masks_of(inputs, tmp_path / "masks") == {"a": str(mask), "b": None}


def test_listings_name_their_pictures_and_masks(tmp_path: Path) -> None:
    """Ids that a listing gives are names of masks; without them the pictures' own names are."""
    files(tmp_path / "in", "1.jpg", "2.jpg")
    (tmp_path / "ids.csv").write_text("uri,id\nin/1.jpg,hall\nin/2.jpg,attic\n")
    (tmp_path / "names.csv").write_text("uri\nin/1.jpg\nin/2.jpg\n")
    by_id = files(tmp_path / "by_id", "hall.png")
    by_name = files(tmp_path / "by_name", "in/2.png")
    assert masks_of(tmp_path / "ids.csv", by_id) == {"hall": str(by_id / "hall.png"), "attic": None}
    assert masks_of(tmp_path / "names.csv", by_name) == {"in/1": None, "in/2": str(by_name / "in/2.png")}
    (tmp_path / "masks.csv").write_text("uri,id\nby_id/hall.png,attic\n")
    assert masks_of(tmp_path / "ids.csv", tmp_path / "masks.csv") == {"hall": None, "attic": f"{by_id}/hall.png"}


def test_masks_among_the_inputs_are_no_inputs(tmp_path: Path) -> None:
    """A folder of masks below that of the pictures is not predicted."""
    inputs = files(tmp_path / "in", "a.jpg", "masks/a.png")
    assert masks_of(inputs, inputs / "masks") == {"a": str(inputs / "masks" / "a.png")}


def test_inputs_without_a_mask(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are told in one line, or are rejects that name themselves; their neighbours are inputs."""
    inputs = files(tmp_path / "in", "a.jpg", "b.jpg")
    folder = files(tmp_path / "masks", "a.png")
    with caplog.at_level(logging.INFO):
        masks_of(inputs, folder)
    assert "1 of 2 inputs have no mask; all of each is valid" in caplog.text
    assert "masks are called like no input" not in caplog.text


def test_masks_of_nobody_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A name in other letters is another name, and both the input and its would-be mask are told."""
    inputs = files(tmp_path / "in", "a.jpg", "b.jpg")
    folder = files(tmp_path / "masks", "a.png", "B.png")
    with caplog.at_level(logging.INFO):
        masks_of(inputs, folder)
    assert f"1 of 2 masks are called like no input (first: {folder / 'B.png'})" in caplog.text
    rows = list_inputs([str(inputs)], masks=MaskSources([str(folder)], missing="reject"))
    assert [(row.id, row.error_class) for row in rows] == [("a", None), ("b", "missing_mask")]
    assert f"{inputs}/b.jpg: has no mask of its name" in (rows[1].message or "")


def test_what_cannot_be_meant_is_one_line(tmp_path: Path) -> None:
    """Masks that are nobody's, two of one name, and those that cannot be read stop before any work."""
    inputs = files(tmp_path / "in", "a.jpg", "b.jpg")
    with pytest.raises(ConfigError, match=r"none of 2 masks is called like an input: the first is .*x\.png.*a\.jpg"):
        masks_of(inputs, files(tmp_path / "others", "x.png", "y.png"))
    with pytest.raises(ConfigError, match=r"a\.png and .*a\.webp are both called a; keep one"):
        masks_of(inputs, files(tmp_path / "twice", "a.png", "a.webp"))
    with pytest.raises(ConfigError, match=r"input\.mask\.uris\[0\]: .*nowhere does not exist"):
        masks_of(inputs, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"input\.mask\.uris\[0\]: .*empty holds no image"):
        masks_of(inputs, tmp_path / "empty")
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ConfigError, match=r"input\.mask\.uris"):
        masks_of(inputs, broken)
    with pytest.raises(ConfigError, match=r"input\.mask\.uris\[0\].*credentials"):
        masks_of(inputs, "s3://key:secret@bucket/masks")


def test_masks_are_part_of_a_listing(tmp_path: Path) -> None:
    """Another mask makes another listing; without masks the digest is that of earlier versions."""
    inputs = files(tmp_path / "in", "a.jpg")
    plain = list_inputs([str(inputs)])
    one, other = (
        list_inputs([str(inputs)], masks=MaskSources([str(files(tmp_path / name, "a.png"))])) for name in ("one", "two")
    )
    assert len({listing_digest(rows) for rows in (plain, one, other)}) == 3
    assert listing_digest(plain) == listing_digest(list_inputs([str(inputs)], masks=MaskSources([])))


def test_a_new_mask_changes_an_input(tmp_path: Path) -> None:
    """In a collection that grows an input whose mask came, went or moved is one that was replaced."""

    def listed(**masks: str | None) -> Listing:
        return Listing.of([Listed(f"/in/{id}.jpg", id, mask=mask) for id, mask in masks.items()])

    growth = grown(listed(a="1", b=None, c="3", d="4").table, listed(a="1", b="2", c=None, d="5", e="6"))
    assert list(growth.changed) == ["b", "c", "d"]
    assert growth.new == 1
    assert growth.table.column("mask").to_pylist() == ["1", "2", None, "5", "6"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"uri": 3}', "{" * 100, json.dumps({"uri": "x" * 100_000})])
def test_places_of_strangers_are_bounded(text: str) -> None:
    """What a manifest says of a mask is understood, or an error."""
    with pytest.raises(ValueError, match=r".+"):
        place_of(text)


def test_frames_have_their_videos_mask() -> None:
    """A mask per frame where there is one, else one that is called like the video."""

    def found(uris: list[str], relative: list[str]) -> Parts:
        names = {"uri": pa.array(uris), "relative": pa.array(relative), "is_utf8": pa.array([True] * len(uris))}
        return Parts.of([found_table(len(uris), **names)], FOUND_SCHEMA)

    frames = found(
        [f"video://{frame}::file:///in/{name}.mp4" for name in ("walk", "ride") for frame in (1, 2)],
        [f"{name}/{frame}" for name in ("walk", "ride") for frame in (1, 2)],
    )
    masks = found(["/m/walk.png", "/m/walk/2.png"], ["walk.png", "walk/2.png"])
    told = with_masks(frames, masks, "ignore", shared=False).table().column("mask").to_pylist()
    assert [text and place_of(text).uri for text in told] == ["/m/walk.png", "/m/walk/2.png", None, None]


def test_signed_masks_are_refused() -> None:
    """Their signatures would have to be stored, and would be over when they are wanted."""
    names = {"uri": pa.array(["https://x/a.png"]), "relative": pa.array(["a.png"]), "is_utf8": pa.array([True])}
    signed = found_table(1, **names, signed=pa.array(["https://x/a.png?X-Amz-Signature=1"]))
    inputs = found_table(1, **names | {"uri": pa.array(["/in/a.jpg"])})
    with pytest.raises(ConfigError, match=r"input\.mask\.uris: signed addresses are not kept"):
        with_masks(Parts.of([inputs], FOUND_SCHEMA), Parts.of([signed], FOUND_SCHEMA), "ignore", shared=False)


def test_masks_that_are_all_the_inputs_are_a_mistake(tmp_path: Path) -> None:
    """The pictures' own folder given for their masks leaves no input: a job that is done with nothing is none."""
    folder = files(tmp_path / "in", "a.jpg", "b.jpg")
    with pytest.raises(ConfigError, match=r"input\.mask\.uris: names every picture of input\.uris .*another folder"):
        masks_of(folder, folder)
