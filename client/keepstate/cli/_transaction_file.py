"""What the file of ``keepstate transact`` holds, and the operations that it stands for."""

from __future__ import annotations

__all__ = ["FORM", "Operations", "operations"]

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from keepstate.codecs import Bytes, Json, Text
from keepstate.durations import parse_duration
from keepstate.operations import Append, Check, Delete, Increment, MergePatch, Put, Update

T = TypeVar("T")

FORM = """\
\b
FILE is YAML or JSON:
  checks:
    - {key: user:5, if_exists: true}
  puts:
    - {key: user:1, value: {name: Ada}, if_etag: "…", ttl: 1h}
    - {key: note, text: hello, namespace: chat, store: redis}
    - {key: photo, base64: /9j/4A==, content_type: image/jpeg}
  deletes:
    - {key: user:4}
  updates:
    - {key: hits, increment: {delta: 2, initial: 0, minimum: 0, maximum: 9}}
    - {key: log, append: {items: [came, saw], max_length: 100}}
    - {key: user:7, merge_patch: {city: null}, keep_expiry: true}
\b
Every item has a key, and may have a namespace, a store and one condition:
if_absent, if_exists (true) or if_etag; a check must have one. Puts and updates
may have one of ttl (1h30m), expire_at (2027-01-31T12:00:00Z), keep_expiry (true).
"""


@dataclass(frozen=True, kw_only=True)
class Operations:
    """The parts of one transaction."""

    checks: list[Check] = field(default_factory=list)
    puts: list[Put] = field(default_factory=list)
    deletes: list[Delete] = field(default_factory=list)
    updates: list[Update[Any]] = field(default_factory=list)


def operations(document: Any) -> Operations:
    """Make operations of what a file holds.

    Raises:
        ValueError: something in it is wrong; names all such items and fields.
    """
    problems: list[str] = []
    if not isinstance(document, dict) or not document:
        raise ValueError(f"must have at least one of {', '.join(_PARTS)}")
    problems += [f"{part}: there is no such part; there are {', '.join(_PARTS)}" for part in document.keys() - _PARTS]
    made: dict[str, list[Any]] = {
        part: _items(part, document.get(part), read, problems) for part, read in _PARTS.items()
    }
    if not problems and not any(made.values()):
        problems.append("there is no item in it")
    if problems:
        raise ValueError("; ".join(problems))
    return Operations(**made)


def _items(part: str, items: Any, read: Callable[[_Item], T], problems: list[str]) -> list[T]:
    made: list[T] = []
    if not isinstance(items, list | None):
        problems.append(f"{part}: must be a list")
        return made
    for number, fields in enumerate(items or []):
        try:
            made.append(read(_Item(fields)))
        except (ValueError, TypeError) as error:
            problems.append(f"{part}[{number}]{'' if isinstance(error, _FieldError) else ': '}{error}")
    return made


class _FieldError(ValueError):
    """Something in an item is wrong. Its text goes on after the item's name: ``.ttl: …``."""


class _Item:
    """The fields of one item, each taken once; what is left at the end is wrong."""

    def __init__(self, fields: Any) -> None:
        if not isinstance(fields, dict):
            raise _FieldError(": must be an object")
        self._left: dict[str, Any] = dict(fields)

    def take(self, name: str, read: Callable[[Any], T]) -> T | None:
        """A field's value, or None where it is not there."""
        if name not in self._left:
            return None
        try:
            return read(self._left.pop(name))
        except (ValueError, TypeError) as error:
            raise _FieldError(f".{name}{'' if isinstance(error, _FieldError) else ': '}{error}") from None

    def take_all(self, **readers: Callable[[Any], Any]) -> dict[str, Any]:
        """Those of these fields that are there."""
        return {name: self.take(name, read) for name, read in readers.items() if name in self._left}

    def take_one(self, **readers: Callable[[Any], Any]) -> tuple[str, Any]:
        """The one of these fields that is there."""
        names = [name for name in readers if name in self._left]
        if len(names) != 1:
            raise ValueError(f"give {'only ' if names else ''}one of {', '.join(names or readers)}")
        return names[0], self.take(names[0], readers[names[0]])

    def named(self) -> dict[str, Any]:
        """The record's name."""
        key = self.take("key", _text)
        if not key:
            raise _FieldError(".key: must be given")
        return {"key": key, **self.take_all(namespace=_text, store=_text)}

    def end(self) -> None:
        """See that nothing is left."""
        for name in self._left:
            raise _FieldError(f".{name}: there is no such field here")


def _check(item: _Item) -> Check:
    made = Check(**item.named(), **item.take_all(**_CONDITIONS))
    item.end()
    return made


def _put(item: _Item) -> Put:
    named = item.named()
    kind, value = item.take_one(value=_anything, text=_text, base64=_bytes)
    codec: Any = {"value": Json, "text": Text, "base64": Bytes}[kind]
    content_type = item.take_all(content_type=_text)
    made = Put(value=value, codec=codec(**content_type), **named, **item.take_all(**_CONDITIONS, **_EXPIRIES))
    item.end()
    return made


def _delete(item: _Item) -> Delete:
    made = Delete(**item.named(), **item.take_all(if_exists=_true, if_etag=_text))
    item.end()
    return made


def _update(item: _Item) -> Update[Any]:
    named = item.named()
    _, (kind, change) = item.take_one(increment=_increment, append=_append, merge_patch=_merge_patch)
    made: Update[Any] = kind(**named, **change, **item.take_all(**_CONDITIONS, **_EXPIRIES))
    item.end()
    return made


_Change = tuple[type[Update[Any]], Mapping[str, Any]]


def _increment(fields: Any) -> _Change:
    item = _Item(fields)
    numbers = item.take_all(delta=_integer, initial=_integer, minimum=_integer, maximum=_integer)
    item.end()
    return Increment, numbers


def _append(fields: Any) -> _Change:
    item = _Item(fields)
    items = item.take("items", _list)
    if items is None:
        raise _FieldError(".items: must be given")
    most = item.take_all(max_length=_integer)
    item.end()
    return Append, {"items": items, **most}


def _merge_patch(patch: Any) -> _Change:
    return MergePatch, {"patch": patch}


def _anything(value: Any) -> Any:
    return value


def _true(value: Any) -> bool:
    if value is not True:
        raise ValueError("must be true, or left out")
    return True


def _reader(kind: type[T], words: str) -> Callable[[Any], T]:
    def read(value: Any) -> T:
        if type(value) is not kind:  # exactly: true is no number
            raise _FieldError(f": must be {words}")
        return value

    return read


_text = _reader(str, "a text")
_integer = _reader(int, "a whole number")
_list: Callable[[Any], list[Any]] = _reader(list, "a list")


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_text(value), validate=True)
    except binascii.Error:
        raise ValueError("must be base64") from None


def _duration(value: Any) -> timedelta:
    return parse_duration(str(value))  # of a number it says that the unit is missing


def _moment(value: Any) -> datetime:
    try:
        return datetime.fromisoformat(_text(value))
    except ValueError:
        raise ValueError(f"{value!r} is not a time such as 2027-01-31T12:00:00Z") from None


_CONDITIONS: dict[str, Callable[[Any], Any]] = {"if_absent": _true, "if_exists": _true, "if_etag": _text}

_EXPIRIES: dict[str, Callable[[Any], Any]] = {"ttl": _duration, "expire_at": _moment, "keep_expiry": _true}

_PARTS: dict[str, Callable[[_Item], Any]] = {"checks": _check, "puts": _put, "deletes": _delete, "updates": _update}
