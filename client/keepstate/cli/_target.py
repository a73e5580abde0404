"""The flags that say whom a command calls, and how: the same on every command that calls the service."""

from __future__ import annotations

__all__ = ["Target", "target_of", "with_target"]

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from keepstate.cli._completion import store_names
from keepstate.cli._flags import parameters_of, with_flags
from keepstate.cli._options import duration
from keepstate.tls import Tls


@dataclass(frozen=True, kw_only=True)
class Target:
    """Whom to call, how, and how long to wait."""

    address: str
    store: str = ""
    namespace: str = ""
    timeout: timedelta | None = None
    tls: Tls | None = None
    token: str | None = field(default=None, repr=False)


def _target(
    address: Annotated[
        str, typer.Option("--address", envvar="KEEPSTATE_ADDRESS", help="Where the service listens.")
    ] = "localhost:7400",
    store: Annotated[
        str,
        typer.Option(
            "--store",
            envvar="KEEPSTATE_STORE",
            help="The Dapr state component; else the service's default.",
            autocompletion=store_names,
        ),
    ] = "",
    namespace: Annotated[
        str, typer.Option("--namespace", envvar="KEEPSTATE_NAMESPACE", help="The namespace; else the default one.")
    ] = "",
    timeout: Annotated[
        timedelta | None,
        typer.Option(
            "--timeout", envvar="KEEPSTATE_TIMEOUT", parser=duration, metavar="DURATION", help="E.g. 500ms; else 10s."
        ),
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", envvar="KEEPSTATE_TLS", help="Call by TLS. The next four imply it.")
    ] = False,
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            "--tls-ca", envvar="KEEPSTATE_TLS_CA", help="The CA of the service's certificate; else public CAs alone."
        ),
    ] = None,
    tls_client_cert: Annotated[
        Path | None,
        typer.Option("--tls-client-cert", envvar="KEEPSTATE_TLS_CLIENT_CERT", help="The caller's own certificate."),
    ] = None,
    tls_client_key: Annotated[
        Path | None, typer.Option("--tls-client-key", envvar="KEEPSTATE_TLS_CLIENT_KEY", help="The key of it.")
    ] = None,
    tls_server_name: Annotated[
        str | None,
        typer.Option(
            "--tls-server-name",
            envvar="KEEPSTATE_TLS_SERVER_NAME",
            metavar="NAME",
            help="The name in the service's certificate; else the address's host.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            envvar="KEEPSTATE_TOKEN_FILE",
            help="A file with the token that says who calls; else that in KEEPSTATE_TOKEN.",
        ),
    ] = None,
) -> Target:
    if (tls_client_cert is None) != (tls_client_key is None):
        raise typer.BadParameter("give both --tls-client-cert and --tls-client-key, or none of them")
    wanted = Tls(ca=tls_ca, client_cert=tls_client_cert, client_key=tls_client_key, server_name=tls_server_name)
    secure = tls or wanted != Tls()
    return Target(
        address=address,
        store=store,
        namespace=namespace,
        timeout=timeout,
        tls=wanted if secure else None,
        token=_token(token_file),
    )


def _token(file: Path | None) -> str | None:
    # Not a flag's value: every user of the machine can read those.
    if file is None:
        return os.environ.get("KEEPSTATE_TOKEN") or None
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not a text"
        raise typer.BadParameter(f"--token-file: cannot read {file}: {words}") from None


def with_target(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command flags, but those named here, in the place of its parameter ``target``."""
    return with_flags("target", _target, without)


def target_of(flags: Mapping[str, Any]) -> Target:
    """What a command's flags say, as far as they are known."""
    return _target(**{name: flags[name] for name in parameters_of(_target) if flags.get(name) is not None})
