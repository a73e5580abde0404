"""The checkpointer by LangGraph's own conformance tests, and where these ask nothing: in graphs, and when cut short."""

from __future__ import annotations

import asyncio
import contextlib
import operator
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver, Checkpoint, CheckpointMetadata, empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import ALL_CAPABILITIES
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.types import ERROR
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from keepstate import (
    Bytes,
    Get,
    Json,
    KeepstateError,
    NotFound,
    Record,
    State,
    Unavailable,
    UpdateNotApplicable,
)
from keepstate.adapters.langgraph import AsyncKeepstateSaver, CheckpointTooLarge, KeepstateSaver
from tests.recipes.conftest import View

pytestmark = pytest.mark.containers

Saver = BaseCheckpointSaver[str]
THREAD: RunnableConfig = {"configurable": {"thread_id": "ada", "checkpoint_ns": ""}}


def saver_of(view: View, style: str, **named: Any) -> Saver:
    if style == "asynchronous":
        return AsyncKeepstateSaver(view.asynchronous, **named)
    return KeepstateSaver(view.synchronous, **named)


@pytest.fixture
def saver(one: View, style: str) -> Saver:
    """The checkpointer through one instance."""
    return saver_of(one, style)


@pytest.fixture
def elsewhere(other: View, style: str) -> Saver:
    """The checkpointer through the other instance."""
    return saver_of(other, style)


async def test_it_has_every_capability_that_the_conformance_tests_know(saver: Saver) -> None:
    @checkpointer_test(name=str(uuid4()))
    async def made() -> AsyncGenerator[Saver, None]:
        yield saver

    report = await validate(made)
    assert not {name: result.failures for name, result in report.results.items() if result.failures}
    assert {name for name, result in report.results.items() if result.passed} == {
        each.value for each in ALL_CAPABILITIES
    }
    assert sum(result.tests_passed for result in report.results.values()) >= 80


# In graphs


class Sums(TypedDict, total=False):
    numbers: Annotated[list[int], operator.add]
    answer: str


async def invoke(graph: Any, given: Any, config: RunnableConfig) -> Any:
    """Run a graph as its checkpointer's style is."""
    if isinstance(graph.checkpointer, AsyncKeepstateSaver):
        return await graph.ainvoke(given, config)
    return await asyncio.to_thread(graph.invoke, given, config)


def asking() -> StateGraph[Sums]:
    """A graph that adds a number, asks a person, and adds another."""
    builder = StateGraph(Sums)
    builder.add_node("first", lambda _: {"numbers": [1]})
    builder.add_node("ask", lambda _: {"answer": interrupt("Go on?")})
    builder.add_node("second", lambda _: {"numbers": [2]})
    builder.add_edge(START, "first")
    builder.add_edge("first", "ask")
    builder.add_edge("ask", "second")
    builder.add_edge("second", END)
    return builder


async def test_a_graph_goes_on_through_another_instance(saver: Saver, elsewhere: Saver) -> None:
    asked = await invoke(asking().compile(checkpointer=saver), {"numbers": [0]}, THREAD)
    assert [each.value for each in asked["__interrupt__"]] == ["Go on?"]
    done = await invoke(asking().compile(checkpointer=elsewhere), Command(resume="yes"), THREAD)
    assert done == {"numbers": [0, 1, 2], "answer": "yes"}
    history = [found async for found in saver.alist(THREAD)]
    assert [found.metadata["step"] for found in history] == [3, 2, 1, 0, -1]
    assert [found.parent_config for found in history[:-1]] == [found.config for found in history[1:]]


