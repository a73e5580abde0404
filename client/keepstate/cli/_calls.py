"""Calling the service from a command: one call, and its failure as a line and an exit code."""

from __future__ import annotations

__all__ = ["EXIT_CODES", "EXIT_NOT_FOUND", "call", "exit_code", "fail"]

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import grpc
import typer

from keepstate import AlreadyExists, Bytes, Client, Conflict, KeepstateError, OutcomeUnknown, State, Unavailable
from keepstate._connection import DEFAULT_TIMEOUT
from keepstate.cli._target import Target

T = TypeVar("T")

_run = asyncio.run  # so that tests can use their own loop

EXIT_NOT_FOUND = 1
EXIT_UNAVAILABLE = 69
EXIT_OUTCOME_UNKNOWN = 66

EXIT_CODES = """\
\b
Exit codes:
   0  done
   1  there is no such record, or a fault of this program
   2  wrong usage
  69  the service or its store is unavailable
  64 + the gRPC status code of any other failure:
      66 outcome unknown      67 invalid argument     68 deadline exceeded
      70 already exists       71 permission denied    72 resource exhausted
      73 failed precondition  74 conflict             76 unimplemented
      77 internal             80 unauthenticated
"""


def call(target: Target, work: Callable[[State[Any]], Awaitable[T]]) -> T:
    """Do ``work`` with a client, or end the process with the reason on standard error."""
    try:
        return _run(_call(target, work))
    except KeepstateError as error:
        fail(_reason(error, target.address), exit_code(error))
    except ValueError as error:  # arguments that exclude each other, or an address that is none
        raise typer.BadParameter(_as_flags(str(error))) from None


async def _call(target: Target, work: Callable[[State[Any]], Awaitable[T]]) -> T:
    # No repeats: a person or a script would rather know at once, and can decide better.
    client = Client(
        target.address,
        tls=target.tls,
        token=target.token,
        codec=Bytes(),
        namespace=target.namespace,
        store=target.store,
        timeout=DEFAULT_TIMEOUT if target.timeout is None else target.timeout,
        retry=None,
    )
    async with client as state:
        return await work(state)


def exit_code(error: KeepstateError) -> int:
    """The exit code for a failed call.

    64 plus the status code, as grpcurl has it, but for two: NOT_FOUND (5) would say 69, which everywhere else means
    unavailable, so it is 1, and UNAVAILABLE (14) takes the 69, since 78 means bad configuration.
    """
    if isinstance(error, OutcomeUnknown):  # also where gRPC calls it unavailable or a deadline
        return EXIT_OUTCOME_UNKNOWN
    if error.code in (None, grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND):
        return EXIT_NOT_FOUND
    if error.code is grpc.StatusCode.UNAVAILABLE:
        return EXIT_UNAVAILABLE
    number: int = error.code.value[0]
    return 64 + number


def fail(reason: str, code: int) -> NoReturn:
    """End the process with one line on standard error."""
    print(f"keepstate: {' '.join(reason.split())}", file=sys.stderr)
    raise typer.Exit(code)


def _reason(error: KeepstateError, address: str) -> str:
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    if isinstance(error, Unavailable) and not error.reason:
        return f"{kind}: no answer from {address}: {error}"
    if isinstance(error, AlreadyExists | Conflict) and error.etag:
        return f"{kind}: {error} (its etag is {error.etag})"
    return kind if str(error).lower() == kind else f"{kind}: {error}"


def _as_flags(words: str) -> str:
    names = (
        r"(?<!\S)tls\.\w+"
        if words.startswith("tls.")
        else r"\b(if_(absent|exists|etag)|ttl|expire_at|keep_expiry|never|max_length)\b"
    )
    return re.sub(names, _flag, words)


def _flag(argument: re.Match[str]) -> str:
    return "--" + re.sub("[_.]", "-", argument[0])
