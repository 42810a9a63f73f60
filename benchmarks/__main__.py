"""``python -m benchmarks NAME [options] --json FILE``: runs one benchmark, or makes the documents' tables."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import frame

EXIT_USAGE = 2


def first_line(name: str) -> str:
    """What a benchmark measures, from its text; it is not imported, as some need libraries that may be absent."""
    import ast

    tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def call(target: str, arguments: str) -> int:
    """What :func:`benchmarks.frame.in_own_process` starts: a function's result as the last line of JSON."""
    module, _, function = target.partition(":")
    result = getattr(importlib.import_module(f"benchmarks.{module}"), function)(*json.loads(arguments))
    print(frame.ANSWER + json.dumps(result), flush=True)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is named; exit code 1 where a bound is missed, 2 where the command is wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["--call"]:
        return call(given[1], given[2])
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name every benchmark and what it measures")
    parser.add_argument("name", nargs="?", choices=[*frame.NAMES, "table"], metavar="NAME")
    options, rest = parser.parse_known_args(given[:1])
    if options.list:
        for name in frame.NAMES:
            print(f"{name:20}{first_line(name)}")
        return 0
    if options.name is None:
        parser.print_usage(sys.stderr)
        return EXIT_USAGE
    rest = given[1:]
    module = importlib.import_module(f"benchmarks.{options.name}")
    if options.name == "table":
        return int(module.main(rest))
    return frame.run(options.name, module, rest)


if __name__ == "__main__":
    sys.exit(main())
