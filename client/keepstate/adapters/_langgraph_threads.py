"""The records of a LangGraph thread: how its checkpoints and their pending writes are kept, read and deleted."""

from __future__ import annotations

__all__ = ["CheckpointTooLarge", "Place", "Stored", "Thread"]

import functools
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import uuid4

from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    PendingWrite,
    writes_sort_key,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from keepstate import Bytes, Conflict, Json, KeepstateError, NotFound, State, Transaction, key
from keepstate.operations import Delete, MergePatch, Operation

_TOGETHER_BYTES = 512 * 1024
_TOGETHER_NAMES = 8 * 1024
"""How much of values and of their keys goes into one transaction, which takes 1 MiB and 16 KiB, beside the rest."""

_BATCH = 500
_TRIES = 100  # as many as there is time for: the index of a busy thread changes all the time

R = TypeVar("R")


class CheckpointTooLarge(ValueError):
    """A value is larger than a record may be. Nothing was written."""


@dataclass(frozen=True, order=True)
class Place:
    """Where a checkpoint is in its thread."""

    checkpoint: str
    """Its identifier. Newer ones are greater."""

    namespace: str
    """Which graph of the thread it is of. Empty: the outermost."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What one record says of a checkpoint. The channels' values have records of their own, which others share."""

    checkpoint: Checkpoint
    """Without the values."""

    metadata: CheckpointMetadata

    parent: str | None

    held: Collection[str]
    """The channels that had a value. Where one is missing the checkpoint is being deleted."""

    record: bytes


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What a thread's index says of a checkpoint."""

    stored: bool
    """False: it is being written or deleted, and does not count."""

    run: str | None

    keys: Collection[str]
    """Of values that were written ahead of it, since one transaction could not take them all."""