async def test_after_a_failure_only_the_task_that_failed_runs_again(saver: Saver, elsewhere: Saver) -> None:
    runs: list[str] = []

    def graph(made_of: Saver, *, fails: bool) -> Any:
        def left(_: Any) -> Sums:
            runs.append("left")
            return {"numbers": [1]}

        def right(_: Any) -> Sums:
            runs.append("right")
            if fails:
                raise ZeroDivisionError
            return {"numbers": [2]}

        builder: Any = StateGraph(Sums)
        builder.add_node("left", left)
        builder.add_node("right", right)
        builder.add_edge(START, "left")
        builder.add_edge(START, "right")
        return builder.compile(checkpointer=made_of)

    with pytest.raises(ZeroDivisionError):
        await invoke(graph(saver, fails=True), {"numbers": [0]}, THREAD)
    assert sorted(runs) == ["left", "right"]
    assert await invoke(graph(elsewhere, fails=False), None, THREAD) == {"numbers": [0, 1, 2]}
    assert sorted(runs) == ["left", "right", "right"]


KILLED = """
import asyncio, operator, os, signal, sys
from typing import Annotated, TypedDict
from langgraph.graph import START, StateGraph
from keepstate import Client, sync
from keepstate.adapters.langgraph import AsyncKeepstateSaver, KeepstateSaver

class Sums(TypedDict):
    numbers: Annotated[list[int], operator.add]

style, address, store, namespace = sys.argv[1:]
builder = StateGraph(Sums)
builder.add_node("first", lambda _: {"numbers": [1]})
builder.add_node("second", lambda _: os.kill(os.getpid(), signal.SIGKILL))
builder.add_edge(START, "first")
builder.add_edge("first", "second")
config = {"configurable": {"thread_id": "ada"}}


async def run():
    view = Client(address).store(store).namespace(namespace)
    await builder.compile(checkpointer=AsyncKeepstateSaver(view)).ainvoke({"numbers": [0]}, config, durability="sync")


if style == "asynchronous":
    asyncio.run(run())
else:
    view = sync.Client(address).store(store).namespace(namespace)
    builder.compile(checkpointer=KeepstateSaver(view)).invoke({"numbers": [0]}, config, durability="sync")
"""


@pytest.mark.parametrize("store", ["postgresql"])  # a program takes seconds to start
async def test_after_its_program_was_killed_a_graph_goes_on_with_the_step_that_did_not_end(
    elsewhere: Saver, style: str, store: str, namespace: str, addresses: list[str]
) -> None:
    command = [sys.executable, "-c", KILLED, style, addresses[0], store, namespace]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()

    def first(_: Any) -> Sums:
        raise AssertionError("its end was kept")

    builder: Any = StateGraph(Sums)
    builder.add_node("first", first)
    builder.add_node("second", lambda _: {"numbers": [2]})
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    assert await invoke(builder.compile(checkpointer=elsewhere), None, THREAD) == {"numbers": [0, 1, 2]}


async def test_a_thread_may_fork_from_an_earlier_checkpoint(saver: Saver, elsewhere: Saver) -> None:
    graph, again = asking().compile(checkpointer=saver), asking().compile(checkpointer=elsewhere)
    await invoke(graph, {"numbers": [0]}, THREAD)
    await invoke(graph, Command(resume="yes"), THREAD)
    history = [found async for found in saver.alist(THREAD)]
    asked = next(found.config for found in history if found.metadata["step"] == 1)
    if isinstance(elsewhere, AsyncKeepstateSaver):
        fork = await again.aupdate_state(asked, {"answer": "no"}, "ask")
    else:
        fork = await asyncio.to_thread(again.update_state, asked, {"answer": "no"}, "ask")
    assert await invoke(again, None, fork) == {"numbers": [0, 1, 2], "answer": "no"}
    newest = await saver.aget_tuple(THREAD)
    assert newest is not None
    assert newest.checkpoint["channel_values"]["answer"] == "no"
    assert await elsewhere.aget_tuple(history[0].config) == history[0]


