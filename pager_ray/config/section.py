"""What every section of a configuration is made of."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

_SURROGATE = re.compile("[\ud800-\udfff]")


def one_or_many(value: Any) -> Any:
    """A list of what may be given alone."""
    return [value] if isinstance(value, str) else value


class Section(BaseModel):
    """Base of every section: unknown keys are errors, numbers are finite, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML reads yes and on as true, and Python takes true for 1.
        if isinstance(value, bool) and info.field_name and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("takes no yes, no, true or false")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _text_can_be_stored(cls, value: Any) -> Any:
        # Python takes the bytes of a name in another encoding for surrogates, which no JSON or Parquet file may hold.
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and _SURROGATE.search(text):
                raise ValueError("takes text in UTF-8; rename what has a name in another encoding")
        return value
