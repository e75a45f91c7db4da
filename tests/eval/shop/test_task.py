"""The shop under methods: what each does, how it is scored, and that nothing gets lost."""

import json
import math
import os
import signal
from types import SimpleNamespace

import pytest

from trimtab.agent.shop.past_requests import past_requests
from trimtab.errors import TrimtabError
from trimtab.eval.methods.registry import parse_methods, with_controls
from trimtab.eval.runner import evaluate
from trimtab.eval.runs.record import read_run
from trimtab.eval.shop.record import episode_of, episode_scores
from trimtab.eval.shop.simulators import Simulator
from trimtab.eval.shop.task import ShopTask
from trimtab.steering.generation import batching

SEARCH, RECOMMEND, REVIEW = (
    "search_product_by_query",
    "get_recommendations_by_history",
    "add_product_review",
)
USUAL = "zero-shot,rag,fints(sites=block)"
LABELS = ("zero-shot", "rag", "fints", "fints-other", "fints-population")


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
def play(shop, scripted, call, dictionaries, tmp_path):
    """Play the shop's test tasks with a scripted model."""

    def play(script=None, methods=USUAL, folder="run", tasks=None, model=None, **given):
        model = model or scripted(good(call) if script is None else script)
        limits = SimpleNamespace(max_position_embeddings=None)
        model.hf.config = SimpleNamespace(get_text_config=lambda: limits)
        play.model = model
        how = {k: given.pop(k) for k in ("repeats", "tries", "on_progress") if k in given}
        task = ShopTask(
            model,
            shop,
            shop.world.test if tasks is None else tasks,
            **{"dictionaries": dictionaries, "cache": tmp_path / "cache", **given},
        )
        play.task = task
        found = with_controls(parse_methods(methods)) if isinstance(methods, str) else methods
        return evaluate(task, found, tmp_path / folder, **how)

    return play


def label(record):
    """A method's label without its options."""
    name, _, rest = record.method.partition("(")
    return name + rest.rpartition(")")[2]


def steps(record):
    return episode_of(record).steps


def test_every_task_is_played_under_every_method_and_scored(play):
    run = play()
    assert run.planned == len(run.records) == 9 * len(LABELS)
    assert {label(r) for r in run.records} == set(LABELS)
    assert len({(r.method, r.sample_id) for r in run.records}) == 45
    for record in run.records:
        assert record.scores["function"] == 1.0
        assert record.scores["result"] == pytest.approx({"recommend": 0.5}.get(record.kind, 1.0))
        assert not record.error and record.gold


def test_all_methods_share_their_batches(play):
    play(max_live=8)
    assert [len(batch) for batch in play.model.batches] == [8, 8, 8, 8, 8, 5]


def test_each_method_is_what_its_name_says(play):
    run = play()
    by_method = {name: [r for r in run.records if label(r) == name] for name in LABELS}

    def picked(name):
        return [p["sample_id"] for r in by_method[name] for p in r.picked]

    assert not picked("zero-shot") and not picked("rag")
    assert all(not episode_of(r).remembered for r in by_method["zero-shot"] + by_method["fints"])
    assert all(len(episode_of(r).remembered) == 3 for r in by_method["rag"])
    for record in by_method["fints"]:
        assert all(p["sample_id"].startswith(record.user_id) for p in record.picked)
    for record in by_method["fints-other"]:
        owners = {p["sample_id"].split("-")[0] for p in record.picked}
        assert len(owners) == 1 and owners != {record.user_id}
    tokens = {name: sum(r.prompt_tokens for r in by_method[name]) for name in by_method}
    assert tokens["fints"] == tokens["zero-shot"] == tokens["fints-other"]
    assert tokens["rag"] > tokens["zero-shot"]
    steered = {
        name: [r.steering is not None for r in play.model.requests].count(True) for name in LABELS
    }
    assert set(steered.values()) == {27}  # three of five methods on nine tasks


def test_only_the_users_own_entries_are_bound_by_the_tasks_time(play):
    counts = {label(r): len(r.picked) for r in play().records}
    # Three of a user's four entries come after the test tasks; another user's all count.
    assert counts["fints"] == 1
    assert counts["fints-other"] == 4


