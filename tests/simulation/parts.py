"""One operation of a call, with what each sending of it was answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from keepstate_server.domain.errors import PreconditionFailed
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Updated, Written
from keepstate_server.domain.records import Record
from keepstate_server.engine.draft import Result
from keepstate_server.engine.trail import WriteId, position_of, write_of
from tests.simulation.applied import Applied, Landing
from tests.simulation.history import Attempt, Call, Claim, Kind, Spec, claim_of

__all__ = ["READS", "Part"]

READS = (Kind.GET, Kind.SLIDE, Kind.SNAPSHOT)
"""What carries no request: each sending is one of its own."""


_MOMENT = 1e-9
"""Between two operations that one write applied; seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One operation of a call."""

    call: Call
    at: int
    number: int

    @property
    def spec(self) -> Spec:
        return self.call.specs[self.at]

    def landed(self, applied: Applied) -> float | None:
        """Returns when the store applied it, whoever heard of that; None if it never did."""
        call = self.call
        assert call.request is not None
        if not call.transaction:
            return applied.landed.get(_landing(self.spec.name, call.client, call.request + self.at))
        its = (_landing(spec.name, call.client, call.request) for spec in call.specs)
        return min((applied.landed[each] for each in its if each in applied.landed), default=None)

    def carried(self, applied: Applied) -> WriteId | None:
        """Returns the write by which the store applied it; None: none was seen."""
        return applied.carried.get(self._its_landing)

    @property
    def _its_landing(self) -> Landing:
        call = self.call
        assert call.request is not None
        number = call.request if call.transaction else call.request + self.at
        return _landing(self.spec.name, call.client, number)

    def applied_at(self, applied: Applied, answer: Result | None) -> float | None:
        """Returns when the store applied what was answered so, what went into one write in its order there.

        None: that was not seen.
        """
        write = self.carried(applied) if self.call.request is not None else None
        place = 0
        if write is not None:
            place = applied.places.get(self._its_landing, 0)
        else:
            match answer:
                case Written(version=version) | Updated(record=Record(version=version)):
                    write, place = write_of(version), position_of(version)
                case _:
                    return None
        at = applied.writes.get(write)
        return None if at is None else at + place * _MOMENT

    @property
    def answers(self) -> Iterator[tuple[Attempt, Result | None, Claim]]:
        """What each attempt was answered. A transaction that was performed says yes, whatever it found to delete."""
        for attempt in self.call.attempts:
            result = attempt.results[self.at] if attempt.results is not None else None
            claim = claim_of(result)
            if self.call.transaction and claim is Claim.NO and not isinstance(result, PreconditionFailed):
                claim = Claim.YES
            yield attempt, result, claim

    def __str__(self) -> str:
        return f"call {self.call.number}.{self.at} [{self.spec}]"

    @property
    def once(self) -> bool:
        """Whether it takes effect at most once, however often its call is sent: reads are another one each time."""
        return not self.call.reads if self.call.transaction else self.spec.kind not in READS


def _landing(name: RecordName, client: int, number: int) -> Landing:
    return name.store, name.key, client, number
