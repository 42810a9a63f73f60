"""The plugin that reads error messages: it finds the places that word them, and fails for those no test reads."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import messages
from tests.messages import FAMILY, REMEDY, Messages, find_places

SOURCE = '''
from pager_ray.errors import ConfigError, InputError, PagerError


def direct(key):
    raise ConfigError(f"{key}: is wrong; give another")


def bad(uri) -> InputError:
    """Returns one, so that its calls are places too."""
    if uri:
        return InputError("bad", f"{uri}: is bad; remove it")
    return worse(uri)


def worse(uri):
    return PagerError("first; run again") if uri else PagerError("no remedy")


def uses(uri):
    def inner():
        return 3

    raise bad(uri)


def multiline():
    raise PagerError("two\\nlines; run again")


def no_error():
    raise ValueError("takes nothing")
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """The source above as the whole package that is looked at; gives its names."""
    package = tmp_path / "pager_ray"
    package.mkdir()
    for name in ("errors.py", "sample.py"):
        (package / name).write_text(SOURCE if name == "sample.py" else "", encoding="utf-8")
    monkeypatch.setattr(messages, "ROOT", tmp_path)
    monkeypatch.setattr(messages, "PACKAGE", package)
    names: dict = {}
    path = package / "sample.py"
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    return names


class Session:
    exitstatus = pytest.ExitCode.OK


def judged(listener: Messages) -> tuple[list[str], Session]:
    """What the plugin would print, without places of the allow-list, and the session that it may fail."""
    session = Session()
    listener.pytest_sessionfinish(session)  # type: ignore[arg-type]
    return listener._problems, session


def note(listener: Messages, module: dict, function: str, *arguments: object) -> None:
    """Call a function of the module with the listener in, as ``pytest --all-messages`` has it."""
    with pytest.MonkeyPatch.context() as patch:
        make = messages.errors.PagerError.__init__

        def noted(self: messages.errors.PagerError, *args: object) -> None:
            make(self, *args)
            frame = messages.inspect.currentframe()
            listener.note_error(self, frame and frame.f_back)

        patch.setattr(messages.errors.PagerError, "__init__", noted)
        with pytest.raises(messages.errors.PagerError):
            module[function](*arguments)


def test_places_are_calls_that_make_an_error(module: dict) -> None:
    """Calls of the family and of functions that return one are places; other errors and other calls are none."""
    texts = [place.text for place in find_places()]
    assert [text.split("(")[0] for text in texts] == [
        "ConfigError", "InputError", "worse", "PagerError", "PagerError", "bad", "PagerError",
    ]  # fmt: skip
    assert {place.file for place in find_places()} == {"pager_ray/sample.py"}


def test_the_family_is_what_the_package_raises() -> None:
    """Every class of pager_ray.errors is in the family, and nothing else."""
    assert {"PagerError", "InputError", "ConfigError", "StorageError"} <= FAMILY
    assert "ValueError" not in FAMILY


def test_what_no_test_reaches_fails_the_session(module: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every place is a problem that fails the session, until a test reached it."""
    monkeypatch.setattr(messages, "ELSEWHERE", ())
    listener = Messages([])
    problems, session = judged(listener)
    assert len(problems) == 7
    assert all("not reached" in problem for problem in problems)
    assert session.exitstatus == pytest.ExitCode.TESTS_FAILED

    listener = Messages([])
    note(listener, module, "direct", "key")
    note(listener, module, "uses", "a.jpg")
    problems, session = judged(listener)
    assert [problem.split(": ", 2)[2].split("(")[0] for problem in problems] == [
        "worse", "PagerError", "PagerError", "PagerError",
    ]  # fmt: skip


def test_messages_without_a_remedy_fail_the_session(module: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place whose message has several lines, or says nothing of what to do, is a problem with its text."""
    monkeypatch.setattr(messages, "ELSEWHERE", ())
    listener = Messages([])
    note(listener, module, "multiline")
    note(listener, module, "uses", "")
    problems, _ = judged(listener)
    wrong = [problem.split(": ", 1)[1] for problem in problems if "not one line" in problem]
    assert wrong == [
        "not one line with a remedy: 'no remedy'",
        "not one line with a remedy: 'two\\nlines; run again'",
    ]


def test_only_the_folders_that_are_asked_for_count(module: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """--messages-in leaves out the places of other folders."""
    monkeypatch.setattr(messages, "ELSEWHERE", ())
    problems, session = judged(Messages(["pager_ray/other"]))
    assert (problems, session.exitstatus) == ([], pytest.ExitCode.OK)


def test_allowed_places_need_a_test_and_a_single_place(module: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exemption that meets no place, or names no test, is a problem itself."""
    good = messages.Elsewhere("pager_ray/sample.py", "two", "in a worker", "tests/x.py::test_x")
    monkeypatch.setattr(messages, "ELSEWHERE", (good, messages.Elsewhere("pager_ray/sample.py", "absent", "", "")))
    problems, _ = judged(Messages([]))
    assert "tests/messages.py: tests/x.py::test_x is no test" in problems
    assert "tests/messages.py: 'absent' is in 0 places of pager_ray/sample.py" in problems
    assert not any("two" in problem and "not reached" in problem for problem in problems)


@pytest.mark.parametrize(
    ("message", "has_one"),
    [
        ("a.jpg: does not exist; correct the URI or bring the file there", True),
        ("output.size: got 3; takes HxW", True),
        ("run: is damaged; restore it, or start anew with --overwrite", True),
        ("a.jpg: cannot be read (Input/output error)", False),
        ("a.jpg: does not exist", False),
    ],
)
def test_remedies_are_known_by_their_words(message: str, has_one: bool) -> None:
    """An imperative, what is taken or an option is a remedy; what merely tells of a failure is none."""
    assert bool(REMEDY.search(message)) is has_one


def test_conditional_returns_make_a_maker() -> None:
    """Both ends of ``A(…) if … else B(…)`` count as what a function returns."""
    function = ast.parse("def f(x):\n    return 3 if x else PagerError('x')").body[0]
    assert any(messages._returns_error(function, set()))
    function = ast.parse("def f(x):\n    def g():\n        return PagerError('x')\n    return g").body[0]
    assert not any(messages._returns_error(function, set()))
