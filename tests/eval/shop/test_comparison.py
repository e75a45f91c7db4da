"""The shopping comparison: what each arm does, how it is scored, and that nothing gets lost."""

import json
import math

import pytest

from trimtab.agent.loop.past_requests import past_requests
from trimtab.errors import TrimtabError
from trimtab.eval.shop.arms import ARMS, Arm
from trimtab.eval.shop.comparison import ShopStudy, play_shop, run_shop
from trimtab.eval.shop.score import ScoredEpisode, score_episode
from trimtab.steering.dictionaries.derangement import strangers

SEARCH, RECOMMEND, REVIEW = (
    "search_product_by_query",
    "get_recommendations_by_history",
    "add_product_review",
)


def good(call):
    """A script that answers every request well."""

    def script(request):
        asked = request.messages[1]["content"].rpartition("Request: ")[2].splitlines()[0]
        word, _, kind = asked.partition(" ")
        return {
            "search": lambda: call(SEARCH, query=word),
            "recommend": lambda: call(RECOMMEND, product_sequence=["B-desk"]),
            "review": lambda: call(REVIEW, review=f"what a {word}"),
        }[kind]()

    return script


@pytest.fixture
def study(shop, scripted, call, dictionaries):
    return ShopStudy(scripted(good(call)), shop, shop.world.test, dictionaries)


def test_every_task_is_played_under_every_arm_and_scored(study):
    run = run_shop(study)
    assert run.planned == len(run.episodes) == 9 * len(ARMS)
    assert {(e.arm, e.task_id) for e in run.episodes} == {
        (arm.name, task.id) for arm in ARMS for task in study.tasks
    }
    for episode in run.episodes:
        assert episode.function == 1.0
        assert episode.result == pytest.approx({"recommend": 0.5}.get(episode.type, 1.0))
        assert not episode.error


def test_all_arms_share_their_batches(study):
    run_shop(study, max_live=8)
    assert [len(batch) for batch in study.model.batches] == [8, 8, 8, 8, 8, 5]


def test_each_arm_is_what_its_name_says(study):
    run = run_shop(study)
    by_arm = {arm.name: [e for e in run.episodes if e.arm == arm.name] for arm in ARMS}

    def picked(arm):
        return [p.sample_id for e in by_arm[arm] for p in e.episode.steps[0].picked]

    assert not picked("unsteered") and not picked("memory")
    assert all(not e.episode.remembered for e in by_arm["unsteered"] + by_arm["steered"])
    assert all(len(e.episode.remembered) == 3 for e in by_arm["memory"])
    for episode in by_arm["steered"]:
        assert all(p.sample_id.startswith(episode.user_id) for p in episode.episode.steps[0].picked)
    for episode in by_arm["steered-other"]:
        owners = {p.sample_id.split("-")[0] for p in episode.episode.steps[0].picked}
        assert len(owners) == 1 and owners != {episode.user_id}
    for episode in by_arm["steered-population"]:
        assert [p.sample_id for p in episode.episode.steps[0].picked] == ["population"]
    tokens = {arm: sum(e.episode.prompt_tokens for e in by_arm[arm]) for arm in by_arm}
    assert tokens["steered"] == tokens["unsteered"] == tokens["steered-other"]
    assert tokens["memory"] > tokens["unsteered"]


def test_only_the_users_own_entries_are_bound_by_the_tasks_time(study):
    run = run_shop(study)
    counts = {e.arm: len(e.episode.steps[0].picked) for e in run.episodes}
    # Three of a user's four entries come after the test tasks; a stranger's all count.
    assert counts["steered"] == 1
    assert counts["steered-other"] == 4


def test_memory_shows_the_nearest_past_requests_with_good_calls(study):
    run = run_shop(study)
    remembered = {
        e.type: e.episode.remembered
        for e in run.episodes
        if (e.arm, e.user_id) == ("memory", "ann")
    }
    assert remembered["search"][-1].startswith(f'"lamp search" -> {SEARCH}(')
    past = past_requests(study.environment, "ann", 2)
    assert [(p.request, p.tool, p.timestamp) for p in past] == [
        ("lamp search", SEARCH, 0),
        ("coat recommend", RECOMMEND, 1),
    ]
    assert len(past_requests(study.environment, "ann", None)) == 4


def test_prompts_show_purchases_of_before_the_task(study):
    run = run_shop(study)
    assert all(e.episode.purchases == ("B-desk: A desk", "B-mug: A mug") for e in run.episodes)


