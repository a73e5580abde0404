"""The terminal in a pipe and by hand, before an assistant that has no sidecar."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import pytest

from examples.assistant import rules
from examples.assistant.agent import EVENTS
from examples.assistant.rules import TITLE
from examples.assistant.terminal import Assistants, Nobody
from keepstate import key
from keepstate.sync import Client
from keepstate.testing import KeepstateService
from tests.examples.conftest import ROOT
from tests.support.apps import eventually, listens

README = (ROOT / "examples" / "assistant" / "README.md").read_text()
TERMINAL = (sys.executable, "-m", "examples.assistant.terminal")


class Service:
    """The program, as the README starts it."""

    def __init__(self, port: int, keepstate: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPSTATE_", "DAPR_"))}
        self._environment = {**inherited, "APP_PORT": f"{port}", "KEEPSTATE_ADDRESS": keepstate}
        self._port = port
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "examples.assistant.service"],
            cwd=ROOT,
            env=self._environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        eventually(lambda: listens("127.0.0.1", self._port))

    def end(self) -> tuple[int, str]:
        """Ends it in good order, and returns its exit code and log."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        _, log = self._process.communicate(timeout=20)
        return self._process.returncode, log

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def keepstate() -> Iterator[str]:
    """The address of Keepstate on the embedded store, without what another test's assistant left when it was killed."""
    with KeepstateService() as running:
        yield running.address


@pytest.fixture
def service(keepstate: str, unused_tcp_port_factory: Callable[[], int]) -> Iterator[Service]:
    """An assistant that is not started yet."""
    with closing(Service(unused_tcp_port_factory(), keepstate)) as found:
        yield found


def pipe(*arguments: str, lines: str) -> subprocess.CompletedProcess[str]:
    """Runs the terminal on these lines, to its end."""
    return subprocess.run(
        [*TERMINAL, *arguments], cwd=ROOT, input=lines, capture_output=True, text=True, timeout=60, check=False
    )


def test_what_the_readme_shows_is_what_happens(service: Service) -> None:
    service.start()
    (shown,) = re.findall(r"^```\n(ada> .*?)^```$", README, re.MULTILINE | re.DOTALL)
    lines = "".join(re.findall(r"^\w+> (.*\n)", shown, re.MULTILINE))
    done = pipe("--user", "ada", "--at", service.url, lines=lines)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == re.sub(r"^\w+> ", "you: ", shown, flags=re.MULTILINE)


def test_a_talk_goes_on_where_it_stood(service: Service) -> None:
    service.start()
    assert pipe("--user", "bob", "--at", service.url, lines="create task\n").returncode == 0
    again = pipe("--user", "bob", "--at", service.url, lines="Buy milk\n\ntwo litres\nmy tasks\n")
    assert again.stdout.splitlines() == [
        "you: create task",
        f"assistant: {rules.question(TITLE)}",
        f"(I still ask: {rules.question(TITLE)})",
        "you: Buy milk",
        "assistant: What is its description?",
        "you: two litres",
        "assistant: Task 1 is created: Buy milk",
        "you: my tasks",
        "assistant: 1. Buy milk",
    ]


def test_where_one_does_not_answer_the_next_is_asked(
    service: Service, unused_tcp_port_factory: Callable[[], int]
) -> None:
    service.start()
    nobody = f"http://127.0.0.1:{unused_tcp_port_factory()}"
    done = pipe("--user", "cleo", "--at", nobody, "--at", service.url, lines="how many\nhow many\n")
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if line.startswith("assistant")] == [
        "assistant: You have written 1 message.",
        "assistant: You have written 2 messages.",
    ]
    assert done.stderr.count(nobody) == 1  # who answered is asked first from then on


def test_a_pipe_ends_where_nobody_answers(service: Service) -> None:
    done = pipe("--user", "dan", "--at", service.url, "--patience", "1", lines="hello\n")
    assert done.returncode == 1
    assert done.stderr.endswith("error: nobody answers\n")


