"""Pytest plugin: every error message that a user can meet is met by a test (``pytest --all-messages``).

A *place* is a line of ``pager_ray/`` that words an error: a call of the family in :mod:`pager_ray.errors`, a call of a
function that returns such an error, or a ``ValueError`` of a configuration key's validator, which pydantic hands to
the user. Places are found by AST, so a new message counts from the moment it is written. An error that is made in a
worker process is not seen here; such places stand in :data:`ELSEWHERE`. What was made is read, too: each message is
one line with a remedy, see :data:`REMEDY`. That it also names the input and the cause, its own test says.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

import pytest

from pager_ray import errors
from pager_ray.config import loading

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pager_ray"
SCHEMA = PACKAGE / "config" / "schema.py"
FAMILY = frozenset(
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.PagerError)
)


@dataclass(frozen=True)
class Elsewhere:
    """Why a place cannot be reached in the test process, and which test covers it all the same."""

    file: str
    words: str
    """Part of the source text, which tells the place from the others of its file."""
    reason: str
    test: str
    """``path::function``."""


ELSEWHERE: tuple[Elsewhere, ...] = ()

REMEDY = re.compile(
    r"\b(takes?|must|expected|did you mean|known are|there are|these were|allows|may exceed|may help)\b|--\w+|"
    # Only as an imperative: "cannot be read" is none.
    r"(?:[;,:(]|\b(?:or|and|then|please|to)) (add|ask|check|choose|convert|correct|evaluate|fetch|force|free|give|keep|"
    r"leave|look|make|mask|move|name|point|predict|put|quote|read|remove|rename|render|report|restore|run|save|set|take|"
    r"update|wait|write)\b"
)
"""Words by which a message says what to do or what is taken; extend it rather than bend a good message."""

# A call's end is told alike by the AST and by every Python's line tables; its start is not.
Position = tuple[str, int, int]


@dataclass(frozen=True)
class Place:
    """A call that words an error."""

    file: str
    line: int
    position: Position
    text: str


def find_places() -> list[Place]:
    """Every place of the package, in order of files and lines."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
    trees.pop(PACKAGE / "errors.py")
    makers = _makers(trees)
    places = []
    for path, tree in trees.items():
        source = path.read_text(encoding="utf-8")
        wanted = FAMILY | makers[path] | ({"ValueError"} if path == SCHEMA else set())
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and _called(call) in wanted:
                text = " ".join((ast.get_source_segment(source, call) or "").split())
                file = str(path.relative_to(ROOT))
                places.append(Place(file, call.lineno, (str(path), *_end(call)), text))
    return sorted(places, key=lambda place: (place.file, place.line, place.position))


def _end(node: ast.AST) -> tuple[int, int]:
    return node.end_lineno or 0, node.end_col_offset or 0  # type: ignore[attr-defined]


def _called(call: ast.Call) -> str:
    """The last name of what is called: ``bad`` of ``bad(…)`` and of ``self.bad(…)``."""
    called = call.func
    return called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""


def _makers(trees: dict[Path, ast.Module]) -> dict[Path, set[str]]:
    """Per file, the names of functions that return an error of the family, directly or from another such function."""
    makers: dict[Path, set[str]] = {path: set() for path in trees}
    while True:
        before = sum(map(len, makers.values()))
        for path, tree in trees.items():
            for node in ast.walk(tree):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    if any(_returns_error(node, makers[path])):
                        makers[path].add(node.name)
                elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
                    found = makers.get(ROOT / f"{node.module.replace('.', '/')}.py", set())
                    makers[path] |= {alias.asname or alias.name for alias in node.names if alias.name in found}
        if sum(map(len, makers.values())) == before:
            return makers


def _returns_error(node: ast.AST, makers: set[str]) -> Iterator[bool]:
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.Return):
            yield any(
                isinstance(value, ast.Call) and _called(value) in FAMILY | makers for value in _values(inner.value)
            )
        # What a function inside returns is not what the outer one does.
        if not isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _returns_error(inner, makers)


def _values(node: ast.expr | None) -> Iterator[ast.expr]:
    """What an expression may give: both ends of a condition, else itself."""
    if isinstance(node, ast.IfExp):
        yield from _values(node.body)
        yield from _values(node.orelse)
    elif node is not None:
        yield node


