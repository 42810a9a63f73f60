"""What stages are called: in rejects, in ``run.json``, in metrics and in logs."""

from __future__ import annotations

from enum import StrEnum


class StageName(StrEnum):
    """The stations of a row, in order; a job has some of them."""

    LIST = "list"
    UNPACK = "unpack"
    READ = "read"
    INFER = "infer"
    STITCH = "stitch"
    SCORE = "score"
    EXPORT = "export"
    WRITE = "write"
