"""What ended a job, found inside what Ray wrapped around it."""

from __future__ import annotations

import logging

import ray

from pager_ray.errors import PagerError

log = logging.getLogger(__name__)

# What Ray Data appends to the message of an error that a stage raised.
_RAY_ADVICE = "\nFailed to apply UDF transform"


def known_cause(error: BaseException) -> PagerError | None:
    """Our own error inside what Ray wrapped around it; one line about Ray's otherwise; None for what is neither."""
    if not isinstance(error, Exception):
        # An interrupt, whatever was being handled when it came.
        return None
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        # Ray's task errors also pass for the class of their cause: take the cause itself, it is the shorter message.
        inner = getattr(current, "cause", None)
        if isinstance(current, PagerError) and not isinstance(inner, BaseException):
            current.args = (str(current).split(_RAY_ADVICE)[0], *current.args[1:])
            return current
        current = inner if isinstance(inner, BaseException) else current.__cause__ or current.__context__
    if isinstance(error, ray.exceptions.RayError):
        # Some of Ray's errors have no text at all.
        lines = str(error).split(_RAY_ADVICE)[0].split("\n")
        reason = next((line.strip() for line in reversed(lines) if line.strip()), type(error).__name__)
        log.debug("the job failed", exc_info=error)
        return PagerError(
            f"the job failed on the cluster: {reason}; run again with pager-ray --verbose for the traceback"
        )
    return None
