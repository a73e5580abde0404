"""The conformance suite's program in Python: it makes the calls that it is told with the Python client.

What the lines say is in docs/clients/conformance.md.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.metadata
import json
import re
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from keepstate import (
    Append,
    Bytes,
    Check,
    Client,
    Consistency,
    Delete,
    EncodeError,
    Get,
    Increment,
    KeepstateError,
    MergePatch,
    Operation,
    Put,
    Record,
    RecordName,
    State,
    StoreInfo,
    Tls,
    Touch,
    Touched,
    Transaction,
    Update,
    Updated,
)

Fields: TypeAlias = Mapping[str, Any]

# An EncodeError is raised before anything is sent, like the others.
USAGE = (ValueError, TypeError, RuntimeError, EncodeError)


class Raised(Exception):
    """What the function of a transaction raises itself."""


# What commands say, as the client takes it.


def value_of(text: str) -> bytes:
    """A value or an item of a list."""
    return base64.b64decode(text, validate=True)


def json_of(text: str) -> Any:
    """A value that the client encodes as JSON: it takes no bytes for it."""
    return json.loads(value_of(text))


def time_of(text: str) -> datetime:
    """A time. What is finer than a microsecond Python's times cannot say."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))


def milliseconds(number: int) -> timedelta:
    """A length of time."""
    return timedelta(milliseconds=number)


_TAKEN: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "if_absent": ("if_absent", bool),
    "if_exists": ("if_exists", bool),
    "if_etag": ("if_etag", str),
    "ttl_ms": ("ttl", milliseconds),
    "expire_time": ("expire_at", time_of),
    "keep_expiry": ("keep_expiry", bool),
    "slide_ttl_ms": ("slide_ttl", milliseconds),
    "consistency": ("consistency", Consistency),
    "namespace": ("namespace", str),
    "store": ("store", str),
    "delta": ("delta", int),
    "initial": ("initial", int),
    "minimum": ("minimum", int),
    "maximum": ("maximum", int),
    "max_length": ("max_length", int),
}
"""For each field of an operation: what the client calls it, and how it is read."""


def taken(command: Fields, fields: Collection[str]) -> dict[str, Any]:
    """What a command says in these fields, by the client's names."""
    return {_TAKEN[name][0]: _TAKEN[name][1](value) for name, value in command.items() if name in fields}


def operation_of(command: Fields) -> Operation[Any]:
    """The operation that a command tells."""
    given = taken(command, _TAKEN)
    key = command["key"]
    operation: Operation[Any]
    match command["do"]:
        case "get":
            operation = Get(key, **given)
        case "put":
            codec = Bytes(content_type=command["content_type"]) if "content_type" in command else None
            operation = Put(key, value_of(command["value"]), codec=codec, **given)
        case "delete":
            operation = Delete(key, **given)
        case "touch":
            operation = Touch(key, never="ttl_ms" not in command and "expire_time" not in command, **given)
        case "increment":
            operation = Increment(key, **given)
        case "append":
            operation = Append(key, [json_of(item) for item in command["items"]], **given)
        case "merge_patch":
            operation = MergePatch(key, json_of(command["patch"]), **given)
        case other:
            raise ValueError(f"do: {other!r} is no operation")
    return operation


def check_of(command: Fields) -> Check:
    """The check that a transaction's command tells."""
    given = taken(command, _TAKEN)
    return Check(command["key"], **given)


# What the client answers, as the suite reads it.


def text_of_time(time: datetime | None) -> str | None:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z") if time else None


def text_of_value(value: object) -> str:
    """A value; what an update left comes decoded."""
    if not isinstance(value, bytes):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(value).decode()


def answer_of_record(record: Record[Any] | None) -> dict[str, Any] | None:
    if record is None:
        return None
    return {
        **asdict(record.name),
        "value": text_of_value(record.value),
        "content_type": record.content_type,
        "etag": record.etag,
        "create_time": text_of_time(record.create_time),
        "update_time": text_of_time(record.update_time),
        "expire_time": text_of_time(record.expire_time),
    }


def answer_of(operation: Operation[Any], result: Any) -> dict[str, Any]:
    """The answer to an operation."""
    match operation, result:
        case Get(), _:
            return {"record": answer_of_record(result)}
        case Put(), _:
            return {"etag": result}
        case Delete(), _:
            return {"existed": result}
        case Touch(), Touched(etag=etag, expire_time=time):
            return {"etag": etag, "expire_time": text_of_time(time)}
        case Update(), Updated(record=record, repeated=repeated):
            return {"record": answer_of_record(record), "repeated": repeated}
    raise AssertionError(f"{operation} was answered with a {type(result).__name__}")