def test_the_nearest_past_requests_are_shown_with_good_calls(play, shop):
    [remembered] = [
        episode_of(r).remembered
        for r in play().records
        if (label(r), r.sample_id) == ("rag", "test-ann-search")
    ]
    assert remembered[-1].startswith(f'"lamp search" -> {SEARCH}(')
    past = past_requests(shop, "ann", 2)
    assert [(p.request, p.tool, p.timestamp) for p in past] == [
        ("lamp search", SEARCH, 0),
        ("coat recommend", RECOMMEND, 1),
    ]
    assert len(past_requests(shop, "ann", None)) == 4


@pytest.mark.parametrize(
    ("method", "shown"),
    [
        ("rag(by=recency,k=2)", ["desk", "mug"]),
        ("rag(by=all,k=1)", ["lamp", "coat", "desk", "mug"]),
        ("rag(by=bm25,k=1)", ["lamp"]),
        ("fints(sites=block,context=1)", ["lamp"]),
    ],
)
def test_what_is_shown_of_the_past_is_what_the_method_says(play, method, shown):
    [record] = [
        r
        for r in play(methods=method).records
        if r.sample_id == "test-ann-search" and r.method == method
    ]
    lines = episode_of(record).remembered
    assert [line.split('"')[1].split()[0] for line in lines] == shown


def test_a_profile_is_written_from_the_past_and_stands_before_the_request(play, call):
    def script(request):
        if len(request.tools) == 0:
            return "likes lamps"
        return good(call)(request)

    run = play(script, methods="pag(samples=2)")
    assert all(r.scores["function"] == 1.0 for r in run.records)
    assert all("About me:\nlikes lamps" in r.prompt[0]["content"] for r in run.records)
    asked = [r for r in play.model.requests if not r.tools]
    assert len(asked) == 1  # all users have the same past, and what is kept is written once
    assert "mug search" in asked[0].messages[1]["content"]
    assert "lamp search" not in asked[0].messages[1]["content"]
    sent = [r.messages[1]["content"] for r in play.model.requests if r.tools]
    assert all("About me:\nlikes lamps" in text for text in sent)


@pytest.mark.parametrize("method", ["cos", "stylevector", "fints(adapter=x)"])
def test_what_makes_no_sense_in_the_shop_is_refused_in_one_line(play, method, monkeypatch):
    from trimtab.eval.methods.steered import Steered

    monkeypatch.setattr(Steered, "variant", property(lambda self: self.adapter or None))
    with pytest.raises(TrimtabError, match="token by token|is for texts") as refused:
        play(methods=method)
    assert "\n" not in str(refused.value)


def test_prompts_show_purchases_of_before_the_task(play):
    for record in play().records:
        assert episode_of(record).purchases == ("B-desk: A desk", "B-mug: A mug")


def test_the_wrong_tool_scores_nothing_and_errors_of_the_agent_count(play, shop, call):
    tasks = [t for t in shop.world.test if t.type == "search"]
    wrong = play(lambda request: call(REVIEW, review="hm"), methods="zero-shot", tasks=tasks)
    assert [r.scores for r in wrong.records] == [{"function": 0.0, "result": 0.0}] * 3
    bad = play(lambda r: call(SEARCH, text=1), methods="zero-shot", tasks=tasks, folder="b")
    for record in bad.records:
        assert (record.scores["function"], record.error) == (0.0, "")
        assert episode_of(record).outcome == "gave up"


def test_the_best_right_call_counts(shop, scripted, call, letters):
    from trimtab.agent.loop.episode import Play, play
    from trimtab.agent.shop.agent import shop_agent

    answers = iter(
        [call(SEARCH, query="all"), call(SEARCH, query="lamp"), call(REVIEW, review="done")]
    )
    agent = shop_agent(scripted(lambda request: next(answers)), shop.toolkit, final_tools=[REVIEW])
    episode = play(Play(agent, "t", "ann", "lamp search"))
    [task] = [t for t in shop.world.test if t.id == "test-ann-search"]
    assert episode_scores(task, episode, letters.similarity) == {"function": 1.0, "result": 1.0}


