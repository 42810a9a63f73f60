"""A panorama becomes a whole run once, is found again by its content, and leaves nothing where it is refused."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

import pager_ray
from pager_ray.demo import studio as module
from pager_ray.demo.studio import STEPS, Model, Studio
from pager_ray.errors import ConfigError, InputError, RunNotFoundError, StorageError
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.reader.verify import verify_output

pytestmark = pytest.mark.usefixtures("networks_once")


def test_a_result_is_a_run(studio: Studio, pictures: list[Path], checkpoint: Path) -> None:
    """What is left verifies as a run, has a preview and a gallery, and holds what the model gives for the picture."""
    steps: list[str] = []
    result = studio.result(pictures[0], "indoor", steps.append)
    assert steps == [*STEPS]
    assert not result.cached
    assert result.maps == ("depth", "normals", "sky")
    verified = verify_output(str(result.folder), 1.0)
    assert (verified.state, verified.decoded, list(verified.problems)) == ("complete", 1, [])
    assert Image.open(result.preview).width == 1024
    assert (result.folder / "gallery" / "index.html").exists()
    expected = pager_ray.predict(pictures[0], pager_ray.load_model(str(checkpoint)), scene="indoor")
    stored = pager_ray.open_run(result.folder)[result.id]
    np.testing.assert_allclose(stored.depth, expected.depth, rtol=3e-4)
    assert stored.log_scale == pytest.approx(expected.log_scale, rel=1e-5)
    assert result.facts()["scene"] == "indoor"


def test_content_and_mode_are_what_counts(studio: Studio, pictures: list[Path], tmp_path: Path) -> None:
    """The same content under another name is found; another mode, picture or model is made."""
    first = studio.result(pictures[0], "indoor")
    copy = tmp_path / "renamed.jpg"
    shutil.copy(pictures[0], copy)
    steps: list[str] = []
    again = studio.result(copy, "indoor", steps.append)
    assert (again.cached, again.folder, steps) == (True, first.folder, [])
    others = [studio.result(pictures[0], "outdoor"), studio.result(pictures[1], "indoor")]
    assert not any(other.cached for other in others)
    write_random_checkpoint(tmp_path / "other", "tiny", seed=1)
    other = Studio(Model(str(tmp_path / "other")), studio.cache).result(pictures[0], "indoor")
    assert not other.cached
    assert len({first.key, other.key, *(one.key for one in others)}) == 4


def test_modes_need_two_scales(pictures: list[Path], tmp_path: Path) -> None:
    """A checkpoint without two scale heads has one result whatever the mode."""
    write_random_checkpoint(tmp_path / "normals", "tiny", modalities=("normals",))
    studio = Studio(Model(str(tmp_path / "normals")), tmp_path / "cache")
    first = studio.result(pictures[0], "auto")
    assert first.maps == ("normals",)
    assert studio.result(pictures[0], "outdoor").folder == first.folder
    assert "glb" not in first.formats()
    assert {"normals-png", "npz"} <= set(first.formats())
    with pytest.raises(ConfigError, match=r"needs depth"):
        studio.export(first, "glb")


def test_what_is_no_panorama_is_refused_and_leaves_nothing(
    studio: Studio, pictures: list[Path], tmp_path: Path
) -> None:
    """The sentence names the file as it was given, and neither a result nor a picture stays."""
    photo, text = tmp_path / "photo.png", tmp_path / "letter.jpg"
    Image.new("RGB", (400, 300)).save(photo)
    text.write_text("Dear Sir or Madam")
    for picture, reason in ((photo, "not_a_panorama"), (text, "not_an_image"), (tmp_path / "gone.jpg", "missing")):
        with pytest.raises(InputError, match=picture.name) as caught:
            studio.result(picture, "indoor")
        assert caught.value.error_class == reason
        assert str(studio.cache) not in str(caught.value)
    assert list(studio.results.iterdir()) == []
    studio.result(pictures[0], "indoor")
    assert len(list((studio.cache / "sources").iterdir())) == 1


def test_large_files_are_not_read(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beyond the limit is refused by its size."""
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    (tmp_path / "large.jpg").write_bytes(bytes(1001))
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("reads it"))
    with pytest.raises(InputError, match=r"large\.jpg: has more than"):
        studio.result(tmp_path / "large.jpg", "indoor")


