"""The service's settings: command line, environment, a YAML file, in this order of precedence.

Own settings are ``KEEPSTATE_*``; Dapr's variables keep their usual meaning.
"""

import difflib
import ipaddress
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)
from pydantic_settings.exceptions import SettingsError

from keepstate.durations import parse_duration
from keepstate_server.cpus import usable_cpus
from keepstate_server.domain.names import key_fault
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.rpc.requests import Limits
from keepstate_server.stores.address import SidecarAddress

__all__ = ["BadConfiguration", "Settings", "SidecarKind", "SidecarSettings", "TlsFiles", "load", "misspelt"]

_PREFIX = "KEEPSTATE_"
_LIKE_SETTINGS = {"TLS_CLIENT_CERT", "TLS_CLIENT_KEY"}
"""Variables of the command line's other commands whose names are like a setting's."""
_MEBIBYTE = 1024 * 1024


class BadConfiguration(Exception):
    """A setting is wrong; the message names it."""


class SidecarKind(StrEnum):
    """Where records are kept."""

    AUTO = "auto"
    DAPR = "dapr"
    EMBEDDED = "embedded"


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """Where the service's certificate lies, its key, and the CA whose clients alone may connect. None: any client."""

    cert: Path
    key: Path
    client_ca: Path | None


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError('must be host:port, e.g. "127.0.0.1:7400"')
    return text


def _duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(f"{value}s" if value.isascii() and value.isdigit() else value)
    return value


def _names(value: object) -> object:
    names = [each.strip() for each in value.split(",")] if isinstance(value, str) else value
    for name in names if isinstance(names, list) else ():
        if isinstance(name, str) and (fault := key_fault(name)):
            raise ValueError(f"a store's name {fault}")
    return names


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be more than 0 s")
    return value


Address = Annotated[str, AfterValidator(_address)]
Duration = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_positive)]


Names = Annotated[frozenset[str], NoDecode, BeforeValidator(_names)]


def _check_url(text: str) -> None:
    try:
        url = urlsplit(text)
        good = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("must be a URL, e.g. http://127.0.0.1:3500, or a host")


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class SidecarSettings(BaseSettings):
    """What the embedded sidecar needs where it runs alone. Other settings may be there, right or wrong."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="ignore", frozen=True, env_ignore_empty=True)

    data: Path = Field(default_factory=lambda: _data_home() / "keepstate")
    """The folder of the embedded store's file."""
    log_format: LogFormat = LogFormat.CONSOLE
    log_level: str = "info"
    dapr_api_token: str | None = Field(default=None, validation_alias="dapr_api_token", repr=False)

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.lower() not in {"debug", "info", "warning", "error"}:
            raise ValueError("must be debug, info, warning or error")
        return value.lower()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Takes the command line's, then the environment's, then the file's."""
        del dotenv_settings, file_secret_settings
        file = os.environ.get(f"{_PREFIX}CONFIG")
        yaml = (YamlConfigSettingsSource(settings_cls, yaml_file=file),) if file else ()
        return (init_settings, env_settings, *yaml)


