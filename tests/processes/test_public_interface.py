"""The names that others build on cost nothing until they are used."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "ray", "cv2", "pyarrow", "numpy", "open_clip")


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded_by(*statements: str, then: str = "") -> list[set[str]]:
    """Which of the heavy libraries are loaded after each of some statements, one after the other in one interpreter;
    what is to be done ``then`` prints nothing."""
    tell = f"print('loaded', *(name for name in {HEAVY} if name in sys.modules))"
    lines = python("\n".join(["import sys", *(f"{each}\n{tell}" for each in statements), then])).splitlines()
    assert [line for line in lines if not line.startswith("loaded")] == []
    return [set(line.split()[1:]) for line in lines]


def test_reading_needs_neither_torch_nor_ray() -> None:
    """``import pager_ray`` loads no library at all that takes time; whoever reads runs or samples panoramas, and the
    workers that read and stitch, load no deep-learning library."""
    package, *parts = loaded_by(
        "import pager_ray",
        "pager_ray.geometry, pager_ray.open_run",
        "import pager_ray.stages.read, pager_ray.stages.stitch",
    )
    assert package == set()
    assert [loaded & {"torch", "ray", "open_clip"} for loaded in parts] == [set(), set()]


def test_the_model_needs_torch_alone_and_predict_no_ray() -> None:
    """The network loads without Ray, image libraries, Arrow and CLIP; one panorama in this process starts no cluster
    library. Importing submodules then leaves every public name what it was; editors and frameworks that ask for hints
    get them where jaxtyping is not installed."""
    code = """
import importlib, inspect, types, typing
import pager_ray.geometry
named = [getattr(pager_ray, name) for name in pager_ray.__all__]
named += [getattr(pager_ray.geometry, name) for name in pager_ray.geometry.__all__]
asked = 0
for thing in filter(callable, named):
    members = [m.fget if isinstance(m, property) else m for m in vars(thing).values()] if inspect.isclass(thing) else []
    for function in [thing, *filter(inspect.isfunction, members)]:
        typing.get_type_hints(function)
        asked += 1
assert asked > 30, asked
for module in ("single", "prediction", "geometry", "model", "reader", "cli", "infer", "pipeline.job"):
    importlib.import_module(f"pager_ray.{module}")
    for name in ("load_model", "predict", "open_run"):
        if not isinstance(getattr(pager_ray, name), types.FunctionType):
            print(name, "is no function after", module)
    for name in ("Prediction", "Run", "PagerError"):
        if not isinstance(getattr(pager_ray, name), type):
            print(name, "is no class after", module)
"""
    begin = "sys.modules['jaxtyping'] = None; import pager_ray; pager_ray.load_model"
    model, predict = loaded_by(begin, "pager_ray.predict", then=code)
    assert model == {"torch", "numpy"}
    assert not predict & {"ray", "open_clip"}
