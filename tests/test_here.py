"""The job in one process: the same output as on a cluster, resumed where it stopped, nothing lost and nothing twice."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d

import pager_ray
from pager_ray.config import RunConfig, load_config
from pager_ray.errors import ConfigError, InputError
from pager_ray.geometry import erp_to_cubemap, ray_length_factor
from pager_ray.here import run_here
from pager_ray.infer import FacePrediction, Predictor
from pager_ray.model import PagerModel, load_model, resolve_checkpoint
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.preview import panel_size
from pager_ray.reader.picture import source_picture
from pager_ray.reader.verify import verify_output
from pager_ray.samples import make_scene, render, write_samples
from pager_ray.stages import read as read_stage
from pager_ray.stages.settings import inference_settings
from pager_ray.validity import Validity
from tests.export.test_shown import pixels_of
from tests.read import cubes
from tests.read.images import cropped, encode, gpano_xmp, picture, with_xmp
from tests.read.packed import pack, write_tar

pytestmark = pytest.mark.usefixtures("networks_once")

COUNT = 4


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four panoramas and a text that is called one, beside a tiny checkpoint."""
    folder = tmp_path_factory.mktemp("here")
    write_samples(folder / "in", COUNT, height=64, ground_truth=False)
    (folder / "in" / "letter.jpg").write_text("Dear Sir or Madam")
    write_random_checkpoint(folder / "checkpoint", "tiny")
    return folder


def config_of(inputs: Path, output: Path, **more: str) -> RunConfig:
    given = {"input.uris": str(inputs / "in"), "output.uri": str(output), "checkpoint": str(inputs / "checkpoint")}
    given |= {"scene_mode": "indoor", "compute.gpus_per_worker": "0", "compute.threads_per_worker": "1", **more}
    return load_config(None, [f"{key}={value}" for key, value in given.items()])


class Dying:
    """A predictor that fails at its n-th panorama, and counts all."""

    def __init__(self, config: RunConfig, fails_at: int | None = None) -> None:
        self._predict = Predictor(load_model(config.checkpoint), inference_settings(config))
        self.calls, self._fails_at = 0, fails_at

    def __call__(self, faces: np.ndarray, scenes: Sequence[str | None], valid: object = None) -> list[FacePrediction]:
        self.calls += 1
        if self.calls == self._fails_at:
            raise RuntimeError("the power went")
        return self._predict(faces, scenes)


def test_it_ends_where_it_was_stopped(inputs: Path, tmp_path: Path) -> None:
    """A second call does what the first one left, and every input ends as one prediction or one reject."""
    config = config_of(inputs, tmp_path / "run")
    checkpoint = resolve_checkpoint(config.checkpoint)
    first = Dying(config, fails_at=3)
    with pytest.raises(RuntimeError, match="the power went"):
        run_here(config, checkpoint, first)
    assert pager_ray.open_run(tmp_path / "run").manifest["state"] == "failed"
    second, stages = Dying(config), list[str]()
    done = run_here(config, checkpoint, second, tell=stages.append)
    assert (done.inputs, done.predictions, done.rejects) == (COUNT + 1, COUNT, 1)
    assert second.calls == COUNT - 2
    assert stages[0] == "list"
    assert stages.count("write") == COUNT - 2 + 1
    verified = verify_output(str(tmp_path / "run"), 1.0)
    assert (verified.state, verified.decoded, list(verified.problems)) == ("complete", COUNT, [])
    reject = pager_ray.open_run(tmp_path / "run").rejects().to_pylist()[0]
    assert (reject["stage"], reject["error_class"]) == ("read", "not_an_image")


def test_columns_of_a_container_come_out_again(inputs: Path, tmp_path: Path) -> None:
    """What is kept of a tar's JSON stands beside the results, in one type each; the picture is found by its URI."""
    pictures = [path for path in sorted((inputs / "in").glob("*.jpg")) if path.name != "letter.jpg"]
    told = [{"town": "Bern", "metres": 540, "n": 1}, {"town": 7, "metres": 0.5, "n": 2}]
    members = [
        member
        for path, columns in zip(pictures[:2], told, strict=True)
        for member in ((path.name, path.read_bytes()), (f"{path.stem}.json", json.dumps(columns).encode()))
    ]
    write_tar(tmp_path / "in.tar", members)
    more = {"input.uris": str(tmp_path / "in.tar"), "input.keep_columns": "[town, metres, n]"}
    config = config_of(inputs, tmp_path / "run", **more)
    run_here(config, resolve_checkpoint(config.checkpoint), Dying(config))
    run = pager_ray.open_run(tmp_path / "run")
    table = run.table(["id", "uri", "town", "metres", "n"]).sort_by("n")
    assert table.select(["town", "metres", "n"]).to_pydict() == {
        "town": ["Bern", "7"], "metres": [540.0, 0.5], "n": [1, 2]
    }  # fmt: skip
    assert table.column("id").to_pylist() == [path.stem for path in pictures[:2]]
    picture = source_picture(run[table.column("id")[0].as_py()], str(tmp_path))
    assert picture.shape == (64, 128, 3)
    assert not verify_output(tmp_path / "run").problems


