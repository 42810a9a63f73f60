"""What ended a job, found inside what Ray wrapped around it."""

from __future__ import annotations

import re

import ray

from pager_ray.errors import PagerError, own_cause
from pager_ray.pipeline.plain_actors import OTHER_VERSION
from pager_ray.plain import get_logger
from pager_ray.version import __version__

log = get_logger(__name__)

# What Ray Data appends to the message of an error that a stage raised. Errors of ours have no line breaks: they write
# that one out where they are made again, on their way to the driver.
_RAY_ADVICE = re.compile(r"(?:\n|\\n)Failed to apply UDF transform")

# What Ray has of an error that was raised while a task's arguments arrived in its worker: the text, of every line.
_LACKS_MODULE = re.compile(r"ModuleNotFoundError: No module named '([^'\n]+)'")
_OTHER_VERSION = re.compile(rf"{OTHER_VERSION} [^\n]*")


def _installation(text: str) -> PagerError | None:
    """What is wrong with a node's installation; None where it is something else that the job met."""
    if found := _OTHER_VERSION.search(text):
        return PagerError(found[0])
    if found := _LACKS_MODULE.search(text):
        return PagerError(
            f"a node of the cluster lacks the module {found[1]}; install pager_ray {__version__} and what it needs on "
            "every node, or give every node the same image, then run the same command again"
        )
    return None


def known_cause(error: BaseException) -> PagerError | None:
    """Our own error inside what Ray wrapped around it; one line about Ray's otherwise; None for what is neither."""
    if (own := own_cause(error)) is not None:
        own.args = (_RAY_ADVICE.split(str(own))[0], *own.args[1:])
        return own
    if isinstance(error, ray.exceptions.RayError):
        if (told := _installation(str(error))) is not None:
            log.debug("the job failed", exc_info=error)
            return told
        # Some of Ray's errors have no text at all.
        lines = _RAY_ADVICE.split(str(error))[0].split("\n")
        reason = next((line.strip() for line in reversed(lines) if line.strip()), type(error).__name__)
        log.debug("the job failed", exc_info=error)
        return PagerError(
            f"the job failed on the cluster: {reason}; run again with pager-ray --verbose for the traceback"
        )
    return None