def test_a_call_that_a_tool_raises_at_is_the_models_and_scored(play, shop, call):
    run = play(
        lambda request: call(SEARCH, query="burn"), methods="zero-shot", tasks=shop.world.test[:1]
    )
    [record] = run.records
    assert record.scores == {"function": 0.0, "result": 0.0} and not record.error
    assert "the index is on fire" in steps(record)[-1].error.message
    assert episode_of(record).outcome == "gave up"


def test_a_model_that_refuses_gives_no_score_and_the_rest_is_played(play, call):
    def script(request):
        if "review" in request.messages[1]["content"].rpartition("Request")[2]:
            raise TrimtabError("the prompt is too long")
        return good(call)(request)

    run = play(script)
    for record in run.records:
        if record.kind == "review":
            assert record.scores == {} and episode_of(record) is None
            assert record.error == "the prompt is too long" and "traceback" not in record.detail
        else:
            assert record.scores["function"] == 1.0
    assert (run.code_failures, run.refusal) == (0, "")


def test_a_failure_of_code_keeps_its_traceback_and_is_logged(play, shop, caplog):
    def script(request):
        raise KeyError("a bug of ours")

    run = play(script, methods="zero-shot", tasks=shop.world.test[:1])
    [record] = run.records
    assert record.error == "KeyError: 'a bug of ours'"
    assert "Traceback" in record.detail["traceback"] and "in script" in record.detail["traceback"]
    assert run.code_failures == 1
    assert "test-ann-search under zero-shot failed" in caplog.text


def test_a_run_that_was_broken_off_is_resumed(play, tmp_path, scripted, call):
    class Interrupted(type(scripted(good(call)))):
        def completions(self, requests, **options):
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().completions(requests, **options)

    first = play(model=Interrupted(good(call)), max_live=8)
    assert first.interrupted
    assert len(first.records) == 16
    results = tmp_path / "run/results.jsonl"
    assert len(results.read_text().splitlines()) == 16

    second = play(max_live=8)
    assert not second.interrupted
    assert sum(len(batch) for batch in play.model.batches) == 45 - 16
    assert len(second.records) == 45
    keys = [(r["method"], r["sample_id"]) for r in map(json.loads, results.open())]
    assert len(keys) == len(set(keys)) == 45

    third = play()
    assert third.fresh == 0 and not play.model.batches
    assert read_run(tmp_path / "run").records == third.records


def test_what_the_machinery_broke_off_is_played_again(play, shop, call):
    fails = [True]

    def script(request):
        if fails:
            raise RuntimeError("a broken wire")
        return good(call)(request)

    assert all(r.error for r in play(script, tasks=shop.world.test[:2]).records)
    fails.clear()
    run = play(script, tasks=shop.world.test[:2])
    assert run.fresh == 10
    assert not any(record.error for record in run.records)


def test_what_may_pass_is_tried_again_at_once_with_less_at_a_time(play, scripted, call):
    class Small(type(scripted(good(call)))):
        def completions(self, requests, **options):
            if len(requests) > 5:
                raise MemoryError("no room")
            return super().completions(requests, **options)

    run = play(model=Small(good(call)), max_live=8)
    assert not any(record.error for record in run.records)
    assert {len(batch) for batch in play.model.batches} <= {1, 2, 3, 4, 5}


def test_another_configuration_does_not_go_into_the_same_folder(play, shop, dictionaries):
    play()
    with pytest.raises(TrimtabError, match=r"methods\.fints.* was .*, now null"):
        play(methods="zero-shot,rag,fints(sites=block,strength=9)")
    with pytest.raises(TrimtabError, match=r"tasks\.number: was 9, now 3"):
        play(tasks=shop.world.test[:3])
    other = {user: own.replaced(vectors=own.vectors * 2) for user, own in dictionaries.items()}
    with pytest.raises(TrimtabError, match=r"dictionaries\.digest"):
        play(dictionaries=other)


