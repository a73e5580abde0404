"""For tests of programs that use Keepstate: the service in the test's own process, on a store that is gone afterwards.

::

    with KeepstateService() as service, keepstate.sync.Client(service.address) as state:
        state.put("session:7", "open", ttl=timedelta(hours=1))
        service.clock.advance(timedelta(hours=2))
        assert state.get("session:7") is None

``keepstate.testing.fixtures`` has it as fixtures of pytest, ``keepstate.testing.containers`` has the service and daprd
as containers. It needs the extra ``testing``.
"""

from __future__ import annotations

__all__ = ["KeepstateService", "MovableClock"]

from keepstate.testing._service import KeepstateService, MovableClock
