"""An export makes every file once, says what it could not make, and goes on where it stopped."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import trimesh

from pager_ray.cli.export import FORMAT_NAMES
from pager_ray.encode import get_codec
from pager_ray.errors import ConfigError, PagerError, RunMismatchError, StorageError
from pager_ray.export import exporter, formats, libraries
from pager_ray.export.formats import FORMATS, ExportSettings
from pager_ray.export.points import Cleaning
from pager_ray.export.records import Records
from pager_ray.pipeline.export import ExportRequest, run_export
from pager_ray.reader import open_run
from pager_ray.report.outcomes import ExportOutcome
from pager_ray.runs.runfile import begin_start
from pager_ray.storage import Folder
from tests.export.runs import HEIGHT, scene_maps, scene_run


def export(
    folder: Path, format_name: str = "glb", *, color: str = "rgb", axes: str | None = None, **request: object
) -> ExportOutcome:
    settings = ExportSettings(
        format_name,
        color,  # type: ignore[arg-type]
        Cleaning(max_points=2000),
        face_size=16,
        images_from=str(folder / "sources"),
        axes=axes,  # type: ignore[arg-type]
    )
    return run_export(ExportRequest(str(folder / "run"), settings, local=True, **request))  # type: ignore[arg-type]


@pytest.mark.parametrize("format_name", [name for name, one in FORMATS.items() if not one.is_project])
def test_every_format_gives_its_files(tmp_path: Path, format_name: str) -> None:
    """Each id has its files under a safe name, none is empty, and the records say how many."""
    scene_run(tmp_path, ("a/b", "c"))
    outcome = export(tmp_path, format_name)
    assert (outcome.selected, outcome.exported, outcome.fresh, outcome.exit_code) == (2, 2, 2, 0)
    target = tmp_path / "run" / "exports" / format_name
    done = pq.read_table(target / "exported.parquet").to_pylist()
    assert [row["id"] for row in done] == ["a/b", "c"]
    assert all((target / row["file"]).stat().st_size for row in done)
    assert "a%2Fb" in done[0]["file"]
    made = {path for path in target.rglob("*") if path.is_file()} - {
        target / "exported.parquet",
        target / "export.json",
    }
    assert len(made) == sum(row["files"] for row in done)
    assert sum(path.stat().st_size for path in made) == outcome.bytes == sum(row["bytes"] for row in done)
    about = json.loads((target / "export.json").read_text())
    assert about["state"] == "complete"
    assert about["identity"]["unit"] == "metre"
    assert about["counts"] == {"selected": 2, "exported": 2, "rejected": 0}


def test_the_help_names_every_format() -> None:
    """What the command line offers is what there is."""
    assert tuple(FORMATS) == FORMAT_NAMES


@pytest.mark.parametrize("codec", ["default", "small", "exact", "portable"])
def test_npz_equals_the_run_within_its_codecs_bound(tmp_path: Path, codec: str) -> None:
    """The released layout holds, to the bit, what the run gives, which is what was stored within the stated bound."""
    scene_run(tmp_path, codec=codec)
    assert export(tmp_path, "npz").exit_code == 0
    target, stored, maps = tmp_path / "run" / "exports" / "npz", open_run(tmp_path / "run")["a"], scene_maps()
    for name in ("depth", "normals", "sky"):
        with np.load(target / name / "preds" / "a.npz") as file:
            array = file["arr_0"]
        assert array.dtype == np.float32
        found = np.moveaxis(array, 0, -1) if name == "normals" else array[0]
        np.testing.assert_array_equal(found, getattr(stored, name))
        bound = get_codec(name, codec).max_error  # type: ignore[arg-type]
        if name == "depth":
            np.testing.assert_allclose(found, maps[name], rtol=bound + 1e-7)
        elif name == "sky":
            np.testing.assert_allclose(found, maps[name], atol=bound + 1e-7)
        else:
            # By the chord, which is exact where the angle is small.
            chord = np.linalg.norm(found.astype(np.float64) - maps[name], axis=-1)
            assert np.degrees(2 * np.arcsin(chord.max() / 2)) <= bound + 1e-4


def test_points_have_the_pictures_colours(tmp_path: Path) -> None:
    """A source of another size is resized to the maps: the colours are the picture's."""
    scene_run(tmp_path, ("a",))
    source = tmp_path / "sources" / "0.png"
    green = np.zeros((2 * HEIGHT, 4 * HEIGHT, 3), np.uint8)
    green[..., 1] = 200
    cv2.imwrite(str(source), green)
    export(tmp_path)
    content = (tmp_path / "run" / "exports" / "glb" / "a.glb").read_bytes()
    (cloud,) = trimesh.load_scene(io.BytesIO(content), file_type="glb").geometry.values()
    assert 200 < len(cloud.vertices) <= 2000
    # Of 200 of 255 in sRGB, the light.
    assert (cloud.colors[:, :3] == (0, 147, 0)).all()


