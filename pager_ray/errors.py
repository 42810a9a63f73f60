"""The errors that pager_ray raises on purpose.

Three kinds of failure are told apart, because a job of millions treats them differently: a *row* error
(:class:`InputError`) makes one input a reject and the job goes on; a *configuration* error stops before any work;
everything else that derives from :class:`PagerError` stops the job with one clear line.

```
PagerError                    stops the job (exit code 1)
├── ConfigError               stops before any work (2)
│   └── RunMismatchError      another run stands at the output
├── CheckpointError           weights that cannot be used
├── OutputInUseError          another job writes there
├── StorageError              the run's own files cannot be read or written
├── RunNotFoundError          no run, or no such id (also a KeyError)
├── ShapeError                an array that a function does not take (also a ValueError)
├── InputError                one input: a row of the rejects (3 at the end)
└── ErrorBudgetExceeded       too many of those (4)
KeyboardInterrupt
└── Terminated                SIGTERM (143)
```
"""

from __future__ import annotations

from pager_ray.plain import plain_text


class PagerError(Exception):
    """Base of every error that pager_ray raises on purpose; its message is one line meant for a person.

    Whatever the message repeats from outside, it is plain and without secrets: see :mod:`pager_ray.plain`.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(plain_text(one) if isinstance(one, str) else one for one in args))


class ConfigError(PagerError):
    """Wrong usage or configuration: names the key, what it got and what it takes (exit code 2)."""


class RunMismatchError(ConfigError):
    """An output already holds a run of another configuration, checkpoint or listing (exit code 2)."""


class OutputInUseError(PagerError):
    """Another job is writing to the output."""


class CheckpointError(PagerError):
    """A checkpoint cannot be found, read or does not fit the network that its configuration describes."""


class ShapeError(PagerError, ValueError):
    """An array or tensor does not have the shape, dtype or value range that a function documents."""


class StorageError(PagerError):
    """A file or object of the run's own state cannot be read or written."""


class RunNotFoundError(PagerError, KeyError):
    """A URI holds no run, or a run holds no such id."""

    def __str__(self) -> str:
        """Give the message itself; KeyError would quote it."""
        return str(self.args[0]) if self.args else ""


class InputError(PagerError):
    """One input gives no prediction; it becomes a row of the rejects.

    Args:
        error_class: short stable name that rejects are grouped by, e.g. ``"corrupt_image"``.
        message: what was wrong and what to do, without secrets.
        attempts: how often it was tried.
    """

    def __init__(self, error_class: str, message: str, attempts: int = 1) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.attempts = attempts

    def __reduce__(self) -> tuple:
        """Pickle with its arguments, so that the error crosses process borders intact."""
        return type(self), (self.error_class, str(self), self.attempts)


class ErrorBudgetExceeded(PagerError):
    """More inputs were rejected than ``errors.max_rejects`` allows (exit code 4)."""


class Terminated(KeyboardInterrupt):
    """The job was told to stop by SIGTERM and has stopped; the same command goes on (exit code 143).

    Like an interrupt from the keyboard it is no ``Exception``: nothing that handles failures on the way takes it.
    """


def exit_code_of(error: BaseException) -> int:
    """What a command exits with that an error ends; :mod:`pager_ray.cli.entry` says what each code means."""
    codes = ((ConfigError, 2), (ErrorBudgetExceeded, 4), (Terminated, 143), (KeyboardInterrupt, 130))
    return next((code for kind, code in codes if isinstance(error, kind)), 1)


def own_cause(error: BaseException) -> PagerError | None:
    """The error of this family inside what others wrapped around it; None where there is none.

    An interrupt is nobody's wrapping, whatever was being handled when it came.
    """
    if not isinstance(error, Exception):
        return None
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        # Ray's task errors also pass for the class of their cause: the cause itself has the shorter message.
        inner = getattr(current, "cause", None)
        if isinstance(current, PagerError) and not isinstance(inner, BaseException):
            return current
        current = inner if isinstance(inner, BaseException) else current.__cause__ or current.__context__
    return None
