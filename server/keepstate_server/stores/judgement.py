"""What follows from what a probe saw: whether a store is written, how, and what is to be told of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType

from keepstate_server.stores.base import Lack
from keepstate_server.stores.probe import Observation

__all__ = ["Behaviour", "Creation", "Finding", "Kind", "Verdict", "findings_of", "lack_in", "refined"]

_NOT_SEEN = "not seen"


class Creation(Enum):
    """How a record is created that must not be there yet."""

    ETAG_MINUS_ONE = "etag -1"
    FIRST_WRITE = "first-write"


@dataclass(frozen=True, kw_only=True, slots=True)
class Behaviour:
    """What a store does, as far as it decides how it is used."""

    creation: Creation
    counts_etags: bool
    """Whether the etag after a write is one more than before it, from 1 on."""
    rolls_back: bool
    """Whether a transaction is applied as a whole or not at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What is known of a kind of store before it was tried out."""

    expected: Mapping[str, str]
    """What each check is expected to see."""
    copes: Mapping[str, frozenset[str]]
    """What else the service can live with, by check: it then does something about it."""


class Verdict(Enum):
    """What a finding means for the contract."""

    KEPT = "kept"
    """The store does by itself what the contract needs."""
    MENDED = "mended"
    """It does not, and the service does something about it."""
    MISSING = "missing"
    """It does not, and the service can do nothing about it."""
    NOT_SEEN = "not seen"
    """It could not be seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What was seen, and what it means."""

    observation: Observation
    expected: str
    """What the table of known components has, in the words of ``observation.seen``. Empty: it has nothing."""
    verdict: Verdict
    consequence: str = ""
    """What the service does about it, or what must be mended, for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Need:
    good: frozenset[str]
    """What keeps the contract without the service's help."""
    mended_by: str = ""
    """What the service does where it is otherwise."""
    vital: bool = True
    """Whether nothing may be written where it is missing."""
    advice: str = ""
    """What may be done where it is missing."""


def _need(*good: str, mended_by: str = "", vital: bool = True, advice: str = "") -> _Need:
    return _Need(good=frozenset(good), mended_by=mended_by, vital=vital, advice=advice)


_TTL_MINUS_ONE = "each write says ttl -1"
_NO_TTL = "no record is given a ttl; the service collects what is dead"

_NEEDS: Mapping[str, _Need] = MappingProxyType(
    {
        "known component": _need("yes"),
        "compare-and-set": _need("yes"),
        "compare-and-delete": _need("yes"),
        "create-only": _need("etag -1", "first-write", "etag -1, first-write"),
        "old etag, no key": _need("refused", mended_by="dead records stay until nothing can come late"),
        "etag reuse": _need("no", mended_by="callers get etags of the service's own; dead records stay for a while"),
        "next etag": _need("counted", "not known"),
        "empty value": _need("kept", mended_by="what is stored is never empty"),
        "bytes": _need("kept"),
        "bulk read": _need("complete"),
        "transaction values": _need("kept", mended_by="saves instead, and transactions in stages"),
        "rollback": _need("yes", mended_by="transactions in stages"),
        "one winner": _need("yes"),
        "expiry": _need("shown", mended_by=_NO_TTL),
        "ttl of an earlier write": _need("cleared", mended_by=_TTL_MINUS_ONE),
        "ttl -1": _need("cleared", mended_by="never needed: a save without ttl clears it"),
        "atomic expiry": _need("yes", mended_by=_NO_TTL),
        "component's ttl": _need("none", mended_by=_TTL_MINUS_ONE, advice="remove ttlInSeconds from the component"),
        "long keys": _need("kept", vital=False),
        "largest value": _need("5 MiB", "15 MiB", vital=False, advice="start daprd with --max-body-size=16Mi"),
        "latency": _need("measured", vital=False),
        "eviction": _need(vital=False),
    }
)


def findings_of(observations: Sequence[Observation], kind: Kind) -> list[Finding]:
    """Returns what was seen with what it means for a store of this kind."""
    return [_finding(each, kind) for each in observations]


def _finding(observation: Observation, kind: Kind) -> Finding:
    name, seen = observation.check, observation.seen
    need, consequence = _NEEDS[name], ""
    if seen == _NOT_SEEN:
        verdict = Verdict.NOT_SEEN
    elif seen in need.good:
        verdict = Verdict.KEPT
    elif seen in kind.copes.get(name, frozenset()):
        verdict, consequence = Verdict.MENDED, need.mended_by
    else:
        verdict, consequence = Verdict.MISSING, need.advice
    return Finding(
        observation=observation, expected=kind.expected.get(name, ""), verdict=verdict, consequence=consequence
    )


def lack_in(findings: Sequence[Finding]) -> Lack | None:
    """Returns the first thing that is missing without which nothing may be written."""
    for finding in findings:
        check = finding.observation.check
        if finding.verdict is Verdict.MISSING and _NEEDS[check].vital:
            more = f" ({finding.observation.detail})" if finding.observation.detail else ""
            return Lack(
                capability=check,
                explanation=f"it can only be read: of {check} was seen: {finding.observation.seen}{more}",
            )
    return None


def refined(known: Behaviour, observations: Sequence[Observation]) -> Behaviour:
    """Returns ``known`` as far as it was seen to be so, and what was seen instead.

    A store is not trusted with more than is known of its kind: one that was seen to roll back once may not always.
    """
    seen = {each.check: each.seen for each in observations}
    ways = seen.get("create-only", known.creation.value)
    other = Creation.FIRST_WRITE if known.creation is Creation.ETAG_MINUS_ONE else Creation.ETAG_MINUS_ONE
    return replace(
        known,
        creation=other if known.creation.value not in ways and other.value in ways else known.creation,
        counts_etags=known.counts_etags and seen.get("next etag", "counted") == "counted",
        rolls_back=known.rolls_back and seen.get("rollback", "yes") == "yes",
    )
