"""`keepstate adopt` and `keepstate export` on real stores, beside a running service (2, 3, 7, 12)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from keepstate.v1 import state_service_pb2 as pb
from keepstate_server.domain.names import name_in_store
from keepstate_server.domain.records import Consistency
from keepstate_server.domain.times import Instant
from tests.contract.api import Api
from tests.contract.conftest import Backend, eventually
from tests.contract.plain import KINDS
from tests.support.containers import Containers
from tests.support.service import KEEPSTATE
from tests.unit.embedded.driver import Caller, item

pytestmark = pytest.mark.promise(2, 3, 7)

MAGIC = bytes.fromhex("f54b5301")
LONG = timedelta(seconds=30_000_000)  # tests move the service's clock by hours, but not that of the commands


@dataclass(frozen=True, kw_only=True)
class Commands:
    """The command line, as another instance beside the same sidecar."""

    store: str
    environment: dict[str, str]
    folder: Path

    @classmethod
    def beside(cls, backend: Backend, store: str, folder: Path) -> Commands:
        """Beside the sidecar of ``backend``, with no settings but where it is."""
        inherited = {name: each for name, each in os.environ.items() if not name.startswith(("KEEPSTATE_", "DAPR_"))}
        address = backend.address
        environment = {
            **inherited,
            "DAPR_GRPC_ENDPOINT": address.grpc,
            "DAPR_HTTP_ENDPOINT": address.http or "",
            "DAPR_API_TOKEN": address.api_token or "",
        }
        return cls(store=store, environment=environment, folder=folder)

    def begin(self, command: str, keys: Sequence[str], *options: str) -> subprocess.Popen[bytes]:
        """Starts to move keys, from a file."""
        file = self.folder / "keys"
        file.write_text("".join(f"{key}\n" for key in keys))
        return subprocess.Popen(
            [KEEPSTATE, command, "--store", self.store, "--keys", file, "-o", "json", *options],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def run(self, command: str, keys: Sequence[str], *options: str, code: int = 0) -> dict[str, Any]:
        """Moves keys, and returns what the command says of it."""
        output, told = await end(self.begin(command, keys, *options), code)
        return {**json.loads(output or b"{}"), "told": told.decode()}

    @property
    def life(self) -> Sequence[str]:
        """What adoption must be told where the store does not tell expiries."""
        return ("--never",) if self.store.startswith("redis") else ()


async def end(process: subprocess.Popen[bytes], code: int) -> tuple[bytes, bytes]:
    output, told = await asyncio.to_thread(process.communicate, timeout=120)
    assert process.returncode == code, told.decode()
    return output, told


@pytest.fixture
def commands(backend: Backend, store: str, tmp_path: Path) -> Commands:
    return Commands.beside(backend, store, tmp_path)


async def save(program: Caller, keys: Sequence[str]) -> None:
    for begin in range(0, len(keys), 100):
        await program.save(*(item(key, key.encode()) for key in keys[begin : begin + 100]))


async def test_values_of_every_kind_go_in_and_come_out_as_they_were(
    api: Api, program: Caller, commands: Commands, backend: Backend, store: str
) -> None:
    keys = [kind.key.format(api.key()) for kind in KINDS.values()]
    for key, kind in zip(keys, KINDS.values(), strict=True):
        await kind.write(program, key)
    names = [api.name(key, namespace) for namespace, key in map(name_in_store, keys)]

    async def read() -> list[tuple[bytes, str, int]]:
        records = [each.record for each in await api.snapshot(*names)]
        return [(record.value, record.etag, record.expire_time.seconds) for record in records]

    async def stands() -> list[tuple[bytes, Instant | None]]:
        found = [await backend.sidecar.get(store, key, consistency=Consistency.STRONG, timeout=10) for key in keys]
        return [(each.data, each.expire_time) for each in found if each]

    before, plain = await read(), await stands()
    dry = await commands.run("adopt", keys, *commands.life, "--dry-run")
    assert (dry["to_be_adopted"], await stands()) == (len(keys), plain)
    done = await commands.run("adopt", [*keys, api.key("nobody")], *commands.life)
    assert (done["adopted"], done["already"], done["absent"], done["failed"]) == (len(keys), 0, 1, 0)
    assert done["sha256_before"] == done["sha256_after"] == dry["sha256_before"]
    assert await read() == before
    assert all(data.startswith(MAGIC) for data, _ in await stands())

    done = await commands.run("export", keys)
    assert (done["exported"], done["failed"]) == (len(keys), 0)
    assert done["sha256_before"] == done["sha256_after"] == dry["sha256_before"]
    for (data, expires), (data_before, expires_before) in zip(await stands(), plain, strict=True):
        assert data == data_before
        assert (expires is None) is (expires_before is None)
        assert expires is None or expires_before is None or abs(expires - expires_before) <= 2000


@pytest.mark.parametrize("store", ["redis"])  # what the others do without is shown above
async def test_where_the_store_does_not_tell_expiries_the_run_must(
    api: Api, program: Caller, commands: Commands
) -> None:
    key = api.key()
    await program.save(item(key, b"plain"))
    done = await commands.run("adopt", [key], code=2)
    assert "--never" in done["told"]
    assert not await enveloped(program, key)


async def test_adopted_records_expire_as_the_run_says(api: Api, program: Caller, commands: Commands) -> None:
    key = api.key()
    await program.save(item(key, b"plain"))
    await commands.run("adopt", [key], "--ttl", "300d")
    assert (await api.get(key)).HasField("expire_time")


async def test_an_exported_record_expires_in_the_store_itself(
    api: Api, program: Caller, commands: Commands, containers: Containers, store: str
) -> None:
    lives, expires = api.key("lives"), api.key("expires")
    await api.put(lives, b"1")
    await api.put(expires, b"1", ttl=LONG)
    assert (await commands.run("export", [lives, expires]))["exported"] == 2
    if store == "redis":
        left = [int(containers.redis.cli("PTTL", f"redis||{key}")) for key in (lives, expires)]
        assert left[0] == -1
        assert left[1] > 20_000_000_000
    else:
        told = [(await program.get(key)).metadata.get("ttlExpireTime", "") for key in (lives, expires)]
        assert [bool(each) for each in told] == [False, True]


async def test_what_is_dead_is_not_exported_and_zero_bytes_but_to_postgresql(
    api: Api, program: Caller, commands: Commands, store: str
) -> None:
    dead, empty = api.key("dead"), api.key("empty")
    await api.put(dead, b"1")
    await api.delete(dead)
    await api.put(empty, b"")
    before = (await program.get(dead)).data
    refused = store == "postgresql"
    done = await commands.run("export", [dead, empty], code=1 if refused else 0)
    assert (done["absent"], done["exported"], done["failed"]) == ((1, 0, 1) if refused else (1, 1, 0))
    assert (await program.get(dead)).data == before
    assert ("does not take it" in done["told"]) is refused
    assert await api.value(empty) == b""


@pytest.mark.promise(2, 3, 7, 12)
@pytest.mark.parametrize("store", ["redis", "postgresql"])  # one of each kind: it takes long
async def test_a_run_that_is_killed_is_gone_on_with_beside_writers(
    api: Api, program: Caller, commands: Commands
) -> None:
    keys = [api.key(f"k{number}") for number in range(1200)]
    await save(program, keys)
    counters = keys[10::100]
    for key in counters:
        await program.save(item(key, b"0"))
    counted = dict.fromkeys(counters, 0)
    over = asyncio.Event()

    async def count() -> None:
        while not over.is_set():
            for key in counters:
                await api.update(key, pb.Increment(delta=1))
                counted[key] += 1
                await asyncio.sleep(0.005)

    killed = commands.begin("adopt", keys, *commands.life)
    counting = asyncio.ensure_future(count())
    await eventually(lambda: enveloped(program, keys[200]))
    killed.kill()
    await end(killed, -signal.SIGKILL)
    assert not await enveloped(program, keys[-1]), "it was not in the middle"
    # A counter may be written between its adoption and its reading back: that is told.
    again = commands.begin("adopt", keys, *commands.life)
    output, told = await asyncio.to_thread(again.communicate, timeout=120)
    done = json.loads(output)
    assert done["adopted"] + done["already"] + done["failed"] == len(keys)
    assert 200 <= done["already"] < len(keys)
    assert again.returncode == (1 if done["failed"] else 0)
    assert len([line for line in told.decode().splitlines() if "run again" in line]) == done["failed"]
    assert done["failed"] <= len(counters)
    over.set()
    await counting
    last = await commands.run("adopt", keys, *commands.life)
    assert (last["already"], last["sha256_before"]) == (len(keys), last["sha256_after"])
    values = {key: await api.value(key) for key in keys}
    assert values == {key: b"%d" % counted[key] if key in counted else key.encode() for key in keys}

    killed = commands.begin("export", keys)
    await eventually(lambda: exported(program, keys[200]))
    killed.kill()
    await end(killed, -signal.SIGKILL)
    assert not await exported(program, keys[-1]), "it was not in the middle"
    done = await commands.run("export", keys)
    assert (done["exported"] + done["already"], done["failed"]) == (len(keys), 0)
    assert 200 <= done["already"] < len(keys)
    assert done["sha256_before"] == done["sha256_after"] == last["sha256_after"]
    found = {each.key: each.data for each in await program.get_many(keys)}
    assert found == values


@pytest.mark.parametrize("store", ["embedded"])  # no store has a part in it
async def test_an_interrupted_run_says_how_far_it_came(api: Api, program: Caller, commands: Commands) -> None:
    keys = [api.key(f"k{number}") for number in range(1000)]
    await save(program, keys)
    running = commands.begin("adopt", keys, *commands.life)
    await eventually(lambda: enveloped(program, keys[0]))
    running.send_signal(signal.SIGINT)
    output, told = await end(running, 130)
    assert 0 < json.loads(output)["adopted"] < len(keys)
    assert b"run again" in told


async def enveloped(program: Caller, key: str) -> bool:
    return (await program.get(key)).data.startswith(MAGIC)


async def exported(program: Caller, key: str) -> bool:
    return not await enveloped(program, key)