def answer_of_store(store: StoreInfo) -> dict[str, Any]:
    promises = [{**asdict(each), "keeping": str(each.keeping)} for each in store.promises]
    return {**asdict(store), "promises": promises}


def answer_of_error(error: BaseException) -> dict[str, Any]:
    """The error that a command ended with."""
    if isinstance(error, USAGE):
        return {"type": "Usage", "message": str(error)}
    if isinstance(error, asyncio.CancelledError):
        return {"type": "Cancelled", "message": "the caller cancelled it"}
    if not isinstance(error, KeepstateError):
        return {"type": type(error).__name__, "message": str(error)}
    answer: dict[str, Any] = {
        "type": type(error).__name__,
        "code": error.code.name if error.code else None,
        "reason": error.reason,
        "message": error.message,
        "correlation_id": error.correlation_id,
        "nothing_sent": error.nothing_sent,
    }
    for field in ("etag", "limit", "capability", "for_good"):
        if hasattr(error, field):
            answer[field] = getattr(error, field)
    if name := getattr(error, "name", None):
        answer["record"] = asdict(name)
    if violations := getattr(error, "violations", ()):
        answer["violations"] = [asdict(each) for each in violations]
    if (retry_after := getattr(error, "retry_after", None)) is not None:
        answer["retry_after_ms"] = retry_after / timedelta(milliseconds=1)
    return answer


def outcome_of(operation: Operation[Any], result: Any) -> dict[str, Any]:
    """What became of an operation of a batch."""
    if isinstance(result, KeepstateError):
        return {"error": answer_of_error(result)}
    return {"ok": answer_of(operation, result)}


