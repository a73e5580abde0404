"""Settings: where they come from, and what is said of a wrong one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from keepstate_server.config import BadConfiguration, Settings, TlsFiles, load, misspelt

Load = Callable[..., Settings]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Loads the settings from an environment and a file that hold nothing else."""
    for name in os.environ:
        if name.upper().startswith(("KEEPSTATE_", "DAPR_", "APP_", "XDG_DATA_HOME")):
            monkeypatch.delenv(name)

    def loaded(
        environment: Mapping[str, str] | None = None, *, file: str | bytes | None = None, **overrides: object
    ) -> Settings:
        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)
        if file is not None:
            path = tmp_path / "keepstate.yaml"
            path.write_bytes(file if isinstance(file, bytes) else file.encode())
            monkeypatch.setenv("KEEPSTATE_CONFIG", str(path))
        return load(overrides, Settings)

    return loaded


def test_gathering_is_on_unless_it_is_turned_off(settings: Load) -> None:
    assert settings({}).engine.gathering
    assert not settings({"KEEPSTATE_GATHERING": "false"}).engine.gathering


def test_without_any_setting_everything_stays_on_loopback_and_embedded(settings: Load) -> None:
    found = settings()
    assert (found.listen, found.http_listen) == ("127.0.0.1:7400", "127.0.0.1:7401")
    assert found.uses_embedded
    assert found.value_limit == found.limits.value_bytes == 1024 * 1024


@pytest.mark.parametrize("file", ["shared_stores: [redis, orders]", "shared_stores: redis, orders"])
def test_shared_stores_are_a_list_or_names_with_commas_between(settings: Load, file: str) -> None:
    names = {"redis", "orders"}
    assert settings().shared_stores == frozenset()
    assert settings(file=file).shared_stores == names
    assert settings({"KEEPSTATE_SHARED_STORES": " redis,orders"}).shared_stores == names


# Wrong ones

