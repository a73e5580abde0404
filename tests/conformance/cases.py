"""What a case is: its law, what it shows, and its steps; and how it is read and checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml
from pydantic import Field, ValidationError, model_validator

from tests.conformance.faults import Fault, Strict
from tests.conformance.notation import Loader

FOLDER = Path(__file__).with_name("cases")

PROMISES = (*range(1, 15), 16)
"""All but 15, isolation, which is not built."""

RULES = (
    *("C1", "C2", "C3", "C4", "C5", "C6", "D1", "D2", "D3", "T1", "T2", "T3", "T4", "R1", "R2", "R3"),
    *("P1", "P2", "P3", "P4", "E1", "E2", "E3", "E4", "A1", "A2", "A3", "A4", "A5", "X1", "X2", "X3", "X4", "X5"),
)
"""Those of docs/clients/another.md."""

_NAME = {"key", "namespace", "store"}
_CONDITION = {"if_absent", "if_exists", "if_etag"}
_EXPIRY = {"ttl_ms", "expire_time", "keep_expiry"}
_CALL = {"client", "timeout_ms", "consistency"}
_WRITE = _NAME | _CONDITION | _EXPIRY | {"consistency"}

OPERATIONS: Mapping[str, set[str]] = {
    "get": _NAME | {"slide_ttl_ms", "consistency"},
    "put": _WRITE | {"value", "content_type"},
    "delete": _NAME | _CONDITION | {"consistency"},
    "touch": _WRITE - {"keep_expiry"},
    "increment": _WRITE | {"delta", "initial", "minimum", "maximum"},
    "append": _WRITE | {"items", "max_length"},
    "merge_patch": _WRITE | {"patch"},
}
_UPDATES = ("increment", "append", "merge_patch")
_LISTS: Mapping[str, tuple[str, ...]] = {
    "batch": ("operations",),
    "transact": ("checks", "puts", "deletes", "updates"),
    "transaction": ("steps",),
    "snapshot": ("names",),
}
_STEPS: Mapping[str, set[str]] = {
    **{name: OPERATIONS[name] - {"consistency"} for name in OPERATIONS if name not in ("get", "touch")},
    "get": _NAME,
    "add": _NAME | {"delta"},
    "pause": {"name"},
    "fail": set(),
}

COMMANDS: Mapping[str, set[str]] = {
    **{name: fields | _CALL for name, fields in OPERATIONS.items()},
    "connect": {"client", "address", "namespace", "store", "timeout_ms", "retry", "gather", "token", "metadata", "tls"},
    "close": {"client"},
    "batch": _CALL | {"operations"},
    "transact": _CALL | {"checks", "puts", "deletes", "updates"},
    "transaction": _CALL | {"steps", "tries", "late"},
    "snapshot": _CALL | {"names"},
    "store": _CALL | {"store"},
    "stores": _CALL,
}

_RECORD = {"store", "namespace", "key", "value", "content_type", "etag", "create_time", "update_time", "expire_time"}
_UPDATED = {"record", "repeated"}
_STORE = {"name", "component_type", "is_default", "durability", "promises"}
_ANSWERS: Mapping[str, set[str]] = {
    "get": {"record"},
    "put": {"etag"},
    "delete": {"existed"},
    "touch": {"etag", "expire_time"},
    **dict.fromkeys(_UPDATES, _UPDATED),
    "connect": set(),
    "close": set(),
    "batch": {"results"},
    "transact": {"puts", "deletes", "updates"},
    "transaction": {"reads", "runs"},
    "snapshot": {"records"},
    "store": _STORE,
    "stores": {"stores"},
}
_ERROR = {
    *("type", "code", "reason", "message", "record", "etag", "violations", "retry_after_ms", "limit", "capability"),
    *("for_good", "nothing_sent", "correlation_id"),
}


class Command(Strict):
    """A command to the program, and what is expected of its answer. Of neither `gives` nor `fails`: no error."""

    do: str
    fields: dict[str, Any]
    gives: Any = None
    fails: Any = None
    background: str | None = None
    """A name for the call, which goes on while other steps are done."""

    @property
    def expects(self) -> bool:
        """Whether it says what is expected."""
        return self.gives is not None or self.fails is not None

    @property
    def client(self) -> str:
        return str(self.fields.get("client", "a"))


class Step(Strict):
    """One step. Exactly one of its fields is set, but for those that belong to another."""

    command: Command | None = None
    at_once: list[Command] | None = None
    """Several commands at the same time."""
    outcomes: dict[str, int] | None = None
    """Of these: how many ended with which error, or "ok"."""
    answer: Command | None = None
    """Waits for the answer to a call in the background."""
    cancel: str | None = None
    paused: str | None = None
    """Waits until the function of this call's transaction waits."""
    resume: str | None = None
    fault: Fault | None = None
    network: Literal["cut", "down", "up", "release"] | None = None
    advance_ms: int | None = None
    """Moves the service's clock on."""
    clock: Literal["stop"] | None = None
    """Stops the service's clock until the end of the case, but for `advance_ms`."""
    shift_ms: int | None = None
    """From now on clients are told a time that is so much another than the service's, which may be less."""
    process: Literal["kill", "stop", "start", "begin"] | None = None
    """What becomes of the service that runs as a process. `start` waits until it is ready."""
    wait_for: Waiting | None = None
    seen: str | None = None
    """A method, and in `calls` what the network has seen of it."""
    calls: Any = None
    connections: int | None = None
    """How many connections the network has seen."""
    forget: Literal[True] | None = None
    """Forgets the calls that were seen."""

    @model_validator(mode="after")
    def _is_one(self) -> Step:
        given = self.model_fields_set - {"outcomes", "calls"}
        if len(given) != 1:
            raise ValueError(f"a step does one thing, not {sorted(given) or 'nothing'}")
        if (self.seen is None) != (self.calls is None):
            raise ValueError("seen and calls belong together")
        return self


