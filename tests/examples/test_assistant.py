"""Several users talk to two assistants, while these and what they stand on are killed in the middle of messages."""

from __future__ import annotations

import itertools
import json
import random
import re
import shlex
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from typing import Any

import pytest

from examples.assistant import rules
from examples.assistant.agent import EVENTS
from examples.assistant.rules import DESCRIPTION, TITLE, Command, Line, Task
from examples.assistant.terminal import Answer, Assistants
from keepstate import key
from keepstate.sync import Client
from tests.examples.conftest import ROOT
from tests.support.apps import App, apps_of, components_of, eventually
from tests.support.containers import Containers
from tests.support.servers import DaprContainer
from tests.support.service import ServiceProcess

pytestmark = pytest.mark.containers

EXAMPLE = ROOT / "examples" / "assistant"
README = (EXAMPLE / "README.md").read_text()
SEED = 20261123
USERS = ("ada", "bob:b", "cleo", "dan%", "eve")
TASKS_EACH = 4
"""With their ends these make fewer events than the feed keeps."""

KILLED_EVERY = 13
"""Messages of one user."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Two assistants, each with an instance of Keepstate of its own, and one who hears of what they do."""

    assistants: Sequence[App]
    keepstates: Sequence[ServiceProcess]
    notifier: App

    @property
    def urls(self) -> list[str]:
        return [each.url for each in self.assistants]