def test_unknown_words_are_refused(studio: Studio, pictures: list[Path]) -> None:
    """Modes, formats, colours and keys that there are not are one line each; no key leads out of the cache."""
    with pytest.raises(ConfigError, match="mode: got 'cellar'; takes auto, indoor, outdoor"):
        studio.result(pictures[0], "cellar")
    result = studio.result(pictures[0], "indoor")
    with pytest.raises(ConfigError, match="--to: got 'doc'"):
        studio.export(result, "doc")
    with pytest.raises(ConfigError, match="color: got 'sepia'; takes rgb, normals"):
        studio.export(result, "glb", "sepia")
    for key in ("", ".", "..", "../sources", "nothing"):
        with pytest.raises(RunNotFoundError, match="run the panorama again"):
            studio.find(key)
    assert studio.find(result.key).id == result.id


def test_a_death_in_the_middle_is_made_good(
    studio: Studio, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result without its views is no result: the next call finishes it, without predicting again."""

    def die(*_: object, **__: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(module, "build_gallery", die)
        with pytest.raises(StorageError):
            studio.result(pictures[0], "indoor")
    steps: list[str] = []
    renamed = shutil.copy(pictures[0], studio.cache / "renamed.jpg")
    result = studio.result(Path(renamed), "indoor", steps.append)
    assert (result.cached, result.id) == (False, pictures[0].stem)
    assert steps == ["list", "gallery"]
    assert not verify_output(str(result.folder), 1.0).problems


def test_the_cache_is_bounded(checkpoint: Path, pictures: list[Path], tmp_path: Path) -> None:
    """Beyond the limit the results that were not asked for the longest go, and their pictures with them."""
    studio = Studio(Model(str(checkpoint)), tmp_path / "cache", keep=2)
    first = studio.result(pictures[0], "indoor")
    second = studio.result(pictures[1], "indoor")
    assert studio.result(pictures[0], "indoor").cached
    third = studio.result(pictures[2], "indoor")
    assert {folder.name for folder in studio.results.iterdir()} == {first.key, third.key}
    assert len(list((tmp_path / "cache" / "sources").iterdir())) == 2
    with pytest.raises(RunNotFoundError):
        studio.find(second.key)


def test_files_to_take_along(studio: Studio, pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """One file comes as it is, several as an archive; each is made once."""
    result = studio.result(pictures[0], "indoor")
    cloud = studio.export(result, "glb", "normals")
    assert cloud.name == f"{result.id}.glb"
    points = trimesh.load_scene(io.BytesIO(cloud.read_bytes()), file_type="glb").to_geometry()
    assert len(points.vertices) > 1000
    archive = studio.export(result, "faces")
    with zipfile.ZipFile(archive) as file:
        assert sum(name.endswith(".png") or name.endswith(".jpg") for name in file.namelist()) == 6
        assert file.testzip() is None
    monkeypatch.setattr(module, "export_files", lambda *_: pytest.fail("made again"))
    assert studio.export(result, "glb", "normals") == cloud


def test_examples_are_rendered_once(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures to pick are panoramas, and stay the same files."""
    monkeypatch.setattr(module, "EXAMPLES", 2)
    examples = studio.examples()
    stamps = [path.stat().st_mtime_ns for path in examples]
    assert len(examples) == module.EXAMPLES
    assert all(Image.open(path).size == (1024, 512) for path in examples)
    assert [path.stat().st_mtime_ns for path in studio.examples()] == stamps
