"""A condition on a run's columns, such as ``sky_fraction < 0.2 and scene = 'outdoor'``, as an Arrow expression.

The grammar, in full::

    condition = term {"or" term}            term = factor {"and" factor}
    factor    = "not" factor | "(" condition ")" | column test
    test      = ("<" | "<=" | ">" | ">=" | "=" | "==" | "!=") value | "is" ["not"] "null"
    value     = number | 'text' | "text"

Nothing is evaluated but this. As in SQL, a row whose value is null passes no comparison, nor the ``not`` of one.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.errors import ConfigError
from pager_ray.runs.shards import PREDICTION_COLUMNS

TEXT_COLUMNS = frozenset({"id", "uri", "digest", "sequence", "scene", "suspect", "remarks"})

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<text>'[^']*'|\"[^\"]*\")|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<sign><=|>=|==|!=|[<>=()]))"
)
_COMPARE: dict[str, Callable[[Any, Any], pc.Expression]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}
_TAKES = "takes COLUMN < <= > >= = != VALUE, or COLUMN is [not] null, joined by and, or, not and parentheses"
_DEEPEST = 64


@dataclass(frozen=True)
class Condition:
    """A parsed condition.

    Attributes:
        expression: for :meth:`pyarrow.Table.filter`.
        columns: those it needs, in order of appearance.
    """

    expression: pc.Expression
    columns: tuple[str, ...]


def parse_where(text: str, columns: Sequence[str] = PREDICTION_COLUMNS) -> Condition:
    """Parse a condition.

    Args:
        text: as in the module's docstring.
        columns: what there is.

    Raises:
        ConfigError: it does not follow the grammar, names a column that does not exist, or compares text with a number.
    """
    parser = _Parser(text, tuple(columns))
    expression = parser.condition(0)
    if parser.peek() is not None:
        raise parser.wrong(f"cannot go on at {parser.peek()!r}")
    return Condition(expression, tuple(dict.fromkeys(parser.used)))


@dataclass
class _Parser:
    text: str
    columns: tuple[str, ...]
    used: list[str] = field(default_factory=list)
    _tokens: list[tuple[str, str]] = field(init=False)
    _next: int = 0

    def __post_init__(self) -> None:
        self._tokens = []
        at, text = 0, self.text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self.wrong(f"cannot read {text[at : at + 20].strip()!r}")
            self._tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
            at = match.end()

    def wrong(self, what: str) -> ConfigError:
        return ConfigError(f"--where: {what} in {self.text!r}; {_TAKES}; columns: {', '.join(self.columns)}")

    def peek(self) -> str | None:
        return self._tokens[self._next][1] if self._next < len(self._tokens) else None

    def _take(self) -> tuple[str, str]:
        if self._next >= len(self._tokens):
            raise self.wrong("something is missing at the end")
        self._next += 1
        return self._tokens[self._next - 1]

    def _takes_word(self, word: str) -> bool:
        if self._next < len(self._tokens):
            kind, token = self._tokens[self._next]
            if kind == "word" and token.lower() == word:
                self._next += 1
                return True
        return False

    def condition(self, depth: int) -> pc.Expression:
        result = self._term(depth)
        while self._takes_word("or"):
            result = result | self._term(depth)
        return result

    def _term(self, depth: int) -> pc.Expression:
        result = self._factor(depth)
        while self._takes_word("and"):
            result = result & self._factor(depth)
        return result

    def _factor(self, depth: int) -> pc.Expression:
        if depth > _DEEPEST:
            raise self.wrong(f"more than {_DEEPEST} parentheses and nots within each other")
        if self._takes_word("not"):
            return ~self._factor(depth + 1)
        kind, token = self._take()
        if token == "(" and kind == "sign":
            result = self.condition(depth + 1)
            if self._take() != ("sign", ")"):
                raise self.wrong("a parenthesis is not closed")
            return result
        if kind != "word":
            raise self.wrong(f"a column is expected, not {token}")
        if token not in self.columns:
            raise self.wrong(f"{token} is no column")
        self.used.append(token)
        return self._test(token)

    def _test(self, column: str) -> pc.Expression:
        if self._takes_word("is"):
            negated = self._takes_word("not")
            if not self._takes_word("null"):
                raise self.wrong(f"null is expected behind {column} is")
            is_null = pc.field(column).is_null()
            return ~is_null if negated else is_null
        kind, sign = self._take()
        if kind != "sign" or sign not in _COMPARE:
            raise self.wrong(f"a comparison is expected behind {column}, not {sign}")
        kind, value = self._take()
        if kind not in ("number", "text"):
            raise self.wrong(f"a number or quoted text is expected behind {column} {sign}, not {value}")
        is_text = column in TEXT_COLUMNS
        if is_text != (kind == "text"):
            raise self.wrong(f"{column} holds {'text' if is_text else 'numbers'}, which {value} is not")
        # Columns are float32: compared as float64, so that 0.1 means what it says.
        operand = pc.field(column) if is_text else pc.field(column).cast(pa.float64())
        return _COMPARE[sign](operand, pc.scalar(value[1:-1] if is_text else float(value)))
