"""Operations to give to ``batch`` and ``transact``."""

from __future__ import annotations

__all__ = ["Append", "Check", "Delete", "Get", "Increment", "MergePatch", "Operation", "Put", "Touch", "Update"]

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from keepstate.codecs import Codec
from keepstate.records import Consistency, Record, Touched, Updated

R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True)
class _Named:
    key: str

    _: KW_ONLY

    namespace: str | None = None
    """None: the view's namespace."""

    store: str | None = None
    """None: the view's store."""


@dataclass(frozen=True)
class Operation(_Named, Generic[R_co]):
    """An operation of a batch that answers with an ``R_co`` if it succeeds."""

    _: KW_ONLY

    consistency: Consistency = Consistency.STRONG


@dataclass(frozen=True)
class Get(Operation[Record[Any] | None]):
    """Reads one record. Answers None if there is none."""

    _: KW_ONLY

    slide_ttl: timedelta | None = None
    """If given, the read also moves the record's expiry to this long from now."""

    codec: Codec[Any] | None = None
    """None: the view's codec."""


@dataclass(frozen=True)
class _Valued(Operation[R_co]):
    """A write that leaves a value, with its conditions and its expiry."""

    _: KW_ONLY

    if_absent: bool = False
    if_exists: bool = False
    if_etag: str | None = None

    ttl: timedelta | None = None
    """From now on, by the service's clock."""

    expire_at: datetime | None = None
    """An aware time, by the service's clock."""

    keep_expiry: bool = False
    """The record keeps the expiry that it has, if any."""

    def __post_init__(self) -> None:
        if self.if_absent or self.if_exists:
            _at_most_one(if_absent=self.if_absent, if_exists=self.if_exists, if_etag=self.if_etag is not None)
        if self.ttl is not None or self.expire_at is not None:
            _at_most_one(ttl=self.ttl is not None, expire_at=self.expire_at is not None, keep_expiry=self.keep_expiry)
            _check_expiry(self.ttl, self.expire_at)


@dataclass(frozen=True)
class Put(_Valued[str]):
    """Writes one record: value, content type and expiry together. Answers with the new etag.

    At most one of ``if_absent``, ``if_exists``, ``if_etag``, and of ``ttl``, ``expire_at``, ``keep_expiry`` (none of
    these: the record never expires) may be given, else ValueError.
    """

    value: Any

    _: KW_ONLY

    codec: Codec[Any] | None = None
    """None: the view's codec."""


@dataclass(frozen=True)
class Update(_Valued[Updated[R_co]]):
    """Changes one record's value at the service, atomically: an ``Increment``, an ``Append`` or a ``MergePatch``.

    Updates work on JSON, whatever the view's codec. Conditions and expiry are those of ``Put``.
    """


@dataclass(frozen=True)
class Increment(Update[int]):
    """Adds to a number. The service refuses what would go out of bounds: ``UpdateNotApplicable``.

    TypeError if a number is no int, ValueError if it needs more than 64 bits.
    """

    delta: int = 1
    """May be negative."""

    _: KW_ONLY

    initial: int | None = None
    """What an absent record counts as. None: 0."""

    minimum: int | None = None
    """The least that the result may be. None: the least 64-bit number."""

    maximum: int | None = None
    """The most that the result may be. None: the greatest 64-bit number."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_integer("delta", self.delta, bits=64)
        if self.initial is not None:
            _check_integer("initial", self.initial, bits=64)
        if self.minimum is not None:
            _check_integer("minimum", self.minimum, bits=64)
        if self.maximum is not None:
            _check_integer("maximum", self.maximum, bits=64)


@dataclass(frozen=True)
class Append(Update[list[Any]]):
    """Adds to the end of a list; an absent record counts as the empty list."""

    items: Sequence[Any]
    """What to add: a list or tuple, else TypeError."""

    _: KW_ONLY

    max_length: int | None = None
    """How many items the list keeps, the newest; at least 1, else ValueError. None: all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.items, list | tuple):  # a text would be taken apart
            raise TypeError(f"items must be a list or a tuple, not a {type(self.items).__name__}")
        if self.max_length is not None:
            _check_integer("max_length", self.max_length, bits=32)
            if self.max_length < 1:
                raise ValueError(f"max_length must be at least 1, not {self.max_length}")


@dataclass(frozen=True)
class MergePatch(Update[Any]):
    """Merges into a JSON value as RFC 7396 says: None removes a field. An absent record counts as the empty object."""

    patch: Any


@dataclass(frozen=True)
class Delete(Operation[bool]):
    """Deletes one record. Answers whether it was there.

    At most one of ``if_exists``, ``if_etag`` may be given, else ValueError.
    """

    _: KW_ONLY

    if_exists: bool = False
    if_etag: str | None = None

    def __post_init__(self) -> None:
        _at_most_one(if_exists=self.if_exists, if_etag=self.if_etag is not None)


@dataclass(frozen=True)
class Touch(Operation[Touched]):
    """Moves a record's expiry without sending the value. The record must exist.

    Exactly one of ``ttl``, ``expire_at``, ``never`` must be given, else ValueError: a touch that was meant to renew an
    expiry must not remove it by an oversight.
    """

    _: KW_ONLY

    ttl: timedelta | None = None
    """From now on, by the service's clock."""

    expire_at: datetime | None = None
    """An aware time, by the service's clock."""

    never: bool = False
    """The record is to live for ever."""

    if_etag: str | None = None

    def __post_init__(self) -> None:
        _exactly_one(ttl=self.ttl is not None, expire_at=self.expire_at is not None, never=self.never)
        _check_expiry(self.ttl, self.expire_at)


@dataclass(frozen=True)
class Check(_Named):
    """A demand of a transaction on a record that it does not write.

    Exactly one of ``if_absent``, ``if_exists``, ``if_etag`` must be given, else ValueError.
    """

    _: KW_ONLY

    if_absent: bool = False
    if_exists: bool = False
    if_etag: str | None = None

    def __post_init__(self) -> None:
        _exactly_one(if_absent=self.if_absent, if_exists=self.if_exists, if_etag=self.if_etag is not None)


def _at_most_one(**given: bool) -> None:
    if sum(given.values()) > 1:
        raise ValueError(f"give only one of {', '.join(name for name, is_given in given.items() if is_given)}")


def _exactly_one(**given: bool) -> None:
    _at_most_one(**given)
    if not any(given.values()):
        raise ValueError(f"give one of {', '.join(given)}")


def _check_expiry(ttl: timedelta | None, expire_at: datetime | None) -> None:
    if ttl is not None and not isinstance(ttl, timedelta):
        raise TypeError(f"ttl must be a timedelta, not a {type(ttl).__name__}")
    if expire_at is not None and not isinstance(expire_at, datetime):
        raise TypeError(f"expire_at must be a datetime, not a {type(expire_at).__name__}")
    if expire_at is not None and expire_at.utcoffset() is None:
        raise ValueError("expire_at must be an aware datetime, one with a timezone")


def _check_integer(name: str, number: object, *, bits: int) -> None:
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{name} must be an int, not a {type(number).__name__}")
    if not -1 << (bits - 1) <= number < 1 << (bits - 1):
        raise ValueError(f"{name} must be a number of {bits} bits")
