"""The view of one episode holds what a person wants to see, on lines of bounded length."""

import io

import pytest
from rich.console import Console

from trimtab.agent.calling.calls import ToolCall
from trimtab.agent.loop.episode import Episode, PickedEntry, Step
from trimtab.agent.users import UserGoal
from trimtab.commands.console.episode import episode_view, user_goal_view
from trimtab.eval.runs.record import Record
from trimtab.tools import ToolError


@pytest.fixture
def episode():
    failed = Step(
        call=None,
        text="I [bold]think[/bold]",
        content="Error: expected a call",
        value=None,
        error=ToolError("unparsable", "expected a call"),
        picked=(PickedEntry("train-1", "something\ncosy", 0.81, 0.7),),
        prompt_tokens=10,
        completion_tokens=3,
        forced_tokens=0,
        seconds=0.5,
    )
    called = Step(
        call=ToolCall("search_product_by_query", {"query": "a rain coat"}),
        text="",
        content="\n".join(f"B{n}: Coat {n}" for n in range(10)),
        value=["B0"],
        error=None,
        picked=(),
        prompt_tokens=20,
        completion_tokens=3,
        forced_tokens=1,
        seconds=0.5,
        thought="They want it dry.",
    )
    said = Step(
        call=ToolCall("respond", {"content": "Which one?"}),
        text="",
        content="Said to the user.",
        value="Which one?",
        error=None,
        picked=(),
        prompt_tokens=20,
        completion_tokens=3,
        forced_tokens=1,
        seconds=0.5,
        reply="The red one.",
    )
    return Episode(
        task_id="test-1",
        user_id="ann",
        request="something for rainy days " * 20,
        purchases=("B1: Desk",),
        remembered=('"hm" -> search_product_by_query(query="x")',),
        steps=(failed, said, called),
        outcome="done",
    )


def record(episode=None, scores=None, error=""):
    return Record(
        method="fints",
        sample_id="test-1",
        user_id="ann",
        kind="search",
        scores=scores or {},
        error=error,
        detail={"episode": episode.to_json()} if episode else {},
    )


def shown(scored):
    console = Console(file=io.StringIO(), width=200)
    console.print(episode_view(scored))
    return console.file.getvalue()


def test_everything_of_an_episode_is_shown(episode):
    text = shown(record(episode, {"function": 1.0, "result": 0.9}))
    for part in [
        "test-1  search  ann  fints",
        "something for rainy days",
        "B1: Desk",
        '"hm" -> search_product_by_query(query="x")',
        "weight 0.70, similarity 0.81: something cosy",
        "I [bold]think[/bold]",
        "Error: expected a call",
        'search_product_by_query {"query": "a rain coat"}',
        "B0: Coat 0",
        "... 7 more",
        "thought  They want it dry.",
        'respond {"content": "Which one?"}',
        "user  The red one.",
        "function 1.00, result 0.90",
    ]:
        assert part in text
    assert "Coat 5" not in text
    assert max(len(line) for line in text.splitlines()) <= 200


def test_what_broke_off_says_why(episode):
    assert "out of memory" in shown(record(error="out of memory"))
    failed = record(episode, {"function": None, "result": None}, "on fire")
    assert "function –, result –" in shown(failed)
    assert "on fire" in shown(failed)


def test_an_episode_is_shown_without_its_steps_where_they_were_shown_before(episode):
    console = Console(file=io.StringIO(), width=200)
    scored = record(episode, {"function": 1.0, "result": 0.9})
    console.print(episode_view(scored, steps=False))
    text = console.file.getvalue()
    assert "rain coat" not in text and "function 1.00" in text


def test_a_user_goal_says_who_one_is_and_what_one_wants():
    user_goal = UserGoal(
        "review", {"Age": "40"}, title="A lamp", store="Lumo", price=9.5, review="Dim."
    )
    console = Console(file=io.StringIO(), width=200)
    console.print(user_goal_view(user_goal, "ann"))
    text = console.file.getvalue()
    for part in ("You are ann", "Age  40", "A lamp, Lumo, 9.50", "have a review", "Dim."):
        assert part in text
