"""What each check is expected to see on the stores that were tried out, and what else the service can live with."""

from collections.abc import Mapping
from types import MappingProxyType

from keepstate_server.stores.judgement import Kind

__all__ = ["POSTGRESQL", "REDIS", "SQL", "UNKNOWN"]

_ALL = {
    "known component": "yes",
    "compare-and-set": "yes",
    "compare-and-delete": "yes",
    "empty value": "kept",
    "bytes": "kept",
    "bulk read": "complete",
    "transaction values": "kept",
    "one winner": "yes",
    "ttl -1": "cleared",
    "component's ttl": "none",
    "long keys": "kept",
    "largest value": "15 MiB",
}

_EXPECTED_OF_REDIS = {
    "create-only": "etag -1",
    "old etag, no key": "creates",
    "etag reuse": "yes",
    "next etag": "counted",
    "rollback": "no",
    "expiry": "not shown",
    "ttl of an earlier write": "stays",
    "atomic expiry": "no",
}

_EXPECTED_OF_SQL = {
    "create-only": "first-write",
    "old etag, no key": "refused",
    "etag reuse": "no",
    "next etag": "not known",
    "rollback": "yes",
    "expiry": "shown",
    "ttl of an earlier write": "cleared",
    "atomic expiry": "yes",
}

_COPES_ALWAYS = {
    "empty value": {"refused", "lost"},
    "transaction values": {"destroyed", "no transactions"},
    "rollback": {"no", "no transactions"},
}

_COPES_WITHOUT_TTL = {
    "old etag, no key": {"creates"},
    "etag reuse": {"yes"},
    "expiry": {"not shown", "never"},
    "ttl of an earlier write": {"stays"},
    "atomic expiry": {"no", "no transactions"},
    "component's ttl": {"set", "likely"},
}

_COPES_WITH_TTL = {"ttl -1": {"stays", "refused"}, "atomic expiry": {"no transactions"}}


def _kind(expected: Mapping[str, str], copes: Mapping[str, set[str]]) -> Kind:
    copes = {**_COPES_ALWAYS, **copes}
    return Kind(
        expected=MappingProxyType(dict(expected)),
        copes=MappingProxyType({name: frozenset(words) for name, words in copes.items()}),
    )


REDIS = _kind({**_ALL, **_EXPECTED_OF_REDIS}, _COPES_WITHOUT_TTL)
SQL = _kind({**_ALL, **_EXPECTED_OF_SQL}, _COPES_WITH_TTL)
POSTGRESQL = _kind({**_ALL, **_EXPECTED_OF_SQL, "empty value": "refused"}, _COPES_WITH_TTL)
UNKNOWN = _kind({"known component": "yes"}, _COPES_WITHOUT_TTL)
"""Of a store that was never tried out: what the service could live with on some kind of store."""
