"""The commands that the service adds to the command line: ``keepstate serve`` and ``keepstate sidecar``.

Exit codes: 0 ended by a signal, 1 a fault, 2 wrong usage, 78 a wrong setting.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import structlog
import typer

from keepstate_server import logs
from keepstate_server.config import BadConfiguration, Settings, SidecarSettings, load, misspelt
from keepstate_server.lifecycle import run_until_signal
from keepstate_server.running import EX_CONFIG, exit_code_of, say
from keepstate_server.supervisor import Supervisor

__all__ = ["bad_configuration", "serve", "settings_of", "sidecar"]

_log = structlog.get_logger(__name__)

_DEFAULT_ADDRESS = "localhost:7400"  # the other commands', where they are told none

_Kind = TypeVar("_Kind", bound=SidecarSettings)

# What leads to the Dapr SDK is imported late: it reads Dapr's variables as it is imported, and fails on a wrong one
# without naming it. By then the settings have.

_Config = Annotated[
    Path | None, typer.Option(help="A YAML file of settings; the names are those of the variables, in lower case.")
]
_Data = Annotated[Path | None, typer.Option(help="The folder of the embedded store's file [KEEPSTATE_DATA].")]
_LogFormat = Annotated[str | None, typer.Option(help="console or json [KEEPSTATE_LOG_FORMAT].")]
_LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error [KEEPSTATE_LOG_LEVEL].")]


def serve(
    config: _Config = None,
    listen: Annotated[str | None, typer.Option(help="host:port for callers [KEEPSTATE_LISTEN].")] = None,
    http_listen: Annotated[
        str | None, typer.Option(help='host:port for health over HTTP, or "none" [KEEPSTATE_HTTP_LISTEN].')
    ] = None,
    sidecar: Annotated[str | None, typer.Option(help="auto, dapr or embedded [KEEPSTATE_SIDECAR].")] = None,
    data: _Data = None,
    default_store: Annotated[
        str | None, typer.Option(help="The store of records that name none [KEEPSTATE_DEFAULT_STORE].")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="The service's certificate, PEM; without it no TLS [KEEPSTATE_TLS_CERT].")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The key of it, PEM [KEEPSTATE_TLS_KEY].")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Admit only clients with a certificate of this CA [KEEPSTATE_TLS_CLIENT_CA].")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="How many processes serve; by default one a processor [KEEPSTATE_WORKERS].")
    ] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Allow to listen off loopback unprotected [KEEPSTATE_INSECURE].")
    ] = None,
    gathering: Annotated[
        bool | None,
        typer.Option(help="Have what several callers read and write at a time go out together."),
    ] = None,
    log_format: _LogFormat = None,
    log_level: _LogLevel = None,
) -> None:
    """Run the service: on the embedded store, or beside a Dapr sidecar where DAPR_GRPC_PORT is set.

    Every setting is also an environment variable; docs/operate.md lists them all.
    Exit codes: 0 ended by a signal, 1 a fault, 2 wrong usage, 78 a wrong setting.
    """
    settings = settings_of(
        Settings,
        config,
        listen=listen,
        http_listen=http_listen,
        sidecar=sidecar,
        data=data,
        default_store=default_store,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        workers=workers,
        insecure=insecure,
        gathering=gathering,
        log_format=log_format,
        log_level=log_level,
    )
    if settings.workers == 1:
        from keepstate_server.app import Service

        service: Service | Supervisor = Service(settings)
    else:
        service = Supervisor(settings)

    async def start() -> None:
        await service.start()
        _announce(service.port, settings)

    _run(lambda: run_until_signal(start, service.stop))


def sidecar(
    config: _Config = None,
    data: _Data = None,
    grpc_port: Annotated[int, typer.Option(help="Port of Dapr's API.", envvar="DAPR_GRPC_PORT")] = 50001,
    http_port: Annotated[int, typer.Option(help="Port of Dapr's health address.", envvar="DAPR_HTTP_PORT")] = 3500,
    store: Annotated[str, typer.Option(help="Name of the one state component.")] = "embedded",
    log_format: _LogFormat = None,
    log_level: _LogLevel = None,
) -> None:
    """Run the embedded store alone, as a Dapr sidecar that knows nothing but state, on loopback.

    Any Dapr SDK can call its state API. DAPR_API_TOKEN, where set, must come with every call.
    Exit codes: 0 ended by a signal, 1 a fault, 2 wrong usage, 78 a wrong setting.
    """
    settings = settings_of(SidecarSettings, config, data=data, log_format=log_format, log_level=log_level)
    from keepstate_server.backing import MAX_MESSAGE_BYTES
    from keepstate_server.embedded import EmbeddedError, EmbeddedSidecar

    embedded = EmbeddedSidecar(
        path=settings.data / "embedded.db",
        store_name=store,
        grpc_port=grpc_port,
        http_port=http_port,
        api_token=settings.dapr_api_token,
        max_message_bytes=MAX_MESSAGE_BYTES,
    )

    async def start() -> None:
        try:
            await embedded.start()
        except EmbeddedError as error:
            raise BadConfiguration(str(error)) from None
        say(f"keepstate sidecar: Dapr's state API at {embedded.grpc_address}, health at {embedded.http_address}")
        say(f'  one store, "{store}", kept in {settings.data / "embedded.db"}')

    _run(lambda: run_until_signal(start, embedded.stop))


def settings_of(kind: type[_Kind], config: Path | None, **overrides: object) -> _Kind:
    """Returns the settings, of this kind, and sets up the log; a wrong one ends the process."""
    if config is not None:
        os.environ["KEEPSTATE_CONFIG"] = str(config)
    try:
        settings = load(overrides, kind)
    except BadConfiguration as error:
        bad_configuration(error)
    logs.configure(level=settings.log_level, as_json=settings.log_format == "json")
    for name, meant in misspelt(os.environ):
        _log.warning("variable not used: misspelt?", name=name, meant=meant)
    return settings


def _run(run: Callable[[], None]) -> None:
    code = exit_code_of(run)
    if code:
        raise typer.Exit(code)


def bad_configuration(error: Exception) -> NoReturn:
    """Ends the process, with ``error``'s line on standard error."""
    say(f"keepstate: {error}")
    raise typer.Exit(EX_CONFIG)


def _announce(port: int, settings: Settings) -> None:
    host = settings.listen.rpartition(":")[0]
    address = f"{host}:{port}"
    # Where it listens on every address, that is none to call.
    shown = f"localhost:{port}" if host in ("127.0.0.1", "0.0.0.0", "[::]") else address  # noqa: S104 - only compared
    say(f"keepstate: listening on {address}{_by_tls(settings)}, keeping records in {settings.keeps_in}")
    if not sys.stderr.isatty() and settings.log_format == "json":
        return
    say("  try it:")
    command = ".venv/bin/keepstate"
    option = "" if shown == _DEFAULT_ADDRESS else f" --address {shown}"
    if settings.tls is not None:
        own = " --tls-client-cert FILE --tls-client-key FILE" if settings.tls.client_ca else ""
        say(f"    {command} put greeting hello{option} --tls-ca FILE{own}")
        return
    say(f"    {command} put greeting hello{option} && {command} get greeting -o value{option}")
    say(f"    grpcurl -plaintext {shown} list")


def _by_tls(settings: Settings) -> str:
    if settings.tls is None:
        return ""
    return " by TLS, for clients with a certificate" if settings.tls.client_ca else " by TLS"