def test_cubemaps_are_inputs_as_others(inputs: Path, tmp_path: Path) -> None:
    """In folders and zips, stopped between two: each once, one with a bad face as a reject; their picture is found."""
    cubes.write(tmp_path / "in" / "hall", cubes.pictures("words", 32))
    with zipfile.ZipFile(tmp_path / "in" / "scans.zip", "w") as archive:
        for stem in ("one", "two"):
            for name, content in cubes.pictures("matterport", 16).items():
                is_bad = (stem, name[4:12]) == ("two", "_skybox5")
                archive.writestr(f"{stem}{name[4:]}", b"Dear Sir or Madam" if is_bad else content)
    uris = f"[{tmp_path}/in/hall, {tmp_path}/in/scans.zip]"
    config = config_of(inputs, tmp_path / "run", **{"input.uris": uris})
    checkpoint = resolve_checkpoint(config.checkpoint)
    with pytest.raises(RuntimeError, match="the power went"):
        run_here(config, checkpoint, Dying(config, fails_at=2))
    second = Dying(config)
    done = run_here(config, checkpoint, second)
    assert (done.predictions, done.rejects_by_class, second.calls) == (2, {"not_an_image": 1}, 1)
    assert not verify_output(tmp_path / "run").problems
    run = pager_ray.open_run(tmp_path / "run")
    table = run.table(["id", "width", "height", "coverage", "remarks"]).sort_by("id")
    assert table.to_pylist() == [
        {"id": "hall", "width": 128, "height": 64, "coverage": 1.0, "remarks": "cubemap"},
        {"id": "scans/one", "width": 64, "height": 32, "coverage": 1.0, "remarks": "cubemap"},
    ]
    assert run.rejects().column("id").to_pylist() == ["scans/two"]
    picture = source_picture(run["hall"], f"{tmp_path}/in")
    assert np.abs(picture.astype(int) - cubes.panorama(64)).max() <= 6
    with pytest.raises(InputError, match="does not lie below"):
        source_picture(run["hall"], f"{tmp_path}/elsewhere")


def test_a_job_over_containers_ends_where_it_was_stopped(inputs: Path, tmp_path: Path) -> None:
    """Stopped in the middle of a tar, of a zip and of a row group: each member once, a bad one as a reject."""
    pictures = {path.stem: path.read_bytes() for path in sorted((inputs / "in").glob("*.jpg"))}
    forms = ("tar", "zip", "parquet")
    for form in forms:
        pack(form, tmp_path / form, {f"{form}-{name}": content for name, content in pictures.items()}, suffix="jpg")
    sources = f"[{', '.join(str(tmp_path / form) for form in forms)}]"
    config = config_of(inputs, tmp_path / "run", **{"input.uris": sources})
    checkpoint = resolve_checkpoint(config.checkpoint)
    done = 0
    for fails_at in (2, COUNT + 1, COUNT + 1):
        dying = Dying(config, fails_at=fails_at)
        with pytest.raises(RuntimeError, match="the power went"):
            run_here(config, checkpoint, dying)
        done += dying.calls - 1
    last = Dying(config)
    result = run_here(config, checkpoint, last)
    assert done + last.calls == len(forms) * COUNT
    assert (result.predictions, result.rejects_by_class) == (len(forms) * COUNT, {"not_an_image": len(forms)})
    assert result.is_whole
    assert not verify_output(tmp_path / "run").problems


