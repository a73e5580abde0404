"""What goes with every call beside its message: the token that says who calls, and metadata of the caller's own."""

from __future__ import annotations

__all__ = ["CallMetadata", "Sent", "Token"]

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import grpc

from keepstate.errors import DeadlineExceeded, Unauthenticated

Token: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A token, or a function that gives it."""

_TOKEN = re.compile("[!-~]+")
_NAME = re.compile("[0-9a-z_.-]+")
_TEXT = re.compile("[ -~]*")
_BINARY = "-bin"

_OURS = ("grpc-", "keepstate-")

_HTTPS_OWN = re.compile(
    "content-type|user-agent|te|host|connection|keep-alive|proxy-connection|transfer-encoding|upgrade"
)
"""What gRPC says itself, and would drop without a word; and what makes a call a broken one in HTTP/2."""

Sent: TypeAlias = tuple[tuple[str, str | bytes], ...]
"""What goes with one attempt."""


class CallMetadata:
    """The metadata of a client's calls.

    No error says what a token or a value is, since errors are written into logs.

    Raises:
        ValueError: a token or metadata that cannot be sent.
        TypeError: a token that is neither a text nor a function.
    """

    def __init__(self, token: Token | None, metadata: Mapping[str, str | bytes]) -> None:
        for name, value in metadata.items():
            _check(name, value)
        self._own: Sent = tuple(metadata.items())
        self._function = None if isinstance(token, str) else token
        if isinstance(token, str):
            if not _TOKEN.fullmatch(token):
                raise ValueError("token: must be of visible ASCII characters, at least one")
            self._own += (_authorization(token),)
        elif token is not None and not callable(token):
            raise TypeError(f"token must be a str or a function, not a {type(token).__name__}")

    @property
    def fixed(self) -> Sent | None:
        """What goes with every attempt. None: that must be asked."""
        return self._own if self._function is None else None

    async def of_attempt(self, seconds: float) -> Sent:
        """What goes with one attempt, that may wait so long for its token.

        Raises:
            Unauthenticated: the function failed, or gave none.
            DeadlineExceeded: it took too long.
        """
        if self._function is None:
            return self._own
        try:
            async with asyncio.timeout(seconds):
                return (*self._own, _authorization(await _asked(self._function)))
        except TimeoutError:
            raise DeadlineExceeded(
                "time was up before the token was there", code=grpc.StatusCode.DEADLINE_EXCEEDED, nothing_sent=True
            ) from None


async def _asked(function: Callable[[], str | Awaitable[str]]) -> str:
    try:
        given = function()
        token = await given if inspect.isawaitable(given) else given
    except Exception as error:
        raise _without_token(f"raised {type(error).__name__}") from error
    if not isinstance(token, str):
        raise _without_token(f"gave a {type(token).__name__}")
    if not _TOKEN.fullmatch(token):
        raise _without_token("gave a text that is not of visible ASCII characters, at least one")
    return token


def _without_token(why: str) -> Unauthenticated:
    words = f"there is no token: the function {why}"
    return Unauthenticated(words, code=grpc.StatusCode.UNAUTHENTICATED, nothing_sent=True)


def _authorization(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


def _check(name: str, value: str | bytes) -> None:
    """See that gRPC can send it, and that it is nobody else's.

    Raises:
        ValueError: it cannot, or it is.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"metadata[{name!r}]: a name has lower-case letters, digits, '_', '-' and '.' alone")
    if name == "authorization":
        raise ValueError("metadata['authorization']: give it as the token")
    if name.startswith(_OURS):
        raise ValueError(f"metadata[{name!r}]: names with {' or '.join(_OURS)} are taken")
    if _HTTPS_OWN.fullmatch(name):
        raise ValueError(f"metadata[{name!r}]: it is HTTP's own")
    if not isinstance(value, bytes if name.endswith(_BINARY) else str):
        raise ValueError(f"metadata[{name!r}]: values are bytes where the name ends in {_BINARY}, else text")  # noqa: TRY004
    if isinstance(value, str) and not _TEXT.fullmatch(value):
        raise ValueError(f"metadata[{name!r}]: a text has printable ASCII characters alone")
