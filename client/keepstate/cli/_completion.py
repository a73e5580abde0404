"""What shells ask when a person presses the tab key. Typer answers with commands and flags; here is the rest.

Whatever fails here fails silently: nobody wants to read of it in the middle of a line.
"""

from __future__ import annotations

__all__ = ["file_names", "is_typed", "join_words", "store_names"]

import os
import re
from datetime import timedelta

import typer

_INSTRUCTION = "_KEEPSTATE_COMPLETE"

_LONGEST_WAIT = timedelta(seconds=1)


def join_words() -> None:
    """Make one word again of what bash has taken apart at ``:`` and ``=``, such as ``localhost:7400``."""
    if os.environ.get(_INSTRUCTION) != "complete_bash":
        return
    words: list[str] = []
    at = int(os.environ["COMP_CWORD"])
    joins = False
    for number, word in enumerate(os.environ["COMP_WORDS"].split("\n")):
        is_break = re.fullmatch("[:=]+", word) is not None
        if words and (is_break or joins):
            words[-1] += word
        else:
            words.append(word)
        if number == int(os.environ["COMP_CWORD"]):
            at = len(words) - 1
        joins = is_break
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(words), str(at)


def is_typed(name: str) -> bool:
    """Whether a line is being completed in which this word is."""
    line = os.environ.get("COMP_WORDS", os.environ.get("_TYPER_COMPLETE_ARGS", ""))
    return _INSTRUCTION in os.environ and name in line.split()


def file_names() -> list[str]:
    """None: then the shell offers files."""
    return []


def store_names(context: typer.Context, incomplete: str) -> list[str]:
    """The names of the stores that the service has whom the line or the environment names."""
    import asyncio

    from keepstate import Client
    from keepstate.cli._target import target_of

    async def ask() -> list[str]:
        target = target_of(context.params)
        client = Client(target.address, tls=target.tls, token=target.token, timeout=_LONGEST_WAIT, retry=None)
        async with client as state:
            return [info.name for info in await state.stores()]

    try:
        return [name for name in asyncio.run(ask()) if name.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - see above
        return []