async def test_a_run_may_keep_its_end_alone(saver: Saver, elsewhere: Saver) -> None:
    graph, again = asking().compile(checkpointer=saver), asking().compile(checkpointer=elsewhere)
    if isinstance(saver, AsyncKeepstateSaver):
        await graph.ainvoke({"numbers": [0]}, THREAD, durability="exit")
    else:
        await asyncio.to_thread(lambda: graph.invoke({"numbers": [0]}, THREAD, durability="exit"))
    assert len([found async for found in elsewhere.alist(THREAD)]) == 1
    assert await invoke(again, Command(resume="yes"), THREAD) == {"numbers": [0, 1, 2], "answer": "yes"}


async def test_a_graph_within_a_graph_has_checkpoints_of_its_own(saver: Saver, elsewhere: Saver) -> None:
    builder = StateGraph(Sums)
    builder.add_node("within", asking().compile())
    builder.add_edge(START, "within")
    await invoke(builder.compile(checkpointer=saver), {"numbers": [0]}, THREAD)
    done = await invoke(builder.compile(checkpointer=elsewhere), Command(resume="yes"), THREAD)
    assert done["answer"] == "yes"
    everything: RunnableConfig = {"configurable": {"thread_id": "ada"}}
    namespaces = {found.config["configurable"]["checkpoint_ns"] async for found in saver.alist(everything)}
    assert len(namespaces) == 2
    await saver.adelete_thread("ada")
    assert not [found async for found in elsewhere.alist(everything)]


def _joined(numbers: list[int], writes: list[list[int]]) -> list[int]:
    return numbers + [number for each in writes for number in each]


class Deltas(TypedDict):
    numbers: Annotated[list[int], DeltaChannel(_joined)]


async def test_pruning_keeps_what_a_delta_channel_is_made_by(saver: Saver, elsewhere: Saver) -> None:
    builder = StateGraph(Deltas)
    builder.add_node("add", lambda state: {"numbers": [len(state["numbers"])]})
    builder.add_edge(START, "add")
    graph, again = builder.compile(checkpointer=saver), builder.compile(checkpointer=elsewhere)
    for _ in range(3):
        await invoke(graph, {"numbers": [-1]}, THREAD)
    await saver.aprune(["ada"])
    assert await invoke(again, {"numbers": [-1]}, THREAD) == {"numbers": [-1, 1, -1, 3, -1, 5, -1, 7]}


async def test_a_pruned_thread_goes_on(saver: Saver, elsewhere: Saver) -> None:
    await invoke(asking().compile(checkpointer=saver), {"numbers": [0]}, THREAD)
    await saver.aprune(["ada"])
    assert len([found async for found in elsewhere.alist(THREAD)]) == 1
    done = await invoke(asking().compile(checkpointer=elsewhere), Command(resume="yes"), THREAD)
    assert done == {"numbers": [0, 1, 2], "answer": "yes"}


# One call after the other


def checkpoint_of(**values: Any) -> Checkpoint:
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = values
    checkpoint["channel_versions"] = {channel: f"{1:020}.{uuid4().hex}" for channel in values}
    return checkpoint


async def put(saver: Saver, checkpoint: Checkpoint, after: RunnableConfig = THREAD, **metadata: Any) -> RunnableConfig:
    described: CheckpointMetadata = {"source": "loop", "step": 1, "parents": {}}
    described.update(metadata)  # type: ignore[typeddict-item]  # what a graph's user adds
    return await saver.aput(after, checkpoint, described, checkpoint["channel_versions"])


async def test_of_64_tasks_through_two_instances_none_loses_anothers_writes(saver: Saver, elsewhere: Saver) -> None:
    config = await put(saver, checkpoint_of(a=1))
    through = [saver, elsewhere] * 32
    await asyncio.gather(
        *(
            each.aput_writes(config, [("a", number), ("b", -number)], f"task-{63 - number}", f"~{number:02}")
            for number, each in enumerate(through)
        )
    )
    found = await saver.aget_tuple(config)
    assert found is not None
    in_order = [(f"task-{63 - n}", channel, value) for n in range(64) for channel, value in (("a", n), ("b", -n))]
    assert found.pending_writes == in_order


