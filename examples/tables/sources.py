"""Where rows come from: a CSV file, or a table in SQLite or PostgreSQL.

A source gives each row as the parts of its key and its value, JSON. It is read several times and must give the same
rows each time: a database is read in one transaction, and of a file that changes the verification finds out.
"""

from __future__ import annotations

__all__ = ["Row", "Rows", "SourceError", "open_source"]

import csv
import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FETCH = 100
"""How many rows PostgreSQL is asked for at a time."""


class SourceError(Exception):
    """The source cannot be read, or a row of it cannot become a record; the text says which and why."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row."""

    place: str
    """What names it to a person, e.g. "line 17"."""

    key: tuple[str | None, ...]
    """Its key columns as text. None: NULL."""

    value: bytes
    """All of its columns by name, as a JSON object."""


Rows = Callable[[], Iterator[Row]]
"""Reads all rows from the start. Raises SourceError."""


def open_source(source: str, table: str | None, key: Sequence[str]) -> AbstractContextManager[Rows]:
    """Open a source.

    Args:
        source: ``sqlite:///FILE``, ``postgresql://…``, or else the path of a CSV file.
        table: the table in the database; in PostgreSQL it may be ``schema.table``. None: of a CSV file.
        key: the columns whose values together name a row.

    Raises:
        SourceError: it cannot be opened, or lacks a column. Also of the rows, while they are read.
    """
    scheme, separator, rest = source.partition("://")
    if not separator:
        if table is not None:
            raise SourceError("a CSV file has no tables: leave out --table")
        return _csv(Path(source), key)
    if table is None:
        raise SourceError("name the table in the database: --table")
    if scheme == "sqlite":
        return _sqlite(Path(rest.removeprefix("/")), table, key)
    if scheme in ("postgresql", "postgres"):
        return _postgresql(source, table, key)
    raise SourceError(f"{scheme}:// is neither sqlite:// nor postgresql://")


@contextmanager
def _csv(path: Path, key: Sequence[str]) -> Iterator[Rows]:
    """Values are texts, since a CSV file knows nothing else: neither numbers nor NULL are guessed."""
    csv.field_size_limit(16 * 1024 * 1024)

    def rows() -> Iterator[Row]:
        place = "line 0"
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                lines = csv.reader(file, strict=True)
                columns = next(lines, [])
                at = _positions(columns, key)
                for fields in lines:
                    place = f"line {lines.line_num}"
                    if not fields:
                        continue  # an empty line
                    if len(fields) != len(columns):
                        raise SourceError(f"{place}: {len(fields)} fields, but {len(columns)} columns")
                    yield Row(
                        place=place,
                        key=tuple(fields[each] for each in at),
                        value=_json(dict(zip(columns, fields, strict=True))),
                    )
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise SourceError(f"{path}, after {place}: {error}") from error

    yield rows


@contextmanager
def _sqlite(path: Path, table: str, key: Sequence[str]) -> Iterator[Rows]:
    r"""Integers and reals are JSON numbers with all their digits, a blob is ``\x`` and its bytes in hex."""
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise SourceError(f"{path}: {error}") from error
    with closing(connection):

        def rows() -> Iterator[Row]:
            name = '"' + table.replace('"', '""') + '"'
            number = 0
            try:
                cursor = connection.execute(f"SELECT * FROM {name}")  # noqa: S608 - quoted above
                columns = [column[0] for column in cursor.description]
                at = _positions(columns, key)
                for number, cells in enumerate(iter(cursor.fetchone, None), start=1):
                    yield Row(
                        place=f"row {number}",
                        key=tuple(_key_text(cells[each], f"row {number}, {columns[each]}") for each in at),
                        value=_json(dict(zip(columns, map(_cell, cells), strict=True))),
                    )
            except sqlite3.Error as error:
                raise SourceError(f"{table}, after row {number}: {error}") from error

        connection.execute("BEGIN")  # from the first read on, every read sees the same rows
        yield rows


@contextmanager
def _postgresql(url: str, table: str, key: Sequence[str]) -> Iterator[Rows]:
    """PostgreSQL writes the JSON itself (``row_to_json``), so every one of its types has its form there."""
    try:
        import psycopg  # noqa: PLC0415 - needed for this source alone
        from psycopg import sql  # noqa: PLC0415
    except ModuleNotFoundError:
        raise SourceError("a source in PostgreSQL needs psycopg: pip install 'psycopg[binary]'") from None
    parts = [sql.SQL("t.{}::text").format(sql.Identifier(column)) for column in key]
    query = sql.SQL("SELECT ARRAY[{}], row_to_json(t.*)::text FROM {} AS t").format(
        sql.SQL(", ").join(parts), sql.Identifier(*table.split("."))
    )
    try:
        with psycopg.connect(url, client_encoding="utf8") as connection:
            # One view of the table for all readings, and one text for each value, whoever reads it.
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute(
                "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'iso_8601';"
                " SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1"
            )

            def rows() -> Iterator[Row]:
                with connection.cursor(name="rows") as cursor:
                    cursor.itersize = FETCH
                    cursor.execute(query)
                    for number, (parts, value) in enumerate(cursor, start=1):
                        yield Row(place=f"row {number}", key=tuple(parts), value=value.encode())

            yield rows
    except psycopg.Error as error:
        reason, _, _ = str(error).partition("\n")  # then come the query and an arrow
        raise SourceError(f"{table}: {reason or type(error).__name__}") from error


def _positions(columns: Sequence[str], key: Sequence[str]) -> list[int]:
    if len(set(columns)) != len(columns):
        raise SourceError(f"two columns have the same name: {', '.join(columns)}")
    if missing := [column for column in key if column not in columns]:
        raise SourceError(f"there is no column {missing[0]!r}, only {', '.join(columns) or 'none'}")
    return [columns.index(column) for column in key]


def _key_text(cell: object, place: str) -> str | None:
    if isinstance(cell, bytes):
        raise SourceError(f"{place}: a blob cannot be part of a key")
    return None if cell is None else str(cell)


def _cell(cell: object) -> object:
    """What a cell of SQLite is in JSON, the same as PostgreSQL makes of its like."""
    match cell:
        case bytes():
            return f"\\x{cell.hex()}"
        case float() if math.isinf(cell):
            return "Infinity" if cell > 0 else "-Infinity"
        case _:
            return cell


def _json(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
