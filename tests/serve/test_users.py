"""What users did is learned, and what is kept of them is theirs to see and to change."""

import time

import httpx
import pytest
from openai import OpenAI

ASK = [{"role": "user", "content": "Which lamp?"}]


def told(http: httpx.Client, user: str, **body) -> httpx.Response:
    body = {"request": "Which lamp?", "chosen": "The green one.", "rejected": "Any.", **body}
    return http.post(f"/v1/users/{user}/interactions", json=body)


def answered(client: OpenAI, user: str, **steering):
    more = {"extra_body": {"steering": steering}} if steering else {}
    return client.chat.completions.create(
        model="tiny", messages=ASK, user=user, max_tokens=6, **more
    )


def test_what_was_told_steers_the_next_request(client: OpenAI, http: httpx.Client) -> None:
    before = answered(client, "ann")
    assert before.steering["reason"] == "nothing kept"
    kept = told(http, "ann", id="one", time=7)
    assert (kept.status_code, kept.json()) == (202, {"id": "one", "status": "kept"})
    after = answered(client, "ann")
    assert after.steering["whose"] == "own"
    [picked] = after.steering["picked"]
    assert (picked["id"], picked["key"], picked["weight"]) == ("one", "Which lamp?", 1.0)
    assert picked["similarity"] == pytest.approx(1.0, abs=1e-3)
    assert after.steering["push_size"] > 0
    assert after.choices[0].message.content != before.choices[0].message.content
    assert answered(client, "bob").steering["reason"] == "nothing kept"


def test_the_same_id_twice_is_once(client: OpenAI, http: httpx.Client) -> None:
    assert told(http, "eve", id="a").json()["status"] == "kept"
    assert told(http, "eve", id="a", chosen="Another.").json()["status"] == "known"
    answered(client, "eve")
    assert told(http, "eve", id="a").json()["status"] == "known"
    [entry] = http.get("/v1/users/eve").json()["entries"]
    assert (entry["id"], entry["chosen"], entry["uses"]) == ("a", "The green one.", 1)


def test_a_request_may_change_how_it_is_steered(client: OpenAI, http: httpx.Client) -> None:
    for number in range(3):
        told(http, "joe", id=f"n{number}", request=f"Which lamp {number}?")
    whole = answered(client, "joe").steering
    assert len(whole["picked"]) == 3
    assert answered(client, "joe", whose="off").steering["reason"] == "asked off"
    one = answered(client, "joe", k=1, strength=1.0).steering
    assert (len(one["picked"]), one["strength"]) == (1, 1.0)
    left = answered(client, "joe", without=["n0", "n1"]).steering
    assert [picked["id"] for picked in left["picked"]] == ["n2"]


def test_a_user_can_switch_change_take_and_forget(client: OpenAI, http: httpx.Client) -> None:
    user = "a%2Fb%20%C3%A9"  # as it goes into a path
    for name in ("x", "y"):
        assert told(http, user, id=name).status_code == 202
    assert len(answered(client, "a/b é").steering["picked"]) == 2
    see = http.get(f"/v1/users/{user}").json()
    assert (see["user"], see["switches"]) == ("a/b é", {"enabled": True, "strength": 1.0})
    assert [entry["uses"] for entry in see["entries"]] == [1, 1]

    assert http.patch(f"/v1/users/{user}", json={"strength": 0.5}).json()["strength"] == 0.5
    assert answered(client, "a/b é").steering["strength"] == 2.0
    assert http.patch(f"/v1/users/{user}", json={"strength": 9}).status_code == 400
    assert http.patch(f"/v1/users/{user}", json={"enabled": False}).json()["enabled"] is False
    assert answered(client, "a/b é").steering["reason"] == "switched off"
    http.patch(f"/v1/users/{user}", json={"enabled": True})

    assert http.delete(f"/v1/users/{user}/entries/x").json() == {"dropped": 1}
    assert http.delete(f"/v1/users/{user}/entries/x").status_code == 404
    copy = http.get(f"/v1/users/{user}/copy").json()
    assert [entry["sample_id"] for entry in copy["entries"]] == ["y"]
    assert len(copy["vectors"]) == 1
    events = [event["event"] for event in http.get(f"/v1/users/{user}/audit").json()]
    assert {"added", "read", "listed", "switched", "dropped", "copied"} <= set(events)

    assert http.delete(f"/v1/users/{user}").json() == {"forgotten": True}
    assert http.delete(f"/v1/users/{user}").json() == {"forgotten": False}
    assert http.get(f"/v1/users/{user}").json()["entries"] == []
    assert http.get(f"/v1/users/{user}/copy").status_code == 404
    assert answered(client, "a/b é").steering["reason"] == "nothing kept"
    events = [event["event"] for event in http.get(f"/v1/users/{user}/audit").json()]
    assert events == ["forgotten"]