async def test_of_a_tasks_writes_the_first_counts_and_of_its_errors_the_last(saver: Saver, elsewhere: Saver) -> None:
    config = await put(saver, checkpoint_of(a=1))
    await saver.aput_writes(config, [("a", "first"), (ERROR, "first")], "task")
    await elsewhere.aput_writes(config, [("a", "last"), (ERROR, "last")], "task")
    found = await saver.aget_tuple(config)
    assert found is not None
    assert found.pending_writes == [("task", ERROR, "last"), ("task", "a", "first")]


async def test_of_32_checkpoints_at_once_none_loses_anothers_place(saver: Saver, elsewhere: Saver) -> None:
    checkpoints = [checkpoint_of(number=number) for number in range(32)]
    await asyncio.gather(*(put(each, one) for each, one in zip([saver, elsewhere] * 16, checkpoints, strict=True)))
    found = [each.checkpoint["channel_values"]["number"] async for each in saver.alist(THREAD)]
    assert found == list(range(31, -1, -1))
    newest = await elsewhere.aget_tuple(THREAD)
    assert newest is not None
    assert newest.checkpoint["id"] == checkpoints[-1]["id"]


async def test_a_checkpoint_may_be_larger_than_a_record_or_a_transaction(saver: Saver, elsewhere: Saver) -> None:
    values = {f"channel-{number}": bytes([number]) * 900_000 for number in range(4)}
    config = await put(saver, checkpoint_of(**values))
    await saver.aput_writes(config, list(values.items()), "task")
    found = await elsewhere.aget_tuple(config)
    assert found is not None
    assert found.checkpoint["channel_values"] == values
    assert found.pending_writes == [("task", channel, value) for channel, value in values.items()]
    await elsewhere.acopy_thread("ada", "bob")
    copied = await saver.aget_tuple({"configurable": {"thread_id": "bob"}})
    assert copied is not None
    assert copied.checkpoint == found.checkpoint
    assert copied.pending_writes == found.pending_writes


async def test_what_does_not_fit_into_a_record_is_refused_by_name_and_nothing_is_written(
    saver: Saver, state: State[Any]
) -> None:
    with pytest.raises(CheckpointTooLarge, match=r"the value of the channel 'documents' has 11\d{5} bytes"):
        await put(saver, checkpoint_of(documents="x" * 1_100_000, small=1))
    config: RunnableConfig = {"configurable": {**THREAD["configurable"], "checkpoint_id": "1"}}
    with pytest.raises(CheckpointTooLarge, match=r"the task 'task' wrote to the channel 'documents' has 11\d{5}"):
        await saver.aput_writes(config, [("small", 1), ("documents", "x" * 1_100_000)], "task")
    assert await state.get("langgraph:thread:ada") is None


async def test_a_graph_whose_state_does_not_fit_fails_with_the_channels_name(saver: Saver) -> None:
    builder = StateGraph(Sums)
    builder.add_node("answer", lambda _: {"answer": "x" * 1_100_000})
    builder.add_edge(START, "answer")
    with pytest.raises(CheckpointTooLarge, match="'answer'"):
        await invoke(builder.compile(checkpointer=saver), {"numbers": []}, THREAD)


async def test_a_run_that_goes_on_from_a_deleted_checkpoint_fails(saver: Saver, elsewhere: Saver) -> None:
    config = await put(saver, checkpoint_of(a=1))
    await elsewhere.adelete_thread("ada")
    with pytest.raises(NotFound, match="before it was deleted"):
        await put(saver, checkpoint_of(a=2), config)
    assert await saver.aget_tuple(THREAD) is None