@pytest.mark.parametrize(
    "more", [{}, {"output.projection": "cubemap"}, {"output.format": "npz"}, {"output.size": "48x96"}]
)
def test_what_a_picture_does_not_show_is_no_result(inputs: Path, tmp_path: Path, more: dict[str, str]) -> None:
    """A crop, transparency and a cap: exact to a pixel in every reader, whatever is stored, and in no number."""
    (tmp_path / "in").mkdir()
    xmp = gpano_xmp(**cropped(40, 30, 160, 80, 256, 128))
    (tmp_path / "in" / "crop.png").write_bytes(with_xmp(picture(160, 80), "PNG", xmp))
    alpha = np.dstack([picture(256, 128), np.full((128, 256), 255, np.uint8)])
    alpha[20:60, 50:90, 3] = 0
    (tmp_path / "in" / "alpha.png").write_bytes(encode(alpha))
    given = {"input.uris": f"{tmp_path}/in", "input.mask.nadir_degrees": "30", "output.codec": "exact", **more}
    config = config_of(inputs, tmp_path / "run", **given)
    predictor = Predictor(load_model(inputs / "checkpoint"), inference_settings(config))
    assert run_here(config, resolve_checkpoint(config.checkpoint), predictor).predictions == 2
    run = pager_ray.open_run(tmp_path / "run")
    expected = {"crop": np.zeros((128, 256), bool), "alpha": np.ones((128, 256), bool)}
    expected["crop"][30:110, 40:200] = True
    expected["alpha"][20:60, 50:90] = False
    told = {row["id"]: row["valid_fraction"] for row in run.table(["id", "valid_fraction"]).to_pylist()}
    for id, source in expected.items():
        # 30 of 180 degrees: the centre of row 107 is the first that is too near.
        source[107:] = False
        assert told[id] == pytest.approx(source.mean(), abs=1e-6)
        prediction = run[id]
        rows = ((np.arange(prediction.height) + 0.5) * 128 / prediction.height).astype(int)
        columns = ((np.arange(prediction.width) + 0.5) * 256 / prediction.width).astype(int)
        np.testing.assert_array_equal(prediction.valid, source[np.ix_(rows, columns)])
        (item,) = [one for one in pager_ray.torch_dataset(tmp_path / "run") if one["id"] == id]
        np.testing.assert_array_equal(item["valid"][0].numpy(), prediction.valid)
        if more.get("output.projection") == "cubemap":
            depth, valid = prediction.faces("depth")[:, ::4, ::4], prediction.faces("valid")[:, ::4, ::4]
            median = run.table(["id", "depth_p50"]).to_pylist()[run.ids().index(id)]["depth_p50"]
            assert median == pytest.approx(np.median(depth[valid]), rel=1e-4)
    if more.get("output.format") != "npz":
        decode = pager_ray.row_decoder(tmp_path / "run", ["depth"])
        for file in run.files():
            for row in pq.read_table(file).to_pylist():
                np.testing.assert_array_equal(decode(row)["valid"], run[row["id"]].valid)
    assert not verify_output(tmp_path / "run").problems


def test_tilted_panoramas_end_as_others(inputs: Path, tmp_path: Path) -> None:
    """Levelled by their rows, in both projections alike; a pitch of 400° is a reject, none at all a mistake."""
    picture = next(path for path in sorted((inputs / "in").glob("*.jpg")) if path.name != "letter.jpg")
    rows = [("tilted", "20", "-10"), ("level", "0", ""), ("unknown", "", ""), ("wrong", "400", "")]
    lines = [f"{picture},{id},{pitch},{roll}" for id, pitch, roll in rows]
    (tmp_path / "list.csv").write_text("\n".join(["uri,id,pitch_degrees,roll_degrees", *lines]))
    more = {"input.uris": str(tmp_path / "list.csv"), "output.codec": "exact"}
    runs = {}
    for name, settings in {
        "erp": {"input.upright": "columns"},
        "cubemap": {"input.upright": "columns", "output.projection": "cubemap"},
        "off": {},
    }.items():
        config = config_of(inputs, tmp_path / name, **more, **settings)
        done = run_here(config, resolve_checkpoint(config.checkpoint), Dying(config))
        assert (done.predictions, done.rejects) == ((4, 0) if name == "off" else (3, 1))
        assert not verify_output(tmp_path / name, 1.0).problems
        runs[name] = pager_ray.open_run(tmp_path / name)
    (reject,) = runs["erp"].rejects().to_pylist()
    assert (reject["id"], reject["error_class"]) == ("wrong", "bad_pose")
    assert "pitch_degrees is '400'; takes degrees from −90 to 90" in reject["message"]
    levels = {row["id"]: row["level_pitch"] for row in runs["erp"].table(["id", "level_pitch"]).to_pylist()}
    assert levels == {"tilted": 20, "level": 0, "unknown": None}
    for map in ("depth", "normals", "sky"):
        for id in ("tilted", "level"):
            one, other = (getattr(runs[name][id], map) for name in ("erp", "cubemap"))
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
        for id in ("level", "unknown"):
            np.testing.assert_array_equal(getattr(runs["erp"][id], map), getattr(runs["off"][id], map))
    assert not np.allclose(runs["erp"]["tilted"].depth, runs["off"]["tilted"].depth, rtol=1e-3)
    (tmp_path / "list.csv").write_text(f"uri\n{picture}\n")
    with pytest.raises(
        ConfigError, match=r"^input\.upright: columns takes sources with columns pitch_degrees and roll_"
    ):
        run_here(config_of(inputs, tmp_path / "none", **more, **{"input.upright": "columns"}), None, None)  # type: ignore[arg-type]