def test_the_models_own_answer_is_rejected_where_the_user_rejected_none(
    client: OpenAI, http: httpx.Client
) -> None:
    told(http, "liz", id="own", rejected=None)
    assert [p["id"] for p in answered(client, "liz").steering["picked"]] == ["own"]


def test_a_chosen_call_is_set_against_the_likeliest_other_tool(
    client: OpenAI, http: httpx.Client
) -> None:
    tools = [
        {"type": "function", "function": {"name": name}} for name in ("search", "recommend", "ask")
    ]
    call = {"type": "function", "function": {"name": "recommend", "arguments": "{}"}}
    told(http, "tim", id="call", tools=tools, chosen={"tool_calls": [call]}, rejected=None)
    assert len(answered(client, "tim").steering["picked"]) == 1
    [entry] = http.get("/v1/users/tim").json()["entries"]
    assert entry["chosen"].endswith('"name": "recommend"')


def test_what_holds_no_contrast_is_counted_and_not_kept(http: httpx.Client) -> None:
    told(http, "may", id="same", chosen="Same.", rejected="Same.")
    while http.get("/v1/users/may").json()["waiting"]:
        time.sleep(0.02)
    assert 'trimtab_entries_refused_total{reason="no contrast"} 1.0' in http.get("/metrics").text
    assert http.get("/v1/users/may").json()["entries"] == []


def test_who_is_forgotten_while_it_waits_is_not_waited_for(
    client: OpenAI, http: httpx.Client
) -> None:
    for number in range(6):
        told(http, "gus", id=f"n{number}", rejected=None)  # each takes the model an answer
    http.delete("/v1/users/gus")
    assert answered(client, "gus").steering["reason"] == "nothing kept"
    while http.get("/v1/users/gus").json()["waiting"]:
        time.sleep(0.02)
    see = http.get("/v1/users/gus").json()
    assert (see["entries"], see["waiting"]) == ([], 0)


def test_an_error_names_no_other_user(client: OpenAI, http: httpx.Client) -> None:
    told(http, "zelda-81")
    answered(client, "zelda-81")
    missing = http.get("/v1/users/zelda-82/copy")
    assert missing.status_code == 404
    assert missing.json()["error"]["message"] == "nothing is kept of this user"


def test_feedback_by_the_id_of_an_answer_is_learned_from(
    client: OpenAI, http: httpx.Client
) -> None:
    answer = answered(client, "kim")
    path = f"/v1/chat/completions/{answer.id}/feedback"
    bad = http.post(path, json={"rating": "bad"})
    assert bad.json()["status"] == "counted"
    assert http.post(path, json={"chosen": "The red one."}).json()["status"] == "kept"
    assert http.post(path, json={"chosen": "The red one."}).json()["status"] == "known"
    assert [p["id"] for p in answered(client, "kim").steering["picked"]] == [answer.id]
    [entry] = http.get("/v1/users/kim").json()["entries"]
    assert entry["chosen"] == "The red one."
    # Each of several answers takes feedback of its own.
    two = client.chat.completions.create(
        model="tiny", messages=ASK, user="kim", max_tokens=6, n=2, temperature=1.5, seed=3
    )
    several = f"/v1/chat/completions/{two.id}/feedback"
    for choice, id in ((0, two.id), (1, f"{two.id}-1")):
        told = http.post(several, json={"chosen": f"Number {choice}.", "choice": choice}).json()
        assert told == {"id": id, "status": "kept"}
    assert http.post(path, json={}).status_code == 400
    nowhere = http.post("/v1/chat/completions/no/feedback", json={"rating": "good"})
    assert nowhere.status_code == 404
    http.delete("/v1/users/kim")
    assert http.post(path, json={"rating": "good"}).status_code == 404


def test_a_streamed_answer_takes_feedback_as_well(client: OpenAI, http: httpx.Client) -> None:
    stream = client.chat.completions.create(
        model="tiny", messages=ASK, user="pat", max_tokens=6, stream=True
    )
    ids = {chunk.id for chunk in stream}
    assert len(ids) == 1
    path = f"/v1/chat/completions/{ids.pop()}/feedback"
    assert http.post(path, json={"chosen": "The red one."}).status_code == 202


def test_a_user_cannot_be_empty_or_a_megabyte(http: httpx.Client) -> None:
    body = {"model": "tiny", "messages": ASK, "user": "u" * 2**20}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert len(answer.content) < 1000
    assert http.get(f"/v1/users/{'u' * 600}").status_code == 400
    assert http.get("/v1/users/%ff").status_code == 400