async def test_a_full_thread_refuses_more_until_it_is_pruned(saver: Saver, elsewhere: Saver, state: State[Any]) -> None:
    config = await put(saver, checkpoint_of(a=1))
    kept = len(Json().encode(await state.get("langgraph:thread:ada")))
    earlier = {"stored": True, "size": "x" * (1024 * 1024 - kept - 50)}
    await state.merge_patch("langgraph:thread:ada", {"": {"0": earlier}})
    with pytest.raises(UpdateNotApplicable) as refusal:
        await put(saver, checkpoint_of(a=2), config)
    assert refusal.value.name is not None
    assert refusal.value.name.key == "langgraph:thread:ada"
    assert (found := await elsewhere.aget_tuple(THREAD)) is not None
    assert found.config == config
    await elsewhere.aprune(["ada"])
    assert await elsewhere.aget_tuple(THREAD) == found
    await put(saver, checkpoint_of(a=2), config)


def test_a_thread_has_room_for_10_000_checkpoints_of_runs() -> None:
    index = {"": {str(uuid4()): {"stored": True, "run": str(uuid4())} for _ in range(10_000)}}
    assert len(Json().encode(index)) < 1024 * 1024


async def test_writes_may_come_before_their_checkpoint(saver: Saver, elsewhere: Saver) -> None:
    checkpoint = checkpoint_of(a=1)
    config: RunnableConfig = {"configurable": {**THREAD["configurable"], "checkpoint_id": checkpoint["id"]}}
    await saver.aput_writes(config, [("a", 2)], "task")
    assert await elsewhere.aget_tuple(THREAD) is None
    await put(saver, checkpoint)
    found = await elsewhere.aget_tuple(THREAD)
    assert found is not None
    assert found.pending_writes == [("task", "a", 2)]


# Deleting


async def keys_of(state: State[Any], thread: str) -> set[str]:
    """The keys of all that a thread's index leads to, by the documented form."""
    keys = {f"langgraph:thread:{thread}"}
    index: dict[str, dict[str, Any]] = await state.get(f"langgraph:thread:{thread}", default={})
    for checkpoint, entry in index.get("", {}).items():
        keys |= {f"langgraph:checkpoint:{thread}:{checkpoint}", f"langgraph:writes:{thread}:{checkpoint}"}
        keys |= {f"langgraph:run:{entry['run']}"} if "run" in entry else set()
        keys |= set(entry.get("keys", ()))
        for write in await state.get(f"langgraph:writes:{thread}:{checkpoint}", default=[]):
            keys.add(f"langgraph:write:{thread}:{write['value']}")
    return keys


async def a_thread(saver: Saver, state: State[Any]) -> set[str]:
    """A thread with all that one can have, and the keys of its records."""
    small, large = checkpoint_of(a=1, b=2), checkpoint_of(a=1, c=b"x" * 900_000)
    config = await put(saver, small, run_id="run-1")
    await saver.aput_writes(config, [("a", 1), ("b", b"y" * 900_000)], "task")
    await put(saver, large, config, run_id="run-2")
    gone: RunnableConfig = {"configurable": {**THREAD["configurable"], "checkpoint_id": "gone"}}
    with pytest.raises(NotFound):  # its values are written ahead, and then it does not come
        await put(saver, checkpoint_of(c=b"z" * 900_000), gone)
    never: RunnableConfig = {"configurable": {**THREAD["configurable"], "checkpoint_id": "never"}}
    await saver.aput_writes(never, [("a", 1)], "task")
    keys = await keys_of(state, "ada")
    for checkpoint in (small, large):
        keys |= {f"langgraph:channel:ada:{name}:{of}" for name, of in checkpoint["channel_versions"].items()}
    return keys


async def found_of(state: State[Any], keys: set[str]) -> set[str]:
    found = await state.batch([Get(name, codec=Bytes()) for name in sorted(keys)])
    assert not [each for each in found if isinstance(each, KeepstateError)]
    return {each.name.key for each in found if isinstance(each, Record)}


