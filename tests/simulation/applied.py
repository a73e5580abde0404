"""What the stores applied, whoever heard of it: what the engine's answers are held to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from keepstate_server.domain.names import internal_key
from keepstate_server.engine import frames
from keepstate_server.engine.envelope import Envelope, decode
from keepstate_server.engine.trail import Answered, FirstAnswer, WriteId
from keepstate_server.stored.v1 import envelope_pb2

__all__ = ["Applied", "Landing", "decision_in", "decoded"]

decoded = lru_cache(maxsize=1_000)(decode)
"""The envelope in some data: ``decode``, which works it out once for all who read the same."""

Landing = tuple[str, str, int, int]
"""A request on a record: store, key, client and number."""

_OUTCOME = internal_key("outcome/")


@dataclass(kw_only=True, slots=True)
class Applied:
    """A note of every write that was applied, in all stores of one run."""

    carried: dict[Landing, WriteId] = field(default_factory=dict)
    """The write or transaction that said it applies a request. Never more than one."""
    places: dict[Landing, int] = field(default_factory=dict)
    """Of requests, in the order in which their write applied them."""
    landed: dict[Landing, float] = field(default_factory=dict)
    """When a request was applied; seconds."""
    writes: dict[WriteId, float] = field(default_factory=dict)
    """When each write and each transaction was applied; seconds."""
    intents: dict[WriteId, list[tuple[str, str, Envelope]]] = field(default_factory=dict)
    """What each transaction staged: store, key, and the envelope with the intent."""
    decisions: dict[WriteId, bool] = field(default_factory=dict)
    """Whether each decided transaction was committed."""
    violations: list[str] = field(default_factory=list)

    def note(self, store: str, key: str, data: bytes, now: float) -> None:
        """Takes what a write left under a key."""
        if key.startswith(_OUTCOME):
            self._note_outcome(WriteId(bytes.fromhex(key.removeprefix(_OUTCOME))), data, now)
        elif envelope := decoded(data):
            if envelope.intent:
                self.intents.setdefault(envelope.intent.transaction, []).append((store, key, envelope))
            else:
                entry = envelope.trail.entries[0]
                self._note_write(store, key, entry.write, entry.requests, now)

    def _note_outcome(self, transaction: WriteId, data: bytes, now: float) -> None:
        """The moment at which a staged transaction takes effect, if it is committed."""
        committed = decision_in(data)
        if committed is None:
            return
        if self.decisions.setdefault(transaction, committed) != committed:
            self.violations.append(f"transaction {transaction.hex()[:8]} was decided in two ways")
        if committed:
            self.writes.setdefault(transaction, now)
            for store, key, envelope in self.intents.get(transaction, ()):
                assert envelope.intent is not None
                self._note_write(store, key, transaction, envelope.intent.requests, now)

    def _note_write(self, store: str, key: str, write: WriteId, requests: tuple[Answered, ...], now: float) -> None:
        """Holds what was applied to promise 11: no request is applied by two writes."""
        self.writes.setdefault(write, now)
        for client, number, place in _applied(requests):
            request = (store, key, client, number)
            self.places.setdefault(request, place)
            if self.carried.setdefault(request, write) != write:
                self.violations.append(f"request {client}/{number} on {store}/{key} was applied twice")
            self.landed.setdefault(request, now)


def decision_in(data: bytes) -> bool | None:
    """Returns whether the outcome in ``data`` says that its transaction is committed; None: it is no outcome."""
    body = frames.opened(frames.OUTCOME, data)
    return None if body is None else envelope_pb2.Outcome.FromString(body).committed


def _applied(requests: tuple[Answered, ...]) -> Iterator[tuple[int, int, int]]:
    """Yields client, number and position of each request that was applied."""
    for each in requests:
        if each.answer is FirstAnswer.APPLIED:
            for more in range(each.more + 1):
                yield each.client, each.first + more, each.position + more
