"""A talk with the assistant: ``python -m examples.assistant.terminal --user ada``. It reads a pipe as well."""

from __future__ import annotations

__all__ = ["Answer", "Assistants", "Nobody", "Refused"]

import argparse
import getpass
import json
import random
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from examples.assistant.rules import question

ADDRESSES = ("http://localhost:6001", "http://localhost:6002")
PATIENCE = 60.0
"""How long to look for an instance that answers, in seconds."""

ATTEMPT = 5.0
"""How long one instance may take. It gives up before: see the service."""


class Refused(Exception):
    """The message is wrong, and would be anywhere; the text says why."""


class Nobody(Exception):
    """No instance has answered. Whether one has heard is not known: say the same again, with the same id."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the assistant said."""

    text: str

    awaiting: str
    """The step whose question the next message answers; empty: none."""

    repeated: bool
    """The message had been heard before: this is what was said then."""

    attempts: int
    """How often it was sent."""


class Assistants:
    """The instances of the assistant, of which the next is asked where one does not answer."""

    def __init__(
        self, addresses: Sequence[str], *, patience: float = PATIENCE, notice: Callable[[str], None] = lambda _: None
    ) -> None:
        """Make it.

        Args:
            addresses: URLs under which the methods are, e.g. ``http://localhost:6001``.
            patience: how long to go on, in seconds.
            notice: is told of each instance that does not answer.
        """
        self._addresses = deque(addresses)
        self._patience = patience
        self._notice = notice
        self._http = build_opener(ProxyHandler({}))  # neither the assistant nor a sidecar is behind a proxy

    def open(self, user: str) -> Mapping[str, Any]:
        """What was said last, and the step that waits for an answer.

        Raises:
            Refused: the name cannot be a user's.
            Nobody: no instance answers.
        """
        return self._ask("open", {"user": user})[0]

    def say(self, user: str, text: str, *, message_id: str, step: str | None = None) -> Answer:
        """Say something, once, however often it must be sent.

        Args:
            message_id: the user's own for this message alone.
            step: the step whose question it answers; empty: none; None: whichever it is.

        Raises:
            Refused: the message is wrong.
            Nobody: no instance has answered.
        """
        fields = {"user": user, "id": message_id, "text": text} | ({} if step is None else {"step": step})
        found, attempts = self._ask("say", fields)
        return Answer(text=found["text"], awaiting=found["awaiting"], repeated=found["repeated"], attempts=attempts)

    def _ask(self, method: str, fields: Mapping[str, str]) -> tuple[Mapping[str, Any], int]:
        body = json.dumps(fields).encode()
        deadline = time.monotonic() + self._patience
        attempts = 0
        while True:
            attempts += 1
            request = Request(f"{self._addresses[0]}/{method}", body, {"Content-Type": "application/json"})  # noqa: S310
            try:
                with self._http.open(request, timeout=ATTEMPT) as answer:
                    return json.load(answer), attempts
            except HTTPError as error:
                if error.code == 400:
                    raise Refused(json.load(error)["error"]) from None
                self._go_on(f"answers {error.code}")
            except (OSError, HTTPException, ValueError) as error:  # away, or gone in the middle of its answer
                self._go_on(f"does not answer ({error})")
            if time.monotonic() > deadline:
                raise Nobody
            if attempts % len(self._addresses) == 0:
                time.sleep(random.uniform(0.1, 0.5))  # noqa: S311 - no secret: so that not all come back at once

    def _go_on(self, reason: str) -> None:
        self._notice(f"{self._addresses[0]} {reason}")
        self._addresses.rotate(-1)


class Talk:
    """One user's side of it."""

    def __init__(self, assistants: Assistants, user: str) -> None:
        self._assistants = assistants
        self._user = user
        self._step = ""
        self._unanswered: tuple[str, str] | None = None
        """Text and id of a message that nobody has answered."""

    def open(self) -> None:
        """Show what was said before, and what is waited for."""
        found = self._assistants.open(self._user)
        for each in found["messages"]:
            _show(each["role"], each["content"])
        self._step = found["awaiting"]
        if self._step:
            print(f"(I still ask: {question(self._step)})")

    @property
    def prompt(self) -> str:
        """What the user is asked for."""
        if self._unanswered is not None:
            return f"(not answered: {self._unanswered[0]!r}; Enter says it again) "
        return f"{self._step or self._user}> "

    def say(self, line: str) -> None:
        """Say a line and show the answer. An empty one says again what nobody has answered.

        Raises:
            Refused, Nobody: see ``Assistants``. After Nobody the message waits.
        """
        text = line.strip()
        if not text and self._unanswered is None:
            return
        if text:
            self._unanswered = text, uuid.uuid4().hex
        assert self._unanswered is not None
        text, message_id = self._unanswered
        try:
            answer = self._assistants.say(self._user, text, message_id=message_id, step=self._step)
        except Refused:
            self._unanswered = None
            raise
        self._unanswered = None
        self._step = answer.awaiting
        _show("assistant", answer.text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Talk until the input ends."""
    parser = argparse.ArgumentParser(prog="python -m examples.assistant.terminal", description=__doc__)
    parser.add_argument("--user", default=getpass.getuser(), help="who talks (default: %(default)s)")
    parser.add_argument(
        "--at",
        action="append",
        metavar="URL",
        help=f"an instance of the assistant; may be given several times (default: {', '.join(ADDRESSES)})",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        metavar="SECONDS",
        help="how long to look for an instance that answers (default: %(default)g)",
    )
    given = parser.parse_args(arguments)
    assistants = Assistants(given.at or ADDRESSES, patience=given.patience, notice=_note)
    talk = Talk(assistants, given.user)
    by_hand = sys.stdin.isatty()
    try:
        talk.open()
    except (Refused, Nobody) as error:
        return _fail(error)
    for line in _lines(talk, by_hand=by_hand):
        try:
            talk.say(line)
        except (Refused, Nobody) as error:
            code = _fail(error)
            if not by_hand:  # what follows may build on it
                return code
    return 0


def _lines(talk: Talk, *, by_hand: bool) -> Iterator[str]:
    if not by_hand:
        for line in sys.stdin:
            if line.strip():
                _show("user", line.strip())
            yield line
        return
    with suppress(ImportError):
        import readline  # noqa: F401, PLC0415 - gives input() a history; not all systems have it
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            yield input(talk.prompt)
    print()


def _show(role: str, content: str) -> None:
    first, *more = content.split("\n")
    print("\n".join([f"{'you' if role == 'user' else 'assistant'}: {first}", *more]), flush=True)


def _note(text: str) -> None:
    print(f"({text}; asking the next)", file=sys.stderr)


def _fail(error: Refused | Nobody) -> int:
    print(f"error: {error if isinstance(error, Refused) else 'nobody answers'}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
