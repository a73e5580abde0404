"""What was seen of each kind of component, once for all components of one type and version."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from keepstate_server.stores.base import Failure, Lack
from keepstate_server.stores.checks import QUICK, CouldNotTell
from keepstate_server.stores.judgement import Finding, Kind, findings_of, lack_in
from keepstate_server.stores.probe import Observation, Prober
from keepstate_server.stores.sidecar import Component

__all__ = ["OWN", "Judged", "KindProbes", "seen_for_sure"]

_log = structlog.get_logger(__name__)

_PROBE_SECONDS = 60.0

# What was found missing is looked at again: a store in trouble may have looked worse than it is.
_LOOK_AGAIN_AFTER = 60.0

OWN = frozenset({"transaction values", "component's ttl", "ttl of an earlier write"})
"""What belongs to one component's settings and says nothing of others of its kind."""

_KindName = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What was seen of a kind, and what follows."""

    observations: Sequence[Observation]
    lack: Lack | None
    at: float
    """When, on the event loop's clock."""


class KindProbes:
    """Looks at each kind of component when it is first asked for, by whichever component that is."""

    def __init__(self, prober: Prober) -> None:
        """Looks by ``prober``."""
        self._prober = prober
        self._judged: dict[_KindName, Judged] = {}
        self._looking: dict[str, asyncio.Task[None]] = {}
        """By component: one that is away keeps no other from being looked at."""
        self._told: set[tuple[_KindName, str, str]] = set()

    async def of(self, component: Component, kind: Kind, *, timeout: float) -> Judged | Failure:
        """Returns what was seen of components like this one. A probe goes on when its first asker's time is up."""
        name = _name(component)
        judged = self._judged.get(name)
        if judged is not None and not _is_old(judged):
            return judged
        task = self._looking.get(component.name)
        if task is None:
            task = self._looking[component.name] = asyncio.ensure_future(self._look(component, kind))
            task.add_done_callback(partial(self._ended, component.name))
        await asyncio.wait([task], timeout=timeout)
        if not task.done() or task.cancelled():
            return Failure(detail="the store is being probed")
        try:
            task.result()
        except CouldNotTell as error:
            return Failure(detail=f"the store could not be probed: {error}")
        return self._judged[name]

    def learn(self, component: Component, kind: Kind, observations: Sequence[Observation]) -> list[Finding]:
        """Takes over what a probe of one component saw; returns what it means for that component."""
        findings = findings_of(observations, kind)
        name = _name(component)
        common = [each for each in findings if each.observation.check not in OWN]
        self._judged[name] = Judged(
            observations=[each.observation for each in common],
            lack=lack_in(common),
            at=asyncio.get_running_loop().time(),
        )
        for finding in findings:
            self._tell(component, finding)
        return findings

    async def close(self) -> None:
        """Ends the looks that are under way."""
        tasks = list(self._looking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, component: Component, kind: Kind) -> None:
        look = partial(self._prober.look, component.name, timeout=_PROBE_SECONDS)
        self.learn(component, kind, await seen_for_sure(look, kind))

    def _ended(self, store: str, task: asyncio.Task[None]) -> None:
        self._looking.pop(store, None)
        if not task.cancelled():
            task.exception()  # whoever waited for it may have gone without taking it

    def _tell(self, component: Component, finding: Finding) -> None:
        """Says once in the log what is not as the table of known components has it."""
        seen = finding.observation
        what = (_name(component), seen.check, seen.seen)
        if finding.expected in ("", seen.seen) or what in self._told:
            return
        self._told.add(what)
        _log.warning(
            "store is not as it is known",
            store=component.name,
            type=component.type,
            version=component.version,
            check=seen.check,
            expected=finding.expected,
            seen=seen.seen,
            detail=seen.detail,
            verdict=finding.verdict.value,
        )


async def seen_for_sure(look: Callable[[], Awaitable[list[Observation]]], kind: Kind) -> list[Observation]:
    """Looks, and once more where something is missing: a call may have failed for a reason that has gone.

    Raises:
        CouldNotTell: the store is away, or took too long.
    """
    observations = await look()
    return observations if lack_in(findings_of(observations, kind)) is None else await look()


def _name(component: Component) -> _KindName:
    return component.type, component.version


def _is_old(judged: Judged) -> bool:
    # What only the doctor can see stands until the doctor is asked again.
    seen_by_a_look = judged.lack is not None and judged.lack.capability in QUICK
    return seen_by_a_look and asyncio.get_running_loop().time() - judged.at > _LOOK_AGAIN_AFTER
