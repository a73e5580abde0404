"""Checkpoints of LangGraph: a checkpointer, with and without asyncio.

::

    async with Client("localhost:7400") as client:
        graph = builder.compile(checkpointer=AsyncKeepstateSaver(client))
        await graph.ainvoke(question, {"configurable": {"thread_id": "7"}})
"""

from __future__ import annotations

__all__ = ["AsyncKeepstateSaver", "CheckpointTooLarge", "KeepstateSaver"]

import asyncio
import contextlib
import functools
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from keepstate import Conflict, Json, State, key, sync
from keepstate._waiting import waiting
from keepstate.adapters import missing

try:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import (
        BaseCheckpointSaver,
        ChannelVersions,
        Checkpoint,
        CheckpointMetadata,
        CheckpointTuple,
        get_checkpoint_id,
        get_serializable_checkpoint_metadata,
    )
    from langgraph.checkpoint.serde.base import SerializerProtocol

    from keepstate.adapters._langgraph_threads import CheckpointTooLarge, Place, Stored, Thread
except ModuleNotFoundError as error:
    raise missing("langgraph", error) from None

_PAGE = 20
"""How many checkpoints a listing reads at a time."""

_VALUE_LIMIT = 1024 * 1024

P = ParamSpec("P")
R = TypeVar("R")


