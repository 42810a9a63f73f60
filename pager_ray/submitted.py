"""Whether this process is the driver of a job that was submitted to a cluster (``ray job submit``)."""

from __future__ import annotations

import os
from typing import Final

RAY_JOB: Final = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""What Ray's job supervisor starts every entrypoint with."""

NOT_SHIPPED: Final = "of --working-dir Ray ships neither what .gitignore names nor what .rayignore does"
"""Why a file that lies beside the others is not there in a submitted job."""


def is_submitted() -> bool:
    """Whether Ray started this process as a job's entrypoint, in a copy of the submitter's folder on a node's disk."""
    return RAY_JOB in os.environ
