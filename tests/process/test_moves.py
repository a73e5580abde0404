"""`keepstate adopt` and `keepstate export` as an operator meets them, on the embedded store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.service import ServiceProcess

MakeService = Callable[..., ServiceProcess]


@pytest.fixture
def service(make_service: MakeService) -> ServiceProcess:
    """A service that is not started: the commands need none."""
    return make_service(KEEPSTATE_SIDECAR="embedded", KEEPSTATE_LOG_LEVEL="warning")


def test_keys_come_from_arguments_and_standard_input_and_the_rest_is_told(service: ServiceProcess) -> None:
    service.start()
    for key in ("a", "b c", "d/e"):
        namespace, _, name = key.rpartition("/")
        assert service.keepstate("put", name, f"value of {key}", "--namespace", namespace).returncode == 0
    # Beside the running service: several processes may use one file.
    keys = b"b c\r\n\nd/e\nnobody\na||b\n" + b"\xff\n"
    done = service.keepstate("export", "a", "--keys", "-", "-o", "json", stdin=keys)
    answer = json.loads(done.stdout)
    assert (answer["exported"], answer["already"], answer["absent"], answer["failed"]) == (3, 0, 1, 2)
    assert done.returncode == 1
    told = done.stderr.decode().splitlines()
    assert len(told) == 2
    assert "'a||b' has no name" in told[0]
    assert "'\\udcff' has no name" in told[1]
    assert service.keepstate("get", "b c", "-o", "value").stdout == b"value of b c"
    table = service.keepstate("adopt", "a", "b c", "d/e").stdout.decode().splitlines()
    assert table[:4] == ["adopted\t3", "already\t0", "absent\t0", "failed\t0"]
    assert [line.split("\t")[0] for line in table[4:]] == ["sha256_before", "sha256_after"]
    assert table[4].split("\t")[1] == table[5].split("\t")[1] == answer["sha256_before"]
    assert service.keepstate("export", "a", "--dry-run", "-o", "value").stdout == b"1\n"
    assert service.end() == 0


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "words"),
    [
        (["adopt"], {}, 2, "give KEYs"),
        (["adopt", "k", "--ttl", "1h", "--never"], {}, 2, "exclude each other"),
        (["adopt", "k", "--ttl", "soon"], {}, 2, "'soon' is not a duration"),
        (["export", "--keys", "nowhere"], {}, 2, "--keys: nowhere: No such file"),
        (["export", "k", "--store", "other"], {}, 2, "no state store 'other'"),
        (["export", "k"], {"KEEPSTATE_DEAD_LIFE": "1s"}, 78, "KEEPSTATE_DEAD_LIFE"),
        (["adopt", "k"], {"KEEPSTATE_SIDECAR": "dapr", "DAPR_GRPC_ENDPOINT": "ftp://host:1"}, 78, "DAPR_GRPC_ENDPOINT"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_moved(
    make_service: MakeService, arguments: list[str], settings: dict[str, str], code: int, words: str
) -> None:
    service = make_service(**{"KEEPSTATE_SIDECAR": "embedded", **settings})
    done = service.keepstate(*arguments)
    assert (done.returncode, done.stdout) == (code, b"")
    assert words in " ".join(done.stderr.decode().replace("│", " ").split())


def test_a_file_with_keys_is_read_to_its_end(service: ServiceProcess, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("".join(f"k{number}\n" for number in range(5000)) + "no end of line")
    done = service.keepstate("adopt", "--keys", str(file), "-o", "json")
    assert (json.loads(done.stdout)["absent"], done.returncode) == (5001, 0)
