"""Every kind of value that plain Dapr programs write, under every operation (5, 16)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import pytest
from dapr.aio.clients import DaprClient
from dapr.conf import settings as dapr_settings

from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb
from keepstate_server.domain.names import name_in_store
from tests.contract.api import ABSENT, EXISTS, Api, Refused, if_etag
from tests.contract.conftest import Backend
from tests.contract.plain import KINDS, VALUE, Plain
from tests.unit.embedded.driver import Caller, item

pytestmark = pytest.mark.promise(5, 16)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A plain value, and the name under which Keepstate finds it."""

    api: Api
    kind: Plain
    value: bytes
    name: record_pb2.RecordName
    stored: str

    async def get(self) -> record_pb2.Record:
        record = (await self.api.call(self.api.state.Get(pb.GetRequest(name=self.name), timeout=20))).record
        assert isinstance(record, record_pb2.Record)
        return record

    async def put(self, value: bytes = b"new", when: record_pb2.Precondition | None = None) -> str:
        message = pb.PutRequest(name=self.name, value=value, precondition=when)
        return str((await self.api.call(self.api.state.Put(message, timeout=20))).etag)

    async def gone(self) -> bool:
        try:
            await self.get()
        except Refused as refused:
            assert refused.what == ("NOT_FOUND", "RECORD_NOT_FOUND")
            return True
        return False


@pytest.fixture(params=KINDS)
async def plain(request: pytest.FixtureRequest, api: Api, program: Caller, store: str) -> Written:
    kind = KINDS[request.param]
    stored = kind.key.format(api.key())
    await kind.write(program, stored)
    namespace, key = name_in_store(stored)
    value = (await program.get(stored)).data
    # The embedded store keeps JSON as it was sent.
    assert json.loads(value) == json.loads(VALUE)
    return Written(api=api, kind=kind, value=value, name=api.name(key, namespace), stored=stored)


async def test_it_is_read(plain: Written, store: str) -> None:
    record = await plain.get()
    assert (record.value, record.content_type) == (plain.value, "")
    assert record.etag == (await plain.get()).etag
    assert record.HasField("expire_time") is (plain.kind.expires and store != "redis")


async def test_it_is_put_on_a_condition(plain: Written) -> None:
    etag = (await plain.get()).etag
    for when, what in (
        (ABSENT, ("ALREADY_EXISTS", "RECORD_ALREADY_EXISTS")),
        (if_etag("AAAAAAAAAAAAAAAAAAAAAA"), ("ABORTED", "ETAG_MISMATCH")),
    ):
        with pytest.raises(Refused) as refused:
            await plain.put(when=when)
        assert refused.value.what == what
        assert refused.value.metadata["etag"] == etag
    results = await asyncio.gather(
        *(plain.put(b"%d" % number, when=if_etag(etag)) for number in range(8)), return_exceptions=True
    )
    won = [each for each in results if isinstance(each, str)]
    assert len(won) == 1
    record = await plain.get()
    assert (record.etag, record.HasField("expire_time")) == (won[0], False)


async def test_it_is_deleted(plain: Written) -> None:
    etag = (await plain.get()).etag
    message = pb.DeleteRequest(name=plain.name, precondition=if_etag(etag))
    assert (await plain.api.call(plain.api.state.Delete(message, timeout=20))).existed
    assert await plain.gone()
    assert not (await plain.api.call(plain.api.state.Delete(pb.DeleteRequest(name=plain.name), timeout=20))).existed
    await plain.put(when=ABSENT)


async def test_it_is_touched(plain: Written) -> None:
    before = await plain.get()
    message = pb.TouchRequest(name=plain.name)
    message.ttl.FromSeconds(3600)
    touched = await plain.api.call(plain.api.state.Touch(message, timeout=20))
    after = await plain.get()
    assert (after.value, after.etag, after.expire_time) == (before.value, before.etag, touched.expire_time)


async def test_it_is_updated(plain: Written) -> None:
    message = pb.UpdateRequest(name=plain.name, merge_patch=pb.MergePatch(patch=b'{"n":2}'), precondition=EXISTS)
    record = (await plain.api.call(plain.api.state.Update(message, timeout=20))).record
    assert json.loads(record.value) == {"by": "a plain program", "n": 2}
    assert (await plain.get()).etag == record.etag


async def test_it_is_put_in_a_batch(plain: Written) -> None:
    get = pb.BatchOperation(get=pb.GetRequest(name=plain.name))
    put = pb.BatchOperation(put=pb.PutRequest(name=plain.name, value=b"new"))
    delete = pb.BatchOperation(delete=pb.DeleteRequest(name=plain.name))
    other = pb.BatchOperation(put=plain.api.put_request(plain.api.key("other")))
    first, _, second, _, deleted = await plain.api.batch([get, put, get, other, delete])
    assert (first.get.record.value, second.get.record.value) == (plain.value, b"new")
    assert deleted.delete.existed
    assert await plain.gone()


async def test_it_is_checked_in_a_transaction(plain: Written) -> None:
    api, other = plain.api, plain.api.key("other")
    before = await plain.get()
    check = pb.Check(name=plain.name, precondition=if_etag(before.etag))
    await api.transact(checks=[check], puts=[api.put_request(other, b"written")])
    assert await api.value(other) == b"written"
    after = await plain.get()
    assert (after.value, after.etag) == (before.value, before.etag)
    await plain.put(when=if_etag(before.etag))
    with pytest.raises(Refused) as refused:
        await api.transact(checks=[check], puts=[api.put_request(other, b"not written")])
    assert refused.value.what == ("ABORTED", "ETAG_MISMATCH")
    assert await api.value(other) == b"written"


async def test_it_is_put_in_a_transaction(plain: Written) -> None:
    api, other = plain.api, plain.api.key("other")
    when = if_etag((await plain.get()).etag)
    answer = await api.transact(
        puts=[pb.PutRequest(name=plain.name, value=b"new", precondition=when), api.put_request(other)]
    )
    record = await plain.get()
    assert (record.value, record.etag, record.HasField("expire_time")) == (b"new", answer.puts[0].etag, False)


async def test_it_is_in_a_snapshot(plain: Written) -> None:
    other = plain.api.key("other")
    await plain.api.put(other, b"mine")
    items = await plain.api.snapshot(plain.name, plain.api.name(other))
    assert [each.record.value for each in items] == [plain.value, b"mine"]
    assert items[0].record.etag == (await plain.get()).etag


async def test_what_the_program_finds_afterwards_is_an_envelope_until_it_writes_again(
    plain: Written, program: Caller
) -> None:
    """As docs/adopt.md says."""
    await plain.put(b"the value as it was given")
    found = (await program.get(plain.stored)).data
    assert found.startswith(bytes.fromhex("f54b5301"))
    assert b"the value as it was given" in found
    await program.save(item(plain.stored, b"plain again", etag=(await program.get(plain.stored)).etag))
    assert (await plain.get()).value == b"plain again"


@pytest.mark.parametrize("store", ["redis", "postgresql", "sqlite", "memory"])
async def test_what_the_client_of_dapr_wrote_is_a_record(
    api: Api, backend: Backend, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dapr_settings, "DAPR_HTTP_ENDPOINT", backend.address.http)  # where it asks for health
    key = api.key()
    async with DaprClient(address=backend.address.grpc) as dapr:
        await dapr.save_state(store, key, '{"a": 1}')
        assert await api.value(key) == b'{"a": 1}'
        await api.put(key, b"new")
        assert (await dapr.get_state(store, key)).data.startswith(bytes.fromhex("f54b5301"))