class Messages:
    """Notes which places made an error, and fails the session where a place made none."""

    def __init__(self, folders: list[str]) -> None:
        self._folders = tuple(folders)
        # Now: whoever edits a file while the tests run moves its lines.
        self._places = find_places()
        self._reached: set[Position] = set()
        self._good: set[Position] = set()
        self._bad: dict[Position, str] = {}
        self._problems: list[str] = []

    def note_error(self, error: errors.PagerError, frame: FrameType | None) -> None:
        """Note the call that made an error, with its text, and the calls that it was made for."""
        while frame is not None and frame.f_code.co_filename == errors.__file__:
            frame = frame.f_back
        made_at = self._note(frame.f_code, frame.f_lasti) if frame is not None else None
        if frame is None or made_at is None:
            return  # an error that a test made itself
        text = str(error)
        if "\n" not in text and REMEDY.search(text):
            # What hands on another error's text is fine if it is with one of them: the other has a place of its own.
            self._good.add(made_at)
        else:
            self._bad[made_at] = text
        while (frame := frame.f_back) is not None:
            self._note(frame.f_code, frame.f_lasti)

    def note_traceback(self, traceback: TracebackType | None) -> None:
        """Note the calls that a raised error came through."""
        while traceback is not None:
            # The raise itself has the place of the whole statement, whose end is that of its call.
            self._note(traceback.tb_frame.f_code, traceback.tb_lasti)
            traceback = traceback.tb_next

    def _note(self, code: CodeType, instruction: int) -> Position | None:
        if not code.co_filename.startswith(f"{PACKAGE}/"):
            return None
        _, end_line, _, end_column = next(itertools.islice(code.co_positions(), instruction // 2, None))
        position = code.co_filename, end_line or 0, end_column or 0
        self._reached.add(position)
        return position

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail where a place was not reached, or where :data:`ELSEWHERE` does not say what is there."""
        places = self._places
        allowed = set()
        for item in ELSEWHERE:
            meant = [place for place in places if place.file == item.file and item.words in place.text]
            if len(meant) != 1:
                self._problems.append(f"tests/messages.py: {item.words!r} is in {len(meant)} places of {item.file}")
            if not _is_test(item.test):
                self._problems.append(f"tests/messages.py: {item.test} is no test")
            allowed.update(meant)
        mine = [place for place in places if place.file.startswith(self._folders or "")]
        missed = [place for place in mine if place.position not in self._reached and place not in allowed]
        self._problems += [f"{place.file}:{place.line}: not reached: {place.text}" for place in missed]
        for place in mine:
            text = self._bad.get(place.position, "")
            if "\n" in text or (text and place.position not in self._good):
                self._problems.append(f"{place.file}:{place.line}: not one line with a remedy: {text!r}")
        self._summary = f"{len(mine) - len(missed)} of {len(mine)} error messages reached"
        if self._problems and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """One line per problem."""
        terminalreporter.section("error messages")
        for problem in self._problems:
            terminalreporter.write_line(problem)
        terminalreporter.write_line(self._summary)


def _is_test(name: str) -> bool:
    path, _, function = name.partition("::")
    return (ROOT / path).is_file() and f"def {function}(" in (ROOT / path).read_text(encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("error messages")
    group.addoption("--all-messages", action="store_true", help="fail where no test reaches an error message")
    group.addoption(
        "--messages-in",
        action="append",
        default=[],
        metavar="PATH",
        help="with --all-messages: only those of this folder or file, such as --messages-in=pager_ray/datasets",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Listen to the making of every error, and to validation errors on their way to the user."""
    if not config.getoption("--all-messages"):
        return
    messages = Messages(config.getoption("--messages-in"))
    config.pluginmanager.register(messages, "pager-ray-messages")
    make, explain = errors.PagerError.__init__, loading._explain

    @functools.wraps(make)
    def noted_make(self: errors.PagerError, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        frame = inspect.currentframe()
        messages.note_error(self, frame and frame.f_back)

    @functools.wraps(explain)
    def noted_explain(error: Any, model: Any) -> str:
        for item in error.errors(include_url=False):
            cause = item.get("ctx", {}).get("error")
            if isinstance(cause, ValueError):
                messages.note_traceback(cause.__traceback__)
        return explain(error, model)

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(errors.PagerError, "__init__", noted_make)
    monkeypatch.setattr(loading, "_explain", noted_explain)
    config.add_cleanup(monkeypatch.undo)
