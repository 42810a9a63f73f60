"""Hostile files give a panorama or an input error, whatever was done to them, and cost no more than limits allow."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections import Counter

import numpy as np
import pytest

from pager_ray.errors import InputError
from pager_ray.read import DecodedPanorama, decode_panorama
from tests.harness import mutations

SEED = 2026
COUNT = 240
LIMIT = 2**20
ERROR_CLASSES = {
    "empty_file",
    "not_an_image",
    "unsupported_format",
    "corrupt_image",
    "too_large",
    "too_small",
    "not_a_panorama",
    "bad_gpano",
}


def problem_of(case: mutations.Case) -> tuple[str, str | None]:
    """How a case ended, and what is wrong with that."""
    started = time.process_time()
    try:
        panorama = decode_panorama(case.data, max_pixels=LIMIT)
    except InputError as error:
        ended, problem = error.error_class, None
        message = str(error)
        if error.error_class not in ERROR_CLASSES:
            problem = f"class {error.error_class}"
        elif not message.isprintable() or not 10 < len(message) < 600:
            problem = f"message {message[:100]!r} of {len(message)} characters"
    except Exception as error:  # noqa: BLE001 - whatever else is raised is what this test is looking for
        ended, problem = "raised", f"{type(error).__name__}: {error}"
    else:
        ended, problem = "panorama", None if is_legal(panorama) else f"panorama {panorama}"
    # Of processor, which is a case's own; a clock also counts what else the machine does.
    if (spent := time.process_time() - started) > 10:
        problem = f"{ended} after {spent:.0f} s"
    return ended, problem


def is_legal(panorama: DecodedPanorama) -> bool:
    """2:1, RGB bytes, within the limit, with the share of the sphere that it covers."""
    height, width, channels = panorama.erp.shape
    return (
        (panorama.erp.dtype, channels) == (np.dtype(np.uint8), 3)
        and panorama.erp.flags.c_contiguous
        and width == 2 * height
        and 64 <= width <= 4096
        and panorama.source_width == 2 * panorama.source_height
        and panorama.source_width * panorama.source_height <= LIMIT
        and panorama.file_width * panorama.file_height <= LIMIT
        and 0 < panorama.coverage <= 1.05
    )


def test_every_case_is_a_panorama_or_an_input_error() -> None:
    """Nothing but InputError is raised, each with a known class and a short line that says why; nothing is logged."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outcomes = {case.name: problem_of(case) for case in mutations.cases(SEED, COUNT, LIMIT)}
    assert {name: problem for name, (_, problem) in outcomes.items() if problem} == {}
    assert [str(item.message) for item in caught] == []
    ended = Counter(outcome for outcome, _ in outcomes.values())
    # The cases are neither all harmless nor all refused at the door.
    assert ended["panorama"] > COUNT / 8
    assert ended["corrupt_image"] > COUNT / 4
    assert set(ended) >= {"bad_gpano", "not_an_image", "not_a_panorama", "too_large"}


@pytest.mark.parametrize("name", list(mutations.bombs(LIMIT)))
def test_every_bomb_is_defused(name: str) -> None:
    """Each bomb, not only those that chance picks, is a panorama or an input error."""
    case = mutations.Case(name, ".bin", mutations.made_bomb(name, LIMIT))
    assert problem_of(case)[1] is None


# The parser does not know what it was wrapped in: every attack once, in turn in each format.
@pytest.mark.parametrize(
    ("name", "format"), [(name, ("JPEG", "PNG", "TIFF")[k % 3]) for k, name in enumerate(mutations.xml_bombs())]
)
def test_every_attack_on_the_parser_is_refused(name: str, format: str) -> None:
    """XMP that attacks an XML parser never decides anything: refused, or read as what it says without expansion."""
    case = mutations.Case(name, ".bin", mutations.with_xmp(plain_picture(), format, mutations.xml_bombs()[name]))
    ended, problem = problem_of(case)
    assert problem is None
    assert ended in {"bad_gpano", "panorama"}
    if any(word in name for word in ("entity", "laughs", "blowup", "DTD", "default")):
        assert ended == "bad_gpano"


def plain_picture() -> np.ndarray:
    return decode_panorama(mutations.bases()[0].data).erp


def test_what_encoders_write_is_read() -> None:
    """The files that mutations start from are panoramas, all but the one of floats, which have no agreed range."""
    ended = {base.name: problem_of(mutations.Case(base.name, "", base.data)) for base in mutations.bases()}
    assert ended.pop("tiff-float") == ("unsupported_format", None)
    assert set(ended.values()) == {("panorama", None)}


def test_cases_are_a_function_of_seed_and_number() -> None:
    """A case found once is found again, alone and in any order; another seed gives others."""
    digests = [hashlib.sha256(case.data).digest() for case in mutations.cases(7, 40, LIMIT)]
    again = {number: hashlib.sha256(mutations.case(7, number, LIMIT).data).digest() for number in (31, 2, 17)}
    assert {number: digests[number] for number in again} == again
    assert sum(a == hashlib.sha256(b.data).digest() for a, b in zip(digests, mutations.cases(8, 40), strict=True)) < 10
