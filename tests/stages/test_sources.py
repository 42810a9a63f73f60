"""What a configuration says of inputs is done, or refused before any of them is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pager_ray.config import load_config
from pager_ray.errors import ConfigError
from pager_ray.stages.sources import list_sources


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("missing=reject", "input.mask.missing: got reject, and there are no masks; name where they lie in input.mask"),
        (
            "column=mask.png",
            "input.mask.column: got mask.png, and there are no masks; name where they lie in input.mask",
        ),
    ],
)
def test_what_is_said_of_masks_takes_masks(tmp_path: Path, key: str, told: str) -> None:
    """Somebody who says it believes that masks count, and none would."""
    (tmp_path / "a.jpg").touch()
    keys = [f"input.uris={tmp_path}", f"output.uri={tmp_path}/out", "checkpoint=embedded"]
    with pytest.raises(ConfigError) as caught:
        list_sources(load_config(None, [*keys, f"input.mask.{key}"]))
    assert told in str(caught.value)


def test_results_among_the_inputs_are_none(tmp_path: Path) -> None:
    """The same command takes the same inputs, wherever it puts what it makes of them."""
    (tmp_path / "a.jpg").touch()
    (tmp_path / "out" / "previews").mkdir(parents=True)
    (tmp_path / "out" / "previews" / "a.jpg").touch()
    keys = [f"input.uris={tmp_path}", "checkpoint=embedded"]
    for output, inputs in ((f"{tmp_path}/out", 1), (f"{tmp_path}/elsewhere", 2)):
        assert len(list_sources(load_config(None, [*keys, f"output.uri={output}"]))) == inputs
