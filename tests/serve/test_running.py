"""For whoever runs the server: metrics, health, full queues, logs, and whether steering helps."""

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

import httpx
import numpy as np
import pytest
from openai import OpenAI, RateLimitError

from trimtab.serve import report
from trimtab.serve.engine import Engine
from trimtab.serve.holdout import Holdout
from trimtab.serve.logs import JsonLines
from trimtab.serve.opening import open_service
from trimtab.serve.outcomes import Came, Tally
from trimtab.serve.recent import Answered, Recent
from trimtab.serve.report import compared
from trimtab.serve.service import RequestLimits
from trimtab.steering import Request
from trimtab.steering.generation.requests import Options
from trimtab.steering.store.database import StoreUnavailable
from trimtab.steering.store.outcomes import Outcomes
from trimtab.steering.store.steering_store import SteeringStore

from .conftest import SETTINGS, running

ASK = [{"role": "user", "content": "Which lamp?"}]
LONG = {"model": "tiny", "messages": ASK, "max_tokens": 1500, "temperature": 1.5, "seed": 2}


def measured(url: str, name: str) -> float:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_what_is_answered_is_measured(server: str, client: OpenAI, http: httpx.Client) -> None:
    told = {"request": "Which lamp?", "chosen": "This.", "rejected": "That."}
    http.post("/v1/users/zoe-81/interactions", json=told)
    names = ("trimtab_tokens_total", "trimtab_pick_similarity_count", "trimtab_push_size_count")
    before = [measured(server, name) for name in names]
    answer = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=4, user="zoe-81")
    after = [measured(server, name) for name in names]
    assert after[0] - before[0] == answer.usage.total_tokens
    assert [b - a for a, b in zip(before[1:], after[1:], strict=True)] == [1, 1]
    for name in ("first_token_seconds_count", "entries_learned_total", "steps_total"):
        assert measured(server, f"trimtab_{name}") >= 1
    for name in ("rows", "queue"):
        assert measured(server, f"trimtab_{name} ") == 0
    assert "Which" not in http.get("/metrics").text
    assert "zoe-81" not in http.get("/metrics").text
    assert 'endpoint="POST /v1/users/{user_id}/interactions"' in http.get("/metrics").text


