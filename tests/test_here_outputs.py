"""What a job stores: equal to single predictions, at every size, in every layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pager_ray
from pager_ray.errors import ConfigError
from pager_ray.geometry import cubemap_to_erp
from pager_ray.listing import list_inputs
from pager_ray.prediction import Prediction
from tests.harness.jobs import config_of, run_in_process

pytestmark = pytest.mark.usefixtures("networks_once")


@pytest.fixture(scope="module")
def expected(samples: Path, tiny_unified: Path) -> dict[str, Prediction]:
    """Every sample predicted in this process, without files or codecs."""
    model = pager_ray.load_model(tiny_unified)
    return {row.id: pager_ray.predict(row.uri, model, scene=row.scene) for row in list_inputs([str(samples)])}


def check_equal(output: Path, expected: dict[str, Prediction]) -> None:
    """Every panorama is there once, at its source's size, equal to what ``predict`` gives for it alone."""
    run = pager_ray.open_run(output)
    assert sorted(run.ids()) == sorted(expected)
    assert run.manifest["state"] == "complete"
    assert run.rejects().num_rows == 0
    for prediction in run:
        single = expected[prediction.id]
        assert (prediction.height, prediction.width) == (128, 256)
        assert prediction.scene == single.scene
        # Batches sum in another order than single panoramas: equal to rounding, no more.
        assert prediction.log_scale == pytest.approx(single.log_scale, abs=1e-4)
        for name in ("depth", "si_depth", "normals", "sky"):
            got, want = getattr(prediction, name), getattr(single, name)
            assert got.dtype == np.float32, name
            assert got.shape == want.shape
            assert np.abs(got - want).max() < 2e-4 * max(1, np.abs(want).max()), name
    pictures = sorted(path.name for path in (output / "previews").iterdir())
    assert pictures == sorted(f"{name}.jpg" for name in expected)


@pytest.mark.parametrize("projection", ["erp", "cubemap"])
@pytest.mark.parametrize("output_format", ["parquet", "npz"])
def test_outputs_equal_single_predictions(
    tmp_path: Path,
    samples: Path,
    tiny_unified: Path,
    expected: dict[str, Prediction],
    projection: str,
    output_format: str,
) -> None:
    """Whatever is stored, in whatever files, a reader gets the prediction of the panorama alone."""
    keys = (f"output.projection={projection}", f"output.format={output_format}", "output.previews=true")
    assert run_in_process(config_of(samples, tiny_unified, tmp_path / "run", *keys)).reconciliation.is_whole
    check_equal(tmp_path / "run", expected)


def test_npz_files_have_the_released_layout(
    tmp_path: Path, samples: Path, tiny_unified: Path, expected: dict[str, Prediction]
) -> None:
    """Names, array names, shapes and dtypes are those that the released evaluation reads."""
    run_in_process(config_of(samples, tiny_unified, tmp_path / "run", "output.format=npz"))
    name = next(iter(expected))
    for array, channels in (("depth", 1), ("normals", 3), ("sky", 1)):
        with np.load(tmp_path / "run" / array / "preds" / f"{name}.npz", allow_pickle=False) as archive:
            assert archive.files == ["arr_0"]
            assert archive["arr_0"].shape == (channels, 128, 256)
            assert archive["arr_0"].dtype == np.float32


def test_sky_fill_reaches_the_stored_maps(
    tmp_path: Path, samples: Path, tiny_unified: Path, expected: dict[str, Prediction]
) -> None:
    """With sky.fill the stored depth differs from the prediction where there is sky, and only then."""
    run_in_process(config_of(samples, tiny_unified, tmp_path / "run", "sky.fill=true", "sky.threshold=0.5"))
    run = pager_ray.open_run(tmp_path / "run")
    changed = {name: not np.allclose(run[name].depth, expected[name].depth, rtol=1e-3) for name in run.ids()}
    fractions = dict(
        zip(run.table().column("id").to_pylist(), run.table().column("sky_fraction").to_pylist(), strict=True)
    )
    assert any(changed.values())
    assert all(fractions[name] > 0 for name, differs in changed.items() if differs)


def test_output_size_and_table(tmp_path: Path, samples: Path, tiny_unified: Path) -> None:
    """Maps take the asked size; the table has one row per panorama with its source's size and quality numbers.

    The output's path looks like a partition of a table, and is none.
    """
    run_in_process(config_of(samples, tiny_unified, tmp_path / "id=7", "output.size=64x128", "output.codec=default"))
    run = pager_ray.open_run(tmp_path / "id=7")
    table = run.table(["id", "width", "height", "depth_p50", "log_scale", "digest"])
    assert table.num_rows == 8
    assert set(table.column("width").to_pylist()) == {256}
    assert all(value > 0 for value in table.column("depth_p50").to_pylist())
    assert all(value.startswith("sha256:") for value in table.column("digest").to_pylist())
    first = run[run.ids()[0]]
    assert first.depth.shape == first.sky.shape == (64, 128)
    np.testing.assert_allclose(np.linalg.norm(first.normals, axis=-1), 1, atol=2e-3)
    with pytest.raises(ConfigError, match="columns: pixels unknown"):
        run.table(["pixels"])


def test_cubemap_runs_keep_the_faces(tmp_path: Path, samples: Path, tiny_unified: Path) -> None:
    """A cubemap run gives the faces as predicted, and its maps are their stitching."""
    run_in_process(config_of(samples, tiny_unified, tmp_path / "run", "output.projection=cubemap"))
    first = next(iter(pager_ray.open_run(tmp_path / "run")))
    faces = first.faces("depth")
    assert faces.shape == (6, 56, 56)
    np.testing.assert_array_equal(first.depth, cubemap_to_erp(faces[..., None], 128, 256)[..., 0])