def test_the_summary_holds_the_numbers_of_the_tables(play, tmp_path):
    play()
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    [overall] = [
        a
        for a in summary["accuracies"]
        if (a["method"], a["measure"], a["type"]) == ("zero-shot", "result", "all")
    ]
    assert overall["mean"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert overall["values"] == 9 and overall["users"] == 3
    assert {d["method"].split("(")[0] for d in summary["differences"]} == {"rag", "fints"}


def test_repeats_are_records_of_their_own_with_draws_of_their_own(play, shop, tmp_path):
    run = play(
        methods="zero-shot,rag", tasks=shop.world.test[:2], repeats=3, temperature=0.7, seed=5
    )
    assert {r.sample_id for r in run.records if r.drawn_from == "test-ann-search"} == {
        "test-ann-search",
        "test-ann-search#1",
        "test-ann-search#2",
    }
    assert len(run.records) == 12
    assert play.model.options["temperature"] == 0.7
    draws = {request.draws for request in play.model.requests}
    assert draws == {
        f"5/{task.id}/{repeat}/0" for task in shop.world.test[:2] for repeat in range(3)
    }
    [spread] = [
        r for r in run.standings.repeats if (r.method, r.metric) == ("zero-shot", "function")
    ]
    assert spread.passed == 1.0


def test_what_cannot_be_compared_is_refused(play):
    with pytest.raises(TrimtabError, match="no sample to answer"):
        play(tasks=[])
    twice = [*parse_methods("zero-shot"), *parse_methods("zero-shot")]
    with pytest.raises(TrimtabError, match="different names"):
        play(methods=twice)


def conversation(call):
    """A script that asks first, then calls wrong, then right and better, then stops."""

    def script(request):
        asked = next(m for m in request.messages if m["role"] == "user")["content"]
        word = asked.rpartition("Request: ")[2].partition(" ")[0]
        made = [
            call("respond", content="What may I do?"),
            call(REVIEW, review="hm"),
            call(SEARCH, query="all"),
            call(SEARCH, query=word),
            call(SEARCH, query="nothing"),
            call("stop"),
        ]
        return made[sum(m["role"] == "assistant" for m in request.messages)]

    return script


def test_a_conversation_is_scored_by_its_best_right_call(play, shop, call):
    tasks = [task for task in shop.world.test if task.type == "search"]
    methods = parse_methods("zero-shot,fints(sites=block)")
    run = play(conversation(call), methods=methods, tasks=tasks, user=Simulator())
    for record in run.records:
        assert record.scores == {"function": 1.0, "result": 1.0}
        episode = episode_of(record)
        assert len(episode.steps) == 6
        assert episode.outcome == "done"
        assert episode.steps[0].reply == "Please search the shop for it."
        steered = [bool(step.picked) for step in episode.steps]
        # After a result that is no error, the next step answers no words of the user's.
        expected = [True, True, False, False, False, False]
        assert steered == (expected if label(record) == "fints" else [False] * 6)
    configuration = play.task.configuration()
    assert (configuration["track"], configuration["steps"]) == ("multi", 10)
    assert configuration["user"] == {"kind": "scripted", "model": "", "url": ""}


def test_the_step_limit_and_prompting_reach_the_agent(play, shop, call):
    run = play(
        lambda request: call(SEARCH, query="all"),
        methods="zero-shot",
        tasks=shop.world.test[:1],
        user=Simulator(),
        steps=3,
        prompting="react",
    )
    assert len(steps(run.records[0])) == 3
    assert play.model.requests[0].messages[-1]["content"] == "Thought:"
    assert play.task.configuration()["prompting"] == "react"


def test_a_score_that_is_missing_is_no_number(play, call):
    from trimtab.eval.shop.summary import measured

    def script(request):
        raise TrimtabError("no")

    run = play(script, methods="zero-shot")
    assert all(math.isnan(measured(r, m)) for r in run.records for m in ("function", "steps"))
    assert run.refusal == "no"


def test_a_killed_run_loses_only_the_episodes_that_were_under_way(
    play, tmp_path, scripted, call, monkeypatch
):
    monkeypatch.setattr(batching, "_GLANCE_SECONDS", 60.0)  # however slow the machine is

    class Killed(type(scripted(good(call)))):
        def completions(self, requests, **options):
            for index, done in super().completions(requests, **options):
                if index == 7:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield index, done

    child = os.fork()
    if not child:
        try:
            play(model=Killed(good(call)))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert len((tmp_path / "run/results.jsonl").read_text().splitlines()) == 7
    again = play()
    assert (again.fresh, len(again.records)) == (38, 45)
    assert sum(len(batch) for batch in play.model.batches) == 38
