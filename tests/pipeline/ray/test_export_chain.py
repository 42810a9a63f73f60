"""The export job on Ray makes what the calling process would, and leaves no id without an outcome."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from pager_ray.errors import PagerError, StorageError, Terminated
from pager_ray.export.exporter import EXPORT_SCHEMA
from pager_ray.export.formats import ExportSettings
from pager_ray.export.points import Cleaning
from pager_ray.export.records import Records
from pager_ray.pipeline import export_chain as export_pipeline
from pager_ray.pipeline.export import ExportRequest, run_export
from pager_ray.pipeline.export_chain import RecordSink
from pager_ray.report.outcomes import ExportOutcome
from pager_ray.storage import Folder
from tests.export.runs import scene_run
from tests.pipeline.boards import LocalBoard

IDS = tuple(f"{number:02d}" for number in range(20))


def export(folder: Path, *, local: bool = False, output: str | None = None) -> ExportOutcome:
    settings = ExportSettings("glb", cleaning=Cleaning(max_points=500), images_from="/")
    return run_export(ExportRequest(str(folder / "run"), settings, local=local, output=output))


def test_ray_and_this_process_make_the_same_files(tmp_path: Path, ray_cluster: None) -> None:
    """Byte for byte, whoever makes them; a source that is gone is the one reject of both."""
    scene_run(tmp_path, IDS)
    (tmp_path / "sources" / "7.png").unlink()
    here = export(tmp_path, local=True, output=str(tmp_path / "here"))
    there = export(tmp_path)
    assert (there.exported, there.rejects_by_class, there.exit_code) == (19, {"missing": 1}, 3)
    assert (here.exported, here.bytes) == (there.exported, there.bytes)
    target = tmp_path / "run" / "exports" / "glb"
    for id in IDS:
        files = [folder / f"{id}.glb" for folder in (tmp_path / "here", target)]
        assert [file.exists() for file in files] == [id != "07"] * 2
        assert id == "07" or files[0].read_bytes() == files[1].read_bytes()
    assert (tmp_path / "here" / "rejects.csv").read_text() == (target / "rejects.csv").read_text()
    assert pq.read_table(target / "exported.parquet").column("id").to_pylist() == [id for id in IDS if id != "07"]


def test_a_job_that_failed_goes_on(tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stops the job is one error of this project's own; the next start makes the rest."""
    scene_run(tmp_path, IDS)
    target = tmp_path / "run" / "exports" / "glb"
    make = export_pipeline.make_export_fn

    def hindered(*arguments: object) -> object:
        function = make(*arguments)  # type: ignore[arg-type]

        def call(table: object) -> object:
            # Nothing can be put over a folder that is not empty.
            (target / "19.glb" / "x").mkdir(parents=True, exist_ok=True)
            return function(table)  # type: ignore[arg-type]

        return call

    with monkeypatch.context() as patch:
        patch.setattr(export_pipeline, "make_export_fn", hindered)
        with pytest.raises(StorageError, match=r"19\.glb: cannot be written"):
            export(tmp_path)
    (target / "19.glb" / "x").rmdir()
    (target / "19.glb").rmdir()
    outcome = export(tmp_path)
    assert (outcome.exported, outcome.exit_code) == (20, 0)
    assert outcome.fresh <= 20


def test_sigterm_leaves_what_a_second_start_finishes(
    tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to stop, the job takes no more ids, records what it began, and ends; nothing is lost or rejected."""
    scene_run(tmp_path, IDS)
    monkeypatch.setattr(export_pipeline, "ROWS_PER_TASK", 1)
    make = export_pipeline.make_export_fn

    told = tmp_path / "told"

    def slow(*arguments: object) -> object:
        function = make(*arguments)  # type: ignore[arg-type]
        pid = os.getpid()

        def call(table: object) -> object:
            result = function(table)  # type: ignore[arg-type]
            number = IDS.index(table.column("id")[0].as_py())  # type: ignore[attr-defined]
            if number == 2:
                os.kill(pid, signal.SIGTERM)
            # Whoever is past the gate when it closes ends after that; the others never begin.
            deadline = time.monotonic() + 600
            while number >= 2 and not told.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            return result

        return call

    class Noted(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "told to stop" in record.getMessage():
                told.touch()

    handler = Noted()
    logging.getLogger("pager_ray.pipeline.stopping").addHandler(handler)

    with monkeypatch.context() as patch:
        patch.setattr(export_pipeline, "make_export_fn", slow)
        try:
            with pytest.raises(Terminated):
                export(tmp_path)
        finally:
            logging.getLogger("pager_ray.pipeline.stopping").removeHandler(handler)
    recorded = len(list((tmp_path / "run" / "exports" / "glb" / "state").iterdir()))
    assert 0 < recorded < len(IDS)
    outcome = export(tmp_path)
    assert (outcome.exported, outcome.fresh, outcome.exit_code) == (20, 20 - recorded, 0)


def test_a_broken_installation_stops_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more is recorded once most rows meet errors that nobody foresaw."""
    board = LocalBoard()
    board.board.fatal = "32 rows met errors that nobody foresaw; report it"
    monkeypatch.setattr(ray, "get", lambda answer, **_: answer)
    records = Records(Folder(str(tmp_path)))
    rows = pa.Table.from_pylist([{"id": "a"}], EXPORT_SCHEMA)
    with pytest.raises(PagerError, match="nobody foresaw; report it"):
        RecordSink(records, board).write([rows], SimpleNamespace(task_idx=0))
    assert not list(tmp_path.iterdir())
    RecordSink(records, LocalBoard()).write([EXPORT_SCHEMA.empty_table()], SimpleNamespace(task_idx=0))
    assert not list(tmp_path.iterdir())