class Program:
    """The clients by name, and the commands that are under way by number."""

    def __init__(self, write: Callable[[Fields], None]) -> None:
        self._write = write
        self._clients: dict[str, Client[bytes]] = {}
        self._namespaces: dict[str, tuple[str, str]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._resumed: dict[int, asyncio.Event] = {}

    def begin(self, line: bytes) -> None:
        """Begin a command."""
        command = json.loads(line)
        task = asyncio.create_task(self._answer(command))
        self._tasks[command["id"]] = task
        task.add_done_callback(lambda _: self._tasks.pop(command["id"]))

    async def end(self) -> None:
        """Cut short what is under way."""
        for client in self._clients.values():
            await client.close()

    async def _answer(self, command: Fields) -> None:
        try:
            done: Callable[[Fields], Awaitable[Fields]] = getattr(self, f"_{command['do']}", self._one)
            answer: dict[str, Any] = {"ok": await done(command)}
        except (*USAGE, KeepstateError, Raised, asyncio.CancelledError) as error:
            answer = {"error": answer_of_error(error)}
        self._write({"id": command["id"], **answer})

    async def _hello(self, _: Fields) -> Fields:
        return {"language": "python", "version": importlib.metadata.version("keepstate")}

    async def _connect(self, command: Fields) -> Fields:
        options: dict[str, Any] = {field: command[field] for field in ("token", "metadata") if field in command}
        if "timeout_ms" in command:
            options["timeout"] = milliseconds(command["timeout_ms"])
        if command.get("retry") is False:
            options["retry"] = None
        if command.get("gather") is False:
            options["gather"] = False
        if "tls" in command:
            options["tls"] = Tls(**command["tls"])
        namespace, store = command.get("namespace", ""), command.get("store", "")
        client = Client(command["address"], codec=Bytes(), namespace=namespace, store=store, **options)
        self._clients[command["client"]] = client
        self._namespaces[command["client"]] = (namespace, store)
        return {}

    async def _close(self, command: Fields) -> Fields:
        await self._clients.pop(command["client"]).close()
        return {}

    async def _cancel(self, command: Fields) -> Fields:
        if task := self._tasks.get(command["call"]):
            task.cancel()
        return {}

    async def _resume(self, command: Fields) -> Fields:
        self._resumed[command["call"]].set()
        return {}

    def _view(self, command: Fields) -> State[bytes]:
        view: State[bytes] = self._clients[command["client"]]
        if "namespace" in command:
            view = view.namespace(command["namespace"])
        return view.store(command["store"]) if "store" in command else view

    async def _one(self, command: Fields) -> Fields:
        """Perform one operation as a call of its own."""
        view, operation = self._view(command), operation_of(command)
        given = taken(command, _TAKEN.keys() - {"namespace", "store"})
        timeout, key, result = timeout_of(command), operation.key, None
        match operation:
            case Get():
                result = await view.get_record(key, timeout=timeout, **given)
            case Put(value=value, codec=codec):
                result = await view.put(key, value, codec=codec, timeout=timeout, **given)
            case Delete():
                result = await view.delete(key, timeout=timeout, **given)
            case Touch(never=never):
                result = await view.touch(key, never=never, timeout=timeout, **given)
            case Update():
                result = await view.update(operation, timeout=timeout)
        return answer_of(operation, result)

    async def _batch(self, command: Fields) -> Fields:
        operations = [operation_of(each) for each in command["operations"]]
        results = await self._view(command).batch(operations, timeout=timeout_of(command))
        return {"results": [outcome_of(*pair) for pair in zip(operations, results, strict=True)]}

    async def _transact(self, command: Fields) -> Fields:
        puts = [operation_of({"do": "put", **each}) for each in command.get("puts", ())]
        deletes = [operation_of({"do": "delete", **each}) for each in command.get("deletes", ())]
        updates = [operation_of(each) for each in command.get("updates", ())]
        done = await self._view(command).transact(
            checks=[check_of(each) for each in command.get("checks", ())],
            puts=[each for each in puts if isinstance(each, Put)],
            deletes=[each for each in deletes if isinstance(each, Delete)],
            updates=[each for each in updates if isinstance(each, Update)],
            timeout=timeout_of(command),
        )
        return {
            "puts": [answer_of(*pair) for pair in zip(puts, done.puts, strict=True)],
            "deletes": [answer_of(*pair) for pair in zip(deletes, done.deletes, strict=True)],
            "updates": [answer_of(*pair) for pair in zip(updates, done.updates, strict=True)],
        }

    async def _transaction(self, command: Fields) -> Fields:
        reads: list[dict[str, Any] | None] = []
        runs, last = 0, None

        async def function(tx: Transaction[bytes]) -> None:
            nonlocal runs, last
            runs, last = runs + 1, tx
            reads.clear()
            for step in command["steps"]:
                await self._step(command["id"], tx, step, runs, reads)

        tries = {"tries": command["tries"]} if "tries" in command else {}
        await self._view(command).transaction(function, timeout=timeout_of(command), **tries)
        if last is not None and "late" in command:
            await self._step(command["id"], last, command["late"], runs, [])
        return {"reads": reads, "runs": runs}

    async def _step(
        self, call: int, tx: Transaction[bytes], step: Fields, run: int, reads: list[dict[str, Any] | None]
    ) -> None:
        view = tx.namespace(step["namespace"]) if "namespace" in step else tx
        view = view.store(step["store"]) if "store" in step else view
        given = taken(step, _TAKEN.keys() - {"namespace", "store"})
        match step["do"]:
            case "get":
                reads.append(answer_of_record(await view.get_record(step["key"])))
            case "put":
                content_type = step.get("content_type", Bytes().content_type)
                view.put(step["key"], value_of(step["value"]), codec=Bytes(content_type=content_type), **given)
            case "delete":
                view.delete(step["key"], **given)
            case "add":
                number = int(await view.get(step["key"], default=b"0")) + int(step["delta"])
                view.put(step["key"], str(number).encode(), codec=Bytes(content_type="application/json"))
            case "pause" if run == 1:
                resumed = self._resumed[call] = asyncio.Event()
                self._write({"id": call, "paused": step["name"], "run": run})
                await resumed.wait()
            case "pause":
                pass
            case "fail":
                raise Raised("the function's own error")
            case _:
                operation = operation_of(step)
                if not isinstance(operation, Update):
                    raise TypeError(f"do: {step['do']!r} is no step of a transaction")
                view.update(operation)

    async def _snapshot(self, command: Fields) -> Fields:
        namespace, store = self._namespaces[command["client"]]
        names = [RecordName(**{"namespace": namespace, "store": store, **each}) for each in command["names"]]
        found = await self._view(command).snapshot(names, timeout=timeout_of(command))
        return {"records": [answer_of_record(found.get(name)) for name in names]}

    async def _store(self, command: Fields) -> Fields:
        return answer_of_store(await self._view(command).store_info(timeout=timeout_of(command)))

    async def _stores(self, command: Fields) -> Fields:
        return {"stores": [answer_of_store(each) for each in await self._view(command).stores()]}


def timeout_of(command: Fields) -> timedelta | None:
    return milliseconds(command["timeout_ms"]) if "timeout_ms" in command else None


def write(line: Fields) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Begin a command for each line of standard input, until its end."""
    lines = asyncio.StreamReader(limit=64 << 20)  # a batch may be large
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    program = Program(write)
    while line := await lines.readline():
        program.begin(line)
    await program.end()


if __name__ == "__main__":
    asyncio.run(main())
