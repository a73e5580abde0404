"""JSON as text, so that it can be cut and put together again while all that is left in it stays to the letter.

Numbers keep their digits: JSON sets no limit to them, Python's do.
"""

import json
import re
from itertools import accumulate
from typing import Any, NoReturn

__all__ = ["MOST_LEVELS", "SPACE", "after_mark", "past_value", "read_json"]

MOST_LEVELS = 100
"""How deep lists and objects may lie in each other."""

SPACE = " \t\n\r"
"""What may stand around values."""

_NEXT = re.compile(r"[ \t\n\r]*[\[{,:]?[ \t\n\r]*")
# Strings, ended or not, and all that is no bracket. It never goes back, whatever the text.
_NO_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[^\[\]{}"]++', re.DOTALL)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"has {text}, which is not JSON")


_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)


def read_json(data: bytes, *, levels: int = MOST_LEVELS) -> tuple[str, Any]:
    """Reads one JSON value of at most ``levels`` levels: its text without space around it, and what it holds.

    Numbers are returned as their text.

    Raises:
        ValueError: it is none; says why, to be put after the name of what was read.
    """
    try:
        text = data.decode().strip(SPACE)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 at byte {error.start}") from None
    if _deeper(text, levels):  # before it is parsed, which goes as deep as the text does
        raise ValueError(f"has more than {levels} levels of lists and objects")
    try:
        return text, _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON at character {error.pos}") from None


def past_value(text: str, at: int) -> tuple[Any, int]:
    """Returns the value that begins at ``at`` and where it ends. ``text`` must be JSON."""
    value, end = _DECODER.raw_decode(text, at)
    return value, end


def after_mark(text: str, at: int) -> int:
    """Returns where what follows ``at`` begins, past one comma, colon or opening bracket and all space."""
    found = _NEXT.match(text, at)
    assert found is not None  # it matches nothing, too
    return found.end()


def _deeper(text: str, levels: int) -> bool:
    """Says whether more than ``levels`` lie in each other; of what is not JSON, also where a parser would not get."""
    if text.count("[") + text.count("{") <= levels:
        return False
    brackets = _NO_BRACKETS.sub("", text)
    return max(accumulate(1 if each in "[{" else -1 for each in brackets), default=0) > levels