def test_health_and_readiness(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ready"}
    assert http.get("/openapi.json").json()["info"]["title"] == "trimtab"
    assert http.get("/nowhere").json()["error"]["type"] == "not_found_error"


@pytest.fixture
def narrow(served_model, tmp_path):
    """A server of one row and one place to wait."""
    service = open_service(
        served_model,
        tmp_path / "users.db",
        settings=SETTINGS,
        name="tiny",
        max_rows=1,
        max_waiting=1,
    )
    with running(service) as url:
        yield url, service.engine


def test_a_full_queue_says_when_to_come_again_and_a_lost_client_frees_its_row(narrow) -> None:
    url, engine = narrow
    client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    first = client.chat.completions.create(**LONG, stream=True)
    next(iter(first))
    with _held(engine):  # between two steps, so that nothing ends by itself
        waits = HTTPConnection(httpx.URL(url).netloc.decode())
        waits.request(
            "POST", "/v1/chat/completions", json.dumps(LONG), {"Content-Type": "application/json"}
        )
        _until(lambda: measured(url, "trimtab_queue ") == 1)
        with pytest.raises(RateLimitError) as full:
            client.chat.completions.create(**LONG)
        assert int(full.value.response.headers["Retry-After"]) >= 1
        waits.close()
        first.close()
    _until(lambda: measured(url, "trimtab_queue ") + measured(url, "trimtab_rows ") == 0)
    assert measured(url, 'trimtab_ended_total{how="cancelled"}') == 2
    assert client.chat.completions.create(**{**LONG, "max_tokens": 2}).usage.completion_tokens <= 2


def test_learning_goes_on_while_requests_keep_the_queue_full(served_model, tmp_path) -> None:
    service = open_service(
        served_model, tmp_path / "users.db", settings=SETTINGS, name="tiny", max_waiting=1
    )
    done = {"request": "Which lamp?", "chosen": "The green one."}  # the model is asked for the rest
    with running(service) as url, httpx.Client(base_url=url) as http:
        with _held(service.engine):
            service.engine.submit(Request([{"role": "user", "content": "A lamp?"}]), Options(2))
            assert http.post("/v1/users/ann/interactions", json=done).status_code == 202
            _until(lambda: service.engine.statistics.waiting == 2)
        _until(lambda: len(http.get("/v1/users/ann").json()["entries"]) == 1)


@contextmanager
def _held(engine: Engine) -> Iterator[None]:
    """The engine waits until the context ends."""
    with engine.in_turns():
        yield


def _until(true) -> None:
    for _ in range(2000):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come to that")


def test_an_answer_ends_at_its_time(served_model, tmp_path) -> None:
    service = open_service(
        served_model,
        tmp_path / "users.db",
        settings=SETTINGS,
        name="tiny",
        limits=RequestLimits(seconds=0.05),
    )
    with running(service) as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        answer = client.chat.completions.create(**LONG)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens < 1500


def test_a_share_of_users_is_held_out_for_ever() -> None:
    arms = Holdout(0.1)
    held = {user for user in map(str, range(5000)) if arms.holds(user)}
    assert 400 < len(held) < 600
    assert held == {user for user in map(str, range(5000)) if Holdout(0.1).holds(user)}
    assert held < {user for user in map(str, range(5000)) if Holdout(0.3).holds(user)}
    assert not any(Holdout().holds(user) for user in map(str, range(100)))


def test_what_comes_of_answers_is_counted_by_arm(served_model, tmp_path) -> None:
    place = tmp_path / "users.db"
    service = open_service(served_model, place, settings=SETTINGS, name="tiny", holdout=0.5)
    arms = Holdout(0.5)
    users = [f"user-{number}" for number in range(8)]
    with running(service) as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        for user in users:
            body = {"request": "Which lamp?", "chosen": "This.", "rejected": "That."}
            httpx.post(f"{url}/v1/users/{user}/interactions", json=body)
            answer = client.chat.completions.create(
                model="tiny", messages=ASK, user=user, max_tokens=3
            )
            held = answer.steering["reason"] == "held out"
            assert held == arms.holds(user)
            rating = "bad" if held else "good"
            path = f"{url}/v1/chat/completions/{answer.id}/feedback"
            for _ in range(2):  # told again, it counts once
                httpx.post(path, json={"rating": rating, "tool_error": held})
        httpx.delete(f"{url}/v1/users/{users[0]}")
    with SteeringStore(place) as store:
        counted = store.outcomes.all()
    left = users[1:]
    assert sum(counts["answers"] for _, counts in counted) == len(left)
    gaps = {gap.measure: gap for gap in compared(counted)}
    assert (gaps["liked"].steered.mean, gaps["liked"].held_out.mean) == (1, 0)
    assert (gaps["tool errors"].steered.mean, gaps["tool errors"].held_out.mean) == (0, 1)
    assert gaps["liked"].held_out.users == sum(map(arms.holds, left))
    assert gaps["seconds"].steered.mean > 0


def test_what_could_not_be_counted_is_counted_later(tmp_path, monkeypatch) -> None:
    with SteeringStore(tmp_path / "users.db") as store:
        tally = Tally(store, Holdout(0.5), seconds=3600)
        tally.came("ann", Came(answers=1, good=True), since=1)

        def unreachable(self: Outcomes, counted: object) -> None:
            tally.came("ann", Came(answers=1), since=2)  # meanwhile
            raise StoreUnavailable("the store cannot be written")

        with monkeypatch.context() as patch, pytest.raises(StoreUnavailable):
            patch.setattr(Outcomes, "add", unreachable)
            tally.flush()
        assert store.outcomes.all() == []
        tally.flush()
        [(_, counts)] = store.outcomes.all()
        assert (counts["answers"], counts["good"]) == (2, 1)
        tally.close()


def test_the_difference_of_two_arms_holds_the_truth_as_often_as_it_says(monkeypatch) -> None:
    monkeypatch.setattr(report, "MEASURES", {"liked": "good"})  # all are compared in one way
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(80):
        counted = []
        for arm, chance, users in (("steered", 0.5, 60), ("held out", 0.3, 30)):
            for own in generator.beta(8 * chance, 8 * (1 - chance), users):
                answers = int(generator.integers(1, 30))
                good = int(generator.binomial(answers, own))
                counted.append((arm, {"answers": answers, "good": good}))
        [gap] = compared(counted)
        held += gap.low <= 0.2 <= gap.high
    assert 70 <= held <= 79


def test_one_arm_alone_gives_no_difference() -> None:
    counts = dict.fromkeys(
        ("bad", "corrected", "tool_errors", "milliseconds", "prompt_tokens", "new_tokens"), 0
    )
    [gap, *_] = compared([("steered", {"answers": 2, "good": 1, **counts})])
    assert gap.steered.mean == 0.5
    assert math.isnan(gap.difference)


def test_logs_are_json_lines_without_words(served_model, tmp_path, caplog) -> None:
    for words in (False, True):
        caplog.clear()
        service = open_service(
            served_model,
            tmp_path / f"{words}.db",
            settings=SETTINGS,
            name="tiny",
            log_words=words,
        )
        with running(service) as url, caplog.at_level(logging.INFO, "trimtab"):
            client = OpenAI(base_url=f"{url}/v1", api_key="none")
            client.chat.completions.create(model="tiny", messages=ASK, user="ann", max_tokens=2)
            httpx.get(f"{url}/v1/users/ann/entries/none")
        lines = [JsonLines().format(record) for record in caplog.records]
        [said] = [line for line in map(json.loads, lines) if line["message"] == "answered"]
        assert (said["new_tokens"], said["steered"]) == (2, False)
        assert any(json.loads(line)["message"] == "refused" for line in lines)
        assert ("Which lamp?" in "\n".join(lines)) is words
        assert '"ann"' not in "\n".join(lines)


def test_answers_are_remembered_within_bounds() -> None:
    recent = Recent(limit=8000)

    def answered(id: str, user: str, size: int = 1000) -> Answered:
        return Answered(id, user, "", [], [], [], 0, size)

    for number in range(20):
        recent.keep(answered(str(number), "ann" if number % 2 else "bob"))
    assert recent.find("0") is None
    assert recent.find("19") is not None
    recent.forget("ann")
    assert recent.find("19") is None
    assert recent.find("18") is not None
    recent.keep(answered("large", "bob", 7000))
    assert recent.find("large") is None
    passed = Recent(seconds=-1)
    passed.keep(answered("old", "bob"))
    assert passed.find("old") is None