def test_without_its_source_a_row_is_a_reject_of_rgb_alone(tmp_path: Path) -> None:
    """Its neighbours are exported, the reason is on record, and colouring by normals needs no source."""
    scene_run(tmp_path)
    (tmp_path / "sources" / "0.png").unlink()
    outcome = export(tmp_path)
    assert (outcome.exported, outcome.exit_code, outcome.rejects_by_class) == (1, 3, {"missing": 1})
    assert outcome.lines()[-2:] == ["reasons   missing 1", f"1 rejects: {outcome.output}/rejects.csv"]
    with open(tmp_path / "run" / "exports" / "glb" / "rejects.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["id"], row["stage"], row["error_class"]) == ("a", "export", "missing")
    assert "0.png" in row["message"]
    by_normals = export(tmp_path, color="normals", output=str(tmp_path / "elsewhere"))
    assert (by_normals.exported, by_normals.exit_code) == (2, 0)
    assert (tmp_path / "elsewhere" / "a.glb").exists()


def test_a_source_that_is_no_panorama_names_itself(tmp_path: Path) -> None:
    """What became of a source since the run is told by its decoder's class."""
    scene_run(tmp_path, ("a",))
    source = tmp_path / "sources" / "0.png"
    source.write_bytes(b"no picture")
    outcome = export(tmp_path)
    assert outcome.rejects_by_class == {"not_an_image": 1}
    assert str(source) in (tmp_path / "run" / "exports" / "glb" / "rejects.csv").read_text()


def test_the_same_command_goes_on(tmp_path: Path) -> None:
    """Finished files are left alone; what is gone is made again, and rejects are tried again."""
    scene_run(tmp_path, ("a", "b", "c"))
    source = tmp_path / "sources" / "1.png"
    content = source.read_bytes()
    source.unlink()
    assert export(tmp_path).exported == 2
    target = tmp_path / "run" / "exports" / "glb"
    before = {name: (target / f"{name}.glb").stat().st_mtime_ns for name in "ac"}
    (target / "c.glb").unlink()
    source.write_bytes(content)
    outcome = export(tmp_path)
    assert (outcome.exported, outcome.fresh, outcome.exit_code) == (3, 2, 0)
    assert (target / "a.glb").stat().st_mtime_ns == before["a"]
    assert (target / "c.glb").exists()
    assert not (target / "rejects.csv").exists()
    assert export(tmp_path).fresh == 0


def test_what_a_dead_start_recorded_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that dies between two panoramas leaves the first one done."""
    scene_run(tmp_path, ("a", "b"))
    write = Folder.write

    def die(folder: Folder, name: str, data: bytes) -> None:
        if name == "b.glb":
            raise StorageError("the disk is full; make room")
        write(folder, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", die)
        with pytest.raises(StorageError, match="disk is full"):
            export(tmp_path)
    target = tmp_path / "run" / "exports" / "glb"
    assert json.loads((target / "export.json").read_text())["state"] == "running"
    outcome = export(tmp_path)
    assert (outcome.exported, outcome.fresh) == (2, 1)
    assert not list((target / "state").iterdir())


def test_a_larger_selection_adds_to_a_smaller_one(tmp_path: Path) -> None:
    """The selection is no part of an export's identity."""
    scene_run(tmp_path, ("a", "b", "c"))
    assert export(tmp_path, "sky-png", ids=("b",)).exported == 1
    outcome = export(tmp_path, "sky-png", where="sky_fraction > 0.05")
    assert (outcome.selected, outcome.fresh) == (2, 1)
    assert sorted(path.name for path in (tmp_path / "run" / "exports" / "sky-png").glob("*.png")) == ["b.png", "c.png"]


def test_other_settings_on_the_same_folder_are_refused(tmp_path: Path) -> None:
    """The differing keys are named; ``--overwrite`` makes the files anew."""
    scene_run(tmp_path)
    export(tmp_path)
    with pytest.raises(RunMismatchError, match=r"color: was 'rgb', now 'normals'\); choose another folder, or give"):
        export(tmp_path, color="normals")
    assert export(tmp_path, color="normals", overwrite=True).fresh == 2


def test_exports_of_earlier_versions_go_on(tmp_path: Path) -> None:
    """A record without axes is of files with y up; with others it is another export."""
    scene_run(tmp_path)
    export(tmp_path, "ply")
    about = json.loads((tmp_path / "run" / "exports" / "ply" / "export.json").read_text())
    assert "axes" not in about["identity"]
    assert export(tmp_path, "ply").fresh == 0
    with pytest.raises(RunMismatchError, match="axes: was None, now 'z-up'"):
        export(tmp_path, "ply", axes="z-up")
    export(tmp_path, "laz")
    about = json.loads((tmp_path / "run" / "exports" / "laz" / "export.json").read_text())
    assert about["identity"]["axes"] == "z-up"


def test_what_the_checkpoint_does_not_give_is_refused(tmp_path: Path) -> None:
    """Before any work, with what there is; a run without a scale is told to be relative."""
    scene_run(tmp_path, modalities=("normals", "sky"))
    with pytest.raises(ConfigError, match="--to ply: needs depth, and the run's checkpoint gives normals, sky alone"):
        export(tmp_path, "ply")
    with pytest.raises(ConfigError, match=r"--to: got 'obj'; takes glb, ply, laz"):
        export(tmp_path, "obj")
    assert export(tmp_path, "npz").exit_code == 0
    assert not (tmp_path / "run" / "exports" / "npz" / "depth").exists()
    about = json.loads((tmp_path / "run" / "exports" / "npz" / "export.json").read_text())
    assert about["identity"]["unit"] == "relative"


def test_a_missing_library_stops_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written where the format's library is not installed."""
    scene_run(tmp_path)

    def missing(name: str, extra: str = "export") -> None:
        raise ConfigError(f"{extra}: this format needs {name}; add it")

    monkeypatch.setattr(formats, "load", missing)
    with pytest.raises(ConfigError, match="needs plyfile"):
        export(tmp_path, "ply")
    with pytest.raises(ConfigError, match="rerun: this format needs rerun"):
        export(tmp_path, "rerun")
    assert libraries.load("json") is json
    assert not (tmp_path / "run" / "exports").exists()


def test_rows_that_cannot_be_exported_are_rejects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A null map, a shard that is gone and depth beyond the format's range each have their class."""
    run = scene_run(tmp_path, ("a", "b", "c"))
    row = run.prediction("d", uri="/in/d.jpg", map_height=HEIGHT, map_width=2 * HEIGHT)
    run.write("0123456789ab-00000003-abcdef", row | {"depth": None, "normals": None, "sky": None})
    (run.folder / "predictions" / "0123456789ab-00000001-abcdef.parquet").unlink()
    outcome = export(tmp_path, "depth-png")
    assert outcome.rejects_by_class == {"unreadable_prediction": 1, "no_map": 1}
    assert export(tmp_path, "npz").rejects_by_class == {"unreadable_prediction": 1, "no_map": 1}
    make = formats.images.encode_depth_png
    monkeypatch.setattr(formats.images, "encode_depth_png", lambda depth, *rest: make(depth * np.float32(1e12), *rest))
    outcome = export(tmp_path, "depth-png", overwrite=True, ids=("a",))
    assert outcome.rejects_by_class == {"not_exportable": 1}


def test_a_run_that_grew_is_looked_at_again(tmp_path: Path) -> None:
    """A worker that opened the run before an id was there finds it all the same."""
    run = scene_run(tmp_path, ("a",))
    opened = open_run(run.folder)
    run.write("0123456789ab-00000001-abcdef", run.prediction("new"))
    rows = exporter.export_ids(opened, ["new", "absent"], Folder(str(tmp_path / "out")), ExportSettings("sky-png"))
    assert rows.column("error_class").to_pylist() == [None, "unreadable_prediction"]


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    """The file, and what to do about it."""
    scene_run(tmp_path)
    export(tmp_path, "sky-png")
    (tmp_path / "run" / "exports" / "sky-png" / "exported.parquet").write_bytes(b"PAR1")
    with pytest.raises(StorageError, match=r"exported.parquet: is no record of an export .* remove it"):
        export(tmp_path, "sky-png")


def test_a_panorama_without_an_outcome_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a record is lost, the export says so instead of ending well."""
    scene_run(tmp_path)
    monkeypatch.setattr(Records, "commit", lambda self, rows: None)
    with pytest.raises(PagerError, match=r"2 of 2 panoramas have no outcome \(first: a, b\); run the same"):
        export(tmp_path, "sky-png")


def test_pictures_are_found_by_any_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of where they are read from, and of where the run says that they lie: workers get the place itself."""
    scene_run(tmp_path, ("a",))
    (tmp_path / "deep").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "sources")
    monkeypatch.chdir(tmp_path / "deep")
    for number, images_from in enumerate(("../sources", "../link/", f"file://{tmp_path}/deep/../sources")):
        settings = ExportSettings("faces", face_size=8, images_from=images_from)
        request = ExportRequest("../run", settings, local=True, output=f"{number}")
        assert run_export(request).rejects_by_class == {}
    request = ExportRequest("../run", ExportSettings("faces", face_size=8, images_from="https://h/.."), local=True)
    with pytest.raises(ConfigError, match=r"^--images-from: got https://h/\.\., which climbs"):
        run_export(request)


