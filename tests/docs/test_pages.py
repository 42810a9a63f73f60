"""The pages hold together: links lead somewhere, commands exist, and no class of rejects is without an explanation."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from pager_ray.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]
NAMED = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def reject_classes() -> set[str]:
    """Every class that the code can give a reject: literals where the error is made, and the constants there."""
    found: set[str] = set()
    for path in (ROOT / "pager_ray").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            target.id: node.value.value
            for node in ast.walk(tree)
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Constant)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            first = node.args[0]
            if name in ("InputError", "_reject", "reject"):
                value = constants.get(first.id) if isinstance(first, ast.Name) else getattr(first, "value", None)
                if isinstance(value, str):
                    found.add(value)
    return found


@NAMED
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links name files that are there, and headings that these have."""
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@NAMED
def test_commands_and_options_exist(page: Path) -> None:
    """Every `pager-ray COMMAND` that a page names is one, with the long options that stand behind it on the line."""
    for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        for command, rest in re.findall(r"pager-ray ([a-z]+)([^`|#]*)", line):
            assert command in cli.commands, line
            known = {option for parameter in cli.commands[command].params for option in parameter.opts} | {"--help"}
            assert set(re.findall(r"(?<=\s)--[a-z-]+", rest.split(" -- ")[0])) <= known, line


def test_every_class_of_rejects_is_explained() -> None:
    """The table of troubleshooting.md names every class that the code has, and none that it has not."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    table = text[text.index("| class |") : text.index("## Before the job starts")]
    explained = {name for line in table.splitlines() if line for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    # Settled as whole columns, by the listing.
    in_code = reject_classes() | {"duplicate_id", "bad_name"}
    assert len(in_code) > 25
    assert explained >= in_code
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "pager_ray").rglob("*.py"))
    assert [name for name in explained if f'"{name}"' not in written] == []
