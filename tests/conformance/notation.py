"""How a case says values and what it expects: YAML with tags, and the comparison with what was found.

Values: `!hex 00ff`, `!every_byte 1` (all 256, so many times), `!repeat [x, 1024]`, `!in 500` (a time so many
milliseconds from the service's now), `!saved name`, `!join [text, !saved name]`, and `!numbered [1000, {key: "k#"}]`, a
list with the number, from 0 on, in the place of each #.

Expectations: a mapping says fields and leaves out others, null is none. `!save name` (anything, remembered), `!unlike
name` (not what was saved), `!any`, `!not x`, `!one_of [x, y]`, `!between [1, 9]`, `!near [0, 500]` (a time so many
milliseconds from the service's now, and how far off it may be), `!matches regex`, `!holds [text, ...]` (of a value),
`!size 1024` or `!size [1, 9]` (of a value, a text or a list), `!each [1000, x]` (a list of so many).
"""

from __future__ import annotations

import base64
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import yaml

VALUE_FIELDS = ("value", "patch")
"""The fields whose text or bytes are written in base64 on the wire of the suite."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@dataclass(kw_only=True)
class Scene:
    """What the words of a case refer to while it runs."""

    now: Callable[[], datetime]
    """The service's time, as clients are told it."""
    saved: dict[str, Any] = field(default_factory=dict)


class Expected(ABC):
    """What a tag expects."""

    @abstractmethod
    def problems(self, found: Any, scene: Scene, path: str) -> Iterator[str]:
        """Says what is wrong with what was found."""


@dataclass(frozen=True)
class Saved:
    name: str


@dataclass(frozen=True)
class Ahead:
    milliseconds: float


@dataclass(frozen=True)
class Joined:
    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Save(Expected):
    name: str

    def problems(self, found: Any, scene: Scene, path: str) -> Iterator[str]:
        if found is None or found == "":
            yield f"{path}: there is none"
        scene.saved[self.name] = found


@dataclass(frozen=True)
class AnyOf(Expected):
    them: tuple[Any, ...]
    negated: bool = False

    def problems(self, found: Any, scene: Scene, path: str) -> Iterator[str]:
        fits = any(not list(differences(each, found, scene, path)) for each in self.them)
        if fits is self.negated:
            words = "none of" if self.negated else "one of"
            yield f"{path}: {shortened(found)}, expected {words} {[resolved(each, scene) for each in self.them]}"


@dataclass(frozen=True)
class There(Expected):
    def problems(self, found: Any, scene: Scene, path: str) -> Iterator[str]:
        if found is None or found == "":
            yield f"{path}: there is none"


@dataclass(frozen=True)
class Between(Expected):
    least: float
    most: float

    def problems(self, found: Any, scene: Scene, path: str) -> Iterator[str]:
        if not isinstance(found, int | float) or not self.least <= found <= self.most:
            yield f"{path}: {shortened(found)}, expected between {self.least} and {self.most}"


@dataclass(frozen=True)
class Near(Expected):
    ahead: float
    within: float

    def problems(self, found: Any, scene: Scene, path: str) -> Iterator[str]:
        if not isinstance(found, str) or not _TIME.fullmatch(found):
            yield f"{path}: {shortened(found)}, expected a time"
            return
        expected = scene.now() + timedelta(milliseconds=self.ahead)
        off = (nanoseconds(found) - nanoseconds(expected.isoformat())) / 1e6
        if abs(off) > self.within:
            yield f"{path}: {found} is {off:.0f} ms from {expected.isoformat()}, expected within {self.within} ms"


@dataclass(frozen=True)
class Matches(Expected):
    pattern: str

    def problems(self, found: Any, scene: Scene, path: str) -> Iterator[str]:
        if not isinstance(found, str) or not re.search(self.pattern, found):
            yield f"{path}: {shortened(found)}, expected to match {self.pattern!r}"


@dataclass(frozen=True)
class Holds(Expected):
    texts: tuple[str, ...]

    def problems(self, found: Any, scene: Scene, path: str) -> Iterator[str]:
        text = base64.b64decode(found or "").decode()
        yield from (f"{path}: {shortened(text)} has no {each!r}" for each in self.texts if each not in text)


@dataclass(frozen=True)
class Size(Expected):
    least: int
    most: int

    def problems(self, found: Any, scene: Scene, path: str) -> Iterator[str]:
        if isinstance(found, str) and path.rpartition(".")[2] in VALUE_FIELDS:
            found = base64.b64decode(found)
        if found is None or not self.least <= len(found) <= self.most:
            size = "no size" if found is None else f"a size of {len(found)}"
            yield f"{path}: {shortened(found)}, {size}, expected {self.least} to {self.most}"


@dataclass(frozen=True)
class Each(Expected):
    count: int
    expected: Any

    def problems(self, found: Any, scene: Scene, path: str) -> Iterator[str]:
        if not isinstance(found, list) or len(found) != self.count:
            yield f"{path}: {shortened(found)}, expected a list of {self.count}"
            return
        for number, each in enumerate(found):
            yield from differences(self.expected, each, scene, f"{path}[{number}]")


