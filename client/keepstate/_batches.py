"""Many records in as many batches as it takes."""

from __future__ import annotations

__all__ = ["answer_was_too_large", "had_no_room", "in_batches"]

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from keepstate.errors import KeepstateError, PartialFailure, ResourceExhausted
from keepstate.v1 import state_service_pb2 as pb

T = TypeVar("T")

MAX_OPERATIONS = 1_000
"""The most operations that the service takes in a batch."""

MAX_BYTES = 8 * 1024 * 1024
"""The most that a batch is filled with: half of the largest message that the service takes."""


async def in_batches(
    messages: Mapping[str, pb.BatchOperation],
    send: Callable[[Sequence[str]], Awaitable[Sequence[T | KeepstateError]]],
) -> dict[str, T]:
    """Send operations in order and in batches that are not too large.

    Args:
        messages: the operations, by key.
        send: sends those with the keys that it is given, and returns what became of them, in that order.

    Raises:
        PartialFailure: some failed. Where the first batch fails as a whole, its own error instead.
    """
    results: dict[str, T] = {}
    failures: dict[str, KeepstateError] = {}
    waiting = deque(_split(messages))
    while waiting:
        keys = waiting.popleft()
        try:
            answers = await send(keys)
        except KeepstateError as error:
            if len(keys) > 1 and messages[keys[0]].HasField("get") and answer_was_too_large(error):
                waiting.extendleft([keys[len(keys) // 2 :], keys[: len(keys) // 2]])
                continue
            if not results and not failures:
                raise
            failures.update(dict.fromkeys(keys, error))
            break
        again = [key for key, answer in zip(keys, answers, strict=True) if had_no_room(answer)]
        if 0 < len(again) < len(keys):  # some had room, so this comes to an end
            waiting.appendleft(again)
        else:
            again = []
        for key, answer in zip(keys, answers, strict=True):
            if key in again:
                continue
            if isinstance(answer, KeepstateError):
                failures[key] = answer
            else:
                results[key] = answer
    if failures:
        raise _partial(results, failures, unsent=tuple(key for keys in waiting for key in keys))
    return results


def _split(messages: Mapping[str, pb.BatchOperation]) -> Iterator[list[str]]:
    keys: list[str] = []
    size = 0
    for key, message in messages.items():
        length = message.ByteSize()
        if keys and (len(keys) == MAX_OPERATIONS or size + length > MAX_BYTES):
            yield keys
            keys, size = [], 0
        keys.append(key)
        size += length
    if keys:
        yield keys


def had_no_room(answer: object) -> bool:
    """Whether the service read no more for this answer, and wants to be asked again."""
    return isinstance(answer, ResourceExhausted) and answer.limit == "bytes in one answer"


def answer_was_too_large(error: KeepstateError) -> bool:
    """Whether a call failed as its answer was larger than this client takes."""
    return isinstance(error, ResourceExhausted) and "larger than max" in error.message and not error.nothing_sent


def _partial(
    results: Mapping[str, object], failures: Mapping[str, KeepstateError], *, unsent: tuple[str, ...]
) -> PartialFailure:
    key, error = next(iter(failures.items()))
    total = len(results) + len(failures) + len(unsent)
    rest = f", {len(unsent)} were not sent" if unsent else ""
    return PartialFailure(
        f"{len(failures)} of {total} records failed{rest}, the first {key!r}: {error}",
        results=results,
        errors=failures,
        unsent=unsent,
    )