class AsyncKeepstateSaver(BaseCheckpointSaver[str]):
    """Keeps the checkpoints of graphs that run with asyncio: ``ainvoke``, ``astream``.

    Everything of a thread is found by its index, so that deleting it leaves nothing. What is written becomes visible at
    once or not at all. Besides what a method names it raises what the calls of ``keepstate.State`` raise.
    """

    def __init__(
        self,
        state: State[Any],
        *,
        prefix: str = "langgraph",
        value_limit: int = _VALUE_LIMIT,
        serde: SerializerProtocol | None = None,
    ) -> None:
        """Keep them in this view, whatever its codec.

        Args:
            prefix: the first part of all keys.
            value_limit: how many bytes a channel's value may have, as the service's ``KEEPSTATE_VALUE_LIMIT`` says.
            serde: turns values into bytes; by default LangGraph's own.

        Raises:
            ValueError: there is no prefix, or the limit is less than 1.
        """
        super().__init__(serde=serde)
        key(prefix)  # raises here, rather than at each call
        if value_limit < 1:
            raise ValueError(f"value_limit must be at least 1, not {value_limit}")
        self._state = state
        self._prefix = prefix
        self._value_limit = value_limit

    def _thread(self, thread_id: object) -> Thread:
        return Thread(self._state, self._prefix, str(thread_id), serde=self.serde, value_limit=self._value_limit)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read the checkpoint that the config names, or its thread's newest. None: there is none.

        Raises:
            ValueError: the config names no thread.
            RuntimeError: values of the newest checkpoint are missing: it was forked from one that was deleted.
        """
        thread_id, namespace, checkpoint_id = _named(config)
        thread = self._thread(thread_id)
        if checkpoint_id is not None:
            return await self._tuple(thread, thread_id, Place(checkpoint_id, namespace))
        tried = None
        while True:
            newest = next((place for place in await thread.places() if place.namespace == namespace), None)
            if newest is None:
                return None
            if found := await self._tuple(thread, thread_id, newest):
                return found
            if newest == tried:
                raise RuntimeError(f"values of the checkpoint {newest.checkpoint!r} are missing")
            tried = newest  # it was deleted after the index was read

    async def _tuple(self, thread: Thread, thread_id: object, place: Place) -> CheckpointTuple | None:
        found = await self._tuples(thread, thread_id, await thread.read([place]))
        return found[0] if found else None

    async def _tuples(
        self, thread: Thread, thread_id: object, checkpoints: dict[Place, Stored]
    ) -> Sequence[CheckpointTuple]:
        found = []
        for place, (values, writes) in (await thread.values_of(checkpoints)).items():
            stored = checkpoints[place]
            found.append(
                CheckpointTuple(
                    config=_config(thread_id, place),
                    checkpoint={**stored.checkpoint, "channel_values": values},
                    metadata=stored.metadata,
                    parent_config=_config(thread_id, Place(stored.parent, place.namespace)) if stored.parent else None,
                    pending_writes=writes,
                )
            )
        return found

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """List a thread's checkpoints, the newest first.

        Args:
            config: names the thread, and perhaps a namespace and a checkpoint.
            filter: what their metadata must have.
            before: only those before its checkpoint.
            limit: how many at most.

        Raises:
            ValueError: no thread is named; keys cannot be listed, so that nobody knows of all threads.
        """
        thread_id, _, checkpoint_id = _named(config)
        namespace = (config or {})["configurable"].get("checkpoint_ns")
        end = None if before is None else get_checkpoint_id(before)
        thread = self._thread(thread_id)
        places = [
            place
            for place in await thread.places()
            if namespace in (None, place.namespace)
            and checkpoint_id in (None, place.checkpoint)
            and (end is None or place.checkpoint < end)
        ]
        left = len(places) if limit is None else limit
        for start in range(0, len(places), _PAGE):
            page = await thread.read(places[start : start + _PAGE])
            chosen = {place: stored for place, stored in page.items() if _has(stored.metadata, filter)}
            for found in await self._tuples(thread, thread_id, dict(list(chosen.items())[:left])):
                yield found
                left -= 1
            if left <= 0:
                return

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint and the values that are new in it, and return its config.

        Raises:
            CheckpointTooLarge: a value does not fit into a record. Nothing was written.
            NotFound: the checkpoint before it was deleted.
        """
        thread_id, namespace, parent = _named(config)
        place = Place(checkpoint["id"], namespace)
        metadata = get_serializable_checkpoint_metadata(config, metadata)
        await self._thread(thread_id).put(place, checkpoint, metadata, parent, new_versions)
        return _config(thread_id, place)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a task wrote until the next checkpoint has it. Of what it writes again the first counts.

        Raises:
            CheckpointTooLarge: a value does not fit into a record. Nothing was written.
        """
        thread_id, namespace, checkpoint_id = _named(config)
        if checkpoint_id is None:
            raise ValueError("configurable.checkpoint_id is missing: writes belong to a checkpoint")
        await self._thread(thread_id).put_writes(Place(checkpoint_id, namespace), writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete all that is kept of a thread. Its runs should have ended."""
        thread = self._thread(thread_id)
        await thread.drop(await thread.places(stored=False))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of runs: those with these ``run_id`` in their metadata, in all threads."""
        for run in sorted({str(run) for run in run_ids}):
            name = key(self._prefix, "run", run)
            threads = await self._state.get_record(name, codec=Json())
            if threads is None:
                continue
            for thread_id in threads.value:
                thread = self._thread(thread_id)
                await thread.drop(await thread.places(runs={run}, stored=False), of_run=run)
            with contextlib.suppress(Conflict):  # the run has not ended, or others delete it, too
                await self._state.delete(name, if_etag=threads.etag)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all checkpoints of a thread, with their writes, into another."""
        await self._thread(source_thread_id).copy_to(self._thread(target_thread_id))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete the checkpoints that a thread does not need to go on. Its runs should have ended.

        Args:
            thread_ids: the threads.
            strategy: "keep_latest" keeps the newest checkpoint of each namespace, and those before it by which its
                delta channels are made. "delete" keeps none.

        Raises:
            ValueError: the strategy is another.
        """
        if strategy not in ("keep_latest", "delete"):
            raise ValueError(f"strategy must be 'keep_latest' or 'delete', not {strategy!r}")
        for thread_id in thread_ids:
            thread = self._thread(thread_id)
            needed = await _needed(thread) if strategy == "keep_latest" else frozenset[Place]()
            await thread.drop(set(await thread.places(stored=False)) - needed)

    def get_next_version(self, current: str | None, channel: None) -> str:  # noqa: ARG002 - LangGraph's signature
        """The version after this one. No two branches of a thread give out the same."""
        number = 0 if current is None else int(str(current).partition(".")[0])
        return f"{number + 1:020}.{secrets.token_hex(8)}"

    def _only_asynchronous(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError("this checkpointer is asynchronous: use ainvoke and the like, or KeepstateSaver")

    get_tuple = list = put = put_writes = _only_asynchronous
    delete_thread = delete_for_runs = copy_thread = prune = _only_asynchronous


def _in_a_thread(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """A method that does what one does that waits, without blocking the event loop."""

    @functools.wraps(method)
    async def call(self: Any, /, *arguments: P.args, **named: P.kwargs) -> R:
        return await asyncio.to_thread(method, self, *arguments, **named)

    return call


async def _next(_: object, listing: AsyncIterator[CheckpointTuple]) -> CheckpointTuple | None:
    return await anext(listing, None)


class KeepstateSaver(BaseCheckpointSaver[str]):
    """Keeps the checkpoints of graphs that run without asyncio, ``invoke`` and ``stream``, or with it.

    It is ``AsyncKeepstateSaver`` with calls that wait; its asynchronous ones wait in a thread.
    """

    def __init__(
        self,
        state: sync.State[Any],
        *,
        prefix: str = "langgraph",
        value_limit: int = _VALUE_LIMIT,
        serde: SerializerProtocol | None = None,
    ) -> None:
        """Keep them in this view. The arguments are those of ``AsyncKeepstateSaver``."""
        super().__init__(serde=serde)
        self._state = state.asynchronous
        self._prefix = prefix
        self._value_limit = value_limit
        _ = self._asynchronous  # raises here, rather than at each call

    @property
    def _asynchronous(self) -> AsyncKeepstateSaver:
        # Made for each call, since LangGraph gives copies of a checkpointer another serializer.
        return AsyncKeepstateSaver(self._state, prefix=self._prefix, value_limit=self._value_limit, serde=self.serde)

    get_tuple = waiting(AsyncKeepstateSaver.aget_tuple)
    put = waiting(AsyncKeepstateSaver.aput)
    put_writes = waiting(AsyncKeepstateSaver.aput_writes)
    delete_thread = waiting(AsyncKeepstateSaver.adelete_thread)
    delete_for_runs = waiting(AsyncKeepstateSaver.adelete_for_runs)
    copy_thread = waiting(AsyncKeepstateSaver.acopy_thread)
    prune = waiting(AsyncKeepstateSaver.aprune)
    _next = waiting(_next)

    aget_tuple = _in_a_thread(get_tuple)
    aput = _in_a_thread(put)
    aput_writes = _in_a_thread(put_writes)
    adelete_thread = _in_a_thread(delete_thread)
    adelete_for_runs = _in_a_thread(delete_for_runs)
    acopy_thread = _in_a_thread(copy_thread)
    aprune = _in_a_thread(prune)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """List a thread's checkpoints, as ``AsyncKeepstateSaver.alist`` does."""
        listing = self._asynchronous.alist(config, filter=filter, before=before, limit=limit)
        while (found := self._next(listing)) is not None:
            yield found

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """List a thread's checkpoints, as ``AsyncKeepstateSaver.alist`` does."""
        listing = self._asynchronous.alist(config, filter=filter, before=before, limit=limit)
        while (found := await asyncio.to_thread(self._next, listing)) is not None:
            yield found

    def get_next_version(self, current: str | None, channel: None) -> str:
        """The version after this one. No two branches of a thread give out the same."""
        return self._asynchronous.get_next_version(current, channel)