def test_a_message_that_is_wrong_is_refused_and_not_sent_again(service: Service) -> None:
    service.start()
    done = pipe("--user", "u" * 51, "--at", service.url, lines="hello\n")
    assert (done.returncode, done.stderr) == (1, "error: user must be a text of 1 to 50 printable characters\n")


def test_who_has_as_many_tasks_as_may_be_gets_no_more(service: Service, keepstate: str) -> None:
    service.start()
    with Client(keepstate, namespace="assistant") as state:
        state.put(key("task", "gus"), rules.MOST_TASKS)
    done = pipe("--user", "gus", "--at", service.url, lines="create task\ncancel\n")
    answers = [line for line in done.stdout.splitlines() if line.startswith("assistant")]
    assert answers == [f"assistant: {rules.FULL}", f"assistant: {rules.NOTHING_TO_CANCEL}"]


def test_where_too_many_events_wait_nothing_is_done_that_makes_another(service: Service, keepstate: str) -> None:
    service.start()
    waiting = key("queue", EVENTS, "size")
    say = partial(Assistants([service.url]).say, "hal")
    with Client(keepstate, namespace="assistant") as state:
        state.put(waiting, 1000)
        for number, line in enumerate(("how many", "create task", "Buy ink")):
            say(line, message_id=f"{number}")  # what makes no event is answered
        with pytest.raises(Nobody):
            Assistants([service.url], patience=1).say("hal", "black", message_id="3")
        assert state.get(key("task", "hal")) is None
        assert state.get(key("count", "hal")) == 3
        state.delete(waiting)
    assert say("black", message_id="3").text == "Task 1 is created: Buy ink"


def test_without_a_sidecar_events_are_in_the_log(service: Service, keepstate: str) -> None:
    service.start()
    pipe("--user", "eve", "--at", service.url, lines="create task\nBuy tea\ngreen\n")
    with Client(keepstate, namespace="assistant") as state:
        eventually(lambda: state.get(key("queue", EVENTS)) == {})  # which is after the answer
    code, log = service.end()
    assert code == 0
    assert "'event': 'task created', 'user': 'eve', 'number': 1, 'title': 'Buy tea'" in log


class ByHand:
    """The terminal with a person before it."""

    def __init__(self, *arguments: str) -> None:
        self._hand, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "dumb"}
        self._process = subprocess.Popen(
            [*TERMINAL, *arguments], cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self._seen = ""

    def sees(self, text: str) -> None:
        """Waits until this is shown, after what was waited for before."""
        deadline = time.monotonic() + 30
        while text not in self._seen:
            ready, _, _ = select.select([self._hand], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{text!r} is not in {self._seen!r}"
            self._seen += os.read(self._hand, 4096).decode()
        self._seen = self._seen.split(text, 1)[1]

    def types(self, line: str) -> None:
        os.write(self._hand, f"{line}\n".encode())

    def leaves(self) -> int:
        os.write(self._hand, b"\x04")  # the end of the input
        return self._process.wait(10)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._hand)


def test_by_hand_a_message_waits_until_somebody_answers_and_counts_once(service: Service) -> None:
    service.start()
    with closing(ByHand("--user", "fay", "--at", service.url, "--patience", "1")) as terminal:
        terminal.sees("fay> ")
        terminal.types("create task")
        terminal.sees(f"assistant: {rules.question(TITLE)}")
        terminal.sees("title> ")
        service.end()
        terminal.types("Buy bread")
        terminal.sees("error: nobody answers")
        terminal.sees("(not answered: 'Buy bread'; Enter says it again) ")
        service.start()
        terminal.types("")
        terminal.sees("description> ")
        terminal.types("cancel")
        terminal.sees("fay> ")
        terminal.types("how many")
        terminal.sees("assistant: You have written 4 messages.")
        terminal.sees("fay> ")
        assert terminal.leaves() == 0
