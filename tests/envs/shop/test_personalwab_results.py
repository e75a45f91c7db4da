import json
import math

import pytest

from trimtab.envs.shop.personalwab_results import (
    personalwab_results,
    personalwab_statistics,
    write_personalwab_results,
)
from trimtab.errors import TrimtabError

SEARCH, RECOMMEND, REVIEW = (
    "search_product_by_query",
    "get_recommendations_by_history",
    "add_product_review",
)


def step(name=None, value=None, error=None, text="hm", **arguments):
    call = {"name": name, "arguments": arguments} if name else None
    return {
        "call": call,
        "text": text,
        "content": "what came of it",
        "value": value,
        "error": error,
        "prompt_tokens": 100,
        "completion_tokens": 7,
    }


def scored(task, *steps, result=0.0, error=""):
    episode = {"request": task.task, "steps": list(steps)}
    return {
        "arm": "steered",
        "task_id": task.id,
        "result": result,
        "error": error,
        "episode": None if error else episode,
    }


@pytest.fixture
def tasks(task):
    return [
        task("test-0", "ann", 10, "search", "A"),
        task("test-1", "ann", 20, "recommend", "B"),
        task("test-2", "bob", 30, "review", "C"),
    ]


def similar(wanted, written):
    return 0.5 if written == "fine" else 0.1


def test_a_task_is_written_as_the_benchmark_writes_it(tasks):
    found = step(SEARCH, ["X", "A", "Y", "Z"], query="lamp")
    summary, result = personalwab_results([scored(tasks[0], found)], tasks, run_args={"seed": 3})
    assert summary["run_args"] == {"seed": 3}
    assert summary["total cost"] == 0
    assert result == {
        "task_id": 0,
        "action_acc": [1],
        "res_acc": [0.75],
        "info": {
            "task": {
                "user_id": "ann",
                "task": "words of test-0",
                "type": "search",
                "timestamp": 10,
                "target": "A",
            },
            "actions": [{"name": SEARCH, "arguments": {"query": "lamp"}}],
            "user_cost": 0,
            "usage": {
                "completion_tokens": [7],
                "prompt_tokens": [100],
                "total_tokens": [107],
                "completion_price": 0,
                "prompt_price": 0,
                "total_price": 0,
            },
        },
        "traj": [
            {"role": "user", "content": "USER ann: words of test-0"},
            {
                "role": "assistant",
                "function_call": (
                    "Function(arguments='{\"query\": \"lamp\"}', name='search_product_by_query')"
                ),
            },
            {
                "role": "tool",
                "tool_call_id": "call_0",
                "name": SEARCH,
                "content": "what came of it",
            },
        ],
        "trial": 0,
    }


def test_statistics_are_those_of_the_benchmark_s_script(tasks):
    """Computed here the way ``run.py`` does: over indexes of right actions, then divided."""
    results = personalwab_results(
        [
            scored(
                tasks[0],
                step(SEARCH, ["X", "A"], query="a"),
                step(SEARCH, ["A", "X"], query="b"),
                step(RECOMMEND, ["A"], product_sequence=["Q"]),
            ),
            scored(tasks[1], step(SEARCH, ["B"], query="b")),
            scored(tasks[2], step(REVIEW, "so-so", review="so-so"), result=0.4),
        ],
        tasks,
    )
    sums = {"search": [0, 0, 0, 0], "recommend": [0, 0, 0, 0], "review": [0, 0, 0, 0]}
    for result in results:
        if "info" not in result:
            continue
        row = sums[result["info"]["task"]["type"]]
        row[0] += 1
        row[1] += len(result["info"]["usage"]["completion_tokens"])
        valid = [i for i, acc in enumerate(result["action_acc"]) if acc == 1]
        if valid:
            best = max(valid, key=lambda i: result["res_acc"][i])
            row[2] += result["action_acc"][best]
            row[3] += result["res_acc"][best]
    assert sums == {"search": [1, 3, 1, 1.0], "recommend": [1, 1, 0, 0], "review": [1, 1, 1, 0.4]}
    stats = results[0]["results"]
    assert stats == personalwab_statistics(results)
    for kind, (count, steps, action, result) in sums.items():
        assert stats[kind] == {
            "total_count": count,
            "avg_interaction_times": steps / count,
            "avg_action_acc": action / count,
            "avg_res_acc": result / count,
        }
    assert stats["overall"]["avg_action_acc"] == pytest.approx(2 / 3)
    assert stats["overall"]["avg_res_acc"] == pytest.approx(1.4 / 3)


def test_several_reviews_are_each_scored(tasks):
    steps = step(REVIEW, "bad", review="bad"), step(REVIEW, "fine", review="fine")
    episode = scored(tasks[2], *steps, result=0.5)
    _, result = personalwab_results([episode], tasks, similarity=similar)
    assert result["res_acc"] == [0.1, 0.5]
    with pytest.raises(TrimtabError, match=r"'test-2' has 2 reviews.* give one"):
        personalwab_results([episode], tasks)


def test_only_calls_that_went_through_are_scored_and_talk_is_no_action(tasks):
    episode = scored(
        tasks[0],
        step(text="Which lamp?"),
        step(SEARCH, None, error={"kind": "invalid_arguments", "message": "no"}, quary="lamp"),
        step("respond", "Any.", content="Which one?"),
        step("stop"),
    )
    _, result = personalwab_results([episode], tasks, system="Be a shop.")
    assert (result["action_acc"], result["res_acc"]) == ([], [])
    assert [action["name"] for action in result["info"]["actions"]] == [SEARCH, "stop"]
    assert [message["role"] for message in result["traj"]] == [
        "system", "user", "assistant", "user", "assistant", "tool", "assistant", "user",
        "assistant", "tool",
    ]  # fmt: skip
    assert result["traj"][6]["content"] == "Which one?"


def test_results_come_in_the_order_of_the_tasks_without_broken_off_ones(tasks):
    episodes = [
        scored(tasks[2], step(REVIEW, "fine", review="fine"), result=0.5),
        scored(tasks[1], error="out of memory", result=None),
        scored(tasks[0]),
    ]
    summary, *results = personalwab_results(episodes, tasks)
    assert [result["task_id"] for result in results] == [0, 2]
    assert summary["results"]["recommend"]["total_count"] == 0
    assert summary["results"]["search"]["avg_res_acc"] == 0


def test_what_does_not_fit_is_refused(tasks):
    with pytest.raises(TrimtabError, match="'test-0' comes twice; give the episodes of one method"):
        personalwab_results([scored(tasks[0]), scored(tasks[0])], tasks)
    with pytest.raises(TrimtabError, match="no task 'test-0' among the 1 of the split"):
        personalwab_results([scored(tasks[0])], tasks[1:2])
    with pytest.raises(TrimtabError, match="not the record of a scored episode: KeyError"):
        personalwab_results([{"task_id": "test-0"}], tasks)


def test_the_file_is_whole_or_not_there(tasks, tmp_path):
    results = personalwab_results([scored(tasks[0], step(text="half a \ud83d"))], tasks)
    write_personalwab_results(results, tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == results
    with pytest.raises(ValueError):
        write_personalwab_results([{"a": math.nan}], tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == results
