"""A time is the same number of seconds whoever wrote it; what is none is nothing, or a mistake if asked for."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pytest

from pager_ray.read.containers.sequences import flat, place_in_sequence, seconds_of, times_of

SECONDS = 1627894626.25
WRITTEN = [
    SECONDS,
    f"{SECONDS}",
    1627894626250,
    "1627894626250",
    1627894626250000,
    1627894626250000000,
    "2021-08-02T08:57:06.250Z",
    "2021-08-02T10:57:06.250+02:00",
    "2021-08-02 08:57:06.250",
    "2021:08:02 08:57:06.250",
    "2021_08_02_08_57_06_250",
    datetime.datetime(2021, 8, 2, 8, 57, 6, 250000),
    datetime.datetime(2021, 8, 2, 8, 57, 6, 250000, tzinfo=datetime.UTC),
    datetime.timedelta(seconds=SECONDS),
]


@pytest.mark.parametrize("value", WRITTEN, ids=str)
def test_every_way_to_write_a_time_is_the_same_time(value: object) -> None:
    """Numbers of any unit, ISO 8601, EXIF and Mapillary."""
    assert seconds_of(value) == pytest.approx(SECONDS, abs=1e-6)


def test_what_is_no_time_says_so() -> None:
    """Words, truths and numbers beyond every unit; nothing is nothing."""
    assert seconds_of(None) is None
    assert seconds_of(" ") is None
    for value in ("yesterday", True, float("nan"), float("inf"), "1e300", "2021-13-01", [1], "9" * 400):
        with pytest.raises(ValueError, match="no time"):
            seconds_of(value)


def test_columns_of_times_are_as_their_cells() -> None:
    """One form for all rows, or several in one column."""
    column = pa.chunked_array([["0.5", None], ["12", ""]])
    assert times_of(column).to_pylist() == [0.5, None, 12.0, None]
    mixed = pa.chunked_array([["2021-08-02T08:57:06.250Z", "soon", "1627894626250"]])
    assert times_of(mixed).to_pylist() == [SECONDS, None, SECONDS]
    assert times_of(pa.chunked_array([pa.nulls(2, pa.string())])).null_count == 2


def test_what_was_asked_for_must_hold_it() -> None:
    """A column that happens to be called time may say anything; one that was named may not."""
    values = {"time": "noon", "sequence": "a\nb", "when": "noon"}
    assert place_in_sequence(values, None, None) == {"sequence": None, "time": None}
    with pytest.raises(ValueError, match=r"its time \(when\): 'noon' is no time"):
        place_in_sequence(values, None, "when")
    with pytest.raises(ValueError, match=r"its sequence \(sequence\)"):
        place_in_sequence(values, "sequence", None)


def test_items_of_stac_are_columns() -> None:
    """The collection is the sequence, properties are columns, the item's id stays."""
    item = {
        "type": "Feature",
        "id": "p1",
        "collection": "c1",
        "properties": {"datetime": "2021-08-02T08:57:06.250Z", "id": 7},
    }
    values = flat(item)
    assert values["id"] == "p1"
    assert place_in_sequence(values, None, None) == {"sequence": "c1", "time": SECONDS}
