"""Records and what is said of them."""

from __future__ import annotations

__all__ = ["Committed", "Consistency", "Record", "RecordName", "Touched", "Updated"]

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

V_co = TypeVar("V_co", covariant=True)


class Consistency(StrEnum):
    """How a read or a write deals with copies of the store's data."""

    STRONG = "strong"
    """Acknowledged by, and read from, the store's primary."""

    EVENTUAL = "eventual"
    """May be read from, or acknowledged by, any copy that the store chooses."""


@dataclass(frozen=True, kw_only=True)
class RecordName:
    """Names one record."""

    key: str

    namespace: str = ""
    """Empty: the default namespace."""

    store: str = ""
    """The Dapr state component that keeps the record. Empty: the service's default store."""


@dataclass(frozen=True, kw_only=True)
class Record(Generic[V_co]):
    """One record as it was kept at one moment. Times are aware, in UTC, by the service's clock."""

    name: RecordName
    """With the store filled in."""

    value: V_co

    content_type: str
    """What the writer said the value is. Empty for a value that another program wrote."""

    etag: str
    """Opaque. Good for exactly one version in one life of the record."""

    create_time: datetime | None = None
    """When this life of the record began. None for a value that another program wrote."""

    update_time: datetime | None = None
    """When the value was last written. None for a value that another program wrote."""

    expire_time: datetime | None = None
    """When the record ceases to exist. None: never."""


@dataclass(frozen=True, kw_only=True)
class Touched:
    """What a touch left."""

    etag: str
    """The record's etag, which the touch did not change."""

    expire_time: datetime | None
    """When the record expires now. None: never."""


@dataclass(frozen=True, kw_only=True)
class Updated(Generic[V_co]):
    """What an update left."""

    record: Record[V_co] | None
    """The record as the update left it; where ``repeated``, as it is now. None: there is none any more."""

    repeated: bool = False
    """An earlier attempt, whose answer was lost, had applied the update. It was not applied again."""


@dataclass(frozen=True, kw_only=True)
class Committed:
    """What a transaction did."""

    puts: tuple[str, ...]
    """The new etag of each record put, in the order of the puts."""

    deletes: tuple[bool, ...]
    """Whether each record deleted was there, in the order of the deletes."""

    updates: tuple[Updated[Any], ...] = ()
    """What each update left, in the order of the updates."""
