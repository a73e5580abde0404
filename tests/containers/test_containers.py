from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import docker
import pytest

from tests.support import reaper
from tests.support.containers import Containers
from tests.support.servers import COMPONENTS, DaprContainer

pytestmark = pytest.mark.containers

STORES = ("redis", "postgresql", "sqlite", "memory")


def save(daprd: DaprContainer, store: str, key: str, value: str) -> None:
    body = json.dumps([{"key": key, "value": value}]).encode()
    assert daprd.http("POST", f"/v1.0/state/{store}", body) == (204, b"")


def get(daprd: DaprContainer, store: str, key: str) -> tuple[int, str]:
    status, body = daprd.http("GET", f"/v1.0/state/{store}/{key}")
    return status, json.loads(body) if status == 200 else body.decode()


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


@pytest.mark.parametrize("store", STORES)
def test_the_sidecar_gives_back_what_was_saved(containers: Containers, store: str, key: str) -> None:
    save(containers.daprd, store, key, "kept")
    assert get(containers.daprd, store, key) == (200, "kept")


def test_the_sidecar_has_the_four_stores_and_their_versions(containers: Containers) -> None:
    _, body = containers.daprd.http("GET", "/v1.0/metadata")
    assert {(c["name"], c["type"], c["version"]) for c in json.loads(body)["components"]} == {
        ("redis", "state.redis", "v1"),
        ("postgresql", "state.postgresql", "v2"),
        ("sqlite", "state.sqlite", "v1"),
        ("memory", "state.in-memory", "v1"),
    }


def test_keys_are_named_after_the_component_and_not_the_app(containers: Containers, key: str) -> None:
    other = containers.sidecar("another-app")
    try:
        for store in ("redis", "postgresql"):
            save(containers.daprd, store, key, "shared")
            assert get(other, store, key) == (200, "shared")
    finally:
        other.stop()
    assert containers.redis.cli("EXISTS", f"redis||{key}") == "1"
    assert containers.postgres.sql(f"select count(*) from state where key = 'postgresql||{key}'") == "1"


def test_the_records_of_a_sidecar_apart_are_its_alone(containers: Containers, tmp_path: Path, key: str) -> None:
    """Else what a service collects there by a time or rules of its own would be other services', alive by theirs."""
    apart = containers.sidecar_apart("apart", tmp_path)
    try:
        for store in ("redis", "postgresql", "sqlite", "memory"):
            save(containers.daprd, store, key, "shared")
            assert get(apart, store, key)[0] == 204
            save(apart, store, key, "apart")
            assert get(containers.daprd, store, key) == (200, "shared")
    finally:
        apart.stop()
    assert containers.redis.cli("EXISTS", f"apart||{key}") == "1"


def test_a_sidecar_can_have_components_of_its_own(containers: Containers, tmp_path: Path, key: str) -> None:
    (tmp_path / "memory.yaml").write_bytes((COMPONENTS / "in-memory.yaml").read_bytes())
    alone = containers.sidecar("alone", resources_path=tmp_path)
    try:
        save(alone, "memory", key, "mine")
        assert get(alone, "redis", key)[0] == 400
    finally:
        alone.stop()


def test_a_paused_redis_answers_nothing_and_goes_on_afterwards(containers: Containers, key: str) -> None:
    save(containers.daprd, "redis", key, "before")
    containers.redis.pause()
    try:
        status, text = get(containers.daprd, "redis", key)
    finally:
        containers.redis.unpause()
    assert (status, "i/o timeout" in text) == (500, True)
    assert get(containers.daprd, "redis", key) == (200, "before")


@pytest.mark.parametrize("fault", ["restart", "kill"])
@pytest.mark.parametrize("name", ["redis", "postgres", "daprd"])
def test_a_server_comes_back_at_its_address_with_its_data(
    containers: Containers, name: str, fault: str, key: str
) -> None:
    server = {"redis": containers.redis, "postgres": containers.postgres, "daprd": containers.daprd}[name]
    store = {"redis": "redis", "postgres": "postgresql", "daprd": "sqlite"}[name]
    save(containers.daprd, store, key, "kept")
    if fault == "kill":
        server.kill()
        with pytest.raises(OSError, match=r"."):
            server.ready()
        server.start()
    else:
        server.restart()
    deadline = time.monotonic() + 10
    while (found := get(containers.daprd, store, key))[0] != 200 and time.monotonic() < deadline:
        time.sleep(0.1)  # the sidecar's pool may hold connections of before
    assert found == (200, "kept")


def left_of(run: str) -> int:
    client = docker.from_env()
    try:
        return len(reaper.belongings(client, run))
    finally:
        client.close()


ENDS = {"its own end": None, "Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_nothing_is_left_after_a_run_however_it_ends(
    containers: Containers, tmp_path: Path, end: signal.Signals | None
) -> None:
    _ = containers  # so that this is skipped where there are none
    note = tmp_path / "run"
    program = [sys.executable, "-m", "pytest", "-q", str(Path(__file__).with_name("a_run_to_end.py"))]
    environment = {**os.environ, "KEEPSTATE_TEST_NOTE": str(note), "KEEPSTATE_TEST_WAIT": "0" if end is None else "60"}
    with subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as inner:
        deadline = time.monotonic() + 60
        while not note.exists():
            assert inner.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        run = note.read_text()
        if end is not None:
            assert left_of(run) == 4  # the paused Redis, PostgreSQL, their network, and a volume of the compose project
            inner.send_signal(end)
        inner.wait(30)
    deadline = time.monotonic() + 30
    while left_of(run) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_of(run) == 0
