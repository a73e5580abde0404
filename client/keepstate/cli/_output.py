"""Printing results: tables on a terminal, plain lines elsewhere, JSON, or the bare value."""

from __future__ import annotations

__all__ = ["as_json", "is_terminal", "print_fields", "print_json", "print_rows", "print_value", "printable"]

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def is_terminal() -> bool:
    """Whether a person watches."""
    return sys.stdout.isatty()


def print_value(value: bytes) -> None:
    """Print exactly these bytes; on a terminal, end the line where they do not."""
    write(value + (b"\n" if is_terminal() and not value.endswith(b"\n") else b""))


def print_json(document: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """Print a JSON document: in one line, or on a terminal in many."""
    write(as_json(document, indent=2 if is_terminal() else None).encode() + b"\n")


def as_json(document: Any, *, indent: int | None = None) -> str:
    """A document as JSON, of characters as they are, but for halves of surrogate pairs, which UTF-8 cannot say."""
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    return text.encode(errors="backslashreplace").decode()


def print_fields(fields: Mapping[str, str]) -> None:
    """Print names and values, one a line."""
    print_rows(("field", "value"), [*fields.items()])


def print_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: on a terminal as a table with its header, elsewhere each as one line with tabs between."""
    if not is_terminal():
        write("".join("\t".join(_one_line(cell) for cell in row) + "\n" for row in rows).encode())
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def printable(value: bytes) -> str:
    """A value for a person's eyes, with nothing in it that a terminal would obey."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return f"({len(value)} bytes that are not text; -o value prints them)"
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)


def write(data: bytes) -> None:
    """Write to standard output, whatever its encoding."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _one_line(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