class Waiting(Strict):
    """Waits until the network has seen so many calls of a method, begun, ended, or given up by the client."""

    of: str
    calls: int = 0
    ended: int = 0
    cancelled: int = 0


class ClientOptions(Strict):
    """How a client of the case is made, and which way it takes to the service."""

    via: Literal["plain", "tls", "mutual", "named", "process"] = "plain"
    """The network as it is; or as TLS for 127.0.0.1, with certificates of clients, or for keepstate.test; or the
    service that runs as a process, without a network."""
    instances: list[Literal[1, 2]] = Field(default=[1])
    """Which instances of the service, by turns."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Fields of `connect`. Of `tls`: names of files."""


class Case(Strict):
    """One case."""

    law: str
    promises: list[int] = Field(default_factory=list)
    rules: list[str] = Field(default_factory=list)
    clients: dict[str, ClientOptions]
    steps: list[Step]
    file: str

    @model_validator(mode="after")
    def _shows_something(self) -> Case:
        if unknown := (set(self.promises) - set(PROMISES)) | (set(self.rules) - set(RULES)):
            raise ValueError(f"there is no promise or rule {unknown}")
        if not self.promises and not self.rules:
            raise ValueError("a case shows a promise or a rule")
        return self

    @model_validator(mode="after")
    def _waits_for_all(self) -> Case:
        begun = [step.command.background for step in self.steps if step.command and step.command.background]
        awaited = [step.answer.background for step in self.steps if step.answer]
        if sorted(begun) != sorted(map(str, awaited)):
            raise ValueError(f"in the background are {begun}, and answers are awaited of {awaited}")
        return self


Step.model_rebuild()
Fields: TypeAlias = Mapping[str, Any]


class Wrong(Exception):
    """A case is written wrong."""


def load(folder: Path = FOLDER) -> list[Case]:
    """All cases, by file.

    Raises:
        Wrong: one is written wrong; the text says where.
    """
    cases: list[Case] = []
    for file in sorted(folder.glob("*.yaml")):
        cases += read(file.read_text(), file.stem)
    laws = [case.law for case in cases]
    if twice := {law for law in laws if laws.count(law) > 1}:
        raise Wrong(f"two cases of one law: {twice}")
    return cases