def test_masks_lie_beside_their_pictures(inputs: Path, tmp_path: Path) -> None:
    """A mask counts to the pixel; where it is of another size, damaged or all black, its panorama is a reject."""
    names = ("fine", "plain", "size", "damaged", "black")
    mask = np.full((64, 128), 255, np.uint8)
    mask[10:30, 40:90] = 0
    masks = {
        "fine": encode(mask),
        "size": encode(mask[::2, ::2]),
        "damaged": encode(mask)[:60],
        "black": encode(mask * 0),
    }
    pack("zip", tmp_path / "in", {name: encode(picture(128, 64)) for name in names}, shards=1)
    for name, content in masks.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    config = config_of(
        inputs, tmp_path / "run", **{"input.uris": f"{tmp_path}/in", "input.mask.uris": f"{tmp_path}/*.png"}
    )
    predictor = Predictor(load_model(inputs / "checkpoint"), inference_settings(config))
    run_here(config, resolve_checkpoint(config.checkpoint), predictor)
    run = pager_ray.open_run(tmp_path / "run")
    by_name = {id.rpartition("/")[2]: id for id in run.ids()}
    assert by_name.keys() == {"fine", "plain"}
    np.testing.assert_array_equal(run[by_name["fine"]].valid, mask > 0)
    assert run[by_name["plain"]].valid.all()
    rejects = {row["id"].rpartition("/")[2]: row for row in run.rejects().to_pylist()}
    assert {name: row["error_class"] for name, row in rejects.items()} == {
        "size": "bad_mask",
        "damaged": "bad_mask",
        "black": "nothing_valid",
    }
    assert f"its mask {tmp_path}/size.png: has 64×32 pixels, its picture 128×64" in rejects["size"]["message"]
    assert f"its mask {tmp_path}/damaged.png" in rejects["damaged"]["message"]
    assert not verify_output(tmp_path / "run").problems
    # A mask that is gone when it is wanted is told as any file that is.
    (tmp_path / "fine.png").unlink()
    again = config_of(
        inputs, tmp_path / "again", **{"input.uris": f"{tmp_path}/in", "input.mask.uris": f"{tmp_path}/fine.png"}
    )
    done = run_here(again, resolve_checkpoint(again.checkpoint), predictor)
    assert done.rejects_by_class == {"missing": 5}
    assert "fine.png: does not exist" in pager_ray.open_run(tmp_path / "again").rejects()["message"][0].as_py()


