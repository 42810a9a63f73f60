"""What ended a job, found inside what Ray wrapped around it."""

from __future__ import annotations

import re

import ray

from pager_ray.errors import PagerError, own_cause
from pager_ray.plain import get_logger

log = get_logger(__name__)

# What Ray Data appends to the message of an error that a stage raised. Errors of ours have no line breaks: they write
# that one out where they are made again, on their way to the driver.
_RAY_ADVICE = re.compile(r"(?:\n|\\n)Failed to apply UDF transform")


def known_cause(error: BaseException) -> PagerError | None:
    """Our own error inside what Ray wrapped around it; one line about Ray's otherwise; None for what is neither."""
    if (own := own_cause(error)) is not None:
        own.args = (_RAY_ADVICE.split(str(own))[0], *own.args[1:])
        return own
    if isinstance(error, ray.exceptions.RayError):
        # Some of Ray's errors have no text at all.
        lines = _RAY_ADVICE.split(str(error))[0].split("\n")
        reason = next((line.strip() for line in reversed(lines) if line.strip()), type(error).__name__)
        log.debug("the job failed", exc_info=error)
        return PagerError(
            f"the job failed on the cluster: {reason}; run again with pager-ray --verbose for the traceback"
        )
    return None
