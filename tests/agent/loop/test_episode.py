"""Episodes: their records, and many played at once."""

import json

import pytest

from trimtab.agent.loop.episode import Episode, Play, play, play_episodes
from trimtab.agent.shop.agent import shop_agent
from trimtab.errors import TrimtabError
from trimtab.steering.generation.batching import BatchedModel


def shop(call):
    """A model that finds what is asked for, after one mistake where it is asked to."""

    def script(request):
        asked = request.messages[1]["content"].removeprefix("Request: ")
        tried = any(message["role"] == "tool" for message in request.messages)
        if asked == "crash":
            raise RuntimeError("out of memory")
        if asked.startswith("mistake") and not tried:
            return call("rate", stars="x")
        return call("find", query=asked)

    return script


def test_a_record_comes_back_as_it_was(scripted, toolkit, call, dictionary):
    agent = shop_agent(
        scripted(shop(call)), toolkit, store={"ann": dictionary("ann", "lamp", "coat")}
    )
    episode = play(Play(agent, "t1", "ann", "mistake lamp", before=5, purchases=("B1: Desk",)))
    assert episode.outcome == "done"
    assert episode.purchases == ("B1: Desk",)
    assert Episode.from_json(json.loads(json.dumps(episode.to_json()))) == episode
    assert episode.steps[0].picked[0].sample_id == "ann-0"


def test_counts_are_over_all_steps(scripted, toolkit, call):
    episode = play(Play(shop_agent(scripted(shop(call)), toolkit), "t1", "ann", "mistake lamp"))
    assert episode.retries == 1
    assert [step.error and step.error.kind for step in episode.steps] == [
        "invalid_arguments",
        None,
    ]
    assert episode.steps[1].call.name == "find"
    assert episode.prompt_tokens == sum(step.prompt_tokens for step in episode.steps) > 0
    assert episode.completion_tokens > 0
    assert episode.seconds > 0


def test_the_last_failure_is_no_retry(scripted, toolkit, call):
    agent = shop_agent(scripted(lambda request: call("rate", stars="x")), toolkit)
    episode = play(Play(agent, "t1", "ann", "lamp"))
    assert episode.outcome == "gave up"
    assert (len(episode.steps), episode.retries) == (3, 2)


def test_many_are_played_in_common_batches(scripted, toolkit, call):
    inner = scripted(shop(call))
    model = BatchedModel(inner)
    agent = shop_agent(model, toolkit)
    words = ["lamp", "mistake coat", "desk", "mistake cup"]
    plays = [Play(agent, f"t{n}", "ann", word) for n, word in enumerate(words)]
    ends = {end.index: end.value for end in play_episodes(model, plays)}
    assert [len(batch) for batch in inner.batches] == [4, 2]
    assert {n: ends[n].task_id for n in range(4)} == {n: f"t{n}" for n in range(4)}
    assert ends[1].steps[1].value == ["mistake-0", "coat-1"]


def test_the_steering_of_many_users_keeps_to_its_row(scripted, toolkit, call, dictionary):
    inner = scripted(shop(call))
    model = BatchedModel(inner)
    users = [f"user{n}" for n in range(6)]
    agent = shop_agent(model, toolkit, store={user: dictionary(user, "lamp") for user in users[:5]})
    plays = [Play(agent, user, user, f"lamp {user}") for user in users]
    ends = list(play_episodes(model, plays))
    [batch] = inner.batches
    for user, request in zip(users, batch, strict=True):
        assert request.messages[1]["content"].endswith(user)
        picked = request.steering.picked[0].entry.sample_id if request.steering else None
        assert picked == (f"{user}-0" if user != "user5" else None)
    assert len(ends) == 6


def test_what_breaks_is_told_and_what_is_finished_is_kept(scripted, toolkit, call):
    model = BatchedModel(scripted(shop(call)))
    agent = shop_agent(model, toolkit)
    plays = [Play(agent, word, "ann", word) for word in ["lamp", "coat", "crash", "desk"]]
    ends = list(play_episodes(model, plays, max_live=2))
    assert [end.value is not None for end in ends] == [True, True, False, False]
    assert "out of memory" in str(ends[2].error)


def test_a_broken_record_is_refused():
    with pytest.raises(TrimtabError, match="record of an episode"):
        Episode.from_json({"task_id": "t1"})