class Thread:
    """One thread's records. The index has all of its checkpoints, so that none is left over when it is deleted."""

    def __init__(
        self, state: State[Any], prefix: str, thread: str, *, serde: SerializerProtocol, value_limit: int
    ) -> None:
        self._state = state.using(Bytes())
        self._prefix = prefix
        self._thread = thread
        self._serde = serde
        self._value_limit = value_limit
        self._index_key = self._key("thread")

    def _key(self, kind: str, *parts: str) -> str:
        return key(self._prefix, kind, self._thread, *parts)

    def _checkpoint_key(self, place: Place) -> str:
        return self._key("checkpoint", *_parts(place.namespace), place.checkpoint)

    def _writes_key(self, place: Place) -> str:
        return self._key("writes", *_parts(place.namespace), place.checkpoint)

    def _write_key(self, name: str) -> str:
        return self._key("write", name)

    def _channel_key(self, namespace: str, channel: str, version: str | float) -> str:
        return self._key("channel", *_parts(namespace), channel, str(version))

    def _run_key(self, run: str) -> str:
        return key(self._prefix, "run", run)

    # Reading

    async def places(self, *, runs: Collection[str] | None = None, stored: bool = True) -> list[Place]:
        """Where the thread has checkpoints, the newest first.

        Args:
            runs: only those of these runs.
            stored: False: also what is left of those that were not written or deleted to the end.
        """
        index = await self._index()
        found = (place for place, entry in index.items() if entry.stored or not stored)
        return sorted((place for place in found if runs is None or index[place].run in runs), reverse=True)

    async def read(self, places: Collection[Place]) -> dict[Place, Stored]:
        """What is kept of checkpoints, without values. One that is not there is not among them."""
        keys = {place: self._checkpoint_key(place) for place in places}
        found = await self._state.get_many(keys.values())
        return {place: self._stored(found[name]) for place, name in keys.items() if name in found}

    async def values_of(
        self, checkpoints: Mapping[Place, Stored]
    ) -> dict[Place, tuple[dict[str, Any], list[PendingWrite]]]:
        """The values of the channels and the pending writes of checkpoints, of those that are there as a whole."""
        logs = await self._logs(checkpoints)
        channels = {place: self._channels(place, stored) for place, stored in checkpoints.items()}
        names = {name for keys in channels.values() for name in keys.values()}
        names.update(self._write_key(write["value"]) for log in logs.values() for write in log)
        data = await self._state.get_many(names)
        found: dict[Place, tuple[dict[str, Any], list[PendingWrite]]] = {}
        for place, stored in checkpoints.items():
            values = {channel: data[name] for channel, name in channels[place].items() if name in data}
            writes = [(write, data.get(self._write_key(write["value"]))) for write in _effective(logs.get(place, []))]
            if values.keys() >= set(stored.held) and all(value is not None for _, value in writes):
                found[place] = (
                    {channel: self._load(value) for channel, value in values.items()},
                    [(write["task"], write["channel"], self._load(value)) for write, value in writes if value],
                )
        return found

    async def _index(self) -> dict[Place, _Entry]:
        found: dict[str, dict[str, Any]] = await self._state.get(self._index_key, codec=Json(), default={})
        return dict(_entries(found))

    async def _logs(self, places: Iterable[Place]) -> dict[Place, list[dict[str, Any]]]:
        keys = {place: self._writes_key(place) for place in places}
        found = await self._state.get_many(keys.values())
        return {place: json.loads(found[name]) for place, name in keys.items() if name in found}

    def _channels(self, place: Place, stored: Stored) -> dict[str, str]:
        versions = stored.checkpoint["channel_versions"]
        return {channel: self._channel_key(place.namespace, channel, version) for channel, version in versions.items()}

    # Writing

    async def put(
        self,
        place: Place,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        parent: str | None,
        new_versions: ChannelVersions,
    ) -> None:
        """Keep a checkpoint, with the values of the channels that are new in it.

        Raises:
            CheckpointTooLarge: a value does not fit into a record.
            NotFound: its parent was deleted.
        """
        values = checkpoint["channel_values"]
        rest = {name: part for name, part in checkpoint.items() if name != "channel_values"}
        held = [channel for channel in checkpoint["channel_versions"] if channel in values]
        record = self._dump(
            {"checkpoint": rest, "metadata": metadata, "parent": parent, "held": held},
            f"the checkpoint {place.checkpoint!r} without its values",
        )
        new = {
            self._channel_key(place.namespace, channel, version): self._dump(
                values[channel], f"the value of the channel {channel!r}"
            )
            for channel, version in new_versions.items()
            if channel in values
        }
        stored = Stored(checkpoint=cast("Checkpoint", rest), metadata=metadata, parent=parent, held=held, record=record)

        async def keep(tx: Transaction[bytes]) -> None:
            if parent is not None and not await self._is_there(tx, Place(parent, place.namespace)):
                raise NotFound(f"the checkpoint {parent!r} before it was deleted")
            self._keep(tx, place, stored)

        await self._write(place, new, keep)

    async def _is_there(self, tx: Transaction[bytes], place: Place) -> bool:
        return await tx.get(self._checkpoint_key(place)) is not None

    def _keep(self, tx: Transaction[bytes], place: Place, stored: Stored) -> None:
        run = _run(stored.metadata)
        tx.put(self._checkpoint_key(place), stored.record)
        tx.update(self._noted({place: {"stored": True, "run": run}}))
        if run is not None:
            tx.merge_patch(self._run_key(run), {self._thread: True})

    async def put_writes(self, place: Place, writes: Sequence[tuple[str, Any]], task: str, path: str) -> None:
        """Keep what a task wrote. Of what it writes again the first counts, of errors and interrupts the last.

        Raises:
            CheckpointTooLarge: a value does not fit into a record.
        """
        log: list[dict[str, Any]] = []
        values = {}
        for position, (channel, value) in enumerate(writes):
            name = uuid4().hex
            number = WRITES_IDX_MAP.get(channel, position)
            log.append({"task": task, "path": path, "number": number, "channel": channel, "value": name})
            what = f"what the task {task!r} wrote to the channel {channel!r}"
            values[self._write_key(name)] = self._dump(value, what)

        async def append(tx: Transaction[bytes]) -> None:
            tx.append(self._writes_key(place), log)
            if not await self._is_there(tx, place):  # it is on its way: until then the index would not know of these
                tx.update(self._noted({place: {}}))

        await self._write(place, values, append)

    async def _write(
        self, place: Place, values: Mapping[str, bytes], rest: Callable[[Transaction[bytes]], Awaitable[None]]
    ) -> None:
        """Write all of it, and nothing that counts if it is cut short."""
        size, names = sum(map(len, values.values())), sum(len(name.encode()) for name in values)
        ahead = size > _TOGETHER_BYTES or names > _TOGETHER_NAMES
        if ahead:
            # Nothing refers to the values before the transaction. The index has their keys, should it not come to that.
            await self._state.update(self._noted({place: {"keys": dict.fromkeys(values, True)}}))
            await self._state.put_many(values)

        async def write(tx: Transaction[bytes]) -> None:
            for name, value in () if ahead else values.items():
                tx.put(name, value)
            await rest(tx)

        await self._state.transaction(write, tries=_TRIES)

    def _noted(self, entries: Mapping[Place, Mapping[str, Any]]) -> MergePatch:
        patch: dict[str, dict[str, Any]] = {}
        for place, entry in entries.items():
            patch.setdefault(place.namespace, {})[place.checkpoint] = entry
        return MergePatch(self._index_key, patch)

    async def copy_to(self, target: Thread) -> None:
        """Copy all checkpoints, from the oldest on, so that what has been copied is a thread at any time."""
        for place in reversed(await self.places()):
            stored = (await self.read([place])).get(place)
            if stored is None:  # deleted meanwhile
                continue
            mine, theirs = self._channels(place, stored), target._channels(place, stored)
            names = {name: theirs[channel] for channel, name in mine.items()}
            log = (await self._logs([place])).get(place, [])
            names |= {self._write_key(write["value"]): target._write_key(write["value"]) for write in log}
            values = {names[name]: value for name, value in (await self._state.get_many(names)).items()}
            await target._write(place, values, functools.partial(target._keep_copy, place, stored, log))

    async def _keep_copy(
        self, place: Place, stored: Stored, log: Sequence[dict[str, Any]], tx: Transaction[bytes]
    ) -> None:
        if log:
            tx.using(Json()).put(self._writes_key(place), log)
        self._keep(tx, place, stored)

    # Deleting

    async def drop(self, places: Collection[Place], *, of_run: str | None = None) -> None:
        """Delete checkpoints with their writes, and the values that no other checkpoint has.

        What was cut short is done by doing it again: the index forgets a checkpoint last.

        Args:
            of_run: the run by whose record the thread was found, and is to be found again: that record stays as it is.
        """
        if not places:
            return
        # They do not count any more, whatever becomes of the rest.
        await self._state.update(self._noted({place: {"stored": None} for place in places}))
        index = await self._index()
        chosen = {place: entry for place, entry in index.items() if place in places}
        staying = {place: entry for place, entry in index.items() if place not in places}
        names = await self._names_of(chosen) - self._channels_of(await self.read(staying))
        await self._delete(name for entry in chosen.values() for name in entry.keys)
        await self._delete(names)
        await self._delete(self._writes_key(place) for place in chosen)
        await self._delete(self._checkpoint_key(place) for place in chosen)
        await self._forget_runs(_runs(chosen) - _runs(staying) - {of_run})
        await self._state.transaction(lambda tx: self._forget(tx, chosen), tries=_TRIES)

    async def _names_of(self, places: Collection[Place]) -> set[str]:
        writes = {self._write_key(write["value"]) for log in (await self._logs(places)).values() for write in log}
        return writes | self._channels_of(await self.read(places))

    def _channels_of(self, checkpoints: Mapping[Place, Stored]) -> set[str]:
        return {name for place, stored in checkpoints.items() for name in self._channels(place, stored).values()}

    async def _delete(self, names: Iterable[str]) -> None:
        await self._batch([Delete(name) for name in names])

    async def _forget_runs(self, runs: Iterable[str]) -> None:
        left = await self._batch([MergePatch(self._run_key(run), {self._thread: None}) for run in runs])
        empty = [updated.record for updated in left if updated.record is not None and not updated.record.value]
        for result in await self._results([Delete(record.name.key, if_etag=record.etag) for record in empty]):
            if isinstance(result, KeepstateError) and not isinstance(result, Conflict):  # another thread came to it
                raise result

    async def _forget(self, tx: Transaction[bytes], chosen: Collection[Place]) -> None:
        index: dict[str, dict[str, Any]] = await tx.get(self._index_key, codec=Json(), default={})
        left: dict[str, dict[str, Any]] = {}
        for namespace, checkpoints in index.items():
            for checkpoint, entry in checkpoints.items():
                if Place(checkpoint, namespace) not in chosen:
                    left.setdefault(namespace, {})[checkpoint] = entry
        if left:
            tx.using(Json()).put(self._index_key, left)
        else:
            tx.delete(self._index_key)

    async def _batch(self, operations: Sequence[Operation[R]]) -> list[R]:
        done = []
        for result in await self._results(operations):
            if isinstance(result, KeepstateError):
                raise result
            done.append(result)
        return done

    async def _results(self, operations: Sequence[Operation[R]]) -> list[R | KeepstateError]:
        results: list[R | KeepstateError] = []
        for start in range(0, len(operations), _BATCH):
            results += await self._state.batch(operations[start : start + _BATCH])
        return results

    # Values as bytes: the name that the serializer gives their form, a line feed, and what it makes of them

    def _dump(self, value: Any, what: str) -> bytes:
        form, data = self._serde.dumps_typed(value)
        if (size := len(data) + len(form) + 1) > self._value_limit:
            raise CheckpointTooLarge(f"{what} has {size} bytes, more than a record's {self._value_limit}")
        return form.encode() + b"\n" + data

    def _load(self, data: bytes) -> Any:
        form, _, rest = data.partition(b"\n")
        return self._serde.loads_typed((form.decode(), rest))

    def _stored(self, record: bytes) -> Stored:
        return Stored(**self._load(record), record=record)


def _parts(namespace: str) -> tuple[str, ...]:
    return (namespace,) if namespace else ()  # a part of a key cannot be empty, and every other has all its parts


def _run(metadata: CheckpointMetadata) -> str | None:
    run = metadata.get("run_id")
    return None if run is None else str(run)


def _runs(entries: Mapping[Place, _Entry]) -> set[str]:
    return {entry.run for entry in entries.values() if entry.run is not None}


def _entries(index: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Place, _Entry]]:
    for namespace, checkpoints in index.items():
        for checkpoint, entry in checkpoints.items():
            yield (
                Place(checkpoint, namespace),
                _Entry(stored=entry.get("stored", False), run=entry.get("run"), keys=entry.get("keys", ())),
            )


def _effective(log: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The writes that count, in the order in which LangGraph applies them."""
    counting: dict[tuple[str, int], dict[str, Any]] = {}
    for write in log:
        if write["number"] >= 0:
            counting.setdefault((write["task"], write["number"]), write)
        else:
            counting[write["task"], write["number"]] = write
    return sorted(counting.values(), key=lambda write: writes_sort_key(write["path"], write["task"], write["number"]))