WRONG: list[tuple[dict[str, str], str]] = [
    ({"KEEPSTATE_LISTEN": "7400"}, "KEEPSTATE_LISTEN"),
    ({"KEEPSTATE_LISTEN": ":7400"}, "KEEPSTATE_LISTEN"),
    ({"KEEPSTATE_LISTEN": "localhost:65536"}, "KEEPSTATE_LISTEN"),
    ({"KEEPSTATE_LISTEN": "localhost:http"}, "KEEPSTATE_LISTEN"),
    ({"KEEPSTATE_LISTEN": "0.0.0.0:7400"}, "KEEPSTATE_LISTEN"),
    ({"KEEPSTATE_LISTEN": "[::]:7400"}, "KEEPSTATE_LISTEN"),
    ({"KEEPSTATE_LISTEN": "keepstate.example:7400"}, "KEEPSTATE_LISTEN"),
    ({"KEEPSTATE_HTTP_LISTEN": "7401"}, "KEEPSTATE_HTTP_LISTEN"),
    ({"KEEPSTATE_HTTP_LISTEN": "10.0.0.1:7401"}, "KEEPSTATE_HTTP_LISTEN"),
    ({"KEEPSTATE_TLS_CERT": "a.pem"}, "KEEPSTATE_TLS_CERT and KEEPSTATE_TLS_KEY: give both"),
    ({"KEEPSTATE_TLS_KEY": "a.key"}, "KEEPSTATE_TLS_CERT and KEEPSTATE_TLS_KEY: give both"),
    ({"KEEPSTATE_TLS_CLIENT_CA": "ca.pem"}, "KEEPSTATE_TLS_CLIENT_CA needs KEEPSTATE_TLS_CERT"),
    ({"KEEPSTATE_INSECURE": "perhaps"}, "KEEPSTATE_INSECURE"),
    ({"KEEPSTATE_REFLECTION": "2"}, "KEEPSTATE_REFLECTION"),
    ({"KEEPSTATE_SIDECAR": "redis"}, "KEEPSTATE_SIDECAR"),
    ({"KEEPSTATE_INSECURE": "true", "KEEPSTATE_LISTEN": "0.0.0.0:7400"}, "KEEPSTATE_SIDECAR"),
    ({"KEEPSTATE_DEFAULT_STORE": "a\n"}, "KEEPSTATE_DEFAULT_STORE"),
    ({"KEEPSTATE_DEFAULT_STORE": "a||b"}, "KEEPSTATE_DEFAULT_STORE"),
    ({"KEEPSTATE_SHARED_STORES": "a,,b"}, "KEEPSTATE_SHARED_STORES"),
    ({"KEEPSTATE_SHARED_STORES": "a||b"}, "KEEPSTATE_SHARED_STORES"),
    ({"KEEPSTATE_LONGEST_DELAY": "soon"}, "KEEPSTATE_LONGEST_DELAY"),
    ({"KEEPSTATE_LONGEST_DELAY": "0"}, "KEEPSTATE_LONGEST_DELAY"),
    ({"KEEPSTATE_LONGEST_DELAY": "-5s"}, "KEEPSTATE_LONGEST_DELAY"),
    ({"KEEPSTATE_CLOCK_DIFFERENCE": "0s"}, "KEEPSTATE_CLOCK_DIFFERENCE"),
    ({"KEEPSTATE_DEAD_LIFE": "1m"}, "KEEPSTATE_DEAD_LIFE"),
    ({"KEEPSTATE_LONGEST_DELAY": "1h"}, "KEEPSTATE_DEAD_LIFE"),
    ({"KEEPSTATE_DEAD_LIFE": "1000000000000d"}, "KEEPSTATE_DEAD_LIFE"),
    ({"KEEPSTATE_VALUE_LIMIT": "0"}, "KEEPSTATE_VALUE_LIMIT"),
    ({"KEEPSTATE_VALUE_LIMIT": "1MiB"}, "KEEPSTATE_VALUE_LIMIT"),
    ({"KEEPSTATE_VALUE_LIMIT": str(9 * 1024 * 1024)}, "KEEPSTATE_VALUE_LIMIT"),
    ({"KEEPSTATE_HINTS": "-1"}, "KEEPSTATE_HINTS"),
    ({"KEEPSTATE_CONCURRENT_CALLS": "0"}, "KEEPSTATE_CONCURRENT_CALLS"),
    ({"KEEPSTATE_DEFAULT_DEADLINE": "0s"}, "KEEPSTATE_DEFAULT_DEADLINE"),
    ({"KEEPSTATE_LONGEST_DEADLINE": "x"}, "KEEPSTATE_LONGEST_DEADLINE"),
    ({"KEEPSTATE_DRAIN": "x"}, "KEEPSTATE_DRAIN"),
    ({"KEEPSTATE_LOG_FORMAT": "xml"}, "KEEPSTATE_LOG_FORMAT"),
    ({"KEEPSTATE_LOG_LEVEL": "loud"}, "KEEPSTATE_LOG_LEVEL"),
    ({"KEEPSTATE_CONFIG": "nowhere.yaml"}, "KEEPSTATE_CONFIG"),
    ({"DAPR_GRPC_PORT": "tcp://10.0.0.1:50001"}, "DAPR_GRPC_PORT"),
    ({"DAPR_GRPC_PORT": "0"}, "DAPR_GRPC_PORT"),
    ({"DAPR_HTTP_PORT": "70000"}, "DAPR_HTTP_PORT"),
    ({"APP_PORT": "x"}, "APP_PORT"),
    ({"APP_PORT": "0"}, "APP_PORT"),
]


