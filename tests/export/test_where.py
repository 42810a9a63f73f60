"""A condition selects what it says, and nothing but a condition is understood."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pager_ray.errors import ConfigError
from pager_ray.export.where import parse_where

TABLE = pa.table(
    {
        "id": ["a", "b", "c", "d"],
        "scene": ["indoor", "outdoor", None, "outdoor"],
        "sky_fraction": pa.array([0.0, 0.1, 0.5, None], pa.float32()),
        "sequence": ["walk", "walk", None, "ride"],
        "time": [0.0, 0.5, None, 1627894626.25],
        "width": pa.array([512, 1024, 2048, 4096], pa.int32()),
    }
)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("sky_fraction < 0.2", "ab"),
        ("sky_fraction <= 0.1", "a"),  # float32's 0.1 is more than 0.1
        ("sky_fraction>=.5", "c"),
        ("not sky_fraction < 0.2", "c"),
        ("scene = 'outdoor'", "bd"),
        ('scene == "outdoor" and width > 2e3', "d"),
        ("scene != 'outdoor'", "a"),
        ("scene is null or width = 512", "ac"),
        ("sky_fraction IS NOT NULL AND NOT (width = 512 OR id = 'c')", "b"),
        ("width = 512 or scene = 'outdoor' and width = 4096", "ad"),
        ("width > -1", "abcd"),
        ("sequence = 'walk' and time < 0.2", "a"),
        ("time >= 1627894626.25", "d"),
    ],
)
def test_conditions_select_what_they_say(condition: str, expected: str) -> None:
    """Comparisons, nulls, precedence of and over or, parentheses, and no difference of case in the words."""
    parsed = parse_where(condition)
    assert "".join(TABLE.filter(parsed.expression).column("id").to_pylist()) == expected


def test_the_columns_are_known() -> None:
    """A condition names what must be read, each column once."""
    assert parse_where("width > 1 and (scene = 'indoor' or width < 5)").columns == ("width", "scene")


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("sky < 0.2", "sky is no column"),
        ("sky_fraction < ", "something is missing at the end"),
        ("", "something is missing at the end"),
        ("sky_fraction 0.2", "a comparison is expected behind sky_fraction, not 0.2"),
        ("sky_fraction < width", "a number or quoted text is expected behind sky_fraction <, not width"),
        ("sky_fraction < '0.2'", "sky_fraction holds numbers, which '0.2' is not"),
        ("scene = 3", "scene holds text, which 3 is not"),
        ("(width > 1", "something is missing at the end"),
        ("(width > 1 width", "a parenthesis is not closed"),
        ("width > 1 width", "cannot go on at 'width'"),
        ("0.2 > width", "a column is expected, not 0.2"),
        ("width is 3", "null is expected behind width is"),
        ("width > 1; import os", "cannot read '; import os'"),
        ("__import__('os')", "__import__ is no column"),
        ("(" * 100 + "width > 1" + ")" * 100, "more than 64 parentheses"),
    ],
)
def test_everything_else_is_refused(condition: str, words: str) -> None:
    """The message names the place, the grammar and the columns."""
    with pytest.raises(ConfigError) as error:
        parse_where(condition)
    assert words in str(error.value)
    assert "takes COLUMN" in str(error.value)
    assert "columns: id, uri" in str(error.value)
