"""The run file: two runs never mix, and every difference is named."""

import pytest

from pager_ray.errors import RunMismatchError, StorageError
from pager_ray.runs.runfile import (
    begin_start,
    check_same_job,
    check_same_run,
    end_start,
    new_run_file,
    read_run_file,
)
from pager_ray.storage import Folder


def test_differing_keys_are_named(tmp_path):
    """A resume with other settings is refused with every differing key and both values."""
    output = Folder(str(tmp_path))
    manifest = new_run_file({}, {"sky.fill": False, "checkpoint.sha256": "aa", "same": 1})
    check_same_run(manifest, {"sky.fill": False, "checkpoint.sha256": "aa", "same": 1}, output)
    with pytest.raises(RunMismatchError) as caught:
        check_same_run(manifest, {"sky.fill": True, "checkpoint.sha256": "bb", "same": 1}, output)
    assert "sky.fill: was False, now True" in str(caught.value)
    assert "checkpoint.sha256: was 'aa', now 'bb'" in str(caught.value)
    assert "same" not in str(caught.value)
    assert "--overwrite" in str(caught.value)


def test_starts_are_kept(tmp_path):
    """Each start of a run leaves when it began, when it ended and how."""
    output = Folder(str(tmp_path))
    manifest = new_run_file({"a": 1}, {}, checkpoint={"name": "x"})
    begin_start(manifest)
    end_start(manifest, "failed", "interrupted", {"inputs": 3})
    begin_start(manifest)
    assert manifest["state"] == "running"
    end_start(manifest, "complete", "complete", {"inputs": 3})
    output.write_json("run.json", manifest)
    again = read_run_file(output)
    assert [start["outcome"] for start in again["starts"]] == ["interrupted", "complete"]
    assert again["checkpoint"] == {"name": "x"}
    assert again["versions"]["torch"]


@pytest.mark.parametrize(("was", "now"), [(None, "evaluate"), ("evaluate", None), ("evaluate", "score")])
def test_another_kind_of_job_is_refused(tmp_path, was, now):
    """An inference run, an evaluation and a scoring never share an output, whatever else they agree on."""
    manifest = new_run_file({}, {"job": was} if was else {})
    with pytest.raises(RunMismatchError, match=f"pager-ray {was or 'run'}.*not of .pager-ray {now or 'run'}"):
        check_same_job(manifest, {"job": now} if now else {}, Folder(str(tmp_path)))
    check_same_job(manifest, {"job": was} if was else {}, Folder(str(tmp_path)))


def test_other_schema_versions_are_refused(tmp_path):
    """A run written by another version of the layout is refused by name, not misread."""
    output = Folder(str(tmp_path))
    assert read_run_file(output) is None
    output.write_json("run.json", {"schema_version": "99"})
    with pytest.raises(
        StorageError, match=r"its run\.json has schema version '99'; .*; read it with what wrote it, or choose"
    ):
        read_run_file(output)


@pytest.mark.parametrize("section", ["config", "identity", "checkpoint", "listing", "config.input", "config.depth"])
@pytest.mark.parametrize("value", [None, [], "x"])
def test_sections_of_another_kind_are_refused(tmp_path, section, value):
    """A run file may be anybody's: what is read as an object is one, or the file is refused by the section's name."""
    output = Folder(str(tmp_path))
    manifest = new_run_file({"input": {}, "depth": {"min": 0.1, "max": 100}}, {}, checkpoint={}, listing={})
    output.write_json("run.json", manifest)
    assert read_run_file(output) == manifest
    outer, _, inner = section.partition(".")
    if inner:
        manifest[outer][inner] = value
    else:
        manifest[outer] = value
    output.write_json("run.json", manifest)
    with pytest.raises(StorageError, match=rf"its run\.json cannot be understood \({section} is not what a job writes"):
        read_run_file(output)