@pytest.mark.parametrize(("environment", "name"), WRONG, ids=[f"{n}-{case[1]}" for n, case in enumerate(WRONG)])
def test_a_wrong_setting_is_named(settings: Load, environment: dict[str, str], name: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        settings(environment)
    assert name in str(refused.value)


def test_a_secret_is_never_told(settings: Load) -> None:
    with pytest.raises(BadConfiguration) as refused:
        settings({"DAPR_API_TOKEN": "s3cret", "KEEPSTATE_HINTS": "x"})
    assert "s3cret" not in str(refused.value)
    found = settings({"KEEPSTATE_HINTS": "1"})
    assert found.sidecar_address.api_token == "s3cret"
    assert "s3cret" not in repr(found) + repr(found.sidecar_address)


def test_all_wrong_settings_are_named_at_once(settings: Load) -> None:
    with pytest.raises(BadConfiguration, match=r"KEEPSTATE_LOG_LEVEL.*KEEPSTATE_HINTS"):
        settings({"KEEPSTATE_HINTS": "x", "KEEPSTATE_LOG_LEVEL": "x"})


def test_one_wrong_port_is_one_fault(settings: Load) -> None:
    with pytest.raises(BadConfiguration) as refused:
        settings({"APP_PORT": "x"})
    assert "KEEPSTATE_LISTEN" not in str(refused.value)


WRONG_FILES: list[tuple[str | bytes, str]] = [
    ("hintz: 5", "HINTZ"),
    ("hints: x", "KEEPSTATE_HINTS"),
    ("hints: {a: 1}", "KEEPSTATE_HINTS"),
    ("listen: null", "KEEPSTATE_LISTEN"),
    ("longest_delay: 0s", "KEEPSTATE_LONGEST_DELAY"),
    ("- a\n- b", "KEEPSTATE_CONFIG"),
    ("just text", "KEEPSTATE_CONFIG"),
    (b"\xff\xfe\x00", "KEEPSTATE_CONFIG"),
    ("hints: [\n", "KEEPSTATE_CONFIG"),
    ("5: 6", "KEEPSTATE_CONFIG"),
]


@pytest.mark.parametrize(("file", "name"), WRONG_FILES, ids=[f"{n}-{case[1]}" for n, case in enumerate(WRONG_FILES)])
def test_a_wrong_file_is_named(settings: Load, file: str | bytes, name: str) -> None:
    with pytest.raises(BadConfiguration, match=name):
        settings(file=file)


def test_a_wrong_override_is_named(settings: Load) -> None:
    with pytest.raises(BadConfiguration, match="KEEPSTATE_LISTEN"):
        settings(listen="7400")
    with pytest.raises(BadConfiguration, match="HINTZ"):
        settings(hintz=1)


# Precedence


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(settings: Load) -> None:
    file = "hints: 1\nvalue_limit: 1\nlog_level: error"
    found = settings({"KEEPSTATE_HINTS": "2", "KEEPSTATE_VALUE_LIMIT": "2"}, file=file, hints=3)
    assert (found.hints, found.value_limit, found.log_level) == (3, 2, "error")


def test_an_override_that_is_not_given_overrides_nothing(settings: Load) -> None:
    assert settings({"KEEPSTATE_HINTS": "2"}, hints=None).hints == 2


def test_an_empty_variable_is_as_good_as_none(settings: Load) -> None:
    found = settings({"KEEPSTATE_HINTS": "", "KEEPSTATE_CONFIG": "", "DAPR_GRPC_PORT": ""}, file="hints: 5")
    assert found.hints == 5
    assert found.uses_embedded


def test_an_empty_file_sets_nothing(settings: Load) -> None:
    assert settings(file="").hints == 10_000
    assert settings(file="# only a remark\n").hints == 10_000


@pytest.mark.parametrize(
    ("text", "seconds"), [("20", 20.0), ("20s", 20.0), ("500ms", 0.5), ("1m30s", 90.0), ("1h", 3600.0)]
)
def test_durations_are_seconds_or_have_units(settings: Load, text: str, seconds: float) -> None:
    assert settings({"KEEPSTATE_DRAIN": text}).drain == timedelta(seconds=seconds)


def test_durations_in_a_file_may_be_numbers(settings: Load) -> None:
    assert settings(file="drain: 20").drain == timedelta(seconds=20)
    assert settings(file="drain: 20s").drain == timedelta(seconds=20)


def test_a_level_is_told_in_any_case(settings: Load) -> None:
    assert settings({"KEEPSTATE_LOG_LEVEL": "WARNING"}).log_level == "warning"


# Where it listens


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.8.8.8:1", "localhost:7400", "[::1]:7400"])
def test_loopback_needs_no_word(settings: Load, listen: str) -> None:
    assert settings({"KEEPSTATE_LISTEN": listen}).listen == listen


def test_off_loopback_is_allowed_by_name(settings: Load) -> None:
    found = settings(
        {"KEEPSTATE_INSECURE": "true", "KEEPSTATE_LISTEN": "0.0.0.0:7400", "KEEPSTATE_SIDECAR": "embedded"}
    )
    assert found.listen == "0.0.0.0:7400"


TLS = {"KEEPSTATE_TLS_CERT": "a.pem", "KEEPSTATE_TLS_KEY": "a.key"}
EVERYWHERE = {"KEEPSTATE_LISTEN": "0.0.0.0:7400", "KEEPSTATE_HTTP_LISTEN": "0.0.0.0:7401", "KEEPSTATE_SIDECAR": "dapr"}


def test_off_loopback_is_allowed_where_clients_need_a_certificate(settings: Load) -> None:
    found = settings(TLS | EVERYWHERE | {"KEEPSTATE_TLS_CLIENT_CA": "ca.pem"})
    assert (found.listen, found.http_listen) == ("0.0.0.0:7400", "0.0.0.0:7401")
    assert found.tls == TlsFiles(cert=Path("a.pem"), key=Path("a.key"), client_ca=Path("ca.pem"))


def test_tls_alone_does_not_allow_it_since_anybody_may_call(settings: Load) -> None:
    with pytest.raises(BadConfiguration, match=r"KEEPSTATE_LISTEN.*KEEPSTATE_TLS_CLIENT_CA.*KEEPSTATE_INSECURE"):
        settings(TLS | EVERYWHERE)
    assert settings({"KEEPSTATE_INSECURE": "true"}).tls


def test_the_clients_variables_of_tls_are_neither_settings_nor_misspelt(settings: Load) -> None:
    clients = {f"KEEPSTATE_TLS{name}": "x" for name in ("", "_CA", "_CLIENT_CERT", "_CLIENT_KEY", "_SERVER_NAME")}
    assert settings(clients).tls is None
    assert misspelt(clients) == []
    assert misspelt(["KEEPSTATE_TLS_CERTS"]) == [("KEEPSTATE_TLS_CERTS", "KEEPSTATE_TLS_CERT")]


def test_the_address_for_probes_can_be_nowhere(settings: Load) -> None:
    assert settings({"KEEPSTATE_HTTP_LISTEN": "none"}).http_listen is None


def test_daprs_app_port_is_listened_on_unless_told_otherwise(settings: Load) -> None:
    assert settings({"APP_PORT": "8000"}).listen == "127.0.0.1:8000"
    assert settings({"KEEPSTATE_LISTEN": "127.0.0.1:9"}).listen == "127.0.0.1:9"


def test_what_kubernetes_sets_for_a_service_called_keepstate_is_ignored(settings: Load) -> None:
    found = settings(
        {
            "KEEPSTATE_PORT": "tcp://10.0.0.1:7400",
            "KEEPSTATE_SERVICE_HOST": "10.0.0.1",
            "KEEPSTATE_SERVICE_PORT": "7400",
            "KEEPSTATE_PORT_7400_TCP": "tcp://10.0.0.1:7400",
            "KEEPSTATE_PORT_7400_TCP_ADDR": "10.0.0.1",
        }
    )
    assert found.listen == "127.0.0.1:7400"


# The sidecar


@pytest.mark.parametrize(
    ("environment", "grpc", "http"),
    [
        ({"DAPR_GRPC_PORT": "50002"}, "127.0.0.1:50002", "http://127.0.0.1:3500"),
        ({"DAPR_GRPC_PORT": "50002", "DAPR_HTTP_PORT": "3501"}, "127.0.0.1:50002", "http://127.0.0.1:3501"),
        ({"DAPR_GRPC_PORT": "50002", "DAPR_RUNTIME_HOST": "dapr"}, "dapr:50002", "http://dapr:3500"),
        ({"DAPR_GRPC_ENDPOINT": "https://dapr:443"}, "https://dapr:443", None),
        (
            {"DAPR_GRPC_ENDPOINT": "dapr:50001", "DAPR_HTTP_ENDPOINT": "http://dapr:3500"},
            "dapr:50001",
            "http://dapr:3500",
        ),
        ({"DAPR_GRPC_ENDPOINT": "dapr:50001", "DAPR_HTTP_PORT": "3501"}, "dapr:50001", "http://127.0.0.1:3501"),
        ({"KEEPSTATE_SIDECAR": "dapr"}, "127.0.0.1:50001", "http://127.0.0.1:3500"),
    ],
    ids=str,
)
def test_daprs_variables_keep_their_meaning(
    settings: Load, environment: dict[str, str], grpc: str, http: str | None
) -> None:
    found = settings(environment)
    assert not found.uses_embedded
    assert (found.sidecar_address.grpc, found.sidecar_address.http) == (grpc, http)


def test_the_embedded_store_is_used_when_asked_for_though_there_is_a_sidecar(settings: Load) -> None:
    assert settings({"DAPR_GRPC_PORT": "50002", "KEEPSTATE_SIDECAR": "embedded"}).uses_embedded


def test_data_lies_where_the_user_keeps_data(settings: Load, tmp_path: Path) -> None:
    assert settings({"XDG_DATA_HOME": str(tmp_path)}).data == tmp_path / "keepstate"
    assert settings({"KEEPSTATE_DATA": str(tmp_path / "here")}).data == tmp_path / "here"


def test_the_engines_rules_are_the_settings(settings: Load) -> None:
    engine = settings(
        {"KEEPSTATE_LONGEST_DELAY": "10s", "KEEPSTATE_DEAD_LIFE": "5m", "KEEPSTATE_CLOCK_DIFFERENCE": "2s"}
    ).engine
    assert (engine.dead_life_ms, engine.clock_difference_ms) == (300_000, 2_000)