def test_the_wrong_tool_scores_nothing_and_errors_of_the_agent_count(shop, scripted, call, study):
    wrong = ShopStudy(
        scripted(lambda request: call(REVIEW, review="hm")),
        shop,
        [t for t in shop.world.test if t.type == "search"],
        study.dictionaries,
        arms=(Arm("unsteered"),),
    )
    assert {(e.function, e.result) for e in run_shop(wrong).episodes} == {(0.0, 0.0)}
    hopeless = ShopStudy(
        scripted(lambda request: call(SEARCH, text=1)), shop, wrong.tasks, {}, arms=wrong.arms
    )
    for episode in run_shop(hopeless).episodes:
        assert (episode.function, episode.result, episode.error) == (0.0, 0.0, "")
        assert episode.episode.outcome == "gave up"


def test_the_best_right_call_counts(shop, scripted, call, study):
    from trimtab.agent.loop.episode import Play, play
    from trimtab.agent.loop.shop import shop_agent

    answers = iter(
        [call(SEARCH, query="all"), call(SEARCH, query="lamp"), call(REVIEW, review="done")]
    )
    agent = shop_agent(scripted(lambda request: next(answers)), shop.toolkit, final_tools=[REVIEW])
    episode = play(Play(agent, "t", "ann", "lamp search"))
    [task] = [t for t in shop.world.test if t.id == "test-ann-search"]
    scored = score_episode("a", task, episode, similarity=study.model.encoder.similarity)
    assert (scored.function, scored.result) == (1.0, 1.0)


def test_a_tool_that_fails_gives_no_score(shop, scripted, call):
    study = ShopStudy(
        scripted(lambda request: call(SEARCH, query="burn")),
        shop,
        shop.world.test[:1],
        {},
        arms=(Arm("unsteered"),),
    )
    [episode] = run_shop(study).episodes
    assert math.isnan(episode.function) and math.isnan(episode.result)
    assert "the index is on fire" in episode.error
    assert episode.episode.outcome == "gave up"


def test_a_model_that_fails_gives_no_score_and_the_rest_goes_on(shop, scripted, call, study):
    def script(request):
        if "review" in request.messages[1]["content"]:
            raise TrimtabError("the prompt is too long")
        return good(call)(request)

    run = run_shop(ShopStudy(scripted(script), shop, shop.world.test, study.dictionaries))
    for episode in run.episodes:
        if episode.type == "review":
            assert math.isnan(episode.function) and episode.episode is None
            assert episode.error == "TrimtabError: the prompt is too long"
        else:
            assert episode.function == 1.0


def test_a_run_that_was_broken_off_goes_on_where_it_was(study, tmp_path):
    class Interrupted(type(study.model)):
        def generate(self, requests, **options):
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().generate(requests, **options)

    model = Interrupted(study.model.script)
    broken = ShopStudy(model, study.environment, study.tasks, study.dictionaries)
    first = run_shop(broken, folder=tmp_path, max_live=8)
    assert first.interrupted
    assert len(first.episodes) == 16
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 16

    second = run_shop(study, folder=tmp_path, max_live=8)
    assert not second.interrupted
    assert sum(len(batch) for batch in study.model.batches) == 45 - 16
    assert len(second.episodes) == 45
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    keys = [(record["arm"], record["task_id"]) for record in map(json.loads, lines)]
    assert len(keys) == len(set(keys)) == 45

    third = run_shop(study, folder=tmp_path)
    assert {e.task_id for e in third.episodes} == {t.id for t in study.tasks}
    assert sum(len(batch) for batch in study.model.batches) == 45 - 16


def test_what_the_machinery_broke_off_is_played_again(shop, scripted, call, study, tmp_path):
    fails = [True]

    def script(request):
        if fails:
            raise RuntimeError("out of memory")
        return good(call)(request)

    flaky = ShopStudy(scripted(script), shop, study.tasks[:2], study.dictionaries)
    assert all(e.error for e in run_shop(flaky, folder=tmp_path).episodes)
    fails.clear()
    run = run_shop(flaky, folder=tmp_path)
    assert len(run.episodes) == 2 * len(ARMS)
    assert not any(e.error for e in run.episodes)


def test_another_study_does_not_go_into_the_same_folder(study, tmp_path):
    from trimtab.steering.dictionaries.settings import SteeringSettings

    run_shop(study, folder=tmp_path)
    stronger = ShopStudy(
        study.model,
        study.environment,
        study.tasks,
        study.dictionaries,
        settings=SteeringSettings(strength=9.0),
    )
    with pytest.raises(TrimtabError, match=r"settings\.strength: was .*, now 9\.0"):
        run_shop(stronger, folder=tmp_path)
    shorter = ShopStudy(study.model, study.environment, study.tasks[:3], study.dictionaries)
    with pytest.raises(TrimtabError, match=r"tasks\.number: was 9, now 3"):
        run_shop(shorter, folder=tmp_path)


