"""The names that others build on: they exist, load on first use, and cost nothing until then."""

from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest
import torch

import pager_ray
from pager_ray import errors
from pager_ray.errors import InputError, RunNotFoundError
from tests.infer.golden import FACE, HEIGHT, WIDTH, expected, panorama
from tests.reader.runs import SmallRun

ERRORS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]


def test_every_public_name_exists() -> None:
    """Each documented name is there, listed, and importable from the package."""
    names = {"PagerError", "Prediction", "Run", "geometry", "load_model", "open_run", "predict"} | {
        "row_decoder",
        "torch_dataset",
        "PanoramaPredictor",
        "read_panoramas",
    }
    assert names < set(pager_ray.__all__) == set(dir(pager_ray))
    for name in pager_ray.__all__:
        assert getattr(pager_ray, name) is not None
    namespace: dict[str, object] = {}
    exec("from pager_ray import *", namespace)
    assert names < set(namespace)


def test_unknown_names_are_errors() -> None:
    """A name that the package does not have is an AttributeError that says so."""
    with pytest.raises(AttributeError, match="module 'pager_ray' has no attribute 'predicts'"):
        _ = pager_ray.predicts


def test_arguments_of_the_documented_calls() -> None:
    """The documented calls take the documented arguments, by name and in order."""
    wanted = {
        pager_ray.load_model: ["source", "device", "precision"],
        pager_ray.predict: ["image", "model"],
        pager_ray.open_run: ["uri"],
        pager_ray.geometry.erp_to_cubemap: ["erp", "face_size", "fov"],
        pager_ray.geometry.cubemap_to_erp: ["faces", "height", "width", "fov"],
        pager_ray.Run.table: ["self", "columns"],
    }
    for function, names in wanted.items():
        assert list(inspect.signature(function).parameters)[: len(names)] == names
    defaults = inspect.signature(pager_ray.load_model).parameters
    assert [defaults[name].default for name in ("source", "device", "precision")] == ["pager", "auto", "auto"]
    assert inspect.signature(pager_ray.geometry.erp_to_cubemap).parameters["fov"].default == 90.0


def test_a_model_takes_faces_and_scenes(tiny_unified) -> None:
    """A model called with normalised faces and a scene per row gives the documented tensors."""
    model = pager_ray.load_model(tiny_unified, device="cpu", precision="float32")
    raw = model(torch.from_numpy(expected("tiny_unified")["cubemap"]), scene=["indoor", "outdoor"])
    shapes = {"depth": (1,), "depth_conf": (1,), "normals": (3,), "sky": (1,)}
    for name, channels in shapes.items():
        assert raw[name].shape == (2, 6, *channels, FACE, FACE)
    assert raw["log_scale"].shape == (2, 1)
    assert "log_scale" not in model(torch.from_numpy(expected("tiny_unified")["cubemap"]), scene=None)


def test_geometry_keeps_dtypes_and_layouts() -> None:
    """Panoramas become faces in their own dtype, float32 faces become panoramas."""
    for dtype in (np.uint8, np.float32):
        faces = pager_ray.geometry.erp_to_cubemap(panorama().astype(dtype), 16)
        assert (faces.dtype, faces.shape) == (dtype, (6, 16, 16, 3))
    erp = pager_ray.geometry.cubemap_to_erp(faces, 32, 64)
    assert (erp.dtype, erp.shape) == (np.float32, (32, 64, 3))


def test_a_prediction_has_the_documented_attributes(tiny_unified) -> None:
    """A prediction has every documented map and number."""
    model = pager_ray.load_model(tiny_unified, device="cpu")
    prediction = pager_ray.predict(panorama(), model, scene="indoor")
    assert isinstance(prediction, pager_ray.Prediction)
    shapes = {name: getattr(prediction, name).shape for name in ("depth", "si_depth", "normals", "sky")}
    assert shapes == dict.fromkeys(("depth", "si_depth", "sky"), (HEIGHT, WIDTH)) | {"normals": (HEIGHT, WIDTH, 3)}
    assert prediction.sky.min() >= 0
    assert prediction.sky.max() <= 1
    known = (prediction.scene, prediction.p_outdoor, prediction.id, prediction.uri)
    assert known == ("indoor", None, "", "")
    assert isinstance(prediction.log_scale, float)


def test_a_run_has_the_documented_attributes(tmp_path) -> None:
    """A run gives its manifest, ids, tables and predictions."""
    small = SmallRun(tmp_path / "run")
    small.write("s1", small.prediction("a"), small.reject("b"))
    run = pager_ray.open_run(tmp_path / "run")
    assert isinstance(run, pager_ray.Run)
    assert isinstance(run.manifest, dict)
    assert run.ids() == ["a"]
    assert run.table(columns=["id"]).to_pydict() == {"id": ["a"]}
    assert run.rejects().column("id").to_pylist() == ["b"]
    assert isinstance(run["a"], pager_ray.Prediction)


def test_every_error_is_a_pager_error() -> None:
    """One except clause catches everything that is raised on purpose."""
    assert len(ERRORS) >= 9
    assert [error for error in ERRORS if not issubclass(error, pager_ray.PagerError)] == []


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_errors_cross_process_borders(error: type[Exception]) -> None:
    """An error arrives in another process as itself, with its message in one piece."""
    raised = error("missing", "it's gone") if error is InputError else error("it's gone")
    back = pickle.loads(pickle.dumps(raised))  # noqa: S301
    assert type(back) is error
    assert str(back) == "it's gone"
    assert getattr(back, "error_class", None) == ("missing" if error is InputError else None)


def test_an_unknown_id_is_also_a_key_error() -> None:
    """Runs act as mappings do, without a KeyError's quotes around the message."""
    assert issubclass(RunNotFoundError, KeyError)
    assert str(RunNotFoundError("no 'x' here")) == "no 'x' here"
    assert str(RunNotFoundError()) == ""
