"""Components that most would not expect: encrypted by Dapr, with a ttl of their own, of a version that is not used."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from keepstate.v1 import state_service_pb2 as pb
from keepstate.v1 import store_service_pb2
from keepstate_server.domain.names import stored_key
from keepstate_server.stores.address import SidecarAddress
from keepstate_server.stores.sidecar import StateItem
from tests.containers.facts import Odd
from tests.contract.api import ABSENT, Api, Refused, if_etag
from tests.contract.bank import Bank, Mover
from tests.contract.conftest import Backend, eventually, running_service
from tests.contract.left_over import Scenario
from tests.contract.test_moves import MAGIC, Commands
from tests.support.containers import Containers
from tests.support.servers import DaprContainer
from tests.unit.embedded.driver import item

pytestmark = pytest.mark.containers

ENCRYPTED = ("redis-encrypted", "postgresql-encrypted", "sqlite-encrypted", "memory-encrypted")
every_encrypted_store = pytest.mark.parametrize("store", ENCRYPTED)


@pytest.fixture(scope="module")
async def backend(odd_sidecar: DaprContainer) -> AsyncIterator[Backend]:
    address = SidecarAddress(grpc=odd_sidecar.grpc_target, http=odd_sidecar.http_endpoint)
    async with running_service(address) as running:
        yield running


@pytest.fixture
def api(backend: Backend, store: str) -> Api:
    return Api(backend.channel, store, uuid.uuid4().hex)


@every_encrypted_store
async def test_encryption_destroys_nothing(api: Api) -> None:
    """State transactions would write `[104 105]` for `hi`: the service finds out before its first write."""
    keys = [api.key() for _ in range(20)]
    results = await api.batch([pb.BatchOperation(put=api.put_request(key, key.encode())) for key in keys])
    assert {each.WhichOneof("result") for each in results} == {"put"}
    for key, result in zip(keys, results, strict=True):
        record = await api.get(key)
        assert (record.value, record.etag) == (key.encode(), result.put.etag)
    alone = api.key()
    etag = await api.put(alone, b"hi", ttl=timedelta(minutes=1))
    await api.touch(alone)
    await api.put(alone, b"\x00\xff", when=if_etag(etag))
    assert await api.value(alone) == b"\x00\xff"
    assert await api.delete(alone) is True
    await api.put(alone, b"again", when=ABSENT)
    assert await api.value(alone) == b"again"


@every_encrypted_store
async def test_of_many_writers_on_an_encrypted_store_one_wins(api: Api) -> None:
    key = api.key()
    held = await api.put(key)
    results = await asyncio.gather(
        *(api.put(key, str(number).encode(), when=if_etag(held)) for number in range(32)), return_exceptions=True
    )
    assert sum(isinstance(result, str) for result in results) == 1
    assert {each.what for each in results if isinstance(each, Refused)} == {("ABORTED", "ETAG_MISMATCH")}


@every_encrypted_store
async def test_transactions_on_an_encrypted_store_are_staged(api: Api) -> None:
    old, new, gone = (api.key() for _ in range(3))
    etags = [await api.put(old, b"hi"), await api.put(gone)]
    answer = await api.transact(
        puts=[api.put_request(old, b"\x00\xff", when=if_etag(etags[0])), api.put_request(new, b"", when=ABSENT)],
        deletes=[api.delete_request(gone)],
    )
    assert await api.values(old, new, gone) == [b"\x00\xff", b"", None]
    with pytest.raises(Refused) as refused:
        await api.transact(puts=[api.put_request(new, b"half"), api.put_request(old, when=if_etag(etags[0]))])
    assert refused.value.what == ("ABORTED", "ETAG_MISMATCH")
    assert refused.value.metadata["etag"] == answer.puts[0].etag
    assert await api.values(old, new, gone) == [b"\x00\xff", b"", None]
    told = (await api.call(api.stores.GetStore(store_service_pb2.GetStoreRequest(name=api.store)))).store
    (transactions,) = [each for each in told.promises if each.number == 9]
    assert transactions.keeping == store_service_pb2.KEEPING_STAGED


@every_encrypted_store
async def test_no_snapshot_of_an_encrypted_store_shows_half_a_transaction(api: Api, backend: Backend) -> None:
    async with running_service(backend.address, clock=backend.clock) as other:
        both = (api, Api(other.channel, api.store, api.prefix))
        bank = Bank(
            accounts=[api.name(api.key("account")) for _ in range(3)],
            movers=[Mover(api=both[number % 2], journal=api.name(api.key("journal"))) for number in range(4)],
            watchers=both,
        )
        await bank.work(transfers=10)
    assert bank.conflicts
    assert bank.snapshots > 10


@every_encrypted_store
async def test_whoever_meets_what_was_left_on_an_encrypted_store_finds_all_of_it_or_nothing(
    api: Api, backend: Backend, store: str
) -> None:
    states = await Scenario(backend, (store, store), api.prefix).dies_everywhere(meeting="get")
    assert states[0] == "before"
    assert "after" in states


@every_encrypted_store
async def test_an_expiry_of_another_programs_value_does_not_outlive_it(api: Api, backend: Backend, store: str) -> None:
    key, gone = api.key(), api.key()
    for each in (key, gone):
        item = StateItem(key=stored_key("", each), value=b"plain", etag=None, ttl_seconds=2)
        await backend.sidecar.save(store, [item], timeout=10)
    await api.put(key, b"mine", when=if_etag((await api.get(key)).etag))

    async def the_other_is_gone() -> bool:
        return await api.value(gone) is None

    await eventually(the_other_is_gone)
    assert await api.value(key) == b"mine"


@pytest.mark.parametrize("store", ["redis-with-ttl"])
async def test_a_ttl_of_the_component_removes_no_record(api: Api, containers: Containers, store: str) -> None:
    key, batched = api.key(), api.key()
    await api.put(key)
    await api.batch([pb.BatchOperation(put=api.put_request(each)) for each in (batched, api.key())])
    await api.put(key, b"again")
    for each in (key, batched):
        stored = f"{store}||{stored_key('', each)}"
        assert await asyncio.to_thread(containers.redis.cli, "TTL", stored) == "-1"


@pytest.mark.parametrize("store", ["postgresql-without-version"])
async def test_a_component_that_is_not_known_is_read_and_never_written(api: Api, backend: Backend, store: str) -> None:
    key, absent = api.key(), api.key()
    await backend.sidecar.save(store, [StateItem(key=stored_key("", key), value=b"plain", etag=None)], timeout=10)
    assert (await api.value(key), await api.value(absent)) == (b"plain", None)
    get, put = pb.BatchOperation(get=pb.GetRequest(name=api.name(key))), pb.BatchOperation(put=api.put_request(key))
    assert [each.WhichOneof("result") for each in await api.batch([get, put, get])] == ["get", "error", "get"]
    calls = [
        api.put(key),
        api.put(absent, when=ABSENT),
        api.delete(key),
        api.touch(key),
        api.get(key, slide=timedelta(hours=1)),
        api.transact(puts=[api.put_request(key)]),
        api.transact(checks=[api.check(key, ABSENT)]),
        api.snapshot(api.name(key)),
    ]
    for call in calls:
        with pytest.raises(Refused) as refused:
            await call
        assert refused.value.what == ("FAILED_PRECONDITION", "UNSUPPORTED_BY_STORE")
        assert refused.value.metadata["capability"] == "known component"
        assert "version: v2" in refused.value.message
    assert await api.value(key) == b"plain"
    told = (await api.call(api.stores.GetStore(store_service_pb2.GetStoreRequest(name=store)))).store
    refusals = {each.number for each in told.promises if each.keeping == store_service_pb2.KEEPING_REFUSED}
    assert refusals == {3, 4, 5, 6, 7, 9, 11, 12, 15}
    listed = await api.call(api.stores.ListStores(store_service_pb2.ListStoresRequest()))
    assert store in [each.name for each in listed.stores]


@pytest.mark.parametrize("store", [""])
async def test_without_a_default_a_store_must_be_named(api: Api, store: str) -> None:
    with pytest.raises(Refused) as refused:
        await api.put(api.key())
    assert refused.value.what == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert refused.value.fields == ["name.store"]


@every_encrypted_store
async def test_values_go_into_the_envelope_and_out_of_it_where_dapr_encrypts(
    api: Api, backend: Backend, odd: Odd, store: str, tmp_path: Path
) -> None:
    program, keys = odd(store), [api.key(f"{number}") for number in range(20)]
    for key in keys:
        await program.save(item(key, key.encode()))
    commands = Commands.beside(backend, store, tmp_path)
    done = await commands.run("adopt", keys, *commands.life)
    assert (done["adopted"], done["sha256_before"]) == (len(keys), done["sha256_after"])
    assert await api.values(*keys) == [key.encode() for key in keys]
    assert (await program.get(keys[0])).data.startswith(MAGIC)
    done = await commands.run("export", keys)
    assert (done["exported"], done["sha256_before"]) == (len(keys), done["sha256_after"])
    assert [(await program.get(key)).data for key in keys] == [key.encode() for key in keys]
