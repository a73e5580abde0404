"""What each command prints, in each format."""

from __future__ import annotations

__all__ = ["committed", "record", "records", "result", "store", "stores", "time", "updated"]

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from keepstate.cli._calls import EXIT_NOT_FOUND, fail
from keepstate.cli._options import OutputFormat
from keepstate.cli._output import as_json, print_fields, print_json, print_rows, print_value, printable
from keepstate.cli._transaction_file import Operations
from keepstate.codecs import Json
from keepstate.records import Committed, Record, Updated
from keepstate.stores import Keeping, StoreInfo


def record(found: Record[bytes], output: OutputFormat) -> None:
    """Print a record."""
    if output is OutputFormat.VALUE:
        print_value(found.value)
    elif output is OutputFormat.JSON:
        print_json(_document(found))
    else:
        shown = {name: text or "" for name, text in _said_of(found).items()}
        print_fields({**shown, "expire_time": shown["expire_time"] or "never", "value": printable(found.value)})


def records(found: Sequence[Record[bytes]], output: OutputFormat) -> None:
    """Print several records."""
    if output is OutputFormat.VALUE:
        print_value(b"".join(each.value + b"\n" for each in found))
    elif output is OutputFormat.JSON:
        print_json([_document(each) for each in found])
    else:
        rows = [(each.name.key, each.etag, time(each.expire_time) or "never", printable(each.value)) for each in found]
        print_rows(("key", "etag", "expire_time", "value"), rows)


def result(fields: Mapping[str, Any], value: str, output: OutputFormat) -> None:
    """Print what a write did."""
    if output is OutputFormat.VALUE:
        print_value(value.encode() + b"\n")
    elif output is OutputFormat.JSON:
        print_json(fields)
    else:
        print_fields({name: _text(field) for name, field in fields.items()})


def updated(key: str, left: Updated[Any], output: OutputFormat) -> None:
    """Print what an update left."""
    if left.record is None:  # something between sent the update again
        fail(f"not found: {key!r} was updated, and has gone since", EXIT_NOT_FOUND)
    fields = _left(key, left)
    shown = as_json(fields.pop("value"))
    if output is OutputFormat.VALUE:
        print_value(shown.encode() + b"\n")
    elif output is OutputFormat.JSON:
        print_json({"key": fields.pop("key"), "value": json.loads(shown), **fields})
    else:
        result({"key": fields.pop("key"), "value": shown, **fields}, shown, output)


def committed(performed: Operations, done: Committed, output: OutputFormat) -> None:
    """Print what a transaction did, in the order of its puts, deletes and updates."""
    puts = list(zip((put.key for put in performed.puts), done.puts, strict=True))
    deletes = list(zip((delete.key for delete in performed.deletes), done.deletes, strict=True))
    updates = [_left(update.key, left) for update, left in zip(performed.updates, done.updates, strict=True)]
    if output is OutputFormat.JSON:
        document = {
            "puts": [{"key": key, "etag": etag} for key, etag in puts],
            "deletes": [{"key": key, "existed": existed} for key, existed in deletes],
            "updates": updates,
        }
        print_json(document)
        return
    rows = [("put", key, etag) for key, etag in puts]
    rows += [("delete", key, _text(existed)) for key, existed in deletes]
    rows += [("update", left["key"], as_json(left["value"])) for left in updates]
    if output is OutputFormat.VALUE:
        print_value("".join(f"{row[-1]}\n" for row in rows).encode())
    else:
        print_rows(("operation", "key", "result"), rows)


def stores(found: Sequence[StoreInfo], output: OutputFormat) -> None:
    """Print all stores."""
    if output is OutputFormat.VALUE:
        print_value("".join(f"{info.name}\n" for info in found).encode())
    elif output is OutputFormat.JSON:
        print_json([asdict(info) for info in found])
    else:
        header = ("store", "type", "version", "default", *(k.value for k in Keeping if k is not Keeping.UNKNOWN))
        print_rows(header, [_row(info) for info in found])


def store(info: StoreInfo, output: OutputFormat) -> None:
    """Print one store with its promises."""
    if output is OutputFormat.VALUE:
        print_value(f"{info.name}\n".encode())
    elif output is OutputFormat.JSON:
        print_json(asdict(info))
    else:
        print_fields(
            {
                "store": info.name,
                "type": info.component_type,
                "version": info.component_version,
                "default": _text(info.is_default),
                "durability": info.durability,
            }
        )
        rows = [(str(p.number), p.title, p.keeping.value, p.reason) for p in info.promises]
        print_rows(("promise", "title", "kept", "reason"), rows)


def time(moment: datetime | None) -> str | None:
    """A time as RFC 3339 in UTC, to the millisecond."""
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _left(key: str, left: Updated[Any]) -> dict[str, Any]:
    found = left.record
    return {
        "key": key,
        "value": found and found.value,
        "etag": found and found.etag,
        "expire_time": found and time(found.expire_time),
    }


def _document(found: Record[bytes]) -> dict[str, Any]:
    return {**_said_of(found), **_json_value(found)}


def _said_of(found: Record[bytes]) -> dict[str, str | None]:
    return {
        **asdict(found.name),
        "content_type": found.content_type,
        "etag": found.etag,
        "create_time": time(found.create_time),
        "update_time": time(found.update_time),
        "expire_time": time(found.expire_time),
    }


def _row(info: StoreInfo) -> tuple[str, ...]:
    kept = (
        ",".join(str(promise.number) for promise in info.promises if promise.keeping is keeping)
        for keeping in Keeping
        if keeping is not Keeping.UNKNOWN
    )
    return (info.name, info.component_type, info.component_version, _text(info.is_default), *kept)


def _json_value(found: Record[bytes]) -> dict[str, Any]:
    codec = Json()
    if found.content_type and codec.reads(found.content_type):
        try:
            return {"value": codec.decode(found.value)}
        except ValueError:
            pass  # it is not what its writer said: shown as text or bytes below
    try:
        return {"value": found.value.decode()}
    except UnicodeDecodeError:
        return {"value_base64": base64.b64encode(found.value).decode()}


def _text(field: Any) -> str:
    if field is None:
        return "never"
    return json.dumps(field) if isinstance(field, bool) else str(field)
