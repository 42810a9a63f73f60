"""What every section of a configuration is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

MOST: Final = 2**53
"""Whole numbers below it are the same to all who read JSON, which has no others than those of 64-bit floats."""

_RANGE = 2

_SURROGATE = re.compile("[\ud800-\udfff]")


def one_or_many(value: Any) -> Any:
    """A list of what may be given alone."""
    return [value] if isinstance(value, str) else value


class Section(BaseModel):
    """Base of every section: unknown keys are errors, numbers are finite, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _nothing_is_no_key(cls, value: Any, info: ValidationInfo) -> Any:
        # What YAML has of a section whose keys are all commented out.
        kind = cls.model_fields[info.field_name].annotation if info.field_name else None
        return {} if value is None and isinstance(kind, type) and issubclass(kind, Section) else value

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML reads yes and on as true, and Python takes true for 1.
        if isinstance(value, bool) and info.field_name and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("takes no yes, no, true or false")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _value_can_be_stored(cls, value: Any) -> Any:
        # Python takes the bytes of a name in another encoding for surrogates, which no JSON or Parquet file may hold.
        # Larger whole numbers are rounded by some who read JSON, and refused by what counts in 64 bits.
        for one in _parts(value):
            if isinstance(one, str) and _SURROGATE.search(one):
                raise ValueError("takes text in UTF-8; rename what has a name in another encoding")
            if isinstance(one, int) and abs(one) >= MOST:
                raise ValueError(f"takes whole numbers below {MOST}")
        return value


def tuple_words(annotation: Any) -> str:
    """How a value of several numbers is written, as in ``[min, max]``; empty where a key takes none."""
    if get_origin(annotation) is tuple:
        return "[min, max]" if len(get_args(annotation)) == _RANGE else "[until, face_size, batch]"
    inner = () if get_origin(annotation) is Literal else get_args(annotation)
    return next((words for part in inner if (words := tuple_words(part))), "")


def _parts(value: Any) -> Iterator[Any]:
    """A value, or what a list or range of several holds."""
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _parts(inner)
    else:
        yield value
