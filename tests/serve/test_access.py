"""Keys: what each may do and for whom, and what is answered without any."""

import httpx
import pytest
from openai import AuthenticationError, OpenAI, PermissionDeniedError

from trimtab import TrimtabError
from trimtab.serve.access import Authenticator, Users, make_key
from trimtab.serve.failures import ApiError
from trimtab.serve.opening import is_loopback, open_service
from trimtab.steering.store.steering_store import SteeringStore

from .conftest import SETTINGS, running

ASK = [{"role": "user", "content": "Which lamp?"}]
ALL = frozenset(["chat", "learn", "manage", "metrics"])


@pytest.fixture(scope="module")
def keyed(served_model, tmp_path_factory):
    """A server with keys: its URL, and a key of each kind."""
    place = tmp_path_factory.mktemp("keyed") / "users.db"
    with SteeringStore(place) as store:
        tokens = {
            "all": make_key(store, "everything", Users(), ALL),
            "shop": make_key(store, "the shop", Users("prefix", "shop-"), frozenset(["chat"])),
            "ann": make_key(store, "ann's own", Users("one", "ann"), ALL - {"metrics"}),
        }
    with running(open_service(served_model, place, settings=SETTINGS, name="tiny")) as url:
        yield url, tokens, place


def client_of(url: str, token: str) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0)


def test_without_a_right_key_nobody_is_answered(keyed) -> None:
    url, tokens, _ = keyed
    for wrong in ("none", "tt-", tokens["all"][:-1], tokens["all"] + "x", "tt-0-0"):
        with pytest.raises(AuthenticationError):
            client_of(url, wrong).models.list()
    assert httpx.get(f"{url}/v1/models").status_code == 401
    assert httpx.get(f"{url}/metrics").status_code == 401
    assert httpx.get(f"{url}/v1/users/ann").status_code == 401
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_a_key_acts_for_its_users_alone(keyed) -> None:
    url, tokens, _ = keyed

    def ask(token: str, user: str) -> None:
        client_of(url, tokens[token]).chat.completions.create(
            model="tiny", messages=ASK, user=user, max_tokens=1
        )

    for token, user in (("all", "eve"), ("shop", "shop-7"), ("ann", "ann")):
        ask(token, user)
    for token, user in (("shop", "eve"), ("shop", "Shop-7"), ("ann", "anna"), ("ann", "shop-7")):
        with pytest.raises(PermissionDeniedError):
            ask(token, user)


def test_a_key_does_what_it_has_the_right_to(keyed) -> None:
    url, tokens, _ = keyed

    def status(token: str, method: str, path: str, **more) -> int:
        headers = {"Authorization": f"Bearer {tokens[token]}"}
        return httpx.request(
            method, f"{url}{path}", headers=headers, timeout=60, **more
        ).status_code

    told = {"json": {"request": "a", "chosen": "b", "rejected": "c"}}
    assert status("ann", "POST", "/v1/users/ann/interactions", **told) == 202
    assert status("ann", "POST", "/v1/users/eve/interactions", **told) == 403
    assert status("shop", "POST", "/v1/users/shop-7/interactions", **told) == 403
    for path in ("", "/copy", "/audit"):
        assert status("ann", "GET", f"/v1/users/ann{path}") == 200
        assert status("ann", "GET", f"/v1/users/eve{path}") == 403
        assert status("shop", "GET", f"/v1/users/shop-7{path}") == 403
    assert status("ann", "DELETE", "/v1/users/eve") == 403
    assert status("ann", "GET", "/metrics") == 403
    assert status("all", "GET", "/metrics") == 200


def test_feedback_is_for_the_user_of_the_answer(keyed) -> None:
    url, tokens, _ = keyed
    answer = client_of(url, tokens["all"]).chat.completions.create(
        model="tiny", messages=ASK, user="eve", max_tokens=1
    )
    path = f"{url}/v1/chat/completions/{answer.id}/feedback"
    for token, status in (("ann", 403), ("shop", 403), ("all", 202)):
        headers = {"Authorization": f"Bearer {tokens[token]}"}
        assert httpx.post(path, headers=headers, json={"rating": "bad"}).status_code == status


def test_a_revoked_key_is_refused_at_once(keyed) -> None:
    url, _, place = keyed
    with SteeringStore(place) as store:
        token = make_key(store, "", Users(), ALL)
        client_of(url, token).models.list()
        assert store.access_keys.drop(token.split("-")[1])
        with pytest.raises(AuthenticationError):
            client_of(url, token).models.list()
        assert not store.access_keys.drop("nothing")


def test_the_store_holds_no_key_that_could_be_used(keyed) -> None:
    _, tokens, place = keyed
    with SteeringStore(place) as store:
        kept = store.access_keys.list()
    assert {key.label for key in kept} >= {"everything", "the shop", "ann's own"}
    content = b"".join(path.read_bytes() for path in place.parent.iterdir())
    for token in tokens.values():
        assert token.split("-", 2)[2].encode() not in content


def test_without_keys_this_machine_alone_is_answered(server, tmp_path) -> None:
    def status(**headers: str) -> int:
        return httpx.get(f"{server}/v1/models", headers=headers).status_code

    assert status() == 200
    assert status(Origin=server) == 200
    assert status(Origin="https://evil.example") == 403
    assert status(Origin="null") == 403  # as a page in a sandboxed frame of any site
    assert status(Host="evil.example") == 403
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost")] == [True] * 3
    assert [is_loopback(h) for h in ("0.0.0.0", "::", "10.0.0.1", "a.example")] == [False] * 4
    elsewhere = Authenticator(SteeringStore(tmp_path / "none.db"), loopback=False)
    with pytest.raises(ApiError, match="trimtab keys make"):
        elsewhere.key(None)


def test_once_a_key_was_seen_one_is_needed_for_good(tmp_path) -> None:
    with SteeringStore(tmp_path / "users.db") as store:
        access = Authenticator(store)
        assert access.key("anything") is None
        token = make_key(store, "", Users(), ALL)
        assert access.key(token) is not None
        store.access_keys.drop(token.split("-")[1])
        with pytest.raises(ApiError):
            access.key(None)


@pytest.mark.parametrize("text", ["", "one:", "prefix", "all:", "two:x"])
def test_users_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(TrimtabError, match="expected users"):
        Users.read(text)
    assert str(Users.read("one:a:b")) == "one:a:b"
