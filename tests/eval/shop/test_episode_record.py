"""Shopping episodes as records."""

import json
import math

import pytest

from trimtab.agent.calling.calls import ToolCall
from trimtab.agent.loop.episode import Episode, PickedEntry, Step
from trimtab.errors import TrimtabError
from trimtab.eval.shop.episode_record import episode_record
from trimtab.eval.shop.score import ScoredEpisode, score_episode

CALL = ToolCall("search_product_by_query", {"query": "lämp"}, "call_0")


def step(call, text="", picked=()):
    return Step(call, text, "1. B-lamp", ["B-lamp"], None, picked, 100, 7, 2, 0.5)


@pytest.fixture
def episode():
    picked = (PickedEntry("train-1", "a lamp please", 0.9, 0.7),)
    return Episode(
        "test-1", "ann", "a lamp", ("B-mug: A mug",), (),
        (step(None, "Which one?", picked), step(CALL)), "done",
    )  # fmt: skip


def read(scored):
    return episode_record(json.loads(json.dumps(scored.to_json())))


def test_an_episode_is_a_record_with_its_calls_and_what_steered_it(world, episode):
    task = next(task for task in world.test if task.type == "search")
    record = read(score_episode("steered", task, episode, similarity=None, history=3))
    assert (record.method, record.user_id, record.kind) == ("steered", task.user_id, "search")
    assert record.output == 'Which one?\nsearch_product_by_query {"query": "lämp"}'
    assert record.gold == "search_product_by_query B-lamp: A lamp"
    assert record.scores == {"function": 1.0, "result": 1.0}
    assert record.history == 3
    assert [entry["weight"] for entry in record.picked] == [0.7]
    assert (record.prompt_tokens, record.completion_tokens, record.seconds) == (200, 14, 1.0)
    assert [message["role"] for message in record.prompt] == ["user"]
    assert "B-mug: A mug" in record.prompt[0]["content"]
    assert record.detail["episode"]["outcome"] == "done"


def test_a_broken_episode_has_an_error_and_no_scores():
    record = read(ScoredEpisode("a", "t", "ann", "review", math.nan, math.nan, None, "fire"))
    assert record.error == "fire"
    assert record.scores == {"function": None, "result": None}
    assert record.prompt == [] and record.detail == {}


def test_runs_from_before_targets_were_kept_are_read(episode):
    plain = ScoredEpisode("a", "t", "ann", "search", 1.0, 0.5, episode).to_json()
    del plain["target"], plain["history"]
    record = episode_record(plain)
    assert (record.gold, record.history) == ("search_product_by_query", 0)


@pytest.mark.parametrize("lost", ["type", "task_id", "function"])
def test_what_is_no_episode_is_refused(episode, lost):
    plain = ScoredEpisode("a", "t", "ann", "search", 1.0, 0.5, episode).to_json()
    del plain[lost]
    with pytest.raises(TrimtabError, match=lost):
        episode_record(plain)
