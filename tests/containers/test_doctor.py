"""What `keepstate doctor` says of real stores, and that docs/stores.md has it as it was printed."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keepstate import Client, Probe, Verdict
from keepstate_server.domain.names import internal_key
from keepstate_server.embedded import EmbeddedSidecar
from keepstate_server.stores.address import SidecarAddress
from tests.contract.conftest import running_service
from tests.support.containers import Containers
from tests.support.servers import DaprContainer
from tests.support.service import KEEPSTATE

pytestmark = pytest.mark.containers

PAGE = Path(__file__).parents[2] / "docs" / "stores.md"

PLAIN = ("redis", "postgresql", "sqlite", "memory")
ODD = ("redis-encrypted", "redis-with-ttl", "postgresql-without-version")
ALL = (*PLAIN, "embedded", *ODD)

MENDED: Mapping[str, set[str]] = {
    "redis": {
        "old etag, no key",
        "etag reuse",
        "rollback",
        "expiry",
        "ttl of an earlier write",
        "atomic expiry",
    },
    "postgresql": {"empty value"},
    "redis-encrypted": {
        "old etag, no key",
        "etag reuse",
        "transaction values",
        "rollback",
        "expiry",
        "ttl of an earlier write",
        "atomic expiry",
    },
    "redis-with-ttl": {
        "old etag, no key",
        "etag reuse",
        "rollback",
        "expiry",
        "component's ttl",
        "atomic expiry",
    },
}
"""What the service makes up for, by store."""


@dataclass(frozen=True, kw_only=True)
class Doctor:
    probes: Mapping[str, Probe]
    target: str
    """The service beside the sidecar with the repository's components."""


@pytest.fixture(scope="module")
async def doctor(containers: Containers, odd_sidecar: DaprContainer) -> AsyncIterator[Doctor]:
    """Probes of all stores, made at once: most of their time they wait."""
    async with AsyncExitStack() as stack:
        embedded = EmbeddedSidecar(path=None)
        await embedded.start()
        stack.push_async_callback(embedded.stop)
        addresses = {
            PLAIN: SidecarAddress(grpc=containers.daprd.grpc_target, http=containers.daprd.http_endpoint),
            ODD: SidecarAddress(grpc=odd_sidecar.grpc_target, http=odd_sidecar.http_endpoint),
            ("embedded",): SidecarAddress(grpc=embedded.grpc_address, http=f"http://{embedded.http_address}"),
        }
        clients: dict[str, Client[Any]] = {}
        targets = []
        for names, address in addresses.items():
            running = await stack.enter_async_context(running_service(address))
            client = await stack.enter_async_context(Client(running.target))
            clients |= dict.fromkeys(names, client)
            targets.append(running.target)
        probes = await asyncio.gather(*(clients[name].store(name).probe() for name in ALL))
        yield Doctor(probes=dict(zip(ALL, probes, strict=True)), target=targets[0])


@pytest.mark.parametrize("store", ALL)
def test_a_store_is_seen_to_do_what_is_known_of_it(doctor: Doctor, store: str) -> None:
    probe = doctor.probes[store]
    seen = {verdict: {each.name for each in probe.findings if each.verdict is verdict} for verdict in Verdict}
    unknown = store == "postgresql-without-version"
    assert seen[Verdict.MISSING] == ({"known component"} if unknown else set())
    assert seen[Verdict.NOT_SEEN] == {"eviction"}
    assert seen[Verdict.MENDED] == MENDED.get(store, set())
    assert probe.satisfied is not unknown
    differs = {each.name: each.seen for each in probe.findings if each.expected not in ("", each.seen)}
    assert differs == {
        "redis-encrypted": {"transaction values": "destroyed"},
        "redis-with-ttl": {"ttl of an earlier write": "cleared", "component's ttl": "likely"},
        "postgresql-without-version": {"known component": "no"},
    }.get(store, {})
    kept = {each.number: each.keeping.value for each in probe.store.promises}
    assert kept[9] == ("refused" if unknown else "staged" if store.startswith("redis") else "native")


def test_nothing_is_left_of_a_probe(doctor: Doctor, containers: Containers) -> None:
    ours = internal_key("probe/")
    assert containers.redis.cli("KEYS", f"*{ours}*") == ""
    for table in ("state", "state_v1"):
        assert containers.postgres.sql(f"select count(*) from {table} where strpos(key, '{ours}') > 0") == "0"


def test_the_page_has_what_the_doctor_says(doctor: Doctor) -> None:
    assert table(doctor.probes) in PAGE.read_text()


async def test_the_command_prints_the_same(doctor: Doctor) -> None:
    environment = {**os.environ, "KEEPSTATE_ADDRESS": doctor.target}
    process = await asyncio.create_subprocess_exec(
        KEEPSTATE, "doctor", "redis", "-o", "json", env=environment, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 0
    document = json.loads(output)
    told = [(each["name"], each["seen"], each["expected"], each["verdict"]) for each in document["findings"]]
    assert told == [
        (each.name, each.seen, each.expected, each.verdict.value) for each in doctor.probes["redis"].findings
    ]


def table(probes: Mapping[str, Probe]) -> str:
    """The findings as the page has them: a row a check, a column a store."""
    checks = [each.name for each in next(iter(probes.values())).findings]
    rows = [["check", *probes], ["---"] * (len(probes) + 1)]
    for number, check in enumerate(checks):
        if check == "latency":
            continue
        findings = [probe.findings[number] for probe in probes.values()]
        marks = {Verdict.MENDED: "*", Verdict.MISSING: "**"}
        cells = [f"{marks.get(each.verdict, '')}{each.seen}{marks.get(each.verdict, '')}" for each in findings]
        rows.append([check, *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows).replace("| --- ", "|---").replace("|--- |", "|---|")