async def test_of_a_deleted_thread_nothing_is_left(saver: Saver, elsewhere: Saver, state: State[Any]) -> None:
    keys = await a_thread(saver, state)
    assert len(found := await found_of(state, keys)) >= 15, sorted(found)
    await elsewhere.adelete_thread("ada")
    assert not await found_of(state, keys)


async def test_of_deleted_runs_nothing_is_left_in_any_thread(saver: Saver, elsewhere: Saver, state: State[Any]) -> None:
    first, second = checkpoint_of(a=1), checkpoint_of(b=1)
    config = await put(saver, first, run_id="run-1")
    await saver.aput_writes(config, [("a", 1)], "task")
    await put(saver, second, config, run_id="run-2")
    await saver.acopy_thread("ada", "bob")
    keys = set()
    for thread in ("ada", "bob"):
        keys |= await keys_of(state, thread)
        keys |= {f"langgraph:channel:{thread}:a:{first['channel_versions']['a']}"}
        keys |= {f"langgraph:channel:{thread}:b:{second['channel_versions']['b']}"}
    assert len(await found_of(state, keys)) == 16
    await elsewhere.adelete_for_runs(["run-1"])
    assert len(await found_of(state, keys)) == 7  # the other run; of each thread the index, a checkpoint and its value
    await elsewhere.adelete_for_runs(["run-1", "run-2"])
    assert not await found_of(state, keys)


async def test_what_other_checkpoints_share_outlives_those_that_are_deleted(saver: Saver) -> None:
    first = checkpoint_of(shared="kept", own="old")
    config = await put(saver, first, run_id="run-1")
    second = checkpoint_of(shared="kept", own="new")
    second["channel_versions"]["shared"] = first["channel_versions"]["shared"]
    metadata: CheckpointMetadata = {"source": "loop", "step": 2, "parents": {}}
    await saver.aput(config, second, metadata, {"own": second["channel_versions"]["own"]})
    await saver.adelete_for_runs(["run-1"])
    found = await saver.aget_tuple(THREAD)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"shared": "kept", "own": "new"}


