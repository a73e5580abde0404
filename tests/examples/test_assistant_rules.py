"""What the assistant understands and says, without anything that it stands on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.assistant import rules
from examples.assistant.rules import DESCRIPTION, TITLE, Command, Line, Task


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ("hello", (Command.HELLO, 0)),
        (" Hello! ", (Command.HELLO, 0)),
        ("create   task", (Command.CREATE, 0)),
        ("My tasks?", (Command.TASKS, 0)),
        ("done 2", (Command.DONE, 2)),
        ("Done 17.", (Command.DONE, 17)),
        ("how many", (Command.COUNT, 0)),
        ("history", (Command.HISTORY, 0)),
        ("cancel", (Command.CANCEL, 0)),
        ("help", (Command.HELP, 0)),
        ("done", (Command.UNKNOWN, 0)),
        ("done two", (Command.UNKNOWN, 0)),
        ("done -2", (Command.UNKNOWN, 0)),
        ("done ²", (Command.UNKNOWN, 0)),
        ("done 1 2", (Command.UNKNOWN, 0)),
        ("done 12345678901234567890", (Command.UNKNOWN, 0)),
        ("create", (Command.UNKNOWN, 0)),
        ("", (Command.UNKNOWN, 0)),
    ],
)
def test_a_command_is_known_by_its_words_alone(text: str, understood: tuple[Command, int]) -> None:
    assert rules.understand(text) == understood


@given(st.text())
def test_every_text_is_understood_as_something(text: str) -> None:
    command, number = rules.understand(text)
    assert number == 0 or command is Command.DONE


def test_the_help_names_every_command() -> None:
    told = rules.help_text(understood=True)
    for example in ("hello", "create task", "cancel", "my tasks", "done 2", "how many", "history", "help"):
        assert example in told
        assert rules.understand(example)[0] is not Command.UNKNOWN


def test_an_answer_to_a_question_has_some_characters_and_not_too_many() -> None:
    for step, longest in ((TITLE, 100), (DESCRIPTION, 500)):
        assert rules.fits(step, "x" * longest)
        assert not rules.fits(step, "x" * (longest + 1))
        assert not rules.fits(step, "  ")
        assert f"{longest}" in rules.question(step, again=True)


def test_of_many_tasks_the_newest_are_shown() -> None:
    assert rules.tasks([]) == "You have no tasks."
    found = [Task(number=number, title=f"t{number}", description="d", done=number == 30) for number in range(1, 31)]
    first, *lines = rules.tasks(found).split("\n")
    assert first == "10 more before these:"
    assert lines[0] == "11. t11"
    assert lines[-1] == "30. t30 (done)"
    assert rules.tasks(found[:20]).startswith("1. t1\n")


def test_a_task_is_done_once() -> None:
    task = Task(number=2, title="Buy milk", description="two litres")
    done = Task(number=2, title="Buy milk", description="two litres", done=True)
    assert rules.made_done(2, task) == "Task 2 is done: Buy milk"
    assert rules.made_done(2, done) == "Task 2 was done before: Buy milk"
    assert rules.made_done(2, None) == "You have no task 2."


def test_one_message_is_counted_in_the_singular() -> None:
    assert rules.count(1) == "You have written 1 message."
    assert rules.count(12) == "You have written 12 messages."


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(max_size=200)), max_size=30))
def test_a_history_that_holds_histories_does_not_grow(said: list[tuple[str, str]]) -> None:
    lines = [Line(role, content) for role, content in said]
    for _ in range(20):
        told = rules.history(lines)
        assert len(told.encode()) <= 10 * (5 + 4 * 60 + 1)
        lines += [Line("user", "history"), Line("assistant", told)]


def test_a_history_has_a_line_for_each_message() -> None:
    said = [Line("user", "my tasks"), Line("assistant", "1. one\n2. two"), Line("user", "x" * 61)]
    assert rules.history(said) == f"you: my tasks\nI: 1. one ...\nyou: {'x' * 56} ..."
    assert rules.history([]) == "We have said nothing yet."