@pytest.fixture(scope="module")
def stage(
    containers: Containers,
    tmp_path_factory: pytest.TempPathFactory,
    unused_tcp_port_factory: Callable[[], int],
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("assistant")
    components = components_of(EXAMPLE, containers, folder)
    with ExitStack() as stack:
        sidecar = DaprContainer(
            containers.images.daprd, containers.network, app_id="keepstate", resources_path=components
        )
        stack.callback(sidecar.stop)
        settings = {"DAPR_GRPC_ENDPOINT": sidecar.grpc_target, "DAPR_HTTP_ENDPOINT": sidecar.http_endpoint}
        keepstates = []
        for name in ("one", "two"):
            (own := folder / name).mkdir()
            service = ServiceProcess(own, (unused_tcp_port_factory(), unused_tcp_port_factory()), settings)
            stack.callback(service.close)
            keepstates.append(service.begin())
        apps = []
        for number, app in enumerate(each for each in apps_of(EXAMPLE) if each["appID"] != "keepstate"):
            found = App(
                containers,
                app,
                components=components,
                port=unused_tcp_port_factory(),
                log=folder / f"{number}.log",
                alias=f"{app['appID']}-{number}",
                keepstate=keepstates[number % 2].address,
            )
            stack.callback(found.close)
            apps.append(found)
        with ThreadPoolExecutor() as threads:
            list(threads.map(DaprContainer.start, [sidecar, *(each.sidecar for each in apps)]))
        for service in keepstates:
            service.wait_until("ready")
        with ThreadPoolExecutor() as threads:
            list(threads.map(App.start, apps))
        *assistants, notifier = apps
        yield Stage(assistants=assistants, keepstates=keepstates, notifier=notifier)


@pytest.fixture
def state(stage: Stage) -> Iterator[Client[Any]]:
    """What the assistants keep, to look at."""
    with Client(stage.keepstates[0].address, namespace="assistant") as client:
        yield client


class Alone:
    """What a user hears who is alone in a world without failures, and what there is in the end."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.tasks: list[Task] = []
        self.said: list[Line] = []
        self.events: list[tuple[str, str, int]] = []
        self.messages = 0
        self.step = ""
        self._title = ""

    def say(self, text: str) -> tuple[str, str]:
        """The answer, and the step that waits then."""
        self.messages += 1
        answer = self._answer(text) if self.step else self._obey(text)
        self.said += [Line("user", text), Line("assistant", answer)]
        return answer, self.step

    def _answer(self, text: str) -> str:
        asked = self.step
        if text == "cancel":
            self.step = ""
            return rules.CANCELLED
        if not rules.fits(asked, text):
            return rules.question(asked, again=True)
        if asked == TITLE:
            self._title, self.step = text, DESCRIPTION
            return rules.question(DESCRIPTION)
        self.step = ""
        self.tasks.append(Task(number=len(self.tasks) + 1, title=self._title, description=text))
        self.events.append(("task created", self.user, len(self.tasks)))
        return rules.created(self.tasks[-1])

    def _obey(self, text: str) -> str:
        command, number = rules.understand(text)
        if command is Command.CREATE:
            self.step = TITLE
        told: Mapping[Command, Callable[[], str]] = {
            Command.HELLO: lambda: rules.greeting(self.user),
            Command.CREATE: lambda: rules.question(TITLE),
            Command.TASKS: lambda: rules.tasks(self.tasks),
            Command.DONE: lambda: self._done(number),
            Command.COUNT: lambda: rules.count(self.messages),
            Command.HISTORY: lambda: rules.history(self.said[-50:]),
            Command.UNKNOWN: lambda: rules.help_text(understood=False),
        }
        return told[command]()

    def _done(self, number: int) -> str:
        if not 1 <= number <= len(self.tasks):
            return rules.made_done(number, None)
        task = self.tasks[number - 1]
        if not task.done:
            done = Task(number=number, title=task.title, description=task.description, done=True)
            self.tasks[number - 1] = done
            self.events.append(("task done", self.user, number))
        return rules.made_done(number, task)


def script(user: str, chance: random.Random) -> list[str]:
    """What a user says: tasks in between of everything else, and none left half created."""
    lines = []
    for number in range(1, TASKS_EACH + 1):
        for _ in range(chance.randrange(4)):
            said = ("hello", "my tasks", "how many", "history", "what?", f"done {chance.randrange(number + 1)}")
            lines.append(chance.choice(said))
        if chance.random() < 0.3:
            lines += ["create task", *chance.choice(([], [f"{user} changes their mind"])), "cancel"]
        if chance.random() < 0.2:
            lines += ["create task", "x" * 101]
        else:
            lines += ["create task"]
        lines += [f"title {number} of {user}", f"description {number} of {user}", "my tasks"]
    return [*lines, "done 1", "my tasks", "how many", "history"]


class Report:
    """What happened to the messages, as users and killer tell it."""

    def __init__(self) -> None:
        self.answered = 0
        self.sent_again = 0
        self.heard = 0
        """Of these: those that were heard the first time, though no answer came."""

        self.kills: Counter[str] = Counter()
        self.cut_short = 0
        """Kills while a message was under way to what was killed."""

        self._under_way: dict[str, str] = {}
        """Where each user's message is."""

        self._lock = threading.Condition()

    def goes_to(self, user: str, url: str) -> None:
        with self._lock:
            self._under_way[user] = url
            self._lock.notify_all()

    def wait_for_one_to(self, url: str) -> None:
        """Waits until a message is under way there; not for ever, since users may have said all."""
        with self._lock:
            self._lock.wait_for(lambda: url in self._under_way.values(), timeout=3)

    def is_answered(self, user: str, answer: Answer) -> None:
        with self._lock:
            del self._under_way[user]
            self.answered += 1
            self.sent_again += answer.attempts > 1
            self.heard += answer.repeated

    def is_killed(self, kind: str, url: str) -> None:
        with self._lock:
            self.kills[kind] += 1
            self.cut_short += url in self._under_way.values()

    def __str__(self) -> str:
        return (
            f"{self.answered} messages, {self.sent_again} of them sent again, {self.heard} of these had been heard; "
            f"{dict(self.kills)} killed, {self.cut_short} times with a message under way"
        )


class Killer:
    """Kills what a message has come to, and starts it again."""

    def __init__(self, stage: Stage, report: Report) -> None:
        self._stage = stage
        self._report = report
        self._kinds = itertools.cycle(("assistant", "keepstate", "assistant", "notifier"))
        self._busy = [threading.Lock() for _ in range(3)]
        self._threads = ThreadPoolExecutor(8)
        self._under_way: list[Any] = []

    def soon(self, seconds: float, assistant: int) -> None:
        """Have one killed, so many seconds after a message to this assistant began."""
        self._under_way.append(self._threads.submit(self._kill, next(self._kinds), seconds, assistant))

    def finish(self) -> None:
        """Wait until all runs again."""
        for each in self._under_way:
            each.result(60)
        self._threads.shutdown()

    def _kill(self, kind: str, seconds: float, number: int) -> None:
        with self._busy[2 if kind == "notifier" else number]:  # what has just been killed runs again before
            assistant, keepstate = self._stage.assistants[number], self._stage.keepstates[number]
            self._report.wait_for_one_to(assistant.url)
            time.sleep(seconds)
            self._report.is_killed(kind, self._stage.notifier.url if kind == "notifier" else assistant.url)
            match kind:
                case "notifier":
                    self._stage.notifier.end()
                    self._stage.notifier.start()
                case "assistant":
                    assistant.end()
                    assistant.start()
                case "keepstate":
                    keepstate.end(signal.SIGKILL)
                    keepstate.start()


def talk(user: str, stage: Stage, killer: Killer, report: Report) -> Alone:
    """One user's side: each answer must be what it would be without any kills."""
    chance = random.Random(f"{SEED} {user}")
    alone = Alone(user)
    for number, text in enumerate(script(user, chance)):
        first = chance.randrange(2)
        urls = stage.urls[first:] + stage.urls[:first]
        if (number + 4 * USERS.index(user)) % KILLED_EVERY == KILLED_EVERY - 1:
            killer.soon(chance.uniform(0, 0.02), first)
        step = alone.step
        expected = alone.say(text)
        ways = itertools.cycle(urls)

        def goes_on(_: str = "", ways: Iterator[str] = ways) -> None:
            report.goes_to(user, next(ways))

        goes_on()
        answer = Assistants(urls, notice=goes_on).say(user, text, message_id=f"{number}", step=step)
        report.is_answered(user, answer)
        assert (answer.text, answer.awaiting) == expected, f"to message {number} of {user}, {text!r}"
        time.sleep(chance.uniform(0, 0.2))
    return alone


def test_nothing_is_lost_or_doubled_though_all_are_killed(
    containers: Containers, stage: Stage, state: Client[Any]
) -> None:
    began = time.monotonic()
    report = Report()
    killer = Killer(stage, report)
    try:
        with ThreadPoolExecutor(len(USERS)) as threads:
            talks = list(threads.map(partial(talk, stage=stage, killer=killer, report=report), USERS))
    finally:
        killer.finish()
    sys.stdout.write(f"{report}, {time.monotonic() - began:.0f} s\n")

    for alone in talks:
        user, count = alone.user, len(alone.tasks)
        assert count == TASKS_EACH
        assert state.get(key("task", user)) == count
        kept = [state.get(key("task", user, number)) for number in range(1, count + 2)]
        told = [{"title": each.title, "description": each.description, "done": each.done} for each in alone.tasks]
        assert kept == [*told, None]
        numbered = [{"number": number, **fields} for number, fields in enumerate(told, start=1)]
        assert state.get(key("cache", "tasks", user)) in (None, numbered)
        said: list[Any] = state.get(key("chat", "history", user), default=[])
        assert [Line(each["role"], each["content"]) for each in said] == alone.said[-50:]
        assert state.get(key("count", user)) == alone.messages
        assert state.get(key("workflow", "user", user)) is None
    events = Counter(itertools.chain.from_iterable(alone.events for alone in talks))
    assert set(events.values()) == {1}
    assert events.total() <= 100
    eventually(lambda: state.get(key("queue", EVENTS, "size")) == 0)  # nothing is to be published
    eventually(lambda: containers.redis.cli("XPENDING", EVENTS, "notifier").startswith("0"))  # or delivered any more
    assert feed(stage, *USERS) == events
    # Else nothing was shown.
    assert report.kills.total() >= 8
    assert report.cut_short >= 4


def test_who_dies_after_hearing_a_message_leaves_its_answer_to_the_other(stage: Stage, state: Client[Any]) -> None:
    one, other = stage.assistants
    assert Assistants([other.url]).say("fay", "hello", message_id="6").text == rules.greeting("fay")
    with closing(HTTPConnection(one.sidecar.address, one.sidecar.http_port)) as connection:
        body = json.dumps({"user": "fay", "id": "7", "text": "create task"})
        connection.request("POST", "/v1.0/invoke/assistant/method/say", body)
        eventually(lambda: state.get(key("count", "fay")) == 2)
        one.end()  # the answer is not read, whether or not it was sent
    again = Assistants([other.url]).say("fay", "create task", message_id="7")
    assert again == Answer(text=rules.question(TITLE), awaiting=TITLE, repeated=True, attempts=1)
    assert state.get(key("count", "fay")) == 2
    one.start()


def test_a_message_sent_to_both_at_once_is_one(stage: Stage, state: Client[Any]) -> None:
    lines = ("create task", "Paint the fence", "green", "done 1", "how many")
    alone = Alone("gil")
    with ThreadPoolExecutor(8) as threads:
        for number, line in enumerate(lines):
            asked = [Assistants([url]) for url in stage.urls * 4]
            say = partial(Assistants.say, user="gil", text=line, message_id=f"{number}")
            answers = list(threads.map(say, asked))
            text, step = alone.say(line)
            assert {(each.text, each.awaiting) for each in answers} == {(text, step)}
            assert [each.repeated for each in answers].count(False) == 1
    assert state.get(key("task", "gil")) == 1
    assert state.get(key("count", "gil")) == len(lines)
    said: list[Any] = state.get(key("chat", "history", "gil"), default=[])
    assert [Line(each["role"], each["content"]) for each in said] == alone.said
    eventually(lambda: feed(stage, "gil") == Counter(alone.events))


def test_of_two_answers_to_one_question_the_first_counts(stage: Stage) -> None:
    one, other = (Assistants([url]) for url in stage.urls)
    one.say("hal", "create task", message_id="1")
    first = one.say("hal", "Mend the gate", message_id="2", step=TITLE)
    second = other.say("hal", "Mend the door", message_id="3", step=TITLE)
    assert first.awaiting == second.awaiting == DESCRIPTION
    assert second.text == rules.moved_on(DESCRIPTION)
    assert other.say("hal", "it squeaks", message_id="4", step=DESCRIPTION).text == "Task 1 is created: Mend the gate"
    assert one.say("hal", "or does it?", message_id="5", step=DESCRIPTION).text == rules.moved_on("")


def test_an_event_waits_for_a_notifier_that_is_away(stage: Stage, state: Client[Any]) -> None:
    stage.notifier.end()
    refused = refusals(stage)
    assistants = Assistants(stage.urls)
    for number, line in enumerate(("create task", "Water the plants", "all of them")):
        assistants.say("ida", line, message_id=f"{number}")
    eventually(lambda: state.get(key("queue", EVENTS, "size")) == 0)  # it is published
    eventually(lambda: refusals(stage) > refused)  # and was not taken
    stage.notifier.start()
    eventually(lambda: feed(stage, "ida") == Counter([("task created", "ida", 1)]))


def test_an_event_that_comes_twice_is_heard_once(stage: Stage) -> None:
    data = {"event": "task created", "user": "joy", "number": 1, "title": "Call Ada"}
    body = json.dumps({"id": "joy-1", "data": data}).encode()
    for _ in range(2):
        status, answer = stage.notifier.sidecar.http("POST", "/v1.0/invoke/notifier/method/hear", body)
        assert (status, json.loads(answer)) == (200, {"status": "SUCCESS"})
    assert feed(stage, "joy") == Counter([("task created", "joy", 1)])


def test_what_can_never_be_heard_does_not_come_for_ever(containers: Containers, stage: Stage) -> None:
    too_long = f"/v1.0/publish/pubsub/{EVENTS}?metadata.cloudevent.id={'x' * 51}"
    assert stage.assistants[0].sidecar.http("POST", too_long, b"{}")[0] == 204
    eventually(lambda: "dropped an event: id must be" in stage.notifier.log.read_text())
    eventually(lambda: containers.redis.cli("XPENDING", EVENTS, "notifier").startswith("0"))


def refusals(stage: Stage) -> int:
    """How often the notifier's sidecar could not deliver an event."""
    return b"".join(stage.notifier.sidecar.get_logs()).count(b"error while publishing a subscribed message")


def test_what_the_readme_calls_is_answered_as_it_says(stage: Stage) -> None:
    asked = re.findall(r"^(curl .*)\n# (.*)$", README, re.MULTILINE)
    assert len(asked) == 4
    for command, told in asked:
        curl, data, body, url = shlex.split(command)
        assert (curl, data) == ("curl", "-d")
        host, path = url.split("/", 1)
        app = {"localhost:3501": stage.assistants[0], "localhost:3502": stage.assistants[1]}[host]
        assert app.sidecar.http("POST", f"/{path}", body.encode()) == (200, told.encode())


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "user must be a text of 1 to 50 printable characters"),
        ({"user": "u" * 51}, "user must be a text of 1 to 50 printable characters"),
        ({"user": "kim"}, "id must be a text of 1 to 50 printable characters"),
        ({"user": "kim", "id": "1"}, "text must be a text of 1 to 1000 printable characters"),
        ({"user": "kim", "id": "1", "text": "a\nb"}, "text must be a text of 1 to 1000 printable characters"),
        ({"user": "kim", "id": "1", "text": "hello", "step": 1}, "step must be a text"),
    ],
)
def test_what_is_wrong_is_answered_by_its_field(stage: Stage, fields: Mapping[str, object], error: str) -> None:
    sidecar = stage.assistants[0].sidecar
    status, answer = sidecar.http("POST", "/v1.0/invoke/assistant/method/say", json.dumps(fields).encode())
    assert (status, json.loads(answer)) == (400, {"error": error})


