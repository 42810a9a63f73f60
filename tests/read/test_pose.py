"""How a picture was held is read as it was meant, and nonsense is named where it would have been used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pager_ray.errors import InputError
from pager_ray.read import decode_panorama
from pager_ray.read.pose import MAX_TEXT, UNKNOWN, Pose, pose_of_columns, pose_of_gpano, pose_text
from tests.read.images import cropped, encode, gpano_xmp, picture, with_xmp


@pytest.mark.parametrize(
    ("pitch", "roll", "expected"),
    [
        ("12.5", "-3", (12.5, -3.0)),
        ("+1e1", ".5", (10.0, 0.5)),
        ("-90", "180", (-90.0, 180.0)),
        ("0.0", None, (0.0, 0.0)),
        (None, "-180.", (0.0, -180.0)),
        (None, None, None),
    ],
)
def test_angles_are_read(pitch: str | None, roll: str | None, expected: tuple[float, float] | None) -> None:
    """From XMP and from columns alike; one that is missing is 0, both are no tilt."""
    named = {"PosePitchDegrees": pitch, "PoseRollDegrees": roll}
    assert pose_of_gpano({name: text for name, text in named.items() if text is not None}).tilt() == expected
    assert pose_of_columns(pose_text({"pitch_degrees": pitch, "roll_degrees": roll})).tilt() == expected


@pytest.mark.parametrize(
    "text", ["400", "-90.01", "nan", "inf", "1,5", "12°", "0x10", "1_0", "٣", "1e99", "", "-", "x" * 5000]
)
def test_what_is_no_angle_is_named(text: str) -> None:
    """It is unknown, and an error that quotes it where it was to be used; long texts are cut."""
    pose = pose_of_gpano({"PosePitchDegrees": text, "PoseRollDegrees": "5"})
    assert (pose.pitch, pose.roll) == (None, 5.0)
    with pytest.raises(InputError, match=r"GPano PosePitchDegrees is '.*; takes degrees from −90 to 90$") as caught:
        pose.tilt()
    assert caught.value.error_class == "bad_pose"
    assert len(str(caught.value)) < 150
    # An empty cell says nothing.
    if text:
        with pytest.raises(InputError, match=r"^roll_degrees is '.*takes degrees from −180 to 180$"):
            pose_of_columns(pose_text({"roll_degrees": text if text != "-90.01" else "-180.01"})).tilt()


@pytest.mark.parametrize(
    ("text", "heading"), [("0", 0.0), ("359.5", 359.5), ("360", 0.0), ("-90", 270.0), ("400", None), ("north", None)]
)
def test_headings_are_told_and_never_used(text: str, heading: float | None) -> None:
    """Within a turn of north they are brought to 0…360; others are unknown, and no reason for anything."""
    pose = pose_of_gpano({"PoseHeadingDegrees": text})
    assert pose.heading == heading
    assert pose.tilt() is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"pitch_degrees": 3, "roll_degrees": -4.5, "other": 1}, {"pitch_degrees": "3", "roll_degrees": "-4.5"}),
        ({"pitch_degrees": float("nan")}, {"pitch_degrees": "nan"}),
        ({"pitch_degrees": True, "roll_degrees": ""}, {"pitch_degrees": "True"}),
        ({"pitch_degrees": [1], "roll_degrees": "\ud800"}, {"pitch_degrees": "[1]", "roll_degrees": "\ud800"}),
        ({"pitch_degrees": "9" * 100}, {"pitch_degrees": "9" * (MAX_TEXT + 1)}),
    ],
)
def test_columns_travel_as_one_short_text(values: dict[str, Any], expected: dict[str, str]) -> None:
    """Whatever a stranger's column holds: what is no number is for the row to say."""
    text = pose_text(values)
    assert text is not None
    assert json.loads(text) == expected
    assert text.isascii()
    assert pose_text({"roll_degrees": None}) is None


@pytest.mark.parametrize("text", ["[", "[]", "3", '{"pitch_degrees":3}', '{"roll_degrees":["1"]}', "[" * 100_000])
def test_texts_that_no_job_wrote_are_named(text: str) -> None:
    """A manifest lies on somebody's storage; what it holds is a reject of the row and no end of the job."""
    with pytest.raises(InputError, match="which no job wrote") as caught:
        pose_of_columns(text).tilt()
    assert caught.value.error_class == "bad_pose"
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WebP"])
def test_a_panorama_has_the_pose_of_its_metadata(format: str) -> None:
    """From whatever file it is."""
    xmp = gpano_xmp(PosePitchDegrees="10.5", PoseRollDegrees="-20", PoseHeadingDegrees="33")
    assert decode_panorama(with_xmp(picture(128, 64), format, xmp)).pose == Pose(10.5, -20.0, 33.0)
    assert decode_panorama(encode(picture(128, 64), format)).pose == UNKNOWN


def test_metadata_that_do_not_count_say_nothing() -> None:
    """Neither those that are not read, nor those that cannot be of the picture."""
    tilt = {"PosePitchDegrees": "10"}
    stale = with_xmp(picture(128, 64), "PNG", gpano_xmp(**cropped(0, 0, 100, 10, 256, 128), **tilt))
    assert decode_panorama(stale).remarks == ("gpano_ignored",)
    assert decode_panorama(stale).pose == UNKNOWN
    whole = with_xmp(picture(128, 64), "PNG", gpano_xmp(**tilt))
    assert decode_panorama(whole, gpano="ignore").pose == UNKNOWN
    assert decode_panorama(whole, gpano="require").pose.pitch == 10
