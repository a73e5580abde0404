"""Promises 7 and 9 as workflows have them: each step is taken once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keepstate import DecodeError, EncodeError, KeepstateError, OutcomeUnknown, State, Transaction, recipes
from keepstate.recipes import Done, Step, StepTaken
from tests.recipes.conftest import Mortal, View

pytestmark = pytest.mark.containers


async def give_title(tx: Transaction[Any], step: Step) -> Step:
    tx.increment("titles")
    return Step("description", {**step.data, "title": "Buy milk"})


async def finish(tx: Transaction[Any], step: Step) -> None:
    tx.increment("finished")


async def add_item(tx: Transaction[Any], step: Step) -> Step:
    """A step that leads to itself."""
    tx.increment("items")
    return replace(step, data=step.data + 1)


async def test_a_workflow_is_asked_for_step_by_step_and_cleared_at_its_end(
    made: Any, one: View, other: View, state: State[Any]
) -> None:
    workflow, elsewhere = made(recipes.Workflow, one), made(recipes.Workflow, other)
    assert await workflow.current("ada") is None
    begun = await workflow.begin("ada", "title", {"list": "home"})
    assert await elsewhere.current("ada") == begun == Step("title", {"list": "home"})
    after = await elsewhere.take("ada", at="title", function=give_title)
    assert await workflow.current("ada") == after == Step("description", {"list": "home", "title": "Buy milk"})
    assert await workflow.take("ada", at=after, function=finish) is None
    assert await elsewhere.current("ada") is None
    assert await state.get("workflow:user:ada") is None
    assert (await state.get("titles"), await state.get("finished")) == (1, 1)


async def test_a_step_is_kept_for_its_time_to_live_under_a_documented_key(
    made: Any, one: View, other: View, state: State[Any]
) -> None:
    step = await made(recipes.Workflow, one).begin("a:b", "title", {"n": 1})
    record = await state.get_record("workflow:user:a%3Ab")
    assert record is not None
    assert record.value == {"step": "title", "data": {"n": 1}, "id": step.id}
    assert record.content_type == "application/json"
    assert record.expire_time is not None
    assert timedelta(minutes=9) < record.expire_time - await state.now() <= timedelta(minutes=10)
    short, elsewhere = (made(recipes.Workflow, view, "short", ttl=timedelta(seconds=1)) for view in (one, other))
    await short.begin("ada", "title")
    assert await elsewhere.current("ada") == Step("title")
    async with asyncio.timeout(10):
        while await elsewhere.current("ada") is not None:
            await asyncio.sleep(0.05)
    with pytest.raises(StepTaken) as late:
        await short.take("ada", at="title", function=finish)
    assert late.value.current is None
    assert await state.get("finished") is None


async def test_a_step_that_64_take_at_once_happens_once(made: Any, one: View, other: View, state: State[Any]) -> None:
    each = [made(recipes.Workflow, view) for view in (one, other)]
    await each[0].begin("ada", "title", {})
    taken = await asyncio.gather(
        *(each[number % 2].take("ada", "title", give_title) for number in range(64)), return_exceptions=True
    )
    description = Step("description", {"title": "Buy milk"})
    assert [result for result in taken if isinstance(result, Step)] == [description]
    assert [result.current for result in taken if isinstance(result, StepTaken)] == [description] * 63
    assert await state.get("titles") == 1


async def test_a_step_that_leads_to_itself_happens_once_for_all_who_saw_it(
    made: Any, one: View, other: View, state: State[Any]
) -> None:
    each = [made(recipes.Workflow, view) for view in (one, other)]
    await each[0].begin("ada", "items", 0)
    seen = await each[1].current("ada")
    taken = await asyncio.gather(
        *(each[number % 2].take("ada", seen, add_item) for number in range(32)), return_exceptions=True
    )
    assert [result for result in taken if isinstance(result, Step)] == [Step("items", 1)]
    assert sum(isinstance(result, StepTaken) for result in taken) == 31
    assert await state.get("items") == 1
    from_a_form = Step("items", id=(await each[0].current("ada")).id)  # all that must be known of it
    assert await each[0].take("ada", from_a_form, add_item) == Step("items", 2)


async def test_a_step_of_a_workflow_that_began_anew_is_another(made: Any, one: View, other: View) -> None:
    workflow = made(recipes.Workflow, one)
    before = await workflow.begin("ada", "title", {})
    assert await workflow.end("ada") is True
    assert await workflow.end("ada") is False
    again = await made(recipes.Workflow, other).begin("ada", "title", {})
    assert again == before
    with pytest.raises(StepTaken) as late:
        await workflow.take("ada", at=before, function=give_title)
    assert late.value.current == again
    await workflow.take("ada", at=again, function=give_title)


async def test_of_64_that_begin_at_once_one_does_and_the_others_are_told_where_it_is(
    made: Any, one: View, other: View
) -> None:
    each = [made(recipes.Workflow, view) for view in (one, other)]
    begun = await asyncio.gather(
        *(each[number % 2].begin("ada", "title", number) for number in range(64)), return_exceptions=True
    )
    steps = [result for result in begun if isinstance(result, Step)]
    assert len(steps) == 1
    assert [result.current for result in begun if isinstance(result, StepTaken)] == steps * 63
    assert await each[0].current("ada") == steps[0]


async def test_a_step_that_fails_is_not_taken(made: Any, one: View, other: View, state: State[Any]) -> None:
    async def fail(tx: Transaction[Any], step: Step) -> Step:
        await give_title(tx, step)
        raise LookupError("no such list")

    async def give_what_json_cannot_say(tx: Transaction[Any], step: Step) -> Step:
        await give_title(tx, step)
        return Step("description", {1, 2})

    workflow = made(recipes.Workflow, one)
    begun = await workflow.begin("ada", "title", {})
    with pytest.raises(LookupError, match="no such list"):
        await workflow.take("ada", "title", fail)
    with pytest.raises(EncodeError, match="workflow:user:ada"):
        await workflow.take("ada", "title", give_what_json_cannot_say)
    assert await state.get("titles") is None
    await made(recipes.Workflow, other).take("ada", begun, give_title)


async def test_a_step_whose_taker_died_is_taken_by_another(
    made: Any, mortal: Mortal, other: View, state: State[Any]
) -> None:
    async def die(tx: Transaction[Any], step: Step) -> Step:
        await mortal.die()
        return await give_title(tx, step)

    workflow = made(recipes.Workflow, other)
    begun = await workflow.begin("ada", "title", {})
    with pytest.raises((KeepstateError, RuntimeError), match="closed"):
        await made(recipes.Workflow, mortal).take("ada", begun, die)
    assert await state.get("titles") is None
    assert await workflow.take("ada", begun, give_title) == Step("description", {"title": "Buy milk"})


async def test_where_nobody_could_tell_a_step_is_not_taken_again(
    made: Any, mortal: Mortal, other: View, state: State[Any]
) -> None:
    async def lose_the_answer(tx: Transaction[Any], step: Step) -> Step:
        mortal.network.loses = lambda number: True
        return await give_title(tx, step)

    workflow = made(recipes.Workflow, other)
    begun = await workflow.begin("ada", "title", {})
    with pytest.raises(OutcomeUnknown):
        await made(recipes.Workflow, mortal).take("ada", begun, lose_the_answer)
    with pytest.raises(StepTaken) as taken:
        await workflow.take("ada", begun, give_title)
    assert taken.value.current == Step("description", {"title": "Buy milk"})
    assert await state.get("titles") == 1


async def test_lost_answers_double_no_step(made: Any, lossy: Mortal, state: State[Any]) -> None:
    workflow = made(recipes.Workflow, lossy)
    step = await workflow.begin("ada", "items", 0)
    for number in range(1, 17):
        step = await workflow.take("ada", step, add_item)
        assert step == Step("items", number)
    assert await state.get("items") == 16
    assert lossy.network.lost >= 8


async def test_create_task_asks_for_the_title_then_the_description_then_creates_the_task_once(
    made: Any, one: View, other: View, state: State[Any]
) -> None:
    """Each message is delivered four times, to two instances, at once; and once more after all was done."""
    programs = [(made(recipes.Once, view), made(recipes.Workflow, view)) for view in (one, other)]

    async def hear(instance: int, user: str, number: int, text: str) -> Done[str]:
        once, workflow = programs[instance]

        async def take(tx: Transaction[Any], step: Step) -> Step | None:
            if step.name == "title":
                return Step("description", {"title": text})
            tx.append(f"tasks:{user}", [{**step.data, "description": text}])
            return None

        async def answer(tx: Transaction[Any]) -> str:
            step = await workflow.current_in(tx, user)
            if step is None:
                await workflow.begin_in(tx, user, "title")
                return "What is its title?"
            after = await workflow.take_in(tx, user, step, take)
            return "What is it about?" if after else "It is created."

        done: Done[str] = await once.run(f"{user}-{number}", answer)
        return done

    async def talk(user: str) -> list[str]:
        answers: list[str] = []
        for number, text in enumerate(["create task", f"Milk of {user}", "two litres"]):
            heard = await asyncio.gather(*(hear(each % 2, user, number, text) for each in range(4)))
            assert sorted(each.repeated for each in heard) == [False, True, True, True]
            answers += {each.result for each in heard}
        return answers

    users = ["ada", "bob", "eve"]
    expected = ["What is its title?", "What is it about?", "It is created."]
    assert await asyncio.gather(*(talk(user) for user in users)) == [expected] * 3
    for user in users:
        assert await hear(1, user, 1, f"Milk of {user}") == Done(result=expected[1], repeated=True)
        assert await state.get(f"tasks:{user}") == [{"title": f"Milk of {user}", "description": "two litres"}]
        assert await programs[0][1].current(user) is None


async def test_workflows_of_another_kind_have_keys_of_their_own(made: Any, one: View, state: State[Any]) -> None:
    await made(recipes.Workflow, one, "workflow", "order").begin(7, "paid")
    assert await made(recipes.Workflow, one).current(7) is None
    assert await state.get("workflow:order:7") is not None
    tasks = made(recipes.Records, one, "workflow", "task", ttl=timedelta(minutes=10))
    await tasks.put(7, {"title": "Buy milk"})
    assert await state.get("workflow:task:7") == {"title": "Buy milk"}


async def test_where_the_next_step_is_none_that_could_be_read_again_nothing_is_done(
    made: Any, one: View, state: State[Any]
) -> None:
    workflow = made(recipes.Workflow, one)
    with pytest.raises(TypeError, match="a step's name must be a str, not a int"):
        await workflow.begin("ada", 1)
    assert await workflow.current("ada") is None
    begun = await workflow.begin("ada", "title", {})

    async def name_the_next(tx: Transaction[Any], step: Step) -> Any:
        await give_title(tx, step)
        return "description"

    with pytest.raises(TypeError, match="the function must return a Step or None, not a str"):
        await workflow.take("ada", begun, name_the_next)
    assert await state.get("titles") is None
    assert await workflow.take("ada", begun, give_title) == Step("description", {"title": "Buy milk"})


async def test_what_is_no_step_is_refused_and_nothing_is_done(made: Any, one: View, state: State[Any]) -> None:
    workflow = made(recipes.Workflow, one)
    with pytest.raises(ValueError, match="at has no id"):
        await workflow.take("ada", Step("title"), finish)
    with pytest.raises(ValueError, match="part 3 of the key is empty"):
        await workflow.current("")
    with pytest.raises(ValueError, match="part 2 of the key is empty"):
        made(recipes.Workflow, one, "workflow", "")
    await state.put("workflow:user:ada", {"state": "of another program"})
    for call in (workflow.current("ada"), workflow.begin("ada", "title"), workflow.take("ada", "title", finish)):
        with pytest.raises(DecodeError, match="'workflow:user:ada' holds no step"):
            await call
    assert await state.get("finished") is None
