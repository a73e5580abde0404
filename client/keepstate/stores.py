"""What the stores are and which promises they keep."""

from __future__ import annotations

__all__ = ["Keeping", "Promise", "StoreInfo"]

from dataclasses import dataclass
from enum import StrEnum


class Keeping(StrEnum):
    """How a promise of the contract is kept on a store."""

    NATIVE = "native"
    """By what the store itself does."""

    STAGED = "staged"
    """By the service, in several steps on the store."""

    REFUSED = "refused"
    """Not: calls that need it are refused before anything is changed."""

    UNKNOWN = "unknown"
    """In a way that this version of the client does not know."""


@dataclass(frozen=True, kw_only=True)
class Promise:
    """One promise of the contract on one store."""

    number: int
    """Its number in docs/contract.md."""

    title: str
    """Its short name, e.g. "transaction"."""

    keeping: Keeping

    reason: str = ""
    """Why, where it is refused or kept only in part."""


@dataclass(frozen=True, kw_only=True)
class StoreInfo:
    """One store: a Dapr state component."""

    name: str

    component_type: str
    """E.g. "state.redis"."""

    component_version: str
    """E.g. "v1"."""

    is_default: bool
    """Whether records that name no store are kept here."""

    promises: tuple[Promise, ...]
    """By number."""

    durability: str
    """What the store may lose of acknowledged writes when it fails over."""