def test_one_mask_for_all_is_fetched_once(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rig's mask is read once per process of a job, and every panorama has it."""
    mask = np.full((64, 128), 255, np.uint8)
    mask[50:] = 0
    (tmp_path / "rig.png").write_bytes(encode(mask))
    fetched = []
    real = read_stage.fetch_content
    monkeypatch.setattr(
        read_stage, "fetch_content", lambda uri, *rest, **named: (fetched.append(uri), real(uri, *rest, **named))[1]
    )
    config = config_of(inputs, tmp_path / "run", **{"input.mask.uris": f"{tmp_path}/rig.png"})
    predictor = Predictor(load_model(inputs / "checkpoint"), inference_settings(config))
    run_here(config, resolve_checkpoint(config.checkpoint), predictor)
    run = pager_ray.open_run(tmp_path / "run")
    assert len(run) == COUNT
    for prediction in run:
        np.testing.assert_array_equal(prediction.valid, mask > 0)
    assert fetched.count(f"{tmp_path}/rig.png") == 1


class Truth:
    """Stands in for a network that sees a rendered scene as it is where pixels are valid, and nonsense elsewhere."""

    def __init__(self, real: PagerModel, depth: np.ndarray, found: Validity, seed: int) -> None:
        self._real = real
        size, fov = real.architecture.face_size, real.architecture.cube_fov
        random = torch.Generator().manual_seed(seed)
        valid = torch.from_numpy(found.faces(size, fov))[None, :, None]
        faces = erp_to_cubemap(depth[..., None], size, fov)[..., 0] / ray_length_factor(size, fov)

        def spoilt(values: torch.Tensor, where: torch.Tensor = valid) -> torch.Tensor:
            return torch.where(where, values, 3 * torch.randn(values.shape, generator=random))

        log_z = spoilt(torch.from_numpy(faces).log()[None, :, None])
        coarse = real.architecture.scale_size
        pooled = adaptive_avg_pool2d(log_z[0], coarse)[None]
        whole = adaptive_avg_pool2d(valid[0].float(), coarse)[None] > 0.999
        self.raw = {
            "depth": log_z,
            "depth_conf": spoilt(torch.full_like(log_z, 2.0)),
            "normals": spoilt(torch.tensor([0.0, 1.0, 0.0]).view(1, 1, 3, 1, 1).expand(1, 6, 3, size, size)),
            "sky": spoilt(torch.full_like(log_z, -5.0)),
            "log_scale": torch.randn(1, 1, generator=random),
            "scale_log_metric_field": spoilt(pooled + np.log(1.5), whole),
        }

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def __call__(self, *_: object, **__: object) -> dict[str, torch.Tensor]:
        return dict(self.raw)


@pytest.mark.parametrize("kind", ["crop", "mask"])
@pytest.mark.parametrize("projection", ["erp", "cubemap"])
def test_nothing_of_a_run_is_of_what_is_not_valid(inputs: Path, tmp_path: Path, kind: str, projection: str) -> None:
    """Of a rendered scene: numbers are the truth's, over valid pixels, and the same whatever a network said elsewhere.

    So are maps and points, but for what is stitched from both sides of a border.
    """
    scene = make_scene(3, "indoor")
    truth = render(scene, 128, 256)
    found = Validity(128, 256, 30, 40, 150, 70) if kind == "crop" else Validity.whole(128, 256).capped(25.0, 0.0)
    given = {"input.uris": f"{tmp_path}/in", "output.previews": "true", "output.projection": projection}
    (tmp_path / "in").mkdir()
    if kind == "crop":
        xmp = gpano_xmp(**cropped(30, 40, 150, 70, 256, 128))
        content = with_xmp(truth.rgb[40:110, 30:180], "PNG", xmp)
    else:
        mask = np.full((128, 256), 255, np.uint8)
        mask[50:90, 100:170] = 0
        found, content = found.masked(mask > 0), encode(truth.rgb)
        (tmp_path / "mask.png").write_bytes(encode(mask))
        given |= {"input.mask.uris": f"{tmp_path}/mask.png", "input.mask.nadir_degrees": "25"}
    (tmp_path / "in" / "a.png").write_bytes(content)
    model = load_model(inputs / "checkpoint")
    runs = []
    for seed in range(2):
        config = config_of(inputs, tmp_path / f"run-{seed}", **given)
        predictor = Predictor(model, inference_settings(config))
        predictor.model = Truth(model, truth.depth, found, seed)  # type: ignore[assignment]
        assert run_here(config, resolve_checkpoint(config.checkpoint), predictor).predictions == 1
        runs.append(pager_ray.open_run(config.output.uri))
    one, other = (run["a"] for run in runs)
    assert not np.allclose(one.depth, other.depth, rtol=0.1)
    np.testing.assert_array_equal(one.valid, found.erp(128, 256))
    assert runs[0].table().to_pylist() == runs[1].table().to_pylist()
    (numbers,) = runs[0].table().to_pylist()
    size, fov = model.architecture.face_size, model.architecture.cube_fov
    faces = 1.5 * erp_to_cubemap(truth.depth[..., None], size, fov)[..., 0]
    seen = faces[:, ::4, ::4][found.faces(size, fov)[:, ::4, ::4]]
    for share in (1, 5, 50, 95, 99):
        assert numbers[f"depth_p{share:02}"] == pytest.approx(np.quantile(seen, share / 100), rel=1e-3)
    assert numbers["log_scale"] == pytest.approx(np.log(1.5), abs=1e-4)
    assert (numbers["sky_fraction"], numbers["median_confidence"]) == (0, 2)
    inner = cv2.erode(np.uint8(one.valid), np.ones((9, 9))) > 0
    np.testing.assert_array_equal(one.depth[inner], other.depth[inner])
    assert np.median(np.abs(one.depth[inner] / (1.5 * truth.depth[inner]) - 1)) < 0.02
    for cloud in (one.points(max_points=None), one.mesh()):
        row, column = pixels_of(cloud.xyz[np.abs(cloud.xyz[:, [0, 2]]).max(1) > 1e-6])
        assert one.valid[row, column].all()
    height, width = panel_size(1024)
    drawn = np.asarray(Image.open(tmp_path / "run-0" / "previews" / "a.jpg"))[-height - 30 :, :width]
    assert runs[0].manifest["config"]["output"]["previews"]
    assert (np.abs(drawn.astype(int) - (250, 250, 248)).max(-1) <= 4).mean() > 0.5 * (1 - found.fraction)