def another(folder: Path) -> None:
    """A run that began at another time."""
    run = scene_run(folder)
    run.manifest["starts"][0]["began"] = "2020-01-01T00:00:00+00:00"
    run.save()


def as_earlier_versions_did(export_file: Path, **more: str) -> None:
    """An export's record that knows its run by its path alone."""
    about = json.loads(export_file.read_text())
    del about["identity"]["run.sha256"]
    about["identity"] |= more
    export_file.write_text(json.dumps(about))


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_a_run_is_what_it_is_wherever_it_lies(tmp_path: Path, inside: bool, earlier: bool) -> None:
    """Reached by a link or ``..``, moved, grown: its exports go on, but for one elsewhere that knows the path alone."""
    (tmp_path / "at").mkdir()
    run = scene_run(tmp_path / "at")
    target = tmp_path / "at" / "run" / "exports" / "sky-png" if inside else tmp_path / "out"
    where = {} if inside else {"output": str(target)}

    def again(place: Path) -> ExportOutcome:
        settings = ExportSettings("sky-png")
        return run_export(ExportRequest(str(place / "run"), settings, local=True, **where))  # type: ignore[arg-type]

    assert again(tmp_path / "at").fresh == 2
    (tmp_path / "link").symlink_to(tmp_path / "at")
    for place in (tmp_path / "link", tmp_path / "at" / ".." / "at", tmp_path / "link" / "run" / ".."):
        if earlier:
            as_earlier_versions_did(target / "export.json")
        assert again(place).fresh == 0
    if earlier:
        as_earlier_versions_did(target / "export.json", run=f"{tmp_path}/at/sub/../run")
    run.manifest["identity"] |= {"listing.sha256": "grown"}
    begin_start(run.manifest)
    run.save()
    (tmp_path / "at").rename(tmp_path / "moved")
    target = tmp_path / "moved" / "run" / "exports" / "sky-png" if inside else target
    if earlier and not inside:
        with pytest.raises(RunMismatchError, match=r"holds another export \(run: was "):
            again(tmp_path / "moved")
    else:
        assert again(tmp_path / "moved").fresh == 0
        assert json.loads((target / "export.json").read_text())["identity"]["run"] == f"{tmp_path}/moved/run"


@pytest.mark.parametrize("earlier", [False, True])
def test_another_runs_export_is_refused(tmp_path: Path, earlier: bool) -> None:
    """Wherever it lies: also inside this run, and where the run itself was made anew in the same place."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    scene_run(tmp_path / "one")
    another(tmp_path / "two")
    for output in (tmp_path / "out", tmp_path / "two" / "run" / "exports" / "sky-png"):
        for name in ("one", "two"):
            request = ExportRequest(str(tmp_path / name / "run"), ExportSettings("sky-png"), None, None, str(output))
            if name == "one":
                assert run_export(request).fresh == 2
                if earlier:
                    as_earlier_versions_did(output / "export.json")
                continue
            with pytest.raises(RunMismatchError, match=rf"run: was '{tmp_path}/one/run', now '{tmp_path}/two/run'"):
                run_export(request)
    if not earlier:
        another(tmp_path / "one")
        anew = ExportRequest(str(tmp_path / "one" / "run"), ExportSettings("sky-png"), output=str(tmp_path / "out"))
        with pytest.raises(RunMismatchError, match=r"\(run\.sha256: was "):
            run_export(anew)
