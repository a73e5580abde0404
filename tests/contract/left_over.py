"""A transaction whose instance dies at a moment of the test's choice, and what another instance then finds.

The instance speaks to the sidecar through a proxy, which falls silent before or after its nth call. That is all that
anybody can see of its death.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import timedelta

from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb
from keepstate_server.stores.address import SidecarAddress
from tests.contract.api import ABSENT, Api, again, if_etag, new_request
from tests.contract.conftest import Backend, running_service
from tests.support.sidecar_proxy import SidecarProxy

PATIENCE = 10
"""How long whoever meets what was left may be held up, in seconds."""

# What may meet it first, on a record whose value would be another one in either case, or stays what it is.
MEETINGS: dict[str, Callable[[Api, str], Awaitable[object]]] = {
    "get": lambda api, key: api.get(key, timeout=PATIENCE),
    "put": lambda api, key: api.put(key, b"mine", timeout=PATIENCE),
    "batch": lambda api, key: api.batch([pb.BatchOperation(get=pb.GetRequest(name=api.name(key)))]),
    "touch": lambda api, key: api.touch(key, timeout=PATIENCE),
    "transaction": lambda api, key: api.transact(puts=[api.put_request(key, b"mine")], timeout=PATIENCE),
    "snapshot": lambda api, key: api.snapshot(api.name(key), timeout=PATIENCE),
}
WRITING = ("put", "transaction")


class Scenario:
    """One transaction on records of two stores, or of one twice: a put, a create, a delete and a check."""

    def __init__(self, backend: Backend, stores: tuple[str, str], prefix: str) -> None:
        """`backend` is the instance that lives."""
        self._backend = backend
        self._stores = stores
        self._prefix = prefix
        self._numbers = itertools.count()

    async def dies_everywhere(self, *, meeting: str) -> list[str]:
        """Has it die before and after each of its calls; returns what `dies` says of each, in this order."""
        states: list[str] = []
        while "over" not in states:
            first = len(states) // 2 + 1
            moments = [(moment, answered) for moment in range(first, first + 4) for answered in (False, True)]
            states += await asyncio.gather(
                *(self.dies(moment, answered=answered, meeting=meeting) for moment, answered in moments)
            )
        return states

    async def dies(self, moment: int, *, answered: bool, meeting: str) -> str:
        """Has the instance die at its call number `moment`, before the store has it or once it is `answered`.

        Then another instance meets what was left, by `meeting`. Returns "before" or "after", as the transaction turned
        out to be, or "over" if it never came to that call; asserts that this is true of every record, and is what a
        repeat is told.
        """
        records = await self._records()
        async with SidecarProxy(self._backend.address.grpc) as proxy:
            address = self._backend.address
            through = SidecarAddress(grpc=proxy.address, http=address.http, api_token=address.api_token)
            at_once = timedelta(milliseconds=1)
            async with running_service(through, clock=self._backend.clock, drain=at_once, probe=False) as doomed:
                told, reached = await self._live(doomed, proxy, records, moment, answered=answered)
        state = await records.found(meeting, told=told)
        return state if reached else "over"

    async def _live(
        self, doomed: Backend, proxy: SidecarProxy, records: _Records, moment: int, *, answered: bool
    ) -> tuple[bool, bool]:
        """Lets it live until its moment has come; returns whether its caller was answered, and whether it has."""
        for store in set(self._stores):
            api = Api(doomed.channel, store, self._prefix)
            await api.put(api.key("the first write asks what the store is"))
        reached = asyncio.Event()

        async def die() -> None:
            reached.set()
            await proxy.cut()

        proxy.forget()
        (proxy.after if answered else proxy.before)[moment] = die
        dead = asyncio.ensure_future(reached.wait())
        call = asyncio.ensure_future(records.transact(Api(doomed.channel, "", ""), records.request))
        await asyncio.wait({call, dead}, return_when=asyncio.FIRST_COMPLETED)
        told = call.done()
        if told:
            assert doomed.service._backing
            rest = asyncio.ensure_future(doomed.service._backing.engine.drain(timeout=20))
            await asyncio.wait({rest, dead}, return_when=asyncio.FIRST_COMPLETED)
            rest.cancel()
        for task in (call, dead):
            task.cancel()
        await asyncio.gather(call, dead, return_exceptions=True)
        return told, reached.is_set()

    async def _records(self) -> _Records:
        apis = [Api(self._backend.channel, store, f"{self._prefix}:{next(self._numbers)}") for store in self._stores]
        records = _Records(apis[0], apis[1], new_request(self._backend.clock.now()))
        await records.prepare()
        return records


class _Records:
    """The records of one transaction, through the instance that lives."""

    def __init__(self, here: Api, there: Api, request: record_pb2.RequestId) -> None:
        self.request = request
        self._here = here
        self._there = there
        self._old = here.key("old")
        self._new = there.key("new")
        self._gone = there.key("gone")
        self._checked = here.key("checked")
        self._etags: dict[str, str] = {}

    async def prepare(self) -> None:
        """Writes what is there before."""
        for api, key in ((self._here, self._old), (self._there, self._gone), (self._here, self._checked)):
            self._etags[key] = await api.put(key, b"before")

    async def transact(self, through: Api, request: record_pb2.RequestId) -> pb.TransactResponse:
        """Performs the transaction, through any instance."""
        return await through.transact(
            checks=[self._here.check(self._checked, if_etag(self._etags[self._checked]))],
            puts=[
                self._here.put_request(self._old, b"after"),
                self._there.put_request(self._new, b"after", when=ABSENT),
            ],
            deletes=[self._there.delete_request(self._gone, if_etag(self._etags[self._gone]))],
            request=request,
        )

    async def found(self, meeting: str, *, told: bool) -> str:
        """Meets what was left; `told`: the caller had been answered that the transaction was applied."""
        async with asyncio.timeout(PATIENCE):
            await MEETINGS[meeting](self._here, self._old)
        overwritten = meeting in WRITING
        old, new, gone, checked = await self._look()
        state = "after" if new else "before"
        assert state == "after" or not told
        assert (new, gone, checked) == ((b"after", None, b"before") if new else (None, b"before", b"before"))
        assert old == (b"mine" if overwritten else state.encode())
        # The truth is told by a repeat, and then it stands.
        first = await self.transact(self._here, again(self.request))
        assert await self.transact(self._here, again(again(self.request))) == first
        expected = b"mine" if overwritten and state == "after" else b"after"
        assert await self._look() == [expected, b"after", None, b"before"]
        assert [each.existed for each in first.deletes] == [True]
        new_etag = (await self._there.get(self._new)).etag
        assert first.puts[1].etag == new_etag
        assert (await self._here.get(self._checked)).etag == self._etags[self._checked]
        await self._there.put(self._new, b"later", when=if_etag(new_etag))
        return state

    async def _look(self) -> list[bytes | None]:
        items = await self._here.snapshot(
            self._here.name(self._old),
            self._there.name(self._new),
            self._there.name(self._gone),
            self._here.name(self._checked),
        )
        return [each.record.value if each.HasField("record") else None for each in items]