def differences(expected: Any, found: Any, scene: Scene, path: str = "") -> Iterator[str]:
    """Says where what was found is not what is expected."""
    match expected:
        case Expected():
            yield from expected.problems(found, scene, path)
        case Mapping() if isinstance(found, Mapping):
            for name, each in expected.items():
                yield from differences(as_sent(name, each), found.get(name), scene, f"{path}.{name}" if path else name)
        case list() if isinstance(found, list):
            if len(expected) != len(found):
                yield f"{path}: {len(found)} of them, expected {len(expected)}: {shortened(found)}"
                return
            for number, (each, other) in enumerate(zip(expected, found, strict=True)):
                yield from differences(each, other, scene, f"{path}[{number}]")
        case _:
            wanted = resolved(expected, scene)
            if not _same(wanted, found):
                yield f"{path}: {shortened(found)}, expected {shortened(wanted)}"


def resolved(thing: Any, scene: Scene) -> Any:
    """A command as it is sent: with saved values, times and base64 in their places.

    Raises:
        KeyError: nothing was saved under a name.
    """
    match thing:
        case Saved(name=name):
            return scene.saved[name]
        case Ahead(milliseconds=milliseconds):
            time = scene.now() + timedelta(milliseconds=milliseconds)
            return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case Joined(parts=parts):
            return "".join(resolved(part, scene) for part in parts)
        case Mapping():
            return {name: resolved(as_sent(name, each), scene) for name, each in thing.items()}
        case list():
            return [resolved(each, scene) for each in thing]
    return thing


def as_sent(name: str, thing: Any) -> Any:
    """What a field holds as it is sent: base64 where it is a value."""
    if name in VALUE_FIELDS:
        return _encoded(thing)
    if name == "items" and isinstance(thing, list):
        return [_encoded(each) for each in thing]
    return thing


def nanoseconds(text: str) -> int:
    """A time in nanoseconds since 1970; Python's own times end at microseconds."""
    whole, fraction, zone = re.sub(r"(\.\d+)?(Z|[+-]\d\d:\d\d)$", r"|\1|\2", text).split("|")
    seconds = int(datetime.fromisoformat(whole + zone).timestamp())
    return seconds * 10**9 + int(fraction[1:].ljust(9, "0")[:9] or 0)


def shortened(thing: Any) -> str:
    """A thing for people, also where it is long."""
    text = repr(thing)
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text)} characters)"


def _encoded(thing: Any) -> Any:
    if isinstance(thing, str):
        thing = thing.encode()
    return base64.b64encode(thing).decode() if isinstance(thing, bytes) else thing


def _same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, str) and isinstance(found, str) and _TIME.fullmatch(wanted) and _TIME.fullmatch(found):
        return nanoseconds(wanted) == nanoseconds(found)
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found or (wanted is False and found is None)
    return bool(wanted == found)


_Make: TypeAlias = Callable[[Any], Any]


def _numbered(arguments: Any) -> list[Any]:
    count, template = arguments

    def filled(thing: Any, number: int) -> Any:
        match thing:
            case str():
                return thing.replace("#", str(number))
            case Mapping():
                return {name: filled(each, number) for name, each in thing.items()}
            case list():
                return [filled(each, number) for each in thing]
        return thing

    return [filled(template, number) for number in range(count)]


_TAGS: Mapping[str, _Make] = {
    "!hex": bytes.fromhex,
    "!every_byte": lambda times: bytes(range(256)) * int(times),
    "!repeat": lambda arguments: arguments[0] * arguments[1],
    "!numbered": _numbered,
    "!in": lambda number: Ahead(float(number)),
    "!saved": Saved,
    "!save": Save,
    "!unlike": lambda name: AnyOf((Saved(name),), negated=True),
    "!join": lambda parts: Joined(tuple(parts)),
    "!any": lambda _: There(),
    "!not": lambda thing: AnyOf((thing,), negated=True),
    "!one_of": lambda things: AnyOf(tuple(things)),
    "!between": lambda arguments: Between(*arguments),
    "!near": lambda arguments: Near(*arguments),
    "!matches": Matches,
    "!holds": lambda texts: Holds(tuple(texts)),
    "!size": lambda size: Size(*size) if isinstance(size, list) else Size(int(size), int(size)),
    "!each": lambda arguments: Each(*arguments),
}


class Loader(yaml.SafeLoader):
    """YAML with the tags of cases. Another tag, or a name that is there twice in a mapping, is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping of names that differ."""
        names = [name.value for name, _ in node.value]
        if twice := {name for name in names if names.count(name) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"twice in one mapping: {twice}", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _constructor(make: _Make) -> Callable[[Loader, yaml.Node], Any]:
    def construct(loader: Loader, node: yaml.Node) -> Any:
        match node:
            case yaml.ScalarNode():
                # !not and its like take what YAML says a plain word is: a number, true, null.
                argument = node.value if node.style or make in _TEXTS else yaml.safe_load(node.value)
            case yaml.SequenceNode():
                argument = loader.construct_sequence(node, deep=True)
            case yaml.MappingNode():
                argument = loader.construct_mapping(node, deep=True)
            case _:
                raise TypeError(f"no part of YAML: {node}")
        return make(argument)

    return construct


_TEXTS = (bytes.fromhex, Saved, Save, Matches, _TAGS["!unlike"])

for _tag, _make in _TAGS.items():
    Loader.add_constructor(_tag, _constructor(_make))