def test_the_summary_holds_the_numbers_of_the_tables(study, tmp_path):
    run_shop(study, folder=tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    [overall] = [
        a
        for a in summary["accuracies"]
        if (a["arm"], a["measure"], a["type"]) == ("steered", "result", "all")
    ]
    assert overall["mean"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert overall["values"] == 9 and overall["users"] == 3
    assert {d["other"] for d in summary["differences"]} == {
        "unsteered",
        "memory",
        "steered-other",
        "steered-population",
    }


def test_a_scored_episode_comes_back_as_it_was(study):
    [episode, *_] = play_shop(study)
    assert ScoredEpisode.from_json(json.loads(json.dumps(episode.to_json()))) == episode
    broken = ScoredEpisode("a", "t", "u", "search", math.nan, math.nan, None, "fire")
    back = ScoredEpisode.from_json(json.loads(json.dumps(broken.to_json())))
    assert math.isnan(back.function) and back.error == "fire"
    with pytest.raises(TrimtabError, match="scored episode"):
        ScoredEpisode.from_json({"arm": "a"})


def test_strangers_are_never_oneself_and_each_is_borrowed_from_once():
    users = [f"u{n}" for n in range(9)]
    for seed in range(50):
        other = strangers(users, seed)
        assert all(user != stranger for user, stranger in other.items())
        assert sorted(other.values()) == users
    assert strangers(users, 1) == strangers(reversed(users), 1) != strangers(users, 2)
    with pytest.raises(TrimtabError, match="two users"):
        strangers(["u0"], 0)


def test_what_cannot_be_compared_is_refused(study):
    with pytest.raises(TrimtabError, match="at least one task"):
        run_shop(ShopStudy(study.model, study.environment, [], study.dictionaries))
    twice = (Arm("a"), Arm("a", memory="last"))
    with pytest.raises(TrimtabError, match="same name"):
        run_shop(
            ShopStudy(study.model, study.environment, study.tasks, study.dictionaries, arms=twice)
        )


def conversation(call):
    """A script that asks first, then calls wrong, then right and better, then stops."""

    def script(request):
        asked = next(m for m in request.messages if m["role"] == "user")["content"]
        word = asked.rpartition("Request: ")[2].partition(" ")[0]
        steps = [
            call("respond", content="What may I do?"),
            call(REVIEW, review="hm"),
            call(SEARCH, query="all"),
            call(SEARCH, query=word),
            call(SEARCH, query="nothing"),
            call("stop"),
        ]
        return steps[sum(m["role"] == "assistant" for m in request.messages)]

    return script


def test_a_conversation_is_scored_by_its_best_right_call(shop, scripted, call, dictionaries):
    from trimtab.eval.shop.simulators import Simulator

    study = ShopStudy(
        scripted(conversation(call)),
        shop,
        [task for task in shop.world.test if task.type == "search"],
        dictionaries,
        arms=(Arm("unsteered"), Arm("steered", steering="own")),
        user=Simulator(),
    )
    run = run_shop(study)
    assert {(e.function, e.result, e.steps) for e in run.episodes} == {(1.0, 1.0, 6.0)}
    for scored in run.episodes:
        episode = scored.episode
        assert episode.outcome == "done"
        assert episode.steps[0].reply == "Please search the shop for it."
        steered = [bool(step.picked) for step in episode.steps]
        # After a result that is no error, the next step answers no words of the user's.
        expected = [True, True, False, False, False, False]
        assert steered == (expected if scored.arm == "steered" else [False] * 6)
    configuration = study.configuration()
    assert (configuration["track"], configuration["steps"]) == ("multi", 10)
    assert configuration["user"] == {"kind": "scripted", "model": "", "url": ""}


def test_the_step_limit_and_prompting_of_a_study_reach_the_agent(study, call):
    from trimtab.eval.shop.simulators import Simulator

    endless = ShopStudy(
        type(study.model)(lambda request: call(SEARCH, query="all")),
        study.environment,
        study.tasks[:1],
        study.dictionaries,
        arms=(Arm("unsteered"),),
        user=Simulator(),
        steps=3,
        prompting="react",
    )
    [scored] = run_shop(endless).episodes
    assert scored.steps == 3.0
    assert endless.model.requests[0].messages[-1]["content"] == "Thought:"
    assert endless.configuration()["prompting"] == "react"
    assert study.configuration()["track"] == "single"
