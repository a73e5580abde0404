"""From the message of a probe to this package's values."""

from __future__ import annotations

__all__ = ["DEFAULT_TIMEOUT", "probe"]

from datetime import timedelta

from keepstate._messages import store_info
from keepstate.stores import Finding, Probe, Verdict
from keepstate.v1 import store_service_pb2

DEFAULT_TIMEOUT = timedelta(minutes=1)
"""A probe waits for expiries, and moves large values: other calls' ten seconds would be short on a slow store."""

_VERDICTS = {
    store_service_pb2.PROBE_VERDICT_KEPT: Verdict.KEPT,
    store_service_pb2.PROBE_VERDICT_MENDED: Verdict.MENDED,
    store_service_pb2.PROBE_VERDICT_MISSING: Verdict.MISSING,
    store_service_pb2.PROBE_VERDICT_NOT_SEEN: Verdict.NOT_SEEN,
}


def probe(message: store_service_pb2.ProbeStoreResponse) -> Probe:
    """What a live store was seen to do."""
    return Probe(store=store_info(message.store), findings=tuple(map(_finding, message.findings)))


def _finding(message: store_service_pb2.ProbeFinding) -> Finding:
    return Finding(
        name=message.name,
        seen=message.seen,
        expected=message.expected,
        verdict=_VERDICTS.get(message.verdict, Verdict.UNKNOWN),
        detail=message.detail,
        consequence=message.consequence,
        duration=message.duration.ToTimedelta(),
    )