def read(text: str, file: str) -> list[Case]:
    """The cases of a file.

    Raises:
        Wrong: one is written wrong; the text says where.
    """
    try:
        documents = yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise Wrong(f"{file}: {error}") from None
    cases = []
    for number, each in enumerate(documents or ()):
        law = each.get("law", f"number {number + 1}")
        try:
            steps = [_step(step) for step in each.pop("steps")]
            clients = {name: _client(options) for name, options in each.pop("clients", {"a": {}}).items()}
            cases.append(Case(**each, steps=steps, clients=clients, file=file))
        except (Wrong, ValidationError, KeyError, TypeError, AttributeError) as error:
            raise Wrong(f"{file}: {law}: {error!r}") from None
    return cases


def _client(options: Fields) -> ClientOptions:
    own = {name: options[name] for name in ("via", "instances") if name in options}
    given = {name: value for name, value in options.items() if name not in own}
    _known(given, COMMANDS["connect"] - {"client", "address"}, "a client")
    return ClientOptions(**own, options=given)


def _step(step: Fields) -> Step:
    if "do" in step:
        return Step(command=_command(step))
    if "at_once" in step:
        rest = {name: value for name, value in step.items() if name != "at_once"}
        commands = [_command(each) for each in step["at_once"]]
        if any(each.background for each in commands):
            raise Wrong("what is done at once is waited for")
        if "outcomes" in rest and any(each.expects for each in commands):
            raise Wrong("outcomes are counted, or each call says what it expects")
        return Step(at_once=commands, **rest)
    if "answer" in step:
        _known(step, {"answer", "to", "gives", "fails"}, "answer")
        command = Command(do=step["to"], fields={}, background=step["answer"], **_expectation(step, step["to"]))
        return Step(answer=command)
    return Step(**step)


def _command(step: Fields) -> Command:
    do = step["do"]
    fields = {name: value for name, value in step.items() if name not in ("do", "gives", "fails", "background")}
    if do not in COMMANDS:
        raise Wrong(f"there is no command {do!r}")
    _known(fields, COMMANDS[do], do)
    _check_lists(do, fields)
    command = Command(do=do, fields=fields, background=step.get("background"), **_expectation(step, do))
    if command.background and command.expects:
        raise Wrong("what is expected of a call in the background is said where its answer is awaited")
    return command


def _check_lists(do: str, fields: Fields) -> None:
    for name in _LISTS.get(do, ()):
        for each in fields.get(name, ()):
            _check_listed(do, name, each)
    if "late" in fields:
        _check_listed(do, "steps", fields["late"])


def _check_listed(do: str, name: str, each: Fields) -> None:
    given = {field: value for field, value in each.items() if field != "do"}
    match name:
        case "operations" | "updates":
            _known(given, OPERATIONS[each["do"]], f"{do}.{name}")
        case "steps":
            _known(given, _STEPS[each["do"]], f"{do}.{name}")
        case "puts" | "deletes":
            _known(each, OPERATIONS[name[:-1]], f"{do}.{name}")
        case "checks":
            _known(each, _NAME | _CONDITION, f"{do}.{name}")
        case _:
            _known(each, _NAME, f"{do}.{name}")


def _expectation(step: Fields, do: str) -> dict[str, Any]:
    if "gives" in step and "fails" in step:
        raise Wrong("a call gives something or fails")
    if "fails" in step:
        if (fails := step["fails"]) is None:
            raise Wrong("fails says how")
        if isinstance(fails, Mapping):
            _known(fails, _ERROR, "fails")
        else:
            fails = {"type": fails}
        return {"fails": fails}
    if isinstance(gives := step.get("gives"), Mapping):
        _known(gives, _ANSWERS[do], f"the answer to {do}")
        for record in _records(gives):
            _known(record, _RECORD, "a record")
    return {"gives": gives}


def _records(answer: Any) -> Iterator[Fields]:
    """The records that are expected anywhere in an answer."""
    match answer:
        case Mapping():
            for name, each in answer.items():
                if name == "record" and isinstance(each, Mapping):
                    yield each
                elif name in ("records", "reads") and isinstance(each, list):
                    yield from (record for record in each if isinstance(record, Mapping))
                else:
                    yield from _records(each)
        case list():
            for each in answer:
                yield from _records(each)


def _known(given: Fields, known: set[str], where: str) -> None:
    if unknown := set(given) - known:
        raise Wrong(f"{where} has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}")
