"""Profiles come from files of others: three forms are read, everything else is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pager_ray.errors import ConfigError
from pager_ray.plan import profile
from pager_ray.plan.profile import read_profile


def written(folder: Path, value: object, name: str = "profile.json") -> str:
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return str(path)


def run_file(seconds: object, device: object = "H100") -> dict[str, object]:
    facts = {"rows": 5, "seconds_per_panorama": seconds, "cpu_seconds_per_panorama": 0.3}
    return {
        "starts": [
            {"workers": [{"device": device}], "stages": {"stages": {"infer": facts}}},
            {"workers": [], "stages": None},
        ]
    }


def test_a_profile_is_two_keys(tmp_path: Path) -> None:
    """Device and seconds are taken as they are; a model on an accelerator takes no processor time."""
    found = read_profile(written(tmp_path, {"device": "H100", "seconds_per_panorama": 0.125}))
    assert (found.device, found.seconds, found.cpu_seconds) == ("H100", (0.125,), (0.0,))
    assert 0.1 < found.band().low < found.band().estimate == 0.125 < found.band().high < 0.15


@pytest.mark.parametrize("of_folder", [True, False])
def test_an_earlier_run(tmp_path: Path, of_folder: bool) -> None:
    """A run's output, or its run.json, gives what its last start with predictions took."""
    path = written(tmp_path, run_file(0.25), "run.json")
    found = read_profile(str(tmp_path) if of_folder else path)
    assert (found.device, found.seconds, found.cpu_seconds) == ("H100", (0.25,), (0.0,))
    assert found.source.startswith("run ")


def test_a_run_on_cpus_has_processor_time(tmp_path: Path) -> None:
    """Where workers were CPUs the network's processor time is part of the profile."""
    found = read_profile(written(tmp_path, run_file(0.25, "CPU (2 threads)"), "run.json"))
    assert found.cpu_seconds == (0.3,)


@pytest.mark.parametrize("wrapped", [True, False], ids=["in a report", "as before there were reports"])
def test_a_benchmark_gives_its_best_eager_batch(tmp_path: Path, wrapped: bool) -> None:
    """Of a benchmark's rows the fastest per panorama counts, among ours, run as a job runs them, without problems."""
    rows = [
        {"way": "released", "batch": 1, "network": 0.01, "problem": None},
        {"way": "ours, compiled", "batch": 8, "network": 0.01, "problem": None},
        {"way": "ours, eager", "batch": 1, "network": 0.2, "problem": None},
        {"way": "ours, eager", "batch": 8, "network": 0.8, "problem": None},
        {"way": "ours, eager", "batch": 16, "network": float("nan"), "problem": "out of memory"},
    ]
    details = {"device": "H100", "rows": rows}
    found = read_profile(written(tmp_path, {"benchmark": "model", "details": details} if wrapped else details))
    assert found.seconds == (0.1,)
    assert "batches of 8" in found.source


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1]", "holds a list"),
        ({}, "device: got None"),
        ({"device": "a" * 1000, "seconds_per_panorama": 1}, "device: got"),
        ({"device": " ", "seconds_per_panorama": 1}, "device: got"),
        ({"device": "H100"}, "seconds_per_panorama: got None"),
        ({"device": "H100", "seconds_per_panorama": True}, "got True; takes a number"),
        ({"device": "H100", "seconds_per_panorama": "1"}, "got '1'; takes a number"),
        ({"device": "H100", "seconds_per_panorama": 0}, "got 0; takes a number from 0.0001"),
        ({"device": "H100", "seconds_per_panorama": 1e9}, "takes a number from"),
        ('{"device": "H100", "seconds_per_panorama": NaN}', "got nan"),
        ('{"device": "H100", "seconds_per_panorama": 1e999}', "got inf"),
        ({"device": "H100", "seconds_per_panorama": 1, "speed": 2}, "unknown key 'speed'"),
        ({"starts": []}, "none of its starts predicted anything"),
        ({"starts": {"a": 1}}, "none of its starts predicted anything"),
        ({"starts": ["x", None]}, "none of its starts predicted anything"),
        (run_file("fast"), "infer.seconds_per_panorama: got 'fast'"),
        (run_file(0.1, 7), "device: got 7"),
        ({"rows": 5}, "no measured row"),
        ({"benchmark": "model", "details": 5}, "no measured row"),
        ({"benchmark": "metrics", "details": {}}, "no measured row"),
        ({"device": "H100", "rows": [{"way": "released", "batch": 1, "network": 1}]}, "no measured row"),
        ({"device": "H100", "rows": [{"way": "ours, eager", "batch": 0, "network": 1}]}, "rows[].batch: got 0"),
        ({"device": "H100", "rows": [{"way": "ours, eager", "batch": 1, "network": None}]}, "rows[].network: got None"),
    ],
)
def test_what_is_none_of_the_three(tmp_path: Path, value: object, says: str) -> None:
    """Whatever a file holds, the answer is one line that names it, what was wrong and what is taken."""
    path = written(tmp_path, value)
    with pytest.raises(ConfigError) as caught:
        read_profile(path)
    message = str(caught.value)
    assert message.startswith(path)
    assert says in message
    assert "--profile takes" in message
    assert "\n" not in message


def test_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beyond the limit is refused by its size."""
    monkeypatch.setattr(profile.bounded_bytes, "__defaults__", (100,))
    with pytest.raises(ConfigError, match=r"has more than 100 bytes"):
        read_profile(written(tmp_path, " " * 200))


@pytest.mark.parametrize("name", ["absent.json", "absent", "nothing://there/run"])
def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    """A missing file, an output without run.json and an unknown protocol are one line too."""
    uri = name if "://" in name else str(tmp_path / name)
    with pytest.raises(ConfigError, match=r"cannot be read"):
        read_profile(uri)