@pytest.mark.parametrize("call", range(1, 5))
async def test_a_deletion_that_was_cut_short_is_finished_by_calling_it_again(
    call: int, saver: Saver, elsewhere: Saver, state: State[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = await a_thread(saver, state)
    with monkeypatch.context() as patched:
        patched.setattr(State, "batch", failing(State.batch, call))
        with pytest.raises(Unavailable, match="cut short"):
            await saver.adelete_thread("ada")
    assert await elsewhere.aget_tuple(THREAD) is None
    assert not [found async for found in elsewhere.alist(THREAD)]
    await elsewhere.adelete_thread("ada")
    assert not await found_of(state, keys)


@pytest.mark.parametrize("name", ["batch", "transaction"])
@pytest.mark.parametrize("call", range(1, 7))
async def test_a_deletion_by_run_that_was_cut_short_is_finished_by_calling_it_again(
    name: str,
    call: int,
    saver: Saver,
    elsewhere: Saver,
    state: State[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = await put(saver, checkpoint_of(a=1), run_id="run-1")
    await saver.aput_writes(config, [("a", 1)], "task")
    await saver.acopy_thread("ada", "bob")
    keys = await keys_of(state, "ada") | await keys_of(state, "bob")
    with monkeypatch.context() as patched, contextlib.suppress(Unavailable):
        patched.setattr(State, name, failing(getattr(State, name), call))
        await saver.adelete_for_runs(["run-1"])
    await elsewhere.adelete_for_runs(["run-1"])
    assert not await found_of(state, keys)


async def test_an_empty_checkpoint_id_is_none(saver: Saver) -> None:
    unnamed: RunnableConfig = {"configurable": {**THREAD["configurable"], "checkpoint_id": ""}}
    assert await saver.aget_tuple(unnamed) is None
    config = await put(saver, checkpoint_of(a=1), unnamed)
    found = await saver.aget_tuple(unnamed)
    assert found is not None
    assert found.config == config
    assert found.parent_config is None
    assert [each.config async for each in saver.alist(unnamed)] == [config]


def failing(method: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The method, that fails at one of its calls."""
    calls = 0

    async def call(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Unavailable("cut short")
        return await method(*arguments, **named)

    return call


# What is refused, and what LangGraph may ask for besides


async def test_no_name_is_taken_for_another(saver: Saver) -> None:
    names = [("a", ""), ("a:b", ""), ("a", "b"), ("a", "b:c"), ("a:b", "c"), (7, "|")]
    configs: list[RunnableConfig] = [{"configurable": {"thread_id": t, "checkpoint_ns": n}} for t, n in names]
    for number, config in enumerate(configs):
        await put(saver, checkpoint_of(number=number), config)
    for number, config in enumerate(configs):
        found = await saver.aget_tuple(config)
        assert found is not None
        assert found.checkpoint["channel_values"] == {"number": number}


async def test_wrong_arguments_are_named(saver: Saver, one: View, style: str) -> None:
    with pytest.raises(ValueError, match="thread_id is missing"):
        [found async for found in saver.alist(None)]
    with pytest.raises(ValueError, match="thread_id is missing"):
        await saver.aget_tuple({"configurable": {"thread_id": ""}})
    with pytest.raises(ValueError, match="checkpoint_id is missing"):
        await saver.aput_writes(THREAD, [("a", 1)], "task")
    with pytest.raises(ValueError, match="strategy must be"):
        await saver.aprune(["ada"], strategy="keep_all")
    with pytest.raises(ValueError, match="value_limit must be at least 1"):
        saver_of(one, style, value_limit=0)
    with pytest.raises(ValueError, match="is empty"):
        saver_of(one, style, prefix="")


async def test_the_asynchronous_one_refuses_to_wait_and_says_what_to_use(one: View) -> None:
    saver = AsyncKeepstateSaver(one.asynchronous)
    with pytest.raises(NotImplementedError, match="KeepstateSaver"):
        asking().compile(checkpointer=saver).invoke({"numbers": [0]}, THREAD)


async def test_another_serializer_writes_and_reads_everything(one: View, style: str, state: State[Any]) -> None:
    serde = EncryptedSerializer(Scrambled())
    saver = saver_of(one, style, serde=serde)
    config = await put(saver, checkpoint_of(secret="plaintext-1"), note="plaintext-2")
    await saver.aput_writes(config, [("secret", "plaintext-3")], "task")
    found = await saver.aget_tuple(THREAD)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"secret": "plaintext-1"}
    assert found.metadata["note"] == "plaintext-2"  # type: ignore[typeddict-item]  # what a graph's user adds
    assert found.pending_writes == [("task", "secret", "plaintext-3")]
    keys = await keys_of(state, "ada")
    keys |= {f"langgraph:channel:ada:{name}:{of}" for name, of in found.checkpoint["channel_versions"].items()}
    kept = await state.using(Bytes()).get_many(keys)
    assert len(kept) == 5
    assert not [name for name, data in kept.items() if b"plaintext" in data]
    strict = saver.with_allowlist([("tests", "Allowed")])
    again = await strict.aget_tuple(THREAD)
    assert again is not None
    assert again.checkpoint == found.checkpoint


class Scrambled:
    """Stands for a cipher: what it writes does not show what it was given."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "scrambled", bytes(byte ^ 0x55 for byte in plaintext)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        assert ciphername == "scrambled"
        return bytes(byte ^ 0x55 for byte in ciphertext)


async def test_versions_grow_and_are_given_out_once(saver: Saver) -> None:
    version, seen = saver.get_next_version(None, None), set[str]()
    for _ in range(1000):
        following, fork = saver.get_next_version(version, None), saver.get_next_version(version, None)
        assert version < min(following, fork)
        seen |= {following, fork}
        version = following
    assert len(seen) == 2000
