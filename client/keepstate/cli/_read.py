"""Reading values that people wrote: JSON, and YAML that says what JSON can say. Nothing of them is changed."""

from __future__ import annotations

__all__ = ["read_as", "read_document", "read_json"]

import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    import yaml


def read_as(argument: str, text: str) -> Any:
    """Read an argument's JSON, or say as a usage error why it is none."""
    try:
        return read_json(text)
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as error:
        problem = str(error)
    raise typer.BadParameter(f"{text!r} is not a JSON value: {problem}", param_hint=argument)


def read_json(text: str) -> Any:
    """Read one JSON value.

    Raises:
        ValueError: it is none, names a member of an object twice, or has a number that would lose digits.
    """
    return json.loads(text, parse_float=_exact, parse_constant=_refuse_constant, object_pairs_hook=_members)


def read_document(text: str) -> Any:
    """Read a file: JSON if it begins as an object does, else YAML with JSON's values.

    Plain words are what YAML 1.2 takes them for: ``no`` and ``2027-01-31`` are texts.

    Raises:
        ValueError: it is neither, names a member of an object twice, or has a number that would lose digits.
    """
    if text.lstrip().startswith("{"):
        return read_json(text)
    import yaml

    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506 - it makes JSON's values alone
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from None


def _loader() -> type[yaml.SafeLoader]:
    import yaml

    class Loader(yaml.SafeLoader):
        """PyYAML's own makes of plain words what YAML 1.1 did, to which ``no`` was false and ``1:30`` was 90."""

        yaml_implicit_resolvers = {}  # noqa: RUF012 - the name and type are PyYAML's

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[str, Any]:
        names = [loader.construct_object(name, deep=True) for name, _ in node.value]
        if wrong := [name for name in names if not isinstance(name, str)]:
            raise ValueError(f"{wrong[0]!r} is no name: put it into quotes")
        values = [loader.construct_object(value, deep=True) for _, value in node.value]
        return _members(list(zip(names, values, strict=True)))

    def scalar(kind: str, pattern: str, make: Callable[[str], Any]) -> None:
        tag = f"tag:yaml.org,2002:{kind}"
        Loader.add_implicit_resolver(tag, re.compile(f"(?:{pattern})$"), None)

        def construct(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
            return make(str(loader.construct_scalar(node)))

        Loader.add_constructor(tag, construct)

    scalar("null", "null|Null|NULL|~|", lambda _: None)
    scalar("bool", "true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true")
    scalar("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", _whole)
    number, no_number = r"(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", r"\.(inf|Inf|INF|nan|NaN|NAN)"
    scalar("float", f"[-+]?({number}|{no_number})", _exact)
    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    return Loader


def _whole(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _exact(text: str) -> float:
    if text.lstrip("+-.").lower() in ("inf", "nan"):
        _refuse_constant(text)
    number = float(text)
    if Decimal(repr(number)) != Decimal(text):
        raise ValueError(f"the number {text} would lose digits: write it as a text")
    return number


def _members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is there twice")
        found[name] = value
    return found


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
