"""What the stores are, which promises they keep, and what they were seen to do."""

from __future__ import annotations

__all__ = ["Finding", "Keeping", "Probe", "Promise", "StoreInfo", "Verdict"]

from dataclasses import dataclass
from datetime import timedelta
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


class Verdict(StrEnum):
    """What a finding means for the contract."""

    KEPT = "kept"
    """The store does by itself what the contract needs."""

    MENDED = "mended"
    """It does not, and the service does something about it."""

    MISSING = "missing"
    """It does not, and the service can do nothing about it."""

    NOT_SEEN = "not seen"
    """It could not be seen."""

    UNKNOWN = "unknown"
    """Something that this version of the client does not know."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was tried on a live store."""

    name: str
    """What was tried, e.g. "rollback"."""

    seen: str
    """What was seen, in a word or a few that programs can compare, e.g. "no"."""

    expected: str
    """What was expected of a component of this type and version, in the same words. Empty: nothing."""

    verdict: Verdict

    detail: str
    """More of what was seen, for people."""

    consequence: str
    """What the service does about it, or what must be mended, for people. Empty: nothing."""

    duration: timedelta
    """How long it took."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a live store was seen to do."""

    store: StoreInfo
    """The store, with its promises judged by what was seen."""

    findings: tuple[Finding, ...]
    """What was tried, in order."""

    @property
    def satisfied(self) -> bool:
        """Whether nothing is missing that the contract needs. What could not be seen does not count."""
        return all(finding.verdict is not Verdict.MISSING for finding in self.findings)