class Settings(SidecarSettings):
    """Every setting, with its default. Durations are numbers with units ("1h30m", "30s", "500ms"), or seconds."""

    model_config = SettingsConfigDict(extra="forbid")

    listen: Address = "127.0.0.1:7400"
    """Where callers reach the service (gRPC). Not called "port": Kubernetes sets KEEPSTATE_PORT for its own ends."""
    http_listen: Address | None = "127.0.0.1:7401"
    """Where probes that cannot speak gRPC ask for health; "none" for nowhere."""
    tls_cert: Path | None = None
    """The file of the service's certificate, PEM, with those between it and its CA. None: no TLS."""
    tls_key: Path | None = None
    """The file of its private key, PEM, without a passphrase."""
    tls_client_ca: Path | None = None
    """The file of the CA, PEM, that must have signed a client's certificate. None: clients need none."""
    insecure: bool = False
    """Allow listening off loopback though anybody may connect."""
    workers: int = Field(default_factory=usable_cpus, ge=1, le=256)
    """How many processes serve callers. The default: as many as there are processors that this one may use."""
    reflection: bool = True
    """Tell callers such as grpcurl the API's shape."""

    sidecar: SidecarKind = SidecarKind.AUTO
    """dapr: a Dapr sidecar. embedded: the store inside the service. auto: a sidecar if one is configured, else, on
    loopback only, the embedded store."""
    default_store: str | None = None
    """Where records are kept that name no store; unset: the sidecar's only state component, if it has only one."""

    shared_stores: Names = frozenset()
    """Stores in which other programs go on writing the keys that callers write here: names, with commas between."""
    probe: bool = True
    """Look at what each kind of store does before its first write, rather than rely on what is known of it."""

    longest_delay: Duration = timedelta(seconds=30)
    """A request to a store takes effect within this time or never. The same for all instances on a store."""
    clock_difference: Duration = timedelta(seconds=5)
    """The clocks of two instances differ by at most this much. The same for all instances on a store."""
    dead_life: Duration = timedelta(minutes=15)
    """How long a dead record stays in the store. The same for all instances on a store."""

    value_limit: int = Field(default=_MEBIBYTE, ge=1, le=8 * _MEBIBYTE)
    """The largest value, in bytes."""
    hints: int = Field(default=10_000, ge=0, le=10_000_000)
    """How many records' headers are remembered so that writes need no read."""
    gathering: bool = True
    """Have what several callers read and write at a time go out together."""
    concurrent_calls: int = Field(default=10_000, ge=1)
    """How many calls may be under way; more are answered RESOURCE_EXHAUSTED."""
    concurrent_bytes: int = Field(default=32 * _MEBIBYTE, ge=_MEBIBYTE)
    """How many bytes of requests and answers may be under way; more calls are answered RESOURCE_EXHAUSTED."""
    default_deadline: Duration = timedelta(seconds=10)
    """How long a call may take that has no deadline."""
    longest_deadline: Duration = timedelta(seconds=60)
    """How long any call may take."""
    notice: Duration = timedelta(milliseconds=500)
    """How long the service says NOT_SERVING before it takes no more calls, when it is told to stop."""
    drain: Duration = timedelta(seconds=10)
    """How long calls under way may take to end when the service is told to stop."""

    dapr_grpc_endpoint: str | None = Field(default=None, validation_alias="dapr_grpc_endpoint")
    dapr_http_endpoint: str | None = Field(default=None, validation_alias="dapr_http_endpoint")
    dapr_grpc_port: int | None = Field(default=None, ge=1, le=65535, validation_alias="dapr_grpc_port")
    dapr_http_port: int | None = Field(default=None, ge=1, le=65535, validation_alias="dapr_http_port")
    dapr_runtime_host: str = Field(default="127.0.0.1", validation_alias="dapr_runtime_host")
    app_port: int | None = Field(default=None, ge=1, le=65535, validation_alias="app_port")
    """Where Dapr expects the application: listened on, at loopback, unless ``listen`` is set."""

    @field_validator("http_listen", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return None if value == "none" else value

    @field_validator("default_store")
    @classmethod
    def _store_name(cls, value: str | None) -> str | None:
        if value is not None and (fault := key_fault(value)):
            raise ValueError(fault)
        return value

    @field_validator("dapr_http_endpoint")
    @classmethod
    def _http_endpoint(cls, value: str | None) -> str | None:
        if value is not None:
            _check_url(value if "://" in value else f"http://{value}")
        return value

    @field_validator("dapr_runtime_host")
    @classmethod
    def _runtime_host(cls, value: str) -> str:
        _check_url(f"http://{value}:1")
        return value

    @model_validator(mode="before")
    @classmethod
    def _listen_on_app_port(cls, values: dict[str, Any]) -> dict[str, Any]:
        # A wrong port is left to its own validation.
        if str(values.get("app_port", "")).isdigit() and "listen" not in values:
            values["listen"] = f"127.0.0.1:{values['app_port']}"
        return values

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.dead_life < 20 * self.longest_delay:
            raise ValueError("KEEPSTATE_DEAD_LIFE must be at least 20 times KEEPSTATE_LONGEST_DELAY")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("KEEPSTATE_TLS_CERT and KEEPSTATE_TLS_KEY: give both, or none for no TLS")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("KEEPSTATE_TLS_CLIENT_CA needs KEEPSTATE_TLS_CERT and KEEPSTATE_TLS_KEY")
        # With TLS alone nobody listens in, but anybody may call.
        if self.tls_client_ca is None and not self.insecure:
            for name, address in (("KEEPSTATE_LISTEN", self.listen), ("KEEPSTATE_HTTP_LISTEN", self.http_listen)):
                if address and not _is_loopback(address):
                    raise ValueError(
                        f"{name}: {address} is not loopback, and every caller may read and write everything;"
                        " KEEPSTATE_TLS_CLIENT_CA admits only callers with a certificate,"
                        " KEEPSTATE_INSECURE=true allows all by name"
                    )
        if self.sidecar is SidecarKind.AUTO and not self._dapr_configured and not _is_loopback(self.listen):
            raise ValueError(
                "KEEPSTATE_SIDECAR: no sidecar is configured (DAPR_GRPC_PORT or DAPR_GRPC_ENDPOINT), and the embedded"
                " store is used off loopback only when asked for by name: KEEPSTATE_SIDECAR=embedded"
            )
        return self

    @property
    def tls(self) -> TlsFiles | None:
        """What TLS needs; None: plaintext."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return TlsFiles(cert=self.tls_cert, key=self.tls_key, client_ca=self.tls_client_ca)

    @property
    def _dapr_configured(self) -> bool:
        return self.dapr_grpc_endpoint is not None or self.dapr_grpc_port is not None

    @property
    def uses_embedded(self) -> bool:
        """Whether records are kept in the embedded store."""
        return self.sidecar is SidecarKind.EMBEDDED or (self.sidecar is SidecarKind.AUTO and not self._dapr_configured)

    @property
    def embedded_file(self) -> Path:
        """The embedded store's file."""
        return self.data / "embedded.db"

    @property
    def keeps_in(self) -> str:
        """Where records are kept, for people."""
        if self.uses_embedded:
            return f"the embedded store, in {self.embedded_file}"
        return f"the stores of the Dapr sidecar at {self.sidecar_address.grpc}"

    @property
    def sidecar_address(self) -> SidecarAddress:
        """Where the Dapr sidecar is."""
        http = self.dapr_http_endpoint
        if http is None and (self.dapr_http_port is not None or self.dapr_grpc_endpoint is None):
            http = f"http://{self.dapr_runtime_host}:{self.dapr_http_port or 3500}"
        if http is not None and "://" not in http:
            http = f"http://{http}"
        grpc = self.dapr_grpc_endpoint or f"{self.dapr_runtime_host}:{self.dapr_grpc_port or 50001}"
        return SidecarAddress(grpc=grpc, http=http, api_token=self.dapr_api_token)

    @property
    def sidecar_address_setting(self) -> str:
        """The name of the setting that says where the sidecar's gRPC API is."""
        return "DAPR_GRPC_ENDPOINT" if self.dapr_grpc_endpoint else "DAPR_RUNTIME_HOST"

    @property
    def engine(self) -> EngineSettings:
        """The rules that records are kept by."""
        return EngineSettings(
            longest_delay=self.longest_delay,
            clock_difference=self.clock_difference,
            dead_life=self.dead_life,
            hints=self.hints,
            longest_call=self.longest_deadline,
            value_bytes=self.value_limit,
            gathering=self.gathering,
        )

    @property
    def limits(self) -> Limits:
        """What one call may carry."""
        return Limits(value_bytes=self.value_limit)


def _data_home() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


_Kind = TypeVar("_Kind", bound=SidecarSettings)


def load(overrides: Mapping[str, object], kind: type[_Kind]) -> _Kind:
    """Returns the settings of this kind; ``overrides`` are the command line's, where given.

    Raises:
        BadConfiguration: one of them is wrong.
    """
    file = os.environ.get(f"{_PREFIX}CONFIG")
    if file and not Path(file).is_file():
        raise BadConfiguration(f"KEEPSTATE_CONFIG: there is no file {file}")
    try:
        if file and not isinstance(yaml.safe_load(Path(file).read_bytes()), dict | None):
            raise BadConfiguration(f"KEEPSTATE_CONFIG: {file} must be a mapping, of settings' names to their values")
        return kind(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        faults = [_fault(tuple(str(part) for part in each["loc"]), each["msg"]) for each in error.errors()]
        raise BadConfiguration("; ".join(faults)) from None
    except yaml.YAMLError as error:
        raise BadConfiguration(f"KEEPSTATE_CONFIG: {file} is not YAML: {error}".replace("\n", " ")) from None
    except (AttributeError, TypeError):  # of a name that is no text
        raise BadConfiguration(f"KEEPSTATE_CONFIG: {file} must hold settings by their names") from None
    except (SettingsError, ValueError, OSError) as error:
        raise BadConfiguration(f"KEEPSTATE_CONFIG: {error}") from None


def misspelt(environment: Iterable[str]) -> list[tuple[str, str]]:
    """Returns the names in ``environment`` that look like a setting's but are none, each with the setting's name.

    Others with our prefix are let be: Kubernetes sets some for a Service of this name, the command line has its own.
    """
    known = {name.upper() for name, field in Settings.model_fields.items() if field.validation_alias is None}
    found = []
    for name in sorted(environment):
        own = name.removeprefix(_PREFIX)
        if (
            name != own
            and own not in known | _LIKE_SETTINGS
            and (close := difflib.get_close_matches(own, known, n=1, cutoff=0.8))
        ):
            found.append((name, _PREFIX + close[0]))
    return found


def _fault(where: tuple[str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    if not where:
        return message
    name = where[0].upper()
    known = where[0] in Settings.model_fields
    if known and Settings.model_fields[where[0]].validation_alias is None:
        name = _PREFIX + name
    return f"{name}: {message if known else 'there is no such setting'}"