def test_no_sidecar_has_more_than_its_app_needs(stage: Stage) -> None:
    for app in (*stage.assistants, stage.notifier):
        _, body = app.sidecar.http("GET", "/v1.0/metadata")
        assert [each["name"] for each in json.loads(body)["components"]] == ["pubsub"]


def test_the_readme_and_the_template_name_the_same_ports() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+), (\d+) \| (\d+) \|", README, re.MULTILINE)
    apps = apps_of(EXAMPLE)
    assert [(app_id, *map(int, ports)) for app_id, *ports in rows] == [
        (app["appID"], app["daprHTTPPort"], app["daprGRPCPort"], app["appPort"]) for app in apps
    ]
    for app in apps:
        ports = f"--dapr-http-port {app['daprHTTPPort']} --dapr-grpc-port {app['daprGRPCPort']}"
        (line,) = re.findall(rf"^daprd --app-id {app['appID']} --app-port {app['appPort']} .*$", README, re.MULTILINE)
        assert ports in line
        assert f"--app-protocol {app['appProtocol']}" in line
        assert " ".join(app["command"]) in README


def feed(stage: Stage, *users: str) -> Counter[tuple[str, str, int]]:
    """The events of users that the notifier has heard."""
    with Client(stage.keepstates[1].address, namespace="notifier") as client:
        found: list[Any] = client.get("feed", default=[])
    heard = [each["data"] for each in found]
    return Counter((each["event"], each["user"], each["number"]) for each in heard if each["user"] in users)