def _named(config: RunnableConfig | None) -> tuple[Any, str, str | None]:
    """What a config names: the thread, the namespace and the checkpoint, if any."""
    configurable = (config or {}).get("configurable", {})
    if configurable.get("thread_id") in (None, ""):
        raise ValueError("configurable.thread_id is missing: checkpoints belong to a thread")
    return configurable["thread_id"], configurable.get("checkpoint_ns") or "", configurable.get("checkpoint_id") or None


def _config(thread_id: object, place: Place) -> RunnableConfig:
    return {
        "configurable": {
            "thread_id": thread_id,
            "checkpoint_ns": place.namespace,
            "checkpoint_id": place.checkpoint,
        }
    }


def _has(metadata: CheckpointMetadata, wanted: dict[str, Any] | None) -> bool:
    return all(metadata.get(name) == value for name, value in (wanted or {}).items())


async def _needed(thread: Thread) -> set[Place]:
    """The newest checkpoint of each namespace, and those before it back to where each delta channel has a value."""
    newest: dict[str, Place] = {}
    for place in await thread.places():
        newest.setdefault(place.namespace, place)
    needed = set(newest.values())
    for place, stored in (await thread.read(needed)).items():
        without_value = set(stored.metadata.get("counters_since_delta_snapshot") or ()) - set(stored.held)
        parent = stored.parent
        while parent is not None and without_value:
            before = Place(parent, place.namespace)
            needed.add(before)
            found = (await thread.read([before])).get(before)
            without_value -= set(found.held if found else ())
            parent = found.parent if found else None
    return needed
